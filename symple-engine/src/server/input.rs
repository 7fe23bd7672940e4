//! What the engine is told.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{fmt, net::IpAddr, time::Duration};

use symple_proto::{Fields, Token, UserName};

use super::{FrameVerdict, JoinVerdict};

/// A connection, named by the driver: a slot that it may use again, and how often it has.
///
/// The engine keeps its connections by slot, so slots should be small and dense; they are below
/// 2^31. A pair of slot and generation must never come back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Which of the driver's slots.
    pub slot: u32,
    /// Which connection in that slot.
    pub generation: u32,
}

impl ConnId {
    /// The connection of that slot and generation.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// The first slot that is none of the driver's: peers of other nodes have the slots from
    /// there on, so that all tables can name a peer by four bytes, wherever it is.
    pub(super) const REMOTE: u32 = 1 << 31;

    /// The name of a peer of another node.
    pub(super) const fn remote(index: u32, generation: u32) -> Self {
        Self { slot: index | Self::REMOTE, generation }
    }

    /// It names a peer of another node: it has no connection here.
    pub(super) const fn is_remote(self) -> bool {
        self.slot & Self::REMOTE != 0
    }

    /// Where it stands among the connections, or among the peers of other nodes.
    pub(super) const fn index(self) -> usize {
        (self.slot & !Self::REMOTE) as usize
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.slot, self.generation)
    }
}

/// A question to the host; never used twice. The default is that of no question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// One fact from outside.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A WebSocket connection was opened.
    Connected {
        /// Its name, in use for no other.
        conn: ConnId,
        /// The client's address (R-T6). The unspecified one is that of a client without an address:
        /// it is counted for nobody (R-L2).
        address: IpAddr,
    },
    /// A text arrived from a connection: a text frame, or a binary frame that holds UTF-8 (R-T1).
    Text {
        /// From where.
        conn: ConnId,
        /// What.
        text: &'a str,
    },
    /// So many frames arrived from a connection that carry no text of their own: control frames,
    /// and fragments but for the last of a message. They count as frames (R-L3).
    Frames {
        /// From where.
        conn: ConnId,
        /// How many.
        count: u32,
    },
    /// A client whose connection is [paused](super::Action::Pause) has left, or said goodbye.
    /// What it had sent before may follow as texts, without regard to pauses; then
    /// [`Input::Disconnected`].
    Departed {
        /// Which connection.
        conn: ConnId,
    },
    /// The answer to [`Action::AwaitDrain`](super::Action::AwaitDrain).
    Drained {
        /// Which connection.
        conn: ConnId,
    },
    /// A text was not queued for a receiver, because too much waits there of what the sender, or
    /// everyone, has addressed to it (R-L8).
    Undelivered {
        /// Who had sent it; as in [`Action::Send`](super::Action::Send).
        sender: ConnId,
        /// The text.
        text: &'a str,
    },
    /// A connection broke a rule of the transport.
    Fault {
        /// Which connection.
        conn: ConnId,
        /// Which rule.
        fault: TransportFault,
    },
    /// A connection is gone, whoever closed it; its slot may be used again.
    Disconnected {
        /// Which connection.
        conn: ConnId,
    },
    /// The answer to [`Action::LoadSession`](super::Action::LoadSession).
    SessionLoaded {
        /// The question.
        request: RequestId,
        /// What was found.
        session: SessionLookup<'a>,
    },
    /// The answer to [`Action::CheckSession`](super::Action::CheckSession), where it is known.
    SessionChecked {
        /// Whose peer.
        conn: ConnId,
        /// Whose session.
        token: &'a Token,
        /// It is still there.
        live: bool,
    },
    /// The bus can be used (again), and everything that was subscribed to is. What was published
    /// meanwhile is lost.
    BusUp,
    /// The bus cannot be used.
    BusDown,
    /// The bus has taken so many bytes of what was to be
    /// [published](super::Action::Publish) since the last such input: the oldest of it, counted
    /// in payloads. What was published before [`Input::BusDown`] and not taken never will be.
    BusTaken {
        /// How many bytes.
        bytes: u64,
    },
    /// The bus has delivered what was published on a channel that is subscribed to; from one node
    /// in the order in which it was published.
    BusMessage {
        /// Which channel.
        channel: &'a str,
        /// What was published, by whomever: it is not trusted to make sense.
        payload: &'a [u8],
    },
    /// The answer to [`Action::Authenticate`](super::Action::Authenticate).
    AuthDecided {
        /// The question.
        request: RequestId,
        /// What the hook says.
        verdict: Verdict,
    },
    /// The answer to an [`Action::Ask`](super::Action::Ask) about a join (R-H1).
    JoinDecided {
        /// The question.
        request: RequestId,
        /// What the hook says.
        verdict: JoinVerdict,
    },
    /// The answer to an [`Action::Ask`](super::Action::Ask) about a frame (R-H2).
    FrameDecided {
        /// The question.
        request: RequestId,
        /// What the hook says.
        verdict: FrameVerdict,
    },
    /// The answer to [`Action::Claim`](super::Action::Claim).
    Claimed {
        /// The question.
        request: RequestId,
        /// Which node has it; none if that cannot be told.
        holder: Option<&'a str>,
    },
    /// The time that [`Server::poll_timeout`](super::Server::poll_timeout) named has come. Also
    /// harmless at any other time.
    Timeout,
    /// Shut down (SPEC §12): tell every peer, close every connection, accept no more.
    Shutdown {
        /// Spread the closing over this time; zero closes all at once.
        drain: Duration,
    },
    /// A call of the host's.
    Host(HostCall<'a>),
}

