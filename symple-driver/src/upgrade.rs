//! The HTTP that comes before WebSocket: upgrades, health checks, and no for an answer.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use ipnet::IpNet;
use tungstenite::handshake::derive_accept_key;

use crate::config::OriginPattern;

/// The largest request head, in bytes.
pub(crate) const MAX_HEAD: usize = 16 * 1024;
/// The most headers that a request may have.
const MAX_HEADERS: usize = 100;

/// The subprotocols that are answered, the first that the client offers (R-T4).
const SUBPROTOCOLS: [&str; 2] = ["symple.v4", "symple"];

/// The request that a connection began with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// Path and query.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The client's address: behind trusted proxies, the one that they tell (R-T6).
    pub address: IpAddr,
    /// The connection is encrypted as far as this server.
    pub tls: bool,
}

impl Request {
    /// The value of a parameter of the query, decoded; the first of several.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        self.uri.query()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_query(key) == name).then(|| decode_query(value))
        })
    }
}

/// Decodes `%XX` and `+`; what is no UTF-8 then becomes U+FFFD.
fn decode_query(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        let escaped = (byte == b'%')
            .then(|| std::str::from_utf8(bytes.get(at..at + 2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(match (byte, escaped) {
            (_, Some(escaped)) => {
                at += 2;
                escaped
            }
            (b'+', None) => b' ',
            (byte, None) => byte,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What decides about requests.
#[derive(Debug)]
pub(crate) struct Policy<'a> {
    /// The only path for WebSocket, if there is one (R-T2).
    pub(crate) path: Option<&'a str>,
    pub(crate) allowed_origins: &'a [OriginPattern],
    pub(crate) trusted_proxies: &'a [IpNet],
    /// Requests are wanted in full: there is a hook.
    pub(crate) keep_request: bool,
    /// Nobody may come in any more.
    pub(crate) draining: bool,
    /// Everything that must be reachable is.
    pub(crate) ready: bool,
}

/// What comes of the bytes that a connection began with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Not all of the request yet.
    Incomplete,
    /// An answer, after which the connection ends.
    Respond(Vec<u8>),
    /// A WebSocket connection.
    Upgrade(Box<Upgrade>),
}

/// A request to be upgraded to which nothing stands in the way.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// How many bytes the request had.
    pub(crate) length: usize,
    /// The client's address.
    pub(crate) address: IpAddr,
    /// The request, where it is wanted.
    pub(crate) request: Option<Request>,
    accept_key: String,
    subprotocol: Option<&'static str>,
}

impl Upgrade {
    /// The response, with headers of the host's.
    pub(crate) fn response(&self, headers: &HeaderMap) -> Vec<u8> {
        let mut out = String::with_capacity(160);
        out.push_str("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n");
        let _ = write!(out, "Connection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n", self.accept_key);
        if let Some(name) = self.subprotocol {
            let _ = write!(out, "Sec-WebSocket-Protocol: {name}\r\n");
        }
        let mut out = out.into_bytes();
        push_headers(headers, &mut out);
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// A response that ends the connection.
pub(crate) fn response(
    status: StatusCode,
    headers: &HeaderMap,
    body: &str,
    with_body: bool,
) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {} {}\r\nConnection: close\r\nContent-Length: {}\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    );
    if !headers.contains_key(http::header::CONTENT_TYPE) {
        out.push_str("Content-Type: text/plain; charset=utf-8\r\n");
    }
    let mut out = out.into_bytes();
    push_headers(headers, &mut out);
    out.extend_from_slice(b"\r\n");
    if with_body {
        out.extend_from_slice(body.as_bytes());
    }
    out
}

/// Appends headers but for those that are ours to set.
fn push_headers(headers: &HeaderMap, out: &mut Vec<u8>) {
    use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
    for (name, value) in headers {
        if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE].contains(name)
            || name.as_str().starts_with("sec-websocket-")
        {
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// A short answer.
fn plain(status: StatusCode, body: &str) -> Answer {
    Answer::Respond(response(status, &HeaderMap::new(), body, true))
}

/// The headers that matter, as they were found.
#[derive(Default)]
struct Found<'a> {
    upgrade: bool,
    connection_upgrade: bool,
    version: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
    subprotocol: Option<&'static str>,
    origin: Option<&'a [u8]>,
    real_ip: Option<&'a [u8]>,
}

/// The elements of a header that is a list.
fn elements(value: &[u8]) -> impl DoubleEndedIterator<Item = &str> {
    value
        .split(|byte| *byte == b',')
        .filter_map(|part| std::str::from_utf8(part).ok())
        .map(str::trim)
}

impl Policy<'_> {
    /// Reads the bytes that a connection from `peer` began with.
    pub(crate) fn answer(&self, bytes: &[u8], peer: SocketAddr, tls: bool) -> Answer {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Answer::Incomplete,
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request too large\n");
            }
            Err(_) => return plain(StatusCode::BAD_REQUEST, "Bad request\n"),
        };
        let (method, target) = (head.method.unwrap_or_default(), head.path.unwrap_or_default());
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        if method != "GET" && method != "HEAD" {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed\n");
        }
        let found = find(head.headers);
        if !found.upgrade || method == "HEAD" {
            return self.page(path, method == "GET");
        }
        if self.path.is_some_and(|only| only != path) {
            return plain(StatusCode::NOT_FOUND, "Not found\n");
        }
        if found.version != Some(b"13") {
            let mut out = response(StatusCode::UPGRADE_REQUIRED, &HeaderMap::new(), "", true);
            let at = out.len() - 2;
            out.splice(at..at, *b"Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n");
            return Answer::Respond(out);
        }
        let (Some(key), true) = (found.key, found.connection_upgrade && head.version == Some(1))
        else {
            return plain(StatusCode::BAD_REQUEST, "Not a WebSocket handshake\n");
        };
        if self.draining {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "Server shutting down\n");
        }
        if let Some(origin) = found.origin
            && !self.allows_origin(origin)
        {
            return plain(StatusCode::FORBIDDEN, "Origin not allowed\n");
        }
        let address = self.client_address(peer, head.headers, found.real_ip);
        let request = self.keep_request.then(|| Request {
            uri: target.parse().unwrap_or_default(),
            headers: head
                .headers
                .iter()
                .filter_map(|header| {
                    let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
                    Some((name, HeaderValue::from_bytes(header.value).ok()?))
                })
                .collect(),
            address,
            tls,
        });
        Answer::Upgrade(Box::new(Upgrade {
            length,
            address,
            request,
            accept_key: derive_accept_key(key),
            subprotocol: found.subprotocol,
        }))
    }

    /// What is answered to those who do not want WebSocket (R-T2).
    fn page(&self, path: &str, with_body: bool) -> Answer {
        let (status, body) = match path {
            "/" => (StatusCode::OK, "Symple server (symple/4): connect with WebSocket\n"),
            "/healthz" => (StatusCode::OK, "ok\n"),
            "/readyz" if self.draining => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n"),
            "/readyz" if !self.ready => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            "/readyz" => (StatusCode::OK, "ready\n"),
            path if Some(path) == self.path => {
                (StatusCode::UPGRADE_REQUIRED, "Connect with WebSocket\n")
            }
            _ => (StatusCode::NOT_FOUND, "Not found\n"),
        };
        Answer::Respond(response(status, &HeaderMap::new(), body, with_body))
    }

    /// R-T5: an empty list allows all.
    fn allows_origin(&self, origin: &[u8]) -> bool {
        let Ok(origin) = std::str::from_utf8(origin) else { return false };
        self.allowed_origins.is_empty()
            || self.allowed_origins.iter().any(|pattern| pattern.matches(origin))
    }

    /// R-T6: the socket's address, or what trusted proxies tell of the one behind them.
    fn client_address(
        &self,
        peer: SocketAddr,
        headers: &[httparse::Header<'_>],
        real_ip: Option<&[u8]>,
    ) -> IpAddr {
        let trusted =
            |address: &IpAddr| self.trusted_proxies.iter().any(|network| network.contains(address));
        let mut address = peer.ip().to_canonical();
        if !trusted(&address) {
            return address;
        }
        let mut forwarded = headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("x-forwarded-for"))
            .flat_map(|header| elements(header.value))
            .rev()
            .peekable();
        if forwarded.peek().is_none() {
            let real_ip = real_ip.and_then(|value| elements(value).next());
            return real_ip.and_then(parse_address).unwrap_or(address);
        }
        for entry in forwarded {
            // Beyond an entry that is no address, nothing can be believed.
            let Some(entry) = parse_address(entry) else { break };
            address = entry;
            if !trusted(&address) {
                break;
            }
        }
        address
    }
}

