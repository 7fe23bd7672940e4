//! That a peer is in a room.

use super::rooms::RoomIndex;

/// That a peer is in a room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    /// Which room.
    pub(super) room: RoomIndex,
    /// Where the peer stands in it.
    pub(super) position: u32,
    /// Why it is there.
    pub(super) reason: Reason,
}

/// Why a peer is in a room, the best reason last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// The client has asked for it: such rooms are counted (R-R4).
    Asked,
    /// A session or a hook has put it there: until it is decided anew (R-A9).
    Assigned,
    /// The host has put it there.
    Placed,
    /// The room is its user's own.
    Own,
}
