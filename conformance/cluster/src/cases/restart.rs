//! One of nine nodes is restarted.

use std::time::{Duration, Instant};

use super::super::{
    fault::{Fault, fault},
    node::told_size,
    probe::Probe,
    report::{Outcome, megabytes},
    stage::{Options, Stage, check_links},
};

/// How long the newcomer may take at most, for all that is measured.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it should take.
const RIGHT: Duration = Duration::from_secs(3);
/// How long it may take until all is well before anything happens.
const SETTLE: Duration = Duration::from_secs(60);

pub(super) async fn fat(options: &Options) -> Result<Outcome, Fault> {
    run(options, "restart", 800, false).await
}

pub(super) async fn lean(options: &Options) -> Result<Outcome, Fault> {
    run(options, "restart-lean", 400, false).await
}

pub(super) async fn with_peers(options: &Options) -> Result<Outcome, Fault> {
    run(options, "restart-peers", 800, true).await
}

async fn run(options: &Options, name: &str, pad: usize, has_peers: bool) -> Result<Outcome, Fault> {
    let (count, peers) = if options.quick { (3, 500) } else { (8, 15_000) };
    let stage = Stage::set(options).await?;
    // One after the other: what happens when all come at once is not the question.
    let mut nodes = Vec::new();
    for n in 0..count {
        let mut setup = stage.setup(&format!("node{n}"));
        (setup.peers, setup.pad) = (peers, pad);
        nodes.push(stage.start(&setup).await?);
        stage.settle(&mut nodes, SETTLE).await?;
    }
    let mut newcomer = stage.setup("newcomer");
    let own = if has_peers { peers } else { 0 };
    (newcomer.peers, newcomer.pad) = (own, pad);
    // The first time is like any other: it is the restart that is measured.
    let before = stage.quiet(SETTLE).await?;
    let mut ninth = stage.start(&newcomer).await?;
    ninth.knows(count * peers, Instant::now() + SETTLE).await?;
    ninth.kill().await?;
    let first = stage.quiet(Duration::from_secs(20)).await?.since(before);
    let probe = Probe::start(nodes[0].address, None).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calm = probe.take();

    let before = stage.redis.counts().await?;
    let mut ninth = stage.start(&newcomer).await?;
    let up = Instant::now();
    // With the probe.
    let right = ninth.knows(count * peers + 1, up + PATIENCE).await?;
    let took = right.map(|at| at - up);
    let storm = probe.take();
    let memory = stage.check_memory(&nodes)? + ninth.memory();
    // Its own peers come back one by one, to all; those of the node before it are gone when its silence is noticed.
    for (n, node) in nodes.iter_mut().enumerate() {
        let expected = (count - 1) * peers + own + usize::from(n > 0);
        if own > 0 && node.knows(expected, up + PATIENCE).await?.is_none() {
            return fault("the other nodes do not learn of the newcomer's peers");
        }
    }
    let known = up.elapsed();
    // Whatever else it has caused, on nodes that knew everything.
    let counts = stage.quiet(Duration::from_secs(20)).await?.since(before);
    let state = told_size("node0", pad) * (count * peers) as u64;
    // What is told to all comes back to who tells it, too.
    let back = told_size("newcomer", pad) * (own * (count + 1)) as u64;
    let with = if own > 0 { format!(" with {own} peers of its own") } else { String::new() };
    let done = format!(
        "{count} nodes with {peers} peers each, records of {pad} bytes more ({}); another node{with} is \
         restarted",
        megabytes(state),
    );
    let mut outcome = Outcome::new(name, done);
    outcome.within("the newcomer knows everybody", RIGHT, took);
    // The newcomer makes as many as any node does.
    check_links(&mut outcome, counts, first.connections.clamp(1, 2));
    let ratio = counts.output as f64 / (state + back) as f64;
    let bound = "Redis writes at most 1.5 times what there is to be told";
    outcome.check(bound, format!("{ratio:.2} ({})", megabytes(counts.output)), ratio <= 1.5);
    let mut lost = 0;
    for node in &mut nodes {
        lost += node.counts().await?.nodes_lost;
    }
    // The one that was killed is lost to each.
    let expected = count as u64;
    let bound = "nobody who lives is taken for dead";
    outcome.check(bound, lost.saturating_sub(expected), lost <= expected);
    if own > 0 {
        let told = "of that, its own peers to all nodes, if each is told once";
        outcome.note(told, megabytes(back));
        outcome.note("all know its peers, and that the old ones are gone", format!("{known:.2?}"));
    }
    outcome.note("Redis reads", megabytes(counts.input));
    outcome.note("others, before", calm);
    outcome.note("others, meanwhile", storm);
    outcome.note("memory of all", megabytes(memory));
    Ok(outcome)
}
