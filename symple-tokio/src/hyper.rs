//! A Symple server behind an HTTP server of the application's that is hyper 1.
//!
//! ```no_run
//! use std::{convert::Infallible, net::SocketAddr};
//! use http::{Request, Response};
//! use hyper::{body::Incoming, server::conn::http1, service::service_fn};
//! use hyper_util::rt::TokioIo;
//! use symple_tokio::{Handle, ServerBuilder, hyper::Client};
//!
//! async fn serve(
//!     request: Request<Incoming>,
//!     handle: Handle,
//!     address: SocketAddr,
//! ) -> Result<Response<String>, Infallible> {
//!     Ok(match request.uri().path() {
//!         "/ws" => symple_tokio::hyper::respond(&handle, request, Client::at(address)).await,
//!         _ => Response::new("Hello".into()),
//!     })
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ServerBuilder::new().start_unbound()?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:4500").await?;
//! loop {
//!     let (socket, address) = listener.accept().await?;
//!     let handle = server.handle();
//!     let service = service_fn(move |request| serve(request, handle.clone(), address));
//!     tokio::spawn(
//!         // Without upgrades there is no WebSocket.
//!         http1::Builder::new().serve_connection(TokioIo::new(socket), service).with_upgrades(),
//!     );
//! }
//! # }
//! ```

use std::net::SocketAddr;

use http::{Request, Response, StatusCode, Uri};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade};
use symple_driver::{Handle, MountedRequest, Stream};
use tokio::net::TcpStream;
use tokio_rustls::{TlsStream, server};

#[cfg(unix)]
use tokio::net::UnixStream;

/// Where a request came from, as far as the application knows.
#[derive(Clone, Debug, Default)]
pub struct Client {
    address: Option<SocketAddr>,
    unix: bool,
    tls: bool,
    uri: Option<Uri>,
}

impl Client {
    /// Of a connection from this address (R-T6): the client's, or that of a proxy.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { address: Some(address), ..Self::default() }
    }

    /// Of a connection over a Unix socket.
    #[must_use]
    pub fn unix() -> Self {
        Self { unix: true, ..Self::default() }
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// What was asked for, where that is not what the request says.
    #[must_use]
    pub fn uri(mut self, uri: Uri) -> Self {
        self.uri = Some(uri);
        self
    }
}

/// Answers a request, and goes on with its connection if it becomes one of the server's: what a
/// service of hyper's returns. To be called within tokio.
///
/// Plain sockets become sockets of the server's; anything else, such as TLS, is polled where the
/// server runs. What [`stream`](crate::stream) says of Nagle's algorithm holds here, too.
pub async fn respond<B>(
    handle: &Handle,
    mut request: Request<B>,
    client: Client,
) -> Response<String> {
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let mut mounted = MountedRequest::from(&request).tls(client.tls);
    drop(request);
    if let Some(address) = client.address {
        mounted = mounted.address(address);
    } else if client.unix {
        mounted = mounted.unix();
    }
    if let Some(uri) = client.uri {
        mounted = mounted.uri(uri);
    }
    let accepted = match handle.upgrade(mounted).await {
        Ok(accepted) => accepted,
        Err(response) => return response,
    };
    let Some(on_upgrade) = on_upgrade else {
        // The application serves its connections without upgrades.
        let mut response = Response::new("This connection cannot be upgraded\n".to_owned());
        *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
        return response;
    };
    let response = accepted.response().clone().map(|()| String::new());
    tokio::spawn(async move {
        // Where the client is gone before it has its answer, there is nothing to go on with.
        if let Ok(upgraded) = on_upgrade.await {
            let _ = accepted.accept(stream(upgraded)).await;
        }
    });
    response
}

/// The stream of an upgraded connection: the socket itself where it is a plain one, and else that of TLS
/// where it is known.
fn stream(mut upgraded: Upgraded) -> Stream {
    macro_rules! known {
        ($socket:ty) => {
            // As hyper-util's server wraps it, which is axum's, and as hyper's own leaves it.
            upgraded = match upgrade::downcast::<TokioIo<$socket>>(upgraded) {
                Ok(parts) => {
                    return crate::stream(parts.io.into_inner()).already_read(parts.read_buf);
                }
                Err(upgraded) => upgraded,
            };
            upgraded = match upgraded.downcast::<TokioIo<$socket>>() {
                Ok(parts) => {
                    return crate::stream(parts.io.into_inner()).already_read(parts.read_buf);
                }
                Err(upgraded) => upgraded,
            };
        };
    }
    known!(TcpStream);
    known!(server::TlsStream<TcpStream>);
    known!(TlsStream<TcpStream>);
    #[cfg(unix)]
    known!(UnixStream);
    crate::stream(TokioIo::new(upgraded))
}
