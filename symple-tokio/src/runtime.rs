//! tokio's sockets and timers.

use std::{
    future::Future,
    io::{self, IoSlice},
    net::SocketAddr,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use symple_driver::runtime::{self, StdListener, StdSocket};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net,
    runtime::{Builder, Handle},
    task, time,
};

/// tokio, as a server sees it.
#[derive(Clone, Debug)]
pub struct Tokio {
    /// Where the host's tasks run.
    host: Handle,
}

impl runtime::Runtime for Tokio {
    type Listener = Listener;
    type Socket = Socket;
    type Timer = Timer;

    fn current() -> io::Result<Self> {
        let host = Handle::try_current().map_err(io::Error::other)?;
        Ok(Self { host })
    }

    fn run(&self, future: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // One task runs at a time; when it has run, sockets are looked at before it runs
            // again.
            .event_interval(2)
            .build()?;
        // Woken from its own thread, a task costs no system call; the future of `block_on` would.
        // It shares the thread with nobody, so it need not yield.
        let ended = runtime.block_on(async { task::spawn(task::unconstrained(future)).await });
        // tokio catches what panics; it is to go on as it does everywhere else.
        ended.or_else(|error| match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(error) => Err(io::Error::other(error)),
        })
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.host.spawn(future);
    }

    fn listener(&self, listener: StdListener) -> io::Result<Listener> {
        match listener {
            StdListener::Tcp(listener) => {
                net::TcpListener::from_std(listener).map(Listening::Tcp).map(Listener)
            }
            #[cfg(unix)]
            StdListener::Unix(listener) => {
                net::UnixListener::from_std(listener).map(Listening::Unix).map(Listener)
            }
        }
    }

    fn socket(&self, socket: StdSocket) -> io::Result<Socket> {
        match socket {
            StdSocket::Tcp(socket) => {
                net::TcpStream::from_std(socket).map(Connected::Tcp).map(Socket)
            }
            #[cfg(unix)]
            StdSocket::Unix(socket) => {
                net::UnixStream::from_std(socket).map(Connected::Unix).map(Socket)
            }
        }
    }

    fn adopt(&self, socket: Socket) -> io::Result<Socket> {
        // From the other thread's reactor to this one's.
        self.socket(match socket.0 {
            Connected::Tcp(socket) => StdSocket::Tcp(socket.into_std()?),
            #[cfg(unix)]
            Connected::Unix(socket) => StdSocket::Unix(socket.into_std()?),
        })
    }

    fn timer(&self) -> Timer {
        Timer(None)
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener(Listening);

#[derive(Debug)]
enum Listening {
    Tcp(net::TcpListener),
    #[cfg(unix)]
    Unix(net::UnixListener),
}

impl runtime::Listener for Listener {
    type Socket = Socket;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        let (socket, address) = match &self.0 {
            Listening::Tcp(listener) => {
                let (socket, address) = ready!(listener.poll_accept(cx))?;
                // Elsewhere it has that from the listener.
                #[cfg(not(any(target_os = "android", target_os = "linux")))]
                socket.set_nodelay(true)?;
                (Connected::Tcp(socket), Some(address))
            }
            #[cfg(unix)]
            Listening::Unix(listener) => {
                (Connected::Unix(ready!(listener.poll_accept(cx))?.0), None)
            }
        };
        Poll::Ready(Ok((Socket(socket), address)))
    }
}

/// A connected socket.
#[derive(Debug)]
pub struct Socket(Connected);

#[derive(Debug)]
enum Connected {
    Tcp(net::TcpStream),
    #[cfg(unix)]
    Unix(net::UnixStream),
}

/// Does something with the socket, of whichever kind it is.
macro_rules! with {
    ($socket:expr, $io:ident => $what:expr) => {
        match &mut $socket.0 {
            Connected::Tcp($io) => $what,
            #[cfg(unix)]
            Connected::Unix($io) => $what,
        }
    };
}

impl runtime::Socket for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(with!(self, io => Pin::new(io).poll_read(cx, &mut buf)))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        with!(self, io => {
            // It nearly always takes something, and need not be told then whom to wake.
            match io.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
            Pin::new(io).poll_write(cx, buf)
        })
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}

/// A timer, made when it is first set.
#[derive(Debug)]
pub struct Timer(Option<Pin<Box<time::Sleep>>>);

impl runtime::Timer for Timer {
    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let deadline = time::Instant::from_std(deadline);
        let sleep = self.0.get_or_insert_with(|| Box::pin(time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}
