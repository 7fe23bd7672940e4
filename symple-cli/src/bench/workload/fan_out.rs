//! One room: its members receive what senders send.

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

use super::pace::{Pace, Schedule};

/// How large the room is, and how it is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FanOutShape {
    pub(crate) receivers: usize,
    pub(crate) senders: usize,
    pub(crate) pace: Pace,
}

/// Receivers are clients 0 and up; senders come behind them, and receive from each other.
pub(crate) struct FanOut {
    shape: FanOutShape,
    data: String,
    /// How many deliveries each sent message causes.
    width: u64,
    /// By sender: the next number, and the deliveries that are outstanding.
    senders: Vec<(u32, u64)>,
    schedule: Option<Schedule>,
    stopped: bool,
    ledger: Ledger,
    latency: Histogram<u64>,
}

impl Handler for FanOut {
    fn text(&mut self, out: &mut Outboxes, client: usize, text: &[u8]) {
        let Some(stamp) = read(text) else { return };
        let Some(sender) = self.senders.get_mut(stamp.sender) else {
            return self.ledger.misdeliver();
        };
        sender.1 = sender.1.saturating_sub(1);
        let all_have_it = sender.1.is_multiple_of(self.width);
        self.ledger.enter(client * self.shape.senders + stamp.sender, stamp.number);
        self.latency.saturating_record(out.now.saturating_sub(stamp.sent));
        if all_have_it {
            self.fill(out, stamp.sender);
        }
    }

    fn due(&mut self, swarm: &mut Swarm) -> io::Result<Option<u64>> {
        if self.stopped {
            return Ok(None);
        }
        let Some(mut schedule) = self.schedule else { return Ok(None) };
        while let Some((count, at)) = schedule.take(swarm.out.now) {
            self.send(&mut swarm.out, count as usize % self.shape.senders, at);
        }
        self.schedule = Some(schedule);
        Ok(Some(schedule.next_at()))
    }
}

impl FanOut {
    fn send(&mut self, out: &mut Outboxes, sender: usize, sent: u64) {
        let (number, outstanding) = &mut self.senders[sender];
        let text = compose(Stamp { number: *number, sender, sent }, "\"bench\"", &self.data);
        *number += 1;
        *outstanding += self.width;
        out.send(self.shape.receivers + sender, &text);
    }

    fn fill(&mut self, out: &mut Outboxes, sender: usize) {
        let Pace::Window(window) = self.shape.pace else { return };
        while !self.stopped && self.senders[sender].1 + self.width <= u64::from(window) * self.width
        {
            let now = out.now;
            self.send(out, sender, now);
        }
    }

    fn expected(&self) -> u64 {
        self.senders.iter().map(|(sent, _)| u64::from(*sent) * self.width).sum()
    }

    /// Runs the workload.
    pub(crate) fn run(plan: &Plan, shape: FanOutShape) -> io::Result<Report> {
        let FanOutShape { receivers, senders, pace } = shape;
        let mut run = Run::new(plan)?;
        let mut this = Self {
            shape,
            data: plan.data(),
            width: (receivers + senders - 1) as u64,
            senders: vec![(0, 0); senders],
            schedule: None,
            stopped: false,
            ledger: Ledger::new((receivers + senders) * senders),
            latency: histogram(),
        };
        let identities =
            (0..receivers + senders).map(|n| Identity::new(format!("u{n}"), ["bench"]));
        run.connect(&mut this, identities)?;
        run.settle(&mut this, |_| true)?;
        let now = run.swarm.out.tick();
        if let Pace::Rate(rate) = pace {
            this.schedule = Some(Schedule::new(now, rate));
        }
        for sender in 0..senders {
            this.fill(&mut run.swarm.out, sender);
        }
        run.work(&mut this, "warming up", plan.warmup)?;
        this.latency.reset();
        let before = this.ledger.delivered;
        run.measure();
        run.work(&mut this, "fan-out", plan.duration)?;
        let parameters = json!({
            "receivers": receivers, "senders": senders, pace.parameter().0: pace.parameter().1,
            "payload": plan.payload,
        });
        let units = this.ledger.delivered - before;
        let mut report = run.measured().stop("fan-out", parameters, "delivery", units);
        this.stopped = true;
        run.settle(&mut this, |this| this.ledger.arrived() >= this.expected())?;
        report.latency = Latency::of(&this.latency);
        // Nobody receives what it sends itself.
        let expected = (0..receivers + senders).flat_map(|client| {
            this.senders.iter().enumerate().map(move |(sender, (sent, _))| {
                if client == receivers + sender { 0 } else { *sent }
            })
        });
        report.deliveries = Some(this.ledger.account(expected));
        Ok(report)
    }
}
