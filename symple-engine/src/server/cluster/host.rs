//! Calls of the application that concern peers of other nodes, in both directions.

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use symple_proto::{
    FrameView, Recipient,
    cluster::{CLUSTER_CHANNEL, Call, Payload},
};

use super::waiting::Account;
use crate::server::{
    Action, ClusterNode, ConnId, EngineError, Event, HostCall, OfflineReason, RemoteChange, Server,
    Whom, peer::Peer, remotes::NodeIndex, rooms::RoomIndex, routing::Elsewhere,
};

impl Server {
    /// Asks another node to do something with one of its peers.
    ///
    /// # Errors
    /// [`EngineError::Busy`]: too much waits for the bus (R-C6).
    pub(in crate::server) fn call(
        &mut self,
        peer: ConnId,
        call: Call,
    ) -> Result<usize, EngineError> {
        let node = self.registry.remote(peer).map(|remote| remote.node);
        let node = node.ok_or(EngineError::UnknownPeer)?;
        self.publish(Elsewhere::Node(node), &Payload::Call(call))?;
        Ok(1)
    }

    /// Asks each of these nodes, or none if too much waits for the bus.
    pub(in crate::server) fn call_nodes(
        &mut self,
        nodes: &[NodeIndex],
        call: Call,
    ) -> Result<(), EngineError> {
        let call = Payload::Call(call);
        let fits = nodes.is_empty() || self.has_room_for(&call, nodes.len());
        self.refused_unless(fits)?;
        for node in nodes {
            self.publish(Elsewhere::Node(*node), &call)?;
        }
        Ok(())
    }

    /// Tells another node that it was taken for dead: at most one is waiting for each that it has said.
    pub(in crate::server) fn call_buried(&mut self, node: NodeIndex, lives: u32) {
        self.say_to(node, Payload::Call(Call::Buried { lives }));
    }

    /// Asks all nodes, unless too much waits for the bus.
    pub(in crate::server) fn call_all(&mut self, call: Call) -> Result<(), EngineError> {
        let channel = CLUSTER_CHANNEL.into();
        let published = self.say_for(Account::Application, channel, Payload::Call(call));
        self.refused_unless(published)
    }

    /// Asks all nodes that have members in a room, unless too much waits for the bus.
    pub(in crate::server) fn call_room(
        &mut self,
        room: RoomIndex,
        call: Call,
    ) -> Result<(), EngineError> {
        if self.registry.rooms.remotes(room).is_empty() {
            return Ok(());
        }
        self.rooms_elsewhere.clear();
        self.rooms_elsewhere.push(room);
        self.publish(Elsewhere::Rooms, &Payload::Call(call))
    }

    /// The nodes that have sessions of a user.
    pub(in crate::server) fn nodes_of_user(&self, user: &str) -> (Vec<NodeIndex>, usize) {
        let sessions = self.registry.peers_of(user);
        let remotes = sessions.filter_map(|(conn, _)| self.registry.remote(conn));
        let mut nodes: Vec<_> = remotes.map(|remote| remote.node).collect();
        let count = nodes.len();
        nodes.sort_unstable();
        nodes.dedup();
        (nodes, count)
    }

    /// Publishes an emission for the receivers on other nodes. Returns how many there are.
    ///
    /// # Errors
    /// [`EngineError::Busy`]: too much waits for the bus, and nobody gets it (R-C6).
    pub(in crate::server) fn emit_elsewhere(
        &mut self,
        recipient: &Recipient<'_>,
        text: &str,
    ) -> Result<usize, EngineError> {
        if self.cluster.is_none() {
            return Ok(0);
        }
        let registry = &self.registry;
        let rooms = &mut self.rooms_elsewhere;
        rooms.clear();
        let mut elsewhere = Elsewhere::Rooms;
        let mut add = |name: &str| {
            rooms.extend(
                registry.rooms.find(name).filter(|room| !registry.rooms.remotes(*room).is_empty()),
            );
        };
        let to_session = |conn: ConnId| match registry.remote(conn) {
            Some(remote) => Elsewhere::Node(remote.node),
            None => Elsewhere::Nobody,
        };
        match recipient {
            Recipient::Session(id) => {
                elsewhere = registry.find(id).map_or(Elsewhere::Nobody, to_session);
            }
            Recipient::Name(name) => match registry.find(name) {
                Some(conn) => elsewhere = to_session(conn),
                None => add(name),
            },
            Recipient::Rooms(names) => names.for_each_str(|name| add(&name)),
            Recipient::Everyone => {}
        }
        let count = match elsewhere {
            Elsewhere::Nobody => 0,
            Elsewhere::Node(_) => 1,
            Elsewhere::Rooms => {
                self.registry.unmark_all();
                let mut found = Vec::new();
                for room in &self.rooms_elsewhere {
                    self.registry.push_unmarked_remotes(*room, &mut found);
                }
                found.len()
            }
        };
        self.publish(elsewhere, &Payload::Emission(text.into()))?;
        Ok(count)
    }

