//! Telling other nodes of changes to the peers of this one.
//!
//! Every change is numbered, told once to all nodes, and kept for a while for nodes that miss it.
//! While much waits for the bus, only the peer is noted, and its state is told later as it is
//! then. So the queue is bounded by the number of peers, however often they change.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use bytes::Bytes;
use symple_proto::{
    PeerId, RawJson, RoomName, UserName,
    cluster::{CLUSTER_CHANNEL, Change, Payload, PeerState},
};

use crate::{
    Timestamp,
    server::{ConnId, Server, peer::Peer, rooms::RoomIndex, timers::Timer},
};

use super::{ring::MAX_CHANGES, waiting::FOR_CHANGES};

/// The shortest time between two records of one peer that other nodes are told.
const RECORD_INTERVAL: Duration = Duration::from_millis(50);

/// The number of peers with untold changes beyond which the other nodes must ask for everything.
const MAX_DEFERRED: usize = 65_536;

/// The changes that are told later.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    /// The peers that have changed, in order. Those that are no longer in `peers` have been told
    /// meanwhile.
    order: VecDeque<ConnId>,
    /// The peers that have changed, with the id of those that are gone.
    peers: BTreeMap<ConnId, Option<PeerId>>,
    /// The peers whose record was told a moment ago, and whether it has changed since.
    records: BTreeMap<ConnId, bool>,
    /// The times at which that moment is over, in order.
    records_due: VecDeque<(Timestamp, ConnId)>,
}

impl Server {
    /// Tells all that there is to know of a peer: that it is online, or again when something has
    /// changed that has no change of its own.
    pub(in crate::server) fn announce_online(&mut self, conn: ConnId) {
        self.announce(conn, |server, peer| Some(Change::Online(server.state_of(peer)?)));
    }

    pub(in crate::server) fn announce_offline(&mut self, conn: ConnId) {
        let Some(id) = self.registry.peer(conn).and_then(id_of) else { return };
        if let Some(cluster) = &mut self.cluster {
            cluster.deferred.records.remove(&conn);
            if let Some(deferred) = cluster.deferred.peers.get_mut(&conn) {
                *deferred = Some(id.clone());
            }
        }
        self.announce(conn, |_, _| Some(Change::Offline { id }));
    }

