//! How a client is set up.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use symple_proto::{Fields, RawJson, RoomName, Token, UserName};

/// How a client behaves. [`Config::new`] has the defaults that are named here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Who the client says it is (R-A1).
    pub user: UserName,
    /// How it wants to be called (R-A1); its user without one.
    pub name: Option<String>,
    /// Where its token comes from (R-A4). None.
    pub token: TokenSource,
    /// The `data` of the `auth` frame. None.
    pub auth_data: Option<RawJson>,
    /// Further members of the `auth` frame. None.
    pub auth: Fields,
    /// The extensions that the server is asked for (R-X1). None: some servers show what stands in
    /// an `auth` frame to others.
    pub extensions: Vec<String>,
    /// The rooms that the client wants to be in from the start. They stand in the `auth` frame,
    /// too, which is enough where nothing is proved (R-A3).
    pub rooms: Vec<RoomName>,
    /// What the client tells of itself beside its address and name (R-P4): capabilities, a status,
    /// anything. At most [`MAX_RECORD`](super::MAX_RECORD) bytes. None.
    pub record: Fields,
    /// Whether the client tells of itself and asks others to do so when it comes online, as the
    /// JavaScript client does. On.
    pub probe: bool,
    /// What becomes of frames while the client is not online. [`OfflinePolicy::Refuse`].
    pub offline: OfflinePolicy,
    /// How long to wait between attempts.
    pub reconnect: ReconnectConfig,
    /// What is too long or too much.
    pub limits: ClientLimits,
    /// Calls between peers are handled by the client. None: their frames are messages like any
    /// other.
    pub calls: Option<CallConfig>,
}

impl Config {
    /// A client of that user with defaults for everything else.
    #[must_use]
    pub fn new(user: UserName) -> Self {
        Self {
            user,
            name: None,
            token: TokenSource::default(),
            auth_data: None,
            auth: Fields::new(),
            extensions: Vec::new(),
            rooms: Vec::new(),
            record: Fields::new(),
            probe: true,
            offline: OfflinePolicy::default(),
            reconnect: ReconnectConfig::default(),
            limits: ClientLimits::default(),
            calls: None,
        }
    }
}

/// Where the token of a client comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenSource {
    /// The client has none.
    #[default]
    None,
    /// It is always this one.
    Fixed(Token),
    /// The application is asked before each attempt, with
    /// [`Action::AskToken`](super::Action::AskToken).
    Ask,
}

/// What becomes of frames that are sent while the client is not online.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OfflinePolicy {
    /// They are refused with [`OperationError::Offline`](super::OperationError::Offline).
    #[default]
    Refuse,
    /// They wait, in order, and are sent when the client is online again. What does not fit is
    /// refused, and what waits too long; nothing is dropped silently.
    Queue(QueueLimits),
}

/// How much may wait while a client is not online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueLimits {
    /// How many frames. 1000.
    pub count: usize,
    /// How many bytes of frames. 1 MiB.
    pub bytes: usize,
    /// How long a frame may wait. 60 s; zero is for ever.
    pub age: Duration,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { count: 1000, bytes: 1024 * 1024, age: Duration::from_secs(60) }
    }
}

/// How a client comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReconnectConfig {
    /// Whether it comes back at all. On.
    pub enabled: bool,
    /// The longest wait before the first attempt; it doubles with each. Each wait is a random
    /// part of it. 0.5 s.
    pub start: Duration,
    /// What it grows to. 30 s.
    pub cap: Duration,
    /// How long the client must have been online for the waits to begin anew. 10 s.
    pub reset_after: Duration,
    /// The longest wait before the first attempt where the server has said that it shuts down
    /// (SPEC §12). 5 s.
    pub after_shutdown: Duration,
    /// The longest time that a server may ask to stay away (R-L2). 5 min.
    pub max_retry_after: Duration,
    /// How many attempts in a row may fail. No limit.
    pub max_attempts: Option<u32>,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            start: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            reset_after: Duration::from_secs(10),
            after_shutdown: Duration::from_secs(5),
            max_retry_after: Duration::from_secs(300),
            max_attempts: None,
        }
    }
}

/// What is too long or too much for a client. For durations, zero is for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientLimits {
    /// How long the application may take to find a token. 30 s.
    pub token_timeout: Duration,
    /// How long it may take to open a connection, the HTTP upgrade included. 20 s.
    pub connect_timeout: Duration,
    /// How long the server may take to answer `auth`. 20 s.
    pub auth_timeout: Duration,
    /// After how much silence the server is pinged. 30 s: a server that pings by itself (R-T3) is
    /// not.
    pub ping_interval: Duration,
    /// How long the server may take to answer a ping. 10 s.
    pub pong_timeout: Duration,
    /// How long a closing handshake may take. 5 s.
    pub close_timeout: Duration,
    /// How long a `join`, a `leave` or an `auth` may be without an answer before the client finds
    /// out whether it has been passed over. 2 s; not zero.
    pub answer_after: Duration,
    /// How long a frame to the client itself may take to come back, counted from the last presence
    /// that arrived. 30 s.
    pub fence_timeout: Duration,
    /// How long answers to a probe are waited for where the server itself tells nothing of those
    /// who are there (R-P3), as the Node server. 2 s.
    pub probe_grace: Duration,
    /// How long an answer to a request is waited for, where the caller does not say. 30 s.
    pub request_timeout: Duration,
    /// How many requests may wait for an answer. 1024.
    pub requests: usize,
    /// How many other operations may wait for an answer of the server. 1024.
    pub operations: usize,
    /// How many rooms the client may want to be in. 256 (R-R4).
    pub rooms: usize,
    /// How many rooms the server may put it in. 4096.
    pub held_rooms: usize,
    /// How many peers are known at most; of more nothing is remembered. 100 000.
    pub roster: usize,
    /// How many bytes all that is known of them may take. 64 MiB.
    pub roster_bytes: usize,
    /// The largest frame that is sent, in bytes. 1 MiB (R-L1).
    pub message: usize,
    /// How many answers the client gives by itself in a second, to probes and to calls while it
    /// is busy; four times as many at once. 50.
    pub automatic_answers: u32,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            token_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(20),
            auth_timeout: Duration::from_secs(20),
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            answer_after: Duration::from_secs(2),
            fence_timeout: Duration::from_secs(30),
            probe_grace: Duration::from_secs(2),
            request_timeout: Duration::from_secs(30),
            requests: 1024,
            operations: 1024,
            rooms: 256,
            held_rooms: 4096,
            roster: 100_000,
            roster_bytes: 64 * 1024 * 1024,
            message: 1024 * 1024,
            automatic_answers: 50,
        }
    }
}

/// How calls between peers are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallConfig {
    /// How many calls there may be at once; who calls past it is told that the client is busy. 1.
    pub max_calls: usize,
    /// How long a call rings before the caller gives up. 45 s; zero is for ever.
    pub ring_timeout: Duration,
    /// How long a call that comes in may wait to be taken. 60 s; zero is for ever.
    pub incoming_timeout: Duration,
    /// How long a call that was taken may be without a signal of the other side, or media: what
    /// was sent to take it may not have arrived, as between peers that share no room (R-M3). 30 s;
    /// zero is for ever.
    pub signal_timeout: Duration,
}

impl Default for CallConfig {
    fn default() -> Self {
        Self {
            max_calls: 1,
            ring_timeout: Duration::from_secs(45),
            incoming_timeout: Duration::from_secs(60),
            signal_timeout: Duration::from_secs(30),
        }
    }
}
