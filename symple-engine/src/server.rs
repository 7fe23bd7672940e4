//! A node: connections, peers, rooms, and who is told what.
//!
//! [`Server`] is a state machine. It is told one fact at a time with [`Server::handle`]; then its
//! [actions](Action) are fetched with [`Server::poll_action`] until there are none, and carried
//! out in order; then [`Server::poll_timeout`] says when it wants to be called again at the
//! latest. That is all there is to driving it:
//!
//! ```
//! use std::net::Ipv4Addr;
//! use symple_engine::{Timestamp, server::{Action, Config, ConnId, Input, Server}};
//!
//! // A counter will do for an example; see `Random` for what production needs.
//! let mut counter = 0_u8;
//! let mut server = Server::new(Config::default(), move |bytes: &mut [u8]| {
//!     counter += 1;
//!     bytes.fill(counter);
//! });
//!
//! let now = Timestamp::ZERO;
//! let conn = ConnId::new(0, 0);
//! server.handle(now, Input::Connected { conn, address: Ipv4Addr::LOCALHOST.into() })?;
//! server.handle(now, Input::Text { conn, text: r#"{"type":"auth","user":"alice"}"# })?;
//!
//! let mut sent = Vec::new();
//! while let Some(action) = server.poll_action() {
//!     if let Action::Send { text, to, .. } = action {
//!         sent.push((text.to_string(), to.to_vec()));
//!     }
//! }
//! assert_eq!(sent.len(), 1);
//! assert!(sent[0].0.starts_with(r#"{"type":"welcome","protocol":"symple/4""#));
//! assert_eq!(sent[0].1, [conn]);
//!
//! // Ten seconds after it was opened the connection would have been closed.
//! assert_eq!(server.poll_timeout(), Some(Timestamp::from_millis(10_000)));
//! # Ok::<(), symple_engine::server::EngineError>(())
//! ```
//!
//! The same inputs at the same times with the same [`Random`] give the same actions.

mod action;
mod admission;
mod batches;
mod claim;
mod cluster;
mod config;
mod error;
mod expiry;
mod flow;
mod frames;
mod hooks;
mod host;
mod input;
mod jobs;
mod listing;
mod machine;
mod membership;
mod newcomers;
mod outbox;
mod peer;
mod pending;
mod presence;
mod registry;
mod remotes;
mod rooms;
mod roster;
mod routing;
mod sessions;
mod shutdown;
mod split_table;
mod states;
mod stats;
mod timers;
mod waiting;

pub use action::{Action, Close, ClosedBy, Event, OfflineReason, RemoteChange, Text};
pub use config::{
    ClusterConfig, Config, ConnectionLimits, PresenceMode, PublicMembers, RateLimit, RoomSend,
    SessionConfig, StateConfig,
};
pub use error::EngineError;
pub use hooks::{
    Changed, FrameVerdict, HookConfig, JoinVerdict, PeerChange, Question, QuestionAbout,
};
pub use host::{ClusterNode, ClusterPeer, PeerInfo, RoomInfo};
pub use input::{
    AllowedUser, ConnId, HostCall, Input, RequestId, SessionLookup, TransportFault, Verdict, Whom,
};
pub use listing::{ListCursor, Page, PeerFilter};
pub use machine::{Random, Server};
pub use newcomers::{Newcomers, Place, party};
pub use stats::{FrameCounts, FrameKind, Latency, Stats, StatusCounts};
