//! A listener of the API's own.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Sleep,
};

use symple_engine::server::party;

use super::{Admin, ClientAddress, history};

/// How many connections there may be. Past it new ones wait.
const MAX_CONNECTIONS: usize = 256;
/// How large the head of a request may be, in bytes, beyond what is read at once.
const MAX_HEAD: usize = 64 * 1024;
/// How many bits of an IPv6 address say whose it is (R-L2).
const IPV6_PREFIX: u8 = 64;
/// How many of them may be from one address that is not the machine's own.
const MAX_PER_ADDRESS: usize = 32;
/// How long nothing may be written to a client that does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests may take that are being answered when the end comes.
const GRACE: Duration = Duration::from_secs(1);
/// How long nothing is accepted when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Admin {
    /// Serves the API on a listener until `end` is over. Requests that are being answered then have
    /// another second.
    ///
    /// There may be 256 connections at once, and 32 from one address that is not the machine's own. A head of a request has some 64 KiB at most, and a client that takes nothing of an answer for 30 seconds is dropped.
    pub async fn serve(self, listener: TcpListener, end: impl Future<Output = ()>) {
        let head_timeout = self.head_timeout;
        let (router, shared) = self.build();
        history::start(&shared);
        // The samples end with the router.
        drop(shared);
        let graceful = GracefulShutdown::new();
        // Those that are left at the end are dropped with this.
        let mut tasks = JoinSet::new();
        // As many hold an entry as there are connections from there, and this table.
        let mut addresses: HashMap<IpAddr, Arc<()>> = HashMap::new();
        let mut end = pin!(end);
        loop {
            let accepted = tokio::select! {
                () = &mut end => break,
                Some(_) = tasks.join_next() => continue,
                accepted = listener.accept(), if tasks.len() < MAX_CONNECTIONS => accepted,
            };
            let Ok((stream, address)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let address = address.ip().to_canonical();
            addresses.retain(|_, held| Arc::strong_count(held) > 1);
            // Whoever has an IPv6 address has a network of them.
            let held = Arc::clone(addresses.entry(party(address, IPV6_PREFIX)).or_default());
            // Whoever is over it is dropped: others keep their places.
            if !address.is_loopback() && Arc::strong_count(&held) > MAX_PER_ADDRESS + 1 {
                continue;
            }
            let connection =
                graceful.watch(connection(stream, address, router.clone(), head_timeout));
            // How a client's connection ended is its own affair.
            tasks.spawn(async move {
                drop(connection.await);
                drop(held);
            });
        }
        drop(listener);
        let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    }
}

type Connection = hyper::server::conn::http1::Connection<TokioIo<Impatient>, Addressed>;

/// The router, which is told from where each request comes.
#[derive(Clone, Debug)]
struct Addressed {
    router: TowerToHyperService<Router>,
    address: IpAddr,
}

impl hyper::service::Service<Request<Incoming>> for Addressed {
    type Response =
        <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Error;
    type Future =
        <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(ClientAddress(self.address));
        self.router.call(request)
    }
}

fn connection(
    stream: TcpStream,
    address: IpAddr,
    router: Router,
    head_timeout: Duration,
) -> Connection {
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Impatient::new(stream)), Addressed { router, address })
}

/// A stream that fails when nothing can be written to it for too long.
#[derive(Debug)]
struct Impatient {
    stream: TcpStream,
    /// When a write that waits fails.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream) -> Self {
        Self { stream, deadline: None }
    }

    fn wait<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let deadline =
            self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wait(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wait(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
