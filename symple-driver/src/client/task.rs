//! The future that is a client: what happens goes into the machine, and its actions are carried
//! out.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use async_channel::{Receiver, Sender};
use futures_core::Stream as _;
use futures_sink::Sink as _;
use symple_engine::{
    Timestamp,
    client::{
        Action, Client as Machine, ConnectFailure, ConnectionId, End, Event, Input, Operation,
        OperationError, OperationId, Reply, Status, TokenRequest, TokenUnavailable,
    },
    server::Text,
};
use symple_proto::{CloseCode, Token};
use tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode as WireCode},
};

use super::{
    builder::FindToken,
    events::Inbox,
    handle::{Look, Request, Urgent},
    transport::{Connect, Target},
};
use crate::runtime::Timer as _;

/// How many messages are read before what else there is has its turn.
const READS: usize = 64;
/// How many frames may wait to be written before nothing more is asked of the machine, and how many
/// bytes.
const OUTBOX: (usize, usize) = (64, 1024 * 1024);
/// And before nothing more is read, since what is read may be answered.
const ANSWERS: (usize, usize) = (1024, 4 * 1024 * 1024);
/// The name of the goodbye when nobody holds the client any more. The application's count from 1.
const GOODBYE: OperationId = OperationId(u64::MAX);
/// The name of the connect at the beginning.
const HELLO: OperationId = OperationId(u64::MAX - 1);

/// What a connection ends with that has no close frame.
const CUT: CloseCode = CloseCode(1006);

type Opening<W> = Pin<Box<dyn Future<Output = Result<W, ConnectFailure>> + Send>>;
type Finding = Pin<Box<dyn Future<Output = Result<Option<String>, ()>> + Send>>;

/// A connection that is open.
struct Open<W> {
    conn: ConnectionId,
    socket: W,
    /// What is to be written.
    out: VecDeque<Message>,
    /// How many bytes that is.
    out_bytes: usize,
    /// Something was given to the socket that it may not have written.
    dirty: bool,
    /// The client closes it, and waits no longer than until then.
    close_by: Option<Timestamp>,
}

impl<W> Open<W> {
    fn push(&mut self, message: Message) {
        self.out_bytes += message.len();
        self.out.push_back(message);
    }

    /// True if less waits than so many frames and bytes.
    fn has_room(&self, (frames, bytes): (usize, usize)) -> bool {
        self.out.len() < frames && self.out_bytes < bytes
    }
}

/// A client's task.
pub(super) struct Task<R: Connect> {
    runtime: R,
    machine: Machine,
    target: Target,
    find_token: Option<FindToken>,
    requests: Pin<Box<Receiver<Request>>>,
    urgent: Pin<Box<Receiver<Urgent>>>,
    looks: Pin<Box<Receiver<Look>>>,
    inbox: Arc<Inbox>,
    /// Why the client has ended, for those who ask later.
    end: Arc<OnceLock<End>>,
    started: Instant,
    timer: Option<R::Timer>,
    opening: Option<(ConnectionId, Opening<R::WebSocket>)>,
    open: Option<Open<R::WebSocket>>,
    finding: Option<(TokenRequest, Finding)>,
    waiting: HashMap<OperationId, Sender<Result<Reply, OperationError>>>,
    /// It has been told to connect.
    begun: bool,
    /// Nobody holds the client any more.
    abandoned: bool,
}

