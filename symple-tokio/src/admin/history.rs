//! What the server has counted in the last quarter of an hour, for the graphs of the console: whoever opens it sees
//! what has been, and not only what comes.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use symple_driver::ServerStats;
use tokio::time::MissedTickBehavior;

use super::{Shared, metrics, process::Process};

/// How often a sample is taken.
const EVERY: Duration = Duration::from_secs(5);
/// How many are kept: those of 15 minutes.
const SAMPLES: usize = 180;

/// What the numbers of a sample are. Some are counted since the start.
pub(super) const COLUMNS: [&str; 15] = [
    "at",
    "peers",
    "clusterPeers",
    "rooms",
    "connections",
    "paused",
    "framesIn",
    "framesOut",
    "bytesIn",
    "bytesOut",
    "queue",
    "refusals",
    "cpu",
    "memory",
    "lag",
];

type Sample = [f64; COLUMNS.len()];

/// The samples, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: Mutex<VecDeque<Sample>>,
    begun: AtomicBool,
}

impl History {
    /// How many seconds there are between two samples.
    pub(super) fn every() -> u64 {
        EVERY.as_secs()
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().copied().collect()
    }

    fn push(&self, sample: Sample) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }
}

/// Takes samples from now on, for as long as the API is there and the server runs; once, however often this is
/// called. Needs a runtime.
pub(super) fn start(shared: &Arc<Shared>) {
    if shared.history.begun.swap(true, Ordering::Relaxed) {
        return;
    }
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            if take(&shared).await.is_none() {
                return;
            }
        }
    });
}

/// Takes a sample. None if there is nobody to take one for.
async fn take(shared: &Weak<Shared>) -> Option<()> {
    // The API may end meanwhile.
    let handle = shared.upgrade()?.handle.clone();
    let stats = handle.stats().await.ok()?;
    shared.upgrade()?.history.push(sample(&stats, &Process::look()));
    Some(())
}

#[allow(clippy::cast_precision_loss, reason = "nobody sees the difference in a graph")]
fn sample(stats: &ServerStats, process: &Process) -> Sample {
    let ServerStats { engine, transport, .. } = stats;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let frames: u64 = engine.received.iter().map(|(_, count)| count).sum();
    let refusals: u64 = metrics::refusals(stats).into_iter().map(|(_, count)| count).sum();
    [
        now.as_millis() as f64,
        engine.peers as f64,
        (engine.peers + engine.remote_peers) as f64,
        engine.rooms as f64,
        engine.connections as f64,
        engine.paused_now as f64,
        frames as f64,
        engine.deliveries as f64,
        transport.received as f64,
        transport.sent as f64,
        transport.waiting as f64,
        refusals as f64,
        process.cpu.unwrap_or_default().as_secs_f64(),
        process.resident.unwrap_or_default() as f64,
        engine.cluster_lag.as_secs_f64(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded() {
        let history = History::default();
        for n in 0..SAMPLES + 20 {
            let mut sample = Sample::default();
            sample[0] = f64::from(u32::try_from(n).unwrap());
            history.push(sample);
        }
        let samples = history.samples();
        assert_eq!((samples.len(), samples[0][0]), (SAMPLES, 20.0));
    }
}
