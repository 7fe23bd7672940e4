//! A server's connection to Redis: made, looked after, made again.

mod check;
mod deadline;
mod limits;
mod serve;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    future::Future,
    hash::{BuildHasher as _, RandomState},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use ::redis::{Pipeline, RedisResult, Value, aio::MultiplexedConnection};
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use symple_engine::Timestamp;

pub(crate) use self::check::SessionUse;
use self::{check::Check, deadline::Deadline};
use crate::server::stats::{RedisStats, RoundTrips};

use super::{
    RedisConfig, RedisError, Warnings, connection,
    inbox::{Inbox, Signal},
    ops::{BusOp, LinkEvent, Lookup},
    text::one_line,
    trouble::Trouble,
};

/// How many look-ups may wait. Others are not answered, as when Redis is away.
const MAX_LOOKUPS: usize = 16 * 1024;
/// How long is waited before the second attempt to connect; for others twice as long each.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Commands that were sent together.
struct Batch<T> {
    what: Vec<T>,
    sent: Instant,
    answer: Answer<RedisResult<Vec<Value>>>,
}

impl<T> Batch<T> {
    fn new(what: Vec<T>, pipeline: Pipeline, mut connection: MultiplexedConnection) -> Self {
        let count = pipeline.len();
        let answer =
            Box::pin(async move { connection.send_packed_commands(&pipeline, 0, count).await });
        Self { what, sent: Instant::now(), answer }
    }
}

struct Connected {
    connection: MultiplexedConnection,
    inbox: Arc<Inbox>,
    /// What is to be subscribed to before the bus is up.
    resubscribe: Vec<Box<str>>,
    up: bool,
    up_since: Timestamp,
    bus: Option<(Batch<BusOp>, Deadline)>,
    lookups: Option<(Batch<Lookup>, Deadline)>,
    /// The check that is under way, and when the next one may begin.
    check: Option<Check>,
    next_check: Timestamp,
}

enum State {
    Waiting {
        until: Timestamp,
    },
    Connecting {
        attempt: Answer<Result<MultiplexedConnection, RedisError>>,
        inbox: Arc<Inbox>,
        deadline: Deadline,
    },
    Connected(Box<Connected>),
}

/// A server's connection to Redis, polled by the server's own thread.
///
/// There is one connection for everything. What is done on the bus is sent in the order in which
/// it was asked for: one batch at a time, and what is asked for meanwhile is the next one. So
/// whoever learns of a subscription by a message that was published after it can rely on it.
///
/// Redis is not believed: what it is there for is checked at every interval (`check.rs`).
pub(crate) struct Link {
    config: RedisConfig,
    address: String,
    /// It is one server of a Redis Cluster, that has the slot of the prefix for now.
    has_slot: bool,
    state: State,
    signal: Arc<Signal>,
    waker: Waker,
    now: Timestamp,
    /// Every channel that is to be subscribed to.
    wanted: BTreeSet<Box<str>>,
    queue: VecDeque<BusOp>,
    queued: usize,
    lookups: VecDeque<Lookup>,
    events: VecDeque<LinkEvent>,
    /// How many of these say that the bus is down.
    unheard_losses: usize,
    /// There are messages in the inbox that have had no room among the events.
    behind: bool,
    /// The channel on which this link hears itself, and how many checks there were.
    echo: Box<str>,
    checks: u64,
    sessions: SessionUse,
    /// Why sessions cannot be read, as far as is known.
    trouble: Option<RedisError>,
    /// Some of them are elsewhere.
    moved: bool,
    /// How many attempts have failed in a row, and how the last one did.
    failures: u32,
    failure: Option<RedisError>,
    been_up: bool,
    /// It has been asked, or need not be, how much Redis keeps for a subscriber.
    limits_asked: bool,
    /// How long Redis took to answer to commands of each kind.
    round_trips: RoundTrips,
    /// How often the connection was lost, or could not be made.
    losses: u64,
    warnings: Warnings,
    away: Trouble,
    unreadable: Trouble,
    random: StdRng,
}

