//! Where an attack happens: a server, two bystanders, and what is watched.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    Fault,
    bystander::{Latency, Pair, Seen},
    report::{Outcome, mebibytes},
    server::{Log, Server, Watch},
};

/// How much later than before the 99th of 100 answers to a bystander may be.
const LATER: Duration = Duration::from_millis(10);
/// What a client may make memory grow by beyond the documented budgets.
pub(crate) const GROWTH: u64 = 16 << 20;
/// How long bystanders talk before an attack begins.
const BASELINE: Duration = Duration::from_millis(1000);
/// How long their last answers are waited for.
const SETTLE: Duration = Duration::from_secs(11);

/// What is done on a thread that has its full share of the machine, unlike the attacks, which
/// must not be why someone waits.
#[derive(Clone, Debug)]
pub(crate) struct Launcher(mpsc::Sender<Box<dyn FnOnce() + Send>>);

impl Launcher {
    /// Whoever calls must not have lowered its own priority yet.
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        thread::spawn(move || receiver.into_iter().for_each(|job| job()));
        Self(sender)
    }

    /// Does something there, and waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let job = Box::new(move || {
            let _ = sender.send(job());
        });
        self.0.send(job)?;
        Ok(receiver.await?)
    }
}

/// What attacks share.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) program: Arc<PathBuf>,
    /// A server with hooks that do what they should not.
    pub(crate) hooked: Arc<PathBuf>,
    pub(crate) launcher: Launcher,
    /// Crowds are smaller, and attacks are shorter.
    pub(crate) quick: bool,
    /// How long a service of the operator's is away.
    pub(crate) outage: Duration,
}

impl Stage {
    /// So many, or in a hurry a quarter of them.
    pub(crate) fn many(&self, count: usize) -> usize {
        if self.quick { count / 4 } else { count }
    }

    /// So long, or in a hurry a third of it.
    pub(crate) fn long(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(if self.quick { seconds / 3.0 } else { seconds })
    }

    /// A server with these flags.
    pub(crate) async fn server(&self, flags: &[&str]) -> Result<Server, Fault> {
        self.server_with(flags, &[], Log::File).await
    }

    /// A server with these flags and variables, whose log goes there.
    pub(crate) async fn server_with(
        &self,
        flags: &[&str],
        variables: &'static [(&str, &str)],
        log: Log,
    ) -> Result<Server, Fault> {
        let program = Arc::clone(&self.program);
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        self.launcher.run(move || Server::start(&program, &flags, variables, log)).await?
    }

    /// The server with hooks, with two bystanders.
    pub(crate) async fn scene_of_hooks(&self) -> Result<Scene, Fault> {
        let program = Arc::clone(&self.hooked);
        let start = move || Server::start(&program, &[], &[], Log::File);
        self.scene_on(self.launcher.run(start).await??).await
    }

    /// A server with two bystanders.
    pub(crate) async fn scene(&self, flags: &[&str]) -> Result<Scene, Fault> {
        self.scene_on(self.server(flags).await?).await
    }

    /// Two bystanders on this server.
    pub(crate) async fn scene_on(&self, server: Server) -> Result<Scene, Fault> {
        let address = server.address;
        let pair = self.launcher.run(move || Pair::start(address)).await??;
        let watch = server.watch();
        let now = Instant::now();
        let before = Seen::default();
        let memory = server.memory();
        let mut scene = Scene { server, pair, watch, before, memory, since: now };
        scene.begin().await;
        Ok(scene)
    }
}

/// A server, and what is watched while it is attacked.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pair: Pair,
    watch: Watch,
    before: Seen,
    /// What the server took before the attack.
    pub(crate) memory: u64,
    since: Instant,
}

impl Scene {
    /// Looks at the bystanders for a while; from its end on is the attack.
    pub(crate) async fn begin(&mut self) {
        let from = Instant::now();
        sleep(BASELINE).await;
        self.since = Instant::now();
        self.before = self.pair.seen(from, self.since);
        self.memory = self.server.memory();
        self.watch.reset();
    }

    /// Judges what the attack did to others: bystanders, memory, and the server itself. Beyond
    /// 16 MiB memory may have grown by a budget that is documented.
    pub(crate) async fn judge(&mut self, outcome: &mut Outcome, budget: u64, documented: &str) {
        self.judge_bystanders(outcome).await;
        self.judge_memory(outcome, budget, documented);
    }

    /// Judges what the attack did to bystanders, and whether the server still runs.
    pub(crate) async fn judge_bystanders(&mut self, outcome: &mut Outcome) {
        let until = Instant::now();
        let (sent, faults) = self.account().await;
        let Seen { pair, machine } = self.pair.seen(self.since, until);
        let before = self.before.pair;
        let base = before.p99.max(machine.p99);
        outcome.noisy(
            format!("bystander p99 at most 10 ms above {}", ms(base)),
            shown(pair),
            pair.p99 <= base + LATER,
        );
        let seen = match &*faults {
            [] => format!("{sent} sent and answered"),
            [first] => first.clone(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        outcome.check("bystanders lose nothing, nothing twice", seen, faults.is_empty());
        if let Some(ended) = self.server.ended() {
            let last = self.server.log();
            let last = last.lines().last().unwrap_or_default().to_owned();
            outcome.check("the server runs", format!("{ended} {last}"), false);
        }
    }

    /// How many messages bystanders sent, and what went wrong with them.
    pub(crate) async fn account(&self) -> (usize, Vec<String>) {
        let until = Instant::now();
        while !self.pair.is_settled(until) && until.elapsed() < SETTLE {
            sleep(Duration::from_millis(10)).await;
        }
        self.pair.account()
    }

    /// Judges how much memory grew since the attack began.
    pub(crate) fn judge_memory(&self, outcome: &mut Outcome, budget: u64, documented: &str) {
        let grown = self.watch.peak().saturating_sub(self.memory);
        let bound = if budget == 0 {
            "memory grows by at most 16 MiB".into()
        } else {
            format!("memory grows by at most 16 MiB + {} ({documented})", mebibytes(budget))
        };
        outcome.check(bound, mebibytes(grown), grown <= budget + GROWTH);
    }

    /// Judges whether memory goes back to what it was, within ten seconds.
    pub(crate) async fn judge_return(&self, outcome: &mut Outcome) {
        let started = Instant::now();
        // An allocator keeps some of what has been in use in small pieces.
        const KEPT: u64 = 32 << 20;
        let limit = self.memory + KEPT;
        while self.server.memory() > limit && started.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(100)).await;
        }
        let left = self.server.memory().saturating_sub(self.memory);
        outcome.check(
            "memory is back within 10 s, but for 32 MiB",
            format!("{} more after {:.1} s", mebibytes(left), started.elapsed().as_secs_f64()),
            left <= KEPT,
        );
    }
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

fn shown(Latency { p50, p99, max }: Latency) -> String {
    format!("p50 {}, p99 {}, max {}", ms(p50), ms(p99), ms(max))
}
