//! By when Redis must have answered.

use std::time::Duration;

use symple_engine::Timestamp;

/// A server that looks at a deadline so much later has been busy, and may not have read yet what
/// came in time.
const LATE: Duration = Duration::from_millis(100);
/// How long it then has to read it.
const GRACE: Duration = Duration::from_millis(250);

/// By when Redis must have answered.
///
/// An answer stands behind the messages that were published before it. While these keep coming,
/// Redis has twice the time.
#[derive(Debug)]
pub(super) struct Deadline {
    until: Timestamp,
    last: Timestamp,
    timeout: Duration,
    heard: u64,
}

impl Deadline {
    /// `heard` counts the messages that have come so far.
    pub(super) fn new(now: Timestamp, timeout: Duration, heard: u64) -> Self {
        Self { until: now + timeout, last: now + timeout * 2, timeout, heard }
    }

    /// When to look at it.
    pub(super) fn at(&self) -> Timestamp {
        self.until
    }

    /// Nothing is to be expected any more.
    pub(super) fn is_over(&mut self, now: Timestamp, heard: u64) -> bool {
        if now < self.until {
            return false;
        }
        if self.until + LATE < now {
            self.until = now + GRACE;
            return false;
        }
        if heard != self.heard && self.until < self.last {
            self.heard = heard;
            self.until = (now + self.timeout / 4).min(self.last);
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(3);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// R-S4: silence, messages that keep coming, and a server that was busy.
    #[test]
    fn deadlines() {
        let mut deadline = Deadline::new(at(1000), TIMEOUT, 7);
        assert!(!deadline.is_over(at(3999), 7));
        assert!(deadline.is_over(at(4000), 7));

        let mut deadline = Deadline::new(at(1000), TIMEOUT, 7);
        let mut heard = 8;
        let over = (1000..).find(|now| {
            heard += 1;
            deadline.is_over(at(*now), heard)
        });
        assert_eq!(over, Some(7000));

        let mut deadline = Deadline::new(at(1000), TIMEOUT, 7);
        assert!(!deadline.is_over(at(4000), 8));
        assert!(deadline.is_over(at(4750), 8));

        let mut deadline = Deadline::new(at(1000), TIMEOUT, 7);
        assert!(!deadline.is_over(at(9000), 7) && !deadline.is_over(at(9200), 7));
        assert!(deadline.is_over(at(9250), 7));
    }
}
