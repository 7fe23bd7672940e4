//! Presence in batches, for those clients that have asked for it (extension `roster`, R-X2).
//!
//! What such a client is to be told of others is noted, each peer once, and told together: so a
//! thousand peers that come into a room are a few frames, and a peer that comes and goes between two
//! batches is none. Only the name of a peer is noted: what is told of it is its record when the
//! batch is written. Many receivers are told the same at the same time, so it is written once.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    vec::Vec,
};
use core::time::Duration;

use symple_proto::{Extension, frame::RosterBatch};

use crate::Timestamp;

use super::{
    Action, ConnId, Server, Text,
    jobs::Job,
    peer::Peer,
    registry::Registry,
    timers::Timer,
    waiting::{Counted, Waiting},
};

/// The shortest time between two batches to one client that no frame has to wait for.
const INTERVAL: Duration = Duration::from_millis(50);

/// How many bytes count for a peer of which a client is to be told (R-L7).
const ENTRY: usize = 80;

/// How many bytes of records and addresses a batch may have, so that all of it has 64 KiB at most.
/// A record that is larger than that goes alone.
const MAX_BYTES: usize = 64 * 1024 - 64;

/// What has happened to a peer, for one that sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It can be seen now, and could not before.
    Online,
    /// It tells something else of itself.
    Updated,
    /// It cannot be seen any more.
    Offline,
}

/// What a client is to be told of a peer.
#[derive(Clone, Debug)]
enum Entry {
    /// It is online; and whether the client has been told of it before.
    Online { known: bool },
    /// It is offline: its address as a JSON string, shared by all who are to be told.
    Offline(Text),
}

/// What a client is to be told with its next batch.
#[derive(Debug)]
struct Batch {
    /// In the order in which it happened.
    entries: BTreeMap<u64, (ConnId, Entry)>,
    /// Where each of the peers stands among the entries.
    places: BTreeMap<ConnId, u64>,
    /// Of these peers of other nodes it is noted that they are offline, by the hash of their id. A peer whose node
    /// was taken for dead comes back with the same address and another number.
    gone: BTreeSet<(u64, ConnId)>,
    last: u64,
    /// The batch that leaves nothing to tell is to say so.
    complete: bool,
    /// More is told when the client has read what was told.
    awaits_drain: bool,
    /// It stands among those that are due with the next tick.
    due: bool,
    not_before: Timestamp,
    counted: Counted,
}

impl Batch {
    fn new(waiting: &Waiting) -> Self {
        Self {
            entries: BTreeMap::new(),
            places: BTreeMap::new(),
            gone: BTreeSet::new(),
            last: 0,
            complete: false,
            awaits_drain: false,
            due: false,
            not_before: Timestamp::ZERO,
            counted: waiting.part(),
        }
    }

    fn count(&mut self) {
        self.counted.set(self.entries.len() * ENTRY);
    }

    fn is_idle(&self) -> bool {
        self.entries.is_empty() && !self.complete
    }

    /// Notes news of a peer; of one of another node with the hash of its id. Returns whether there is an entry for it
    /// that was not there before (1), or one less (-1).
    fn note(
        &mut self,
        of: ConnId,
        hash: Option<u64>,
        news: News,
        address: impl FnOnce() -> Text,
    ) -> i8 {
        match (hash, news) {
            (Some(hash), News::Offline) => drop(self.gone.insert((hash, of))),
            (Some(hash), _) => drop(self.gone.remove(&(hash, of))),
            (None, _) => {}
        }
        let Some(place) = self.places.get(&of) else {
            let entry = match news {
                News::Offline => Entry::Offline(address()),
                News::Updated => Entry::Online { known: true },
                // The client knows it if it is back before its going was told: then that is not told.
                News::Online => Entry::Online { known: self.forget_gone(hash) },
            };
            self.last += 1;
            self.places.insert(of, self.last);
            self.entries.insert(self.last, (of, entry));
            self.count();
            return 1;
        };
        let Some((_, entry)) = self.entries.get_mut(place) else { return 0 };
        match (&entry, news) {
            // It was never told: nobody has come, and nobody has gone.
            (Entry::Online { known: false }, News::Offline) => {
                self.remove(of);
                if let Some(hash) = hash {
                    self.gone.remove(&(hash, of));
                }
                return -1;
            }
            (Entry::Online { .. }, News::Offline) => *entry = Entry::Offline(address()),
            (Entry::Offline(_), News::Online | News::Updated) => {
                *entry = Entry::Online { known: true };
            }
            _ => {}
        }
        0
    }

