//! The machine itself: inputs to the parts that decide about them.

use alloc::{boxed::Box, collections::VecDeque, string::String, vec::Vec};
use core::{fmt, time::Duration};

use symple_proto::{Address, Fields, RoomName, Token, frame::Peer};

use crate::{
    Timestamp,
    server::{Random, Text},
};

use super::{
    Action, CallInfo, Config, ConnectionId, End, Event, Input, OperationError, Reply, Roster,
    Stats,
    asked::Questions,
    backoff::Backoff,
    calls::Calls,
    input::{OperationId, TokenRequest},
    presence::Courtesy,
    queue::Queue,
    requests::Requests,
    rooms::Rooms,
    states::Changes,
};

/// What a client is at.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing: it was not started, or has ended.
    Closed(End),
    /// Waits for a token.
    AskingToken {
        request: TokenRequest,
        until: Timestamp,
    },
    /// Waits for the connection to be open.
    Connecting {
        conn: ConnectionId,
        until: Timestamp,
    },
    /// Waits for `welcome`.
    Authenticating {
        conn: ConnectionId,
        until: Timestamp,
    },
    Online(Box<Online>),
    /// Waits for the next attempt.
    BackingOff {
        until: Timestamp,
    },
    /// Waits for the connection to be gone.
    Closing {
        conn: ConnectionId,
        until: Timestamp,
    },
}

/// What there is only while the client is online.
#[derive(Debug)]
pub(super) struct Online {
    pub(super) conn: ConnectionId,
    pub(super) address: Address,
    pub(super) peer: Peer,
    pub(super) since: Timestamp,
    /// When something arrived last.
    pub(super) heard: Timestamp,
    /// When the server was pinged, if nothing has arrived since.
    pub(super) pinged: Option<Timestamp>,
    /// The server tells of those who are there; the Node server does not (D-VISIBLE).
    pub(super) tells_roster: bool,
    /// When the roster is taken for complete, where the server does not say.
    pub(super) complete_at: Option<Timestamp>,
    /// The extensions that are on, as the server says (R-X1).
    pub(super) extensions: Vec<String>,
    /// The server has said that it shuts down.
    pub(super) shutting_down: bool,
}

/// What a client is at, as others may know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// It was not started, or has ended.
    Closed,
    /// It is on its way to a server, from the question for a token to the open connection.
    Connecting,
    /// It waits for `welcome`.
    Authenticating,
    /// It is online.
    Online,
    /// It waits before the next attempt.
    BackingOff,
    /// It waits for its connection to be gone.
    Closing,
}

/// A client. See the [module](super) for how it is driven.
pub struct Client {
    pub(super) config: Config,
    pub(super) random: Box<dyn Random + Send>,
    pub(super) now: Timestamp,
    pub(super) out: VecDeque<Action>,
    pub(super) state: State,
    pub(super) backoff: Backoff,
    pub(super) last_connection: u64,
    pub(super) last_token_request: u64,
    /// The token of the present attempt, or connection.
    pub(super) token: Option<Token>,
    /// The token that was refused since the last welcome, and how.
    pub(super) refused: Option<(Option<Token>, End)>,
    /// A server has welcomed the client.
    pub(super) welcomed: bool,
    /// How long the server wants the client to stay away (R-L2).
    pub(super) retry_after: Option<Duration>,
    /// The operations that wait for the client to be online, and to be closed.
    pub(super) connects: Vec<OperationId>,
    pub(super) closes: Vec<OperationId>,
    /// How many operations wait for the client to be in a room.
    pub(super) waiting_joins: usize,
    pub(super) record: Fields,
    pub(super) roster: Roster,
    pub(super) rooms: Rooms,
    pub(super) questions: Questions,
    pub(super) requests: Requests,
    pub(super) queue: Queue,
    /// Changes of states that the server has not answered.
    pub(super) changes: Changes,
    pub(super) calls: Calls,
    pub(super) courtesy: Courtesy,
    /// How many frames were sent on this connection, and how many of them the server has handled,
    /// as far as is known.
    pub(super) sent: u64,
    pub(super) handled: u64,
    pub(super) stats: Stats,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("now", &self.now)
            .field("status", &self.status())
            .field("stats", &self.stats)
            .finish()
    }
}

/// So much later; never, for zero.
pub(super) fn after(at: Timestamp, duration: Duration) -> Timestamp {
    if duration.is_zero() { Timestamp::MAX } else { at + duration }
}

impl Client {
    /// A client that does nothing yet: it begins with
    /// [`Operation::Connect`](super::Operation::Connect).
    #[must_use]
    pub fn new(config: Config, random: impl Random + Send + 'static) -> Self {
        let mut rooms = Rooms::default();
        let limit = config.limits.rooms;
        rooms.wanted.extend(config.rooms.iter().take(limit).map(|room| (room.clone(), Vec::new())));
        Self {
            record: config.record.clone(),
            config,
            random: Box::new(random),
            now: Timestamp::ZERO,
            out: VecDeque::new(),
            state: State::Closed(End::NotStarted),
            backoff: Backoff::default(),
            last_connection: 0,
            last_token_request: 0,
            token: None,
            refused: None,
            welcomed: false,
            retry_after: None,
            connects: Vec::new(),
            closes: Vec::new(),
            waiting_joins: 0,
            roster: Roster::default(),
            rooms,
            questions: Questions::default(),
            requests: Requests::default(),
            queue: Queue::default(),
            changes: Changes::default(),
            calls: Calls::default(),
            courtesy: Courtesy::new(),
            sent: 0,
            handled: 0,
            stats: Stats::default(),
        }
    }

