//! Streams of the application's own, for a server that is a part of it.

use std::{
    any::Any,
    io::{self, IoSlice},
    net::TcpStream,
    pin::Pin,
    task::{Context, Poll},
};

#[cfg(unix)]
use std::os::unix::net::UnixStream;

use async_io::Async;
use futures_rustls::{TlsStream, server};
use futures_util::{AsyncRead, AsyncWrite};
use symple_driver::{Stream, runtime};

/// Makes a stream for a server of whatever futures-io reads and writes: TLS, a pipe, what an HTTP
/// server has upgraded.
///
/// A `TcpStream` of async-std's, or a `TcpStream` or `UnixStream` of async-io's ([`Async`]), becomes a
/// socket of the server's. Any other stream is polled where the server runs.
///
/// Nagle's algorithm is off on every socket of the server's. It is turned off below TLS, too, where the
/// stream is futures-rustls's over one of these; below anything else that is for the application to do.
pub fn stream<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> Stream {
    let mut stream = Some(stream);
    let any: &mut dyn Any = &mut stream;
    if let Some(socket) = any.downcast_mut::<Option<Async<TcpStream>>>().and_then(Option::take) {
        // One that cannot be taken out is broken, and is found to be so when it is read.
        return socket.into_inner().map_or_else(|_| broken(), Stream::from);
    }
    #[cfg(unix)]
    if let Some(socket) = any.downcast_mut::<Option<Async<UnixStream>>>().and_then(Option::take) {
        return socket.into_inner().map_or_else(|_| broken(), Stream::from);
    }
    // async-std's own are shared, so that the application may have one, too.
    #[cfg(unix)]
    if let Some(Some(socket)) = any.downcast_ref::<Option<async_std::net::TcpStream>>() {
        use std::os::fd::AsFd as _;
        let cloned = socket.as_fd().try_clone_to_owned();
        return cloned.map_or_else(|_| broken(), |socket| TcpStream::from(socket).into());
    }
    tune(any);
    Stream::new(Foreign(stream))
}

/// Sets what sockets of the server's have on the one below TLS.
fn tune(stream: &dyn Any) {
    macro_rules! below {
        ($socket:ty) => {
            // One that refuses that is broken, and is found to be so when it is read.
            if let Some(Some(tls)) = stream.downcast_ref::<Option<server::TlsStream<$socket>>>() {
                let _ = runtime::tune(tls.get_ref().0);
            } else if let Some(Some(tls)) = stream.downcast_ref::<Option<TlsStream<$socket>>>() {
                let _ = runtime::tune(tls.get_ref().0);
            }
        };
    }
    below!(Async<TcpStream>);
    #[cfg(unix)]
    below!(async_std::net::TcpStream);
}

/// A stream of which nothing comes but an end.
fn broken() -> Stream {
    Stream::new(Foreign::<Async<TcpStream>>(None))
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
        self.get()?.poll_read(cx, buf)
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
        self.get()?.poll_close(cx)
    }
}