impl<R: Connect> Task<R> {
    #[allow(clippy::too_many_arguments, reason = "each is a part that the builder has made")]
    pub(super) fn new(
        runtime: R,
        machine: Machine,
        target: Target,
        find_token: Option<FindToken>,
        requests: Receiver<Request>,
        urgent: Receiver<Urgent>,
        looks: Receiver<Look>,
        inbox: Arc<Inbox>,
        end: Arc<OnceLock<End>>,
        started: Instant,
    ) -> Self {
        Self {
            runtime,
            machine,
            target,
            find_token,
            requests: Box::pin(requests),
            urgent: Box::pin(urgent),
            looks: Box::pin(looks),
            end,
            inbox,
            started,
            timer: None,
            opening: None,
            open: None,
            finding: None,
            waiting: HashMap::new(),
            begun: false,
            abandoned: false,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.started.elapsed()
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.machine.handle(now, input);
        while let Some(action) = self.machine.poll_action() {
            self.carry_out(action, now);
        }
    }

    fn carry_out(&mut self, action: Action, now: Timestamp) {
        match action {
            Action::AskToken { request, refused } => {
                let Some(find) = self.find_token.clone() else { return };
                // The function is the application's, and called when it is waited for.
                self.finding = Some((request, Box::pin(async move { find(refused).await })));
            }
            Action::Connect { conn } => {
                self.open = None;
                self.opening = Some((conn, Box::pin(self.runtime.connect(self.target.clone()))));
            }
            Action::Send { text } => self.write(Message::text(&*text)),
            Action::Ping => self.write(Message::Ping(Vec::new().into())),
            Action::Close { conn, code, reason } => self.close(conn, code, reason, now),
            Action::Finish { id, result } => {
                if let Some(reply) = self.waiting.remove(&id) {
                    // Whoever asked may have stopped waiting: that is no fault.
                    let _ = reply.try_send(result);
                }
            }
            Action::Event(event) => {
                if let Event::Closed { end } = &event {
                    let _ = self.end.set(end.clone());
                }
                self.inbox.push(event);
            }
        }
    }

    fn write(&mut self, message: Message) {
        if let Some(open) = self.open.as_mut().filter(|open| open.close_by.is_none()) {
            open.push(message);
        }
    }

    fn close(&mut self, conn: ConnectionId, code: CloseCode, reason: &'static str, now: Timestamp) {
        let timeout = self.machine.config().limits.close_timeout;
        if let Some(open) = self.open.as_mut().filter(|open| open.conn == conn) {
            let code = WireCode::from(code.0);
            let frame = CloseFrame { code, reason: reason.into() };
            open.push(Message::Close(Some(frame)));
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
        self.open = None;
        self.input(Input::Closed { conn, code, reason });
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
                    out_bytes: 0,
                    dirty: false,
                    close_by: None,
                });
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

    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        for read in 0..READS {
            let Some(open) = self.open.as_mut().filter(|open| open.has_room(ANSWERS)) else {
                return read > 0;
            };
            let conn = open.conn;
            let Poll::Ready(message) = Pin::new(&mut open.socket).poll_next(cx) else {
                return read > 0;
            };
            // A ping or a close is answered by the socket itself, when it is flushed.
            open.dirty = true;
            match message {
                Some(Ok(Message::Text(text))) => {
                    self.input(Input::Text { conn, text: Text::from(String::from(text.as_str())) });
                }
                Some(Ok(Message::Close(frame))) => {
                    // The answer goes as far as the system takes it at once; a server that keeps
                    // the connection open does not keep the client from knowing.
                    let _ = Pin::new(&mut open.socket).poll_flush(cx);
                    let (code, reason) = match frame {
                        Some(frame) => {
                            (CloseCode(u16::from(frame.code)), frame.reason.as_str().into())
                        }
                        None => (CloseCode(1005), "".into()),
                    };
                    self.gone(conn, code, reason);
                }
                Some(Ok(_)) => self.input(Input::Alive { conn }),
                Some(Err(error)) => self.gone(conn, CUT, error.to_string().into()),
                None => self.gone(conn, CUT, "".into()),
            }
        }
        true
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) -> bool {
        let mut some = false;
        // These are heard however much waits to be written.
        loop {
            match self.urgent.as_mut().poll_next(cx) {
                Poll::Ready(Some(Urgent::Cancel(id))) => {
                    if self.waiting.remove(&id).is_some() {
                        self.input(Input::Cancel { id });
                    }
                }
                Poll::Ready(Some(Urgent::Close(id, reply))) => {
                    self.waiting.insert(id, reply);
                    self.input(Input::Operation { id, operation: Operation::Close });
                }
                Poll::Ready(None) if !self.abandoned => {
                    self.abandoned = true;
                    self.input(Input::Operation { id: GOODBYE, operation: Operation::Close });
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
            some = true;
        }
        while let Poll::Ready(Some(look)) = self.looks.as_mut().poll_next(cx) {
            some = true;
            look(&self.machine);
        }
        while self.open.as_ref().is_none_or(|open| open.has_room(OUTBOX)) {
            match self.requests.as_mut().poll_next(cx) {
                Poll::Ready(Some(Request { id, operation, reply })) => {
                    some = true;
                    // Whoever takes it back from now on says so behind this.
                    if reply.is_closed() {
                        continue;
                    }
                    self.waiting.insert(id, reply);
                    self.input(Input::Operation { id, operation });
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        some
    }

    /// When something is to be done at the latest.
    fn next(&self) -> Option<Timestamp> {
        let close_by = self.open.as_ref().and_then(|open| open.close_by);
        [self.machine.poll_timeout(), close_by].into_iter().flatten().min()
    }

    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(next) = self.next().filter(|next| *next < Timestamp::MAX) else { return false };
        let now = self.now();
        if next > now {
            let timer = self.timer.get_or_insert_with(|| self.runtime.timer());
            let deadline = self.started + Duration::from_micros(next.as_micros());
            if timer.poll_until(cx, deadline).is_pending() {
                return false;
            }
        }
        match &self.open {
            Some(Open { conn, close_by: Some(until), .. }) if *until <= self.now() => {
                let conn = *conn;
                self.gone(conn, CUT, "".into());
            }
            _ => self.input(Input::Timeout),
        }
        true
    }

    /// Whoever waits for an answer, or asks for one later, learns that there will be none. What
    /// nobody takes out of a channel stays there for as long as somebody holds the client, and its
    /// sender would wait for as long: so all of it is taken out.
    fn refuse(&mut self) {
        self.inbox.end();
        self.requests.close();
        while self.requests.try_recv().is_ok() {}
        self.looks.close();
        while self.looks.try_recv().is_ok() {}
        self.urgent.close();
        while self.urgent.try_recv().is_ok() {}
        self.waiting.clear();
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(open) = &mut self.open else { return false };
        let mut socket = pin!(&mut open.socket);
        let mut some = false;
        let result = loop {
            if open.out.is_empty() {
                if !open.dirty {
                    return some;
                }
                match socket.as_mut().poll_flush(cx) {
                    Poll::Ready(Ok(())) => {
                        open.dirty = false;
                        return some;
                    }
                    Poll::Pending => return some,
                    Poll::Ready(Err(error)) => break error,
                }
            }
            match socket.as_mut().poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Pending => return some,
                Poll::Ready(Err(error)) => break error,
            }
            let Some(message) = open.out.pop_front() else { return some };
            open.out_bytes -= message.len();
            some = true;
            open.dirty = true;
            if let Err(error) = socket.as_mut().start_send(message) {
                break error;
            }
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
        if !task.begun {
            task.begun = true;
            task.input(Input::Operation { id: HELLO, operation: Operation::Connect });
        }
        // A few rounds, then others on the runtime have their turn.
        for _ in 0..16 {
            let mut some = task.poll_opening(cx);
            some |= task.poll_token(cx);
            some |= task.poll_read(cx);
            some |= task.poll_requests(cx);
            some |= task.poll_timeout(cx);
            some |= task.poll_write(cx);
            if task.machine.status() == Status::Closed && task.open.is_none() {
                // It does not come back: whoever still asks learns so.
                task.refuse();
                return Poll::Ready(());
            }
            if !some {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Connect> Drop for Task<R> {
    fn drop(&mut self) {
        self.refuse();
    }
}
