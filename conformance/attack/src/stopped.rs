//! Clients that stop reading, and messages that are never finished (R-L4, R-L7, R-L9).

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt as _, time::timeout};

use crate::{
    Fault,
    client::{Client, Counts, Got, How, crowd, quiet},
    report::Outcome,
    scene::Stage,
    wire::{self, FIN, TEXT},
};

/// What may wait for one connection, by default.
const OUTBOUND: u64 = 4 << 20;

/// What may wait for all connections together, by default: 1 GiB, or a quarter of the memory.
fn outbound_total() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kilobytes.map_or(u64::MAX, |kilobytes: u64| kilobytes * 1024 / 4).min(1 << 30)
}

/// Members of a busy room that do not read.
pub(crate) async fn readers(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let count = stage.many(400);
    let room = ["busy".to_owned()];
    let mut stopped = Vec::new();
    for n in 0..count {
        let user = format!("stopped{n}");
        stopped.push(Client::peer(address, How::slow(), &user, &room).await?);
    }
    let mut speakers = Vec::new();
    for n in 0..4 {
        speakers.push(
            Client::peer(address, How::default(), &format!("speaker{n}"), &room).await?.drain(),
        );
    }
    let honest = crowd(address, (0..3).map(|n| wire::auth(&format!("honest{n}"), &room))).await?;
    quiet(&honest).await;
    scene.begin().await;
    let message = format!("{{\"type\":\"message\",\"data\":\"{}\"}}", "m".repeat(15 * 1024));
    let deadline = Instant::now() + stage.long(4.5);
    let frame = wire::text(&message);
    let mut tasks = Vec::new();
    for mut speaker in speakers {
        let frame = frame.clone();
        tasks.push(tokio::spawn(async move {
            let mut sent = 0_u64;
            while let Some(left) = deadline.checked_duration_since(Instant::now()) {
                match timeout(left, speaker.sending.write_all(&frame)).await {
                    Ok(Ok(())) => sent += 1,
                    _ => break,
                }
            }
            (speaker, sent)
        }));
    }
    let (mut sent, mut speakers) = (0, Vec::new());
    for task in tasks {
        let (speaker, count) = task.await?;
        sent += count;
        speakers.push(speaker);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let closed = honest.iter().chain(&speakers).filter(|one| one.closed().is_some()).count();
    outcome.done(format!("{count} members do not read what 4 others say: {sent} times 15 KiB"));
    // One that does not get to read for want of a processor is as slow as one that does not want to.
    outcome.noisy("no member that reads is closed", closed, closed == 0);
    let budget = (count as u64 * OUTBOUND).min(outbound_total());
    scene.judge(&mut outcome, budget, "R-L4, R-L7").await;
    drop((stopped, honest, speakers));
    scene.judge_return(&mut outcome).await;
    Ok(outcome)
}

/// Newcomers that do not read their roster of 10 MB. Those on it are in 150 rooms, four in each, so
/// that they need not see each other; a newcomer joins all of them.
pub(crate) async fn newcomers(stage: Stage) -> Result<Outcome, Fault> {
    const ROOMS: usize = 150;
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let (known, count) = (stage.many(600), stage.many(40));
    let record = "r".repeat(16 * 1024 - 300);
    let auths = (0..known).map(|n| {
        let room = n % ROOMS;
        format!(
            "{{\"type\":\"auth\",\"user\":\"member{n}\",\"rooms\":[\"r{room}\"],\"data\":\"{record}\"}}"
        )
    });
    let members = crowd(address, auths).await?;
    quiet(&members).await;
    scene.begin().await;
    let rooms: Vec<_> = (0..ROOMS).map(|n| format!("r{n}")).collect();
    let mut stopped = Vec::new();
    for n in 0..count {
        let auth = wire::auth(&format!("stopped{n}"), &rooms);
        let mut client = Client::connect(address, How::slow()).await?;
        client.send(&auth).await?;
        stopped.push(client);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(stage.long(1.5)).await;
    let roster = known as u64 * 16 * 1024;
    outcome.done(format!("{count} newcomers do not read a roster of {} MiB", roster >> 20));
    // In step with what they read: nothing.
    let budget = (count as u64 * OUTBOUND).min(outbound_total());
    scene.judge(&mut outcome, budget, "R-L4: 4 MiB for each").await;
    drop(stopped);
    scene.judge_return(&mut outcome).await;
    // One that reads gets all of it, however large it is.
    let auth = wire::auth("reader", &rooms);
    let reader = crowd(address, [auth]).await?;
    quiet(&reader).await;
    let got = Counts::get(&reader[0].counts.presence);
    // Some of the others may be going just then, and it is told of that, too.
    let whole = known as u64..=(known + 2 * count) as u64;
    outcome.check("one that reads gets the whole roster", got, whole.contains(&got));
    Ok(outcome)
}

/// Messages that come a byte at a time, or stop in the middle.
pub(crate) async fn dribble(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&["--message-timeout", "2"]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    outcome.done("unfinished messages, a byte every 200 ms or none, with a limit of 2 s");
    let mut header = Vec::new();
    wire::push_header(&mut header, FIN | TEXT, 1 << 20);
    let kinds: [(&str, Vec<u8>, bool); 5] = [
        ("a message, a byte at a time", header.clone(), true),
        ("a message that stops", [header.clone(), vec![b' '; 1000]].concat(), false),
        ("half a header", header[..3].to_vec(), false),
        ("a fragment without a next one", wire::frame(TEXT, b"{\"type\":"), false),
        ("fragments, and pings between", wire::frame(TEXT, b"{\"type\":"), true),
    ];
    let mut waiting = Vec::new();
    for (kind, bytes, dribbles) in kinds {
        for peer in [true, false] {
            // What a stranger may send is smaller, but it may be as slow.
            let bytes = if peer || bytes.len() < 14 || bytes[1] & 0x7f != 127 {
                bytes.clone()
            } else {
                let mut header = Vec::new();
                wire::push_header(&mut header, FIN | TEXT, 60_000);
                header
            };
            let mut client = if peer {
                Client::peer(address, How::default(), "dribbler", &[]).await?
            } else {
                Client::connect(address, How::default()).await?
            };
            client.raw(&bytes).await?;
            let pings = kind.contains("pings");
            waiting.push(tokio::spawn(async move {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_secs(5) {
                    if dribbles {
                        let ping = wire::frame(FIN | wire::PING, b"");
                        let next = if pings { &*ping } else { b" " };
                        let _ = client.raw(next).await;
                    }
                    match client.text_where(Duration::from_millis(200), |_| false).await {
                        Got::Nothing => {}
                        end => {
                            let who = if peer { "a peer" } else { "a stranger" };
                            return (format!("{kind}, by {who}"), end, begun.elapsed());
                        }
                    }
                }
                let who = if peer { "a peer" } else { "a stranger" };
                (format!("{kind}, by {who}"), Got::Nothing, begun.elapsed())
            }));
        }
    }
    for one in waiting {
        let (kind, end, after) = one.await?;
        let after = after.as_secs_f64();
        outcome.check(
            format!("{kind}: close 1008 after 2 s, at most 3.5 s"),
            format!("{end:?} after {after:.1} s"),
            matches!(end, Got::Close(Some(1008))) && (1.0..=3.5).contains(&after),
        );
    }
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}
