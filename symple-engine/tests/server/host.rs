//! What the host may do: emit, send, kick, move, see, and have peers of its own.

use std::time::Duration;

use crate::common::{Node, config};
use symple_engine::server::{
    AllowedUser, Config, ConnId, EngineError, Event, HostCall, Input, OfflineReason, Verdict, Whom,
};
use symple_proto::{EmissionError, Fields, RawJson, UserName};

fn id(digit: u32) -> String {
    format!("{digit}{}", "0".repeat(19))
}

/// R-S3: an emission goes where its `to` says, as it stands, and asks nobody.
#[test]
fn emit() {
    let mut node = Node::new(config(|config| config.dynamic_rooms = false));
    let alice = node.peer("alice", &["r", "s"]);
    let bob = node.peer("bob", &["r"]);
    node.peer("carol", &["x"]);
    let bobs_id = id(3);
    for (to, expected) in [
        (format!(r#""bob|{bobs_id}""#), vec![bob]),
        (format!(r#""{bobs_id}""#), vec![bob]),
        (r#""bob""#.into(), vec![bob]),
        (r#""r""#.into(), vec![alice, bob]),
        (r#"["r","s","r",5]"#.into(), vec![alice, bob]),
        (r#""bob|nosuchid""#.into(), vec![]),
        (r#""nobody""#.into(), vec![]),
        (r#"["nowhere"]"#.into(), vec![]),
    ] {
        let text = format!(r#" {{"type":"message","from":{{"x":1.0}},"to":{to}}} "#);
        let reached = node.host(HostCall::Emit { text: &text }).unwrap();
        assert_eq!(reached, expected.len(), "{to}");
        let seen = node.seen();
        if !expected.is_empty() {
            let text = text.trim().replace(&"0".repeat(19), "…");
            assert_eq!(seen, [format!("send {expected:?} {text}")]);
        }
    }
}

/// R-S3: what is no emission is refused, and says why.
#[test]
fn bad_emissions() {
    let mut node = Node::new(Config::default());
    for text in ["", "null", "[]", "{", r#"{"type":"message","to":""}"#, r#"{"to":5}"#] {
        let result = node.host(HostCall::Emit { text });
        assert!(matches!(result, Err(EngineError::Emission(_))), "{text}");
    }
    assert_eq!(
        node.host(HostCall::Emit { text: r#"{"type":"message"}"# }),
        Err(EngineError::Emission(EmissionError::NoRecipient))
    );
    node.nothing();
}

#[test]
fn send_to_a_peer() {
    let mut node = Node::new(Config::default());
    node.peer("alice", &[]);
    let text = r#"{"type":"event","name":"hello"}"#;
    for peer in [id(2), format!("alice|{}", id(2))] {
        assert_eq!(node.host(HostCall::Send { peer: &peer, text }), Ok(1));
        assert_eq!(node.one(), format!("send [#0.7] {text}"));
    }
    assert_eq!(node.host(HostCall::Send { peer: "x", text }), Err(EngineError::UnknownPeer));
    let result = node.host(HostCall::Send { peer: &id(2), text: "[]" });
    assert!(matches!(result, Err(EngineError::Frame(_))));
}

/// SPEC §7: `error` 403 with the reason, close 4409.
#[test]
fn kick() {
    let mut node = Node::new(Config::default());
    node.peer("alice", &["r"]);
    node.peer("alice", &[]);
    let bob = node.peer("bob", &["r"]);
    assert_eq!(node.host(HostCall::Kick { whom: Whom::User("alice"), reason: "Bye" }), Ok(2));
    assert!(node.received(bob)[0].contains(r#""online":false"#));
    let seen = node.seen();
    for conn in ["#0.7", "#1.7"] {
        let error = format!(r#"send [{conn}] {{"type":"error","status":403,"message":"Bye"}}"#);
        assert!(seen.contains(&error));
        assert!(seen.contains(&format!("close {conn} 4409 Kicked")));
    }
    assert_eq!(node.host(HostCall::Kick { whom: Whom::User("alice"), reason: "Bye" }), Ok(0));
    let (whom, reason) = (Whom::Peer(&id(4)), "Bye");
    assert_eq!(node.host(HostCall::Kick { whom, reason }), Ok(1));
    assert_eq!(node.host(HostCall::Kick { whom, reason }), Err(EngineError::UnknownPeer));
    assert_eq!(node.server.stats().kicked, 3);
}

/// R-R1: whoever has left the room of its user's name is one of the user's sessions all the same, and whoever
/// else is in that room is not.
#[test]
fn sessions_outside_the_room_of_their_user() {
    let mut node = Node::new(Config::default());
    let sessions = [(); 3].map(|()| node.peer("alice", &["r"]));
    let bob = node.peer("bob", &["alice"]);
    let rooms = |node: &Node| {
        let rooms = node.server.user_rooms("alice");
        rooms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    for conn in sessions {
        node.text(conn, r#"{"type":"leave","room":"alice"}"#);
    }
    assert_eq!(rooms(&node), "r");
    node.text(sessions[0], r#"{"type":"join","room":"alice"}"#);
    node.text(sessions[1], r#"{"type":"leave","room":"r"}"#);
    node.text(sessions[1], r#"{"type":"join","room":"s"}"#);
    assert_eq!(rooms(&node), "alice r s");
    node.disconnect(sessions[2]);
    node.forget();
    assert_eq!(node.host(HostCall::Kick { whom: Whom::User("alice"), reason: "Bye" }), Ok(2));
    let mut closed = node.seen();
    closed.retain(|line| line.starts_with("close"));
    assert_eq!(closed, ["close #0.7 4409 Kicked", "close #1.7 4409 Kicked"]);
    assert_eq!(node.id(bob), id(5));
}

/// R-P3: a room that is closed has no members, and rosters know it.
#[test]
fn close_a_room() {
    let mut node = Node::new(config(|config| config.dynamic_rooms = false));
    let alice = node.peer("alice", &["r"]);
    let bob = node.peer("bob", &["r", "s"]);
    let carol = node.peer("carol", &["r", "s"]);
    node.forget();
    assert_eq!(node.host(HostCall::CloseRoom { room: "r" }), Ok(3));
    let count = |received: Vec<String>| {
        let online = received.iter().filter(|text| text.contains(r#""online":true"#)).count();
        let offline = received.iter().filter(|text| text.contains(r#""online":false"#)).count();
        let left = received.iter().filter(|text| text.contains("leave:ok")).count();
        (online, offline, left)
    };
    assert_eq!(count(node.received(alice)), (0, 2, 1));
    assert_eq!(count(node.received(bob)), (0, 1, 1));
    assert_eq!(count(node.received(carol)), (0, 1, 1));
    assert_eq!(node.host(HostCall::CloseRoom { room: "r" }), Err(EngineError::UnknownRoom));
}

/// The host moves peers whatever clients may do themselves (R-R3).
#[test]
fn join_and_leave() {
    let mut node = Node::new(config(|config| config.dynamic_rooms = false));
    let alice = node.peer("alice", &[]);
    let bob = node.peer("bob", &["r"]);
    node.forget();
    assert_eq!(node.host(HostCall::Join { peer: &id(2), room: "r" }), Ok(1));
    assert!(node.received(alice)[0].contains("join:ok"));
    assert_eq!(node.received(bob).len(), 1);
    node.forget();
    assert_eq!(node.host(HostCall::Leave { peer: &id(2), room: "r" }), Ok(1));
    assert!(node.received(alice)[0].contains("leave:ok"));
    assert_eq!(node.received(bob).len(), 1);
    assert_eq!(node.host(HostCall::Join { peer: "x", room: "r" }), Err(EngineError::UnknownPeer));
    assert!(matches!(
        node.host(HostCall::Join { peer: &id(2), room: "" }),
        Err(EngineError::Name(_))
    ));
}

/// R-A9: where the host has put a peer it stays, whatever a new authentication says.
#[test]
fn a_placed_peer_stays_when_it_authenticates_again() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &[]);
    node.host(HostCall::Join { peer: &id(2), room: "r" }).unwrap();
    node.forget();
    node.text(alice, r#"{"type":"auth","user":"alice"}"#);
    assert!(node.one().ends_with(r#""rooms":["alice","r"]}"#));
    assert_eq!(node.server.members("r").count(), 1);
}

#[test]
fn what_is_there() {
    let mut node = Node::new(Config::default());
    node.peer("alice", &["r"]);
    node.peer("bob", &["r"]);
    let peers: Vec<_> =
        node.server.local_peers().map(|peer| peer.address.user.to_string()).collect();
    assert_eq!(peers, ["alice", "bob"]);
    let rooms: Vec<_> = node.server.rooms().map(|room| (room.name, room.members)).collect();
    assert_eq!(rooms, [("alice".into(), 1), ("r".into(), 2), ("bob".into(), 1)]);
    assert_eq!(node.server.members("r").count(), 2);
    assert_eq!(node.server.members("nowhere").count(), 0);
    let stats = node.server.stats();
    assert_eq!((stats.connections, stats.peers, stats.rooms), (2, 2, 3));
}

/// A peer of the host's own is seen, addressed, and speaks like any other.
#[test]
fn a_peer_of_the_hosts_own() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &["r"]);
    let bot = ConnId::new(50, 0);
    let call = HostCall::AddPeer {
        conn: bot,
        user: UserName::new("bot").unwrap(),
        peer: Fields::new().with("name", "Bot").with("kind", "bridge"),
        rooms: &["r".into()],
    };
    assert_eq!(node.host(call), Ok(1));
    assert_eq!(
        node.seen(),
        [
            r#"send [#50.0] {"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"bot","name":"Bot","kind":"bridge","id":"3…","online":true},"rooms":["bot","r"]}"#,
            r#"send [#50.0] {"type":"presence","from":"alice|2…","data":{"user":"alice","id":"2…","online":true,"name":"alice"}}"#,
            r#"send [#0.7] {"type":"presence","from":"bot|3…","data":{"user":"bot","name":"Bot","kind":"bridge","id":"3…","online":true}}"#,
        ]
    );
    node.text(alice, r#"{"type":"message","to":"bot"}"#);
    assert_eq!(node.received(bot).len(), 1);
    node.forget();
    for n in 0..1000 {
        node.text(bot, &format!(r#"{{"type":"message","to":"alice","n":{n}}}"#));
    }
    assert_eq!(node.received(alice).len(), 1000);
    node.forget();
    node.text(bot, r#"{"type":"auth","user":"bot"}"#);
    assert!(node.one().contains("Unknown type: auth"));
    node.input(Input::Disconnected { conn: bot }).unwrap();
    assert!(node.one().contains(r#""online":false"#));
    assert_eq!(node.server.stats().connections, 1);
}

#[test]
fn a_peer_that_cannot_be() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &[]);
    let user = || UserName::new("bot").unwrap();
    let call = |conn, rooms| HostCall::AddPeer { conn, user: user(), peer: Fields::new(), rooms };
    assert_eq!(node.host(call(alice, &[])), Err(EngineError::ConnectionInUse(alice)));
    let nameless = [String::new()];
    let conn = ConnId::new(50, 0);
    assert!(matches!(node.host(call(conn, &nameless)), Err(EngineError::Name(_))));
    let large = HostCall::AddPeer {
        conn,
        user: user(),
        peer: Fields::new().with("x", "x".repeat(20_000).as_str()),
        rooms: &[],
    };
    assert_eq!(node.host(large), Err(EngineError::RecordTooLarge(16 * 1024)));
    assert_eq!(node.server.local_peers().count(), 1);
}

/// R-A1: a name that is none costs the host's peer its name, not its rooms.
#[test]
fn a_peer_with_a_name_that_is_none() {
    let mut node = Node::new(Config::default());
    let call = HostCall::AddPeer {
        conn: ConnId::new(50, 0),
        user: UserName::new("bot").unwrap(),
        peer: Fields::new().with("name", RawJson::parse("{}").unwrap()).with("kind", "bridge"),
        rooms: &["r".into()],
    };
    assert_eq!(node.host(call), Ok(1));
    assert!(node.one().contains(r#""peer":{"user":"bot","name":"bot","kind":"bridge","id":"2…","online":true},"rooms":["bot","r"]}"#));
}

/// The host is told what happens, if it wants to know.
#[test]
fn notices() {
    let mut node = Node::new(config(|config| config.events = true));
    let conn = node.peer("alice", &["r"]);
    node.text(conn, r#"{"type":"join","room":"s"}"#);
    node.text(conn, r#"{"type":"join","room":"s"}"#);
    node.text(conn, r#"{"type":"leave","room":"s"}"#);
    node.text(conn, r#"{"type":"auth","user":"bob"}"#);
    node.disconnect(conn);
    let seen = node.seen();
    let notices: Vec<_> = seen.iter().filter(|line| line.starts_with("Event")).collect();
    assert_eq!(notices.len(), 4, "{notices:#?}");
    for (line, expected) in notices.iter().zip(["Joined", "Left", "Refused", "Offline"]) {
        assert!(line.starts_with(&format!("Event({expected}")), "{line}");
    }
    // The types, for those who match on them.
    let peer: symple_proto::Address = format!("alice|{}", id(2)).parse().unwrap();
    let reason = OfflineReason::Disconnected;
    let offline = Event::Offline { conn, peer, reason, close: None };
    let printed = format!("Event({offline:?})").replace(&"0".repeat(19), "…");
    assert_eq!(**notices.last().unwrap(), printed);
}

/// R-A2, R-A7, R-L2: a host that only writes a log is told of those who are refused, of what they are
/// told, and of nothing else.
#[test]
fn refusals() {
    let mut node = Node::new(config(|config| {
        config.refusals = true;
        config.connections.total = 2;
    }));
    let alice = node.peer("alice", &["r"]);
    node.connect();
    node.connect();
    node.text(alice, r#"{"type":"auth","user":"bob"}"#);
    node.pass(Duration::from_secs(10));
    let seen = node.seen();
    let events: Vec<_> = seen.iter().filter(|line| line.starts_with("Event")).collect();
    for (line, expected) in events.iter().zip([
        "status: Status(503), message: \"At capacity\"",
        "status: Status(403), message: \"Cannot authenticate as another user\"",
        "status: Status(408), message: \"Authentication timeout\"",
    ]) {
        assert!(line.starts_with("Event(Refused") && line.contains(expected), "{line}");
        assert!(line.contains("address: Some(192.0.2.1)"), "{line}");
    }
    assert_eq!(events.len(), 3, "{events:#?}");
}

/// The rooms that a peer gains and loses by authenticating again are told like any others.
#[test]
fn notices_of_an_authentication_again() {
    let mut node = Node::new(config(|config| {
        config.events = true;
        config.hook = true;
    }));
    let conn = node.connect();
    for rooms in [["a", "b"], ["b", "c"]] {
        node.text(conn, r#"{"type":"auth","user":"alice"}"#);
        node.forget();
        let request = *node.requests.last().unwrap();
        let verdict = Verdict::Allow {
            user: AllowedUser::Claimed,
            rooms: rooms.map(Into::into).into(),
            peer: Fields::new(),
            expires: None,
        };
        node.input(Input::AuthDecided { request, verdict }).unwrap();
    }
    let seen = node.seen();
    let notices: Vec<_> = seen.iter().filter(|line| line.starts_with("Event")).collect();
    assert_eq!(notices.len(), 2, "{notices:#?}");
    assert!(notices[0].starts_with("Event(Joined") && notices[0].contains(r#"room: "c""#));
    assert!(notices[1].starts_with("Event(Left") && notices[1].contains(r#"room: "a""#));
}
