//! A node whose link to Redis is slow.

use std::time::{Duration, Instant};

use super::super::{
    fault::Fault,
    node::told_size,
    probe::Probe,
    proxy::Proxy,
    report::{Outcome, megabytes},
    stage::{Options, Stage, check_links},
};

/// How long the newcomer may take at most, for all that is measured.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much longer than its link needs it should take.
const SLACK: Duration = Duration::from_secs(3);
/// How long it may take until all is well before anything happens.
const SETTLE: Duration = Duration::from_secs(60);
/// What others may notice of it.
const LATENCY: Duration = Duration::from_millis(20);
const PAD: usize = 800;

pub(super) async fn teller(options: &Options) -> Result<Outcome, Fault> {
    run(options, "slow-teller", 100_000_000, true).await
}

pub(super) async fn newcomer(options: &Options) -> Result<Outcome, Fault> {
    run(options, "slow-newcomer", 320_000_000, false).await
}

async fn run(options: &Options, name: &str, bits: u64, teller: bool) -> Result<Outcome, Fault> {
    let peers = if options.quick { 1_500 } else { 48_000 };
    let stage = Stage::set(options).await?;
    let proxy = Proxy::start(stage.redis.port, bits)?;
    let mut one = stage.setup("teller");
    (one.peers, one.pad) = (peers, PAD);
    let mut newcomer = stage.setup("newcomer");
    if teller {
        one.redis = proxy.url();
    } else {
        newcomer.redis = proxy.url();
    }
    // They know each other before there is much to be told.
    let bystander = stage.setup("bystander");
    let mut nodes = vec![stage.start(&bystander).await?, stage.start(&one).await?];
    stage.settle(&mut nodes, SETTLE).await?;
    let before = stage.quiet(SETTLE).await?;
    let probe = Probe::start(nodes[0].address, None).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calm = probe.take();
    let probed = stage.redis.counts().await?;

    let mut late = stage.start(&newcomer).await?;
    let up = Instant::now();
    let expected = peers + 1;
    let right = late.knows(expected, up + PATIENCE).await?;
    let took = right.map(|at| at - up);
    let storm = probe.take();
    let counts = stage.quiet(Duration::from_secs(20)).await?.since(probed);
    let size = told_size("teller", PAD) * peers as u64;
    let bound = Duration::from_secs_f64(size as f64 * 8.0 / bits as f64) + SLACK;
    let who = if teller { "who tells it" } else { "who learns it" };
    let done = format!(
        "{peers} peers ({}); the link of {who} carries {} Mbit/s",
        megabytes(size),
        bits / 1_000_000,
    );
    let mut outcome = Outcome::new(name, done);
    outcome.within("the newcomer knows everybody", bound, took);
    // The number of connections that a node makes is that of the first two, halved.
    check_links(&mut outcome, counts, (before.connections - 1) / 2);
    let mut lost = 0;
    for node in &mut nodes {
        lost += node.counts().await?.nodes_lost;
    }
    outcome.check("nobody who lives is taken for dead", lost, lost == 0);
    let bound = format!("p99 of others meanwhile at most {LATENCY:?}");
    outcome.check(bound, storm, storm.p99 <= LATENCY);
    let said: usize = ["bystander", "teller", "newcomer"].iter().map(|it| stage.losses(it)).sum();
    outcome.note("losses of Redis in the logs", said);
    outcome.note("Redis writes", megabytes(counts.output));
    outcome.note("others, before", calm);
    Ok(outcome)
}
