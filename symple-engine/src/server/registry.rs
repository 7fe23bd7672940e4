//! Who is there and in which rooms: the tables, and nothing that is decided on them.

use alloc::{boxed::Box, vec::Vec};
use core::{hash::BuildHasher, net::IpAddr};

use hashbrown::HashTable;

use crate::Timestamp;

use super::{
    ConnId,
    membership::{Membership, Reason},
    peer::Peer,
    pending::Pending,
    rooms::{Keys, Member, RoomIndex, Rooms},
};

/// What a connection is at.
#[derive(Debug)]
pub(super) enum Session {
    /// No `auth` yet.
    AwaitingAuth,
    /// The authentication is being decided.
    Authenticating(Box<Pending>),
    /// It is a peer.
    Online(Box<Peer>),
    /// It was told to go: nothing that it says counts any more.
    Closing,
}

/// One of the driver's connections.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    /// From where; a peer of the host's own has no address.
    pub(super) address: Option<IpAddr>,
    pub(super) session: Session,
    /// Why nothing is read from it; bits of [`pause`](super::flow).
    pub(super) paused: u8,
    /// When its bucket will be full again (R-L3).
    pub(super) full_at: Timestamp,
}

impl Connection {
    /// Not a peer, and not told to go.
    pub(super) fn is_unauthenticated(&self) -> bool {
        matches!(self.session, Session::AwaitingAuth | Session::Authenticating(_))
    }
}

/// The tables of the node.
#[derive(Debug)]
pub(super) struct Registry {
    /// By slot.
    connections: Vec<Option<Connection>>,
    /// By slot: the last mark that was set; see [`Registry::mark`].
    marks: Vec<u32>,
    mark: u32,
    /// Slots of the peers that are online, by id.
    ids: HashTable<u32>,
    keys: Keys,
    pub(super) rooms: Rooms,
}

