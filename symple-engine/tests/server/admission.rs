//! From a connection to a peer: SPEC §3.

use std::time::Duration;

use crate::common::{ADDRESS, Node, config};
use symple_engine::server::{
    AllowedUser, Config, ConnId, HostCall, Input, PublicMembers, SessionLookup, TransportFault,
    Verdict, Whom,
};
use symple_proto::{Fields, UserName};

const HOOK: fn() -> Config = || config(|config| config.hook = true);
const SESSIONS: fn() -> Config = || config(|config| config.authentication = true);

fn allow(rooms: &[&str]) -> Verdict {
    Verdict::Allow {
        user: AllowedUser::Claimed,
        rooms: rooms.iter().map(ToString::to_string).collect(),
        peer: Fields::new(),
        expires: None,
    }
}

impl Node {
    fn session(&mut self, session: SessionLookup<'_>) {
        let request = self.requests.remove(0);
        self.input(Input::SessionLoaded { request, session }).unwrap();
    }

    fn verdict(&mut self, verdict: Verdict) {
        let request = self.requests.remove(0);
        self.input(Input::AuthDecided { request, verdict }).unwrap();
    }
}

/// R-F4: anything but `auth` is 401 and 4401; what cannot be parsed is 400 and 4400.
#[test]
fn the_first_frame_is_auth() {
    for (text, message, code) in [
        (r#"{"type":"message","to":"bob"}"#, "Not authenticated", 4401),
        (r#"{"type":"join","room":"r"}"#, "Not authenticated", 4401),
        (r#"{"type":"close"}"#, "Not authenticated", 4401),
        (r#"{"type":"Auth","user":"a"}"#, "Not authenticated", 4401),
        (r#"{"type":5}"#, "Not authenticated", 4401),
        ("{}", "Not authenticated", 4401),
        ("[]", "Not authenticated", 4401),
        ("null", "Not authenticated", 4401),
        ("5", "Not authenticated", 4401),
        ("\"auth\"", "Not authenticated", 4401),
        ("", "Invalid frame: unexpected end of JSON at byte 0", 4400),
        ("{\"type\":", "Invalid frame: unexpected end of JSON at byte 8", 4400),
        ("hello", "Invalid frame: invalid JSON: expected a value at byte 0", 4400),
    ] {
        let mut node = Node::new(Config::default());
        node.auth(text);
        let status = code - 4000;
        let reason = if code == 4400 { "Bad request" } else { "Authentication failed" };
        assert_eq!(
            node.seen(),
            [
                format!(
                    r#"send [#0.7] {{"type":"error","status":{status},"message":"{message}"}}"#
                ),
                format!("close #0.7 {code} {reason}"),
            ],
            "{text}"
        );
    }
}

/// R-F5: depth costs nothing but the connection.
#[test]
fn a_deep_first_frame_is_refused() {
    let mut node = Node::new(Config::default());
    node.auth(&"[".repeat(100_000));
    assert!(node.seen()[0].contains("nested deeper than 128 levels"));
}

/// R-A1, R-A7: one error, then 4401.
#[test]
fn a_failed_authentication_closes() {
    let mut node = Node::new(Config::default());
    let conn = node.auth(r#"{"type":"auth"}"#);
    assert_eq!(
        node.seen(),
        [
            r#"send [#0.7] {"type":"error","status":401,"message":"Missing user field"}"#,
            "close #0.7 4401 Authentication failed",
        ]
    );
    // R-A7: there is no second guess.
    node.text(conn, r#"{"type":"auth","user":"alice"}"#);
    node.nothing();
}

/// R-A2
#[test]
fn who_says_nothing_is_closed_after_ten_seconds() {
    let mut node = Node::new(Config::default());
    node.connect();
    node.pass(Duration::from_millis(9999));
    node.nothing();
    node.pass(Duration::from_millis(1));
    assert_eq!(
        node.seen(),
        [
            r#"send [#0.7] {"type":"error","status":408,"message":"Authentication timeout"}"#,
            "close #0.7 4408 Authentication timeout",
        ]
    );
    let mut node = Node::new(Config::default());
    node.peer("alice", &[]);
    node.pass(Duration::from_secs(60));
    node.nothing();
}

/// R-A2: the timeout can be set, and turned off.
#[test]
fn the_timeout_is_configurable() {
    let mut node = Node::new(config(|config| config.auth_timeout = Duration::from_secs(2)));
    node.connect();
    node.pass(Duration::from_secs(2));
    assert_eq!(node.seen().len(), 2);
    let mut node = Node::new(config(|config| config.auth_timeout = Duration::ZERO));
    node.connect();
    assert_eq!(node.server.poll_timeout(), None);
}

/// R-A8, R-F6: the welcome, to the letter; ids have 20 digits and letters.
#[test]
fn welcome() {
    let mut node = Node::new(Config::default());
    node.auth(
        r#"{"type":"auth","user":"alice","name":"Alice","token":"t","rooms":["a","b","a","alice"],"data":{"n":1.0},"group":"staff"}"#,
    );
    assert_eq!(
        node.seen(),
        [
            "SetMessageLimit { conn: #0.7, limit: 1048576 }",
            r#"send [#0.7] {"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"alice","name":"Alice","data":{"n":1.0},"group":"staff","id":"2…","online":true,"host":"192.0.2.1"},"rooms":["alice","a","b"]}"#,
        ]
    );
    let id = node.server.local_peers().next().unwrap().address.id;
    assert_eq!(id.len(), 20);
}

/// R-F6: random bits of the injected source, digits and letters only, never the same.
#[test]
fn ids_are_made_of_random_bits() {
    let mut state = 7_u64;
    let random = move |bytes: &mut [u8]| {
        for byte in bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 33) as u8;
        }
    };
    let mut node = Node::new(Config::default());
    node.server = symple_engine::server::Server::new(Config::default(), random);
    for _ in 0..500 {
        node.peer("alice", &[]);
    }
    let ids: std::collections::BTreeSet<_> =
        node.server.local_peers().map(|peer| peer.address.id.to_string()).collect();
    assert_eq!(ids.len(), 500);
    assert!(ids.iter().all(|id| id.len() == 20));
    let digits: std::collections::BTreeSet<_> = ids.iter().flat_map(|id| id.chars()).collect();
    assert_eq!(digits.len(), 36);
}

/// R-A3: a token is ignored, whatever it is; rooms count.
#[test]
fn anonymous() {
    for token in [r#""""#, "5", "null", "[]", r#""t""#] {
        let mut node = Node::new(Config::default());
        node.auth(&format!(r#"{{"type":"auth","user":"alice","token":{token},"rooms":["r"]}}"#));
        let welcome = node.seen().remove(1);
        assert!(welcome.contains(r#""rooms":["alice","r"]"#), "{welcome}");
        assert!(!welcome.contains("token"), "{welcome}");
    }
    let mut node = Node::new(Config::default());
    let rooms: Vec<_> = (0..5_000).map(|n| format!("r{n}")).collect();
    let rooms = serde_json::to_string(&rooms).unwrap();
    node.auth(&format!(r#"{{"type":"auth","user":"alice","rooms":{rooms}}}"#));
    assert_eq!(
        node.seen(),
        [
            r#"send [#0.7] {"type":"error","status":400,"message":"Too many rooms: the limit is 256"}"#,
            "close #0.7 4400 Bad request",
        ]
    );
}

/// R-F5, R-A8: names that mean something to JavaScript mean nothing here, but for one that a client
/// may trip over.
#[test]
fn keys_of_the_prototype_are_just_keys() {
    let mut node = Node::new(Config::default());
    node.auth(
        r#"{"type":"auth","user":"hasOwnProperty","hasOwnProperty":1,"__proto__":{"user":"root"},"constructor":null}"#,
    );
    assert_eq!(
        node.seen()[1],
        r#"send [#0.7] {"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"hasOwnProperty","hasOwnProperty":1,"constructor":null,"id":"2…","online":true,"name":"hasOwnProperty","host":"192.0.2.1"},"rooms":["hasOwnProperty"]}"#
    );
}

/// R-A4: every answer of the session store.
#[test]
fn sessions() {
    let frame = r#"{"type":"auth","user":"alice","token":"t","name":"Other","rooms":["x"]}"#;
    let found = |text: &'static str| SessionLookup::Found(text);
    let failed = |message: &str| {
        [
            format!(
                r#"send [#0.7] {{"type":"error","status":401,"message":"Authentication failed: {message}"}}"#
            ),
            "close #0.7 4401 Authentication failed".into(),
        ]
    };
    for (session, expected) in [
        (SessionLookup::Missing, failed("No session")),
        (found(""), failed("Session must be an object")),
        (found("5"), failed("Session must be an object")),
        (found("null"), failed("Session must be an object")),
        (found("[]"), failed("Session must be an object")),
        (found(r#"{"user":"alice""#), failed("Session must be an object")),
        (found(r#"{"user":7}"#), failed("Invalid session")),
        (
            SessionLookup::Unavailable,
            [
                r#"send [#0.7] {"type":"error","status":503,"message":"Authentication unavailable"}"#.into(),
                "close #0.7 4503 Authentication unavailable".into(),
            ],
        ),
        (
            found(r#"{"user":"bob","name":"Bob","rooms":["team-a",7,"design"]}"#),
            [
                "SetMessageLimit { conn: #0.7, limit: 1048576 }".into(),
                r#"send [#0.7] {"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"bob","name":"Bob","id":"2…","online":true,"host":"192.0.2.1"},"rooms":["bob","team-a","design"]}"#.into(),
            ],
        ),
        (
            found(r#"{"user":"alice","private":{"csrf":"x"},"__proto__":1}"#),
            [
                "SetMessageLimit { conn: #0.7, limit: 1048576 }".into(),
                r#"send [#0.7] {"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"alice","name":"Other","id":"2…","online":true,"host":"192.0.2.1"},"rooms":["alice"]}"#.into(),
            ],
        ),
    ] {
        let mut node = Node::new(SESSIONS());
        node.auth(frame);
        assert_eq!(node.one(), "load session t");
        node.session(session);
        let seen = node.seen();
        let seen: Vec<_> = seen.iter().filter(|line| !line.starts_with("Event(")).collect();
        assert_eq!(seen, expected.iter().collect::<Vec<_>>(), "{session:?}");
    }
}

/// R-A4: what is wrong with a session is told to whoever runs the server: whether it is refused,
/// or what is wrong in it ignored.
#[test]
fn faults_of_sessions() {
    for (session, fault, admitted) in [
        ("5", "NotAnObject", false),
        (r#"{"user":7}"#, "UserNotAString", false),
        (r#"{"user":"a|b"}"#, "User(Separator)", false),
        (r#"{"user":"a","x":"\ud800"}"#, "HalfSurrogate", false),
        (r#"{"user":"a","\ud800":1}"#, "HalfSurrogate", false),
        (r#"{"name":"A"}"#, "NoUser", false),
        (r#"{"user":"a","rooms":"team-a"}"#, "Rooms", true),
        (r#"{"user":"a","rooms":["b",7]}"#, "Rooms", true),
        (r#"{"user":"a","rooms":[""]}"#, "Room(Empty)", true),
        (r#"{"user":"a","name":{}}"#, "Name", true),
    ] {
        let mut node = Node::new(SESSIONS());
        node.auth(r#"{"type":"auth","user":"alice","token":"t"}"#);
        node.forget();
        node.session(SessionLookup::Found(session));
        let seen = node.seen();
        let user = if admitted { "a" } else { "alice" };
        let event = format!("SessionFault {{ conn: #0.7, user: \"{user}\", fault: {fault} }}");
        assert!(seen[0].contains(&event), "{session}: {seen:?}");
        assert_eq!(seen[1].starts_with("SetMessageLimit"), admitted, "{session}: {seen:?}");
        if !admitted {
            assert!(seen[2].starts_with("close #0.7 4401"), "{session}: {seen:?}");
        }
    }
    let mut node = Node::new(SESSIONS());
    node.auth(r#"{"type":"auth","user":"alice","token":"t"}"#);
    node.forget();
    node.session(SessionLookup::Found(r#"{"user":"a","name":5,"rooms":["b"],"private":1}"#));
    assert!(!node.seen().iter().any(|line| line.contains("SessionFault")));
}

/// R-A4: whoever has a token is who its session says, and nobody where it says nothing.
#[test]
fn a_session_names_its_user() {
    let auth = r#"{"type":"auth","user":"alice","token":"t"}"#;
    let mut node = Node::new(SESSIONS());
    node.auth(auth);
    node.forget();
    node.session(SessionLookup::Found(r#"{"rooms":["team"]}"#));
    let refused = "Authentication failed: Session names no user";
    assert_eq!(
        node.seen()[1],
        format!(r#"send [#0.7] {{"type":"error","status":401,"message":"{refused}"}}"#)
    );
    // Unless that is wished.
    let mut node = Node::new(config(|config| {
        config.authentication = true;
        config.sessions.user_optional = true;
    }));
    node.auth(auth);
    node.forget();
    node.session(SessionLookup::Found(r#"{"rooms":["team"]}"#));
    assert!(node.seen()[1].contains(r#""rooms":["alice","team"]"#));
}

/// R-A5: a hook behind the session may say who it is; to allow the claimed user is no proof where
/// the session says nothing.
#[test]
fn a_hook_names_the_user() {
    let both = || {
        config(|config| {
            config.authentication = true;
            config.hook = true;
        })
    };
    let named = |user: &str| AllowedUser::Named(UserName::new(user).unwrap());
    for (session, user, expected) in [
        (r#"{"private":{"csrf":1}}"#, named("bob"), Some("bob")),
        (r#"{"user":"carol"}"#, named("bob"), Some("bob")),
        (r#"{"user":"carol"}"#, AllowedUser::Claimed, Some("carol")),
        ("{}", AllowedUser::Claimed, None),
    ] {
        let mut node = Node::new(both());
        node.auth(r#"{"type":"auth","user":"alice","token":"t"}"#);
        node.forget();
        node.session(SessionLookup::Found(session));
        // The hook sees what others do not.
        assert!(node.seen()[0].ends_with(&format!(" session {session}")));
        node.forget();
        let peer = Fields::new().with("user", "mallory").with("private", "x");
        node.verdict(Verdict::Allow { user, rooms: Vec::new(), peer, expires: None });
        let seen = node.seen();
        let Some(user) = expected else {
            assert!(seen[1].contains("Session names no user"), "{seen:?}");
            continue;
        };
        let peer = format!(r#""peer":{{"user":"{user}","id":"2…","online":true,"name":"{user}""#);
        assert!(seen[1].contains(&peer), "{seen:?}");
        assert!(seen[1].contains(&format!(r#""rooms":["{user}"]"#)), "{seen:?}");
        assert!(!seen[1].contains("private"), "{seen:?}");
    }
}

/// R-A4: what a session says of its holder and others need not know, they are not told.
#[test]
fn what_others_see_of_a_session() {
    let mut node = Node::new(config(|config| {
        config.authentication = true;
        config.sessions.public = PublicMembers::Only(vec!["plan".into()]);
    }));
    let watcher = node.auth(r#"{"type":"auth","user":"w","token":"w"}"#);
    node.session(SessionLookup::Found(r#"{"user":"w","rooms":["r"]}"#));
    let alice = node.auth(r#"{"type":"auth","user":"alice","token":"t","mood":"good"}"#);
    node.forget();
    node.session(SessionLookup::Found(
        r#"{"user":"alice","name":"A","email":"a@example.com","plan":"pro","private":1,"rooms":["r"]}"#,
    ));
    let welcome = node.received(alice).remove(0);
    assert!(welcome.contains(r#""email":"a@example.com","plan":"pro","id""#), "{welcome}");
    assert!(!welcome.contains("private"), "{welcome}");
    assert_eq!(
        node.received(watcher),
        [
            r#"{"type":"presence","from":"alice|3…","data":{"user":"alice","mood":"good","name":"A","plan":"pro","id":"3…","online":true}}"#
        ]
    );
}

/// R-L1, R-A9: an `auth` frame is no larger than a first one may be.
#[test]
fn authenticating_again_with_much() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &[]);
    node.forget();
    let many: Vec<_> = (0..90_000).map(|n| format!("\"k{n}\":1")).collect();
    node.text(alice, &format!(r#"{{"type":"auth","user":"alice",{}}}"#, many.join(",")));
    assert_eq!(
        node.one(),
        r#"send [#0.7] {"type":"error","status":413,"message":"Auth frame larger than 65536 bytes"}"#
    );
    let few: Vec<_> = (0..3_000).map(|n| format!("\"k{n}\":1")).collect();
    node.text(alice, &format!(r#"{{"type":"auth","user":"alice",{}}}"#, few.join(",")));
    assert!(node.seen().last().unwrap().contains("Peer data larger than 16384 bytes"));
}

/// R-A4, R-A12: without a token nobody is asked.
#[test]
fn a_token_is_required() {
    for frame in [
        r#"{"type":"auth","user":"alice"}"#,
        r#"{"type":"auth","user":"alice","token":""}"#,
        r#"{"type":"auth","user":"alice","token":null}"#,
    ] {
        let mut node = Node::new(SESSIONS());
        node.auth(frame);
        let seen = node.seen();
        assert!(seen[0].contains("Authentication failed: Missing token"), "{seen:?}");
        assert_eq!(seen[1], "close #0.7 4401 Authentication failed");
    }
    let mut node = Node::new(SESSIONS());
    node.auth(r#"{"type":"auth","token":"t"}"#);
    assert!(node.seen()[0].contains("Missing user field"));
}

/// R-A4: the session's user is the peer's user everywhere, its room included.
#[test]
fn nobody_sits_in_the_room_of_a_claimed_user() {
    let mut node = Node::new(SESSIONS());
    let bob = node.auth(r#"{"type":"auth","user":"bob","token":"b"}"#);
    node.session(SessionLookup::Found(r#"{"user":"bob"}"#));
    let mallory = node.auth(r#"{"type":"auth","user":"bob","token":"m"}"#);
    node.session(SessionLookup::Found(r#"{"user":"mallory"}"#));
    node.forget();
    node.text(bob, r#"{"type":"message","to":"bob","data":"to my own"}"#);
    node.nothing();
    node.text(mallory, r#"{"type":"message","to":"mallory"}"#);
    node.nothing();
    assert_eq!(node.server.members("bob").count(), 1);
    assert_eq!(node.server.members("mallory").count(), 1);
}

/// R-A5: the hook sees the peer as it will be and the whole frame; it gives rooms and members.
#[test]
fn hook() {
    let mut node = Node::new(HOOK());
    node.auth(r#"{"type":"auth","user":"alice","token":"t","rooms":["x"]}"#);
    assert_eq!(
        node.one(),
        r#"authorize #0.7 peer {"user":"alice","id":"2…","online":true,"name":"alice","host":"192.0.2.1"} auth {"type":"auth","user":"alice","token":"t","rooms":["x"]}"#
    );
    let peer = Fields::new().with("name", "Alice").with("id", "forged").with("level", "7");
    node.verdict(Verdict::Allow {
        user: AllowedUser::Claimed,
        rooms: ["team", "", "all", "team"].map(Into::into).into(),
        peer,
        expires: None,
    });
    assert_eq!(
        node.seen(),
        [
            "SetMessageLimit { conn: #0.7, limit: 1048576 }",
            r#"send [#0.7] {"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"alice","name":"Alice","level":"7","id":"2…","online":true,"host":"192.0.2.1"},"rooms":["alice","team","all"]}"#,
        ]
    );
}

/// R-A5, R-A7
#[test]
fn a_hook_denies() {
    for (message, told) in [
        (Some("Invalid token"), "Invalid token"),
        (Some(""), "Authentication failed"),
        (None, "Authentication failed"),
    ] {
        let mut node = Node::new(HOOK());
        node.auth(r#"{"type":"auth","user":"alice"}"#);
        node.forget();
        node.verdict(Verdict::Deny { message: message.map(Into::into) });
        assert_eq!(
            node.seen(),
            [
                format!(r#"send [#0.7] {{"type":"error","status":401,"message":"{told}"}}"#),
                "close #0.7 4401 Authentication failed".into(),
            ]
        );
    }
}

/// R-A5: the hook comes after the session; R-A6: rooms of both, none of the client's.
#[test]
fn session_and_hook() {
    let mut node = Node::new(config(|config| {
        config.authentication = true;
        config.hook = true;
    }));
    node.auth(r#"{"type":"auth","user":"x","token":"t","rooms":["client"]}"#);
    assert_eq!(node.one(), "load session t");
    node.session(SessionLookup::Found(r#"{"user":"alice","rooms":["team"]}"#));
    assert!(node.one().starts_with(r##"authorize #0.7 peer {"user":"alice","id":"2…""##));
    node.verdict(allow(&["hook-room"]));
    assert!(node.seen()[1].ends_with(r#""rooms":["alice","team","hook-room"]}"#));
}

/// R-A2, R-A4, R-A5: who never answers does not keep a client waiting for ever.
#[test]
fn a_decision_that_never_comes() {
    for (config, message, code) in
        [(SESSIONS(), "Authentication unavailable", 4503), (HOOK(), "Authentication failed", 4401)]
    {
        let mut node = Node::new(config);
        node.auth(r#"{"type":"auth","user":"alice","token":"t"}"#);
        node.forget();
        node.pass(Duration::from_secs(10));
        let seen = node.seen();
        assert!(seen[0].contains(message), "{seen:?}");
        assert!(seen[1].contains(&code.to_string()), "{seen:?}");
        node.session(SessionLookup::Found(r#"{"user":"alice"}"#));
        node.nothing();
    }
}

/// R-A10: a result for a connection that is gone is dropped, also when its slot is in use again.
#[test]
fn a_late_result_is_dropped() {
    let mut node = Node::new(HOOK());
    let gone = node.auth(r#"{"type":"auth","user":"alice"}"#);
    node.disconnect(gone);
    node.forget();
    let conn = ConnId::new(gone.slot, gone.generation + 1);
    node.input(Input::Connected { conn, address: ADDRESS }).unwrap();
    node.verdict(allow(&[]));
    node.nothing();
    assert_eq!(node.server.local_peers().count(), 0);
}

/// R-A10: nor does it matter that the connection was told to go.
#[test]
fn a_result_for_a_connection_that_was_closed_is_dropped() {
    let mut node = Node::new(HOOK());
    let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
    node.input(Input::Fault { conn, fault: TransportFault::InvalidUtf8 }).unwrap();
    node.forget();
    node.verdict(allow(&[]));
    node.nothing();
}

/// R-A11: what is sent meanwhile waits, in order, and is handled behind the welcome.
#[test]
fn frames_wait_for_the_decision() {
    let mut node = Node::new(HOOK());
    let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
    node.text(conn, r#"{"type":"join","room":"a"}"#);
    node.text(conn, "nonsense");
    node.text(conn, r#"{"type":"join","room":"b"}"#);
    assert_eq!(node.seen().len(), 1);
    node.verdict(allow(&[]));
    let seen = node.seen();
    assert!(seen[1].contains("welcome"));
    assert!(seen[2].contains(r#"{"type":"join:ok","room":"a"}"#));
    assert!(seen[3].contains("error"));
    assert!(seen[4].contains(r#"{"type":"join:ok","room":"b"}"#));
}

/// R-A11: dropped when the first authentication fails.
#[test]
fn what_waited_for_nothing_is_dropped() {
    let mut node = Node::new(HOOK());
    let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
    node.text(conn, r#"{"type":"join","room":"a"}"#);
    node.forget();
    node.verdict(Verdict::Deny { message: None });
    assert_eq!(node.seen().len(), 2);
}

/// R-A11: past the limit reading pauses; after the decision it goes on.
#[test]
fn so_much_waits_and_no_more() {
    let mut node = Node::new(HOOK());
    let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
    node.forget();
    let text = format!(r#"{{"type":"message","to":"nobody","data":"{}"}}"#, "x".repeat(30_000));
    node.text(conn, &text);
    node.text(conn, &text);
    node.nothing();
    node.text(conn, &text);
    assert_eq!(node.one(), "Pause { conn: #0.7 }");
    node.verdict(allow(&[]));
    assert_eq!(node.seen().last().unwrap(), "Resume { conn: #0.7 }");
}

/// R-L7: what waits for a decision is counted, of each and in all, until it is decided or its client
/// is gone.
#[test]
fn what_waits_for_a_decision_is_counted() {
    let mut node = Node::new(HOOK());
    let text = format!(r#"{{"type":"message","to":"nobody","data":"{}"}}"#, "x".repeat(10_000));
    let begin = |node: &mut Node, user: &str| {
        let conn = node.auth(&format!(r#"{{"type":"auth","user":"{user}"}}"#));
        for _ in 0..3 {
            node.text(conn, &text);
        }
        assert!((30_000..31_000).contains(&node.server.waiting_of(conn)));
        conn
    };
    let slow = TransportFault::TooSlow;
    type End<'a> = &'a dyn Fn(&mut Node, ConnId);
    let ends: [End<'_>; 5] = [
        &|node, _| node.verdict(allow(&[])),
        &|node, _| node.verdict(Verdict::Deny { message: None }),
        &|node, conn| node.disconnect(conn),
        &|node, conn| drop(node.input(Input::Fault { conn, fault: slow })),
        &|node, conn| drop(node.input(Input::Departed { conn })),
    ];
    assert_eq!(node.server.waiting(), 0);
    for end in ends {
        let conns = ["alice", "bob"].map(|user| begin(&mut node, user));
        let both = conns.map(|conn| node.server.waiting_of(conn)).iter().sum::<usize>();
        assert_eq!(node.server.waiting(), both);
        for conn in conns {
            end(&mut node, conn);
        }
        assert_eq!(node.server.waiting(), 0);
        node.forget();
    }
}

/// R-A11, R-L1: a message too big for a stranger waits for the decision, unread.
#[test]
fn a_big_message_waits_unread() {
    let mut node = Node::new(HOOK());
    let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
    node.forget();
    node.input(Input::Fault {
        conn,
        fault: TransportFault::TooBig { size: 500_000, limit: 65_536 },
    })
    .unwrap();
    assert_eq!(node.one(), "Pause { conn: #0.7 }");
    node.verdict(allow(&[]));
    let seen = node.seen();
    assert_eq!(seen.first().unwrap(), "SetMessageLimit { conn: #0.7, limit: 1048576 }");
    assert_eq!(seen.last().unwrap(), "Resume { conn: #0.7 }");
}

/// R-L1: what was too big under a limit that has been raised meanwhile is tried again; what is too
/// big under any is not.
#[test]
fn a_limit_that_was_raised_meanwhile() {
    let mut node = Node::new(config(|_| {}));
    let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
    node.forget();
    let fault = |size, limit| Input::Fault { conn, fault: TransportFault::TooBig { size, limit } };
    node.input(fault(500_000, 65_536)).unwrap();
    assert_eq!(node.one(), "Resume { conn: #0.7 }");
    node.input(fault(1_048_577, 65_536)).unwrap();
    assert!(node.seen().last().unwrap().contains("1009"));
}

/// R-A11: a second `auth` among what waits is a re-authentication, and what follows it waits on.
#[test]
fn a_pipelined_second_auth_never_makes_two_peers() {
    let mut node = Node::new(HOOK());
    let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
    node.text(conn, r#"{"type":"auth","user":"alice"}"#);
    node.text(conn, r#"{"type":"join","room":"a"}"#);
    node.forget();
    node.verdict(allow(&[]));
    let seen = node.seen();
    assert!(seen.last().unwrap().starts_with("authorize"), "{seen:?}");
    assert_eq!(node.server.local_peers().count(), 1);
    node.verdict(Verdict::Deny { message: None });
    let seen = node.seen();
    assert!(seen[0].contains("error"), "{seen:?}");
    assert!(seen[1].contains("join:ok"), "{seen:?}");
    assert_eq!(node.server.local_peers().count(), 1);
}

/// R-A9: the same user gets a new welcome with the same id; what its session gives now counts.
#[test]
fn authenticate_again() {
    let mut node = Node::new(SESSIONS());
    let conn = node.auth(r#"{"type":"auth","user":"alice","token":"t1"}"#);
    node.session(SessionLookup::Found(r#"{"user":"alice","rooms":["a","b"]}"#));
    node.text(conn, r#"{"type":"join","room":"mine"}"#);
    node.forget();
    node.text(conn, r#"{"type":"auth","user":"alice","token":"t2"}"#);
    assert_eq!(node.one(), "load session t2");
    node.session(SessionLookup::Found(r#"{"user":"alice","name":"Alice","rooms":["b","c"]}"#));
    assert_eq!(
        node.one(),
        r#"send [#0.7] {"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"alice","name":"Alice","id":"2…","online":true,"host":"192.0.2.1"},"rooms":["alice","b","c","mine"]}"#
    );
    let mut rooms = node.server.local_peers().next().unwrap().rooms;
    rooms.sort();
    assert_eq!(rooms.iter().map(|room| &**room).collect::<Vec<_>>(), ["alice", "b", "c", "mine"]);
}

/// R-A9: any failure is an error, and the peer stays who it was.
#[test]
fn a_failed_re_authentication_changes_nothing() {
    let mut node = Node::new(SESSIONS());
    let conn = node.auth(r#"{"type":"auth","user":"alice","token":"t"}"#);
    node.session(SessionLookup::Found(r#"{"user":"alice","rooms":["a"]}"#));
    let before: Vec<_> = node.server.local_peers().collect();
    for (frame, session, expected) in [
        (r#"{"type":"auth"}"#, None, "Missing user field"),
        (r#"{"type":"auth","user":"alice"}"#, None, "Authentication failed: Missing token"),
        (
            r#"{"type":"auth","user":"alice","token":"x"}"#,
            Some(SessionLookup::Missing),
            "Authentication failed: No session",
        ),
        (
            r#"{"type":"auth","user":"alice","token":"x"}"#,
            Some(SessionLookup::Unavailable),
            "Authentication unavailable",
        ),
        (
            r#"{"type":"auth","user":"bob","token":"x"}"#,
            Some(SessionLookup::Found(r#"{"user":"bob"}"#)),
            r#""status":403,"message":"Cannot authenticate as another user""#,
        ),
        (
            r#"{"type":"auth","user":"alice","token":"x"}"#,
            Some(SessionLookup::Found(r#"{"user":"bob"}"#)),
            r#""status":403,"message":"Cannot authenticate as another user""#,
        ),
    ] {
        node.forget();
        node.text(conn, frame);
        if let Some(session) = session {
            node.forget();
            node.session(session);
        }
        let seen = node.one();
        assert!(seen.contains(expected), "{seen}");
        assert_eq!(node.server.local_peers().collect::<Vec<_>>(), before);
    }
}

/// R-A9: without anything to prove it is the same.
#[test]
fn authenticate_again_anonymously() {
    let mut node = Node::new(Config::default());
    let conn = node.peer("alice", &["a"]);
    node.text(conn, r#"{"type":"auth","user":"alice","rooms":["b"]}"#);
    assert!(node.one().ends_with(r#""rooms":["alice","b","a"]}"#));
    node.text(conn, r#"{"type":"auth","user":"bob","rooms":["r"]}"#);
    assert!(node.one().contains(r#""status":403"#));
}

/// R-L2: at capacity a connection is told so, and when to come back, and closed.
#[test]
fn capacity() {
    let refused = |conn: &str, seconds: u8| {
        let error = r#"{"type":"error","status":503,"message":"At capacity","retry_after":"#;
        [format!("send [{conn}] {error}{seconds}}}"), format!("close {conn} 1013 At capacity")]
    };
    let mut node = Node::new(config(|config| config.connections.total = 1));
    let conn = node.peer("alice", &[]);
    node.connect();
    assert_eq!(node.seen(), refused("#1.7", 4));
    node.disconnect(conn);
    node.disconnect(ConnId::new(1, 7));
    node.connect();
    node.nothing();

    let mut node = Node::new(config(|config| config.connections.per_address = 1));
    node.peer("alice", &[]);
    node.connect_from("192.0.2.2".parse().unwrap());
    node.nothing();
    node.connect();
    assert_eq!(node.seen(), refused("#2.7", 4));
    assert_eq!(node.server.stats().over_capacity, 1);

    let mut node = Node::new(config(|config| config.connections.unauthenticated = 1));
    node.peer("alice", &[]);
    node.connect();
    node.nothing();
    // The one that has said nothing gives way.
    node.connect();
    assert_eq!(node.seen(), refused("#1.7", 4));
}

/// R-L6: a peer that is too much is refused.
#[test]
fn a_large_peer_is_refused() {
    let mut node = Node::new(Config::default());
    node.auth(&format!(r#"{{"type":"auth","user":"alice","data":"{}"}}"#, "x".repeat(16_384)));
    let seen = node.seen();
    assert!(seen[0].contains(r#""status":413,"message":"Peer data larger than 16384 bytes""#));
    assert_eq!(seen[1], "close #0.7 4401 Authentication failed");
}

/// R-A9: a kick during a re-authentication ends both.
#[test]
fn a_kick_during_a_re_authentication() {
    let mut node = Node::new(HOOK());
    let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
    node.verdict(allow(&[]));
    node.text(conn, r#"{"type":"auth","user":"alice"}"#);
    node.host(HostCall::Kick { whom: Whom::User("alice"), reason: "bye" }).unwrap();
    node.forget();
    node.verdict(allow(&["r"]));
    node.nothing();
    assert_eq!(node.server.rooms().count(), 0);
}

/// R-A8: a room is named once, also the user's own that the host has put the peer in again.
#[test]
fn authenticate_again_in_the_own_room() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &["r"]);
    node.text(alice, r#"{"type":"leave","room":"alice"}"#);
    let peer = node.server.local_peers().next().unwrap().address.id;
    node.host(HostCall::Join { peer: &peer, room: "alice" }).unwrap();
    node.forget();
    node.text(alice, r#"{"type":"auth","user":"alice"}"#);
    assert!(node.one().ends_with(r#""rooms":["alice","r"]}"#), "{}", node.log());
}

/// What waits for a decision: so many messages to a room of its own.
fn queue_messages(node: &mut Node, conn: ConnId, count: usize) {
    for n in 0..count {
        node.text(conn, &format!(r#"{{"type":"message","to":"r","n":{n}}}"#));
    }
    node.forget();
}

/// Messages that have been received, by their numbers.
fn numbers(node: &mut Node, conn: ConnId) -> Vec<usize> {
    let received = node.received(conn).into_iter();
    let number = |text: String| text.split_once("\"n\":")?.1.split(['}', ',']).next()?.parse().ok();
    let numbers = received.filter_map(number).collect();
    node.forget();
    numbers
}

/// R-A11, R-L3: what has waited for a decision is handled no faster than if it had not, the first
/// time and when a peer authenticates again; what comes behind it stays behind it.
#[test]
fn what_waited_is_charged() {
    for again in [false, true] {
        let mut node = Node::new(HOOK());
        let bob = node.auth(r#"{"type":"auth","user":"bob"}"#);
        node.verdict(allow(&["r"]));
        let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
        if again {
            node.verdict(allow(&["r"]));
            node.pass(Duration::from_secs(60));
            node.text(conn, r#"{"type":"auth","user":"alice"}"#);
        }
        queue_messages(&mut node, conn, 600);
        node.verdict(allow(&["r"]));
        let mut got = numbers(&mut node, bob);
        assert!((1..=401).contains(&got.len()), "{} at once", got.len());
        // One more, as if it had been under way when reading stopped.
        queue_messages(&mut node, conn, 1);
        assert_eq!(numbers(&mut node, bob), [0; 0]);
        node.pass(Duration::from_millis(500));
        got.extend(numbers(&mut node, bob));
        assert!((401..=501).contains(&got.len()), "{} in half a second", got.len());
        node.pass(Duration::from_secs(2));
        got.extend(numbers(&mut node, bob));
        assert_eq!(got.pop(), Some(0), "what came later is the last");
        assert_eq!(got.len(), 600);
        // Nothing waits any more.
        queue_messages(&mut node, bob, 1);
        node.text(conn, r#"{"type":"message","to":"r","n":7}"#);
        assert_eq!(numbers(&mut node, bob), [7]);
        assert_eq!(got, (0..got.len()).collect::<Vec<_>>(), "in order");
    }
}

/// R-A11: what has waited is handled in slices, as whatever concerns many peers: others are heard
/// between them.
#[test]
fn what_waited_is_cut_into_slices() {
    let mut node = Node::new(config(|config| {
        config.hook = true;
        config.rate = None;
        config.work_burst = 100;
    }));
    let mut bob = None;
    for n in 0..20 {
        bob = Some(node.auth(&format!(r#"{{"type":"auth","user":"bob{n}"}}"#)));
        node.verdict(allow(&["r"]));
    }
    let bob = bob.unwrap();
    let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
    queue_messages(&mut node, conn, 300);
    node.verdict(allow(&["r"]));
    let (mut got, mut slices) = (numbers(&mut node, bob), 1);
    while node.server.poll_timeout() == Some(node.now) {
        assert!(got.len() <= slices * 6, "{} in {slices} slices", got.len());
        if slices == 3 {
            node.text(conn, r#"{"type":"message","to":"r","n":300}"#);
        }
        node.input(Input::Timeout).unwrap();
        slices += 1;
        got.extend(numbers(&mut node, bob));
    }
    assert_eq!(got, (0..=300).collect::<Vec<_>>());
}

/// R-A11, R-L3: a client that leaves before what has waited is handled does not keep others
/// waiting for it, whether a decision is still open or not. What it had sent is handled within
/// bounds.
#[test]
fn what_waited_of_a_client_that_is_gone() {
    for (decided, said) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut node = Node::new(config(|config| {
            config.hook = true;
            config.work_burst = 200;
        }));
        let bob = node.auth(r#"{"type":"auth","user":"bob"}"#);
        node.verdict(allow(&["r"]));
        let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
        node.verdict(allow(&["r"]));
        node.text(conn, r#"{"type":"auth","user":"alice"}"#);
        queue_messages(&mut node, conn, 900);
        let mut got = Vec::new();
        if decided {
            node.verdict(allow(&["r"]));
            got.extend(numbers(&mut node, bob));
            assert!(got.len() < 450);
        }
        if said {
            node.input(Input::Departed { conn }).unwrap();
            let slice = numbers(&mut node, bob);
            assert!(slice.len() <= 201, "{}", slice.len());
            got.extend(slice);
        }
        node.input(Input::Disconnected { conn }).unwrap();
        let offline = node.received(bob).pop().unwrap();
        assert!(offline.contains(r#""online":false"#), "{offline}");
        let slice = numbers(&mut node, bob);
        assert!((1..=201).contains(&slice.len()), "{}", slice.len());
        got.extend(slice);
        assert_eq!(got, (0..got.len()).collect::<Vec<_>>());
        assert_eq!(node.server.stats().departed_cut_short, 1);
        node.pass(Duration::from_secs(60));
        assert_eq!(numbers(&mut node, bob), [0; 0]);
    }
}

/// R-X1: who asks is answered behind the rooms, and nobody else; what was asked for is in no record.
#[test]
fn extensions_are_on_for_those_who_ask() {
    let mut node = Node::new(Config::default());
    let old = node.peer("old", &["r"]);
    let asks = node.auth(
        r#"{"type":"auth","user":"new","rooms":["r"],"extensions":["roster","x","state","roster"]}"#,
    );
    let welcome = &node.received(asks)[0];
    assert!(
        welcome.ends_with(r#""rooms":["new","r"],"extensions":["roster","state"]}"#),
        "{welcome}"
    );
    let told = node.received(old);
    assert_eq!(told.len(), 1);
    assert!(!told[0].contains("extensions"), "{told:?}");
    assert_eq!(welcome.matches("extensions").count(), 1, "{welcome}");
    for (asked, on) in [("[]", "[]"), (r#"["x",5]"#, "[]")] {
        let conn = node.auth(&format!(r#"{{"type":"auth","user":"a","extensions":{asked}}}"#));
        let welcome = node.received(conn).remove(0);
        assert!(welcome.ends_with(&format!(r#","extensions":{on}}}"#)), "{welcome}");
    }
    for nothing in ["", r#","extensions":true"#, r#","extensions":{"state":1}"#] {
        let conn = node.auth(&format!(r#"{{"type":"auth","user":"a"{nothing}}}"#));
        let welcome = node.received(conn).remove(0);
        assert!(!welcome.contains("extensions"), "{welcome}");
    }
}

/// R-X1, R-A9: a connection keeps the extensions that it came with.
#[test]
fn extensions_stay_as_they_were() {
    let mut node = Node::new(Config::default());
    let with = node.auth(r#"{"type":"auth","user":"a","extensions":["state"]}"#);
    let without = node.auth(r#"{"type":"auth","user":"b"}"#);
    for (conn, frame, end) in [
        (with, r#"{"type":"auth","user":"a"}"#, r#"["a"],"extensions":["state"]}"#),
        (
            with,
            r#"{"type":"auth","user":"a","extensions":["roster"]}"#,
            r#"["a"],"extensions":["state"]}"#,
        ),
        (
            without,
            r#"{"type":"auth","user":"b","extensions":["state"]}"#,
            r#"["b"],"extensions":[]}"#,
        ),
        (without, r#"{"type":"auth","user":"b"}"#, r#"["b"]}"#),
    ] {
        node.forget();
        node.text(conn, frame);
        let welcome = node.received(conn).remove(0);
        assert!(welcome.ends_with(end), "{frame} {welcome}");
    }
}

/// R-X1, R-A4: a session asks for nothing; what it says is a member like any other.
#[test]
fn a_session_asks_for_no_extensions() {
    let mut node = Node::new(SESSIONS());
    let conn = node.auth(r#"{"type":"auth","user":"a","token":"t","extensions":["state"]}"#);
    node.session(SessionLookup::Found(r#"{"user":"a","extensions":["roster"]}"#));
    let welcome = node.received(conn).remove(0);
    assert!(welcome.contains(r#""extensions":["roster"],"#), "{welcome}");
    assert!(welcome.ends_with(r#""rooms":["a"],"extensions":["state"]}"#), "{welcome}");
}

/// R-L3: what a client had sent is handled when it is gone, but it is answered nothing, and told nothing to do.
#[test]
fn who_is_gone_is_not_answered() {
    let text = r#"{"type":"auth","user":"alice"}"#;
    for last in ["nonsense", r#"{"type":"close"}"#, r#"{"type":"message","to":"alice"}"#] {
        let mut node = Node::new(config(|config| (config.hook, config.events) = (true, true)));
        let [alice, bob] = ["alice", "bob"].map(|user| {
            let conn = node.connect();
            node.text(conn, &text.replace("alice", user));
            node.verdict(allow(&["r"]));
            conn
        });
        node.text(alice, text);
        // They wait for what becomes of that.
        for text in ["nonsense", r#"{"type":"join","room":"s"}"#, r#"{"type":"message","to":"r"}"#]
        {
            node.text(alice, text);
        }
        node.text(alice, last);
        node.forget();
        node.disconnect(alice);
        let (events, sent): (Vec<_>, Vec<_>) =
            node.seen().into_iter().partition(|line| line.starts_with("Event("));
        // Nor does the application hear that she was told something.
        assert!(events.last().is_some_and(|line| line.contains("close: None")), "{events:?}");
        assert_eq!(sent.len(), 2, "{last}: a message, and that she is offline: {sent:?}");
        for line in sent {
            assert!(line.starts_with(&format!("send [{bob:?}]")), "{last}: {line}");
        }
    }
}
