//! One of several nodes that are one server (SPEC §10).
//!
//! Every node tells all others of its peers: who comes, in which rooms, who goes. So each knows
//! all peers of the cluster and the rooms that they are in, and answers from what it knows: who
//! sees whom, who may send to whom, where a frame has to go. Peers of other nodes stand in the
//! same tables as its own, and the same code decides about them; the presence that servers make is
//! never forwarded, it follows on every node from what that node knows. That is why it cannot get
//! lost for long.
//!
//! What is told is numbered. Who misses a number asks for all peers of the node that told it, and
//! compares. Until then no frame of that node is delivered: nobody may be reached by someone who
//! has, perhaps, left the room (R-M3). A node that is silent for too long is taken for dead, and
//! its peers for offline.

mod host;
mod nodes;
mod replica;
mod telling;

use alloc::{boxed::Box, vec::Vec};

use symple_proto::cluster::{
    BROADCAST_CHANNEL, CLUSTER_CHANNEL, Change, Envelope, Payload, PeerState, node_channel,
    room_channel,
};
use symple_proto::{PeerId, RawJson, RoomName, UserName};

use crate::Timestamp;

use super::{
    Action, ConnId, EngineError, Server, peer::Peer, remotes::NodeIndex, rooms::RoomIndex,
    routing::Elsewhere, timers::Timer,
};
use nodes::Nodes;
use telling::Telling;

/// The silence of a node is noticed soon after it has lasted too long.
const LOOKS_PER_BEAT: u32 = 4;

