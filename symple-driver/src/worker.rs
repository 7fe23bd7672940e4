//! A thread that has sockets and no engine.

pub(crate) mod mailbox;

use std::{
    collections::VecDeque,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_channel::Sender;
use symple_engine::server::{ConnId, Text, TransportFault};

use crate::{
    core::ask_upgrade,
    core::request::CoreRequest,
    http::{Policy, RefusedUpgrade, Upgrade},
    net::connection::Gone,
    net::shard::Shard,
    net::source::Source,
    net::table::{ConnectionTable, SHARE},
    net::upstream::Upstream,
    runtime::Runtime,
    server::config::Config,
    server::events::EventSenders,
    server::hooks::Hooks,
    server::log,
    server::status::Status,
    worker::mailbox::{EngineMailbox, WorkerCommand, WorkerCommands, WorkerEvent},
};

/// What a worker knows of its surroundings.
pub(crate) struct Surroundings<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) config: Arc<Config>,
    pub(crate) hooks: Hooks,
    pub(crate) requests: Sender<CoreRequest>,
    pub(crate) status: Arc<Status>,
    pub(crate) events: EventSenders,
    pub(crate) mailbox: EngineMailbox<R::Socket>,
}

/// A thread that has sockets and no engine, as a future that ends with the server.
pub(crate) struct Worker<R: Runtime> {
    shard: Shard<R>,
    up: Surroundings<R>,
    /// Commands that have been taken.
    batches: Vec<WorkerCommands<R::Socket>>,
    commands: VecDeque<WorkerCommand<R::Socket>>,
    receivers: Vec<ConnId>,
}

impl<R: Runtime> Worker<R> {
    pub(crate) fn new(shard: Shard<R>, up: Surroundings<R>) -> Self {
        Self { shard, up, batches: Vec::new(), commands: VecDeque::new(), receivers: Vec::new() }
    }

    /// Does what is to be done, unless too much waits to be written. True if more is to be done.
    fn poll_commands(&mut self) -> bool {
        if self.batches.is_empty() && self.commands.is_empty() {
            self.up.mailbox.take(&mut self.batches);
            // The first batch is to be the last of the list.
            self.batches.reverse();
        }
        while !self.shard.table.is_full() && !self.shard.table.is_spent() {
            if let Some(command) = self.commands.pop_front() {
                self.command(command);
            } else if let Some(batch) = self.batches.pop() {
                self.commands = batch.list.into();
                self.receivers = batch.receivers;
            } else {
                return false;
            }
        }
        true
    }

    fn command(&mut self, command: WorkerCommand<R::Socket>) {
        let Self { shard, up, receivers, .. } = self;
        match command {
            WorkerCommand::Send { text, to, input, sender, deflated } => {
                shard.table.input = input;
                let to = receivers.get(to).unwrap_or_default();
                shard.table.send_with(&text, to, sender, deflated.as_ref());
            }
            WorkerCommand::AwaitDrain(id) => shard.table.await_drain(id),
            WorkerCommand::Open { id, source, address, waited } => {
                let source = match source {
                    Source::Accepted(socket, tls) => match up.runtime.adopt(socket) {
                        Ok(socket) => Source::Accepted(socket, tls),
                        Err(error) => {
                            log::not_taken_in(&error);
                            return up.removed(id);
                        }
                    },
                    source => source,
                };
                shard.open(id, source, address, waited, up);
            }
            WorkerCommand::Attach { id, stream, reply } => shard.attach(id, stream, &reply, up),
            WorkerCommand::Close { id, code, reason, discard } => {
                shard.table.close(id, code, reason, discard);
            }
            WorkerCommand::SetMessageLimit(id, limit) => shard.table.set_message_limit(id, limit),
            WorkerCommand::Pause(id) => shard.table.pause(id),
            WorkerCommand::Resume(id) => shard.table.resume(id),
            WorkerCommand::End(id) => shard.table.end(id),
            WorkerCommand::EndHandshakes => shard.table.end_handshakes(),
            WorkerCommand::UpgradeDecided(id, decision) => {
                up.upgrade_decided(&mut shard.table, id, decision);
            }
        }
    }
}

