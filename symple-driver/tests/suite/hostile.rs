//! What killed or hung other servers: none of it may touch another connection.

use std::{
    io::{Read, Write},
    time::Duration,
};

use serde_json::json;
use tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

use super::{
    client::{Client, exchange, socket},
    start,
};
use crate::adapter::{Server, block_on};

/// Somebody else, who must not notice.
struct Bystander(Client, Client);

impl Bystander {
    fn new(server: &Server) -> Self {
        let mut one = Client::join(server, "one", &["bystanders"]);
        let mut two = Client::join(server, "two", &["bystanders"]);
        two.recv_type("presence");
        one.recv_type("presence");
        Self(one, two)
    }

    fn notices_nothing(mut self) {
        self.0.send(&json!({ "type": "message", "to": "two", "data": "still there?" }));
        assert_eq!(self.1.recv()["data"], "still there?");
        self.0.hears_nothing();
    }
}

/// R-F3, R-F5: frames that are no frames are answered, before and after `auth`.
#[test]
fn frames_that_are_none() {
    let server = start(|_| {});
    let bystander = Bystander::new(&server);
    let nested = "[".repeat(30_000);
    let texts = ["null", "5", "[]", "\"x\"", "", "{", "hello", &nested];
    for (n, text) in texts.into_iter().enumerate() {
        let mut stranger = Client::connect(&server);
        stranger.send_text(text);
        let (status, message, code) = stranger.refused();
        assert_eq!(u64::from(code), 4000 + status, "{text}: {message}");

        // Of another user each time: else it would see that the one before goes.
        let mut peer = Client::join(&server, &format!("peer{n}"), &[]);
        peer.send_text(text);
        assert_eq!(peer.recv()["status"], 400, "{text}");
        peer.hears_nothing();
    }
    let mut peer = Client::join(&server, "peer", &[]);
    peer.send_text(&"[".repeat(100_000));
    assert_eq!(peer.recv()["status"], 400);
    bystander.notices_nothing();
}

/// R-F5: keys and users with names that mean something to JavaScript.
#[test]
fn names_of_the_prototype() {
    let server = start(|_| {});
    for name in ["hasOwnProperty", "__proto__", "constructor", "toString"] {
        let mut alice = Client::connect(&server);
        alice.send_text(&format!(
            r#"{{"type":"auth","user":"{name}","{name}":null,"rooms":["{name}"]}}"#
        ));
        let welcome = alice.recv();
        assert_eq!(welcome["rooms"], json!([name]));
        alice.send(&json!({ "type": "join", "room": name }));
        assert_eq!(alice.recv()["type"], "join:ok");
        alice.send(&json!({ "type": name }));
        assert_eq!(alice.recv()["status"], 400);
    }
}

/// R-A3, R-L1, R-L6, R-R2: too many rooms, and names that are too long.
#[test]
fn too_many_rooms() {
    let server = start(|_| {});
    let rooms: Vec<_> = (0..10_000).map(|n| format!("{n:x}")).collect();
    for (rooms, refused) in [
        (&rooms[..5_000], (400, "Too many rooms: the limit is 256".into(), 4400)),
        // So many do not fit in what a stranger may send.
        (&rooms[..], (413, "Message too big".into(), 1009)),
    ] {
        let mut stranger = Client::connect(&server);
        stranger.send(&json!({ "type": "auth", "user": "alice", "rooms": rooms }));
        assert_eq!(stranger.refused(), refused);
    }
    let mut peer = Client::join(&server, "alice", &[]);
    peer.send(&json!({ "type": "message", "to": rooms }));
    assert_eq!(peer.recv()["status"], 400);
    let name = "x".repeat(1024 * 1024 - 100);
    peer.send(&json!({ "type": "join", "room": name }));
    assert_eq!(peer.recv()["status"], 400);
    peer.hears_nothing();
}

