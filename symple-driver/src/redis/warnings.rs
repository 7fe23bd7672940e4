//! Warnings with a rate limit: what others do wrong must not fill the log.

use std::{fmt, mem, time::Duration};

use symple_engine::Timestamp;

/// How often something is said.
const INTERVAL: Duration = Duration::from_secs(1);

/// Warnings of a kind, once in a while.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    next: Timestamp,
    suppressed: u64,
}

impl Warnings {
    /// Says what is wrong, or counts it.
    pub(crate) fn warn(&mut self, now: Timestamp, what: &str, problem: &dyn fmt::Display) {
        if now < self.next {
            self.suppressed += 1;
        } else {
            let suppressed = mem::take(&mut self.suppressed);
            tracing::warn!(%problem, suppressed, "{what}");
            self.next = now + INTERVAL;
        }
    }

    /// Says how many more there were.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        if self.suppressed > 0 && now >= self.next {
            let suppressed = mem::take(&mut self.suppressed);
            tracing::warn!("the same {suppressed} more times");
            self.next = now + INTERVAL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_counted() {
        let mut warnings = Warnings::default();
        let at = Timestamp::from_millis;
        for now in [5, 6, 7, 900] {
            warnings.warn(at(now), "it is dropped", &"a problem");
        }
        warnings.settle(at(1000));
        assert_eq!(warnings.suppressed, 3);
        warnings.settle(at(1005));
        assert_eq!((warnings.suppressed, warnings.next), (0, at(2005)));
        warnings.settle(at(9000));
        assert_eq!(warnings.next, at(2005));
    }
}
