//! A Symple v4 server on any async runtime: what its adapters share.
//!
//! Applications do not use this crate but an adapter: `symple-tokio` or `symple-async-std`. An
//! adapter says how its runtime has sockets, timers and tasks ([`runtime::Runtime`]); everything
//! else is here, once: HTTP and the upgrade, WebSocket framing over buffers that exist only while
//! they hold something, TLS, keepalive, outbound queues and their limits, Redis, hooks, events,
//! the host's calls. What *happens* is decided below, in `symple-engine`.
//!
//! One thread has the engine and the sockets, so nothing is locked. Whenever sockets are ready,
//! all that can be read is read and handed to the engine, what it wants sent is queued, and the
//! connections that have something to be written are written to in turn, a few at a time: what
//! becomes ready meanwhile is read in between. So, under load, many frames share one write.
//!
//! With [`Config::threads`] there are workers: threads that have sockets and no engine. They read,
//! decode and write; what they read and what they are to send travels in batches.

#![forbid(unsafe_code)]

mod authority;
mod backlog;
mod bus;
mod command;
mod config;
mod conn;
mod conns;
mod decode;
mod event;
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod hook;

mod hub;
mod io;
mod link;
mod memory;
mod node;
mod origin;
mod out;
mod proxy;
mod ready;
mod redis;
pub mod runtime;
mod server;
mod shard;
mod stats;
mod status;
mod tail;
pub mod tls;
mod upgrade;
mod worker;

pub use config::{Config, ConfigError};
pub use event::Events;
pub use handle::{Handle, HandleError, VirtualPeer};
pub use hook::{AuthDecision, AuthRequest, IntoAuthDecision, UpgradeDecision};
pub use origin::{OriginError, OriginPattern};
pub use proxy::{ProxyError, TrustedProxy};
pub use redis::{Emitter, RedisConfig, RedisError, SessionEntry, Sessions};
pub use rustls;
pub use server::{Crashed, Server, ServerBuilder, StartError};
pub use stats::{ServerStats, TransportStats};
pub use upgrade::Request;
