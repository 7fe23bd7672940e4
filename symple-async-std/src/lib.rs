//! A Symple v4 server and client for async-std: realtime messaging and presence over WebSocket.
//!
//! **async-std is discontinued upstream**: it gets no features, and fixes only if someone cares.
//! This crate is for applications that are built on it already. For a new one take
//! `symple-tokio`: it is the same server with the same names, so that to move is to change the
//! name of the crate, and the attribute of `main`. Little of async-std is used here, and in one
//! module: its sockets, timers and reactor are those of [async-io](https://docs.rs/async-io),
//! which lives on as part of smol.
//!
//! ```no_run
//! use std::time::Duration;
//! use symple_async_std::{AuthDecision, Event, ServerBuilder, proto::frame};
//!
//! # struct Account { user: String, rooms: Vec<String> }
//! # async fn account_of(_: &str) -> Result<Option<Account>, std::io::Error> { Ok(None) }
//! # async fn asked_to_end() {}
//! #[async_std::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let server = ServerBuilder::new()
//!         .bind("127.0.0.1:4500")
//!         .configure(|config| config.engine.dynamic_rooms = false)
//!         .authenticate(|request| async move {
//!             // A token proves who its holder is, whoever that claims to be.
//!             let token = request.token().unwrap_or_default();
//!             Ok::<_, std::io::Error>(match account_of(&token).await? {
//!                 Some(account) => AuthDecision::allow(account.user).rooms(account.rooms),
//!                 None => AuthDecision::deny("Unknown token"),
//!             })
//!         })
//!         .start()?;
//!
//!     let mut events = server.events();
//!     let handle = server.handle();
//!     async_std::task::spawn(async move {
//!         while let Some(event) = events.next().await {
//!             if let Event::Online { peer, .. } = event {
//!                 let _ = handle.emit(frame::Event::to(&peer).name("hello")).await;
//!             }
//!         }
//!     });
//!
//!     asked_to_end().await;
//!     server.shutdown(Duration::ZERO).await?;
//!     Ok(())
//! }
//! ```
//!
//! The server has threads of its own, which poll async-io's reactor while they wait; the hooks run
//! on async-std's executor, whose threads are started by the first of them. That reactor is one
//! for the whole process: its helper thread, or another one that waits for sockets, may be the one
//! that sees what comes, and wakes the server. The README tells what that costs.
//!
//! All of it but sockets and timers is `symple-driver`, and what happens is decided in
//! `symple-engine`, so the same server runs on other runtimes.
//!
//! # Inside of an application's server
//!
//! A server need have no port ([`ServerBuilder::start_unbound`]): the application brings the
//! connections, and all rules and limits are those of a port of the server's own (SPEC, R-T8).
//!
//! With any other HTTP server [`Handle::upgrade`] decides about a request, and tells what to answer;
//! then the [`stream`] is handed over. [`Handle::accept_request`] lets the server answer itself, and
//! [`Handle::accept`] takes a connection of which nothing has been read.
//!
//! ```no_run
//! # use std::net::{SocketAddr, TcpStream};
//! # use symple_async_std::{Handle, HandleError, MountedRequest};
//! # fn write_head(_: &mut TcpStream, _: &http::response::Parts, _: &str) {}
//! async fn serve(
//!     handle: Handle,
//!     mut socket: TcpStream,
//!     request: http::Request<()>,
//!     behind: Vec<u8>,
//!     address: SocketAddr,
//! ) -> Result<(), HandleError> {
//!     let request = MountedRequest::from(&request).address(address);
//!     match handle.upgrade(request).await {
//!         Ok(accepted) => {
//!             write_head(&mut socket, &accepted.response().clone().into_parts().0, "");
//!             // What has been read behind the request belongs to it.
//!             let stream = symple_async_std::Stream::from(socket).already_read(behind);
//!             accepted.accept(stream).await
//!         }
//!         Err(response) => {
//!             let (head, body) = response.into_parts();
//!             write_head(&mut socket, &head, &body);
//!             Ok(())
//!         }
//!     }
//! }
//! ```
//!
//! # Several places
//!
//! [`ServerBuilder::listen`] adds a place with a certificate of its own, a Unix socket, or a socket
//! that systemd has opened:
//!
//! ```no_run
//! # use symple_async_std::{Endpoint, ServerBuilder, tls::{self, SharedTls}};
//! # fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let certificate = SharedTls::from(tls::load("a.crt".as_ref(), "a.key".as_ref())?);
//! let server = ServerBuilder::new()
//!     .listen(Endpoint::tcp("0.0.0.0:80"))
//!     .listen(Endpoint::tcp("0.0.0.0:443").tls(certificate.clone()).backlog(1024))
//!     .listen(Endpoint::inherited(3)?)
//!     .start()?;
//! // New connections use another one from now on.
//! certificate.replace(tls::load("b.crt".as_ref(), "b.key".as_ref())?);
//! # Ok(())
//! # }
//! ```
//!
//! # A client
//!
//! It comes back by itself, into its rooms, and knows who else is there. This one echoes what it
//! is told:
//!
//! ```no_run
//! use symple_async_std::{Client, client::{Event, Outgoing}, proto::RoutedType};
//!
//! #[async_std::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let builder = Client::builder("ws://127.0.0.1:4500").user("echo").room("lobby");
//!     let (client, mut events) = builder.connect().await?;
//!     while let Some(event) = events.next().await {
//!         if let Event::Frame(frame) = event
//!             && let (RoutedType::Message, Some(from)) = (frame.kind(), frame.from())
//!             && let Some(data) = frame.data()
//!         {
//!             // Should the connection be gone: it comes back by itself.
//!             let _ = client.send(Outgoing::message(data).to(from)).await;
//!         }
//!     }
//!     Ok(())
//! }
//! ```

