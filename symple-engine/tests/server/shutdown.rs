//! The end of a node: SPEC §12.

use std::time::Duration;

use crate::common::{Node, config};
use symple_engine::server::{Config, ConnId, EngineError, HostCall, Input};
use symple_proto::{Fields, UserName, frame::Event};

/// SPEC §12: everyone is told, everyone is closed, nobody is told that anyone went offline.
#[test]
fn all_at_once() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &["r"]);
    let bob = node.peer("bob", &["r"]);
    let stranger = node.connect();
    node.forget();
    node.input(Input::Shutdown { drain: Duration::ZERO }).unwrap();
    assert_eq!(
        node.seen(),
        [
            format!("send [#0.7, #1.7] {}", Event::SHUTDOWN),
            "close #2.7 1001 Server shutting down".into(),
            "close #0.7 1001 Server shutting down".into(),
            "close #1.7 1001 Server shutting down".into(),
        ]
    );
    assert!(!node.server.is_shut_down());
    for conn in [alice, bob, stranger] {
        node.disconnect(conn);
    }
    node.nothing();
    assert!(node.server.is_shut_down());
    assert_eq!(node.server.rooms().count(), 0);
}

/// SPEC §12: who comes later is closed at once.
#[test]
fn nobody_comes_in_any_more() {
    let mut node = Node::new(Config::default());
    node.input(Input::Shutdown { drain: Duration::ZERO }).unwrap();
    node.connect();
    assert_eq!(node.one(), "close #0.7 1001 Server shutting down");
    let call = HostCall::AddPeer {
        conn: ConnId::new(9, 0),
        user: UserName::new("bot").unwrap(),
        peer: Fields::new(),
        rooms: &[],
    };
    assert_eq!(node.host(call), Err(EngineError::ShuttingDown));
}

/// SPEC §12, R-P2: spread over the drain, in the order in which they came; those who stay are
/// told.
#[test]
fn bit_by_bit() {
    let mut node = Node::new(Config::default());
    let peers: Vec<_> = (0..100).map(|_| node.peer("alice", &[])).collect();
    node.forget();
    node.input(Input::Shutdown { drain: Duration::from_secs(10) }).unwrap();
    assert!(node.one().contains("shutdown"));
    node.pass(Duration::from_secs(5));
    let seen = node.seen();
    let closed: Vec<_> = seen.iter().filter(|line| line.starts_with("close")).collect();
    assert_eq!(closed.len(), 50);
    assert!(closed[0].starts_with("close #0.7 1001"));
    let told = seen.iter().filter(|line| line.contains(r#""online":false"#)).count();
    assert_eq!(told, 50);
    // The rest still talks.
    node.text(peers[99], r#"{"type":"message","to":"alice"}"#);
    assert_eq!(node.received(peers[98]).len(), 1);
    node.forget();
    // One leaves by itself.
    node.disconnect(peers[70]);
    node.pass(Duration::from_secs(5));
    let closed = node.seen().iter().filter(|line| line.starts_with("close")).count();
    assert_eq!(closed, 49);
    assert_eq!(node.server.local_peers().count(), 0);
}

/// R-H3, SPEC §12: a node has not ended before the application was told of each of its own peers, however
/// many they are.
#[test]
fn the_application_is_told_of_all_its_peers() {
    let mut node = Node::new(config(|config| {
        config.hooks.changes = true;
        config.work_burst = 1;
    }));
    for slot in 0..5 {
        let call = HostCall::AddPeer {
            conn: ConnId::new(slot, 0),
            user: UserName::new(format!("bot{slot}")).unwrap(),
            peer: Fields::new(),
            rooms: &["r".into()],
        };
        node.host(call).unwrap();
    }
    node.forget();
    node.input(Input::Shutdown { drain: Duration::from_secs(10) }).unwrap();
    let mut turns = 0;
    while !node.server.is_shut_down() {
        assert_eq!(node.server.poll_timeout(), Some(node.now), "it goes on at once");
        node.input(Input::Timeout).unwrap();
        turns += 1;
    }
    assert!(turns > 1, "{turns}");
    let seen = node.seen();
    let told = seen.iter().filter(|line| line.starts_with("tell ") && line.contains("Offline"));
    assert_eq!(told.count(), 5, "{seen:#?}");
}

/// A second call closes what is left.
#[test]
fn impatience() {
    let mut node = Node::new(Config::default());
    node.peer("alice", &[]);
    node.peer("bob", &[]);
    node.input(Input::Shutdown { drain: Duration::from_secs(10) }).unwrap();
    node.forget();
    node.input(Input::Shutdown { drain: Duration::ZERO }).unwrap();
    assert_eq!(node.seen().len(), 2);
    node.pass(Duration::from_secs(20));
    node.nothing();
}

/// SPEC §12: any drain will do, however short.
#[test]
fn a_drain_shorter_than_the_clock_can_tell() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &[]);
    node.input(Input::Shutdown { drain: Duration::from_nanos(1) }).unwrap();
    node.pass(Duration::from_millis(100));
    node.disconnect(alice);
    assert!(node.server.is_shut_down());
}
