//! What is to be looked at later.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::Timestamp;

use super::{ConnId, RequestId};

/// What is to be looked at. That it has settled itself meanwhile is noticed when it is looked at:
/// nothing is ever taken out before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Has the connection sent `auth`?
    Auth(ConnId),
    /// Has the authentication been decided?
    Decision(RequestId),
    /// The bucket has room again.
    Refill(ConnId),
    /// Is the session of the peer still there?
    Session(ConnId),
    /// Time to tell other nodes of records that have changed again.
    Records,
    /// Time to tell that this node lives, and to look for nodes that are silent.
    Heartbeat,
    /// Is everything here that was missing when the bus came up?
    CaughtUp,
    /// The next connections are to be closed.
    Drain,
    /// Those who are told in batches are told.
    Batches,
    /// States that nobody uses end.
    States,
    /// Have the other nodes told of the states that they were asked for?
    StateFetch(u64),
    /// Has the application answered what it was asked?
    Hooks,
}

/// Timers in the order of their times, and of their setting where the times are equal.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Timestamp, u64, Timer)>>,
    set: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at: Timestamp, timer: Timer) {
        self.set += 1;
        self.heap.push(Reverse((at, self.set, timer)));
    }

    /// How often a timer is set.
    #[cfg(test)]
    pub(super) fn count(&self, timer: Timer) -> usize {
        self.heap.iter().filter(|Reverse((.., set))| *set == timer).count()
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// One that is due.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((.., timer))| timer)
    }
}
