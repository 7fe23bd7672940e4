//! HTTP, upgrades, pings, closing handshakes: SPEC §1.

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};

use serde_json::json;
use tungstenite::{
    Message,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::{
    client::{Client, exchange, get, socket, socket_to},
    start, start_with,
};
use crate::adapter::{ServerBuilder, block_on};

/// R-T2
#[test]
fn health_checks() {
    let server = start(|_| {});
    assert_eq!(get(&server, "/").0, 200);
    assert_eq!(get(&server, "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(&server, "/readyz"), (200, "ready\n".into()));
    assert_eq!(get(&server, "/other").0, 404);
    let head = exchange(&server, b"HEAD / HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let post = exchange(&server, b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
}

/// R-T2: a client that has no more to say still hears the answer.
#[test]
fn half_closed() {
    let server = start(|_| {});
    let mut socket = socket(&server);
    socket.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"), "{answer}");
}

/// R-T2, R-T4, R-T5
#[test]
fn upgrades() {
    let server = start(|config| {
        config.path = Some("/ws".into());
        config.allowed_origins = vec!["https://a.test".parse().unwrap()];
    });
    let connect = |path, headers: &[(&'static str, &str)]| {
        Client::request_path(&server, path, headers).map(|(_, response)| {
            response
                .headers()
                .get("sec-websocket-protocol")
                .map(|name| name.to_str().unwrap().to_owned())
        })
    };
    assert_eq!(connect("/ws", &[]), Ok(None));
    assert_eq!(connect("/", &[]), Err(404));
    assert_eq!(connect("/ws", &[("origin", "https://b.test")]), Err(403));
    assert_eq!(connect("/ws?x=y", &[("origin", "https://a.test")]), Ok(None));
    let offered = [("sec-websocket-protocol", "chat, symple.v4")];
    assert_eq!(connect("/ws", &offered), Ok(Some("symple.v4".into())));
}

/// R-T6, D-PROXY
#[test]
fn addresses_behind_proxies() {
    let host = |trusted: &[&str]| {
        let server = start(|config| {
            config.trusted_proxies = trusted.iter().map(|net| net.parse().unwrap()).collect();
        });
        let headers = [("x-forwarded-for", "1.2.3.4, 203.0.113.9")];
        let mut client = Client::request(&server, &headers).unwrap().0;
        client.auth(&json!({ "type": "auth", "user": "alice" }))["peer"]["host"].clone()
    };
    assert_eq!(host(&[]), "127.0.0.1");
    assert_eq!(host(&["127.0.0.0/8"]), "203.0.113.9");
}

/// Several addresses, given and bound.
#[test]
fn several_listeners() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = start_with(|builder| builder.bind("127.0.0.1:0").listener(listener));
    assert_eq!(server.local_addresses().len(), 3);
    for address in server.local_addresses() {
        let mut socket = socket_to(*address);
        socket.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("ok\n"));
    }
    let taken = server.local_address().to_string();
    let again = block_on(async { ServerBuilder::new().bind(taken.clone()).start() });
    let error = again.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {taken}: ")), "{error}");
    let nowhere = block_on(async { ServerBuilder::new().start() });
    assert_eq!(nowhere.unwrap_err().to_string(), "there is no address to listen on");
}

/// R-T3: who is silent is pinged, and dropped if nothing comes; any byte counts as life.
#[test]
fn keepalive() {
    let server = start(|config| {
        config.ping_interval = Duration::from_millis(100);
        config.pong_timeout = Duration::from_millis(100);
    });
    let mut watcher = Client::join(&server, "watcher", &["r"]);
    let silent = Client::join(&server, "silent", &["r"]);
    assert_eq!(watcher.recv()["data"]["online"], true);
    // The watcher answers pings while it reads, so it is there to see the other one go.
    assert_eq!(watcher.recv()["data"]["online"], false);
    drop(silent);
    assert_eq!(block_on(server.handle().stats()).unwrap().transport.silent, 1);
    // Many intervals later it is still there.
    let mut pings = 0;
    while pings < 10 {
        if let Message::Ping(payload) = watcher.ws.read().unwrap() {
            assert!(payload.is_empty());
            pings += 1;
        }
    }
    watcher.hears_nothing();
}

/// R-T3: off.
#[test]
fn no_keepalive() {
    let server = start(|config| config.ping_interval = Duration::ZERO);
    let mut alice = Client::join(&server, "alice", &[]);
    alice.hears_nothing();
}

/// RFC 6455 §5.4, §5.5.2: messages in fragments, with pings between; pongs repeat the payload.
#[test]
fn fragments_and_pings() {
    let server = start(|_| {});
    let mut alice = Client::join(&server, "alice", &[]);
    let text = format!(r#"{{"type":"event","to":"{}","data":"é"}}"#, alice.id());
    let (first, rest) = text.as_bytes().split_at(text.len() - 4);
    alice.send_raw(Frame::message(first.to_vec(), OpCode::Data(Data::Text), false));
    alice.ws.send(Message::Ping(b"are you there".to_vec().into())).unwrap();
    for byte in rest {
        alice.send_raw(Frame::message(vec![*byte], OpCode::Data(Data::Continue), false));
    }
    alice.send_raw(Frame::message(Vec::new(), OpCode::Data(Data::Continue), true));
    assert_eq!(alice.ws.read().unwrap(), Message::Pong(b"are you there".to_vec().into()));
    assert_eq!(alice.recv()["data"], "é");
}

/// SPEC §7, RFC 6455 §5.5.1: a client's close is answered with its code, and the peer is offline.
#[test]
fn closing_handshake() {
    let server = start(|_| {});
    let mut watcher = Client::join(&server, "watcher", &["r"]);
    for frame in [
        None,
        Some(CloseFrame { code: 1000.into(), reason: "bye".into() }),
        Some(CloseFrame { code: 1001.into(), reason: "".into() }),
        Some(CloseFrame { code: 4321.into(), reason: "".into() }),
    ] {
        let code = frame.as_ref().map(|frame| frame.code);
        let mut alice = Client::join(&server, "alice", &["r"]);
        assert_eq!(watcher.recv()["data"]["online"], true);
        alice.recv();
        alice.ws.close(frame).unwrap();
        match alice.ws.read().unwrap() {
            Message::Close(answer) => assert_eq!(answer.map(|answer| answer.code), code),
            other => panic!("{other:?}"),
        }
        // The server closes the socket.
        assert!(matches!(alice.ws.read(), Err(tungstenite::Error::ConnectionClosed)));
        assert_eq!(watcher.recv()["data"]["online"], false);
    }
}

/// Small frames leave at once: accepted sockets do not wait for more to send.
#[cfg(target_os = "linux")]
#[test]
fn no_delay_is_inherited() {
    let listener = socket2::Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
    listener.set_tcp_nodelay(true).unwrap();
    let address = listener.local_addr().unwrap();
    let _client = std::net::TcpStream::connect(address.as_socket().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert!(accepted.tcp_nodelay().unwrap());
}
