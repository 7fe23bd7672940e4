//! The connections of a thread, and what can be done to them.

mod remote;
#[cfg(test)]
mod tests;
mod turn;

use std::{
    cell::OnceCell,
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque, btree_map},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use symple_engine::{
    Timestamp,
    server::{ConnId, Text},
};
use symple_proto::CloseCode;

use remote::Remote;

use crate::{
    http::{HeadScan, RefusedUpgrade, Upgrade, parse_response, refusal},
    net::backlog::Backlog,
    net::connection::{Connection, Dirty, Flushed, Phase},
    net::io::Io,
    net::source::MountAnswer,
    runtime::Socket,
    server::config::Config,
    server::handle::VIRTUAL_BACKLOG,
    server::hooks::{Acceptance, Rejection, UpgradeDecision},
    server::mount::AcceptedUpgrade,
    server::stats::TransportStats,
    worker::mailbox::{WorkerCommand, WorkerMailbox},
    ws::deflate::{Deflater, SharedDeflated},
    ws::header::Opcode,
    ws::queue::{Buffers, TextFrame},
};

/// How many bytes may wait for connections that have not been written to since they were queued,
/// before nothing more is read.
const UNFLUSHED: usize = 4 * 1024 * 1024;
/// And how many more a connection may add that has not caused that.
const LITTLE: usize = 256 * 1024;
/// What goes to so few connections is written before what goes to many: it costs the many little,
/// and nobody has to wait for a crowd that it has nothing to do with.
const FEW: usize = 8;
/// How much work is done in one turn for one kind of inputs, before others have theirs and what was
/// queued is written.
pub(crate) const SHARE: usize = 2_000;
/// How much work a write is, and a frame to be handled; a delivery is 1.
const WRITE: usize = 40;
const FRAME: usize = 8;
/// For so many bytes a frame is one more.
const BYTES: usize = 256;
/// And so many bytes that are read and only looked through.
const INPUT: usize = 64;
/// A write is one more for so many bytes.
const WRITTEN: usize = 128;
/// For so many bytes that wait, a turn's writing is one more.
const BEHIND: usize = 512;
/// And deliveries are for so many bytes that are copied.
const COPIED: usize = 512;
/// And compressing is for so many bytes.
const DEFLATED: usize = 16;
/// Of what waits for a client that has taken something within this time, only a part counts when
/// it is decided who is closed: it may just have been kept waiting itself.
const READS: Duration = Duration::from_millis(500);
const READS_PART: usize = 4;
/// What waits for a client that is being closed is dropped first, if it is more than so many bytes:
/// to drop less makes no room.
const REST: usize = 4 * 1024;
/// When no more than so many bytes are queued for a connection, it has taken what it was sent.
const DRAINED: usize = 32 * 1024;
/// When more than so many bytes are queued for a connection whose socket takes no more, it has fallen behind.
const BEHIND_AT: usize = 64 * 1024;

/// What stands in a slot.
pub(crate) enum Entry<S> {
    /// A connection with a socket.
    Connection(Box<Connection<S>>),
    /// A peer of the host's own; where its frames go, and whether it has not taken them.
    Virtual(ConnId, async_channel::Sender<Text>, bool),
    /// A connection of another thread.
    Remote(Box<Remote>),
}

