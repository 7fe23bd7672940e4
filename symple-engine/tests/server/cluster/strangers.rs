//! What a node makes of what others publish, whoever they are.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};
use symple_engine::server::{EngineError, Input};

use super::clustered;
use crate::common::Node;

impl Node {
    /// What this node hears from another one.
    fn hear(&mut self, node: &str, seq: u64, kind: &str, body: &str) -> Result<usize, EngineError> {
        let header = json!({"v": 1, "node": node, "seq": seq, "kind": kind});
        let payload = format!("{header}\n{body}");
        self.input(Input::BusMessage { channel: "cluster", payload: payload.as_bytes() })
    }

    /// How often this node has asked another one for its peers since the last look.
    fn asked(&mut self) -> usize {
        let published = std::mem::take(&mut self.published);
        let asks = |payload: &[u8]| String::from_utf8_lossy(payload).contains(r#""kind":"resync""#);
        published.iter().filter(|(_, payload)| asks(payload)).count()
    }
}

fn node() -> Node {
    let mut node = Node::new(clustered());
    node.drain();
    node.input(Input::BusUp).unwrap();
    node.published.clear();
    node
}

fn state(user: &str, id: &str, rooms: &[&str]) -> Value {
    json!({"user": user, "id": id, "record": {"user": user, "id": id}, "rooms": rooms})
}

fn snapshot(part: usize, last: bool, peers: &[Value]) -> String {
    json!({"part": part, "last": last, "peers": peers}).to_string()
}

/// R-P1: a snapshot that takes longer than a heartbeat to arrive is waited for, as long as it
/// comes on. Were it asked for again, it would never be complete.
#[test]
fn a_slow_snapshot_is_not_given_up() {
    let mut node = node();
    node.hear("n9", 0, "hello", "").unwrap();
    for part in 0..10 {
        node.pass(Duration::from_secs(1));
        let peer = state("bob", &format!("b{part}"), &["r"]);
        node.hear("n9", 0, "snapshot", &snapshot(part, part == 9, &[peer])).unwrap();
    }
    assert_eq!(node.asked(), 0);
    assert_eq!(node.server.stats().remote_peers, 10);
    // One that does not come on is.
    node.pass(Duration::from_secs(2));
    node.hear("n9", 5, "beat", "").unwrap();
    assert_eq!(node.asked(), 1);
    node.hear("n9", 5, "snapshot", &snapshot(0, false, &[])).unwrap();
    for _ in 0..2 {
        node.pass(Duration::from_secs(2));
        node.hear("n9", 5, "beat", "").unwrap();
    }
    assert!(node.asked() >= 1);
    assert_eq!(node.server.stats().remote_peers, 10, "nobody is gone before all is known");
}

/// R-F5: what a peer of another node costs does not grow with the square of its rooms.
#[test]
fn a_remote_peer_may_be_in_many_rooms() {
    let mut node = node();
    let alice = node.peer("alice", &["r"]);
    let rooms: Vec<_> = (0..100_000).map(|n| format!("r{n}")).collect();
    let twice: Vec<_> = rooms.iter().chain(&rooms).map(String::as_str).chain(["r"]).collect();
    node.hear("n9", 0, "snapshot", &snapshot(0, true, &[state("bob", "b0", &twice)])).unwrap();
    node.hear("n9", 1, "snapshot", &snapshot(0, true, &[state("bob", "b0", &twice)])).unwrap();
    assert_eq!(node.server.rooms().count(), 100_003 - 1);
    node.hear("n9", 2, "snapshot", &snapshot(0, true, &[state("bob", "b0", &["r99999"])])).unwrap();
    assert_eq!(node.server.rooms().count(), 3);
    assert_eq!(node.received(alice).len(), 2, "bob came, and went");
}

/// R-P1: a node that says less than it has said, or something else, is asked what is right:
/// someone else has spoken in its name.
#[test]
fn a_node_in_whose_name_another_has_spoken_is_asked() {
    let online = |user: &str, id: &str| json!({"online": state(user, id, &["r"])}).to_string();
    let known = |node: &mut Node| {
        node.hear("n9", 0, "snapshot", &snapshot(0, true, &[])).unwrap();
        node.pass(Duration::from_secs(1));
        node.asked();
    };

    // A change too many, and nothing after it.
    let mut one = node();
    known(&mut one);
    one.hear("n9", 1, "change", &online("mallory", "m0")).unwrap();
    assert_eq!(one.asked(), 0);
    one.hear("n9", 0, "beat", "").unwrap();
    assert_eq!(one.asked(), 1);
    one.hear("n9", 0, "snapshot", &snapshot(0, true, &[])).unwrap();
    assert_eq!(one.server.stats().remote_peers, 0);

    // A change in the place of the right one.
    let mut one = node();
    known(&mut one);
    one.hear("n9", 1, "change", &online("mallory", "m0")).unwrap();
    one.hear("n9", 1, "change", &online("bob", "b0")).unwrap();
    assert_eq!(one.asked(), 1);

    // A snapshot from the end of time.
    let mut one = node();
    known(&mut one);
    one.hear("n9", u64::MAX, "snapshot", &snapshot(0, true, &[])).unwrap();
    one.hear("n9", 1, "change", &online("bob", "b0")).unwrap();
    assert_eq!(one.asked(), 1);
    one.hear("n9", 1, "snapshot", &snapshot(0, true, &[state("bob", "b0", &["r"])])).unwrap();
    assert_eq!(one.server.stats().remote_peers, 1);
}

/// R-P1: the node whose peer it is knows its user; what was said before was wrong.
#[test]
fn a_peer_told_of_as_another_users() {
    let mut node = node();
    let alice = node.peer("alice", &["r"]);
    for (seq, user) in [(0, "mallory"), (1, "bob")] {
        let snapshot = snapshot(0, true, &[state(user, "b0", &["r"])]);
        node.hear("n9", seq, "snapshot", &snapshot).unwrap();
    }
    let mut seen = String::new();
    for frame in node.received(alice) {
        let frame: Value = serde_json::from_str(&frame).unwrap();
        let _ = write!(seen, "{} {} ", frame["from"].as_str().unwrap(), frame["data"]["online"]);
    }
    assert_eq!(seen, "mallory|b0 true mallory|b0 false bob|b0 true ");
    node.published.clear();
    node.pass(Duration::from_secs(5));
    assert_eq!(node.asked(), 0, "nothing is in dispute");
}
