//! Between Redis and the engine: sessions, what backends emit, and the bus between nodes.

use std::{
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use symple_engine::{
    Timestamp,
    server::{EngineError, HostCall, Input},
};

use crate::{
    core::Core,
    core::task::EngineTask,
    net::table::ConnectionTable,
    redis::{Link, LinkEvent, RedisError, SessionUse},
    runtime::Runtime,
    server::log::OncePerSecond,
};

/// The channel on which backends emit (R-S3).
const BROADCAST: &str = "broadcast";
/// What becomes of messages that cannot be used.
const DROPPED: &str = "a message from Redis is dropped";
/// How long the server hears what Redis has to say before others have their turn.
const TURN: Duration = Duration::from_millis(2);
/// The header of the largest frame of the WebSocket kind.
const HEADER: usize = 10;

impl<R: Runtime> Core<R> {
    /// Hands what Redis has to say to the engine. True if there is more.
    pub(crate) fn poll_redis(
        &mut self,
        table: &mut ConnectionTable<R::Socket>,
        cx: &Context<'_>,
    ) -> bool {
        let Some(link) = &mut self.redis else { return false };
        link.poll(cx, table.now);
        self.warnings.settle(table.now);
        self.session_faults.settle(table.now);
        // What a message costs cannot be told from its size: one of 64 KiB may be a frame for a
        // single client, or hundreds of peers.
        let begun = Instant::now();
        while table.has_room()
            && begun.elapsed() < TURN
            && let Some(event) = self.redis.as_mut().and_then(Link::next_event)
        {
            self.redis_event(table, &event);
        }
        if let Some(link) = &self.redis {
            self.status.ready.store(link.is_ready() || !link.config().required, Ordering::Relaxed);
            // A server that does without Redis does without other nodes while it is away.
            let catching_up = link.is_up() && !self.engine.is_caught_up();
            self.status.catching_up.store(catching_up, Ordering::Relaxed);
        }
        self.flush_redis(table.now, cx)
    }

    /// Sends what waits for Redis. True if it has something to say.
    pub(crate) fn flush_redis(&mut self, now: Timestamp, cx: &Context<'_>) -> bool {
        self.redis.as_mut().is_some_and(|link| link.poll(cx, now))
    }

    fn redis_event(&mut self, table: &mut ConnectionTable<R::Socket>, event: &LinkEvent) {
        let result = match event {
            LinkEvent::Up => self.input(table, Input::BusUp),
            LinkEvent::Down => self.input(table, Input::BusDown),
            LinkEvent::Taken(bytes) => self.input(table, Input::BusTaken { bytes: *bytes }),
            LinkEvent::SessionLoaded(request, session) => {
                let session = session.as_lookup();
                self.input(table, Input::SessionLoaded { request: *request, session })
            }
            LinkEvent::SessionChecked(conn, token, live) => {
                self.input(table, Input::SessionChecked { conn: *conn, token, live: *live })
            }
            LinkEvent::Claimed(request, holder) => {
                let holder = holder.as_deref();
                self.input(table, Input::Claimed { request: *request, holder })
            }
            LinkEvent::Message { channel, payload } => {
                table.spend_frame(payload.len());
                return self.bus_message(table, channel, payload);
            }
        };
        if let Err(error) = result {
            static FAULTS: OncePerSecond = OncePerSecond::new();
            if let Some(more) = FAULTS.is_due() {
                tracing::error!(%error, more, "the engine does not know what Redis says");
            }
        }
    }

    fn bus_message(
        &mut self,
        table: &mut ConnectionTable<R::Socket>,
        channel: &str,
        payload: &[u8],
    ) {
        // It would be more than may wait for a client, and end all who are to have it.
        if channel == BROADCAST && payload.len() + HEADER > table.config.outbound_limit {
            return self.warnings.warn(table.now, DROPPED, &"it is too large");
        }
        let result = if self.engine.config().cluster.is_some() {
            self.input(table, Input::BusMessage { channel, payload })
        } else {
            // A server on its own has no bus, but backends that speak to it.
            let text = std::str::from_utf8(payload).map_err(|_| EngineError::NotUtf8);
            text.and_then(|text| self.input(table, Input::Host(HostCall::Emit { text })))
        };
        if let Err(error) = result {
            self.warnings.warn(table.now, DROPPED, &error);
        }
    }
}

impl<R: Runtime> EngineTask<R> {
    /// Waits until Redis is there and does what is needed, or does not (R-S1).
    pub(crate) async fn connect_redis(&mut self, link: Option<Link>) -> Result<(), RedisError> {
        let Some(mut link) = link else { return Ok(()) };
        let config = self.core.engine.config();
        if config.cluster.is_none() {
            link.subscribe(BROADCAST.into());
        }
        let read = self.core.proofs.sessions;
        link.use_sessions(SessionUse { read, ttl: config.sessions.ttl.filter(|_| read) });
        self.core.redis = Some(link);
        std::future::poll_fn(|cx| self.poll_first(cx)).await
    }

    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RedisError>> {
        let Self { core, shard, .. } = self;
        shard.begin(cx);
        // The engine may have something to do from the beginning.
        let _ = core.input(&mut shard.table, Input::Timeout);
        let mut again = core.poll_redis(&mut shard.table, cx);
        let Some(link) = &core.redis else { return Poll::Ready(Ok(())) };
        match link.failure() {
            Some(error) if link.config().required => return Poll::Ready(Err(error.clone())),
            Some(_) => return Poll::Ready(Ok(())),
            None if link.is_up() => return Poll::Ready(Ok(())),
            None => {}
        }
        again |= shard.poll_timer(cx, Some(link.deadline()));
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
