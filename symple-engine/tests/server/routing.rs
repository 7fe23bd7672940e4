//! Who receives what: SPEC §5, and the frames of SPEC §2.

use crate::common::{Node, config};
use symple_engine::server::{Config, ConnId, HostCall, RoomSend};

const CLOSED: fn() -> Config = || config(|config| config.dynamic_rooms = false);

/// alice in r and s, bob in r and s, carol in s, dave alone.
fn town(config: Config) -> (Node, [ConnId; 4]) {
    let mut node = Node::new(config);
    let peers = [
        node.peer("alice", &["r", "s"]),
        node.peer("bob", &["r", "s"]),
        node.peer("carol", &["s"]),
        node.peer("dave", &[]),
    ];
    node.forget();
    (node, peers)
}

/// The slots of those who receive a frame of that type and `to`.
fn receivers(node: &mut Node, from: ConnId, kind: &str, to: &str) -> Vec<u32> {
    node.text(from, &format!(r#"{{"type":"{kind}",{to}"id":"m"}}"#));
    let mut receivers = Vec::new();
    for line in node.seen() {
        assert!(!line.contains(r#""type":"error""#), "{line}");
        let to = line.strip_prefix("send [").unwrap().split(']').next().unwrap();
        receivers.extend(to.split(", ").map(|conn| -> u32 {
            conn.trim_start_matches('#').split('.').next().unwrap().parse().unwrap()
        }));
    }
    receivers.sort_unstable();
    receivers
}

/// R-M0, R-M1, R-M2, R-M3, R-M4: the table of SPEC §5, in open mode.
#[test]
fn recipients() {
    let (mut node, [alice, ..]) = town(Config::default());
    for (to, expected) in [
        // Absent: everyone who shares a room, once.
        ("", vec![1, 2]),
        // An address or an id: that session, if it shares a room.
        (r#""to":"bob|3@","#, vec![1]),
        (r#""to":"whoever|3@|x","#, vec![1]),
        (r#""to":"|3@","#, vec![1]),
        (r#""to":"3@","#, vec![1]),
        (r#""to":"dave|5@","#, vec![]),
        (r#""to":"5@","#, vec![]),
        (r#""to":"bob|nosuchid","#, vec![]),
        // A name: the room; anyone may send to it.
        (r#""to":"bob","#, vec![1]),
        (r#""to":"bob|","#, vec![1]),
        (r#""to":"bob||x","#, vec![1]),
        (r#""to":"dave","#, vec![3]),
        (r#""to":"r","#, vec![1]),
        (r#""to":"s","#, vec![1, 2]),
        (r#""to":"nobody","#, vec![]),
        // Rooms: their members, once.
        (r#""to":["r","s"],"#, vec![1, 2]),
        (r#""to":["s","dave",5,null,["r"],"","nowhere","s"],"#, vec![1, 2, 3]),
        (r#""to":["bob|3@"],"#, vec![]),
        (r#""to":[],"#, vec![]),
        // Herself.
        (r#""to":"alice","#, vec![]),
        (r#""to":["alice"],"#, vec![]),
        (r#""to":"alice|2@","#, vec![0]),
        (r#""to":"2@","#, vec![0]),
    ] {
        let to = to.replace('@', &"0".repeat(19));
        for kind in ["message", "command", "event"] {
            assert_eq!(receivers(&mut node, alice, kind, &to), expected, "{kind} {to}");
        }
    }
}

/// R-M3 with locked rooms: a member reaches the room, others reach whom they share one with.
#[test]
fn permissions_with_locked_rooms() {
    let (mut node, [alice, _, carol, dave]) = town(CLOSED());
    for (from, to, expected) in [
        (alice, r#""to":"r","#, vec![1]),
        (alice, r#""to":"bob","#, vec![1]),
        (alice, r#""to":"dave","#, vec![]),
        (alice, r#""to":["dave","s"],"#, vec![1, 2]),
        (carol, r#""to":"r","#, vec![0, 1]),
        (carol, r#""to":["r","s"],"#, vec![0, 1]),
        (dave, r#""to":"r","#, vec![]),
        (dave, r#""to":["r","s","carol"],"#, vec![]),
        (dave, "", vec![]),
    ] {
        assert_eq!(receivers(&mut node, from, "message", to), expected, "{from:?} {to}");
    }
    assert!(node.server.stats().not_permitted > 0);
}

/// R-M3: who may send to rooms can be chosen whatever `dynamicRooms` says.
#[test]
fn who_may_send_to_rooms() {
    for (dynamic, room_send, expected) in [
        (true, RoomSend::Auto, vec![0, 1]),
        (true, RoomSend::Members, vec![]),
        (true, RoomSend::Anyone, vec![0, 1]),
        (false, RoomSend::Auto, vec![]),
        (false, RoomSend::Members, vec![]),
        (false, RoomSend::Anyone, vec![0, 1]),
    ] {
        let (mut node, [.., dave]) = town(config(|config| {
            config.dynamic_rooms = dynamic;
            config.room_send = room_send;
        }));
        let seen = receivers(&mut node, dave, "message", r#""to":"r","#);
        assert_eq!(seen, expected, "{dynamic} {room_send:?}");
    }
}

/// R-P6: presence reaches only those who share a room, whatever else is allowed; R-M1: never its
/// sender.
#[test]
fn presence_stays_in_shared_rooms() {
    let (mut node, [alice, .., dave]) = town(config(|config| config.room_send = RoomSend::Anyone));
    let at = |to: &str| to.replace('@', &"0".repeat(19));
    for (from, to, expected) in [
        (alice, at(""), vec![1, 2]),
        (alice, at(r#""to":"r","#), vec![1]),
        (alice, at(r#""to":"dave","#), vec![]),
        (alice, at(r#""to":["dave","r"],"#), vec![1]),
        (alice, at(r#""to":"alice|2@","#), vec![]),
        (alice, at(r#""to":"2@","#), vec![]),
        (alice, at(r#""to":"3@","#), vec![1]),
        (alice, at(r#""to":"5@","#), vec![]),
        (dave, at(r#""to":"r","#), vec![]),
        (dave, at(r#""to":["r","s"],"#), vec![]),
    ] {
        assert_eq!(receivers(&mut node, from, "presence", &to), expected, "{from:?} {to}");
    }
}

/// R-M5: what is no recipient is an error 400.
#[test]
fn invalid_recipients() {
    let (mut node, [alice, ..]) = town(Config::default());
    let many: Vec<_> = (0..10_000).map(|n| format!("r{n}")).collect();
    let many = serde_json::to_string(&many).unwrap();
    for (to, message) in [
        (r#""""#, "must not be empty"),
        (r#""|""#, "must not be empty"),
        (r#""||x""#, "must not be empty"),
        ("null", "must be a string or an array of rooms"),
        ("5", "must be a string or an array of rooms"),
        ("true", "must be a string or an array of rooms"),
        ("false", "must be a string or an array of rooms"),
        ("{}", "must be a string or an array of rooms"),
        (r#""\udc00""#, "must not contain half a surrogate pair"),
        // R-L6
        (&many, "must not name more than 256 rooms"),
    ] {
        for kind in ["message", "presence"] {
            node.text(alice, &format!(r#"{{"type":"{kind}","to":{to}}}"#));
            let expected = format!(
                r#"send [#0.7] {{"type":"error","status":400,"message":"Invalid to field: {message}"}}"#
            );
            assert_eq!(node.one(), expected, "{to}");
        }
    }
}

/// R-F1, R-F2: byte for byte, but for the sender.
#[test]
fn frames_are_relayed_as_written() {
    let (mut node, [alice, bob, ..]) = town(Config::default());
    for (sent, expected) in [
        (
            r#"{"to":"r" , "n":[12345678901234567890,1.0,-0], "s":"\u00e9\/","type":"message"}"#,
            r#"{"to":"r" , "n":[12345678901234567890,1.0,-0], "s":"\u00e9\/","type":"message","from":"alice|2…"}"#,
        ),
        (
            r#"{"type":"event","from":"carol|1","\u0066rom":"dave|1","to":"nobody","to":"r"}"#,
            r#"{"type":"event","\u0066rom":"alice|2…","to":"r"}"#,
        ),
        (
            r#"{"type":"auth","type":"command","to":"r","from":null}"#,
            r#"{"type":"command","to":"r","from":"alice|2…"}"#,
        ),
    ] {
        node.text(alice, sent);
        assert_eq!(node.received(bob), [expected]);
        node.forget();
    }
}

/// R-F2: a user that must be escaped in JSON is escaped in `from`.
#[test]
fn a_user_with_quotes() {
    let mut node = Node::new(Config::default());
    let conn = node.peer("a\\\"b", &["r"]);
    let bob = node.peer("bob", &["r"]);
    node.text(conn, r#"{"type":"message","to":"bob"}"#);
    assert_eq!(node.received(bob), [r#"{"type":"message","to":"bob","from":"a\"b|2…"}"#]);
}

/// R-F3: bad frames of a peer are answered, and the connection stays.
#[test]
fn bad_frames_are_answered() {
    let (mut node, [alice, bob, ..]) = town(Config::default());
    let long = format!(r#"{{"type":"{}"}}"#, "é".repeat(1000));
    let echoed = format!("Unknown type: {}", "é".repeat(64));
    let deep = format!(r#"{{"type":"message","data":{}1{}}}"#, "[".repeat(128), "]".repeat(128));
    let very_deep = "[".repeat(100_000);
    for (text, message) in [
        (r#"{"type":"chat"}"#, "Unknown type: chat"),
        (r#"{"type":"Message"}"#, "Unknown type: Message"),
        (r#"{"type":"welcome"}"#, "Unknown type: welcome"),
        (r#"{"type":"join:ok"}"#, "Unknown type: join:ok"),
        (r#"{"type":""}"#, "Unknown type: "),
        (&long, &echoed),
        ("{}", "Missing type field"),
        (r#"{"type":null}"#, "Invalid type field: must be a string"),
        (r#"{"type":["message"]}"#, "Invalid type field: must be a string"),
        ("null", "Invalid frame: a frame must be a JSON object at byte 0"),
        ("5", "Invalid frame: a frame must be a JSON object at byte 0"),
        ("\"x\"", "Invalid frame: a frame must be a JSON object at byte 0"),
        ("[]", "Invalid frame: a frame must be a JSON object at byte 0"),
        ("", "Invalid frame: unexpected end of JSON at byte 0"),
        (
            "{\"type\":\"message\",}",
            "Invalid frame: invalid JSON: expected a key in quotes at byte 18",
        ),
        (&deep, "Invalid frame: JSON nested deeper than 128 levels at byte 152"),
        (&very_deep, "Invalid frame: JSON nested deeper than 128 levels at byte 128"),
    ] {
        node.text(alice, text);
        assert_eq!(
            node.one(),
            format!(r#"send [#0.7] {{"type":"error","status":400,"message":"{message}"}}"#)
        );
    }
    node.text(alice, r#"{"type":"message","to":"bob"}"#);
    assert_eq!(node.received(bob).len(), 1);
}

/// R-M6: two frames from one sender leave in the order in which they came.
#[test]
fn order() {
    let (mut node, [alice, bob, ..]) = town(Config::default());
    for n in 0..50 {
        let to = ["", r#""to":"r","#, r#""to":["s","r"],"#][n % 3];
        node.text(alice, &format!(r#"{{"type":"message",{to}"n":{n}}}"#));
    }
    let received = node.received(bob);
    assert_eq!(received.len(), 50);
    for (n, text) in received.iter().enumerate() {
        assert!(text.contains(&format!(r#""n":{n},"#)), "{text}");
    }
}

/// A `close` ends the session with code 1000 (SPEC §7).
#[test]
fn close() {
    let (mut node, [alice, bob, ..]) = town(Config::default());
    node.text(alice, r#"{"type":"close"}"#);
    assert!(node.received(bob)[0].contains(r#""online":false"#));
    assert_eq!(node.seen().last().unwrap(), "close #0.7 1000 Closed");
    // What is still on its way does not count.
    node.text(alice, r#"{"type":"message","to":"bob"}"#);
    node.disconnect(alice);
    node.nothing();
}

/// R-F2: a frame that says two things, to receivers of two kinds, is refused, named, and delivered
/// to nobody; nothing else is lost by it. What the host emits is trusted.
#[test]
fn other_spellings_of_what_is_enforced() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &["r"]);
    let bob = node.peer("bob", &["r"]);
    for (kind, key, name) in [
        ("message", "FROM", "from"),
        ("command", r"from\u0000x", "from"),
        ("event", r"F\u0072om\u0000", "from"),
        ("message", "To", "to"),
        ("presence", "TYPE", "type"),
        ("presence", "Data", "data"),
    ] {
        node.forget();
        node.text(alice, &format!(r#"{{"type":"{kind}","to":"r","{key}":"bob|1"}}"#));
        let message = format!("Invalid {name} field: must be spelled {name}");
        let error = format!(r#"{{"type":"error","status":400,"message":"{message}"}}"#);
        assert_eq!(node.received(alice), [error], "{key}");
        assert_eq!(node.received(bob).len(), 0, "{key}");
    }
    node.forget();
    node.text(alice, r#"{"type":"message","to":"r","ROOM":1,"x":{"FROM":2}}"#);
    assert_eq!(node.received(bob).len(), 1);
    node.forget();
    let text = r#"{"type":"message","to":"r","FROM":"backend"}"#;
    assert_eq!(node.host(HostCall::Emit { text }), Ok(2));
}
