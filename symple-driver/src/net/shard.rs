//! A thread's connections, polled: what is ready, deadlines, writing.

use std::{
    net::SocketAddr,
    ops::{ControlFlow, Range},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use symple_engine::{
    Timestamp,
    server::{ConnId, TransportFault},
};
use symple_proto::CloseCode;

use crate::{
    core::request::Reply,
    http::{Answer, MountedRequest},
    net::backlog::Backlog,
    net::connection::{Connection, Due, Gone, Phase},
    net::io::Io,
    net::ready::Ready,
    net::source::{Source, Stream, take_over},
    net::table::{ConnectionTable, Entry},
    net::upstream::Upstream,
    runtime::{Runtime, Timer},
    server::events::TOO_LATE,
    server::log,
    ws::decode::{Allowed, Decoded, Fragments, Sender, Violation},
    ws::deflate::{InflateError, Inflater},
    ws::header::Opcode,
};

mod reading;

/// How much is read at once. All connections of a thread share this memory.
const READ: usize = 64 * 1024;
/// How many connections are written to before it is looked what else is ready. What arrives while
/// a large room is written to is queued behind what waits, and shares the write of every receiver
/// whose turn has not come.
const WRITES: usize = 16;
/// Two turns in which nothing was ready double that, so many times at most: to look is a system call, and
/// only delays the last receiver of a large room when nothing arrives. It takes two, since some runtimes
/// look at their sockets in every other turn: where something comes each time they look, what comes is
/// to share as many writes as it can.
const DOUBLINGS: u32 = 3;
/// When a deadline has passed by so much, this thread stood still or had too much to do: what has
/// arrived meanwhile is to be read before anybody is judged.
const STALL: Duration = Duration::from_millis(100);
/// In how many turns that is done: the runtime looks at its sockets in between.
const GRACE_TURNS: u32 = 4;
/// And in how many at most, if reading does not come to an end.
const MOST_GRACE_TURNS: u32 = 64;
/// How long it is done at least where other threads read.
const GRACE: Duration = Duration::from_millis(50);

/// The connections of a thread, and what polls them.
pub(crate) struct Shard<R: Runtime> {
    runtime: R,
    pub(crate) table: ConnectionTable<R::Socket>,
    ready: Arc<Ready>,
    woken: Vec<u32>,
    /// How many turns in a row nothing was ready, as far as that counts.
    lull: u32,
    scratch: Box<[u8]>,
    started: Instant,
    timer: R::Timer,
    /// What the timer is set to.
    armed: Option<Timestamp>,
    /// For how many turns deadlines have waited to be judged, and since when.
    late: Option<(u32, Timestamp)>,
    /// Frames without text that have been read and not told of.
    frames: u32,
    /// What inflates messages, once one was compressed.
    inflater: Option<Box<Inflater>>,
}

impl<R: Runtime> Shard<R> {
    pub(crate) fn new(runtime: &R, table: ConnectionTable<R::Socket>, ready: Arc<Ready>) -> Self {
        Self {
            runtime: runtime.clone(),
            table,
            ready,
            woken: Vec::new(),
            lull: 0,
            scratch: vec![0; READ].into(),
            started: Instant::now(),
            timer: runtime.timer(),
            armed: None,
            late: None,
            frames: 0,
            inflater: None,
        }
    }

    /// Looks at the clock, once for everything that is ready.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>) {
        self.ready.register(cx.waker());
        let elapsed = self.started.elapsed().as_micros();
        self.table.begin_turn(Timestamp::from_micros(u64::try_from(elapsed).unwrap_or(u64::MAX)));
    }

    /// Whether deadlines may be judged in this turn; `other` is the next one that is not of a
    /// connection. Where they are overdue, what has arrived is read first: whoever was in time is
    /// not to suffer for a server that was not. If not, there must be another turn at once.
    pub(crate) fn judges(&mut self, other: Option<Timestamp>) -> bool {
        let now = self.table.now;
        let next = [other, self.table.next_timer()].into_iter().flatten().min();
        if next.is_none_or(|at| at + STALL > now) {
            self.late = None;
            return true;
        }
        let (turns, since) = self.late.unwrap_or((0, now));
        // Other threads read, too.
        let elsewhere = !self.table.workers.is_empty() && now.since(since) < GRACE;
        let reads = turns < GRACE_TURNS || self.has_ready() && turns < MOST_GRACE_TURNS;
        let waits = reads || elsewhere;
        self.late = waits.then_some((turns + 1, since));
        !waits
    }

    /// Takes a new connection in. The time that it has waited for that is a part of the time that its
    /// upgrade may take (R-L5).
    pub(crate) fn open(
        &mut self,
        id: ConnId,
        source: Source<R::Socket>,
        address: SocketAddr,
        waited: Duration,
        up: &mut impl Upstream<R::Socket>,
    ) {
        let opened = match source {
            Source::Accepted(socket, tls) => {
                let io = Io::new(socket, tls).map_err(std::io::Error::other);
                io.map(|io| (io, Bytes::new(), None))
            }
            Source::Given(stream, request) => {
                take_over(&self.runtime, stream).map(|(io, read)| (io, read, request))
            }
            Source::Awaited(request, awaited) => {
                Ok((Io::Awaited(awaited), Bytes::new(), Some(request)))
            }
        };
        let (io, read, request) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                log::not_taken_in(&error);
                return up.removed(id);
            }
        };
        let waker = self.ready.waker(id.slot);
        let limit = self.table.config.engine.limits.message_unauthenticated;
        let mut conn = Connection::new(id, io, address, waker, limit, self.table.now);
        conn.since = self.table.now - waited;
        conn.backlog = (!read.is_empty()).then(|| Box::new(Backlog::new(&read)));
        self.table.insert(id, Entry::Connection(Box::new(conn)));
        if let Some(request) = request {
            self.mounted(id, &request, up);
        }
        self.drive(id, up);
    }

    /// Decides about a request that the application has read.
    fn mounted(&mut self, id: ConnId, request: &MountedRequest, up: &mut impl Upstream<R::Socket>) {
        let Some(conn) = self.table.get(id) else { return };
        match up.policy().answer_mounted(request, conn.socket_address, conn.io.is_tls()) {
            Ok(upgrade) => up.upgrade(&mut self.table, id, upgrade),
            Err((response, refused)) => {
                self.table.respond(id, &response);
                if let Some(refused) = refused {
                    up.refused(&refused);
                }
            }
        }
    }

    /// The stream has come of a connection that waits for it: whoever hands it over is told.
    pub(crate) fn attach(
        &mut self,
        id: ConnId,
        stream: Stream,
        reply: &Reply<()>,
        up: &mut impl Upstream<R::Socket>,
    ) {
        let (io, read) = match take_over(&self.runtime, stream) {
            Ok(taken) => taken,
            Err(error) => {
                log::not_taken_in(&error);
                return self.table.end(id);
            }
        };
        // It may have waited too long, or the server ends: then the stream is dropped.
        if let Some(upgrade) = self.table.attach(id, io, &read) {
            let _ = reply.try_send(());
            up.connected(&mut self.table, id, *upgrade);
            self.drive(id, up);
        }
    }

    /// Handles the connections that are ready, unless too much waits already.
    pub(crate) fn poll_ready(&mut self, up: &mut impl Upstream<R::Socket>) {
        let mut woken = std::mem::take(&mut self.woken);
        self.ready.take(&mut woken);
        self.lull = if woken.is_empty() { (2 * DOUBLINGS).min(self.lull + 1) } else { 0 };
        let (mut done, mut kept) = (0, 0);
        while !self.table.is_spent()
            && !up.is_full()
            && let Some(slot) = woken.get(done).copied()
        {
            done += 1;
            let Some(id) = self.table.in_slot(slot).map(|conn| conn.id) else { continue };
            if self.table.hears(id) {
                if let Some(conn) = self.table.get(id) {
                    conn.waker.taken();
                }
                self.drive(id, up);
                self.table.hears_no_more(id);
            } else {
                // Its turn comes when what it has caused is written.
                woken[kept] = slot;
                kept += 1;
            }
        }
        woken.drain(kept..done);
        self.woken = woken;
    }

    /// Connections are ready that have not been handled.
    pub(crate) fn has_ready(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Looks at the deadlines that have come.
    pub(crate) fn poll_deadlines(&mut self, up: &mut impl Upstream<R::Socket>) {
        while self.table.has_room()
            && let Some(id) = self.table.pop_due()
        {
            let (now, config) = (self.table.now, Arc::clone(&self.table.config));
            let Some(conn) = self.table.get(id) else { continue };
            match conn.check(&config, now) {
                Due::Nothing => {}
                Due::Drop => {
                    match conn.phase {
                        Phase::Open => {
                            conn.silent = true;
                            self.table.stats.silent += 1;
                        }
                        // It has had what it asked for.
                        Phase::Handshake if conn.is_kept() => {}
                        Phase::Handshake | Phase::Deciding(_) | Phase::Awaiting(_) => {
                            let address = conn.address;
                            self.table.stats.upgrades_dropped += 1;
                            up.upgrade_failed(address, None, TOO_LATE);
                        }
                        Phase::Closing | Phase::Ending { .. } => {}
                    }
                    self.table.end(id);
                }
                Due::TooSlow => up.fault(&mut self.table, id, TransportFault::TooSlow),
                Due::Ping => self.table.control(id, Opcode::Ping, b""),
                Due::Unfinished => {
                    conn.oversized = true;
                    up.fault(&mut self.table, id, TransportFault::Unfinished);
                }
            }
            self.table.schedule(id);
        }
    }

    /// Writes some of what has been queued. True if there is more to be done.
    pub(crate) fn finish(&mut self, up: &impl Upstream<R::Socket>) -> bool {
        self.table.shed(up.kept(), |id| up.kept_of(id));
        self.table.flush_some(WRITES << (self.lull / 2));
        self.table.count_traffic();
        let table = &self.table;
        table.has_dirty()
            || !table.ended.is_empty()
            || !table.overflowed.is_empty()
            || !table.behind.is_empty()
            || !table.drained.is_empty()
            || !table.undelivered.is_empty()
    }

    /// Tells what has come of what was sent, and lets go of what has ended, as far as what comes of
    /// that can be written soon.
    pub(crate) fn poll_outcomes(&mut self, up: &mut impl Upstream<R::Socket>) {
        while self.table.has_room()
            && let Some(id) = self.table.overflowed.pop_front()
        {
            up.fault(&mut self.table, id, TransportFault::TooSlow);
        }
        while self.table.has_room()
            && let Some(id) = self.table.ended.pop_front()
        {
            let Some(conn) = self.table.remove(id) else { continue };
            if conn.announced {
                let gone = if conn.silent { Gone::Silent } else { Gone::Lost };
                up.disconnected(&mut self.table, id, gone);
            }
            up.removed(id);
        }
        while let Some(id) = self.table.behind.pop_front() {
            up.behind(&mut self.table, id);
        }
        while self.table.has_room()
            && let Some(id) = self.table.drained.pop_front()
        {
            up.drained(&mut self.table, id);
        }
        while self.table.has_room()
            && let Some((sender, text)) = self.table.undelivered.pop_first()
        {
            up.undelivered(&mut self.table, sender, text);
        }
    }

    /// Sets the timer. True if the time has come already.
    pub(crate) fn poll_timer(&mut self, cx: &mut Context<'_>, next: Option<Timestamp>) -> bool {
        let next = [next, self.table.next_timer()].into_iter().flatten().min();
        let Some(next) = next else { return false };
        if next <= self.table.now {
            return true;
        }
        // A timer that is set to an earlier time does no harm: whoever is woken looks again.
        if self.armed.is_some_and(|armed| armed <= next && armed > self.table.now) {
            return false;
        }
        let deadline = self.started + Duration::from_micros(next.as_micros());
        self.armed = Some(next);
        self.timer.poll_until(cx, deadline).is_ready()
    }

    /// Moves a connection on as far as it goes now.
    fn drive(&mut self, id: ConnId, up: &mut impl Upstream<R::Socket>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.read(id, &mut scratch, up);
        self.scratch = scratch;
        self.table.count_held(id);
        // Also what TLS has to say, and where there may be nothing more to do.
        if let Some(conn) = self.table.get(id)
            && (conn.io.says_goodbye() || !conn.out.is_empty() || !conn.is_open())
        {
            self.table.mark_dirty(id);
        }
    }
}
