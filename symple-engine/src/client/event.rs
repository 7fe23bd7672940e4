//! What an application is told.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::time::Duration;

use symple_proto::{Address, Fields, RawJson, Status, frame::Peer};

use super::{calls::CallEvent, ending::End, frame::Frame, roster::PeerRecord};

/// Something has happened that the application may want to know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The client is online (R-A8).
    Online {
        /// Who it is now. Its id differs from connection to connection.
        peer: Box<Peer>,
        /// The rooms that the server has put it in, its user's own first.
        rooms: Vec<Box<str>>,
    },
    /// The connection was lost, and the client comes back.
    Disconnected {
        /// Why.
        end: End,
        /// When it tries again.
        retry_in: Duration,
    },
    /// An attempt to come (back) online has failed, and there will be another one.
    AttemptFailed {
        /// Why.
        end: End,
        /// When it tries again.
        retry_in: Duration,
    },
    /// The client has ended, and does not come back by itself.
    Closed {
        /// Why.
        end: End,
    },
    /// The server has said that it shuts down (SPEC §12); the connection will be lost.
    Shutdown,
    /// A peer is there that was not (R-P2, R-P3).
    PeerOnline(Arc<PeerRecord>),
    /// A peer tells something new of itself (R-P4).
    PeerUpdated(Arc<PeerRecord>),
    /// A peer is not there any more: what it had told last.
    PeerOffline(Arc<PeerRecord>),
    /// Everyone has been told who is there: after a connect, and again after each reconnect, when
    /// those who have not come back are offline.
    RosterComplete,
    /// The client is in a room.
    Joined {
        /// Which one.
        room: Box<str>,
    },
    /// The client is in a room no more.
    Left {
        /// Which one.
        room: Box<str>,
    },
    /// The client was in a room before a reconnect, and the server does not let it in again.
    RoomRefused {
        /// Which one.
        room: Box<str>,
        /// The status, where the server says one.
        status: Option<Status>,
        /// What it says, one line of at most 256 characters; empty where it says nothing.
        message: Box<str>,
    },
    /// The whole state of a room, when the client comes to see it, and again after a reconnect (R-K2). It
    /// comes only with the extension `state`, as the next one.
    RoomState {
        /// Which room.
        room: Box<str>,
        /// All its keys.
        state: Fields,
    },
    /// Keys of a room's state have changed (R-K1).
    StateChanged {
        /// Which room.
        room: Box<str>,
        /// The keys with their new values; `null` is that of one that is gone.
        set: Fields,
        /// Who has changed them, the client itself perhaps; none where the server does not say.
        from: Option<Address>,
    },
    /// A frame of a peer, or of a backend (R-F1). Presence comes behind what it changes in the
    /// roster.
    Frame(Box<Frame>),
    /// The server has refused something, and it cannot be told what.
    Error {
        /// The status; the Node server leaves it out of some.
        status: Option<Status>,
        /// What it says, one line of at most 256 characters.
        message: Box<str>,
        /// Whom the refused frame was for, where the server says so (R-L8).
        to: Option<RawJson>,
    },
    /// Something has happened to a call.
    Call(CallEvent),
}
