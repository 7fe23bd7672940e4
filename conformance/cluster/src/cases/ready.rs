//! Clients connect to a node as soon as it says that it is ready.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use super::super::{
    client::{Client, PATIENCE, status},
    fault::{Fault, fault},
    report::Outcome,
    stage::{Options, Stage},
};

/// How long a node may take to be ready.
const READY: Duration = Duration::from_secs(20);

pub(super) async fn run(options: &Options) -> Result<Outcome, Fault> {
    let (turns, peers) = if options.quick { (2, 1_000) } else { (5, 15_000) };
    let stage = Stage::set(options).await?;
    let mut one = stage.setup("one");
    (one.peers, one.pad) = (peers, 400);
    let one = stage.start(&one).await?;
    let mut bob = Client::connect(one.address, "bob", &["team"], None).await?;
    let (mut blind, mut lost, mut took) = (0, 0, Duration::ZERO);
    for turn in 0..turns {
        let begun = Instant::now();
        let node = stage.launch(&stage.setup(&format!("two{turn}")))?;
        while status(node.address, "/readyz").await != Some(200) {
            if begun.elapsed() > READY {
                return fault("the node does not become ready");
            }
            sleep(Duration::from_millis(2)).await;
        }
        took = took.max(begun.elapsed());
        let mut alice = Client::connect(node.address, "alice", &["team"], None).await?;
        alice.send(&json!({"type": "message", "to": bob.address, "data": turn})).await?;
        alice.send(&json!({"type": "message", "to": alice.address, "data": "myself"})).await?;
        let mut sees = false;
        // The roster comes with the welcome, before what it has just said to itself; all else would be luck.
        while let Some(frame) = alice.next(PATIENCE).await {
            sees |= frame["type"] == "presence" && frame["data"]["user"] == "bob";
            if frame["data"] == "myself" {
                break;
            }
        }
        blind += usize::from(!sees);
        let until = Instant::now() + PATIENCE;
        let mut arrived = false;
        while !arrived && Instant::now() < until {
            let frame = bob.next(PATIENCE).await;
            arrived = frame.is_some_and(|it| it["type"] == "message" && it["data"] == turn);
        }
        lost += usize::from(!arrived);
        node.kill().await?;
    }
    let done = format!("{turns} times a node starts beside one with {peers} peers");
    let mut outcome = Outcome::new("ready", done);
    outcome.check(
        "who comes in sees who is there",
        format!("{blind} of {turns} blind"),
        blind == 0,
    );
    outcome.check("what it says arrives", format!("{lost} of {turns} lost"), lost == 0);
    outcome.note("until it is ready, at most", format!("{took:.2?}"));
    Ok(outcome)
}
