//! A thread's connections, polled: reading, decoding, deadlines, writing.

use std::{
    net::SocketAddr,
    ops::ControlFlow,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustls::ServerConfig;
use symple_engine::{
    Timestamp,
    server::{ConnId, TransportFault},
};
use tungstenite::protocol::frame::coding::Control;

use crate::{
    conn::{Conn, Due, Phase},
    conns::{Conns, Entry},
    decode::Decoded,
    io::Io,
    ready::Ready,
    runtime::{Runtime, Timer},
    upgrade::{Answer, MAX_HEAD, Policy, Upgrade},
};

/// How much is read at once. All connections of a thread share this memory.
const READ: usize = 64 * 1024;
/// How often a connection is read from before others have their turn.
const READS: usize = 4;
/// How many connections are written to before it is looked what else is ready. What arrives while
/// a large room is written to is queued behind what waits, and shares the write of every receiver
/// whose turn has not come.
const WRITES: usize = 16;

/// Those who decide what happens: told of everything, they act on the connections.
pub(crate) trait Upstream<S> {
    /// What decides about requests now.
    fn policy(&self) -> Policy<'_>;
    /// So much waits for them that nothing more should be read.
    fn is_full(&self) -> bool;
    /// A connection asks to become a WebSocket connection.
    fn upgrade(&mut self, conns: &mut Conns<S>, id: ConnId, upgrade: Box<Upgrade>);
    /// A text arrived.
    fn text(&mut self, conns: &mut Conns<S>, id: ConnId, text: &str);
    /// A connection broke a rule.
    fn fault(&mut self, conns: &mut Conns<S>, id: ConnId, fault: TransportFault);
    /// A connection that was known is gone, or is as good as gone.
    fn disconnected(&mut self, conns: &mut Conns<S>, id: ConnId);
    /// A slot is free.
    fn removed(&mut self, id: ConnId);
}

/// The connections of a thread, and what polls them.
pub(crate) struct Shard<R: Runtime> {
    pub(crate) conns: Conns<R::Socket>,
    ready: Arc<Ready>,
    woken: Vec<u32>,
    scratch: Box<[u8]>,
    started: Instant,
    timer: R::Timer,
    /// What the timer is set to.
    armed: Option<Timestamp>,
}

impl<R: Runtime> Shard<R> {
    pub(crate) fn new(runtime: &R, conns: Conns<R::Socket>, ready: Arc<Ready>) -> Self {
        Self {
            conns,
            ready,
            woken: Vec::new(),
            scratch: vec![0; READ].into(),
            started: Instant::now(),
            timer: runtime.timer(),
            armed: None,
        }
    }

    /// Looks at the clock, once for everything that is ready.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>) {
        self.ready.register(cx.waker());
        let elapsed = self.started.elapsed().as_micros();
        self.conns.now = Timestamp::from_micros(u64::try_from(elapsed).unwrap_or(u64::MAX));
    }

    /// Takes a socket in that has just been accepted.
    pub(crate) fn open(
        &mut self,
        id: ConnId,
        socket: R::Socket,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        up: &mut impl Upstream<R::Socket>,
    ) {
        let io = match Io::new(socket, tls) {
            Ok(io) => io,
            Err(error) => {
                tracing::warn!(%error, "cannot begin TLS");
                return up.removed(id);
            }
        };
        let waker = self.ready.waker(id.slot);
        let conn = Conn::new(id, io, address, waker, self.conns.now);
        self.conns.insert(id, Entry::Conn(Box::new(conn)));
        self.drive(id, up);
    }

    /// Handles the connections that are ready, unless too much waits already.
    pub(crate) fn poll_ready(&mut self, up: &mut impl Upstream<R::Socket>) {
        let mut woken = std::mem::take(&mut self.woken);
        self.ready.take(&mut woken);
        let mut done = 0;
        while !self.conns.is_full()
            && !up.is_full()
            && let Some(slot) = woken.get(done)
        {
            done += 1;
            if let Some(conn) = self.conns.in_slot(*slot) {
                conn.waker.taken();
                let id = conn.id;
                self.drive(id, up);
            }
        }
        woken.drain(..done);
        self.woken = woken;
    }

    /// Connections are ready that have not been handled.
    pub(crate) fn has_ready(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Looks at the deadlines that have come.
    pub(crate) fn poll_deadlines(&mut self, up: &mut impl Upstream<R::Socket>) {
        while let Some(id) = self.conns.pop_due() {
            let (now, config) = (self.conns.now, Arc::clone(&self.conns.config));
            let Some(conn) = self.conns.get(id) else { continue };
            match conn.check(&config, now) {
                Due::Nothing => {}
                Due::Drop => {
                    match conn.phase {
                        Phase::Open => self.conns.stats.silent += 1,
                        Phase::Handshake | Phase::Deciding(_) => {
                            self.conns.stats.upgrades_dropped += 1;
                        }
                        Phase::Closing | Phase::Ending { .. } => {}
                    }
                    self.conns.end(id);
                }
                Due::TooSlow => up.fault(&mut self.conns, id, TransportFault::TooSlow),
                Due::Ping => self.conns.control(id, Control::Ping, b""),
            }
            self.conns.schedule(id);
        }
    }

    /// Writes some of what has been queued, and lets go of what has ended. True if more is to be
    /// written.
    pub(crate) fn finish(&mut self, up: &mut impl Upstream<R::Socket>) -> bool {
        self.conns.flush_some(WRITES);
        while let Some(id) = self.conns.ended.pop() {
            let Some(conn) = self.conns.remove(id) else { continue };
            if conn.known {
                up.disconnected(&mut self.conns, id);
            }
            up.removed(id);
        }
        self.conns.has_dirty()
    }

    /// Sets the timer. True if the time has come already.
    pub(crate) fn poll_timer(&mut self, cx: &mut Context<'_>, next: Option<Timestamp>) -> bool {
        let next = [next, self.conns.next_timer()].into_iter().flatten().min();
        let Some(next) = next else { return false };
        if next <= self.conns.now {
            return true;
        }
        // A timer that is set to an earlier time does no harm: whoever is woken looks again.
        if self.armed.is_some_and(|armed| armed <= next && armed > self.conns.now) {
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
        // Also what TLS has to say.
        self.conns.mark_dirty(id);
    }

    fn read(&mut self, id: ConnId, scratch: &mut [u8], up: &mut impl Upstream<R::Socket>) {
        // What could not be handled before, perhaps can be now.
        if self.conns.get(id).is_some_and(|conn| conn.wants_input() && !conn.partial.is_empty()) {
            self.ingest(id, &mut [], up);
        }
        for _ in 0..READS {
            if up.is_full() {
                break;
            }
            let Some(conn) = self.conns.get(id).filter(|conn| conn.wants_input()) else { return };
            match conn.poll_read(scratch) {
                Poll::Pending => return,
                Poll::Ready(Ok(count @ 1..)) => {
                    let now = self.conns.now;
                    if let Some(conn) = self.conns.get(id) {
                        conn.heard = now;
                        conn.pinged = None;
                    }
                    self.ingest(id, &mut scratch[..count], up);
                }
                // Who asked and will say nothing more still wants the answer.
                Poll::Ready(Ok(_)) if conn.is_answered() => {
                    conn.phase = Phase::Ending { linger: false };
                    return;
                }
                Poll::Ready(_) => return self.conns.end(id),
            }
        }
        // Others first; then again.
        if let Some(conn) = self.conns.get(id) {
            std::task::Wake::wake_by_ref(&conn.waker);
        }
    }

    /// Handles bytes from a client.
    fn ingest(&mut self, id: ConnId, bytes: &mut [u8], up: &mut impl Upstream<R::Socket>) {
        let Some(conn) = self.conns.get(id) else { return };
        match conn.phase {
            Phase::Handshake => {
                conn.partial.extend_from_slice(bytes);
                self.handshake(id, up);
            }
            Phase::Open | Phase::Closing => {
                let mut partial = std::mem::take(&mut conn.partial);
                if partial.is_empty() {
                    let used = self.messages(id, bytes, up);
                    self.keep(id, &bytes[used..]);
                } else {
                    partial.extend_from_slice(bytes);
                    let used = self.messages(id, &mut partial, up);
                    if used > 0 {
                        self.keep(id, &partial[used..]);
                    } else if let Some(conn) = self.conns.get(id) {
                        conn.partial = partial;
                    }
                }
            }
            Phase::Deciding(_) | Phase::Ending { .. } => {}
        }
    }

    /// Keeps the bytes that could not be handled yet.
    fn keep(&mut self, id: ConnId, rest: &[u8]) {
        if !rest.is_empty()
            && let Some(conn) = self.conns.get(id)
            && let Phase::Open | Phase::Closing = conn.phase
        {
            conn.partial = rest.to_vec();
        }
    }

    fn handshake(&mut self, id: ConnId, up: &mut impl Upstream<R::Socket>) {
        let Some(conn) = self.conns.get(id) else { return };
        match up.policy().answer(&conn.partial, conn.socket_address, conn.io.is_tls()) {
            Answer::Incomplete => {}
            Answer::Respond(response) => self.conns.respond(id, &response),
            Answer::Upgrade(upgrade) => {
                conn.partial.drain(..upgrade.length.min(MAX_HEAD));
                // An empty buffer that holds memory would hold it as long as the connection.
                conn.partial.shrink_to_fit();
                up.upgrade(&mut self.conns, id, upgrade);
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
        while at < bytes.len() && !up.is_full() {
            match self.message(id, &mut bytes[at..], up) {
                ControlFlow::Continue(used) => at += used,
                ControlFlow::Break(used) => return at + used,
            }
        }
        at
    }

    /// Handles the frame at the start of the bytes.
    fn message(
        &mut self,
        id: ConnId,
        bytes: &mut [u8],
        up: &mut impl Upstream<R::Socket>,
    ) -> ControlFlow<usize, usize> {
        let limits = &self.conns.config.engine.limits;
        let (large, small) = (limits.message, limits.message_unauthenticated);
        let Some(conn) = self.conns.get(id).filter(|conn| conn.wants_input()) else {
            return ControlFlow::Break(0);
        };
        let open = conn.is_open();
        let limit = if conn.admitted { large } else { small };
        let (used, decoded) = conn.decoder.decode(bytes, limit);
        match decoded {
            Decoded::Incomplete => return ControlFlow::Break(0),
            Decoded::Message(range) if open => self.text(id, &bytes[range], up),
            Decoded::Assembled(message) if open => self.text(id, &message, up),
            Decoded::Ping(range) if open => {
                self.conns.control(id, Control::Pong, &bytes[range]);
            }
            Decoded::Fault(fault) if open => {
                conn.stuck = true;
                up.fault(&mut self.conns, id, fault);
                return ControlFlow::Break(used);
            }
            Decoded::Close(code) if open => {
                conn.known = false;
                self.conns.answer_close(id, code);
                up.disconnected(&mut self.conns, id);
                return ControlFlow::Break(used);
            }
            // Both have said goodbye.
            Decoded::Close(_) | Decoded::Fault(_) => {
                self.conns.end(id);
                return ControlFlow::Break(used);
            }
            Decoded::Message(_)
            | Decoded::Assembled(_)
            | Decoded::Fragment
            | Decoded::Ping(_)
            | Decoded::Pong => {}
        }
        ControlFlow::Continue(used)
    }

    fn text(&mut self, id: ConnId, message: &[u8], up: &mut impl Upstream<R::Socket>) {
        match std::str::from_utf8(message) {
            Ok(text) => up.text(&mut self.conns, id, text),
            Err(_) => up.fault(&mut self.conns, id, TransportFault::InvalidUtf8),
        }
    }
}
