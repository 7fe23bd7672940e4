//! The rate limit (R-L3): stops and resumes reading from clients.
//!
//! A client is charged here for everything that it causes: each frame, its bytes, and the deliveries.

use core::time::Duration;

use symple_proto::CloseCode;

use crate::Timestamp;

use super::{
    Action, ConnId, EngineError, FrameKind, OfflineReason, RateLimit, Server, frames::Price,
    registry::Session, timers::Timer,
};

/// Too many bytes wait for the decision about its authentication (R-A11).
pub(super) const PAUSED_BY_PENDING: u8 = 1;
/// The peer sends too fast (R-L3).
pub(super) const PAUSED_BY_RATE: u8 = 2;
/// Too many bytes that the peer has sent wait for the bus (R-C6).
pub(super) const PAUSED_BY_BUS: u8 = 4;

/// The number of [looks](super::registry::Registry::looks) that count as one delivery.
const LOOKS: u64 = 16;

impl RateLimit {
    /// How long the bucket takes to regain one unit.
    fn interval(self) -> Duration {
        Duration::from_secs(1) / self.units_per_second.max(1)
    }

    /// How long an empty bucket takes to be full.
    fn window(self) -> Duration {
        self.interval().saturating_mul(self.burst.max(1))
    }

    /// The part of the window that must be free again before reading goes on, so that it does not
    /// stop again at once.
    fn slack(self) -> Duration {
        self.interval().saturating_mul((self.burst / 8).max(1))
    }

    /// What a frame costs.
    fn units(self, bytes: usize, deliveries: u64) -> u32 {
        let each = |count: u64, per_unit: usize| {
            count
                .checked_div(per_unit as u64)
                .map_or(0, |units| u32::try_from(units).unwrap_or(u32::MAX))
        };
        each(bytes as u64, self.bytes_per_unit)
            .saturating_add(each(deliveries, self.deliveries_per_unit))
            .saturating_add(1)
    }

    /// Takes units out of a bucket that is full at `full_at`. `Err` if there were not enough left:
    /// when reading may go on.
    fn take(self, full_at: &mut Timestamp, now: Timestamp, units: u32) -> Result<(), Timestamp> {
        *full_at = (*full_at).max(now) + self.interval().saturating_mul(units);
        if full_at.since(now) <= self.window() {
            Ok(())
        } else {
            Err(*full_at + self.slack() - self.window())
        }
    }

    /// How many frames and deliveries together a client may still cause with what it had sent
    /// before it left: no more than a full bucket allows.
    pub(super) fn of_a_departed(self) -> u64 {
        u64::from(self.burst.max(1)) * (self.deliveries_per_unit as u64).max(250)
    }
}

impl Server {
    /// Does what a frame asks for, and charges its sender for it. The frame is handled whatever it
    /// costs, so nothing is lost; reading stops where it was too much.
    pub(super) fn charged(&mut self, conn: ConnId, act: impl FnOnce(&mut Self) -> Price) {
        let (price, caused) = self.causes(conn, act);
        self.charge(conn, price.frames, price.bytes, caused);
    }

    /// Lets a client in, and charges it for what its arrival causes; the frame that it came with
    /// is free.
    pub(super) fn charged_arrival(&mut self, conn: ConnId, act: impl FnOnce(&mut Self)) {
        let ((), caused) = self.causes(conn, act);
        self.charge(conn, 0, 0, caused);
    }

    /// Does what a connection asks for. Returns what comes of it, and how much it has caused.
    fn causes<T>(&mut self, conn: ConnId, act: impl FnOnce(&mut Self) -> T) -> (T, u64) {
        let before = self.caused();
        let outer = self.out.cause.replace(conn);
        let result = act(self);
        self.out.cause = outer;
        (result, self.caused() - before)
    }

    /// How many deliveries have been caused so far, those included that will be made later or by
    /// other nodes, and what costs as much.
    pub(super) fn caused(&self) -> u64 {
        self.out.deliveries + self.deliveries_elsewhere + self.registry.looks / LOOKS
    }

    /// How much work there has been so far beside deliveries, in deliveries: looking through rooms for those
    /// who were not found there, and noting what is told later (R-X2, R-P8). A driver that has others wait
    /// their turn counts it with what it delivers.
    #[must_use]
    pub fn effort(&self) -> u64 {
        self.registry.looks / LOOKS + self.noted
    }

    /// Frames of a connection that carry no text: control frames, and fragments but for the last.
    pub(super) fn other_frames(&mut self, conn: ConnId, count: u32) -> Result<(), EngineError> {
        self.registry.get(conn).ok_or(EngineError::UnknownConnection(conn))?;
        self.stats.frames += u64::from(count);
        self.stats.received.add(FrameKind::Control, count.into());
        self.charge(conn, count, 0, 0);
        Ok(())
    }

