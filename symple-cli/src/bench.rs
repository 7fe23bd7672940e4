//! `symple bench`: load for a server, and what becomes of it.

mod alarm;
mod args;
mod compare;
mod ledger;
mod limits;
mod message;
mod outbox;
mod process;
mod progress;
mod report;
mod run;
mod swarm;
mod target;
mod wire;
mod workload;

use clap::ArgMatches;
use serde_json::json;

use crate::{Failure, input::print};

use args::Workload;
use report::Report;
use workload::{Direct, FanOut, Slow, Storm, connect, idle, mixed, soak};

pub(crate) use args::command;

/// Runs a workload, or compares servers.
pub(crate) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((name, flags)) = matches.subcommand() else {
        return Err(Failure::usage("there is no such workload"));
    };
    if name == "compare" {
        return compare::run(flags);
    }
    let (workload, plan) = args::read(name, flags)?;
    limits::allow_connections(workload.connections()).map_err(Failure::usage)?;
    let reports = match workload {
        Workload::FanOut(shape) => FanOut::run(&plan, shape).map(|report| vec![report]),
        Workload::Direct(shape) => Direct::run(&plan, shape).map(|report| vec![report]),
        Workload::Connect(count) => connect(&plan, count).map(Vec::from),
        Workload::Mixed(shape, rates) => mixed(&plan, shape, &rates),
        Workload::Idle(count) => idle(&plan, count).map(|report| vec![report]),
        Workload::Slow(shape) => Slow::run(&plan, shape).map(|report| vec![report]),
        Workload::Soak(shape, rate) => soak(&plan, shape, rate).map(|report| vec![report]),
        Workload::Storm(shape) => Storm::run(&plan, &shape),
    }
    .map_err(Failure::crash)?;

    let exact = reports.iter().all(Report::is_exact);
    if flags.get_flag("json") {
        let all = json!({ "url": plan.target.url, "exact": exact, "reports": reports });
        print(&format!("{all}\n"))?;
    } else {
        for report in &reports {
            print(&report.to_string())?;
        }
    }
    if exact {
        Ok(())
    } else {
        Err(Failure::crash("messages were lost, duplicated, reordered or misdelivered"))
    }
}
