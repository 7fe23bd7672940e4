//! The other nodes: who there is, what was heard of them, and what is missing.

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use symple_proto::cluster::PeerState;

use crate::Timestamp;

use super::super::{ClusterConfig, remotes::NodeIndex};

/// How many other nodes there may be: whoever can publish on the bus can name any number.
const MAX_NODES: usize = 1024;

/// How many of them may be names that have never answered.
const MAX_STRANGERS: usize = 64;

/// A node publishes fewer envelopes than this between two that another one hears of it.
const MAX_JUMP: u64 = 1 << 20;

/// A node whose peers are disputed is asked again after a heartbeat, and after twice as long each
/// time; so often it is doubled.
const MAX_DOUBLINGS: u32 = 5;

/// What a node has been asked, and has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) nonce: u64,
    /// From which place on it is to tell its peers; none if it was asked for changes.
    pub(super) after: Option<u32>,
    pub(super) at: Timestamp,
}

/// Another node.
#[derive(Debug)]
pub(super) struct Node {
    id: Box<str>,
    /// It has answered this node once; until then it may be a name that someone has made up.
    pub(super) proven: bool,
    /// It has been asked for the first time, and did not answer in time.
    pub(super) mute: bool,
    /// The number of the last envelope that was heard of it.
    number: u64,
    heard: Timestamp,
    /// How many of its changes are known, and their sum. They count for those of its peers that
    /// are marked with `pull`.
    pub(super) seq: u64,
    pub(super) sum: u64,
    /// All its peers are to be pulled, from the first on.
    pub(super) whole: bool,
    /// Some changes behind `seq` are missing.
    pub(super) behind: bool,
    /// It has said what does not fit to what is known: someone else may have spoken in its name.
    pub(super) doubted: bool,
    /// When it was asked because of that.
    pub(super) checked: Option<Timestamp>,
    /// It has told of a peer that another node has told of before: one of them is wrong, and once
    /// the other is gone it is to be asked again.
    pub(super) disputed: bool,
    /// How often in a row that has come out.
    pub(super) disputes: u32,
    /// When it began to tell its peers.
    pub(super) pulled: Timestamp,
    /// Counts the pulls of its peers.
    pub(super) pull: u32,
    /// Its peers are being pulled.
    pub(super) pulling: bool,
    /// From which place on peers are still to be asked for; none when all have been told.
    pub(super) cursor: Option<u32>,
    /// Peers that have been told and not been let in yet, in the order from the end.
    pub(super) rest: Vec<PeerState>,
    pub(super) asked: Option<Asked>,
    /// When it was asked last, or did not answer, in the order of those who wait for their turn.
    pub(super) turn: u64,
    /// It has answered the last `hello`.
    pub(super) greeted: bool,
    /// When its own `hello` was answered.
    pub(super) answered: Option<Timestamp>,
    /// How often it was taken for dead, and has come back.
    pub(super) lives: u32,
    /// It is gone, and some of its peers are still to go.
    retired: bool,
}

/// What a node is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Whatever has changed since.
    Changes,
    /// Its peers from this place on.
    Peers(u32),
}

/// All other nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes(Vec<Option<Node>>);

impl Nodes {
    /// The node of that id, which is added if it is new; none if there are too many.
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

    /// Makes room for a new name: of those that have not answered the one that was silent for the
    /// longest time is forgotten. It has no peers.
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

    /// The ids of those that have answered.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|(_, node)| node.proven).map(|(_, node)| &*node.id)
    }

    /// All that are not gone.
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

    /// What has been asked is lost with the bus; whatever was missed shows in the answers to
    /// `hello`. Nobody is dead before there was time for one.
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

    /// Silence is no sign of death: this node did not listen.
    pub(super) fn heard_all(&mut self, now: Timestamp) {
        for (_, node) in self.iter_mut() {
            node.heard = now;
        }
    }

    /// Those that are silent for too long.
    pub(super) fn silent(&self, now: Timestamp, timeout: Duration) -> Vec<NodeIndex> {
        let silent = self.iter().filter(|(_, node)| now.since(node.heard) >= timeout);
        silent.map(|(at, _)| at).collect()
    }

    /// Those that have not answered in time lose their turn, not their place.
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

    /// Peers are gone that others may have claimed, too: they are to be asked again soon.
    pub(super) fn settle_disputes(&mut self) {
        for (_, node) in self.iter_mut() {
            node.disputes = 0;
        }
    }

    /// Those whose peers are disputed are asked again, less and less often.
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

    /// Takes an envelope's number in: false for one that has been, or cannot be yet.
    pub(super) fn hears(&mut self, number: u64, now: Timestamp) -> bool {
        let first = self.number == 0;
        let expected = number > self.number && (first || number - self.number <= MAX_JUMP);
        if expected {
            self.number = number;
            self.heard = now;
        }
        expected
    }

    /// It has answered: what it says now counts, whatever was said in its name before.
    pub(super) fn answers(&mut self, number: u64, now: Timestamp) {
        self.asked = None;
        self.number = number;
        self.heard = now;
    }

    /// All its peers are known, as they were after `seq` changes.
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