    /// Forgets that a peer with this hash is gone; true if that was noted.
    fn forget_gone(&mut self, hash: Option<u64>) -> bool {
        let Some(hash) = hash else { return false };
        let most = ConnId::new(u32::MAX, u32::MAX);
        let found = self.gone.range((hash, ConnId::new(0, 0))..=(hash, most)).next().copied();
        if let Some((_, of)) = found {
            self.gone.remove(&(hash, of));
            self.remove(of);
        }
        found.is_some()
    }

    /// Keeps of those that are gone only the ones for which that is still noted. Returns how many were looked
    /// at.
    fn forget_told(&mut self) -> usize {
        let (places, looks) = (&self.places, self.gone.len());
        self.gone.retain(|(_, of)| places.contains_key(of));
        looks
    }

    fn remove(&mut self, of: ConnId) {
        if let Some(place) = self.places.remove(&of) {
            self.entries.remove(&place);
            self.count();
        }
    }
}

/// The clients that are told in batches.
#[derive(Debug, Default)]
pub(super) struct Batches {
    of: BTreeMap<ConnId, Batch>,
    /// Those that something is noted for, in order.
    due: VecDeque<ConnId>,
    /// The next tick is set.
    ticking: bool,
    /// The batch that was written last, of these peers (and whether each is online), for the next
    /// client that is to be told the same; only for as long as nothing else happens.
    written: Option<Written>,
}

/// A batch as it was written: of which peers, and whether each is online; whether it is said to be
/// the last; the text.
type Written = (Vec<(ConnId, bool)>, bool, Text);

impl Batches {
    /// Nobody is told in batches.
    pub(super) fn is_unused(&self) -> bool {
        self.of.is_empty()
    }

    /// The batch that was written last is not to be sent again: records may change.
    pub(super) fn forget_written(&mut self) {
        self.written = None;
    }
}

/// Counts in a peer in how many batches it stands.
fn count(registry: &mut Registry, of: ConnId, change: i64) {
    if let Some(peer) = registry.peer_mut(of) {
        peer.noted = peer.noted.saturating_add_signed(i32::try_from(change).unwrap_or_default());
    }
}

impl Server {
    /// True if the peer is told of others in batches.
    pub(super) fn has_batches(&self, conn: ConnId) -> bool {
        !self.batches.is_unused() && self.batches.of.contains_key(&conn)
    }

    /// A client that has asked for batches is to be told when it has been told of everyone (R-X2).
    /// Nothing happens for another one.
    pub(super) fn owe_complete(&mut self, conn: ConnId) {
        if self.registry.peer(conn).is_some_and(|peer| peer.has(Extension::Roster)) {
            let waiting = &self.waiting;
            let batch = self.batches.of.entry(conn).or_insert_with(|| Batch::new(waiting));
            batch.complete = true;
            self.make_due(conn);
        }
    }

    /// Nobody is to be told any more who is told in batches.
    pub(super) fn forget_batches(&mut self, conn: ConnId) {
        if self.batches.is_unused() {
            return;
        }
        if let Some(batch) = self.batches.of.remove(&conn) {
            self.noted += batch.places.len() as u64;
            for of in batch.places.into_keys() {
                count(&mut self.registry, of, -1);
            }
        }
    }

