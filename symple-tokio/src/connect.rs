//! How connections are opened on tokio: those of a client, and those of the server's own.

use std::future::Future;

use symple_driver::{
    runtime::Socket,
    transport::{Connect, DialTarget, io_failure},
};
use symple_engine::client::ConnectFailure;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Tokio, stream::Foreign};

/// Connects, and encrypts where there is TLS.
async fn open(target: DialTarget) -> Result<Box<dyn Socket>, ConnectFailure> {
    let address = (target.host.as_str(), target.port);
    let socket = TcpStream::connect(address).await.map_err(|error| io_failure(&error))?;
    socket.set_nodelay(true).map_err(|error| io_failure(&error))?;
    Ok(match target.tls {
        None => Box::new(Foreign(Some(socket))),
        Some((config, name)) => {
            let connecting = TlsConnector::from(config).connect(name, socket).await;
            Box::new(Foreign(Some(connecting.map_err(|error| io_failure(&error))?)))
        }
    })
}

#[allow(clippy::manual_async_fn, reason = "the future must not borrow the runtime")]
impl Connect for Tokio {
    fn dial(
        &self,
        target: DialTarget,
    ) -> impl Future<Output = Result<Box<dyn Socket>, ConnectFailure>> + Send + 'static {
        open(target)
    }
}
