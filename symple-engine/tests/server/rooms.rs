//! Rooms: SPEC §4.

use crate::common::{Node, config};
use symple_engine::server::{Config, PresenceMode};

/// R-R1: everyone is in the room of its user, and may leave it.
#[test]
fn the_room_of_the_user() {
    let mut node = Node::new(Config::default());
    let one = node.peer("alice", &[]);
    let two = node.peer("alice", &[]);
    node.text(one, r#"{"type":"message","to":"alice"}"#);
    assert_eq!(node.received(two).len(), 1);
    node.text(two, r#"{"type":"leave","room":"alice"}"#);
    assert!(node.received(two)[1].contains("leave:ok"));
    node.forget();
    node.text(one, r#"{"type":"message","to":"alice"}"#);
    node.nothing();
}

/// R-R2: joined once or again, left once or again, the answer is the same.
#[test]
fn join_and_leave() {
    let mut node = Node::new(Config::default());
    let conn = node.peer("alice", &[]);
    for (text, answer) in [
        (r#"{"type":"join","room":"r","id":"j1","data":1}"#, r#"{"type":"join:ok","room":"r"}"#),
        (r#"{"type":"join","room":"r"}"#, r#"{"type":"join:ok","room":"r"}"#),
        (r#"{"type":"leave","room":"r"}"#, r#"{"type":"leave:ok","room":"r"}"#),
        (r#"{"type":"leave","room":"r"}"#, r#"{"type":"leave:ok","room":"r"}"#),
        (r#"{"type":"leave","room":"nowhere"}"#, r#"{"type":"leave:ok","room":"nowhere"}"#),
        (
            r#"{"type":"join","room":"caf\u00e9 🎤 \"x\"|y\n"}"#,
            r#"{"type":"join:ok","room":"café 🎤 \"x\"|y\n"}"#,
        ),
    ] {
        node.text(conn, text);
        assert_eq!(node.one(), format!("send [#0.7] {answer}"), "{text}");
    }
}

/// R-R2: what is no name of a room is an error 400.
#[test]
fn names_of_rooms() {
    let mut node = Node::new(Config::default());
    let conn = node.peer("alice", &[]);
    let long = format!(r#""room":"{}""#, "x".repeat(256));
    let huge = format!(r#""room":"{}""#, "x".repeat(1024 * 1024 - 100));
    let too_long = "Invalid room field: must not be longer than 255 bytes";
    for kind in ["join", "leave"] {
        for (room, message) in [
            (r#""x":1"#, "Missing room field"),
            (r#""room":"""#, "Invalid room field: must not be empty"),
            (r#""room":null"#, "Invalid room field: must be a string"),
            (r#""room":0"#, "Invalid room field: must be a string"),
            (r#""room":true"#, "Invalid room field: must be a string"),
            (r#""room":["r"]"#, "Invalid room field: must be a string"),
            (r#""room":{"r":1}"#, "Invalid room field: must be a string"),
            (r#""room":"\ud800""#, "Invalid room field: half a surrogate pair in a string"),
            (&long, too_long),
            (&huge, too_long),
        ] {
            node.text(conn, &format!(r#"{{"type":"{kind}",{room}}}"#));
            assert_eq!(
                node.one(),
                format!(r#"send [#0.7] {{"type":"error","status":400,"message":"{message}"}}"#)
            );
        }
    }
    assert_eq!(node.server.rooms().count(), 1);
}

/// R-R3
#[test]
fn rooms_can_be_locked() {
    let mut node = Node::new(config(|config| config.dynamic_rooms = false));
    let conn = node.peer("alice", &["r"]);
    for text in [
        r#"{"type":"join","room":"s"}"#,
        r#"{"type":"join","room":"r"}"#,
        r#"{"type":"join","room":""}"#,
        r#"{"type":"leave","room":"r"}"#,
        r#"{"type":"leave","room":"alice"}"#,
    ] {
        node.text(conn, text);
        assert_eq!(
            node.one(),
            r#"send [#0.7] {"type":"error","status":403,"message":"Dynamic rooms disabled"}"#
        );
    }
    assert_eq!(node.server.rooms().count(), 2);
}

/// R-R4: a room is gone with its last member.
#[test]
fn rooms_vanish() {
    let mut node = Node::new(Config::default());
    let one = node.peer("alice", &["r", "s"]);
    let two = node.peer("bob", &["r"]);
    assert_eq!(node.server.rooms().count(), 4);
    node.disconnect(one);
    let mut rooms: Vec<_> =
        node.server.rooms().map(|room| (room.name.into_string(), room.members)).collect();
    rooms.sort();
    assert_eq!(rooms, [("bob".into(), 1), ("r".into(), 1)]);
    node.text(two, r#"{"type":"leave","room":"r"}"#);
    node.text(two, r#"{"type":"leave","room":"bob"}"#);
    assert_eq!(node.server.rooms().count(), 0);
    assert_eq!(node.server.stats().rooms, 0);
}

/// R-R4: so many rooms and no more; the user's own does not count, nor do assigned ones.
#[test]
fn a_peer_may_ask_for_so_many_rooms() {
    let mut node = Node::new(config(|config| config.limits.rooms_per_peer = 2));
    let conn = node.peer("alice", &["a"]);
    node.text(conn, r#"{"type":"join","room":"b"}"#);
    assert!(node.one().contains("join:ok"));
    node.text(conn, r#"{"type":"join","room":"c"}"#);
    assert_eq!(
        node.one(),
        r#"send [#0.7] {"type":"error","status":403,"message":"Too many rooms: the limit is 2"}"#
    );
    node.text(conn, r#"{"type":"join","room":"b"}"#);
    assert!(node.one().contains("join:ok"));
    node.text(conn, r#"{"type":"leave","room":"alice"}"#);
    node.text(conn, r#"{"type":"join","room":"alice"}"#);
    assert!(node.seen()[1].contains("join:ok"));
    node.text(conn, r#"{"type":"leave","room":"a"}"#);
    node.text(conn, r#"{"type":"join","room":"c"}"#);
    assert!(node.seen()[1].contains("join:ok"));
}

/// R-P7: join and leave are told to nobody else.
#[test]
fn classic_presence_on_join_and_leave() {
    let mut node = Node::new(config(|config| config.presence = PresenceMode::Classic));
    node.peer("bob", &["r"]);
    let conn = node.peer("alice", &[]);
    for text in [r#"{"type":"join","room":"r"}"#, r#"{"type":"leave","room":"r"}"#] {
        node.text(conn, text);
        assert!(node.one().starts_with("send [#1.7]"));
    }
    // In no room at all, and back in one: still told to nobody.
    node.text(conn, r#"{"type":"leave","room":"alice"}"#);
    node.text(conn, r#"{"type":"join","room":"r"}"#);
    assert_eq!(node.seen().len(), 2);
}
