//! A room with a member that never reads.

use std::io;

use hdrhistogram::Histogram;
use serde_json::json;

use crate::bench::{
    ledger::Ledger,
    message::{Stamp, compose, read},
    outbox::Outboxes,
    report::{Latency, Report, histogram},
    run::{Plan, Run},
    swarm::{Handler, Identity, Swarm},
};

use super::pace::Schedule;

/// How many receive, and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowShape {
    pub(crate) receivers: usize,
    /// Messages a second.
    pub(crate) rate: f64,
}

/// The last receiver is the slow one; the sender comes behind it.
pub(crate) struct Slow {
    receivers: usize,
    data: String,
    schedule: Option<Schedule>,
    sent: u32,
    ledger: Ledger,
    latency: Histogram<u64>,
    /// Others have been told that the slow one is gone: when.
    gone: Option<u64>,
    heard: bool,
    /// How its connection ended.
    closed: Option<Option<u16>>,
    /// What it got.
    slow_got: u64,
}

impl Slow {
    fn slow(&self) -> usize {
        self.receivers - 1
    }
}

impl Handler for Slow {
    fn text(&mut self, out: &mut Outboxes, client: usize, text: &[u8]) {
        let Some(stamp) = read(text) else {
            let text = String::from_utf8_lossy(text);
            let slow = format!("\"from\":\"u{}|", self.slow());
            if text.contains("\"online\":false") && text.contains(&slow) {
                self.gone.get_or_insert(out.now);
            }
            return;
        };
        if client == self.slow() {
            self.slow_got += 1;
        } else {
            self.ledger.enter(client, stamp.number);
            self.latency.saturating_record(out.now.saturating_sub(stamp.sent));
        }
    }

    fn closed(&mut self, out: &mut Outboxes, client: usize, code: Option<u16>) -> bool {
        if client == self.slow() {
            self.closed = Some(code);
            self.gone.get_or_insert(out.now);
        }
        client == self.slow()
    }

    fn due(&mut self, swarm: &mut Swarm) -> io::Result<Option<u64>> {
        if self.gone.is_some() && !self.heard {
            // Only who reads can see how it was closed.
            self.heard = true;
            swarm.hear(self.slow(), self);
        }
        let Some(mut schedule) = self.schedule else { return Ok(None) };
        while let Some((_, sent)) = schedule.take(swarm.out.now) {
            let stamp = Stamp { number: self.sent, sender: 0, sent };
            self.sent += 1;
            swarm.out.send(self.receivers, &compose(stamp, "\"bench\"", &self.data));
        }
        self.schedule = Some(schedule);
        Ok(Some(schedule.next_at()))
    }
}

impl Slow {
    fn expected(&self) -> u64 {
        u64::from(self.sent) * self.slow() as u64
    }

    /// Runs the workload.
    pub(crate) fn run(plan: &Plan, shape: SlowShape) -> io::Result<Report> {
        let SlowShape { receivers, rate } = shape;
        let mut run = Run::new(plan)?;
        let mut this = Self {
            receivers,
            data: plan.data(),
            schedule: None,
            sent: 0,
            ledger: Ledger::new(receivers - 1),
            latency: histogram(),
            gone: None,
            heard: false,
            closed: None,
            slow_got: 0,
        };
        let identities = (0..=receivers).map(|n| Identity::new(format!("u{n}"), ["bench"]));
        run.connect(&mut this, identities)?;
        run.settle(&mut this, |_| true)?;
        run.swarm.deafen(this.slow());
        let started = run.swarm.out.tick();
        this.schedule = Some(Schedule::new(started, rate));
        run.measure();
        run.work(&mut this, "slow", plan.duration)?;
        let parameters = json!({ "receivers": receivers, "rate": rate, "payload": plan.payload });
        let units = this.ledger.delivered;
        let mut report = run.measured().stop("slow", parameters, "delivery", units);
        this.schedule = None;
        run.settle(&mut this, |this| this.ledger.arrived() >= this.expected())?;
        if let Some(server) = &report.server
            && let (Some(before), Some(peak)) = (server.memory_before, server.memory_peak)
        {
            report.note("memory_growth", peak.saturating_sub(before));
        }
        report.note("slow_closed", this.gone.is_some());
        report.note("slow_close_code", this.closed.flatten());
        let after = this.gone.map(|gone| gone.saturating_sub(started) as f64 / 1e9);
        report.note("slow_closed_after_seconds", after);
        report.note("slow_received", this.slow_got);
        report.latency = Latency::of(&this.latency);
        let sent = std::iter::repeat_n(this.sent, receivers - 1);
        report.deliveries = Some(this.ledger.account(sent));
        Ok(report)
    }
}
