//! How a client opens a WebSocket on tokio.

use std::future::Future;

use symple_driver::transport::{Connect, Target, failure, io_failure};
use symple_engine::client::ConnectFailure;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::Tokio;

/// A stream of bytes, encrypted or not.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

#[allow(clippy::manual_async_fn, reason = "the future must not borrow the runtime")]
impl Connect for Tokio {
    type WebSocket = WebSocketStream<Box<dyn Bytes>>;

    fn connect(
        &self,
        target: Target,
    ) -> impl Future<Output = Result<Self::WebSocket, ConnectFailure>> + Send + 'static {
        async move {
            let address = (target.host.as_str(), target.port);
            let socket = TcpStream::connect(address).await.map_err(|error| io_failure(&error))?;
            socket.set_nodelay(true).map_err(|error| io_failure(&error))?;
            let stream: Box<dyn Bytes> = match target.tls {
                None => Box::new(socket),
                Some((config, name)) => {
                    let connecting = TlsConnector::from(config).connect(name, socket).await;
                    Box::new(connecting.map_err(|error| io_failure(&error))?)
                }
            };
            let (request, config) = (target.request, Some(target.config));
            let upgraded = client_async_with_config(request, stream, config).await;
            upgraded.map(|(socket, _)| socket).map_err(failure)
        }
    }
}
