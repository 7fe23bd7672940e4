//! Durations, counted in classes.

use core::time::Duration;

/// How often something took how long: a histogram with fixed classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    counts: [u64; Self::BOUNDS.len() + 1],
    sum: Duration,
}

impl Latency {
    /// The upper bounds of all classes but the last, in microseconds; what is equal is below.
    pub const BOUNDS: [u64; 14] = [
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000, 5_000_000,
    ];

    /// Counts one that took so long.
    pub fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let class = Self::BOUNDS.partition_point(|bound| *bound < micros);
        self.counts[class] += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    /// The classes: their upper bounds in microseconds, the last one without; and how many there
    /// were in each, those of other classes not included.
    pub fn classes(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = Self::BOUNDS.into_iter().map(Some).chain([None]);
        bounds.zip(self.counts)
    }

    /// How many there were in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they took together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_to_a_bound_is_below_it() {
        let mut latency = Latency::default();
        for micros in [0, 100, 101, 5_000_000, 5_000_001] {
            latency.add(Duration::from_micros(micros));
        }
        latency.add(Duration::MAX);
        let class = |bound| latency.classes().find(|(at, _)| *at == bound).map(|(_, n)| n);
        assert_eq!((class(Some(100)), class(Some(250))), (Some(2), Some(1)));
        assert_eq!((class(Some(5_000_000)), class(None)), (Some(1), Some(2)));
        assert_eq!((latency.count(), latency.sum()), (6, Duration::MAX));
    }
}
