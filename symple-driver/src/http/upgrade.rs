//! The upgrade as a client asks for it (RFC 6455 §4.1).

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, header::RETRY_AFTER};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use symple_engine::client::ConnectFailure;

use super::{
    extensions::{OFFER, accepted},
    head::elements,
};

/// How many bytes the head of a response may have.
const MAX_HEAD: usize = 16 * 1024;
/// And how many headers.
const MAX_HEADERS: usize = 128;

/// A request for an upgrade, and what its response must be.
#[derive(Debug)]
pub(crate) struct UpgradeRequest {
    /// The request, as it is written.
    pub(crate) bytes: Vec<u8>,
    accept_key: String,
    offers_deflate: bool,
}

/// What a server has agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upgraded {
    /// How many bytes the response has.
    pub(crate) length: usize,
    /// Messages may be compressed, in both directions.
    pub(crate) deflates: bool,
}

impl UpgradeRequest {
    /// A request for a path with its query, of a server that is called so, with more headers. The
    /// key must be random, and another one each time.
    pub(crate) fn new(
        path: &str,
        host: &str,
        headers: &HeaderMap,
        key: [u8; 16],
        offers_deflate: bool,
    ) -> Self {
        let key = BASE64_STANDARD.encode(key);
        let accept_key = accept_key(key.as_bytes());
        let mut head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        );
        if offers_deflate {
            head.push_str("Sec-WebSocket-Extensions: ");
            head.push_str(OFFER);
            head.push_str("\r\n");
        }
        let mut bytes = head.into_bytes();
        for (name, value) in headers {
            let line = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
            line.iter().for_each(|part| bytes.extend_from_slice(part));
        }
        bytes.extend_from_slice(b"\r\n");
        Self { bytes, accept_key, offers_deflate }
    }

    /// Reads the response; none if not all of its head is there. What may stand behind it in an
    /// answer that is no upgrade is of no interest.
    ///
    /// # Errors
    /// The server does not upgrade, or does not speak WebSocket, or not as it was asked to.
    pub(crate) fn response(&self, bytes: &[u8]) -> Result<Option<Upgraded>, ConnectFailure> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let head = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        let length = match response.parse(head) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => {
                return Err(protocol("the response is too large"));
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(protocol(error)),
        };
        let status = response.code.unwrap_or_default();
        if status != 101 {
            let retry_after = find(response.headers, RETRY_AFTER.as_str()).next();
            let seconds = retry_after.and_then(|value| std::str::from_utf8(value).ok());
            let seconds = seconds.and_then(|value| value.trim().parse().ok());
            return Err(ConnectFailure::Http {
                status,
                retry_after: seconds.map(Duration::from_secs),
            });
        }
        if response.version == Some(0) {
            return Err(protocol("the response is older than HTTP/1.1"));
        }
        let headers = &*response.headers;
        let has = |name, wanted| {
            let mut elements = find(headers, name).flat_map(elements);
            elements.any(|element: &str| element.eq_ignore_ascii_case(wanted))
        };
        if !has("upgrade", "websocket") || !has("connection", "upgrade") {
            return Err(protocol("the response is no upgrade to WebSocket"));
        }
        let mut accept_keys = find(headers, "sec-websocket-accept");
        if accept_keys.next() != Some(self.accept_key.as_bytes()) || accept_keys.next().is_some() {
            return Err(protocol("the response does not answer the key of the request"));
        }
        if find(headers, "sec-websocket-protocol").next().is_some() {
            return Err(protocol("the response has a subprotocol that was not offered"));
        }
        let extensions: Vec<_> = find(headers, "sec-websocket-extensions").collect();
        let deflates = accepted(&extensions, self.offers_deflate);
        let deflates =
            deflates.map_err(|error| protocol(format_args!("the response has {error}")))?;
        Ok(Some(Upgraded { length, deflates }))
    }
}

