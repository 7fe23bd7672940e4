//! What the application is asked and told: R-H1 to R-H5.

use std::time::Duration;

use symple_engine::server::{
    AllowedUser, Config, ConnId, EngineError, FrameVerdict, HostCall, Input, JoinVerdict,
    RequestId, TransportFault, Verdict,
};
use symple_proto::{Fields, RawJson, Status, UserName};

use crate::common::{Node, config};

/// A node with hooks for joins and frames.
fn hooked() -> Node {
    Node::new(config(|config| {
        config.hooks.join = true;
        config.hooks.frame = true;
    }))
}

/// A user whom the host has put in rooms.
fn peer(node: &mut Node, user: &str, rooms: &[&str]) -> ConnId {
    let conn = node.auth(&format!(r#"{{"type":"auth","user":"{user}"}}"#));
    let id = node.id(conn);
    for room in rooms {
        node.host(HostCall::Join { peer: &id, room }).unwrap();
    }
    conn
}

fn last(node: &Node) -> RequestId {
    *node.requests.last().unwrap()
}

fn join(node: &mut Node, verdict: JoinVerdict) {
    let request = last(node);
    node.input(Input::JoinDecided { request, verdict }).unwrap();
}

fn frame(node: &mut Node, verdict: FrameVerdict) -> Result<usize, EngineError> {
    let request = last(node);
    node.input(Input::FrameDecided { request, verdict })
}

const NOTHING: [&str; 0] = [];

/// R-H1: the hook is asked with the frame and the peer; what it allows happens.
#[test]
fn a_join_that_is_allowed() {
    let mut node = hooked();
    let alice = peer(&mut node, "alice", &["r"]);
    let bob = peer(&mut node, "bob", &[]);
    node.forget();
    node.text(bob, r#"{"type":"join","room":"r","credential":"s3cr3t","data":1.0}"#);
    let asked = node.one();
    assert!(asked.starts_with("ask bob|3"), "{asked}");
    assert!(asked.contains(r#""credential":"s3cr3t","data":1.0"#), "{asked}");
    assert!(asked.contains(r#"Join { room: "r", record: "#), "{asked}");
    join(&mut node, JoinVerdict::Allow);
    assert_eq!(node.received(bob)[0], r#"{"type":"join:ok","room":"r"}"#);
    assert_eq!(node.received(alice).len(), 1);
    node.forget();
    // Who is inside already changes nothing, and nobody is asked.
    node.text(bob, r#"{"type":"join","room":"r"}"#);
    assert_eq!(node.received(bob), [r#"{"type":"join:ok","room":"r"}"#]);
    assert_eq!(node.server.stats().hooks_asked, 1);
}

/// R-H1: a refused join names the room, and nobody learns of it.
#[test]
fn a_join_that_is_denied() {
    for (message, told) in [
        (Some("No \"entry\""), r#"No \"entry\""#),
        (Some(""), "Join denied"),
        (None, "Join denied"),
    ] {
        let mut node = hooked();
        let alice = peer(&mut node, "alice", &["r"]);
        let bob = peer(&mut node, "bob", &[]);
        node.forget();
        node.text(bob, r#"{"type":"join","room":"r"}"#);
        join(&mut node, JoinVerdict::Deny { message: message.map(Into::into) });
        let error = format!(r#"{{"type":"error","status":403,"message":"{told}","room":"r"}}"#);
        assert_eq!(node.received(bob), [error]);
        assert_eq!(node.received(alice), NOTHING);
        assert_eq!(node.server.members("r").count(), 1);
        assert_eq!(node.server.stats().hooks_denied, 1);
    }
}

/// R-H1: the rooms of an `auth` frame are no way around the hook.
#[test]
fn rooms_of_an_auth_frame_do_not_count() {
    let mut node = hooked();
    let conn = node.auth(r#"{"type":"auth","user":"alice","rooms":["r"]}"#);
    assert!(node.received(conn)[0].contains(r#""rooms":["alice"]"#));
}

/// R-H1: what is wrong with a join is answered without a question.
#[test]
fn joins_that_nobody_is_asked_about() {
    let mut node = Node::new(config(|config| {
        config.hooks.join = true;
        config.limits.rooms_per_peer = 1;
    }));
    let alice = peer(&mut node, "alice", &[]);
    node.text(alice, r#"{"type":"join","room":"r"}"#);
    join(&mut node, JoinVerdict::Allow);
    node.forget();
    for frame in
        [r#"{"type":"join"}"#, r#"{"type":"join","room":5}"#, r#"{"type":"join","room":"s"}"#]
    {
        node.text(alice, frame);
        assert!(node.one().contains("error"), "{frame}");
    }
    // The peers of the application are its own affair.
    let conn = ConnId::new(9, 1);
    let user = UserName::new("bot").unwrap();
    node.host(HostCall::AddPeer { conn, user, peer: Fields::new(), rooms: &[] }).unwrap();
    node.forget();
    node.text(conn, r#"{"type":"join","room":"r"}"#);
    assert_eq!(node.received(conn)[0], r#"{"type":"join:ok","room":"r"}"#);
}

/// R-H2: pass, drop, replace, answer, refuse.
#[test]
fn what_a_hook_can_do_with_a_frame() {
    let mut node = hooked();
    let alice = peer(&mut node, "alice", &["r"]);
    let bob = peer(&mut node, "bob", &["r"]);
    let text = r#"{"type":"message","to":"r","from":"bob","data":1.0}"#;
    let from = format!("alice|{}", "2…");
    for (verdict, to_alice, to_bob) in [
        (
            FrameVerdict::Pass,
            None,
            Some(format!(r#"{{"type":"message","to":"r","from":"{from}","data":1.0}}"#)),
        ),
        (FrameVerdict::Drop, None, None),
        (
            FrameVerdict::Replace(r#" {"type":"event","from":"x","to":"bob","n":-0} "#.into()),
            None,
            Some(format!(r#"{{"type":"event","from":"{from}","to":"bob","n":-0}}"#)),
        ),
        (
            FrameVerdict::Answer(r#"{"type":"event","name":"no"}"#.into()),
            Some(r#"{"type":"event","name":"no"}"#.to_owned()),
            None,
        ),
        (
            FrameVerdict::Refuse { status: Status(451), message: Some("Not here".into()) },
            Some(r#"{"type":"error","status":451,"message":"Not here"}"#.to_owned()),
            None,
        ),
        (
            FrameVerdict::Refuse { status: Status::FORBIDDEN, message: None },
            Some(r#"{"type":"error","status":403,"message":"Frame refused"}"#.to_owned()),
            None,
        ),
    ] {
        node.forget();
        node.text(alice, text);
        let asked = node.one();
        assert!(asked.ends_with(&format!("{text} Frame {{ kind: Message }}")), "{asked}");
        frame(&mut node, verdict.clone()).unwrap();
        assert_eq!(node.received(alice), Vec::from_iter(to_alice), "{verdict:?}");
        assert_eq!(node.received(bob), Vec::from_iter(to_bob), "{verdict:?}");
    }
}

/// R-H2, R-H5: what a hook puts in the place of a frame is checked as a client's own; what cannot
/// be relayed is refused, and the application learns why.
#[test]
fn a_replacement_is_checked() {
    let long = format!(r#"{{"type":"message","data":"{}"}}"#, "x".repeat(1024 * 1024));
    for text in [
        "",
        "null",
        r#"{"to":"r"}"#,
        r#"{"type":"join","room":"r"}"#,
        r#"{"type":"auth","user":"carol"}"#,
        r#"{"type":"message","FROM":"carol|1"}"#,
        r#"{"type":"message","to":5}"#,
        &long,
    ] {
        let mut node = hooked();
        let alice = peer(&mut node, "alice", &["r"]);
        let bob = peer(&mut node, "bob", &["r"]);
        node.forget();
        node.text(alice, r#"{"type":"message"}"#);
        assert!(frame(&mut node, FrameVerdict::Replace(text.into())).is_err(), "{text}");
        let refused = r#"{"type":"error","status":403,"message":"Frame refused"}"#;
        assert_eq!(node.received(alice), [refused], "{text}");
        assert_eq!(node.received(bob), NOTHING, "{text}");
    }
}

/// R-H2, R-H5: an answer that is no frame, and the answer to another question, let nothing
/// through.
#[test]
fn answers_that_make_no_sense() {
    let mut node = hooked();
    let alice = peer(&mut node, "alice", &["r"]);
    let bob = peer(&mut node, "bob", &["r"]);
    node.forget();
    node.text(alice, r#"{"type":"message"}"#);
    assert!(frame(&mut node, FrameVerdict::Answer("[]".into())).is_err());
    node.text(alice, r#"{"type":"message"}"#);
    join(&mut node, JoinVerdict::Allow);
    node.text(alice, r#"{"type":"join","room":"s"}"#);
    assert!(frame(&mut node, FrameVerdict::Pass).is_err());
    // A second answer is none.
    frame(&mut node, FrameVerdict::Pass).unwrap();
    join(&mut node, JoinVerdict::Allow);
    let seen = node.received(alice);
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen.iter().all(|text| text.contains(r#""status":403"#)), "{seen:?}");
    assert_eq!(node.received(bob), NOTHING);
    assert_eq!(node.server.members("s").count(), 0);
}

/// R-H2: what is wrong with a frame is answered without a question.
#[test]
fn frames_that_nobody_is_asked_about() {
    let mut node = hooked();
    let alice = peer(&mut node, "alice", &["r"]);
    node.forget();
    for text in [
        "{",
        r#"{"type":"quux"}"#,
        r#"{"type":"message","to":5}"#,
        r#"{"type":"message","From":5}"#,
    ] {
        node.text(alice, text);
        assert!(node.one().contains(r#""status":400"#), "{text}");
    }
    node.text(alice, r#"{"type":"leave","room":"r"}"#);
    assert_eq!(node.received(alice), [r#"{"type":"leave:ok","room":"r"}"#]);
    assert_eq!(node.server.stats().hooks_asked, 0);
}

/// R-L7: what the application is asked about is counted, and what waits behind it.
#[test]
fn what_waits_behind_a_question_is_counted() {
    let mut node = hooked();
    let alice = peer(&mut node, "alice", &["r"]);
    node.forget();
    let text = format!(r#"{{"type":"message","to":"r","data":"{}"}}"#, "x".repeat(10_000));
    assert_eq!(node.server.waiting(), 0);
    for count in [1, 2, 3] {
        node.text(alice, &text);
        let waiting = node.server.waiting_of(alice);
        assert!((count * 10_000..count * 10_200).contains(&waiting), "{count}: {waiting}");
        assert_eq!(node.server.waiting(), waiting);
    }
    for left in [2, 1, 0] {
        frame(&mut node, FrameVerdict::Pass).unwrap();
        assert_eq!(node.server.waiting() / 10_000, left);
    }
    assert_eq!(node.server.waiting(), 0);
    node.text(alice, &text);
    node.text(alice, &text);
    node.input(Input::Fault { conn: alice, fault: TransportFault::TooSlow }).unwrap();
    assert_eq!(node.server.waiting(), 0);
}

/// R-H2: what a peer sends while something is asked waits in order, and nobody else does.
#[test]
fn frames_behind_a_question_wait_in_order() {
    let mut node = hooked();
    let alice = peer(&mut node, "alice", &["r"]);
    let bob = peer(&mut node, "bob", &["r"]);
    let carol = peer(&mut node, "carol", &["r"]);
    node.forget();
    node.text(alice, r#"{"type":"message","n":1}"#);
    let first = last(&node);
    node.text(alice, r#"{"type":"message","n":2}"#);
    node.text(alice, r#"{"type":"leave","room":"alice"}"#);
    node.text(alice, r#"{"type":"close"}"#);
    assert_eq!(node.seen().len(), 1, "one question at a time");
    node.text(carol, r#"{"type":"message","n":3}"#);
    frame(&mut node, FrameVerdict::Pass).unwrap();
    assert!(node.received(bob)[0].contains(r#""n":3"#), "carol does not wait for alice");
    node.forget();
    node.input(Input::FrameDecided { request: first, verdict: FrameVerdict::Pass }).unwrap();
    let seen = node.seen();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].contains(r#""n":1"#) && seen[1].starts_with("ask"), "{seen:?}");
    frame(&mut node, FrameVerdict::Pass).unwrap();
    let seen = node.seen().join("\n");
    let order = [r#""n":2"#, "leave:ok", r#""online":false"#, "1000"];
    let places = order.map(|text| seen.find(text).unwrap_or_else(|| panic!("{text} in {seen}")));
    assert!(places.is_sorted(), "{seen}");
}

/// R-H2, R-H5: a client that floods while one of its frames is asked about is not read from; the
/// order stays, and nothing is lost.
#[test]
fn a_flood_behind_a_question() {
    let mut node = Node::new(config(|config| {
        config.hooks.frame = true;
        config.rate = None;
    }));
    let alice = peer(&mut node, "alice", &["r"]);
    let bob = peer(&mut node, "bob", &["r"]);
    node.forget();
    let mut sent = 0;
    let padding = "x".repeat(100);
    while !node.seen().iter().any(|line| line.starts_with("Pause")) {
        node.text(alice, &format!(r#"{{"type":"message","n":{sent},"data":"{padding}"}}"#));
        sent += 1;
        assert!(sent < 1000, "64 KiB may wait");
    }
    assert!(sent > 100);
    let (mut received, mut resumed) = (Vec::new(), 0);
    for _ in 0..sent {
        frame(&mut node, FrameVerdict::Pass).unwrap();
        received.extend(node.received(bob));
        resumed += node.seen().iter().filter(|line| line.starts_with("Resume")).count();
    }
    assert_eq!(resumed, 1);
    assert_eq!(received.len(), sent);
    for (n, text) in received.iter().enumerate() {
        assert!(text.contains(&format!(r#""n":{n},"#)), "{text}");
    }
}

/// R-H5: a hook that does not answer within its time has denied; an answer after that is none.
#[test]
fn a_hook_that_never_answers() {
    let mut node = hooked();
    let alice = peer(&mut node, "alice", &["r"]);
    let bob = peer(&mut node, "bob", &["r"]);
    node.forget();
    node.text(alice, r#"{"type":"message","n":1}"#);
    let late = last(&node);
    node.text(alice, r#"{"type":"join","room":"s"}"#);
    node.pass(Duration::from_millis(4999));
    assert_eq!(node.received(alice), NOTHING);
    node.pass(Duration::from_millis(1));
    assert_eq!(
        node.received(alice),
        [r#"{"type":"error","status":403,"message":"Frame refused"}"#]
    );
    node.input(Input::FrameDecided { request: late, verdict: FrameVerdict::Pass }).unwrap();
    node.pass(Duration::from_secs(5));
    assert!(node.received(alice)[1].contains("Join denied"));
    assert_eq!(node.received(bob), NOTHING);
    assert_eq!(node.server.stats().hooks_late, 2);
    assert_eq!(node.server.members("s").count(), 0);
}

/// R-H5: 0 is for ever.
#[test]
fn without_a_time_limit_a_hook_may_take_for_ever() {
    let mut node = Node::new(config(|config| {
        config.hooks.frame = true;
        config.hooks.timeout = Duration::ZERO;
    }));
    let alice = peer(&mut node, "alice", &["r"]);
    node.forget();
    node.text(alice, r#"{"type":"message","to":"alice"}"#);
    node.pass(Duration::from_secs(100_000));
    assert_eq!(node.received(alice), NOTHING);
    frame(&mut node, FrameVerdict::Refuse { status: Status(403), message: None }).unwrap();
    assert_eq!(node.received(alice).len(), 1);
}

/// R-H5: however many answers come in time, no deadline is kept of them, and each late one is
/// noticed at its time.
#[test]
fn deadlines_are_those_of_open_questions() {
    let mut node = Node::new(config(|config| {
        config.hooks.frame = true;
        config.rate = None;
    }));
    let slow = peer(&mut node, "slow", &[]);
    let quick = peer(&mut node, "quick", &[]);
    node.text(slow, r#"{"type":"message"}"#);
    node.forget();
    for _ in 0..1000 {
        node.pass(Duration::from_millis(4));
        node.text(quick, r#"{"type":"message"}"#);
        frame(&mut node, FrameVerdict::Drop).unwrap();
    }
    node.text(quick, r#"{"type":"message"}"#);
    assert_eq!(node.received(slow), NOTHING);
    node.pass(Duration::from_secs(1));
    assert_eq!(node.received(slow).len(), 1);
    assert_eq!(node.received(quick), NOTHING);
    node.pass(Duration::from_secs(4));
    assert_eq!(node.received(quick).len(), 1);
}

/// R-H2, R-A10: what is still asked when its sender goes comes to nothing.
#[test]
fn a_client_that_leaves_while_it_is_asked_about() {
    let mut node = hooked();
    let alice = peer(&mut node, "alice", &["r"]);
    let bob = peer(&mut node, "bob", &["r"]);
    for depart in [true, false] {
        node.forget();
        let alice = if depart { alice } else { peer(&mut node, "alice", &["r"]) };
        node.text(alice, r#"{"type":"message"}"#);
        node.text(alice, r#"{"type":"join","room":"s"}"#);
        if depart {
            node.input(Input::Departed { conn: alice }).unwrap();
        }
        node.forget();
        node.disconnect(alice);
        assert_eq!(node.received(bob).len(), 1, "it is offline at once");
        let _ = frame(&mut node, FrameVerdict::Pass);
        assert_eq!(node.received(bob).len(), 1);
        node.pass(Duration::from_secs(10));
        assert_eq!(node.server.members("s").count(), 0);
    }
}

/// R-L3: what a client that is gone has left behind is bounded, also behind a question.
#[test]
fn what_a_departed_client_left_behind_a_question_is_bounded() {
    let mut node = hooked();
    let alice = peer(&mut node, "alice", &["r"]);
    node.text(alice, r#"{"type":"message"}"#);
    node.input(Input::Departed { conn: alice }).unwrap();
    node.forget();
    let mut sent = 0;
    while !node.seen().iter().any(|line| line.starts_with("close")) {
        node.text(alice, r#"{"type":"message"}"#);
        sent += 1;
        assert!(sent < 200_000, "a full bucket's worth of deliveries");
    }
    assert_eq!(node.server.stats().departed_cut_short, 1);
}

/// R-H2, R-L3: what a frame causes is charged when it is let through.
#[test]
fn a_frame_is_charged_for_whom_it_reaches() {
    let mut node = hooked();
    let alice = peer(&mut node, "alice", &["r"]);
    for n in 0..300 {
        peer(&mut node, &format!("u{n}"), &["r"]);
    }
    node.pass(Duration::from_secs(60));
    node.forget();
    let mut sent = 0;
    while !node.seen().iter().any(|line| line.starts_with("Pause")) {
        node.text(alice, r#"{"type":"message","to":"r"}"#);
        frame(&mut node, FrameVerdict::Pass).unwrap();
        sent += 1;
    }
    assert_eq!(sent, 201, "a frame for 300 costs two units of 400");
}

/// A session, or a hook, says that a peer is read-only or hidden.
fn limited(by_session: bool) -> Node {
    Node::new(config(|config| {
        config.authentication = by_session;
        config.hook = !by_session;
    }))
}

fn enter(node: &mut Node, user: &str, by_session: bool, more: &str) -> ConnId {
    let conn = node.auth(&format!(r#"{{"type":"auth","user":"{user}","token":"t"}}"#));
    let request = last(node);
    if by_session {
        let session = format!(r#"{{"user":"{user}","rooms":["r"]{more}}}"#);
        let session = symple_engine::server::SessionLookup::Found(&session);
        node.input(Input::SessionLoaded { request, session }).unwrap();
    } else {
        let fields: RawJson =
            RawJson::parse(&format!("{{{}}}", more.trim_start_matches(','))).unwrap();
        let peer = Fields::try_from(fields.get().as_object().unwrap()).unwrap();
        let user = AllowedUser::Named(UserName::new(user).unwrap());
        let verdict = Verdict::Allow { user, rooms: vec!["r".into()], peer, expires: None };
        node.input(Input::AuthDecided { request, verdict }).unwrap();
    }
    conn
}

/// R-H4: a read-only peer hears, and sends nothing.
#[test]
fn a_read_only_peer() {
    for by_session in [true, false] {
        for (value, limits) in
            [("true", true), ("1", true), ("\"no\"", true), ("false", false), ("null", false)]
        {
            let mut node = limited(by_session);
            let bob = enter(&mut node, "bob", by_session, "");
            let more = format!(r#","readonly":{value}"#);
            let alice = enter(&mut node, "alice", by_session, &more);
            assert!(node.received(bob).last().unwrap().contains(r#""user":"alice""#));
            node.forget();
            for text in [
                r#"{"type":"message"}"#,
                r#"{"type":"presence","data":{}}"#,
                r#"{"type":"command","to":"bob"}"#,
                r#"{"type":"event","to":"r"}"#,
                r#"{"type":"join","room":"s"}"#,
            ] {
                node.text(alice, text);
                if limits {
                    let error = r#"{"type":"error","status":403,"message":"Read-only"}"#;
                    assert_eq!(node.received(alice), [error], "{text}");
                    assert_eq!(node.received(bob), NOTHING, "{text}");
                } else {
                    assert!(!node.seen().join("").contains("error"), "{value}: {text}");
                }
                node.forget();
            }
            node.text(bob, r#"{"type":"message","to":"r"}"#);
            assert_eq!(node.received(alice).len(), 1);
            let info = node.server.local_peers().find(|peer| peer.conn == alice).unwrap();
            assert_eq!(info.read_only, limits);
            node.text(alice, r#"{"type":"leave","room":"r"}"#);
            assert_eq!(node.received(alice)[1], r#"{"type":"leave:ok","room":"r"}"#);
        }
    }
}

/// R-H4: a client cannot say it of itself, nor unsay it.
#[test]
fn a_client_does_not_decide_what_it_may_do() {
    let mut node = Node::new(Config::default());
    let bob = node.peer("bob", &["r"]);
    node.auth(r#"{"type":"auth","user":"eve","rooms":["r"],"hidden":true,"readonly":true}"#);
    assert!(node.received(bob)[0].contains("eve"), "it is seen");
    let mut node = limited(true);
    let conn = node.auth(r#"{"type":"auth","user":"a","token":"t","readonly":false}"#);
    let request = last(&node);
    let session = symple_engine::server::SessionLookup::Found(r#"{"user":"a","readonly":true}"#);
    node.input(Input::SessionLoaded { request, session }).unwrap();
    node.forget();
    node.text(conn, r#"{"type":"message"}"#);
    assert!(node.one().contains("Read-only"));
}

/// R-H4, R-A9: who authenticates again is as read-only as its new session says.
#[test]
fn read_only_is_decided_anew() {
    let mut node = limited(true);
    let conn = enter(&mut node, "a", true, r#","readonly":true"#);
    node.text(conn, r#"{"type":"auth","user":"a","token":"u"}"#);
    let request = last(&node);
    let session = symple_engine::server::SessionLookup::Found(r#"{"user":"a","rooms":["r"]}"#);
    node.input(Input::SessionLoaded { request, session }).unwrap();
    node.forget();
    node.text(conn, r#"{"type":"message","to":"a"}"#);
    node.nothing();
}

/// R-H4: a hidden peer is in no roster, there is no presence about it, and nobody can address it;
/// it sees what others see.
#[test]
fn a_hidden_peer() {
    for by_session in [true, false] {
        let mut node = limited(by_session);
        let bob = enter(&mut node, "bob", by_session, "");
        node.forget();
        let spy = enter(&mut node, "spy", by_session, r#","hidden":true"#);
        assert_eq!(node.received(bob), NOTHING, "nobody is told that it comes");
        let seen = node.received(spy);
        assert!(seen.iter().any(|text| text.contains(r#""user":"bob""#)), "{seen:?}");
        let id = node.id(spy);
        node.forget();
        let carol = enter(&mut node, "carol", by_session, "");
        let seen = node.received(carol);
        assert!(!seen.iter().any(|text| text.contains("spy")), "in no roster: {seen:?}");
        assert_eq!(node.received(spy).len(), 1, "it sees who comes");
        node.forget();
        for text in [
            r#"{"type":"presence","data":{"n":1}}"#,
            r#"{"type":"presence","to":"bob","probe":true}"#,
            r#"{"type":"join","room":"s"}"#,
            r#"{"type":"leave","room":"r"}"#,
            r#"{"type":"join","room":"r"}"#,
        ] {
            node.text(spy, text);
            assert_eq!((node.received(bob), node.received(carol)), (vec![], vec![]), "{text}");
        }
        node.forget();
        for to in [id.clone(), format!("spy|{id}"), "spy".into()] {
            node.text(bob, &format!(r#"{{"type":"message","to":"{to}"}}"#));
            node.text(bob, &format!(r#"{{"type":"message","to":["{to}","bob"]}}"#));
            node.text(bob, &format!(r#"{{"type":"presence","to":"{to}","probe":true}}"#));
        }
        node.nothing();
        node.text(bob, r#"{"type":"message"}"#);
        node.text(bob, r#"{"type":"presence","data":{"n":2}}"#);
        node.text(bob, r#"{"type":"message","to":["spy","r"]}"#);
        assert_eq!(node.received(spy).len(), 3, "it hears what its rooms hear");
        node.forget();
        node.host(HostCall::Send { peer: &id, text: r#"{"type":"event"}"# }).unwrap();
        assert_eq!(node.received(spy).len(), 1, "the host reaches it");
        node.forget();
        assert!(node.server.local_peers().find(|peer| peer.conn == spy).unwrap().hidden);
        node.text(bob, r#"{"type":"leave","room":"r"}"#);
        assert_eq!(node.received(bob).len(), 2, "its leave:ok, and carol is offline");
        node.text(bob, r#"{"type":"join","room":"r"}"#);
        node.forget();
        node.disconnect(spy);
        node.nothing();
    }
}

fn told(node: &mut Node) -> Vec<String> {
    let seen = node.seen();
    seen.into_iter().filter_map(|line| Some(line.strip_prefix("tell ")?.to_owned())).collect()
}

/// R-H3: the application is told who comes online, leaves a room and goes offline, with numbers
/// that grow.
#[test]
fn changes_are_told() {
    let mut node = Node::new(config(|config| config.hooks.changes = true));
    let alice = node.auth(r#"{"type":"auth","user":"alice","rooms":["r","s"]}"#);
    node.text(alice, r#"{"type":"leave","room":"r"}"#);
    node.text(alice, r#"{"type":"leave","room":"r"}"#);
    let id = node.id(alice);
    node.host(HostCall::Leave { peer: &id, room: "s" }).unwrap();
    node.text(alice, r#"{"type":"join","room":"t"}"#);
    node.text(alice, r#"{"type":"close"}"#);
    node.disconnect(alice);
    assert_eq!(
        told(&mut node),
        [
            r#"alice|2… 1 Online { rooms: ["alice", "r", "s"] }"#,
            r#"alice|2… 2 Left { room: "r" }"#,
            r#"alice|2… 3 Left { room: "s" }"#,
            r#"alice|2… 4 Offline { rooms: ["alice", "t"], reason: Closed }"#,
        ]
    );
    let mut node = Node::new(Config::default());
    node.auth(r#"{"type":"auth","user":"alice"}"#);
    assert_eq!(told(&mut node), NOTHING, "nothing is told where nobody wants to know");
}