impl Registry {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            connections: Vec::new(),
            marks: Vec::new(),
            mark: 0,
            ids: HashTable::new(),
            rooms: Rooms::new(keys.clone()),
            keys,
        }
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.connections.get(conn.slot as usize)?.as_ref().filter(|found| found.id == conn)
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(conn.slot as usize)?.as_mut().filter(|found| found.id == conn)
    }

    /// The peer of a connection, if it is one.
    pub(super) fn peer(&self, conn: ConnId) -> Option<&Peer> {
        match &self.get(conn)?.session {
            Session::Online(peer) => Some(peer),
            _ => None,
        }
    }

    /// The peer of a connection, if it is one.
    pub(super) fn peer_mut(&mut self, conn: ConnId) -> Option<&mut Peer> {
        match &mut self.get_mut(conn)?.session {
            Session::Online(peer) => Some(peer),
            _ => None,
        }
    }

    /// Takes a connection in; false if its slot is taken.
    pub(super) fn add(&mut self, connection: Connection) -> bool {
        let slot = connection.id.slot as usize;
        if slot >= self.connections.len() {
            self.connections.resize_with(slot + 1, || None);
            self.marks.resize(slot + 1, 0);
        }
        let vacant = self.connections[slot].is_none();
        if vacant {
            self.connections[slot] = Some(connection);
        }
        vacant
    }

    /// Lets a connection go that is no peer any more.
    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Connection> {
        self.get(conn)?;
        self.connections.get_mut(conn.slot as usize)?.take()
    }

    /// All connections, by slot.
    pub(super) fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().flatten()
    }

    /// All peers, by slot.
    pub(super) fn peers(&self) -> impl Iterator<Item = (ConnId, &Peer)> {
        self.connections().filter_map(|connection| match &connection.session {
            Session::Online(peer) => Some((connection.id, &**peer)),
            _ => None,
        })
    }

    /// How many peers are online.
    pub(super) fn peer_count(&self) -> usize {
        self.ids.len()
    }

    /// The session of that id, if it is online.
    pub(super) fn find(&self, id: &str) -> Option<ConnId> {
        let hash = self.keys.hash_one(id);
        let of_slot = |slot: &u32| self.connections[*slot as usize].as_ref();
        let slot = self.ids.find(hash, |slot| {
            matches!(of_slot(slot), Some(Connection { session: Session::Online(peer), .. })
                if peer.id() == id)
        })?;
        of_slot(slot).map(|connection| connection.id)
    }

    /// A connection becomes a peer, in no room yet.
    pub(super) fn set_online(&mut self, conn: ConnId, peer: Box<Peer>) {
        let hash = self.keys.hash_one(peer.id());
        let Some(connection) = self.get_mut(conn) else { return };
        connection.session = Session::Online(peer);
        let Self { connections, keys, ids, .. } = self;
        ids.insert_unique(hash, conn.slot, |slot| match &connections[*slot as usize] {
            Some(Connection { session: Session::Online(peer), .. }) => keys.hash_one(peer.id()),
            _ => unreachable!("the table has the slots of peers only"),
        });
    }

    /// A peer that is in no room any more ceases to be one.
    pub(super) fn set_offline(&mut self, conn: ConnId) -> Option<Box<Peer>> {
        let hash = self.keys.hash_one(self.peer(conn)?.id());
        if let Ok(entry) = self.ids.find_entry(hash, |slot| *slot == conn.slot) {
            entry.remove();
        }
        match core::mem::replace(&mut self.get_mut(conn)?.session, Session::Closing) {
            Session::Online(peer) => Some(peer),
            _ => None,
        }
    }

    /// Puts a peer in a room that it is not in.
    pub(super) fn join(&mut self, conn: ConnId, room: RoomIndex, reason: Reason) {
        let Some(membership) = self.peer(conn).map(|peer| peer.memberships.len()) else { return };
        let membership = u32::try_from(membership).expect("fewer memberships than 2^32");
        let position = self.rooms.add(room, Member { conn, membership });
        if let Some(peer) = self.peer_mut(conn) {
            peer.memberships.push(Membership { room, position, reason });
        }
    }

    /// A peer has a better reason to be in a room that it is in.
    pub(super) fn raise_reason(&mut self, conn: ConnId, room: RoomIndex, reason: Reason) {
        let Some(peer) = self.peer_mut(conn) else { return };
        if let Some(at) = peer.membership(room) {
            let membership = &mut peer.memberships[at];
            membership.reason = membership.reason.max(reason);
        }
    }

    /// Ends one of a peer's memberships.
    pub(super) fn leave(&mut self, conn: ConnId, membership: usize) {
        let Some(peer) = self.peer_mut(conn) else { return };
        let Membership { room, position, .. } = peer.memberships.swap_remove(membership);
        // Both lists close their gap with their last element, and tell the other list so.
        if let Some(moved) = peer.memberships.get(membership).copied() {
            let membership = u32::try_from(membership).expect("fewer memberships than 2^32");
            self.rooms.set_membership(moved.room, moved.position, membership);
        }
        if let Some(moved) = self.rooms.remove(room, position)
            && let Some(peer) = self.peer_mut(moved.conn)
        {
            peer.memberships[moved.membership as usize].position = position;
        }
    }

    /// Ends all of a peer's memberships.
    pub(super) fn leave_all(&mut self, conn: ConnId) {
        while let Some(last) =
            self.peer(conn).and_then(|peer| peer.memberships.len().checked_sub(1))
        {
            self.leave(conn, last);
        }
    }

    /// Unmarks all connections.
    pub(super) fn unmark_all(&mut self) {
        self.mark = self.mark.wrapping_add(1);
        if self.mark == 0 {
            self.marks.fill(0);
            self.mark = 1;
        }
    }

    /// Marks a connection; false if it was marked already.
    pub(super) fn mark(&mut self, conn: ConnId) -> bool {
        core::mem::replace(&mut self.marks[conn.slot as usize], self.mark) != self.mark
    }

    fn is_marked(&self, conn: ConnId) -> bool {
        self.marks[conn.slot as usize] == self.mark
    }

    /// Appends the members of a room but for one connection.
    pub(super) fn push_members(&self, room: RoomIndex, except: ConnId, out: &mut Vec<ConnId>) {
        let members = self.rooms.members(room);
        out.reserve(members.len());
        out.extend(members.iter().map(|member| member.conn).filter(|conn| *conn != except));
    }

    /// Appends the members of a room that are not marked yet, and marks them.
    pub(super) fn push_unmarked_members(&mut self, room: RoomIndex, out: &mut Vec<ConnId>) {
        let Self { rooms, marks, mark, .. } = self;
        for member in rooms.members(room) {
            if core::mem::replace(&mut marks[member.conn.slot as usize], *mark) != *mark {
                out.push(member.conn);
            }
        }
    }

    /// Appends the members of a room that are not marked yet and share no marked room, and marks
    /// them.
    pub(super) fn push_unmarked_strangers(&mut self, room: RoomIndex, out: &mut Vec<ConnId>) {
        for at in 0..self.rooms.members(room).len() {
            let conn = self.rooms.members(room)[at].conn;
            if !self.is_marked(conn) && !self.shares_marked(conn) {
                self.mark(conn);
                out.push(conn);
            }
        }
    }

    /// Appends the members of a room that are not marked yet and share a marked room, and marks
    /// them; how many were passed over because they share none.
    pub(super) fn push_unmarked_acquaintances(
        &mut self,
        room: RoomIndex,
        out: &mut Vec<ConnId>,
    ) -> u64 {
        let mut passed_over = 0;
        for at in 0..self.rooms.members(room).len() {
            let conn = self.rooms.members(room)[at].conn;
            if self.is_marked(conn) {
                continue;
            }
            if self.shares_marked(conn) {
                self.mark(conn);
                out.push(conn);
            } else {
                passed_over += 1;
            }
        }
        passed_over
    }

    /// Appends every peer that shares a room with this one, once.
    pub(super) fn push_sharing(&mut self, conn: ConnId, out: &mut Vec<ConnId>) {
        let Some(peer) = self.peer(conn) else { return };
        let mut shared = peer.memberships.iter().filter_map(|membership| {
            (self.rooms.members(membership.room).len() > 1).then_some(membership.room)
        });
        let Some(first) = shared.next() else { return };
        if shared.next().is_none() {
            // One room has each of its members once: nothing to mark.
            return self.push_members(first, conn, out);
        }
        self.unmark_all();
        self.mark(conn);
        for at in 0.. {
            let Some(room) = self.peer(conn).and_then(|peer| peer.memberships.get(at)) else {
                break;
            };
            self.push_unmarked_members(room.room, out);
        }
    }

    /// Marks the rooms of a peer, for [`shares_marked`](Self::shares_marked).
    pub(super) fn mark_rooms_of(&mut self, conn: ConnId) {
        self.rooms.unmark_all();
        for at in 0.. {
            let Some(room) = self.peer(conn).and_then(|peer| peer.memberships.get(at)) else {
                break;
            };
            self.rooms.mark(room.room);
        }
    }

    /// True if the peer is in the room.
    pub(super) fn is_member(&self, conn: ConnId, room: RoomIndex) -> bool {
        self.peer(conn).is_some_and(|peer| peer.membership(room).is_some())
    }

    /// True if the peer is in one of the rooms that are marked.
    pub(super) fn shares_marked(&self, conn: ConnId) -> bool {
        self.peer(conn).is_some_and(|peer| {
            peer.memberships.iter().any(|membership| self.rooms.is_marked(membership.room))
        })
    }

    /// True if the two share a room.
    pub(super) fn share(&mut self, one: ConnId, other: ConnId) -> bool {
        /// Up to so many pairs of memberships are compared one by one.
        const FEW: usize = 64;
        let (Some(a), Some(b)) = (self.peer(one), self.peer(other)) else { return false };
        if a.memberships.len() * b.memberships.len() <= FEW {
            return a.memberships.iter().any(|membership| b.membership(membership.room).is_some());
        }
        self.mark_rooms_of(one);
        self.shares_marked(other)
    }
}
