//! One connection: its bytes, its phase, its deadlines.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use symple_engine::{
    Timestamp,
    server::{Close, ClosedBy, ConnId},
};
use symple_proto::CloseCode;

use crate::{
    http::{HeadScan, Upgrade},
    net::backlog::Backlog,
    net::io::Io,
    net::ready::SlotWaker,
    runtime::Socket,
    server::config::Config,
    ws::decode::Decoder,
    ws::header::Opcode,
    ws::queue::{Buffers, OutQueue, TextFrame, TooMuch},
};

/// What a connection is at.
///
/// ```text
/// Handshake ──► Deciding ──► Open ──► Closing
///     │            │          │
///     └────────────┴──────────┴─────► Ending
/// ```
///
/// Where the application answers the request and hands the stream over, [`Phase::Awaiting`] comes
/// before [`Phase::Open`].
///
/// Whatever it is at, it may [end](Connection::ended).
#[derive(Debug)]
pub(crate) enum Phase {
    /// The HTTP request is being read.
    Handshake,
    /// The host is being asked whether it may become a WebSocket connection.
    Deciding(Box<Upgrade>),
    /// It may, and the application has been told; the stream is awaited.
    Awaiting(Box<Upgrade>),
    /// WebSocket.
    Open,
    /// A close frame is on its way; the client's is awaited.
    Closing,
    /// What is queued is written, then nothing more.
    Ending {
        /// Then the client's end is awaited, so that nothing that is under way to it is lost.
        linger: bool,
        /// How many bytes have been read meanwhile and thrown away.
        discarded: usize,
    },
}

impl Phase {
    /// It comes before WebSocket.
    pub(crate) fn is_handshake(&self) -> bool {
        matches!(self, Self::Handshake | Self::Deciding(_) | Self::Awaiting(_))
    }
}

/// What a look at the deadlines asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// The connection is to be dropped.
    Drop,
    /// The client does not read (R-L4).
    TooSlow,
    /// The client is silent and is to be pinged (R-T3).
    Ping,
    /// A message that has begun is not complete (R-L9).
    Unfinished,
}

/// How a WebSocket connection ended that the server did not close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Its client closed it, with this code if it gave one, and this text.
    Closed(Option<CloseCode>, Box<str>),
    /// It did not answer a ping in time (R-T3).
    Silent,
    /// Its socket ended or broke without a close frame.
    Lost,
}

impl From<Gone> for Close {
    fn from(gone: Gone) -> Self {
        match gone {
            Gone::Closed(code, reason) => Self { by: ClosedBy::Client, code, reason },
            Gone::Silent => Self { by: ClosedBy::Silence, code: None, reason: Box::default() },
            Gone::Lost => Self { by: ClosedBy::Network, code: None, reason: Box::default() },
        }
    }
}

/// How many bytes are written to a connection before others have their turn.
const FLUSH: usize = 128 * 1024;

/// What comes after something has been written to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Its socket takes no more, or there is no more.
    Waits,
    /// The socket may take more, when others have had their turn.
    More,
    /// It is broken, or has nothing more to do.
    Ended,
}

/// Whether a connection has something to be written, and how soon it is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dirty {
    /// It has nothing to be written.
    No,
    /// In its turn.
    Queued,
    /// Before those that are written to because of what went to many.
    Express,
}

