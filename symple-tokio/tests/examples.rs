//! The examples, run: what they say that they do, they do.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the examples have a main, and the client more than is needed here")]

/// What the client of the suite needs of an adapter.
mod adapter {
    pub(crate) use symple_tokio::Server;
}

#[path = "../../symple-driver/tests/suite/client.rs"]
mod client;
#[path = "../examples/game_lobby.rs"]
mod game_lobby;
#[path = "../examples/moderated_chat.rs"]
mod moderated_chat;
#[path = "../examples/two_certificates.rs"]
mod two_certificates;

use std::{path::PathBuf, sync::Arc};

use client::{Client, socket_to};
use serde_json::{Value, json};
use symple_tokio::{Server, rustls};
use tokio::runtime::Runtime;

fn start(serve: fn(&str) -> Result<Server, symple_tokio::StartError>) -> (Runtime, Server) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(async { serve("127.0.0.1:0") }).unwrap();
    (runtime, server)
}

/// R-H2: what the moderator lets through, softens, answers and refuses.
#[test]
fn a_moderated_chat() {
    let (_runtime, server) = start(moderated_chat::serve);
    let mut alice = Client::join(&server, "alice", &["chat"]);
    let mut bob = Client::join(&server, "bob", &["chat"]);
    assert_eq!(alice.recv()["type"], "presence");
    assert_eq!(bob.recv()["type"], "presence");
    let mut say = |data: Value| {
        alice.send(&json!({ "type": "message", "to": "chat", "data": data }));
    };
    say(json!({ "text": "hello" }));
    say(json!({ "text": "that darn \"cat\"" }));
    say(json!({ "text": "/help" }));
    say(json!({ "text": "see http://evil.example" }));
    say(json!({ "text": "see http://example.org" }));
    say(json!(5));
    for text in ["hello", "that d*** \"cat\"", "see http://example.org"] {
        assert_eq!(bob.recv()["data"]["text"], text);
    }
    let help = alice.recv();
    assert_eq!((&help["from"], &help["data"]["text"]), (&json!("moderator"), &json!("Be kind.")));
    assert_eq!(alice.recv()["message"], "No such links here");
    assert_eq!(alice.recv()["message"], "A message needs a text");
}

/// R-H1, R-H3, R-H4: codes, spectators, and who is gone.
#[test]
fn a_game_lobby() {
    let (_runtime, server) = start(game_lobby::serve);
    let mut spectator = Client::join(&server, "spectator-1", &[]);
    let mut alice = Client::join(&server, "alice", &[]);
    let mut join = |room: &str, code: &str| {
        alice.send(&json!({ "type": "join", "room": room, "credential": code }));
        alice.recv()
    };
    assert_eq!(join("poker", "e2e4")["message"], "No such game");
    assert_eq!(join("chess", "e7e5")["message"], "Wrong code");
    assert_eq!(join("chess", "e2e4")["type"], "join:ok");
    assert_eq!(spectator.recv()["from"], alice.address());
    spectator.send(&json!({ "type": "message", "to": "chess" }));
    assert_eq!(spectator.recv()["message"], "Read-only");
    drop(alice);
    let gone = spectator.recv_type("event");
    assert_eq!((&gone["name"], &gone["data"]), (&json!("gone"), &json!({ "user": "alice" })));
}

/// A certificate in files, and who trusts it.
fn certificate(name: &str) -> (two_certificates::Files, rustls::RootCertStore) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |end: &str| folder.join(format!("two-{name}.{end}"));
    let files = two_certificates::Files { certificate: file("crt"), key: file("key") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    (files, roots)
}

/// R-T9: each place has its own certificate, and one is renewed while the server runs.
#[test]
fn two_certificates() {
    let (inside, trust_inside) = certificate("inside");
    let (outside, trust_outside) = certificate("outside");
    let runtime = Runtime::new().unwrap();
    let (server, tls) = runtime.block_on(async {
        two_certificates::serve(["127.0.0.1:0"; 3], &inside, &outside).unwrap()
    });
    let [_, encrypted, public] = *server.local_addresses() else { panic!() };
    let connect = |address, trust: &rustls::RootCertStore| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(trust.clone())
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let mut session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = socket_to(address);
        session.complete_io(&mut socket).ok()?;
        let stream = rustls::StreamOwned::new(session, socket);
        Some(Client::over(stream, "wss://localhost/", &[]).unwrap().0)
    };
    let mut alice = Client::join(&server, "alice", &["r"]);
    let auth = json!({ "type": "auth", "user": "bob", "rooms": ["r"] });
    connect(encrypted, &trust_inside).unwrap().auth(&auth);
    assert_eq!(alice.recv()["type"], "presence");
    connect(public, &trust_outside).unwrap().auth(&auth);
    assert!(connect(encrypted, &trust_outside).is_none());
    assert!(connect(public, &trust_inside).is_none());
    let (renewed, trust_renewed) = certificate("renewed");
    two_certificates::renew(&tls, &renewed);
    assert!(connect(public, &trust_outside).is_none());
    connect(public, &trust_renewed).unwrap().auth(&auth);
    let missing = two_certificates::Files { certificate: "missing".into(), ..renewed };
    two_certificates::renew(&tls, &missing);
    connect(public, &trust_renewed).unwrap().auth(&auth);
}
