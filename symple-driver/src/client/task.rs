//! The future that is a client: what happens goes into the machine, and its actions are carried
//! out.

use std::{
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use symple_engine::{
    Timestamp,
    client::{Action, ConnectFailure, ConnectionId, Input, Status, TokenRequest, TokenUnavailable},
};
use symple_proto::{CloseCode, Token};

use super::{
    builder::FindToken,
    shared::{Shared, State},
    transport::{Connect, Target, open},
};
use crate::{
    runtime::Timer as _,
    ws::client::{ClientSocket, Incoming, Outgoing},
};

/// How many messages are read before what else there is has its turn.
const READS: usize = 64;
/// What a connection ends with that has no close frame.
const CUT: CloseCode = CloseCode(1006);
/// And one whose close frame has no code.
const CODELESS: CloseCode = CloseCode(1005);

type Opening = Pin<Box<dyn Future<Output = Result<ClientSocket, ConnectFailure>> + Send>>;
type Finding = Pin<Box<dyn Future<Output = Result<Option<String>, ()>> + Send>>;

/// A connection that is open.
struct Open {
    conn: ConnectionId,
    socket: ClientSocket,
    /// What is to be written, and was taken out of the outbox.
    out: VecDeque<Outgoing>,
    /// How many messages, and bytes, the socket was given that the outbox still counts.
    written: (usize, usize),
    /// Something was given to the socket that it may not have written.
    dirty: bool,
    /// The client closes it, and waits no longer than until then.
    close_by: Option<Timestamp>,
}

/// A client's task.
pub(super) struct Task<R: Connect> {
    runtime: R,
    shared: Arc<Shared>,
    target: Target,
    /// What the masks of each connection come from.
    random: StdRng,
    find_token: Option<FindToken>,
    timer: Option<R::Timer>,
    /// When the timer wakes the task, if that is still to come.
    armed: Option<Timestamp>,
    opening: Option<(ConnectionId, Opening)>,
    open: Option<Open>,
    finding: Option<(TokenRequest, Finding)>,
    /// Something waits for room in the outbox, to be asked for or to be read.
    needs_room: bool,
    /// An action was carried out that is to be looked after: a connection is to be opened, or a
    /// token found.
    acted: bool,
}

impl<R: Connect> Task<R> {
    pub(super) fn new(
        runtime: R,
        shared: Arc<Shared>,
        target: Target,
        random: StdRng,
        find_token: Option<FindToken>,
    ) -> Self {
        Self {
            runtime,
            shared,
            target,
            random,
            find_token,
            timer: None,
            armed: None,
            opening: None,
            open: None,
            finding: None,
            needs_room: false,
            acted: false,
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.shared.now();
        let next = self.shared.with(|state| {
            state.machine.handle(now, input);
            state.next_action()
        });
        self.carry_out(next, now);
    }

    /// Carries out an action, and all that come after it.
    fn carry_out(&mut self, mut next: Option<Action>, now: Timestamp) {
        while let Some(action) = next {
            self.acted = true;
            match action {
                Action::AskToken { request, refused } => {
                    if let Some(find) = self.find_token.clone() {
                        // The function is the application's, and called when it is waited for.
                        let finding = Box::pin(async move { find(refused).await });
                        self.finding = Some((request, finding));
                    }
                }
                Action::Connect { conn } => {
                    self.drop_connection();
                    let random = StdRng::from_rng(&mut self.random);
                    let opening = open(self.runtime.clone(), self.target.clone(), random);
                    self.opening = Some((conn, Box::pin(opening)));
                }
                Action::Close { conn, code, reason } => self.close(conn, code, reason, now),
                // The others need no task.
                Action::Send { .. } | Action::Ping | Action::Finish { .. } | Action::Event(_) => {}
            }
            next = self.shared.with(State::next_action);
        }
    }

    fn drop_connection(&mut self) {
        self.open = None;
        self.shared.with(|state| state.outbox.clear());
    }

    fn close(&mut self, conn: ConnectionId, code: CloseCode, reason: &'static str, now: Timestamp) {
        if let Some(open) = self.open.as_mut().filter(|open| open.conn == conn) {
            let timeout = self.shared.with(|state| {
                state.outbox.close(Outgoing::Close(code, reason));
                state.machine.config().limits.close_timeout
            });
            let forever = timeout.is_zero();
            open.close_by = Some(if forever { Timestamp::MAX } else { now + timeout });
        } else if self.opening.as_ref().is_some_and(|(opening, _)| *opening == conn) {
            self.opening = None;
            self.gone(conn, CUT, "".into());
        }
    }

    /// A connection is no more. The machine's actions are a queue, so where this is one of them
    /// the others of that input are carried out before those that follow from this.
    fn gone(&mut self, conn: ConnectionId, code: CloseCode, reason: Box<str>) {
        self.drop_connection();
        self.input(Input::Closed { conn, code, reason });
    }

    /// Carries out what others have asked for, and asks for what has waited for room.
    fn poll_requests(&mut self) {
        let now = self.shared.now();
        loop {
            let (next, needs_room) = self.shared.with(|state| {
                loop {
                    let next = state.next_action();
                    if next.is_some() || !state.next_later(now) {
                        return (next, state.has_later());
                    }
                }
            });
            if next.is_none() {
                self.needs_room |= needs_room;
                return;
            }
            self.carry_out(next, now);
        }
    }

    /// True if something has happened.
    fn poll_opening(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((conn, opening)) = &mut self.opening else { return false };
        let conn = *conn;
        let Poll::Ready(opened) = opening.as_mut().poll(cx) else { return false };
        self.opening = None;
        match opened {
            Ok(socket) => {
                self.open = Some(Open {
                    conn,
                    socket,
                    out: VecDeque::new(),
                    written: (0, 0),
                    dirty: false,
                    close_by: None,
                });
                self.shared.with(|state| state.outbox.open());
                self.input(Input::Opened { conn });
            }
            Err(failure) => self.input(Input::Failed { conn, failure }),
        }
        true
    }

    fn poll_token(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((request, finding)) = &mut self.finding else { return false };
        let request = *request;
        // Where the application panics there is no token; it is asked again later.
        let polled = catch_unwind(AssertUnwindSafe(|| finding.as_mut().poll(cx)));
        let Poll::Ready(found) = polled.unwrap_or(Poll::Ready(Err(()))) else { return false };
        self.finding = None;
        let token = match found {
            Ok(None) => Ok(None),
            // What is no token is as good as none for now.
            Ok(Some(text)) => Token::new(text.as_str()).map(Some).ok_or(TokenUnavailable),
            Err(()) => Err(TokenUnavailable),
        };
        self.input(Input::Token { request, token });
        true
    }

    /// True if there may be more to read, or there is no connection any more.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        for read in 0..READS {
            let Some(open) = &mut self.open else { return read > 0 };
            if !self.shared.with(|state| state.may_read()) {
                self.needs_room = true;
                return false;
            }
            let conn = open.conn;
            let Poll::Ready(message) = open.socket.poll_read(cx) else {
                return false;
            };
            // A ping or a close is answered by the socket itself, when it is flushed.
            open.dirty = true;
            match message {
                Ok(Incoming::Text(text)) => self.input(Input::Text { conn, text }),
                Ok(Incoming::Alive) => self.input(Input::Alive { conn }),
                Ok(Incoming::Close(code, reason)) => {
                    // The answer goes as far as the system takes it at once; a server that keeps
                    // the connection open does not keep the client from knowing.
                    let _ = open.socket.poll_flush(cx);
                    self.gone(conn, code.unwrap_or(CODELESS), reason);
                }
                Err(error) => self.gone(conn, CUT, error.to_string().into()),
            }
        }
        true
    }

    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> bool {
        let close_by = self.open.as_ref().and_then(|open| open.close_by);
        let next = self.shared.with(|state| state.machine.poll_timeout());
        let next = [next, close_by].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next < Timestamp::MAX) else { return false };
        if next > self.shared.now() {
            // What arrives puts off the next ping, message by message. A timer that is set to an
            // earlier moment stays so: setting it costs more than waking once for nothing.
            let mut at = self.armed.map_or(next, |armed| armed.min(next));
            loop {
                self.armed = Some(at);
                let timer = self.timer.get_or_insert_with(|| self.runtime.timer());
                let deadline = self.shared.started + Duration::from_micros(at.as_micros());
                if timer.poll_until(cx, deadline).is_pending() {
                    return false;
                }
                self.armed = None;
                if at == next {
                    break;
                }
                at = next;
            }
        }
        match &self.open {
            Some(Open { conn, close_by: Some(until), .. }) if *until <= self.shared.now() => {
                let conn = *conn;
                self.gone(conn, CUT, "".into());
            }
            _ => self.input(Input::Timeout),
        }
        true
    }

    /// True if there is room for what needed it, or there is no connection any more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(open) = &mut self.open else { return false };
        let mut some = false;
        let result = loop {
            if open.out.is_empty() {
                self.shared.with(|state| state.take_messages(&mut open.out, &mut open.written));
            }
            let Some(next) = open.out.front() else {
                if !open.dirty {
                    return some && self.needs_room;
                }
                match open.socket.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {
                        open.dirty = false;
                        return some && self.needs_room;
                    }
                    Poll::Pending => return some && self.needs_room,
                    Poll::Ready(Err(error)) => break error,
                }
            };
            match open.socket.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Pending => {
                    self.shared.with(|state| state.take_messages(&mut open.out, &mut open.written));
                    return some && self.needs_room;
                }
                Poll::Ready(Err(error)) => break error,
            }
            open.written.0 += 1;
            open.written.1 += next.len();
            let Some(message) = open.out.pop_front() else { return false };
            some = true;
            open.dirty = true;
            open.socket.push(&message);
        };
        let conn = open.conn;
        self.gone(conn, CUT, result.to_string().into());
        true
    }
}

impl<R: Connect> Future for Task<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = Pin::into_inner(self);
        // Before anything is looked at, so that what is asked for from now on is seen.
        task.shared.task.register(cx.waker());
        // A few rounds, then others on the runtime have their turn. In each, whatever is not ready
        // wakes the task; there is another one only for what has come of a later step.
        for _ in 0..16 {
            (task.needs_room, task.acted) = (false, false);
            let mut again = task.poll_opening(cx);
            again |= task.poll_token(cx);
            again |= task.poll_read(cx);
            task.poll_requests();
            again |= task.poll_timeout(cx);
            again |= task.poll_write(cx);
            again |= task.acted;
            let status = task.shared.with(|state| state.machine.status());
            if status == Status::Closed && task.open.is_none() {
                // It does not come back: whoever still asks learns so.
                task.shared.end();
                return Poll::Ready(());
            }
            if !again {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Connect> Drop for Task<R> {
    fn drop(&mut self) {
        self.shared.end();
    }
}
