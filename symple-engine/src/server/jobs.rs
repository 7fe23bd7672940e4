//! Work that concerns many peers, cut into slices.
//!
//! One input may concern thousands of peers and cause millions of deliveries: a room is closed, a node
//! dies, a server is drained. The engine does one slice of the work at once and the rest when the driver
//! comes back with [`Input::Timeout`](super::Input::Timeout), so that the driver can serve other
//! connections in between.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use symple_proto::{CloseCode, Status};

use super::{ConnId, OfflineReason, Server, remotes::NodeIndex};

/// The cost at which a slice ends. Looking at one place costs 1.
const EFFORT: usize = 4096;
/// The cost of one peer that is dealt with.
const EFFORT_FOR_A_PEER: usize = 16;
/// The bytes that cost as much to read as one place costs to look at.
const BYTES_PER_EFFORT: usize = 64;

/// Work on many peers.
#[derive(Debug)]
pub(super) enum Job {
    /// Take them out of a room, beginning with the last. The next two begin with the last, too.
    Leave { room: Box<str>, peers: Vec<ConnId> },
    /// Close them, and tell them why.
    Kick { reason: Box<str>, peers: Vec<ConnId> },
    /// Close them because the node shuts down.
    ShutDown { peers: Vec<ConnId> },
    /// Handle the frames that a peer sent while its authentication was being decided (R-A11).
    HandleQueue { conn: ConnId },
    /// Take in the peers of another node that it has told in one part.
    Arrive { node: NodeIndex },
    /// Take those of its peers offline that it has not told of since this pull, beginning at this place.
    Sweep { node: NodeIndex, pull: u32, at: u32, any: bool },
    /// Take the peers of a node that is gone offline, beginning at this place. Its id is that by which
    /// the application knows it.
    Lose { node: NodeIndex, id: Option<Box<str>>, why: OfflineReason, at: u32 },
    /// Tell these clients what is noted for them (R-X2).
    Batches { peers: VecDeque<ConnId> },
    /// Tell these clients of the states of these rooms, which are known now, and make the changes that have
    /// waited for that (R-K2).
    States { rooms: VecDeque<Box<str>>, peers: VecDeque<ConnId> },
    /// Tell the application that the peers of a dead node are offline.
    Bury { id: Box<str>, lives: u32 },
    /// Tell the application that these peers are online, after it was told that they are not.
    Resurrect { peers: Vec<ConnId> },
}

impl Server {
    /// Starts work on many peers. It is done at once if it is little and no other work waits.
    pub(super) fn start(&mut self, mut job: Job) {
        if let Job::Leave { peers, .. } | Job::Kick { peers, .. } | Job::ShutDown { peers } =
            &mut job
        {
            peers.reverse();
        }
        let idle = self.jobs.is_empty() && !self.working;
        self.jobs.push_back(job);
        if idle {
            self.work();
        }
    }

    /// Does one slice of the waiting work.
    pub(super) fn work(&mut self) {
        self.working = true;
        // What is noted for later costs about as much as what is told at once.
        let delivered = |server: &Self| server.out.deliveries + server.deliveries_elsewhere;
        let enough = delivered(self) + self.config.work_burst.max(1);
        let mut done = 0;
        while let Some(mut job) = self.jobs.pop_front() {
            // Other work may have changed what is in it.
            self.batches.forget_written();
            while let Some(effort) = self.step(&mut job) {
                done += effort;
                if delivered(self) >= enough || done >= EFFORT {
                    self.jobs.push_front(job);
                    self.working = false;
                    return;
                }
            }
            match job {
                Job::Arrive { node } => self.part_done(node),
                Job::Sweep { node, any, .. } => self.swept(node, any),
                Job::Lose { node, .. } => {
                    self.all_buried(node);
                    self.free_node(node);
                }
                _ => {}
            }
        }
        self.working = false;
    }

    /// Does the next step of a job and returns its cost. `None` when the job is done.
    fn step(&mut self, job: &mut Job) -> Option<usize> {
        match job {
            Job::Leave { room, peers } => {
                let conn = peers.pop()?;
                if self.registry.peer(conn).is_some() {
                    self.leave(conn, room);
                }
            }
            Job::Kick { reason, peers } => {
                let conn = peers.pop()?;
                if self.registry.peer(conn).is_some() {
                    self.stats.kicked += 1;
                    self.error(conn, Status::FORBIDDEN, reason);
                    self.end(conn, CloseCode::KICKED, "Kicked", OfflineReason::Kicked);
                }
            }
            Job::ShutDown { peers } => {
                let conn = peers.pop()?;
                if self.registry.peer(conn).is_some() {
                    self.say_goodbye(conn);
                }
            }
            Job::HandleQueue { conn } => {
                let before = self.caused();
                let bytes = self.handle_queued(*conn)?;
                let caused = usize::try_from(self.caused() - before).unwrap_or(EFFORT);
                return Some(EFFORT_FOR_A_PEER + bytes / BYTES_PER_EFFORT + caused);
            }
            Job::Arrive { node } => {
                let peer = self.next_arrival(*node)?;
                // A peer that belongs to another node is skipped. The rest of the part is still valid.
                let _ = self.take_peer(*node, &peer);
            }
            Job::Sweep { node, pull, at, any } => {
                let gone = self.registry.remote_in(*at)?.filter(|remote| {
                    // A later pull may have begun.
                    let older = remote.pull.wrapping_sub(*pull).cast_signed() < 0;
                    remote.node == *node && older
                });
                let gone = gone.map(|remote| remote.conn);
                *any |= gone.is_some();
                *at += 1;
                return Some(self.lose_peer(gone, None, OfflineReason::Elsewhere));
            }
            Job::Lose { node, id, why, at } => {
                let gone = self.registry.remote_in(*at)?.filter(|remote| remote.node == *node);
                let gone = gone.map(|remote| remote.conn);
                *at += 1;
                if let Some(conn) = gone {
                    self.bury(*node, conn);
                }
                return Some(self.lose_peer(gone, id.as_deref(), *why));
            }
            Job::Batches { peers } => {
                let bytes = self.batch_due(peers.pop_front()?);
                return Some(EFFORT_FOR_A_PEER + bytes / BYTES_PER_EFFORT);
            }
            Job::States { rooms, peers } => {
                let before = self.caused();
                let bytes = self.next_of_states(rooms, peers)?;
                // Members who are looked at in vain count, too.
                let caused = usize::try_from(self.caused() - before).unwrap_or(EFFORT);
                return Some(EFFORT_FOR_A_PEER + bytes / BYTES_PER_EFFORT + caused);
            }
            Job::Bury { id, lives } => self.bury_next(id, *lives)?,
            Job::Resurrect { peers } => {
                let conn = peers.pop()?;
                self.tell_online(conn);
            }
        }
        Some(EFFORT_FOR_A_PEER)
    }

    /// Takes a peer of another node offline, if there is one: of one that is gone and had this id.
    fn lose_peer(&mut self, gone: Option<ConnId>, node: Option<&str>, why: OfflineReason) -> usize {
        match gone {
            Some(conn) => {
                if let Some(node) = node {
                    self.tell_host_of_loss(conn, node, why);
                }
                self.remote_offline(conn, why);
                EFFORT_FOR_A_PEER
            }
            None => 1,
        }
    }
}