    /// What the driver has done for a connection beside reading and delivering.
    pub(super) fn worked(&mut self, conn: ConnId, bytes: usize) -> Result<(), EngineError> {
        self.registry.get(conn).ok_or(EngineError::UnknownConnection(conn))?;
        self.charge(conn, 0, bytes, 0);
        Ok(())
    }

    pub(super) fn charge(&mut self, conn: ConnId, frames: u32, bytes: usize, deliveries: u64) {
        let closing = |session: &Session| matches!(session, Session::Closing);
        if self.registry.get(conn).is_none_or(|connection| closing(&connection.session)) {
            return;
        }
        if let Some(left) = self.departed.get_mut(&conn) {
            let cost = u64::from(frames) + deliveries;
            match left.checked_sub(cost) {
                Some(rest) => *left = rest,
                None => self.forget_rest_of(conn),
            }
            return;
        }
        let Some(rate) = self.config.rate else { return };
        let now = self.now;
        let Some(connection) = self.registry.get_mut(conn) else { return };
        let units = rate.units(bytes, deliveries).saturating_add(frames) - 1;
        if let Err(resume_at) = rate.take(&mut connection.full_at, now, units)
            && connection.paused & PAUSED_BY_RATE == 0
        {
            self.stats.paused += 1;
            self.pause(conn, PAUSED_BY_RATE);
            self.timers.set(resume_at, Timer::Refill(conn));
        }
    }

    /// A client has left while nothing was read from it: what it had sent before is handled at
    /// once and within bounds, so that it does not stay online until its rate allows it.
    pub(super) fn departed(&mut self, conn: ConnId) -> Result<(), EngineError> {
        let connection = self.registry.get(conn).ok_or(EngineError::UnknownConnection(conn))?;
        match &connection.session {
            Session::Closing => {}
            // It is said once more where it was found to be gone: that is no new allowance.
            _ if self.departed.contains_key(&conn) => {}
            // R-A10: nobody appears online who is gone.
            Session::AwaitingAuth(_) | Session::Authenticating(_) => {
                self.end_session(conn, OfflineReason::Disconnected, true, None);
            }
            Session::Online(_) => {
                let left = self.config.rate.unwrap_or_default().of_a_departed();
                self.departed.insert(conn, left);
                self.resume(conn, PAUSED_BY_RATE | PAUSED_BY_BUS);
                self.give_up_pending(conn);
                self.run_queue(conn);
            }
        }
        Ok(())
    }

    /// A client that is gone has sent more than may still be handled.
    fn forget_rest_of(&mut self, conn: ConnId) {
        self.stats.departed_cut_short += 1;
        self.end(conn, CloseCode::TOO_SLOW, "Too fast", OfflineReason::Disconnected);
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
                self.stats.paused_now += 1;
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
            let paused = connection.paused;
            if paused == 0 {
                self.stats.paused_now -= 1;
                self.out.push(Action::Resume { conn });
            }
            if paused & (PAUSED_BY_RATE | PAUSED_BY_BUS) == 0 {
                self.run_queue(conn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_its_burst_and_regains_its_rate() {
        let rate = RateLimit { units_per_second: 10, burst: 8, ..RateLimit::default() };
        let mut full_at = Timestamp::ZERO;
        let mut now = Timestamp::from_millis(5000);
        for _ in 0..8 {
            assert_eq!(rate.take(&mut full_at, now, 1), Ok(()));
        }
        assert_eq!(rate.take(&mut full_at, now, 1), Err(now + Duration::from_millis(200)));
        now += Duration::from_millis(200);
        assert_eq!(rate.take(&mut full_at, now, 1), Ok(()));
        assert!(rate.take(&mut full_at, now, 1).is_err());
        now += Duration::from_secs(100);
        assert_eq!(rate.take(&mut full_at, now, 5), Ok(()));
        for _ in 0..3 {
            assert_eq!(rate.take(&mut full_at, now, 1), Ok(()));
        }
        assert_eq!(rate.take(&mut full_at, now, 1000), Err(now + Duration::from_millis(100_100)));
    }

    /// R-L3: one unit a frame, and one more for each 8 KiB and each 250 deliveries.
    #[test]
    fn what_frames_cost() {
        let rate = RateLimit::default();
        for (bytes, deliveries, units) in [
            (0, 0, 1),
            (8191, 249, 1),
            (8192, 249, 2),
            (8191, 250, 2),
            (1024 * 1024, 2000, 1 + 128 + 8),
            (usize::MAX, u64::MAX, u32::MAX),
        ] {
            assert_eq!(rate.units(bytes, deliveries), units, "{bytes} bytes, {deliveries}");
        }
        let free = RateLimit { bytes_per_unit: 0, deliveries_per_unit: 0, ..rate };
        assert_eq!(free.units(usize::MAX, u64::MAX), 1);
    }
}
