//! A Symple v4 server for tokio: realtime messaging and presence over WebSocket.
//!
//! ```no_run
//! use std::time::Duration;
//! use symple_tokio::{AuthDecision, Event, ServerBuilder};
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
//!                 let hello = format!(r#"{{"type":"event","name":"hello","to":"{peer}"}}"#);
//!                 let _ = handle.emit(hello).await;
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
//! The server has threads of its own ([`Config::threads`]); the hooks run on the runtime that started it. All of it
//! but tokio's sockets and timers is `symple-driver`, and what happens is decided in
//! `symple-engine`, so the same server runs on other runtimes.

#![forbid(unsafe_code)]

mod runtime;

pub use runtime::{Listener, Socket, Timer, Tokio};
pub use symple_driver::{
    AuthDecision, AuthRequest, Config, ConfigError, Crashed, Emitter, Events, FrameDecision,
    FrameRequest, Handle, HandleError, IntoAuthDecision, IntoFrameDecision, IntoJoinDecision,
    JoinDecision, JoinRequest, OriginError, OriginPattern, PeerLeft, PeerOffline, PeerOnline,
    ProxyError, RedisConfig, RedisError, Request, Server, ServerStats, SessionEntry, Sessions,
    StartError, TransportStats, TrustedProxy, UpgradeDecision, VirtualPeer, rustls, tls,
};
pub use symple_engine::server::{
    ClusterPeer, ConnectionLimits, EngineError, Event, HookConfig, OfflineReason, PeerInfo,
    PresenceMode, RateLimit, RoomInfo, RoomSend, Stats, Text,
};
pub use symple_proto as proto;

/// A server that is being set up.
pub type ServerBuilder = symple_driver::ServerBuilder<Tokio>;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
