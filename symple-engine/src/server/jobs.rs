//! Work that concerns many peers, cut into slices.
//!
//! What one input asks for may concern thousands of peers and cause millions of deliveries: a room
//! is closed, a node dies, a server is drained. A slice of it is done at once, and the rest when
//! the driver comes back with [`Input::Timeout`](super::Input::Timeout), so that others are heard
//! and written to in between.

use alloc::{boxed::Box, vec::Vec};

use symple_proto::{CloseCode, Status};

use super::{ConnId, OfflineReason, Server, remotes::NodeIndex};

/// How many peers are dealt with before the rest has to wait.
const PEERS: usize = 256;

/// Something that is to be done with many peers, in the order from the end.
#[derive(Debug)]
pub(super) enum Job {
    /// Take them out of a room.
    Leave { room: Box<str>, peers: Vec<ConnId> },
    /// Close them, and tell them why.
    Kick { reason: Box<str>, peers: Vec<ConnId> },
    /// Close them because the node shuts down.
    ShutDown { peers: Vec<ConnId> },
    /// Peers of a node that is gone are offline.
    Lose { node: NodeIndex, peers: Vec<ConnId> },
}

impl Job {
    fn peers(&mut self) -> &mut Vec<ConnId> {
        match self {
            Self::Leave { peers, .. }
            | Self::Kick { peers, .. }
            | Self::ShutDown { peers }
            | Self::Lose { peers, .. } => peers,
        }
    }
}

impl Server {
    /// Does something with many peers: at once if that is not much, and if nothing waits.
    pub(super) fn start(&mut self, mut job: Job) {
        job.peers().reverse();
        let idle = self.jobs.is_empty();
        self.jobs.push_back(job);
        if idle {
            self.work();
        }
    }

    /// Does a slice of what waits.
    pub(super) fn work(&mut self) {
        let enough = self.out.deliveries + self.config.work_burst.max(1);
        let mut done = 0;
        while self.out.deliveries < enough
            && done < PEERS
            && let Some(mut job) = self.jobs.pop_front()
        {
            while let Some(conn) = job.peers().pop() {
                self.step(&job, conn);
                done += 1;
                if self.out.deliveries >= enough || done >= PEERS {
                    break;
                }
            }
            if !job.peers().is_empty() {
                return self.jobs.push_front(job);
            }
            if let Job::Lose { node, .. } = job {
                self.free_node(node);
            }
        }
    }

    fn step(&mut self, job: &Job, conn: ConnId) {
        if self.registry.peer(conn).is_none() {
            return;
        }
        match job {
            Job::Leave { room, .. } => self.leave(conn, room),
            Job::Kick { reason, .. } => {
                self.stats.kicked += 1;
                self.error(conn, Status::FORBIDDEN, reason);
                self.end(conn, CloseCode::KICKED, "Kicked", OfflineReason::Kicked);
            }
            Job::ShutDown { .. } => self.say_goodbye(conn),
            Job::Lose { .. } => self.remote_offline(conn),
        }
    }
}
