//! A node of a cluster: several nodes that together are one server (SPEC §10).
//!
//! Every node tells all others which of its peers come and go, and in which rooms they are. So each node
//! knows all peers of the cluster with their rooms, and decides by itself which peers see each other,
//! which may send to each other, and where a frame goes. Peers of other nodes are in the
//! same tables as its own, and the same code decides about them. Presence is not forwarded between
//! nodes: each node derives it from what it knows. That is why presence cannot get
//! lost for long.
//!
//! Changes are numbered. A node that misses a number asks the node that made the change, and nobody
//! else, either for the missing changes or for all its peers, part by part. Frames that depend on missing
//! changes are not delivered, because their sender may have left the room meanwhile (R-M3). A node that
//! is silent for too long is taken for dead, and its peers for offline.
//!
//! Nothing here waits behind large messages: [`bus`] puts off what can wait while much is queued, and
//! [`pull`] bounds how much is requested at a time.

mod answers;
mod bus;
mod changes;
mod heartbeat;
mod host;
mod nodes;
mod pull;
mod replica;
mod ring;
mod states;
mod waiting;

use alloc::boxed::Box;
use core::time::Duration;

use symple_proto::cluster::{BROADCAST_CHANNEL, CLUSTER_CHANNEL, Envelope, Payload, node_channel};

use crate::Timestamp;

use super::{Action, EngineError, Server, hooks::MAX_LIVES, remotes::NodeIndex};
use answers::Asks;
use changes::Deferred;
use nodes::{Node, Nodes};
use ring::Ring;
use waiting::Waiting;

/// How many times per heartbeat nodes are checked for silence.
const LOOKS_PER_BEAT: u32 = 4;

/// The node in its cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    /// The id of this node.
    id: Box<str>,
    /// The number of envelopes that it has published.
    number: u64,
    /// The changes that it has told of.
    ring: Ring,
    /// The changes that it has not told of yet.
    deferred: Deferred,
    /// The messages that it has published and the bus has not taken yet.
    waiting: Waiting,
    /// The questions that other nodes have asked it.
    asks: Asks,
    /// Whether the bus is up.
    up: bool,
    /// The time since which it is up.
    up_at: Timestamp,
    /// Whether everything that was missed before that has arrived.
    caught_up: bool,
    /// The nonce of the last `hello`.
    hello: u64,
    /// Whether this node has said goodbye.
    left: bool,
    /// The time of the next check for silent nodes.
    next_look: Timestamp,
    /// The number of such checks.
    looks: u32,
    /// The number of questions that it has asked.
    turns: u64,
    nodes: Nodes,
}

impl Cluster {
    /// The number of nodes whose peers are being pulled.
    fn pulls(&self) -> usize {
        let asked = |node: &Node| node.asked.is_some_and(|asked| asked.after.is_some());
        self.nodes.iter().filter(|(_, node)| node.proven && asked(node)).count()
    }
}

impl Server {
    /// The node has a bus, which is not up yet.
    pub(super) fn enter_cluster(&mut self) {
        let id = self.new_id();
        self.registry.rooms.watch_occupancy();
        for channel in [BROADCAST_CHANNEL.into(), CLUSTER_CHANNEL.into(), node_channel(&id)] {
            self.out.push(Action::Subscribe { channel });
        }
        self.cluster = Some(Cluster {
            id,
            number: 0,
            ring: Ring::default(),
            deferred: Deferred::default(),
            waiting: Waiting::default(),
            asks: Asks::default(),
            up: false,
            up_at: Timestamp::ZERO,
            caught_up: false,
            hello: 0,
            left: false,
            next_look: Timestamp::MAX,
            looks: 0,
            turns: 0,
            nodes: Nodes::default(),
        });
    }

    /// The id of this node; `None` without a cluster.
    #[must_use]
    pub fn node_id(&self) -> Option<&str> {
        self.cluster.as_ref().map(|cluster| &*cluster.id)
    }

    /// Handles a message of the bus.
    pub(super) fn bus_message(
        &mut self,
        channel: &str,
        payload: &[u8],
    ) -> Result<usize, EngineError> {
        let Some(cluster) = &self.cluster else { return Ok(0) };
        if channel == BROADCAST_CHANNEL {
            let text = core::str::from_utf8(payload).map_err(|_| EngineError::NotUtf8)?;
            return self.emit_here(text);
        }
        if Envelope::is_from(payload, &cluster.id) {
            return Ok(0);
        }
        let envelope = Envelope::parse(payload)?;
        if *envelope.node == *cluster.id {
            return Ok(0);
        }
        self.envelope(envelope)
    }

