//! How much is too much.

use crate::json::MAX_DEPTH;

/// The limits on what a client may send (R-A3, R-R4, R-L1, R-L6). [`Limits::default`] has the
/// values of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes in a message of an authenticated client. 1 MiB.
    pub message: usize,
    /// Bytes in a message before authentication, and in all that waits while it is being decided
    /// (R-A11). 64 KiB.
    pub message_unauthenticated: usize,
    /// Levels of nested JSON, at most [`MAX_DEPTH`]. 128.
    pub depth: usize,
    /// Rooms that one `to` may name. 256.
    pub recipient_rooms: usize,
    /// Bytes in a peer's public record. 16 KiB.
    pub record: usize,
    /// Rooms that a client may put its peer in, the user's own not counted. 256.
    pub rooms_per_peer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 1024 * 1024,
            message_unauthenticated: 64 * 1024,
            depth: MAX_DEPTH,
            recipient_rooms: 256,
            record: 16 * 1024,
            rooms_per_peer: 256,
        }
    }
}