/// All connections of a thread, by slot.
pub(crate) struct ConnectionTable<S> {
    pub(crate) config: Arc<Config>,
    entries: Vec<Option<Entry<S>>>,
    /// Those that have something to be written, in the order in which they are written to.
    dirty: VecDeque<ConnId>,
    /// Those of them that are written to first.
    express: VecDeque<ConnId>,
    /// How much work has been done in this turn.
    spent: usize,
    /// How much may have been done before others have their turn.
    allowed: usize,
    /// How many bytes of input are kept.
    pub(crate) held: usize,
    /// What this thread has added to the two totals that follow.
    reported: (usize, usize),
    /// How many bytes wait on all threads, shared payloads not counted (R-L7).
    total: Arc<AtomicUsize>,
    /// How many bytes of shared payloads wait on all threads, counted for each connection.
    shares: Arc<AtomicUsize>,
    /// The bytes that all threads have read and written, and those of this one that are not added yet.
    traffic: Arc<Traffic>,
    pub(crate) unreported: (u64, u64),
    /// How many bytes wait for those: approximately, and exactly when there are none.
    unflushed: usize,
    /// How many of them are too many.
    full_at: usize,
    /// Those that did not take what they were sent.
    pub(crate) overflowed: VecDeque<ConnId>,
    /// Those that have fallen behind, of which the engine is to be told.
    pub(crate) behind: VecDeque<ConnId>,
    /// Those that have taken what they were sent, where the engine wants to know.
    pub(crate) drained: VecDeque<ConnId>,
    /// By sender: what was refused of what it has addressed to a receiver, and it has not been told
    /// of (R-L8). Each has one place, which it cannot take from others.
    pub(crate) undelivered: BTreeMap<ConnId, Text>,
    /// Peers of the host's own that the engine has closed.
    pub(crate) closed_virtuals: Vec<ConnId>,
    /// Those that have ended.
    pub(crate) ended: VecDeque<ConnId>,
    /// What compresses texts, where they are.
    deflater: Option<Box<Deflater>>,
    timers: BinaryHeap<Reverse<(Timestamp, ConnId)>>,
    pub(crate) buffers: Buffers,
    pub(crate) now: Timestamp,
    /// The number of the input that is being handled.
    pub(crate) input: u64,
    /// Connections that are not WebSocket yet.
    pub(crate) handshakes: usize,
    /// Connections with a socket.
    pub(crate) sockets: usize,
    pub(crate) stats: TransportStats,
    /// On the engine's thread: the threads that have the other connections.
    pub(crate) workers: Vec<WorkerMailbox<S>>,
    /// Connections of workers whose events were kept, and need not be any more.
    released: Vec<ConnId>,
}

/// The bytes that all threads together have read from sockets and written to them, before encryption.
#[derive(Debug, Default)]
struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

/// How much waits on all threads (R-L7), and how much has come and gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    own: Arc<AtomicUsize>,
    shares: Arc<AtomicUsize>,
    shared: Arc<AtomicUsize>,
    traffic: Arc<Traffic>,
}

impl<S: Socket> ConnectionTable<S> {
    /// The connections of a thread. What waits for them is added to the total of all threads, and
    /// to that of shared payloads.
    pub(crate) fn new(
        config: Arc<Config>,
        workers: Vec<WorkerMailbox<S>>,
        waiting: Waiting,
    ) -> Self {
        let buffers = Buffers::new(waiting.shared);
        let deflater =
            config.compression.as_ref().map(|settings| Box::new(Deflater::new(settings)));
        Self {
            config,
            entries: Vec::new(),
            dirty: VecDeque::new(),
            express: VecDeque::new(),
            spent: 0,
            allowed: 0,
            held: 0,
            reported: (0, 0),
            total: waiting.own,
            shares: waiting.shares,
            traffic: waiting.traffic,
            unreported: (0, 0),
            unflushed: 0,
            full_at: UNFLUSHED,
            overflowed: VecDeque::new(),
            behind: VecDeque::new(),
            drained: VecDeque::new(),
            undelivered: BTreeMap::new(),
            closed_virtuals: Vec::new(),
            ended: VecDeque::new(),
            deflater,
            timers: BinaryHeap::new(),
            buffers,
            now: Timestamp::ZERO,
            input: 0,
            handshakes: 0,
            sockets: 0,
            stats: TransportStats::default(),
            workers,
            released: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, id: ConnId, entry: Entry<S>) {
        let slot = id.slot as usize;
        if slot >= self.entries.len() {
            self.entries.resize_with(slot + 1, || None);
        }
        if let Entry::Connection(_) | Entry::Remote(_) = entry {
            self.handshakes += 1;
            self.sockets += 1;
        }
        self.entries[slot] = Some(entry);
        self.schedule(id);
    }

    pub(crate) fn get(&mut self, id: ConnId) -> Option<&mut Connection<S>> {
        self.in_slot(id.slot).filter(|conn| conn.id == id)
    }

    pub(crate) fn in_slot(&mut self, slot: u32) -> Option<&mut Connection<S>> {
        match self.entries.get_mut(slot as usize)? {
            Some(Entry::Connection(conn)) => Some(conn),
            _ => None,
        }
    }

    /// Takes a connection out; dropping it closes its socket.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Box<Connection<S>>> {
        self.get(id)?;
        match self.entries.get_mut(id.slot as usize)?.take()? {
            Entry::Connection(mut conn) => {
                self.sockets -= 1;
                self.leave_handshake(&conn.phase);
                conn.out.clear(&mut self.buffers);
                conn.io.count_no_more(&mut self.buffers.waiting);
                self.held -= conn.held as usize;
                Some(conn)
            }
            Entry::Virtual(..) | Entry::Remote(_) => None,
        }
    }

