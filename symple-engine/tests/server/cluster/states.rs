//! The states of rooms on several nodes: R-K5.

use std::time::Duration;

use super::{Pair, clustered};
use symple_engine::server::{HostCall, Input};

const ALL: &str = r#"{"type":"state","room":"r","all":"#;

/// R-K5: a node that gets its first member asks the others before it tells of the state; then both tell their
/// members of every change.
#[test]
fn nodes_share_a_state() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.stated("alice", &["r"]);
    pair.settle();
    pair.a.set(alice, "r", r#"{"a":1.0,"b":2}"#);
    pair.settle();
    let bob = pair.b.stated("bob", &["r"]);
    assert!(!pair.b.received(bob).iter().any(|text| text.contains("\"all\"")));
    pair.settle();
    let told = pair.b.received(bob);
    assert!(told.contains(&format!(r#"{ALL}{{"a":1.0,"b":2}}}}"#)), "{told:?}");
    pair.forget();
    pair.b.set(bob, "r", r#"{"a":null,"c":3}"#);
    assert_eq!(pair.b.received(bob), [r#"{"type":"state:ok","room":"r"}"#]);
    pair.settle();
    let told = pair.a.received(alice);
    let id = pair.b.id(bob).replace(&"0".repeat(19), "…");
    let from = format!(r#","from":"bob|{id}"}}"#);
    assert_eq!(told, [format!(r#"{{"type":"state","room":"r","set":{{"a":null,"c":3}}{from}"#)]);
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.server.room_state("r").as_deref(), Some(r#"{"b":2,"c":3}"#));
    }
    // At the same time: one of them wins, and both agree which.
    pair.forget();
    pair.a.set(alice, "r", r#"{"x":"a"}"#);
    pair.b.set(bob, "r", r#"{"x":"b"}"#);
    pair.settle();
    assert_eq!(pair.a.server.room_state("r"), pair.b.server.room_state("r"));
}

/// R-K5: a node that does not answer is not waited for, and that is said; what it knows is told later.
#[test]
fn a_silent_node_is_not_waited_for() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.stated("alice", &["r"]);
    pair.settle();
    pair.a.set(alice, "r", r#"{"a":1}"#);
    pair.settle();
    pair.b.pass(Duration::from_secs(1));
    pair.b.forget();
    let bob = pair.b.stated("bob", &["r"]);
    pair.b.set(bob, "r", r#"{"b":2}"#);
    assert!(!pair.b.received(bob).iter().any(|text| text.contains("\"type\":\"state")));
    let lost = std::mem::take(&mut pair.b.published);
    pair.b.pass(Duration::from_millis(300));
    let told = pair.b.received(bob);
    assert!(told.contains(&format!("{ALL}{{}}}}")), "{told:?}");
    assert!(told.contains(&r#"{"type":"state:ok","room":"r"}"#.to_owned()));
    assert!(pair.b.seen().iter().any(|line| line.starts_with("Event(StateNotFetched")));
    pair.b
        .published
        .splice(0..0, lost.into_iter().filter(|(_, payload)| !payload.ends_with(b"]}}")));
    pair.settle();
    pair.pass(Duration::from_secs(10));
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.server.room_state("r").as_deref(), Some(r#"{"a":1,"b":2}"#));
    }
    let told = pair.b.received(bob);
    assert!(told.contains(&r#"{"type":"state","room":"r","set":{"a":1}}"#.to_owned()), "{told:?}");
}

/// R-K4, R-K5: a state outlives the last member, and is found by whoever gets the next one; what is pinned
/// hears of changes without members.
#[test]
fn a_state_waits_for_members_on_any_node() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.stated("alice", &["r"]);
    pair.settle();
    pair.a.set(alice, "r", r#"{"a":1}"#);
    pair.a.disconnect(alice);
    pair.settle();
    pair.pass(Duration::from_secs(30));
    let bob = pair.b.stated("bob", &["r"]);
    pair.settle();
    assert!(pair.b.received(bob).contains(&format!(r#"{ALL}{{"a":1}}}}"#)));
    pair.a.host(HostCall::PinState { room: "r", pinned: true }).unwrap();
    pair.settle();
    pair.b.set(bob, "r", r#"{"a":2}"#);
    pair.settle();
    assert_eq!(pair.a.server.room_state("r").as_deref(), Some(r#"{"a":2}"#));
    pair.a.host(HostCall::PinState { room: "r", pinned: false }).unwrap();
    assert!(!pair.a.subscribed.contains("room:r"));
}

/// R-K5: what was lost on the way is noticed and made good for, in both directions.
#[test]
fn what_was_lost_is_made_good_for() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.stated("alice", &["r"]);
    let bob = pair.b.stated("bob", &["r"]);
    pair.settle();
    pair.a.set(alice, "r", r#"{"a":1,"gone":1}"#);
    pair.settle();
    pair.a.set(alice, "r", r#"{"a":2,"gone":null}"#);
    pair.b.set(bob, "r", r#"{"b":1}"#);
    pair.a.published.clear();
    pair.b.published.clear();
    pair.forget();
    pair.pass(Duration::from_secs(8));
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.server.room_state("r").as_deref(), Some(r#"{"a":2,"b":1}"#));
    }
    assert!(
        pair.b
            .received(bob)
            .contains(&r#"{"type":"state","room":"r","set":{"a":2,"gone":null}}"#.to_owned())
    );
    // Then there is nothing more to say but the sums.
    pair.forget();
    pair.pass(Duration::from_secs(4));
    let said = pair.a.seen().into_iter().chain(pair.b.seen());
    let said: Vec<_> = said.filter(|line| line.contains("\"kind\":\"state\"")).collect();
    assert!(!said.is_empty() && said.iter().all(|line| line.contains("{\"sum\"")), "{said:#?}");
}

/// R-C6: where too much waits for the bus a change is refused, and nothing is set.
#[test]
fn a_busy_bus_refuses_changes() {
    let mut config = clustered();
    config.rate = None;
    let mut pair = Pair::new(&config);
    let alice = pair.a.stated("alice", &["r"]);
    pair.b.stated("bob", &["r"]);
    pair.settle();
    pair.a.takes = false;
    let value = "x".repeat(15_000);
    let mut refused = false;
    for n in 0..100 {
        pair.a.forget();
        pair.a.set(alice, "r", &format!(r#"{{"k":[{n},"{value}"]}}"#));
        let answer = pair.a.received(alice).remove(0);
        let set = pair.a.server.room_state("r").unwrap().contains(&format!("[{n},"));
        assert_eq!(answer.contains("state:ok"), set, "{answer}");
        refused |= answer.contains(r#""status":503,"message":"Cluster busy","room":"r""#);
    }
    assert!(refused);
    pair.a.input(Input::BusDown).unwrap();
    pair.a.forget();
    pair.a.set(alice, "r", r#"{"k":0}"#);
    assert!(pair.a.received(alice)[0].contains("state:ok"), "R-S4: local traffic goes on");
}
