//! How a client opens a WebSocket on tokio, and the server its own connections.

use std::future::Future;

use symple_driver::{
    runtime::Socket,
    transport::{Connect, DialTarget, Target, failure, io_failure},
};
use symple_engine::client::ConnectFailure;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::{Tokio, stream::Foreign};

/// A stream of bytes, encrypted or not.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Connects, and encrypts where there is TLS.
async fn open(target: DialTarget) -> Result<Box<dyn Bytes>, ConnectFailure> {
    let address = (target.host.as_str(), target.port);
    let socket = TcpStream::connect(address).await.map_err(|error| io_failure(&error))?;
    socket.set_nodelay(true).map_err(|error| io_failure(&error))?;
    Ok(match target.tls {
        None => Box::new(socket),
        Some((config, name)) => {
            let connecting = TlsConnector::from(config).connect(name, socket).await;
            Box::new(connecting.map_err(|error| io_failure(&error))?)
        }
    })
}

#[allow(clippy::manual_async_fn, reason = "the future must not borrow the runtime")]
impl Connect for Tokio {
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
