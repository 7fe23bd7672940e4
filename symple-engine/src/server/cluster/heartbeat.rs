//! Heartbeats: tells that this node lives, looks for nodes that are silent, and checks whether changes are
//! missing (R-C2).

use alloc::vec::Vec;
use core::time::Duration;

use symple_proto::cluster::{CLUSTER_CHANNEL, Payload};

use crate::server::{Event, OfflineReason, Server, jobs::Job, remotes::NodeIndex, timers::Timer};

use super::LOOKS_PER_BEAT;

/// The time within which every node that lives has answered `hello`.
const SETTLE: Duration = Duration::from_millis(500);

/// The longest wait for what was missing when the bus came up.
const CATCH_UP: Duration = Duration::from_secs(10);

impl Server {
    /// Looks for silent nodes, and now and then tells that this node lives.
    pub(in crate::server) fn heartbeat(&mut self) {
        let Some(config) = self.config.cluster.clone() else { return };
        let now = self.now;
        let Some(cluster) = &mut self.cluster else { return };
        let late = now.since(cluster.next_look);
        cluster.next_look = now + config.heartbeat / LOOKS_PER_BEAT;
        self.timers.set(cluster.next_look, Timer::Heartbeat);
        if late > config.heartbeat {
            // This node has been stopped, so it has not read yet what the others said meanwhile.
            cluster.nodes.heard_all(now);
        }
        cluster.nodes.expire(now, config.heartbeat, &mut cluster.turns);
        cluster.nodes.renew_disputed(now, config.heartbeat);
        let silent = cluster.nodes.silent(now, config.timeout);
        cluster.looks = cluster.looks.wrapping_add(1);
        if cluster.looks.is_multiple_of(LOOKS_PER_BEAT) || late > config.heartbeat {
            let beat = self.beat();
            self.say(CLUSTER_CHANNEL.into(), Payload::Beat(beat));
            self.tell_state_sums();
        }
        for node in silent {
            self.lose_node(node, true);
        }
        if late > config.heartbeat {
            self.may_be_buried();
        }
        self.make_claims();
        self.pull_more();
        self.check_caught_up();
    }

    /// Takes a node for gone, and its peers for offline (R-C2).
    pub(super) fn lose_node(&mut self, node: NodeIndex, dead: bool) {
        let Some(cluster) = &mut self.cluster else { return };
        let lives = cluster.nodes.get(node).map_or(0, |node| node.lives);
        let id = cluster.nodes.retire(node);
        cluster.asks.forget(node);
        self.expect_no_state_of(node);
        if let Some(id) = id.as_ref().filter(|_| dead) {
            self.dig_grave(node, id, lives);
        }
        let why = if dead { OfflineReason::NodeLost } else { OfflineReason::Shutdown };
        self.start(Job::Lose { node, id: id.clone(), why, at: 0 });
        if let Some(node) = id {
            if dead {
                self.stats.nodes_lost += 1;
            }
            self.tell_host_of_node(Event::NodeLeft { node, dead });
        }
    }

    /// Frees the place of a gone node, after all its peers have been taken offline.
    pub(in crate::server) fn free_node(&mut self, node: NodeIndex) {
        if let Some(cluster) = &mut self.cluster {
            cluster.nodes.remove(node);
            cluster.nodes.settle_disputes();
        }
        self.pull_more();
        self.check_caught_up();
    }

    /// Begins to wait for what was missed, when the bus comes up.
    pub(super) fn expect_to_catch_up(&mut self) {
        for time in [SETTLE, CATCH_UP] {
            self.timers.set(self.now + time, Timer::CaughtUp);
        }
    }

    /// Whether this node knows the peers of all others: since the bus came up it has learned what
    /// it had missed, or has given up waiting for it after ten seconds, and said so with
    /// [`Event::NotCaughtUp`]. Before, its clients would see rosters in which others are missing.
    /// True without a cluster; false while the bus is down.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.up && cluster.caught_up)
    }

    /// Checks whether everything has arrived that was missing.
    pub(in crate::server) fn check_caught_up(&mut self) {
        let now = self.now;
        let Some(cluster) = self.cluster.as_mut().filter(|it| it.up && !it.caught_up) else {
            return;
        };
        if now.since(cluster.up_at) < SETTLE {
            return;
        }
        let missing = cluster
            .nodes
            .iter()
            .filter(|(_, node)| !node.mute && (!node.is_complete() || node.behind));
        let missing: Vec<_> = missing.filter_map(|(at, _)| cluster.nodes.id(at)).collect();
        if missing.is_empty() {
            cluster.caught_up = true;
        } else if now.since(cluster.up_at) >= CATCH_UP {
            let nodes = missing.into_iter().map(Into::into).collect();
            cluster.caught_up = true;
            self.tell_host_of_node(Event::NotCaughtUp { nodes });
        }
    }
}
