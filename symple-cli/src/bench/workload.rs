//! The workloads. Each connects its clients, lets them work, and tells what it saw.

use std::{
    io,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{
    message::{Ledger, Stamp, compose, read},
    process::Process,
    report::Report,
    swarm::{Handler, Identity, Outboxes, Swarm, Target},
};

/// How many connections are being opened at the same time.
const AT_ONCE: usize = 64;
/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long nothing arrives when everything has.
const QUIET: Duration = Duration::from_millis(200);

/// What all workloads need to know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) server: Option<Process>,
    pub(crate) duration: Duration,
    pub(crate) warmup: Duration,
    /// Bytes of data in a message.
    pub(crate) payload: usize,
}

impl Plan {
    fn data(&self) -> String {
        "x".repeat(self.payload)
    }
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} took too long"))
}

/// A handler that only remembers who its clients are.
#[derive(Default)]
pub(crate) struct Ids(Vec<String>);

impl Ids {
    fn set(&mut self, client: usize, id: &str) {
        if self.0.len() <= client {
            self.0.resize(client + 1, String::new());
        }
        self.0[client] = id.into();
    }
}

/// Opens the connections of these clients, so many at a time, and waits until all are welcome.
fn connect_all<H: Handler>(
    swarm: &mut Swarm,
    handler: &mut H,
    identities: impl IntoIterator<Item = Identity>,
) -> io::Result<()> {
    let started = Instant::now();
    let mut wanted = swarm.ready;
    let mut identities = identities.into_iter().fuse();
    loop {
        while wanted - swarm.ready < AT_ONCE {
            let Some(identity) = identities.next() else { break };
            swarm.connect(identity)?;
            wanted += 1;
        }
        if swarm.ready >= wanted {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(timed_out("connecting"));
        }
        swarm.turn(handler, Some(Duration::from_millis(100)))?;
    }
}

/// Lets everything that is under way arrive.
fn settle<H: Handler>(swarm: &mut Swarm, handler: &mut H) -> io::Result<()> {
    let mut heard = (swarm.bytes_read, Instant::now());
    while heard.1.elapsed() < QUIET {
        swarm.turn(handler, Some(QUIET))?;
        if swarm.bytes_read != heard.0 {
            heard = (swarm.bytes_read, Instant::now());
        }
    }
    Ok(())
}

/// Latencies in nanoseconds, up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds make sense")
}

/// Room members who receive what senders send, the next when all have the last.
pub(crate) struct FanOut {
    started: Instant,
    data: String,
    receivers: usize,
    /// How many deliveries each sent message causes.
    width: u64,
    /// By sender: the next number, and the deliveries that are outstanding.
    senders: Vec<(u32, u64)>,
    window: u32,
    stopped: bool,
    ledger: Ledger,
    latency: Histogram<u64>,
}

impl Handler for FanOut {
    fn ready(&mut self, _: &mut Outboxes, _: usize, _: &str) {}

    fn text(&mut self, out: &mut Outboxes, client: usize, text: &[u8]) {
        let Some(stamp) = read(text) else { return };
        self.ledger.enter(client, stamp);
        let now = self.now();
        self.latency.saturating_record(now.saturating_sub(stamp.sent));
        let sender = &mut self.senders[stamp.sender];
        sender.1 = sender.1.saturating_sub(1);
        if sender.1.is_multiple_of(self.width) {
            self.fill(out, stamp.sender);
        }
    }

    fn closed(&mut self, _: &mut Outboxes, _: usize) {}
}

impl FanOut {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn fill(&mut self, out: &mut Outboxes, sender: usize) {
        while !self.stopped
            && self.senders[sender].1 + self.width <= u64::from(self.window) * self.width
        {
            let (number, sent) = (self.senders[sender].0, self.now());
            let text = compose(Stamp { number, sender, sent }, "bench", &self.data);
            out.send(self.receivers + sender, &text);
            self.senders[sender].0 += 1;
            self.senders[sender].1 += self.width;
        }
    }

    /// Runs the workload.
    pub(crate) fn run(
        plan: &Plan,
        receivers: usize,
        senders: usize,
        window: u32,
    ) -> io::Result<Report> {
        let mut swarm = Swarm::new(plan.target.clone())?;
        let mut this = Self {
            started: Instant::now(),
            data: plan.data(),
            receivers,
            width: (receivers + senders - 1) as u64,
            senders: vec![(0, 0); senders],
            window,
            stopped: false,
            ledger: Ledger::new(receivers + senders, senders),
            latency: histogram(),
        };
        let identities = (0..receivers + senders)
            .map(|n| Identity { user: format!("u{n}"), rooms: vec!["bench".into()] });
        connect_all(&mut swarm, &mut this, identities)?;
        settle(&mut swarm, &mut this)?;
        for sender in 0..senders {
            this.fill(&mut swarm.out, sender);
        }
        let run = |swarm: &mut Swarm, this: &mut Self, duration: Duration| -> io::Result<()> {
            let until = Instant::now() + duration;
            while Instant::now() < until {
                swarm.turn(this, Some(Duration::from_millis(100)))?;
            }
            Ok(())
        };
        run(&mut swarm, &mut this, plan.warmup)?;
        this.latency.reset();
        let mut report = Report::begin("delivery", plan.server);
        let before = this.ledger.delivered;
        run(&mut swarm, &mut this, plan.duration)?;
        report.end(this.ledger.delivered - before);
        this.stopped = true;
        settle(&mut swarm, &mut this)?;
        report.latency(&this.latency);
        let expected: u64 =
            this.senders.iter().map(|(sent, _)| u64::from(*sent) * this.width).sum();
        report.account(expected, &this.ledger);
        Ok(report)
    }
}

