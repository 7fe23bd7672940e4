//! How fast clients may send (R-L3), and the reading that stops and starts for it.

use core::time::Duration;

use crate::Timestamp;

use super::{Action, ConnId, RateLimit, Server, timers::Timer};

/// Too much waits for an authentication (R-A11).
pub(super) const PAUSED_BY_PENDING: u8 = 1;
/// The peer sends too fast (R-L3).
pub(super) const PAUSED_BY_RATE: u8 = 2;

impl RateLimit {
    /// How long the bucket takes to regain one frame.
    fn interval(self) -> Duration {
        Duration::from_secs(1) / self.frames_per_second.max(1)
    }

    /// How long an empty bucket takes to be full.
    fn window(self) -> Duration {
        self.interval().saturating_mul(self.burst.max(1))
    }

    /// How much of the window must be free again before reading goes on: enough that it does not
    /// stop again at once.
    fn slack(self) -> Duration {
        self.interval().saturating_mul((self.burst / 8).max(1))
    }

    /// Takes one frame out of a bucket that is full at `full_at`. `Err` if there was none left:
    /// when reading may go on.
    fn take(self, full_at: &mut Timestamp, now: Timestamp) -> Result<(), Timestamp> {
        *full_at = (*full_at).max(now) + self.interval();
        if full_at.since(now) <= self.window() {
            Ok(())
        } else {
            Err(*full_at + self.slack() - self.window())
        }
    }
}

impl Server {
    /// Counts a frame against the rate of its sender, and stops reading where it is too much. The
    /// frame itself is handled all the same: nothing is lost.
    pub(super) fn count_frame(&mut self, conn: ConnId) {
        let Some(rate) = self.config.rate else { return };
        let now = self.now;
        let Some(connection) = self.registry.get_mut(conn) else { return };
        if let Err(resume_at) = rate.take(&mut connection.full_at, now)
            && connection.paused & PAUSED_BY_RATE == 0
        {
            self.stats.paused += 1;
            self.pause(conn, PAUSED_BY_RATE);
            self.timers.set(resume_at, Timer::Refill(conn));
        }
    }

    /// The bucket of a paused connection has room again, if nothing came in meanwhile.
    pub(super) fn refilled(&mut self, conn: ConnId) {
        let Some(rate) = self.config.rate else { return };
        let Some(connection) = self.registry.get(conn) else { return };
        if connection.paused & PAUSED_BY_RATE == 0 {
            return;
        }
        let resume_at = connection.full_at + rate.slack() - rate.window();
        if resume_at > self.now {
            self.timers.set(resume_at, Timer::Refill(conn));
        } else {
            self.resume(conn, PAUSED_BY_RATE);
        }
    }

    pub(super) fn pause(&mut self, conn: ConnId, reason: u8) {
        if let Some(connection) = self.registry.get_mut(conn) {
            if connection.paused == 0 {
                self.out.push(Action::Pause { conn });
            }
            connection.paused |= reason;
        }
    }

    pub(super) fn resume(&mut self, conn: ConnId, reason: u8) {
        if let Some(connection) = self.registry.get_mut(conn)
            && connection.paused & reason != 0
        {
            connection.paused &= !reason;
            if connection.paused == 0 {
                self.out.push(Action::Resume { conn });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_its_burst_and_regains_its_rate() {
        let rate = RateLimit { frames_per_second: 10, burst: 8 };
        let mut full_at = Timestamp::ZERO;
        let mut now = Timestamp::from_millis(5000);
        for _ in 0..8 {
            assert_eq!(rate.take(&mut full_at, now), Ok(()));
        }
        assert_eq!(rate.take(&mut full_at, now), Err(now + Duration::from_millis(200)));
        now += Duration::from_millis(200);
        assert_eq!(rate.take(&mut full_at, now), Ok(()));
        assert!(rate.take(&mut full_at, now).is_err());
        now += Duration::from_secs(100);
        for _ in 0..8 {
            assert_eq!(rate.take(&mut full_at, now), Ok(()));
        }
        assert!(rate.take(&mut full_at, now).is_err());
    }
}
