//! Telling once of the peers of a node that died (R-H3).
//!
//! Every node decides by itself that another one is silent, and some decide wrongly because they are cut
//! off themselves. So a node claims the dead node in Redis, where all can see it, before it tells the
//! application. One claim is granted, and the node that has it tells.
//!
//! A node claims itself when it may have been taken for dead: after its bus was down, after it was
//! stopped, or when another node says so. In any case its life is over then, and it begins
//! another one. If another node had the claim, the node tells the application that its peers are online.

use alloc::{boxed::Box, format, vec::Vec};
use core::time::Duration;

use symple_proto::cluster::{CLUSTER_CHANNEL, Payload};

use super::{
    Changed, Hooks,
    changes::{Gone, last_number},
};
use crate::{
    Timestamp,
    server::{Action, ConnId, OfflineReason, RequestId, Server, jobs::Job, remotes::NodeIndex},
};

/// The number of dead nodes that are remembered, to tell them so if they are alive after all.
const MAX_BURIED: usize = 64;

/// The most lives that are believed. A node that claims to have had more is wrong.
pub(in crate::server) const MAX_LIVES: u32 = 1 << 12;

/// A node that is dead.
#[derive(Debug)]
pub(super) struct Grave {
    id: Box<str>,
    /// Its place, as long as some of its peers are not offline yet.
    node: Option<NodeIndex>,
    /// How often it had come back.
    lives: u32,
    /// The earliest time at which it is claimed.
    claim_after: Timestamp,
    /// The claim that is open.
    request: Option<RequestId>,
    /// Whether it was granted.
    won: Option<bool>,
    /// Its peers that have gone offline.
    peers: Vec<Gone>,
}

/// This node's claim of itself.
#[derive(Debug, Default)]
pub(super) struct OwnClaim {
    /// Whether this node may have been taken for dead.
    wanted: bool,
    /// The claim that is open.
    request: Option<RequestId>,
}

impl Server {
    /// Notes a dead node, before its peers are taken offline.
    pub(in crate::server) fn dig_grave(&mut self, node: NodeIndex, id: &str, lives: u32) {
        if !self.config.hooks.changes {
            return;
        }
        let hooks = &mut self.hooks;
        hooks.buried.retain(|(buried, _)| **buried != *id);
        if hooks.buried.len() == MAX_BURIED {
            hooks.buried.pop_front();
        }
        hooks.buried.push_back((id.into(), lives));
        hooks.graves.push(Grave {
            id: id.into(),
            node: Some(node),
            lives,
            claim_after: self.now,
            request: None,
            won: None,
            peers: Vec::new(),
        });
        self.make_claims();
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

    /// Makes the claims that have not been answered, those of others as soon as this node would
    /// have heard of them if they were alive.
    pub(in crate::server) fn make_claims(&mut self) {
        if self.hooks.own_claim.wanted && self.hooks.own_claim.request.is_none() {
            let id = Box::<str>::from(self.node_id().unwrap_or_default());
            let request = self.claim(&id, self.hooks.lives);
            self.hooks.own_claim.request = Some(request);
        }
        if self.hooks.graves.is_empty() || !self.hears_others() {
            return;
        }
        let mut graves = core::mem::take(&mut self.hooks.graves);
        // It is alive: it finds out by itself whether another node has told its end.
        graves.retain(|grave| grave.won.is_some() || !self.is_node(&grave.id));
        for grave in &mut graves {
            let due = grave.claim_after <= self.now;
            if due && grave.request.is_none() && grave.won.is_none() {
                grave.request = Some(self.claim(&grave.id, grave.lives));
            }
        }
        self.hooks.graves = graves;
    }

    fn claim(&mut self, id: &str, lives: u32) -> RequestId {
        self.last_request += 1;
        let request = RequestId(self.last_request);
        let key = format!("claim:{id}:{lives}").into();
        let node = self.node_id().unwrap_or_default().into();
        self.out.push(Action::Claim { request, key, node });
        request
    }

    /// Handles the answer to a claim: the holder. With `None` the store did not say, and the claim is made again
    /// at the next heartbeat.
    pub(in crate::server) fn claimed(&mut self, request: RequestId, holder: Option<&str>) {
        let granted = holder.map(|holder| self.node_id() == Some(holder));
        if self.hooks.own_claim.request == Some(request) {
            self.hooks.own_claim.request = None;
            if let Some(granted) = granted {
                self.hooks.own_claim.wanted = false;
                self.begin_life(!granted);
            }
            return;
        }
        let timeout = self.config.cluster.as_ref().map_or(Duration::ZERO, |config| config.timeout);
        let graves = &mut self.hooks.graves;
        let Some(at) = graves.iter().position(|grave| grave.request == Some(request)) else {
            return;
        };
        let grave = &mut graves[at];
        grave.request = None;
        if holder == Some(&*grave.id) && grave.lives < MAX_LIVES {
            // It was back after that, and began another life. If it does not live any more it is
            // not heard of until then.
            grave.lives += 1;
            grave.claim_after = self.now + timeout;
            return;
        }
        grave.won = granted;
        match granted {
            Some(true) => {
                let (id, lives) = (grave.id.clone(), grave.lives);
                self.start(Job::Bury { id, lives });
            }
            Some(false) => {
                grave.peers = Vec::new();
                if grave.node.is_none() {
                    graves.swap_remove(at);
                }
            }
            None => {}
        }
    }

    /// Tells that the next peer of a dead node is offline. `None` when there are no more.
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

    /// A node lives, and says how often it has come back. If it was taken for dead here, it is told
    /// so until it has come back once more.
    pub(in crate::server) fn heard_alive(&mut self, node: NodeIndex, lives: u32) {
        if self.hooks.buried.is_empty() {
            return;
        }
        let Some(id) = self.node_name(node) else { return };
        let buried = &mut self.hooks.buried;
        let Some(at) = buried.iter().position(|(buried, _)| *buried == id) else { return };
        if buried[at].1 < lives {
            buried.remove(at);
        } else {
            self.call_buried(node, lives);
        }
    }

    /// This node may have been taken for dead: others have not heard of it for a while, or say so.
    pub(in crate::server) fn may_be_buried(&mut self) {
        if self.config.hooks.changes {
            self.hooks.own_claim.wanted = true;
            self.make_claims();
        }
    }

    /// Another node says that it has taken this one for dead, in one of its lives.
    pub(in crate::server) fn is_called_dead(&mut self, lives: u32) {
        if lives == self.hooks.lives {
            self.may_be_buried();
        }
    }

    /// This node begins another life; in the last one, perhaps, another node has told that its
    /// peers are offline.
    fn begin_life(&mut self, buried: bool) {
        if self.hooks.lives == MAX_LIVES {
            return;
        }
        self.hooks.lives += 1;
        let beat = self.beat();
        self.say(CLUSTER_CHANNEL.into(), Payload::Beat(beat));
        if buried {
            let peers = self.registry.peers().map(|(conn, _)| conn).collect();
            self.start(Job::Resurrect { peers });
        }
    }
}

impl Hooks {
    /// How often this node has begun another life.
    pub(in crate::server) fn lives(&self) -> u32 {
        self.lives
    }
}
