//! Telling the other nodes all peers of this one.
//!
//! Fifty thousand peers are twenty megabytes. They are told bit by bit, so that neither this node
//! nor the bus stands still meanwhile; what changes in between is told in between. And they are
//! told to all nodes at once: after the bus was away, everyone asks.

use alloc::vec::Vec;
use core::time::Duration;

use symple_proto::cluster::{CLUSTER_CHANNEL, Payload, Snapshot};

use crate::{Timestamp, server::Server, server::timers::Timer};

/// A part has about so many bytes.
const PART_SIZE: usize = 32 * 1024;

/// When so much has been told as may be told at once, something else may happen for so long.
const PAUSE: Duration = Duration::from_millis(20);

/// How often all peers are told, at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is told to all.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// Which part comes next, and with which slot it begins; while there is one.
    next: Option<(u32, usize)>,
    /// Someone has asked since it began.
    again: bool,
    /// When it begins again.
    begins_at: Option<Timestamp>,
    /// When it began last.
    began_at: Option<Timestamp>,
}

impl Server {
    /// Tells all peers of this node, now or soon.
    pub(super) fn tell_all_peers(&mut self) {
        let now = self.now;
        let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.up) else { return };
        let telling = &mut cluster.telling;
        if telling.next.is_some() {
            telling.again = true;
        } else if telling.begins_at.is_none() {
            let begins_at = telling.began_at.map_or(now, |began_at| now.max(began_at + INTERVAL));
            telling.begins_at = Some(begins_at);
            if begins_at == now {
                self.tell_more();
            } else {
                self.timers.set(begins_at, Timer::Tell);
            }
        }
    }

    /// Nobody has heard what was told so far, and all must hear all.
    pub(super) fn tell_anew(&mut self) {
        if let Some(cluster) = &mut self.cluster {
            cluster.telling = Telling::default();
        }
        self.tell_all_peers();
    }

    /// Tells the next parts, if it is time.
    pub(in crate::server) fn tell_more(&mut self) {
        let now = self.now;
        let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.up) else { return };
        let telling = &mut cluster.telling;
        if telling.begins_at.is_some_and(|begins_at| begins_at <= now) {
            telling.begins_at = None;
            telling.began_at = Some(now);
            telling.next = Some((0, 0));
        }
        let Some((mut part, mut slot)) = telling.next.take() else { return };
        let burst = self.config.cluster.as_ref().map_or(0, |config| config.snapshot_burst);
        let mut told = 0;
        while told < burst.max(1) {
            let (mut peers, mut size) = (Vec::new(), 0);
            let end = self.registry.slots();
            while slot < end && size < PART_SIZE.min(burst.max(1)) {
                let state = self.registry.peer_in(slot).and_then(|peer| self.state_of(peer));
                slot += 1;
                if let Some(state) = state {
                    size += state.record.text().len() + 128;
                    size += state.rooms.iter().map(|room| room.as_str().len() + 3).sum::<usize>();
                    peers.push(state);
                }
            }
            let last = slot >= end;
            let text = Snapshot { part, last, peers }.encode();
            self.say(CLUSTER_CHANNEL.into(), Payload::Snapshot(text));
            if last {
                let telling = self.cluster.as_mut().map(|cluster| &mut cluster.telling);
                if telling.is_some_and(|telling| core::mem::take(&mut telling.again)) {
                    self.tell_all_peers();
                }
                return;
            }
            told += size;
            part = part.saturating_add(1);
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.telling.next = Some((part, slot));
        }
        self.timers.set(now + PAUSE, Timer::Tell);
    }
}
