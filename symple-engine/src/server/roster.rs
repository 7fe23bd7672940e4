//! Rosters that are told bit by bit (R-P3, R-L4).
//!
//! A newcomer to a large room is to be told of everyone in it: that can be megabytes. It is told
//! what fits at once, and of the rest as fast as it reads. Meanwhile the server remembers of whom
//! it has not been told: nothing is said to it of such a peer, for what counts then is what is
//! true when its turn comes; and before a frame of such a peer, it is told of the peer.
//! What the newcomer sends to itself comes back behind all of it, so that it knows when it has been
//! told of everyone.

use alloc::vec::Vec;

use super::{
    Action, ConnId, PresenceMode, Server, Text, batches::News, presence::presence, waiting::Counted,
};

/// What a peer has sent to itself and is to have back later.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    texts: Vec<Text>,
    /// How many bytes they have together, among what waits on this node (R-L7).
    counted: Counted,
}

impl Echoes {
    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.counted.bytes()
    }
}

impl Server {
    /// Tells a peer of others that it can see now: of some at once, of the rest as fast as it
    /// reads.
    pub(super) fn tell_roster(&mut self, conn: ConnId, others: &[ConnId]) {
        if self.config.presence == PresenceMode::Classic || conn.is_remote() {
            return;
        }
        if self.has_batches(conn) {
            for other in others {
                if self.registry.peer(*other).is_some_and(|other| !other.hidden) {
                    self.note(conn, *other, News::Online);
                }
            }
            return self.tell_batch_now(conn);
        }
        // The application takes the frames of its own peers from memory.
        let at_once = self.registry.peer(conn).is_some_and(|peer| peer.of_host);
        if let Some(untold) = self.rosters.get_mut(&conn) {
            self.deliveries_elsewhere += others.len() as u64;
            untold.extend(others);
            return;
        }
        let (mut sent, burst) = (0, self.config.roster_burst);
        for (at, other) in others.iter().enumerate() {
            if sent >= burst && at > 0 && !at_once {
                let untold = &others[at..];
                self.deliveries_elsewhere += untold.len() as u64;
                self.rosters.insert(conn, untold.iter().copied().collect());
                self.out.push(Action::AwaitDrain { conn });
                return;
            }
            sent += self.tell_of(conn, *other);
        }
    }

    /// What was queued for a peer has been sent: it is told of more peers.
    pub(super) fn drained(&mut self, conn: ConnId) {
        self.tell_untold_states(conn);
        if self.has_batches(conn) {
            return self.batch_drained(conn);
        }
        let Some(mut untold) = self.rosters.remove(&conn) else { return };
        self.registry.mark_rooms_of(conn);
        let (mut sent, burst) = (0, self.config.roster_burst.max(1));
        while sent < burst
            && let Some(other) = untold.pop_last()
        {
            // It may be gone by now, or in other rooms.
            if self.registry.shares_marked(other) {
                sent += self.tell_of(conn, other);
            }
        }
        if !untold.is_empty() {
            self.rosters.insert(conn, untold);
            self.out.push(Action::AwaitDrain { conn });
            return;
        }
        self.return_echoes(conn);
    }

    /// Sends a peer what it has sent to itself: it has been told of everyone.
    pub(super) fn return_echoes(&mut self, conn: ConnId) {
        for text in self.echoes.remove(&conn).unwrap_or_default().texts {
            self.out.receivers().push(conn);
            self.out.send_from(conn, 0, || text);
        }
    }

    /// True if the pending receivers of a frame of a peer are the peer itself, which is still to
    /// be told of others.
    pub(super) fn is_early_echo(&mut self, conn: ConnId) -> bool {
        (self.rosters.contains_key(&conn) || self.owes_complete(conn))
            && self.out.pending() == 1
            && self.out.receivers().last() == Some(&conn)
    }

    /// Keeps back what a peer sends to itself until it has been told of everyone (R-P3). The
    /// receivers that are pending are none any more.
    pub(super) fn keep_echo(&mut self, conn: ConnId, text: Text) {
        /// How many bytes are kept back; past it the peer is told that it is too slow (R-L8). There
        /// is no exception for a single large frame: nothing else bounds what is kept here, and a
        /// frame that is to show that the roster is complete is short.
        const MAX_BYTES: usize = 64 * 1024;
        drop(self.out.take_pending());
        let kept = self.echoes.get(&conn).map_or(0, Echoes::waiting);
        if kept + text.as_bytes().len() > MAX_BYTES {
            return self.undelivered(conn, &text);
        }
        let waiting = &self.waiting;
        let echoes = self
            .echoes
            .entry(conn)
            .or_insert_with(|| Echoes { texts: Vec::new(), counted: waiting.part() });
        echoes.counted.set(kept + text.as_bytes().len());
        echoes.texts.push(text);
    }

    /// Sends a peer the presence of another one; how many bytes that is.
    fn tell_of(&mut self, conn: ConnId, other: ConnId) -> usize {
        let Some(other) = self.registry.peer(other).filter(|other| !other.hidden) else { return 0 };
        let text = presence(other, true);
        let size = text.len();
        self.out.send_to(conn, text);
        size
    }

    /// True if the first peer is still to be told of the second.
    pub(super) fn is_untold(&self, conn: ConnId, of: ConnId) -> bool {
        self.rosters.get(&conn).is_some_and(|untold| untold.contains(&of))
    }

    /// Takes those out of the pending receivers who have not been told of the peer that the frame
    /// is about.
    pub(super) fn spare_untold(&mut self, of: ConnId) {
        if self.rosters.is_empty() {
            return;
        }
        let rosters = &self.rosters;
        self.out
            .retain_pending(|conn| rosters.get(&conn).is_none_or(|untold| !untold.contains(&of)));
    }

    /// Tells those of the pending receivers of the sender of a frame who have not been told of it:
    /// they learn who it is before they hear from it.
    pub(super) fn tell_of_sender(&mut self, sender: ConnId) {
        self.tell_noted_of_sender(sender);
        if self.rosters.is_empty() {
            return;
        }
        let pending = self.out.take_pending();
        for conn in &pending {
            let Some(untold) = self.rosters.get_mut(conn) else { continue };
            if untold.remove(&sender) && self.registry.share(*conn, sender) {
                self.tell_of(*conn, sender);
            }
        }
        self.out.receivers().extend(pending);
    }
}
