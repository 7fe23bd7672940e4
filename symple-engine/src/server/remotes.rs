//! The peers of other nodes, as far as this node knows.

use alloc::vec::Vec;

use super::{ConnId, peer::Peer};

/// One of the other nodes, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeIndex(pub(super) u32);

/// A peer of another node.
#[derive(Debug)]
pub(super) struct RemotePeer {
    /// Its name in the tables of this node.
    pub(super) conn: ConnId,
    /// Whose it is.
    pub(super) node: NodeIndex,
    /// In which pull of the node's peers it was told of last.
    pub(super) pull: u32,
    pub(super) peer: Peer,
}

/// The peers of other nodes, side by side.
#[derive(Debug, Default)]
pub(super) struct Remotes {
    peers: Vec<Option<RemotePeer>>,
    free: Vec<u32>,
    /// By node: how many of them are its peers.
    counts: Vec<usize>,
    /// By place: the last mark that was set.
    marks: Vec<u32>,
    generation: u32,
}

impl Remotes {
    pub(super) fn len(&self) -> usize {
        self.peers.len() - self.free.len()
    }

    /// How many of them are peers of a node.
    pub(super) fn count_of(&self, node: NodeIndex) -> usize {
        self.counts.get(node.0 as usize).copied().unwrap_or_default()
    }

    /// How many places there are.
    pub(super) fn places(&self) -> u32 {
        u32::try_from(self.peers.len()).expect("fewer peers than 2^31")
    }

    pub(super) fn at(&self, slot: u32) -> Option<&RemotePeer> {
        self.peers.get((slot & !ConnId::REMOTE) as usize)?.as_ref()
    }

    /// What is in a place; `None` behind the last one.
    pub(super) fn place(&self, place: u32) -> Option<Option<&RemotePeer>> {
        self.peers.get(place as usize).map(Option::as_ref)
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&RemotePeer> {
        self.at(conn.slot).filter(|remote| remote.conn == conn)
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut RemotePeer> {
        self.peers.get_mut(conn.index())?.as_mut().filter(|remote| remote.conn == conn)
    }

    pub(super) fn add(&mut self, node: NodeIndex, peer: Peer) -> ConnId {
        self.generation = self.generation.wrapping_add(1);
        let at = self.free.pop().unwrap_or_else(|| {
            self.peers.push(None);
            self.marks.push(0);
            u32::try_from(self.peers.len() - 1).expect("fewer peers than 2^31")
        });
        let conn = ConnId::remote(at, self.generation);
        self.peers[at as usize] = Some(RemotePeer { conn, node, pull: 0, peer });
        let node = node.0 as usize;
        if node >= self.counts.len() {
            self.counts.resize(node + 1, 0);
        }
        self.counts[node] += 1;
        conn
    }

    pub(super) fn remove(&mut self, conn: ConnId) {
        if let Some(node) = self.get(conn).map(|remote| remote.node) {
            self.counts[node.0 as usize] -= 1;
            self.peers[conn.index()] = None;
            self.free.push(conn.slot & !ConnId::REMOTE);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &RemotePeer)> {
        self.peers.iter().flatten().map(|remote| (remote.conn, remote))
    }

    pub(super) fn marks(&mut self) -> &mut [u32] {
        &mut self.marks
    }

    pub(super) fn mark(&self, conn: ConnId) -> u32 {
        self.marks[conn.index()]
    }

    pub(super) fn clear_marks(&mut self) {
        self.marks.fill(0);
    }
}
