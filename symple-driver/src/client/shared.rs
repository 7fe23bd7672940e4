//! What a client's task and those who hold the client share: the machine, and what waits.
//!
//! Whoever asks for something asks the machine at once, on its own thread. Handing each question to
//! the task and waiting for the answer cost two wake-ups for a frame, and a system call for each
//! wake-up of a future that does not run as a task of its own. What is left for the task is what
//! needs the socket, the runtime or a timer.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::{events::Inbox, handle::ClientError};
use crate::ws::client::Outgoing;
use atomic_waker::AtomicWaker;
use symple_engine::{
    Timestamp,
    client::{
        Action, Client as Machine, End, Event, Input, Operation, OperationError, OperationId,
        Reply, Status,
    },
};

/// How many frames may wait to be written before nothing more is asked of the machine, and how many
/// bytes.
const OUTBOX: (usize, usize) = (64, 1024 * 1024);
/// And before nothing more is read, since what is read may be answered.
const ANSWERS: (usize, usize) = (1024, 4 * 1024 * 1024);

/// The name of the connect at the beginning. The application's count from 1.
const HELLO: OperationId = OperationId(0);
/// The name of the goodbye when nobody holds the client any more.
const GOODBYE: OperationId = OperationId(u64::MAX);

/// What came of an operation.
pub(super) type Outcome = Result<Reply, OperationError>;

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    messages: VecDeque<Outgoing>,
    /// How many messages that is, and how many bytes, with those that the task has taken out and
    /// not given to the socket yet.
    held: (usize, usize),
    /// There is a connection that is written to.
    open: bool,
}

impl Outbox {
    fn push(&mut self, message: Outgoing) {
        if self.open {
            self.held.0 += 1;
            self.held.1 += message.len();
            self.messages.push_back(message);
        }
    }

    /// True if less waits than so many frames and bytes.
    fn has_room(&self, (frames, bytes): (usize, usize)) -> bool {
        self.held.0 < frames && self.held.1 < bytes
    }

    /// There is a connection, and nothing to be written on it yet.
    pub(super) fn open(&mut self) {
        *self = Self { open: true, ..Self::default() };
    }

    /// There is no connection any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The last message on this connection.
    pub(super) fn close(&mut self, message: Outgoing) {
        self.push(message);
        self.open = false;
    }
}

/// Somebody who waits for what comes of an operation.
#[derive(Debug)]
enum Waiting {
    /// The machine has the operation. Who is to be woken, once somebody has looked.
    Asked(Option<Waker>),
    /// It is finished.
    Finished(Outcome),
}

/// What is shared, while it is looked at.
pub(super) struct State {
    pub(super) machine: Machine,
    pub(super) outbox: Outbox,
    inbox: Arc<Inbox>,
    /// Operations that wait for room in the outbox, in order: the names count upwards.
    later: VecDeque<(OperationId, Operation)>,
    waiting: BTreeMap<OperationId, Waiting>,
    /// The operation that is being asked for just now, and what came of it.
    asking: Option<(OperationId, Option<Outcome>)>,
    /// An action that only the task can carry out, before all that the machine has.
    left: Option<Action>,
    last: u64,
    /// Why the client has ended, once it has.
    end: Option<End>,
    /// The task is no more.
    over: bool,
    /// Who is to be woken when nobody looks any more, and whether the inbox has something new.
    wakers: Vec<Waker>,
    told: bool,
}

/// The answer to an operation.
pub(super) enum Begun {
    /// It is there.
    Finished(Outcome),
    /// It comes.
    Waits(OperationId),
}

impl State {
    /// The next action that only the task can carry out. All others before it are carried out.
    pub(super) fn next_action(&mut self) -> Option<Action> {
        if self.left.is_some() {
            return self.left.take();
        }
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Send { text } => self.outbox.push(Outgoing::Text(text)),
                Action::Ping => self.outbox.push(Outgoing::Ping),
                Action::Finish { id, result } => self.finish(id, result),
                Action::Event(event) => {
                    if let Event::Closed { end } = &event {
                        self.end.get_or_insert_with(|| end.clone());
                    }
                    self.told |= self.inbox.push(event);
                }
                action @ (Action::AskToken { .. }
                | Action::Connect { .. }
                | Action::Close { .. }) => return Some(action),
            }
        }
        None
    }

    fn finish(&mut self, id: OperationId, result: Outcome) {
        match &mut self.asking {
            Some((asking, outcome)) if *asking == id => *outcome = Some(result),
            _ => {
                // Whoever asked may have stopped waiting: that is no fault.
                let Some(waiting) = self.waiting.get_mut(&id) else { return };
                if let Waiting::Asked(Some(waker)) =
                    std::mem::replace(waiting, Waiting::Finished(result))
                {
                    self.wakers.push(waker);
                }
            }
        }
    }

    /// Asks something of the machine on behalf of somebody else than the task.
    fn ask(&mut self, now: Timestamp, input: Input) {
        self.machine.handle(now, input);
        // What the task has left to do comes before all else.
        if self.left.is_none() {
            self.left = self.next_action();
        }
    }

    /// Asks for what has waited for room, as far as there is some. The actions are to be carried
    /// out by whoever calls this, and then there may be less. True if something was asked for.
    pub(super) fn next_later(&mut self, now: Timestamp) -> bool {
        if !self.outbox.has_room(OUTBOX) {
            return false;
        }
        let Some((id, operation)) = self.later.pop_front() else { return false };
        self.machine.handle(now, Input::Operation { id, operation });
        true
    }

    /// True if something waits for room.
    pub(super) fn has_later(&self) -> bool {
        !self.later.is_empty()
    }

    /// True if what is read can be answered.
    pub(super) fn may_read(&self) -> bool {
        self.outbox.has_room(ANSWERS)
    }

    /// Takes out what is to be written, for an empty queue. So many messages and bytes of what was
    /// taken out before have been given to the socket.
    pub(super) fn take_messages(
        &mut self,
        queue: &mut VecDeque<Outgoing>,
        written: &mut (usize, usize),
    ) {
        let (frames, bytes) = std::mem::take(written);
        let held = &mut self.outbox.held;
        *held = (held.0.saturating_sub(frames), held.1.saturating_sub(bytes));
        if queue.is_empty() {
            std::mem::swap(queue, &mut self.outbox.messages);
        }
    }

    /// What is said to whoever asks when the client has ended.
    fn ended(&self) -> ClientError {
        match &self.end {
            Some(end) => ClientError::Operation(OperationError::Closed(end.clone())),
            None => ClientError::Ended,
        }
    }
}

