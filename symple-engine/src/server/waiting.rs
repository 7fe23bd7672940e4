//! How many bytes the engine keeps for later of what clients have sent, and for slow ones (R-L7).

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::{ConnId, Server, registry::Session, roster::Echoes};

/// The sum of what waits on a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// A part of the sum, of nothing so far.
    pub(super) fn part(&self) -> Counted {
        Counted { bytes: 0, total: self.clone() }
    }
}

/// A part of the sum, which is taken away from it with what has it. So nothing is forgotten,
/// whatever way a connection ends.
#[derive(Debug, Default)]
pub(super) struct Counted {
    bytes: usize,
    total: Waiting,
}

impl Counted {
    /// So many bytes wait here now.
    pub(super) fn set(&mut self, bytes: usize) {
        let before = core::mem::replace(&mut self.bytes, bytes);
        let total = &self.total.0;
        // The engine is one thread's: there is nobody to be raced.
        total.store(total.load(Ordering::Relaxed) - before + bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Server {
    /// How many bytes wait in the engine for a decision or an answer of the application, until
    /// their sender has been told of a room, until a state is known, or until a client is told of others
    /// (R-P8, R-X2): of all connections together (R-L7). What the engine has given out as actions is not
    /// among them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.0.load(Ordering::Relaxed)
    }

    /// How many of them are of this connection; they are dropped when it ends.
    #[must_use]
    pub fn waiting_of(&self, conn: ConnId) -> usize {
        let pending = match self.registry.get(conn).map(|connection| &connection.session) {
            Some(Session::Authenticating(pending)) => pending.waiting(),
            Some(Session::Online(peer)) => {
                peer.pending.as_ref().map_or(0, |pending| pending.waiting())
            }
            _ => 0,
        };
        let echoes = self.echoes.get(&conn).map_or(0, Echoes::waiting);
        pending
            + self.hooks.waiting_of(conn)
            + echoes
            + self.changes_waiting(conn)
            + self.untold_of(conn)
            + self.noted_for(conn)
    }
}
