//! A WebSocket as a client has it: messages over a socket, with the decoder of the server.
//!
//! It knows nothing of requests and runtimes. Whoever has it reads messages, hands over what is to be
//! written, and flushes; pings and close frames are answered here.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use rand::{Rng as _, rngs::StdRng};
use symple_engine::server::Text;
use symple_proto::CloseCode;
use thiserror::Error;

use crate::{
    runtime::Socket,
    ws::{
        decode::{Allowed, Decoded, Decoder, Sender, Violation, apply_mask},
        deflate::{Compression, Deflater, InflateError, Inflater},
        header::{Header, Opcode, encode},
    },
};

/// How much is read at once, unless a frame is larger.
const READ: usize = 8 * 1024;
/// How much is read before others on the runtime have their turn.
const READ_BUDGET: usize = 256 * 1024;
/// A buffer that is larger is given back when there is nothing in it.
const KEPT: usize = 32 * 1024;
/// Where so much waits to be written, no more is taken.
const WRITE: usize = 128 * 1024;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    Text(Text),
    Ping,
    /// The last one.
    Close(CloseCode, &'static str),
}

impl Outgoing {
    /// How many bytes it has to say.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ping => 0,
            Self::Close(_, reason) => 2 + reason.len(),
        }
    }
}

/// What a server has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(Text),
    /// Nothing that is of interest but that it lives: a ping, a pong, a part of a message, or a
    /// message that is no text.
    Alive,
    /// The last one; without a code there is no reason. It is answered when the socket is flushed.
    Close(Option<CloseCode>, Box<str>),
}

/// Why a connection is at its end.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the connection ended without a close frame")]
    Cut,
    #[error("a message of more than {0} bytes")]
    TooBig(usize),
    #[error("frames against the rules of WebSocket")]
    Protocol,
    #[error("a text that is not UTF-8")]
    InvalidUtf8,
    #[error("a compressed message that cannot be inflated")]
    InvalidDeflate,
}

impl SocketError {
    /// What the server is told.
    fn code(&self) -> Option<CloseCode> {
        match self {
            Self::Io(_) | Self::Cut => None,
            Self::TooBig(_) => Some(CloseCode(1009)),
            Self::Protocol => Some(CloseCode(1002)),
            Self::InvalidUtf8 | Self::InvalidDeflate => Some(CloseCode(1007)),
        }
    }
}

/// What compresses and inflates the messages of one connection. Neither has memory before the first
/// message that needs it.
#[derive(Debug)]
struct Deflate {
    settings: Compression,
    deflater: Option<Deflater>,
    inflater: Option<Inflater>,
}

impl Deflate {
    /// The payload of a compressed message; none if the text is better sent as it is.
    fn compress(&mut self, text: &str) -> Option<Bytes> {
        if !self.settings.applies_to(text.len()) {
            return None;
        }
        let Self { settings, deflater, .. } = self;
        deflater.get_or_insert_with(|| Deflater::new(settings)).deflate(text.as_bytes())
    }

    fn inflate(&mut self, message: &[u8], limit: usize) -> Result<Bytes, SocketError> {
        match self.inflater.get_or_insert_default().inflate(message, limit) {
            Ok(text) => Ok(Bytes::copy_from_slice(text)),
            Err(InflateError::Invalid) => Err(SocketError::InvalidDeflate),
            Err(InflateError::TooBig) => Err(SocketError::TooBig(limit)),
        }
    }
}

/// What has been read and not been decoded.
#[derive(Debug, Default)]
struct Input {
    /// All of it can be read into.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn unread(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    /// Where more can be read into. It grows with what has arrived, whatever a header claims.
    fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > KEPT {
                self.bytes = Vec::new();
            }
        } else if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() < READ.max(self.end + 1) {
            let frame = Header::parse(&self.bytes).ok().flatten().map_or(0, |header| {
                usize::try_from(header.payload).unwrap_or(usize::MAX).saturating_add(header.len)
            });
            let wanted = frame.min(self.end.saturating_mul(2)).max(self.end + 1).max(READ);
            self.bytes.reserve_exact(wanted - self.bytes.len());
            self.bytes.resize(wanted, 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes have been read into the room.
    fn filled(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end + count);
    }
}

