//! An application that is all on async-std: the server, its hook and its events, and clients.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{sync::Arc, time::Duration};

use async_std::{
    net::{TcpListener, TcpStream},
    task,
};
use async_tungstenite::{WebSocketStream, client_async};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use symple_async_std::{AuthDecision, Event, Server, ServerBuilder};
use tungstenite::Message;

type Client = WebSocketStream<TcpStream>;

async fn connect(server: &Server, token: &str) -> Client {
    let socket = TcpStream::connect(server.local_address()).await.unwrap();
    let (mut client, _) = client_async("ws://localhost/", socket).await.unwrap();
    let auth = json!({ "type": "auth", "user": token, "token": token });
    client.send(Message::text(auth.to_string())).await.unwrap();
    client
}

async fn recv(client: &mut Client) -> Value {
    loop {
        if let Message::Text(text) = client.next().await.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// The next frame of a type.
async fn recv_type(client: &mut Client, kind: &str) -> Value {
    loop {
        let frame = recv(client).await;
        if frame["type"] == kind {
            return frame;
        }
    }
}

/// Hooks run as tasks of async-std and wait on its timers; clients share the reactor with the
/// server, whichever thread polls it.
#[async_std::test]
async fn everything_on_async_std() {
    let server = ServerBuilder::new()
        .bind("127.0.0.1:0")
        .configure(|config| config.engine.rate = None)
        .authenticate(|request| async move {
            // Only within a task of async-std is there a current one.
            let _ = task::current();
            task::sleep(Duration::from_millis(1)).await;
            match request.token().as_deref() {
                Some(user @ ("alice" | "bob")) => AuthDecision::allow(user).rooms(["lobby"]),
                _ => AuthDecision::deny("No"),
            }
        })
        .start()
        .unwrap();
    let (mut events, handle) = (server.events(), server.handle());
    let greeter = task::spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::Online { peer, .. } = event {
                let hello = json!({ "type": "event", "name": "hello", "to": peer.to_string() });
                handle.emit(hello.to_string()).await.unwrap();
            }
        }
    });

    let mut mallory = connect(&server, "mallory").await;
    assert_eq!(recv(&mut mallory).await["status"], 401);
    while mallory.next().await.is_some_and(|message| message.is_ok()) {}

    let mut alice = connect(&server, "alice").await;
    assert_eq!(recv(&mut alice).await["type"], "welcome");
    assert_eq!(recv_type(&mut alice, "event").await["name"], "hello");
    let mut bob = connect(&server, "bob").await;
    assert_eq!(recv(&mut bob).await["type"], "welcome");
    assert_eq!(recv_type(&mut bob, "event").await["name"], "hello");

    let count = 1000;
    let sender = task::spawn(async move {
        for n in 0..count {
            let message = json!({ "type": "message", "to": "lobby", "data": n });
            alice.send(Message::text(message.to_string())).await.unwrap();
        }
        alice
    });
    for n in 0..count {
        assert_eq!(recv_type(&mut bob, "message").await["data"], n);
    }
    let mut alice = sender.await;

    let (ended, ()) = futures_util::future::join(server.shutdown(Duration::ZERO), async {
        for client in [&mut alice, &mut bob] {
            assert_eq!(recv_type(client, "event").await["name"], "shutdown");
            let close = client.next().await.unwrap().unwrap();
            assert!(matches!(&close, Message::Close(Some(frame)) if u16::from(frame.code) == 1001));
            while client.next().await.is_some_and(|message| message.is_ok()) {}
        }
    })
    .await;
    ended.unwrap();
    drop(server);
    greeter.await;
}

/// TLS of the application's own that is handed over as a stream: what is written does not wait for
/// more (Nagle).
#[async_std::test]
async fn a_stream_of_tls() {
    use futures_rustls::{TlsAcceptor, TlsConnector};
    use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivatePkcs8KeyDer};

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let of_server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let of_client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = ServerBuilder::new().start_unbound().unwrap();
    let handle = server.handle();
    let accepted = task::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let clone = socket.clone();
        let stream = TlsAcceptor::from(Arc::new(of_server)).accept(socket).await.unwrap();
        assert!(!clone.nodelay().unwrap(), "the system's default is another one");
        handle.accept(symple_async_std::stream(stream)).await.unwrap();
        clone
    });
    let socket = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(of_client));
    let stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
    let (mut alice, _) = client_async("wss://localhost/", stream).await.unwrap();
    let auth = json!({ "type": "auth", "user": "alice" });
    alice.send(Message::text(auth.to_string())).await.unwrap();
    assert!(alice.next().await.unwrap().is_ok_and(|welcome| welcome.is_text()));
    assert!(accepted.await.nodelay().unwrap());
}