    /// Notes news of a peer for those of the pending receivers that are told in batches, or when they have
    /// read (R-P8): they are none any more.
    pub(super) fn note_for_pending(&mut self, of: ConnId, news: News) {
        self.note_for_those_behind(of, news);
        if self.batches.is_unused() {
            return;
        }
        let Self { out, batches, registry, .. } = self;
        let mut address = None;
        let hash = hash_of(registry, of);
        let (mut noted, mut change) = (0, 0);
        out.retain_pending(|conn| {
            let Some(batch) = batches.of.get_mut(&conn) else { return true };
            let idle = batch.is_idle();
            change += i64::from(batch.note(of, hash, news, || quoted(registry, of, &mut address)));
            noted += 1;
            if idle && !batch.is_idle() && !core::mem::replace(&mut batch.due, true) {
                batches.due.push_back(conn);
            }
            false
        });
        // It is told later, and is charged now.
        self.deliveries_elsewhere += noted;
        self.noted += noted;
        count(&mut self.registry, of, change);
        self.tick();
    }

    /// Notes news of a peer for one client that is told in batches.
    pub(super) fn note(&mut self, conn: ConnId, of: ConnId, news: News) {
        let Self { batches, registry, .. } = self;
        let Some(batch) = batches.of.get_mut(&conn) else { return };
        let change =
            batch.note(of, hash_of(registry, of), news, || quoted(registry, of, &mut None));
        self.noted += 1;
        self.deliveries_elsewhere += 1;
        count(&mut self.registry, of, i64::from(change));
        self.make_due(conn);
    }

    fn make_due(&mut self, conn: ConnId) {
        if let Some(batch) = self.batches.of.get_mut(&conn)
            && !core::mem::replace(&mut batch.due, true)
        {
            self.batches.due.push_back(conn);
        }
        self.tick();
    }

    /// Sees to it that what is due is told. All are told at the same times, so that many are told
    /// the same.
    fn tick(&mut self) {
        if !self.batches.due.is_empty() && !core::mem::replace(&mut self.batches.ticking, true) {
            let interval = u64::try_from(INTERVAL.as_micros()).unwrap_or(1);
            let next = (self.now.as_micros() / interval + 1).saturating_mul(interval);
            self.timers.set(Timestamp::from_micros(next), Timer::Batches);
        }
    }

    /// It is time to tell those who are due.
    pub(super) fn batches_due(&mut self) {
        self.batches.ticking = false;
        let peers = core::mem::take(&mut self.batches.due);
        for conn in &peers {
            if let Some(batch) = self.batches.of.get_mut(conn) {
                batch.due = false;
            }
        }
        self.start(Job::Batches { peers });
    }

    /// Tells one of those who are due; how many bytes that is.
    pub(super) fn batch_due(&mut self, conn: ConnId) -> usize {
        let now = self.now;
        match self.batches.of.get(&conn) {
            Some(batch) if batch.is_idle() || batch.awaits_drain => 0,
            Some(batch) if batch.not_before > now => {
                self.make_due(conn);
                0
            }
            Some(_) => self.send_batch(conn, None),
            None => 0,
        }
    }

    /// Tells at once what there is, where the last batch was long enough ago.
    pub(super) fn tell_batch_now(&mut self, conn: ConnId) {
        self.batches.forget_written();
        self.batch_due(conn);
    }

    /// How many bytes count for what is noted for a client (R-L7).
    pub(super) fn noted_for(&self, conn: ConnId) -> usize {
        self.batches.of.get(&conn).map_or(0, |batch| batch.counted.bytes())
    }

    /// The client does not read as fast as it is told: the next batch waits until it has.
    pub(super) fn hold_batches(&mut self, conn: ConnId) {
        if let Some(batch) = self.batches.of.get_mut(&conn)
            && !core::mem::replace(&mut batch.awaits_drain, true)
        {
            self.out.push(Action::AwaitDrain { conn });
        }
    }

