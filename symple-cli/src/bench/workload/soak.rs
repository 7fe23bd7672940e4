//! The same load for a long time, with clients that come and go.

use std::io;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::bench::{
    process::Process,
    report::{Latency, Report, histogram},
    run::Plan,
};

use super::rooms::{Rooms, RoomsShape};

/// In so many parts the time is divided.
const PARTS: usize = 30;
/// The start and the end are so many of them.
const ENDS: usize = 3;

/// Runs the workload; `rate` is in messages a second of each client that stays.
pub(crate) fn soak(plan: &Plan, shape: RoomsShape, rate: f64) -> io::Result<Report> {
    let (mut run, mut rooms) = Rooms::enter(plan, shape)?;
    rooms.begin(&mut run.swarm, rate * shape.clients as f64);
    run.work(&mut rooms, "warming up", plan.warmup)?;
    rooms.latency = histogram();
    let before = rooms.ledger.delivered;
    let (mut all, mut start, mut end) = (histogram(), histogram(), histogram());
    let mut parts = Vec::new();
    run.measure();
    let part = plan.duration / u32::try_from(PARTS).unwrap_or(1);
    for number in 0..PARTS {
        run.work(&mut rooms, &format!("soak, part {} of {PARTS}", number + 1), part)?;
        let latency: Histogram<u64> = std::mem::replace(&mut rooms.latency, histogram());
        // The bounds are the same, so nothing fails.
        let _ = all.add(&latency);
        if number < ENDS {
            let _ = start.add(&latency);
        } else if number >= PARTS - ENDS {
            let _ = end.add(&latency);
        }
        parts.push(json!({
            "latency": Latency::of(&latency),
            "memory": plan.server.and_then(Process::memory),
            "came": rooms.came,
            "went": rooms.went,
        }));
    }
    let parameters = json!({
        "clients": shape.clients, "rooms": shape.rooms, "rate": rate, "churn": shape.churn,
        "payload": plan.payload,
    });
    let units = rooms.ledger.delivered - before;
    let mut report = run.measured().stop("soak", parameters, "delivery", units);
    rooms.stop();
    run.settle(&mut rooms, Rooms::all_there)?;
    report.latency = Latency::of(&all);
    report.note("latency_at_start", json!(Latency::of(&start)));
    report.note("latency_at_end", json!(Latency::of(&end)));
    // Both in full operation: the first part has filled what grows once.
    let memory = |part: Option<&Value>| part.map_or(Value::Null, |part| part["memory"].clone());
    report.note("memory_at_start", memory(parts.first()));
    report.note("memory_at_end", memory(parts.last()));
    report.note("came", rooms.came);
    report.note("went", rooms.went);
    report.note("parts", parts);
    report.deliveries = Some(rooms.account());
    Ok(report)
}
