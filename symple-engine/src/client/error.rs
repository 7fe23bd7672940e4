//! Why an operation was not done.

use alloc::boxed::Box;

use symple_proto::Status;
use thiserror::Error;

use super::{ending::End, outgoing::OutgoingError};

/// Why an operation was not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The client is not online.
    #[error("not online")]
    Offline,
    /// The client has ended, or was never started.
    #[error("closed: {0}")]
    Closed(End),
    /// The connection was lost before the answer came.
    #[error("the connection was lost")]
    ConnectionLost,
    /// No answer came in time.
    #[error("no answer in time")]
    TimedOut,
    /// The peer that should answer is offline.
    #[error("the peer is offline")]
    PeerOffline,
    /// The server has refused it.
    #[error("refused by the server: {message}")]
    Refused {
        /// The status; the Node server leaves it out of some.
        status: Option<Status>,
        /// What the server says, one line of at most 256 characters.
        message: Box<str>,
    },
    /// The server has passed it over without a word.
    #[error("the server does not answer this")]
    Unanswered,
    /// The frame is none that a server takes.
    #[error(transparent)]
    Invalid(#[from] OutgoingError),
    /// Too much waits already; the limit is named.
    #[error("too many {what}: the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// The frame waited too long for the client to be online.
    #[error("not online in time")]
    Expired,
    /// A later operation has made it pointless: a `leave` behind a `join`.
    #[error("superseded by a later operation")]
    Superseded,
    /// The id of the request is that of another one that still waits.
    #[error("the request id is in use")]
    IdInUse,
    /// Calls are not [configured](super::Config::calls).
    #[error("calls are off")]
    CallsOff,
    /// No such call: there was none, or it has ended.
    #[error("no such call")]
    NoSuchCall,
    /// The call is in a state in which this makes no sense.
    #[error("the call is {0}")]
    WrongCallState(super::calls::CallState),
    /// There is a call with that peer or user.
    #[error("there is a call with that peer")]
    AlreadyCalling,
}
