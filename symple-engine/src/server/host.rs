//! What the host may do and see.

use alloc::{boxed::Box, collections::BTreeSet, string::String, vec::Vec};

use core::time::Duration;

use symple_proto::{
    Address, Emission, Fields, FrameView, Json, PeerId, PeerMembers, Recipient, RoomName, UserName,
    check_room, cluster::Call, json::MAX_DEPTH,
};

use super::{
    AllowedUser, ConnId, EngineError, HostCall, Server, Text, Whom,
    claim::Claim,
    jobs::Job,
    membership::Reason,
    newcomers::Place,
    peer::Peer,
    registry::{Connection, Session},
};
use crate::Timestamp;

/// A peer of this node, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Where to send frames for it.
    pub address: Address,
    /// What other peers know of it, a JSON object.
    pub record: Box<str>,
    /// The rooms that it is in.
    pub rooms: Vec<Box<str>>,
    /// Its connection.
    pub conn: ConnId,
    /// It may not send, and join no rooms (R-H4).
    pub read_only: bool,
    /// Nobody is told of it (R-H4).
    pub hidden: bool,
}

/// A peer of any node, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterPeer {
    /// Where to send frames for it.
    pub address: Address,
    /// What other peers know of it, a JSON object.
    pub record: Box<str>,
    /// The rooms that it is in.
    pub rooms: Vec<Box<str>>,
    /// On which other node it is; none for a peer of this one.
    pub node: Option<Box<str>>,
    /// It may not send, and join no rooms (R-H4).
    pub read_only: bool,
    /// Nobody is told of it (R-H4).
    pub hidden: bool,
}

impl PeerInfo {
    /// The [`record`](Self::record) as members: `name`, and whatever else it has.
    #[must_use]
    pub fn fields(&self) -> Fields {
        fields(&self.record)
    }
}

impl ClusterPeer {
    /// The [`record`](Self::record) as members: `name`, and whatever else it has.
    #[must_use]
    pub fn fields(&self) -> Fields {
        fields(&self.record)
    }
}

/// The members of a record. The server has written it, so it can be read.
fn fields(record: &str) -> Fields {
    let object = Json::parse(record, MAX_DEPTH).ok().and_then(Json::as_object);
    object.and_then(|object| Fields::try_from(object).ok()).unwrap_or_default()
}

/// Another node of the cluster, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterNode {
    /// Its id.
    pub id: Box<str>,
    /// How many peers it has, as far as this node knows.
    pub peers: usize,
    /// For how long it has not been heard: below two heartbeats while all is well (R-C2).
    pub silence: Duration,
}

/// A room, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomInfo {
    /// Its name.
    pub name: Box<str>,
    /// How many peers are in it, on all nodes.
    pub members: usize,
}

impl Server {
    /// The peers of this node that are online, in no order that means anything.
    pub fn local_peers(&self) -> impl Iterator<Item = PeerInfo> {
        self.registry.peers().map(|(conn, peer)| PeerInfo {
            address: peer.address(),
            record: peer.record.text().into(),
            rooms: self.rooms_of(peer),
            conn,
            read_only: peer.read_only,
            hidden: peer.hidden,
        })
    }

    /// The peers of all nodes that are online, in no order that means anything.
    pub fn peers(&self) -> impl Iterator<Item = ClusterPeer> {
        let here = self.registry.peers().map(|(_, peer)| (peer, None));
        let elsewhere =
            self.registry.remotes().map(|(_, remote)| (&remote.peer, Some(remote.node)));
        here.chain(elsewhere).filter_map(|(peer, node)| self.listed(peer, node))
    }

    /// The rooms that a session is in, named by its id or its full address, on whatever node it is;
    /// none if it is not online.
    #[must_use]
    pub fn peer_rooms(&self, peer: &str) -> Option<Vec<Box<str>>> {
        let conn = self.find_peer(peer).ok()?;
        self.registry.peer(conn).map(|peer| self.rooms_of(peer))
    }

