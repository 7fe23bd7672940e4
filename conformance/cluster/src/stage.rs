//! What cases have in common: a Redis, nodes on it, and how much of each is used.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    fault::{Fault, fault},
    node::{Node, Setup},
    redis_server::{Counts, Redis},
    report::Outcome,
};

/// How much memory all processes of a case may have together.
const MAX_MEMORY: u64 = 14 << 30;

/// How cases are run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Smaller: whether all is well in general.
    pub(crate) quick: bool,
    /// The program redis-server.
    pub(crate) redis_server: String,
    /// Where nodes' logs are kept.
    pub(crate) logs: Option<PathBuf>,
}

/// A Redis and a place for logs.
pub(crate) struct Stage {
    pub(crate) redis: Redis,
    folder: TempDir,
    logs: Option<PathBuf>,
}

impl Stage {
    pub(crate) async fn set(options: &Options) -> Result<Self, Fault> {
        let redis = Redis::start(&options.redis_server).await?;
        Ok(Self { redis, folder: tempfile::tempdir()?, logs: options.logs.clone() })
    }

    fn log(&self, name: &str) -> PathBuf {
        let folder = self.logs.as_deref().unwrap_or(self.folder.path());
        folder.join(format!("{name}.log"))
    }

    pub(crate) fn setup(&self, name: &str) -> Setup {
        Setup {
            redis: self.redis.url(),
            port: 0,
            admin: 0,
            name: name.into(),
            peers: 0,
            pad: 0,
            room: String::new(),
            authentication: false,
        }
    }

    pub(crate) async fn start(&self, setup: &Setup) -> Result<Node, Fault> {
        Node::start(setup, &self.log(&setup.name)).await
    }

    pub(crate) fn launch(&self, setup: &Setup) -> Result<Node, Fault> {
        Node::launch(setup, &self.log(&setup.name))
    }

    pub(crate) fn log_file(&self, name: &str) -> Result<std::fs::File, Fault> {
        Ok(std::fs::File::options().create(true).append(true).open(self.log(name))?)
    }

    /// How often a node has said that it lost Redis, as far as it said so.
    pub(crate) fn losses(&self, name: &str) -> usize {
        let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
        log.lines().filter(|line| line.contains("Redis is away")).count()
    }

    /// Fails when too much memory is used.
    pub(crate) fn check_memory(&self, nodes: &[Node]) -> Result<u64, Fault> {
        let used = nodes.iter().map(Node::memory).sum::<u64>() + self.redis.memory();
        if used > MAX_MEMORY {
            return fault(format!("{used} bytes of memory are too much for this program"));
        }
        Ok(used)
    }

    /// Waits until all nodes know all peers of the others, when there are so many.
    pub(crate) async fn settle(&self, nodes: &mut [Node], patience: Duration) -> Result<(), Fault> {
        let until = Instant::now() + patience;
        let mut peers = Vec::new();
        for node in &mut *nodes {
            peers.push(node.counts().await?.peers);
        }
        let all: usize = peers.iter().sum();
        for (n, own) in peers.into_iter().enumerate() {
            if nodes[n].knows(all - own, until).await?.is_none() {
                let cuts = self.redis.counts().await?.cuts;
                return fault(format!(
                    "{} nodes do not find each other in {patience:?}; Redis has cut {cuts} \
                     subscribers",
                    nodes.len(),
                ));
            }
            self.check_memory(nodes)?;
        }
        Ok(())
    }

    /// Waits until Redis has little to do; what it has counted then.
    pub(crate) async fn quiet(&self, patience: Duration) -> Result<Counts, Fault> {
        let (until, step) = (Instant::now() + patience, Duration::from_millis(500));
        let mut before = self.redis.counts().await?;
        loop {
            sleep(step).await;
            let counts = self.redis.counts().await?;
            if counts.since(before).output < 200_000 || Instant::now() >= until {
                return Ok(counts);
            }
            before = counts;
        }
    }
}

/// Nobody was cut, and nobody lost its connection: all that were made were asked for.
pub(crate) fn check_links(outcome: &mut Outcome, counts: Counts, expected: u64) {
    outcome.check("Redis cuts no subscriber", counts.cuts, counts.cuts == 0);
    let more = counts.connections.saturating_sub(expected);
    outcome.check("no node loses its connection to Redis", more, more == 0);
}
