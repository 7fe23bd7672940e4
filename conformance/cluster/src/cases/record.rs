//! One client repeats a record that has not changed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::{
    client::{Client, Mouth, PATIENCE},
    fault::Fault,
    report::{Outcome, megabytes},
    stage::{Options, Stage},
};

/// How much of it may reach Redis in a second.
const BOUND: u64 = 64 * 1024;

/// How much more may reach Redis than what the member on the other node gets.
const SLACK: f64 = 1.1;

pub(super) async fn run(options: &Options) -> Result<Outcome, Fault> {
    let lasts = Duration::from_secs(if options.quick { 1 } else { 5 });
    let stage = Stage::set(options).await?;
    let mut nodes = Vec::new();
    for name in ["a", "b"] {
        nodes.push(stage.start(&stage.setup(name)).await?);
    }
    let client = Client::connect(nodes[0].address, "alice", &["team"], None).await?;
    let address = client.address.clone();
    let record = json!({"status": "x".repeat(16_000)});
    let frame = json!({"type": "presence", "data": record}).to_string();
    let (mut mouth, mut ears) = client.split();
    let listening = tokio::spawn(async move { while ears.next().await.is_some() {} });
    mouth.say(frame.clone()).await?;
    sleep(Duration::from_secs(1)).await;
    let before = stage.redis.counts().await?;
    let begun = Instant::now();
    let count = repeat(&mut mouth, &frame, lasts).await?;
    sleep(Duration::from_millis(200)).await;
    let counts = stage.redis.counts().await?.since(before);
    let rate = counts.input * 1000 / u64::try_from(begun.elapsed().as_millis()).unwrap_or(1).max(1);

    // On the other node is somebody now who is to have it each time.
    let mut bob = Client::connect(nodes[1].address, "bob", &["team"], None).await?;
    let is_hers = |frame: &Value| frame["type"] == "presence" && frame["from"] == address;
    while !bob.next(PATIENCE).await.is_some_and(|frame| is_hers(&frame)) {}
    let before = stage.redis.counts().await?;
    let again = repeat(&mut mouth, &frame, lasts).await?;
    // Her node reads no faster than the limit of rate allows, so the last ones come later.
    let mut heard = 0;
    while heard < again
        && let Some(frame) = bob.next(PATIENCE).await
    {
        heard += u32::from(is_hers(&frame));
    }
    let shared = stage.redis.counts().await?.since(before);
    listening.abort();
    let wanted = u64::from(heard) * frame.len() as u64;

    let done = format!(
        "one client tells {count} times the same 16 KB of itself, in {lasts:?}; and {again} times more, with a \
         member of its room on the other node"
    );
    let mut outcome = Outcome::new("record", done);
    let bound = format!("Redis reads at most {} a second", megabytes(BOUND));
    outcome.check(bound, format!("{} a second", megabytes(rate)), rate <= BOUND);
    outcome.check("the member gets each", format!("{heard} of {again}"), heard == again);
    let ratio = shared.input as f64 / wanted.max(1) as f64;
    let bound = format!("Redis reads at most {SLACK} times what the member gets");
    outcome.check(bound, format!("{ratio:.2} ({})", megabytes(shared.input)), ratio <= SLACK);
    Ok(outcome)
}

/// Says the same 200 times a second; how often in all.
async fn repeat(mouth: &mut Mouth, frame: &str, lasts: Duration) -> Result<u32, Fault> {
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < lasts {
        mouth.say(frame.to_owned()).await?;
        count += 1;
        sleep((Duration::from_millis(5) * count).saturating_sub(begun.elapsed())).await;
    }
    Ok(count)
}
