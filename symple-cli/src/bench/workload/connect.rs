//! Connections that come and go.

use std::{io, time::Duration, time::Instant};

use hdrhistogram::Histogram;
use serde_json::json;

use crate::bench::{
    outbox::Outboxes,
    report::{Latency, Report, histogram},
    run::{AT_ONCE, Plan, Run},
    swarm::{Handler, Identity},
};

/// How many connections there are before it is measured: whatever is done once is done then.
const BEFORE: usize = 50;

struct Connect {
    /// The time at which the connections that are being opened were begun, at the latest.
    begun: Vec<u64>,
    latency: Histogram<u64>,
    asked: usize,
    closed: usize,
}

impl Handler for Connect {
    fn ready(&mut self, out: &mut Outboxes, client: usize, _: &str) {
        if let Some(begun) = self.begun.get(client) {
            self.latency.saturating_record(out.now.saturating_sub(*begun));
        }
    }

    fn text(&mut self, _: &mut Outboxes, _: usize, _: &[u8]) {}

    fn closed(&mut self, _: &mut Outboxes, client: usize, _: Option<u16>) -> bool {
        self.closed += 1;
        (BEFORE..BEFORE + self.asked).contains(&client)
    }
}

/// Opens connections, then closes them; a report of each.
pub(crate) fn connect(plan: &Plan, count: usize) -> io::Result<[Report; 2]> {
    let mut run = Run::new(plan)?;
    let mut this = Connect { begun: Vec::new(), latency: histogram(), asked: 0, closed: 0 };
    let identity = |n| Identity::new(format!("u{n}"), [""; 0]);
    run.connect(&mut this, (0..BEFORE).map(identity))?;
    run.settle(&mut this, |_| true)?;

    run.measure();
    let (mut begun, mut moved) = (BEFORE, Instant::now());
    let all = BEFORE + count;
    this.begun = vec![0; BEFORE];
    this.latency.reset();
    while run.swarm.welcomed < all {
        while begun < all && begun - run.swarm.welcomed < AT_ONCE {
            this.begun.push(run.swarm.out.tick());
            run.swarm.connect(identity(begun))?;
            begun += 1;
        }
        let before = run.swarm.welcomed;
        run.swarm.turn(&mut this, Duration::from_millis(100))?;
        check(&mut moved, before == run.swarm.welcomed, plan)?;
    }
    let parameters = json!({ "count": count, "at_once": AT_ONCE });
    let mut opened = run.measured().stop("connect", parameters.clone(), "connection", count as u64);
    opened.latency = Latency::of(&this.latency);
    run.settle(&mut this, |_| true)?;

    run.measure();
    while this.closed < count {
        while this.asked < count && this.asked - this.closed < AT_ONCE {
            run.swarm.out.close(BEFORE + this.asked);
            this.asked += 1;
        }
        let before = this.closed;
        run.swarm.turn(&mut this, Duration::from_millis(100))?;
        check(&mut moved, before == this.closed, plan)?;
    }
    let closed = run.measured().stop("disconnect", parameters, "connection", count as u64);
    Ok([opened, closed])
}

/// A server that is stuck ends the run.
fn check(moved: &mut Instant, stuck: bool, plan: &Plan) -> io::Result<()> {
    if !stuck {
        *moved = Instant::now();
    } else if moved.elapsed() > plan.patience {
        let seconds = plan.patience.as_secs_f64();
        let error = format!("the server is stuck: no connection came or went for {seconds} s");
        return Err(io::Error::new(io::ErrorKind::TimedOut, error));
    }
    Ok(())
}