/// The node in its cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    /// What others call this node.
    id: Box<str>,
    /// How many changes it has told of.
    seq: u64,
    /// The bus can be used.
    up: bool,
    /// It has said goodbye.
    left: bool,
    /// When it looks who lives.
    next_look: Timestamp,
    /// How often it has looked.
    looks: u32,
    telling: Telling,
    nodes: Nodes,
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
            seq: 0,
            up: false,
            left: false,
            next_look: Timestamp::MAX,
            looks: 0,
            telling: Telling::default(),
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

    /// Says something on a channel, if the bus is up.
    fn say(&mut self, channel: Box<str>, payload: Payload<'_>) {
        let Some(cluster) = &self.cluster else { return };
        if cluster.up && !cluster.left {
            let envelope = Envelope { node: (&*cluster.id).into(), seq: cluster.seq, payload };
            let payload = envelope.encode();
            self.stats.published += 1;
            self.out.push(Action::Publish { channel, payload });
        }
    }

    fn say_to(&mut self, node: NodeIndex, payload: Payload<'_>) {
        let Some(id) = self.cluster.as_ref().and_then(|cluster| cluster.nodes.id(node)) else {
            return;
        };
        self.say(node_channel(id), payload);
    }

    /// Publishes a frame to the nodes that have receivers of it: to each once (R-M2, R-C3).
    pub(super) fn publish(&mut self, elsewhere: Elsewhere, payload: Payload<'_>) {
        match elsewhere {
            Elsewhere::Nobody => {}
            Elsewhere::Node(node) => self.say_to(node, payload),
            Elsewhere::Rooms => match &self.rooms_elsewhere[..] {
                [] => {}
                [room] => {
                    let channel = room_channel(self.registry.rooms.name(*room));
                    self.say(channel, payload);
                }
                rooms => {
                    // The channels of several rooms would bring it to a node several times.
                    let remotes = rooms.iter().flat_map(|room| self.registry.rooms.remotes(*room));
                    let nodes =
                        remotes.filter_map(|member| Some(self.registry.remote(member.conn)?.node));
                    let mut nodes: Vec<_> = nodes.collect();
                    nodes.sort_unstable();
                    nodes.dedup();
                    for node in nodes {
                        self.say_to(node, payload.clone());
                    }
                }
            },
        }
    }

    /// Subscribes to the rooms that the node has members in now, and to no others (R-C3).
    pub(super) fn follow_occupancy(&mut self) {
        for (room, occupied) in self.registry.rooms.take_occupancy() {
            let channel = room_channel(&room);
            self.out.push(if occupied {
                Action::Subscribe { channel }
            } else {
                Action::Unsubscribe { channel }
            });
        }
    }

    /// Tells the other nodes what has changed with a peer of this one.
    fn announce(&mut self, conn: ConnId, change: impl FnOnce(&Self, &Peer) -> Option<Change>) {
        if self.cluster.is_none() || conn.is_remote() {
            return;
        }
        // Who learns that the peer is in a room may send there at once.
        self.follow_occupancy();
        let Some(change) = self.registry.peer(conn).and_then(|peer| change(self, peer)) else {
            return;
        };
        if let Some(cluster) = &mut self.cluster {
            cluster.seq += 1;
        }
        self.say(CLUSTER_CHANNEL.into(), Payload::Change(change));
    }

    pub(super) fn announce_online(&mut self, conn: ConnId) {
        self.announce(conn, |server, peer| Some(Change::Online(server.state_of(peer)?)));
    }

    pub(super) fn announce_offline(&mut self, conn: ConnId) {
        self.announce(conn, |_, peer| Some(Change::Offline { id: id_of(peer)? }));
    }

    pub(super) fn announce_join<'a>(&mut self, conn: ConnId, rooms: impl Iterator<Item = &'a str>) {
        self.announce(conn, |_, peer| {
            let rooms = rooms.filter_map(|room| RoomName::new(room).ok()).collect();
            Some(Change::Join { id: id_of(peer)?, rooms })
        });
    }

    pub(super) fn announce_leave(&mut self, conn: ConnId, room: RoomIndex) {
        self.announce(conn, |server, peer| {
            let room = RoomName::new(server.registry.rooms.name(room)).ok()?;
            Some(Change::Leave { id: id_of(peer)?, room })
        });
    }

    pub(super) fn announce_record(&mut self, conn: ConnId) {
        self.announce(conn, |_, peer| {
            let record = RawJson::parse(peer.record.text()).ok()?;
            Some(Change::Record { id: id_of(peer)?, record })
        });
    }

    /// A peer of this node, as others are told of it.
    fn state_of(&self, peer: &Peer) -> Option<PeerState> {
        let rooms = peer.memberships.iter().map(|membership| membership.room);
        Some(PeerState {
            user: UserName::new(peer.user()).ok()?,
            id: id_of(peer)?,
            record: RawJson::parse(peer.record.text()).ok()?,
            rooms: rooms
                .filter_map(|room| RoomName::new(self.registry.rooms.name(room)).ok())
                .collect(),
        })
    }

    /// Leaves the cluster politely (SPEC §12): the others need not wait for its silence.
    pub(super) fn leave_cluster(&mut self) {
        self.say(CLUSTER_CHANNEL.into(), Payload::Bye);
        if let Some(cluster) = &mut self.cluster {
            cluster.left = true;
        }
    }

    /// Looks who lives, and once in a while says that it does.
    pub(super) fn look_around(&mut self) {
        let Some(config) = self.config.cluster.clone() else { return };
        let now = self.now;
        let Some(cluster) = &mut self.cluster else { return };
        let late = now.since(cluster.next_look);
        cluster.next_look = now + config.heartbeat / LOOKS_PER_BEAT;
        self.timers.set(cluster.next_look, Timer::LookAround);
        if late > config.heartbeat {
            // This node has been stopped: what the others said meanwhile is still to be read.
            cluster.nodes.heard_all(now);
        }
        let (dead, unsynced) = cluster.nodes.examine(now, &config);
        cluster.looks = cluster.looks.wrapping_add(1);
        if cluster.looks.is_multiple_of(LOOKS_PER_BEAT) || late > config.heartbeat {
            self.say(CLUSTER_CHANNEL.into(), Payload::Beat);
        }
        for node in dead {
            self.lose_node(node, true);
        }
        for node in unsynced {
            self.say_to(node, Payload::Resync);
        }
    }

    /// The bus can be used: others are told of this node, and asked for theirs.
    pub(super) fn bus_up(&mut self) {
        let Some(config) = &self.config.cluster else { return };
        let heartbeat = config.heartbeat;
        let Some(cluster) = &mut self.cluster else { return };
        cluster.up = true;
        cluster.nodes.missed_all();
        if cluster.next_look == Timestamp::MAX {
            cluster.next_look = self.now + heartbeat / LOOKS_PER_BEAT;
            self.timers.set(cluster.next_look, Timer::LookAround);
        }
        self.say(CLUSTER_CHANNEL.into(), Payload::Hello);
        self.tell_anew();
    }

    /// The bus cannot be used. Its other side is not given up at once: it may be back in a moment.
    pub(super) fn bus_down(&mut self) {
        if let Some(cluster) = &mut self.cluster {
            cluster.up = false;
        }
    }
}

fn id_of(peer: &Peer) -> Option<PeerId> {
    PeerId::new(peer.id()).ok()
}
