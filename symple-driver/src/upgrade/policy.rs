//! What is answered to a request.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;
use tungstenite::handshake::derive_accept_key;

use super::{Request, Upgrade, head::find, response::response};
use crate::origin::OriginPattern;

/// The largest request head, in bytes.
pub(crate) const MAX_HEAD: usize = 16 * 1024;
/// The most headers that a request may have.
const MAX_HEADERS: usize = 100;

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

/// A short answer.
fn plain(status: StatusCode, body: &str) -> Answer {
    Answer::Respond(response(status, &HeaderMap::new(), body, true))
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
}