/// An address as proxies write it: alone, or with a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = text.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    let address = address.ok().or_else(|| bare?.parse().ok())?;
    Some(address.to_canonical())
}

/// Picks out the headers that matter.
fn find<'a>(headers: &[httparse::Header<'a>]) -> Found<'a> {
    let mut found = Found::default();
    for header in headers {
        let value = header.value.trim_ascii();
        // The first letters tell most of them apart.
        match header.name.len() {
            7 if header.name.eq_ignore_ascii_case("upgrade") => {
                found.upgrade |=
                    elements(value).any(|element| element.eq_ignore_ascii_case("websocket"));
            }
            10 if header.name.eq_ignore_ascii_case("connection") => {
                found.connection_upgrade |=
                    elements(value).any(|element| element.eq_ignore_ascii_case("upgrade"));
            }
            21 if header.name.eq_ignore_ascii_case("sec-websocket-version") => {
                found.version = Some(value);
            }
            17 if header.name.eq_ignore_ascii_case("sec-websocket-key") => {
                found.key = Some(value);
            }
            22 if header.name.eq_ignore_ascii_case("sec-websocket-protocol") => {
                found.subprotocol = found.subprotocol.or_else(|| {
                    let known = |offered| SUBPROTOCOLS.into_iter().find(|known| *known == offered);
                    elements(value).find_map(known)
                });
            }
            6 if header.name.eq_ignore_ascii_case("origin") => found.origin = Some(value),
            9 if header.name.eq_ignore_ascii_case("x-real-ip") => found.real_ip = Some(value),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
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
            Answer::Upgrade(upgrade) => {
                String::from_utf8(upgrade.response(&HeaderMap::new())).unwrap()
            }
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
        let patterns: Vec<_> =
            ["https://app.example.com", "*.example.org", "http://localhost:3000"]
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
            (
                "192.0.2.1:1",
                "X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n",
                "192.0.2.1",
            ),
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
        let Answer::Upgrade(upgrade) =
            hooked.answer(request.as_bytes(), SOCKET.parse().unwrap(), true)
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
}
