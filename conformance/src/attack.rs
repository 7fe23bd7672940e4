//! Attacks on a server: everything that one client could do to others, tried on a real process.
//!
//! Each attack starts a server, lets two honest clients talk there in a room of their own, does its
//! worst for a bounded time, and is held against bounds: that the two lose nothing and wait for at
//! most 10 ms longer, that memory grows by at most 16 MiB beyond what is documented, and what
//! the specification says about the case. Linux tells what the server used (`/proc`).

mod bystander;
mod client;
mod control;
mod drop;
mod forgery;
mod garbage;
mod gone;
mod http;
mod log;
mod newcomers;
mod parse;
mod report;
mod routing;
mod scene;
mod server;
mod slow;
mod stall;
mod stopped;
mod total;
mod units;
mod wire;

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

pub use report::{Check, Outcome};
use scene::{Launcher, Stage};

/// How long all attacks may take together before failed ones are no longer tried again.
const NO_MORE_TRIES: Duration = Duration::from_secs(150);
/// How often an attack is tried whose bounds a busy machine may have broken.
const TRIES: u32 = 3;
/// How long an attack may take.
const LONGEST: Duration = Duration::from_secs(45);
/// How much the attacks give way to the server and the bystanders.
const NICE: i32 = 10;

/// Why an attack cannot be carried through.
#[derive(Debug)]
pub(crate) struct Fault(String);

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

type Outcomes = Pin<Box<dyn Future<Output = Result<Outcome, Fault>> + Send>>;

/// Something that is done to a server.
#[derive(Clone, Copy)]
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    /// What is tried, in a line.
    pub about: &'static str,
    run: fn(Stage) -> Outcomes,
}

macro_rules! attack {
    ($name:literal, $run:path, $about:literal) => {
        Attack { name: $name, about: $about, run: |stage| Box::pin($run(stage)) }
    };
}

/// All attacks, in the order in which they are carried out.
pub const ATTACKS: &[Attack] = &[
    attack!("pings-stranger", control::pings_of_a_stranger, "pings before auth, pongs unread"),
    attack!("pings-peer", control::pings_of_a_peer, "pings of a peer, pongs unread"),
    attack!("control-flood", control::flood_of_many, "20 connections of pings, pongs and scraps"),
    attack!("fragments", control::fragments, "messages in more than 1 024 fragments"),
    attack!("units-join-leave", units::join_and_leave, "joins and leaves of a large room"),
    attack!("units-presence", units::presence, "records of 16 KiB into a large room"),
    attack!("units-messages", units::messages, "large messages into a large room"),
    attack!("parse-cpu", parse::cpu, "input that is expensive to read, by its CPU time"),
    attack!("parse-stall", parse::stall, "input that is expensive to read, as others feel it"),
    attack!("to-repeated", routing::repeated, "one room named 256 times"),
    attack!("to-closed", routing::closed, "closed rooms, told from none by time"),
    attack!("drop-records", drop::records, "500 peers with 16 KiB records drop together"),
    attack!("drop-plain", drop::plain, "half of a large room drops together"),
    attack!("stopped-readers", stopped::readers, "members of a busy room stop reading"),
    attack!("stopped-newcomers", stopped::newcomers, "newcomers do not read a large roster"),
    attack!("dribble", stopped::dribble, "messages that never end"),
    attack!("slow-victim", slow::victim, "a stranger's large messages to a slow reader"),
    attack!("slow-victims", slow::variants, "by id, by arrays, by three, while it pauses"),
    attack!("silent-sockets", newcomers::silent, "silent connections from one address"),
    attack!("silent-addresses", newcomers::addresses, "silent connections from many addresses"),
    attack!("storm", newcomers::storm, "2 000 honest clients come at once"),
    attack!("gone", gone::gone, "more than the rate, then away"),
    attack!("stall", stall::stall, "the process stands still over all time limits"),
    attack!("log-pipe", log::pipe, "the log is a full pipe that nobody reads"),
    attack!("log-full", log::full, "the log cannot be written"),
    attack!("descriptors", log::descriptors, "no descriptor is left"),
    attack!("http-heads", http::heads, "heads over 16 KiB with frames in them"),
    attack!("http-requests", http::requests, "requests that must be refused"),
    attack!("http-slow", http::slow, "heads that never end"),
    attack!("forgery", forgery::forgery, "other spellings of from, to, type and data"),
    attack!("garbage", garbage::garbage, "random bytes, half frames, lies about lengths"),
    attack!("resets", garbage::resets, "connections that are reset in the middle"),
    attack!("outbound-total", total::total, "many slow readers at once"),
];

/// How attacks are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub program: PathBuf,
    /// Smaller crowds and shorter attacks: whether all is well in general.
    pub quick: bool,
}

/// Carries out attacks one after the other, and says what became of each as soon as that is known.
///
/// # Errors
/// No runtime can be started.
pub fn run(
    options: &Options,
    attacks: &[Attack],
    mut told: impl FnMut(&Outcome),
) -> std::io::Result<Vec<Outcome>> {
    raise_descriptor_limit();
    let stage = Stage {
        program: Arc::new(absolute(&options.program)),
        launcher: Launcher::new(),
        quick: options.quick,
    };
    let started = Instant::now();
    let mut outcomes = Vec::new();
    for attack in attacks {
        let began = Instant::now();
        let mut best: Option<Outcome> = None;
        for tries in 1..=TRIES {
            let mut outcome = once(&stage, *attack)?;
            outcome.tries = tries;
            let again = outcome.is_worth_another_try() && started.elapsed() < NO_MORE_TRIES;
            let better = |best: &Outcome| outcome.broken_bounds() <= best.broken_bounds();
            if best.as_ref().is_none_or(better) {
                best = Some(outcome);
            }
            if !again {
                break;
            }
        }
        if let Some(mut outcome) = best {
            outcome.name = attack.name;
            outcome.seconds = began.elapsed().as_secs_f64();
            told(&outcome);
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}

/// Carries out an attack, on a runtime of its own that gives way to others.
fn once(stage: &Stage, attack: Attack) -> std::io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .on_thread_start(|| {
            let _ = rustix::process::nice(NICE);
        })
        .build()?;
    let task = runtime.spawn((attack.run)(stage.clone()));
    let outcome = runtime.block_on(async {
        match tokio::time::timeout(LONGEST, task).await {
            Ok(Ok(Ok(outcome))) => outcome,
            Ok(Ok(Err(Fault(fault)))) => Outcome::broken(fault),
            Ok(Err(panic)) => Outcome::broken(panic.to_string()),
            Err(_) => Outcome::broken(format!("not done after {} s", LONGEST.as_secs())),
        }
    });
    runtime.shutdown_background();
    Ok(outcome)
}

/// The server is started in a folder of its own.
fn absolute(program: &Path) -> PathBuf {
    std::path::absolute(program).unwrap_or_else(|_| program.into())
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What cannot be opened then is seen in the outcome.
    let _ = setrlimit(Resource::Nofile, limit);
}
