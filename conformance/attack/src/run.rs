//! How attacks are carried out: one after the other, and again where the machine was busy.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    attacks::Attack,
    report::Outcome,
    scene::{Launcher, Stage},
};

/// How long all attacks may take together before failed ones are no longer tried again.
const NO_MORE_TRIES: Duration = Duration::from_secs(110);
/// How often an attack is tried whose bounds a busy machine may have broken.
const TRIES: u32 = 3;
/// How long an attack may take, beside an outage and what it takes to get over that.
const LONGEST: Duration = Duration::from_secs(45);
/// How much the attacks give way to the server and the bystanders.
const NICE: i32 = 10;

/// Why an attack cannot be carried through.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) String);

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// How attacks are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub program: PathBuf,
    /// The example `hooked`: a server with hooks that do what they should not.
    pub hooked: PathBuf,
    /// Smaller crowds and shorter attacks: whether all is well in general.
    pub quick: bool,
    /// How long the receiver of webhooks is away.
    pub outage: Duration,
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
        hooked: Arc::new(absolute(&options.hooked)),
        launcher: Launcher::new(),
        quick: options.quick,
        outage: options.outage,
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
        let longest = LONGEST + stage.outage * 2;
        match tokio::time::timeout(longest, task).await {
            Ok(Ok(Ok(outcome))) => outcome,
            Ok(Ok(Err(Fault(fault)))) => Outcome::broken(fault),
            Ok(Err(panic)) => Outcome::broken(panic.to_string()),
            Err(_) => Outcome::broken(format!("not done after {} s", longest.as_secs())),
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