    pub(in crate::server) fn announce_join<'a>(
        &mut self,
        conn: ConnId,
        rooms: impl Iterator<Item = &'a str>,
    ) {
        self.announce(conn, |_, peer| {
            let rooms = rooms.filter_map(|room| RoomName::new(room).ok()).collect();
            Some(Change::Join { id: id_of(peer)?, rooms })
        });
    }

    pub(in crate::server) fn announce_leave(&mut self, conn: ConnId, room: RoomIndex) {
        self.announce(conn, |server, peer| {
            let room = RoomName::new(server.registry.rooms.name(room)).ok()?;
            Some(Change::Leave { id: id_of(peer)?, room })
        });
    }

    /// Tells of a record that has changed, at once or when the last one was told long enough ago.
    pub(in crate::server) fn announce_record(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(cluster) = &mut self.cluster else { return };
        let deferred = &mut cluster.deferred;
        if let Some(changed) = deferred.records.get_mut(&conn) {
            *changed = true;
            return;
        }
        deferred.records.insert(conn, false);
        let idle = deferred.records_due.is_empty();
        deferred.records_due.push_back((now + RECORD_INTERVAL, conn));
        if idle {
            self.timers.set(now + RECORD_INTERVAL, Timer::Records);
        }
        self.tell_record(conn);
    }

    fn tell_record(&mut self, conn: ConnId) {
        self.announce(conn, |_, peer| {
            let record = RawJson::parse(peer.record.text()).ok()?;
            Some(Change::Record { id: id_of(peer)?, record })
        });
    }

    /// Tells the records that have changed again since they were told.
    pub(in crate::server) fn tell_records(&mut self) {
        let now = self.now;
        while let Some(cluster) = &mut self.cluster
            && let Some((due, conn)) = cluster.deferred.records_due.front().copied()
        {
            if due > now {
                return self.timers.set(due, Timer::Records);
            }
            let deferred = &mut cluster.deferred;
            deferred.records_due.pop_front();
            match deferred.records.get_mut(&conn) {
                Some(changed) if *changed => {
                    *changed = false;
                    deferred.records_due.push_back((now + RECORD_INTERVAL, conn));
                    self.tell_record(conn);
                }
                _ => drop(deferred.records.remove(&conn)),
            }
        }
    }

    /// Tells the other nodes what has changed with a peer of this one, or remembers that it has.
    fn announce(&mut self, conn: ConnId, change: impl FnOnce(&Self, &Peer) -> Option<Change>) {
        if self.cluster.is_none() || conn.is_remote() {
            return;
        }
        // A node that learns that the peer is in a room may send there at once.
        self.follow_occupancy();
        let Some(cluster) = &mut self.cluster else { return };
        let deferred = &mut cluster.deferred;
        if deferred.peers.contains_key(&conn) {
            return;
        }
        let busy = cluster.waiting.bytes() > FOR_CHANGES || !deferred.peers.is_empty();
        let Some(peer) = self.registry.peer(conn) else { return };
        let Some(change) = change(self, peer) else { return };
        if !busy {
            return self.tell(&change);
        }
        let gone = match change {
            Change::Offline { id } => Some(id),
            _ => None,
        };
        if let Some(cluster) = &mut self.cluster {
            cluster.deferred.peers.insert(conn, gone);
            cluster.deferred.order.push_back(conn);
            if cluster.deferred.order.len() > MAX_DEFERRED {
                self.skip_changes();
            }
        }
    }

    /// Tells the present state of a peer, if that was put off.
    pub(super) fn tell_deferred(&mut self, conn: ConnId) {
        let deferred = self.cluster.as_mut().map(|cluster| &mut cluster.deferred.peers);
        let Some(gone) = deferred.and_then(|peers| peers.remove(&conn)) else { return };
        let change = match gone {
            Some(id) => Some(Change::Offline { id }),
            None => {
                self.registry.peer(conn).and_then(|peer| self.state_of(peer)).map(Change::Online)
            }
        };
        if let Some(change) = change {
            self.tell(&change);
        }
    }

    /// Tells the changes that were put off, as far as there is room.
    pub(super) fn tell_all_deferred(&mut self) {
        while let Some(cluster) = &mut self.cluster
            && cluster.waiting.bytes() <= FOR_CHANGES
            && let Some(conn) = cluster.deferred.order.pop_front()
        {
            self.tell_deferred(conn);
        }
    }

    /// As [`tell_all_deferred`](Self::tell_all_deferred), without a bus.
    pub(super) fn number_all_deferred(&mut self) {
        let count = self.cluster.as_ref().map_or(0, |cluster| cluster.deferred.order.len());
        if count > MAX_CHANGES {
            self.skip_changes();
        } else {
            self.tell_all_deferred();
        }
    }

    /// Gives up telling the changes that were put off. The others only learn that they have missed some.
    fn skip_changes(&mut self) {
        if let Some(cluster) = &mut self.cluster {
            cluster.deferred.order.clear();
            cluster.deferred.peers.clear();
            cluster.ring.skip();
        }
    }

    /// Tells a change if the bus is up. It gets a number in any case.
    fn tell(&mut self, change: &Change) {
        let Some(cluster) = &mut self.cluster else { return };
        let text = Bytes::from(change.encode().into_owned());
        cluster.ring.push(text.clone());
        let text = core::str::from_utf8(&text).unwrap_or_default();
        self.say(CLUSTER_CHANNEL.into(), Payload::Change(text.into()));
    }

    /// The state of a peer of this node, as other nodes are told.
    pub(super) fn state_of(&self, peer: &Peer) -> Option<PeerState> {
        let rooms = peer.memberships.iter().map(|membership| membership.room);
        Some(PeerState {
            user: UserName::new(peer.user()).ok()?,
            id: id_of(peer)?,
            record: RawJson::parse(peer.record.text()).ok()?,
            hidden: peer.hidden,
            read_only: peer.read_only,
            rooms: rooms
                .filter_map(|room| RoomName::new(self.registry.rooms.name(room)).ok())
                .collect(),
        })
    }
}

fn id_of(peer: &Peer) -> Option<PeerId> {
    PeerId::new(peer.id()).ok()
}
