//! A stream that the application brings.

use std::{
    io::{self, IoSlice},
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

use crate::{runtime::Socket, server::log};

/// A stream that the application brings. Its code runs on the server's thread: what goes wrong there
/// ends this connection, and no other.
pub(crate) struct Foreign {
    /// None once it has panicked.
    stream: Option<Box<dyn Socket>>,
    /// It is encrypted.
    pub(crate) tls: bool,
}

impl Foreign {
    pub(crate) fn new(stream: Box<dyn Socket>, tls: bool) -> Self {
        Self { stream: Some(stream), tls }
    }

    fn poll<T>(
        &mut self,
        poll: impl FnOnce(&mut dyn Socket) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        // It is not used any more when it has panicked.
        catch_unwind(AssertUnwindSafe(|| poll(&mut **stream))).unwrap_or_else(|_| {
            log::stream_panicked();
            self.discard();
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        })
    }

    fn discard(&mut self) {
        let stream = self.stream.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(stream)));
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.discard();
    }
}

/// No more than there was room for, or was to be written, whatever a stream says.
fn at_most(count: Poll<io::Result<usize>>, most: usize) -> Poll<io::Result<usize>> {
    count.map_ok(|count| count.min(most))
}

impl Socket for Foreign {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let most = buf.len();
        at_most(self.poll(|stream| stream.poll_read(cx, buf)), most)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        at_most(self.poll(|stream| stream.poll_write(cx, buf)), buf.len())
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let most = bufs.iter().map(|buf| buf.len()).sum();
        at_most(self.poll(|stream| stream.poll_write_vectored(cx, bufs)), most)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }
}