    /// Takes a peer of the host's own out; true if it was there.
    pub(crate) fn remove_virtual(&mut self, id: ConnId) -> bool {
        let Some(entry) = self.entries.get_mut(id.slot as usize) else { return false };
        let found = matches!(entry, Some(Entry::Virtual(found, ..)) if *found == id);
        if found {
            *entry = None;
        }
        found
    }

    /// Ends the connections that are not WebSocket yet. Those that are being answered, or have said
    /// goodbye, get their answer.
    pub(crate) fn end_handshakes(&mut self) {
        let mut answering = Vec::new();
        for entry in self.entries.iter_mut().flatten() {
            let Entry::Connection(conn) = entry else { continue };
            if !conn.is_handshake() {
                continue;
            }
            if conn.answering {
                answering.push(conn.id);
            } else if !std::mem::replace(&mut conn.ended, true) {
                self.ended.push_back(conn.id);
            }
        }
        for id in answering {
            self.enter(id, Phase::Ending { linger: true, discarded: 0 });
            self.mark_dirty(id);
        }
        for worker in &mut self.workers {
            worker.push(WorkerCommand::EndHandshakes);
        }
    }

    /// The connection's socket is broken, or has nothing more to do: nothing waits for it any more.
    pub(crate) fn end(&mut self, id: ConnId) {
        let Self { entries, buffers, .. } = self;
        let Some(Some(Entry::Connection(conn))) = entries.get_mut(id.slot as usize) else {
            self.remote_leaves_handshake(id);
            return self.command(id, WorkerCommand::End(id));
        };
        if conn.id == id && !std::mem::replace(&mut conn.ended, true) {
            conn.out.clear(buffers);
            conn.io.count_no_more(&mut buffers.waiting);
            conn.forget_input();
            self.ended.push_back(id);
            self.count_held(id);
        }
    }

    fn leave_handshake(&mut self, phase: &Phase) {
        if phase.is_handshake() {
            self.handshakes -= 1;
        }
    }

    /// A connection leaves its phase for another one.
    pub(crate) fn enter(&mut self, id: ConnId, phase: Phase) {
        let now = self.now;
        let Some(conn) = self.get(id) else { return };
        if phase.is_handshake() {
            // The time that the upgrade may take goes on.
            conn.phase = phase;
            return;
        }
        let before = std::mem::replace(&mut conn.phase, phase);
        conn.since = if conn.is_open() { Timestamp::MAX } else { now };
        self.leave_handshake(&before);
        self.schedule(id);
    }

    /// Looks at the deadlines of a connection in time, if that is not arranged already.
    pub(crate) fn schedule(&mut self, id: ConnId) {
        let config = Arc::clone(&self.config);
        let Some(conn) = self.get(id) else { return };
        let deadline = conn.deadline(&config);
        if deadline < conn.scheduled {
            conn.scheduled = deadline;
            self.timers.push(Reverse((deadline, id)));
        }
    }

    /// When deadlines must be looked at.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// A connection whose deadlines must be looked at.
    pub(crate) fn pop_due(&mut self) -> Option<ConnId> {
        while self.next_timer()? <= self.now {
            let Reverse((at, id)) = self.timers.pop()?;
            if let Some(conn) = self.get(id)
                && conn.scheduled == at
            {
                conn.scheduled = Timestamp::MAX;
                return Some(id);
            }
        }
        None
    }

    /// Queues a text for each of the connections. Where a sender has addressed it to them, each
    /// takes only so much of that (R-L8). Returns how many bytes are compressed for that, here or
    /// where they are handed over to.
    pub(crate) fn send(&mut self, text: &Text, to: &[ConnId], sender: Option<ConnId>) -> usize {
        self.send_with(text, to, sender, None)
    }

