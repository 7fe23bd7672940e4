//! Who is told of whom: SPEC §6.

use crate::common::{Node, config};
use symple_engine::server::{Config, PresenceMode};

/// R-P2, R-P3, R-P5: online to those who share a room, once; the newcomer is told of them right
/// behind its welcome; offline once.
#[test]
fn online_and_offline() {
    let mut node = Node::new(Config::default());
    node.auth(r#"{"type":"auth","user":"bob","token":"secret","rooms":["r","s"]}"#);
    node.auth(r#"{"type":"auth","user":"carol","rooms":["x"]}"#);
    node.forget();
    let alice = node.auth(
        r#"{"type":"auth","user":"alice","rooms":["r","s"],"token":"t","data":{"token":"t","a":1}}"#,
    );
    assert_eq!(
        node.seen(),
        [
            "SetMessageLimit { conn: #2.7, limit: 1048576 }",
            r#"send [#2.7] {"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"alice","data":{"token":"t","a":1},"id":"4…","online":true,"name":"alice","host":"192.0.2.1"},"rooms":["alice","r","s"]}"#,
            r#"send [#2.7] {"type":"presence","from":"bob|2…","data":{"user":"bob","id":"2…","online":true,"name":"bob"}}"#,
            r#"send [#0.7] {"type":"presence","from":"alice|4…","data":{"user":"alice","data":{"a":1},"id":"4…","online":true,"name":"alice"}}"#,
        ]
    );
    node.disconnect(alice);
    assert_eq!(
        node.one(),
        r#"send [#0.7] {"type":"presence","from":"alice|4…","data":{"user":"alice","data":{"a":1},"id":"4…","online":false,"name":"alice"}}"#
    );
}

/// R-P3: those who begin to share a room are told of each other, those who did already are not.
#[test]
fn join_and_leave() {
    let mut node = Node::new(Config::default());
    let bob = node.peer("bob", &["r", "s"]);
    let carol = node.peer("carol", &["r"]);
    let alice = node.peer("alice", &["s"]);
    node.forget();
    node.text(alice, r#"{"type":"join","room":"r"}"#);
    let presence = |user: &str, online: bool| {
        let id = match user {
            "bob" => 2,
            "carol" => 3,
            _ => 4,
        };
        format!(
            r#"{{"type":"presence","from":"{user}|{id}…","data":{{"user":"{user}","id":"{id}…","online":{online},"name":"{user}"}}}}"#
        )
    };
    assert_eq!(
        node.received(alice),
        [r#"{"type":"join:ok","room":"r"}"#.to_owned(), presence("carol", true)]
    );
    assert_eq!(node.received(carol), [presence("alice", true)]);
    assert_eq!(node.received(bob), [""; 0]);
    node.forget();

    node.text(alice, r#"{"type":"leave","room":"s"}"#);
    assert_eq!(node.received(alice), [r#"{"type":"leave:ok","room":"s"}"#]);
    assert_eq!(node.received(bob), [""; 0]);
    node.forget();

    node.text(alice, r#"{"type":"leave","room":"r"}"#);
    assert_eq!(
        node.received(alice),
        [
            r#"{"type":"leave:ok","room":"r"}"#.to_owned(),
            presence("bob", false),
            presence("carol", false)
        ]
    );
    assert_eq!(node.received(bob), [presence("alice", false)]);
    assert_eq!(node.received(carol), [presence("alice", false)]);
}

/// R-P3: joining again tells nobody anything.
#[test]
fn joining_again_is_not_news() {
    let mut node = Node::new(Config::default());
    node.peer("bob", &["r"]);
    let alice = node.peer("alice", &["r"]);
    node.text(alice, r#"{"type":"join","room":"r"}"#);
    assert!(node.one().contains("join:ok"));
}

/// R-P4: the record is enforced, stored, relayed and told to newcomers.
#[test]
fn a_peer_tells_its_record() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &["r"]);
    let bob = node.peer("bob", &["r"]);
    node.forget();
    node.text(
        alice,
        r#"{"type":"presence","probe":true,"data":{"id":"3","online":false,"user":"bob","status":"away","n":1.0,"token":"t","rooms":["r"],"host":"h","deep":{"token":"t"}},"x":1}"#,
    );
    assert_eq!(
        node.received(bob),
        [
            r#"{"type":"presence","probe":true,"data":{"id":"2…","online":true,"user":"alice","status":"away","n":1.0,"deep":{"token":"t"}},"x":1,"from":"alice|2…"}"#
        ]
    );
    node.forget();
    let carol = node.peer("carol", &[]);
    node.text(carol, r#"{"type":"join","room":"r"}"#);
    assert_eq!(
        node.received(carol)[1],
        r#"{"type":"presence","from":"alice|2…","data":{"id":"2…","online":true,"user":"alice","status":"away","n":1.0,"deep":{}}}"#
    );
    node.forget();
    node.disconnect(alice);
    assert_eq!(
        node.received(bob),
        [
            r#"{"type":"presence","from":"alice|2…","data":{"id":"2…","online":false,"user":"alice","status":"away","n":1.0,"deep":{}}}"#
        ]
    );
}

/// R-P4: without data nothing is stored, and none is relayed; `null` is none.
#[test]
fn presence_without_data() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &["r"]);
    let bob = node.peer("bob", &["r"]);
    node.forget();
    let before = node.server.local_peers().next().unwrap().record;
    for (sent, relayed) in [
        (r#"{"type":"presence"}"#, r#"{"type":"presence","from":"alice|2…"}"#),
        (
            r#"{"type":"presence","data":null,"probe":true}"#,
            r#"{"type":"presence","probe":true,"from":"alice|2…"}"#,
        ),
        (
            r#"{"type":"presence","data":{"x":1},"d\u0061ta":null}"#,
            r#"{"type":"presence","from":"alice|2…"}"#,
        ),
    ] {
        node.text(alice, sent);
        assert_eq!(node.received(bob), [relayed]);
        node.forget();
    }
    assert_eq!(node.server.local_peers().next().unwrap().record, before);
}

/// R-P4, R-F3, R-L6: records that are none, or too much.
#[test]
fn records_are_checked() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &["r"]);
    node.peer("bob", &["r"]);
    let before = node.server.local_peers().next().unwrap().record;
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(16 * 1024));
    for (data, status, message) in [
        ("5", 400, "Invalid data field: must be an object"),
        ("[]", 400, "Invalid data field: must be an object"),
        ("\"away\"", 400, "Invalid data field: must be an object"),
        (r#"{"USER":"bob"}"#, 400, "Invalid user field: must be spelled user"),
        (r#"{"x":1,"id\u0000":5}"#, 400, "Invalid id field: must be spelled id"),
        (&large, 413, "Public record larger than 16384 bytes"),
    ] {
        node.forget();
        node.text(alice, &format!(r#"{{"type":"presence","data":{data}}}"#));
        assert_eq!(
            node.one(),
            format!(r#"send [#0.7] {{"type":"error","status":{status},"message":"{message}"}}"#)
        );
    }
    assert_eq!(node.server.local_peers().next().unwrap().record, before);
}

/// R-A1, R-P4: a name that is no string is shown all the same, or the user is.
#[test]
fn names_that_are_no_strings() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &["r"]);
    let bob = node.peer("bob", &["r"]);
    for (name, shown) in [("5", "5"), ("false", "false"), ("[]", "alice"), (r#""""#, "alice")] {
        node.forget();
        node.text(alice, &format!(r#"{{"type":"presence","data":{{"name":{name}}}}}"#));
        let data = format!(r#"{{"name":"{shown}","id":"2…","user":"alice","online":true}}"#);
        let frame = format!(r#"{{"type":"presence","data":{data},"from":"alice|2…"}}"#);
        assert_eq!(node.received(bob), [frame]);
    }
}

/// R-P2: who is gone is told in few bytes.
#[test]
fn a_large_record_goes_offline_as_a_small_one() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &["r"]);
    let bob = node.peer("bob", &["r"]);
    let large = "x".repeat(16_000);
    node.text(alice, &format!(r#"{{"type":"presence","data":{{"name":"Al","data":"{large}"}}}}"#));
    node.forget();
    node.disconnect(alice);
    let data = r#"{"id":"2…","user":"alice","name":"Al","online":false}"#;
    let frame = format!(r#"{{"type":"presence","from":"alice|2…","data":{data}}}"#);
    assert_eq!(node.received(bob), [frame]);
}

/// R-P7: what the Node server does, and no more: online on auth, offline on disconnect.
#[test]
fn classic() {
    let mut node = Node::new(config(|config| config.presence = PresenceMode::Classic));
    let bob = node.peer("bob", &["r", "s"]);
    let alice = node.auth(r#"{"type":"auth","user":"alice","rooms":["r","s"]}"#);
    assert_eq!(node.received(alice).len(), 1);
    let received = node.received(bob);
    assert_eq!(received.len(), 1);
    assert!(received[0].contains(r#""online":true"#));
    node.forget();
    node.disconnect(alice);
    assert!(node.one().contains(r#""online":false"#));
}

/// R-P2: two sessions of one user are two peers.
#[test]
fn sessions_of_one_user() {
    let mut node = Node::new(Config::default());
    let one = node.peer("alice", &["r"]);
    let two = node.auth(r#"{"type":"auth","user":"alice","rooms":["r"]}"#);
    assert_eq!(node.received(one).len(), 1);
    assert_eq!(node.received(two).len(), 2);
    node.forget();
    node.disconnect(one);
    assert!(node.one().starts_with("send [#1.7]"));
}

/// R-P1 with many rooms on both sides, where members are compared by marks.
#[test]
fn many_shared_rooms() {
    let mut node = Node::new(Config::default());
    let rooms: Vec<_> = (0..40).map(|n| format!("r{n}")).collect();
    let rooms: Vec<_> = rooms.iter().map(String::as_str).collect();
    let one = node.peer("alice", &rooms);
    let two = node.peer("bob", &rooms);
    node.forget();
    for room in &rooms[1..] {
        node.text(one, &format!(r#"{{"type":"leave","room":"{room}"}}"#));
        assert_eq!(node.received(two), [""; 0]);
    }
    node.forget();
    node.text(one, r#"{"type":"message","to":"bob"}"#);
    node.text(one, &format!(r#"{{"type":"message","to":"bob|3{}"}}"#, "0".repeat(19)));
    assert_eq!(node.received(two).len(), 2);
    node.forget();
    node.text(one, r#"{"type":"leave","room":"r0"}"#);
    assert_eq!(node.received(two).len(), 1);
    node.forget();
    node.text(one, &format!(r#"{{"type":"message","to":"bob|3{}"}}"#, "0".repeat(19)));
    node.nothing();
}