    /// The rooms that any session of a user is in, on all nodes, in the order of their names.
    #[must_use]
    pub fn user_rooms(&self, user: &str) -> Vec<Box<str>> {
        let rooms = self.registry.peers_of(user).flat_map(|(_, peer)| self.rooms_of(peer));
        rooms.collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn rooms_of(&self, peer: &Peer) -> Vec<Box<str>> {
        let rooms = peer.memberships.iter().map(|membership| membership.room);
        rooms.map(|room| self.registry.rooms.name(room).into()).collect()
    }

    /// The rooms that have members, in no order that means anything.
    pub fn rooms(&self) -> impl Iterator<Item = RoomInfo> {
        let rooms = &self.registry.rooms;
        rooms.iter().map(|room| self.listed_room(room))
    }

    /// The members of a room, on all nodes.
    pub fn members(&self, room: &str) -> impl Iterator<Item = Address> {
        let rooms = &self.registry.rooms;
        let (members, remotes): (&[_], &[_]) = match rooms.find(room) {
            Some(room) => (rooms.members(room), rooms.remotes(room)),
            None => (&[], &[]),
        };
        members
            .iter()
            .chain(remotes)
            .filter_map(|member| self.registry.peer(member.conn).map(Peer::address))
    }

    pub(super) fn host_call(&mut self, call: HostCall<'_>) -> Result<usize, EngineError> {
        match call {
            HostCall::Emit { text } => self.emit(text),
            HostCall::Broadcast { text } => self.broadcast(text),
            HostCall::CloseAll { reason } => {
                let peers = self.registry.peers().filter(|(_, peer)| !peer.of_host);
                let peers: Vec<_> = peers.map(|(conn, _)| conn).collect();
                let count = peers.len();
                self.start(Job::Kick { reason: reason.into(), peers });
                Ok(count)
            }
            HostCall::Send { peer, text } => {
                let conn = self.find_peer(peer)?;
                let frame = FrameView::parse(text, self.config.limits.depth)?;
                let text = String::from(frame.text());
                if conn.is_remote() {
                    let id = self.id_of(conn)?;
                    return self.call(conn, Call::Send { id, text });
                }
                self.out.send_to(conn, text);
                Ok(1)
            }
            HostCall::Kick { whom, reason } => self.kick(whom, reason),
            HostCall::Join { peer, room } => {
                let conn = self.find_peer(peer)?;
                let name = RoomName::new(room)?;
                if conn.is_remote() {
                    let id = self.id_of(conn)?;
                    return self.call(conn, Call::Join { id, room: name });
                }
                self.put_in(conn, room, Reason::Placed);
                Ok(1)
            }
            HostCall::Leave { peer, room } => {
                let conn = self.find_peer(peer)?;
                if conn.is_remote() {
                    let (id, room) = (self.id_of(conn)?, RoomName::new(room)?);
                    return self.call(conn, Call::Leave { id, room });
                }
                self.leave(conn, room);
                Ok(1)
            }
            HostCall::CloseRoom { room } => {
                let index = self.registry.rooms.find(room).ok_or(EngineError::UnknownRoom)?;
                let elsewhere = self.registry.rooms.remotes(index).len();
                self.call_room(index, Call::CloseRoom { room: RoomName::new(room)? })?;
                Ok(elsewhere + self.close_room_here(room))
            }
            HostCall::SetState { room, set } => self.host_sets_state(room, set),
            HostCall::ClearState { room } => self.host_clears_state(room),
            HostCall::ReadState { room, question } => self.host_reads_state(room, question),
            HostCall::PinState { room, pinned } => self.host_pins_state(room, pinned),
            HostCall::AddPeer { conn, user, peer, rooms } => {
                self.add_peer(conn, &user, peer, rooms)
            }
        }
    }

    pub(super) fn find_peer(&self, peer: &str) -> Result<ConnId, EngineError> {
        let id = peer.rsplit_once('|').map_or(peer, |(_, id)| id);
        self.registry.find(id).ok_or(EngineError::UnknownPeer)
    }

    pub(super) fn id_of(&self, conn: ConnId) -> Result<PeerId, EngineError> {
        let peer = self.registry.peer(conn).ok_or(EngineError::UnknownPeer)?;
        Ok(PeerId::new(peer.id())?)
    }

    /// Takes those members out of a room that are peers of this node.
    pub(super) fn close_room_here(&mut self, room: &str) -> usize {
        let Some(index) = self.registry.rooms.find(room) else { return 0 };
        let members: Vec<_> =
            self.registry.rooms.members(index).iter().map(|member| member.conn).collect();
        let count = members.len();
        self.start(Job::Leave { room: room.into(), peers: members });
        count
    }

    /// Whether the host may emit a frame, or broadcast it, which needs no `to`.
    ///
    /// # Errors
    /// Those of [`HostCall::Emit`] and [`HostCall::Broadcast`].
    pub fn check_frame(&self, text: &str, broadcast: bool) -> Result<(), EngineError> {
        let limits = &self.config.limits;
        if broadcast {
            FrameView::parse(text, limits.depth)?;
        } else {
            Emission::parse(text, limits.depth, limits.recipient_rooms)?;
        }
        Ok(())
    }

    /// Delivers a frame of the host's, wherever its receivers are.
    fn emit(&mut self, text: &str) -> Result<usize, EngineError> {
        let limits = &self.config.limits;
        let emission = Emission::parse(text, limits.depth, limits.recipient_rooms)?;
        let elsewhere = self.emit_elsewhere(&emission.recipient, emission.text())?;
        Ok(elsewhere + self.deliver_emission(&emission))
    }

    /// Delivers a frame of the host's to every peer of the cluster.
    fn broadcast(&mut self, text: &str) -> Result<usize, EngineError> {
        let text = FrameView::parse(text, self.config.limits.depth)?.text();
        self.call_all(Call::Broadcast { text: text.into() })?;
        Ok(self.registry.remote_count() + self.broadcast_here(text))
    }

    /// Delivers a frame of a host's to every peer of this node.
    pub(super) fn broadcast_here(&mut self, text: &str) -> usize {
        let Self { registry, out, .. } = self;
        out.receivers().extend(registry.peers().map(|(conn, _)| conn));
        out.send(|| Text::from(String::from(text)))
    }

    /// Delivers a frame from a backend to peers of this node (R-S3).
    pub(super) fn emit_here(&mut self, text: &str) -> Result<usize, EngineError> {
        let limits = &self.config.limits;
        let emission = Emission::parse(text, limits.depth, limits.recipient_rooms)?;
        Ok(self.deliver_emission(&emission))
    }

    fn deliver_emission(&mut self, emission: &Emission<'_>) -> usize {
        let Self { registry, out, .. } = self;
        match &emission.recipient {
            Recipient::Session(id) => out.receivers().extend(registry.find_local(id)),
            Recipient::Name(name) => match (registry.find(name), registry.rooms.find(name)) {
                (Some(conn), _) => {
                    out.receivers().extend((!conn.is_remote()).then_some(conn));
                }
                (None, Some(room)) => {
                    registry.unmark_all();
                    registry.push_unmarked_members(room, out.receivers());
                }
                (None, None) => {}
            },
            Recipient::Rooms(rooms) => {
                registry.unmark_all();
                rooms.for_each_str(|name| {
                    if let Some(room) = registry.rooms.find(&name) {
                        registry.push_unmarked_members(room, out.receivers());
                    }
                });
            }
            Recipient::Everyone => {}
        }
        out.send(|| Text::from(String::from(emission.text())))
    }

    fn kick(&mut self, whom: Whom<'_>, reason: &str) -> Result<usize, EngineError> {
        let mut elsewhere = 0;
        match whom {
            Whom::Peer(peer) => {
                let conn = self.find_peer(peer)?;
                if conn.is_remote() {
                    let (id, reason) = (self.id_of(conn)?, reason.into());
                    return self.call(conn, Call::Kick { id, reason });
                }
            }
            Whom::User(user) => {
                if let Ok(name) = UserName::new(user) {
                    let (nodes, count) = self.nodes_of_user(user);
                    elsewhere = count;
                    let call = Call::KickUser { user: name, reason: reason.into() };
                    self.call_nodes(&nodes, call)?;
                }
            }
        }
        Ok(elsewhere + self.kick_here(whom, reason))
    }

    /// Closes sessions on this node.
    pub(super) fn kick_here(&mut self, whom: Whom<'_>, reason: &str) -> usize {
        let mut kicked: Vec<_> = match whom {
            Whom::Peer(peer) => {
                self.find_peer(peer).into_iter().filter(|conn| !conn.is_remote()).collect()
            }
            Whom::User(user) => {
                let sessions = self.registry.peers_of(user).map(|(conn, _)| conn);
                sessions.filter(|conn| !conn.is_remote()).collect()
            }
        };
        kicked.sort_unstable();
        let count = kicked.len();
        self.start(Job::Kick { reason: reason.into(), peers: kicked });
        count
    }

    fn add_peer(
        &mut self,
        conn: ConnId,
        user: &UserName,
        peer: Fields,
        rooms: &[String],
    ) -> Result<usize, EngineError> {
        if self.shutdown.is_some() {
            return Err(EngineError::ShuttingDown);
        }
        for room in rooms {
            check_room(room)?;
        }
        let fields = Fields::new().with("user", user.as_str());
        let mut claim = Claim::new(user.as_str().into(), PeerMembers::from(&fields));
        claim
            .merge_hook(AllowedUser::Claimed, rooms, peer)
            .map_err(|_| EngineError::HalfSurrogate)?;
        let id = self.new_id();
        let record = claim.record(&id);
        if record.text().len() > self.config.limits.record {
            return Err(EngineError::RecordTooLarge(self.config.limits.record));
        }
        let connection = Connection {
            id: conn,
            address: None,
            session: Session::AwaitingAuth(Place::default()),
            paused: 0,
            full_at: Timestamp::ZERO,
        };
        if !self.registry.add(connection) {
            return Err(EngineError::ConnectionInUse(conn));
        }
        let mut peer = Peer::new(&claim.user, &id, record, None);
        peer.of_host = true;
        (peer.read_only, peer.hidden) = (claim.read_only, claim.unseen);
        let told = claim.peer(&id, None);
        self.go_online(conn, Box::new(peer), &told, &claim);
        Ok(1)
    }
}
