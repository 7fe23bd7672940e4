//! How a node is set up.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use symple_proto::{Limits, state::StateLimits};

use super::HookConfig;

/// How a node behaves. [`Config::default`] has the values of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Whether clients need a token with a session behind it (R-A4). Off by default.
    pub authentication: bool,
    /// Whether the application is asked about every authentication (R-A5). Off by default.
    pub hook: bool,
    /// Whether clients may join and leave rooms (R-R2, R-R3). On by default.
    pub dynamic_rooms: bool,
    /// Who may send to a room (R-M3).
    pub room_send: RoomSend,
    /// Who is told of whom (R-P7).
    pub presence: PresenceMode,
    /// The longest time that a connection may take to send `auth`, and that the decision about it may
    /// take (R-A2). 10 s by default; zero means no limit.
    pub auth_timeout: Duration,
    /// The limits on what clients send.
    pub limits: Limits,
    /// The limits on the number of connections (R-L2).
    pub connections: ConnectionLimits,
    /// The rate limit of a peer (R-L3). `None` means no limit.
    pub rate: Option<RateLimit>,
    /// The bytes of its roster that a new peer is sent at once. It must have read them before it is sent
    /// more (R-L4). A batch of presence (R-X2) has no more, and never more than 64 KiB. 64 KiB by default.
    pub roster_burst: usize,
    /// The number of deliveries that a call of the application, a shutdown or the death of another node
    /// may cause at once. The rest is done with the next [`Timeout`](super::Input::Timeout). 4096 by
    /// default.
    pub work_burst: u64,
    /// How long sessions live and how often they are looked at (R-S2).
    pub sessions: SessionConfig,
    /// The settings of a node that has a bus: it delivers what backends emit (R-S3), and together with
    /// other nodes it is one server (SPEC §10). `None` by default.
    pub cluster: Option<ClusterConfig>,
    /// The hooks that the application has, beside the one for authentication (R-H1 to R-H3). None by
    /// default.
    pub hooks: HookConfig,
    /// The limits on the states of rooms (R-K3, R-K4).
    pub state: StateConfig,
    /// Whether events are reported, with [`Action::Event`](super::Action::Event). Off by default.
    pub events: bool,
    /// Whether changes with peers of other nodes are reported, too, as
    /// [`Event::Elsewhere`](super::Event::Elsewhere). Off by default.
    pub remote_events: bool,
    /// Whether refused clients are reported ([`Event::Refused`](super::Event::Refused)) even if
    /// [`events`](Self::events) is off, so that a log can have them. Off by default.
    pub refusals: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            authentication: false,
            hook: false,
            dynamic_rooms: true,
            room_send: RoomSend::default(),
            presence: PresenceMode::default(),
            auth_timeout: Duration::from_secs(10),
            limits: Limits::default(),
            connections: ConnectionLimits::default(),
            rate: Some(RateLimit::default()),
            roster_burst: 64 * 1024,
            work_burst: 4096,
            sessions: SessionConfig::default(),
            cluster: None,
            hooks: HookConfig::default(),
            state: StateConfig::default(),
            events: false,
            remote_events: false,
            refusals: false,
        }
    }
}

impl Config {
    /// True if clients must prove who they are. The rooms that they ask for are ignored then (R-A6).
    pub(super) fn proves(&self) -> bool {
        self.authentication || self.hook
    }

    /// True if anyone may send to any room (R-M3).
    pub(super) fn anyone_sends(&self) -> bool {
        match self.room_send {
            RoomSend::Auto => self.dynamic_rooms,
            RoomSend::Anyone => true,
            RoomSend::Members => false,
        }
    }
}

/// Who may send to a room (R-M3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomSend {
    /// Anyone where clients may join any room anyway, members where they may not.
    #[default]
    Auto,
    /// Members of the room; others reach those members with whom they share another room.
    Members,
    /// Anyone, as with the Node server.
    Anyone,
}

/// Who is told of whom (SPEC §6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PresenceMode {
    /// Everything that keeps rosters right (R-P1).
    #[default]
    Full,
    /// What the Node server does: online on authentication, offline on disconnect (R-P7).
    Classic,
}

