//! What is answered to a request.

use std::{
    borrow::Cow,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header::HOST};

use super::{
    Request, Upgrade,
    extensions::negotiate,
    head::{Field, Found, find},
    response::{refusal, response},
    scan::{HeadScan, Scanned},
    target::Target,
    upgrade::accept_key,
};
use crate::{
    http::origin::{Origin, OriginPattern},
    http::proxy::{ProxyHeader, TrustedProxy},
    server::log::Refusals,
};

/// The most headers that a request may have.
const MAX_HEADERS: usize = 100;

/// The head of a request.
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    /// The minor version: 1 for HTTP/1.1.
    pub(super) minor: u8,
    pub(super) headers: &'a [httparse::Header<'a>],
    /// How many of the bytes that have been read are its own.
    pub(super) length: usize,
    /// The application has read it, and pages are the application's.
    pub(super) mounted: bool,
}

/// What decides about requests.
#[derive(Debug)]
pub(crate) struct Policy<'a> {
    /// The only path for WebSocket, if there is one (R-T2).
    pub(crate) path: Option<&'a str>,
    /// How many bytes a request head may have (R-T7).
    pub(crate) max_head_size: usize,
    pub(crate) allowed_origins: &'a [OriginPattern],
    pub(crate) trusted_proxies: &'a [TrustedProxy],
    /// Where they tell it.
    pub(crate) proxy_header: ProxyHeader,
    /// The base-2 logarithm of the window, where texts are compressed.
    pub(crate) deflate: Option<u8>,
    /// Requests are wanted in full: there is a hook.
    pub(crate) keep_request: bool,
    /// Behind a page there may be another request.
    pub(crate) keep_alive: bool,
    /// No more connections are accepted, whoever brings them.
    pub(crate) closed: bool,
    /// The request stands behind another one.
    pub(crate) kept: bool,
    /// Nobody may come in any more.
    pub(crate) draining: bool,
    /// Everything that must be reachable is.
    pub(crate) ready: bool,
    /// It knows the peers of other nodes, or need not wait for them.
    pub(crate) caught_up: bool,
}

/// What comes of the bytes that a connection began with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Not all of the request yet.
    Incomplete,
    /// An answer, after which the connection ends. If it refuses an upgrade, the log tells of that.
    Respond(Vec<u8>, Option<Box<RefusedUpgrade>>),
    /// An answer, behind which there may be another request; how many bytes this one had.
    Page { response: Vec<u8>, length: usize },
    /// A WebSocket connection.
    Upgrade(Box<Upgrade>),
}

/// A refused upgrade, as it is counted and as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedUpgrade {
    /// The client's address (R-T6).
    pub(crate) address: IpAddr,
    pub(crate) status: StatusCode,
    /// The body of the answer.
    pub(crate) body: Cow<'static, str>,
    /// The `Origin` of the request, if there was one: it is the usual reason for 403.
    pub(crate) origin: Option<String>,
}

