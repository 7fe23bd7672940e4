//! How a node is set up.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use symple_proto::Limits;

use super::HookConfig;

/// How a node behaves. [`Config::default`] has the values of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Clients need a token with a session behind it (R-A4). Off.
    pub authentication: bool,
    /// The host's hook is asked about every authentication (R-A5). Off.
    pub hook: bool,
    /// Clients may join and leave rooms (R-R2, R-R3). On.
    pub dynamic_rooms: bool,
    /// Who may send to a room (R-M3).
    pub room_send: RoomSend,
    /// Who is told of whom (R-P7).
    pub presence: PresenceMode,
    /// How long a connection may take to send `auth`, and how long the decision about it may take
    /// (R-A2). 10 s; zero is for ever.
    pub auth_timeout: Duration,
    /// What clients may send.
    pub limits: Limits,
    /// How many connections there may be (R-L2).
    pub connections: ConnectionLimits,
    /// How fast a peer may send (R-L3).
    pub rate: Option<RateLimit>,
    /// How many bytes of its roster a newcomer is sent at once; it must have read them before it is
    /// sent more (R-L4). 64 KiB.
    pub roster_burst: usize,
    /// How many deliveries a call of the application's, a shutdown or the death of another node
    /// may cause at once; what is left is done with the next [`Timeout`](super::Input::Timeout).
    /// 4096.
    pub work_burst: u64,
    /// How long sessions live and how often they are looked at (R-S2).
    pub sessions: SessionConfig,
    /// The node has a bus: it delivers what backends emit on it (R-S3), and is one of several
    /// nodes that are one server (SPEC §10). None.
    pub cluster: Option<ClusterConfig>,
    /// Which hooks the application has beside that of authentication (R-H1 to R-H3). None.
    pub hooks: HookConfig,
    /// The host is told what happens, with [`Action::Event`](super::Action::Event). Off.
    pub events: bool,
    /// Whether the host is told of clients that are refused
    /// ([`Event::Refused`](super::Event::Refused)) also without [`events`](Self::events): it writes them
    /// into a log.
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
            events: false,
            refusals: false,
        }
    }
}

impl Config {
    /// Who a client is must be proved: what it writes of its rooms does not count (R-A6).
    pub(super) fn proves(&self) -> bool {
        self.authentication || self.hook
    }

    /// Anyone may send to any room (R-M3).
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

/// How many connections there may be (R-L2). Zero is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionLimits {
    /// In all. No limit.
    pub total: usize,
    /// From one address; the addresses of an IPv6 /64 are one. No limit.
    pub per_address: usize,
    /// That are not authenticated. Past it the oldest that have sent nothing give way, those of
    /// an address with more than a quarter of the limit first. 1024.
    pub unauthenticated: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { total: 0, per_address: 0, unauthenticated: 1024 }
    }
}

/// How fast a peer may send (R-L3), in units: a frame of any kind costs one, and more where it is
/// large or reaches many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Units a second, over time. 200; at least 1.
    pub units_per_second: u32,
    /// Units at once, after a time of silence. 400; at least 1.
    pub burst: u32,
    /// A frame costs one more unit for each so many bytes. 8 KiB; zero: bytes cost nothing.
    pub bytes_per_unit: usize,
    /// A frame costs one more unit for each so many deliveries that it causes, presence included;
    /// to look at 16 members of a room who are not reached is one. 250; zero: deliveries cost
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
    /// How long a session lives after an authentication or a frame of its peer. It is extended at
    /// most once in a quarter of that time and connection. None: sessions are left as they are.
    pub ttl: Option<Duration>,
    /// How often it is looked whether the session of a peer is still there. 30 s; zero is never.
    pub check_interval: Duration,
    /// A session need not name its user: the client then is who it says it is (R-A4), so whoever
    /// has the token of such a session can be any user. Off.
    pub user_optional: bool,
    /// Which members of a session others see (R-A4). All but `private`.
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

/// Which members of a session stand in its peer's public record (R-A4). The client itself is told
/// of the others, too; of `private` nobody is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PublicMembers {
    /// All but `private`.
    #[default]
    All,
    /// These, and `user` and `name` in any case; `private` never, even if it is listed.
    Only(Vec<String>),
}

/// How the nodes of a cluster watch over each other (R-C2).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// How often a node says that it is alive. 2 s.
    pub heartbeat: Duration,
    /// After how long a silence a node is taken for dead and its peers for offline; it is looked
    /// for four times a heartbeat. 6 s; more than two heartbeats.
    pub timeout: Duration,
    /// About how many bytes of the peers of other nodes are asked for at a time, of all those nodes
    /// together; the rest is asked for as it arrives. 256 KiB.
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
