//! When the next message is sent.

use std::time::Duration;

use serde_json::{Value, json};

/// When the next message is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Closed loop: when an earlier one has arrived; so many of each sender are outstanding.
    Window(u32),
    /// Open loop: so many a second in all, whatever arrives.
    Rate(f64),
}

impl Pace {
    /// For a report.
    pub(crate) fn parameter(self) -> (&'static str, Value) {
        match self {
            Self::Window(window) => ("window", json!(window)),
            Self::Rate(rate) => ("rate", json!(rate)),
        }
    }
}

/// The times of an open loop: evenly spaced, and not moved by anything that happens. Latency is
/// counted from them, so a server that holds up the sender does not hide what it costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Nanoseconds since the start of the swarm.
    from: u64,
    step: f64,
    /// How many times have been.
    pub(crate) count: u64,
}

impl Schedule {
    /// So many times a second, from a time on.
    pub(crate) fn new(from: u64, rate: f64) -> Self {
        let step = Duration::from_secs(1).as_nanos() as f64 / rate.max(1e-6);
        Self { from, step, count: 0 }
    }

    /// The time that comes next.
    pub(crate) fn next_at(&self) -> u64 {
        self.from.saturating_add((self.step * self.count as f64) as u64)
    }

    /// The next time, if it has come: which it is, and when it was.
    pub(crate) fn take(&mut self, now: u64) -> Option<(u64, u64)> {
        let at = self.next_at();
        (at <= now).then(|| {
            self.count += 1;
            (self.count - 1, at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_do_not_move() {
        let mut schedule = Schedule::new(500, 1e6);
        assert_eq!(schedule.take(499), None);
        assert_eq!(schedule.take(3000), Some((0, 500)));
        assert_eq!(schedule.take(3000), Some((1, 1500)));
        assert_eq!(schedule.take(3000), Some((2, 2500)));
        assert_eq!(schedule.take(3000), None);
        assert_eq!(schedule.next_at(), 3500);
    }
}
