//! What is counted.

mod frames;
mod latency;
mod statuses;

use core::time::Duration;

pub use frames::{FrameCounts, FrameKind};
pub use latency::Latency;
pub use statuses::StatusCounts;

/// Counts since the start, and what there is now. Every refusal is counted (SPEC §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections now, authenticated or not.
    pub connections: usize,
    /// Peers now.
    pub peers: usize,
    /// Rooms now, those with members on other nodes included.
    pub rooms: usize,
    /// Peers of other nodes that are known now.
    pub remote_peers: usize,
    /// Other nodes that are known now.
    pub nodes: usize,
    /// Those of the connections that are no peers, or not yet.
    pub unauthenticated: usize,
    /// Connections now that are not read from: they send too fast, or wait for a decision or for
    /// the bus (R-L3, R-A11, R-C6).
    pub paused_now: usize,
    /// The longest time for which a known node has not been heard, now.
    pub cluster_lag: Duration,
    /// Frames that arrived from clients.
    pub frames: u64,
    /// Those of them that were handled, by kind. What arrived from a client that was gone before its
    /// turn came is in `frames` alone.
    pub received: FrameCounts,
    /// What is in `deliveries`, by kind.
    pub sent: FrameCounts,
    /// How long authentications took that a session look-up or a hook decided, whatever was
    /// decided.
    pub authentication: Latency,
    /// Frames that went out, counted once for each receiver.
    pub deliveries: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Authentications that succeeded.
    pub admitted: u64,
    /// Authentications that failed, timeouts included.
    pub refused: u64,
    /// Connections refused at capacity (R-L2).
    pub over_capacity: u64,
    /// Frames answered with an `error`.
    pub errors: u64,
    /// The same by the status of the `error`.
    pub errors_by_status: StatusCounts,
    /// Direct and room deliveries that no permission allowed (R-M3, R-P6).
    pub not_permitted: u64,
    /// Times that a peer sent too fast and was not read from for a while (R-L3).
    pub paused: u64,
    /// Messages over the size limit (R-L1), or in too many fragments (R-L3).
    pub too_big: u64,
    /// Connections closed because a message that had begun was not complete in time (R-L9).
    pub unfinished: u64,
    /// Clients that left behind more than was still handled (R-L3).
    pub departed_cut_short: u64,
    /// Times that frames of a sender were refused because too much of what was addressed to their
    /// receiver waited (R-L8): several at a time count once.
    pub undelivered: u64,
    /// Connections closed because they did not read (R-L4).
    pub too_slow: u64,
    /// Connections closed for what was no WebSocket frame or no UTF-8.
    pub protocol_errors: u64,
    /// Envelopes published to other nodes.
    pub published: u64,
    /// Bytes that have been published and that the bus has not taken yet, now.
    pub bus_waiting: u64,
    /// Frames of clients that were not sent to other nodes because too much waited for the bus, and emissions,
    /// broadcasts and calls of the application that were refused because of that (R-C6).
    pub bus_refused: u64,
    /// Nodes that were taken for dead.
    pub nodes_lost: u64,
    /// Times that something was missed of what another node told.
    pub resyncs: u64,
    /// Times that another node was asked for all its peers, and began to tell them.
    pub pulls: u64,
    /// Envelopes that were dropped because they, or later ones, had been heard before.
    pub repeats: u64,
    /// Frames from other nodes that were dropped because something was missed.
    pub frames_missed: u64,
    /// Peers closed because their session was gone (R-S2).
    pub sessions_expired: u64,
    /// Peers kicked by the host.
    pub kicked: u64,
    /// Joins and frames that the application was asked about (R-H1, R-H2).
    pub hooks_asked: u64,
    /// Those of them that were not let through as they were, late answers included.
    pub hooks_denied: u64,
    /// Batches of presence that were sent (R-X2).
    pub batches: u64,
    /// How often a client fell behind with what it was sent, so that it was told of others only when it had
    /// read (R-P8).
    pub fell_behind: u64,
    /// States of rooms that this node holds now (R-K4).
    pub states: usize,
    /// Their bytes, as the limit of all states counts them, now (R-K3).
    pub state_bytes: usize,
    /// Answers that did not come in time (R-H5).
    pub hooks_late: u64,
}
