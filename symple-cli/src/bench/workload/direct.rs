//! Pairs that write to each other, directly.

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

/// How many pairs, and how they write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectShape {
    pub(crate) pairs: usize,
    pub(crate) pace: Pace,
}

/// Each in a room with its partner. In a closed loop each answers what it gets; in an open loop
/// one of each pair sends.
pub(crate) struct Direct {
    data: String,
    /// By client: the address of its partner, as JSON.
    partners: Vec<String>,
    answers: bool,
    schedule: Option<Schedule>,
    stopped: bool,
    /// By client: the next number.
    next: Vec<u32>,
    ledger: Ledger,
    latency: Histogram<u64>,
}

impl Handler for Direct {
    fn ready(&mut self, _: &mut Outboxes, client: usize, id: &str) {
        self.partners[client ^ 1] = format!("\"u{client}|{id}\"");
    }

    fn text(&mut self, out: &mut Outboxes, client: usize, text: &[u8]) {
        let Some(stamp) = read(text) else { return };
        if stamp.sender != client ^ 1 {
            return self.ledger.misdeliver();
        }
        self.ledger.enter(client, stamp.number);
        self.latency.saturating_record(out.now.saturating_sub(stamp.sent));
        if self.answers && !self.stopped {
            let now = out.now;
            self.send(out, client, now);
        }
    }

    fn due(&mut self, swarm: &mut Swarm) -> io::Result<Option<u64>> {
        if self.stopped {
            return Ok(None);
        }
        let Some(mut schedule) = self.schedule else { return Ok(None) };
        while let Some((count, at)) = schedule.take(swarm.out.now) {
            let client = count as usize * 2 % self.next.len();
            self.send(&mut swarm.out, client, at);
        }
        self.schedule = Some(schedule);
        Ok(Some(schedule.next_at()))
    }
}

impl Direct {
    fn send(&mut self, out: &mut Outboxes, client: usize, sent: u64) {
        let stamp = Stamp { number: self.next[client], sender: client, sent };
        self.next[client] += 1;
        out.send(client, &compose(stamp, &self.partners[client], &self.data));
    }

    fn expected(&self) -> u64 {
        self.next.iter().map(|sent| u64::from(*sent)).sum()
    }

    /// Runs the workload.
    pub(crate) fn run(plan: &Plan, shape: DirectShape) -> io::Result<Report> {
        let DirectShape { pairs, pace } = shape;
        let mut run = Run::new(plan)?;
        let mut this = Self {
            data: plan.data(),
            partners: vec![String::new(); pairs * 2],
            answers: matches!(pace, Pace::Window(_)),
            schedule: None,
            stopped: false,
            next: vec![0; pairs * 2],
            ledger: Ledger::new(pairs * 2),
            latency: histogram(),
        };
        let identities =
            (0..pairs * 2).map(|n| Identity::new(format!("u{n}"), [format!("pair{}", n / 2)]));
        run.connect(&mut this, identities)?;
        run.settle(&mut this, |_| true)?;
        let now = run.swarm.out.tick();
        match pace {
            Pace::Rate(rate) => this.schedule = Some(Schedule::new(now, rate)),
            Pace::Window(window) => {
                for pair in 0..pairs {
                    for _ in 0..window {
                        this.send(&mut run.swarm.out, pair * 2, now);
                    }
                }
            }
        }
        run.work(&mut this, "warming up", plan.warmup)?;
        this.latency.reset();
        let before = this.ledger.delivered;
        run.measure();
        run.work(&mut this, "direct", plan.duration)?;
        let parameters = json!({
            "pairs": pairs, pace.parameter().0: pace.parameter().1, "payload": plan.payload,
        });
        let units = this.ledger.delivered - before;
        let mut report = run.measured().stop("direct", parameters, "message", units);
        this.stopped = true;
        run.settle(&mut this, |this| this.ledger.arrived() >= this.expected())?;
        report.latency = Latency::of(&this.latency);
        report.deliveries = Some(this.ledger.account((0..pairs * 2).map(|n| this.next[n ^ 1])));
        Ok(report)
    }
}
