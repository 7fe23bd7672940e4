//! What is counted.

/// Counts since the start: what went wrong, and what was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts to connect.
    pub attempts: u64,
    /// Times that the client came online.
    pub welcomes: u64,
    /// Frames that arrived.
    pub received: u64,
    /// Frames that were sent.
    pub sent: u64,
    /// Texts that were no frames, or lacked what they need, and were dropped.
    pub malformed: u64,
    /// Frames of a type that no server sends, which were dropped.
    pub unknown_types: u64,
    /// Presence frames that were dropped from the roster's view: of the client itself, or of
    /// somebody else than their sender.
    pub false_presence: u64,
    /// Presence frames of peers for whom the roster has no room.
    pub roster_full: u64,
    /// Further `welcome` frames, which were dropped.
    pub false_welcomes: u64,
    /// Rooms that the server says the client is in, past the limit.
    pub rooms_dropped: u64,
    /// Answers of the server to nothing that was asked.
    pub unexpected_answers: u64,
    /// Probes and calls that were not answered, because there were too many.
    pub unanswered: u64,
    /// Frames of calls that made no sense in the state of the call, or belong to none.
    pub stray_signals: u64,
    /// Frames that waited too long to be sent.
    pub expired: u64,
    /// Inputs about connections that are not the present one, or answers to old questions.
    pub stale: u64,
}
