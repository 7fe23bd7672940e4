//! A thread that has sockets and no engine.

pub(crate) mod mailbox;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_channel::Sender;
use http::HeaderMap;
use symple_engine::server::{ConnId, Text, TransportFault};

use crate::{
    core::ask_upgrade,
    core::request::Command,
    http::{Policy, Upgrade},
    net::connection::Phase,
    net::shard::{Shard, Upstream},
    net::table::{Conns, SHARE},
    runtime::Runtime,
    server::config::Config,
    server::hooks::Hooks,
    server::status::Status,
    worker::mailbox::{Fact, Order, Orders, Uplink},
};

/// What a worker knows of its surroundings.
pub(crate) struct Surroundings<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) config: Arc<Config>,
    pub(crate) hooks: Hooks,
    pub(crate) commands: Sender<Command>,
    pub(crate) status: Arc<Status>,
    pub(crate) uplink: Uplink<R::Socket>,
}

/// A thread that has sockets and no engine, as a future that ends with the server.
pub(crate) struct Worker<R: Runtime> {
    shard: Shard<R>,
    up: Surroundings<R>,
    /// Orders that have been taken.
    batches: Vec<Orders<R::Socket>>,
    orders: VecDeque<Order<R::Socket>>,
    receivers: Vec<ConnId>,
}

impl<R: Runtime> Worker<R> {
    pub(crate) fn new(shard: Shard<R>, up: Surroundings<R>) -> Self {
        Self { shard, up, batches: Vec::new(), orders: VecDeque::new(), receivers: Vec::new() }
    }

    /// Does what is to be done, unless too much waits to be written. True if more is to be done.
    fn poll_orders(&mut self) -> bool {
        if self.batches.is_empty() && self.orders.is_empty() {
            self.up.uplink.take(&mut self.batches);
            // The first batch is to be the last of the list.
            self.batches.reverse();
        }
        while !self.shard.conns.is_full() && !self.shard.conns.is_spent() {
            if let Some(order) = self.orders.pop_front() {
                self.order(order);
            } else if let Some(batch) = self.batches.pop() {
                self.orders = batch.list.into();
                self.receivers = batch.receivers;
            } else {
                return false;
            }
        }
        true
    }

    fn order(&mut self, order: Order<R::Socket>) {
        let Self { shard, up, receivers, .. } = self;
        match order {
            Order::Send { text, to, input, sender } => {
                shard.conns.input = input;
                shard.conns.send(&text, receivers.get(to).unwrap_or_default(), sender);
            }
            Order::AwaitDrain(id) => shard.conns.await_drain(id),
            Order::Open { id, socket, address, tls } => match up.runtime.adopt(socket) {
                Ok(socket) => shard.open(id, socket, address, tls, up),
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection in");
                    up.removed(id);
                }
            },
            Order::Close { id, code, reason, discard } => {
                shard.conns.close(id, code, reason, discard);
            }
            Order::Admit(id) => shard.conns.admit(id),
            Order::Pause(id) => shard.conns.pause(id),
            Order::Resume(id) => shard.conns.resume(id),
            Order::Retry(id) => shard.conns.retry(id),
            Order::End(id) => shard.conns.end(id),
            Order::EndHandshakes => shard.conns.end_handshakes(),
            Order::UpgradeDecided(id, decision) => {
                if let Some(upgrade) = shard.conns.decide(id, decision) {
                    up.connected(id, *upgrade);
                }
            }
        }
    }
}

impl<R: Runtime> Future for Worker<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let worker = &mut *Pin::into_inner(self);
        worker.shard.begin(cx);
        worker.shard.conns.allow(2 * SHARE);
        let mut again = worker.poll_orders();
        if worker.up.uplink.stopped {
            return Poll::Ready(());
        }
        let Self { shard, up, .. } = worker;
        shard.conns.allow(SHARE);
        shard.poll_outcomes(up);
        shard.conns.allow(2 * SHARE);
        shard.poll_ready(up);
        shard.conns.allow(SHARE);
        let judges = shard.judges(None);
        if judges {
            shard.poll_deadlines(up);
        }
        again |= !judges;
        // The engine has something to do while this thread writes.
        up.uplink.hand_over(shard.conns.stats);
        again |= shard.finish();
        up.uplink.hand_over(shard.conns.stats);
        // Where the engine has too much to do, it wakes this thread when it has less.
        again |= shard.has_ready() && !up.uplink.is_full();
        again |= shard.poll_timer(cx, None);
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<R: Runtime> Surroundings<R> {
    fn connected(&mut self, id: ConnId, upgrade: Upgrade) {
        tracing::debug!(conn = ?id, address = %upgrade.address, "connected");
        let Upgrade { address, request, .. } = upgrade;
        let request = request.filter(|_| self.hooks.authenticate.is_some()).map(Box::new);
        self.uplink.facts.push(Fact::Connected { id, address, request });
    }
}

impl<R: Runtime> Upstream<R::Socket> for Surroundings<R> {
    fn policy(&self) -> Policy<'_> {
        self.status.policy(&self.config, &self.hooks)
    }

    fn is_full(&self) -> bool {
        self.uplink.is_full()
    }

    fn upgrade(&mut self, conns: &mut Conns<R::Socket>, id: ConnId, upgrade: Box<Upgrade>) {
        if ask_upgrade(&self.runtime, &self.commands, &self.hooks, id, &upgrade) {
            conns.enter(id, Phase::Deciding(upgrade));
        } else {
            conns.accept(id, &upgrade, &HeaderMap::new());
            self.connected(id, *upgrade);
        }
    }

    fn text(&mut self, _: &mut Conns<R::Socket>, id: ConnId, text: &str) {
        self.uplink.facts.push_text(id, text);
    }

    fn fault(&mut self, conns: &mut Conns<R::Socket>, id: ConnId, fault: TransportFault) {
        let admitted = conns.get(id).is_some_and(|conn| conn.admitted);
        self.uplink.facts.push(Fact::Fault { id, fault, admitted });
    }

    fn frames(&mut self, _: &mut Conns<R::Socket>, id: ConnId, count: u32) {
        self.uplink.facts.push(Fact::Frames { id, count });
    }

    fn departed(&mut self, _: &mut Conns<R::Socket>, id: ConnId) {
        self.uplink.facts.push(Fact::Departed(id));
    }

    fn drained(&mut self, _: &mut Conns<R::Socket>, id: ConnId) {
        self.uplink.facts.push(Fact::Drained(id));
    }

    fn undelivered(&mut self, _: &mut Conns<R::Socket>, id: ConnId, text: Text) {
        self.uplink.facts.push(Fact::Undelivered { id, text });
    }

    fn disconnected(&mut self, _: &mut Conns<R::Socket>, id: ConnId) {
        tracing::debug!(conn = ?id, "disconnected");
        self.uplink.facts.push(Fact::Disconnected(id));
    }

    fn removed(&mut self, id: ConnId) {
        self.uplink.facts.push(Fact::Removed(id));
    }
}
