//! What the engine counts for those who operate it (R-I2).

use std::time::Duration;

use symple_engine::server::{Config, FrameKind, Input, SessionLookup, TransportFault, Verdict};

use crate::common::{Node, config};

/// R-I2: how many connections are not read from now, however each of them ceases to be so.
#[test]
fn paused_connections() {
    let mut node = Node::new(Config::default());
    let conns = [node.peer("alice", &[]), node.peer("bob", &[]), node.connect()];
    for (count, conn) in (1..).zip(conns) {
        node.input(Input::Frames { conn, count: 1000 }).unwrap();
        node.input(Input::Frames { conn, count: 1000 }).unwrap();
        assert_eq!(node.server.stats().paused_now, count);
    }
    assert_eq!(node.server.stats().paused, 3);
    node.disconnect(conns[0]);
    assert_eq!(node.server.stats().paused_now, 2);
    node.input(Input::Fault { conn: conns[1], fault: TransportFault::TooSlow }).unwrap();
    assert_eq!(node.server.stats().paused_now, 1);
    node.disconnect(conns[1]);
    node.pass(Duration::from_secs(60));
    assert_eq!(node.server.stats().paused_now, 0);
}

/// R-I2: how long authentications take that a look-up and a hook decide: once for each, whatever is decided,
/// and for nobody who is gone before.
#[test]
fn the_time_of_authentications() {
    let mut node = Node::new(config(|config| {
        config.authentication = true;
        config.hook = true;
    }));
    let auth = r#"{"type":"auth","user":"alice","token":"t"}"#;
    let begin = |node: &mut Node| (node.auth(auth), node.requests.last().copied().unwrap());

    // A look-up of 20 ms, then a hook of 30 ms.
    let (_, request) = begin(&mut node);
    node.pass(Duration::from_millis(20));
    let session = SessionLookup::Found(r#"{"user":"alice"}"#);
    node.input(Input::SessionLoaded { request, session }).unwrap();
    let request = node.requests.last().copied().unwrap();
    node.pass(Duration::from_millis(30));
    node.input(Input::AuthDecided { request, verdict: Verdict::Deny { message: None } }).unwrap();
    // No session, at once.
    let (_, request) = begin(&mut node);
    node.input(Input::SessionLoaded { request, session: SessionLookup::Missing }).unwrap();
    // One that is gone.
    let (gone, request) = begin(&mut node);
    node.disconnect(gone);
    node.input(Input::SessionLoaded { request, session: SessionLookup::Missing }).unwrap();
    // One to which nobody answers.
    begin(&mut node);
    node.pass(Duration::from_secs(10));

    let stats = node.server.stats();
    assert_eq!(stats.authentication.count(), 3);
    assert_eq!(stats.authentication.sum(), Duration::from_millis(20 + 30 + 10_000));
    let filled: Vec<_> = stats.authentication.classes().filter(|(_, count)| *count > 0).collect();
    assert_eq!(filled, [(Some(100), 1), (Some(50_000), 1), (None, 1)]);
    assert_eq!((stats.refused, stats.unauthenticated), (3, 0), "who is refused waits for nothing");
}

/// R-I2: frames are counted by kind, those that come in and those that go out, once for each receiver.
#[test]
fn frames_by_kind() {
    let mut node = Node::new(Config::default());
    let (alice, bob) = (node.peer("alice", &["r"]), node.peer("bob", &["r"]));
    for text in [
        r#"{"to":"r","type":"message"}"#,
        r#"{"type":"event","to":"bob"}"#,
        r#"{"type":"presence","data":{"a":1}}"#,
        r#"{"type":"state","room":"r"}"#,
        "[]",
        r#"{"type":"close"}"#,
        r#"{"type":"message"}"#,
    ] {
        node.text(alice, text);
    }
    let stats = node.server.stats();
    let count = |kind| (stats.received.get(kind), stats.sent.get(kind));
    assert_eq!(count(FrameKind::Auth), (2, 0));
    assert_eq!(count(FrameKind::Welcome), (0, 2));
    assert_eq!(count(FrameKind::Message), (1, 1));
    assert_eq!(count(FrameKind::Event), (1, 1));
    assert_eq!(count(FrameKind::Close), (1, 0));
    assert_eq!(stats.received.total(), stats.frames, "what comes behind a close is ignored");
    assert_eq!(stats.sent.total(), stats.deliveries);
    assert_eq!(stats.sent.get(FrameKind::Error), stats.errors);
    assert!(!node.received(bob).is_empty());
    assert!(node.server.has_closed(alice) && !node.server.has_closed(bob));
}
