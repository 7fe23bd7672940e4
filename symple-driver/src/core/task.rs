//! The future that runs the server: in each turn it handles everything that is ready, in order, and then
//! writes.

use std::{
    collections::VecDeque,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Duration,
};

use async_channel::Receiver;
use futures_core::Stream;
use symple_engine::{
    Timestamp,
    server::{EngineError, Input},
};

use crate::{
    core::Core,
    core::request::CoreRequest,
    http::{UNIX_PEER, UNKNOWN_PEER},
    net::shard::Shard,
    net::source::Source,
    net::table::SHARE,
    net::tls::SharedTls,
    net::upstream::Upstream,
    redis::Link,
    runtime::{Listener, Runtime},
    server::endpoint::Door,
    server::events::{NO_ROOM, TOO_LATE},
    server::mount::Opening,
    server::stats::{ServerStats, WebhookStats},
    webhook::events::EventSink,
    worker::mailbox::{WorkerCommand, WorkerMailbox},
};

/// How many connections are accepted before others have their turn.
const ACCEPTS: usize = 64;
/// How many connections of the application's may wait to be taken in.
const OPENINGS: usize = 4096;
/// To look at so many of them is as much work as a delivery.
const LOOKS: usize = 16;
/// The work of accepting a connection, in deliveries.
const ACCEPT: usize = 300;
/// How many requests are carried out before others have their turn.
const REQUESTS: usize = 256;
/// The effort for a page of a list, after which others have their turn: about so many places are
/// looked at.
const EFFORT: usize = 4096;
/// How long nothing is accepted when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a shutdown may take beyond its drain and the closing handshakes.
const SLACK: Duration = Duration::from_secs(1);

/// A server, as a future that ends with it.
pub(crate) struct EngineTask<R: Runtime> {
    pub(crate) core: Core<R>,
    pub(crate) shard: Shard<R>,
    pub(crate) doors: Vec<Door<R::Listener>>,
    /// Which of them accepts first in the next turn.
    pub(crate) next_door: usize,
    pub(crate) requests: Pin<Box<Receiver<CoreRequest>>>,
    /// That of the addresses that have none of their own.
    pub(crate) tls: Option<SharedTls>,
    /// Connections that the application brings, and that have not been taken in; since when.
    pub(crate) openings: VecDeque<(Timestamp, Opening)>,
    /// They were the first to be looked at in this turn.
    pub(crate) openings_first: bool,
    /// Nothing is accepted before this.
    pub(crate) accept_after: Timestamp,
    /// The time at which the server ends, even if connections are left.
    pub(crate) ends_at: Option<Timestamp>,
}

