//! The cases that there are.

mod churn;
mod greedy;
mod listing;
mod million;
mod ready;
mod record;
mod restart;
mod slow;
mod storm;

use std::{future::Future, pin::Pin, time::Duration};

use crate::{fault::Fault, report::Outcome, stage::Options};

type Running = Pin<Box<dyn Future<Output = Result<Outcome, Fault>>>>;

/// A case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(Options) -> Running,
}

/// How long a case may take, whatever happens.
pub(crate) const LONGEST: Duration = Duration::from_secs(240);

macro_rules! case {
    ($name:literal, $about:literal, $run:expr) => {
        Case {
            name: $name,
            about: $about,
            run: |options| Box::pin(async move { $run(&options).await }),
        }
    };
}

/// All cases.
pub(crate) const CASES: &[Case] = &[
    case!("restart", "One of nine nodes is restarted, and learns of all peers", restart::fat),
    case!("restart-lean", "The same with half of each record", restart::lean),
    case!(
        "restart-peers",
        "The same with peers of its own, which all nodes learn of",
        restart::with_peers
    ),
    case!("slow-teller", "Who tells of all peers has a slow link to Redis", slow::teller),
    case!("slow-newcomer", "Who learns of all peers has a slow link to Redis", slow::newcomer),
    case!("million", "A node learns of a million peers, and that they are gone", million::run),
    case!("greedy", "One client sends all it can to a room with a member elsewhere", greedy::run),
    case!("record", "One client repeats a record that has not changed", record::run),
    case!("churn", "Peers come and go faster and faster, until Redis cannot carry it", churn::run),
    case!("listing", "An operator walks through the lists of a large node", listing::run),
    case!("storm", "A node dies whose peers share a room with many clients", storm::run),
    case!("ready", "Clients connect to a node as soon as it says that it is ready", ready::run),
];
