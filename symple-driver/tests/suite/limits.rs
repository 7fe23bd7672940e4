//! How many, how fast, how slow: SPEC §8.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{client::Client, start};
use crate::adapter::{RateLimit, block_on};

/// R-L2
#[test]
fn capacity() {
    let server = start(|config| config.engine.connections.per_address = 2);
    let _one = Client::join(&server, "alice", &[]);
    let two = Client::join(&server, "bob", &[]);
    let mut three = Client::connect(&server);
    assert_eq!(three.refused(), (503, "At capacity".into(), 1013));
    drop(two);
    // The server notices in its own time.
    loop {
        let mut next = Client::connect(&server);
        next.send(&json!({ "type": "auth", "user": "carol" }));
        if next.recv()["type"] == "welcome" {
            break;
        }
    }
    let stats = block_on(server.handle().stats()).unwrap();
    assert!(stats.engine.over_capacity >= 1);
}

/// R-A2
#[test]
fn who_says_nothing() {
    let server = start(|config| config.engine.auth_timeout = Duration::from_millis(50));
    let mut silent = Client::connect(&server);
    assert_eq!(silent.refused(), (408, "Authentication timeout".into(), 4408));
}

/// R-L3: reading stops, TCP carries it back, nothing is lost, and it takes as long as it must.
#[test]
fn rate() {
    let rate = RateLimit { units_per_second: 1000, burst: 100, ..RateLimit::default() };
    let server = start(|config| config.engine.rate = Some(rate));
    let mut bob = Client::join(&server, "bob", &["r"]);
    let mut alice = Client::join(&server, "alice", &["r"]);
    bob.recv_type("presence");
    let started = Instant::now();
    let sender = std::thread::spawn(move || {
        for n in 0..600 {
            alice.send(&json!({ "type": "message", "to": "r", "n": n }));
        }
        alice
    });
    for n in 0..600 {
        assert_eq!(bob.recv()["n"], n);
    }
    assert!(started.elapsed() >= Duration::from_millis(450), "{:?}", started.elapsed());
    let mut alice = sender.join().unwrap();
    alice.recv_type("presence");
    alice.hears_nothing();
    assert!(block_on(server.handle().stats()).unwrap().engine.paused >= 1);
}

/// R-L4: who never reads is closed, and hurts nobody.
#[test]
fn who_never_reads() {
    let server = start(|config| {
        config.engine.rate = None;
        config.outbound_limit = 1024 * 1024;
    });
    let mut sender = Client::join(&server, "sender", &["r"]);
    let mut reader = Client::join(&server, "reader", &["r"]);
    let mut sleeper = Client::join(&server, "sleeper", &["r"]);
    reader.recv_type("presence");
    let (mut sent, mut received) = (0, 0);
    let pad = "x".repeat(100_000);
    loop {
        sender.send(&json!({ "type": "message", "to": "r", "n": sent, "pad": pad }));
        sent += 1;
        let frame = reader.recv();
        if frame["type"] == "presence" {
            if frame["data"]["online"] == false {
                break;
            }
            continue;
        }
        assert_eq!(frame["n"], received);
        received += 1;
        assert!(sent < 2_000, "the sleeper is never closed");
    }
    assert_eq!(sleeper.closed(), 4429);
    // The others have lost nothing.
    while received < sent {
        assert_eq!(reader.recv_type("message")["n"], received);
        received += 1;
    }
    assert_eq!(block_on(server.handle().stats()).unwrap().engine.too_slow, 1);
}

/// R-L3: nor is anything lost of who sends too fast and says goodbye.
#[test]
fn rate_and_goodbye() {
    let rate = RateLimit { units_per_second: 1000, burst: 100, ..RateLimit::default() };
    let server = start(|config| config.engine.rate = Some(rate));
    let mut bob = Client::join(&server, "bob", &["r"]);
    let mut alice = Client::join(&server, "alice", &["r"]);
    alice.recv_type("presence");
    bob.recv_type("presence");
    for n in 0..400 {
        let frame = json!({ "type": "message", "to": "r", "n": n });
        alice.ws.write(tungstenite::Message::text(frame.to_string())).unwrap();
    }
    alice.ws.close(None).unwrap();
    for n in 0..400 {
        assert_eq!(bob.recv()["n"], n);
    }
    assert_eq!(bob.recv()["data"]["online"], false);
    while alice.ws.read().is_ok() {}
}

/// R-L1: whoever is on which thread, the limit is that of an authenticated client right behind
/// `auth`.
#[test]
fn a_large_message_behind_auth() {
    let server = start(|_| {});
    let text = json!({ "type": "message", "to": "bob", "x": "x".repeat(500_000) }).to_string();
    let mut bob = Client::join(&server, "bob", &[]);
    for _ in 0..8 {
        let mut alice = Client::connect(&server);
        let auth = r#"{"type":"auth","user":"alice"}"#;
        alice.ws.write(tungstenite::Message::text(auth)).unwrap();
        alice.ws.write(tungstenite::Message::text(text.as_str())).unwrap();
        alice.ws.flush().unwrap();
        assert_eq!(alice.recv()["type"], "welcome");
        assert_eq!(bob.recv_type("message")["x"].as_str().map(str::len), Some(500_000));
    }
}

/// R-L4: less than the limit, but without any progress.
#[test]
fn who_stops_reading() {
    let server = start(|config| {
        config.engine.rate = None;
        config.outbound_limit = 64 * 1024 * 1024;
        config.outbound_timeout = Duration::from_millis(200);
        config.close_timeout = Duration::from_secs(60);
    });
    let mut sender = Client::join(&server, "sender", &["r"]);
    let mut sleeper = Client::join(&server, "sleeper", &["r"]);
    // More than the buffers of both sockets hold.
    let pad = "x".repeat(1_000_000);
    for n in 0..20 {
        sender.send(&json!({ "type": "message", "to": "r", "n": n, "pad": pad }));
    }
    loop {
        let frame = sender.recv_type("presence");
        if frame["data"]["online"] == false {
            break;
        }
    }
    assert_eq!(sleeper.closed(), 4429);
}

/// R-L6: 413, and the connection stays.
#[test]
fn a_record_that_is_too_large() {
    let server = start(|_| {});
    let mut alice = Client::join(&server, "alice", &[]);
    alice.send(&json!({ "type": "presence", "data": { "x": "x".repeat(20_000) } }));
    assert_eq!(alice.recv()["status"], 413);
    alice.hears_nothing();
}

/// R-P3 in a room with so many members that they do not fit below the outbound limit.
#[test]
fn a_newcomer_is_told_of_a_large_room() {
    let server = start(|config| {
        config.outbound_limit = 1024 * 1024;
        config.engine.rate = None;
    });
    let status = "x".repeat(15_000);
    for _ in 0..150 {
        let mut member = Client::connect(&server);
        member.auth(&json!({ "type": "auth", "user": "m", "data": status }));
        // They read, as long as the server is there.
        std::thread::spawn(move || while member.ws.read().is_ok() {});
    }
    let mut newcomer = Client::join(&server, "newcomer", &["m"]);
    let mut told: Vec<Value> = (0..150).map(|_| newcomer.recv()["from"].clone()).collect();
    told.sort_by_key(ToString::to_string);
    told.dedup();
    assert_eq!(told.len(), 150);
}