/// An open WebSocket.
pub(crate) struct ClientSocket {
    socket: Box<dyn Socket>,
    /// What the masks come from: nobody may know them before (RFC 6455 §10.3).
    random: StdRng,
    max_message: usize,
    /// None where it was not agreed on.
    deflate: Option<Box<Deflate>>,
    decoder: Decoder,
    /// The message that has begun is no text.
    is_binary: bool,
    input: Input,
    output: Vec<u8>,
    /// How much of the output has been written.
    written: usize,
    /// The payload of the pong that is due: that of the latest ping.
    pong: Option<Box<[u8]>>,
    /// A close frame has been sent, behind which nothing comes.
    closing: bool,
}

impl ClientSocket {
    /// A socket on which an upgrade has been agreed on. `read` was read behind the response.
    pub(crate) fn new(
        socket: Box<dyn Socket>,
        read: &[u8],
        max_message: usize,
        compression: Option<Compression>,
        random: StdRng,
    ) -> Self {
        let deflate = compression
            .map(|settings| Box::new(Deflate { settings, deflater: None, inflater: None }));
        Self {
            socket,
            random,
            max_message,
            deflate,
            decoder: Decoder::default(),
            is_binary: false,
            input: Input { bytes: read.to_vec(), start: 0, end: read.len() },
            output: Vec::new(),
            written: 0,
            pong: None,
            closing: false,
        }
    }

    /// The next thing that the server says. After an error nothing more can be done with it; the
    /// server is told what it has done wrong, if it takes that at once.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Incoming, SocketError>> {
        let mut read = 0;
        loop {
            match self.next_frame() {
                Ok(Some(incoming)) => return Poll::Ready(Ok(incoming)),
                Ok(None) => {}
                Err(error) => {
                    if let Some(code) = error.code() {
                        self.push_close(Some(code), "");
                        let _ = self.poll_flush(cx);
                    }
                    return Poll::Ready(Err(error));
                }
            }
            if read >= READ_BUDGET {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match ready!(self.socket.poll_read(cx, self.input.room()))? {
                0 => return Poll::Ready(Err(SocketError::Cut)),
                count => {
                    self.input.filled(count);
                    read += count;
                }
            }
        }
    }

    /// Handles the frame at the start of the input; none if not all of it is there.
    fn next_frame(&mut self) -> Result<Option<Incoming>, SocketError> {
        let bytes = self.input.unread();
        match bytes.first().map(|first| first & 0x0f) {
            None => return Ok(None),
            Some(opcode) if opcode == Opcode::Text as u8 => self.is_binary = false,
            Some(opcode) if opcode == Opcode::Binary as u8 => self.is_binary = true,
            Some(_) => {}
        }
        let allowed = Allowed {
            limit: self.max_message,
            // Each of them is heard of, so they cannot keep others waiting; and all that is kept of
            // them is within the limit.
            max_fragments: u32::MAX,
            deflates: self.deflate.is_some(),
            sender: Sender::Server,
        };
        let (used, decoded) = self.decoder.decode_within(bytes, allowed);
        let payload = |range| bytes.get(range).unwrap_or_default();
        let text = match decoded {
            Decoded::Incomplete => return Ok(None),
            Decoded::Message(_)
            | Decoded::Assembled(_)
            | Decoded::Deflated(_)
            | Decoded::AssembledDeflated(..)
                if self.is_binary =>
            {
                None
            }
            Decoded::Message(range) => Some(Bytes::copy_from_slice(payload(range))),
            Decoded::Assembled(message) => Some(message.into()),
            Decoded::Deflated(range) => self
                .deflate
                .as_mut()
                .map(|deflate| deflate.inflate(payload(range), allowed.limit))
                .transpose()?,
            Decoded::AssembledDeflated(fragments, _) => self
                .deflate
                .as_mut()
                .map(|deflate| deflate.inflate(&fragments.message, allowed.limit))
                .transpose()?,
            Decoded::Ping(range) => {
                self.pong = Some(payload(range).into());
                None
            }
            Decoded::Fragment | Decoded::Pong => None,
            Decoded::Close(code, reason) => {
                self.input.consume(used);
                let code = code.map(CloseCode);
                self.push_close(code, "");
                return Ok(Some(Incoming::Close(code, reason)));
            }
            Decoded::Fault(violation) => {
                return Err(match violation {
                    Violation::TooBig { limit, .. } => SocketError::TooBig(limit),
                    Violation::InvalidUtf8 => SocketError::InvalidUtf8,
                    Violation::Protocol | Violation::TooManyFragments => SocketError::Protocol,
                });
            }
        };
        self.input.consume(used);
        let Some(text) = text else { return Ok(Some(Incoming::Alive)) };
        let text = Text::try_from(text).map_err(|_| SocketError::InvalidUtf8)?;
        Ok(Some(Incoming::Text(text)))
    }

