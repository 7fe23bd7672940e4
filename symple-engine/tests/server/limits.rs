//! How much, how fast, and what the transport reports: SPEC §7 and §8.

use std::time::Duration;

use crate::common::{Node, config};
use symple_engine::server::{Config, EngineError, Input, RateLimit, TransportFault};

/// SPEC §7, R-L1, R-L4, R-T1: each fault has its code; the peer goes offline.
#[test]
fn faults_of_the_transport() {
    for (fault, expected) in [
        (
            TransportFault::TooBig { size: 1 << 62, limit: 65_536 },
            vec![
                r#"send [#0.7] {"type":"error","status":413,"message":"Message too big"}"#,
                "close #0.7 1009 Message too big",
            ],
        ),
        (TransportFault::InvalidUtf8, vec!["close #0.7 1007 Invalid UTF-8"]),
        (TransportFault::InvalidPayload, vec!["close #0.7 1007 Invalid payload"]),
        (TransportFault::Protocol, vec!["close #0.7 1002 Protocol error"]),
        (TransportFault::TooSlow, vec!["close #0.7 4429 Too slow discard"]),
    ] {
        let mut node = Node::new(Config::default());
        let alice = node.peer("alice", &["r"]);
        let bob = node.peer("bob", &["r"]);
        node.input(Input::Fault { conn: alice, fault }).unwrap();
        assert!(node.received(bob)[0].contains(r#""online":false"#));
        let seen: Vec<_> =
            node.seen().into_iter().filter(|line| !line.contains("presence")).collect();
        assert_eq!(seen, expected);
        // Once is enough.
        node.input(Input::Fault { conn: alice, fault }).unwrap();
        node.nothing();
    }
}

/// R-L1: before authentication as well.
#[test]
fn a_stranger_sends_too_much() {
    let mut node = Node::new(Config::default());
    let conn = node.connect();
    node.input(Input::Fault {
        conn,
        fault: TransportFault::TooBig { size: 65_537, limit: 65_536 },
    })
    .unwrap();
    assert_eq!(
        node.seen(),
        [
            r#"send [#0.7] {"type":"error","status":413,"message":"Message too big"}"#,
            "close #0.7 1009 Message too big",
        ]
    );
    assert_eq!(node.server.stats().too_big, 1);
}

/// R-L3: 400 at once, 200 a second; then reading stops, and nothing is lost.
#[test]
fn rate() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &["r"]);
    let bob = node.peer("bob", &["r"]);
    node.forget();
    let text = r#"{"type":"message","to":"bob"}"#;
    for _ in 0..400 {
        node.text(alice, text);
    }
    assert_eq!(node.received(bob).len(), 400);
    node.forget();
    node.text(alice, text);
    assert_eq!(node.seen()[1], "Pause { conn: #0.7 }");
    // What was read already is handled all the same.
    node.text(alice, text);
    assert_eq!(node.received(bob).len(), 1);
    node.forget();
    node.pass(Duration::from_millis(100));
    node.nothing();
    node.pass(Duration::from_millis(170));
    assert_eq!(node.one(), "Resume { conn: #0.7 }");
    assert_eq!(node.server.stats().paused, 1);
}

/// R-L3: over a long time it is the rate, no more and no less.
#[test]
fn rate_over_time() {
    let rate = RateLimit { units_per_second: 100, burst: 50, ..RateLimit::default() };
    let mut node = Node::new(config(|config| config.rate = Some(rate)));
    let alice = node.peer("alice", &[]);
    node.forget();
    let (mut sent, mut paused) = (0, false);
    for _ in 0..10_000 {
        if !paused {
            node.text(alice, r#"{"type":"message","to":"nobody"}"#);
            sent += 1;
        }
        node.pass(Duration::from_millis(1));
        for line in node.seen() {
            paused = line.starts_with("Pause");
        }
    }
    assert!((1_040..=1_060).contains(&sent), "{sent} frames in 10 s");
}

/// R-L3: off.
#[test]
fn no_rate() {
    let mut node = Node::new(config(|config| config.rate = None));
    let alice = node.peer("alice", &[]);
    for _ in 0..5_000 {
        node.text(alice, r#"{"type":"message","to":"nobody"}"#);
    }
    node.nothing();
}

/// R-L3: a peer that is paused and gone leaves nothing behind.
#[test]
fn paused_and_gone() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &[]);
    for _ in 0..401 {
        node.text(alice, r#"{"type":"message","to":"nobody"}"#);
    }
    assert_eq!(node.one(), "Pause { conn: #0.7 }");
    node.text(alice, r#"{"type":"close"}"#);
    assert_eq!(node.one(), "close #0.7 1000 Closed");
    node.pass(Duration::from_secs(60));
    node.nothing();
    assert_eq!(node.server.poll_timeout(), None);
}

/// The driver is told when it makes no sense.
#[test]
fn misuse() {
    let mut node = Node::new(Config::default());
    let conn = node.connect();
    let again = node.input(Input::Connected { conn, address: crate::common::ADDRESS });
    assert_eq!(again, Err(EngineError::ConnectionInUse(conn)));
    node.disconnect(conn);
    for result in [
        node.input(Input::Text { conn, text: "{}" }),
        node.input(Input::Disconnected { conn }),
        node.input(Input::Fault { conn, fault: TransportFault::Protocol }),
    ] {
        assert_eq!(result, Err(EngineError::UnknownConnection(conn)));
    }
    node.nothing();
}
