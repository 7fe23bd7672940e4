//! A node learns of a million peers.

use std::time::{Duration, Instant};

use super::super::{
    fault::Fault,
    probe::Probe,
    report::{Outcome, megabytes},
    stage::{Options, Stage, check_links},
    teller::{Setup, Tellers},
};

/// How long it may take at most, for all that is measured.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it should take.
const RIGHT: Duration = Duration::from_secs(10);
/// How long a death may go unnoticed.
const DEATH: Duration = Duration::from_secs(10);
/// What others may notice of it.
const LATENCY: Duration = Duration::from_millis(20);

pub(super) async fn run(options: &Options) -> Result<Outcome, Fault> {
    let (tellers, peers) = if options.quick { (3, 2_000) } else { (19, 50_000) };
    let stage = Stage::set(options).await?;
    let mut node = stage.start(&stage.setup("node")).await?;
    let probe = Probe::start(node.address, None).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calm = probe.take();
    let before = stage.redis.counts().await?;
    let setup = Setup { redis: stage.redis.url(), tellers, peers, pad: 0 };
    let crowd = Tellers::start(&setup, stage.log_file("tellers")?).await?;
    let up = Instant::now();
    // Their memory was taken meanwhile, and their processors.
    let _ = probe.take();
    let right = node.knows(tellers * peers, up + PATIENCE).await?;
    let took = right.map(|at| at - up);
    let learning = probe.take();
    let memory = stage.check_memory(std::slice::from_ref(&node))? + crowd.memory();
    let counts = stage.redis.counts().await?.since(before);
    let own = node.memory();
    crowd.kill().await?;
    let killed = Instant::now();
    let gone = node.knows(0, killed + PATIENCE).await?;
    let dying = probe.take();
    let done = format!("{tellers} nodes with {peers} peers each; another learns of them");
    let mut outcome = Outcome::new("million", done);
    outcome.within("the node knows everybody", RIGHT, took);
    outcome.within("it knows that all are gone", DEATH, gone.map(|at| at - killed));
    check_links(&mut outcome, counts, tellers as u64);
    let bound = |what| format!("p99 of others {what} at most {LATENCY:?}");
    outcome.check(bound("while it learns"), learning, learning.p99 <= LATENCY);
    outcome.check(bound("while they go"), dying, dying.p99 <= LATENCY);
    outcome.note("others, before", calm);
    outcome.note("memory of the node", megabytes(own));
    outcome.note("memory of all", megabytes(memory));
    outcome.note("Redis writes", megabytes(counts.output));
    Ok(outcome)
}
