//! A client: how it comes online and stays so, who else is there, and what it is told.
//!
//! [`Client`] is a state machine like [the server's](crate::server). It is told one fact at a time
//! with [`Client::handle`]; then its [actions](Action) are fetched with [`Client::poll_action`]
//! until there are none, and carried out in order; then [`Client::poll_timeout`] says when it wants
//! to be called again at the latest. What the caller wants is an [`Operation`] with a name, and is
//! answered once, by [`Action::Finish`].
//!
//! ```
//! use symple_engine::{Timestamp, client::*, server::Text};
//!
//! // A counter will do for an example; see `Random` for what production needs.
//! let mut counter = 0_u8;
//! let mut client = Client::new(Config::new("alice".parse()?), move |bytes: &mut [u8]| {
//!     counter += 1;
//!     bytes.fill(counter);
//! });
//!
//! let now = Timestamp::ZERO;
//! client.handle(now, Input::Operation { id: OperationId(1), operation: Operation::Connect });
//! let Some(Action::Connect { conn }) = client.poll_action() else { panic!() };
//! client.handle(now, Input::Opened { conn });
//! let Some(Action::Send { text }) = client.poll_action() else { panic!() };
//! assert_eq!(&*text, r#"{"type":"auth","user":"alice"}"#);
//!
//! let welcome = r#"{"type":"welcome","protocol":"symple/4","status":200,
//!     "peer":{"user":"alice","id":"7gf","name":"alice","online":true},"rooms":["alice"]}"#;
//! client.handle(now, Input::Text { conn, text: Text::from(welcome) });
//! assert_eq!(client.status(), Status::Online);
//! while let Some(action) = client.poll_action() {
//!     match action {
//!         Action::Event(Event::Online { peer, .. }) => assert_eq!(peer.id, "7gf"),
//!         Action::Finish { id, result } => assert_eq!((id, result), (OperationId(1), Ok(Reply::Done))),
//!         // It tells of itself, and finds out when it has been told of everyone else.
//!         Action::Send { .. } => {}
//!         other => panic!("{other:?}"),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//! - An [`Operation`] is finished exactly once, unless it is [cancelled](Input::Cancel).
//! - A frame is sent at most once. Those of one client are sent in the order of their operations.
//!   What was handed to a connection that is lost may be lost with it; whoever must know
//!   [flushes](Operation::Flush), or makes a [request](Operation::Request).
//! - Everything has a [limit](ClientLimits), whatever the server does. What is dropped is
//!   [counted](Stats).
//! - The same inputs at the same times with the same randomness give the same actions.

mod action;
mod asked;
mod backoff;
mod calls;
mod config;
mod connection;
mod ending;
mod error;
mod event;
mod frame;
mod incoming;
mod input;
mod machine;
mod operations;
mod outgoing;
mod presence;
mod queue;
mod requests;
mod rooms;
mod roster;
mod states;
mod stats;

pub use action::{Action, Reply};
pub use calls::{CallEnd, CallEvent, CallId, CallInfo, CallState, Callee, Signal};
pub use config::{
    CallConfig, ClientLimits, Config, OfflinePolicy, QueueLimits, ReconnectConfig, TokenSource,
};
pub use ending::{CLOSE_CODES, End, Ending, HTTP_STATUSES};
pub use error::OperationError;
pub use event::Event;
pub use frame::{Frame, node_matches};
pub use input::{
    ConnectFailure, ConnectionId, Input, Operation, OperationId, TokenRequest, TokenUnavailable,
};
pub use machine::{Client, Status};
pub use outgoing::{MAX_RECORD, Outgoing, OutgoingError};
pub use roster::{PeerRecord, Roster};
pub use stats::Stats;
