//! One client sends all it can to a room with a member on another node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::time::sleep;

use super::super::{
    client::Client,
    fault::Fault,
    report::{Outcome, megabytes},
    stage::{Options, Stage, check_links},
};

const TOKEN: &str = "a-token";
/// How many pairs of clients have something else to say to each other.
const PAIRS: usize = 5;
/// How often each does.
const EVERY: Duration = Duration::from_millis(20);
/// How often somebody logs in.
const LOGIN: Duration = Duration::from_millis(50);
/// How many greedy ones there are in the case, on connections of their own.
const GREEDY: usize = 1;

pub(super) async fn run(options: &Options) -> Result<Outcome, Fault> {
    let lasts = Duration::from_secs(if options.quick { 2 } else { 8 });
    let stage = Stage::set(options).await?;
    stage
        .redis
        .set(&format!("symple:session:{TOKEN}"), r#"{"user":"anyone","rooms":["all"]}"#)
        .await?;
    let mut nodes = Vec::new();
    for name in ["a", "b"] {
        let mut setup = stage.setup(name);
        setup.authentication = true;
        nodes.push(stage.start(&setup).await?);
    }
    let (a, b) = (nodes[0].address, nodes[1].address);
    for n in 0..GREEDY {
        let session = format!(r#"{{"user":"greedy{n}"}}"#);
        stage.redis.set(&format!("symple:session:greedy{n}"), &session).await?;
    }
    let greedy = Client::connect(a, "greedy0", &[], Some("greedy0")).await?;
    let mut victim = Client::connect(b, "greedy0", &[], Some("greedy0")).await?;
    // The user's own room has both.
    let room = json!({"type": "message", "to": "greedy0", "data": "x".repeat(1024 * 1024 - 200)});
    let mut pairs = Vec::new();
    for n in 0..PAIRS {
        let session = format!(r#"{{"user":"pair{n}"}}"#);
        stage.redis.set(&format!("symple:session:pair{n}"), &session).await?;
        let token = format!("pair{n}");
        let says = Client::connect(a, &token, &[], Some(&token)).await?;
        let hears = Client::connect(b, &token, &[], Some(&token)).await?;
        pairs.push((says, hears));
    }
    // Each knows of the other.
    sleep(Duration::from_secs(1)).await;
    let before = stage.redis.counts().await?;
    let begun = Instant::now();
    let (heard, sent) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    let frames = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&frames);
    let (mut mouth, mut ears) = greedy.split();
    let text = room.to_string();
    tasks.push(tokio::spawn(async move {
        while begun.elapsed() < lasts && mouth.say(text.clone()).await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        sleep(Duration::from_secs(2)).await;
    }));
    let refused = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&refused);
    let listening = tokio::spawn(async move {
        while let Some(frame) = ears.next().await {
            if frame["type"] == "error" {
                told.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let delivered = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&delivered);
    let reading = tokio::spawn(async move {
        loop {
            if let Some(frame) = victim.next(Duration::from_secs(60)).await
                && frame["type"] == "message"
            {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut listeners = Vec::new();
    for (mut says, mut hears) in pairs {
        let (heard, sent) = (Arc::clone(&heard), Arc::clone(&sent));
        let to = hears.address.clone();
        listeners.push(tokio::spawn(async move {
            while let Some(frame) = hears.next(Duration::from_secs(60)).await {
                if frame["type"] == "message" {
                    heard.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
        tasks.push(tokio::spawn(async move {
            while begun.elapsed() < lasts {
                let frame = json!({"type": "message", "to": to, "data": 1});
                if says.send(&frame).await.is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                sleep(EVERY).await;
            }
            sleep(Duration::from_secs(2)).await;
        }));
    }
    let (mut logins, mut failed, mut why) = (0_u32, 0_u32, String::new());
    while begun.elapsed() < lasts {
        logins += 1;
        if let Err(Fault(reason)) = Client::connect(a, "anyone", &[], Some(TOKEN)).await {
            failed += 1;
            why = reason;
        }
        sleep(LOGIN).await;
    }
    for task in tasks {
        let _ = task.await;
    }
    // What is under way arrives.
    let until = Instant::now() + Duration::from_secs(5);
    while heard.load(Ordering::Relaxed) < sent.load(Ordering::Relaxed) && Instant::now() < until {
        sleep(Duration::from_millis(20)).await;
    }
    for task in listeners.iter().chain([&listening, &reading]) {
        task.abort();
    }
    let counts = stage.redis.counts().await?.since(before);
    let (sent, heard) = (sent.load(Ordering::Relaxed), heard.load(Ordering::Relaxed));
    let frames = frames.load(Ordering::Relaxed);
    let done = format!("one client sends {frames} frames of 1 MiB in {lasts:?}");
    let mut outcome = Outcome::new("greedy", done);
    check_links(&mut outcome, counts, 0);
    let bound = "all who log in meanwhile are let in";
    outcome.check(bound, format!("{failed} of {logins} refused {why}"), failed == 0);
    let bound = "others lose nothing";
    outcome.check(bound, format!("{} of {sent} lost", sent.saturating_sub(heard)), heard == sent);
    outcome.note("of the greedy one's frames were delivered", delivered.load(Ordering::Relaxed));
    outcome.note("times it was told of an error", refused.load(Ordering::Relaxed));
    outcome.note("Redis reads", megabytes(counts.input));
    Ok(outcome)
}
