//! A WebSocket server on this crate's codec that echoes, and no more, for conformance suites.
//!
//! Such suites want their messages back, which no Symple server gives them. The request, the frames
//! and the compression are those of the server; what differs is above them, and that every message is
//! compressed where that was agreed on. This is no part of the
//! interface: it may change with every version.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{
    http::{Answer, HeadScan, Policy},
    server::hooks::Acceptance,
    ws::decode::{Allowed, Decoded, Decoder, Sender, Violation},
    ws::deflate::{Compression, Deflater, InflateError, Inflater},
    ws::header::{Opcode, encode},
};

/// How many bytes a message may have. Suites send 16 MiB.
const LIMIT: usize = 64 * 1024 * 1024;

/// A connection: bytes go in, bytes come out.
#[derive(Debug)]
pub struct Echo {
    window_bits: u8,
    head: Option<HeadScan>,
    decoder: Decoder,
    /// Compression was agreed on.
    deflates: bool,
    inflater: Inflater,
    deflater: Deflater,
    input: Vec<u8>,
    /// What the message is that has begun.
    kind: Opcode,
}

/// What comes next.
enum Next {
    More,
    Wait,
    End,
}

impl Echo {
    /// A connection that has not said anything. Its compressor has a window of so many bits, 9 to
    /// 15; an offer that asks for less is declined.
    #[must_use]
    pub fn new(window_bits: u8) -> Self {
        let settings = Compression { threshold: 0, window_bits, ..Compression::default() };
        Self {
            window_bits,
            head: Some(HeadScan::default()),
            decoder: Decoder::default(),
            deflates: false,
            inflater: Inflater::default(),
            deflater: Deflater::new(&settings),
            input: Vec::new(),
            kind: Opcode::Text,
        }
    }

    /// Takes bytes that have arrived, and appends what is to be sent. False when that is the last.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        self.input.extend_from_slice(bytes);
        if self.head.is_some() && !self.upgrade(out) {
            return false;
        }
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        let ends = loop {
            match self.frame(&mut input, &mut at, out) {
                Next::More => {}
                Next::Wait => break false,
                Next::End => break true,
            }
        };
        input.drain(..at);
        self.input = input;
        !ends
    }

    fn upgrade(&mut self, out: &mut Vec<u8>) -> bool {
        let policy = Policy { deflate: Some(self.window_bits), ..Policy::open() };
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
        let Some(head) = &mut self.head else { return true };
        match policy.answer(head, &self.input, peer, false) {
            Answer::Incomplete => true,
            Answer::Respond(response, _) | Answer::Page { response, .. } => {
                out.extend_from_slice(&response);
                false
            }
            Answer::Upgrade(upgrade) => {
                out.extend_from_slice(&upgrade.response(&Acceptance::default()));
                self.input.drain(..upgrade.length);
                self.deflates = upgrade.deflate.is_some();
                self.head = None;
                true
            }
        }
    }

    fn frame(&mut self, input: &mut [u8], at: &mut usize, out: &mut Vec<u8>) -> Next {
        let Some(bytes) = input.get_mut(*at..).filter(|bytes| !bytes.is_empty()) else {
            return Next::Wait;
        };
        if self.head.is_some() {
            return Next::Wait;
        }
        // The decoder need not tell the kinds of messages apart, but an echo is of the same.
        match bytes.first().map(|first| first & 0x0f) {
            Some(1) => self.kind = Opcode::Text,
            Some(2) => self.kind = Opcode::Binary,
            _ => {}
        }
        let allowed = Allowed {
            limit: LIMIT,
            max_fragments: u32::MAX,
            deflates: self.deflates,
            sender: Sender::Client,
        };
        let (used, decoded) = self.decoder.decode_within(bytes, allowed);
        *at += used;
        match decoded {
            Decoded::Incomplete => Next::Wait,
            Decoded::Message(range) => self.message(&bytes[range], out),
            Decoded::Assembled(message) => self.message(&message, out),
            Decoded::Deflated(range) => self.deflated(&bytes[range], out),
            Decoded::AssembledDeflated(fragments, _) => self.deflated(&fragments.message, out),
            Decoded::Fragment | Decoded::Pong => Next::More,
            Decoded::Ping(range) => {
                push(Opcode::Pong, false, &bytes[range], out);
                Next::More
            }
            Decoded::Close(code, _) => {
                let code = code.map(u16::to_be_bytes);
                let payload = code.as_ref().map_or(&[][..], |code| code);
                push(Opcode::Close, false, payload, out);
                Next::End
            }
            Decoded::Fault(violation) => close(
                match violation {
                    Violation::InvalidUtf8 => 1007,
                    Violation::TooBig { .. } => 1009,
                    Violation::Protocol => 1002,
                    Violation::TooManyFragments => 1008,
                },
                out,
            ),
        }
    }

    fn deflated(&mut self, message: &[u8], out: &mut Vec<u8>) -> Next {
        match self.inflater.inflate(message, LIMIT).map(<[u8]>::to_vec) {
            Ok(message) => self.message(&message, out),
            Err(InflateError::Invalid) => close(1007, out),
            Err(InflateError::TooBig) => close(1009, out),
        }
    }

    fn message(&mut self, message: &[u8], out: &mut Vec<u8>) -> Next {
        if self.kind == Opcode::Text && std::str::from_utf8(message).is_err() {
            return close(1007, out);
        }
        // Autobahn's cases stumble over what is sent uncompressed where compression was agreed on.
        let deflated = if self.deflates { self.deflater.deflate_always(message) } else { None };
        let payload = deflated.as_deref().unwrap_or(message);
        push(self.kind, deflated.is_some(), payload, out);
        Next::More
    }
}

fn close(code: u16, out: &mut Vec<u8>) -> Next {
    push(Opcode::Close, false, &code.to_be_bytes(), out);
    Next::End
}

fn push(opcode: Opcode, rsv1: bool, payload: &[u8], out: &mut Vec<u8>) {
    let (header, len) = encode(opcode, rsv1, payload.len());
    out.extend_from_slice(&header[..len]);
    out.extend_from_slice(payload);
}