    /// How the client is set up.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the client is at.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.state {
            State::Closed(_) => Status::Closed,
            State::AskingToken { .. } | State::Connecting { .. } => Status::Connecting,
            State::Authenticating { .. } => Status::Authenticating,
            State::Online(_) => Status::Online,
            State::BackingOff { .. } => Status::BackingOff,
            State::Closing { .. } => Status::Closing,
        }
    }

    /// Who the client is, while it is online, as the server says (R-A8).
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        match &self.state {
            State::Online(online) => Some(&online.peer),
            _ => None,
        }
    }

    /// Who else is there.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The calls that there are, in the order in which they began.
    pub fn calls(&self) -> impl Iterator<Item = CallInfo> {
        self.calls.iter()
    }

    /// How many frames wait for the client to be online.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How many requests wait for an answer.
    #[must_use]
    pub fn pending_requests(&self) -> usize {
        self.requests.len()
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Takes one fact from outside. [`poll_action`](Self::poll_action) must be called until there
    /// is no more, and then [`poll_timeout`](Self::poll_timeout).
    ///
    /// Time that goes backwards stands still.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Opened { conn } => self.opened(conn),
            Input::Failed { conn, failure } => self.failed(conn, failure),
            Input::Text { conn, text } => self.text(conn, text),
            Input::Alive { conn } => self.alive(conn),
            Input::Closed { conn, code, reason } => self.closed(conn, code, &reason),
            Input::Token { request, token } => self.token_found(request, token),
            Input::Timeout => self.timeout(),
            Input::Operation { id, operation } => self.operate(id, operation),
            Input::Cancel { id } => self.cancel(id),
        }
    }

    /// The next action, in the order in which they are to be carried out.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.out.pop_front()
    }

    /// When [`Input::Timeout`] is wanted at the latest; none if nothing waits. It changes with
    /// every input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let state = match &self.state {
            State::Closed(_) => Timestamp::MAX,
            State::AskingToken { until, .. }
            | State::Connecting { until, .. }
            | State::Authenticating { until, .. }
            | State::BackingOff { until }
            | State::Closing { until, .. } => *until,
            State::Online(online) => self
                .next_ping(online)
                .min(online.complete_at.unwrap_or(Timestamp::MAX))
                .min(self.next_question()),
        };
        let next =
            [self.requests.next(), self.queue.next(), self.calls.next(), self.changes.next()]
                .into_iter()
                .flatten()
                .fold(state, Timestamp::min);
        (next < Timestamp::MAX).then_some(next)
    }

    fn timeout(&mut self) {
        self.check_connection();
        if let State::Online(online) = &self.state {
            if online.complete_at.is_some_and(|at| at <= self.now) {
                self.complete_roster();
            }
            self.check_questions();
        }
        while let Some(queued) = self.queue.pop_expired(self.now) {
            self.stats.expired += 1;
            match queued.request {
                Some(request) => {
                    // It may have timed out before, and another one may have its id.
                    let waits = self.requests.get_mut(&request);
                    if waits.is_some_and(|pending| pending.operation == queued.operation) {
                        self.requests.remove(&request);
                        self.fail(queued.operation, OperationError::Expired);
                    }
                }
                None => self.fail(queued.operation, OperationError::Expired),
            }
        }
        while let Some(pending) = self.requests.pop_expired(self.now) {
            self.fail(pending.operation, OperationError::TimedOut);
        }
        self.check_changes();
        self.check_calls();
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.out.push_back(Action::Event(event));
    }

    pub(super) fn done(&mut self, id: OperationId) {
        self.out.push_back(Action::Finish { id, result: Ok(Reply::Done) });
    }

    pub(super) fn fail(&mut self, id: OperationId, error: OperationError) {
        self.out.push_back(Action::Finish { id, result: Err(error) });
    }

    /// The client is not online, and that is what the operation needs.
    pub(super) fn fail_offline(&mut self, id: OperationId) {
        let error = match &self.state {
            State::Closed(end) => OperationError::Closed(end.clone()),
            State::Closing { .. } => OperationError::Closed(End::Requested),
            _ => OperationError::Offline,
        };
        self.fail(id, error);
    }

    /// Sends a text on the connection.
    pub(super) fn send_text(&mut self, text: impl Into<Text>) {
        self.sent += 1;
        self.stats.sent += 1;
        self.out.push_back(Action::Send { text: text.into() });
    }

    /// 100 random bits in small letters and digits.
    pub(super) fn random_id(&mut self) -> String {
        const DIGITS: [char; 32] = [
            '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f', 'g',
            'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v',
        ];
        let mut bytes = [0; 20];
        self.random.fill(&mut bytes);
        bytes.iter().map(|byte| DIGITS[usize::from(byte % 32)]).collect()
    }

    /// The rooms that stand in the `auth` frame.
    pub(super) fn rooms_at_start(&self) -> impl Iterator<Item = &RoomName> {
        self.config.rooms.iter().filter(|room| self.rooms.wanted.contains_key(*room))
    }
}
