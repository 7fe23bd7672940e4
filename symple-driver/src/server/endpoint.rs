//! Where a server listens.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    path::PathBuf,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

#[cfg(unix)]
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    net::source::tune,
    net::tls::SharedTls,
    runtime::{Runtime, StdListener},
};

#[cfg(unix)]
mod socket_file;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;
/// The number of the first socket that a service manager hands over.
const FIRST_INHERITED: u32 = 3;

/// A place where a server listens, and how: [`ServerBuilder::listen`](crate::ServerBuilder::listen).
#[derive(Debug)]
#[must_use = "it does nothing until a server listens there"]
pub struct Endpoint {
    place: Place,
    pub(crate) tls: EndpointTls,
    backlog: Option<u32>,
    #[cfg(unix)]
    mode: Option<u32>,
}

#[derive(Debug)]
enum Place {
    /// `host:port`.
    Tcp(String),
    #[cfg(unix)]
    Unix(PathBuf),
    Bound(StdListener),
}

/// Whether connections are encrypted.
#[derive(Debug)]
pub(crate) enum EndpointTls {
    /// As the builder says.
    OfServer,
    Off,
    Own(SharedTls),
}

impl Endpoint {
    fn new(place: Place) -> Self {
        Self {
            place,
            tls: EndpointTls::Off,
            backlog: None,
            #[cfg(unix)]
            mode: None,
        }
    }

    /// Listens on TCP, at `host:port`; port 0 is any that is free. A name that has several addresses
    /// is listened on at all of them.
    pub fn tcp(address: impl Into<String>) -> Self {
        Self::new(Place::Tcp(address.into()))
    }

    /// Listens on a Unix socket at this path, which is made, and removed when the server no longer
    /// listens. A socket that is there already is replaced if nobody answers there; anything else
    /// that is there stays, and the server does not start.
    #[cfg(unix)]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Place::Unix(path.into()))
    }

    /// Listens on a socket that is bound already. Where it is one of TCP, it gets the options that
    /// the server's own have.
    pub fn bound(listener: impl Into<StdListener>) -> Self {
        Self::new(Place::Bound(listener.into()))
    }

    /// The socket of this number that the service manager has opened (systemd's socket activation,
    /// `LISTEN_FDS`); the first is 3. Each can be taken once.
    ///
    /// # Errors
    /// There is no such socket, it is taken already, or it does not listen on TCP or as a Unix
    /// socket.
    pub fn inherited(number: u32) -> io::Result<Self> {
        let mut inherited = inherited();
        let index = number.checked_sub(FIRST_INHERITED).and_then(|at| usize::try_from(at).ok());
        let index = index.filter(|index| *index < inherited.len());
        let index = index.ok_or_else(|| {
            let count = inherited.len();
            io::Error::other(format!("there is no such socket: {count} have been handed over"))
        })?;
        let taken = || io::Error::other("it is in use already");
        #[cfg(unix)]
        if let Ok(listener) = inherited.take_unix_listener(index) {
            return listens(StdListener::Unix(listener.ok_or_else(taken)?));
        }
        match inherited.take_tcp_listener(index) {
            Ok(listener) => listens(StdListener::Tcp(listener.ok_or_else(taken)?)),
            Err(_) => Err(io::Error::other("it is no socket of TCP, and no Unix socket")),
        }
    }

    /// How many sockets the service manager has opened.
    #[must_use]
    pub fn inherited_count() -> usize {
        inherited().len()
    }

    /// Encrypts the connections, with a certificate of this place's own.
    /// [`tls::load`](crate::tls::load) reads the usual files.
    pub fn tls(mut self, config: impl Into<SharedTls>) -> Self {
        self.tls = EndpointTls::Own(config.into());
        self
    }

    /// How many connections may wait to be accepted, as far as the system allows. 4096; of a socket
    /// that is bound already what it has.
    pub fn backlog(mut self, count: u32) -> Self {
        self.backlog = Some(count);
        self
    }

    /// The permissions of a Unix socket, such as `0o660`: who may write to it may connect. As the
    /// system makes files (`umask`) if it is not called. It has them before anyone can connect.
    #[cfg(unix)]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    pub(crate) fn of_server(mut self) -> Self {
        self.tls = EndpointTls::OfServer;
        self
    }

    /// What is said of it where it cannot be listened on.
    pub(crate) fn name(&self) -> String {
        match &self.place {
            Place::Tcp(address) => address.clone(),
            #[cfg(unix)]
            Place::Unix(path) => ListenAddress::Unix(path.clone()).to_string(),
            Place::Bound(_) => "a socket that is bound already".into(),
        }
    }

    /// Listens there.
    pub(crate) fn listen(self) -> io::Result<Vec<Listening>> {
        let backlog = |default| {
            let count = self.backlog.unwrap_or(default);
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        match self.place {
            Place::Tcp(address) => listen_tcp(&address, backlog(BACKLOG)),
            #[cfg(unix)]
            Place::Unix(path) => {
                let (listener, file) = socket_file::listen(&path, self.mode, backlog(BACKLOG))?;
                let address = ListenAddress::Unix(path);
                let listener = StdListener::Unix(listener);
                Ok(vec![Listening { listener, address, file: Some(file) }])
            }
            Place::Bound(listener) => {
                let address = match &listener {
                    StdListener::Tcp(listener) => {
                        tune(&SockRef::from(listener))?;
                        if self.backlog.is_some() {
                            SockRef::from(listener).listen(backlog(BACKLOG))?;
                        }
                        ListenAddress::Tcp(listener.local_addr()?)
                    }
                    #[cfg(unix)]
                    StdListener::Unix(listener) => {
                        if self.backlog.is_some() {
                            SockRef::from(listener).listen(backlog(BACKLOG))?;
                        }
                        let address = listener.local_addr()?;
                        ListenAddress::Unix(address.as_pathname().unwrap_or("".as_ref()).into())
                    }
                };
                Ok(vec![Listening::new(listener, address)])
            }
        }
    }
}

