//! The connections of a thread, and what can be done to them.

mod remote;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
};

use http::HeaderMap;
use symple_engine::{
    Timestamp,
    server::{ConnId, Text},
};
use symple_proto::CloseCode;
use tungstenite::protocol::frame::coding::Control;

use remote::Remote;

use crate::{
    config::Config,
    conn::{Conn, Phase},
    hook::{Rejection, UpgradeDecision},
    link::{Downlink, Order},
    out::{Buffers, TextFrame},
    runtime::Socket,
    stats::TransportStats,
    upgrade::{Upgrade, response},
};

/// How many bytes may wait for connections that have not been written to since they were queued,
/// before nothing more is read.
const UNFLUSHED: usize = 8 * 1024 * 1024;

/// What stands in a slot.
pub(crate) enum Entry<S> {
    /// A connection with a socket.
    Conn(Box<Conn<S>>),
    /// A peer of the host's own; where its frames go.
    Virtual(ConnId, async_channel::Sender<Text>),
    /// A connection of another thread.
    Remote(Box<Remote>),
}

/// All connections of a thread, by slot.
pub(crate) struct Conns<S> {
    pub(crate) config: Arc<Config>,
    entries: Vec<Option<Entry<S>>>,
    /// Those that have something to be written, in the order in which they are written to.
    dirty: VecDeque<ConnId>,
    /// How many bytes wait for those: approximately, and exactly when there are none.
    unflushed: usize,
    /// Those that did not take what they were sent.
    pub(crate) overflowed: Vec<ConnId>,
    /// Peers of the host's own that the engine has closed.
    pub(crate) closed_virtuals: Vec<ConnId>,
    /// Those that have ended.
    pub(crate) ended: Vec<ConnId>,
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
    pub(crate) workers: Vec<Downlink<S>>,
    /// Connections of workers whose facts were kept, and need not be any more.
    released: Vec<ConnId>,
}

impl<S: Socket> Conns<S> {
    pub(crate) fn new(config: Arc<Config>, workers: Vec<Downlink<S>>) -> Self {
        Self {
            config,
            entries: Vec::new(),
            dirty: VecDeque::new(),
            unflushed: 0,
            overflowed: Vec::new(),
            closed_virtuals: Vec::new(),
            ended: Vec::new(),
            timers: BinaryHeap::new(),
            buffers: Buffers::default(),
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
        if let Entry::Conn(_) | Entry::Remote(_) = entry {
            self.handshakes += 1;
            self.sockets += 1;
        }
        self.entries[slot] = Some(entry);
        self.schedule(id);
    }

    pub(crate) fn get(&mut self, id: ConnId) -> Option<&mut Conn<S>> {
        self.in_slot(id.slot).filter(|conn| conn.id == id)
    }

    pub(crate) fn in_slot(&mut self, slot: u32) -> Option<&mut Conn<S>> {
        match self.entries.get_mut(slot as usize)? {
            Some(Entry::Conn(conn)) => Some(conn),
            _ => None,
        }
    }

    /// Takes a connection out; dropping it closes its socket.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Box<Conn<S>>> {
        self.get(id)?;
        match self.entries.get_mut(id.slot as usize)?.take()? {
            Entry::Conn(mut conn) => {
                self.sockets -= 1;
                self.leave_handshake(&conn.phase);
                conn.out.clear(&mut self.buffers);
                Some(conn)
            }
            Entry::Virtual(..) | Entry::Remote(_) => None,
        }
    }

    /// Takes a peer of the host's own out; true if it was there.
    pub(crate) fn remove_virtual(&mut self, id: ConnId) -> bool {
        let Some(entry) = self.entries.get_mut(id.slot as usize) else { return false };
        let found = matches!(entry, Some(Entry::Virtual(found, _)) if *found == id);
        if found {
            *entry = None;
        }
        found
    }

    /// Ends the connections that are not WebSocket yet, and those that never will be.
    pub(crate) fn end_handshakes(&mut self) {
        for entry in self.entries.iter_mut().flatten() {
            if let Entry::Conn(conn) = entry
                && !conn.known
                && !std::mem::replace(&mut conn.ended, true)
            {
                self.ended.push(conn.id);
            }
        }
        for worker in &mut self.workers {
            worker.push(Order::EndHandshakes);
        }
    }

