//! What the host is asked: R-A5, and requests to be upgraded.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::{client::Client, start_with};
use crate::adapter::{AuthDecision, AuthRequest, Server, UpgradeDecision, block_on};

/// A hook that decides by token.
fn hooked() -> Server {
    start_with(|builder| {
        builder.authenticate(|request: AuthRequest| async move {
            match request.token().as_deref() {
                Some("good") => Ok(AuthDecision::allow("alice").rooms(["team", "all"])),
                Some("checked") => Ok(AuthDecision::allow_claimed()),
                Some("nobody") => Ok(AuthDecision::allow("a|b")),
                Some("denied") => Ok(AuthDecision::deny("Invalid token")),
                Some("boom") => Err("database is down"),
                Some("panic") => panic!("a hook panics"),
                _ => Ok(AuthDecision::deny("")),
            }
        })
    })
}

/// R-A5, R-A6, R-A7, R-A12
#[test]
fn authentication() {
    let server = hooked();
    let mut good = Client::connect(&server);
    let welcome =
        good.auth(&json!({ "type": "auth", "user": "a", "token": "good", "rooms": ["mine"] }));
    // The token says who it is, whoever it claims to be.
    assert_eq!(welcome["peer"]["user"], "alice");
    assert_eq!(welcome["rooms"], json!(["alice", "team", "all"]));
    for (token, message) in [
        ("denied", "Invalid token"),
        ("boom", "Authentication failed"),
        ("panic", "Authentication failed"),
        ("nobody", "Authentication failed"),
        ("", "Authentication failed"),
    ] {
        let mut bad = Client::connect(&server);
        bad.send(&json!({ "type": "auth", "user": "a", "token": token }));
        assert_eq!(bad.refused(), (401, message.into(), 4401), "{token}");
    }
    let mut checked = Client::connect(&server);
    let welcome = checked.auth(&json!({ "type": "auth", "user": "a", "token": "checked" }));
    assert_eq!(welcome["rooms"], json!(["a"]));
    good.send(&json!({ "type": "message", "to": "alice" }));
    good.hears_nothing();
}

/// R-A5: the hook sees the peer, the frame and the request.
#[test]
fn what_a_hook_sees() {
    let seen = Arc::new(Mutex::new(None));
    let for_hook = Arc::clone(&seen);
    let server = start_with(|builder| {
        builder.authenticate(move |request: AuthRequest| {
            *for_hook.lock().unwrap() = Some(request);
            async { AuthDecision::allow_claimed() }
        })
    });
    let headers = [("cookie", "session=1")];
    let (mut client, _) = Client::request_path(&server, "/ws?room=r%201", &headers).unwrap();
    client.auth(&json!({ "type": "auth", "user": "alice", "x": 1 }));
    let request = seen.lock().unwrap().take().unwrap();
    assert_eq!(request.user(), "alice");
    assert_eq!(request.token(), None);
    assert_eq!(request.session, None);
    assert_eq!(request.peer.get_str("id").unwrap(), client.id());
    assert_eq!(request.auth.get("x").unwrap().text(), "1");
    assert_eq!(request.request.headers["cookie"], "session=1");
    assert_eq!(request.request.query("room").unwrap(), "r 1");
    assert_eq!(request.request.address.to_string(), "127.0.0.1");
    assert!(!request.request.tls);
}

/// R-A10, R-A11: a slow hook; one client waits with frames in hand, another one leaves.
#[test]
fn a_slow_hook() {
    let (go, gate) = async_channel::bounded::<()>(1);
    let server = start_with(|builder| {
        builder.authenticate(move |request: AuthRequest| {
            let gate = gate.clone();
            async move {
                if request.user() != "quick" {
                    let _ = gate.recv().await;
                }
                AuthDecision::allow_claimed().rooms(["team"])
            }
        })
    });
    let mut watcher = Client::connect(&server);
    watcher.auth(&json!({ "type": "auth", "user": "quick" }));

    let mut leaver = Client::connect(&server);
    leaver.send(&json!({ "type": "auth", "user": "slow" }));
    leaver.ws.close(None).unwrap();
    assert_eq!(leaver.closed(), 1005);

    let mut waiter = Client::connect(&server);
    waiter.send(&json!({ "type": "auth", "user": "slow" }));
    waiter.send(&json!({ "type": "message", "to": "team", "data": "x".repeat(60_000) }));
    waiter.send(&json!({ "type": "message", "to": "team", "data": "y".repeat(600_000) }));
    watcher.hears_nothing();
    go.close();
    assert_eq!(waiter.recv()["type"], "welcome");
    let presence = watcher.recv();
    assert_eq!(presence["type"], "presence");
    assert_eq!(watcher.recv()["from"], presence["from"]);
    assert_eq!(watcher.recv()["data"].as_str().unwrap().len(), 600_000);
    assert_eq!(block_on(server.handle().peers()).unwrap().len(), 2);
}

/// A hook that never answers does not keep a client for ever.
#[test]
fn a_hook_that_never_answers() {
    let server = start_with(|builder| {
        builder
            .configure(|config| config.engine.auth_timeout = Duration::from_millis(100))
            .authenticate(|_| std::future::pending::<AuthDecision>())
    });
    let mut client = Client::connect(&server);
    client.send(&json!({ "type": "auth", "user": "alice" }));
    assert_eq!(client.refused(), (401, "Authentication failed".into(), 4401));
}

/// R-T4: the host decides about requests, chooses the subprotocol, and may add headers.
#[test]
fn upgrades() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = start_with(|builder| {
        builder.on_upgrade(move |request| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                match request.query("key").as_deref() {
                    Some("good") => UpgradeDecision::accept().header(
                        HeaderName::from_static("set-cookie"),
                        HeaderValue::from_static("a=b"),
                    ),
                    Some("panic") => panic!("a hook panics"),
                    // The last one that is offered.
                    Some("protocol") => {
                        UpgradeDecision::accept().subprotocol(request.subprotocols().last())
                    }
                    _ => UpgradeDecision::reject(StatusCode::PAYMENT_REQUIRED, "pay first"),
                }
            }
        })
    });
    let (mut client, response) = Client::request_path(&server, "/?key=good", &[]).unwrap();
    assert_eq!(response.headers()["set-cookie"], "a=b");
    client.auth(&json!({ "type": "auth", "user": "alice" }));
    client.hears_nothing();
    let offer = [("sec-websocket-protocol", "symple, game.v2")];
    let (_, response) = Client::request_path(&server, "/?key=protocol", &offer).unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "game.v2");
    assert_eq!(Client::request_path(&server, "/", &[]).map(drop), Err(402));
    assert_eq!(Client::request_path(&server, "/?key=panic", &[]).map(drop), Err(500));
    // Health checks are not for the hook.
    assert_eq!(super::client::get(&server, "/healthz").0, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}
