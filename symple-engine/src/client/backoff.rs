//! How long to wait before the next attempt: exponential, with full jitter.

use core::time::Duration;

use crate::{Timestamp, server::Random};

use super::config::ReconnectConfig;

/// The attempts that have failed in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// How many.
    pub(super) failures: u32,
}

impl Backoff {
    /// The connection was online for so long before it ended: that counts as success, or as one
    /// more failure.
    pub(super) fn was_online(
        &mut self,
        config: &ReconnectConfig,
        since: Timestamp,
        now: Timestamp,
    ) {
        if now.since(since) >= config.reset_after {
            self.failures = 0;
        }
    }

    /// A random wait before the next attempt, which grows with each.
    pub(super) fn next(&mut self, config: &ReconnectConfig, random: &mut dyn Random) -> Duration {
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let longest = config.start.checked_mul(doubled).unwrap_or(config.cap).min(config.cap);
        part(longest, random)
    }
}

/// A random part of a duration, the whole included.
pub(super) fn part(of: Duration, random: &mut dyn Random) -> Duration {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    let micros = u64::try_from(of.as_micros()).unwrap_or(u64::MAX - 1).min(u64::MAX - 1);
    // A remainder favours small parts, by far less than a microsecond in a day.
    Duration::from_micros(u64::from_le_bytes(bytes) % (micros + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> impl FnMut(&mut [u8]) {
        // 2^64 - 1 is odd, so the remainder is not always the whole; this finds a large part.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        move |bytes| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.copy_from_slice(&(state ^ (state >> 29)).to_le_bytes());
        }
    }

    /// R-L2: waits lie between nothing and a bound that doubles up to the cap.
    #[test]
    fn waits_grow_to_the_cap() {
        let config = ReconnectConfig::default();
        let bounds = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
        let (mut seen, mut random) = ([Duration::ZERO; 9], longest());
        for _ in 0..200 {
            let mut backoff = Backoff::default();
            for (at, bound) in bounds.iter().enumerate() {
                let wait = backoff.next(&config, &mut random);
                assert!(wait <= Duration::from_millis(*bound), "{wait:?} at {at}");
                seen[at] = seen[at].max(wait);
            }
        }
        for (at, bound) in bounds.iter().enumerate() {
            assert!(seen[at] > Duration::from_millis(bound * 9 / 10), "the whole is used: {at}");
        }
        let mut backoff = Backoff { failures: u32::MAX };
        assert!(backoff.next(&config, &mut random) <= config.cap);
    }

    #[test]
    fn only_a_while_online_begins_anew() {
        let config = ReconnectConfig::default();
        let mut backoff = Backoff { failures: 5 };
        backoff.was_online(&config, Timestamp::ZERO, Timestamp::from_millis(9_999));
        assert_eq!(backoff.failures, 5);
        backoff.was_online(&config, Timestamp::ZERO, Timestamp::from_millis(10_000));
        assert_eq!(backoff.failures, 0);
    }

    #[test]
    fn a_part_of_nothing_is_nothing() {
        let mut random = longest();
        assert_eq!(part(Duration::ZERO, &mut random), Duration::ZERO);
        assert!(part(Duration::MAX, &mut random) <= Duration::MAX);
    }
}
