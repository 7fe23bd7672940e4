//! The states of rooms: R-K1 to R-K4, R-K6.

use std::time::Duration;

use crate::common::{Node, config};
use symple_engine::server::{
    Config, ConnId, FrameVerdict, HostCall, Input, RateLimit, RoomSend, SessionLookup,
};
use symple_proto::Status;

impl Node {
    /// A user in rooms that sees states.
    pub(crate) fn stated(&mut self, user: &str, rooms: &[&str]) -> ConnId {
        let rooms = serde_json::to_string(rooms).unwrap();
        self.auth(&format!(
            r#"{{"type":"auth","user":"{user}","rooms":{rooms},"extensions":["state"]}}"#
        ))
    }

    /// Sets keys; what comes of it is not looked at.
    pub(crate) fn set(&mut self, conn: ConnId, room: &str, set: &str) {
        self.text(conn, &format!(r#"{{"type":"state","room":"{room}","set":{set}}}"#));
    }
}

/// R-K1, R-K2, R-F1, R-X1: everything that is sent about states.
#[test]
fn every_frame_about_states() {
    let mut node = Node::new(Config::default());
    let alice = node.stated("alice", &["r"]);
    let old = node.peer("old", &["r"]);
    node.text(
        alice,
        r#"{"type":"state","room":"r","set":{"b": {"x":1.0} ,"\u0061":12345678901234567890},"id":"s1"}"#,
    );
    let bob = node.stated("bob", &["r"]);
    node.text(alice, r#"{"type":"state","room":"r","set":{"a":null,"c":"é"},"id":7,"echo":true}"#);
    node.text(bob, r#"{"type":"state","room":"r","set":{"a":[],"a":-0}}"#);
    node.text(old, r#"{"type":"state","room":"r","set":{}}"#);
    node.text(bob, r#"{"type":"join","room":"q"}"#);
    node.text(bob, r#"{"type":"join","room":"r"}"#);
    node.text(bob, r#"{"type":"leave","room":"r"}"#);
    node.text(alice, r#"{"type":"state","room":"r","set":{"d":1}}"#);
    node.text(bob, r#"{"type":"state","room":"r","set":{"e":1}}"#);
    node.text(alice, r#"{"type":"auth","user":"alice","rooms":["s"]}"#);
    node.host(HostCall::SetState { room: "r", set: r#"{"h":true}"# }).unwrap();
    node.host(HostCall::ClearState { room: "r" }).unwrap();
    insta::assert_snapshot!(node.log());
    assert_eq!(node.server.room_state("r").as_deref(), Some("{}"));
    assert_eq!(node.server.room_state("nothing"), None);
    assert!(node.received(old).iter().all(|text| !text.contains("\"room\"")), "R-X1");
}

/// R-K3, R-H4: nothing of a frame at fault is set; the error names the room and the frame.
#[test]
fn limits() {
    let mut node = Node::new(config(|config| {
        config.state.limits.keys = 3;
        config.state.limits.key = 4;
        config.state.limits.value = 10;
        config.state.limits.room = 30;
    }));
    let alice = node.stated("alice", &["r"]);
    node.set(alice, "r", r#"{"a":1,"b":2}"#);
    node.forget();
    for (set, status, message) in [
        (r#"{"c":3,"d":4}"#, 413, "State of a room larger than 3 keys"),
        (r#"{"c":3,"12345":4}"#, 413, "State key longer than 4 bytes"),
        (r#"{"c":"123456789"}"#, 413, "State value larger than 10 bytes"),
        (
            r#"{"a":"12345678","b":"12345678","c":"12345678"}"#,
            413,
            "State of a room larger than 30 bytes",
        ),
        (r#"{"__proto__":1}"#, 400, "Invalid set field: a key must not be __proto__"),
        ("1", 400, "Invalid set field: must be an object"),
    ] {
        node.text(alice, &format!(r#"{{"type":"state","room":"r","set":{set},"id":"x"}}"#));
        let error = format!(
            r#"{{"type":"error","status":{status},"message":"{message}","room":"r","id":"x"}}"#
        );
        assert_eq!(node.received(alice), [error]);
        node.forget();
    }
    assert_eq!(node.server.room_state("r").as_deref(), Some(r#"{"a":1,"b":2}"#));
    // What makes it no larger is taken.
    node.set(alice, "r", r#"{"c":3,"b":null,"a":"12345678"}"#);
    assert_eq!(node.server.room_state("r").as_deref(), Some(r#"{"a":"12345678","c":3}"#));
    node.forget();
    for (frame, error) in [
        (r#"{"type":"state"}"#, r#"400,"message":"Missing room field"}"#),
        (
            r#"{"type":"state","room":5,"set":{}}"#,
            r#"400,"message":"Invalid room field: must be a string"}"#,
        ),
        (r#"{"type":"state","room":"r"}"#, r#"400,"message":"Missing set field","room":"r"}"#),
        (r#"{"type":"state","room":"x","set":{}}"#, r#"403,"message":"Not permitted","room":"x"}"#),
    ] {
        node.text(alice, frame);
        assert_eq!(node.received(alice), [format!(r#"{{"type":"error","status":{error}"#)]);
        node.forget();
    }
}

/// R-K1, R-M3: who may send to a room may set its state; nobody sets that of a room without members.
#[test]
fn permissions() {
    for (room_send, ok) in
        [(RoomSend::Auto, true), (RoomSend::Anyone, true), (RoomSend::Members, false)]
    {
        let mut node = Node::new(config(|config| config.room_send = room_send));
        let alice = node.stated("alice", &["r"]);
        let bob = node.stated("bob", &[]);
        node.forget();
        node.set(bob, "r", r#"{"a":1}"#);
        let answer = node.received(bob).remove(0);
        assert_eq!(answer.contains("state:ok"), ok, "{answer}");
        assert_eq!(node.received(alice).len(), usize::from(ok));
        node.forget();
        node.set(bob, "nobody", r#"{"a":1}"#);
        assert!(node.received(bob)[0].contains("403"));
    }
    let mut node = Node::new(config(|config| config.authentication = true));
    let alice = node.auth(r#"{"type":"auth","user":"a","token":"t","extensions":["state"]}"#);
    let request = node.requests.remove(0);
    let session = SessionLookup::Found(r#"{"user":"a","rooms":["r"],"readonly":true}"#);
    node.input(Input::SessionLoaded { request, session }).unwrap();
    node.forget();
    node.set(alice, "r", r#"{"a":1}"#);
    assert_eq!(node.received(alice), [r#"{"type":"error","status":403,"message":"Read-only"}"#]);
}

/// R-K4: a state lives while its room has members, those included that cannot see it, and a while longer.
#[test]
fn the_life_of_a_state() {
    let ttl = Duration::from_secs(60);
    let mut node = Node::new(Config::default());
    let alice = node.stated("alice", &["r"]);
    let old = node.peer("old", &["r"]);
    node.set(alice, "r", r#"{"a":1}"#);
    node.disconnect(alice);
    node.pass(ttl * 10);
    let bob = node.stated("bob", &["r"]);
    assert!(node.received(bob).contains(&r#"{"type":"state","room":"r","all":{"a":1}}"#.into()));
    node.disconnect(old);
    node.pass(ttl * 10);
    node.disconnect(bob);
    node.pass(ttl - Duration::from_millis(1));
    let carol = node.stated("carol", &["r"]);
    assert!(node.received(carol).contains(&r#"{"type":"state","room":"r","all":{"a":1}}"#.into()));
    node.disconnect(carol);
    node.pass(ttl);
    assert_eq!(node.server.room_state("r"), None);
    // The application keeps it.
    node.host(HostCall::PinState { room: "r", pinned: true }).unwrap();
    node.host(HostCall::SetState { room: "r", set: r#"{"p":1}"# }).unwrap();
    node.pass(ttl * 10);
    assert_eq!(node.server.room_state("r").as_deref(), Some(r#"{"p":1}"#));
    node.host(HostCall::PinState { room: "r", pinned: false }).unwrap();
    node.pass(ttl);
    assert_eq!(node.server.room_state("r"), None);
    let mut node = Node::new(config(|config| config.state.ttl = Duration::ZERO));
    let alice = node.stated("alice", &["r"]);
    node.set(alice, "r", r#"{"a":1}"#);
    node.disconnect(alice);
    assert_eq!(node.server.room_state("r"), None, "0 is at once");
}

/// R-K4, R-L7: all states together have a limit; those that nobody uses give way.
#[test]
fn all_states_have_a_limit() {
    let mut node = Node::new(config(|config| {
        config.rate = None;
        config.state.total_bytes = 100;
    }));
    let alice = node.stated("alice", &["r", "s"]);
    let bob = node.stated("bob", &["t"]);
    let value = "x".repeat(40);
    node.set(bob, "t", &format!(r#"{{"a":"{value}"}}"#));
    node.set(alice, "r", &format!(r#"{{"a":"{value}"}}"#));
    node.forget();
    node.set(alice, "s", &format!(r#"{{"a":"{value}"}}"#));
    assert!(node.received(alice)[0].contains(r#""status":413,"message":"States of all rooms too"#));
    node.disconnect(bob);
    node.forget();
    node.set(alice, "s", &format!(r#"{{"a":"{value}"}}"#));
    assert_eq!(node.received(alice), [r#"{"type":"state:ok","room":"s"}"#]);
    assert_eq!(node.server.room_state("t"), None);
    node.set(alice, "r", r#"{"a":null}"#);
    node.set(alice, "s", r#"{"a":null}"#);
    node.set(alice, "r", &format!(r#"{{"a":"{value}","b":"{value}"}}"#));
    assert!(node.server.room_state("r").unwrap().len() > 80);
    let mut node = Node::new(config(|config| config.state.total_bytes = 0));
    let alice = node.stated("alice", &["r"]);
    node.set(alice, "r", &format!(r#"{{"a":"{}"}}"#, "x".repeat(200)));
    assert!(node.server.room_state("r").unwrap().len() > 200, "0 is no limit");
}

/// R-K2, R-L4: large states are sent in step with the reader, and a change of one that is still to be sent
/// is in it.
#[test]
fn large_states_wait_for_the_reader() {
    let mut node = Node::new(config(|config| config.rate = None));
    let rooms: Vec<_> = (0..20).map(|n| format!("r{n}")).collect();
    let rooms: Vec<_> = rooms.iter().map(String::as_str).collect();
    let alice = node.stated("alice", &rooms);
    let value = "x".repeat(15_000);
    for room in &rooms {
        node.set(
            alice,
            room,
            &format!(r#"{{"a":"{value}","b":"{value}","c":"{value}","d":"{value}"}}"#),
        );
    }
    node.forget();
    let bob = node.stated("bob", &rooms);
    let states = |node: &mut Node| {
        let received = node.received(bob);
        node.forget();
        received.iter().filter(|text| text.contains("\"all\"")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(states(&mut node).len(), 2, "that of its own room, which is empty, and one");
    node.set(alice, "r0", r#"{"a":1}"#);
    assert_eq!(node.received(bob).len(), 1);
    node.forget();
    node.set(alice, "r19", r#"{"a":1}"#);
    assert_eq!(node.received(bob).len(), 0);
    let mut seen = Vec::new();
    while seen.len() < 19 {
        node.input(Input::Drained { conn: bob }).unwrap();
        let some = states(&mut node);
        assert!((1..=6).contains(&some.len()), "{}", some.len());
        seen.extend(some);
    }
    assert!(seen.last().unwrap().starts_with(r#"{"type":"state","room":"r19","all":{"a":1,"b""#));
}

/// R-K3, R-L3: a change is charged like a frame, and a state to whom it is sent.
#[test]
fn changes_are_charged() {
    let mut node = Node::new(config(|config| {
        config.rate = Some(RateLimit { units_per_second: 1, burst: 10, ..RateLimit::default() });
    }));
    let alice = node.stated("alice", &["r"]);
    node.forget();
    let value = "x".repeat(15_000);
    for n in 0..6 {
        node.set(alice, "r", &format!(r#"{{"k{}":"{value}"}}"#, n % 3));
    }
    assert!(node.seen().iter().any(|line| line.starts_with("Pause")));
}

/// R-K6: the application is asked, and passes a change, makes it another one, or refuses it.
#[test]
fn the_application_decides() {
    let mut node = Node::new(config(|config| config.hooks.state = true));
    let alice = node.stated("alice", &["r"]);
    let bob = node.stated("bob", &["r"]);
    let mut decide = |verdict: FrameVerdict| {
        node.forget();
        node.text(alice, r#"{"type":"state","room":"r","set":{"a":1},"id":"x"}"#);
        let request = node.requests.remove(0);
        let result = node.input(Input::FrameDecided { request, verdict });
        (node.received(alice), node.received(bob), result.is_ok())
    };
    let ok = r#"{"type":"state:ok","room":"r","id":"x"}"#.to_owned();
    let (answer, told, _) = decide(FrameVerdict::Pass);
    assert_eq!(answer, [ok]);
    assert!(told[0].starts_with(r#"{"type":"state","room":"r","set":{"a":1},"id":"x","from""#));
    let other = r#"{"type":"state","room":"r","set":{"b":2,"a":null}}"#;
    let (answer, told, _) = decide(FrameVerdict::Replace(other.into()));
    assert_eq!(answer, [r#"{"type":"state:ok","room":"r"}"#]);
    assert!(told[0].starts_with(r#"{"type":"state","room":"r","set":{"a":null,"b":2},"from""#));
    let (answer, told, _) = decide(FrameVerdict::Drop);
    assert_eq!((answer.len(), told.len()), (0, 0));
    let status = Status(422);
    let (answer, told, _) =
        decide(FrameVerdict::Refuse { status, message: Some("not a number".into()) });
    let refused = r#"{"type":"error","status":422,"message":"not a number","room":"r","id":"x"}"#;
    assert_eq!((answer.as_slice(), told.len()), (&[refused.to_owned()][..], 0));
    for nonsense in [
        r#"{"type":"state","room":"other","set":{}}"#,
        r#"{"type":"state","room":"r","set":1}"#,
        "nonsense",
    ] {
        let (answer, told, valid) = decide(FrameVerdict::Replace(nonsense.into()));
        assert!(answer[0].contains("403") && told.is_empty() && !valid, "R-H5: {nonsense}");
    }
    assert_eq!(node.server.room_state("r").as_deref(), Some(r#"{"b":2}"#));
}

/// R-K7, R-P4: a patch changes members of the record; others get the whole of it, and the server's own
/// members stay the server's.
#[test]
fn patches_of_records() {
    let mut node = Node::new(Config::default());
    let alice = node.stated("alice", &["r"]);
    let bob = node.peer("bob", &["r"]);
    node.forget();
    for (frame, data) in [
        (
            r#"{"type":"presence","patch":{"ready":true,"hp":10,"user":"bob"}}"#,
            r#"{"user":"alice","id":"2…","online":true,"name":"alice","ready":true,"hp":10}"#,
        ),
        (
            r#"{"type":"presence","patch":{"hp":null,"name":"Al","token":"t"}}"#,
            r#"{"user":"alice","id":"2…","online":true,"name":"Al","ready":true}"#,
        ),
    ] {
        node.text(alice, frame);
        let presence = format!(r#"{{"type":"presence","data":{data},"from":"alice|2…"}}"#);
        assert_eq!(node.received(bob), [presence], "{frame}");
        node.forget();
    }
    let large = "x".repeat(17_000);
    node.text(alice, &format!(r#"{{"type":"presence","patch":{{"x":"{large}"}}}}"#));
    assert!(node.received(alice)[0].contains("413"));
    node.text(alice, r#"{"type":"presence","patch":{"USER":"bob"}}"#);
    assert!(node.received(alice)[1].contains("Invalid user field: must be spelled user"));
    node.forget();
    // To look for each of so many members among the others would take minutes.
    let many: String = (0..100_000).map(|n| format!(r#""{n}":1,"#)).collect();
    node.text(alice, &format!(r#"{{"type":"presence","patch":{{{many}"x":null}}}}"#));
    assert!(node.received(alice)[0].contains("413"));
    node.forget();
    // For others it is a member like any other.
    node.text(bob, r#"{"type":"presence","patch":{"a":1}}"#);
    let relayed = r#"{"type":"presence","patch":{"a":1},"from":"bob|3…"}"#;
    assert_eq!(node.received(alice), [relayed]);
}

/// R-K1, R-L3: who makes members read the whole state pays for it, and they do not.
#[test]
fn strangers_pay_for_what_they_cause() {
    let mut node = Node::new(config(|config| config.state.limits.value = 60_000));
    let reader = node.stated("reader", &["r"]);
    let stranger = node.stated("stranger", &["q"]);
    node.set(reader, "r", &format!(r#"{{"big":"{}"}}"#, "x".repeat(50_000)));
    node.pass(Duration::from_secs(60));
    node.forget();
    let paused = |conn: ConnId| format!("Pause {{ conn: {conn:?} }}");
    let mut sent = 0;
    let mut seen = Vec::new();
    while !seen.contains(&paused(stranger)) {
        node.set(stranger, "r", &format!(r#"{{"big":"{sent}{}"}}"#, "x".repeat(50_000)));
        node.input(Input::Drained { conn: reader }).unwrap();
        node.set(stranger, "r", r#"{"small":1}"#);
        sent += 1;
        seen.extend(node.seen());
        node.forget();
        assert!(!seen.contains(&paused(reader)), "it has asked for nothing");
        assert!(sent < 200);
    }
}