    /// Ready when [`push`](Self::push) may be called.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.waits() >= WRITE {
            ready!(self.poll_write(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Hands over what is to be written; nothing more is, once that was a close frame.
    pub(crate) fn push(&mut self, message: &Outgoing) {
        match message {
            Outgoing::Close(code, reason) => self.push_close(Some(*code), reason),
            _ if self.closing => {}
            Outgoing::Ping => self.push_frame(Opcode::Ping, false, &[]),
            Outgoing::Text(text) => {
                match self.deflate.as_mut().and_then(|deflate| deflate.compress(text)) {
                    Some(message) => self.push_frame(Opcode::Text, true, &message),
                    None => self.push_frame(Opcode::Text, false, text.as_bytes()),
                }
            }
        }
    }

    /// Writes all that waits. Ready when the socket has it.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.waits() < WRITE
                && let Some(payload) = self.pong.take()
                && !self.closing
            {
                self.push_frame(Opcode::Pong, false, &payload);
            }
            if self.waits() == 0 {
                return self.socket.poll_flush(cx);
            }
            ready!(self.poll_write(cx))?;
        }
    }

    /// How many bytes wait to be written.
    fn waits(&self) -> usize {
        self.output.len() - self.written
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let rest = self.output.get(self.written..).unwrap_or_default();
        match ready!(self.socket.poll_write(cx, rest))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => self.written = self.output.len().min(self.written + count),
        }
        if self.waits() == 0 {
            self.written = 0;
            if self.output.capacity() > KEPT {
                self.output = Vec::new();
            } else {
                self.output.clear();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn push_close(&mut self, code: Option<CloseCode>, reason: &str) {
        if !self.closing {
            let code = code.map(|code| code.0.to_be_bytes());
            let payload = [code.as_ref().map_or(&[][..], |code| code), reason.as_bytes()].concat();
            self.push_frame(Opcode::Close, false, &payload);
            self.closing = true;
        }
    }

    fn push_frame(&mut self, opcode: Opcode, rsv1: bool, payload: &[u8]) {
        // What has been written is not kept in front of what is added and added.
        if self.written > self.waits() {
            self.output.drain(..std::mem::take(&mut self.written));
        }
        let (mut header, len) = encode(opcode, rsv1, payload.len());
        // The bit that says that there is a mask.
        header[1] |= 0x80;
        let mask = self.random.next_u32().to_ne_bytes();
        self.output.reserve(len + mask.len() + payload.len());
        self.output.extend_from_slice(&header[..len]);
        self.output.extend_from_slice(&mask);
        let start = self.output.len();
        self.output.extend_from_slice(payload);
        apply_mask(&mut self.output[start..], mask);
    }
}

#[cfg(test)]
mod tests;