    /// The connection's socket is broken, or has nothing more to do.
    pub(crate) fn end(&mut self, id: ConnId) {
        let Some(conn) = self.get(id) else {
            self.remote_connected(id);
            return self.order(id, Order::End(id));
        };
        if !std::mem::replace(&mut conn.ended, true) {
            self.ended.push(id);
        }
    }

    fn leave_handshake(&mut self, phase: &Phase) {
        if let Phase::Handshake | Phase::Deciding(_) = phase {
            self.handshakes -= 1;
        }
    }

    /// A connection leaves its phase for another one.
    pub(crate) fn enter(&mut self, id: ConnId, phase: Phase) {
        let now = self.now;
        let Some(conn) = self.get(id) else { return };
        if let Phase::Handshake | Phase::Deciding(_) = phase {
            // The time that the upgrade may take goes on.
            conn.phase = phase;
            return;
        }
        let before = std::mem::replace(&mut conn.phase, phase);
        conn.since = now;
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

    /// To be flushed when everything that is ready has been handled.
    pub(crate) fn mark_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.get(id)
            && !std::mem::replace(&mut conn.dirty, true)
        {
            let waits = conn.out.len();
            self.dirty.push_back(id);
            self.unflushed += waits;
        }
    }

    /// Writes to the connections that have waited longest for it, at most so many; each is written
    /// to once.
    pub(crate) fn flush_some(&mut self, most: usize) {
        for _ in 0..most {
            let Some(id) = self.dirty.pop_front() else { break };
            self.flush(id);
        }
        if self.dirty.is_empty() {
            self.unflushed = 0;
        }
    }

    /// There are connections that have something to be written.
    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// So much waits to be written that nothing more should be read before it is.
    pub(crate) fn is_full(&self) -> bool {
        self.unflushed > UNFLUSHED || self.is_blocked()
    }

    /// Writes what is queued for a connection.
    pub(crate) fn flush(&mut self, id: ConnId) {
        let Self { entries, buffers, now, .. } = self;
        let Some(Some(Entry::Conn(conn))) = entries.get_mut(id.slot as usize) else { return };
        if conn.id != id || conn.ended {
            return;
        }
        conn.dirty = false;
        self.unflushed = self.unflushed.saturating_sub(conn.out.len());
        if conn.flush(*now, buffers) {
            self.end(id);
        } else if !conn.out.is_empty() {
            self.schedule(id);
        }
    }

    /// Queues a text for each of the connections.
    pub(crate) fn send(&mut self, text: &Text, to: &[ConnId]) {
        let frame = TextFrame::new(text.as_bytes());
        for id in to {
            match self.entries.get_mut(id.slot as usize) {
                Some(Some(Entry::Conn(conn))) if conn.id == *id => {
                    if !conn.is_open() || conn.ended {
                        continue;
                    }
                    if conn.out.len() > self.config.outbound_limit
                        && conn.over_limit_since != self.input
                    {
                        // R-L4: what one input causes may go over the limit; the next may not add
                        // to it, unless the socket has room by now.
                        if conn.flush(self.now, &mut self.buffers) {
                            conn.ended = true;
                            self.ended.push(*id);
                            continue;
                        }
                        if conn.out.len() > self.config.outbound_limit {
                            self.overflowed.push(*id);
                            continue;
                        }
                    }
                    let before = if conn.dirty { conn.out.len() } else { 0 };
                    conn.push_text(&frame, self.now, &mut self.buffers);
                    self.unflushed += conn.out.len() - before;
                    if conn.out.len() > self.config.outbound_limit {
                        conn.over_limit_since = self.input;
                    }
                    if !conn.dirty {
                        conn.dirty = true;
                        self.dirty.push_back(*id);
                    }
                }
                // The host reads from a queue that is bounded like any other.
                Some(Some(Entry::Virtual(found, frames)))
                    if found == id && frames.try_send(text.clone()).is_err() =>
                {
                    self.overflowed.push(*id);
                }
                Some(Some(Entry::Remote(remote))) if remote.id == *id => {
                    self.workers[remote.worker].push_receiver(*id);
                }
                _ => {}
            }
        }
        for worker in &mut self.workers {
            worker.send(text, self.input);
        }
    }

    /// Sends a control frame to a connection.
    pub(crate) fn control(&mut self, id: ConnId, control: Control, payload: &[u8]) {
        let Self { entries, buffers, now, .. } = self;
        if let Some(Some(Entry::Conn(conn))) = entries.get_mut(id.slot as usize)
            && conn.id == id
        {
            conn.push_control(control, payload, *now, buffers);
            self.mark_dirty(id);
        }
    }

