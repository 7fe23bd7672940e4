//! What those notice who have nothing to do with it: a client that writes to itself.

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

use crate::{client::Client, fault::Fault};

/// How often it writes.
const EVERY: Duration = Duration::from_millis(10);

/// A client in a room of its own, which writes to itself all the time, whatever comes back.
pub(crate) struct Probe {
    seen: Arc<Mutex<Vec<Duration>>>,
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
        let (mut mouth, mut ears) = client.split();
        let seen: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let begun = Instant::now();
        let says = async move {
            let mut ticks = interval(EVERY);
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
                    let took = begun.elapsed().saturating_sub(Duration::from_micros(at));
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                }
            }
        };
        Ok(Self { seen, tasks: [tokio::spawn(says), tokio::spawn(hears)] })
    }

    /// What was seen since the last look.
    pub(crate) fn take(&self) -> Latency {
        let mut seen =
            std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        seen.sort_unstable();
        let at = |part: f64| {
            let last = seen.len().saturating_sub(1);
            seen.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
        };
        Latency { count: seen.len(), p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