/// What is answered instead of an upgrade.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instead {
    /// A page, and how many bytes the request had if there may be another one behind it.
    Page(StatusCode, &'static str, Option<usize>),
    /// A refusal to a sound request for a page: nobody has asked for an upgrade.
    NoPage(StatusCode, &'static str),
    /// A refusal.
    Refusal(StatusCode, &'static str),
}

impl Instead {
    pub(super) fn response(self, with_body: bool) -> Vec<u8> {
        match self {
            Self::Page(status, body, kept) => response(status, body, with_body, kept.is_some()),
            Self::NoPage(status, body) | Self::Refusal(status, body) => {
                refusal(status, None, &HeaderMap::new(), body, with_body)
            }
        }
    }
}

const BAD_REQUEST: Instead = Instead::Refusal(StatusCode::BAD_REQUEST, "Bad request\n");
pub(super) const TOO_LARGE: Instead =
    Instead::Refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request too large\n");
const WITH_WEBSOCKET: (StatusCode, &str) =
    (StatusCode::UPGRADE_REQUIRED, "Connect with WebSocket\n");
const NO_HANDSHAKE: Instead =
    Instead::Refusal(StatusCode::BAD_REQUEST, "Not a WebSocket handshake\n");

impl Policy<'_> {
    /// That of a server that is ready, where nothing is set up: everyone may come in, nothing is
    /// compressed, and no proxy is believed.
    pub(crate) fn open() -> Self {
        Self {
            path: None,
            max_head_size: 16 * 1024,
            allowed_origins: &[],
            trusted_proxies: &[],
            proxy_header: ProxyHeader::default(),
            deflate: None,
            keep_request: false,
            keep_alive: false,
            closed: false,
            kept: false,
            draining: false,
            ready: true,
            caught_up: true,
        }
    }

    /// Reads the bytes that a connection from `peer` began with, which `scan` has seen before but
    /// for the last ones.
    pub(crate) fn answer(
        &self,
        scan: &mut HeadScan,
        bytes: &[u8],
        peer: SocketAddr,
        tls: bool,
    ) -> Answer {
        let result = match scan.scan(bytes, self.max_head_size) {
            Scanned::Incomplete => return Answer::Incomplete,
            Scanned::Complete(length) => self.judge(&bytes[..length], peer, tls),
            Scanned::TooLarge => Err((TOO_LARGE, self.refused(TOO_LARGE, &[], peer))),
            Scanned::Malformed => Err((BAD_REQUEST, self.refused(BAD_REQUEST, &[], peer))),
        };
        match result {
            Ok(upgrade) => Answer::Upgrade(Box::new(upgrade)),
            Err((instead, refused)) => {
                let response = instead.response(!scan.is_head(bytes));
                match instead {
                    Instead::Page(_, _, Some(length)) => Answer::Page { response, length },
                    _ => Answer::Respond(response, refused),
                }
            }
        }
    }

    /// Judges a whole head.
    fn judge(
        &self,
        bytes: &[u8],
        peer: SocketAddr,
        tls: bool,
    ) -> Result<Upgrade, (Instead, Option<Box<RefusedUpgrade>>)> {
        let unread = |instead| Err((instead, self.refused(instead, &[], peer)));
        // To make so many empty ones first would take longer than to read those that there are.
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut []);
        match head.parse_with_uninit_headers(bytes, &mut headers) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            Err(httparse::Error::TooManyHeaders) => return unread(TOO_LARGE),
            Ok(_) | Err(_) => return unread(BAD_REQUEST),
        }
        let head = Head {
            method: head.method.unwrap_or_default(),
            target: head.path.unwrap_or_default(),
            minor: head.version.unwrap_or_default(),
            headers: head.headers,
            length: bytes.len(),
            mounted: false,
        };
        let refuse = |instead| (instead, self.refused(instead, head.headers, peer));
        self.judge_head(&head, peer, tls).map_err(refuse)
    }

    /// What is counted and logged of an answer: nothing if it refuses no upgrade. What only a log repeats
    /// is left out where there is none.
    pub(super) fn refused(
        &self,
        instead: Instead,
        headers: &[httparse::Header<'_>],
        peer: SocketAddr,
    ) -> Option<Box<RefusedUpgrade>> {
        let Instead::Refusal(status, body) = instead else { return None };
        let found = find(headers);
        let address = self.client_address(peer, headers, found.real_ip);
        let origin = found.origin.text().filter(|_| Refusals::are_wanted()).map(str::to_owned);
        Some(Box::new(RefusedUpgrade { address, status, body: body.into(), origin }))
    }

    /// Judges a head that has been read.
    pub(super) fn judge_head(
        &self,
        head: &Head<'_>,
        peer: SocketAddr,
        tls: bool,
    ) -> Result<Upgrade, Instead> {
        let Head { method, minor, headers, .. } = *head;
        if headers.len() > MAX_HEADERS {
            return Err(TOO_LARGE);
        }
        if method != "GET" && method != "HEAD" {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err(Instead::Refusal(status, "Method not allowed\n"));
        }
        let found = find(headers);
        let target = Target::parse(head.target).ok_or(BAD_REQUEST)?;
        let has_body = found.body(minor).ok_or(BAD_REQUEST)?;
        if !found.has_valid_host(minor) {
            return Err(BAD_REQUEST);
        }
        let path = target.path_and_query.path();
        let asks = found.upgrade && method != "HEAD";
        if !asks && !head.mounted {
            // A body would have to be read. Before HTTP/1.1 connections end, and so they do when the
            // client says so.
            let kept = self.keep_alive && minor > 0 && !has_body && !found.connection_close;
            return Err(match self.page(path) {
                Instead::Page(status, body, _) if kept => {
                    Instead::Page(status, body, Some(head.length))
                }
                ends => ends,
            });
        }
        if self.path.is_some_and(|only| only != path) {
            return Err(Instead::Refusal(StatusCode::NOT_FOUND, "Not found\n"));
        }
        if !asks {
            return Err(Instead::Refusal(WITH_WEBSOCKET.0, WITH_WEBSOCKET.1));
        }
        match found.version {
            Field::Once(b"13") => {}
            Field::Once(_) | Field::Absent => {
                return Err(Instead::Refusal(StatusCode::UPGRADE_REQUIRED, ""));
            }
            Field::Repeated => return Err(NO_HANDSHAKE),
        }
        // What follows would be read as frames, so it must not be a body.
        if !found.connection_upgrade || minor == 0 || has_body {
            return Err(NO_HANDSHAKE);
        }
        let key = found.websocket_key().ok_or(NO_HANDSHAKE)?;
        let subprotocol = found.subprotocol().ok_or(NO_HANDSHAKE)?;
        // Where nothing is compressed nobody looks at what is offered.
        let deflate = match self.deflate.map(|bits| negotiate(&found.extensions, bits)) {
            None => None,
            Some(Ok(deflate)) => deflate,
            Some(Err(_)) => return Err(NO_HANDSHAKE),
        };
        if self.draining {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(Instead::Refusal(status, "Server shutting down\n"));
        }
        if !self.allows_origin(&found) {
            return Err(Instead::Refusal(StatusCode::FORBIDDEN, "Origin not allowed\n"));
        }
        // A connection that was kept behind a page may be a proxy's, and bring another client.
        if self.closed && (head.mounted || self.kept) {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(Instead::Refusal(status, "No more connections\n"));
        }
        let address = self.client_address(peer, headers, found.real_ip);
        let accept_key = accept_key(key);
        let request = self.keep_request.then(|| Request {
            headers: header_map(headers, target.authority),
            uri: Uri::from(target.path_and_query),
            address,
            tls,
        });
        Ok(Upgrade { length: head.length, address, request, accept_key, subprotocol, deflate })
    }

    /// What is answered to those who do not want WebSocket (R-T2).
    fn page(&self, path: &str) -> Instead {
        match path {
            "/" => {
                let text = "Symple server (symple/4): connect with WebSocket\n\
                            Documentation: https://docs.rs/symple-tokio\n";
                Instead::Page(StatusCode::OK, text, None)
            }
            "/healthz" => Instead::Page(StatusCode::OK, "ok\n", None),
            "/readyz" if self.draining => {
                Instead::Page(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n", None)
            }
            "/readyz" if !self.ready => {
                Instead::Page(StatusCode::SERVICE_UNAVAILABLE, "not ready\n", None)
            }
            "/readyz" if !self.caught_up => {
                Instead::Page(StatusCode::SERVICE_UNAVAILABLE, "catching up\n", None)
            }
            "/readyz" => Instead::Page(StatusCode::OK, "ready\n", None),
            path if Some(path) == self.path => Instead::NoPage(WITH_WEBSOCKET.0, WITH_WEBSOCKET.1),
            _ => Instead::NoPage(StatusCode::NOT_FOUND, "Not found\n"),
        }
    }

    /// R-T5: an empty list allows all, and who is no browser sends none.
    fn allows_origin(&self, found: &Found<'_>) -> bool {
        if self.allowed_origins.is_empty() || found.origin == Field::Absent {
            return true;
        }
        let origin = found.origin.text().and_then(Origin::parse);
        origin.is_some_and(|origin| self.allowed_origins.iter().any(|one| one.allows(&origin)))
    }
}

/// The headers as a hook sees them.
fn header_map(headers: &[httparse::Header<'_>], authority: Option<&str>) -> HeaderMap {
    let mut map: HeaderMap = headers
        .iter()
        .filter_map(|header| {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(header.value).ok()?))
        })
        .collect();
    if let Some(host) = authority.and_then(|authority| HeaderValue::from_str(authority).ok()) {
        map.insert(HOST, host);
    }
    map
}