/// A connection.
pub(crate) struct Connection<S> {
    pub(crate) id: ConnId,
    pub(crate) io: Io<S>,
    pub(crate) socket_address: SocketAddr,
    pub(crate) waker: Arc<SlotWaker>,
    task: Waker,
    pub(crate) phase: Phase,
    /// The client's address, once it is known.
    pub(crate) address: IpAddr,
    /// Bytes that make no whole frame or request yet, or wait while nothing is to be handled.
    pub(crate) backlog: Option<Box<Backlog>>,
    /// How many bytes of input were counted as kept for it last: less than 4 GiB, as no message may
    /// be so large (R-L1).
    pub(crate) held: u32,
    /// How many requests have been answered with pages.
    pub(crate) pages: u16,
    /// A page is being written: the next request is not looked at before that is done.
    pub(crate) answering: bool,
    /// How far the request has been looked at.
    pub(crate) head: HeadScan,
    pub(crate) decoder: Decoder,
    /// Texts may be compressed, in both directions (R-T10).
    pub(crate) deflates: bool,
    pub(crate) out: OutQueue,
    /// The engine knows it.
    pub(crate) announced: bool,
    /// How many bytes a message of its may have (R-L1).
    pub(crate) message_limit: u32,
    /// Nothing is to be read.
    pub(crate) paused: bool,
    /// A message was too big and has been reported.
    pub(crate) oversized: bool,
    /// The client has left, or said goodbye, while nothing was to be handled: what it had sent
    /// before is handled all the same.
    pub(crate) leaving: bool,
    /// Nothing more will arrive.
    pub(crate) gone: bool,
    /// It has caused that too much waits to be written.
    pub(crate) heavy: bool,
    /// It did not take what it was sent, and is about to be closed.
    pub(crate) overflowed: bool,
    /// The engine knows that much is queued for it.
    pub(crate) behind: bool,
    /// The engine wants to know when little is queued for it.
    pub(crate) awaits_drain: bool,
    /// It is in a list of those that are to be flushed.
    pub(crate) dirty: Dirty,
    /// When its queue went over the limit: the number of an input.
    pub(crate) over_limit_since: u64,
    /// Its socket is broken, or has nothing more to do.
    pub(crate) ended: bool,
    /// It has ended because it did not answer a ping.
    pub(crate) silent: bool,
    /// When it entered its phase. In [`Phase::Open`]: when the message began that has begun and is
    /// not complete, or would have begun if all the time since then had counted;
    /// [`Timestamp::MAX`] if there is none.
    pub(crate) since: Timestamp,
    /// When reading was last paused.
    paused_at: Timestamp,
    /// When anything was last read.
    pub(crate) last_read: Timestamp,
    /// When it was pinged; [`Timestamp::MAX`] if it has been heard since.
    pub(crate) pinged: Timestamp,
    /// When something was last written, or the queue began to fill.
    pub(crate) last_write: Timestamp,
    /// When its deadlines will be looked at.
    pub(crate) scheduled: Timestamp,
}

/// The name of a connection as one number.
fn number(id: ConnId) -> u64 {
    u64::from(id.slot) << 32 | u64::from(id.generation)
}

/// How much of a pause counts for a message that has begun (R-L9).
fn that_counts(paused: Duration, message_timeout: Duration) -> Duration {
    /// Which part of it.
    const PART: u32 = 4;
    /// Which part of the time for a message it is at most.
    const MOST: u32 = 8;
    (paused / PART).min(message_timeout / MOST)
}

impl<S: Socket> Connection<S> {
    pub(crate) fn new(
        id: ConnId,
        io: Io<S>,
        socket_address: SocketAddr,
        waker: Arc<SlotWaker>,
        message_limit: usize,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            io,
            socket_address,
            task: Waker::from(Arc::clone(&waker)),
            waker,
            phase: Phase::Handshake,
            address: socket_address.ip(),
            backlog: None,
            held: 0,
            pages: 0,
            answering: false,
            head: HeadScan::default(),
            decoder: Decoder::default(),
            deflates: false,
            out: OutQueue::default(),
            announced: false,
            message_limit: u32::try_from(message_limit).unwrap_or(u32::MAX),
            paused: false,
            oversized: false,
            leaving: false,
            gone: false,
            heavy: false,
            overflowed: false,
            behind: false,
            awaits_drain: false,
            dirty: Dirty::No,
            over_limit_since: 0,
            ended: false,
            silent: false,
            since: now,
            paused_at: now,
            last_read: now,
            pinged: Timestamp::MAX,
            last_write: now,
            scheduled: Timestamp::MAX,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// It is not WebSocket yet.
    pub(crate) fn is_handshake(&self) -> bool {
        self.phase.is_handshake()
    }

    /// A page has been answered, and the next request has not begun.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.phase, Phase::Handshake) && self.pages > 0 && self.backlog.is_none()
    }

