//! Telling once of the peers of a node that died (R-H3).
//!
//! Every node sees by itself that another one is silent, and some see it who are only cut off
//! themselves. So none of them tells the application before it has claimed the dead node where
//! they all can see it (in Redis); one claim is granted, and whoever has it tells. A node that was
//! taken for dead and is back is told so by the one that has the claim: then it begins a new life,
//! and tells that its peers are online.

use alloc::{boxed::Box, format, vec::Vec};

use symple_proto::cluster::{CLUSTER_CHANNEL, Call, Payload};

use super::{
    Changed,
    changes::{Gone, last_number},
};
use crate::server::{
    Action, ConnId, OfflineReason, RequestId, Server, jobs::Job, remotes::NodeIndex,
};

/// So many nodes are remembered that this node has told the end of.
const MAX_BURIED: usize = 64;

/// A node that came back more often than this has not.
const MAX_LIVES: u32 = 1 << 12;

/// A node that is dead.
#[derive(Debug)]
pub(super) struct Grave {
    id: Box<str>,
    /// Its place, as long as some of its peers are still to go.
    node: Option<NodeIndex>,
    /// How often it had come back.
    lives: u32,
    /// The claim that is open.
    request: Option<RequestId>,
    /// Whether it was granted.
    won: Option<bool>,
    /// Those of its peers that have gone.
    peers: Vec<Gone>,
}

impl Server {
    /// A node is dead, and its peers are about to go.
    pub(in crate::server) fn dig_grave(&mut self, node: NodeIndex, id: &str, lives: u32) {
        if self.config.hooks.changes {
            let grave = Grave {
                id: id.into(),
                node: Some(node),
                lives,
                request: None,
                won: None,
                peers: Vec::new(),
            };
            self.hooks.graves.push(grave);
            self.claim_graves();
        }
    }

    /// A peer of a node that is gone is about to go.
    pub(in crate::server) fn bury(&mut self, node: NodeIndex, conn: ConnId) {
        if self.hooks.graves.is_empty() {
            return;
        }
        let gone = self.whole(conn);
        let graves = &mut self.hooks.graves;
        let grave = graves.iter_mut().find(|grave| grave.node == Some(node));
        if let Some(grave) = grave.filter(|grave| grave.won != Some(false)) {
            grave.peers.extend(gone);
        }
    }

    /// All peers of a node are gone.
    pub(in crate::server) fn all_buried(&mut self, node: NodeIndex) {
        for grave in &mut self.hooks.graves {
            if grave.node == Some(node) {
                grave.node = None;
            }
        }
        self.hooks.graves.retain(|grave| grave.node.is_some() || grave.won != Some(false));
    }

    /// Claims the dead nodes that have not been claimed, as soon as this node would hear of it if
    /// they were alive.
    pub(in crate::server) fn claim_graves(&mut self) {
        if self.hooks.graves.is_empty() || !self.hears_others() {
            return;
        }
        let mut graves = core::mem::take(&mut self.hooks.graves);
        // It is alive: no one has told its end but, perhaps, someone who will tell it so.
        graves.retain(|grave| grave.won.is_some() || !self.is_node(&grave.id));
        for grave in &mut graves {
            if grave.request.is_none() && grave.won.is_none() {
                self.last_request += 1;
                let request = RequestId(self.last_request);
                grave.request = Some(request);
                let key = format!("claim:{}:{}", grave.id, grave.lives).into();
                let node = self.node_id().unwrap_or_default().into();
                self.out.push(Action::Claim { request, key, node });
            }
        }
        self.hooks.graves = graves;
    }

    /// Whether a claim was granted; `None` if it cannot be told.
    pub(in crate::server) fn claimed(&mut self, request: RequestId, granted: Option<bool>) {
        let graves = &mut self.hooks.graves;
        let Some(at) = graves.iter().position(|grave| grave.request == Some(request)) else {
            return;
        };
        let grave = &mut graves[at];
        (grave.request, grave.won) = (None, granted);
        match granted {
            Some(true) => {
                let (id, lives) = (grave.id.clone(), grave.lives);
                let buried = &mut self.hooks.buried;
                buried.retain(|(node, _)| *node != id);
                if buried.len() == MAX_BURIED {
                    buried.pop_front();
                }
                buried.push_back((id.clone(), lives));
                self.start(Job::Bury { id, lives });
            }
            Some(false) => {
                grave.peers = Vec::new();
                if grave.node.is_none() {
                    graves.swap_remove(at);
                }
            }
            // It is claimed again at the next heartbeat.
            None => {}
        }
    }

    /// Tells the end of the next peer of a dead node. `None` when there is no more.
    pub(in crate::server) fn bury_next(&mut self, id: &str, lives: u32) -> Option<()> {
        let graves = &mut self.hooks.graves;
        let at = graves.iter().position(|grave| *grave.id == *id && grave.lives == lives)?;
        let Some((peer, rooms)) = graves[at].peers.pop() else {
            if graves[at].node.is_none() {
                graves.swap_remove(at);
            }
            return None;
        };
        let what = Changed::Offline { rooms, reason: OfflineReason::NodeLost };
        self.tell_numbered(peer, last_number(lives), what);
        Some(())
    }

    /// A node lives, and says how often it has come back: whoever has told its end says so.
    pub(in crate::server) fn heard_alive(&mut self, node: NodeIndex, lives: u32) {
        if self.hooks.buried.is_empty() {
            return;
        }
        let id = self.node_name(node);
        let buried = id.and_then(|id| {
            self.hooks.buried.iter().find(|(buried, _)| *buried == id).map(|(_, lives)| *lives)
        });
        if let Some(last) = buried.filter(|last| *last >= lives) {
            self.call_node(node, Call::Buried { lives: last });
        }
    }

    /// Another node has told that the peers of this one are offline: they are not.
    pub(in crate::server) fn buried_alive(&mut self, lives: u32) {
        if lives < self.hooks.lives || lives >= MAX_LIVES {
            return;
        }
        self.hooks.lives = lives + 1;
        let beat = self.beat();
        self.say(CLUSTER_CHANNEL.into(), Payload::Beat(beat));
        if self.config.hooks.changes {
            let peers = self.registry.peers().map(|(conn, _)| conn).collect();
            self.start(Job::Resurrect { peers });
        }
    }

    /// How often this node was taken for dead, and has come back.
    pub(in crate::server) fn lives(&self) -> u32 {
        self.hooks.lives
    }
}
