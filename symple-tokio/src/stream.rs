//! Streams of the application's own, for a server that is a part of it.

use std::{
    any::Any,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use symple_driver::{Stream, runtime};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net,
};
use tokio_rustls::{TlsStream, server};

/// Makes a stream for a server of whatever tokio reads and writes: TLS, a pipe, what an HTTP server
/// has upgraded.
///
/// A `TcpStream` or `UnixStream` of tokio's is taken out of the application's reactor and becomes a
/// socket of the server's. Any other stream is polled where the server runs, and woken by the
/// application's runtime, which must go on as long as the stream does.
///
/// Nagle's algorithm is off on every socket of the server's. It is turned off below TLS, too, where the
/// stream is tokio-rustls's over a `TcpStream`; below anything else that is for the application to do.
pub fn stream<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> Stream {
    let mut stream = Some(stream);
    let any: &mut dyn Any = &mut stream;
    if let Some(socket) = any.downcast_mut::<Option<net::TcpStream>>().and_then(Option::take) {
        // One that cannot be taken out is broken, and is found to be so when it is read.
        return socket.into_std().map_or_else(|_| broken(), Stream::from);
    }
    #[cfg(unix)]
    if let Some(socket) = any.downcast_mut::<Option<net::UnixStream>>().and_then(Option::take) {
        return socket.into_std().map_or_else(|_| broken(), Stream::from);
    }
    tune(any);
    Stream::new(Foreign(stream))
}

/// Sets what sockets of the server's have on the one below TLS.
fn tune(stream: &dyn Any) {
    type Tcp = net::TcpStream;
    let socket = if let Some(Some(tls)) = stream.downcast_ref::<Option<server::TlsStream<Tcp>>>() {
        tls.get_ref().0
    } else if let Some(Some(tls)) = stream.downcast_ref::<Option<TlsStream<Tcp>>>() {
        tls.get_ref().0
    } else {
        return;
    };
    // One that refuses that is broken, and is found to be so when it is read.
    let _ = runtime::tune(socket);
}

/// A stream of which nothing comes but an end.
fn broken() -> Stream {
    Stream::new(Foreign::<net::TcpStream>(None))
}

/// A stream of the application's; none is at its end.
pub(crate) struct Foreign<S>(pub(crate) Option<S>);

impl<S: Unpin> Foreign<S> {
    fn get(&mut self) -> io::Result<Pin<&mut S>> {
        self.0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> runtime::Socket for Foreign<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(self.get()?.poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get()?.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get()?.poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get()?.poll_shutdown(cx)
    }
}
