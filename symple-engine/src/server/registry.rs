//! The tables of connections, peers and rooms. They only keep state; no decision is made here.

mod users;

use alloc::{boxed::Box, vec::Vec};
use core::{hash::BuildHasher, net::IpAddr};

use crate::Timestamp;

use super::{
    ConnId,
    membership::{Membership, Reason},
    newcomers::Place,
    peer::Peer,
    pending::Pending,
    remotes::{NodeIndex, RemotePeer, Remotes},
    rooms::{Keys, Member, RoomIndex, Rooms},
    split_table::SplitTable,
};

/// What a connection is at.
#[derive(Debug)]
pub(super) enum Session {
    /// No `auth` yet; where it stands among those who have sent nothing.
    AwaitingAuth(Place),
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
        matches!(self.session, Session::AwaitingAuth(_) | Session::Authenticating(_))
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
    /// The peers of other nodes.
    remotes: Remotes,
    /// Slots of the peers that are online, here or elsewhere, by id.
    ids: SplitTable<u32>,
    /// Slots of the peers, here or elsewhere, that are not in the room of their user's name, by user. All
    /// others are found there.
    strays: SplitTable<u32>,
    keys: Keys,
    pub(super) rooms: Rooms,
    /// How often a member of a room was looked at who was none of those looked for. That costs
    /// time, though nothing is delivered.
    pub(super) looks: u64,
}

