//! The future that is the server: everything that is ready, in order, and then writing.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use async_channel::Receiver;
use futures_core::Stream;
use rustls::ServerConfig;
use symple_engine::{Timestamp, server::Input};

use crate::{
    core::Hub,
    core::request::Command,
    net::shard::Shard,
    net::table::SHARE,
    redis::Link,
    runtime::{Listener, Runtime},
    server::stats::{ServerStats, TransportStats},
    worker::mailbox::Downlink,
};

/// How many connections are accepted before others have their turn.
const ACCEPTS: usize = 64;
/// How much work that is, in deliveries.
const ACCEPT: usize = 300;
/// How many commands are carried out before others have their turn.
const COMMANDS: usize = 256;
/// How long nothing is accepted when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a shutdown may take beyond its drain and the closing handshakes.
const SLACK: Duration = Duration::from_secs(1);

/// A server, as a future that ends with it.
pub(crate) struct Node<R: Runtime> {
    pub(crate) hub: Hub<R>,
    pub(crate) shard: Shard<R>,
    pub(crate) listeners: Vec<R::Listener>,
    pub(crate) commands: Pin<Box<Receiver<Command>>>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Nothing is accepted before this.
    pub(crate) accept_after: Timestamp,
    /// The server ends then, whoever is still there.
    pub(crate) ends_at: Option<Timestamp>,
}

