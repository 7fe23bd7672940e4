//! A thread's connections, polled: reading, decoding, deadlines, writing.

use std::{
    net::{IpAddr, SocketAddr},
    ops::{ControlFlow, Range},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use symple_engine::{
    Timestamp,
    server::{ConnId, Text, TransportFault},
};
use symple_proto::CloseCode;
use tungstenite::protocol::frame::coding::Control;

use crate::{
    core::request::Reply,
    http::{Answer, MountedRequest, Policy, RefusedUpgrade, Upgrade},
    net::backlog::Backlog,
    net::connection::{Connection, Due, Gone, Phase},
    net::io::Io,
    net::ready::Ready,
    net::source::{Source, Stream, take_over},
    net::table::{ConnectionTable, Entry},
    runtime::{Runtime, Socket, Timer},
    server::events::TOO_LATE,
    server::hooks::{Acceptance, UpgradeDecision},
    server::log,
    ws::decode::{Allowed, Decoded, Fragments, Violation},
    ws::deflate::{InflateError, Inflater},
};

/// How much is read at once. All connections of a thread share this memory.
const READ: usize = 64 * 1024;
/// How often a connection is read from before others have their turn.
const READS: usize = 4;
/// How many connections are written to before it is looked what else is ready. What arrives while
/// a large room is written to is queued behind what waits, and shares the write of every receiver
/// whose turn has not come.
const WRITES: usize = 16;
/// How much input is kept at most of a peer to which nobody listens for now, so that it is noticed
/// when it leaves.
const AHEAD: usize = 4 * 1024 * 1024;
/// And no more than so many of the largest messages that it may send.
const AHEAD_MESSAGES: usize = 4;
/// How much input may be kept in all for that to be done. Each may have a quarter of what is left
/// of it, so that something is left for the next.
const AHEAD_IN_ALL: usize = 8 * 1024 * 1024;
const AHEAD_SHARE: usize = 4;
/// How much a client may still send that has its answer, before it is dropped.
const LINGER: usize = 4 * 1024 * 1024;
/// How many requests are answered on a connection that does not become one of WebSocket.
const PAGES: u16 = 1000;
/// How many frames without text are told of at once.
const FRAMES: u32 = 32;
/// When a deadline has passed by so much, this thread stood still or had too much to do: what has
/// arrived meanwhile is to be read before anybody is judged.
const STALL: Duration = Duration::from_millis(100);
/// In how many turns that is done: the runtime looks at its sockets in between.
const GRACE_TURNS: u32 = 4;
/// And in how many at most, if reading does not come to an end.
const MOST_GRACE_TURNS: u32 = 64;
/// How long it is done at least where other threads read.
const GRACE: Duration = Duration::from_millis(50);
/// How much work a TLS handshake is, in deliveries.
const TLS_HANDSHAKE: usize = 4000;

/// Those who decide what happens: told of everything, they act on the connections.
pub(crate) trait Upstream<S> {
    /// What decides about requests now.
    fn policy(&self) -> Policy<'_>;
    /// So much waits for them that nothing more should be read.
    fn is_full(&self) -> bool;
    /// Asks the application's hook about an upgrade. False if there is none.
    fn ask_upgrade(&self, id: ConnId, upgrade: &Upgrade) -> bool;
    /// A connection asks to become a WebSocket connection.
    fn upgrade(&mut self, table: &mut ConnectionTable<S>, id: ConnId, upgrade: Box<Upgrade>)
    where
        S: Socket,
    {
        if self.ask_upgrade(id, &upgrade) {
            table.enter(id, Phase::Deciding(upgrade));
        } else if let Some(upgrade) = table.accept(id, upgrade, &Acceptance::default()) {
            self.connected(table, id, *upgrade);
        }
    }
    /// The hook has decided about an upgrade.
    fn upgrade_decided(
        &mut self,
        table: &mut ConnectionTable<S>,
        id: ConnId,
        decision: UpgradeDecision,
    ) where
        S: Socket,
    {
        match table.decide(id, decision) {
            Some(Ok(upgrade)) => self.connected(table, id, *upgrade),
            Some(Err(refused)) => self.refused(&refused),
            None => {}
        }
    }
    /// A connection has become a WebSocket connection.
    fn connected(&mut self, table: &mut ConnectionTable<S>, id: ConnId, upgrade: Upgrade);
    /// A text arrived.
    fn text(&mut self, table: &mut ConnectionTable<S>, id: ConnId, text: &str);
    /// So many frames without text arrived.
    fn frames(&mut self, table: &mut ConnectionTable<S>, id: ConnId, count: u32);
    /// A client has left while nothing was to be handled; what it had sent before follows.
    fn departed(&mut self, table: &mut ConnectionTable<S>, id: ConnId);
    /// A connection has taken what it was sent.
    fn drained(&mut self, table: &mut ConnectionTable<S>, id: ConnId);
    /// A text of this sender was refused where it was addressed to.
    fn undelivered(&mut self, table: &mut ConnectionTable<S>, id: ConnId, text: Text);
    /// A connection broke a rule.
    fn fault(&mut self, table: &mut ConnectionTable<S>, id: ConnId, fault: TransportFault);
    /// A connection that was known is gone, or is as good as gone.
    fn disconnected(&mut self, table: &mut ConnectionTable<S>, id: ConnId, gone: Gone);
    /// An upgrade was refused: it is counted, logged and told.
    fn refused(&mut self, refused: &RefusedUpgrade);
    /// An upgrade has come to nothing, with this status of an answer if there was one: whoever reads
    /// events is told.
    fn upgrade_failed(&self, address: IpAddr, status: Option<u16>, reason: &str);
    /// A slot is free.
    fn removed(&mut self, id: ConnId);
    /// How many bytes they keep of what clients have sent, here (R-L7).
    fn kept(&self) -> usize;
    /// How many of those are of this connection.
    fn kept_of(&self, id: ConnId) -> usize;
}

/// The connections of a thread, and what polls them.
pub(crate) struct Shard<R: Runtime> {
    runtime: R,
    pub(crate) table: ConnectionTable<R::Socket>,
    ready: Arc<Ready>,
    woken: Vec<u32>,
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
                Due::Ping => self.table.control(id, Control::Ping, b""),
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
        self.table.flush_some(WRITES);
        self.table.count_traffic();
        let table = &self.table;
        table.has_dirty()
            || !table.ended.is_empty()
            || !table.overflowed.is_empty()
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
        // Also what TLS has to say.
        self.table.mark_dirty(id);
    }

    fn read(&mut self, id: ConnId, scratch: &mut [u8], up: &mut impl Upstream<R::Socket>) {
        // What could not be handled before, perhaps can be now.
        if self.table.get(id).is_some_and(|conn| conn.wants_input() && conn.backlog.is_some()) {
            self.ingest(id, &mut [], up);
        }
        for _ in 0..READS {
            if up.is_full() || !self.table.has_room() {
                break;
            }
            let left = AHEAD_IN_ALL.saturating_sub(self.table.held);
            let Some(conn) = self.table.get(id) else { return };
            if conn.gone {
                // All that it had sent has been handled.
                return self.table.end(id);
            }
            let limit = AHEAD.min(conn.message_limit as usize * AHEAD_MESSAGES);
            let limit = limit.min((left + conn.held as usize) / AHEAD_SHARE);
            let ahead = !conn.wants_input();
            if ahead && !conn.looks_ahead(limit) {
                return;
            }
            let work = if conn.io.is_handshaking() { TLS_HANDSHAKE } else { 0 };
            let read = conn.poll_read(scratch);
            self.table.spend(work);
            let Some(conn) = self.table.get(id) else { return };
            match read {
                Poll::Pending => return,
                Poll::Ready(Ok(count @ 1..)) => {
                    let now = self.table.now;
                    self.table.unreported.0 += count as u64;
                    if let Some(conn) = self.table.get(id) {
                        conn.last_read = now;
                        conn.pinged = Timestamp::MAX;
                        if let Phase::Ending { discarded, .. } = &mut conn.phase {
                            // Nobody reads it; who goes on and on is not waited for.
                            *discarded += count;
                            if *discarded > LINGER {
                                return self.table.end(id);
                            }
                        }
                    }
                    self.table.spend_input(count);
                    if ahead {
                        self.look_ahead(id, &scratch[..count], up);
                    } else {
                        self.ingest(id, &mut scratch[..count], up);
                    }
                }
                // A half-closed client still gets its response.
                Poll::Ready(Ok(_)) if conn.is_answered() => {
                    conn.phase = Phase::Ending { linger: false, discarded: 0 };
                    return;
                }
                Poll::Ready(_) if ahead && conn.backlog.is_some() => {
                    conn.gone = true;
                    self.depart(id, up);
                }
                Poll::Ready(_) => return self.table.end(id),
            }
        }
        // Others first; then again.
        if let Some(conn) = self.table.get(id) {
            std::task::Wake::wake_by_ref(&conn.waker);
        }
    }

    /// Keeps bytes of a client to which nobody listens for now, and looks whether it leaves.
    fn look_ahead(&mut self, id: ConnId, bytes: &[u8], up: &mut impl Upstream<R::Socket>) {
        let Some(conn) = self.table.get(id) else { return };
        let backlog = conn.backlog.get_or_insert_default();
        backlog.extend(bytes);
        let leaves = backlog.has_close();
        self.table.count_held(id);
        if leaves {
            self.depart(id, up);
        }
    }

    /// A client leaves to which nobody listens for now: what it had sent before is handled.
    fn depart(&mut self, id: ConnId, up: &mut impl Upstream<R::Socket>) {
        let Some(conn) = self.table.get(id) else { return };
        conn.leaving = true;
        conn.since = Timestamp::MAX;
        up.departed(&mut self.table, id);
        self.ingest(id, &mut [], up);
    }

    /// Handles bytes from a client.
    fn ingest(&mut self, id: ConnId, bytes: &mut [u8], up: &mut impl Upstream<R::Socket>) {
        let now = self.table.now;
        let Some(conn) = self.table.get(id) else { return };
        match conn.phase {
            Phase::Handshake => {
                if conn.is_kept() {
                    // Here the next request begins.
                    conn.since = now;
                }
                conn.backlog.get_or_insert_default().extend(bytes);
                self.handshake(id, up);
            }
            Phase::Open | Phase::Closing => match conn.backlog.take() {
                None => {
                    let used = self.messages(id, bytes, up);
                    if used < bytes.len() {
                        self.keep(id, Box::new(Backlog::new(&bytes[used..])));
                    }
                }
                Some(mut backlog) => {
                    backlog.extend(bytes);
                    let used = self.messages(id, backlog.unread(), up);
                    backlog.consume(used);
                    if !backlog.is_empty() {
                        self.keep(id, backlog);
                    }
                }
            },
            Phase::Deciding(_) | Phase::Awaiting(_) | Phase::Ending { .. } => {}
        }
    }

    /// Keeps the bytes that could not be handled yet.
    fn keep(&mut self, id: ConnId, backlog: Box<Backlog>) {
        if let Some(conn) = self.table.get(id)
            && let Phase::Open | Phase::Closing = conn.phase
            && !conn.overflowed
            && !conn.ended
        {
            conn.backlog = Some(backlog);
        }
    }

    fn handshake(&mut self, id: ConnId, up: &mut impl Upstream<R::Socket>) {
        let Some(conn) = self.table.get(id) else { return };
        let (address, tls) = (conn.socket_address, conn.io.is_tls());
        let Some(backlog) = &mut conn.backlog else { return };
        let mut policy = up.policy();
        policy.keep_alive &= conn.pages < PAGES;
        policy.kept = conn.pages > 0;
        match policy.answer(&mut conn.head, backlog.unread(), address, tls) {
            Answer::Incomplete => self.table.schedule(id),
            Answer::Page { response, length } => {
                backlog.consume(length);
                if backlog.is_empty() {
                    conn.backlog = None;
                }
                self.table.answer_page(id, &response);
            }
            Answer::Respond(response, refused) => {
                self.table.respond(id, &response);
                if let Some(refused) = refused {
                    up.refused(&refused);
                }
            }
            Answer::Upgrade(upgrade) => {
                backlog.consume(upgrade.length);
                // An empty buffer that holds memory would hold it as long as the connection.
                if backlog.is_empty() {
                    conn.backlog = None;
                }
                up.upgrade(&mut self.table, id, upgrade);
            }
        }
    }

    /// Handles the frames at the start of the bytes, until too much waits for the engine; how many
    /// bytes are done with.
    fn messages(
        &mut self,
        id: ConnId,
        bytes: &mut [u8],
        up: &mut impl Upstream<R::Socket>,
    ) -> usize {
        let mut at = 0;
        while at < bytes.len() && !up.is_full() && self.table.has_room() {
            match self.message(id, &mut bytes[at..], up) {
                ControlFlow::Continue(used) => at += used,
                ControlFlow::Break(used) => {
                    at += used;
                    break;
                }
            }
            if self.frames >= FRAMES {
                self.tell_frames(id, up);
            }
        }
        self.tell_frames(id, up);
        at
    }

    /// Tells of the frames without text that have been read.
    fn tell_frames(&mut self, id: ConnId, up: &mut impl Upstream<R::Socket>) {
        let count = std::mem::take(&mut self.frames);
        if count > 0 && self.table.get(id).is_some_and(|conn| conn.announced && conn.is_open()) {
            up.frames(&mut self.table, id, count);
        }
    }

    /// Handles the frame at the start of the bytes.
    fn message(
        &mut self,
        id: ConnId,
        bytes: &mut [u8],
        up: &mut impl Upstream<R::Socket>,
    ) -> ControlFlow<usize, usize> {
        let now = self.table.now;
        let max_fragments = self.table.config.max_fragments;
        let Some(conn) = self.table.get(id).filter(|conn| conn.wants_input()) else {
            return ControlFlow::Break(0);
        };
        let open = conn.is_open();
        let limit = conn.message_limit as usize;
        let allowed = Allowed { limit, max_fragments, deflates: conn.deflates };
        let (used, decoded) = conn.decoder.decode_within(bytes, allowed);
        if open {
            if decoded == Decoded::Incomplete || conn.decoder.is_within_message() {
                conn.message_begins(now);
                self.table.schedule(id);
            } else {
                conn.since = Timestamp::MAX;
            }
        }
        self.table.spend_frame(used);
        match decoded {
            Decoded::Incomplete => return ControlFlow::Break(0),
            Decoded::Message(range) if open => self.text(id, &bytes[range], up),
            Decoded::Assembled(message) if open => self.text(id, &message, up),
            Decoded::Deflated(range) if open => {
                if !self.deflated_text(id, bytes, range, None, up) {
                    return ControlFlow::Break(0);
                }
            }
            Decoded::AssembledDeflated(fragments, last) if open => {
                if !self.deflated_text(id, bytes, last, Some(fragments), up) {
                    return ControlFlow::Break(0);
                }
            }
            Decoded::Ping(range) if open => {
                self.frames += 1;
                self.table.control(id, Control::Pong, &bytes[range]);
            }
            Decoded::Fault(violation) if open => {
                if let Some(conn) = self.table.get(id) {
                    conn.oversized = true;
                }
                up.fault(&mut self.table, id, fault(violation));
                return ControlFlow::Break(used);
            }
            Decoded::Close(code, reason) if open => {
                if let Some(conn) = self.table.get(id) {
                    conn.announced = false;
                }
                let code = code.map(CloseCode);
                self.table.answer_close(id, code);
                up.disconnected(&mut self.table, id, Gone::Closed(code, reason));
                return ControlFlow::Break(used);
            }
            // Both have said goodbye, but this side's may still be on its way.
            Decoded::Close(..) | Decoded::Fault(_) => {
                self.table.enter(id, Phase::Ending { linger: false, discarded: 0 });
                return ControlFlow::Break(used);
            }
            Decoded::Fragment | Decoded::Pong => self.frames += 1,
            Decoded::Message(_)
            | Decoded::Assembled(_)
            | Decoded::Deflated(_)
            | Decoded::AssembledDeflated(..)
            | Decoded::Ping(_) => {}
        }
        ControlFlow::Continue(used)
    }

    /// Handles a compressed message, whose payload, or last payload, stands there. False if it is
    /// too big: it may be looked at once more, when more is allowed (R-A11).
    fn deflated_text(
        &mut self,
        id: ConnId,
        bytes: &mut [u8],
        payload: Range<usize>,
        fragments: Option<Box<Fragments>>,
        up: &mut impl Upstream<R::Socket>,
    ) -> bool {
        let Some(limit) = self.table.get(id).map(|conn| conn.message_limit as usize) else {
            return true;
        };
        let message =
            fragments.as_ref().map_or(&bytes[payload.clone()], |fragments| &fragments.message);
        let length = message.len();
        let mut inflater = self.inflater.take().unwrap_or_default();
        self.table.stats.inflated += 1;
        let result = inflater.inflate(message, limit);
        let fits = match result {
            Ok(text) => {
                self.text(id, text, up);
                true
            }
            Err(InflateError::Invalid) => {
                up.fault(&mut self.table, id, TransportFault::InvalidPayload);
                true
            }
            Err(InflateError::TooBig) => {
                if let Some(conn) = self.table.get(id) {
                    conn.decoder.take_back(bytes, payload, fragments);
                    conn.oversized = true;
                }
                // How many more there are nobody has looked.
                let size = (limit as u64).saturating_add(1);
                up.fault(&mut self.table, id, TransportFault::TooBig { size, limit });
                false
            }
        };
        // What is refused has cost as much as what is not.
        self.table.spend_input(length.max(inflater.inflated()));
        self.inflater = Some(inflater);
        fits
    }

    fn text(&mut self, id: ConnId, message: &[u8], up: &mut impl Upstream<R::Socket>) {
        match std::str::from_utf8(message) {
            Ok(text) => up.text(&mut self.table, id, text),
            Err(_) => up.fault(&mut self.table, id, TransportFault::InvalidUtf8),
        }
    }
}

/// What the engine calls it.
fn fault(violation: Violation) -> TransportFault {
    match violation {
        Violation::TooBig { size, limit } => TransportFault::TooBig { size, limit },
        Violation::Protocol => TransportFault::Protocol,
        Violation::TooManyFragments => TransportFault::TooManyFragments,
        Violation::InvalidUtf8 => TransportFault::InvalidUtf8,
    }
}
