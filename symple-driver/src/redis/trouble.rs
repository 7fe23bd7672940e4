//! What is wrong with Redis for a while, as it is told to whoever reads the log.

use std::{mem, time::Duration};

use symple_engine::Timestamp;

/// How long nothing more is said after the first time; after others twice as long each.
const FIRST: Duration = Duration::from_secs(5);
/// The longest of these.
const LONGEST: Duration = Duration::from_secs(600);
/// How long after the end of one trouble the next one may be passed over in silence.
const UNTRUE: Duration = Duration::from_secs(30);
/// How long all must be well until what comes then is said as if it were the first.
const WELL: Duration = Duration::from_secs(120);
/// How many reasons are said at once, without regard to what was said before.
const REASONS: usize = 8;

/// Something that is wrong for a while. It is said when it begins, ever more seldom while it lasts,
/// and when it is over; how often it was seen meanwhile is counted. Each of the first reasons is
/// said when it appears.
#[derive(Debug)]
pub(super) struct Trouble {
    end: &'static str,
    lasts: bool,
    since: Timestamp,
    ended: Timestamp,
    /// The log says that something is wrong.
    said: bool,
    next: Timestamp,
    interval: Duration,
    suppressed: u64,
    reasons: Vec<String>,
}

impl Trouble {
    /// Nothing is wrong. What is to be said when something was.
    pub(super) fn new(end: &'static str) -> Self {
        Self {
            end,
            lasts: false,
            since: Timestamp::ZERO,
            ended: Timestamp::ZERO,
            said: false,
            next: Timestamp::ZERO,
            interval: FIRST,
            suppressed: 0,
            reasons: Vec::new(),
        }
    }

    /// Something is wrong, or is so still. True if it is said.
    pub(super) fn seen(&mut self, now: Timestamp, what: &str, reason: &str) -> bool {
        if !mem::replace(&mut self.lasts, true) {
            self.since = now;
            if self.ended + WELL <= now {
                (self.next, self.interval) = (now, FIRST);
                self.reasons.clear();
            }
        }
        let is_new = !self.reasons.iter().any(|said| said == reason);
        let is_new = is_new && self.reasons.len() < REASONS;
        if now < self.next && !is_new {
            self.suppressed += 1;
            tracing::debug!(%reason, "{what}");
            return false;
        }
        let suppressed = mem::take(&mut self.suppressed);
        tracing::warn!(error = %reason, suppressed, "{what}");
        if is_new {
            self.reasons.push(reason.into());
        }
        self.said = true;
        self.next = now + self.interval;
        self.interval = (self.interval * 2).min(LONGEST);
        true
    }

    /// All is well. True if it is said.
    pub(super) fn is_over(&mut self, now: Timestamp) -> bool {
        if !mem::take(&mut self.lasts) {
            return false;
        }
        self.ended = now;
        if !mem::take(&mut self.said) {
            return false;
        }
        // What a macro of the log is given is not evaluated where nobody listens.
        let suppressed = mem::take(&mut self.suppressed);
        let after = format!("{:.1?}", now.since(self.since));
        tracing::info!(after, suppressed, "{}", self.end);
        self.next = self.next.min(now + UNTRUE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// R-S4: a long outage is told in few lines, each new reason at once, and its end.
    #[test]
    fn what_lasts() {
        let mut trouble = Trouble::new("it is over");
        assert!(!trouble.is_over(at(1)));
        let said: Vec<u64> = (1000..4600).filter(|n| trouble.seen(at(*n), "x", "a")).collect();
        assert_eq!(said, [1000, 1005, 1015, 1035, 1075, 1155, 1315, 1635, 2235, 2835, 3435, 4035]);
        assert!(trouble.seen(at(4600), "x", "b") && !trouble.seen(at(4601), "x", "b"));
        let said = (0..100).filter(|n| trouble.seen(at(4602), "x", &format!("{n}"))).count();
        assert_eq!(said, REASONS - 2);
        assert!(trouble.is_over(at(4603)) && !trouble.is_over(at(4603)));
        assert_eq!(trouble.suppressed, 0);
    }

    /// R-S4: what comes and goes does not fill the log, and the log does not say for long that
    /// all is well when it is not.
    #[test]
    fn what_comes_and_goes() {
        let mut trouble = Trouble::new("it is over");
        let mut lines = 0;
        for n in 0..3600 {
            lines += usize::from(trouble.seen(at(1000 + n), "x", "a"));
            lines += usize::from(trouble.is_over(at(1000 + n)));
        }
        assert!((2..=2 * 130).contains(&lines), "{lines}");
        // One whose beginning was not said is said after a while.
        let said = (0..60).position(|n| trouble.seen(at(4600 + n), "x", "a"));
        assert!(said.is_some_and(|n| n <= 31), "{said:?}");
        assert!(trouble.is_over(at(4700)));
        assert!(trouble.seen(at(4700 + 120), "x", "a"));
        assert_eq!(trouble.interval, FIRST * 2);
    }
}
