//! Publishing on the bus, and the bound on what may wait for it (R-C6).
//!
//! The bytes that wait for the bus are counted. While many wait, everything that can be put off is put
//! off, so that urgent messages are never late. A slow bus costs frames, but not the connection to it.

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use symple_proto::{
    Status,
    cluster::{CLUSTER_CHANNEL, Envelope, Hello, Payload, node_channel, room_channel},
};

use crate::Timestamp;
use crate::server::{
    Action, ConnId, EngineError, Server, flow::PAUSED_BY_BUS, remotes::NodeIndex,
    routing::Elsewhere, timers::Timer,
};

use super::{LOOKS_PER_BEAT, waiting::Account};

/// The shortest time between two errors to a sender that the cluster is busy.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

impl Server {
    /// Publishes an envelope on a channel, if the bus is up.
    pub(in crate::server) fn say(&mut self, channel: Box<str>, payload: Payload<'_>) {
        let _ = self.say_for(Account::Node, channel, payload);
    }

    pub(super) fn say_to(&mut self, node: NodeIndex, payload: Payload<'_>) {
        let _ = self.say_to_for(Account::Node, node, payload);
    }

    pub(super) fn say_to_for(
        &mut self,
        account: Account,
        node: NodeIndex,
        payload: Payload<'_>,
    ) -> bool {
        let id = self.cluster.as_ref().and_then(|cluster| cluster.nodes.id(node));
        match id.map(node_channel) {
            Some(channel) => self.say_for(account, channel, payload),
            None => true,
        }
    }

    /// As [`say`](Self::say), on another's account. False if too much waits already.
    pub(super) fn say_for(
        &mut self,
        account: Account,
        channel: Box<str>,
        payload: Payload<'_>,
    ) -> bool {
        let Some(cluster) = &mut self.cluster else { return true };
        if !cluster.up || cluster.left {
            return true;
        }
        let (node, seq) = ((&*cluster.id).into(), cluster.ring.last().0);
        let (number, lives) = (cluster.number + 1, self.hooks.lives());
        let payload = Envelope { node, number, seq, lives, payload }.encode();
        let bytes = payload.len() as u64;
        if !cluster.waiting.has_room(account, bytes) {
            return false;
        }
        cluster.number += 1;
        self.stats.published += 1;
        self.out.push(Action::Publish { channel, payload });
        if cluster.waiting.push(bytes, account)
            && let Account::Client(sender) = account
        {
            self.pause_for_bus(sender);
        }
        true
    }

    /// Publishes something of the application to the nodes that have receivers of it, to each once (R-M2,
    /// R-C3).
    ///
    /// # Errors
    /// [`EngineError::Busy`]: too much waits for the bus, and nothing was published (R-C6).
    pub(super) fn publish(
        &mut self,
        elsewhere: Elsewhere,
        payload: &Payload<'_>,
    ) -> Result<(), EngineError> {
        let published = self.publish_for(Account::Application, elsewhere, payload);
        self.refused_unless(published)
    }

    /// Counts what of the application is refused because too much waits for the bus.
    pub(super) fn refused_unless(&mut self, published: bool) -> Result<(), EngineError> {
        self.stats.bus_refused += u64::from(!published);
        if published { Ok(()) } else { Err(EngineError::Busy) }
    }

    /// True if there is room for so many messages of the application with this payload.
    pub(super) fn has_room_for(&self, payload: &Payload<'_>, count: usize) -> bool {
        let Some(cluster) = self.cluster.as_ref().filter(|cluster| cluster.up) else { return true };
        let (node, number, payload) = ((&*cluster.id).into(), cluster.number, payload.clone());
        let (seq, lives) = (cluster.ring.last().0, self.hooks.lives());
        let bytes = Envelope { node, number, seq, lives, payload }.encode().len() as u64;
        cluster.waiting.has_room_for(bytes, count)
    }

    /// True if there is room on the bus for a question of the application's (R-C6).
    pub(in crate::server) fn has_room_for_question(&self) -> bool {
        /// It has hardly more than the name of a room.
        const QUESTION: u64 = 1024;
        let cluster = self.cluster.as_ref().filter(|cluster| cluster.up);
        cluster.is_none_or(|cluster| cluster.waiting.has_room_for(QUESTION, 1))
    }

    /// Publishes a frame of a client to the nodes that have receivers of it. If too much waits
    /// for the bus, they do not get it, and the client is told (R-C6).
    pub(in crate::server) fn publish_frame(
        &mut self,
        sender: ConnId,
        elsewhere: Elsewhere,
        text: &str,
    ) {
        if self.cluster.as_ref().is_none_or(|cluster| !cluster.up) {
            return;
        }
        // The receiving node checks it against the rooms of the sender.
        self.tell_deferred(sender);
        if !self.publish_for(Account::Client(sender), elsewhere, &Payload::Frame(text.into())) {
            self.stats.bus_refused += 1;
            let told = self.told_busy.get(&sender);
            if told.is_none_or(|at| self.now.since(*at) >= TELL_INTERVAL) {
                self.told_busy.insert(sender, self.now);
                self.error(sender, Status::UNAVAILABLE, "Cluster busy");
            }
        }
    }

