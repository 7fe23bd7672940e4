//! Rooms in which everyone sends now and then.

use std::io;

use serde_json::json;

use crate::bench::{
    report::{Latency, Report, histogram},
    run::Plan,
};

use super::rooms::{Rooms, RoomsShape};

/// A report for each rate, in messages a second of each client.
pub(crate) fn mixed(plan: &Plan, shape: RoomsShape, rates: &[f64]) -> io::Result<Vec<Report>> {
    let mut reports = Vec::new();
    for rate in rates {
        let (mut run, mut rooms) = Rooms::enter(plan, shape)?;
        rooms.begin(&mut run.swarm, rate * shape.clients as f64);
        run.work(&mut rooms, "warming up", plan.warmup)?;
        rooms.latency = histogram();
        let before = rooms.ledger.delivered;
        run.measure();
        run.work(&mut rooms, &format!("mixed, {rate}/s each"), plan.duration)?;
        let parameters = json!({
            "clients": shape.clients, "rooms": shape.rooms, "rate": rate, "payload": plan.payload,
        });
        let units = rooms.ledger.delivered - before;
        let mut report = run.measured().stop("mixed", parameters, "delivery", units);
        rooms.stop();
        run.settle(&mut rooms, Rooms::all_there)?;
        report.latency = Latency::of(&rooms.latency);
        report.deliveries = Some(rooms.account());
        reports.push(report);
    }
    Ok(reports)
}
