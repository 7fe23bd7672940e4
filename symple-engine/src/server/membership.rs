//! The membership of a peer in a room.

use super::rooms::RoomIndex;

/// The membership of a peer in a room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    /// The index of the room.
    pub(super) room: RoomIndex,
    /// The position of the peer in the list of members.
    pub(super) position: u32,
    /// The reason why the peer is in the room.
    pub(super) reason: Reason,
}

/// The reason why a peer is in a room, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// The client has asked for it. The number of such rooms is limited (R-R4).
    Asked,
    /// A session or a hook has put it there, until the peer authenticates again (R-A9).
    Assigned,
    /// The application has put it there.
    Placed,
    /// The room has the name of its user.
    Own,
}