    fn publish_for(
        &mut self,
        account: Account,
        elsewhere: Elsewhere,
        payload: &Payload<'_>,
    ) -> bool {
        match elsewhere {
            Elsewhere::Nobody => true,
            Elsewhere::Node(node) => self.say_to_for(account, node, payload.clone()),
            Elsewhere::Rooms => match &self.rooms_elsewhere[..] {
                [] => true,
                [room] => {
                    let channel = room_channel(self.registry.rooms.name(*room));
                    self.say_for(account, channel, payload.clone())
                }
                rooms => {
                    // The channels of several rooms would bring it to a node several times.
                    let remotes = rooms.iter().flat_map(|room| self.registry.rooms.remotes(*room));
                    let nodes =
                        remotes.filter_map(|member| Some(self.registry.remote(member.conn)?.node));
                    let mut nodes: Vec<_> = nodes.collect();
                    nodes.sort_unstable();
                    nodes.dedup();
                    // What the application is told that it was refused reaches nobody.
                    if account == Account::Application && !self.has_room_for(payload, nodes.len()) {
                        return false;
                    }
                    let mut all = true;
                    for node in nodes {
                        all &= self.say_to_for(account, node, payload.clone());
                    }
                    all
                }
            },
        }
    }

    /// Subscribes to the rooms that the node has members in now, and to no others (R-C3).
    pub(in crate::server) fn follow_occupancy(&mut self) {
        for (room, occupied) in self.registry.rooms.take_occupancy() {
            if self.is_pinned(&room) {
                continue;
            }
            let channel = room_channel(&room);
            self.out.push(if occupied {
                Action::Subscribe { channel }
            } else {
                Action::Unsubscribe { channel }
            });
        }
    }

    /// Nothing is read from a client while much of what it has sent waits for the bus. A peer of
    /// the host's own is not read from, and one that has left must be heard to the end.
    fn pause_for_bus(&mut self, conn: ConnId) {
        let is_client = self.registry.get(conn).is_some_and(|it| it.address.is_some());
        if is_client && !self.departed.contains_key(&conn) {
            self.stats.paused += 1;
            self.pause(conn, PAUSED_BY_BUS);
        }
    }

    /// Handles that the bus is up: tells the others of this node and what it knows, so that they answer.
    pub(in crate::server) fn bus_up(&mut self) {
        let (now, nonce) = (self.now, self.nonce());
        let Some(config) = &self.config.cluster else { return };
        let Some(cluster) = &mut self.cluster else { return };
        let again = cluster.hello != 0;
        cluster.up = true;
        cluster.caught_up = false;
        cluster.up_at = now;
        cluster.hello = nonce;
        cluster.nodes.bus_up(now, config);
        if cluster.next_look == Timestamp::MAX {
            cluster.next_look = now + config.heartbeat / LOOKS_PER_BEAT;
            self.timers.set(cluster.next_look, Timer::Heartbeat);
        }
        self.expect_to_catch_up();
        let Some(cluster) = &self.cluster else { return };
        let known = cluster.nodes.iter().filter(|(_, node)| node.is_known());
        let known = known.filter_map(|(at, node)| {
            Some((Box::from(cluster.nodes.id(at)?), (node.seq, node.sum)))
        });
        let known: Vec<(Box<str>, _)> = known.collect();
        let known = known.iter().map(|(id, known)| ((&**id).into(), *known)).collect();
        let sum = cluster.ring.last().1;
        self.say(CLUSTER_CHANNEL.into(), Payload::Hello(Hello { nonce, sum, known }));
        if again {
            // Others may not have heard of this node for a while.
            self.may_be_buried();
        }
    }

    /// Handles that the bus is down: what waits for it is lost. The other nodes are not taken for dead
    /// at once, because the bus may be back in a moment.
    pub(in crate::server) fn bus_down(&mut self) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.up = false;
        cluster.asks.clear();
        let resumed = cluster.waiting.clear();
        self.resume_for_bus(resumed);
        // Nobody hears the change now, but a node that asks later must get it.
        self.number_all_deferred();
    }

    /// Handles that the bus has taken the oldest messages, so that others may be published.
    pub(in crate::server) fn bus_taken(&mut self, bytes: u64) {
        let Some(cluster) = &mut self.cluster else { return };
        let resumed = cluster.waiting.take(bytes);
        self.resume_for_bus(resumed);
        self.tell_all_deferred();
        self.answer_asks();
    }

    fn resume_for_bus(&mut self, resumed: Vec<ConnId>) {
        for conn in resumed {
            self.resume(conn, PAUSED_BY_BUS);
        }
    }

    /// The bytes that wait for the bus.
    pub(in crate::server) fn bus_waiting(&self) -> u64 {
        self.cluster.as_ref().map_or(0, |cluster| cluster.waiting.bytes())
    }

    /// A number that nobody can predict.
    pub(super) fn nonce(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