/// What a client's task and those who hold the client share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the task.
    pub(super) task: AtomicWaker,
    inbox: Arc<Inbox>,
    pub(super) started: Instant,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Shares a machine that has been told to connect.
    pub(super) fn new(mut machine: Machine, inbox: Arc<Inbox>) -> Self {
        let connect = Input::Operation { id: HELLO, operation: Operation::Connect };
        machine.handle(Timestamp::ZERO, connect);
        let state = State {
            machine,
            outbox: Outbox::default(),
            inbox: Arc::clone(&inbox),
            later: VecDeque::new(),
            waiting: BTreeMap::new(),
            asking: None,
            left: None,
            last: 0,
            end: None,
            over: false,
            wakers: Vec::new(),
            told: false,
        };
        let task = AtomicWaker::new();
        Self { state: Mutex::new(state), task, inbox, started: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.started.elapsed()
    }

    /// Looks at what is shared. Nobody is woken meanwhile: whoever is woken may look, too, on this
    /// thread.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = look(&mut state);
        let (wakers, told) = (std::mem::take(&mut state.wakers), std::mem::take(&mut state.told));
        drop(state);
        if told {
            self.inbox.wake();
        }
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    /// As [`with`](Self::with), for somebody else than the task, which is woken to see what there
    /// is to do.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = self.with(change);
        self.task.wake();
        result
    }

    /// Looks at the machine, until it has ended.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Machine) -> T) -> Result<T, ClientError> {
        self.with(|state| {
            // The task may not have come to its end yet.
            if state.over || state.machine.status() == Status::Closed {
                return Err(state.ended());
            }
            Ok(look(&state.machine))
        })
    }

    /// Begins an operation: at once if there is room for what it may send, and nothing waits
    /// before it.
    pub(super) fn begin(&self, operation: Operation) -> Result<Begun, ClientError> {
        let now = self.now();
        self.change(|state| {
            if state.over {
                return Err(state.ended());
            }
            state.last += 1;
            let id = OperationId(state.last);
            // However much waits, the client can say goodbye.
            let urgent = matches!(operation, Operation::Close);
            if !(urgent || state.later.is_empty() && state.outbox.has_room(OUTBOX)) {
                state.later.push_back((id, operation));
                state.waiting.insert(id, Waiting::Asked(None));
                return Ok(Begun::Waits(id));
            }
            state.asking = Some((id, None));
            state.ask(now, Input::Operation { id, operation });
            Ok(match state.asking.take() {
                Some((_, Some(outcome))) => Begun::Finished(outcome),
                _ => {
                    state.waiting.insert(id, Waiting::Asked(None));
                    Begun::Waits(id)
                }
            })
        })
    }

    /// What came of an operation that was begun. When that is known, nobody waits any more.
    pub(super) fn poll(
        &self,
        id: OperationId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Outcome, ClientError>> {
        // The waker of before is dropped when nobody looks: whatever it kept may hold a client.
        let (polled, _before) = self.with(|state| match state.waiting.remove(&id) {
            Some(Waiting::Finished(outcome)) => (Poll::Ready(Ok(outcome)), None),
            Some(Waiting::Asked(before)) => {
                state.waiting.insert(id, Waiting::Asked(Some(cx.waker().clone())));
                (Poll::Pending, before)
            }
            None => (Poll::Ready(Err(state.ended())), None),
        });
        polled
    }

    /// Nobody waits for an operation any more.
    pub(super) fn cancel(&self, id: OperationId) {
        let now = self.now();
        // As above; and a frame may be large.
        let (_before, _operation) = self.change(|state| {
            let waiting = state.waiting.remove(&id);
            // What is finished, or over, cannot be taken back.
            if !matches!(waiting, Some(Waiting::Asked(_))) {
                return (waiting, None);
            }
            match state.later.binary_search_by_key(&id, |(id, _)| *id) {
                Ok(at) => (waiting, state.later.remove(at)),
                Err(_) => {
                    state.ask(now, Input::Cancel { id });
                    (waiting, None)
                }
            }
        });
    }

    /// Nobody holds the client any more: it says goodbye.
    pub(super) fn abandon(&self) {
        let now = self.now();
        self.change(|state| {
            if !state.over {
                let operation = Operation::Close;
                state.ask(now, Input::Operation { id: GOODBYE, operation });
            }
        });
    }

    /// The task is no more. Whoever waits for an answer, or asks for one later, learns that there
    /// will be none.
    pub(super) fn end(&self) {
        self.with(|state| {
            state.over = true;
            state.outbox.clear();
            state.later = VecDeque::new();
            let waiting = std::mem::take(&mut state.waiting);
            for (id, waiting) in waiting {
                match waiting {
                    Waiting::Asked(waker) => state.wakers.extend(waker),
                    // Whoever asked has not come to see it yet.
                    finished @ Waiting::Finished(_) => drop(state.waiting.insert(id, finished)),
                }
            }
        });
        self.inbox.end();
    }
}
