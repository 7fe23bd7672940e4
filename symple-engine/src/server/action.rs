//! What the engine wants done.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{fmt, net::IpAddr, ops::Deref, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use symple_proto::{Address, CloseCode, SessionError, Status, Token};

use super::{ConnId, PeerChange, Question, RequestId};

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
        /// Who has addressed it to them, where they do not have it for being in a room with the
        /// sender (R-L8). Of what one sender addresses to a receiver, at most a quarter of its
        /// outbound limit may wait, and of what all address to it, half; what does not fit is not
        /// queued, and [`Input::Undelivered`](super::Input::Undelivered) answers.
        sender: Option<ConnId>,
    },
    /// Say when nothing is queued for the connection any more, with
    /// [`Input::Drained`](super::Input::Drained); now, if nothing is. Once; not if it closes.
    AwaitDrain {
        /// Which connection.
        conn: ConnId,
    },
    /// Send a close frame behind what is queued and end the connection. What still arrives from
    /// it may be handed in and is ignored, paused or not;
    /// [`Input::Disconnected`](super::Input::Disconnected) answers when the connection is gone.
    Close {
        /// Which connection.
        conn: ConnId,
        /// The code of the close frame.
        code: CloseCode,
        /// The reason in the close frame; at most 123 bytes.
        reason: &'static str,
        /// Drop what is queued, but for a frame that has been sent in part: the receiver does not
        /// read.
        discard: bool,
    },
    /// Messages of the connection may have so many bytes from now on (R-L1). For a new connection
    /// it is [`Limits::message_unauthenticated`](symple_proto::Limits::message_unauthenticated).
    SetMessageLimit {
        /// Which connection.
        conn: ConnId,
        /// How many bytes.
        limit: usize,
    },
    /// Hand in nothing more of what the connection sends (R-L3, R-A11). What has been read may be
    /// handed in all the same, or held back until [`Action::Resume`]. If the client is seen to
    /// leave meanwhile, [`Input::Departed`](super::Input::Departed) says so.
    Pause {
        /// Which connection.
        conn: ConnId,
    },
    /// Read from the connection again. A message that was refused as too big is to be tried
    /// again: the limit may have been raised.
    Resume {
        /// Which connection.
        conn: ConnId,
    },
    /// Look up the session behind a token (R-A4).
    /// [`Input::SessionLoaded`](super::Input::SessionLoaded) answers.
    LoadSession {
        /// To be repeated in the answer.
        request: RequestId,
        /// Whose session.
        token: Token,
    },
    /// See whether the session behind a peer's token is still there (R-S2).
    /// [`Input::SessionChecked`](super::Input::SessionChecked) answers; no answer is no fault.
    CheckSession {
        /// Whose peer; to be repeated in the answer.
        conn: ConnId,
        /// Whose session; to be repeated in the answer.
        token: Token,
    },
    /// Extend the life of a session, if it is there (R-S2). Nothing answers.
    TouchSession {
        /// Whose session.
        token: Token,
        /// How long it is to live from now on.
        ttl: Duration,
    },
    /// Receive what is published on a channel of the bus (SPEC §10): the node has members in a
    /// room, or the channel is one of its own. What is published after this must not reach the
    /// bus before it: who learns of a member must be able to reach it.
    Subscribe {
        /// Which channel.
        channel: Box<str>,
    },
    /// Receive no more of what is published on a channel.
    Unsubscribe {
        /// Which channel.
        channel: Box<str>,
    },
    /// Publish on a channel of the bus, in order. While the bus is down nothing need be kept.
    Publish {
        /// Which channel.
        channel: Box<str>,
        /// What.
        payload: Bytes,
    },
    /// Ask the host's hook (R-A5). [`Input::AuthDecided`](super::Input::AuthDecided) answers.
    Authenticate {
        /// To be repeated in the answer.
        request: RequestId,
        /// Which connection it is about.
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
    /// Tell the application what has changed with a peer (R-H3); only with
    /// [`HookConfig::changes`](super::HookConfig::changes). Nothing answers.
    Tell(Box<PeerChange>),
    /// Claim something, where all nodes of the cluster can see it, for at least ten minutes: who
    /// claims a key first has it. [`Input::Claimed`](super::Input::Claimed) answers.
    Claim {
        /// To be repeated in the answer.
        request: RequestId,
        /// What is claimed.
        key: Box<str>,
        /// Which node claims it.
        node: Box<str>,
    },
    /// Something has happened that the host may want to know; only with
    /// [`Config::events`](super::Config::events), but for what happens to other nodes and for what
    /// is wrong with sessions; and with [`Config::refusals`](super::Config::refusals) for clients that
    /// are refused.
    Event(Event),
}

/// Something has happened that the host may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer is online.
    Online {
        /// The connection that the peer has on this node.
        conn: ConnId,
        /// Who.
        peer: Address,
        /// Its rooms.
        rooms: Vec<Box<str>>,
    },
    /// A peer is offline.
    Offline {
        /// Who.
        peer: Address,
        /// Why.
        reason: OfflineReason,
    },
    /// A peer has joined a room.
    Joined {
        /// Who.
        peer: Address,
        /// Which room.
        room: Box<str>,
    },
    /// A peer has left a room.
    Left {
        /// Who.
        peer: Address,
        /// Which room.
        room: Box<str>,
    },
    /// A client was not let in: its authentication failed (R-A7), did not come in time (R-A2), or
    /// there was no room for it (R-L2). Or a peer could not authenticate again (R-A9). Comes with
    /// [`Config::refusals`](super::Config::refusals), too; clients choose how often.
    Refused {
        /// Which connection.
        conn: ConnId,
        /// The client's address.
        address: Option<IpAddr>,
        /// The status of the `error` frame that the client was sent.
        status: Status,
        /// The message of that frame.
        message: Box<str>,
    },
    /// Another node has joined the cluster, or is back. Comes in any case.
    NodeJoined {
        /// Which.
        node: Box<str>,
    },
    /// Another node has left the cluster. Comes in any case.
    NodeLeft {
        /// Which.
        node: Box<str>,
        /// It did not say goodbye.
        dead: bool,
    },
    /// The bus came up ten seconds ago, and of these other nodes it is still not known who their
    /// peers are: rosters lack them until it is. Comes in any case.
    NotCaughtUp {
        /// Which.
        nodes: Vec<Box<str>>,
    },
    /// A session is not what it should be (R-A4): it is refused, or what is wrong in it is ignored.
    /// Comes in any case; clients choose how often.
    SessionFault {
        /// Whose authentication it was.
        conn: ConnId,
        /// Which user it was for, as far as is known.
        user: Box<str>,
        /// What is wrong.
        fault: SessionError,
    },
    /// So many events were not read in time and are lost. The engine never says so; a driver does
    /// whose backlog is full.
    Lost(u64),
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
    /// It sent what no client may send.
    ProtocolError,
    /// Its session has expired or was revoked (R-S2).
    SessionExpired,
    /// The server shuts down.
    Shutdown,
    /// Its node was taken for dead (R-C2).
    NodeLost,
}
