//! A server's connection to Redis: made, looked after, made again.

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
    time::Duration,
};

use ::redis::{Pipeline, RedisResult, Value, aio::MultiplexedConnection};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use symple_engine::{Timestamp, server::Action};

use super::{
    RedisConfig, RedisError, Warnings, connection,
    inbox::{Inbox, Signal},
    ops::{BusOp, LinkEvent, Lookup},
};

/// How many look-ups may wait. Others are not answered, as when Redis is away.
const MAX_LOOKUPS: usize = 16 * 1024;
/// How long is waited before the second attempt to connect; for others twice as long each.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Commands that were sent together.
struct Batch<T> {
    what: Vec<T>,
    answer: Answer<RedisResult<Vec<Value>>>,
    until: Timestamp,
}

impl<T> Batch<T> {
    fn new(
        what: Vec<T>,
        pipeline: Pipeline,
        mut connection: MultiplexedConnection,
        until: Timestamp,
    ) -> Self {
        let count = pipeline.len();
        let answer =
            Box::pin(async move { connection.send_packed_commands(&pipeline, 0, count).await });
        Self { what, answer, until }
    }
}

struct Connected {
    connection: MultiplexedConnection,
    inbox: Arc<Inbox>,
    /// What is to be subscribed to before the bus is up.
    resubscribe: Vec<Box<str>>,
    up: bool,
    bus: Option<Batch<BusOp>>,
    lookups: Option<Batch<Lookup>>,
    /// Redis has shown that it is there.
    heard: Timestamp,
    /// When it has to be asked whether it is still the master; never, where nobody else can be.
    ask_role: Option<Timestamp>,
}

enum State {
    Waiting {
        until: Timestamp,
    },
    Connecting {
        attempt: Answer<Result<MultiplexedConnection, RedisError>>,
        inbox: Arc<Inbox>,
        until: Timestamp,
    },
    Connected(Connected),
}

/// A server's connection to Redis, polled by the server's own thread.
///
/// There is one connection for everything. What is done on the bus is sent in the order in which
/// it was asked for: one batch at a time, and what is asked for meanwhile is the next one. So
/// whoever learns of a subscription by a message that was published after it can rely on it.
pub(crate) struct Link {
    config: RedisConfig,
    address: String,
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
    /// There are messages in the inbox that have had no room among the events.
    behind: bool,
    /// How many attempts have failed in a row, and how the last one did.
    failures: u32,
    failure: Option<RedisError>,
    been_up: bool,
    warnings: Warnings,
    random: StdRng,
}

impl Link {
    /// A link that begins to connect when it is first polled.
    pub(crate) fn new(config: RedisConfig) -> Self {
        let signal = Arc::new(Signal::default());
        Self {
            address: config.address(),
            state: State::Waiting { until: Timestamp::ZERO },
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            now: Timestamp::ZERO,
            wanted: BTreeSet::new(),
            queue: VecDeque::new(),
            queued: 0,
            lookups: VecDeque::new(),
            events: VecDeque::new(),
            behind: false,
            failures: 0,
            failure: None,
            been_up: false,
            warnings: Warnings::default(),
            // Nodes that lose Redis together should not come back together.
            random: StdRng::seed_from_u64(RandomState::new().hash_one(0)),
            config,
        }
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// The bus can be used.
    pub(crate) fn is_up(&self) -> bool {
        matches!(&self.state, State::Connected(Connected { up: true, .. }))
    }

    /// Nothing waits to be published, or nothing can be.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_up() || (self.queue.is_empty() && !self.is_busy())
    }

    fn is_busy(&self) -> bool {
        matches!(&self.state, State::Connected(Connected { bus: Some(_), .. }))
    }

    /// Why the last attempt to connect has failed, if none has succeeded since.
    pub(crate) fn failure(&self) -> Option<&RedisError> {
        self.failure.as_ref()
    }

