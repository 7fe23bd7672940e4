//! The states of rooms on several nodes: R-K5.

use std::time::Duration;

use super::{Pair, clustered};
use crate::common::Node;
use symple_engine::server::{Action, EngineError, HostCall, Input, RoomSend, TransportFault};
use symple_proto::state::StateError;

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

/// R-K2, R-L7: whoever waits for a state is told of it in slices, and all share one text; what is set meanwhile
/// is set behind what has waited.
#[test]
fn a_state_is_told_in_slices() {
    const MEMBERS: usize = 600;
    let mut config = clustered();
    config.rate = None;
    let mut pair = Pair::new(&config);
    let alice = pair.a.stated("alice", &["r"]);
    pair.settle();
    let value = "x".repeat(15_000);
    pair.a.set(alice, "r", &format!(r#"{{"a":"{value}","b":"{value}","c":"{value}"}}"#));
    pair.settle();
    let members: Vec<_> =
        (0..MEMBERS).map(|n| pair.b.stated(&format!("user{n}"), &["r"])).collect();
    for (n, conn) in members.iter().enumerate() {
        pair.b.set(*conn, "r", &format!(r#"{{"n":{n}}}"#));
    }
    pair.b.forget();
    let mut texts = std::collections::BTreeSet::new();
    let (mut slices, mut told, mut most) = (0, 0, 0);
    let mut kept = Vec::new();
    for (channel, payload) in std::mem::take(&mut pair.b.published) {
        if pair.a.subscribed.contains(&channel) {
            pair.a.input(Input::BusMessage { channel: &channel, payload: &payload }).unwrap();
        }
    }
    for (channel, payload) in std::mem::take(&mut pair.a.published) {
        if pair.b.subscribed.contains(&channel) {
            let input = Input::BusMessage { channel: &channel, payload: &payload };
            pair.b.input_without_drain(input);
        }
    }
    loop {
        let before = told;
        while let Some(action) = pair.b.server.poll_action() {
            if let Action::Send { text, to, .. } = action
                && text.contains("\"all\"")
                && text.contains("\"room\":\"r\"")
            {
                texts.insert(text.as_ptr() as usize);
                told += to.len();
                kept.push(text);
            }
        }
        slices += 1;
        most = most.max(told - before);
        if told >= MEMBERS || slices > 100 * MEMBERS {
            break;
        }
        pair.b.input_without_drain(Input::Timeout);
    }
    assert_eq!(told, MEMBERS);
    assert!(most <= 8, "{most} at once");
    assert_eq!(texts.len(), 1, "one text for all");
    pair.b.pass(Duration::from_secs(1));
    pair.settle();
    let last = format!("\"n\":{}}}", MEMBERS - 1);
    assert!(pair.b.server.room_state("r").unwrap().ends_with(&last), "in their order");
}

/// R-L7: a change that waits for a state counts among what waits, as its sender's, and ends with its sender.
#[test]
fn changes_that_wait_are_counted() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.b.stated("alice", &["r", "s"]);
    let bob = pair.b.stated("bob", &["r"]);
    let value = "x".repeat(10_000);
    pair.b.set(alice, "r", &format!(r#"{{"a":"{value}"}}"#));
    pair.b.set(alice, "s", r#"{"a":1}"#);
    pair.b.set(bob, "r", r#"{"b":1}"#);
    let (of_alice, of_bob) = (pair.b.server.waiting_of(alice), pair.b.server.waiting_of(bob));
    assert!(of_alice > 10_000 && of_bob > 0);
    assert_eq!(pair.b.server.waiting(), of_alice + of_bob);
    pair.b.input(Input::Fault { conn: alice, fault: TransportFault::TooSlow }).unwrap();
    assert_eq!(pair.b.server.waiting(), of_bob);
    pair.b.pass(Duration::from_millis(300));
    assert_eq!(pair.b.server.waiting(), 0);
    assert_eq!(pair.b.server.room_state("r").as_deref(), Some(r#"{"b":1}"#));
}

/// R-K3, R-K4: the application is told what is refused: at once where the state is known, and otherwise by an
/// event.
#[test]
fn the_application_is_told_what_is_refused() {
    let mut config = clustered();
    config.state.limits.keys = 1;
    let mut pair = Pair::new(&config);
    let alice = pair.a.stated("alice", &["r"]);
    pair.settle();
    pair.a.set(alice, "r", r#"{"a":1}"#);
    let refused = Err(EngineError::State(StateError::Keys(1)));
    let set = |room, set| HostCall::SetState { room, set };
    assert_eq!(pair.a.host(set("r", r#"{"b":1}"#)), refused);
    assert_eq!(pair.a.host(set("r", r#"{"a":2}"#)), Ok(1));
    pair.settle();
    assert_eq!(pair.b.host(set("r", r#"{"b":1}"#)), Ok(0));
    pair.settle();
    pair.b.pass(Duration::from_millis(300));
    assert!(pair.b.seen().iter().any(|line| line.starts_with("Event(StateNotSet { room: \"r\"")));
    // Too much waits.
    let value = format!(r#"{{"a":"{}"}}"#, "x".repeat(16_000));
    let done: Vec<_> = (0..20).map(|_| pair.b.host(set("q", &value))).collect();
    assert_eq!(done.first(), Some(&Ok(0)));
    assert_eq!(done.last(), Some(&Err(EngineError::Busy)));
}

/// R-K5: who has set a key is told only where the node that says so has such a peer, and the peer may do so;
/// the key is set in any case, as it would be when the checksums are compared.
#[test]
fn a_lie_about_who_has_set_a_key() {
    let mut config = clustered();
    config.room_send = RoomSend::Members;
    let mut pair = Pair::new(&config);
    let alice = pair.a.stated("alice", &["r"]);
    let bob = pair.b.stated("bob", &["r"]);
    let carol = pair.b.stated("carol", &["q"]);
    pair.settle();
    pair.forget();
    let of = |user: &str, id: String| format!("{user}|{id}");
    let lies = [
        of("alice", pair.a.id(alice)),
        of("carol", pair.b.id(carol)),
        of("bob", pair.b.id(carol)),
        of("mallory", pair.b.id(bob)),
        "nonsense".to_owned(),
        "bob|".to_owned(),
    ];
    for (n, from) in lies.iter().enumerate() {
        pair.b.set(bob, "r", &format!(r#"{{"k":{n}}}"#));
        let (channel, payload) = pair.b.published.remove(0);
        assert_eq!(pair.b.published, []);
        let honest = format!("bob|{}", pair.b.id(bob));
        let payload = String::from_utf8(payload).unwrap().replace(&honest, from);
        let input = Input::BusMessage { channel: &channel, payload: payload.as_bytes() };
        assert_eq!(pair.a.input(input), Err(EngineError::UnknownPeer), "{from}");
        let told = format!(r#"{{"type":"state","room":"r","set":{{"k":{n}}}}}"#);
        assert_eq!(pair.a.received(alice), [told], "{from}");
        pair.a.forget();
    }
    pair.b.set(bob, "r", r#"{"k":"honest"}"#);
    pair.settle();
    assert!(pair.a.received(alice)[0].contains(r#","from":"bob|"#));
}

/// R-K3: what other nodes tell counts towards the limit of all states, too: states that nobody uses give way,
/// and no key is taken past twice the limit. It is when there is room again.
#[test]
fn what_other_nodes_tell_is_limited() {
    let mut config = clustered();
    config.rate = None;
    let mut small = config.clone();
    small.state.total_bytes = 10_000;
    let mut pair = Pair::of(Node::with_ids_from(config, 10), Node::with_ids_from(small, 20));
    let rooms: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
    let names: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let alice = pair.a.stated("alice", &names);
    pair.b.stated("bob", &names);
    let old = pair.b.stated("old", &["unused"]);
    pair.settle();
    pair.b.set(old, "unused", r#"{"a":1}"#);
    pair.b.disconnect(old);
    pair.settle();
    let value = "x".repeat(5_000);
    for room in &rooms {
        pair.a.set(alice, room, &format!(r#"{{"a":"{value}"}}"#));
    }
    pair.settle();
    let held = |pair: &Pair| {
        let state = |room: &String| pair.b.server.room_state(room).unwrap_or_default();
        rooms.iter().filter(|room| state(room).len() > 5_000).count()
    };
    assert_eq!(held(&pair), 3);
    assert_eq!(pair.b.server.room_state("unused"), None);
    pair.pass(Duration::from_secs(10));
    assert_eq!(held(&pair), 3);
    for room in &rooms[..8] {
        pair.a.set(alice, room, r#"{"a":null}"#);
    }
    pair.pass(Duration::from_secs(10));
    for room in &rooms {
        assert_eq!(pair.a.server.room_state(room), pair.b.server.room_state(room), "{room}");
    }
}

/// R-K1, R-L8: what one sets who is not in the room waits for no reader without bound: past 64 KiB the reader gets
/// the whole state instead when it has read, on every node. What members set is R-L4's affair.
#[test]
fn strangers_fill_no_queue() {
    for (member, elsewhere) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut config = clustered();
        config.rate = None;
        let mut pair = Pair::new(&config);
        let rooms: &[&str] = if member { &["r"] } else { &["q"] };
        let reader = pair.a.stated("reader", &["r"]);
        let node = if elsewhere { &mut pair.b } else { &mut pair.a };
        let sender = node.stated("sender", rooms);
        pair.settle();
        pair.forget();
        let value = "x".repeat(10_000);
        for n in 0..100 {
            let node = if elsewhere { &mut pair.b } else { &mut pair.a };
            node.set(sender, "r", &format!(r#"{{"a":"{n}{value}"}}"#));
            pair.settle();
        }
        let received = pair.a.received(reader);
        let bytes: usize = received.iter().map(String::len).sum();
        if member {
            assert_eq!(received.len(), 100);
            continue;
        }
        assert!((40_000..80_000).contains(&bytes), "{bytes}");
        pair.a.forget();
        pair.a.input(Input::Drained { conn: reader }).unwrap();
        let received = pair.a.received(reader);
        assert_eq!(received.len(), 1);
        assert!(received[0].starts_with(&format!(r#"{ALL}{{"a":"99x"#)), "the last one");
        // It has read: there is room again.
        pair.a.input(Input::Drained { conn: reader }).unwrap();
        pair.a.forget();
        let node = if elsewhere { &mut pair.b } else { &mut pair.a };
        node.set(sender, "r", r#"{"b":1}"#);
        pair.settle();
        assert!(pair.a.received(reader)[0].contains(r#""set":{"b":1}"#));
    }
}

/// R-K1, R-M3: a set that waits for the state is made only if its sender may still make it.
#[test]
fn who_has_left_sets_nothing() {
    let mut config = clustered();
    config.room_send = RoomSend::Members;
    let mut pair = Pair::new(&config);
    let [alice, bob] = ["alice", "bob"].map(|user| pair.b.stated(user, &["r"]));
    for conn in [alice, bob] {
        pair.b.text(conn, r#"{"type":"state","room":"r","set":{"a":1},"id":"x"}"#);
    }
    pair.b.text(alice, r#"{"type":"leave","room":"r"}"#);
    pair.b.forget();
    pair.b.pass(Duration::from_millis(300));
    let denied = r#"{"type":"error","status":403,"message":"Not permitted","room":"r","id":"x"}"#;
    assert_eq!(pair.b.received(alice).last().map(String::as_str), Some(denied));
    let told = pair.b.received(bob);
    assert!(told.contains(&r#"{"type":"state:ok","room":"r","id":"x"}"#.into()), "{told:?}");
}

/// R-K4, R-K5: the application is told a state as all nodes have it, by a node without members, too; to look at
/// it leaves nothing behind there, and keeps nothing alive.
#[test]
fn the_application_reads_a_state_of_other_nodes() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.stated("alice", &["r"]);
    pair.settle();
    pair.a.set(alice, "r", r#"{"a":1.0}"#);
    pair.settle();
    let read = |node: &mut Node| -> Vec<String> {
        node.seen().into_iter().filter(|line| line.starts_with("state read")).collect()
    };
    let ask = |node: &mut Node, room: &str, question: u64| {
        node.host(HostCall::ReadState { room, question }).unwrap();
    };
    // Where it is known, at once.
    ask(&mut pair.a, "r", 1);
    assert_eq!(read(&mut pair.a), [r#"state read 1 {"a":1.0}"#]);
    pair.forget();
    // Elsewhere when the other nodes have told; several questions are one for them.
    ask(&mut pair.b, "r", 2);
    ask(&mut pair.b, "r", 3);
    ask(&mut pair.b, "nothing", 4);
    assert_eq!((read(&mut pair.b).len(), pair.b.published.len()), (0, 2));
    pair.settle();
    let told = [r#"state read 2 {"a":1.0}"#, r#"state read 3 {"a":1.0}"#, "state read 4 {}"];
    assert_eq!(read(&mut pair.b), told);
    assert_eq!(pair.b.server.room_state("r"), None);
    assert_eq!(pair.b.server.room_state("nothing"), None);
    assert!(!pair.b.subscribed.contains("room:r"));

    // Behind what waits to be set, which makes it a state of this node's own.
    pair.forget();
    ask(&mut pair.b, "r", 5);
    let set = HostCall::SetState { room: "r", set: r#"{"b":2}"# };
    assert_eq!(pair.b.host(set), Ok(0));
    ask(&mut pair.b, "r", 6);
    pair.settle();
    let both = r#"{"a":1.0,"b":2}"#;
    assert_eq!(read(&mut pair.b), [format!("state read 5 {both}"), format!("state read 6 {both}")]);
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.server.room_state("r").as_deref(), Some(both));
    }

    // Questions do not keep it alive.
    pair.a.disconnect(alice);
    pair.settle();
    for n in 0..13 {
        pair.pass(Duration::from_secs(10));
        ask(&mut pair.a, "r", 100 + n);
        ask(&mut pair.b, "r", 200 + n);
        pair.settle();
    }
    pair.forget();
    ask(&mut pair.b, "r", 7);
    pair.settle();
    assert_eq!(read(&mut pair.b), ["state read 7 {}"]);
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.server.room_state("r"), None);
    }
}

/// R-K4: a node that does not answer is not waited for; what is pinned says so; what the application asks for
/// has a bound, and a member that comes meanwhile is not affected.
#[test]
fn questions_about_states_have_an_end() {
    let mut pair = Pair::new(&clustered());
    pair.settle();
    pair.b.pass(Duration::from_secs(1));
    pair.b.forget();
    for question in 0..1024 {
        pair.b.host(HostCall::ReadState { room: "r", question }).unwrap();
    }
    let one_more = HostCall::ReadState { room: "s", question: 1024 };
    assert_eq!(pair.b.host(one_more.clone()), Err(EngineError::Busy));
    let bob = pair.b.stated("bob", &["r"]);
    pair.b.set(bob, "r", r#"{"b":1}"#);
    pair.b.published.clear();
    pair.b.pass(Duration::from_millis(301));
    let read = pair.b.seen().into_iter().filter(|line| line.starts_with("state read")).count();
    assert_eq!(read, 1024);
    assert_eq!(pair.b.server.room_state("r").as_deref(), Some(r#"{"b":1}"#));
    pair.b.disconnect(bob);
    assert!(pair.b.server.room_state("r").is_some(), "it outlives its last member");

    pair.b.host(HostCall::PinState { room: "s", pinned: true }).unwrap();
    pair.b.pass(Duration::from_millis(301));
    pair.b.forget();
    pair.b.host(one_more).unwrap();
    assert!(pair.b.seen().contains(&"state read 1024 {} pinned".to_owned()));
    let error = pair.b.host(HostCall::ReadState { room: "", question: 0 });
    assert!(matches!(error, Err(EngineError::Name(_))), "{error:?}");
}
