//! What a client causes is charged to it: a frame is a unit, and so are each 8 KiB read and each
//! 250 deliveries (R-L3).

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt as _, time::timeout};

use crate::{
    Fault,
    client::{Client, Counts, How, crowd, quiet, total},
    report::Outcome,
    scene::Stage,
    wire,
};

/// Units a second, and at once, by default.
const RATE: f64 = 200.0;
const BURST: f64 = 400.0;
/// For how many deliveries there is a unit, and for how many bytes.
const DELIVERIES: f64 = 250.0;
const BYTES: f64 = 8192.0;
/// What a bound may be missed by: clocks, and the last frame that was begun.
const SLACK: f64 = 1.1;

/// What members of a room say to come in.
fn members(count: usize, room: &str) -> impl Iterator<Item = String> {
    let room = room.to_owned();
    (0..count).map(move |n| wire::auth(&format!("member{n}"), std::slice::from_ref(&room)))
}

/// Writes for so long, as far as the server reads.
pub(crate) async fn press(
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    frames: &[u8],
    time: Duration,
) {
    let deadline = Instant::now() + time;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        if !matches!(timeout(left, writer.write_all(frames)).await, Ok(Ok(()))) {
            break;
        }
    }
    // One that is blocked is to last as long.
    tokio::time::sleep_until(deadline.into()).await;
}

/// One client that joins and leaves a large room as fast as it can.
pub(crate) async fn join_and_leave(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let size = stage.many(1000);
    let members = crowd(scene.server.address, members(size, "hall")).await?;
    quiet(&members).await;
    let attacker = Client::peer(scene.server.address, How::default(), "mallory", &[]).await?;
    let mut attacker = attacker.drain();
    let count = |attacker: &Counts| {
        let own = Counts::get(&attacker.presence) + Counts::get(&attacker.offline);
        own + total(&members, |c| &c.presence) + total(&members, |c| &c.offline)
    };
    scene.begin().await;
    let (before, cpu) = (count(&attacker.counts), scene.server.cpu());
    let begun = Instant::now();
    // No more at once than it can read the answers of.
    let long = stage.long(3.0);
    for n in 0.. {
        let due = Duration::from_secs_f64(f64::from(n) / RATE);
        if due > long {
            break;
        }
        tokio::time::sleep_until((begun + due).into()).await;
        let kind = if n % 2 == 0 { "join" } else { "leave" };
        let frame = format!("{{\"type\":\"{kind}\",\"room\":\"hall\"}}");
        if !matches!(timeout(long, attacker.send(&frame)).await, Ok(Ok(()))) {
            break;
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let deliveries = count(&attacker.counts) - before;
    let own_end = attacker.closed().map_or(String::new(), |code| format!(", then closed: {code}"));
    let cpu = (scene.server.cpu() - cpu).as_secs_f64() / took * 100.0;
    outcome.done(format!(
        "joins and leaves of a room of {size} for {took:.1} s ({cpu:.0} % CPU{own_end})"
    ));
    let most = (RATE * took + BURST) * DELIVERIES * SLACK;
    outcome.check(
        format!("at most {most:.0} deliveries: 250 for each of 200 units/s and 400"),
        deliveries,
        deliveries as f64 <= most,
    );
    // The attacker is a client as good as any, and it reads.
    outcome.check("nobody is closed", closed(&members), closed(&members) == 0);
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}

fn closed(members: &[crate::client::Reader]) -> usize {
    members.iter().filter(|member| member.closed().is_some()).count()
}

/// Large records into a large room.
pub(crate) async fn presence(stage: Stage) -> Result<Outcome, Fault> {
    let record = "r".repeat(16 * 1024 - 200);
    let pad = "p".repeat(400);
    let frame =
        format!("{{\"type\":\"presence\",\"data\":{{\"x\":\"{record}\"}},\"pad\":\"{pad}\"}}");
    large(&stage, 200, &frame, "records of 16 KiB").await
}

/// Large messages into a large room.
pub(crate) async fn messages(stage: Stage) -> Result<Outcome, Fault> {
    let frame = format!("{{\"type\":\"message\",\"data\":\"{}\"}}", "m".repeat(64 * 1024));
    large(&stage, 100, &frame, "messages of 64 KiB").await
}

async fn large(stage: &Stage, size: usize, frame: &str, what: &str) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let members = crowd(scene.server.address, members(size, "hall")).await?;
    quiet(&members).await;
    let room = ["hall".to_owned()];
    let attacker = Client::peer(scene.server.address, How::default(), "mallory", &room).await?;
    let mut attacker = attacker.drain();
    quiet(&members).await;
    scene.begin().await;
    let got = || total(&members, |c| &c.presence) + total(&members, |c| &c.messages);
    let before = got();
    let begun = Instant::now();
    press(&mut attacker.sending, &wire::text(frame), stage.long(2.5)).await;
    let took = begun.elapsed().as_secs_f64();
    let frames = (got() - before) as f64 / size as f64;
    outcome.done(format!("{what} to {size} members for {took:.1} s"));
    let units = 1.0 + (frame.len() as f64 / BYTES).floor() + (size as f64 / DELIVERIES).floor();
    let most = (RATE * took + BURST) / units * SLACK;
    outcome.check(
        format!("at most {most:.0} are delivered, of {units:.0} units each"),
        format!("{frames:.0}"),
        frames <= most,
    );
    outcome.check("nobody is closed", closed(&members), closed(&members) == 0);
    // All members read, but not at once what comes at once.
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}
