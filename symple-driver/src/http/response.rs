//! Answers as bytes.

use std::{fmt::Write as _, net::IpAddr};

use http::{HeaderMap, Response, StatusCode};
use rand::{TryRng as _, rngs::SysRng};

use super::{Request, extensions::Deflate};
use crate::server::hooks::{Acceptance, Subprotocol, complaints::Complaint};

/// A request to be upgraded to which nothing stands in the way.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// How many bytes the request had.
    pub(crate) length: usize,
    /// The client's address.
    pub(crate) address: IpAddr,
    /// The request, where it is wanted.
    pub(crate) request: Option<Request>,
    pub(super) accept_key: String,
    pub(super) subprotocol: Option<&'static str>,
    /// Messages may be compressed, either way.
    pub(crate) deflate: Option<Deflate>,
}

impl Upgrade {
    /// The response, with what the application has to say about it.
    pub(crate) fn response(&self, acceptance: &Acceptance) -> Vec<u8> {
        let mut out = String::with_capacity(160);
        out.push_str("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n");
        let _ = write!(out, "Connection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n", self.accept_key);
        if let Some(name) = self.subprotocol(&acceptance.subprotocol) {
            let _ = write!(out, "Sec-WebSocket-Protocol: {name}\r\n");
        }
        if let Some(deflate) = self.deflate {
            deflate.push_header(&mut out);
        }
        let mut out = out.into_bytes();
        push_headers(&acceptance.headers, &mut out);
        out.extend_from_slice(b"\r\n");
        out
    }

    /// R-T4: the subprotocol to answer with, one of those that the client offers.
    fn subprotocol<'a>(&self, choice: &'a Subprotocol) -> Option<&'a str> {
        match choice {
            Subprotocol::Known => self.subprotocol,
            Subprotocol::Chosen(name) => {
                let name = name.as_deref()?;
                let request = self.request.as_ref();
                let is_offered =
                    request.is_some_and(|request| request.subprotocols().any(|one| one == name));
                if !is_offered {
                    static NOT_OFFERED: Complaint =
                        Complaint::new("the upgrade hook chose a subprotocol that was not offered");
                    NOT_OFFERED.log(&name);
                }
                is_offered.then_some(name)
            }
        }
    }
}

/// In how many seconds someone who finds no room should come again: 1 to 5, at random, so that those
/// who are sent away together do not come back together (R-L2).
pub(crate) fn retry_after() -> u32 {
    // Where the system has no random numbers, something must be said.
    SysRng.try_next_u32().map_or(3, |random| 1 + random % 5)
}

/// A page; where it is not kept, the connection ends behind it.
pub(super) fn response(status: StatusCode, body: &str, with_body: bool, kept: bool) -> Vec<u8> {
    let more = if kept { "" } else { CLOSE };
    build(status, None, &HeaderMap::new(), more, body, with_body)
}

/// A response that refuses what was asked for, and says what goes with its status: what is allowed
/// (405), what to upgrade to (426), when to come again (503).
pub(crate) fn refusal(
    status: StatusCode,
    reason: Option<&str>,
    headers: &HeaderMap,
    body: &str,
    with_body: bool,
) -> Vec<u8> {
    use http::header::{ALLOW, RETRY_AFTER};
    let more = match status {
        StatusCode::METHOD_NOT_ALLOWED if !headers.contains_key(ALLOW) => {
            "Allow: GET, HEAD\r\n".into()
        }
        StatusCode::UPGRADE_REQUIRED => {
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".into()
        }
        StatusCode::SERVICE_UNAVAILABLE if !headers.contains_key(RETRY_AFTER) => {
            format!("Retry-After: {}\r\n", retry_after())
        }
        _ => String::new(),
    };
    build(status, reason, headers, &(more + CLOSE), body, with_body)
}

/// The connection ends behind the answer.
const CLOSE: &str = "Connection: close\r\n";

fn build(
    status: StatusCode,
    reason: Option<&str>,
    headers: &HeaderMap,
    more: &str,
    body: &str,
    with_body: bool,
) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {} {}\r\n{more}Content-Length: {}\r\n",
        status.as_str(),
        reason.or(status.canonical_reason()).unwrap_or_default(),
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

/// An answer as a value, for an application that writes it itself: without what is about the
/// connection, which is the application's.
///
/// There is one way in which answers are made, as bytes, so that those are the same whoever writes
/// them.
pub(crate) fn parse_response(bytes: &[u8]) -> Response<String> {
    use http::header::{CONNECTION, CONTENT_LENGTH};
    let mut headers = vec![httparse::EMPTY_HEADER; bytes.split(|byte| *byte == b'\n').count()];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = head.parse(bytes) else {
        // What a hook sets can be read: its types see to that.
        let mut failed = Response::new(String::new());
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return failed;
    };
    let body = String::from_utf8_lossy(&bytes[length..]).into_owned();
    let mut response = Response::new(body);
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for header in head.headers.iter() {
        let ends = header.value.eq_ignore_ascii_case(b"close");
        let name = http::HeaderName::from_bytes(header.name.as_bytes());
        let value = http::HeaderValue::from_bytes(header.value);
        if let (Ok(name), Ok(value)) = (name, value)
            && name != CONTENT_LENGTH
            && !(name == CONNECTION && ends)
        {
            response.headers_mut().append(name, value);
        }
    }
    response
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

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::*;

    /// Counts the lines of a log.
    struct Count(Arc<AtomicUsize>);

    impl tracing::Subscriber for Count {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    /// R-T4: a hook that chooses what nobody offers is wrong for each client that comes, and the log says so
    /// once a second.
    #[test]
    fn a_hook_that_is_always_wrong_does_not_fill_the_log() {
        let upgrade = Upgrade {
            length: 0,
            address: Ipv4Addr::LOCALHOST.into(),
            request: None,
            accept_key: String::new(),
            subprotocol: Some("symple"),
            deflate: None,
        };
        let lines = Arc::<AtomicUsize>::default();
        let begun = std::time::Instant::now();
        tracing::subscriber::with_default(Count(Arc::clone(&lines)), || {
            let choice = Subprotocol::Chosen(Some("other".into()));
            for _ in 0..1000 {
                assert_eq!(upgrade.subprotocol(&choice), None);
            }
        });
        let lines = lines.load(Ordering::Relaxed);
        let most = 1 + usize::try_from(begun.elapsed().as_secs()).unwrap();
        assert!((1..=most).contains(&lines), "{lines}");
    }
}
