//! Requests and what is answered to them.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::{proxy::ProxyHeader, *};
use crate::server::hooks::{Acceptance, Rejection, Subprotocol, UpgradeDecision};

const SOCKET: &str = "192.0.2.1:5000";
/// The limit of heads by default.
const LIMIT: usize = 16 * 1024;

fn policy() -> Policy<'static> {
    Policy::open()
}

fn upgrade(target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

fn answer(policy: &Policy<'_>, request: &str) -> Answer {
    answer_to(policy, request, SOCKET)
}

fn answer_to(policy: &Policy<'_>, request: &str, socket: &str) -> Answer {
    let socket = socket.parse().unwrap();
    policy.answer(&mut HeadScan::default(), request.as_bytes(), socket, true)
}

fn respond(policy: &Policy<'_>, request: &str) -> String {
    match answer(policy, request) {
        Answer::Respond(bytes, _) | Answer::Page { response: bytes, .. } => {
            String::from_utf8(bytes).unwrap()
        }
        Answer::Upgrade(upgrade) => {
            String::from_utf8(upgrade.response(&Acceptance::default())).unwrap()
        }
        Answer::Incomplete => "incomplete".into(),
    }
}

fn status(policy: &Policy<'_>, request: &str) -> u16 {
    let response = respond(policy, request);
    response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// R-T10: what is offered, and what is answered.
#[test]
fn compression() {
    const ANSWER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
        client_no_context_takeover";
    let on = Policy { deflate: Some(15), ..policy() };
    let offer = |offer: &str| upgrade("/", &format!("Sec-WebSocket-Extensions: {offer}\r\n"));
    let deflate = offer("permessage-deflate; client_max_window_bits");
    assert!(!respond(&policy(), &deflate).contains("Extensions"), "it is off");
    assert_eq!(status(&policy(), &offer(";;")), 101, "nobody looks");
    assert!(respond(&on, &deflate).contains(&format!("\r\n{ANSWER}\r\n")));
    let small = respond(&Policy { deflate: Some(9), ..policy() }, &deflate);
    assert!(small.contains(&format!("\r\n{ANSWER}; server_max_window_bits=9\r\n")), "{small}");
    let asked = respond(&on, &offer("permessage-deflate; server_max_window_bits=15"));
    assert!(asked.contains(&format!("\r\n{ANSWER}; server_max_window_bits=15\r\n")), "{asked}");
    let declined = offer("permessage-deflate; server_max_window_bits=9");
    assert!(!respond(&on, &declined).contains("Extensions"));
    assert_eq!(status(&on, &declined), 101);
    assert_eq!(status(&on, &offer("permessage-deflate;;")), 400);
    assert!(!respond(&on, &upgrade("/", "")).contains("Extensions"));
    // What a host adds does not change what was agreed on.
    let Answer::Upgrade(upgrade) = answer(&on, &deflate) else { panic!() };
    let value = HeaderValue::from_static("x-other");
    let headers = HeaderMap::from_iter([(http::header::SEC_WEBSOCKET_EXTENSIONS, value)]);
    let with = Acceptance { headers, ..Acceptance::default() };
    assert_eq!(upgrade.response(&with), upgrade.response(&Acceptance::default()));
}

/// R-T2: when no more connections are accepted, none that was kept brings a client.
#[test]
fn closed_and_kept() {
    for (closed, kept, expected) in [(true, true, 503), (true, false, 101), (false, true, 101)] {
        assert_eq!(status(&Policy { closed, kept, ..policy() }, &upgrade("/", "")), expected);
    }
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
    let behind = Policy { caught_up: false, ..policy() };
    assert_eq!(status(&behind, &get("/readyz")), 503);
    assert_eq!(status(&behind, &get("/healthz")), 200);
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
    let page = respond(&open, &get("/"));
    let says = "Symple server (symple/4): connect with WebSocket\nDocumentation: https://";
    assert!(page.contains(says), "{page}");
}

/// R-T2: behind which answers there may be another request.
#[test]
fn kept() {
    let keeps = Policy { keep_alive: true, path: Some("/ws"), ..policy() };
    let get = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    let with = |header: &str| get.replace("Host: x", &format!("Host: x\r\n{header}"));
    for (request, expected) in [
        (get.to_owned(), true),
        (get.replace("GET", "HEAD"), true),
        (get.replace("/readyz", "http://h/"), true),
        (with("Connection: keep-alive, x"), true),
        (with("Content-Length: 0"), true),
        (with("Upgrade: h2c\r\nConnection: upgrade"), true),
        (with("Connection: x, Close"), false),
        (with("Content-Length: 1"), false),
        (with("Transfer-Encoding: chunked"), false),
        (get.replace("1.1", "1.0"), false),
        (get.replace("/readyz", "/other"), false),
        (get.replace("/readyz", "/ws"), false),
        (get.replace("GET", "POST"), false),
        (get.replace("Host: x\r\n", ""), false),
    ] {
        let behind = format!("{request}GET");
        let answer = answer(&keeps, &behind);
        let kept = matches!(&answer, Answer::Page { length, .. } if *length == request.len());
        assert_eq!(kept, expected, "{request} {answer:?}");
        let ends = respond(&keeps, &behind).contains("\r\nConnection: close\r\n");
        assert_eq!(ends, !expected, "{request}");
    }
    assert!(respond(&policy(), get).contains("\r\nConnection: close\r\n"));
    let away = Policy { ready: false, ..keeps };
    assert!(matches!(answer(&away, get), Answer::Page { .. }), "503 is an answer as any other");
}

/// R-T8: an answer as a value is that of the bytes, but for what is the application's.
#[test]
fn answers_as_values() {
    let mut headers = HeaderMap::new();
    for n in 0..150 {
        headers.append("x-n", HeaderValue::from(n));
    }
    headers.insert("x-odd", HeaderValue::from_bytes(b"a: b\xff").unwrap());
    let bytes = refusal(StatusCode::SERVICE_UNAVAILABLE, None, &headers, "a\r\n\r\nb\n", true);
    let response = parse_response(&bytes);
    assert_eq!(response.status(), 503);
    assert_eq!(response.body(), "a\r\n\r\nb\n");
    assert_eq!(response.headers().get_all("x-n").iter().count(), 150);
    assert_eq!(response.headers()["x-odd"].as_bytes(), b"a: b\xff");
    assert!(response.headers().contains_key("retry-after"));
    for name in ["connection", "content-length"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    let response = parse_response(&refusal(StatusCode::UPGRADE_REQUIRED, None, &headers, "", true));
    assert_eq!(response.headers()["connection"], "Upgrade");
    for bytes in [&b""[..], b"\r\n", b"HTTP/1.1 2000 x\r\n\r\n"] {
        assert_eq!(parse_response(bytes).status(), 500);
    }
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
        (upgrade("/", "X-Y: z\r\nX Y: z\r\n"), 400),
        (upgrade("/", "X-Y : z\r\n"), 400),
        (upgrade("/", "X-Y: z\r\n folded\r\n"), 400),
        (upgrade("/", "X-Y: z\n"), 400),
        (upgrade("/", "X-Y: z\rX-Z: y\r\n"), 400),
        (upgrade("/", "X-Y: \0\r\n"), 400),
        (upgrade("/", ": z\r\n"), 400),
        (upgrade("/", "X-Y\r\n"), 400),
        (upgrade("*", ""), 400),
        (upgrade("h:80", ""), 400),
        (upgrade("/#x", ""), 400),
        (upgrade("/ x", ""), 400),
        (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(LIMIT)), 431),
    ] {
        assert_eq!(status(&open, &request), expected, "{request}");
    }
    for end in 1..good.len() {
        assert_eq!(respond(&open, &good[..end]), "incomplete");
    }
}

/// R-T7: the handshake of RFC 6455 §4.2.1, header by header.
#[test]
fn handshakes() {
    let good = upgrade("/", "");
    let with = |name: &str, lines: &[&str]| {
        let mut request = String::new();
        for line in good.split_inclusive("\r\n") {
            if !line.starts_with(&format!("{name}:")) {
                request += line;
            } else {
                request.extend(lines.iter().map(|value| format!("{name}{value}\r\n")));
            }
        }
        status(&policy(), &request)
    };
    for (key, expected) in [
        (": dGhlIHNhbXBsZSBub25jZQ==", 101),
        (":dGhlIHNhbXBsZSBub25jZQ== \t", 101),
        (": dGhlIHNhbXBsZSBub25jZR==", 101),
        (": +/+/+/+/+/+/+/+/+/+/+w==", 101),
        (":", 400),
        (": x", 400),
        (": eA==", 400),
        (": !!!", 400),
        (": dGhlIHNhbXBsZSBub25jZQ=", 400),
        (": dGhlIHNhbXBsZSBub25jZQ", 400),
        (": dGhlIHNhbXBsZSBub25jZWU=", 400),
        (": dGhlIHNhbXBsZSBub25jZQAA", 400),
        (": dGhlIHNhbXBsZSBub25jZQ== x", 400),
        (": dGhlIHNhbXBsZSBub2-jZQ==", 400),
        (": dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==", 400),
    ] {
        assert_eq!(with("Sec-WebSocket-Key", &[key]), expected, "{key}");
    }
    let key = ": dGhlIHNhbXBsZSBub25jZQ==";
    assert_eq!(with("Sec-WebSocket-Key", &[key, key]), 400);
    for (versions, expected) in [
        (&[": 13"][..], 101),
        (&[": 8"], 426),
        (&[": 013"], 426),
        (&[": 13, 8"], 426),
        (&[":"], 426),
        (&[": 13", ": 13"], 400),
        (&[": 8", ": 13"], 400),
    ] {
        assert_eq!(with("Sec-WebSocket-Version", versions), expected, "{versions:?}");
    }
    for (hosts, expected) in [
        (&[": a.example:4500"][..], 101),
        (&[": [::1]:80"], 101),
        (&[": my_service"], 101),
        (&[":"], 101),
        (&[], 400),
        (&[": a", ": a"], 400),
        (&[": a b"], 400),
        (&[": a/b"], 400),
        (&[": u@a"], 400),
        (&[": a:b"], 400),
        (&[": \u{fc}"], 400),
    ] {
        assert_eq!(with("Host", hosts), expected, "{hosts:?}");
    }
    for (protocols, expected) in [
        (&[": a, b"][..], 101),
        (&[": a", ": b"], 101),
        (&[": a,, b,"], 101),
        (&[":"], 400),
        (&[": a b"], 400),
        (&[": a;b"], 400),
        (&[": a, a"], 400),
        (&[": a", ": a"], 400),
    ] {
        let lines: String =
            protocols.iter().map(|value| format!("Sec-WebSocket-Protocol{value}\r\n")).collect();
        assert_eq!(status(&policy(), &upgrade("/", &lines)), expected, "{protocols:?}");
    }
    for (connection, expected) in
        [(": UPGRADE", 101), (": upgrade,", 101), (": close", 400), (":", 400)]
    {
        assert_eq!(with("Connection", &[connection]), expected, "{connection}");
    }
    // Not everyone who would upgrade wants WebSocket.
    assert_eq!(with("Upgrade", &[": h2c"]), 200);
    assert_eq!(with("Upgrade", &[": h2c, WebSocket"]), 101);
}

/// R-T7: behind a request that is upgraded frames begin, so it has no body.
#[test]
fn bodies() {
    for (headers, upgraded, page) in [
        ("Content-Length: 0\r\n", 101, 200),
        ("Content-Length: 00\r\n", 101, 200),
        ("Content-Length: 5\r\n", 400, 200),
        ("Transfer-Encoding: chunked\r\n", 400, 200),
        ("Transfer-Encoding: identity\r\n", 400, 200),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", 400, 400),
        ("Content-Length: 0\r\nContent-Length: 0\r\n", 400, 400),
        ("Content-Length: 0\r\ncontent-length: 5\r\n", 400, 400),
        ("Content-Length: 0, 0\r\n", 400, 400),
        ("Content-Length: +0\r\n", 400, 400),
        ("Content-Length: -1\r\n", 400, 400),
        ("Content-Length: 0x0\r\n", 400, 400),
        ("Content-Length:\r\n", 400, 400),
    ] {
        assert_eq!(status(&policy(), &upgrade("/", headers)), upgraded, "{headers}");
        let get = format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        assert_eq!(status(&policy(), &get), page, "{headers}");
    }
    let old = "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(status(&policy(), old), 400);
}

/// R-T7, RFC 9112 §3.2.2: the absolute form of a target.
#[test]
fn absolute_targets() {
    let only = Policy { path: Some("/ws"), keep_request: true, ..policy() };
    for (target, page, upgraded) in [
        ("http://h/healthz", 200, 404),
        ("http://h:1/readyz", 200, 404),
        ("http://h", 200, 404),
        ("http://h/other", 404, 404),
        ("ws://h/ws", 426, 101),
        ("WSS://h/ws?x=1", 426, 101),
        ("http://h/ws?x=1", 426, 101),
        // Paths are compared byte for byte.
        ("http://h/%77s", 404, 404),
        ("/ws/", 404, 404),
        ("//ws", 404, 404),
        ("/WS", 404, 404),
        ("ftp://h/ws", 400, 400),
        ("http://", 400, 400),
        ("*", 400, 400),
    ] {
        let get = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(status(&only, &get), page, "{target}");
        assert_eq!(status(&only, &upgrade(target, "")), upgraded, "{target}");
    }
    let Answer::Upgrade(upgrade) = answer(&only, &upgrade("ws://h:4500/ws?token=x", "")) else {
        panic!()
    };
    let request = upgrade.request.unwrap();
    assert_eq!(request.uri.to_string(), "/ws?token=x");
    assert_eq!(request.query("token").unwrap(), "x");
    assert_eq!(request.headers["host"], "h:4500");
}

/// R-T2, R-T7, R-L2: what goes with a status, and that every answer ends where it says.
#[test]
fn responses() {
    let only = Policy { path: Some("/ws"), max_head_size: 200, ..policy() };
    let draining = Policy { draining: true, ..policy() };
    let patterns = ["https://a.example".parse().unwrap()];
    let listed = Policy { allowed_origins: &patterns, ..policy() };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let upgrading = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    for (policy, request, expected, headers) in [
        (&only, get("/"), 200, &[][..]),
        (&only, get("/ws"), 426, &upgrading),
        (&only, get("/other"), 404, &[]),
        (&only, get("*"), 400, &[]),
        (&only, get("/").replace("Host: x\r\n", ""), 400, &[]),
        (&only, get("/").replace("1.1", "9.9"), 400, &[]),
        (&only, get(&"/".repeat(200)), 431, &[]),
        (&only, get("/").replace("GET", "PUT"), 405, &["Allow: GET, HEAD"]),
        (&policy(), upgrade("/", "").replace("13\r\n", "8\r\n"), 426, &upgrading),
        (&draining, get("/readyz"), 503, &[]),
        (&draining, upgrade("/", ""), 503, &["Retry-After: "]),
        (&listed, upgrade("/", "Origin: https://b.example\r\n"), 403, &[]),
    ] {
        let response = respond(policy, &request);
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {expected} ")), "{request} {response}");
        for header in ["Connection: close", "Content-Type: text/plain; charset=utf-8"] {
            assert!(head.contains(&format!("\r\n{header}")), "{header} {response}");
        }
        for header in headers {
            assert!(head.contains(&format!("\r\n{header}")), "{header} {response}");
        }
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{response}");
        if let Some(request) = request.strip_prefix("GET").filter(|_| !request.contains("Upgr")) {
            let only_head = respond(policy, &format!("HEAD{request}"));
            assert_eq!(only_head.split_once("\r\n\r\n"), Some((head, "")), "{request}");
        }
    }
}

/// R-L2: those who are sent away together do not come back together; what a host says counts.
#[test]
fn retry_after() {
    let refuse = |headers: &HeaderMap| {
        let bytes = refusal(StatusCode::SERVICE_UNAVAILABLE, None, headers, "", true);
        let text = String::from_utf8(bytes).unwrap().to_lowercase();
        assert_eq!(text.matches("\r\nretry-after: ").count(), 1, "{text}");
        let (_, rest) = text.split_once("\r\nretry-after: ").unwrap();
        rest.lines().next().unwrap().parse::<u32>().unwrap()
    };
    let seen: std::collections::BTreeSet<_> = (0..200).map(|_| refuse(&HeaderMap::new())).collect();
    assert!(seen.len() > 1 && seen.iter().all(|seconds| (1..=5).contains(seconds)), "{seen:?}");
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("120"));
    assert_eq!(refuse(&headers), 120);
}