    /// As [`send`](Self::send), with the place of the compressed text that other threads have, too.
    pub(crate) fn send_with(
        &mut self,
        text: &Text,
        to: &[ConnId],
        sender: Option<ConnId>,
        known: Option<&SharedDeflated>,
    ) -> usize {
        let mut plain = TextFrame::new(text.as_bytes());
        if to.len() > 1 {
            plain.join(&mut self.buffers);
        }
        let place = self.deflater.as_mut().and_then(|deflater| deflater.place(text, known));
        // Whether it is compressed is seen when the first receiver is found that can take it.
        let (payload, mut deflated) = (OnceCell::new(), None);
        let limit = self.config.outbound_limit;
        let few = to.len() <= FEW;
        let mut refused = false;
        // Somebody takes it compressed, here or on another thread.
        let mut taken = false;
        self.spent += to.len();
        let copied = self.buffers.waiting;
        let mut unflushed = self.unflushed;
        for id in to {
            match self.entries.get_mut(id.slot as usize) {
                Some(Some(Entry::Connection(conn))) if conn.id == *id => {
                    if !conn.takes_texts() {
                        continue;
                    }
                    if conn.out.len() > limit && conn.over_limit_since != self.input {
                        // R-L4: what one input causes may go over the limit; the next may not add
                        // to it, unless the socket has room by now.
                        let (sent, flushed) = conn.flush(self.now, &mut self.buffers);
                        self.spent += WRITE + sent / WRITTEN;
                        self.unreported.1 += sent as u64;
                        if flushed == Flushed::Ended {
                            conn.ended = true;
                            self.ended.push_back(*id);
                            continue;
                        }
                        if conn.out.len() > limit && sender.is_none() {
                            self.overflow(*id);
                            continue;
                        }
                    }
                    let payload = match (&place, &mut self.deflater) {
                        (Some(place), Some(deflater)) if conn.deflates => {
                            taken = true;
                            payload.get_or_init(|| {
                                let made = place.get_or_init(|| {
                                    self.stats.deflated += 1;
                                    self.spent += text.as_bytes().len() / DEFLATED;
                                    deflater.deflate(text.as_bytes())
                                });
                                made.clone()
                            })
                        }
                        _ => &None,
                    };
                    let frame = match payload {
                        Some(payload) => {
                            deflated.get_or_insert_with(|| TextFrame::deflated(payload))
                        }
                        None => &mut plain,
                    };
                    let before = if conn.dirty == Dirty::No { 0 } else { conn.out.len() };
                    match sender.filter(|sender| sender != id) {
                        None => conn.push_text(frame, self.now, &mut self.buffers),
                        Some(sender) => {
                            let (now, buffers) = (self.now, &mut self.buffers);
                            if conn.push_addressed(sender, frame, limit, now, buffers).is_err() {
                                refused = true;
                                continue;
                            }
                        }
                    }
                    unflushed += conn.out.len() - before;
                    if conn.out.len() > limit {
                        conn.over_limit_since = self.input;
                    }
                    match conn.dirty {
                        Dirty::No | Dirty::Queued if few => {
                            conn.dirty = Dirty::Express;
                            self.express.push_back(*id);
                        }
                        Dirty::No => {
                            conn.dirty = Dirty::Queued;
                            self.dirty.push_back(*id);
                        }
                        Dirty::Queued | Dirty::Express => {}
                    }
                }
                // The host reads from a queue that is bounded like any other.
                Some(Some(Entry::Virtual(found, frames, overflowed)))
                    if found == id
                        && !*overflowed
                        && (frames.len() >= VIRTUAL_BACKLOG
                            || frames.try_send(text.clone()).is_err()) =>
                {
                    *overflowed = true;
                    self.overflowed.push_back(*id);
                }
                Some(Some(Entry::Remote(remote))) if remote.id == *id => {
                    taken |= remote.deflates;
                    self.workers[remote.worker].push_receiver(*id);
                }
                _ => {}
            }
        }
        self.unflushed = unflushed;
        plain.finish(&mut self.buffers);
        self.spent += self.buffers.waiting.saturating_sub(copied) / COPIED;
        for worker in &mut self.workers {
            worker.send(text, self.input, sender, place.as_ref());
        }
        if let Some(sender) = sender.filter(|_| refused)
            && let btree_map::Entry::Vacant(place) = self.undelivered.entry(sender)
        {
            place.insert(text.clone());
        }
        let charges = taken
            && place.is_some()
            && known.is_none()
            && self.deflater.as_mut().is_some_and(|deflater| deflater.charge());
        if charges { text.as_bytes().len() } else { 0 }
    }