/// R-L1, R-F5: too big is refused at the header, with an answer.
#[test]
fn too_big() {
    let server = start(|_| {});
    let bystander = Bystander::new(&server);
    // A header that claims 2^62 bytes.
    let mut claim = vec![0x81, 0xff];
    claim.extend((1_u64 << 62).to_be_bytes());
    claim.extend([0; 4]);
    for authenticated in [false, true] {
        let mut client = if authenticated {
            Client::join(&server, "alice", &[])
        } else {
            Client::connect(&server)
        };
        client.ws.get_mut().write_all(&claim).unwrap();
        assert_eq!(client.refused(), (413, "Message too big".into(), 1009));
    }
    // Before `auth` 64 KiB, then 1 MiB, also in fragments; and all of it is really sent.
    for (authenticated, size) in [(false, 66_000), (true, 1024 * 1024 + 1), (true, 8_000_000)] {
        for fragmented in [false, true] {
            let mut client = if authenticated {
                Client::join(&server, "alice", &[])
            } else {
                Client::connect(&server)
            };
            let payload = vec![b'x'; size];
            // The server may have closed before everything is sent.
            if fragmented {
                let (first, rest) = payload.split_at(size / 2);
                let first = Frame::message(first.to_vec(), OpCode::Data(Data::Text), false);
                let rest = Frame::message(rest.to_vec(), OpCode::Data(Data::Continue), true);
                let _ = client.ws.send(tungstenite::Message::Frame(first));
                let _ = client.ws.send(tungstenite::Message::Frame(rest));
            } else {
                let _ =
                    client.ws.send(tungstenite::Message::text(String::from_utf8(payload).unwrap()));
            }
            assert_eq!(client.refused(), (413, "Message too big".into(), 1009), "{size}");
        }
    }
    let mut client = Client::join(&server, "alice", &[]);
    let frame = json!({ "type": "event", "to": client.id(), "pad": "x".repeat(1_000_000) });
    client.send(&frame);
    assert_eq!(client.recv()["pad"], frame["pad"]);
    bystander.notices_nothing();
}

/// SPEC §7: not UTF-8 is 1007, no WebSocket is 1002.
#[test]
fn broken_frames() {
    let server = start(|_| {});
    let bystander = Bystander::new(&server);
    for (what, bytes, code) in [
        ("text that is no UTF-8", &[0x81, 0x81, 0, 0, 0, 0, 0xff][..], 1007),
        ("binary that is no UTF-8", &[0x82, 0x81, 0, 0, 0, 0, 0xff], 1007),
        ("unmasked", &[0x81, 0x01, b'x'], 1002),
        ("reserved bits", &[0xf1, 0x81, 0, 0, 0, 0, b'x'], 1002),
        ("reserved opcode", &[0x83, 0x81, 0, 0, 0, 0, b'x'], 1002),
        ("a continuation of nothing", &[0x80, 0x81, 0, 0, 0, 0, b'x'], 1002),
        ("a close frame of one byte", &[0x88, 0x81, 0, 0, 0, 0, 3], 1002),
        ("a close frame with code 1005", &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed], 1002),
    ] {
        for authenticated in [false, true] {
            let mut client = if authenticated {
                Client::join(&server, "alice", &[])
            } else {
                Client::connect(&server)
            };
            client.ws.get_mut().write_all(bytes).unwrap();
            assert_eq!(client.closed(), code, "{what}");
        }
    }
    bystander.notices_nothing();
}

/// R-L5: who does not finish its request in time is dropped.
#[test]
fn half_an_upgrade() {
    let server = start(|config| config.upgrade_timeout = Duration::from_millis(100));
    let bystander = Bystander::new(&server);
    for bytes in [&b""[..], b"G", b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n"] {
        assert_eq!(exchange(&server, bytes), "");
    }
    bystander.notices_nothing();
}

/// R-L2: those who keep a server waiting give way to those who do not.
#[test]
fn many_halves_of_upgrades() {
    let server = start(|config| {
        config.engine.connections.unauthenticated = 4;
        config.upgrade_timeout = Duration::from_secs(1000);
    });
    let mut waiting: Vec<_> = (0..20).map(|_| socket(&server)).collect();
    for socket in &mut waiting {
        socket.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    }
    Client::join(&server, "alice", &[]).hears_nothing();
    let mut dropped = 0;
    for socket in &mut waiting[..16] {
        dropped += usize::from(matches!(socket.read(&mut [0]), Ok(0) | Err(_)));
    }
    assert_eq!(dropped, 16);
    let stats = block_on(server.handle().stats()).unwrap();
    assert!(stats.transport.upgrades_dropped >= 16, "{stats:?}");
}

/// R-F5: garbage instead of HTTP.
#[test]
fn garbage() {
    let server = start(|_| {});
    let bystander = Bystander::new(&server);
    let long = [b'x'; 20_000];
    let headers = format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(5_000));
    for bytes in [&b"\0\xff\r\n\r\n"[..], b"\r\n\r\nhello\r\n\r\n", &long, headers.as_bytes()] {
        let answer = exchange(&server, bytes);
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    bystander.notices_nothing();
}

/// R-F5: a connection that is cut in the middle of a frame.
#[test]
fn cut_in_the_middle() {
    let server = start(|_| {});
    let mut watcher = Client::join(&server, "watcher", &["r"]);
    for _ in 0..20 {
        let mut alice = Client::join(&server, "alice", &["r"]);
        assert_eq!(watcher.recv()["data"]["online"], true);
        alice.ws.get_mut().write_all(&[0x81, 0xfe, 0x10]).unwrap();
        drop(alice);
        assert_eq!(watcher.recv()["data"]["online"], false);
    }
}
