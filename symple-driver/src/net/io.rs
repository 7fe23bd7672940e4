//! A socket, encrypted or not, or a stream of the application's.

use std::{
    io::{self, IoSlice, Read, Write},
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{ServerConfig, ServerConnection};

use crate::{net::foreign::Foreign, net::source::Awaited, runtime::Socket};

/// How much ciphertext may wait in a TLS connection before more is asked of the socket.
const TLS_BUFFER: usize = 64 * 1024;

/// A connection's bytes, as they are before encryption.
pub(crate) enum Io<S> {
    Plain(S),
    Tls(Box<Tls<S>>),
    /// A stream of the application's.
    Foreign(Box<Foreign>),
    /// Nothing yet: the application hands the stream over when it has answered the request.
    Awaited(Box<Awaited>),
}

/// TLS without a runtime: rustls between buffers and a socket.
pub(crate) struct Tls<S> {
    socket: S,
    session: ServerConnection,
    /// How many bytes it has taken that the socket has not, about: rustls does not say it.
    waiting: usize,
    /// How many of them have been counted (R-L7).
    counted: usize,
}

impl<S: Socket> Io<S> {
    pub(crate) fn new(socket: S, tls: Option<Arc<ServerConfig>>) -> Result<Self, rustls::Error> {
        let Some(config) = tls else { return Ok(Self::Plain(socket)) };
        let mut session = ServerConnection::new(config)?;
        session.set_buffer_limit(Some(TLS_BUFFER));
        Ok(Self::Tls(Box::new(Tls { socket, session, waiting: 0, counted: 0 })))
    }

    pub(crate) fn is_tls(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Foreign(stream) => stream.tls,
            Self::Plain(_) | Self::Awaited(_) => false,
        }
    }

    /// The client is not told that the connection ends by dropping it alone, as TCP tells it.
    pub(crate) fn says_goodbye(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Foreign(..))
    }

    /// Counts what has been encrypted and waits for the socket (R-L7): adds what has come since the
    /// last time, and takes away what has gone.
    pub(crate) fn count(&mut self, total: &mut usize) {
        if let Self::Tls(tls) = self {
            *total = *total - tls.counted + tls.waiting;
            tls.counted = tls.waiting;
        }
    }

    /// How many bytes were counted so.
    pub(crate) fn counted(&self) -> usize {
        match self {
            Self::Tls(tls) => tls.counted,
            Self::Plain(_) | Self::Foreign(..) | Self::Awaited(_) => 0,
        }
    }

    /// Drops what has been encrypted from the total: there will be no socket that takes it.
    pub(crate) fn count_no_more(&mut self, total: &mut usize) {
        if let Self::Tls(tls) = self {
            *total -= std::mem::take(&mut tls.counted);
        }
    }

    /// The TLS handshake is under way: what is read may take long to be answered.
    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.session.is_handshaking())
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_read(cx, buf),
            Self::Tls(tls) => tls.poll_read(cx, buf),
            Self::Foreign(stream) => stream.poll_read(cx, buf),
            Self::Awaited(_) => Poll::Pending,
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write(cx, buf),
            Self::Foreign(stream) => stream.poll_write(cx, buf),
            Self::Awaited(_) => Poll::Pending,
            Self::Tls(tls) => {
                ready!(tls.poll_flush(cx))?;
                let count = tls.session.writer().write(buf)?;
                tls.waiting = count;
                // What the socket does not take now goes out before anything else does.
                let _ = tls.poll_flush(cx)?;
                Poll::Ready(Ok(count))
            }
        }
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write_vectored(cx, bufs),
            Self::Foreign(stream) => stream.poll_write_vectored(cx, bufs),
            Self::Tls(_) | Self::Awaited(_) => match bufs.iter().find(|buf| !buf.is_empty()) {
                Some(buf) => self.poll_write(cx, buf),
                None => Poll::Ready(Ok(0)),
            },
        }
    }

    /// Ready when nothing waits here any more.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) | Self::Awaited(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(cx),
            Self::Foreign(stream) => stream.poll_flush(cx),
        }
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_shutdown(cx),
            Self::Foreign(stream) => stream.poll_shutdown(cx),
            Self::Awaited(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => {
                tls.session.send_close_notify();
                ready!(tls.poll_flush(cx))?;
                tls.socket.poll_shutdown(cx)
            }
        }
    }
}

impl<S: Socket> Tls<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.session.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            let mut socket = Blocking { socket: &mut self.socket, cx };
            match self.session.read_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Ok(0)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            let processed = self.session.process_new_packets();
            // The handshake, or the alert that says what is wrong with it.
            let _ = self.poll_flush(cx)?;
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut socket = Blocking { socket: &mut self.socket, cx };
            match self.session.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.waiting = self.waiting.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.waiting = 0;
        Poll::Ready(Ok(()))
    }
}

/// A socket as rustls wants it: what is not ready would block.
struct Blocking<'a, 'b, S> {
    socket: &'a mut S,
    cx: &'a mut Context<'b>,
}

/// What is not ready would block.
fn or_block(poll: Poll<io::Result<usize>>) -> io::Result<usize> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<S: Socket> Read for Blocking<'_, '_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        or_block(self.socket.poll_read(self.cx, buf))
    }
}

impl<S: Socket> Write for Blocking<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        or_block(self.socket.poll_write(self.cx, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        or_block(self.socket.poll_write_vectored(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