impl From<TcpListener> for StdListener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

#[cfg(unix)]
impl From<UnixListener> for StdListener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// What was handed over to this process: it is looked at once, and then the environment does not
/// tell of it any more.
fn inherited() -> MutexGuard<'static, ListenFd> {
    static INHERITED: LazyLock<Mutex<ListenFd>> =
        LazyLock::new(|| Mutex::new(ListenFd::from_env()));
    INHERITED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was handed over, if it listens: a socket that does not would be found out later, again and
/// again.
fn listens(listener: StdListener) -> io::Result<Endpoint> {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    {
        let socket = match &listener {
            StdListener::Tcp(listener) => SockRef::from(listener),
            StdListener::Unix(listener) => SockRef::from(listener),
        };
        if !socket.is_listener()? {
            return Err(io::Error::other("it does not listen"));
        }
    }
    Ok(Endpoint::bound(listener))
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) listener: StdListener,
    pub(crate) address: ListenAddress,
    /// What is to be removed in the end.
    #[cfg(unix)]
    pub(crate) file: Option<socket_file::SocketFile>,
}

impl Listening {
    fn new(listener: StdListener, address: ListenAddress) -> Self {
        Self {
            listener,
            address,
            #[cfg(unix)]
            file: None,
        }
    }
}

/// A listener of the server's, and how its connections are encrypted.
pub(crate) struct Door<L> {
    pub(crate) listener: L,
    pub(crate) tls: Option<SharedTls>,
    #[cfg(unix)]
    pub(crate) _file: Option<socket_file::SocketFile>,
}

impl<L> Door<L> {
    /// Registers a socket that listens. Called on the thread that is to accept.
    pub(crate) fn open<R: Runtime<Listener = L>>(
        runtime: &R,
        listening: Listening,
        tls: Option<SharedTls>,
    ) -> io::Result<Self> {
        match &listening.listener {
            StdListener::Tcp(listener) => listener.set_nonblocking(true)?,
            #[cfg(unix)]
            StdListener::Unix(listener) => listener.set_nonblocking(true)?,
        }
        let listener = runtime.listener(listening.listener)?;
        Ok(Self {
            listener,
            tls,
            #[cfg(unix)]
            _file: listening.file,
        })
    }
}

/// An address that a server listens on. It is written as in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenAddress {
    /// On TCP.
    Tcp(SocketAddr),
    /// At a path; an empty one if the socket was bound by others, and has none.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display().to_string().escape_debug()),
        }
    }
}

/// Listens at all addresses of a name.
fn listen_tcp(address: &str, backlog: i32) -> io::Result<Vec<Listening>> {
    let mut listeners = Vec::new();
    for address in address.to_socket_addrs()? {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A server that is restarted does not wait for the connections of the one before.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if let SocketAddr::V6(address) = address {
            // All addresses are those of IPv4, too.
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        tune(&SockRef::from(&socket))?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        let listener = TcpListener::from(socket);
        let address = ListenAddress::Tcp(listener.local_addr()?);
        listeners.push(Listening::new(StdListener::Tcp(listener), address));
    }
    Ok(listeners)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpStream;

    use super::*;

    /// R-L4: what the system takes of what a client does not read is bounded, too; and small frames
    /// leave at once, whoever has bound the socket.
    #[test]
    fn accepted_sockets_have_it_from_the_listener() {
        let given = TcpListener::bind("127.0.0.1:0").unwrap();
        for endpoint in [Endpoint::tcp("127.0.0.1:0"), Endpoint::bound(given).backlog(5)] {
            let Listening { listener: StdListener::Tcp(listener), .. } =
                endpoint.listen().unwrap().remove(0)
            else {
                panic!()
            };
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let socket = SockRef::from(&accepted);
            assert!(socket.tcp_nodelay().unwrap());
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), 256 * 1024);
        }
    }

    #[test]
    fn what_nobody_has_handed_over() {
        for number in [0, 3, u32::MAX] {
            let error = Endpoint::inherited(number).unwrap_err().to_string();
            assert_eq!(error, "there is no such socket: 0 have been handed over");
        }
    }
}