/// Limits on the number of connections (R-L2). Zero means no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionLimits {
    /// The limit for all connections together. No limit by default.
    pub total: usize,
    /// The limit for each address. IPv6 addresses with the same prefix of
    /// [`ipv6_prefix`](Self::ipv6_prefix) bits count as one. No limit by default.
    pub per_address: usize,
    /// How many bits IPv6 addresses have in common that count as one address, at most 128. 64 by
    /// default: that is what a customer of a provider has at least; many have 56.
    pub ipv6_prefix: u8,
    /// The limit for connections that are not authenticated. Beyond it the oldest one that has sent
    /// nothing is closed, if possible one of an address that has more than a quarter of the limit. 1024
    /// by default.
    pub unauthenticated: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { total: 0, per_address: 0, ipv6_prefix: 64, unauthenticated: 1024 }
    }
}

/// The rate limit of a peer (R-L3), in units. A frame of any kind costs one unit, and more if it is
/// large or reaches many peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Units per second, in the long run. 200 by default; at least 1.
    pub units_per_second: u32,
    /// Units at once, after a time of silence. 400 by default; at least 1.
    pub burst: u32,
    /// The number of bytes that cost one more unit. 8 KiB by default; with zero, bytes cost nothing.
    pub bytes_per_unit: usize,
    /// The number of deliveries that cost one more unit, presence included. Looking at 16 members of a
    /// room who are not reached counts as one delivery. 250 by default; with zero, deliveries cost
    /// nothing.
    pub deliveries_per_unit: usize,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            units_per_second: 200,
            burst: 400,
            bytes_per_unit: 8 * 1024,
            deliveries_per_unit: 250,
        }
    }
}

/// How long sessions live and how often they are looked at (R-S2).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionConfig {
    /// How long a session lives after an authentication or a frame of its peer. Each connection extends
    /// it at most once in a quarter of that time. With `None`, the default, sessions are never extended.
    pub ttl: Option<Duration>,
    /// How often the server checks whether the session of a peer still exists. 30 s by default; zero
    /// means never.
    pub check_interval: Duration,
    /// Whether a session may be without a user. The client then is the user that it claims to be
    /// (R-A4), so whoever has the token of such a session can be any user. Off by default.
    pub user_optional: bool,
    /// The members of a session that others see (R-A4). All but `private` by default.
    pub public: PublicMembers,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            ttl: None,
            check_interval: Duration::from_secs(30),
            user_optional: false,
            public: PublicMembers::default(),
        }
    }
}

/// The members of a session that are in its peer's public record (R-A4). The client itself also gets
/// the others. Nobody gets `private`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PublicMembers {
    /// All but `private`.
    #[default]
    All,
    /// Only these, and always `user` and `name`. `private` is left out even if it is listed.
    Only(Vec<String>),
}

/// The limits on the states of rooms (R-K3, R-K4).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateConfig {
    /// The limits on one room.
    pub limits: StateLimits,
    /// The bytes of all states on this node together. Past it those without members end, and then no
    /// state may grow. 256 MiB by default; zero means no limit.
    pub total_bytes: usize,
    /// How long a state lives after its room has lost its last member. 60 s by default; with zero it
    /// ends at once.
    pub ttl: Duration,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            limits: StateLimits::default(),
            total_bytes: 256 * 1024 * 1024,
            ttl: Duration::from_secs(60),
        }
    }
}

/// How the nodes of a cluster watch over each other (R-C2).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// How often a node tells the others that it is alive. 2 s by default.
    pub heartbeat: Duration,
    /// The silence after which a node is taken for dead and its peers for offline. It is checked four
    /// times per heartbeat. 6 s by default; more than two heartbeats.
    pub timeout: Duration,
    /// About how many bytes of records are requested from other nodes at a time, from all of them
    /// together. More is requested as these arrive. 256 KiB by default.
    pub pull_window: usize,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(2),
            timeout: Duration::from_secs(6),
            pull_window: 256 * 1024,
        }
    }
}