    /// The client has read what it was told.
    pub(super) fn batch_drained(&mut self, conn: ConnId) {
        if let Some(batch) = self.batches.of.get_mut(&conn)
            && core::mem::take(&mut batch.awaits_drain)
            && !batch.is_idle()
        {
            self.make_due(conn);
        }
    }

    /// True if the client is still to be told that it has been told of everyone.
    pub(super) fn owes_complete(&self, conn: ConnId) -> bool {
        !self.batches.is_unused() && self.batches.of.get(&conn).is_some_and(|batch| batch.complete)
    }

    /// Tells those of the pending receivers of a frame that are still to be told something of its
    /// sender (R-X2).
    pub(super) fn tell_noted_of_sender(&mut self, sender: ConnId) {
        if self.batches.is_unused() || self.registry.peer(sender).is_none_or(|peer| peer.noted == 0)
        {
            return;
        }
        self.batches.forget_written();
        let pending = self.out.take_pending();
        for conn in &pending {
            let batch = self.batches.of.get(conn);
            if batch.is_some_and(|batch| batch.places.contains_key(&sender)) {
                self.send_batch(*conn, Some(sender));
            }
        }
        self.out.receivers().extend(pending);
    }

    /// Sends a client a batch; how many bytes it has. With `first` it begins with that peer, and has
    /// no other one where the client has not read what it was told before.
    fn send_batch(&mut self, conn: ConnId, first: Option<ConnId>) -> usize {
        let now = self.now;
        let limit = self.config.roster_burst.min(MAX_BYTES);
        let Self { batches, registry, .. } = self;
        let Some(batch) = batches.of.get_mut(&conn) else { return 0 };
        let first = first.and_then(|of| batch.places.get(&of).copied());
        let rest = batch.entries.keys().copied().filter(|place| Some(*place) != first);
        let only_first = batch.awaits_drain && first.is_some();
        let mut size = 0;
        let mut chosen = Vec::new();
        for place in first.into_iter().chain(rest) {
            if only_first && Some(place) != first {
                break;
            }
            let Some((of, entry)) = batch.entries.get(&place) else { continue };
            let bytes = match entry {
                Entry::Online { .. } => {
                    registry.peer(*of).map_or(0, |peer| peer.record.text().len() + 1)
                }
                Entry::Offline(address) => address.len() + 1,
            };
            if size > 0 && size + bytes > limit {
                break;
            }
            size += bytes;
            chosen.push(place);
        }
        let mut entries = Vec::with_capacity(chosen.len());
        for place in chosen {
            if let Some((of, entry)) = batch.entries.remove(&place) {
                batch.places.remove(&of);
                entries.push((of, entry));
            }
        }
        // Only who is told to be offline may have to be forgotten: all are looked at for that, and who sends
        // often has single entries told.
        let is_gone = |entry: &Entry| matches!(entry, Entry::Offline(_));
        let told_gone = entries.iter().any(|(_, entry)| is_gone(entry));
        let looks = if told_gone { batch.forget_told() } else { 0 };
        batch.count();
        let complete = batch.complete && batch.entries.is_empty() && !batch.awaits_drain;
        batch.complete &= !complete;
        batch.not_before = now + INTERVAL;
        let more = !batch.is_idle();
        let waits = more && !core::mem::replace(&mut batch.awaits_drain, more);
        let key = entries.iter().map(|(of, entry)| (*of, matches!(entry, Entry::Online { .. })));
        let text = match &batches.written {
            Some((written, last, text))
                if *last == complete && written.iter().copied().eq(key.clone()) =>
            {
                text.clone()
            }
            _ => {
                let text = write(registry, &entries, complete, size);
                batches.written = Some((key.collect(), complete, text.clone()));
                text
            }
        };
        self.noted += (entries.len() + looks) as u64;
        for (of, _) in &entries {
            count(&mut self.registry, *of, -1);
        }
        let bytes = text.len();
        self.stats.batches += 1;
        self.out.send_to(conn, text);
        if waits {
            self.out.push(Action::AwaitDrain { conn });
        }
        if complete {
            self.return_echoes(conn);
        }
        bytes
    }
}

