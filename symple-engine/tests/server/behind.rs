//! Clients that do not read as fast as they are sent: R-P8.

use std::time::Duration;

use crate::common::{Node, config};
use symple_engine::server::{Config, ConnId, Input};

impl Node {
    fn falls_behind(&mut self, conn: ConnId) {
        self.forget();
        self.input(Input::Behind { conn }).unwrap();
    }

    /// It has read everything. What it is sent then.
    fn reads(&mut self, conn: ConnId) -> Vec<String> {
        self.forget();
        self.input(Input::Drained { conn }).unwrap();
        self.received(conn)
    }
}

/// The presence of the user, whose record is the server's.
fn presence(user: &str, id: u32, online: bool) -> String {
    format!(
        r#"{{"type":"presence","from":"{user}|{id:x}…","data":{{"user":"{user}","id":"{id:x}…","online":{online},"name":"{user}"}}}}"#
    )
}

/// How often it is to be said that something has been read, since the last look.
fn awaits_drain(node: &mut Node) -> usize {
    node.seen().iter().filter(|line| line.starts_with("AwaitDrain")).count()
}

/// R-P8, R-P2, R-P3: of what happened until a client has read, it is told what is true then, each thing
/// once; and it is told at once again.
#[test]
fn what_is_told_later_is_merged() {
    let mut node = Node::new(Config::default());
    let slow = node.peer("slow", &["r"]);
    let bob = node.peer("bob", &["r"]);
    let carol = node.peer("carol", &["r", "other"]);
    node.falls_behind(slow);
    assert_eq!(awaits_drain(&mut node), 1);
    node.input(Input::Behind { conn: slow }).unwrap();
    assert_eq!(awaits_drain(&mut node), 0, "it has been said");
    assert_eq!(node.server.stats().fell_behind, 1);

    // One that comes and goes, ten times; one that stays; one that goes; one that goes and comes.
    for _ in 0..10 {
        let dave = node.peer("dave", &["r"]);
        node.disconnect(dave);
    }
    node.peer("erin", &["r"]);
    node.disconnect(bob);
    for _ in 0..3 {
        node.text(carol, r#"{"type":"leave","room":"r"}"#);
        node.text(carol, r#"{"type":"join","room":"r"}"#);
    }
    assert_eq!(node.received(slow), [""; 0]);
    let told = node.reads(slow);
    let mut sorted = told.clone();
    sorted.sort();
    let mut expected = [
        presence("bob", 3, false),
        presence("carol", 4, false),
        presence("carol", 4, true),
        presence("erin", 15, true),
    ];
    expected.sort();
    assert_eq!(sorted, expected);
    let at = |frame: &String| told.iter().position(|text| text == frame);
    assert!(at(&presence("carol", 4, false)) < at(&presence("carol", 4, true)));

    node.forget();
    node.text(carol, r#"{"type":"leave","room":"r"}"#);
    assert_eq!(node.received(slow), [presence("carol", 4, false)]);
    assert!(node.reads(slow).is_empty());
}

/// R-P8, R-M6, R-P3: a frame never overtakes what is to be told of its sender, and nothing is told twice.
#[test]
fn a_frame_comes_behind_the_presence_of_its_sender() {
    let mut node = Node::new(Config::default());
    let slow = node.peer("slow", &["r"]);
    let bob = node.peer("bob", &["r"]);
    node.falls_behind(slow);
    let carol = node.peer("carol", &["r"]);
    node.text(bob, r#"{"type":"leave","room":"r"}"#);
    node.text(bob, r#"{"type":"join","room":"r"}"#);
    node.forget();
    for (conn, user, id) in [(carol, "carol", 4), (bob, "bob", 3)] {
        node.text(conn, r#"{"type":"message","to":"r","data":1}"#);
        let received = node.received(slow);
        let (message, before) = received.split_last().unwrap();
        assert!(message.starts_with(r#"{"type":"message""#), "{received:?}");
        let online = presence(user, id, true);
        match user {
            "carol" => assert_eq!(before, [online]),
            _ => assert_eq!(before, [presence(user, id, false), online]),
        }
        node.forget();
    }
    assert!(node.reads(slow).is_empty());
}

/// R-P8, R-P4: of what a peer says of itself meanwhile its last record is told; a presence that says more
/// is relayed, behind it.
#[test]
fn updates_are_merged() {
    let mut node = Node::new(Config::default());
    let slow = node.peer("slow", &["r"]);
    let bob = node.peer("bob", &["r"]);
    node.falls_behind(slow);
    for n in 0..5 {
        node.text(bob, &format!(r#"{{"type":"presence","data":{{"n":{n}}}}}"#));
    }
    assert_eq!(node.received(slow), [""; 0]);
    let last = r#"{"type":"presence","from":"bob|3…","data":{"n":4,"id":"3…","user":"bob","online":true}}"#;
    assert_eq!(node.reads(slow), [last]);

    node.falls_behind(slow);
    node.text(bob, r#"{"type":"presence","data":{"n":5}}"#);
    node.text(bob, r#"{"type":"presence","probe":true}"#);
    let received = node.received(slow);
    assert_eq!(received.len(), 2);
    assert_eq!(received[0], last.replace(r#""n":4"#, r#""n":5"#));
    assert!(received[1].contains(r#""probe":true"#));
    assert!(node.reads(slow).is_empty());
}

/// R-P8, R-L4: it is told in step with what it reads; what it sends to itself comes back behind that.
#[test]
fn much_is_told_bit_by_bit() {
    let mut node = Node::new(config(|config| config.roster_burst = 1));
    let slow = node.peer("slow", &["r"]);
    let bob = node.peer("bob", &["r"]);
    node.falls_behind(slow);
    node.disconnect(bob);
    node.peer("carol", &["r"]);
    let id = node.id(slow);
    node.text(slow, &format!(r#"{{"type":"event","to":"slow|{id}"}}"#));
    assert_eq!(node.received(slow), [""; 0]);
    assert_eq!(node.reads(slow), [presence("bob", 3, false)]);
    assert_eq!(awaits_drain(&mut node), 1);
    let last = node.reads(slow);
    assert_eq!(last[0], presence("carol", 4, true));
    assert!(last[1].starts_with(r#"{"type":"event""#));
    assert_eq!(awaits_drain(&mut node), 0);
}

/// R-P8, R-L7, R-L3: what is kept does not grow with how often others come and go; it counts, and whoever
/// causes it pays for it.
#[test]
fn what_is_kept_is_bounded_and_counts() {
    let mut node = Node::new(config(|config| config.rate = None));
    let slow = node.peer("slow", &["r"]);
    let known: Vec<_> = (0..5).map(|_| node.peer("bob", &["r"])).collect();
    node.falls_behind(slow);
    assert_eq!(node.server.waiting(), 0);
    for conn in &known {
        for _ in 0..100 {
            node.text(*conn, r#"{"type":"leave","room":"r"}"#);
            node.text(*conn, r#"{"type":"join","room":"r"}"#);
            node.text(*conn, r#"{"type":"presence","data":{"n":1}}"#);
        }
        node.forget();
    }
    for _ in 0..100 {
        let come = node.peer("carol", &["r"]);
        node.disconnect(come);
        node.forget();
    }
    let kept = node.server.waiting();
    assert!(0 < kept && kept <= 5 * 300, "{kept}");
    assert_eq!(node.server.waiting_of(slow), kept);
    let effort = node.server.effort();
    node.disconnect(known[0]);
    assert!(node.server.effort() > effort);
    node.disconnect(slow);
    assert_eq!(node.server.waiting(), 0);
}

/// R-P8: a client that leaves a room itself is told so of those whom it knew.
#[test]
fn one_that_leaves_itself() {
    let mut node = Node::new(Config::default());
    let slow = node.peer("slow", &["r"]);
    let bob = node.peer("bob", &["r"]);
    node.falls_behind(slow);
    node.peer("carol", &["r"]);
    node.text(bob, r#"{"type":"presence","data":{"n":1}}"#);
    node.text(slow, r#"{"type":"leave","room":"r"}"#);
    let received = node.received(slow);
    assert_eq!(received[0], r#"{"type":"leave:ok","room":"r"}"#);
    assert_eq!(received.len(), 2);
    assert!(received[1].contains(r#""from":"bob|3…""#) && received[1].contains("false"));
    assert!(node.reads(slow).is_empty());
}

/// R-P8, R-X2: one that is told in batches gets the next when it has read.
#[test]
fn batches_wait() {
    const TICK: Duration = Duration::from_millis(50);
    let mut node = Node::new(Config::default());
    let auth = r#"{"type":"auth","user":"slow","rooms":["r"],"extensions":["roster"]}"#;
    let slow = node.auth(auth);
    node.pass(TICK);
    node.falls_behind(slow);
    assert_eq!(awaits_drain(&mut node), 1);
    node.peer("bob", &["r"]);
    node.pass(TICK * 10);
    assert_eq!(node.received(slow), [""; 0]);
    node.reads(slow);
    node.pass(TICK);
    assert_eq!(node.received(slow).len(), 1);
}