impl Link {
    /// A link that begins to connect when it is first polled.
    pub(crate) fn new(config: RedisConfig) -> Self {
        if let Some(database) = config.other_database() {
            let prefix = one_line(&config.prefix);
            tracing::warn!(
                database,
                prefix,
                "a database does not separate servers: those on this Redis with the same prefix \
                 hear each other, and know different sessions; use another prefix"
            );
        }
        let signal = Arc::new(Signal::default());
        // Nodes that lose Redis together should not come back together.
        let mut random = StdRng::seed_from_u64(RandomState::new().hash_one(0));
        Self {
            address: config.address(),
            has_slot: config.is_redis_cluster(),
            state: State::Waiting { until: Timestamp::ZERO },
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            now: Timestamp::ZERO,
            wanted: BTreeSet::new(),
            queue: VecDeque::new(),
            queued: 0,
            lookups: VecDeque::new(),
            events: VecDeque::new(),
            unheard_losses: 0,
            behind: false,
            echo: format!("echo:{:032x}", random.random::<u128>()).into(),
            checks: 0,
            sessions: SessionUse::default(),
            trouble: None,
            moved: false,
            failures: 0,
            failure: None,
            been_up: false,
            limits_asked: false,
            round_trips: RoundTrips::default(),
            losses: 0,
            warnings: Warnings::default(),
            away: Trouble::new("Redis is back"),
            unreadable: Trouble::new("sessions can be looked up again"),
            random,
            config,
        }
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// The bus can be used.
    pub(crate) fn is_up(&self) -> bool {
        matches!(&self.state, State::Connected(connected) if connected.up)
    }

    /// Nothing waits to be published, or nothing can be.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_up() || (self.queue.is_empty() && !self.is_busy())
    }

    fn is_busy(&self) -> bool {
        matches!(&self.state, State::Connected(connected) if connected.bus.is_some())
    }

    /// What has been counted.
    pub(crate) fn stats(&self) -> RedisStats {
        RedisStats {
            up: self.is_up(),
            queued: self.queued,
            losses: self.losses,
            round_trips: self.round_trips,
        }
    }

    /// Why the last attempt to connect has failed, if none has succeeded since; or why sessions
    /// cannot be read.
    pub(crate) fn failure(&self) -> Option<&RedisError> {
        self.failure.as_ref().or(self.trouble.as_ref())
    }

