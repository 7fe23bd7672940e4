//! Authentications that end at a time that is known beforehand: R-V1.

use std::time::Duration;

use crate::common::{Node, config};
use symple_engine::server::{AllowedUser, Config, ConnId, Input, SessionLookup, Verdict};
use symple_proto::Fields;

const SECOND: Duration = Duration::from_secs(1);
const TOKENS: fn() -> Config = || config(|config| config.authentication = true);
const EXPIRED: &str = r#"{"type":"error","status":401,"message":"Session expired"}"#;

impl Node {
    fn with_token(&mut self, expires: Option<Duration>) -> ConnId {
        let conn = self.auth(r#"{"type":"auth","user":"alice","token":"t"}"#);
        self.proved(expires);
        conn
    }

    fn proved(&mut self, expires: Option<Duration>) {
        let request = self.requests.remove(0);
        let session = SessionLookup::Proved { session: r#"{"user":"alice"}"#, expires };
        self.input(Input::SessionLoaded { request, session }).unwrap();
    }

    fn again(&mut self, conn: ConnId, expires: Option<Duration>) {
        self.text(conn, r#"{"type":"auth","user":"alice","token":"later"}"#);
        self.proved(expires);
        self.forget();
    }

    fn allow_for(&mut self, expires: Option<Duration>) {
        let request = self.requests.remove(0);
        let user = AllowedUser::Claimed;
        let verdict = Verdict::Allow { user, rooms: Vec::new(), peer: Fields::new(), expires };
        self.input(Input::AuthDecided { request, verdict }).unwrap();
    }

    fn ended(&mut self, conn: ConnId) {
        let expected =
            [format!("send [{conn:?}] {EXPIRED}"), format!("close {conn:?} 4401 Session expired")];
        assert_eq!(self.seen(), expected);
    }
}

/// R-V1: a peer is closed when its token expires, and not before.
#[test]
fn a_peer_goes_with_its_token() {
    let mut node = Node::new(TOKENS());
    let conn = node.with_token(Some(90 * SECOND));
    node.forget();
    node.pass(89 * SECOND);
    node.nothing();
    node.pass(SECOND);
    node.ended(conn);
    assert_eq!(node.server.stats().sessions_expired, 1);
    node.disconnect(conn);
    assert_eq!(node.server.poll_timeout(), None);
}

/// R-V1: a token that never expires leaves its peer alone, and no store is asked about it (R-S2).
#[test]
fn a_token_is_no_session() {
    let mut node = Node::new(config(|config| {
        config.authentication = true;
        config.sessions.ttl = Some(60 * SECOND);
    }));
    let conn = node.with_token(None);
    node.forget();
    node.pass(1000 * SECOND);
    node.text(conn, r#"{"type":"message","to":"nobody"}"#);
    node.nothing();
}

/// R-V1, R-A9: another token says anew when the peer has to go, be that later, earlier or never. A
/// token that is refused changes nothing.
#[test]
fn a_later_token_replaces_the_time() {
    let mut node = Node::new(TOKENS());
    let conn = node.with_token(Some(100 * SECOND));
    node.pass(50 * SECOND);
    node.again(conn, Some(100 * SECOND));
    node.pass(99 * SECOND);
    node.nothing();
    node.again(conn, None);
    node.pass(1000 * SECOND);
    node.nothing();
    node.again(conn, Some(100 * SECOND));
    node.again(conn, Some(10 * SECOND));
    node.text(conn, r#"{"type":"auth","user":"alice","token":"bad"}"#);
    node.forget();
    let request = node.requests.remove(0);
    let session = SessionLookup::Refused { message: "Invalid token" };
    node.input(Input::SessionLoaded { request, session }).unwrap();
    let refused =
        r#"{"type":"error","status":401,"message":"Authentication failed: Invalid token"}"#;
    assert!(node.one().ends_with(refused), "{}", node.log());
    node.pass(9 * SECOND);
    node.nothing();
    node.pass(SECOND);
    node.ended(conn);
}

/// R-V1, R-A7: a token that proves nothing.
#[test]
fn a_refused_token() {
    let mut node = Node::new(TOKENS());
    let conn = node.auth(r#"{"type":"auth","user":"alice","token":"t"}"#);
    node.forget();
    let request = node.requests.remove(0);
    let session = SessionLookup::Refused { message: "Token expired" };
    node.input(Input::SessionLoaded { request, session }).unwrap();
    assert_eq!(
        node.seen(),
        [
            format!(
                r#"send [{conn:?}] {{"type":"error","status":401,"message":"Authentication failed: Token expired"}}"#
            ),
            format!("close {conn:?} 4401 Authentication failed"),
        ]
    );
}

/// R-V1, R-S2: a peer may change between a session and a token, however often. Its session is watched
/// while it has one, once.
#[test]
fn between_sessions_and_tokens() {
    let mut node = Node::new(TOKENS());
    let conn = node.with_token(Some(10_000 * SECOND));
    for _ in 0..20 {
        node.text(conn, r#"{"type":"auth","user":"alice","token":"stored"}"#);
        let request = node.requests.remove(0);
        let session = SessionLookup::Found(r#"{"user":"alice"}"#);
        node.input(Input::SessionLoaded { request, session }).unwrap();
        node.again(conn, Some(10_000 * SECOND));
    }
    node.text(conn, r#"{"type":"auth","user":"alice","token":"stored"}"#);
    let request = node.requests.remove(0);
    let session = SessionLookup::Found(r#"{"user":"alice"}"#);
    node.input(Input::SessionLoaded { request, session }).unwrap();
    node.forget();
    node.pass(30 * SECOND);
    assert_eq!(node.seen().len(), 1, "{}", node.log());
    node.again(conn, Some(10_000 * SECOND));
    node.pass(30 * SECOND);
    node.nothing();
    // No timer is left but the one of the token.
    let left = node.server.poll_timeout().map(|at| at.since(node.now));
    assert_eq!(left, Some(9_970 * SECOND));
}

/// R-V1, R-A5: a hook may say how long, and prolongs no token.
#[test]
fn what_a_hook_says() {
    for (token, hook, expected) in [
        (None, Some(20), Some(20)),
        (Some(30), None, Some(30)),
        (Some(30), Some(20), Some(20)),
        (Some(30), Some(40), Some(30)),
        (None, None, None),
    ] {
        let mut config = TOKENS();
        config.hook = true;
        let mut node = Node::new(config);
        let seconds = |n: Option<u32>| n.map(|n| n * SECOND);
        let conn = node.with_token(seconds(token));
        node.allow_for(seconds(hook));
        node.forget();
        match expected {
            None => {
                node.pass(1000 * SECOND);
                node.nothing();
            }
            Some(after) => {
                node.pass(after * SECOND - SECOND / 2);
                node.nothing();
                node.pass(SECOND / 2);
                node.ended(conn);
            }
        }
    }
}

/// R-V2: whoever should decide cannot be reached.
#[test]
fn a_hook_that_cannot_be_reached() {
    let mut node = Node::new(config(|config| config.hook = true));
    let conn = node.auth(r#"{"type":"auth","user":"alice"}"#);
    node.forget();
    let request = node.requests.remove(0);
    node.input(Input::AuthDecided { request, verdict: Verdict::Unavailable }).unwrap();
    assert_eq!(
        node.seen(),
        [
            format!(
                r#"send [{conn:?}] {{"type":"error","status":503,"message":"Authentication unavailable"}}"#
            ),
            format!("close {conn:?} 4503 Authentication unavailable"),
        ]
    );
}

/// R-V1: where many tokens end at the same moment, no single input does all the work.
#[test]
fn many_tokens_end_at_once() {
    const PEERS: usize = 100;
    let mut node = Node::new(config(|config| {
        config.authentication = true;
        config.work_burst = 500;
    }));
    for _ in 0..PEERS {
        node.with_token(Some(60 * SECOND));
    }
    node.forget();
    node.now += 60 * SECOND;
    let mut inputs = 0;
    while node.server.poll_timeout().is_some_and(|at| at <= node.now) {
        node.input(Input::Timeout).unwrap();
        inputs += 1;
    }
    // All are in the room of their user, so each costs what there are others: 4 950 in all.
    assert!((9..=11).contains(&inputs), "{inputs}");
    assert_eq!(node.server.stats().sessions_expired, PEERS as u64);
    assert_eq!(node.server.stats().peers, 0);
}

/// R-V1, R-X1: who has asked for it is warned a minute before, once for each token, and everyone else
/// not at all.
#[test]
fn a_client_is_warned() {
    let mut node = Node::new(TOKENS());
    let other = node.with_token(Some(100 * SECOND));
    let auth = r#"{"type":"auth","user":"alice","token":"t","extensions":["expires"]}"#;
    let conn = node.auth(auth);
    node.proved(Some(100 * SECOND));
    node.forget();
    let warning = |seconds: u32| {
        format!(r#"send [{conn:?}] {{"type":"event","name":"expires","data":{{"in":{seconds}}}}}"#)
    };
    node.pass(39 * SECOND);
    node.nothing();
    node.pass(SECOND);
    assert_eq!(node.one(), warning(60));
    // A later token is warned of anew; one with less than a minute left at once.
    node.again(conn, Some(80 * SECOND));
    node.pass(19 * SECOND);
    node.nothing();
    node.pass(SECOND);
    assert_eq!(node.one(), warning(60));
    node.again(conn, Some(5 * SECOND - SECOND / 2));
    node.pass(Duration::ZERO);
    assert_eq!(node.one(), warning(5));
    node.pass(5 * SECOND);
    let seen = node.seen();
    assert_eq!(seen[0], format!("send [{conn:?}] {EXPIRED}"));
    assert!(!seen.iter().any(|line| line.contains("expires")), "{seen:?}");
    // A token that never expires is warned of no more.
    let conn = node.auth(auth);
    node.proved(Some(70 * SECOND));
    node.again(conn, None);
    node.again(other, None);
    node.pass(1000 * SECOND);
    node.nothing();
}