/// The address of a peer as a JSON string, written once.
fn quoted(registry: &Registry, of: ConnId, written: &mut Option<Text>) -> Text {
    let write = || Text::from(String::from(registry.peer(of).map_or("\"\"", Peer::quoted)));
    written.get_or_insert_with(write).clone()
}

/// The hash of the id of a peer of another node.
fn hash_of(registry: &Registry, of: ConnId) -> Option<u64> {
    let peer = registry.peer(of).filter(|_| of.is_remote())?;
    Some(registry.hash(peer.id()))
}

/// The text of a batch.
fn write(registry: &Registry, entries: &[(ConnId, Entry)], complete: bool, size: usize) -> Text {
    let mut batch = RosterBatch::begin(size);
    for (of, entry) in entries {
        // A peer that is gone without a word is passed over.
        if let Entry::Online { .. } = entry
            && let Some(peer) = registry.peer(*of)
        {
            batch.online(&peer.record);
        }
    }
    for (_, entry) in entries {
        if let Entry::Offline(address) = entry {
            batch.offline(address);
        }
    }
    Text::from(batch.finish(complete))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-X2: between two batches a peer may come and go as often as it likes; what the client is
    /// told is what is true then, and nothing where that is what it knows.
    #[test]
    fn news_of_a_peer_are_merged() {
        use News::{Offline, Online, Updated};
        let of = ConnId::new(1, 1);
        for (news, told) in [
            (&[Online][..], Some("new")),
            (&[Updated], Some("known")),
            (&[Offline], Some("offline")),
            (&[Online, Updated], Some("new")),
            (&[Online, Offline], None),
            (&[Online, Updated, Offline, Online], Some("new")),
            (&[Updated, Offline], Some("offline")),
            (&[Offline, Online], Some("known")),
            (&[Offline, Online, Offline], Some("offline")),
            (&[Offline, Online, Updated], Some("known")),
        ] {
            let mut batch = Batch::new(&Waiting::default());
            let mut entries = 0;
            for news in news {
                entries += batch.note(of, None, *news, || Text::from("\"a|1\""));
            }
            let found = batch.entries.values().next().map(|(_, entry)| match entry {
                Entry::Online { known: true } => "known",
                Entry::Online { known: false } => "new",
                Entry::Offline(_) => "offline",
            });
            assert_eq!(found, told, "{news:?}");
            assert_eq!(entries, i8::from(told.is_some()), "{news:?}");
            assert_eq!(batch.entries.len(), batch.places.len(), "{news:?}");
        }
    }

    /// R-X2, R-C2: a peer whose node was taken for dead is back with the same address and another number before its
    /// going was told: it is told to be there, and not to be gone.
    #[test]
    fn one_that_is_back_is_not_gone() {
        use News::{Offline, Online};
        let (before, back, other) = (ConnId::new(1, 1), ConnId::new(2, 1), ConnId::new(3, 1));
        let mut batch = Batch::new(&Waiting::default());
        let gone = || Text::from("\"a|1\"");
        batch.note(before, Some(7), Offline, gone);
        batch.note(other, Some(8), Online, gone);
        batch.note(back, Some(7), Online, gone);
        assert_eq!(batch.places.keys().copied().collect::<Vec<_>>(), [back, other]);
        // The client knows it, so its going is told.
        batch.note(back, Some(7), Offline, gone);
        assert!(matches!(batch.entries[&batch.places[&back]].1, Entry::Offline(_)));
        assert_eq!(batch.gone.len(), 1);
        batch.note(other, Some(8), Offline, gone);
        assert!(!batch.places.contains_key(&other) && batch.gone.len() == 1);
    }
}