impl<R: Runtime> Future for EngineTask<R> {
    /// True if the server has ended in order.
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let task = &mut *Pin::into_inner(self);
        task.shard.begin(cx);
        if task.core.status.stopped.load(Ordering::Relaxed) {
            task.ends_at = Some(Timestamp::ZERO);
        }
        task.core.look_for_watchers();
        task.shard.table.allow(SHARE);
        task.core.poll_workers(&mut task.shard.table);
        // Requests of the application and messages of Redis also wait while a worker has too much to do.
        let mut waits = task.shard.table.is_blocked();
        task.abandon();
        task.shard.table.allow(SHARE);
        let mut again = !waits && task.poll_requests(cx);
        task.shard.table.allow(SHARE);
        task.shard.poll_outcomes(&mut task.core);
        task.shard.table.allow(2 * SHARE);
        task.shard.poll_ready(&mut task.core);
        // Bytes that have arrived are read before more connections are accepted, and before deadlines are checked.
        task.shard.table.allow(SHARE);
        again |= task.shard.has_ready() || task.poll_newcomers(cx);
        let due = task.core.engine.poll_timeout();
        let judged = [due, task.openings_due()].into_iter().flatten().min();
        if task.shard.judges(judged) {
            task.expire_openings();
            task.shard.table.allow(SHARE);
            task.shard.poll_deadlines(&mut task.core);
            if due.is_some_and(|at| at <= task.shard.table.now) {
                let _ = task.core.input(&mut task.shard.table, Input::Timeout);
            }
        } else {
            again = true;
        }
        task.shard.table.allow(SHARE);
        waits |= task.core.poll_redis(&mut task.shard.table, cx);
        task.shard.table.allow(SHARE);
        task.core.poll_held(&mut task.shard.table);
        // The other threads get their commands now, so that they work while this one writes.
        task.shard.table.hand_over();
        again |= task.shard.finish(&task.core);
        task.shard.table.hand_over();
        let table = &task.shard.table;
        if table.workers.iter().any(|worker| worker.dead) {
            return Poll::Ready(false);
        }
        // A thread that has too much to do wakes this one once it has less.
        let now = table.now;
        waits |= task.shard.has_ready()
            || table.has_held()
            || table.workers.iter().any(WorkerMailbox::has_events);
        waits |= task.core.flush_redis(now, cx);
        again |= waits && !task.shard.table.is_blocked();
        if let Some(ends_at) = task.ends_at
            && (ends_at <= now || task.is_empty())
        {
            return Poll::Ready(true);
        }
        let paused = (task.accept_after > now).then_some(task.accept_after);
        let paused = paused.max(task.core.accepts_at(&task.shard.table));
        let redis = task.core.redis.as_ref().map(Link::deadline);
        let openings = task.openings_due();
        let next = [task.core.engine.poll_timeout(), task.ends_at, paused, redis, openings];
        again |= task.shard.poll_timer(cx, next.into_iter().flatten().min());
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<R: Runtime> EngineTask<R> {
    /// True when no connection is left.
    fn is_empty(&self) -> bool {
        // The goodbye to other nodes is on its way.
        let told = self.core.redis.as_ref().is_none_or(Link::is_idle);
        told && self.core.engine.is_shut_down() && self.shard.table.sockets == 0
    }

    /// Takes in who is new, by turns those whom the application brings and those at the doors first.
    /// True if there is more.
    fn poll_newcomers(&mut self, cx: &mut Context<'_>) -> bool {
        self.openings_first = !self.openings_first;
        let more = self.openings_first && self.poll_openings();
        more || self.poll_accept(cx) || !self.openings_first && self.poll_openings()
    }

    /// Takes in what the application brings. True if there is more that need not wait.
    fn poll_openings(&mut self) -> bool {
        let Self { core, shard, openings, .. } = self;
        while !openings.is_empty() && core.accepts_at(&shard.table).is_none() {
            if shard.table.is_spent() {
                return true;
            }
            let Some((since, opening)) = openings.pop_front() else { break };
            if opening.is_given_up() {
                continue;
            }
            let (address, source) = opening.into_source();
            let waited = shard.table.now.since(since);
            Self::take_in(core, shard, source, address, waited);
        }
        false
    }

    /// When the one of those that the application brings has waited too long that has waited
    /// longest (R-L5).
    fn openings_due(&self) -> Option<Timestamp> {
        let timeout = self.shard.table.config.upgrade_timeout;
        let first = self.openings.front().filter(|_| !timeout.is_zero());
        first.map(|(since, _)| *since + timeout)
    }

    /// Lets go of those that have waited too long to be taken in: whoever brings them is told.
    fn expire_openings(&mut self) {
        while self.openings_due().is_some_and(|due| due <= self.shard.table.now) {
            let expired = self.openings.pop_front();
            // Whoever has given up was not dropped.
            if let Some((_, opening)) = expired.filter(|(_, opening)| !opening.is_given_up()) {
                self.shard.table.stats.upgrades_dropped += 1;
                self.core.upgrade_failed(opening.address(), None, TOO_LATE);
            }
        }
    }

    /// Lets go of connections for which no stream will come.
    fn abandon(&mut self) {
        let table = &mut self.shard.table;
        for id in self.core.status.take_abandoned() {
            if table.is_handshake(id) {
                table.end(id);
            }
        }
    }

    /// Takes a new connection in, which has waited so long for that.
    fn take_in(
        core: &mut Core<R>,
        shard: &mut Shard<R>,
        source: Source<R::Socket>,
        address: Option<SocketAddr>,
        waited: Duration,
    ) {
        let address = address.unwrap_or(UNKNOWN_PEER);
        shard.table.spend(ACCEPT);
        let id = core.new_connection(&mut shard.table, address);
        match shard.table.place() {
            None => shard.open(id, source, address, waited, core),
            Some(worker) => shard.table.open_remote(id, worker, source, address, waited),
        }
    }

    /// True if there is more.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> bool {
        let Self { core, shard, doors, next_door, .. } = self;
        if self.accept_after > shard.table.now {
            return false;
        }
        // One of them that is flooded does not keep the others from their turn.
        let first = (*next_door).min(doors.len());
        let (before, from) = doors.split_at_mut(first);
        *next_door = if from.len() > 1 { *next_door + 1 } else { 0 };
        for Door { listener, tls, .. } in from.iter_mut().chain(before) {
            for accepted in 0.. {
                if accepted == ACCEPTS || shard.table.is_spent() {
                    return true;
                }
                if core.accepts_at(&shard.table).is_some() {
                    return false;
                }
                match listener.poll_accept(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok((socket, address))) => {
                        let source = Source::Accepted(socket, tls.as_ref().map(SharedTls::current));
                        let address = address.or(Some(UNIX_PEER));
                        Self::take_in(core, shard, source, address, Duration::ZERO);
                    }
                    Poll::Ready(Err(error)) if is_of_one_connection(&error) => {}
                    Poll::Ready(Err(error)) => {
                        core.warnings.warn(shard.table.now, "cannot accept connections", &error);
                        self.accept_after = shard.table.now + ACCEPT_PAUSE;
                        return false;
                    }
                }
            }
        }
        false
    }

    /// True if there are more.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..REQUESTS {
            if !self.shard.table.has_room() {
                return true;
            }
            match self.requests.as_mut().poll_next(cx) {
                Poll::Ready(Some(request)) => self.request(request),
                Poll::Ready(None) | Poll::Pending => return false,
            }
        }
        true
    }

    fn request(&mut self, request: CoreRequest) {
        let Self { core, shard, .. } = self;
        let table = &mut shard.table;
        // The caller may have stopped waiting for the answer. That is no fault.
        match request {
            CoreRequest::Call(call, reply) => {
                let _ = reply.try_send(core.input(table, Input::Host(call.as_host_call())));
            }
            CoreRequest::Peers(reply) => drop(reply.try_send(core.engine.peers().collect())),
            CoreRequest::LocalPeers(reply) => {
                let _ = reply.try_send(core.engine.local_peers().collect());
            }
            CoreRequest::PeerRooms(peer, reply) => {
                let rooms = core.engine.peer_rooms(&peer).ok_or(EngineError::UnknownPeer);
                let _ = reply.try_send(rooms);
            }
            CoreRequest::UserRooms(user, reply) => {
                let _ = reply.try_send(core.engine.user_rooms(&user));
            }
            CoreRequest::Rooms(reply) => drop(reply.try_send(core.engine.rooms().collect())),
            CoreRequest::Members(room, reply) => {
                let _ = reply.try_send(core.engine.members(&room).collect());
            }
            CoreRequest::RoomState(room, reply) => {
                let _ = reply.try_send(core.engine.room_state(&room));
            }
            CoreRequest::ReadState(room, reply) => core.read_state(table, &room, reply),
            CoreRequest::CheckState(room, set, reply) => {
                table.spend_frame(set.len());
                let _ = reply.try_send(core.engine.check_state(&room, &set));
            }
            CoreRequest::ListPeers(filter, from, limit, reply) => {
                let page = core.engine.list_peers(&filter, from, limit, EFFORT);
                table.spend(page.effort);
                let _ = reply.try_send(page);
            }
            CoreRequest::ListRooms(search, from, limit, reply) => {
                let page = core.engine.list_rooms(search.as_deref(), from, limit, EFFORT);
                table.spend(page.effort);
                let _ = reply.try_send(page);
            }
            CoreRequest::Peer(peer, reply) => {
                let _ = reply.try_send(core.engine.find_in_cluster(&peer));
            }
            CoreRequest::Room(room, reply) => {
                let _ = reply.try_send(core.engine.find_room(&room));
            }
            CoreRequest::Nodes(reply) => {
                let _ = reply.try_send(core.engine.cluster_nodes().collect());
            }
            CoreRequest::CheckFrame(text, broadcast, reply) => {
                table.spend_frame(text.len());
                let _ = reply.try_send(core.engine.check_frame(&text, broadcast));
            }
            CoreRequest::Claim(key, value, reply) => core.claim(key, value, reply),
            CoreRequest::Stats(reply) => {
                let stats = ServerStats {
                    engine: core.engine.stats(),
                    transport: table.all_stats(),
                    closes: core.closes,
                    refused_upgrades: core.status.refusals.refused_upgrades(),
                    redis: core.redis.as_ref().map(Link::stats),
                    webhooks: WebhookStats::of(
                        core.hooks.changes.sinks.iter().map(EventSink::counts),
                    ),
                };
                let _ = reply.try_send(Box::new(stats));
            }
            CoreRequest::AddPeer { user, peer, rooms, frames, reply } => {
                let added = core.add_peer(table, user, peer, &rooms, frames);
                if let Err(unwanted) = reply.try_send(added)
                    && let Ok(conn) = unwanted.into_inner()
                {
                    core.remove_peer(table, conn);
                }
            }
            CoreRequest::PeerText(conn, text) => {
                let _ = core.input(table, Input::Text { conn, text: &text });
            }
            CoreRequest::PeerGone(conn) => core.remove_peer(table, conn),
            CoreRequest::AuthDecided(request, verdict) => {
                let _ = core.input(table, Input::AuthDecided { request, verdict });
            }
            CoreRequest::Proved(request, proof) => {
                let session = proof.as_lookup();
                let _ = core.input(table, Input::SessionLoaded { request, session });
            }
            CoreRequest::JoinDecided(request, verdict) => {
                let _ = core.input(table, Input::JoinDecided { request, verdict });
            }
            CoreRequest::FrameDecided(request, verdict) => {
                core.frame_decided(table, request, verdict);
            }
            CoreRequest::UpgradeDecided(conn, decision) => {
                core.upgrade_decided(table, conn, decision);
            }
            CoreRequest::Tls(config, reply) => {
                // Whoever connects to a server without TLS must be able to go on doing so.
                if let Some(tls) = &self.tls {
                    tls.replace(config);
                }
                let _ = reply.try_send(self.tls.is_some());
            }
            CoreRequest::Open(opening) => {
                let openings = &mut self.openings;
                if openings.len() >= OPENINGS {
                    openings.retain(|(_, opening)| !opening.is_given_up());
                    table.spend(OPENINGS / LOOKS);
                }
                if openings.len() < OPENINGS {
                    openings.push_back((table.now, opening));
                } else {
                    table.stats.upgrades_dropped += 1;
                    core.upgrade_failed(opening.address(), None, NO_ROOM);
                    opening.refuse();
                }
            }
            CoreRequest::Attach(id, stream, reply) => {
                if table.remote(id).is_some() {
                    table.command(id, WorkerCommand::Attach { id, stream, reply });
                } else {
                    shard.attach(id, stream, &reply, core);
                }
            }
            CoreRequest::StopAccepting(reply) => {
                core.status.closed.store(true, Ordering::Relaxed);
                self.doors.clear();
                let _ = reply.try_send(());
            }
            CoreRequest::StartAccepting(reply) => {
                // Without an answer the caller learns that the server ends.
                if !core.status.draining.load(Ordering::Relaxed) {
                    core.status.closed.store(false, Ordering::Relaxed);
                    let _ = reply.try_send(());
                }
            }
            CoreRequest::Shutdown(drain) => {
                if !core.status.draining.swap(true, Ordering::Relaxed) {
                    tracing::info!(drain = drain.as_secs(), "shutting down");
                }
                table.end_handshakes();
                let ends_at = table.now + drain + table.config.close_timeout + SLACK;
                self.ends_at = Some(self.ends_at.map_or(ends_at, |before| before.min(ends_at)));
                let _ = core.input(table, Input::Shutdown { drain });
            }
            CoreRequest::Wake => {}
        }
    }
}

impl<R: Runtime> Drop for EngineTask<R> {
    fn drop(&mut self) {
        self.core.connection_log.end_all(self.shard.table.now);
        // Callers that wait for an answer learn that there will be none.
        self.requests.close();
        while self.requests.try_recv().is_ok() {}
    }
}

/// True for errors of a connection that was gone before it was accepted.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
