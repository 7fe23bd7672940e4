//! What those notice who have nothing to do with it: a client that writes to itself, or one to another.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    client::{Client, Ears, Mouth},
    fault::Fault,
};

/// How often it writes.
const EVERY: Duration = Duration::from_millis(10);

/// When messages were heard, and how long they took.
type Seen = Arc<Mutex<Vec<(Instant, Duration)>>>;

/// A client in a room of its own, which writes to itself all the time, whatever comes back.
pub(crate) struct Probe {
    seen: Seen,
    tasks: [JoinHandle<()>; 2],
}

/// How long its messages took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    pub(crate) count: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, p50, p99, max } = self;
        write!(f, "p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?} of {count}")
    }
}

impl Probe {
    pub(crate) async fn start(address: SocketAddr, token: Option<&str>) -> Result<Self, Fault> {
        let client = Client::connect(address, "probe", &[], token).await?;
        let to = client.address.clone();
        let (mouth, ears) = client.split();
        Ok(Self::between(mouth, ears, to, EVERY))
    }

    /// Two clients in a room of theirs; one writes to the other so often.
    pub(crate) async fn pair(address: SocketAddr, every: Duration) -> Result<Self, Fault> {
        let hears = Client::connect(address, "probe", &["probes"], None).await?;
        let says = Client::connect(address, "prober", &["probes"], None).await?;
        let to = hears.address.clone();
        Ok(Self::between(says.split().0, hears.split().1, to, every))
    }

    fn between(mut mouth: Mouth, mut ears: Ears, to: String, every: Duration) -> Self {
        let seen = Seen::default();
        let begun = Instant::now();
        let says = async move {
            let mut ticks = interval(every);
            // Lateness counts from when a message was due.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            loop {
                let due = ticks.tick().await.into_std();
                let at = due.saturating_duration_since(begun).as_micros();
                let frame = json!({"type": "message", "to": to, "at": at as u64});
                if mouth.say(frame.to_string()).await.is_err() {
                    return;
                }
            }
        };
        let heard = Arc::clone(&seen);
        let hears = async move {
            while let Some(frame) = ears.next().await {
                if let Some(at) = frame["at"].as_u64() {
                    let now = Instant::now();
                    let took = (now - begun).saturating_sub(Duration::from_micros(at));
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push((now, took));
                }
            }
        };
        Self { seen, tasks: [tokio::spawn(says), tokio::spawn(hears)] }
    }

    /// What was seen since the last look.
    pub(crate) fn take(&self) -> Latency {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        Latency::of(seen.into_iter().map(|(_, took)| took).collect())
    }

    /// What was heard since then; it stays to be taken.
    pub(crate) fn since(&self, then: Instant) -> Latency {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Latency::of(seen.iter().filter(|(at, _)| *at >= then).map(|(_, took)| *took).collect())
    }
}

impl Latency {
    fn of(mut seen: Vec<Duration>) -> Self {
        seen.sort_unstable();
        let at = |part: f64| {
            let last = seen.len().saturating_sub(1);
            seen.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
        };
        Self { count: seen.len(), p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
