//! Whatever one client causes is charged to it and bounded: SPEC §8.

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use serde_json::json;
use tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use super::{client::Client, start};
use crate::adapter::{RateLimit, block_on};

/// A masked frame, its mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let mut bytes = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

/// R-L4, RFC 6455 §5.5.3: of the pongs that nobody reads one waits, and at last the latest ping
/// is answered.
#[test]
fn pings_that_nobody_waits_for() {
    let server = start(|config| config.engine.rate = None);
    let mut alice = Client::join(&server, "alice", &[]);
    let raw = alice.ws.get_mut();
    let mut pings = Vec::new();
    for n in 0..200_000_u32 {
        pings.extend(frame(0x89, format!("{n:0125}").as_bytes()));
    }
    raw.write_all(&pings).unwrap();
    let last = format!("{:0125}", 199_999);
    let mut pongs = 0;
    loop {
        match alice.ws.read().unwrap() {
            Message::Pong(payload) => {
                pongs += 1;
                if *payload == *last.as_bytes() {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(pongs <= 200_000);
    alice.hears_nothing();
}

/// R-L3: control frames count, also before authentication: reading stops.
#[test]
fn control_frames_count() {
    let server = start(|_| {});
    let mut bob = Client::join(&server, "bob", &[]);
    let mut alice = Client::join(&server, "alice", &[]);
    let stranger = Client::connect(&server);
    for client in [alice.ws.get_mut(), &mut stranger.ws.get_ref().try_clone().unwrap()] {
        let pongs: Vec<u8> = (0..2_000).flat_map(|_| frame(0x8a, b"")).collect();
        client.write_all(&pongs).unwrap();
    }
    loop {
        let stats = block_on(server.handle().stats()).unwrap();
        if stats.engine.paused == 2 {
            break;
        }
        bob.hears_nothing();
    }
}

/// R-L3: a message in too many fragments.
#[test]
fn too_many_fragments() {
    let server = start(|config| config.engine.rate = None);
    let mut alice = Client::join(&server, "alice", &[]);
    alice.send_raw(Frame::message("x", OpCode::Data(Data::Text), false));
    for _ in 0..1024 {
        alice.send_raw(Frame::message("x", OpCode::Data(Data::Continue), false));
    }
    assert_eq!(alice.refused(), (413, "Too many fragments".into(), 1009));
}

/// R-L9: a message that has begun is completed in time, whether in one frame or in several, and
/// whatever comes between.
#[test]
fn messages_that_do_not_end() {
    let server = start(|config| {
        config.message_timeout = Duration::from_millis(300);
        config.engine.rate = None;
    });
    let text = br#"{"type":"message","to":"nobody"}"#;
    // Half a frame, dribbled; half a header; fragments with pings between.
    let half = frame(0x81, text)[..20].to_vec();
    let fragments = [frame(0x01, b"{"), frame(0x89, b"?"), frame(0x00, b" ")].concat();
    for bytes in [half, vec![0x81], fragments] {
        let mut alice = Client::join(&server, "alice", &[]);
        alice.ws.get_mut().write_all(&bytes).unwrap();
        assert_eq!(alice.closed(), 1008);
    }
    // Who completes what it begins stays, however long it goes on.
    let mut bob = Client::join(&server, "bob", &[]);
    let whole = frame(0x81, text);
    for _ in 0..10 {
        let (begin, end) = whole.split_at(7);
        bob.ws.get_mut().write_all(begin).unwrap();
        bob.ws.get_mut().flush().unwrap();
        bob.ws.get_mut().write_all(end).unwrap();
    }
    bob.hears_nothing();
    assert_eq!(block_on(server.handle().stats()).unwrap().engine.unfinished, 3);
}

/// R-L9: who gets itself paused again and again cannot hold a message for ever.
#[test]
fn pauses_do_not_keep_a_message() {
    let server = start(|config| {
        config.message_timeout = Duration::from_millis(200);
        config.engine.rate =
            Some(RateLimit { units_per_second: 400, burst: 8, ..RateLimit::default() });
    });
    let mut alice = Client::join(&server, "alice", &[]);
    let pings = frame(0x8a, b"").repeat(20_000);
    let bytes = [frame(0x01, b"{"), pings].concat();
    alice.ws.get_mut().write_all(&bytes).unwrap();
    assert_eq!(alice.closed(), 1008);
    let stats = block_on(server.handle().stats()).unwrap().engine;
    assert!(stats.paused > 1, "{}", stats.paused);
    assert_eq!(stats.unfinished, 1);
}

/// R-L3: gone is gone. Who has sent more than its rate and leaves is offline at once, with a
/// goodbye or without, and what it had sent is delivered.
#[test]
fn gone_is_gone() {
    let rate = RateLimit { units_per_second: 1, burst: 10, ..RateLimit::default() };
    let server = start(|config| config.engine.rate = Some(rate));
    let mut bob = Client::join(&server, "bob", &["r"]);
    for polite in [true, false] {
        let mut alice = Client::join(&server, "alice", &["r"]);
        alice.recv_type("presence");
        bob.recv_type("presence");
        for n in 0..500 {
            let text = json!({ "type": "message", "to": "r", "n": n }).to_string();
            alice.ws.write(Message::text(text)).unwrap();
        }
        if polite {
            alice.ws.close(None).unwrap();
        }
        alice.ws.flush().unwrap();
        drop(alice);
        // At one frame a second this would take minutes.
        for n in 0..500 {
            assert_eq!(bob.recv()["n"], n);
        }
        assert_eq!(bob.recv()["data"]["online"], false);
    }
}

/// R-L8: a stranger cannot have a slow reader closed; it is told that its frames are refused.
#[test]
fn a_stranger_and_a_slow_reader() {
    let server = start(|config| {
        config.engine.rate = None;
        config.outbound_limit = 1024 * 1024;
        config.outbound_timeout = Duration::ZERO;
    });
    let mut victim = Client::join(&server, "victim", &["home"]);
    let mut friend = Client::join(&server, "friend", &["home"]);
    victim.recv_type("presence");
    friend.recv_type("presence");
    let mut stranger = Client::join(&server, "stranger", &[]);
    let text = json!({ "type": "message", "to": "victim", "x": "x".repeat(200_000) }).to_string();
    // More than the sockets hold and the quarter of the limit that may wait.
    for _ in 0..200 {
        stranger.send_text(&text);
    }
    let refused = stranger.recv();
    assert_eq!(
        refused,
        json!({ "type": "error", "status": 429, "message": "Receiver too slow", "to": "victim" })
    );
    // Members of its room reach it all the same, and it has missed nothing of theirs.
    friend.send(&json!({ "type": "message", "to": "home", "n": 1 }));
    loop {
        let frame = victim.recv_type("message");
        if frame["from"] == friend.address() {
            break;
        }
        assert_eq!(frame["from"], stranger.address());
    }
    let stats = block_on(server.handle().stats()).unwrap().engine;
    assert!(stats.undelivered > 0);
    assert_eq!(stats.too_slow, 0);
}

/// R-L7: past the total those for which most waits are closed, and others are not.
#[test]
fn too_much_waits_in_all() {
    let server = start(|config| {
        config.engine.rate = None;
        config.outbound_limit = 2 * 1024 * 1024;
        config.outbound_timeout = Duration::ZERO;
        config.outbound_total = 4 * 1024 * 1024;
        config.close_timeout = Duration::from_secs(60);
    });
    let mut reader = Client::join(&server, "reader", &["r"]);
    let mut sleepers: Vec<_> =
        (0..8).map(|n| Client::join(&server, &format!("sleeper{n}"), &["r"])).collect();
    let mut sender = Client::join(&server, "sender", &["r"]);
    let text = json!({ "type": "message", "to": "r", "x": "x".repeat(800) }).to_string();
    let mut sent = 0;
    loop {
        sender.send_text(&text);
        sent += 1;
        // It has everything, whatever becomes of the others.
        reader.recv_type("message");
        let stats = block_on(server.handle().stats()).unwrap();
        if stats.transport.shed > 0 {
            break;
        }
        assert_eq!(stats.engine.too_slow, 0, "nobody is over the limit of one");
        assert!(sent < 50_000, "nobody is closed");
    }
    reader.hears_presence_and_nothing_else();
    let shed = block_on(server.handle().stats()).unwrap().transport.shed;
    block_on(server.handle().shutdown(Duration::ZERO)).unwrap();
    let mut codes: Vec<_> = std::thread::scope(|scope| {
        let sleepers: Vec<_> =
            sleepers.iter_mut().map(|sleeper| scope.spawn(|| sleeper.closed())).collect();
        sleepers.into_iter().map(|sleeper| sleeper.join().unwrap()).collect()
    });
    codes.sort_unstable();
    let closed = usize::try_from(shed).unwrap();
    assert_eq!(codes, [vec![1001; 8 - closed], vec![4429; closed]].concat());
}

/// R-P3, R-L4: a newcomer that does not read is told no more than so much of a large room, and of
/// the rest as it reads.
#[test]
fn a_newcomer_that_does_not_read() {
    let server = start(|config| {
        config.engine.rate = None;
        config.outbound_limit = 1024 * 1024;
        config.engine.roster_burst = 16 * 1024;
    });
    let status = "x".repeat(15_000);
    for _ in 0..100 {
        let mut member = Client::connect(&server);
        member.auth(&json!({ "type": "auth", "user": "m", "data": status }));
        // They read, as long as the server is there.
        std::thread::spawn(move || while member.ws.read().is_ok() {});
    }
    let mut newcomers: Vec<_> = (0..20).map(|_| Client::connect(&server)).collect();
    for newcomer in &mut newcomers {
        newcomer.send(&json!({ "type": "auth", "user": "n", "rooms": ["m"] }));
    }
    // Each is told of everyone, once it reads: of the members, and of the other newcomers.
    for newcomer in &mut newcomers {
        assert_eq!(newcomer.recv()["type"], "welcome");
        let mut told: Vec<_> = (0..119).map(|_| newcomer.recv()["from"].to_string()).collect();
        told.sort();
        told.dedup();
        assert_eq!(told.len(), 119);
    }
    assert_eq!(block_on(server.handle().stats()).unwrap().engine.too_slow, 0);
}

/// SPEC §12: who has said goodbye has its answer, also when the server shuts down right then.
#[test]
fn goodbye_and_shutdown() {
    for _ in 0..10 {
        let server = start(|_| {});
        let mut alice = Client::join(&server, "alice", &[]);
        alice.ws.close(None).unwrap();
        block_on(server.shutdown(Duration::ZERO)).unwrap();
        match alice.ws.read() {
            // Its own goodbye came back, or the server's had been on its way.
            Ok(Message::Close(_)) => {}
            Ok(Message::Text(text)) => assert!(text.contains("shutdown"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Times of zero are for ever (SPEC §11): nobody is closed or pinged for them.
#[test]
fn zero_is_never() {
    let server = start(|config| {
        config.ping_interval = Duration::ZERO;
        config.pong_timeout = Duration::ZERO;
        config.upgrade_timeout = Duration::ZERO;
        config.outbound_timeout = Duration::ZERO;
        config.message_timeout = Duration::ZERO;
        config.engine.auth_timeout = Duration::ZERO;
        config.outbound_total = 0;
        config.engine.rate = None;
    });
    let mut silent = super::client::socket(&server);
    silent.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    let mut stranger = Client::connect(&server);
    let mut slow = Client::join(&server, "slow", &["r"]);
    let mut half = Client::join(&server, "half", &[]);
    half.ws.get_mut().write_all(&frame(0x81, b"{}")[..7]).unwrap();
    let mut sender = Client::join(&server, "sender", &["r"]);
    sender.recv_type("presence");
    // More than the sockets hold: something waits for the slow one.
    let text = json!({ "type": "message", "to": "r", "x": "x".repeat(100_000) }).to_string();
    for _ in 0..25 {
        sender.send_text(&text);
    }
    for _ in 0..20 {
        sender.hears_nothing();
    }
    silent.write_all(b"Host: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    silent.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stranger.auth(&json!({ "type": "auth", "user": "late" }));
    half.ws.get_mut().write_all(&frame(0x81, b"{}")[7..]).unwrap();
    assert_eq!(half.recv()["message"], "Missing type field");
    slow.recv_type("message");
}

/// R-P8, R-L4: a client that does not read is not closed for a peer that comes and goes, however often: it is told
/// of it when it reads, and its roster is right.
#[test]
fn one_that_falls_behind_is_told_when_it_reads() {
    let server = start(|config| config.engine.rate = None);
    let mut slow = Client::join(&server, "slow", &["r"]);
    let mut restless = Client::join(&server, "restless", &[]);
    // Three times what the sockets and the queue hold.
    let record = json!({ "type": "presence", "data": { "pad": "x".repeat(15_000) } });
    restless.send(&record);
    for _ in 0..2_000 {
        restless.send(&json!({ "type": "join", "room": "r" }));
        restless.recv_type("join:ok");
        restless.send(&json!({ "type": "leave", "room": "r" }));
        restless.recv_type("leave:ok");
    }
    restless.send(&json!({ "type": "join", "room": "r" }));
    restless.recv_type("join:ok");
    let stats = block_on(server.handle().stats()).unwrap().engine;
    assert_eq!(stats.too_slow, 0);
    assert!(stats.fell_behind > 0);

    slow.send(&json!({ "type": "event", "to": slow.address(), "name": "fence" }));
    let mut here = false;
    loop {
        let frame = slow.recv();
        if frame["type"] == "event" {
            break;
        }
        assert_eq!(frame["from"], restless.address());
        let online = frame["data"]["online"] == true;
        assert_ne!(online, here, "R-P2: once");
        here = online;
    }
    assert!(here, "R-P1");
    slow.hears_nothing();
}

/// A subscriber that is gone costs nothing: events are made only while somebody reads them.
#[test]
fn events_are_made_for_readers() {
    let server = start(|_| {});
    let handle = server.handle();
    for _ in 0..2 {
        let mut events = handle.events();
        let alice = Client::join(&server, "alice", &[]);
        assert!(block_on(events.next()).is_some());
        drop((events, alice));
    }
}
