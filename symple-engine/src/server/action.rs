//! What the engine wants done.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{fmt, net::IpAddr, ops::Deref, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use symple_proto::{Address, CloseCode, SessionError, Status, Token};

use super::{ConnId, EngineError, PeerChange, Question, RequestId};

/// An encoded frame, shared by all its receivers: cloning it copies no text.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(ByteString);

impl Text {
    /// The bytes of the text: UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }

    /// The bytes of the text: UTF-8.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(ByteString::from(text))
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }
}

impl TryFrom<Bytes> for Text {
    type Error = core::str::Utf8Error;

    /// Takes bytes that have been received, without copying them. They are checked here and never
    /// again.
    ///
    /// # Errors
    /// They are not UTF-8.
    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        ByteString::try_from(bytes).map(Self)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// What the driver must do. Actions are to be carried out in the order in which they come.
///
/// A driver must know all of them: one that it passes over is a fault. So this can be matched
/// without a wildcard, and whoever does so is told by the compiler when there is a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Queue the text for each of the connections, to be sent as one text frame.
    Send {
        /// The frame.
        text: Text,
        /// The receivers, each once.
        to: &'a [ConnId],
        /// The sender, if it addressed the text to these receivers directly and not to a room that
        /// they share with it (R-L8). Texts that one sender addresses to a receiver may fill at most
        /// a quarter of that receiver's outbound limit, and texts of all senders at most half. A text
        /// that does not fit is not queued: [`Input::Undelivered`](super::Input::Undelivered) answers.
        sender: Option<ConnId>,
        /// The connection that is charged for these deliveries (R-L3), if one is. Whatever else the driver
        /// does for them, [`Input::Work`](super::Input::Work) charges it for, too.
        cause: Option<ConnId>,
    },
    /// Report once, with [`Input::Drained`](super::Input::Drained), that nothing is queued for the
    /// connection any more. If nothing is queued now, report it now. If the connection closes first,
    /// nothing is reported.
    AwaitDrain {
        /// The connection.
        conn: ConnId,
    },
    /// Send a close frame behind what is queued and end the connection. Texts that still arrive from
    /// it may be handed in, even if it is paused: they are ignored.
    /// [`Input::Disconnected`](super::Input::Disconnected) answers when the connection is gone.
    Close {
        /// The connection.
        conn: ConnId,
        /// The code of the close frame.
        code: CloseCode,
        /// The reason in the close frame; at most 123 bytes.
        reason: &'static str,
        /// Whether to drop what is queued, because the receiver does not read. A frame that has been
        /// sent in part is still completed.
        discard: bool,
    },
    /// Change the size limit for messages of the connection (R-L1). A new connection begins with
    /// [`Limits::message_unauthenticated`](symple_proto::Limits::message_unauthenticated).
    SetMessageLimit {
        /// The connection.
        conn: ConnId,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Stop reading from the connection (R-L3, R-A11). Texts that have been read already may be
    /// handed in, or held back until [`Action::Resume`]. If the client leaves meanwhile,
    /// [`Input::Departed`](super::Input::Departed) reports it.
    Pause {
        /// The connection.
        conn: ConnId,
    },
    /// Read from the connection again. A message that was refused as too big is to be tried
    /// again: the limit may have been raised.
    Resume {
        /// The connection.
        conn: ConnId,
    },
    /// Look up the session behind a token (R-A4).
    /// [`Input::SessionLoaded`](super::Input::SessionLoaded) answers.
    LoadSession {
        /// To be repeated in the answer.
        request: RequestId,
        /// The token that the session is stored under.
        token: Token,
    },
    /// Check whether the session behind a peer's token still exists (R-S2).
    /// [`Input::SessionChecked`](super::Input::SessionChecked) answers. The answer may be left out, for
    /// example while the store is away: the peer then stays until the next check.
    CheckSession {
        /// The connection of the peer; to be repeated in the answer.
        conn: ConnId,
        /// The token that the session is stored under; to be repeated in the answer.
        token: Token,
    },
    /// Extend the life of a session, if it is there (R-S2). Nothing answers.
    TouchSession {
        /// The token that the session is stored under.
        token: Token,
        /// How long the session lives from now on, unless it is extended again.
        ttl: Duration,
    },
    /// Subscribe to a channel of the bus (SPEC §10), because the node has members in the room of that
    /// channel, or because the channel is its own. The subscription must reach the bus before anything
    /// that is published after it: other nodes that learn of a member must be able to reach it.
    Subscribe {
        /// The name of the channel.
        channel: Box<str>,
    },
    /// Unsubscribe from a channel of the bus.
    Unsubscribe {
        /// The name of the channel.
        channel: Box<str>,
    },
    /// Publish a message on a channel of the bus, in order. While the bus is down it may be dropped.
    Publish {
        /// The name of the channel.
        channel: Box<str>,
        /// The message: bytes that only nodes and backends understand.
        payload: Bytes,
    },
    /// Ask the host's hook (R-A5). [`Input::AuthDecided`](super::Input::AuthDecided) answers.
    Authenticate {
        /// To be repeated in the answer.
        request: RequestId,
        /// The connection that authenticates.
        conn: ConnId,
        /// The peer as it will be, a JSON object.
        peer: Box<str>,
        /// The `auth` frame, token included.
        auth: Box<str>,
        /// The session as it is stored, a JSON object, `private` included (R-A4); none without
        /// one.
        session: Option<Box<str>>,
    },
    /// Ask the application about what a peer does (R-H1, R-H2); only with
    /// [`Config::hooks`](super::Config::hooks). What [`Question::about`] says answers.
    Ask {
        /// To be repeated in the answer.
        request: RequestId,
        /// What is asked.
        question: Box<Question>,
    },
    /// Answer [`HostCall::ReadState`](super::HostCall::ReadState).
    StateRead {
        /// The number of the question.
        question: u64,
        /// The state, a JSON object; empty where no node holds one.
        state: Box<str>,
        /// Whether the host has pinned it on this node.
        pinned: bool,
    },
    /// Tell the application what has changed with a peer (R-H3); only with
    /// [`HookConfig::changes`](super::HookConfig::changes). Nothing answers.
    Tell(Box<PeerChange>),
    /// Claim a key for this cluster, for at least ten minutes. The first node that claims it holds it.
    /// [`Input::Claimed`](super::Input::Claimed) answers with the holder.
    Claim {
        /// To be repeated in the answer.
        request: RequestId,
        /// What is claimed.
        key: Box<str>,
        /// The id of the node that claims it.
        node: Box<str>,
    },
    /// Report an event to the host. Most events come only with
    /// [`Config::events`](super::Config::events). Events of other nodes and faults of sessions come in any
    /// case, and refused clients also with [`Config::refusals`](super::Config::refusals).
    Event(Event),
}

/// An event that the host may want to know of, for its log or its application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer is online.
    Online {
        /// The connection that the peer has on this node.
        conn: ConnId,
        /// The address of the peer.
        peer: Address,
        /// The rooms that it is in, its user's own included.
        rooms: Vec<Box<str>>,
    },
    /// A peer is offline.
    Offline {
        /// The connection that the peer had on this node.
        conn: ConnId,
        /// The address of the peer.
        peer: Address,
        /// The reason, as far as this node knows it.
        reason: OfflineReason,
        /// How its connection was closed. `None` for a peer of the application that the application has
        /// removed. The engine knows this only of connections that it closes; a driver fills it in for
        /// the others.
        close: Option<Close>,
    },
    /// A peer has joined a room.
    Joined {
        /// The address of the peer.
        peer: Address,
        /// The name of the room.
        room: Box<str>,
    },
    /// A peer has left a room.
    Left {
        /// The address of the peer.
        peer: Address,
        /// The name of the room.
        room: Box<str>,
    },
    /// A client was refused: its authentication failed (R-A7) or did not come in time (R-A2), or the
    /// server was full (R-L2). Or a peer could not authenticate again (R-A9). This event also comes with
    /// [`Config::refusals`](super::Config::refusals). Clients decide how often it comes.
    Refused {
        /// The connection.
        conn: ConnId,
        /// The client's address.
        address: Option<IpAddr>,
        /// The status of the `error` frame that the client was sent.
        status: Status,
        /// The message of that frame.
        message: Box<str>,
    },
    /// Something has changed with a peer of another node, as that node has told. Only with
    /// [`Config::remote_events`](super::Config::remote_events).
    Elsewhere {
        /// The id of that node.
        node: Box<str>,
        /// What has changed.
        change: RemoteChange,
    },
    /// Another node has joined the cluster, or is back. Comes in any case.
    NodeJoined {
        /// The id of that node.
        node: Box<str>,
    },
    /// Another node has left the cluster. Comes in any case.
    NodeLeft {
        /// The id of that node.
        node: Box<str>,
        /// Whether it was taken for dead, because it has been silent for too long (R-C2). Otherwise it
        /// has shut down.
        dead: bool,
    },
    /// The bus came up ten seconds ago, and some other nodes have not told who their peers are.
    /// Rosters lack those peers until they have. This event comes in any case.
    NotCaughtUp {
        /// The ids of these nodes.
        nodes: Vec<Box<str>>,
    },
    /// Some other nodes have not told in time what they know of the states of rooms (R-K5). Clients were
    /// told of these states without it; what is missing is told when it comes. This event comes in any case.
    StateNotFetched {
        /// The number of rooms.
        rooms: usize,
        /// The ids of these nodes.
        nodes: Vec<Box<str>>,
    },
    /// What the host has set of a state is refused, after the host was told that it waits for other nodes to
    /// tell of that state ([`HostCall::SetState`](super::HostCall::SetState)). This event comes in any case.
    StateNotSet {
        /// The name of the room.
        room: Box<str>,
        /// Why it is not set.
        error: EngineError,
    },
    /// A session is malformed (R-A4). Either it is refused, or the malformed member is ignored. This
    /// event comes in any case. Clients decide how often it comes.
    SessionFault {
        /// The connection that has authenticated with the session.
        conn: ConnId,
        /// The user of the session, as far as it is known.
        user: Box<str>,
        /// What is wrong.
        fault: SessionError,
    },
    /// A request to become a WebSocket connection was refused, or came to nothing. The engine never makes
    /// this event; a driver does. Strangers decide how often it happens, so at most 100 of these events
    /// come in a second.
    UpgradeFailed {
        /// The client's address (R-T6), if it is known.
        address: Option<IpAddr>,
        /// The HTTP status of the answer. `None` if the connection was dropped without one: the request
        /// took too long (R-L5), or gave way to another one (R-L2).
        status: Option<u16>,
        /// The body of the answer, or why the connection was dropped.
        reason: Box<str>,
        /// How many others have failed since the last one of these events, and are not told.
        missed: u64,
    },
    /// This many events were lost because the application did not read them in time. The engine never
    /// makes this event; a driver does when its backlog is full.
    Lost(u64),
}

