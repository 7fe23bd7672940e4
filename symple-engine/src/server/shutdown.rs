//! The end of a node (SPEC §12).

use alloc::vec::Vec;
use core::time::Duration;

use symple_proto::{CloseCode, frame::Event};

use crate::Timestamp;

use super::{ConnId, OfflineReason, Server, Text, jobs::Job, timers::Timer};

/// How often connections are closed while a node drains.
const STEP: Duration = Duration::from_millis(50);

const GOODBYE: &str = "Server shutting down";

/// A shutdown that is under way.
#[derive(Debug)]
pub(super) struct Shutdown {
    started: Timestamp,
    drain: Duration,
    /// The peers that were there when it began, those to be closed next at the end.
    left: Vec<ConnId>,
    total: usize,
}

impl Server {
    /// Says goodbye to everyone, and closes: at once, or bit by bit.
    pub(super) fn shut_down(&mut self, drain: Duration) {
        if let Some(shutdown) = &mut self.shutdown {
            // A second call can only be more urgent.
            shutdown.drain = shutdown.drain.min(drain);
            return self.drain();
        }
        let strangers: Vec<_> = self
            .registry
            .connections()
            .filter(|connection| connection.is_unauthenticated())
            .map(|connection| connection.id)
            .collect();
        let mut left: Vec<_> = self.registry.peers().map(|(conn, _)| conn).collect();
        left.reverse();
        self.out.receivers().extend(left.iter().rev());
        self.out.send(|| Text::from(Event::SHUTDOWN));
        let total = left.len();
        self.shutdown = Some(Shutdown { started: self.now, drain, left, total });
        for conn in strangers {
            self.close(conn, CloseCode::GOING_AWAY, GOODBYE);
        }
        self.drain();
    }

    /// Closes as many connections as should be closed by now.
    pub(super) fn drain(&mut self) {
        let Some(shutdown) = &mut self.shutdown else { return };
        let gone = self.now.since(shutdown.started);
        let all_at_once = shutdown.drain.is_zero();
        // Without connections there is nothing to wait for: the driver stops at once.
        let keep = if gone >= shutdown.drain || self.connections == 0 {
            0
        } else {
            let left = (shutdown.drain - gone).as_nanos() * shutdown.total as u128;
            usize::try_from(left / shutdown.drain.as_nanos()).unwrap_or(shutdown.total)
        };
        let mut closing = shutdown.left.split_off(keep.min(shutdown.left.len()));
        if keep > 0 {
            self.timers.set(self.now + STEP, Timer::Drain);
        }
        closing.retain(|conn| self.registry.peer(*conn).is_some());
        if keep == 0 {
            self.leave_cluster();
        }
        if all_at_once {
            // Everyone leaves at the same moment: nobody is left to be told.
            for conn in &closing {
                let close = Some((CloseCode::GOING_AWAY, GOODBYE));
                self.end_session(*conn, OfflineReason::Shutdown, false, close);
            }
        }
        closing.reverse();
        if all_at_once {
            for conn in closing {
                self.say_goodbye(conn);
            }
        } else {
            self.start(Job::ShutDown { peers: closing });
        }
    }

    /// Closes a connection because the node shuts down.
    pub(super) fn say_goodbye(&mut self, conn: ConnId) {
        self.end(conn, CloseCode::GOING_AWAY, GOODBYE, OfflineReason::Shutdown);
    }
}