    /// It has been closed, or answered: only what waits for it is still written.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Ending { .. })
    }

    /// Whether texts are queued for it.
    pub(crate) fn takes_texts(&self) -> bool {
        self.is_open() && !self.ended && !self.overflowed
    }

    /// How many bytes of input are kept for it.
    pub(crate) fn held_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.len()) + self.decoder.held()
    }

    /// How many bytes wait in memory for it, either way, as they were counted last (R-L7).
    pub(crate) fn waits(&self) -> usize {
        self.out.len() + self.held as usize + self.io.counted()
    }

    /// Drops the input that has not been handled.
    pub(crate) fn forget_input(&mut self) {
        self.backlog = None;
        self.decoder.forget();
    }

    /// True if it is read from although nothing that arrives is to be handled: only so can it be
    /// noticed that the client leaves.
    pub(crate) fn looks_ahead(&self, limit: usize) -> bool {
        self.is_open()
            && !self.ended
            && self.paused
            && !self.oversized
            && !self.leaving
            && self.held_bytes() < limit
    }

    /// A message has begun, unless that was known.
    pub(crate) fn message_begins(&mut self, now: Timestamp) {
        if self.since == Timestamp::MAX {
            self.since = now;
        }
    }

    /// Nothing is to be read from it for now.
    pub(crate) fn pause(&mut self, now: Timestamp) {
        if !self.paused {
            self.paused = true;
            self.paused_at = now;
        }
    }

    /// It is to be read from again. Of the time in which it was not, a part counts for the message
    /// that has begun: a client may be the reason why it is not read from, and must not hold a
    /// message for ever so. But no single pause, which may be the server's, takes much of its time.
    pub(crate) fn resume(&mut self, now: Timestamp, message_timeout: Duration) {
        if std::mem::take(&mut self.paused) && self.is_open() && self.since != Timestamp::MAX {
            let paused = now.since(self.paused_at);
            self.since += paused - that_counts(paused, message_timeout);
        }
    }

    /// True if what the client sends is of interest, or at least its end is.
    pub(crate) fn wants_input(&self) -> bool {
        match self.phase {
            _ if self.ended => false,
            Phase::Handshake => !self.answering,
            Phase::Closing => true,
            Phase::Open => self.leaving || !self.paused && !self.oversized,
            Phase::Ending { linger, .. } => linger,
            Phase::Deciding(_) | Phase::Awaiting(_) => false,
        }
    }

    /// True if an answer is under way, behind which nothing comes.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. }) && !self.out.is_empty()
    }

    pub(crate) fn poll_read(&mut self, buf: &mut [u8]) -> Poll<std::io::Result<usize>> {
        self.io.poll_read(&mut Context::from_waker(&self.task), buf)
    }

    /// Queues a text frame.
    pub(crate) fn push_text(
        &mut self,
        text: &mut TextFrame<'_>,
        now: Timestamp,
        buffers: &mut Buffers,
    ) {
        if self.out.is_empty() {
            self.last_write = now;
        }
        self.out.push_text(text, buffers);
    }

    /// Queues a text frame that a sender has addressed to it, unless too much of that waits
    /// (R-L8).
    pub(crate) fn push_addressed(
        &mut self,
        sender: ConnId,
        text: &mut TextFrame<'_>,
        limit: usize,
        now: Timestamp,
        buffers: &mut Buffers,
    ) -> Result<(), TooMuch> {
        if self.out.is_empty() {
            self.last_write = now;
        }
        self.out.push_addressed(number(sender), text, limit, buffers)
    }

    /// Queues a control frame.
    pub(crate) fn push_control(
        &mut self,
        control: Opcode,
        payload: &[u8],
        now: Timestamp,
        buffers: &mut Buffers,
    ) {
        if self.out.is_empty() {
            self.last_write = now;
        }
        match control {
            Opcode::Pong => self.out.push_pong(payload, buffers),
            control => self.out.push_control(control, payload, buffers),
        }
    }

    /// Writes what is queued, as far as the socket takes it, and no more than so much at a time.
    /// How many bytes that was, and what is next.
    #[must_use]
    pub(crate) fn flush(&mut self, now: Timestamp, buffers: &mut Buffers) -> (usize, Flushed) {
        let flushed = self.write(now, buffers);
        self.io.count(&mut buffers.waiting);
        flushed
    }

    fn write(&mut self, now: Timestamp, buffers: &mut Buffers) -> (usize, Flushed) {
        let mut cx = Context::from_waker(&self.task);
        let mut sent = 0;
        while !self.out.is_empty() {
            if sent >= FLUSH {
                return (sent, Flushed::More);
            }
            let written = if self.out.is_scattered() {
                let (pieces, count) = self.out.pieces(FLUSH);
                self.io.poll_write_vectored(&mut cx, &pieces[..count])
            } else {
                self.io.poll_write(&mut cx, self.out.front())
            };
            match written {
                Poll::Ready(Ok(count @ 1..)) => {
                    self.out.advance(count, buffers);
                    self.last_write = now;
                    sent += count;
                }
                Poll::Ready(_) => {
                    self.out.clear(buffers);
                    return (sent, Flushed::Ended);
                }
                Poll::Pending => return (sent, Flushed::Waits),
            }
        }
        let ended = match (self.io.poll_flush(&mut cx), &self.phase) {
            (Poll::Ready(Err(_)), _) => true,
            (Poll::Ready(Ok(())), Phase::Ending { linger, .. }) => {
                // Without waiting TCP says goodbye when the socket is dropped; TLS never does.
                let shut =
                    (*linger || self.io.says_goodbye()).then(|| self.io.poll_shutdown(&mut cx));
                !linger || matches!(shut, Some(Poll::Ready(Err(_))))
            }
            _ => false,
        };
        (sent, if ended { Flushed::Ended } else { Flushed::Waits })
    }

    /// How long this connection may be silent before it is pinged. Connections that were opened
    /// at the same time are not pinged at the same time.
    fn ping_interval(&self, config: &Config) -> Duration {
        let id = number(self.id);
        // The golden ratio spreads what is near.
        let spread = (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
        let less = config.ping_interval / 5;
        config.ping_interval - less.mul_f64(f64::from(spread) / f64::from(u32::MAX))
    }

    /// When the message must be complete that has begun.
    fn message_deadline(&self, timeout: Duration) -> Timestamp {
        if self.since == Timestamp::MAX || timeout.is_zero() {
            return Timestamp::MAX;
        }
        let deadline = self.since + timeout;
        // Time stands still while nothing is read, but it may have been over before.
        if self.paused && deadline > self.paused_at { Timestamp::MAX } else { deadline }
    }

    /// When the deadlines must be looked at next.
    pub(crate) fn deadline(&self, config: &Config) -> Timestamp {
        let after = |start: Timestamp, duration: Duration| {
            if duration.is_zero() { Timestamp::MAX } else { start + duration }
        };
        match self.phase {
            _ if self.ended => Timestamp::MAX,
            Phase::Handshake if self.is_kept() => after(self.since, config.keep_alive_timeout),
            Phase::Handshake | Phase::Deciding(_) | Phase::Awaiting(_) => {
                after(self.since, config.upgrade_timeout)
            }
            Phase::Closing | Phase::Ending { .. } => after(self.since, config.close_timeout),
            Phase::Open => {
                let alive = match self.pinged {
                    _ if config.ping_interval.is_zero() => Timestamp::MAX,
                    Timestamp::MAX => self.last_read + self.ping_interval(config),
                    pinged => after(pinged, config.pong_timeout),
                };
                let alive = alive.min(self.message_deadline(config.message_timeout));
                if self.out.is_empty() {
                    alive
                } else {
                    alive.min(after(self.last_write, config.outbound_timeout))
                }
            }
        }
    }

    /// Looks at the deadlines.
    pub(crate) fn check(&mut self, config: &Config, now: Timestamp) -> Due {
        if self.paused {
            // Who is not listened to cannot be heard.
            self.last_read = now;
            self.pinged = Timestamp::MAX;
        }
        if self.deadline(config) > now {
            return Due::Nothing;
        }
        let over = |start: Timestamp, duration: Duration| {
            !duration.is_zero() && start != Timestamp::MAX && start + duration <= now
        };
        match self.phase {
            Phase::Open if self.message_deadline(config.message_timeout) <= now => {
                self.since = Timestamp::MAX;
                Due::Unfinished
            }
            Phase::Open
                if !self.out.is_empty() && over(self.last_write, config.outbound_timeout) =>
            {
                // Said once, and again when it goes on: what comes of it may take a while.
                self.last_write = now;
                Due::TooSlow
            }
            Phase::Open if self.pinged == Timestamp::MAX => {
                self.pinged = now;
                Due::Ping
            }
            _ => Due::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-L9: of the time in which a client is not read from a quarter counts, and no single pause
    /// takes more than an eighth of the time for a message.
    #[test]
    fn pauses_count_in_part() {
        let timeout = Duration::from_secs(30);
        for (paused, counts) in [(0, 0), (400, 100), (15_000, 3_750), (600_000, 3_750)] {
            let [paused, counts] = [paused, counts].map(Duration::from_millis);
            assert_eq!(that_counts(paused, timeout), counts);
        }
    }

    /// An idle connection is this and its socket's part in the runtime; whoever makes it larger has to
    /// say so by raising the bound. The allocator takes 304 bytes for it.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Connection<()>>() <= 296, "{}", size_of::<Connection<()>>());
    }
}
