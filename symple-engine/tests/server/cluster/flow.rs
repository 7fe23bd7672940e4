//! What waits for the bus, and what does not wait behind it (R-C6).

use std::time::Duration;

use serde_json::json;
use symple_engine::server::{EngineError, HostCall, Input, Whom};
use symple_proto::cluster::{Change, Envelope, Payload};

use super::strangers::{Other, node, state};
use crate::common::Node;

/// A message with so many bytes to the room.
fn message(size: usize) -> String {
    json!({"type": "message", "to": "r", "data": "x".repeat(size)}).to_string()
}

fn take(node: &mut Node, bytes: u64) {
    node.input(Input::BusTaken { bytes }).unwrap();
}

/// The changes that have been published since the last look.
fn changes(node: &mut Node) -> Vec<Change> {
    let published = std::mem::take(&mut node.published);
    let changes =
        published.iter().filter_map(|(_, bytes)| match Envelope::parse(bytes).unwrap().payload {
            Payload::Change(text) => Some(Change::parse(&text).unwrap()),
            _ => None,
        });
    changes.collect()
}

/// R-C6: a client that sends more than the bus takes is not read from, then refused; its own node
/// delivers all the same, and other clients lose nothing.
#[test]
fn a_greedy_client_costs_its_own_frames() {
    let mut node = node();
    let mut other = Other::known(&mut node, "n9", &[state("bob", "b0", &["r"])]);
    let [greedy, alice, listener] =
        ["greedy", "alice", "listener"].map(|user| node.peer(user, &["r"]));
    other.beat(&mut node);
    node.published.clear();
    node.takes = false;
    node.forget();
    for sent in 1..=40 {
        node.text(greedy, &message(64 * 1024));
        let pauses = node.seen().iter().filter(|line| line.starts_with("Pause")).count();
        assert_eq!(pauses, usize::from(sent == 4), "{sent}");
    }
    let frames = node.published.len();
    assert_eq!(frames, 15, "a quarter of what may wait");
    assert_eq!(node.server.stats().bus_refused, 25);
    // Another one is not to blame for it.
    node.text(alice, &message(64 * 1024));
    assert_eq!(node.published.len(), frames + 1);
    assert_eq!(node.received(listener).len(), 1);
    assert_eq!(node.received(alice).len(), 0);
    // It is told once in a second.
    node.forget();
    node.pass(Duration::from_secs(1));
    for _ in 0..3 {
        node.text(greedy, &message(64 * 1024));
    }
    assert_eq!(
        node.received(greedy),
        [r#"{"type":"error","status":503,"message":"Cluster busy"}"#]
    );
    // When enough has been taken it is read from again, and its frames go out.
    node.forget();
    take(&mut node, 700 * 1024);
    node.nothing();
    take(&mut node, 250 * 1024);
    assert_eq!(node.seen(), ["Resume { conn: #0.7 }"]);
    let published = node.published.len();
    node.text(greedy, &message(10));
    assert_eq!(node.published.len(), published + 1);
}

/// R-C6: a bus that has gone takes nothing any more, and nobody waits for it.
#[test]
fn a_bus_that_is_lost_holds_nobody_up() {
    let mut node = node();
    Other::known(&mut node, "n9", &[state("bob", "b0", &["r"])]);
    let greedy = node.peer("greedy", &["r"]);
    node.takes = false;
    for _ in 0..5 {
        node.text(greedy, &message(64 * 1024));
    }
    node.forget();
    node.input(Input::BusDown).unwrap();
    assert_eq!(node.seen(), ["Resume { conn: #0.7 }"]);
    assert_eq!(node.server.stats().bus_waiting, 0);
    node.text(greedy, &message(64 * 1024));
    node.nothing();
}

/// R-C6: a record that is what it was is not told, and one that changes again and again is told
/// once in fifty milliseconds: the last one in the end.
#[test]
fn records_are_told_when_they_change() {
    let mut node = node();
    let alice = node.peer("alice", &["r"]);
    node.published.clear();
    let presence = |n: usize| json!({"type": "presence", "data": {"n": n}}).to_string();
    node.text(alice, &presence(0));
    assert_eq!(changes(&mut node).len(), 1);
    for _ in 0..100 {
        node.text(alice, &presence(0));
        node.pass(Duration::from_millis(10));
    }
    assert_eq!(changes(&mut node), [], "it is what it was");
    for n in 1..=100 {
        node.text(alice, &presence(n));
        node.pass(Duration::from_millis(5));
    }
    node.pass(Duration::from_millis(50));
    let told = changes(&mut node);
    assert!((10..=12).contains(&told.len()), "{}", told.len());
    let Some(Change::Record { record, .. }) = told.last() else { panic!() };
    assert!(record.text().contains("\"n\":100"), "{record}");
    // One that has left meanwhile is not told of any more.
    node.text(alice, &presence(1));
    node.text(alice, &presence(2));
    node.disconnect(alice);
    node.pass(Duration::from_millis(500));
    let told = changes(&mut node);
    assert!(matches!(&told[..], [Change::Record { .. }, Change::Offline { .. }]), "{told:?}");
}

/// R-C6: while much waits, who has changed is told of later, once, as it is then; but before a frame
/// of it.
#[test]
fn changes_are_merged_while_much_waits() {
    let mut node = node();
    Other::known(&mut node, "n9", &[state("bob", "b0", &["r"])]);
    let senders = ["a", "b", "c", "d"].map(|user| node.peer(user, &["r"]));
    let [alice, carol] = ["alice", "carol"].map(|user| node.peer(user, &["r"]));
    let ids = [node.id(alice), node.id(carol)];
    node.takes = false;
    for conn in senders {
        for _ in 0..5 {
            node.text(conn, &message(64 * 1024));
        }
    }
    assert!(node.server.stats().bus_waiting > 1024 * 1024);
    node.published.clear();
    for n in 0..100 {
        for conn in [alice, carol] {
            node.text(conn, &format!(r#"{{"type":"join","room":"r{n}"}}"#));
            node.text(conn, &format!(r#"{{"type":"leave","room":"r{n}"}}"#));
        }
    }
    node.text(alice, r#"{"type":"join","room":"s"}"#);
    let dave = node.peer("dave", &["s"]);
    let id = node.id(dave);
    node.disconnect(dave);
    node.disconnect(carol);
    assert_eq!(changes(&mut node), []);
    // Where its frame arrives it must be known in which rooms it is.
    node.text(alice, &message(10));
    let told = node.published.clone();
    let kinds: Vec<_> =
        told.iter().map(|(_, bytes)| Envelope::parse(bytes).unwrap().payload).collect();
    assert!(matches!(&kinds[..], [Payload::Change(_), Payload::Frame(_)]), "{kinds:?}");
    let told = changes(&mut node);
    let Change::Online(state) = &told[0] else { panic!("{told:?}") };
    assert_eq!((state.id.as_str(), state.rooms.len()), (&*ids[0], 3));
    take(&mut node, u64::MAX);
    let offline = |id: &str| Change::Offline { id: id.parse().unwrap() };
    assert_eq!(changes(&mut node), [offline(&ids[1]), offline(&id)]);
}

/// R-C6: more peers than can be remembered have changed: others learn that they have missed it.
#[test]
fn too_many_changes_are_asked_for() {
    let mut node = node();
    let mut other = Other::known(&mut node, "n9", &[state("bob", "b0", &["r"])]);
    let senders = ["a", "b", "c", "d"].map(|user| node.peer(user, &["r"]));
    node.takes = false;
    for conn in senders {
        for _ in 0..5 {
            node.text(conn, &message(64 * 1024));
        }
    }
    for n in 0..5000 {
        let conn = node.peer(&format!("u{n}"), &[]);
        node.disconnect(conn);
    }
    node.input(Input::BusDown).unwrap();
    node.published.clear();
    node.input(Input::BusUp).unwrap();
    node.published.clear();
    let own = node.server.node_id().unwrap().to_owned();
    let ask = json!({"nonce": 1, "since": [4, 0], "after": 0, "bytes": 10_000}).to_string();
    other.say(&mut node, "ask", &ask).unwrap();
    let answer = Envelope::parse(&node.published[0].1).unwrap();
    assert!(matches!(answer.payload, Payload::Part(_)), "{own} {answer:?}");
    assert_eq!(answer.seq, 5);
}

/// R-C2, R-C6: whoever asks for peers waits until little else does.
#[test]
fn answers_wait_for_the_bus() {
    let mut node = node();
    let mut other = Other::known(&mut node, "n9", &[state("bob", "b0", &["r"])]);
    let mut third = Other::known(&mut node, "n8", &[]);
    let alice = node.peer("alice", &["r"]);
    node.published.clear();
    node.takes = false;
    for _ in 0..5 {
        node.text(alice, &message(64 * 1024));
    }
    node.published.clear();
    let ask = |nonce: u64, after: u64| {
        json!({"nonce": nonce, "since": null, "after": after, "bytes": 10_000}).to_string()
    };
    other.say(&mut node, "ask", &ask(1, 0)).unwrap();
    third.say(&mut node, "ask", &ask(2, 0)).unwrap();
    other.say(&mut node, "ask", &ask(3, 1)).unwrap();
    assert_eq!(node.published, []);
    node.pass(Duration::from_secs(2));
    let beats = std::mem::take(&mut node.published);
    assert_eq!(beats.len(), 1, "heartbeats do not wait");
    take(&mut node, 100 * 1024);
    let answered: Vec<_> = node.published.iter().map(|(to, _)| &**to).collect();
    assert_eq!(answered, ["node:n9", "node:n8"], "each once, in turn");
    assert!(String::from_utf8_lossy(&node.published[0].1).contains("\"nonce\":3"));
}

/// R-C2, R-T2: a node is ready when it knows all others' peers.
#[test]
fn a_node_catches_up() {
    let mut node = node();
    assert!(!node.server.is_caught_up());
    let mut other = Other::new("n9");
    other.beat(&mut node);
    let ask = other.asked(&mut node).unwrap();
    other.part(&mut node, &ask, Some(1), &[state("bob", "b0", &["r"])]);
    node.pass(Duration::from_millis(1500));
    assert!(!node.server.is_caught_up());
    let ask = other.asked(&mut node).unwrap();
    other.part(&mut node, &ask, None, &[]);
    assert!(node.server.is_caught_up());
    node.input(Input::BusDown).unwrap();
    assert!(!node.server.is_caught_up());
    node.input(Input::BusUp).unwrap();
    node.pass(Duration::from_millis(500));
    assert!(node.server.is_caught_up(), "nothing was missed");
}

/// R-C2: it does not wait for ever, and says for whom it has waited.
#[test]
fn a_node_that_cannot_catch_up_says_so() {
    let mut node = node();
    let mut other = Other::new("n9");
    other.beat(&mut node);
    let ask = other.asked(&mut node).unwrap();
    other.part(&mut node, &ask, Some(1), &[]);
    for _ in 0..9 {
        node.pass(Duration::from_secs(1));
        other.beat(&mut node);
    }
    assert!(!node.server.is_caught_up());
    node.forget();
    node.pass(Duration::from_secs(1));
    assert!(node.server.is_caught_up());
    let seen = node.seen();
    assert!(seen.iter().any(|line| line == r#"Event(NotCaughtUp { nodes: ["n9"] })"#), "{seen:?}");
    // A node alone has nobody to wait for, and one without a bus nothing.
    let mut alone = super::strangers::node();
    alone.pass(Duration::from_millis(500));
    assert!(alone.server.is_caught_up());
    assert!(Node::new(crate::common::config(|_| ())).server.is_caught_up());
}

/// R-C6: what the application emits, broadcasts and calls is refused past a limit, in whole and here, too; what
/// clients and the node itself say has room beside it.
#[test]
fn a_greedy_application_is_refused() {
    const LIMIT: u64 = 8 * 1024 * 1024;
    let mut node = node();
    let mut other = Other::known(&mut node, "n9", &[state("bob", "b0", &["r", "s"])]);
    Other::known(&mut node, "n8", &[state("bob", "b1", &["t"])]);
    let alice = node.peer("alice", &["r"]);
    let [to_room, to_rooms] = ["\"r\"", "[\"s\",\"t\"]"]
        .map(|to| format!(r#"{{"type":"event","to":{to},"data":"{}"}}"#, "x".repeat(1024 * 1024)));
    node.takes = false;
    node.forget();
    let emit = |node: &mut Node, text: &str| node.host(HostCall::Emit { text });
    for _ in 0..7 {
        assert_eq!(emit(&mut node, &to_room), Ok(2));
    }
    assert_eq!(node.received(alice).len(), 7);
    assert_eq!(emit(&mut node, &to_room), Err(EngineError::Busy));
    // What goes to several nodes goes to all of them or to none.
    take(&mut node, 1024 * 1024);
    let published = node.published.len();
    assert_eq!(emit(&mut node, &to_rooms), Err(EngineError::Busy));
    assert_eq!(node.published.len(), published);
    assert_eq!(emit(&mut node, &to_room), Ok(2));
    node.forget();
    let frame = &*to_room;
    let reason = &*"x".repeat(1024 * 1024);
    for call in [
        HostCall::Emit { text: frame },
        HostCall::Broadcast { text: frame },
        HostCall::Send { peer: "b0", text: frame },
        HostCall::Kick { whom: Whom::Peer("b0"), reason },
        HostCall::Kick { whom: Whom::User("bob"), reason },
    ] {
        let what = format!("{:.20}", format!("{call:?}"));
        assert_eq!(node.host(call), Err(EngineError::Busy), "{what}");
    }
    // Small ones are taken until there is no room for them either; and what waits is below what the
    // connection is given up at, with what clients have there.
    let small = HostCall::Join { peer: "b0", room: "s" };
    while node.host(small.clone()) == Ok(1) {}
    node.forget();
    let state = format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000));
    for call in [
        small,
        HostCall::Leave { peer: "b0", room: "r" },
        HostCall::CloseRoom { room: "r" },
        HostCall::Kick { whom: Whom::User("bob"), reason: "out" },
        HostCall::Emit { text: r#"{"to":"b0"}"# },
        HostCall::ReadState { room: "unknown", question: 1 },
    ] {
        assert_eq!(node.host(call.clone()), Err(EngineError::Busy), "{call:?}");
    }
    node.nothing();
    assert_eq!(node.server.members("r").count(), 2, "nobody was taken out of the room");
    assert!(node.server.stats().bus_refused > 10);
    assert!(node.server.stats().bus_waiting <= LIMIT);
    node.text(alice, &message(64 * 1024));
    assert!(node.server.stats().bus_waiting > LIMIT - 512 * 1024);
    let published = node.published.len();
    node.pass(Duration::from_secs(2));
    other.beat(&mut node);
    assert!(node.published.len() > published, "heartbeats do not wait");
    // What reaches nobody elsewhere is not refused.
    let to_alice = format!(r#"{{"to":"{}"}}"#, node.id(alice));
    assert_eq!(emit(&mut node, &to_alice), Ok(1));
    // And all goes on when the bus has taken it.
    take(&mut node, u64::MAX);
    assert_eq!(emit(&mut node, &to_rooms), Ok(2));
    assert_eq!(node.host(HostCall::SetState { room: "r", set: &state }), Ok(0));
    assert_eq!(node.host(HostCall::Kick { whom: Whom::User("bob"), reason: "out" }), Ok(2));
}