impl<R: Runtime> Future for Worker<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let worker = &mut *Pin::into_inner(self);
        worker.shard.begin(cx);
        worker.shard.table.allow(2 * SHARE);
        let mut again = worker.poll_commands();
        if worker.up.mailbox.stopped {
            return Poll::Ready(());
        }
        let Self { shard, up, .. } = worker;
        shard.table.allow(SHARE);
        shard.poll_outcomes(up);
        shard.table.allow(2 * SHARE);
        shard.poll_ready(up);
        shard.table.allow(SHARE);
        let judges = shard.judges(None);
        if judges {
            shard.poll_deadlines(up);
        }
        again |= !judges;
        // The engine has something to do while this thread writes.
        up.mailbox.hand_over(shard.table.stats);
        again |= shard.finish(up);
        up.mailbox.hand_over(shard.table.stats);
        // Where the engine has too much to do, it wakes this thread when it has less.
        again |= shard.has_ready() && !up.mailbox.is_full();
        again |= shard.poll_timer(cx, None);
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<R: Runtime> Upstream<R::Socket> for Surroundings<R> {
    fn policy(&self) -> Policy<'_> {
        self.status.policy(&self.config, &self.hooks)
    }

    fn is_full(&self) -> bool {
        self.mailbox.is_full()
    }

    fn ask_upgrade(&self, id: ConnId, upgrade: &Upgrade) -> bool {
        let limit = self.config.upgrade_timeout;
        ask_upgrade(&self.runtime, &self.requests, &self.hooks, limit, id, upgrade)
    }

    fn connected(&mut self, _: &mut ConnectionTable<R::Socket>, id: ConnId, upgrade: Upgrade) {
        let Upgrade { address, request, deflate, .. } = upgrade;
        let request = request.filter(|_| self.hooks.authenticate.is_some()).map(Box::new);
        self.mailbox.events.push(WorkerEvent::Connected {
            id,
            address,
            request,
            deflates: deflate.is_some(),
        });
    }

    fn text(&mut self, _: &mut ConnectionTable<R::Socket>, id: ConnId, text: &str) {
        self.mailbox.events.push_text(id, text);
    }

    fn fault(&mut self, _: &mut ConnectionTable<R::Socket>, id: ConnId, fault: TransportFault) {
        self.mailbox.events.push(WorkerEvent::Fault { id, fault });
    }

    fn frames(&mut self, _: &mut ConnectionTable<R::Socket>, id: ConnId, count: u32) {
        self.mailbox.events.push(WorkerEvent::Frames { id, count });
    }

    fn departed(&mut self, _: &mut ConnectionTable<R::Socket>, id: ConnId) {
        self.mailbox.events.push(WorkerEvent::Departed(id));
    }

    fn behind(&mut self, _: &mut ConnectionTable<R::Socket>, id: ConnId) {
        self.mailbox.events.push(WorkerEvent::Behind(id));
    }

    fn drained(&mut self, _: &mut ConnectionTable<R::Socket>, id: ConnId) {
        self.mailbox.events.push(WorkerEvent::Drained(id));
    }

    fn undelivered(&mut self, _: &mut ConnectionTable<R::Socket>, id: ConnId, text: Text) {
        self.mailbox.events.push(WorkerEvent::Undelivered { id, text });
    }

    fn disconnected(&mut self, _: &mut ConnectionTable<R::Socket>, id: ConnId, gone: Gone) {
        self.mailbox.events.push(WorkerEvent::Disconnected(id, gone));
    }

    fn refused(&mut self, refused: &RefusedUpgrade) {
        self.status.refusals.upgrade(refused);
        let status = Some(refused.status.as_u16());
        self.upgrade_failed(refused.address, status, &refused.body);
    }

    fn upgrade_failed(&self, address: IpAddr, status: Option<u16>, reason: &str) {
        self.events.tell_failed_upgrade(&self.status, address, status, reason);
    }

    fn removed(&mut self, id: ConnId) {
        self.mailbox.events.push(WorkerEvent::Removed(id));
    }

    // It is the engine's thread that keeps something.
    fn kept(&self) -> usize {
        0
    }

    fn kept_of(&self, _: ConnId) -> usize {
        0
    }
}