/// Pairs that answer each other, directly.
pub(crate) struct Direct {
    started: Instant,
    data: String,
    ids: Ids,
    stopped: bool,
    /// By client: the next number.
    next: Vec<u32>,
    ledger: Ledger,
    latency: Histogram<u64>,
}

impl Handler for Direct {
    fn ready(&mut self, _: &mut Outboxes, client: usize, id: &str) {
        self.ids.set(client, id);
    }

    fn text(&mut self, out: &mut Outboxes, client: usize, text: &[u8]) {
        let Some(stamp) = read(text) else { return };
        self.ledger.enter(client, Stamp { sender: 0, ..stamp });
        self.latency.saturating_record(self.now().saturating_sub(stamp.sent));
        if !self.stopped {
            self.send(out, client);
        }
    }

    fn closed(&mut self, _: &mut Outboxes, _: usize) {}
}

impl Direct {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn send(&mut self, out: &mut Outboxes, client: usize) {
        let partner = client ^ 1;
        let to = format!("u{partner}|{}", self.ids.0[partner]);
        let stamp = Stamp { number: self.next[client], sender: client, sent: self.now() };
        self.next[client] += 1;
        out.send(client, &compose(stamp, &to, &self.data));
    }

    /// Runs the workload.
    pub(crate) fn run(plan: &Plan, pairs: usize, window: u32) -> io::Result<Report> {
        let mut swarm = Swarm::new(plan.target.clone())?;
        let mut this = Self {
            started: Instant::now(),
            data: plan.data(),
            ids: Ids::default(),
            stopped: false,
            next: vec![0; pairs * 2],
            ledger: Ledger::new(pairs * 2, 1),
            latency: histogram(),
        };
        let identities = (0..pairs * 2)
            .map(|n| Identity { user: format!("u{n}"), rooms: vec![format!("pair{}", n / 2)] });
        connect_all(&mut swarm, &mut this, identities)?;
        settle(&mut swarm, &mut this)?;
        for pair in 0..pairs {
            for _ in 0..window {
                this.send(&mut swarm.out, pair * 2);
            }
        }
        let run = |swarm: &mut Swarm, this: &mut Self, duration: Duration| -> io::Result<()> {
            let until = Instant::now() + duration;
            while Instant::now() < until {
                swarm.turn(this, Some(Duration::from_millis(100)))?;
            }
            Ok(())
        };
        run(&mut swarm, &mut this, plan.warmup)?;
        this.latency.reset();
        let mut report = Report::begin("message", plan.server);
        let before = this.ledger.delivered;
        run(&mut swarm, &mut this, plan.duration)?;
        report.end(this.ledger.delivered - before);
        this.stopped = true;
        settle(&mut swarm, &mut this)?;
        report.latency(&this.latency);
        let expected = this.next.iter().map(|sent| u64::from(*sent)).sum();
        report.account(expected, &this.ledger);
        Ok(report)
    }
}

/// Connections that come and go.
#[derive(Default)]
pub(crate) struct Connect {
    closed: usize,
}

impl Handler for Connect {
    fn ready(&mut self, _: &mut Outboxes, _: usize, _: &str) {}

    fn text(&mut self, _: &mut Outboxes, _: usize, _: &[u8]) {}

    fn closed(&mut self, _: &mut Outboxes, _: usize) {
        self.closed += 1;
    }
}

impl Connect {
    /// Opens connections, then closes them; a report of each.
    pub(crate) fn run(plan: &Plan, count: usize) -> io::Result<[Report; 2]> {
        let mut swarm = Swarm::new(plan.target.clone())?;
        let mut this = Self::default();
        let identity = |n| Identity { user: format!("u{n}"), rooms: Vec::new() };
        // Whatever is done once is done before.
        connect_all(&mut swarm, &mut this, (0..50).map(identity))?;
        settle(&mut swarm, &mut this)?;

        let mut connect = Report::begin("connection", plan.server);
        connect_all(&mut swarm, &mut this, (50..50 + count).map(identity))?;
        connect.end(count as u64);
        settle(&mut swarm, &mut this)?;

        let mut disconnect = Report::begin("connection", plan.server);
        let (mut asked, before) = (0, this.closed);
        let started = Instant::now();
        while this.closed - before < count {
            while asked < count && asked - (this.closed - before) < AT_ONCE {
                swarm.out.close(50 + asked);
                asked += 1;
            }
            if started.elapsed() > PATIENCE {
                return Err(timed_out("disconnecting"));
            }
            swarm.turn(&mut this, Some(Duration::from_millis(100)))?;
        }
        disconnect.end(count as u64);
        Ok([connect, disconnect])
    }
}

/// Connections that are held, and cost memory.
pub(crate) fn idle(plan: &Plan, count: usize) -> io::Result<Report> {
    let mut swarm = Swarm::new(plan.target.clone())?;
    let mut handler = Connect::default();
    let identity = |n| Identity { user: format!("u{n}"), rooms: Vec::new() };
    let before = plan.server.and_then(Process::memory);
    let mut report = Report::begin("connection", plan.server);
    connect_all(&mut swarm, &mut handler, (0..count).map(identity))?;
    report.end(count as u64);
    settle(&mut swarm, &mut handler)?;
    let after = plan.server.and_then(Process::memory);
    if let (Some(before), Some(after)) = (before, after) {
        report.memory = Some(after.saturating_sub(before) / count as u64);
    }
    Ok(report)
}