    /// Carries out a call that another node has published. The peer may be gone by now.
    pub(super) fn called(&mut self, call: &Call) -> Result<usize, EngineError> {
        let local = |id: &str| self.registry.find_local(id).is_some();
        match call {
            Call::Send { id, text } if local(id) => {
                self.host_call(HostCall::Send { peer: id, text })
            }
            Call::Kick { id, reason } if local(id) => {
                self.host_call(HostCall::Kick { whom: Whom::Peer(id), reason })
            }
            Call::Broadcast { text } => {
                let text = FrameView::parse(text, self.config.limits.depth)?.text();
                Ok(self.broadcast_here(text))
            }
            Call::KickUser { user, reason } => Ok(self.kick_here(Whom::User(user), reason)),
            Call::Join { id, room } if local(id) => {
                self.host_call(HostCall::Join { peer: id, room })
            }
            Call::Leave { id, room } if local(id) => {
                self.host_call(HostCall::Leave { peer: id, room })
            }
            Call::CloseRoom { room } => Ok(self.close_room_here(room)),
            Call::Buried { lives } => {
                self.is_called_dead(*lives);
                Ok(0)
            }
            Call::Undelivered { id, to } => {
                let sender = self.registry.find_local(id);
                if let Some(sender) = sender {
                    self.tell_undelivered(sender, to.text());
                }
                Ok(usize::from(sender.is_some()))
            }
            _ => Ok(0),
        }
    }

    /// Reports an event about another node, in any case: operators of a cluster want to see it in the log.
    pub(in crate::server) fn tell_host_of_node(&mut self, event: Event) {
        self.out.push(Action::Event(event));
    }

    /// Reports a change with a peer of another node, if the host wants to know and knows the node.
    pub(in crate::server) fn tell_host_of_remote(
        &mut self,
        conn: ConnId,
        change: impl FnOnce(&Self, &Peer) -> RemoteChange,
    ) {
        if !self.config.remote_events {
            return;
        }
        let Some(remote) = self.registry.remote(conn) else { return };
        let Some(node) = self.node_name(remote.node) else { return };
        let change = change(self, &remote.peer);
        self.out.push(Action::Event(Event::Elsewhere { node, change }));
    }

    /// Reports that a peer is offline because its node is gone, which had this id.
    pub(in crate::server) fn tell_host_of_loss(
        &mut self,
        conn: ConnId,
        node: &str,
        reason: OfflineReason,
    ) {
        if self.config.remote_events
            && let Some(remote) = self.registry.remote(conn)
        {
            let change = RemoteChange::Offline { peer: remote.peer.address(), reason };
            self.out.push(Action::Event(Event::Elsewhere { node: node.into(), change }));
        }
    }

    /// The longest time for which a node that this one knows has not been heard; zero where there is
    /// none. It stays below two heartbeats while all is well.
    pub(in crate::server) fn cluster_lag(&self) -> Duration {
        self.cluster_nodes().map(|node| node.silence).max().unwrap_or_default()
    }

    /// The other nodes that this one knows, which are those that have answered it.
    pub fn nodes(&self) -> impl Iterator<Item = Box<str>> {
        let nodes = self.cluster.as_ref().map(|cluster| cluster.nodes.ids());
        nodes.into_iter().flatten().map(Into::into)
    }

    /// The other nodes that have answered, with their peers as far as this one knows.
    pub fn cluster_nodes(&self) -> impl Iterator<Item = ClusterNode> {
        let nodes = self.cluster.as_ref().map(|cluster| cluster.nodes.proven(self.now));
        nodes.into_iter().flatten().map(|(node, id, silence)| ClusterNode {
            id: id.into(),
            peers: self.registry.remote_count_of(node),
            silence,
        })
    }
}
