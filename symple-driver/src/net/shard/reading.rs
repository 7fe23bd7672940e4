//! What comes from a connection: bytes, the head of a request, messages.

use crate::runtime::Socket;

use super::*;

/// How often a connection is read from before others have their turn.
const READS: usize = 4;
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
/// How much work a TLS handshake is, in deliveries.
const TLS_HANDSHAKE: usize = 4000;

impl<R: Runtime> Shard<R> {
    pub(super) fn read(
        &mut self,
        id: ConnId,
        scratch: &mut [u8],
        up: &mut impl Upstream<R::Socket>,
    ) {
        // What could not be handled before, perhaps can be now.
        if self.table.get(id).is_some_and(|conn| conn.wants_input() && conn.backlog.is_some()) {
            self.ingest(id, &mut [], up);
        }
        for _ in 0..READS {
            if up.is_full() || !self.table.has_room() {
                break;
            }
            let (now, held) = (self.table.now, self.table.held);
            let Some(conn) = self.table.get(id) else { return };
            if conn.gone {
                // All that it had sent has been handled.
                return self.table.end(id);
            }
            let ahead = !conn.wants_input();
            if ahead && !conn.looks_ahead(most_ahead(conn, held)) {
                return;
            }
            let handshake = conn.io.is_handshaking();
            let read = conn.poll_read(scratch);
            if handshake {
                self.table.spend(TLS_HANDSHAKE);
            }
            let Some(conn) = self.table.get(id) else { return };
            match read {
                Poll::Pending => return,
                Poll::Ready(Ok(count @ 1..)) => {
                    conn.last_read = now;
                    conn.pinged = Timestamp::MAX;
                    if let Phase::Ending { discarded, .. } = &mut conn.phase {
                        // Nobody reads it; who goes on and on is not waited for.
                        *discarded += count;
                        if *discarded > LINGER {
                            return self.table.end(id);
                        }
                    }
                    self.table.unreported.0 += count as u64;
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
        let (deflates, sender) = (conn.deflates, Sender::Client);
        let allowed = Allowed { limit, max_fragments, deflates, sender };
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
                self.table.control(id, Opcode::Pong, &bytes[range]);
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

/// How much input may be kept of a peer to which nobody listens for now, where so much is kept in all.
fn most_ahead<S: Socket>(conn: &Connection<S>, held: usize) -> usize {
    let left = AHEAD_IN_ALL.saturating_sub(held);
    let most = AHEAD.min(conn.message_limit as usize * AHEAD_MESSAGES);
    most.min((left + conn.held as usize) / AHEAD_SHARE)
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
