//! How a client opens a WebSocket on async-std, and the server its own connections.

use std::{future::Future, io, net::TcpStream};

use async_io::Async;
use async_std::net::ToSocketAddrs as _;
use async_tungstenite::{WebSocketStream, client_async_with_config};
use futures_rustls::TlsConnector;
use futures_util::{AsyncRead, AsyncWrite};
use symple_driver::{
    runtime::Socket,
    transport::{Connect, DialTarget, Target, failure, io_failure},
};
use symple_engine::client::ConnectFailure;

use crate::{AsyncStd, stream::Foreign};

/// A stream of bytes, encrypted or not.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Connects to the first address of a server that answers.
async fn reach(host: &str, port: u16) -> io::Result<Async<TcpStream>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the server has no address");
    for address in (host, port).to_socket_addrs().await? {
        match Async::<TcpStream>::connect(address).await {
            Ok(socket) => {
                socket.get_ref().set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects, and encrypts where there is TLS.
async fn open(target: DialTarget) -> Result<Box<dyn Bytes>, ConnectFailure> {
    let reached = reach(&target.host, target.port).await;
    let socket = reached.map_err(|error| io_failure(&error))?;
    Ok(match target.tls {
        None => Box::new(socket),
        Some((config, name)) => {
            let connecting = TlsConnector::from(config).connect(name, socket).await;
            Box::new(connecting.map_err(|error| io_failure(&error))?)
        }
    })
}

#[allow(clippy::manual_async_fn, reason = "the future must not borrow the runtime")]
impl Connect for AsyncStd {
    type WebSocket = WebSocketStream<Box<dyn Bytes>>;

    fn connect(
        &self,
        target: Target,
    ) -> impl Future<Output = Result<Self::WebSocket, ConnectFailure>> + Send + 'static {
        async move {
            let Target { request, host, port, tls, config, .. } = target;
            let stream = open(DialTarget { host, port, tls }).await?;
            let upgraded = client_async_with_config(request, stream, Some(config)).await;
            upgraded.map(|(socket, _)| socket).map_err(failure)
        }
    }

    fn dial(
        &self,
        target: DialTarget,
    ) -> impl Future<Output = Result<Box<dyn Socket>, ConnectFailure>> + Send + 'static {
        async move { Ok(Box::new(Foreign(Some(open(target).await?))) as Box<dyn Socket>) }
    }
}