    /// Sends a control frame to a connection.
    pub(crate) fn control(&mut self, id: ConnId, control: Opcode, payload: &[u8]) {
        let Self { entries, buffers, now, .. } = self;
        if let Some(Some(Entry::Connection(conn))) = entries.get_mut(id.slot as usize)
            && conn.id == id
        {
            conn.push_control(control, payload, *now, buffers);
            self.mark_dirty(id);
        }
    }

    /// Answers a client's close frame, and ends behind the answer.
    pub(crate) fn answer_close(&mut self, id: ConnId, code: Option<CloseCode>) {
        let code = code.map(|code| code.0.to_be_bytes());
        self.control(id, Opcode::Close, code.as_ref().map_or(&[], |code| code));
        self.enter(id, Phase::Ending { linger: false, discarded: 0 });
    }

    /// Sends a close frame behind what is queued (SPEC §7).
    pub(crate) fn close(
        &mut self,
        id: ConnId,
        code: CloseCode,
        reason: &'static str,
        discard: bool,
    ) {
        if self.remove_virtual(id) {
            return self.closed_virtuals.push(id);
        }
        let Self { entries, buffers, now, .. } = self;
        let Some(Some(Entry::Connection(conn))) = entries.get_mut(id.slot as usize) else {
            // Whatever it still says is ignored.
            self.release(id);
            return self.command(id, WorkerCommand::Close { id, code, reason, discard });
        };
        if conn.id != id || !conn.is_open() {
            return;
        }
        if discard {
            conn.out.discard(buffers);
        }
        conn.leaving = false;
        let mut payload = Vec::with_capacity(2 + reason.len());
        payload.extend_from_slice(&code.0.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
        conn.push_control(Opcode::Close, &payload, *now, buffers);
        conn.paused = false;
        // Where a frame could not be read, the one behind it cannot be found: neither can the
        // client's close frame.
        let lost = std::mem::take(&mut conn.oversized);
        if lost {
            conn.forget_input();
        }
        self.enter(
            id,
            if lost { Phase::Ending { linger: true, discarded: 0 } } else { Phase::Closing },
        );
        self.count_held(id);
        self.mark_dirty(id);
    }

    /// Its messages may have so many bytes (R-L1).
    pub(crate) fn set_message_limit(&mut self, id: ConnId, limit: usize) {
        if let Some(conn) = self.get(id) {
            conn.message_limit = u32::try_from(limit).unwrap_or(u32::MAX);
        } else {
            self.command(id, WorkerCommand::SetMessageLimit(id, limit));
        }
    }

    pub(crate) fn pause(&mut self, id: ConnId) {
        let now = self.now;
        match self.get(id) {
            Some(conn) => conn.pause(now),
            None => {
                if let Some(remote) = self.remote(id) {
                    remote.paused = true;
                    self.command(id, WorkerCommand::Pause(id));
                }
            }
        }
    }

    pub(crate) fn resume(&mut self, id: ConnId) {
        let (now, message_timeout) = (self.now, self.config.message_timeout);
        if let Some(conn) = self.get(id) {
            conn.resume(now, message_timeout);
            conn.oversized = false;
            conn.last_read = now;
            std::task::Wake::wake_by_ref(&conn.waker);
            self.schedule(id);
        } else {
            self.release(id);
            // Before it is read from again, what was kept has its turn.
            if !self.is_holding(id) {
                self.command(id, WorkerCommand::Resume(id));
            }
        }
    }

    /// The host's hook has decided about an upgrade. The request, if it has become a WebSocket
    /// connection, or what the log says of its refusal; nothing if another thread has the
    /// connection, or nobody any more.
    pub(crate) fn decide(
        &mut self,
        id: ConnId,
        decision: UpgradeDecision,
    ) -> Option<Result<Box<Upgrade>, RefusedUpgrade>> {
        let Some(conn) = self.get(id) else {
            self.command(id, WorkerCommand::UpgradeDecided(id, decision));
            return None;
        };
        let Phase::Deciding(upgrade) = &conn.phase else { return None };
        let address = upgrade.address;
        match decision.0 {
            Ok(acceptance) => {
                let phase = std::mem::replace(&mut conn.phase, Phase::Handshake);
                let Phase::Deciding(upgrade) = phase else { return None };
                self.accept(id, upgrade, &acceptance).map(Ok)
            }
            Err(Rejection { status, reason, headers, body }) => {
                self.respond(id, &refusal(status, reason.as_deref(), &headers, &body, true));
                Some(Err(RefusedUpgrade { address, status, body: body.into(), origin: None }))
            }
        }
    }

    /// Answers an upgrade with 101: from now on it is a WebSocket connection, and the request is
    /// given back. Where the application answers, it will be when the stream comes.
    pub(crate) fn accept(
        &mut self,
        id: ConnId,
        upgrade: Box<Upgrade>,
        acceptance: &Acceptance,
    ) -> Option<Box<Upgrade>> {
        let Self { entries, buffers, .. } = self;
        let Some(Some(Entry::Connection(conn))) = entries.get_mut(id.slot as usize) else {
            return None;
        };
        let response = upgrade.response(acceptance);
        if let Io::Awaited(awaited) = &mut conn.io {
            let response = parse_response(&response).map(drop);
            let (requests, status) = (awaited.requests.clone(), Arc::clone(&awaited.status));
            let accepted = AcceptedUpgrade::new(id, response, requests, status);
            let told = awaited.answer(MountAnswer::Upgrade(accepted));
            self.enter(id, Phase::Awaiting(upgrade));
            if !told {
                // Whoever asked is gone, and so is its stream.
                self.end(id);
            }
            return None;
        }
        conn.out.push_raw(&response, buffers);
        self.begin(id, &upgrade);
        Some(upgrade)
    }

    /// A connection whose upgrade has been answered is a WebSocket connection.
    fn begin(&mut self, id: ConnId, upgrade: &Upgrade) {
        let Some(conn) = self.get(id) else { return };
        conn.address = upgrade.address;
        conn.deflates = upgrade.deflate.is_some();
        conn.announced = true;
        self.enter(id, Phase::Open);
        self.mark_dirty(id);
        // What came behind the request.
        self.resume(id);
    }

    /// The stream has come of a connection that waits for it. The request, which has become a
    /// WebSocket connection; none if nothing waits for a stream (any more).
    pub(crate) fn attach(&mut self, id: ConnId, io: Io<S>, read: &[u8]) -> Option<Box<Upgrade>> {
        let conn = self.get(id).filter(|conn| !conn.ended)?;
        let phase = std::mem::replace(&mut conn.phase, Phase::Handshake);
        let Phase::Awaiting(upgrade) = phase else {
            conn.phase = phase;
            return None;
        };
        conn.io = io;
        conn.backlog = (!read.is_empty()).then(|| Box::new(Backlog::new(read)));
        self.begin(id, &upgrade);
        Some(upgrade)
    }

    /// Answers a request with a page, behind which there may be another request: it is looked at when
    /// the page has been written.
    pub(crate) fn answer_page(&mut self, id: ConnId, response: &[u8]) {
        let Self { entries, buffers, now, .. } = self;
        let Some(Some(Entry::Connection(conn))) = entries.get_mut(id.slot as usize) else { return };
        conn.out.push_raw(response, buffers);
        conn.head = HeadScan::default();
        conn.pages = conn.pages.saturating_add(1);
        conn.answering = true;
        conn.since = *now;
        self.stats.answered += 1;
        self.schedule(id);
        self.mark_dirty(id);
    }

    /// Answers a request with something else than an upgrade, and ends.
    pub(crate) fn respond(&mut self, id: ConnId, response: &[u8]) {
        let Self { entries, buffers, .. } = self;
        let Some(Some(Entry::Connection(conn))) = entries.get_mut(id.slot as usize) else { return };
        if conn.id != id {
            return;
        }
        self.stats.answered += 1;
        if let Io::Awaited(awaited) = &mut conn.io {
            awaited.answer(MountAnswer::Respond(parse_response(response)));
            return self.end(id);
        }
        conn.forget_input();
        conn.out.push_raw(response, buffers);
        self.enter(id, Phase::Ending { linger: true, discarded: 0 });
        self.mark_dirty(id);
    }
}