/// Which rule of the transport a connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportFault {
    /// A message over the limit that is in force, noticed at its header (R-L1). The driver must
    /// not read on before [`Action::Resume`](super::Action::Resume).
    TooBig {
        /// How many bytes the message was going to have, as far as is known.
        size: u64,
        /// The limit that was in force.
        limit: usize,
    },
    /// A text or binary message that is not UTF-8 (R-T1).
    InvalidUtf8,
    /// The bytes are no WebSocket frames.
    Protocol,
    /// A message in more fragments than a message may have (R-L3).
    TooManyFragments,
    /// A message that has begun was not complete in time (R-L9).
    Unfinished,
    /// The connection does not take what it is sent (R-L4).
    TooSlow,
}

/// What a look-up of a session found (R-A4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionLookup<'a> {
    /// The text that is stored.
    Found(&'a str),
    /// Nothing is stored.
    Missing,
    /// It cannot be told.
    Unavailable,
}

/// What the hook says (R-A5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The peer may come in.
    Allow {
        /// Who it is.
        user: AllowedUser,
        /// The rooms it is put in, beside those of its session. Names that are no rooms do not
        /// count.
        rooms: Vec<String>,
        /// Members that go over those of the peer, for everyone to see. `user`, `id`, `online`,
        /// `host`, `token`, `rooms`, `type`, `private` and `__proto__` do not count. `readonly` and
        /// `hidden` say that it is read-only or hidden (R-H4): with any value but `false` and `null`.
        peer: Fields,
    },
    /// It may not.
    Deny {
        /// What the client is told; `Authentication failed` without one.
        message: Option<Box<str>>,
    },
}

/// Who a client is that a hook allows (R-A5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedUser {
    /// This user, whatever the client or its session says.
    Named(UserName),
    /// Who its session says it is; without one, who it says it is, which the hook has checked.
    Claimed,
}

/// What the host may ask of the engine.
///
/// [`Server::handle`](super::Server::handle) answers with the number of peers that were reached.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HostCall<'a> {
    /// Deliver a frame to where its `to` says, as it stands (R-S3): the host is trusted.
    Emit {
        /// The frame.
        text: &'a str,
    },
    /// Deliver a frame to every peer of the cluster, as it stands, whatever its `to`.
    Broadcast {
        /// The frame.
        text: &'a str,
    },
    /// Close all sessions of this node, but for the host's own peers: `error` 403, close 4409.
    CloseAll {
        /// What they are told.
        reason: &'a str,
    },
    /// Deliver a frame to one session, as it stands, whatever its `to`.
    Send {
        /// Which session: its id, or its full address.
        peer: &'a str,
        /// The frame.
        text: &'a str,
    },
    /// Close a session, or all sessions of a user: `error` 403, close 4409.
    Kick {
        /// Whom.
        whom: Whom<'a>,
        /// What they are told.
        reason: &'a str,
    },
    /// Put a session in a room, whatever `dynamicRooms` says; it is told with `join:ok`.
    Join {
        /// Which session: its id, or its full address.
        peer: &'a str,
        /// Which room.
        room: &'a str,
    },
    /// Take a session out of a room; it is told with `leave:ok`.
    Leave {
        /// Which session: its id, or its full address.
        peer: &'a str,
        /// Which room.
        room: &'a str,
    },
    /// Take all members out of a room; they are told with `leave:ok`.
    CloseRoom {
        /// Which room.
        room: &'a str,
    },
    /// Add a peer of the host's own, seen and addressed like any other.
    ///
    /// It has a connection in name only: what it is sent comes as
    /// [`Action::Send`](super::Action::Send), what it says goes in as [`Input::Text`], and it ends
    /// with [`Input::Disconnected`].
    AddPeer {
        /// Its connection, in use for no other.
        conn: ConnId,
        /// Its user.
        user: UserName,
        /// What is known of it: `name` and what the application wants.
        peer: Fields,
        /// The rooms it is put in, beside its user's own.
        rooms: &'a [String],
    },
}

/// Whom a kick is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom<'a> {
    /// One session: its id, or its full address.
    Peer(&'a str),
    /// All sessions of a user.
    User(&'a str),
}