/// R-T7: the limit of a head is exact, whatever comes behind it.
#[test]
fn heads_at_the_limit() {
    let fill = |size: usize| {
        let empty = upgrade("/", "Cookie: \r\n");
        let cookie = "x".repeat(size - empty.len());
        upgrade("/", &format!("Cookie: {cookie}\r\n"))
    };
    for behind in ["", "x", &"x".repeat(60_000)] {
        let status = |size| status(&policy(), &(fill(size) + behind));
        assert_eq!((status(LIMIT - 1), status(LIMIT), status(LIMIT + 1)), (101, 101, 431));
    }
    // A frame in the value of a header is no frame.
    let Answer::Upgrade(upgrade) = answer(&policy(), &(fill(LIMIT) + "frame")) else { panic!() };
    assert_eq!(upgrade.length, LIMIT);
}

/// What is to be seen of an answer.
fn outcome(answer: Answer) -> Option<(usize, Vec<u8>)> {
    match answer {
        Answer::Incomplete => None,
        Answer::Respond(bytes, _) => Some((0, bytes)),
        Answer::Page { response, length } => Some((length, response)),
        Answer::Upgrade(upgrade) => {
            Some((upgrade.length, upgrade.response(&Acceptance::default())))
        }
    }
}

/// Pieces that requests are made of, and ones that they are not.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "GET ", "HEAD ", "POST ", "/", "http://h/ws", " HTTP/1.1\r\n", " HTTP/1.0\r\n", "\r\n",
            "\r", "\n", "\r\n\r\n", "Host: x\r\n", "Upgrade: websocket\r\n", "X: y\r\n", " folded",
            "Connection: Upgrade\r\n", "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: ",
            "dGhlIHNhbXBsZSBub25jZQ==\r\n", "Content-Length: 5\r\n", ":", "\0",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let padded = (900..1200_usize, "[A-Za-z]{0,40}", prop::collection::vec(any::<u8>(), 0..300));
    prop_oneof![
        prop::collection::vec(piece(), 0..30).prop_map(|pieces| pieces.concat()),
        // Around the limit, with frames behind.
        padded.prop_map(|(size, target, behind)| {
            let empty = upgrade(&format!("/{target}"), "X: \r\n").len();
            let header = format!("X: {}\r\n", "x".repeat(size - empty));
            [upgrade(&format!("/{target}"), &header).into_bytes(), behind].concat()
        }),
        // A good one with something in it that does not belong there.
        (any::<prop::sample::Index>(), piece()).prop_map(|(at, piece)| {
            let mut request = upgrade("/", "Cookie: a=b\r\n").into_bytes();
            let at = at.index(request.len() + 1);
            request.splice(at..at, piece);
            request
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1000)))]

    /// R-T7: the same bytes are answered in the same way, however they are cut into packets.
    #[test]
    fn cuts_change_nothing(
        request in request(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        bytewise in any::<bool>(),
    ) {
        let policy = Policy { max_head_size: 1024, path: Some("/"), keep_alive: true, ..policy() };
        let socket = SOCKET.parse().unwrap();
        let whole = policy.answer(&mut HeadScan::default(), &request, socket, false);
        let whole = outcome(whole);
        let mut ends: Vec<_> = if bytewise {
            (0..request.len()).collect()
        } else {
            cuts.iter().map(|cut| cut.index(request.len() + 1)).collect()
        };
        ends.sort_unstable();
        ends.push(request.len());
        let mut scan = HeadScan::default();
        let mut seen = None;
        for end in ends {
            seen = outcome(policy.answer(&mut scan, &request[..end], socket, false));
            if seen.is_some() {
                break;
            }
            prop_assert!(end < 1024, "so much is kept without an answer");
        }
        prop_assert_eq!(seen, whole);
    }

    /// R-T6: whatever it is told, an address is one that was told or the proxy's.
    #[test]
    fn any_forwarding(value in "[0-9a-f.:, \\[\\]]{0,40}") {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let behind = Policy { trusted_proxies: &proxies, ..policy() };
        let request = upgrade("/", &format!("X-Forwarded-For: {value}\r\n"));
        let Answer::Upgrade(upgrade) = answer_to(&behind, &request, "10.0.0.1:1") else { panic!() };
        let proxy: IpAddr = "10.0.0.1".parse().unwrap();
        let told = value.split(',').filter_map(|one| address::parse_address(one.trim()));
        prop_assert!(upgrade.address == proxy || told.into_iter().any(|one| one == upgrade.address));
    }
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
    let one = "Origin: https://app.example.com\r\n";
    assert_eq!(status(&listed, &upgrade("/", &one.repeat(2))), 403);
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
        // RFC 9110 §5.6.1.2: empty elements do not count.
        ("10.0.0.1:1", "X-Forwarded-For: 203.0.113.9,\r\n", "203.0.113.9"),
        ("10.0.0.1:1", "X-Forwarded-For: 203.0.113.9,, 10.0.0.1\r\n", "203.0.113.9"),
        ("10.0.0.1:1", "X-Forwarded-For: ,203.0.113.9, \t,\r\n", "203.0.113.9"),
        (
            "10.0.0.1:1",
            "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For:\r\nX-Forwarded-For: ,\r\n",
            "203.0.113.9",
        ),
        ("10.0.0.1:1", "X-Forwarded-For:\r\nX-Real-IP: 203.0.113.9\r\n", "203.0.113.9"),
        ("10.0.0.1:1", "X-Forwarded-For: 203.0.113.9, unknown\r\n", "10.0.0.1"),
        ("10.0.0.1:1", "X-Forwarded-For: 203.0.113.9, _proxy, 10.0.0.7\r\n", "10.0.0.7"),
        ("10.0.0.1:1", "X-Forwarded-For: [2001:db9::1]\r\n", "2001:db9::1"),
        ("10.0.0.1:1", "X-Forwarded-For: ::ffff:203.0.113.9\r\n", "203.0.113.9"),
        ("10.0.0.1:1", "X-Forwarded-For: 203.0.113.9, ::ffff:10.0.0.7\r\n", "203.0.113.9"),
        ("10.0.0.1:1", "X-Forwarded-For: 203.0.113.9, \u{a0}\r\n", "10.0.0.1"),
        // Which of several the proxy wrote cannot be told.
        ("10.0.0.1:1", "X-Real-IP: 1.1.1.1\r\nX-Real-IP: 203.0.113.9\r\n", "10.0.0.1"),
        ("10.0.0.1:1", "X-Real-IP: 1.1.1.1, 203.0.113.9\r\n", "10.0.0.1"),
    ] {
        let request = upgrade("/", headers);
        match answer_to(&behind, &request, socket) {
            Answer::Upgrade(upgrade) => {
                assert_eq!(upgrade.address.to_string(), expected, "{socket} {headers}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// R-T6: one header is believed, and not what a client writes in the other one.
#[test]
fn the_header_of_the_proxies() {
    let proxies = ["10.0.0.0/8".parse().unwrap()];
    let listed = Policy { trusted_proxies: &proxies, ..policy() };
    let forwarded =
        Policy { proxy_header: ProxyHeader::Forwarded, trusted_proxies: &proxies, ..policy() };
    let both = "X-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 2.2.2.2\r\nForwarded: for=3.3.3.3\r\n";
    for (policy, headers, expected) in [
        (&listed, both, "1.1.1.1"),
        (&forwarded, both, "3.3.3.3"),
        (&listed, "Forwarded: for=3.3.3.3\r\n", "10.0.0.1"),
        (&forwarded, "X-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 2.2.2.2\r\n", "10.0.0.1"),
        (
            &forwarded,
            "Forwarded: for=1.1.1.1\r\nForwarded: for=3.3.3.3, for=10.0.0.2\r\n",
            "3.3.3.3",
        ),
        (&forwarded, "Forwarded: for=3.3.3.3, for=unknown\r\n", "10.0.0.1"),
        (&listed, "X-Forwarded-For: \"[2001:db9::1%eth0]:80\"\r\n", "2001:db9::1"),
        (&listed, "X-Forwarded-For: 203.0.113.9:port\r\n", "10.0.0.1"),
    ] {
        let request = upgrade("/", headers);
        let Answer::Upgrade(upgrade) = answer_to(policy, &request, "10.0.0.1:1") else { panic!() };
        assert_eq!(upgrade.address.to_string(), expected, "{headers}");
    }
}

/// R-T4: a hook chooses among what the client offers.
#[test]
fn the_subprotocol_of_a_hook() {
    let hooked = Policy { keep_request: true, ..policy() };
    let request =
        upgrade("/", "Sec-WebSocket-Protocol: a, symple\r\nSec-WebSocket-Protocol: b\r\n");
    let Answer::Upgrade(upgrade) = answer(&hooked, &request) else { panic!() };
    for (choice, expected) in [
        (Subprotocol::Known, Some("symple")),
        (Subprotocol::Chosen(Some("b".into())), Some("b")),
        (Subprotocol::Chosen(Some("c".into())), None),
        (Subprotocol::Chosen(Some("a\r\nx: y".into())), None),
        (Subprotocol::Chosen(None), None),
    ] {
        let acceptance = Acceptance { subprotocol: choice, ..Acceptance::default() };
        let response = String::from_utf8(upgrade.response(&acceptance)).unwrap();
        let name = response.split("\r\nSec-WebSocket-Protocol: ").nth(1);
        assert_eq!(name.and_then(|rest| rest.split("\r\n").next()), expected);
    }
}

/// A rejection may have a reason phrase of its own.
#[test]
fn reason_phrases() {
    let first = |decision: UpgradeDecision| {
        let Err(Rejection { status, reason, headers, body }) = decision.0 else { panic!() };
        let response = refusal(status, reason.as_deref(), &headers, &body, true);
        String::from_utf8(response).unwrap().lines().next().unwrap().to_owned()
    };
    let no = || UpgradeDecision::reject(StatusCode::FORBIDDEN, "no");
    assert_eq!(first(no()), "HTTP/1.1 403 Forbidden");
    assert_eq!(first(no().reason("No such game")), "HTTP/1.1 403 No such game");
    assert_eq!(first(no().reason("a\r\nX: y\u{e9}")), "HTTP/1.1 403 aX: y");
}

#[test]
fn requests_for_hooks() {
    let hooked = Policy { keep_request: true, ..policy() };
    let request = upgrade("/a?token=x%20y+z%&b&caf%C3%A9=1&d=%+5", "Cookie: a=b\r\n");
    let Answer::Upgrade(upgrade) = answer(&hooked, &request) else { panic!() };
    let request = upgrade.request.unwrap();
    assert_eq!(request.query("token").unwrap(), "x y z%");
    assert_eq!(request.query("b").unwrap(), "");
    assert_eq!(request.query("café").unwrap(), "1");
    assert_eq!(request.query("c"), None);
    assert_eq!(request.query("d").unwrap(), "% 5");
    assert_eq!(request.headers["cookie"], "a=b");
    assert_eq!(request.cookie("a"), Some("b"));
    assert_eq!(request.cookie("b"), None);
    assert_eq!(request.subprotocols().count(), 0);
    assert!(request.tls);
}

/// Cookies as browsers and others write them.
#[test]
fn cookies() {
    let hooked = Policy { keep_request: true, ..policy() };
    let request = upgrade(
        "/",
        "Cookie: a=1; b=\"two\" ;c; d=x=y; a=3\r\nCookie: e=;=f; g=%20\r\nCookie: h=\u{e9}\r\n",
    );
    let Answer::Upgrade(upgrade) = answer(&hooked, &request) else { panic!() };
    let request = upgrade.request.unwrap();
    let found: Vec<_> = request.cookies().collect();
    let expected =
        [("a", "1"), ("b", "two"), ("d", "x=y"), ("a", "3"), ("e", ""), ("", "f"), ("g", "%20")];
    assert_eq!(found, expected);
    assert_eq!(request.cookie("a"), Some("1"));
}

/// A host may add headers, but not those that make the handshake.
#[test]
fn headers_of_the_host() {
    let Answer::Upgrade(upgrade) = answer(&policy(), &upgrade("/", "")) else { panic!() };
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("set-cookie", "a=b"), ("connection", "close"), ("sec-websocket-accept", "x")]
    {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let acceptance = Acceptance { headers, ..Acceptance::default() };
    let response = String::from_utf8(upgrade.response(&acceptance)).unwrap();
    assert!(response.contains("\r\nset-cookie: a=b\r\n"));
    assert!(!response.contains("close"));
    assert_eq!(response.to_lowercase().matches("sec-websocket-accept").count(), 1);
}
