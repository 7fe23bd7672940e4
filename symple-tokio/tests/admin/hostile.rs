//! What strangers and fools send.

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use serde_json::json;

use crate::{KEY, Service, client::Client, until};

/// R-I1: a body that is too large is refused, whether its size is said or not.
#[test]
fn huge_bodies() {
    let service = Service::start_with(|b| b, |admin| admin.key(KEY).body_limit(1000), Some(KEY));
    let api = &service.api;
    let frame = json!({ "type": "event", "data": "x".repeat(2000) }).to_string();
    let answer = api.ask("POST /v1/broadcast", &[], &frame);
    assert_eq!(answer.code(), (413, "too_large"));
    // One that says that it is longer than it is, and one that never ends.
    let mut request = api.request(
        "POST /v1/broadcast",
        &[("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")],
        "",
    );
    request += &format!("{:x}\r\n{frame}\r\n", frame.len());
    assert_eq!(api.raw(request.as_bytes()).code(), (413, "too_large"));
    let deep = "[".repeat(900);
    assert_eq!(api.ask("POST /v1/drain", &[], &deep).status, 400);
    assert_eq!(api.ask("POST /v1/emit", &[], &deep).status, 400);
    assert_eq!(api.ask("POST /v1/broadcast", &[], r#"{"type":"event"}"#).status, 200);
}

/// R-I1: a head that does not come in time, or is too large, is the end of its connection, and of no
/// other.
#[test]
fn slow_and_large_heads() {
    let timeout = Duration::from_millis(300);
    let service =
        Service::start_with(|b| b, |admin| admin.key(KEY).head_timeout(timeout), Some(KEY));
    let api = &service.api;
    let mut slow: Vec<_> = (0..50)
        .map(|_| {
            let mut socket = api.connect();
            socket.write_all(b"GET /v1/node HTTP/1.1\r\nHost: ").unwrap();
            socket
        })
        .collect();
    assert_eq!(api.get("/v1/node").status, 200);
    for socket in &mut slow {
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    let path = "x".repeat(64 * 1024);
    let answer = api.raw(api.request(&format!("GET /v1/peers/{path}"), &[], "").as_bytes());
    assert!(matches!(answer.status, 414 | 431), "{answer:?}");
    let header = "x".repeat(1024 * 1024);
    let answer = api.raw(api.request("GET /v1/node", &[("X-Long", &header)], "").as_bytes());
    assert_eq!(answer.status, 431, "{answer:?}");
    for (line, expected) in [
        ("GET /v1/peers/%ff%fe", 400),
        ("GET /v1/peers/%", 404),
        ("GET /v1/peers/%00", 404),
        ("GET /v1/peers/a%2F..%2Fb", 404),
    ] {
        assert_eq!(api.ask(line, &[], "").status, expected, "{line}");
    }
    for request in [
        &b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\r\n\r\n\r\nGET",
    ] {
        let status = api.raw(request).status;
        assert!(matches!(status, 0 | 400 | 401), "{status}");
    }
    assert_eq!(api.get("/v1/node").status, 200);
}

/// R-I1: so many may follow, the others are told so, and whoever has gone leaves its place to another
/// one.
#[test]
fn a_thousand_followers() {
    let service = Service::start();
    let api = &service.api;
    api.get("/v1/node");
    let (mut followed, mut refused) = (Vec::new(), 0);
    for _ in 0..1000 {
        match api.follow("") {
            Ok(one) => followed.push(one),
            Err(status) => {
                assert_eq!(status, 503);
                refused += 1;
            }
        }
    }
    assert_eq!((followed.len(), refused), (64, 936));
    assert_eq!(api.get("/v1/events").code(), (503, "busy"));
    assert_eq!(api.get("/v1/node").status, 200);
    let alice = Client::join(&service.server, "alice", &[]);
    for followed in &mut followed {
        assert_eq!(followed.next().unwrap().1["peer"], alice.address());
    }
    followed.truncate(63);
    // That it is gone is found when it is told something.
    let mut next = None;
    until("a place is free", || {
        let _ = Client::join(&service.server, "bob", &[]);
        next = api.follow("").ok();
        next.is_some()
    });
}
