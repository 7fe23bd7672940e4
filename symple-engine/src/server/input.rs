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
    /// The number of the slot.
    pub slot: u32,
    /// The number of the connection in that slot: it grows whenever the slot is used again.
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
        /// The connection that sent it.
        conn: ConnId,
        /// The text, not parsed.
        text: &'a str,
    },
    /// Frames arrived that carry no text of their own: control frames, and all fragments of a message
    /// but the last. They count towards the rate limit (R-L3).
    Frames {
        /// The connection that sent it.
        conn: ConnId,
        /// The number of frames.
        count: u32,
    },
    /// For a text that a connection has [caused](super::Action::Send::cause) the driver has worked as
    /// for so many more bytes: it has compressed it. They are charged like bytes that are read (R-L3).
    Work {
        /// The connection.
        conn: ConnId,
        /// The number of bytes.
        bytes: usize,
    },
    /// A client has left, or has sent a close frame, while its connection was
    /// [paused](super::Action::Pause). Texts that it had sent before may follow, although it is paused;
    /// then comes [`Input::Disconnected`].
    Departed {
        /// The connection.
        conn: ConnId,
    },
    /// More than 64 KiB, or so, are queued for a connection whose socket takes no more (R-P8). Presence that
    /// its client can be told later waits until [`Input::Drained`]. This may be left out: then all is
    /// queued.
    Behind {
        /// The connection.
        conn: ConnId,
    },
    /// The answer to [`Action::AwaitDrain`](super::Action::AwaitDrain).
    Drained {
        /// The connection.
        conn: ConnId,
    },
    /// A text was not queued for a receiver, because too many bytes wait there already that this
    /// sender, or all senders together, have addressed to it (R-L8).
    Undelivered {
        /// The sender, as in [`Action::Send`](super::Action::Send).
        sender: ConnId,
        /// The text.
        text: &'a str,
    },
    /// A connection broke a rule of the transport.
    Fault {
        /// The connection.
        conn: ConnId,
        /// The rule.
        fault: TransportFault,
    },
    /// A connection is gone, whoever closed it; its slot may be used again.
    Disconnected {
        /// The connection.
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
        /// The connection of the peer, as in the action.
        conn: ConnId,
        /// The token of the session, as in the action.
        token: &'a Token,
        /// Whether the session still exists.
        live: bool,
    },
    /// The bus can be used, for the first time or again. All subscriptions are in force. Messages that
    /// others published meanwhile are lost.
    BusUp,
    /// The bus cannot be used.
    BusDown,
    /// The bus has taken the oldest messages that were to be [published](super::Action::Publish).
    /// Messages that it had not taken before [`Input::BusDown`] are lost.
    BusTaken {
        /// The bytes of their payloads, since the last input of this kind.
        bytes: u64,
    },
    /// The bus has delivered a message of a channel that is subscribed to. Messages of one node come in
    /// the order in which it published them.
    BusMessage {
        /// The name of the channel.
        channel: &'a str,
        /// The message. Anybody may have published it, so it is not trusted.
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
        /// The id of the node that holds the key; `None` if the store did not say.
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
    /// The application calls.
    Host(HostCall<'a>),
}

/// A rule of the transport that a connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportFault {
    /// A message is over the limit, as its header says (R-L1). The driver must not read on before
    /// [`Action::Resume`](super::Action::Resume).
    TooBig {
        /// The size of the message in bytes, as far as its header said.
        size: u64,
        /// The limit that was in force.
        limit: usize,
    },
    /// A text or binary message that is not UTF-8 (R-T1).
    InvalidUtf8,
    /// The payload of a message cannot be decoded into a text.
    InvalidPayload,
    /// The bytes are not WebSocket frames.
    Protocol,
    /// A message in more fragments than a message may have (R-L3).
    TooManyFragments,
    /// A message that has begun was not complete in time (R-L9).
    Unfinished,
    /// The client does not read what it is sent (R-L4).
    TooSlow,
}

