//! Presence that is told as fast as its receiver reads (R-P3, R-P8, R-L4).
//!
//! A newcomer to a large room is to be told of everyone in it: that can be megabytes. It is told
//! what fits at once, and of the rest as fast as it reads. It is the same for a client that falls behind
//! with what it is sent: from then on it is told of others when it has read. Meanwhile the server
//! remembers of whom it has not been told: nothing is said to it of such a peer, for what counts
//! then is what is true when its turn comes; and before a frame of such a peer, it is told of the peer.
//! What the client sends to itself comes back behind all of it, so that it knows when it has been
//! told of everyone.
//!
//! So what a slow client is owed does not grow with how often others come and go, but only with how many
//! there are: a peer that came and went meanwhile is nothing, and one that it knew is at most two frames, of
//! its going and of its coming back.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    Action, ConnId, PresenceMode, Server, Text,
    batches::News,
    presence::presence,
    waiting::{Counted, Waiting},
};

/// How many bytes count for a peer of which a client is to be told, beside what it is to be told (R-L7).
const ENTRY: usize = 32;

/// What a client is still to be told of others.
#[derive(Debug)]
pub(super) struct Untold {
    /// It has been told that they are offline, or of nothing, and can see them.
    new: BTreeSet<ConnId>,
    /// It has been told of them, and they have said something else of themselves since.
    changed: BTreeSet<ConnId>,
    /// It has been told of them, and cannot see them any more: the frame that says so. They are found by the hash
    /// of their id: one that is back may have another number.
    gone: BTreeMap<(u64, ConnId), Text>,
    /// How many bytes the frames have together.
    gone_bytes: usize,
    counted: Counted,
}

impl Untold {
    fn new(waiting: &Waiting) -> Self {
        Self {
            new: BTreeSet::new(),
            changed: BTreeSet::new(),
            gone: BTreeMap::new(),
            gone_bytes: 0,
            counted: waiting.part(),
        }
    }

