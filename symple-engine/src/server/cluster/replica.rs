//! What is known of the peers of other nodes, and what this node's clients are told of it.

use alloc::{boxed::Box, string::String, vec::Vec};

use symple_proto::cluster::{Change, Envelope, Payload, PeerState, Snapshot};
use symple_proto::{FrameType, FrameView, PeerId, PublicRecord, RawJson, Recipient, RoomName};

use crate::server::{
    ConnId, EngineError, Event, Server, jobs::Job, membership::Reason, peer::Peer,
    remotes::NodeIndex,
};

use super::nodes::Incoming;

impl Server {
    /// Another node says something.
    pub(super) fn envelope(&mut self, envelope: Envelope<'_>) -> Result<usize, EngineError> {
        let now = self.now;
        let Some(cluster) = &mut self.cluster else { return Ok(0) };
        let id: Box<str> = (*envelope.node).into();
        if envelope.payload == Payload::Bye {
            if let Some(node) = cluster.nodes.find(&id) {
                self.lose_node(node, false);
            }
            return Ok(0);
        }
        let known = cluster.nodes.find(&id).is_some();
        let node = cluster.nodes.hear(&id, now).ok_or(EngineError::TooManyNodes)?;
        if !known {
            self.tell_host_of_node(Event::NodeJoined { node: id.clone() });
        }
        match envelope.payload {
            Payload::Hello => {
                if let Some(node) = self.node_mut(node) {
                    node.announces_itself(now);
                }
                self.tell_all_peers();
            }
            Payload::Resync => self.tell_all_peers(),
            Payload::Snapshot(text) => return self.take_snapshot(node, envelope.seq, &text),
            Payload::Change(change) => {
                let Some(state) = self.node_mut(node) else { return Ok(0) };
                let next = |seq: u64| seq.checked_add(1) == Some(envelope.seq);
                match &mut state.incoming {
                    // Between two parts of a snapshot. Of a peer that has not come yet, the part
                    // that it comes in will tell all.
                    Some(incoming) if next(incoming.seq) => {
                        incoming.seq = envelope.seq;
                        let number = state.snapshot;
                        let id = change.id().clone();
                        let _ = self.take_change(node, change);
                        self.mark_of(node, &id, number);
                    }
                    None if state.synced && next(state.seq) => {
                        state.seq = envelope.seq;
                        return self.take_change(node, change);
                    }
                    // The bus keeps the order: a number that has been is as wrong as one too
                    // far. Someone else has spoken in the node's name.
                    _ => self.missed(node),
                }
            }
            Payload::Beat if !self.agrees(node, envelope.seq) => self.missed(node),
            Payload::Frame(text) => {
                if !self.knows(node, envelope.seq) {
                    self.stats.frames_missed += 1;
                    self.missed(node);
                    return Ok(0);
                }
                return self.deliver(node, &text);
            }
            Payload::Emission(text) => return self.emit_here(&text),
            Payload::Call(call) => return self.called(&call),
            _ => {}
        }
        Ok(0)
    }

    fn node_mut(&mut self, node: NodeIndex) -> Option<&mut super::nodes::Node> {
        self.cluster.as_mut()?.nodes.get_mut(node)
    }

    /// Everything is known that the node has told until then.
    fn knows(&mut self, node: NodeIndex, seq: u64) -> bool {
        self.node_mut(node).is_some_and(|node| node.synced && node.seq >= seq)
    }

    /// Nothing but that is known.
    fn agrees(&mut self, node: NodeIndex, seq: u64) -> bool {
        self.node_mut(node).is_some_and(|node| node.synced && node.seq == seq)
    }

    /// Something is missing of what a node has told: it is asked for all.
    fn missed(&mut self, node: NodeIndex) {
        let now = self.now;
        let Some(heartbeat) = self.config.cluster.as_ref().map(|config| config.heartbeat) else {
            return;
        };
        let Some(state) = self.node_mut(node) else { return };
        state.synced = false;
        if state.wants_snapshot(now, heartbeat) {
            self.stats.resyncs += 1;
            self.say_to(node, Payload::Resync);
        }
    }

