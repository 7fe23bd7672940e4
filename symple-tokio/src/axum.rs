//! A Symple server as a handler of axum 0.8.
//!
//! ```no_run
//! use std::net::SocketAddr;
//! use axum::{Router, routing::get};
//! use symple_tokio::{ServerBuilder, axum::symple};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ServerBuilder::new().start_unbound()?;
//! let app = Router::new()
//!     .route("/", get("Hello"))
//!     .route("/ws", get(symple(server.handle())));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:4500").await?;
//! // With `ConnectInfo` the server knows whose connection it is.
//! let app = app.into_make_service_with_connect_info::<SocketAddr>();
//! axum::serve(listener, app).await?;
//! # Ok(())
//! # }
//! ```

use std::{future::Future, net::SocketAddr, pin::Pin};

use axum::{
    extract::{ConnectInfo, OriginalUri, Request},
    handler::Handler,
    response::{IntoResponse as _, Response},
};
use symple_driver::Handle;

use crate::hyper::{Client, respond};

/// A handler whose requests become connections of a Symple server. There may be several for one
/// server, on several paths, in routers that are nested or not.
///
/// Everything is decided as on a port of the server's own: origins, [`Config::path`](crate::Config::path)
/// (against the whole path of the request), hooks, limits. The client's address is that of axum's
/// [`ConnectInfo<SocketAddr>`](ConnectInfo); where the application leaves it out, clients have none:
/// limits per address do not apply, and no proxy is believed (R-T6).
#[must_use = "a handler is for a route"]
pub fn symple(handle: Handle) -> Symple {
    Symple { handle, tls: false, unix: false }
}

/// The handler of [`symple`].
#[derive(Clone, Debug)]
pub struct Symple {
    handle: Handle,
    tls: bool,
    unix: bool,
}

impl Symple {
    /// The application's connections are encrypted: hooks are told.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// The application listens on a Unix socket: whoever is at its other end may tell the client's
    /// address where `unix` is among the trusted proxies (R-T6).
    #[must_use]
    pub fn unix(mut self) -> Self {
        self.unix = true;
        self
    }
}

impl<S> Handler<(), S> for Symple {
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, request: Request, _: S) -> Self::Future {
        Box::pin(async move {
            let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
            let client = match info {
                _ if self.unix => Client::unix(),
                Some(ConnectInfo(address)) => Client::at(*address),
                None => Client::default(),
            };
            let mut client = client.tls(self.tls);
            // A nested router has shortened the path.
            if let Some(OriginalUri(uri)) = request.extensions().get() {
                client = client.uri(uri.clone());
            }
            respond(&self.handle, request, client).await.into_response()
        })
    }
}
