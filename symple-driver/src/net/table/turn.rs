//! How much is done in one turn, what is written in it, and what is dropped when too much waits.

use std::sync::atomic::{AtomicUsize, Ordering};

use symple_engine::{Timestamp, server::ConnId};

use super::*;

impl<S: Socket> ConnectionTable<S> {
    /// To be flushed when everything that is ready has been handled.
    pub(crate) fn mark_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.get(id)
            && conn.dirty == Dirty::No
        {
            conn.dirty = Dirty::Queued;
            let waits = conn.out.len();
            self.dirty.push_back(id);
            self.unflushed += waits;
        }
    }

    /// A new turn begins.
    pub(crate) fn begin_turn(&mut self, now: Timestamp) {
        self.now = now;
        self.spent = 0;
        self.allowed = SHARE;
        if let Some(deflater) = &mut self.deflater {
            deflater.forget();
        }
    }

    /// Inputs of another kind have their turn, and may cause so much work. So none of them can
    /// keep others waiting.
    pub(crate) fn allow(&mut self, work: usize) {
        self.allowed = self.spent + work;
    }

    /// Enough has been done for these inputs: others have their turn.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent >= self.allowed
    }

    /// More can be done for these inputs, and what comes of it can be written soon.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_spent() && !self.is_full()
    }

    /// So many bytes have been read and looked through.
    pub(crate) fn spend_input(&mut self, bytes: usize) {
        self.spent += bytes / INPUT;
    }

    /// So much work has been done, in deliveries.
    pub(crate) fn spend(&mut self, work: usize) {
        self.spent = self.spent.saturating_add(work);
    }

    /// A frame of so many bytes has been handled.
    pub(crate) fn spend_frame(&mut self, bytes: usize) {
        self.spent += FRAME + bytes / BYTES;
    }

    /// Writes to the connections that have waited longest for it: to so many, and more where much
    /// has been done or much waits, so that writing keeps up; to fewer where there is much to be
    /// written to each. Those to whom little goes come first, but for every fourth.
    ///
    /// As long as little waits, few are written to: what arrives next shares the writes of those
    /// whose turn has not come.
    pub(crate) fn flush_some(&mut self, most: usize) {
        let behind = (self.unflushed / BEHIND).min(4 * SHARE);
        let enough = behind.max(most * WRITE).max(self.spent / 2);
        let (mut work, mut turn) = (0, 0_usize);
        while work < enough {
            turn += 1;
            let express = if turn.is_multiple_of(4) && !self.dirty.is_empty() {
                None
            } else {
                self.express.pop_front()
            };
            work += if let Some(id) = express {
                self.flush(id)
            } else if let Some(id) = self.dirty.pop_front() {
                // It may have been written to already, or will be as one of the others.
                if self.get(id).is_some_and(|conn| conn.dirty == Dirty::Queued) {
                    self.flush(id)
                } else {
                    1
                }
            } else {
                break;
            };
        }
        if self.dirty.is_empty() {
            self.unflushed = 0;
        }
    }

    /// There are connections that have something to be written.
    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.express.is_empty()
    }

    /// So much waits to be written that nothing more should be read before it is.
    pub(crate) fn is_full(&self) -> bool {
        self.unflushed > self.full_at || self.is_blocked()
    }

    /// Whether a connection may be heard although so much waits to be written: those may that have
    /// not caused it, for a little each. [`hears_no_more`](Self::hears_no_more) must follow.
    pub(crate) fn hears(&mut self, id: ConnId) -> bool {
        if !self.is_full() {
            return true;
        }
        let hears = !self.is_blocked() && self.get(id).is_some_and(|conn| !conn.heavy);
        if hears {
            self.full_at = self.unflushed + LITTLE;
        }
        hears
    }

    /// A connection has been heard. Where too much waits to be written now, it has caused some of
    /// it.
    pub(crate) fn hears_no_more(&mut self, id: ConnId) {
        let heavy = self.unflushed > self.full_at;
        self.full_at = UNFLUSHED;
        if let Some(conn) = self.get(id) {
            conn.heavy = heavy;
        }
    }

    /// Writes what is queued for a connection; how much work that was.
    fn flush(&mut self, id: ConnId) -> usize {
        let Self { entries, buffers, now, .. } = self;
        let Some(Some(Entry::Connection(conn))) = entries.get_mut(id.slot as usize) else {
            return 1;
        };
        if conn.id != id || conn.ended {
            return 1;
        }
        conn.dirty = Dirty::No;
        self.unflushed = self.unflushed.saturating_sub(conn.out.len());
        let (sent, flushed) = conn.flush(*now, buffers);
        self.unreported.1 += sent as u64;
        let work = WRITE + sent / WRITTEN;
        match flushed {
            Flushed::Ended => {
                self.end(id);
                return work;
            }
            Flushed::More => {
                conn.dirty = Dirty::Queued;
                self.unflushed += conn.out.len();
                self.dirty.push_back(id);
            }
            Flushed::Waits => {
                if !conn.behind && conn.out.len() > BEHIND_AT && conn.takes_texts() {
                    conn.behind = true;
                    self.behind.push_back(id);
                }
            }
        }
        if conn.answering && conn.out.is_empty() {
            // The next request may be there already.
            conn.answering = false;
            std::task::Wake::wake_by_ref(&conn.waker);
        }
        if conn.awaits_drain && conn.out.len() <= DRAINED {
            (conn.awaits_drain, conn.behind) = (false, false);
            self.drained.push_back(id);
        }
        if !conn.out.is_empty() {
            self.schedule(id);
        }
        work
    }

    /// The engine wants to know when a connection has taken what it was sent.
    pub(crate) fn await_drain(&mut self, id: ConnId) {
        if let Some(conn) = self.get(id) {
            if conn.out.len() <= DRAINED {
                conn.behind = false;
                self.drained.push_back(id);
            } else {
                conn.awaits_drain = true;
            }
        } else if self.remote(id).is_some() {
            self.command(id, WorkerCommand::AwaitDrain(id));
        } else {
            // The host's own peers have memory enough, or are closed.
            self.drained.push_back(id);
        }
    }

    /// Counts what is kept of a connection's input.
    pub(crate) fn count_held(&mut self, id: ConnId) {
        if let Some(conn) = self.get(id) {
            let held = u32::try_from(conn.held_bytes()).unwrap_or(u32::MAX);
            let before = std::mem::replace(&mut conn.held, held);
            self.held = self.held - before as usize + held as usize;
        }
    }

    /// Adds what this thread has read and written in this turn to what all have.
    pub(crate) fn count_traffic(&mut self) {
        let (received, sent) = std::mem::take(&mut self.unreported);
        if received > 0 {
            self.traffic.received.fetch_add(received, Ordering::Relaxed);
        }
        if sent > 0 {
            self.traffic.sent.fetch_add(sent, Ordering::Relaxed);
        }
    }

    /// What has been counted on all threads.
    pub(crate) fn all_stats(&self) -> TransportStats {
        let own = TransportStats { sockets: self.sockets, ..self.stats };
        let workers = self.workers.iter().map(|worker| worker.stats);
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TransportStats {
            handshakes: self.handshakes,
            received: load(&self.traffic.received) + self.unreported.0,
            sent: load(&self.traffic.sent) + self.unreported.1,
            waiting: self.total.load(Ordering::Relaxed)
                + self.buffers.shared.load(Ordering::Relaxed),
            ..workers.fold(own, TransportStats::plus)
        }
    }

    /// Closes those for which most waits, if too much waits in all (R-L7). Before all others go those
    /// that are closed already, and only wait for their client to take the rest: they are dropped.
    /// What others keep for a connection counts with it, on the thread of those who keep it:
    /// so many bytes in all, and of each.
    pub(crate) fn shed(&mut self, kept: usize, kept_of: impl Fn(ConnId) -> usize) {
        let limit = self.config.outbound_total;
        let own = self.buffers.waiting + self.held + kept;
        let others = all(&self.total, &mut self.reported.0, own) - own;
        // Memory that threads share is nobody's own. Who is to give way is the thread on whose
        // connections most waits, with what they share counted for each of them.
        let queued = own + self.buffers.shares;
        let all_shares = all(&self.shares, &mut self.reported.1, self.buffers.shares);
        let average = (own + others + all_shares) / self.config.threads;
        let waiting = |table: &Self| {
            others
                + table.buffers.waiting
                + table.held
                + kept
                + table.buffers.shared.load(Ordering::Relaxed)
        };
        if limit == 0 || waiting(self) <= limit || queued < average {
            return;
        }
        // In ascending order: the last go first.
        let mut most: Vec<(bool, usize, ConnId)> = (self.entries.iter().flatten())
            .filter_map(|entry| match entry {
                Entry::Connection(conn) if conn.takes_texts() => {
                    let reads = self.now.since(conn.last_write) < READS;
                    let part = if reads { READS_PART } else { 1 };
                    Some((false, conn.waits() / part + kept_of(conn.id), conn.id))
                }
                Entry::Remote(remote) if kept > 0 && !remote.overflowed => {
                    Some((false, kept_of(remote.id), remote.id))
                }
                Entry::Connection(conn) if conn.is_closing() && !conn.ended => {
                    let waits = conn.waits();
                    (waits > REST).then_some((true, waits, conn.id))
                }
                _ => None,
            })
            .filter(|(_, waits, _)| *waits > 0)
            .collect();
        most.sort_unstable();
        // What has been encrypted for those that are told why goes with their socket, and what is
        // kept of them when those who keep it are told.
        let mut going: usize = self.overflowed.iter().map(|id| kept_of(*id)).sum();
        // Below its share a thread drops nothing, or clients that read would pay for what waits elsewhere.
        let share = if self.config.threads.get() > 1 { average / 4 * 3 } else { 0 };
        let queued =
            |table: &Self| table.buffers.waiting + table.held + kept + table.buffers.shares;
        while waiting(self) - going > limit / 4 * 3
            && queued(self).saturating_sub(going) > share
            && let Some((closing, _, id)) = most.pop()
        {
            self.stats.shed += 1;
            going += self.get(id).map_or(0, |conn| if closing { 0 } else { conn.io.counted() });
            going += if closing { 0 } else { kept_of(id) };
            if closing {
                self.end(id);
            } else {
                self.overflow(id);
            }
        }
    }

    /// A connection does not take what it is sent: what waits for it is dropped, and it is to be
    /// closed (R-L4).
    pub(super) fn overflow(&mut self, id: ConnId) {
        let Self { entries, buffers, .. } = self;
        let conn = match entries.get_mut(id.slot as usize) {
            Some(Some(Entry::Connection(conn))) => conn,
            Some(Some(Entry::Remote(remote))) if remote.id == id => {
                if !std::mem::replace(&mut remote.overflowed, true) {
                    self.overflowed.push_back(id);
                }
                return;
            }
            _ => return,
        };
        if conn.id == id && !std::mem::replace(&mut conn.overflowed, true) {
            conn.out.discard(buffers);
            conn.forget_input();
            // In the middle of a frame there is no next one.
            conn.oversized = true;
            self.overflowed.push_back(id);
            self.count_held(id);
        }
    }
}

/// What all threads have, once the caller has said that it has so much now.
fn all(total: &AtomicUsize, reported: &mut usize, own: usize) -> usize {
    let before = std::mem::replace(reported, own);
    if own == before {
        // As in nearly every turn: nothing to be said.
        total.load(Ordering::Relaxed)
    } else if own > before {
        total.fetch_add(own - before, Ordering::Relaxed) + (own - before)
    } else {
        total.fetch_sub(before - own, Ordering::Relaxed) - (before - own)
    }
}
