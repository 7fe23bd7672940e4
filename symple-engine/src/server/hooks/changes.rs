//! Telling the application what changes with peers (R-H3).
//!
//! The node that a peer is on tells its changes. Numbers are the node's, not the peer's: they grow
//! for each peer and take no memory. Above them stands how often the node was taken for dead and
//! has come back ([`graves`](super::graves)), so what is told of a dead node's peers comes behind
//! everything that it has told itself, and what it tells when it is back comes behind that.

use alloc::{boxed::Box, vec::Vec};

use symple_proto::Address;

use super::{Changed, Hooks, PeerChange};
use crate::server::{Action, ConnId, OfflineReason, Server, peer::Peer, rooms::RoomIndex};

/// How many bits of a number count the changes that a node has told; the rest counts its lives.
/// Together they fit into the integers of JavaScript.
const COUNT_BITS: u32 = 40;

/// The last number of one life of a node: no change that it tells itself has it.
pub(super) const fn last_number(lives: u32) -> u64 {
    ((lives as u64 + 1) << COUNT_BITS) - 1
}

/// A peer that goes offline, and the rooms that it was in.
pub(in crate::server) type Gone = (Address, Vec<Box<str>>);

impl Hooks {
    fn next_number(&mut self) -> u64 {
        self.told += 1;
        (u64::from(self.lives) << COUNT_BITS) + self.told.min(last_number(0) - 1)
    }
}

impl Server {
    /// Tells the application of a change, with the next number.
    fn tell_change(&mut self, peer: Address, what: Changed) {
        let number = self.hooks.next_number();
        self.tell_numbered(peer, number, what);
    }

    pub(super) fn tell_numbered(&mut self, peer: Address, number: u64, what: Changed) {
        self.out.push(Action::Tell(Box::new(PeerChange { peer, number, what })));
    }

    /// A peer of this node is online.
    pub(in crate::server) fn tell_online(&mut self, conn: ConnId) {
        if self.config.hooks.changes
            && let Some((peer, rooms)) = self.whole(conn)
        {
            self.tell_change(peer, Changed::Online { rooms });
        }
    }

    /// A peer of this node has left a room.
    pub(in crate::server) fn tell_left(&mut self, conn: ConnId, room: RoomIndex) {
        if self.config.hooks.changes
            && !conn.is_remote()
            && let Some(peer) = self.registry.peer(conn).map(Peer::address)
        {
            let room = self.registry.rooms.name(room).into();
            self.tell_change(peer, Changed::Left { room });
        }
    }

    /// A peer of this node is about to go offline: what is to be told of it when it has.
    pub(in crate::server) fn before_offline(&self, conn: ConnId) -> Option<Gone> {
        if self.config.hooks.changes { self.whole(conn) } else { None }
    }

    /// A peer of this node is offline.
    pub(in crate::server) fn tell_offline(&mut self, gone: Option<Gone>, reason: OfflineReason) {
        if let Some((peer, rooms)) = gone {
            self.tell_change(peer, Changed::Offline { rooms, reason });
        }
    }

    /// A peer with the rooms that it is in.
    pub(super) fn whole(&self, conn: ConnId) -> Option<Gone> {
        let peer = self.registry.peer(conn)?;
        let rooms = peer.memberships.iter().map(|membership| membership.room);
        let rooms = rooms.map(|room| self.registry.rooms.name(room).into()).collect();
        Some((peer.address(), rooms))
    }
}
