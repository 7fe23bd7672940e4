//! The other nodes of the cluster: which there are, what they have told, and what is missing.

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use symple_proto::cluster::PeerState;

use crate::Timestamp;

use super::super::{ClusterConfig, remotes::NodeIndex};

/// The most nodes that are remembered. A limit is needed because anyone who can publish on the bus can
/// make up names of nodes.
const MAX_NODES: usize = 1024;

/// The most of them that have never answered.
const MAX_STRANGERS: usize = 64;

/// The largest gap between the numbers of two envelopes that a node hears of another one.
const MAX_JUMP: u64 = 1 << 20;

/// How often the pause is doubled, which is one heartbeat at first, before a node with disputed peers is
/// asked again.
const MAX_DOUBLINGS: u32 = 5;

/// A question to a node that it has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) nonce: u64,
    /// The place of the first peer that was requested; `None` if changes were requested.
    pub(super) after: Option<u32>,
    pub(super) at: Timestamp,
}

/// Another node.
#[derive(Debug)]
pub(super) struct Node {
    id: Box<str>,
    /// Whether it has ever answered this node. Until then it may be a made-up name.
    pub(super) proven: bool,
    /// Whether it did not answer the first question in time.
    pub(super) mute: bool,
    /// The number of its last envelope that has arrived.
    number: u64,
    heard: Timestamp,
    /// The number of its changes that are known, and their sum. They include those of its peers that
    /// are marked with `pull`.
    pub(super) seq: u64,
    pub(super) sum: u64,
    /// Whether all its peers must be pulled, beginning with the first.
    pub(super) whole: bool,
    /// Whether changes after `seq` are missing.
    pub(super) behind: bool,
    /// Whether it has contradicted what is known. Someone else may have published in its name.
    pub(super) doubted: bool,
    /// The time at which it was asked because of that.
    pub(super) checked: Option<Timestamp>,
    /// Whether it has told of a peer that another node had told of before. One of them is wrong, so this one
    /// is asked again once the other is gone.
    pub(super) disputed: bool,
    /// How often in a row that was found.
    pub(super) disputes: u32,
    /// The time at which it began to tell its peers.
    pub(super) pulled: Timestamp,
    /// The number of pulls of its peers.
    pub(super) pull: u32,
    /// Whether its peers are being pulled.
    pub(super) pulling: bool,
    /// The place of the next peer to request; `None` when all have been told.
    pub(super) cursor: Option<u32>,
    /// Peers of the last part that are not taken in yet, in reverse order.
    pub(super) rest: Vec<PeerState>,
    pub(super) asked: Option<Asked>,
    /// The position in the order in which nodes are asked: set when it was asked, or did not answer.
    pub(super) turn: u64,
    /// Whether it has answered the last `hello`.
    pub(super) greeted: bool,
    /// The time at which its own `hello` was answered.
    pub(super) answered: Option<Timestamp>,
    /// How often it was taken for dead and came back.
    pub(super) lives: u32,
    /// Whether it is gone while some of its peers are not offline yet.
    retired: bool,
}

/// A question to ask a node next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The changes since the last known one.
    Changes,
    /// Its peers from this place on.
    Peers(u32),
}

/// All other nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes(Vec<Option<Node>>);

impl Nodes {
    /// The node with that id, which is added if it is new. `None` if there are too many nodes.
    pub(super) fn find_or_add(&mut self, id: &str, now: Timestamp) -> Option<NodeIndex> {
        if let Some(node) = self.find(id) {
            return Some(node);
        }
        self.forget_a_stranger();
        let node = Node {
            id: id.into(),
            proven: false,
            mute: false,
            number: 0,
            heard: now,
            seq: 0,
            sum: 0,
            whole: true,
            behind: false,
            doubted: false,
            checked: None,
            disputed: false,
            disputes: 0,
            pulled: now,
            pull: 0,
            pulling: false,
            cursor: None,
            rest: Vec::new(),
            asked: None,
            turn: 0,
            greeted: false,
            answered: None,
            lives: 0,
            retired: false,
        };
        let at = match self.0.iter().position(Option::is_none) {
            Some(at) => {
                self.0[at] = Some(node);
                at
            }
            None if self.0.len() < MAX_NODES => {
                self.0.push(Some(node));
                self.0.len() - 1
            }
            None => return None,
        };
        u32::try_from(at).ok().map(NodeIndex)
    }

