//! One of several nodes that are one server (SPEC §10).
//!
//! Every node tells all others of its peers: who comes, in which rooms, who goes. So each knows
//! all peers of the cluster and the rooms that they are in, and answers from what it knows: who
//! sees whom, who may send to whom, where a frame has to go. Peers of other nodes stand in the
//! same tables as its own, and the same code decides about them; the presence that servers make is
//! never forwarded, it follows on every node from what that node knows. That is why it cannot get
//! lost for long.
//!
//! What is told is numbered, once and for everyone. Who misses a number asks the node that told it,
//! alone, for what is missing: for those changes, or for all its peers, part by part. No frame is
//! delivered that depends on what is missing: nobody may be reached by someone who has, perhaps,
//! left the room (R-M3). A node that is silent for too long is taken for dead, and its peers for
//! offline.
//!
//! Nothing here waits behind what is large: [`bus`] says what is put off while much waits, [`pull`]
//! how much is asked for at a time.

mod answers;
mod bus;
mod changes;
mod heartbeat;
mod host;
mod nodes;
mod pull;
mod replica;
mod ring;
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

/// The silence of a node is noticed soon after it has lasted too long.
const LOOKS_PER_BEAT: u32 = 4;

/// The node in its cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    /// What others call this node.
    id: Box<str>,
    /// How many envelopes it has published.
    number: u64,
    /// The changes that it has told of.
    ring: Ring,
    /// The changes that it has not told of yet.
    deferred: Deferred,
    /// What it has published and the bus has not taken yet.
    waiting: Waiting,
    /// What it has been asked.
    asks: Asks,
    /// The bus can be used.
    up: bool,
    /// Since when.
    up_at: Timestamp,
    /// What was missed before that is here.
    caught_up: bool,
    /// The nonce of the last `hello`.
    hello: u64,
    /// It has said goodbye.
    left: bool,
    /// When it looks who lives.
    next_look: Timestamp,
    /// How often it has looked.
    looks: u32,
    /// How often it has asked.
    turns: u64,
    nodes: Nodes,
}

impl Cluster {
    /// How many nodes are asked for their peers now.
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

    /// What other nodes call this one; none without a cluster.
    #[must_use]
    pub fn node_id(&self) -> Option<&str> {
        self.cluster.as_ref().map(|cluster| &*cluster.id)
    }

    /// The bus has delivered something.
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

    /// Another node says something.
    fn envelope(&mut self, envelope: Envelope<'_>) -> Result<usize, EngineError> {
        let now = self.now;
        let Envelope { node: id, number, seq, lives, payload } = envelope;
        let Some(cluster) = &mut self.cluster else { return Ok(0) };
        let node = match payload {
            // Who was never there has nobody to take along.
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
            _ => {}
        }
        Ok(0)
    }

    /// A node says how often it has come back.
    fn is_in_life(&mut self, node: NodeIndex, lives: u32) {
        if let Some(state) = self.node_mut(node) {
            state.lives = state.lives.max(lives.min(MAX_LIVES));
        }
    }

    fn node_mut(&mut self, node: NodeIndex) -> Option<&mut Node> {
        self.cluster.as_mut()?.nodes.get_mut(node)
    }

    /// This node would have heard of others by now, if there are any.
    pub(super) fn hears_others(&self) -> bool {
        let timeout = self.config.cluster.as_ref().map_or(Duration::ZERO, |config| config.timeout);
        let cluster = self.cluster.as_ref().filter(|cluster| cluster.up && !cluster.left);
        cluster.is_some_and(|cluster| self.now.since(cluster.up_at) >= timeout)
    }

    /// A node of that name is there.
    pub(super) fn is_node(&self, id: &str) -> bool {
        let nodes = self.cluster.as_ref().map(|cluster| &cluster.nodes);
        nodes.is_some_and(|nodes| nodes.find(id).is_some())
    }

    pub(super) fn node_name(&self, node: NodeIndex) -> Option<Box<str>> {
        self.cluster.as_ref()?.nodes.id(node).map(Into::into)
    }

    /// A node says how many changes it has told, and their sum: is that what is known?
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

    /// Changes of a node are missing: it is asked for them.
    fn missed(&mut self, node: NodeIndex) {
        if let Some(state) = self.node_mut(node)
            && !core::mem::replace(&mut state.behind, true)
        {
            self.stats.resyncs += 1;
        }
        self.pull_more();
    }

    /// Someone may have spoken in a node's name: the node itself is asked, once in a while. Until
    /// it has answered, what is known of it counts.
    fn doubt(&mut self, node: NodeIndex) {
        if let Some(state) = self.node_mut(node) {
            state.doubted |= state.is_known();
        }
        self.pull_more();
    }

    /// Leaves the cluster politely (SPEC §12): the others need not wait for its silence.
    pub(super) fn leave_cluster(&mut self) {
        self.say(CLUSTER_CHANNEL.into(), Payload::Bye);
        if let Some(cluster) = &mut self.cluster {
            cluster.left = true;
        }
    }
}
