//! Events that wait to be told, bounded.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The most events of one batch.
pub(super) const BATCH_EVENTS: usize = 100;
/// The most bytes of the events of one batch, unless a single one is larger.
pub(super) const BATCH_BYTES: usize = 64 * 1024;

/// How much may wait. Past it the oldest events are dropped, and counted: of what is stale a receiver
/// knows better than of what is new.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// Events in order, each a JSON object.
#[derive(Debug)]
pub(super) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Box<str>>,
    bytes: usize,
    /// How many were dropped since the last batch.
    dropped: u64,
    /// How many are in the batch that was taken last, until it has been told or given up.
    taken: usize,
    /// How many were dropped at all.
    all_dropped: u64,
}

/// Events that are told together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) events: Vec<Box<str>>,
    /// How many were dropped before these.
    pub(super) dropped: u64,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. True if it is the first that was dropped for it since the last batch.
    pub(super) fn push(&self, event: Box<str>) -> bool {
        let mut state = self.state();
        let before = state.dropped;
        state.bytes += event.len();
        state.events.push_back(event);
        while state.events.len() > self.limits.events || state.bytes > self.limits.bytes {
            let Some(oldest) = state.events.pop_front() else { break };
            state.bytes -= oldest.len();
            state.dropped += 1;
            state.all_dropped += 1;
        }
        before == 0 && state.dropped > 0
    }

    /// The batch that was taken has been told.
    pub(super) fn told(&self) {
        self.state().taken = 0;
    }

    /// The batch that was taken could not be told: whoever is told next learns how many are missing.
    pub(super) fn lost(&self, batch: &Batch) {
        let (mut state, events) = (self.state(), batch.events.len() as u64);
        state.taken = 0;
        state.dropped += events + batch.dropped;
        state.all_dropped += events;
    }

    /// How many events have not been told, those included that are being told; and how many were dropped since
    /// the start.
    pub(super) fn counts(&self) -> (usize, u64) {
        let state = self.state();
        (state.events.len() + state.taken, state.all_dropped)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().events.is_empty()
    }

    /// True if there is no use in waiting for more.
    pub(super) fn fills_a_batch(&self) -> bool {
        let state = self.state();
        state.events.len() >= BATCH_EVENTS || state.bytes >= BATCH_BYTES
    }

    /// How many events wait, and how many were dropped.
    pub(super) fn left(&self) -> (usize, u64) {
        let state = self.state();
        (state.events.len(), state.dropped)
    }

    /// Takes out the oldest events; none if there are none.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut state = self.state();
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some(event) = state.events.front()
            && events.len() < BATCH_EVENTS
            && (events.is_empty() || bytes + event.len() <= BATCH_BYTES)
        {
            bytes += event.len();
            events.extend(state.events.pop_front());
        }
        state.bytes -= bytes;
        if state.events.is_empty() {
            // What a flood has taken is given back.
            state.events = VecDeque::new();
        }
        if events.is_empty() {
            return None;
        }
        state.taken = events.len();
        Some(Batch { events, dropped: std::mem::take(&mut state.dropped) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize, len: usize) -> Box<str> {
        (format!("{number:04}") + &"x".repeat(len - 4)).into()
    }

    /// R-W1: the oldest go first, and what goes is counted once.
    #[test]
    fn a_queue_is_bounded() {
        let queue = Queue::new(QueueLimits { events: 250, bytes: 1 << 20 });
        let first: Vec<_> = (0..260).filter(|number| queue.push(event(*number, 4))).collect();
        assert_eq!(first, [250]);
        assert_eq!(queue.left(), (250, 10));
        let batch = queue.take().unwrap();
        assert_eq!((batch.events.len(), batch.dropped), (100, 10));
        assert_eq!(&*batch.events[0], "0010");
        let batch = queue.take().unwrap();
        assert_eq!((batch.events.len(), batch.dropped), (100, 0));
        assert_eq!(queue.counts(), (150, 10));
        queue.lost(&batch);
        assert_eq!(queue.counts(), (50, 110));
        let batch = queue.take().unwrap();
        assert_eq!((batch.events.len(), batch.dropped), (50, 100));
        // What it says of those before is not dropped again.
        queue.lost(&batch);
        assert_eq!((queue.counts(), queue.left()), ((0, 160), (0, 150)));
        queue.push(event(0, 4));
        let batch = queue.take().unwrap();
        assert_eq!((batch.events.len(), batch.dropped), (1, 150));
        queue.told();
        assert_eq!(queue.counts(), (0, 160));
        assert_eq!(queue.take(), None);
        assert!(queue.is_empty());
    }

    /// R-W1: bytes count, too.
    #[test]
    fn large_events() {
        let queue = Queue::new(QueueLimits { events: 1000, bytes: 300_000 });
        for number in 0..10 {
            queue.push(event(number, 40_000));
        }
        assert_eq!(queue.left(), (7, 3));
        assert!(queue.fills_a_batch());
        assert_eq!(queue.take().unwrap().events.len(), 1);
        queue.push(event(0, 200_000));
        let sizes: Vec<_> =
            std::iter::from_fn(|| queue.take()).map(|batch| batch.events[0].len()).collect();
        assert_eq!(sizes, [40_000, 40_000, 200_000]);
        // What is larger than all that may wait is dropped itself.
        queue.push(event(0, 300_001));
        assert_eq!(queue.left(), (0, 1));
    }
}