/// How a WebSocket connection was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Who has closed it.
    pub by: ClosedBy,
    /// The code of the close frame. `None` if the frame had none, or there was no frame.
    pub code: Option<CloseCode>,
    /// The text in the close frame, at most 123 bytes; empty if there was none. A client may write
    /// anything there, also control characters and line ends.
    pub reason: Box<str>,
}

/// Who has closed a WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosedBy {
    /// The server, with a code of SPEC §7.
    Server,
    /// Its client, with a close frame.
    Client,
    /// Nobody who said so: the network, or a client that went without a close frame.
    Network,
    /// The server, without a word, because it heard nothing (R-T3).
    Silence,
}

impl ClosedBy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Server, Self::Client, Self::Network, Self::Silence];

    /// Its name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Network => "network",
            Self::Silence => "silence",
        }
    }
}

/// A change with a peer of another node. Each is reported once, when this node learns of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteChange {
    /// A peer is online.
    Online {
        /// The address of the peer.
        peer: Address,
        /// The rooms that it is in.
        rooms: Vec<Box<str>>,
    },
    /// A peer is offline.
    Offline {
        /// The address of the peer.
        peer: Address,
        /// The reason, as far as this node knows it.
        reason: OfflineReason,
    },
    /// A peer has joined a room.
    Joined {
        /// The address of the peer.
        peer: Address,
        /// The name of the room.
        room: Box<str>,
    },
    /// A peer has left a room.
    Left {
        /// The address of the peer.
        peer: Address,
        /// The name of the room.
        room: Box<str>,
    },
}

/// Why a peer is offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OfflineReason {
    /// The connection ended: closed by the client, cut, or silent for too long.
    Disconnected,
    /// The client sent `close`.
    Closed,
    /// The host kicked it.
    Kicked,
    /// It did not read what it was sent.
    TooSlow,
    /// It broke the protocol.
    ProtocolError,
    /// Its session has expired or was revoked (R-S2).
    SessionExpired,
    /// The server shuts down.
    Shutdown,
    /// Its node was taken for dead (R-C2).
    NodeLost,
    /// Its node alone knows.
    Elsewhere,
}