    /// What the server is to be told next.
    pub(crate) fn next_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Carries out what concerns Redis, in order.
    pub(crate) fn act(&mut self, action: Action<'_>) {
        match action {
            Action::LoadSession { request, token } => self.ask(Lookup::Load { request, token }),
            Action::CheckSession { conn, token } => self.ask(Lookup::Check { conn, token }),
            Action::TouchSession { token, ttl } => self.ask(Lookup::Touch { token, ttl }),
            Action::Subscribe { channel } => self.subscribe(channel),
            Action::Unsubscribe { channel } => {
                self.wanted.remove(&channel);
                self.enqueue(BusOp::Unsubscribe(channel));
            }
            // What was published while the bus is down is lost anyway, for those who were away.
            Action::Publish { channel, payload } if self.is_up() => {
                self.enqueue(BusOp::Publish { channel, payload });
            }
            _ => {}
        }
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
            let reason = "it does not take what is published".into();
            self.lose(RedisError::Other { address: self.address.clone(), reason });
        }
    }

    fn ask(&mut self, lookup: Lookup) {
        if self.is_up() && self.lookups.len() < MAX_LOOKUPS {
            self.lookups.push_back(lookup);
        } else {
            self.events.extend(lookup.unanswered());
        }
    }

    /// When it must be polled, if nothing happens before.
    pub(crate) fn deadline(&self) -> Timestamp {
        match &self.state {
            State::Waiting { until } | State::Connecting { until, .. } => *until,
            State::Connected(connected) => {
                let bus = connected.bus.as_ref().map(|batch| batch.until);
                let lookups = connected.lookups.as_ref().map(|batch| batch.until);
                let ping = connected.heard + self.config.ping_interval;
                [bus, lookups].into_iter().flatten().min().unwrap_or(ping)
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
                State::Connecting { attempt, inbox, until } => match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(connection)) => {
                        self.state = State::Connected(Connected {
                            connection,
                            inbox: Arc::clone(inbox),
                            resubscribe: self.wanted.iter().cloned().collect(),
                            up: false,
                            bus: None,
                            lookups: None,
                            heard: self.now,
                            ask_role: self.config.has_sentinels().then_some(self.now),
                        });
                    }
                    Poll::Ready(Err(error)) => self.lose(error),
                    Poll::Pending if *until <= self.now => {
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
        let inbox = Arc::new(Inbox::new(self.config.inbound_limit, Arc::clone(&self.signal)));
        let pushed = Arc::clone(&inbox);
        let push = move |info| {
            pushed.push(info);
            Ok(())
        };
        let attempt = Box::pin(connection::open_link(self.config.clone(), push));
        let until = self.now + self.config.connect_timeout;
        self.state = State::Connecting { attempt, inbox, until };
    }

    /// The connection is gone, or was never there.
    fn lose(&mut self, error: RedisError) {
        let up = self.is_up();
        let backoff = FIRST_BACKOFF * 2_u32.saturating_pow(self.failures.min(16));
        let backoff =
            backoff.min(self.config.max_backoff).mul_f64(self.random.random_range(0.5..1.0));
        match self.failures {
            0 if up => tracing::warn!(%error, "Redis is away; local traffic goes on"),
            // A server that needs it from the beginning does not start, and says why.
            0 if self.been_up || !self.config.required => {
                tracing::warn!(%error, "Redis is not there");
            }
            _ => tracing::debug!(%error, "Redis is not there"),
        }
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(error);
        let state = mem::replace(&mut self.state, State::Waiting { until: self.now + backoff });
        self.behind = false;
        self.queue = VecDeque::new();
        self.queued = 0;
        if let State::Connected(Connected { lookups: Some(batch), .. }) = state {
            self.events.extend(batch.what.into_iter().filter_map(Lookup::unanswered));
        }
        self.events.extend(self.lookups.drain(..).filter_map(Lookup::unanswered));
        if up {
            self.events.push_back(LinkEvent::Down);
        }
    }
}