    /// How many frames it is to be told, at most.
    fn len(&self) -> usize {
        self.new.len() + self.changed.len() + self.gone.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes wait (R-L7).
    pub(super) fn waiting(&self) -> usize {
        self.counted.bytes()
    }

    fn count(&mut self) {
        self.counted.set(self.len() * ENTRY + self.gone_bytes);
    }

    /// Notes news of a peer; the hash is that of its id.
    fn note(&mut self, of: ConnId, hash: u64, news: News, gone: impl FnOnce() -> Text) {
        match news {
            News::Online => drop(self.new.insert(of)),
            // It is told what is true when its turn comes.
            News::Updated if self.new.contains(&of) => {}
            News::Updated => drop(self.changed.insert(of)),
            // It was never told: nobody has come, and nobody has gone.
            News::Offline if self.new.remove(&of) => {}
            News::Offline => {
                self.changed.remove(&of);
                let text = gone();
                self.gone_bytes += text.len();
                if let Some(before) = self.gone.insert((hash, of), text) {
                    self.gone_bytes -= before.len();
                }
            }
        }
        self.count();
    }

    /// Takes a frame that says that one is gone: of peers with this hash, or of any.
    fn take_gone(&mut self, hash: Option<u64>) -> Option<Text> {
        let key = match hash {
            Some(hash) => {
                let most = ConnId::new(u32::MAX, u32::MAX);
                *self.gone.range((hash, ConnId::new(0, 0))..=(hash, most)).next()?.0
            }
            None => *self.gone.keys().next()?,
        };
        let text = self.gone.remove(&key)?;
        self.gone_bytes -= text.len();
        Some(text)
    }

    /// Takes a peer that the client is to be told of.
    fn take_here(&mut self) -> Option<ConnId> {
        self.new.pop_last().or_else(|| self.changed.pop_last())
    }
}

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
            self.noted += others.len() as u64;
            untold.new.extend(others);
            untold.count();
            return;
        }
        let (mut sent, burst) = (0, self.config.roster_burst);
        for (at, other) in others.iter().enumerate() {
            if sent >= burst && at > 0 && !at_once {
                let others = &others[at..];
                self.deliveries_elsewhere += others.len() as u64;
                self.noted += others.len() as u64;
                self.await_drain_with(conn, others);
                return;
            }
            sent += self.tell_of(conn, *other);
        }
    }

    /// A peer is to be told of these, and of what happens from now on, when it has read what it was sent.
    fn await_drain_with(&mut self, conn: ConnId, others: &[ConnId]) {
        let mut untold = Untold::new(&self.waiting);
        untold.new.extend(others);
        untold.count();
        self.rosters.insert(conn, untold);
        self.out.push(Action::AwaitDrain { conn });
    }

    /// A client does not read as fast as it is sent: it is told of others when it has read (R-P8).
    pub(super) fn behind(&mut self, conn: ConnId) {
        let told_bit_by_bit = self.config.presence == PresenceMode::Full
            && self.registry.peer(conn).is_some_and(|peer| !peer.of_host);
        if !told_bit_by_bit || self.rosters.contains_key(&conn) {
            return;
        }
        self.stats.fell_behind += 1;
        if self.has_batches(conn) {
            return self.hold_batches(conn);
        }
        self.await_drain_with(conn, &[]);
    }

    /// Notes news of a peer for those of the pending receivers that are told of others when they have read:
    /// they are none any more.
    pub(super) fn note_for_those_behind(&mut self, of: ConnId, news: News) {
        if self.rosters.is_empty() {
            return;
        }
        let Self { out, rosters, registry, .. } = self;
        let Some(peer) = registry.peer(of) else { return };
        let hash = registry.hash(peer.id());
        let (mut noted, mut gone) = (0, None);
        out.retain_pending(|conn| {
            let Some(untold) = rosters.get_mut(&conn) else { return true };
            let gone = || gone.get_or_insert_with(|| presence(peer, false)).clone();
            untold.note(of, hash, news, gone);
            noted += 1;
            false
        });
        // It is told later, and is charged now.
        self.deliveries_elsewhere += noted;
        self.noted += noted;
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
            && let Some(text) = untold.take_gone(None)
        {
            self.noted += 1;
            sent += text.len();
            self.out.send_to(conn, text);
        }
        while sent < burst
            && let Some(other) = untold.take_here()
        {
            self.noted += 1;
            // It may be in other rooms by now.
            if self.registry.shares_marked(other) {
                sent += self.tell_of(conn, other);
            }
        }
        if !untold.is_empty() {
            untold.count();
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

    /// A peer is to be told of nobody any more.
    pub(super) fn forget_roster(&mut self, conn: ConnId) {
        if let Some(untold) = self.rosters.remove(&conn) {
            self.noted += untold.len() as u64;
        }
    }

    /// The first peer can see the second no more. True if it was still to be told of it.
    pub(super) fn forget_untold(&mut self, conn: ConnId, of: ConnId) -> bool {
        let Some(untold) = self.rosters.get_mut(&conn) else { return false };
        let new = untold.new.remove(&of);
        untold.changed.remove(&of);
        untold.count();
        new
    }

    /// How many bytes count for what a client is still to be told of others (R-L7).
    pub(super) fn untold_of(&self, conn: ConnId) -> usize {
        self.rosters.get(&conn).map_or(0, Untold::waiting)
    }

    /// Tells those of the pending receivers of the sender of a frame who have not been told of it:
    /// they learn who it is before they hear from it.
    pub(super) fn tell_of_sender(&mut self, sender: ConnId) {
        self.tell_noted_of_sender(sender);
        if self.rosters.is_empty() {
            return;
        }
        let Some(hash) = self.registry.peer(sender).map(|peer| self.registry.hash(peer.id()))
        else {
            return;
        };
        let pending = self.out.take_pending();
        for conn in &pending {
            let Some(untold) = self.rosters.get_mut(conn) else { continue };
            let here = untold.new.remove(&sender) || untold.changed.remove(&sender);
            // It may have been away.
            while let Some(gone) = untold.take_gone(Some(hash)) {
                self.out.send_to(*conn, gone);
            }
            untold.count();
            if here && self.registry.share(*conn, sender) {
                self.tell_of(*conn, sender);
            }
        }
        self.out.receivers().extend(pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-P8: whatever happens to a peer until its turn comes, what is told of it is what is true then, and each
    /// thing once; what a client knows of it already makes the difference.
    #[test]
    fn news_of_a_peer_are_merged() {
        use News::{Offline, Online, Updated};
        let of = ConnId::new(1, 1);
        for (news, told) in [
            (&[Online][..], "online"),
            (&[Online, Offline], ""),
            (&[Online, Updated], "online"),
            (&[Online, Offline, Online], "online"),
            (&[Online, Updated, Offline, Online, Offline], ""),
            (&[Updated], "changed"),
            (&[Updated, Updated], "changed"),
            (&[Updated, Offline], "offline"),
            (&[Offline], "offline"),
            (&[Offline, Online], "offline online"),
            (&[Offline, Online, Updated], "offline online"),
            (&[Offline, Online, Offline], "offline"),
            (&[Offline, Online, Offline, Online], "offline online"),
        ] {
            let waiting = Waiting::default();
            let mut untold = Untold::new(&waiting);
            for news in news {
                untold.note(of, 7, *news, || Text::from("bye"));
            }
            let frames = untold.len();
            let mut found = Vec::new();
            assert_eq!(untold.waiting(), frames * ENTRY + untold.gone_bytes, "{news:?}");
            assert!(untold.take_gone(Some(8)).is_none());
            if let Some(text) = untold.take_gone(Some(7)) {
                assert_eq!(&*text, "bye");
                found.push("offline");
            }
            let changed = untold.changed.contains(&of);
            if untold.take_here() == Some(of) {
                found.push(if changed { "changed" } else { "online" });
            }
            assert_eq!(found.join(" "), told, "{news:?}");
            untold.count();
            assert!(untold.is_empty() && untold.waiting() == 0, "{news:?}");
        }
    }
}
