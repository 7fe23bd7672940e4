//! Connections that are held, and then told something, all of them.

use std::{io, time::Duration};

use hdrhistogram::Histogram;
use serde_json::json;

use crate::bench::{
    ledger::Ledger,
    message::{Stamp, compose, read},
    outbox::Outboxes,
    process::Process,
    report::{Latency, Report, histogram},
    run::{Plan, Run},
    swarm::{Handler, Identity},
};

/// A frame may name so many rooms.
const ROOMS_PER_FRAME: usize = 256;

struct Idle {
    ledger: Ledger,
    latency: Histogram<u64>,
}

impl Handler for Idle {
    fn text(&mut self, out: &mut Outboxes, client: usize, text: &[u8]) {
        let Some(stamp) = read(text) else { return };
        // The number is that of the frame, which names so many clients.
        if client / ROOMS_PER_FRAME == stamp.number as usize {
            self.ledger.enter(client, 0);
        } else {
            self.ledger.misdeliver();
        }
        self.latency.saturating_record(out.now.saturating_sub(stamp.sent));
    }
}

/// Opens connections, holds them, and sends one message to each: they are in no room but that of
/// their user, so the frames of the broadcast name these rooms.
pub(crate) fn idle(plan: &Plan, count: usize) -> io::Result<Report> {
    let mut run = Run::new(plan)?;
    let mut this = Idle { ledger: Ledger::new(count + 1), latency: histogram() };
    let identity = |n| Identity::new(format!("u{n}"), [""; 0]);
    // The last one is the sender, and is there before.
    run.measure();
    run.connect(&mut this, (0..count).map(identity))?;
    run.connect(&mut this, [identity(count)])?;
    let parameters = json!({ "count": count, "payload": plan.payload });
    let mut report = run.measured().stop("idle", parameters, "connection", count as u64);

    run.settle(&mut this, |_| true)?;
    let held = plan.server.and_then(Process::memory);
    if let Some(server) = &mut report.server {
        server.memory_after = held;
        server.memory_peak = server.memory_peak.max(held);
        if let (Some(before), Some(after)) = (server.memory_before, held) {
            report.notes.insert(
                "bytes_per_connection".into(),
                (after.saturating_sub(before) / count.max(1) as u64).into(),
            );
        }
    }
    hold(&mut run, &mut this, plan.duration)?;

    let started = run.swarm.out.tick();
    for (number, first) in (0..count).step_by(ROOMS_PER_FRAME).enumerate() {
        let names: Vec<_> =
            (first..count.min(first + ROOMS_PER_FRAME)).map(|n| format!("u{n}")).collect();
        let stamp =
            Stamp { number: u32::try_from(number).unwrap_or(u32::MAX), sender: 0, sent: started };
        let text = compose(stamp, &json!(names).to_string(), &plan.data());
        run.swarm.out.send(count, &text);
    }
    run.settle(&mut this, |this| this.ledger.arrived() >= count as u64)?;
    report.latency = Latency::of(&this.latency);
    report.note("broadcast_seconds", this.latency.max() as f64 / 1e9);
    report.note("memory_after_broadcast", plan.server.and_then(Process::memory));
    report.deliveries = Some(this.ledger.account(std::iter::repeat_n(1, count)));
    Ok(report)
}

/// Nothing needs to happen while connections are held, but pings are answered.
fn hold(run: &mut Run<'_>, this: &mut Idle, duration: Duration) -> io::Result<()> {
    let until = run.swarm.out.tick() + u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    while run.swarm.out.tick() < until {
        let left = Duration::from_nanos(until - run.swarm.out.now);
        run.swarm.turn(this, left.min(Duration::from_millis(100)))?;
        run.progress.show(|| format!("held, for {:.0} s more", left.as_secs_f64()));
    }
    Ok(())
}