    /// A node tells all its peers: those that it does not name are offline.
    fn take_snapshot(
        &mut self,
        node: NodeIndex,
        seq: u64,
        text: &str,
    ) -> Result<usize, EngineError> {
        let now = self.now;
        let Some(state) = self.node_mut(node) else { return Ok(0) };
        // Others have asked for it.
        if state.synced && !state.disputed && state.seq >= seq {
            return Ok(0);
        }
        let snapshot = Snapshot::parse(text)?;
        if snapshot.part == 0 {
            state.disputed = false;
            state.synced = false;
            state.snapshot = state.snapshot.wrapping_add(1);
            state.incoming = Some(Incoming { seq, next: 0 });
        }
        if state.incoming != Some(Incoming { seq, next: snapshot.part }) {
            // A part is lost. What is missing is asked for with the next look around.
            state.incoming = None;
            return Ok(0);
        }
        let number = state.snapshot;
        if !snapshot.last {
            state.goes_on(Incoming { seq, next: snapshot.part.saturating_add(1) }, now);
        } else {
            state.incoming = None;
            state.synced = true;
            state.seq = seq;
        }
        let mut result = Ok(0);
        for peer in snapshot.peers {
            result = result.and(self.take_peer(node, &peer));
            self.mark_of(node, &peer.id, number);
        }
        if snapshot.last {
            let gone: Vec<_> = self
                .registry
                .remotes()
                .filter(|(_, remote)| remote.node == node && remote.snapshot != number)
                .map(|(conn, _)| conn)
                .collect();
            for conn in gone {
                self.remote_offline(conn);
            }
        }
        result
    }

    /// A snapshot has told of a peer.
    fn mark_of(&mut self, node: NodeIndex, id: &PeerId, number: u32) {
        if let Some(conn) = self.find_of(node, id)
            && let Some(remote) = self.registry.remote_mut(conn)
        {
            remote.snapshot = number;
        }
    }

    /// A node tells what has changed with one of its peers.
    fn take_change(&mut self, node: NodeIndex, change: Change) -> Result<usize, EngineError> {
        let (id, change) = match change {
            Change::Online(peer) => return self.take_peer(node, &peer),
            Change::Join { ref id, .. }
            | Change::Leave { ref id, .. }
            | Change::Record { ref id, .. }
            | Change::Offline { ref id } => (id.clone(), change),
        };
        let conn = self.find_of(node, &id).ok_or(EngineError::UnknownPeer)?;
        match change {
            Change::Join { rooms, .. } => self.remote_enter(conn, &rooms),
            Change::Leave { room, .. } => {
                if let Some(room) = self.registry.rooms.find(&room) {
                    self.exit(conn, room);
                }
            }
            Change::Record { record, .. } => self.remote_record(conn, &record),
            Change::Offline { .. } => self.remote_offline(conn),
            Change::Online(_) => {}
        }
        Ok(0)
    }

    /// The peer of that id, if it is one of that node's.
    fn find_of(&self, node: NodeIndex, id: &PeerId) -> Option<ConnId> {
        let conn = self.registry.find(id)?;
        self.registry.remote(conn).is_some_and(|remote| remote.node == node).then_some(conn)
    }