    /// Handles an envelope of another node.
    fn envelope(&mut self, envelope: Envelope<'_>) -> Result<usize, EngineError> {
        let now = self.now;
        let Envelope { node: id, number, seq, lives, payload } = envelope;
        let Some(cluster) = &mut self.cluster else { return Ok(0) };
        let node = match payload {
            // A node that never answered has no peers here.
            Payload::Bye => cluster.nodes.find(&id),
            _ => Some(cluster.nodes.find_or_add(&id, now).ok_or(EngineError::TooManyNodes)?),
        };
        let Some(node) = node else { return Ok(0) };
        match payload {
            Payload::Part(text) => {
                self.is_in_life(node, lives);
                return self.take_part(node, number, seq, &text);
            }
            Payload::Changes(text) => {
                self.is_in_life(node, lives);
                return self.take_changes(node, number, seq, &text);
            }
            _ => {}
        }
        if !self.node_mut(node).is_some_and(|state| state.hears(number, now)) {
            self.stats.repeats += 1;
            self.doubt(node);
            return Ok(0);
        }
        self.is_in_life(node, lives);
        match payload {
            Payload::Bye => self.lose_node(node, false),
            Payload::Beat(beat) => {
                self.heard_alive(node, lives);
                self.compare(node, seq, beat.sum);
            }
            Payload::Hello(hello) => {
                self.compare(node, seq, hello.sum);
                let id = self.node_id().unwrap_or_default();
                let known = hello.known.get(id).copied();
                self.answer_hello(node, hello.nonce, known);
            }
            Payload::Ask(ask) => self.asked(node, ask),
            Payload::Change(text) => return self.take_change(node, seq, &text),
            Payload::Frame(text) => return self.deliver(node, seq, &text),
            Payload::Emission(text) => return self.emit_here(&text),
            Payload::Call(call) => return self.called(&call),
            Payload::State(talk) => return self.state_talk(node, seq, talk).map(|()| 0),
            _ => {}
        }
        Ok(0)
    }

    /// Handles the count of lives that a node has told.
    fn is_in_life(&mut self, node: NodeIndex, lives: u32) {
        if let Some(state) = self.node_mut(node) {
            state.lives = state.lives.max(lives.min(MAX_LIVES));
        }
    }

    fn node_mut(&mut self, node: NodeIndex) -> Option<&mut Node> {
        self.cluster.as_mut()?.nodes.get_mut(node)
    }

    /// True if this node would have heard of other nodes by now.
    pub(super) fn hears_others(&self) -> bool {
        let timeout = self.config.cluster.as_ref().map_or(Duration::ZERO, |config| config.timeout);
        let cluster = self.cluster.as_ref().filter(|cluster| cluster.up && !cluster.left);
        cluster.is_some_and(|cluster| self.now.since(cluster.up_at) >= timeout)
    }

    /// A node of that name is there.
    pub(super) fn is_node(&self, id: &str) -> bool {
        self.find_node(id).is_some()
    }

    /// The other node of that id.
    pub(super) fn find_node(&self, id: &str) -> Option<NodeIndex> {
        self.cluster.as_ref()?.nodes.find(id)
    }

    pub(super) fn node_name(&self, node: NodeIndex) -> Option<Box<str>> {
        self.cluster.as_ref()?.nodes.id(node).map(Into::into)
    }

    /// Compares the number of changes that a node has told, and their sum, with what is known of it.
    fn compare(&mut self, node: NodeIndex, seq: u64, sum: u64) {
        let Some(state) = self.node_mut(node) else { return };
        if !state.is_known() {
            self.pull_more();
        } else if state.seq < seq {
            self.missed(node);
        } else if (state.seq, state.sum) != (seq, sum) {
            self.doubt(node);
        }
    }

    /// Notes that changes of a node are missing, so that it is asked for them.
    fn missed(&mut self, node: NodeIndex) {
        if let Some(state) = self.node_mut(node)
            && !core::mem::replace(&mut state.behind, true)
        {
            self.stats.resyncs += 1;
        }
        self.pull_more();
    }

    /// Asks a node itself, now and then, after someone may have published in its name. What is known of it
    /// stays valid until it has answered.
    fn doubt(&mut self, node: NodeIndex) {
        if let Some(state) = self.node_mut(node) {
            state.doubted |= state.is_known();
        }
        self.pull_more();
    }

    /// Says goodbye to the cluster (SPEC §12), so that the others do not have to wait for its silence.
    pub(super) fn leave_cluster(&mut self) {
        self.say(CLUSTER_CHANNEL.into(), Payload::Bye);
        if let Some(cluster) = &mut self.cluster {
            cluster.left = true;
        }
    }
}