#![forbid(unsafe_code)]

mod connect;
mod runtime;
mod stream;

pub use runtime::{AsyncStd, Listener, Socket, Timer};
pub use stream::stream;
pub use symple_driver::{
    AcceptedUpgrade, AuthDecision, AuthRequest, ClientError, ClientEvents, ClientStartError,
    Compression, Config, ConfigError, Crashed, Emitter, Endpoint, EndpointError, Events,
    FrameDecision, FrameRequest, Handle, HandleError, HttpEndpoint, InboxLimits, IntoAuthDecision,
    IntoFrameDecision, IntoJoinDecision, JoinDecision, JoinRequest, Jwt, JwtError, JwtKeyError,
    JwtKeys, JwtProof, JwtSettings, ListenAddress, MountedRequest, OriginError, OriginPattern,
    PeerLeft, PeerOffline, PeerOnline, ProxyError, ProxyHeader, RedisConfig, RedisError, Request,
    RoomState, Server, ServerStats, SessionEntry, Sessions, StartError, StateRequest, Stream,
    TransportStats, TrustedProxy, UpgradeDecision, VirtualPeer, WebhookSettings, rustls, tls,
    trust, verify_signature,
};
pub use symple_engine::server::{
    Close, ClusterNode, ClusterPeer, ConnectionLimits, EngineError, Event, HookConfig, ListCursor,
    OfflineReason, Page, PeerFilter, PeerInfo, PresenceMode, RateLimit, RemoteChange, RoomInfo,
    RoomSend, Stats, Text,
};
pub use symple_proto as proto;

// Types that are parts of others: of the configuration, of events, of requests.
pub use symple_driver::http_types as http;
pub use symple_driver::{
    CloseCounts, ClosedBy, RedisStats, RoundTrips, UpgradeCounts, WebhookStats,
};
pub use symple_engine::server::{
    ClusterConfig, Config as EngineConfig, ConnId, FrameCounts, FrameKind, Latency, PublicMembers,
    SessionConfig, StateConfig, StatusCounts,
};

/// The traits that this crate implements for its runtime, and the types that they name. An
/// application needs them only to write code for any runtime.
pub mod adapter {
    pub use symple_driver::{runtime::*, transport::*};
}

/// What a client is told, and what it can be asked for.
pub use symple_engine::client;

/// A client: access to it from anywhere.
pub type Client = symple_driver::Client<AsyncStd>;

/// A client that is being set up.
pub type ClientBuilder = symple_driver::ClientBuilder<AsyncStd>;

/// A server that is being set up.
pub type ServerBuilder = symple_driver::ServerBuilder<AsyncStd>;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
