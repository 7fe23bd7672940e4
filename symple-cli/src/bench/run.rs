//! What all workloads do: connect clients, let them work for a time, wait for what is under way.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{
    process::Process,
    progress::Progress,
    report::Meter,
    swarm::{Handler, Identity, Swarm},
    target::Target,
};

/// How many connections are being opened at the same time.
pub(crate) const AT_ONCE: usize = 64;
/// How long nothing arrives when everything has.
const QUIET: Duration = Duration::from_millis(200);
/// How long a wait is at most, so that progress is shown.
const WAIT: Duration = Duration::from_millis(100);

/// What all workloads need to know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) server: Option<Process>,
    pub(crate) duration: Duration,
    pub(crate) warmup: Duration,
    /// How long a server may do nothing at all.
    pub(crate) patience: Duration,
    /// Bytes of data in a message.
    pub(crate) payload: usize,
}

impl Plan {
    pub(crate) fn data(&self) -> String {
        "x".repeat(self.payload)
    }
}

/// A run of a workload.
pub(crate) struct Run<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) swarm: Swarm,
    pub(crate) progress: Progress,
    /// Measured, if anything is.
    pub(crate) meter: Option<Meter>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(plan: &'a Plan) -> io::Result<Self> {
        let swarm = Swarm::new(plan.target.clone())?;
        Ok(Self { plan, swarm, progress: Progress::new(), meter: None })
    }

    /// A run that shows nothing, beside another one.
    pub(crate) fn silent(plan: &'a Plan) -> io::Result<Self> {
        Ok(Self { progress: Progress::silent(), ..Self::new(plan)? })
    }

    fn stuck(&self, what: &str) -> io::Error {
        let seconds = self.plan.patience.as_secs_f64();
        let error = format!("the server is stuck: {what} for {seconds} s");
        io::Error::new(io::ErrorKind::TimedOut, error)
    }

    /// Opens the connections of these clients, so many at a time, and waits until all are welcome.
    pub(crate) fn connect<H: Handler>(
        &mut self,
        handler: &mut H,
        identities: impl IntoIterator<Item = Identity>,
    ) -> io::Result<()> {
        let mut identities = identities.into_iter().fuse();
        let mut wanted = self.swarm.welcomed;
        let mut moved = (wanted, Instant::now());
        loop {
            while wanted - self.swarm.welcomed < AT_ONCE {
                let Some(identity) = identities.next() else { break };
                self.swarm.connect(identity)?;
                wanted += 1;
            }
            let welcomed = self.swarm.welcomed;
            if welcomed >= wanted {
                return Ok(());
            }
            if welcomed != moved.0 {
                moved = (welcomed, Instant::now());
            } else if moved.1.elapsed() > self.plan.patience {
                return Err(self.stuck("it has welcomed nobody"));
            }
            self.progress.show(|| format!("{welcomed} connected"));
            self.swarm.turn(handler, WAIT)?;
        }
    }

    /// Lets the clients work for a time.
    pub(crate) fn work<H: Handler>(
        &mut self,
        handler: &mut H,
        what: &str,
        duration: Duration,
    ) -> io::Result<()> {
        let (started, seconds) = (Instant::now(), duration.as_secs());
        let left = |_: &H, _: &Swarm| {
            duration.checked_sub(started.elapsed()).filter(|left| !left.is_zero())
        };
        self.work_while(handler, left, || {
            format!("{what}: {} of {seconds} s", started.elapsed().as_secs())
        })
    }

    /// Lets the clients work until something is so.
    pub(crate) fn work_until<H: Handler>(
        &mut self,
        handler: &mut H,
        what: &str,
        is_so: impl Fn(&H, &Swarm) -> bool,
    ) -> io::Result<()> {
        let left = |handler: &H, swarm: &Swarm| (!is_so(handler, swarm)).then_some(WAIT);
        self.work_while(handler, left, || what.to_owned())
    }

    /// Lets the clients work, as long as there is time left.
    fn work_while<H: Handler>(
        &mut self,
        handler: &mut H,
        left: impl Fn(&H, &Swarm) -> Option<Duration>,
        what: impl Fn() -> String,
    ) -> io::Result<()> {
        let mut heard = (self.swarm.bytes_read, Instant::now());
        loop {
            let Some(left) = left(handler, &self.swarm) else { return Ok(()) };
            self.swarm.out.tick();
            let due = handler.due(&mut self.swarm)?;
            let due = due.map(|at| Duration::from_nanos(at.saturating_sub(self.swarm.out.now)));
            self.swarm.turn(handler, WAIT.min(left).min(due.unwrap_or(WAIT)))?;
            if self.swarm.bytes_read != heard.0 {
                heard = (self.swarm.bytes_read, Instant::now());
            } else if heard.1.elapsed() > self.plan.patience {
                return Err(self.stuck("it has sent nothing"));
            }
            if let Some(meter) = &mut self.meter {
                meter.sample();
            }
            let read = self.swarm.bytes_read;
            self.progress.show(|| format!("{}, {} MB received", what(), read / 1_000_000));
        }
    }

    /// Lets everything that is under way arrive: until it is all there, or nothing has come for
    /// as long as the server may be silent; and what comes too much, too.
    pub(crate) fn settle<H: Handler>(
        &mut self,
        handler: &mut H,
        all_there: impl Fn(&H) -> bool,
    ) -> io::Result<()> {
        self.settle_by(handler, all_there, |_, swarm| swarm.bytes_read)
    }

    /// The same, where `arrived` changes with what is waited for: many clients are always sent something, if
    /// only pings.
    pub(crate) fn settle_by<H: Handler>(
        &mut self,
        handler: &mut H,
        all_there: impl Fn(&H) -> bool,
        arrived: impl Fn(&H, &Swarm) -> u64,
    ) -> io::Result<()> {
        let started = Instant::now();
        let mut heard = (arrived(handler, &self.swarm), started);
        loop {
            let silent = heard.1.elapsed();
            if started.elapsed() > self.plan.patience * 4 {
                return Err(self.stuck("what is under way has been arriving, and not arrived,"));
            }
            if silent >= self.plan.patience || silent >= QUIET && all_there(handler) {
                return Ok(());
            }
            self.swarm.turn(handler, WAIT)?;
            let now = arrived(handler, &self.swarm);
            if now != heard.0 {
                heard = (now, Instant::now());
            }
            self.progress.show(|| "waiting for what is under way".into());
        }
    }

    /// Begins to measure.
    pub(crate) fn measure(&mut self) {
        self.meter = Some(Meter::start(self.plan.server));
    }

    /// Ends to measure.
    pub(crate) fn measured(&mut self) -> Meter {
        self.meter.take().unwrap_or_else(|| Meter::start(self.plan.server))
    }
}
