//! What is counted.

use symple_engine::server::Stats;

/// What a server has counted since its start (SPEC §8: every refusal is counted).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// What the engine has counted: connections, peers, rooms, frames, refusals.
    pub engine: Stats,
    /// What the transport has counted.
    pub transport: TransportStats,
}

/// What the transport has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportStats {
    /// Sockets now, those included that are no WebSocket connections.
    pub sockets: usize,
    /// Requests answered with something else than an upgrade: health checks and refusals.
    pub answered: u64,
    /// Connections dropped because the upgrade took too long (R-L5), or gave way to another one
    /// (R-L2).
    pub upgrades_dropped: u64,
    /// Connections dropped because nothing was heard from them (R-T3).
    pub silent: u64,
    /// Connections closed because too much waited for all of them together (R-L7).
    pub shed: u64,
    /// Texts that were compressed: each once, however many clients it went to (R-T10).
    pub deflated: u64,
    /// Messages of clients that were inflated.
    pub inflated: u64,
}

impl TransportStats {
    /// With what another thread has counted; sockets are not.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            sockets: self.sockets,
            answered: self.answered + other.answered,
            upgrades_dropped: self.upgrades_dropped + other.upgrades_dropped,
            silent: self.silent + other.silent,
            shed: self.shed + other.shed,
            deflated: self.deflated + other.deflated,
            inflated: self.inflated + other.inflated,
        }
    }
}
