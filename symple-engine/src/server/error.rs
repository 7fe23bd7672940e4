//! How a driver or a host can be wrong.

use symple_proto::{
    DecodeError, EmissionError, NameError, cluster::EnvelopeError, state::StateError,
};
use thiserror::Error;

use super::ConnId;

/// The engine was used in a way that makes no sense, or the bus has delivered what makes none.
/// What a *client* does wrong is never an error: it is told, or closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No such connection: it was never opened, or is gone.
    #[error("unknown connection {0:?}")]
    UnknownConnection(ConnId),
    /// The slot of a new connection is taken, or its generation is not new.
    #[error("connection {0:?} is in use")]
    ConnectionInUse(ConnId),
    /// The host named a peer that is not online.
    #[error("no such peer")]
    UnknownPeer,
    /// The host named a room that nobody is in.
    #[error("no such room")]
    UnknownRoom,
    /// The host gave something that is no name.
    #[error("the name {0}")]
    Name(#[from] NameError),
    /// The host emitted what is no emission.
    #[error("cannot emit: {0}")]
    Emission(#[from] EmissionError),
    /// The host sent what is no frame.
    #[error("cannot send: {0}")]
    Frame(#[from] DecodeError),
    /// The public record of a peer of the host's is over the limit, which is named.
    #[error("the peer's public record is larger than {0} bytes")]
    RecordTooLarge(usize),
    /// Half a surrogate pair in a member of a peer of the host's: it is no text.
    #[error("a member of the peer has half a surrogate pair")]
    HalfSurrogate,
    /// What was published is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// What was published is no envelope that this node can read (R-C5).
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// More nodes than a cluster can have.
    #[error("too many nodes")]
    TooManyNodes,
    /// A node tells of a peer that is another's.
    #[error("a peer of another node")]
    PeerOfAnother,
    /// A node relays what no peer can have sent.
    #[error("no frame of a peer")]
    NotRouted,
    /// A hook has decided what cannot be done: nothing is let through (R-H5).
    #[error("a hook answers with {0}")]
    Verdict(&'static str),
    /// The host sets what no state can hold (R-K3).
    #[error("cannot set: {0}")]
    State(#[from] StateError),
    /// The host sets a state with what is no object.
    #[error("cannot set: not an object")]
    NoObject,
    /// The states of all rooms together are over their limit (R-K3).
    #[error("the states of all rooms are too large")]
    StatesTooLarge,
    /// Too much waits for the bus, or for other nodes to tell of a state: nothing was done (R-C6).
    #[error("the cluster is busy")]
    Busy,
    /// The server shuts down.
    #[error("the server is shutting down")]
    ShuttingDown,
}
