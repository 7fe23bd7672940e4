//! Where the bytes of a new connection come from.

use std::{io, net::SocketAddr, net::TcpStream, sync::Arc};

#[cfg(unix)]
use std::os::unix::net::UnixStream;

use async_channel::Sender;
use bytes::Bytes;
use http::Response;
use rustls::ServerConfig;
use socket2::SockRef;

use crate::{
    core::request::{CoreRequest, Reply},
    http::MountedRequest,
    net::foreign::Foreign,
    net::io::Io,
    runtime::{Runtime, Socket, StdSocket},
    server::mount::AcceptedUpgrade,
    server::status::Status,
};

/// How many bytes the system takes for a connection before it has sent them.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT: u32 = 256 * 1024;

/// Sets what every TCP socket has, however it came in. Accepted sockets have it from the listener.
///
/// What is written is written for a reason: it does not wait for more (Nagle). And of what a client
/// does not read the system would hold as much again as the server does (R-L4); once it has too
/// little memory for that it drops what is sent to others.
///
/// # Errors
/// The socket is broken, or it is none of TCP.
pub(crate) fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    socket.set_tcp_notsent_lowat(UNSENT)?;
    Ok(())
}

/// A stream of bytes that the application has accepted itself, to be handed to a server.
///
/// A socket of the operating system is the cheapest: the server takes it over as one of its own. The
/// adapters make a stream of anything that their runtime reads and writes (`stream`); what such a
/// stream keeps itself is not counted among what waits (R-L7).
pub struct Stream {
    pub(crate) kind: StreamKind,
    pub(crate) read: Bytes,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) tls: bool,
}

/// What a stream is.
pub(crate) enum StreamKind {
    Std(StdSocket),
    Other(Box<dyn Socket>),
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { read, address, tls, .. } = self;
        let mut stream = f.debug_struct("Stream");
        stream.field("read", &read.len()).field("address", address).field("tls", tls);
        stream.finish_non_exhaustive()
    }
}

impl Stream {
    /// A stream that is polled as it is, on the server's thread: it must not block. One that panics is
    /// dropped, and no other connection with it.
    #[must_use]
    pub fn new(stream: impl Socket) -> Self {
        Self::of(StreamKind::Other(Box::new(stream)))
    }

    fn of(kind: StreamKind) -> Self {
        Self { kind, read: Bytes::new(), address: None, tls: false }
    }

    /// Bytes that have been read from it already, and not handled: the server handles them first.
    #[must_use]
    pub fn already_read(mut self, bytes: impl Into<Bytes>) -> Self {
        self.read = bytes.into();
        self
    }

    /// The address of the other end, which limits and trusted proxies go by (R-T6). A client without
    /// one is counted for no address.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Whether it is encrypted: hooks are told.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }
}

impl From<StdSocket> for Stream {
    fn from(socket: StdSocket) -> Self {
        Self::of(StreamKind::Std(socket))
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self {
            address: socket.peer_addr().ok(),
            ..Self::of(StreamKind::Std(StdSocket::Tcp(socket)))
        }
    }
}

#[cfg(unix)]
impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        let unix = Self::of(StreamKind::Std(StdSocket::Unix(socket)));
        unix.address(crate::http::UNIX_PEER)
    }
}

/// Where the bytes of a new connection come from.
pub(crate) enum Source<S> {
    /// A listener of the server's.
    Accepted(S, Option<Arc<ServerConfig>>),
    /// The application, perhaps with the request that it has read.
    Given(Stream, Option<Box<MountedRequest>>),
    /// The application, which answers the request and then hands the stream over.
    Awaited(Box<MountedRequest>, Box<Awaited>),
}

/// Who is told what is answered to a request, and where the stream then comes in.
pub(crate) struct Awaited {
    /// None once there has been an answer: one that nobody takes is dropped then, and with it what
    /// is in it.
    reply: Option<Reply<MountAnswer>>,
    pub(crate) requests: Sender<CoreRequest>,
    pub(crate) status: Arc<Status>,
}

impl Awaited {
    pub(crate) fn new(
        reply: Reply<MountAnswer>,
        requests: Sender<CoreRequest>,
        status: Arc<Status>,
    ) -> Self {
        Self { reply: Some(reply), requests, status }
    }

    /// Answers, the first time. False if nobody waits for it (any more).
    pub(crate) fn answer(&mut self, answer: MountAnswer) -> bool {
        self.reply.take().is_some_and(|reply| reply.try_send(answer).is_ok())
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.reply.as_ref().is_some_and(Sender::is_closed)
    }
}

/// What is answered to a request that the application has read.
pub(crate) enum MountAnswer {
    Respond(Response<String>),
    Upgrade(AcceptedUpgrade),
}

/// Takes a stream over, on the thread that is to have it; and the bytes that have been read.
pub(crate) fn take_over<R: Runtime>(
    runtime: &R,
    stream: Stream,
) -> io::Result<(Io<R::Socket>, Bytes)> {
    let Stream { kind, read, tls, .. } = stream;
    let io = match kind {
        StreamKind::Other(stream) => Io::Foreign(Box::new(Foreign::new(stream, tls))),
        StreamKind::Std(socket) => {
            match &socket {
                StdSocket::Tcp(socket) => {
                    socket.set_nonblocking(true)?;
                    tune(&SockRef::from(socket))?;
                }
                #[cfg(unix)]
                StdSocket::Unix(socket) => socket.set_nonblocking(true)?,
            }
            Io::Plain(runtime.socket(socket)?)
        }
    };
    Ok((io, read))
}
