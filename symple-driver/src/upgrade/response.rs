//! Answers as bytes.

use std::{fmt::Write as _, net::IpAddr};

use http::{HeaderMap, StatusCode};

use super::Request;

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
