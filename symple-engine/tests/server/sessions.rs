//! Sessions while they are used: R-S2.

use std::time::Duration;

use crate::common::{Node, config};
use symple_engine::server::{Config, ConnId, HostCall, Input, SessionLookup};
use symple_proto::Token;

const MINUTE: Duration = Duration::from_secs(60);

fn with_ttl() -> Config {
    config(|config| {
        config.authentication = true;
        config.sessions.ttl = Some(4 * MINUTE);
    })
}

impl Node {
    fn with_session(&mut self, token: &str) -> ConnId {
        let conn = self.auth(&format!(r#"{{"type":"auth","user":"alice","token":"{token}"}}"#));
        let request = self.requests.remove(0);
        self.input(Input::SessionLoaded {
            request,
            session: SessionLookup::Found(r#"{"user":"alice"}"#),
        })
        .unwrap();
        conn
    }

    fn checked(&mut self, conn: ConnId, token: &str, live: bool) {
        let token = Token::new(token).unwrap();
        self.input(Input::SessionChecked { conn, token: &token, live }).unwrap();
    }

    fn touches(&mut self) -> usize {
        self.seen().iter().filter(|line| line.starts_with("TouchSession")).count()
    }
}

/// R-S2: authentication and activity extend a session, at most once in a quarter of its life.
#[test]
fn a_session_lives_on_while_it_is_used() {
    let mut node = Node::new(with_ttl());
    let conn = node.with_session("t");
    assert!(
        node.seen().contains(&"TouchSession { token: Token(…), ttl: 240s }".to_owned()),
        "{}",
        node.log()
    );
    for _ in 0..10 {
        node.text(conn, r#"{"type":"message"}"#);
    }
    assert_eq!(node.touches(), 0);
    node.pass(MINUTE);
    for _ in 0..10 {
        node.text(conn, r#"{"type":"message"}"#);
    }
    assert_eq!(node.touches(), 1);
    // Silence is no activity.
    node.pass(10 * MINUTE);
    assert_eq!(node.touches(), 0);
}

/// R-S2: without a life time nothing is extended.
#[test]
fn a_session_without_ttl_is_left_as_it_is() {
    let mut node = Node::new(config(|config| config.authentication = true));
    let conn = node.with_session("t");
    node.pass(10 * MINUTE);
    node.text(conn, r#"{"type":"message"}"#);
    assert_eq!(node.touches(), 0);
}

/// R-S2: a session that is gone closes its connections, within a minute.
#[test]
fn a_revoked_session_closes_its_connections() {
    let mut node = Node::new(with_ttl());
    let conn = node.with_session("t");
    node.forget();
    node.pass(MINUTE / 2);
    assert_eq!(node.one(), "CheckSession { conn: #0.7, token: Token(…) }");
    node.checked(conn, "t", true);
    node.nothing();
    node.pass(MINUTE / 2);
    assert_eq!(node.one(), "CheckSession { conn: #0.7, token: Token(…) }");
    node.checked(conn, "t", false);
    assert_eq!(
        node.seen(),
        [
            r#"send [#0.7] {"type":"error","status":401,"message":"Session expired"}"#,
            "close #0.7 4401 Session expired",
        ]
    );
    assert_eq!(node.server.stats().sessions_expired, 1);
    // Nobody is there any more to be checked.
    node.disconnect(conn);
    node.pass(10 * MINUTE);
    node.nothing();
}

/// R-S2, R-A9: what is known of a token that has been exchanged meanwhile does not count.
#[test]
fn a_check_is_of_one_token() {
    let mut node = Node::new(with_ttl());
    let conn = node.with_session("old");
    node.pass(MINUTE / 2);
    node.text(conn, r#"{"type":"auth","user":"alice","token":"new"}"#);
    let request = node.requests.remove(0);
    node.input(Input::SessionLoaded {
        request,
        session: SessionLookup::Found(r#"{"user":"alice"}"#),
    })
    .unwrap();
    node.forget();
    node.checked(conn, "old", false);
    node.nothing();
    // One look for a connection, however often it has authenticated.
    node.pass(MINUTE / 2);
    assert_eq!(node.one(), "CheckSession { conn: #0.7, token: Token(…) }");
    node.checked(conn, "new", false);
    assert_eq!(node.seen().len(), 2);
}

/// R-S2: where sessions are not asked for, there is nothing to look after.
#[test]
fn peers_without_a_session_are_not_looked_after() {
    let mut node = Node::new(config(|config| config.sessions.ttl = Some(MINUTE)));
    node.auth(r#"{"type":"auth","user":"alice","token":"t"}"#);
    node.forget();
    node.pass(10 * MINUTE);
    node.nothing();
    assert!(node.host(HostCall::Emit { text: r#"{"to":"alice"}"# }).is_ok());
}
