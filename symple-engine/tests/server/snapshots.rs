//! Every frame that a server can send, in the exchanges that cause it.

use std::time::Duration;

use crate::common::{Node, config};
use symple_engine::server::{
    AllowedUser, Config, HostCall, Input, SessionLookup, TransportFault, Verdict, Whom,
};
use symple_proto::Fields;

/// R-A8, R-R2, R-P2, R-P3, R-P4, R-F1, R-F2, R-F3
#[test]
fn a_conversation() {
    let mut node = Node::new(Config::default());
    let alice = node.auth(
        r#"{"type":"auth","user":"alice","name":"Alice","token":"","rooms":["lobby"],"data":{"status":"here"}}"#,
    );
    let bob = node.auth(r#"{"type":"auth","user":"bob","group":"staff"}"#);
    node.text(bob, r#"{"type":"join","room":"lobby"}"#);
    node.text(bob, r#"{"type":"message","id":"m1","to":"lobby","data":{"price":1.50}}"#);
    node.text(alice, &format!(r#"{{"type":"command","to":"bob|3{}","node":"n"}}"#, "0".repeat(19)));
    node.text(alice, r#"{"type":"event","name":"typing"}"#);
    node.text(alice, r#"{"type":"presence","probe":true,"data":{"name":"Al","status":"away"}}"#);
    node.text(bob, r#"{"type":"leave","room":"lobby"}"#);
    node.text(bob, r#"{"type":"auth","user":"bob"}"#);
    node.text(bob, r#"{"type":"unknown"}"#);
    node.text(bob, r#"{"type":"join","room":"lobby"}"#);
    node.text(alice, r#"{"type":"close"}"#);
    node.disconnect(alice);
    insta::assert_snapshot!(node.log());
}

/// Every error, every close (SPEC §7).
#[test]
fn errors_and_closes() {
    let mut node = Node::new(config(|config| {
        config.authentication = true;
        config.hook = true;
        config.dynamic_rooms = false;
        config.connections.unauthenticated = 6;
    }));
    node.auth("nonsense");
    node.auth(r#"{"type":"join","room":"r"}"#);
    node.auth(r#"{"type":"auth"}"#);
    node.auth(r#"{"type":"auth","user":"alice"}"#);
    let frame = r#"{"type":"auth","user":"alice","token":"t"}"#;
    for session in [
        SessionLookup::Missing,
        SessionLookup::Unavailable,
        SessionLookup::Found("5"),
        SessionLookup::Found(r#"{"user":"alice"}"#),
    ] {
        node.auth(frame);
        let request = node.requests.remove(0);
        node.input(Input::SessionLoaded { request, session }).unwrap();
    }
    let request = node.requests.remove(0);
    node.input(Input::AuthDecided { request, verdict: Verdict::Deny { message: None } }).unwrap();
    let alice = node.auth(frame);
    let request = node.requests.remove(0);
    node.input(Input::SessionLoaded {
        request,
        session: SessionLookup::Found(r#"{"user":"alice"}"#),
    })
    .unwrap();
    let request = node.requests.remove(0);
    let verdict = Verdict::Allow {
        user: AllowedUser::Claimed,
        rooms: vec!["team".into()],
        peer: Fields::new(),
        expires: None,
    };
    node.input(Input::AuthDecided { request, verdict }).unwrap();
    node.text(alice, r#"{"type":"join","room":"r"}"#);
    node.text(alice, r#"{"type":"message","to":5}"#);
    let whom = Whom::User("alice");
    node.host(HostCall::Kick { whom, reason: "Signed in elsewhere" }).unwrap();
    for fault in [
        TransportFault::TooBig { size: 1 << 20, limit: 65_536 },
        TransportFault::InvalidUtf8,
        TransportFault::Protocol,
        TransportFault::TooSlow,
    ] {
        let conn = node.connect();
        node.input(Input::Fault { conn, fault }).unwrap();
    }
    for _ in 0..7 {
        node.connect();
    }
    node.pass(Duration::from_secs(10));
    node.connect();
    node.input(Input::Shutdown { drain: Duration::ZERO }).unwrap();
    insta::assert_snapshot!(node.log());
}