/// What a server has to answer to a key (RFC 6455 §4.2.2).
pub(super) fn accept_key(key: &[u8]) -> String {
    let text = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

fn protocol(problem: impl std::fmt::Display) -> ConnectFailure {
    ConnectFailure::Protocol(problem.to_string().into())
}

/// The values of the headers of this name, which is in lower case.
fn find<'a>(headers: &[httparse::Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// That of RFC 6455 §1.3.
    const KEY: [u8; 16] = *b"the sample nonce";
    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    fn request(offers_deflate: bool) -> UpgradeRequest {
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_static("a=b"));
        UpgradeRequest::new("/ws?a=b", "example.org:4500", &headers, KEY, offers_deflate)
    }

    fn problem(response: &str) -> String {
        match request(false).response(response.as_bytes()) {
            Err(ConnectFailure::Protocol(problem)) => problem.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests() {
        let plain = "GET /ws?a=b HTTP/1.1\r\nHost: example.org:4500\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let bytes = |offers| String::from_utf8(request(offers).bytes).unwrap();
        assert_eq!(bytes(false), format!("{plain}cookie: a=b\r\n\r\n"));
        let offer = format!("Sec-WebSocket-Extensions: {OFFER}\r\n");
        assert_eq!(bytes(true), format!("{plain}{offer}cookie: a=b\r\n\r\n"));
    }

    #[test]
    fn upgrades() {
        let request = request(true);
        for extensions in ["", "Sec-WebSocket-Extensions: "] {
            let deflates = !extensions.is_empty();
            let extensions =
                if deflates { format!("{extensions}{OFFER}\r\n") } else { String::new() };
            let head = format!("{GOOD}{extensions}\r\n");
            let upgraded = Upgraded { length: head.len(), deflates };
            for cut in 0..head.len() {
                assert_eq!(request.response(&head.as_bytes()[..cut]), Ok(None), "{cut}");
            }
            assert_eq!(request.response(head.as_bytes()), Ok(Some(upgraded)));
            // What stands behind it is left alone.
            let more = [head.as_bytes(), &[0x81; 70_000]].concat();
            assert_eq!(request.response(&more), Ok(Some(upgraded)));
        }
    }

    /// R-L2: who asks to stay away is heard.
    #[test]
    fn refusals() {
        for (head, status, retry_after) in [
            ("200 OK\r\nContent-Length: 1\r\n", 200, None),
            ("302 Found\r\nLocation: /\r\n", 302, None),
            ("503 Busy\r\nretry-after: 7\r\n", 503, Some(Duration::from_secs(7))),
            ("503 Busy\r\nRetry-After: -1\r\n", 503, None),
            ("403\r\nUpgrade: websocket\r\n", 403, None),
        ] {
            let answer = request(true).response(format!("HTTP/1.1 {head}\r\nno").as_bytes());
            assert_eq!(answer, Err(ConnectFailure::Http { status, retry_after }), "{head}");
        }
    }

    #[test]
    fn what_is_no_upgrade() {
        assert!(problem("SSH-2.0-OpenSSH_9.6\r\n").contains("HTTP"));
        for (from, to, expected) in [
            ("HTTP/1.1", "HTTP/1.0", "older than"),
            ("WebSocket", "h2c", "no upgrade"),
            ("Upgrade: WebSocket\r\n", "", "no upgrade"),
            ("keep-alive, Upgrade", "close", "no upgrade"),
            ("s3pP", "S3pP", "does not answer the key"),
            ("Sec-WebSocket-Accept", "X-Accept", "does not answer the key"),
            ("Upgrade: W", "Sec-WebSocket-Protocol: symple\r\nUpgrade: W", "subprotocol"),
            ("Upgrade: W", "Sec-WebSocket-Extensions: x\r\nUpgrade: W", "not offered"),
        ] {
            let head = GOOD.replacen(from, to, 1) + "\r\n";
            let problem = problem(&head);
            assert!(problem.contains(expected), "{head}: {problem}");
        }
        // A head without an end, of one header or of many.
        let endless = format!("{GOOD}X-Long: {}", "x".repeat(MAX_HEAD));
        assert!(problem(&endless).contains("too large"), "{}", problem(&endless));
        problem(&format!("{GOOD}{}", "X-Many: 1\r\n".repeat(200)));
    }
}
