//! The replica of the peers of other nodes, and the presence that clients of this node get from it.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use symple_proto::cluster::{Change, PeerState, next_sum};
use symple_proto::{
    FrameType, FrameView, Json, PeerId, PublicRecord, RawJson, Recipient, RoomName, RoutedType,
};

use crate::server::{
    ConnId, EngineError, FrameKind, OfflineReason, RemoteChange, Server, batches::News,
    membership::Reason, peer::Peer, remotes::NodeIndex,
};

impl Server {
    /// Handles a change of a peer that its node has told.
    pub(super) fn take_change(
        &mut self,
        node: NodeIndex,
        seq: u64,
        text: &str,
    ) -> Result<usize, EngineError> {
        let Some(state) = self.node_mut(node) else { return Ok(0) };
        if !state.is_known() {
            // The parts that are still to come include it.
            self.pull_more();
        } else if state.seq.checked_add(1) == Some(seq) {
            return self.apply(node, seq, text);
        } else if state.seq < seq {
            self.missed(node);
        } else {
            // The bus keeps the order, so someone else has published in the name of the node, now or before.
            self.doubt(node);
        }
        Ok(0)
    }

    /// Takes in the next change of a node.
    pub(super) fn apply(
        &mut self,
        node: NodeIndex,
        seq: u64,
        text: &str,
    ) -> Result<usize, EngineError> {
        let Some(state) = self.node_mut(node) else { return Ok(0) };
        (state.seq, state.sum) = (seq, next_sum(state.sum, text));
        let (pull, pulling) = (state.pull, state.pulling);
        let change = Change::parse(text)?;
        if let Change::Online(peer) = &change {
            // The state that a part has told of this peer is older.
            self.take_from_rest(node, &peer.id);
            return self.take_peer(node, peer);
        }
        if let Some(peer) = self.take_from_rest(node, change.id()) {
            self.take_peer(node, &peer)?;
        }
        let found = self.find_of(node, change.id());
        let current = found.filter(|conn| self.is_current(*conn, pull));
        match (change, current) {
            (Change::Offline { .. }, _) => {
                if let Some(conn) = found {
                    self.remote_offline(conn, OfflineReason::Elsewhere);
                }
            }
            (Change::Join { rooms, .. }, Some(conn)) => self.remote_enter(conn, &rooms),
            (Change::Leave { room, .. }, Some(conn)) => {
                if let Some(index) = self.registry.rooms.find(&room)
                    && self.exit(conn, index)
                {
                    self.tell_host_of_remote(conn, |_, peer| RemoteChange::Left {
                        peer: peer.address(),
                        room: room.as_str().into(),
                    });
                }
            }
            (Change::Record { record, .. }, Some(conn)) => self.remote_record(conn, &record),
            // A part that is still to come will tell all of it.
            (_, None) if pulling => {}
            (_, None) => return Err(EngineError::UnknownPeer),
            (Change::Online(_), _) => {}
        }
        Ok(0)
    }

    /// Notes that everything is known that its node has told of a peer so far.
    fn is_current(&self, conn: ConnId, pull: u32) -> bool {
        self.registry.remote(conn).is_some_and(|remote| remote.pull == pull)
    }

    /// Takes a peer out of a part that is not done yet.
    fn take_from_rest(&mut self, node: NodeIndex, id: &PeerId) -> Option<PeerState> {
        let rest = &mut self.node_mut(node)?.rest;
        let at = rest.iter().position(|peer| peer.id == *id)?;
        Some(rest.remove(at))
    }

    /// The peer of that id, if it is one of that node's.
    fn find_of(&self, node: NodeIndex, id: &PeerId) -> Option<ConnId> {
        let conn = self.registry.find(id)?;
        self.registry.remote(conn).is_some_and(|remote| remote.node == node).then_some(conn)
    }

