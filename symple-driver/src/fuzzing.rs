//! Parsers of what strangers send, for fuzz targets.
//!
//! Fuzz targets are crates of their own, and what they are to reach is private to this one. This is
//! no part of the interface: it may change with every version.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{
    http::origin::OriginPattern,
    http::proxy::TrustedProxy,
    http::{Answer, HeadScan, Policy},
    server::config::Config,
    server::hooks::Acceptance,
    ws::decode::{Allowed, Decoded, Decoder, MAX_FRAGMENTS, Sender, Violation},
    ws::deflate::{Compression, Deflater, InflateError, Inflater},
};

/// What comes of the bytes that a connection began with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// More is awaited.
    Incomplete,
    /// An answer that is no upgrade; its status.
    Answered(u16),
    /// A WebSocket connection.
    Upgraded {
        /// How many bytes the request head had.
        length: usize,
        /// The client's address.
        address: IpAddr,
        /// Path and query as a hook sees them.
        target: String,
        /// How many headers a hook sees.
        headers: usize,
        /// The answer.
        response: Vec<u8>,
    },
}

/// Reads the bytes that a connection began with, as they arrive in pieces. Limits are those of
/// [`Config::default`]; one origin and the hosts below another are allowed, and the connection comes
/// from a trusted proxy, so that headers are read that are not read otherwise.
///
/// The same bytes have the same outcome however they are cut into pieces; only the last piece that
/// is needed is looked at.
pub fn http_head<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let config = Config::default();
    let proxy = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let allowed_origins: Vec<OriginPattern> = ["https://a.example", "*.b.example"]
        .into_iter()
        .filter_map(|pattern| pattern.parse().ok())
        .collect();
    let policy = Policy {
        max_head_size: config.max_head_size,
        allowed_origins: &allowed_origins,
        trusted_proxies: &[TrustedProxy::from(proxy)],
        deflate: Some(15),
        keep_request: true,
        ..Policy::open()
    };
    let (mut scan, mut bytes) = (HeadScan::default(), Vec::new());
    for piece in pieces {
        bytes.extend_from_slice(piece);
        match policy.answer(&mut scan, &bytes, SocketAddr::new(proxy, 1), false) {
            Answer::Incomplete => {}
            Answer::Respond(response, _) | Answer::Page { response, .. } => {
                // Behind `HTTP/1.1 `.
                let digits =
                    response.get(9..12).and_then(|status| std::str::from_utf8(status).ok());
                let status = digits.and_then(|status| status.parse().ok());
                return Outcome::Answered(status.unwrap_or_default());
            }
            Answer::Upgrade(upgrade) => {
                let request = upgrade.request.as_ref();
                return Outcome::Upgraded {
                    length: upgrade.length,
                    address: upgrade.address,
                    target: request.map(|request| request.uri.to_string()).unwrap_or_default(),
                    headers: request.map_or(0, |request| request.headers.len()),
                    response: upgrade.response(&Acceptance::default()),
                };
            }
        }
    }
    Outcome::Incomplete
}

/// The text of a compressed message, which may have `limit` bytes; none, if it is no deflate data or
/// has more (RFC 7692 §7.2.2). And how many bytes of memory were taken for it.
pub fn inflate(message: &[u8], limit: usize) -> (Option<Vec<u8>>, usize) {
    let mut inflater = Inflater::default();
    let text = inflater.inflate(message, limit).ok().map(<[u8]>::to_vec);
    (text, inflater.capacity())
}

/// What comes of a message that arrives in frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// More is awaited.
    Incomplete,
    /// The text, inflated if it was compressed; it need not be UTF-8.
    Text(Vec<u8>),
    /// It is longer than it may be.
    TooBig,
    /// The bytes are no frames, or what is compressed cannot be inflated.
    Invalid,
}

/// Reads the first message of these frames, where compression was agreed on. It may have as many
/// bytes as the first of the limits says; where that is too few, it is read again with the next one.
pub fn message(frames: &[u8], limits: &[usize]) -> Message {
    let (mut decoder, mut inflater) = (Decoder::default(), Inflater::default());
    let (mut bytes, mut at) = (frames.to_vec(), 0);
    let mut limits = limits.iter().copied().peekable();
    while let Some(limit) = limits.peek().copied() {
        let rest = bytes.get_mut(at..).unwrap_or_default();
        let allowed =
            Allowed { limit, max_fragments: MAX_FRAGMENTS, deflates: true, sender: Sender::Client };
        let (used, decoded) = decoder.decode_within(rest, allowed);
        let (payload, fragments) = match decoded {
            Decoded::Incomplete => return Message::Incomplete,
            Decoded::Message(range) => return Message::Text(rest[range].to_vec()),
            Decoded::Assembled(message) => return Message::Text(message),
            Decoded::Deflated(range) => (range, None),
            Decoded::AssembledDeflated(fragments, range) => (range, Some(fragments)),
            Decoded::Fragment | Decoded::Ping(_) | Decoded::Pong => {
                at += used;
                continue;
            }
            Decoded::Fault(Violation::TooBig { .. }) => {
                limits.next();
                continue;
            }
            Decoded::Close(..) | Decoded::Fault(_) => return Message::Invalid,
        };
        let message = fragments.as_ref().map_or(&rest[payload.clone()], |all| &all.message);
        match inflater.inflate(message, limit) {
            Ok(text) => return Message::Text(text.to_vec()),
            Err(InflateError::Invalid) => return Message::Invalid,
            Err(InflateError::TooBig) => decoder.take_back(rest, payload, fragments),
        }
        limits.next();
    }
    Message::TooBig
}

/// A text as a compressed message; none, if that would not be shorter.
pub fn deflate(text: &[u8]) -> Option<Vec<u8>> {
    Deflater::new(&Compression::default()).deflate(text).map(|message| message.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_all_outcomes() {
        let request = "GET http://h/ws?x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nOrigin: https://c.b.example\r\n\
            X-Forwarded-For: 192.0.2.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let outcome = http_head(request.as_bytes().chunks(7));
        let Outcome::Upgraded { length, address, target, headers, .. } = &outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            (*length, &*address.to_string(), &**target, *headers),
            (request.len(), "192.0.2.1", "/ws?x", 7)
        );
        assert_eq!(http_head([&b"\n"[..]]), Outcome::Answered(400));
        assert_eq!(http_head([&b"GET /"[..]]), Outcome::Incomplete);
    }
}
