//! What a server needs of an async runtime, and all that it needs.

use std::{
    future::{Future, poll_fn},
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    pin::pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};

use socket2::SockRef;

use crate::net::source;

/// A socket of the operating system that listens.
#[derive(Debug)]
pub enum StdListener {
    /// On TCP.
    Tcp(TcpListener),
    /// At a path.
    #[cfg(unix)]
    Unix(UnixListener),
}

/// A socket of the operating system that is connected.
#[derive(Debug)]
pub enum StdSocket {
    /// Over TCP.
    Tcp(TcpStream),
    /// On this machine.
    #[cfg(unix)]
    Unix(UnixStream),
}

/// An async runtime.
///
/// The server has threads of its own, on each of which it runs one future to its end; sockets and
/// timers belong to the thread that made them. The host's hooks run where the host's runtime runs
/// its tasks.
pub trait Runtime: Clone + Send + Sync + Unpin + 'static {
    /// A listening socket.
    type Listener: Listener<Socket = Self::Socket>;
    /// A connected socket.
    type Socket: Socket;
    /// A timer.
    type Timer: Timer;

    /// The runtime that calls this.
    ///
    /// # Errors
    /// It is not called from a task, or otherwise within such a runtime.
    fn current() -> io::Result<Self>;

    /// Runs a future on this thread, with sockets and timers, until it is ready.
    ///
    /// # Errors
    /// The runtime cannot be started on this thread.
    ///
    /// # Panics
    /// As the future does.
    fn run(&self, future: impl Future<Output = ()> + Send + 'static) -> io::Result<()>;

    /// Runs a future on the host's runtime.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static);

    /// Takes a listening socket that does not block. Called on a thread of the server's.
    ///
    /// # Errors
    /// The socket cannot be registered.
    fn listener(&self, listener: StdListener) -> io::Result<Self::Listener>;

    /// Takes a connected socket that does not block. Called on the thread of the server's that is
    /// to have it.
    ///
    /// # Errors
    /// The socket cannot be registered.
    fn socket(&self, socket: StdSocket) -> io::Result<Self::Socket>;

    /// Takes in a socket that was accepted on another thread of the server's. Called on the thread
    /// that is to have it. As it is, where a runtime's sockets belong to no thread.
    ///
    /// # Errors
    /// The socket cannot be registered.
    fn adopt(&self, socket: Self::Socket) -> io::Result<Self::Socket> {
        Ok(socket)
    }

    /// A timer that is not set. Called on a thread of the server's.
    fn timer(&self) -> Self::Timer;
}

/// A listening socket.
pub trait Listener: Send + Unpin + 'static {
    /// What it accepts.
    type Socket: Socket;

    /// Accepts a connection; its address, if it has one: on a Unix socket it has none.
    ///
    /// # Errors
    /// What the operating system reports: of one connection, or that there are too many.
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Socket, Option<SocketAddr>)>>;
}

/// A connected socket, or another stream of bytes.
pub trait Socket: Send + Unpin + 'static {
    /// Reads what is there; zero bytes at the end.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes as much as fits now.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>>;

    /// Writes as much of several buffers as fits now.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Ready when nothing waits in the stream itself any more. Sockets keep nothing.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the direction towards the client.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Sets what every TCP socket of a server has, on one that a stream of the application's is on top of:
/// what is written does not wait for more (Nagle), and the system holds only so much that is unsent.
/// Sockets that become the server's own need no such call.
///
/// # Errors
/// The socket is broken, or it is none of TCP.
pub fn tune<S>(socket: &S) -> io::Result<()>
where
    for<'a> SockRef<'a>: From<&'a S>,
{
    source::tune(&SockRef::from(socket))
}

/// A timer.
pub trait Timer: Send + Unpin + 'static {
    /// Ready from `deadline` on; until then the task is woken when it has come. Another deadline
    /// replaces the one before.
    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()>;
}

/// Waits for a future, but no longer than this; zero is for ever.
pub(crate) async fn within<T>(
    runtime: &impl Runtime,
    time: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    if time.is_zero() {
        return Some(future.await);
    }
    // What is ready at once costs no look at the clock, and no timer.
    let (mut armed, mut future) = (None, pin!(future));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(ready) => Poll::Ready(Some(ready)),
        Poll::Pending => {
            let (deadline, timer) =
                armed.get_or_insert_with(|| (Instant::now().checked_add(time), runtime.timer()));
            // A time that no clock reaches is for ever.
            deadline.map_or(Poll::Pending, |deadline| timer.poll_until(cx, deadline).map(|()| None))
        }
    })
    .await
}

/// Waits.
pub(crate) async fn wait(runtime: &impl Runtime, time: Duration) {
    let (deadline, mut timer) = (Instant::now() + time, runtime.timer());
    poll_fn(|cx| timer.poll_until(cx, deadline)).await;
}
