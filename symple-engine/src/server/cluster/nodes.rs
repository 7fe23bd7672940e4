//! The other nodes: who there is, what was heard of them, and when.

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use crate::Timestamp;

use super::super::{ClusterConfig, remotes::NodeIndex};

/// How many other nodes there may be: whoever can publish on the bus can name any number.
const MAX_NODES: usize = 1024;

/// A snapshot that is coming in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    /// How many changes are in it, those that came between its parts included.
    pub(super) seq: u64,
    /// The part that comes next.
    pub(super) next: u32,
}

/// Another node.
#[derive(Debug)]
pub(super) struct Node {
    id: Box<str>,
    /// How many of its changes are known.
    pub(super) seq: u64,
    /// All of them are: what is known of its peers is right.
    pub(super) synced: bool,
    /// It has told of a peer that another node has told of before: one of them is wrong, and once
    /// the other is gone it is to be asked again.
    pub(super) disputed: bool,
    heard: Timestamp,
    /// When it was asked for its peers, or went on telling them, at the latest.
    asked: Option<Timestamp>,
    /// Counts its snapshots.
    pub(super) snapshot: u32,
    pub(super) incoming: Option<Incoming>,
    /// It is gone, and some of its peers are still to go.
    retired: bool,
}

/// All other nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes(Vec<Option<Node>>);

impl Nodes {
    /// The node of that id, which has just been heard of; none if there are too many.
    pub(super) fn hear(&mut self, id: &str, now: Timestamp) -> Option<NodeIndex> {
        if let Some(node) = self.find(id) {
            self.get_mut(node)?.heard = now;
            return Some(node);
        }
        let node = Node {
            id: id.into(),
            seq: 0,
            synced: false,
            disputed: false,
            heard: now,
            asked: None,
            snapshot: 0,
            incoming: None,
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

    pub(super) fn find(&self, id: &str) -> Option<NodeIndex> {
        let at = self.0.iter().position(|node| node.as_ref().is_some_and(|node| node.is(id)))?;
        u32::try_from(at).ok().map(NodeIndex)
    }

    pub(super) fn id(&self, node: NodeIndex) -> Option<&str> {
        let node = self.0.get(node.0 as usize)?.as_ref()?;
        (!node.retired).then_some(&*node.id)
    }

    /// The ids of all.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().filter(|node| !node.retired).map(|node| &*node.id)
    }

    pub(super) fn get_mut(&mut self, node: NodeIndex) -> Option<&mut Node> {
        self.0.get_mut(node.0 as usize)?.as_mut()
    }

    /// Forgets the id of a node that is gone, and keeps its place until its peers are gone, too.
    pub(super) fn retire(&mut self, node: NodeIndex) -> Option<Box<str>> {
        let node = self.get_mut(node)?;
        node.retired = true;
        Some(core::mem::take(&mut node.id))
    }

    pub(super) fn remove(&mut self, node: NodeIndex) {
        if let Some(node) = self.0.get_mut(node.0 as usize) {
            *node = None;
        }
    }

    /// Anything may have been missed of every node.
    pub(super) fn missed_all(&mut self) {
        for node in self.0.iter_mut().flatten() {
            node.synced = false;
            node.asked = None;
            node.incoming = None;
        }
    }

    /// Silence is no sign of death: this node did not listen.
    pub(super) fn heard_all(&mut self, now: Timestamp) {
        for node in self.0.iter_mut().flatten() {
            node.heard = now;
        }
    }

    /// Those that are silent for too long, and those that are to be asked (again) for their
    /// peers.
    pub(super) fn examine(
        &mut self,
        now: Timestamp,
        config: &ClusterConfig,
    ) -> (Vec<NodeIndex>, Vec<NodeIndex>) {
        let (mut dead, mut unsynced) = (Vec::new(), Vec::new());
        for (at, node) in (0..).zip(&mut self.0) {
            let Some(node) = node.as_mut().filter(|node| !node.retired) else { continue };
            if now.since(node.heard) >= config.timeout {
                dead.push(NodeIndex(at));
            } else if node.wants_snapshot(now, config.heartbeat) {
                unsynced.push(NodeIndex(at));
            }
        }
        (dead, unsynced)
    }
}

impl Node {
    fn is(&self, id: &str) -> bool {
        !self.retired && *self.id == *id
    }

    /// It is to be asked for its peers now.
    pub(super) fn wants_snapshot(&mut self, now: Timestamp, heartbeat: Duration) -> bool {
        let incomplete = !self.synced || self.disputed;
        let wants = incomplete && self.asked.is_none_or(|asked| now.since(asked) >= heartbeat);
        if wants {
            self.asked = Some(now);
        }
        wants
    }

    /// It goes on telling its peers: as long as it does it need not be asked, however long it
    /// takes. Were it asked, it would begin again.
    pub(super) fn goes_on(&mut self, incoming: Incoming, now: Timestamp) {
        self.incoming = Some(incoming);
        self.asked = Some(now);
    }

    /// It is about to tell its peers unasked.
    pub(super) fn announces_itself(&mut self, now: Timestamp) {
        self.synced = false;
        self.incoming = None;
        self.asked = Some(now);
    }
}
