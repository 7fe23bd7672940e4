//! What can be done: kicks, rooms, frames, the end; and who may.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{KEY, RUNTIME, Service, client::Client, http::Api, until};
use symple_tokio::admin::Admin;

/// R-I1: peers and users are closed, and told why.
#[test]
fn kicks() {
    let Service { server, api, .. } = &Service::start();
    let mut alice = Client::join(server, "alice", &[]);
    let mut other = Client::join(server, "alice", &[]);
    let mut bob = Client::join(server, "bob", &[]);
    let path = format!("/v1/peers/{}", bob.id());
    let answer = api.ask(&format!("DELETE {path}"), &[], r#"{"reason":"Be nice"}"#);
    assert_eq!((answer.status, answer.body), (200, json!({ "closed": 1 })));
    assert_eq!(bob.recv_type("error")["message"], "Be nice");
    assert_eq!(api.delete(&path).code(), (404, "not_found"));
    assert_eq!(api.delete("/v1/users/alice").body, json!({ "closed": 2 }));
    for client in [&mut alice, &mut other] {
        assert_eq!(client.recv_type("error")["message"], "Closed by an operator");
    }
    assert_eq!(api.delete("/v1/users/alice").body, json!({ "closed": 0 }));
    assert_eq!(api.get("/v1/peers").body["peers"], json!([]));
}

/// R-I1: rooms are changed and closed.
#[test]
fn rooms() {
    let Service { server, api, .. } = &Service::start();
    let mut alice = Client::join(server, "alice", &["a"]);
    let path = format!("/v1/peers/{}/rooms", alice.id());
    let answer = api.post(&path, &json!({ "join": ["b", "c"], "leave": ["a"] }));
    assert_eq!(answer.body, json!({ "done": true, "rooms": ["alice", "b", "c"] }));
    assert_eq!(alice.recv_type("join:ok")["room"], "b");
    assert_eq!(api.post("/v1/peers/nobody/rooms", &json!({})).code(), (404, "not_found"));
    for wrong in
        [json!({ "join": [""] }), json!({ "join": ["x"], "leave": ["x"] }), json!({ "join": "x" })]
    {
        assert_eq!(api.post(&path, &wrong).status, 400, "{wrong}");
    }
    assert_eq!(api.delete("/v1/rooms/b").body, json!({ "removed": 1 }));
    assert_eq!(api.delete("/v1/rooms/b").code(), (404, "not_found"));
    until("it has left", || {
        api.get(&format!("/v1/peers/{}", alice.id())).body["rooms"] == json!(["alice", "c"])
    });
}

/// R-I1: frames are delivered as they are.
#[test]
fn frames() {
    let Service { server, api, .. } = &Service::start();
    let mut alice = Client::join(server, "alice", &["a"]);
    let _bob = Client::join(server, "bob", &[]);
    let frame = json!({ "type": "message", "to": "a", "data": 1.0 });
    assert_eq!(api.post("/v1/emit", &frame).body, json!({ "receivers": 1 }));
    assert_eq!(alice.recv_type("message"), frame);
    let frame = json!({ "type": "event", "name": "x" });
    assert_eq!(api.post("/v1/broadcast", &frame).body, json!({ "receivers": 2 }));
    assert_eq!(alice.recv_type("event"), frame);
    let nobody = json!({ "type": "message", "to": "nobody" });
    assert_eq!(api.post("/v1/emit", &nobody).body, json!({ "receivers": 0 }));
}

/// R-I1, R-K4: states are set, read, cleared and kept; what cannot be is refused before a key is used up.
#[test]
fn states() {
    let Service { server, api, .. } = &Service::start();
    let mut alice = Client::connect(server);
    let auth = json!({ "type": "auth", "user": "alice", "rooms": ["a"], "extensions": ["state"] });
    alice.auth(&auth);
    let set = json!({ "room": "a", "set": { "x": 1.50, "y": [1] } });
    let answer = api.post_once("/v1/state", "k", &set);
    assert_eq!((answer.status, answer.body), (200, json!({ "done": true })));
    while alice.recv_type("state")["set"] != set["set"] {}
    assert_eq!(api.post_once("/v1/state", "k", &set).header("idempotency-replayed"), Some("true"));
    let room = api.get("/v1/rooms/a").body;
    assert_eq!(room["state"], set["set"]);
    assert_eq!((&room["count"], &room["pinned"]), (&json!(1), &json!(false)));
    // Numbers stay as they were written.
    let number = r#"{"x":12345678901234567890.0}"#;
    let answer = api.ask("POST /v1/state", &[], &format!(r#"{{"room":"a","set":{number}}}"#));
    assert_eq!(answer.status, 200);
    let state = RUNTIME.block_on(server.handle().room_state("a")).unwrap().unwrap();
    assert_eq!(state.get("x").unwrap().text(), "12345678901234567890.0");

    for (wrong, status) in [
        (json!({ "room": "a" }), 400),
        (json!({ "room": "a", "set": {}, "clear": true }), 400),
        (json!({ "room": "a", "set": [] }), 400),
        (json!({ "room": "a", "set": null }), 400),
        (json!({ "room": "", "clear": true }), 400),
        (json!({ "room": "a", "pin": 1 }), 400),
        (json!({ "room": "a", "clear": true, "more": 1 }), 400),
        (json!({ "set": {} }), 400),
        (json!({ "room": "a", "set": { "__proto__": 1 } }), 400),
        (json!({ "room": "a", "set": { "x": "y".repeat(20_000) } }), 413),
    ] {
        let answer = api.post_once("/v1/state", "wrong", &wrong);
        assert_eq!(answer.status, status, "{wrong} {answer:?}");
    }
    let clear = json!({ "room": "a", "clear": true });
    assert_eq!(api.post_once("/v1/state", "wrong", &clear).body, json!({ "done": true }));
    assert_eq!(api.get("/v1/rooms/a").body["state"], json!({}));

    // Without members it is there as long as it lives, or is kept.
    for (path, body) in [("b", json!({ "set": { "k": 1 } })), ("c", json!({ "pin": true }))] {
        assert_eq!(api.get(&format!("/v1/rooms/{path}")).code(), (404, "not_found"));
        let mut body = body.clone();
        body["room"] = path.into();
        assert_eq!(api.post("/v1/state", &body).body, json!({ "done": true }));
    }
    let lives = api.get("/v1/rooms/b").body;
    assert_eq!((&lives["count"], &lives["state"]), (&json!(0), &json!({ "k": 1 })));
    assert_eq!(api.get("/v1/rooms/c").body["pinned"], true);
    api.post("/v1/state", &json!({ "room": "c", "pin": false }));
    assert_eq!(api.get("/v1/rooms/c").status, 404);
}

/// R-I1: a node ends over the time that is said, and another one is not ended.
#[test]
fn drain() {
    let Service { server, api, .. } = &Service::start();
    let answer = api.post("/v1/drain", &json!({ "seconds": 0, "node": "another" }));
    assert_eq!(answer.code(), (404, "not_found"));
    let answer = api.post("/v1/drain", &json!({ "seconds": 0 }));
    assert_eq!((answer.status, answer.body), (202, json!({ "draining": true })));
    RUNTIME.block_on(server.wait()).unwrap();
}

/// R-I1: without the key, or with a wrong one, every request is answered with 401, and nothing else is
/// said: not even what there is.
#[test]
fn without_the_key() {
    let Service { api, .. } = &Service::start();
    let description = api.get("/v1/openapi.json").body;
    let paths = description["paths"].as_object().unwrap().keys();
    let paths: Vec<_> =
        paths.map(String::as_str).chain(["/console/", "/metrics", "/nothing", "/v1"]).collect();
    let longer = Box::leak(format!("{KEY}x").into_boxed_str());
    for key in [None, Some("wrong"), Some(&KEY[..5]), Some(longer), Some("")] {
        let stranger = Api { key, ..api.clone() };
        let mut seen = None;
        for path in &paths {
            for method in ["GET", "POST", "DELETE", "PATCH", "OPTIONS"] {
                let request = stranger.request(&format!("{method} {path}"), &[], "");
                let answer = stranger.raw(request.as_bytes());
                assert_eq!(answer.code(), (401, "unauthorized"), "{method} {path} {key:?}");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"symple\""));
                assert_eq!(*seen.get_or_insert_with(|| answer.body.clone()), answer.body);
            }
        }
    }
    // A browser asks its user.
    let stranger = Api { key: None, ..api.clone() };
    let asks = |headers: &[(&str, &str)]| {
        stranger.raw(stranger.request("GET /v1/node", headers, "").as_bytes())
    };
    let answer = asks(&[("Accept", "text/html,*/*")]);
    assert_eq!(
        (answer.status, answer.header("www-authenticate")),
        (401, Some("Basic realm=\"symple\""))
    );
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    assert_eq!(asks(&[("Authorization", &basic(&format!("admin:{KEY}")))]).status, 200);
    for wrong in [
        basic("admin:wrong"),
        basic(KEY),
        basic(""),
        "Basic ***".into(),
        "Bearer".into(),
        format!("Digest {KEY}"),
        format!("Bearer {KEY} {KEY}"),
    ] {
        assert_eq!(asks(&[("Authorization", &wrong)]).status, 401, "{wrong}");
    }
    // Which of two counts would be for others to choose.
    let bearer = format!("Bearer {KEY}");
    assert_eq!(asks(&[("Authorization", &bearer), ("Authorization", &bearer)]).status, 401);
}

/// R-I1: without a key, no web page reaches the API under a name of its own, and with one, none makes a
/// browser act that has the key.
#[test]
fn web_pages() {
    let open = Service::start_with(|builder| builder, |admin| admin, None);
    let api = &open.api;
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:4501", 200),
        ("[::1]:4501", 200),
        ("evil.example", 403),
        ("localhost.evil.example:4501", 403),
        ("", 403),
    ] {
        assert_eq!(api.ask("GET /v1/node", &[("Host", host)], "").status, status, "{host}");
    }
    let open_to_all = Service::start_with(|builder| builder, Admin::any_host, None);
    assert_eq!(open_to_all.api.ask("GET /v1/node", &[("Host", "any.example")], "").status, 200);
    let closed = Service::start();
    for api in [api, &closed.api] {
        let host = api.address.to_string();
        let frame = r#"{"type":"event"}"#;
        for (headers, status) in [
            (vec![("Content-Type", "text/plain")], 415),
            (vec![("Content-Type", "application/x-www-form-urlencoded")], 415),
            (vec![("Content-Type", "application/json; charset=utf-8")], 200),
            (vec![("Origin", "http://evil.example")], 403),
            (vec![("Origin", "null")], 403),
            (vec![("Origin", &*format!("http://{host}"))], 200),
        ] {
            assert_eq!(
                api.ask("POST /v1/broadcast", &headers, frame).status,
                status,
                "{headers:?}"
            );
        }
        // A page neither reads nor holds anything open, but may link here.
        for (headers, status) in [
            (vec![("Origin", "http://evil.example")], 403),
            (vec![("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")], 403),
            (vec![("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "cors")], 403),
            (vec![("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")], 200),
            (vec![("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors")], 200),
            (vec![("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate")], 200),
        ] {
            assert_eq!(api.ask("GET /v1/node", &headers, "").status, status, "{headers:?}");
        }
        // A body without a type.
        let request = api.request("POST /v1/broadcast", &[("X", "x")], frame);
        let request = request.replace("Content-Type: application/json\r\n", "");
        assert_eq!(api.raw(request.as_bytes()).code(), (415, "unsupported_media_type"));
        // No page reads an answer, whatever it is.
        let answer = api.get("/v1/node");
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}

/// R-I1: a key is used once: the same request is answered again, another one is refused.
#[test]
fn once() {
    let Service { server, api, .. } = &Service::start();
    let mut alice = Client::join(server, "alice", &[]);
    let frame = json!({ "type": "message", "to": "alice", "data": 1 });
    let first = api.post_once("/v1/emit", "k1", &frame);
    assert_eq!((first.status, first.header("idempotency-replayed")), (200, None));
    let again = api.post_once("/v1/emit", "k1", &frame);
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
    assert_eq!(again.body, first.body);
    let other = json!({ "type": "message", "to": "alice", "data": 2 });
    assert_eq!(api.post_once("/v1/emit", "k1", &other).code(), (422, "key_reused"));
    assert_eq!(api.post_once("/v1/broadcast", "k1", &frame).code(), (422, "key_reused"));
    // What is refused uses no key up.
    assert_eq!(api.post_once("/v1/emit", "k2", &json!({})).status, 400);
    assert_eq!(api.post_once("/v1/emit", "k2", &other).status, 200);
    assert_eq!(alice.recv_type("message")["data"], 1);
    assert_eq!(alice.recv_type("message")["data"], 2);
    alice.hears_nothing();
    for key in ["", "a b", "ü", &"x".repeat(256)] {
        assert_eq!(api.post_once("/v1/emit", key, &frame).status, 400, "{key}");
    }
}

/// R-I1: of many requests with a key that come at once, one is carried out; the others are told so, or
/// that it is being carried out.
#[test]
fn once_of_many_at_once() {
    let Service { server, api, .. } = &Service::start();
    let mut alice = Client::join(server, "alice", &[]);
    let frame = Arc::new(json!({ "type": "message", "to": "alice" }));
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let (api, frame) = (api.clone(), Arc::clone(&frame));
            std::thread::spawn(move || api.post_once("/v1/emit", "many", &frame))
        })
        .collect();
    let mut done = 0;
    for thread in threads {
        let answer = thread.join().unwrap();
        assert!(matches!(answer.code(), (200, "") | (409, "under_way")), "{answer:?}");
        done +=
            usize::from(answer.status == 200 && answer.header("idempotency-replayed").is_none());
    }
    assert_eq!(done, 1);
    assert_eq!(alice.recv_type("message")["to"], "alice");
    alice.hears_nothing();
}

/// R-I1: the router may be mounted below any path, one with names in it, too.
#[test]
fn mounted() {
    let service = Service::start();
    let Service { server, .. } = &service;
    let alice = Client::join(server, "alice", &[]);
    let admin = Admin::new(server.handle()).key(KEY);
    let app = axum::Router::new().nest("/tenants/{id}/symple", admin.router());
    let listener = RUNTIME.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let api = Api { address: listener.local_addr().unwrap(), key: Some(KEY) };
    RUNTIME.spawn(async { axum::serve(listener, app).await });
    let get = |path: &str| {
        let request = api.request(&format!("GET /tenants/7/symple{path}"), &[], "");
        api.raw(request.as_bytes())
    };
    let peer: Value = get(&format!("/v1/peers/{}", alice.id())).body;
    assert_eq!(peer["user"], "alice");
    assert_eq!(get("/v1/nothing").code(), (404, "not_found"));
    let stranger = Api { key: None, ..api.clone() };
    let request = stranger.request("GET /tenants/7/symple/v1/nothing", &[], "");
    assert_eq!(stranger.raw(request.as_bytes()).code(), (401, "unauthorized"));
}