    /// A peer of another node is online, and is in these rooms and no others.
    pub(in crate::server) fn take_peer(
        &mut self,
        node: NodeIndex,
        peer: &PeerState,
    ) -> Result<usize, EngineError> {
        let Some(state) = self.node_mut(node) else { return Ok(0) };
        let pull = state.pull;
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
                self.mark_current(known, pull);
                if let Some(known) = self.registry.peer_mut(known) {
                    known.read_only = peer.read_only;
                }
                self.remote_record(known, &peer.record);
                self.remote_enter(known, &peer.rooms);
                self.exit_others(known, &peer.rooms);
                return Ok(0);
            }
            // An earlier identity of this peer did not come from its node.
            self.remote_offline(known, OfflineReason::Elsewhere);
        }
        let record = PublicRecord::of_presence(object, &peer.user, &peer.id);
        let mut state = Peer::new(&peer.user, &peer.id, record, None);
        (state.hidden, state.read_only) = (peer.hidden, peer.read_only);
        let conn = self.registry.add_remote(node, state);
        self.mark_current(conn, pull);
        let rooms: Vec<_> =
            peer.rooms.iter().map(|room| (room.as_str(), Reason::Assigned)).collect();
        self.arrive(conn, &rooms);
        self.tell_host_of_remote(conn, |server, peer| RemoteChange::Online {
            peer: peer.address(),
            rooms: server.rooms_of(peer),
        });
        Ok(0)
    }

    fn mark_current(&mut self, conn: ConnId, pull: u32) {
        if let Some(remote) = self.registry.remote_mut(conn) {
            remote.pull = pull;
        }
    }

    fn remote_enter(&mut self, conn: ConnId, rooms: &[RoomName]) {
        let news: Vec<&str> = if self.config.remote_events {
            // Each is new once, however often it is named.
            let outside = rooms.iter().map(RoomName::as_str).filter(|name| {
                let room = self.registry.rooms.find(name);
                room.is_none_or(|room| !self.registry.is_member(conn, room))
            });
            outside.collect::<BTreeSet<_>>().into_iter().collect()
        } else {
            Vec::new()
        };
        let rooms: Vec<_> = rooms.iter().map(|room| (room.as_str(), Reason::Assigned)).collect();
        self.enter(conn, &rooms);
        for room in news {
            self.tell_host_of_remote(conn, |_, peer| RemoteChange::Joined {
                peer: peer.address(),
                room: room.into(),
            });
        }
    }

    fn remote_record(&mut self, conn: ConnId, record: &RawJson) {
        if let Some(peer) = self.registry.peer_mut(conn)
            && let Some(object) = record.get().as_object()
        {
            peer.record = PublicRecord::of_presence(object, peer.user(), peer.id());
        }
    }

    pub(in crate::server) fn remote_offline(&mut self, conn: ConnId, why: OfflineReason) {
        self.tell_host_of_remote(conn, |_, peer| RemoteChange::Offline {
            peer: peer.address(),
            reason: why,
        });
        self.go_offline(conn, true);
        self.registry.remove_remote(conn);
    }

    /// A frame of a peer of another node, for peers of this one.
    pub(super) fn deliver(
        &mut self,
        node: NodeIndex,
        seq: u64,
        text: &str,
    ) -> Result<usize, EngineError> {
        let Some(state) = self.node_mut(node) else { return Ok(0) };
        if !state.is_known() || state.seq < seq {
            self.stats.frames_missed += 1;
            if self.node_mut(node).is_some_and(|state| state.is_known()) {
                self.missed(node);
            } else {
                self.pull_more();
            }
            return Ok(0);
        }
        let limits = &self.config.limits;
        let frame = FrameView::parse(text, limits.depth)?;
        let Ok(FrameType::Routed(kind)) = frame.frame_type() else {
            return Err(EngineError::NotRouted);
        };
        let recipient = Recipient::decode(frame.to(), limits.recipient_rooms)
            .map_err(|_| EngineError::NotRouted)?;
        // The sender is one of that node's, and the frame says so.
        let from = frame.from().ok_or(EngineError::UnknownPeer)?;
        let address = from.as_str().and_then(Result::ok).ok_or(EngineError::UnknownPeer)?;
        let Some(sender) = self.sender_of(node, &address, from.text())? else {
            self.stats.frames_missed += 1;
            return Ok(0);
        };
        let selection = self.select(sender, &recipient, kind);
        let mut members = selection.members;
        if kind == RoutedType::Presence
            && self.is_plain_presence(&frame)
            && let Some(data) = frame.data().and_then(Json::as_object)
        {
            // What is told in a batch is the record, and that of this frame may come later.
            if let Some(peer) = self.registry.peer_mut(sender) {
                peer.record = PublicRecord::of_presence(data, peer.user(), peer.id());
            }
            self.note_for_pending(sender, News::Updated);
            members = self.out.pending();
        }
        self.tell_of_sender(sender);
        let text = || String::from(frame.text()).into();
        Ok(self.out.relay(sender, members, FrameKind::from(kind), text))
    }

    /// The peer that a node names as the sender of something, if it is one of its own: by its address, which
    /// is also written as a JSON string. None where a part is still to come that will tell in which rooms it
    /// is.
    pub(super) fn sender_of(
        &mut self,
        node: NodeIndex,
        address: &str,
        quoted: &str,
    ) -> Result<Option<ConnId>, EngineError> {
        let id = address.rsplit_once('|').and_then(|(_, id)| PeerId::new(id).ok());
        let id = id.ok_or(EngineError::UnknownPeer)?;
        if let Some(peer) = self.take_from_rest(node, &id) {
            self.take_peer(node, &peer)?;
        }
        let Some((pull, pulling)) = self.node_mut(node).map(|state| (state.pull, state.pulling))
        else {
            return Ok(None);
        };
        let sender = self.find_of(node, &id).filter(|conn| self.is_current(*conn, pull));
        let sender = sender
            .filter(|conn| self.registry.peer(*conn).is_some_and(|peer| peer.quoted() == quoted));
        if sender.is_some() || pulling { Ok(sender) } else { Err(EngineError::UnknownPeer) }
    }
}