    /// Redis does all that the server needs of it.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_up() && self.trouble.is_none()
    }

    /// What the server does with sessions; nothing, if it is not said.
    pub(crate) fn use_sessions(&mut self, sessions: SessionUse) {
        self.sessions = sessions;
    }

    /// What the server is to be told next.
    pub(crate) fn next_event(&mut self) -> Option<LinkEvent> {
        let event = self.events.pop_front();
        self.unheard_losses -= usize::from(event == Some(LinkEvent::Down));
        event
    }

    /// Publishes on a channel, behind all that was asked of the bus before.
    pub(crate) fn publish(&mut self, channel: Box<str>, payload: Bytes) {
        // What was published while the bus is down is lost anyway, for those who were away. A
        // server that has not heard yet that it was down means the connection before.
        if self.is_up() && self.unheard_losses == 0 {
            self.enqueue(BusOp::Publish { channel, payload });
        }
    }

    /// Receives no more of what is published on a channel.
    pub(crate) fn unsubscribe(&mut self, channel: Box<str>) {
        self.wanted.remove(&channel);
        self.enqueue(BusOp::Unsubscribe(channel));
    }

    /// Receives what is published on a channel, now and after the next connection.
    pub(crate) fn subscribe(&mut self, channel: Box<str>) {
        self.wanted.insert(channel.clone());
        self.enqueue(BusOp::Subscribe(channel));
    }

    fn enqueue(&mut self, op: BusOp) {
        // A new connection begins with all that is wanted.
        if !matches!(self.state, State::Connected(_)) {
            return;
        }
        self.queued += op.size();
        self.queue.push_back(op);
        if self.queued > self.config.outbound_limit {
            let reason = "it does not take what is published";
            self.lose(RedisError::unreachable(&self.address, reason));
        }
    }

    /// Asks for a session.
    pub(crate) fn look_up(&mut self, lookup: Lookup) {
        if self.is_up() && self.lookups.len() < MAX_LOOKUPS {
            self.lookups.push_back(lookup);
        } else {
            self.events.extend(lookup.unanswered());
        }
    }

    /// When it must be polled, if nothing happens before.
    pub(crate) fn deadline(&self) -> Timestamp {
        match &self.state {
            State::Waiting { until } => *until,
            State::Connecting { deadline, .. } => deadline.at(),
            State::Connected(connected) => {
                let bus = connected.bus.as_ref().map(|(_, deadline)| deadline.at());
                let lookups = connected.lookups.as_ref().map(|(_, deadline)| deadline.at());
                let check = match &connected.check {
                    Some(check) => Some(check.until()),
                    // The first one waits for the bus.
                    None => connected.up.then_some(connected.next_check),
                };
                let first = [bus, lookups, check].into_iter().flatten().min();
                first.unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Does what can be done now. True if it is to be polled again at once.
    pub(crate) fn poll(&mut self, cx: &Context<'_>, now: Timestamp) -> bool {
        self.now = now;
        self.signal.register(cx.waker());
        let to_send = match &self.state {
            State::Connected(connected) => {
                (connected.bus.is_none() && !self.queue.is_empty())
                    || (connected.lookups.is_none() && !self.lookups.is_empty())
            }
            State::Waiting { .. } | State::Connecting { .. } => false,
        };
        let has_room = self.behind && self.events.is_empty();
        if self.signal.take() || to_send || has_room || self.deadline() <= now {
            let waker = self.waker.clone();
            self.advance(&mut Context::from_waker(&waker));
            self.warnings.settle(now);
        }
        self.behind || !self.events.is_empty() || self.deadline() <= now
    }

    fn advance(&mut self, cx: &mut Context<'_>) {
        loop {
            match &mut self.state {
                State::Waiting { until } if *until > self.now => return,
                State::Waiting { .. } => self.connect(),
                State::Connecting { attempt, inbox, deadline } => match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(connection)) => {
                        self.state = State::Connected(Box::new(Connected {
                            connection,
                            inbox: Arc::clone(inbox),
                            // The last comes first.
                            resubscribe: self.wanted.iter().chain([&self.echo]).cloned().collect(),
                            up: false,
                            up_since: self.now,
                            bus: None,
                            lookups: None,
                            check: None,
                            next_check: self.now,
                        }));
                    }
                    Poll::Ready(Err(error)) => self.lose(error),
                    Poll::Pending if deadline.is_over(self.now, 0) => {
                        self.lose(RedisError::timeout(&self.address));
                    }
                    Poll::Pending => return,
                },
                State::Connected(_) => {
                    if let Err(error) = self.serve(cx) {
                        self.lose(error);
                    }
                    return;
                }
            }
        }
    }

    fn connect(&mut self) {
        self.moved = false;
        let echo = format!("{}{}", self.config.prefix, self.echo);
        let inbox = Inbox::new(self.config.inbound_limit, echo, Arc::clone(&self.signal));
        let inbox = Arc::new(inbox);
        let pushed = Arc::clone(&inbox);
        let push = move |info| {
            pushed.push(info);
            Ok(())
        };
        let attempt = Box::pin(connection::open_link(self.config.clone(), push));
        let deadline = Deadline::new(self.now, self.config.connect_timeout, 0);
        self.state = State::Connecting { attempt, inbox, deadline };
    }

    /// The connection is gone, or was never there.
    fn lose(&mut self, error: RedisError) {
        // One that was up for a moment only is no success: the next attempt waits longer.
        let up = match &self.state {
            State::Connected(connected) if connected.up => {
                if connected.up_since + self.config.max_backoff <= self.now {
                    self.failures = 0;
                }
                true
            }
            _ => false,
        };
        let backoff = FIRST_BACKOFF * 2_u32.saturating_pow(self.failures.min(16));
        let backoff =
            backoff.min(self.config.max_backoff).mul_f64(self.random.random_range(0.5..1.0));
        // A server that needs it from the beginning does not start, and says why.
        if self.been_up || !self.config.required {
            let what = if self.been_up {
                "Redis is away; local traffic goes on"
            } else {
                "Redis is not there"
            };
            self.away.seen(self.now, what, &error.to_string());
        }
        self.failures = self.failures.saturating_add(1);
        self.losses += 1;
        self.failure = Some(error);
        let state = mem::replace(&mut self.state, State::Waiting { until: self.now + backoff });
        self.behind = false;
        self.queue = VecDeque::new();
        self.queued = 0;
        if let State::Connected(connected) = state
            && let Some((batch, _)) = connected.lookups
        {
            self.events.extend(batch.what.into_iter().filter_map(Lookup::unanswered));
        }
        self.events.extend(self.lookups.drain(..).filter_map(Lookup::unanswered));
        if up {
            self.events.push_back(LinkEvent::Down);
            self.unheard_losses += 1;
        }
    }
}