    /// Makes room for a new name. Of the nodes that have never answered, which have no peers, the one that
    /// was silent for the longest time is forgotten.
    fn forget_a_stranger(&mut self) {
        let strangers =
            || self.0.iter().zip(0..).filter_map(|(node, at)| Some((node.as_ref()?, at)));
        let strangers = || strangers().filter(|(node, _)| !node.proven && !node.retired);
        if strangers().count() >= MAX_STRANGERS
            && let Some((_, at)) = strangers().min_by_key(|(node, _)| node.heard)
        {
            self.remove(NodeIndex(at));
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<NodeIndex> {
        let at = self.0.iter().position(|node| node.as_ref().is_some_and(|node| node.is(id)))?;
        u32::try_from(at).ok().map(NodeIndex)
    }

    pub(super) fn id(&self, node: NodeIndex) -> Option<&str> {
        self.get(node).map(|node| &*node.id)
    }

    /// The ids of the nodes that have answered.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|(_, node)| node.proven).map(|(_, node)| &*node.id)
    }

    /// The nodes that have answered, with their ids, and for how long each has not been heard.
    pub(super) fn proven(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (NodeIndex, &str, Duration)> {
        let nodes = self.iter().filter(|(_, node)| node.proven);
        nodes.map(move |(at, node)| (at, &*node.id, now.since(node.heard)))
    }

    /// All nodes that are not gone.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeIndex, &Node)> {
        let nodes =
            self.0.iter().zip(0..).filter_map(|(node, at)| Some((NodeIndex(at), node.as_ref()?)));
        nodes.filter(|(_, node)| !node.retired)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeIndex, &mut Node)> {
        let nodes = self
            .0
            .iter_mut()
            .zip(0..)
            .filter_map(|(node, at)| Some((NodeIndex(at), node.as_mut()?)));
        nodes.filter(|(_, node)| !node.retired)
    }

    pub(super) fn get(&self, node: NodeIndex) -> Option<&Node> {
        self.0.get(node.0 as usize)?.as_ref().filter(|node| !node.retired)
    }

    pub(super) fn get_mut(&mut self, node: NodeIndex) -> Option<&mut Node> {
        self.0.get_mut(node.0 as usize)?.as_mut().filter(|node| !node.retired)
    }

    /// Forgets the id of a node that is gone, and keeps its place until its peers are gone, too.
    /// Its id, if it was there for others to see.
    pub(super) fn retire(&mut self, node: NodeIndex) -> Option<Box<str>> {
        let node = self.get_mut(node)?;
        node.retired = true;
        node.rest = Vec::new();
        let id = core::mem::take(&mut node.id);
        node.proven.then_some(id)
    }

    pub(super) fn remove(&mut self, node: NodeIndex) {
        if let Some(node) = self.0.get_mut(node.0 as usize) {
            *node = None;
        }
    }

    /// Forgets the open questions, which are lost with the bus. The answers to `hello` will show what was
    /// missed. No node is taken for dead before it had time to answer.
    pub(super) fn bus_up(&mut self, now: Timestamp, config: &ClusterConfig) {
        for (_, node) in self.iter_mut() {
            node.asked = None;
            node.greeted = false;
            let silent = now.since(node.heard);
            let grace = config.timeout.saturating_sub(config.heartbeat);
            if silent > grace {
                node.heard += silent - grace;
            }
        }
    }

    /// Counts all nodes as heard now. This node did not listen, so their silence proves nothing.
    pub(super) fn heard_all(&mut self, now: Timestamp) {
        for (_, node) in self.iter_mut() {
            node.heard = now;
        }
    }

    /// The nodes that have been silent for too long.
    pub(super) fn silent(&self, now: Timestamp, timeout: Duration) -> Vec<NodeIndex> {
        let silent = self.iter().filter(|(_, node)| now.since(node.heard) >= timeout);
        silent.map(|(at, _)| at).collect()
    }

    /// Ends the turn of nodes that have not answered in time. They will be asked again.
    pub(super) fn expire(&mut self, now: Timestamp, patience: Duration, turns: &mut u64) {
        for (_, node) in self.iter_mut() {
            if node.asked.is_some_and(|asked| now.since(asked.at) >= patience) {
                *turns += 1;
                node.turn = *turns;
                node.asked = None;
                node.mute |= !node.proven;
            }
        }
    }

    /// Notes that peers are gone that other nodes may have claimed, too, so that these nodes are asked again
    /// soon.
    pub(super) fn settle_disputes(&mut self) {
        for (_, node) in self.iter_mut() {
            node.disputes = 0;
        }
    }

    /// Asks nodes with disputed peers again, less and less often.
    pub(super) fn renew_disputed(&mut self, now: Timestamp, heartbeat: Duration) {
        for (_, node) in self.iter_mut().filter(|(_, node)| node.disputed && !node.whole) {
            let wait = heartbeat * (1 << node.disputes.min(MAX_DOUBLINGS));
            if now.since(node.pulled) >= wait {
                node.whole = true;
                node.disputes += 1;
            }
        }
    }
}

impl Node {
    fn is(&self, id: &str) -> bool {
        !self.retired && *self.id == *id
    }

    /// Takes in the number of an envelope. False if it has come before, or cannot have come yet.
    pub(super) fn hears(&mut self, number: u64, now: Timestamp) -> bool {
        let first = self.number == 0;
        let expected = number > self.number && (first || number - self.number <= MAX_JUMP);
        if expected {
            self.number = number;
            self.heard = now;
        }
        expected
    }

    /// Notes that the node has answered. Only what it says from now on counts.
    pub(super) fn answers(&mut self, number: u64, now: Timestamp) {
        self.asked = None;
        self.number = number;
        self.heard = now;
    }

    /// Notes that all its peers are known, as they were after `seq` changes.
    pub(super) fn is_complete(&self) -> bool {
        !self.whole && !self.pulling
    }

    /// What it knows is right until then.
    pub(super) fn is_known(&self) -> bool {
        self.pull > 0
    }

    /// What it is to be asked now.
    pub(super) fn needs(&self, now: Timestamp, heartbeat: Duration) -> Option<Need> {
        let may_check = self.checked.is_none_or(|checked| now.since(checked) >= heartbeat);
        if self.asked.is_some() || !self.rest.is_empty() {
            None
        } else if self.whole {
            Some(Need::Peers(0))
        } else if self.behind || self.doubted && may_check {
            Some(Need::Changes)
        } else {
            self.cursor.map(Need::Peers)
        }
    }
}
