//! What a client is told.

use alloc::boxed::Box;
use core::{fmt, time::Duration};

use symple_proto::{CloseCode, Fields, RawJson, RoomName, Token};

use crate::server::Text;

use super::{
    calls::{CallId, Callee, Signal},
    outgoing::Outgoing,
};

/// A connection, named by the client; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(super) u64);

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A question for a token; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenRequest(pub(super) u64);

/// An operation, named by the caller; among those that are not finished, each name once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// One fact from outside. What is said of a connection that is not the present one is ignored.
#[derive(Clone, Debug)]
pub enum Input {
    /// The answer to [`Action::Connect`](super::Action::Connect): the WebSocket is open.
    Opened {
        /// Which connection.
        conn: ConnectionId,
    },
    /// The other answer to [`Action::Connect`](super::Action::Connect): there is no WebSocket.
    Failed {
        /// Which connection.
        conn: ConnectionId,
        /// Why.
        failure: ConnectFailure,
    },
    /// A text frame arrived.
    Text {
        /// From where.
        conn: ConnectionId,
        /// What.
        text: Text,
    },
    /// Something else arrived: a ping, a pong, a binary frame. It counts as life.
    Alive {
        /// From where.
        conn: ConnectionId,
    },
    /// A connection is gone, whoever closed it. Nothing follows from it.
    Closed {
        /// Which connection.
        conn: ConnectionId,
        /// The code of the close frame; 1005 for one without a code, 1006 where there was none.
        code: CloseCode,
        /// The reason in the close frame.
        reason: Box<str>,
    },
    /// The answer to [`Action::AskToken`](super::Action::AskToken).
    Token {
        /// The question.
        request: TokenRequest,
        /// The token, if there is one.
        token: Result<Option<Token>, TokenUnavailable>,
    },
    /// The time that [`Client::poll_timeout`](super::Client::poll_timeout) named has come. Also
    /// harmless at any other time.
    Timeout,
    /// The caller wants something done. [`Action::Finish`](super::Action::Finish) answers, once.
    Operation {
        /// To be repeated in the answer.
        id: OperationId,
        /// What.
        operation: Operation,
    },
    /// The caller does not wait for an operation any more: nothing answers it. A frame that still
    /// waits to be sent is not sent; what has been sent is not taken back.
    Cancel {
        /// Which operation.
        id: OperationId,
    },
}

/// The application has no token now, and may have one later: the attempt counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenUnavailable;

/// Why there is no WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The server cannot be reached: no address, no route, refused, reset.
    Unreachable(Box<str>),
    /// TLS failed: a certificate that is not trusted, no common version.
    Tls(Box<str>),
    /// The server answered the upgrade with this HTTP status.
    Http {
        /// The status.
        status: u16,
        /// What `Retry-After` says (R-L2).
        retry_after: Option<Duration>,
    },
    /// What answers does not speak WebSocket.
    Protocol(Box<str>),
}

/// What a caller wants done.
///
/// It is refused where it cannot be done now, with
/// [`OperationError`](super::OperationError); what needs the server is finished when the server
/// has answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Be online, from now on. Finished when the client is online for the first time, or has given
    /// up.
    Connect,
    /// Be closed. Finished when the connection is gone.
    Close,
    /// Send a frame. Finished when it has been handed to the connection; that it arrives is not
    /// promised (see [`Flush`](Self::Flush)).
    Send(Outgoing),
    /// Send a frame and wait for a frame with the same `id` from whom it is for. Finished with
    /// that frame, or with an error as soon as it cannot come any more.
    Request {
        /// The frame.
        frame: Outgoing,
        /// How long to wait; [`ClientLimits::request_timeout`](super::ClientLimits) by default.
        timeout: Option<Duration>,
    },
    /// Wait until the server has handled all that was sent before (R-M1, R-M6).
    Flush,
    /// Be in a room, from now on, also after a reconnect. While the client is on its way to be
    /// online it waits. What fails at once changes nothing; after what fails later the room is not
    /// wanted any more.
    Join(RoomName),
    /// Be in a room no more.
    Leave(RoomName),
    /// Set keys of a room's state; `null` deletes one (R-K1). Finished when the server has taken it. What is
    /// set comes back as [`Event::StateChanged`](super::Event::StateChanged), too, in its place among the
    /// changes of others. Refused where the extension `state` is not on.
    SetState {
        /// Which room.
        room: RoomName,
        /// The keys with their values.
        set: Fields,
    },
    /// Tell this of the client, and nothing of what was told before (R-P4).
    SetRecord(Fields),
    /// Lay these members over what is told of the client; `null` takes a member away.
    UpdateRecord(Fields),
    /// Refresh the session with a new token, on the connection that there is (R-A9). The token
    /// also stands for a [fixed](super::TokenSource::Fixed) one from then on.
    Refresh(Token),
    /// Call a peer, or all sessions of a user. Finished at once, with the name of the call.
    Call {
        /// Whom.
        callee: Callee,
        /// The `data` of the frame: what kind of call it is. `{}` by default.
        data: Option<RawJson>,
    },
    /// Take a call that has come in.
    Accept {
        /// Which call.
        call: CallId,
        /// The `data` of the frame. `{}` by default.
        data: Option<RawJson>,
    },
    /// Do not take a call that has come in.
    Reject {
        /// Which call.
        call: CallId,
        /// Why; `declined` by default.
        reason: Option<Box<str>>,
    },
    /// Send what WebRTC has to say to the other side of a call.
    Signal {
        /// Which call.
        call: CallId,
        /// What.
        signal: Signal,
    },
    /// The media of a call flow.
    MarkActive {
        /// Which call.
        call: CallId,
    },
    /// End a call.
    HangUp {
        /// Which call.
        call: CallId,
        /// Why; `hangup` by default.
        reason: Option<Box<str>>,
    },
}
