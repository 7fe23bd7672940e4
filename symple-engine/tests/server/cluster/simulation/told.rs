//! What applications are told of peers (R-H3), and whether it is right.

use std::{collections::BTreeMap, time::Duration};

use symple_engine::server::{Changed, OfflineReason, PeerChange};

use super::World;

/// A node that died in a life of which the others had not heard is claimed this much later.
const LATER: Duration = Duration::from_secs(8);

/// Everything that was told, on all nodes together.
#[derive(Default)]
pub(super) struct Told {
    /// By peer: whether it is online, by number.
    peers: BTreeMap<String, BTreeMap<u64, Option<bool>>>,
    /// Peers whose node has crashed, and the nodes that knew them; none if some did not.
    lost: BTreeMap<String, Vec<String>>,
    /// Someone has spoken in a node's name: nodes may know what is not so.
    pub(super) forged: bool,
    /// How many peers of dead nodes were told to be offline.
    pub(super) deaths: usize,
}

impl Told {
    pub(super) fn add(&mut self, change: PeerChange, seed: u64) {
        let PeerChange { peer, number, what } = change;
        let online = match &what {
            Changed::Online { .. } => Some(true),
            Changed::Offline { reason, .. } => {
                self.deaths += usize::from(*reason == OfflineReason::NodeLost);
                Some(false)
            }
            _ => None,
        };
        let before = self.peers.entry(peer.to_string()).or_default().insert(number, online);
        assert_eq!(before, None, "seed {seed}: {peer} {number} is told twice: {what:?}");
    }

    fn is_online(changes: &BTreeMap<u64, Option<bool>>) -> bool {
        changes.values().rev().find_map(|online| *online).unwrap_or_default()
    }
}

impl World {
    /// A node is about to crash.
    pub(super) fn note_crash(&mut self, at: usize) {
        for client in self.nodes[at].clients.values().filter(|client| !client.id.is_empty()) {
            let mut knowing = Vec::new();
            let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != at);
            for (_, other) in others {
                let known = other.server.peer_rooms(&client.address).is_some();
                if !known {
                    knowing.clear();
                    break;
                }
                knowing.push(other.server.node_id().unwrap().to_owned());
            }
            self.told.lost.insert(client.address.clone(), knowing);
        }
    }

    /// What was told last of each peer is true.
    pub(super) fn check_told(&mut self) {
        if self.wrongly_told().is_some() {
            self.pass(LATER);
        }
        if let Some(what) = self.wrongly_told() {
            self.fail(&what);
        }
    }

    fn wrongly_told(&self) -> Option<String> {
        let online = |peer: &str| self.all().any(|(_, _, client)| client.address == peer);
        for (_, _, client) in self.all() {
            let told = self.told.peers.get(&client.address);
            if !told.is_some_and(Told::is_online) {
                return Some(format!("{} is online, and told was {told:?}", client.address));
            }
        }
        if self.told.forged {
            return None;
        }
        let alive = |id: &String| self.nodes.iter().any(|node| node.server.node_id() == Some(id));
        for (peer, told) in self.told.peers.iter().filter(|(peer, _)| !online(peer)) {
            // Who has told nobody of a peer before it died, or only those who are gone, too, has
            // left nobody to tell.
            let untold = self.told.lost.get(peer).is_some_and(|knowing| !knowing.iter().any(alive));
            if Told::is_online(told) && !untold {
                return Some(format!("{peer} is offline, and told was {told:?}"));
            }
        }
        None
    }
}
