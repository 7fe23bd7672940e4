//! One client repeats a record that has not changed.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use super::super::{
    client::Client,
    fault::Fault,
    report::{Outcome, megabytes},
    stage::{Options, Stage},
};

/// How much of it may reach Redis in a second.
const BOUND: u64 = 64 * 1024;

pub(super) async fn run(options: &Options) -> Result<Outcome, Fault> {
    let lasts = Duration::from_secs(if options.quick { 1 } else { 5 });
    let stage = Stage::set(options).await?;
    let mut nodes = Vec::new();
    for name in ["a", "b"] {
        nodes.push(stage.start(&stage.setup(name)).await?);
    }
    let client = Client::connect(nodes[0].address, "alice", &["team"], None).await?;
    let record = json!({"status": "x".repeat(16_000)});
    let frame = json!({"type": "presence", "data": record}).to_string();
    let (mut mouth, mut ears) = client.split();
    let listening = tokio::spawn(async move { while ears.next().await.is_some() {} });
    mouth.say(frame.clone()).await?;
    sleep(Duration::from_secs(1)).await;
    let before = stage.redis.counts().await?;
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < lasts {
        mouth.say(frame.clone()).await?;
        count += 1;
        sleep((Duration::from_millis(5) * count).saturating_sub(begun.elapsed())).await;
    }
    sleep(Duration::from_millis(200)).await;
    let counts = stage.redis.counts().await?.since(before);
    listening.abort();
    let rate = counts.input * 1000 / u64::try_from(begun.elapsed().as_millis()).unwrap_or(1).max(1);
    let done = format!("one client tells {count} times the same 16 KB of itself, in {lasts:?}");
    let mut outcome = Outcome::new("record", done);
    let bound = format!("Redis reads at most {} a second", megabytes(BOUND));
    outcome.check(bound, format!("{} a second", megabytes(rate)), rate <= BOUND);
    Ok(outcome)
}
