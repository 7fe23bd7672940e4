//! A Symple v4 server and client for tokio: realtime messaging and presence over WebSocket.
//!
//! ```no_run
//! use std::time::Duration;
//! use symple_tokio::{AuthDecision, Event, ServerBuilder, proto::frame};
//!
//! # struct Account { user: String, rooms: Vec<String> }
//! # async fn account_of(_: &str) -> Result<Option<Account>, std::io::Error> { Ok(None) }
//! #[tokio::main]
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
//!     tokio::spawn(async move {
//!         while let Some(event) = events.next().await {
//!             if let Event::Online { peer, .. } = event {
//!                 let _ = handle.emit(frame::Event::to(&peer).name("hello")).await;
//!             }
//!         }
//!     });
//!
//!     tokio::signal::ctrl_c().await?;
//!     server.shutdown(Duration::ZERO).await?;
//!     Ok(())
//! }
//! ```
//!
//! # What the application decides
//!
//! Beside [`authenticate`](ServerBuilder::authenticate) there are hooks that are asked what peers
//! may do, and hooks that are told what they have done (SPEC, R-H1 to R-H5). One that fails, panics
//! or takes longer than [`HookConfig::timeout`] lets nothing through; and where none is set nothing
//! is paid for it. `examples/game_lobby.rs` and `examples/moderated_chat.rs` have them all at work.
//!
//! **Joins**: [`on_join`](ServerBuilder::on_join) is asked before a client is in a room. What the
//! client writes beside the room is there for it.
//!
//! ```
//! # use symple_tokio::{JoinDecision, JoinRequest, ServerBuilder};
//! let builder = ServerBuilder::new().on_join(|request: JoinRequest| async move {
//!     match request.credential() {
//!         Some(code) if code == "e2e4" => JoinDecision::allow(),
//!         _ => JoinDecision::deny("Wrong code"),
//!     }
//! });
//! ```
//!
//! **Frames**: [`on_frame`](ServerBuilder::on_frame) is asked about each frame that is to be
//! relayed. It runs on the server's thread, for decisions that need nothing but memory.
//!
//! ```
//! # use symple_tokio::{FrameDecision, FrameRequest, ServerBuilder, proto::RoutedType};
//! let builder = ServerBuilder::new().on_frame(|request: &FrameRequest| match request.kind {
//!     RoutedType::Command => FrameDecision::refuse("No commands here"),
//!     _ if request.text.len() > 4096 => FrameDecision::refuse("Too long"),
//!     _ => FrameDecision::pass(),
//! });
//! ```
//!
//! Decisions that take time are made by [`on_frame_async`](ServerBuilder::on_frame_async), on the
//! application's runtime. Meanwhile what that client sends waits in order; others go on.
//!
//! ```
//! # use symple_tokio::{FrameDecision, FrameRequest, ServerBuilder, proto::ClientFrame};
//! # async fn translated(text: String) -> Result<String, std::io::Error> { Ok(text) }
//! let builder = ServerBuilder::new().on_frame_async(|request: FrameRequest| async move {
//!     let Ok(ClientFrame::Message(message)) = request.parse() else {
//!         return Ok(FrameDecision::pass());
//!     };
//!     let text = message.data.as_ref().and_then(|data| data.to::<String>().ok());
//!     let Some(text) = text else { return Ok(FrameDecision::refuse("A text is needed")) };
//!     // An error refuses the frame, and is logged.
//!     let text = translated(text).await?;
//!     match message.data(&text) {
//!         Ok(message) => Ok(FrameDecision::replace(message)),
//!         Err(error) => Err(std::io::Error::other(error)),
//!     }
//! });
//! ```
//!
//! **Actions**, as other room servers have them, are commands that the application answers. The answer
//! goes to the sender alone; the error has a status and a message.
//!
//! ```
//! # use symple_tokio::{FrameDecision, FrameRequest, ServerBuilder};
//! # use symple_tokio::proto::{ClientFrame, Status, frame::Event};
//! let builder = ServerBuilder::new().on_frame(|request: &FrameRequest| {
//!     let Ok(ClientFrame::Command(command)) = request.parse() else {
//!         return FrameDecision::pass();
//!     };
//!     match command.node.as_deref() {
//!         Some("test") => FrameDecision::answer(Event {
//!             name: Some("test:ok".into()),
//!             id: command.id,
//!             data: command.data,
//!             ..Event::default()
//!         }),
//!         _ => FrameDecision::refuse_with(Status(404), "No such action"),
//!     }
//! });
//! ```
//!
//! **States of rooms**: [`on_state`](ServerBuilder::on_state) is asked before a client changes the
//! state of a room (R-K6), [`on_state_async`](ServerBuilder::on_state_async) where that takes time.
//!
//! ```
//! # use symple_tokio::{FrameDecision, ServerBuilder, StateRequest};
//! let builder = ServerBuilder::new().on_state(|request: &StateRequest| {
//!     let set = request.set();
//!     match set.get("score") {
//!         Some(score) if score.to::<u32>().is_err() => FrameDecision::refuse("Not a score"),
//!         Some(_) => request.replace(&set.with("by", request.sender.user.as_str())),
//!         None => FrameDecision::pass(),
//!     }
//! });
//! ```
//!
//! **Changes**: [`on_online`](ServerBuilder::on_online), [`on_leave`](ServerBuilder::on_leave) and
//! [`on_offline`](ServerBuilder::on_offline) are told, in order, on exactly one node of a cluster.
//! Nodes may be heard of in any order; the numbers tell which change of a peer came last.
//!
//! ```
//! # use std::{collections::HashMap, sync::{Arc, Mutex}};
//! # use symple_tokio::{PeerLeft, PeerOffline, PeerOnline, ServerBuilder};
//! let last_seen: Arc<Mutex<HashMap<String, (u64, bool)>>> = Arc::default();
//! let note = move |peer: String, number: u64, online: bool| {
//!     let mut last_seen = last_seen.lock().unwrap();
//!     let entry = last_seen.entry(peer).or_default();
//!     // What is older than what is known says nothing any more.
//!     *entry = (*entry).max((number, online));
//! };
//! let came = note.clone();
//! let builder = ServerBuilder::new()
//!     .on_online(move |change: PeerOnline| came(change.peer.to_string(), change.number, true))
//!     .on_offline(move |change: PeerOffline| note(change.peer.to_string(), change.number, false))
//!     .on_leave(|change: PeerLeft| println!("{} has left {}", change.peer, change.room));
//! ```
//!
//! **Read-only and hidden peers**: an authentication hook, or a session, says who may only read, and
//! whom nobody sees.
//!
//! ```
//! # use symple_tokio::{AuthDecision, AuthRequest, ServerBuilder};
//! # fn user_of(token: Option<String>) -> Option<&'static str> { None }
//! let builder = ServerBuilder::new().authenticate(|request: AuthRequest| async move {
//!     match user_of(request.token()) {
//!         Some("auditor") => AuthDecision::allow("auditor").rooms(["lobby"]).read_only().hidden(),
//!         Some(user) => AuthDecision::allow(user).rooms(["lobby"]),
//!         None => AuthDecision::deny("Unknown token"),
//!     }
//! });
//! ```
//!
//! # What the application sends
//!
//! Frames are built as types, or given as texts:
//!
//! ```no_run
//! # use symple_tokio::{Handle, proto::{Address, frame::{Event, Message}}};
//! # #[derive(serde::Serialize)] struct Move { from: &'static str, to: &'static str }
//! # async fn run(handle: Handle, peer: Address) -> Result<(), Box<dyn std::error::Error>> {
//! handle.emit(Message::to(&peer).sender("server").data(&Move { from: "e2", to: "e4" })?).await?;
//! handle.emit(Event::to("lobby").name("started")).await?;
//! handle.broadcast(r#"{"type":"event","name":"maintenance"}"#).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The server has threads of its own ([`Config::threads`]); the hooks run on the runtime that started it. All of it
//! but tokio's sockets and timers is `symple-driver`, and what happens is decided in
//! `symple-engine`, so the same server runs on other runtimes.
//!
//! # Inside of an application's server
//!
//! A server need have no port ([`ServerBuilder::start_unbound`]): the application brings the
//! connections, and all rules and limits are those of a port of the server's own (SPEC, R-T8).
//! With the feature `axum` it is a handler of axum 0.8, and with `hyper` a function for services of
//! hyper 1: see the modules of these names. `examples/inside_axum.rs` is a whole application.
//!
//! With any other HTTP server [`Handle::upgrade`] decides about a request, and tells what to answer;
//! then the [`stream`] is handed over. [`Handle::accept_request`] lets the server answer itself, and
//! [`Handle::accept`] takes a connection of which nothing has been read.
//!
//! ```no_run
//! # use std::net::{SocketAddr, TcpStream};
//! # use symple_tokio::{Handle, HandleError, MountedRequest};
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
//!             let stream = symple_tokio::Stream::from(socket).already_read(behind);
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
//! # use symple_tokio::{Endpoint, ServerBuilder, tls::{self, SharedTls}};
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
//! # Operating it
//!
//! With the feature `admin` there is an HTTP API for operators and backends in any language, on a
//! listener of its own or below a path of an application's server: see the module `admin`.
//!
//! # A client
//!
//! It comes back by itself, into its rooms, and knows who else is there. This one echoes what it
//! is told:
//!
//! ```no_run
//! use symple_tokio::{Client, client::{Event, Outgoing}, proto::RoutedType};
//!
//! #[tokio::main]
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

//! What takes the place of what in the JavaScript client is in [`javascript_client`].

#![forbid(unsafe_code)]

#[cfg(feature = "admin")]
pub mod admin;
#[cfg(feature = "axum")]
pub mod axum;
mod connect;
#[cfg(feature = "hyper")]
pub mod hyper;
mod runtime;
mod stream;

pub use runtime::{Listener, Socket, Timer, Tokio};
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
pub type Client = symple_driver::Client<Tokio>;

/// A client that is being set up.
pub type ClientBuilder = symple_driver::ClientBuilder<Tokio>;

/// A server that is being set up.
pub type ServerBuilder = symple_driver::ServerBuilder<Tokio>;

#[doc = include_str!("../docs/javascript-client.md")]
pub mod javascript_client {}

/// The examples of the READMEs compile.
#[cfg(doctest)]
mod readmes {
    #[doc = include_str!("../../README.md")]
    mod of_the_repository {}
    #[doc = include_str!("../README.md")]
    mod of_the_crate {}
    #[doc = include_str!("../../symple-cli/docs/webhooks.md")]
    mod of_webhooks {}
}