impl Registry {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            connections: Vec::new(),
            marks: Vec::new(),
            mark: 0,
            remotes: Remotes::default(),
            ids: SplitTable::new(),
            strays: SplitTable::new(),
            rooms: Rooms::new(keys.clone()),
            keys,
            looks: 0,
        }
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.connections.get(conn.slot as usize)?.as_ref().filter(|found| found.id == conn)
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(conn.slot as usize)?.as_mut().filter(|found| found.id == conn)
    }

    /// The peer of a connection, if it is one, or one of another node.
    pub(super) fn peer(&self, conn: ConnId) -> Option<&Peer> {
        if conn.is_remote() {
            return self.remotes.get(conn).map(|remote| &remote.peer);
        }
        match &self.get(conn)?.session {
            Session::Online(peer) => Some(peer),
            _ => None,
        }
    }

    /// As [`peer`](Self::peer).
    pub(super) fn peer_mut(&mut self, conn: ConnId) -> Option<&mut Peer> {
        if conn.is_remote() {
            return self.remotes.get_mut(conn).map(|remote| &mut remote.peer);
        }
        match &mut self.get_mut(conn)?.session {
            Session::Online(peer) => Some(peer),
            _ => None,
        }
    }

    /// Takes a connection in; false if its slot is taken, or none of the driver's.
    pub(super) fn add(&mut self, connection: Connection) -> bool {
        if connection.id.is_remote() {
            return false;
        }
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

    /// The peer in one of the slots, if there is one.
    pub(super) fn peer_in(&self, slot: usize) -> Option<&Peer> {
        match &self.connections.get(slot)?.as_ref()?.session {
            Session::Online(peer) => Some(peer),
            _ => None,
        }
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.connections.len()
    }

    /// How many peers of this node are online.
    pub(super) fn peer_count(&self) -> usize {
        self.ids.len() - self.remotes.len()
    }

    /// How many peers of other nodes are online.
    pub(super) fn remote_count(&self) -> usize {
        self.remotes.len()
    }

    /// How many peers of one other node are online.
    pub(super) fn remote_count_of(&self, node: NodeIndex) -> usize {
        self.remotes.count_of(node)
    }

    /// How many places there are for peers of other nodes.
    pub(super) fn remote_places(&self) -> u32 {
        self.remotes.places()
    }

    /// The peer of a slot, and of which other node it is.
    pub(super) fn peer_at(&self, slot: u32) -> Option<(&Peer, Option<NodeIndex>)> {
        let (conn, peer) = peer_at(&self.connections, &self.remotes, slot)?;
        Some((peer, self.remote(conn).map(|remote| remote.node)))
    }

    /// The hash of an id.
    pub(super) fn hash(&self, id: &str) -> u64 {
        self.keys.hash_one(id)
    }

    /// The session of that id, if it is online, here or elsewhere.
    pub(super) fn find(&self, id: &str) -> Option<ConnId> {
        let hash = self.keys.hash_one(id);
        let found = |slot: &u32| peer_at(&self.connections, &self.remotes, *slot);
        let slot = self.ids.find(hash, |slot| found(slot).is_some_and(|(_, p)| p.id() == id))?;
        found(slot).map(|(conn, _)| conn)
    }

    /// The session of that id, if it is online on this node.
    pub(super) fn find_local(&self, id: &str) -> Option<ConnId> {
        self.find(id).filter(|conn| !conn.is_remote())
    }

    /// A connection becomes a peer, in no room yet.
    pub(super) fn set_online(&mut self, conn: ConnId, peer: Box<Peer>) {
        let hash = self.keys.hash_one(peer.id());
        let Some(connection) = self.get_mut(conn) else { return };
        connection.session = Session::Online(peer);
        self.index(hash, conn.slot);
    }

    /// A peer of another node, in no room yet.
    pub(super) fn add_remote(&mut self, node: NodeIndex, peer: Peer) -> ConnId {
        let hash = self.keys.hash_one(peer.id());
        let conn = self.remotes.add(node, peer);
        self.index(hash, conn.slot);
        conn
    }

    /// Forgets a peer of another node that is in no room any more.
    pub(super) fn remove_remote(&mut self, conn: ConnId) {
        self.unindex(conn);
        self.remotes.remove(conn);
    }

    /// A peer of another node, with all that is known of it.
    pub(super) fn remote(&self, conn: ConnId) -> Option<&RemotePeer> {
        self.remotes.get(conn)
    }

    /// As [`remote`](Self::remote).
    pub(super) fn remote_mut(&mut self, conn: ConnId) -> Option<&mut RemotePeer> {
        self.remotes.get_mut(conn)
    }

    /// The peer of another node in one of the places, if there is one; `None` behind the last
    /// place.
    pub(super) fn remote_in(&self, place: u32) -> Option<Option<&RemotePeer>> {
        self.remotes.place(place)
    }

    /// All peers of other nodes.
    pub(super) fn remotes(&self) -> impl Iterator<Item = (ConnId, &RemotePeer)> {
        self.remotes.iter()
    }

    fn index(&mut self, hash: u64, slot: u32) {
        let Self { connections, remotes, keys, ids, .. } = self;
        ids.insert_unique(hash, slot, |slot| match peer_at(connections, remotes, *slot) {
            Some((_, peer)) => keys.hash_one(peer.id()),
            None => unreachable!("the table has the slots of peers only"),
        });
    }

    fn unindex(&mut self, conn: ConnId) {
        let Some(hash) = self.peer(conn).map(|peer| self.keys.hash_one(peer.id())) else { return };
        if let Ok(entry) = self.ids.find_entry(hash, |slot| *slot == conn.slot) {
            entry.remove();
        }
    }

    /// A peer that is in no room any more ceases to be one.
    pub(super) fn set_offline(&mut self, conn: ConnId) -> Option<Box<Peer>> {
        self.unindex(conn);
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
            if peer.memberships.is_empty() {
                // Most peers are in a room or two: no place is kept for many.
                peer.memberships.reserve_exact(2);
            }
            peer.memberships.push(Membership { room, position, reason });
        }
        if self.is_own_room(conn, room) {
            self.stray_no_more(conn);
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
        let room = self.peer(conn).and_then(|peer| peer.memberships.get(membership));
        if room.is_some_and(|membership| self.is_own_room(conn, membership.room)) {
            self.stray(conn);
        }
        self.end_membership(conn, membership);
    }

    fn end_membership(&mut self, conn: ConnId, membership: usize) {
        let Some(peer) = self.peer_mut(conn) else { return };
        let Membership { room, position, .. } = peer.memberships.swap_remove(membership);
        // Both lists close their gap with their last element, and tell the other list so.
        if let Some(moved) = peer.memberships.get(membership).copied() {
            let membership = u32::try_from(membership).expect("fewer memberships than 2^32");
            self.rooms.set_membership(moved.room, moved.position, membership, conn.is_remote());
        }
        if let Some(moved) = self.rooms.remove(room, position, conn.is_remote())
            && let Some(peer) = self.peer_mut(moved.conn)
        {
            peer.memberships[moved.membership as usize].position = position;
        }
    }

    /// Ends all memberships of a peer that goes offline.
    pub(super) fn leave_all(&mut self, conn: ConnId) {
        self.stray_no_more(conn);
        while let Some(last) =
            self.peer(conn).and_then(|peer| peer.memberships.len().checked_sub(1))
        {
            self.end_membership(conn, last);
        }
    }

    /// Unmarks all connections.
    pub(super) fn unmark_all(&mut self) {
        self.mark = self.mark.wrapping_add(1);
        if self.mark == 0 {
            self.marks.fill(0);
            self.remotes.clear_marks();
            self.mark = 1;
        }
    }

    /// Marks a connection; false if it was marked already.
    pub(super) fn mark(&mut self, conn: ConnId) -> bool {
        let mark = self.mark;
        let marks = if conn.is_remote() { self.remotes.marks() } else { &mut self.marks };
        core::mem::replace(&mut marks[conn.index()], mark) != mark
    }

    fn is_marked(&self, conn: ConnId) -> bool {
        let mark =
            if conn.is_remote() { self.remotes.mark(conn) } else { self.marks[conn.slot as usize] };
        mark == self.mark
    }

    /// Appends the members of a room but for one connection.
    pub(super) fn push_members(&self, room: RoomIndex, except: ConnId, out: &mut Vec<ConnId>) {
        let members = self.rooms.members(room);
        out.reserve(members.len());
        out.extend(members.iter().map(|member| member.conn).filter(|conn| *conn != except));
    }

    /// Appends the members of a room that are not marked yet, and marks them.
    pub(super) fn push_unmarked_members(&mut self, room: RoomIndex, out: &mut Vec<ConnId>) {
        let Self { rooms, marks, mark, looks, .. } = self;
        for member in rooms.members(room) {
            if core::mem::replace(&mut marks[member.conn.slot as usize], *mark) != *mark {
                out.push(member.conn);
            } else {
                *looks += 1;
            }
        }
    }

    /// Appends the members of a room that are not marked yet and share no marked room, and marks
    /// them; those of other nodes too, if they are wanted.
    pub(super) fn push_unmarked_strangers(
        &mut self,
        room: RoomIndex,
        remotes: bool,
        out: &mut Vec<ConnId>,
    ) {
        let mut consider = |registry: &mut Self, conn: ConnId| {
            if !registry.is_marked(conn) && !registry.shares_marked(conn) {
                registry.mark(conn);
                out.push(conn);
            } else {
                registry.looks += 1;
            }
        };
        for at in 0..self.rooms.members(room).len() {
            let conn = self.rooms.members(room)[at].conn;
            consider(self, conn);
        }
        if remotes {
            for at in 0..self.rooms.remotes(room).len() {
                let conn = self.rooms.remotes(room)[at].conn;
                consider(self, conn);
            }
        }
    }

    /// Appends the members of a room on other nodes that are not marked yet, and marks them.
    pub(super) fn push_unmarked_remotes(&mut self, room: RoomIndex, out: &mut Vec<ConnId>) {
        for at in 0..self.rooms.remotes(room).len() {
            let conn = self.rooms.remotes(room)[at].conn;
            if self.mark(conn) {
                out.push(conn);
            }
        }
    }

    /// Aims at rooms, for [`push_acquaintances_aimed_at`](Self::push_acquaintances_aimed_at).
    pub(super) fn aim_at(&mut self, rooms: &[RoomIndex]) {
        self.rooms.aim_at(rooms);
    }

    /// Appends those who share a room with a peer, are not marked yet and are in a room that is
    /// aimed at, and the rooms that those of other nodes are in for it. The rooms of the peer must
    /// be marked, and none of them be aimed at; who has been looked at is marked.
    pub(super) fn push_acquaintances_aimed_at(
        &mut self,
        conn: ConnId,
        out: &mut Vec<ConnId>,
        elsewhere: &mut Vec<RoomIndex>,
    ) {
        for at in 0.. {
            let Some(own) = self.peer(conn).and_then(|peer| peer.memberships.get(at)) else {
                break;
            };
            let own = own.room;
            self.looks += (self.rooms.members(own).len() + self.rooms.remotes(own).len()) as u64;
            for at in 0..self.rooms.members(own).len() {
                let other = self.rooms.members(own)[at].conn;
                // However many rooms they share, it is looked at once.
                if self.mark(other) && self.is_in_aimed_at(other) {
                    out.push(other);
                }
            }
            for at in 0..self.rooms.remotes(own).len() {
                let other = self.rooms.remotes(own)[at].conn;
                if !self.mark(other) {
                    continue;
                }
                self.looks += self.peer(other).map_or(0, |peer| peer.memberships.len()) as u64;
                let Some(remote) = self.remotes.get(other) else { continue };
                for membership in &remote.peer.memberships {
                    let room = membership.room;
                    // The sender is in none of the rooms that are aimed at: of those only such
                    // are marked that have been found.
                    if self.rooms.is_aimed_at(room) && self.rooms.mark(room) {
                        elsewhere.push(room);
                    }
                }
            }
        }
    }

    /// True if a peer is in one of the rooms that are aimed at.
    fn is_in_aimed_at(&mut self, conn: ConnId) -> bool {
        let memberships = self.peer(conn).map_or(&[][..], |peer| &peer.memberships);
        let found = memberships.iter().position(|found| self.rooms.is_aimed_at(found.room));
        self.looks += found.unwrap_or(memberships.len()) as u64;
        found.is_some()
    }

    /// Appends every peer of this node that shares a room with this one, once.
    pub(super) fn push_sharing(&mut self, conn: ConnId, out: &mut Vec<ConnId>) {
        let Some(peer) = self.peer(conn) else { return };
        let itself = usize::from(!conn.is_remote());
        let mut shared = peer.memberships.iter().filter_map(|membership| {
            (self.rooms.members(membership.room).len() > itself).then_some(membership.room)
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
    pub(super) fn shares_marked(&mut self, conn: ConnId) -> bool {
        let memberships = self.peer(conn).map_or(&[][..], |peer| &peer.memberships);
        let found = memberships.iter().position(|found| self.rooms.is_marked(found.room));
        self.looks += found.unwrap_or(memberships.len()) as u64;
        found.is_some()
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

/// The peer of a slot, of this node or of another.
fn peer_at<'a>(
    connections: &'a [Option<Connection>],
    remotes: &'a Remotes,
    slot: u32,
) -> Option<(ConnId, &'a Peer)> {
    if slot & ConnId::REMOTE != 0 {
        return remotes.at(slot).map(|remote| (remote.conn, &remote.peer));
    }
    match connections.get(slot as usize)?.as_ref()? {
        Connection { id, session: Session::Online(peer), .. } => Some((*id, peer)),
        _ => None,
    }
}