impl<R: Runtime> Future for Node<R> {
    /// True if it has ended as it should.
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let node = &mut *Pin::into_inner(self);
        node.shard.begin(cx);
        if node.hub.status.stopped.load(Ordering::Relaxed) {
            node.ends_at = Some(Timestamp::ZERO);
        }
        node.hub.look_for_watchers();
        node.shard.conns.allow(SHARE);
        node.hub.poll_workers(&mut node.shard.conns);
        // What the host and Redis have to say waits, too, while a worker has too much to do.
        let mut waits = node.shard.conns.is_blocked();
        node.shard.conns.allow(SHARE);
        let mut again = !waits && node.poll_commands(cx);
        node.shard.conns.allow(SHARE);
        node.shard.poll_outcomes(&mut node.hub);
        node.shard.conns.allow(2 * SHARE);
        node.shard.poll_ready(&mut node.hub);
        // What has arrived is read before more is accepted, and before anybody is judged.
        node.shard.conns.allow(SHARE);
        again |= node.shard.has_ready() || node.poll_accept(cx);
        let due = node.hub.engine.poll_timeout();
        if node.shard.judges(due) {
            node.shard.conns.allow(SHARE);
            node.shard.poll_deadlines(&mut node.hub);
            if due.is_some_and(|at| at <= node.shard.conns.now) {
                let _ = node.hub.input(&mut node.shard.conns, Input::Timeout);
            }
        } else {
            again = true;
        }
        node.shard.conns.allow(SHARE);
        waits |= node.hub.poll_redis(&mut node.shard.conns, cx);
        node.shard.conns.allow(SHARE);
        node.hub.poll_held(&mut node.shard.conns);
        // Other threads have something to do while this one writes.
        node.shard.conns.hand_over();
        again |= node.shard.finish();
        node.shard.conns.hand_over();
        let conns = &node.shard.conns;
        if conns.workers.iter().any(|worker| worker.dead) {
            return Poll::Ready(false);
        }
        // A thread that has too much to do wakes this one when it has less.
        let now = conns.now;
        waits |= node.shard.has_ready()
            || conns.has_held()
            || conns.workers.iter().any(Downlink::has_facts);
        waits |= node.hub.flush_redis(now, cx);
        again |= waits && !node.shard.conns.is_blocked();
        if let Some(ends_at) = node.ends_at
            && (ends_at <= now || node.is_empty())
        {
            return Poll::Ready(true);
        }
        let paused = (node.accept_after > now).then_some(node.accept_after);
        let paused = paused.max(node.hub.accepts_at(&node.shard.conns));
        let redis = node.hub.redis.as_ref().map(Link::deadline);
        let next = [node.hub.engine.poll_timeout(), node.ends_at, paused, redis];
        again |= node.shard.poll_timer(cx, next.into_iter().flatten().min());
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<R: Runtime> Node<R> {
    /// Nobody is left.
    fn is_empty(&self) -> bool {
        // What others are to know of the end is on its way.
        let told = self.hub.redis.as_ref().is_none_or(Link::is_idle);
        told && self.hub.engine.is_shut_down() && self.shard.conns.sockets == 0
    }

    /// True if there is more.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> bool {
        let Self { hub, shard, listeners, tls, .. } = self;
        if self.accept_after > shard.conns.now {
            return false;
        }
        for listener in listeners {
            for accepted in 0.. {
                if accepted == ACCEPTS || shard.conns.is_spent() {
                    return true;
                }
                if hub.accepts_at(&shard.conns).is_some() {
                    return false;
                }
                match listener.poll_accept(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok((socket, address))) => {
                        shard.conns.spend(ACCEPT);
                        let id = hub.new_connection(&mut shard.conns, address);
                        match shard.conns.place() {
                            None => shard.open(id, socket, address, tls.clone(), hub),
                            Some(worker) => {
                                shard.conns.open_remote(id, worker, socket, address, tls.clone());
                            }
                        }
                    }
                    Poll::Ready(Err(error)) if is_of_one_connection(&error) => {}
                    Poll::Ready(Err(error)) => {
                        hub.warnings.warn(shard.conns.now, "cannot accept connections", &error);
                        self.accept_after = shard.conns.now + ACCEPT_PAUSE;
                        return false;
                    }
                }
            }
        }
        false
    }

    /// True if there are more.
    fn poll_commands(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..COMMANDS {
            if !self.shard.conns.has_room() {
                return true;
            }
            match self.commands.as_mut().poll_next(cx) {
                Poll::Ready(Some(command)) => self.command(command),
                Poll::Ready(None) | Poll::Pending => return false,
            }
        }
        true
    }

    fn command(&mut self, command: Command) {
        let Self { hub, shard, .. } = self;
        let conns = &mut shard.conns;
        // Whoever asked may have stopped waiting for the answer: that is no fault.
        match command {
            Command::Call(call, reply) => {
                let _ = reply.try_send(hub.input(conns, Input::Host(call.as_host_call())));
            }
            Command::Peers(reply) => drop(reply.try_send(hub.engine.peers().collect())),
            Command::Rooms(reply) => drop(reply.try_send(hub.engine.rooms().collect())),
            Command::Members(room, reply) => {
                let _ = reply.try_send(hub.engine.members(&room).collect());
            }
            Command::Stats(reply) => {
                let transport = TransportStats { sockets: conns.sockets, ..conns.stats };
                let workers = conns.workers.iter().map(|worker| worker.stats);
                let transport = workers.fold(transport, TransportStats::plus);
                let stats = ServerStats { engine: hub.engine.stats(), transport };
                let _ = reply.try_send(stats);
            }
            Command::AddPeer { user, peer, rooms, frames, reply } => {
                let added = hub.add_peer(conns, user, peer, &rooms, frames);
                if let Err(unwanted) = reply.try_send(added)
                    && let Ok(conn) = unwanted.into_inner()
                {
                    hub.remove_peer(conns, conn);
                }
            }
            Command::PeerText(conn, text) => {
                let _ = hub.input(conns, Input::Text { conn, text: &text });
            }
            Command::PeerGone(conn) => hub.remove_peer(conns, conn),
            Command::Authorized(request, verdict) => {
                let _ = hub.input(conns, Input::Authorized { request, verdict });
            }
            Command::UpgradeDecided(conn, decision) => hub.upgrade_decided(conns, conn, decision),
            Command::Tls(config, reply) => {
                // Whoever connects to a server without TLS must be able to go on doing so.
                let is_tls = self.tls.is_some();
                self.tls = self.tls.take().map(|_| config);
                let _ = reply.try_send(is_tls);
            }
            Command::Shutdown(drain) => {
                hub.status.draining.store(true, Ordering::Relaxed);
                conns.end_handshakes();
                let ends_at = conns.now + drain + conns.config.close_timeout + SLACK;
                self.ends_at = Some(self.ends_at.map_or(ends_at, |before| before.min(ends_at)));
                let _ = hub.input(conns, Input::Shutdown { drain });
            }
            Command::Wake => {}
        }
    }
}

impl<R: Runtime> Drop for Node<R> {
    fn drop(&mut self) {
        // Whoever waits for an answer learns that there will be none.
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
    }
}

/// True for errors of a connection that was gone before it was accepted.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