    /// A peer of another node is online, and is in these rooms and no others.
    fn take_peer(&mut self, node: NodeIndex, peer: &PeerState) -> Result<usize, EngineError> {
        let object = peer.record.get().as_object().ok_or(EngineError::PeerOfAnother)?;
        if let Some(known) = self.registry.find(&peer.id) {
            // An id is unique in the cluster (R-F6): another node's, or a peer of this one, is
            // not to be taken over.
            let known_of = self.registry.remote(known).map(|remote| remote.node);
            if known_of != Some(node) {
                if let Some(node) = self.node_mut(node) {
                    node.disputed = true;
                }
                return Err(EngineError::PeerOfAnother);
            }
            if self.registry.peer(known).is_some_and(|known| *known.user() == *peer.user) {
                self.remote_record(known, &peer.record);
                self.remote_enter(known, &peer.rooms);
                self.exit_others(known, &peer.rooms);
                return Ok(0);
            }
            // Who it was said to be before was not said by its node.
            self.remote_offline(known);
        }
        let record = PublicRecord::of_presence(object, &peer.user, &peer.id);
        let conn = self.registry.add_remote(node, Peer::new(&peer.user, &peer.id, record, None));
        let rooms: Vec<_> =
            peer.rooms.iter().map(|room| (room.as_str(), Reason::Assigned)).collect();
        self.arrive(conn, &rooms);
        Ok(0)
    }

    fn remote_enter(&mut self, conn: ConnId, rooms: &[RoomName]) {
        let rooms: Vec<_> = rooms.iter().map(|room| (room.as_str(), Reason::Assigned)).collect();
        self.enter(conn, &rooms);
    }

    fn remote_record(&mut self, conn: ConnId, record: &RawJson) {
        if let Some(peer) = self.registry.peer_mut(conn)
            && let Some(object) = record.get().as_object()
        {
            peer.record = PublicRecord::of_presence(object, peer.user(), peer.id());
        }
    }

    pub(in crate::server) fn remote_offline(&mut self, conn: ConnId) {
        self.go_offline(conn, true);
        self.registry.remove_remote(conn);
    }

    /// A node is gone, and so are its peers (R-C2).
    pub(super) fn lose_node(&mut self, node: NodeIndex, dead: bool) {
        let Some(cluster) = &mut self.cluster else { return };
        let id = cluster.nodes.retire(node);
        let gone: Vec<_> = self
            .registry
            .remotes()
            .filter(|(_, remote)| remote.node == node)
            .map(|(conn, _)| conn)
            .collect();
        self.start(Job::Lose { node, peers: gone });
        if let Some(node) = id {
            if dead {
                self.stats.nodes_lost += 1;
            }
            self.tell_host_of_node(Event::NodeLeft { node, dead });
        }
    }

    /// All peers of a node that is gone are offline: its place is free.
    pub(in crate::server) fn free_node(&mut self, node: NodeIndex) {
        if let Some(cluster) = &mut self.cluster {
            cluster.nodes.remove(node);
        }
    }

    /// A frame of a peer of another node, for peers of this one.
    fn deliver(&mut self, node: NodeIndex, text: &str) -> Result<usize, EngineError> {
        let limits = &self.config.limits;
        let frame = FrameView::parse(text, limits.depth)?;
        let Ok(FrameType::Routed(kind)) = frame.frame_type() else {
            return Err(EngineError::NotRouted);
        };
        let recipient = Recipient::decode(frame.to(), limits.recipient_rooms)
            .map_err(|_| EngineError::NotRouted)?;
        // The sender is one of that node's, and the frame says so.
        let from = frame.from().and_then(|from| from.as_str()?.ok());
        let sender = from
            .as_ref()
            .and_then(|from| from.rsplit_once('|'))
            .and_then(|(_, id)| self.registry.find(id))
            .filter(|conn| self.registry.remote(*conn).is_some_and(|peer| peer.node == node))
            .filter(|conn| {
                self.registry.peer(*conn).is_some_and(|peer| {
                    frame.from().is_some_and(|from| from.text() == peer.quoted())
                })
            })
            .ok_or(EngineError::UnknownPeer)?;
        let selection = self.select(sender, &recipient, kind);
        self.tell_of_sender(sender);
        let text = || String::from(frame.text()).into();
        Ok(self.out.send_from(sender, selection.members, text))
    }
}
