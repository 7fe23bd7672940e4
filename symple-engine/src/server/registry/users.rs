//! Finding the sessions of a user.
//!
//! Almost every peer is in the room of its user's name, so that is where it is found. Only those that are not,
//! for example because they have left it, are in an index of their own.

use core::hash::BuildHasher as _;

use super::{Peer, Registry, RoomIndex, peer_at};
use crate::server::ConnId;

impl Registry {
    /// The sessions of a user, here and elsewhere.
    pub(in crate::server) fn peers_of(&self, user: &str) -> impl Iterator<Item = (ConnId, &Peer)> {
        self.candidates(user).filter(move |(_, peer)| *peer.user() == *user)
    }

    /// Those who may be sessions of a user: who is in the room of that name, and who of that user is not.
    fn candidates(&self, user: &str) -> impl Iterator<Item = (ConnId, &Peer)> {
        let room = self.rooms.find(user);
        let (members, remotes): (&[_], &[_]) = match room {
            Some(room) => (self.rooms.members(room), self.rooms.remotes(room)),
            None => (&[], &[]),
        };
        let members = members.iter().chain(remotes);
        let members = members.filter_map(|it| Some((it.conn, self.peer(it.conn)?)));
        let strays = self.strays.iter_hash(self.keys.hash_one(user));
        members.chain(strays.filter_map(|slot| peer_at(&self.connections, &self.remotes, *slot)))
    }

    /// A new peer is in its first rooms, which may not include that of its user.
    pub(in crate::server) fn has_arrived(&mut self, conn: ConnId) {
        let Some(peer) = self.peer(conn) else { return };
        let mut rooms = peer.memberships.iter().map(|membership| membership.room);
        if !rooms.any(|room| *self.rooms.name(room) == *peer.user()) {
            self.stray(conn);
        }
    }

    /// A peer is not in the room of its user.
    pub(super) fn stray(&mut self, conn: ConnId) {
        let Self { connections, remotes, keys, strays, .. } = self;
        let user_at = |slot: u32| {
            let peer = peer_at(connections, remotes, slot);
            keys.hash_one(peer.map_or("", |(_, peer)| peer.user()))
        };
        strays.insert_unique(user_at(conn.slot), conn.slot, |slot| user_at(*slot));
    }

    /// A peer is in the room of its user, or goes offline.
    pub(super) fn stray_no_more(&mut self, conn: ConnId) {
        let Some(hash) = self.peer(conn).map(|peer| self.keys.hash_one(peer.user())) else {
            return;
        };
        if let Ok(entry) = self.strays.find_entry(hash, |slot| *slot == conn.slot) {
            entry.remove();
        }
    }

    /// True if the room is that of the peer's user.
    pub(super) fn is_own_room(&self, conn: ConnId, room: RoomIndex) -> bool {
        self.peer(conn).is_some_and(|peer| *self.rooms.name(room) == *peer.user())
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec::Vec};

    use symple_proto::{PeerMembers, PublicRecord};

    use super::*;
    use crate::server::{membership::Reason, remotes::NodeIndex, rooms::Keys};

    fn arrive(registry: &mut Registry, user: &str, id: &str, rooms: &[&str]) -> ConnId {
        let record = PublicRecord::of_peer(&PeerMembers::new(0), user, id);
        let conn = registry.add_remote(NodeIndex(0), Peer::new(user, id, record, None));
        for room in rooms {
            let room = registry.rooms.find_or_add(room);
            registry.join(conn, room, Reason::Assigned);
        }
        registry.has_arrived(conn);
        conn
    }

    fn leave(registry: &mut Registry, conn: ConnId, room: &str) {
        let room = registry.rooms.find(room).unwrap();
        let membership = registry.peer(conn).unwrap().membership(room).unwrap();
        registry.leave(conn, membership);
    }

    /// The sessions of a user are found among many others without looking at those.
    #[test]
    fn how_many_are_looked_at_for_a_user() {
        let mut registry = Registry::new(Keys(1, 2));
        for n in 0..10_000 {
            let user = format!("user{n}");
            arrive(&mut registry, &user, &format!("{n}"), &[&user, "lobby"]);
        }
        let inside = arrive(&mut registry, "alice", "a", &["alice", "lobby"]);
        let outside = arrive(&mut registry, "alice", "b", &["lobby"]);
        let guest = arrive(&mut registry, "bob", "c", &["bob", "alice"]);
        let has = |registry: &Registry, expected: &[ConnId], looks: usize| {
            let mut found: Vec<_> = registry.peers_of("alice").map(|(conn, _)| conn).collect();
            found.sort_unstable();
            assert_eq!(found, expected);
            assert_eq!(registry.candidates("alice").count(), looks);
        };
        has(&registry, &[inside, outside], 3);
        leave(&mut registry, inside, "alice");
        has(&registry, &[inside, outside], 3);
        let own = registry.rooms.find("alice").unwrap();
        registry.join(outside, own, Reason::Own);
        has(&registry, &[inside, outside], 3);
        for conn in [inside, guest] {
            registry.leave_all(conn);
            registry.remove_remote(conn);
        }
        has(&registry, &[outside], 1);
        registry.leave_all(outside);
        registry.remove_remote(outside);
        has(&registry, &[], 0);
        assert_eq!(registry.strays.len(), 0);
    }
}
