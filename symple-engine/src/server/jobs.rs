//! Work that concerns many peers, cut into slices.
//!
//! What one input asks for may concern thousands of peers and cause millions of deliveries: a room
//! is closed, a node dies, a server is drained. A slice of it is done at once, and the rest when
//! the driver comes back with [`Input::Timeout`](super::Input::Timeout), so that others are heard
//! and written to in between.

use alloc::{boxed::Box, vec::Vec};

use symple_proto::{CloseCode, Status};

use super::{ConnId, OfflineReason, Server, remotes::NodeIndex};

/// How much is done before the rest has to wait: so much for a peer that is dealt with, and one for
/// a place that is looked at.
const EFFORT: usize = 4096;
const EFFORT_FOR_A_PEER: usize = 16;
/// To read so many bytes is as much as to look at a place.
const BYTES_PER_EFFORT: usize = 64;

/// Something that is to be done with many peers.
#[derive(Debug)]
pub(super) enum Job {
    /// Take them out of a room. From the end, as are the next two.
    Leave { room: Box<str>, peers: Vec<ConnId> },
    /// Close them, and tell them why.
    Kick { reason: Box<str>, peers: Vec<ConnId> },
    /// Close them because the node shuts down.
    ShutDown { peers: Vec<ConnId> },
    /// Handle what a peer has sent while its authentication was being decided (R-A11).
    HandleQueue { conn: ConnId },
    /// Peers of another node arrive that it has told in a part.
    Arrive { node: NodeIndex },
    /// Those of its peers that it has not told of since this pull are offline; from this place on.
    Sweep { node: NodeIndex, pull: u32, at: u32, any: bool },
    /// Peers of a node that is gone are offline; from this place on.
    Lose { node: NodeIndex, at: u32 },
    /// The application is told that the peers of a dead node are offline.
    Bury { id: Box<str>, lives: u32 },
    /// The application is told that these are online, though it was told otherwise.
    Resurrect { peers: Vec<ConnId> },
}

impl Server {
    /// Does something with many peers: at once if that is not much, and if nothing waits.
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

    /// Does a slice of what waits.
    pub(super) fn work(&mut self) {
        self.working = true;
        let enough = self.out.deliveries + self.config.work_burst.max(1);
        let mut done = 0;
        while let Some(mut job) = self.jobs.pop_front() {
            while let Some(effort) = self.step(&mut job) {
                done += effort;
                if self.out.deliveries >= enough || done >= EFFORT {
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

    /// Does the next bit of a job; how much it was. `None` when there is no more.
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
                // One that is another's is left out; nothing else of the part is wrong for it.
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
                return Some(self.lose_peer(gone));
            }
            Job::Lose { node, at } => {
                let gone = self.registry.remote_in(*at)?.filter(|remote| remote.node == *node);
                let gone = gone.map(|remote| remote.conn);
                *at += 1;
                if let Some(conn) = gone {
                    self.bury(*node, conn);
                }
                return Some(self.lose_peer(gone));
            }
            Job::Bury { id, lives } => self.bury_next(id, *lives)?,
            Job::Resurrect { peers } => {
                let conn = peers.pop()?;
                self.tell_online(conn);
            }
        }
        Some(EFFORT_FOR_A_PEER)
    }

    fn lose_peer(&mut self, gone: Option<ConnId>) -> usize {
        match gone {
            Some(conn) => {
                self.remote_offline(conn);
                EFFORT_FOR_A_PEER
            }
            None => 1,
        }
    }
}