    /// Answers a client's close frame, and ends behind the answer.
    pub(crate) fn answer_close(&mut self, id: ConnId, code: Option<CloseCode>) {
        let code = code.map(|code| code.0.to_be_bytes());
        self.control(id, Control::Close, code.as_ref().map_or(&[], |code| code));
        self.enter(id, Phase::Ending { linger: false });
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
        let Some(Some(Entry::Conn(conn))) = entries.get_mut(id.slot as usize) else {
            // Whatever it still says is ignored.
            self.release(id);
            return self.order(id, Order::Close { id, code, reason, discard });
        };
        if conn.id != id || !conn.is_open() {
            return;
        }
        if discard {
            conn.out.discard(buffers);
        }
        let mut payload = Vec::with_capacity(2 + reason.len());
        payload.extend_from_slice(&code.0.to_be_bytes());
        payload.extend_from_slice(reason.as_bytes());
        conn.push_control(Control::Close, &payload, *now, buffers);
        conn.paused = false;
        // Where a frame could not be read, the one behind it cannot be found: neither can the
        // client's close frame.
        let lost = std::mem::take(&mut conn.stuck);
        if lost {
            conn.partial = Vec::new();
        }
        self.enter(id, if lost { Phase::Ending { linger: true } } else { Phase::Closing });
        self.mark_dirty(id);
    }

    /// It may send large messages (R-L1).
    pub(crate) fn admit(&mut self, id: ConnId) {
        if let Some(conn) = self.get(id) {
            conn.admitted = true;
        } else if let Some(remote) = self.remote(id) {
            remote.admitted = true;
            self.order(id, Order::Admit(id));
        }
    }

    pub(crate) fn pause(&mut self, id: ConnId) {
        match self.get(id) {
            Some(conn) => conn.paused = true,
            None => {
                if let Some(remote) = self.remote(id) {
                    remote.paused = true;
                    self.order(id, Order::Pause(id));
                }
            }
        }
    }

    /// A message that was refused as too big is to be tried again.
    pub(crate) fn retry(&mut self, id: ConnId) {
        if let Some(conn) = self.get(id) {
            conn.stuck = false;
            std::task::Wake::wake_by_ref(&conn.waker);
        }
    }

    pub(crate) fn resume(&mut self, id: ConnId) {
        let now = self.now;
        if let Some(conn) = self.get(id) {
            conn.paused = false;
            conn.stuck = false;
            conn.heard = now;
            std::task::Wake::wake_by_ref(&conn.waker);
        } else {
            self.release(id);
            // Before it is read from again, what was kept has its turn.
            if !self.is_holding(id) {
                self.order(id, Order::Resume(id));
            }
        }
    }

    /// The host's hook has decided about an upgrade. The request, if it has become a WebSocket
    /// connection.
    pub(crate) fn decide(&mut self, id: ConnId, decision: UpgradeDecision) -> Option<Box<Upgrade>> {
        let Some(conn) = self.get(id) else {
            self.order(id, Order::UpgradeDecided(id, decision));
            return None;
        };
        if !matches!(conn.phase, Phase::Deciding(_)) {
            return None;
        }
        match decision.0 {
            Ok(headers) => {
                let phase = std::mem::replace(&mut conn.phase, Phase::Handshake);
                let Phase::Deciding(upgrade) = phase else { return None };
                self.accept(id, &upgrade, &headers);
                Some(upgrade)
            }
            Err(Rejection { status, headers, body }) => {
                self.respond(id, &response(status, &headers, &body, true));
                None
            }
        }
    }

    /// Answers an upgrade with 101: from now on it is a WebSocket connection.
    pub(crate) fn accept(&mut self, id: ConnId, upgrade: &Upgrade, headers: &HeaderMap) {
        let Some(conn) = self.get(id) else { return };
        conn.out.push_raw(&upgrade.response(headers));
        conn.address = upgrade.address;
        conn.known = true;
        self.enter(id, Phase::Open);
        self.mark_dirty(id);
        // What came behind the request.
        self.resume(id);
    }

    /// Answers a request with something else than an upgrade, and ends.
    pub(crate) fn respond(&mut self, id: ConnId, response: &[u8]) {
        let Some(conn) = self.get(id) else { return };
        conn.partial = Vec::new();
        conn.out.push_raw(response);
        self.stats.answered += 1;
        self.enter(id, Phase::Ending { linger: true });
        self.mark_dirty(id);
    }
}
