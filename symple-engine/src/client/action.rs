//! What a client wants done.

use alloc::boxed::Box;

use symple_proto::CloseCode;

use crate::server::Text;

use super::{
    calls::CallId,
    error::OperationError,
    event::Event,
    frame::Frame,
    input::{ConnectionId, OperationId, TokenRequest},
};

/// What the driver must do. Actions are to be carried out in the order in which they come.
///
/// A driver must know all of them: one that it passes over is a fault.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Find a token (R-A4). [`Input::Token`](super::Input::Token) answers.
    AskToken {
        /// To be repeated in the answer.
        request: TokenRequest,
        /// The server has refused the last one: it must be another one now.
        refused: bool,
    },
    /// Open a WebSocket, and end any that is still there. [`Input::Opened`](super::Input::Opened)
    /// or [`Input::Failed`](super::Input::Failed) answers.
    Connect {
        /// Its name.
        conn: ConnectionId,
    },
    /// Send a text frame on the connection that is open.
    Send {
        /// The frame.
        text: Text,
    },
    /// Send a ping on the connection that is open. Whatever arrives is an answer.
    Ping,
    /// End a connection: behind what has been sent, with a close frame, and without waiting
    /// longer than [`ClientLimits::close_timeout`](super::ClientLimits); one that is still being
    /// opened at once. [`Input::Closed`](super::Input::Closed) answers.
    Close {
        /// Which connection.
        conn: ConnectionId,
        /// The code of the close frame.
        code: CloseCode,
        /// The reason in the close frame; at most 123 bytes.
        reason: &'static str,
    },
    /// An operation is finished.
    Finish {
        /// Which one.
        id: OperationId,
        /// What came of it.
        result: Result<Reply, OperationError>,
    },
    /// Something has happened that the application may want to know.
    Event(Event),
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// It is done.
    Done,
    /// The answer to a request.
    Answer(Box<Frame>),
    /// The call that was begun.
    Call(CallId),
}
