//! HTTP, upgrades, pings, closing handshakes: SPEC §1.

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};

use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
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
use crate::adapter::{ServerBuilder, UpgradeDecision, block_on};

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
    let post = exchange(&server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    assert!(post.contains("\r\nAllow: GET, HEAD\r\n"), "{post}");
}

/// R-T2: a client that has no more to say still hears the answer.
#[test]
fn half_closed() {
    let server = start(|_| {});
    let mut socket = socket(&server);
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
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
    assert_eq!(connect("/ws", &[("origin", "https://a.test/")]), Err(403));
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
    assert_eq!(host(&["127.0.0.1"]), "203.0.113.9");
}

/// R-T7: what is no handshake is refused, and what would be read as frames behind it is not.
#[test]
fn handshakes() {
    let server = start(|_| {});
    let good = handshake("/", "");
    for (request, expected) in [
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "eA=="), 400),
        (good.replace("Version: 13", "Version: 8"), 426),
        (good.replace("Host: x\r\n", ""), 400),
        (handshake("*", ""), 400),
        (handshake("/", "Content-Length: 100\r\n"), 400),
        (handshake("/", "Transfer-Encoding: chunked\r\n"), 400),
    ] {
        let bytes = [request.as_bytes(), &auth_frame()].concat();
        let answer = exchange(&server, &bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{request}{answer}");
        assert!(!answer.contains("welcome"), "{answer}");
    }
    for target in ["/", "http://x/", "ws://x/ws?a=b"] {
        let bytes = [handshake(target, "").as_bytes(), &auth_frame()].concat();
        assert!(until_welcome(&server, &[&bytes]).starts_with("HTTP/1.1 101 "), "{target}");
    }
}

/// R-L2: a host that finds no room says when to come again, or the server does.
#[test]
fn a_host_without_room() {
    let server = start_with(|builder| {
        builder.on_upgrade(|request| async move {
            let full = UpgradeDecision::reject(StatusCode::SERVICE_UNAVAILABLE, "Full\n");
            match request.query("wait") {
                Some(_) => full.header(RETRY_AFTER, HeaderValue::from_static("120")),
                None => full,
            }
        })
    });
    let seconds = |target| -> Vec<u32> {
        let answer = exchange(&server, handshake(target, "").as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nFull\n"),
            "{answer}"
        );
        let values = answer.lines().filter_map(|line| line.split_once(": "));
        let values = values.filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
        values.map(|(_, value)| value.parse().unwrap()).collect()
    };
    assert!(matches!(*seconds("/"), [1..=5]));
    assert_eq!(seconds("/?wait"), [120]);
}

/// R-T7: a head over the limit is refused however it is cut into packets, and one that is not is
/// none the worse for what comes behind it. What stands in a header is never a frame.
#[test]
fn heads_at_the_limit() {
    for limit in [1024, 16 * 1024] {
        let server = start(|config| config.max_head_size = limit);
        let fill = |size: usize| {
            let rest = size - handshake("/", "Cookie: \r\n").len();
            handshake("/", &format!("Cookie: {}\r\n", "x".repeat(rest)))
        };
        let frame = auth_frame();
        let whole = [fill(limit).as_bytes(), &frame].concat();
        assert!(until_welcome(&server, &[&whole]).starts_with("HTTP/1.1 101 "));
        let head = fill(limit);
        let (head, last) = head.split_at(limit - 1);
        let behind = [last.as_bytes(), &frame].concat();
        assert!(until_welcome(&server, &[head.as_bytes(), &behind]).starts_with("HTTP/1.1 101 "));

        // One byte more, and then many, with a frame where the limit is.
        let more = fill(limit + 1);
        let mut hidden = fill(limit + 20_000).into_bytes();
        hidden[limit..limit + frame.len()].copy_from_slice(&frame);
        for request in [more.as_bytes(), &hidden] {
            for size in [request.len(), 1400, 100] {
                let mut socket = socket(&server);
                for piece in request.chunks(size) {
                    // The answer may be there before everything is sent.
                    if socket.write_all(piece).is_err() {
                        break;
                    }
                }
                let mut status = [0; 13];
                socket.read_exact(&mut status).unwrap();
                assert_eq!(&status, b"HTTP/1.1 431 ", "{limit} {size}");
            }
        }
    }
}

/// The request for a target that becomes a WebSocket connection, with more headers.
fn handshake(target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// A frame that authenticates, as it is on the wire; masked with zeros, so that it is text.
fn auth_frame() -> Vec<u8> {
    let text = br#"{"type":"auth","user":"alice"}"#;
    [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0][..], text].concat()
}

/// What is answered to bytes, up to the welcome of a peer.
fn until_welcome(server: &crate::adapter::Server, pieces: &[&[u8]]) -> String {
    let mut socket = socket(server);
    let mut answer = Vec::new();
    for piece in pieces {
        socket.write_all(piece).unwrap();
    }
    while !answer.windows(7).any(|word| word == b"welcome") {
        let mut bytes = [0; 1024];
        let count = socket.read(&mut bytes).unwrap();
        assert!(count > 0, "{}", answer.escape_ascii());
        answer.extend_from_slice(&bytes[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Several addresses, given and bound.
#[test]
fn several_listeners() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = start_with(|builder| builder.bind("127.0.0.1:0").listener(listener));
    assert_eq!(server.local_addresses().len(), 3);
    for address in server.local_addresses() {
        let mut socket = socket_to(*address);
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
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

/// RFC 6455 §7.4: any code that may be sent is answered with itself, others with 1002.
#[test]
fn close_codes() {
    let server = start(|_| {});
    for (code, expected) in [
        (1012_u16, 1012_u16),
        (1014, 1014),
        (1016, 1016),
        (2999, 2999),
        (3000, 3000),
        (999, 1002),
        (1004, 1002),
        (1005, 1002),
        (1006, 1002),
        (1015, 1002),
        (5000, 1002),
    ] {
        let mut client = Client::connect(&server);
        // What this client would not send, or read.
        let stream = client.ws.get_mut();
        let [high, low] = code.to_be_bytes();
        stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, high, low]).unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[0], 0x88);
        assert_eq!(u16::from_be_bytes([answer[2], answer[3]]), expected, "{code}");
    }
}
