//! A room that has nothing to do with a storm.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::bench::{
    ledger::{Account, Ledger},
    message::{Stamp, compose, read},
    outbox::Outboxes,
    report::histogram,
    run::{Plan, Run},
    swarm::{Handler, Identity, Swarm},
};

use super::super::pace::Schedule;

/// The room.
const ROOM: &str = "probe";
/// A message is sent as often as that.
const EVERY: Duration = Duration::from_millis(7);
/// How long the thread works before it looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Two clients on a thread of their own: one sends to the other, in an open loop. Its thread has
/// little to do, so it sees the server's latency also where the thread with the many clients sees
/// its own.
pub(super) struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Pair>>,
}

struct Pair {
    data: String,
    messages: Option<Schedule>,
    sent: u32,
    ledger: Ledger,
    /// When each was due, and how long it took, in nanoseconds.
    latencies: Vec<(u64, u64)>,
    started: u64,
}

impl Handler for Pair {
    fn text(&mut self, out: &mut Outboxes, client: usize, text: &[u8]) {
        let Some(stamp) = read(text) else { return };
        if client != 1 {
            return self.ledger.misdeliver();
        }
        self.ledger.enter(0, stamp.number);
        self.latencies.push((stamp.sent, out.now.saturating_sub(stamp.sent)));
    }

    fn due(&mut self, swarm: &mut Swarm) -> io::Result<Option<u64>> {
        let now = swarm.out.now;
        let Some(messages) = &mut self.messages else { return Ok(None) };
        while let Some((_, sent)) = messages.take(now) {
            let stamp = Stamp { number: self.sent, sender: 0, sent };
            self.sent += 1;
            swarm.out.send(0, &compose(stamp, &format!("\"{ROOM}\""), &self.data));
        }
        Ok(Some(messages.next_at()))
    }
}

impl Probe {
    /// Connects the two, and lets them begin.
    pub(super) fn start(plan: &Plan) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let (stopped, plan) = (Arc::clone(&stop), plan.clone());
        let thread = thread::spawn(move || work(&plan, &stopped, &ready));
        // Where it cannot begin, `stop` tells why.
        let _ = is_ready.recv();
        Ok(Self { stop, thread })
    }

    /// Lets the two end. Latencies of the messages that were due within so many nanoseconds since
    /// they began, and what became of all.
    pub(super) fn stop(self, within: u64) -> io::Result<(Histogram<u64>, Account)> {
        self.stop.store(true, Ordering::Relaxed);
        let pair = self.thread.join().map_err(|_| io::Error::other("the probe has failed"))??;
        let mut latency = histogram();
        for (due, took) in &pair.latencies {
            if due.saturating_sub(pair.started) <= within {
                latency.saturating_record(*took);
            }
        }
        Ok((latency, pair.ledger.account([pair.sent])))
    }
}

fn work(plan: &Plan, stop: &AtomicBool, ready: &mpsc::Sender<()>) -> io::Result<Pair> {
    let mut run = Run::silent(plan)?;
    let mut pair = Pair {
        data: plan.data(),
        messages: None,
        sent: 0,
        ledger: Ledger::new(1),
        latencies: Vec::new(),
        started: 0,
    };
    run.connect(&mut pair, ["probe-1", "probe-2"].map(|name| Identity::new(name, [ROOM])))?;
    run.settle(&mut pair, |_| true)?;
    pair.started = run.swarm.out.tick();
    pair.messages = Some(Schedule::new(pair.started, 1.0 / EVERY.as_secs_f64()));
    let _ = ready.send(());
    while !stop.load(Ordering::Relaxed) {
        run.work(&mut pair, "", LOOK)?;
    }
    pair.messages = None;
    run.settle(&mut pair, |pair| pair.ledger.arrived() >= u64::from(pair.sent))?;
    Ok(pair)
}
