//! How connections are opened on async-std: those of a client, and those of the server's own.

use std::{future::Future, io, net::TcpStream};

use async_io::Async;
use async_std::net::ToSocketAddrs as _;
use futures_rustls::TlsConnector;
use symple_driver::{
    runtime::Socket,
    transport::{Connect, DialTarget, io_failure},
};
use symple_engine::client::ConnectFailure;

use crate::{AsyncStd, stream::Foreign};

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
async fn open(target: DialTarget) -> Result<Box<dyn Socket>, ConnectFailure> {
    let reached = reach(&target.host, target.port).await;
    let socket = reached.map_err(|error| io_failure(&error))?;
    Ok(match target.tls {
        None => Box::new(Foreign(Some(socket))),
        Some((config, name)) => {
            let connecting = TlsConnector::from(config).connect(name, socket).await;
            Box::new(Foreign(Some(connecting.map_err(|error| io_failure(&error))?)))
        }
    })
}

#[allow(clippy::manual_async_fn, reason = "the future must not borrow the runtime")]
impl Connect for AsyncStd {
    fn dial(
        &self,
        target: DialTarget,
    ) -> impl Future<Output = Result<Box<dyn Socket>, ConnectFailure>> + Send + 'static {
        open(target)
    }
}
