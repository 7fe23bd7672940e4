//! Requests and what is answered to them.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

const SOCKET: &str = "192.0.2.1:5000";

fn policy() -> Policy<'static> {
    Policy {
        path: None,
        allowed_origins: &[],
        trusted_proxies: &[],
        keep_request: false,
        draining: false,
        ready: true,
    }
}

fn upgrade(target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

fn respond(policy: &Policy<'_>, request: &str) -> String {
    match policy.answer(request.as_bytes(), SOCKET.parse().unwrap(), false) {
        Answer::Respond(bytes) => String::from_utf8(bytes).unwrap(),
        Answer::Upgrade(upgrade) => String::from_utf8(upgrade.response(&HeaderMap::new())).unwrap(),
        Answer::Incomplete => "incomplete".into(),
    }
}

fn status(policy: &Policy<'_>, request: &str) -> u16 {
    let response = respond(policy, request);
    response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// R-T1, R-T4: the example of RFC 6455 §1.3, and the subprotocols.
#[test]
fn upgrades() {
    assert_eq!(
        respond(&policy(), &upgrade("/", "")),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    for (offered, answered) in [
        ("symple", Some("symple")),
        ("symple.v4", Some("symple.v4")),
        ("chat, symple, symple.v4", Some("symple")),
        ("chat", None),
        ("Symple", None),
    ] {
        let header = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        let response = respond(&policy(), &upgrade("/any/path?x=1", &header));
        let line = answered.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        match line {
            Some(line) => assert!(response.contains(&line), "{response}"),
            None => assert!(!response.contains("Sec-WebSocket-Protocol"), "{response}"),
        }
    }
}

/// R-T2
#[test]
fn pages() {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let open = policy();
    for (path, expected) in
        [("/", 200), ("/healthz", 200), ("/readyz", 200), ("/x", 404), ("/?a=b", 200)]
    {
        assert_eq!(status(&open, &get(path)), expected, "{path}");
    }
    assert_eq!(status(&Policy { ready: false, ..policy() }, &get("/readyz")), 503);
    let draining = Policy { draining: true, ..policy() };
    assert_eq!(status(&draining, &get("/readyz")), 503);
    assert_eq!(status(&draining, &get("/healthz")), 200);
    assert_eq!(status(&draining, &upgrade("/", "")), 503);
    let only = Policy { path: Some("/ws"), ..policy() };
    assert_eq!(status(&only, &upgrade("/ws?token=x", "")), 101);
    assert_eq!(status(&only, &upgrade("/", "")), 404);
    assert_eq!(status(&only, &get("/")), 200);
    assert_eq!(status(&only, &get("/ws")), 426);
    let head = respond(&open, "HEAD / HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(respond(&open, &get("/")).ends_with("connect with WebSocket\n"));
}

/// R-T1: what is no handshake.
#[test]
fn bad_requests() {
    let open = policy();
    let good = upgrade("/", "");
    for (request, expected) in [
        (good.replace("13\r\n", "8\r\n"), 426),
        (good.replace("Sec-WebSocket-Version: 13\r\n", ""), 426),
        (good.replace("Sec-WebSocket-Key", "X-Key"), 400),
        (good.replace("keep-alive, Upgrade", "keep-alive"), 400),
        (good.replace("HTTP/1.1", "HTTP/1.0"), 400),
        (good.replace("GET", "POST"), 405),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into(), 400),
        ("hello\r\n\r\n".into(), 400),
        (upgrade("/", &"X-Y: z\r\n".repeat(100)), 431),
        (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD)), 431),
    ] {
        assert_eq!(status(&open, &request), expected, "{request}");
    }
    for end in 1..good.len() {
        assert_eq!(respond(&open, &good[..end]), "incomplete");
    }
    let refused = respond(&open, &good.replace("13\r\n", "8\r\n"));
    assert!(refused.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{refused}");
}

/// R-T5
#[test]
fn origins() {
    let patterns: Vec<_> = ["https://app.example.com", "*.example.org", "http://localhost:3000"]
        .map(|pattern| pattern.parse().unwrap())
        .into();
    let listed = Policy { allowed_origins: &patterns, ..policy() };
    for (origin, allowed) in [
        ("https://app.example.com", true),
        ("HTTPS://APP.example.com", true),
        ("http://app.example.com", false),
        ("https://app.example.com.evil.test", false),
        ("https://a.example.org", true),
        ("http://a.b.example.org:8080", true),
        ("https://example.org", false),
        ("https://evilexample.org", false),
        ("http://localhost:3000", true),
        ("http://localhost:3001", false),
        ("null", false),
        ("", false),
    ] {
        let request = upgrade("/", &format!("Origin: {origin}\r\n"));
        let expected = if allowed { 101 } else { 403 };
        assert_eq!(status(&listed, &request), expected, "{origin}");
        assert_eq!(status(&policy(), &request), 101, "{origin}");
    }
    // Who is no browser sends no Origin.
    assert_eq!(status(&listed, &upgrade("/", "")), 101);
}

/// R-T6, D-PROXY
#[test]
fn addresses() {
    let proxies = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let behind = Policy { trusted_proxies: &proxies, ..policy() };
    for (socket, headers, expected) in [
        ("192.0.2.1:1", "X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:1", "", "192.0.2.1"),
        ("10.0.0.1:1", "", "10.0.0.1"),
        ("10.0.0.1:1", "X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9"),
        ("[::ffff:10.0.0.1]:1", "x-forwarded-for: 203.0.113.9\r\n", "203.0.113.9"),
        ("10.0.0.1:1", "X-Forwarded-For: 1.1.1.1, 203.0.113.9, 10.0.0.7\r\n", "203.0.113.9"),
        (
            "10.0.0.1:1",
            "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 203.0.113.9\r\n",
            "203.0.113.9",
        ),
        ("10.0.0.1:1", "X-Forwarded-For: 10.0.0.3, 10.0.0.7\r\n", "10.0.0.3"),
        ("10.0.0.1:1", "X-Forwarded-For: 203.0.113.9, garbage\r\n", "10.0.0.1"),
        ("10.0.0.1:1", "X-Forwarded-For: 203.0.113.9:1234\r\n", "203.0.113.9"),
        ("10.0.0.1:1", "X-Forwarded-For: [2001:db9::1]:80\r\n", "2001:db9::1"),
        ("[2001:db8::1]:1", "X-Forwarded-For: 2001:db9::1\r\n", "2001:db9::1"),
        ("10.0.0.1:1", "X-Real-IP: 203.0.113.9\r\n", "203.0.113.9"),
        ("10.0.0.1:1", "X-Real-IP: garbage\r\n", "10.0.0.1"),
    ] {
        let request = upgrade("/", headers);
        match behind.answer(request.as_bytes(), socket.parse().unwrap(), false) {
            Answer::Upgrade(upgrade) => {
                assert_eq!(upgrade.address.to_string(), expected, "{socket} {headers}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn requests_for_hooks() {
    let hooked = Policy { keep_request: true, ..policy() };
    let request = upgrade("/a?token=x%20y+z%&b&caf%C3%A9=1", "Cookie: a=b\r\n");
    let Answer::Upgrade(upgrade) = hooked.answer(request.as_bytes(), SOCKET.parse().unwrap(), true)
    else {
        panic!()
    };
    let request = upgrade.request.unwrap();
    assert_eq!(request.query("token").unwrap(), "x y z%");
    assert_eq!(request.query("b").unwrap(), "");
    assert_eq!(request.query("café").unwrap(), "1");
    assert_eq!(request.query("c"), None);
    assert_eq!(request.headers["cookie"], "a=b");
    assert!(request.tls);
}

/// A host may add headers, but not those that make the handshake.
#[test]
fn headers_of_the_host() {
    let Answer::Upgrade(upgrade) =
        policy().answer(upgrade("/", "").as_bytes(), SOCKET.parse().unwrap(), false)
    else {
        panic!()
    };
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("set-cookie", "a=b"), ("connection", "close"), ("sec-websocket-accept", "x")]
    {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let response = String::from_utf8(upgrade.response(&headers)).unwrap();
    assert!(response.contains("\r\nset-cookie: a=b\r\n"));
    assert!(!response.contains("close"));
    assert_eq!(response.to_lowercase().matches("sec-websocket-accept").count(), 1);
}
