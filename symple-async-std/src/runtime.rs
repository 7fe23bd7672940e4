//! async-std's sockets and timers, and all that is used of async-std.
//!
//! async-std's own `TcpStream` and `TcpListener` are [`async_io::Async`] sockets, and its reactor
//! is async-io's. They are used here without that layer, because it hides readiness: there is no
//! `poll_accept`, and after what has been read it reads twice more in vain before it waits. What
//! remains of async-std itself is [`async_std::task::spawn`]: another executor over async-io, such
//! as smol's, takes its place by changing that one line.

use std::{
    future::Future,
    io::{self, IoSlice, Read as _, Write as _},
    net::{self, Shutdown, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};

use async_io::Async;
use symple_driver::runtime::{self, StdListener, StdSocket};

/// async-std, as a server sees it.
#[derive(Clone, Debug)]
pub struct AsyncStd(());

impl runtime::Runtime for AsyncStd {
    type Listener = Listener;
    type Socket = Socket;
    type Timer = Timer;

    /// There is one for the whole process, and it is started by whoever uses it first.
    fn current() -> io::Result<Self> {
        Ok(Self(()))
    }

    fn run(&self, future: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        // This polls the reactor on the thread that waits, so that mostly a socket's readiness need
        // not wake another thread. `async_std::task::block_on` does so, too, but starts the
        // executor with all its threads, which a server without hooks never needs.
        async_io::block_on(future);
        Ok(())
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(async_std::task::spawn(future));
    }

    fn listener(&self, listener: StdListener) -> io::Result<Listener> {
        let listener = match listener {
            StdListener::Tcp(listener) => Listening::Tcp(Async::new(listener)?),
            #[cfg(unix)]
            StdListener::Unix(listener) => Listening::Unix(Async::new(listener)?),
        };
        Ok(Listener { listener, ready: false })
    }

    fn socket(&self, socket: StdSocket) -> io::Result<Socket> {
        let socket = match socket {
            StdSocket::Tcp(socket) => Connected::Tcp(Async::new(socket)?),
            #[cfg(unix)]
            StdSocket::Unix(socket) => Connected::Unix(Async::new(socket)?),
        };
        Ok(Socket { socket, drained: true })
    }

    fn timer(&self) -> Timer {
        Timer(None)
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    listener: Listening,
    /// There may be someone to accept.
    ready: bool,
}

#[derive(Debug)]
enum Listening {
    Tcp(Async<net::TcpListener>),
    #[cfg(unix)]
    Unix(Async<UnixListener>),
}

impl Listening {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(listener) => listener.poll_readable(cx),
            #[cfg(unix)]
            Self::Unix(listener) => listener.poll_readable(cx),
        }
    }

    fn accept(&self) -> io::Result<(Connected, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, address) = listener.get_ref().accept()?;
                // Elsewhere it has that from the listener.
                #[cfg(not(any(target_os = "android", target_os = "linux")))]
                socket.set_nodelay(true)?;
                Ok((Connected::Tcp(Async::new(socket)?), Some(address)))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                Ok((Connected::Unix(Async::new(listener.get_ref().accept()?.0)?), None))
            }
        }
    }
}

impl runtime::Listener for Listener {
    type Socket = Socket;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        loop {
            if !self.ready {
                ready!(self.listener.poll_readable(cx))?;
                self.ready = true;
            }
            match self.listener.accept() {
                Ok((socket, address)) => {
                    let socket = Socket { socket, drained: true };
                    return Poll::Ready(Ok((socket, address)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub struct Socket {
    socket: Connected,
    /// There was less to read than there was room for, so there is nothing now.
    drained: bool,
}

#[derive(Debug)]
enum Connected {
    Tcp(Async<net::TcpStream>),
    #[cfg(unix)]
    Unix(Async<UnixStream>),
}

/// Does something with the socket, of whichever kind it is.
macro_rules! with {
    ($socket:expr, $io:ident => $what:expr) => {
        match $socket {
            Connected::Tcp($io) => $what,
            #[cfg(unix)]
            Connected::Unix($io) => $what,
        }
    };
}

impl Socket {
    /// Writes, unless that would block; then waits until it would not.
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&Connected) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(with!(&self.socket, io => io.poll_writable(cx)))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl runtime::Socket for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        while !std::mem::take(&mut self.drained) {
            match with!(&self.socket, io => io.get_ref().read(buf)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    self.drained = matches!(result, Ok(count) if 0 < count && count < buf.len());
                    return Poll::Ready(result);
                }
            }
        }
        // The first answer may be about what has just been read, the second is not. Nothing is
        // lost by asking again: bytes that have come meanwhile wake the task at once.
        let mut readable = || with!(&self.socket, io => io.poll_readable(cx));
        if readable()?.is_ready() && readable()?.is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| with!(socket, io => io.get_ref().write(buf)))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| with!(socket, io => io.get_ref().write_vectored(bufs)))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(with!(&self.socket, io => io.get_ref().shutdown(Shutdown::Write)))
    }
}

/// A timer, made when it is first set.
#[derive(Debug)]
pub struct Timer(Option<Set>);

/// A timer that has been set.
#[derive(Debug)]
struct Set {
    timer: async_io::Timer,
    /// What it is set to; none once it has fired, which it does only once.
    deadline: Option<Instant>,
}

impl runtime::Timer for Timer {
    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let set = self.0.get_or_insert_with(|| Set {
            timer: async_io::Timer::at(deadline),
            deadline: Some(deadline),
        });
        if set.deadline != Some(deadline) {
            set.timer.set_at(deadline);
            set.deadline = Some(deadline);
        }
        ready!(Pin::new(&mut set.timer).poll(cx));
        set.deadline = None;
        Poll::Ready(())
    }
}