/// What a look-up of a session found (R-A4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionLookup<'a> {
    /// The text that is stored.
    Found(&'a str),
    /// The token itself proves who its holder is (R-V1): there is nothing stored behind it that would
    /// have to be extended or watched.
    Proved {
        /// What the token says, in the form of a session.
        session: &'a str,
        /// How long from now the proof holds; for ever without it.
        expires: Option<Duration>,
    },
    /// The token should prove who its holder is, and does not (R-V1).
    Refused {
        /// What the client is told, behind `Authentication failed: `.
        message: &'a str,
    },
    /// Nothing is stored.
    Missing,
    /// The store did not answer.
    Unavailable,
}

/// The answer of the authentication hook (R-A5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The peer may come in.
    Allow {
        /// The user that the peer becomes.
        user: AllowedUser,
        /// The rooms that it is put in, beside those of its session. Names that no room can have are
        /// ignored.
        rooms: Vec<String>,
        /// Members that are added to the public record of the peer, over those that it has. `user`,
        /// `id`, `online`, `host`, `token`, `rooms`, `type`, `private` and `__proto__` are ignored.
        /// `readonly` and `hidden` make it read-only or hidden (R-H4), with any value but `false` and
        /// `null`.
        peer: Fields,
        /// How long from now the peer may stay, unless it authenticates again (R-V1): then `error`
        /// 401 `Session expired`, and 4401. In any case no longer than its session or token allows.
        expires: Option<Duration>,
    },
    /// Whoever should decide cannot be reached: `error` 503, close 4503 (R-V2).
    Unavailable,
    /// The client is refused.
    Deny {
        /// What the client is told; `Authentication failed` without one.
        message: Option<Box<str>>,
    },
}

/// The user that an allowed client becomes (R-A5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedUser {
    /// This user, whatever the client or its session says.
    Named(UserName),
    /// The user of its session. Without a session, the user that the client claims to be: the hook has
    /// checked that claim.
    Claimed,
}

/// A call of the application.
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
        /// The session: its id, or its full address `user|id`.
        peer: &'a str,
        /// The frame.
        text: &'a str,
    },
    /// Close a session, or all sessions of a user: `error` 403, close 4409.
    Kick {
        /// The session or the user.
        whom: Whom<'a>,
        /// What they are told.
        reason: &'a str,
    },
    /// Put a session in a room, whatever `dynamicRooms` says; it is told with `join:ok`.
    Join {
        /// The session: its id, or its full address `user|id`.
        peer: &'a str,
        /// The name of the room.
        room: &'a str,
    },
    /// Take a session out of a room; it is told with `leave:ok`.
    Leave {
        /// The session: its id, or its full address `user|id`.
        peer: &'a str,
        /// The name of the room.
        room: &'a str,
    },
    /// Take all members out of a room; they are told with `leave:ok`.
    CloseRoom {
        /// The name of the room.
        room: &'a str,
    },
    /// Set keys of the state of a room (R-K4). No limit of the rate holds, and permissions neither. Returns 1 if
    /// that is done, and 0 if it waits for other nodes to tell of the state; where it is refused then,
    /// [`Event::StateNotSet`](super::Event::StateNotSet) says so.
    SetState {
        /// The name of the room.
        room: &'a str,
        /// The keys with their values, a JSON object; `null` deletes a key.
        set: &'a str,
    },
    /// Delete all keys of the state of a room (R-K4). Returns what [`SetState`](Self::SetState) does.
    ClearState {
        /// The name of the room.
        room: &'a str,
    },
    /// Ask for the state of a room as all nodes have it (R-K4). [`Action::StateRead`](super::Action::StateRead)
    /// answers: at once where this node knows the state, else when the others have told of it, within 300 ms. At
    /// most 1024 questions wait; past them it is [`EngineError::Busy`](super::EngineError::Busy).
    ReadState {
        /// The name of the room.
        room: &'a str,
        /// A number that the answer repeats.
        question: u64,
    },
    /// Keep the state of a room on this node, also without members, or do not any more (R-K4).
    PinState {
        /// The name of the room.
        room: &'a str,
        /// Whether it is kept.
        pinned: bool,
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
        /// Its public record: `name`, and whatever else the application wants others to see.
        peer: Fields,
        /// The rooms that it is put in, beside the room of its user.
        rooms: &'a [String],
    },
}

/// The sessions that a kick closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom<'a> {
    /// One session: its id, or its full address.
    Peer(&'a str),
    /// All sessions of a user.
    User(&'a str),
}
