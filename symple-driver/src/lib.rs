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

pub(crate) mod client;
mod core;
#[doc(hidden)]
pub mod echo;
mod fetch;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod jwt;
mod net;
mod redis;
pub mod runtime;
mod server;
mod webhook;
mod worker;
mod ws;

/// The crate `http`, whose types hooks about upgrades are given and give back.
pub use ::http as http_types;
pub use client::{
    builder::{ClientBuilder, ClientStartError, trust},
    events::{ClientEvents, InboxLimits},
    handle::{Client, ClientError},
    transport,
};
pub use fetch::{
    endpoint::{EndpointError, HttpEndpoint},
    jwks::fetch_jwks,
    signature::verify_signature,
};
pub use http::{
    MountedRequest, Request,
    origin::{OriginError, OriginPattern},
    proxy::{ProxyError, ProxyHeader, TrustedProxy},
};
pub use jwt::{Jwt, JwtError, JwtKeyError, JwtKeys, JwtProof, JwtSettings};
pub use net::{source::Stream, tls};
pub use redis::{Emitter, RedisConfig, RedisError, SessionEntry, Sessions};
pub use rustls;
#[doc(hidden)]
pub use server::log::Operation;
pub use server::{
    builder::{ServerBuilder, StartError},
    config::{Config, ConfigError},
    endpoint::{Endpoint, ListenAddress},
    events::Events,
    handle::{Handle, HandleError, RoomState, VirtualPeer},
    hooks::{
        AuthDecision, AuthRequest, IntoAuthDecision, UpgradeDecision,
        changes::{PeerLeft, PeerOffline, PeerOnline},
        frames::{FrameDecision, FrameRequest, IntoFrameDecision},
        joins::{IntoJoinDecision, JoinDecision, JoinRequest},
        states::StateRequest,
    },
    mount::AcceptedUpgrade,
    running::{Crashed, Server},
    stats::{
        CloseCounts, ClosedBy, RedisStats, RoundTrips, ServerStats, TransportStats, UpgradeCounts,
        WebhookStats,
    },
};
pub use webhook::events::WebhookSettings;
pub use ws::deflate::Compression;
