//! Clients that send more than their rate and go: they are gone, whatever they have sent (R-P2).

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt as _, time::timeout};

use crate::{
    Fault,
    client::{Client, Got, How},
    report::Outcome,
    scene::Stage,
    wire,
};

/// How long others may take it for online, and what a busy machine adds.
const GONE: Duration = Duration::from_millis(1000);
const SLACK: Duration = Duration::from_millis(500);
/// How many frames are handled at once, by default.
const BURST: usize = 400;

/// How it goes.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// By the end of its stream.
    Quietly,
    /// By a reset.
    Reset,
    /// By a close frame behind all that it has sent.
    Politely,
}

/// Sends so many frames, as far as the kernels take them, goes, and sees what the others see.
async fn leave(
    outcome: &mut Outcome,
    observer: &mut Client,
    address: std::net::SocketAddr,
    frames: usize,
    leaves: Leaves,
) -> Result<(), Fault> {
    let room = ["lobby".to_owned()];
    let user = format!("flood-{frames}-{leaves:?}");
    let mut client = Client::peer(address, How::default(), &user, &room).await?;
    let mut bytes = Vec::new();
    for n in 0..frames {
        bytes.extend(wire::text(&format!("{{\"type\":\"message\",\"n\":{n}}}")));
    }
    if let Leaves::Politely = leaves {
        bytes.extend(wire::frame(wire::FIN | wire::CLOSE, &1000_u16.to_be_bytes()));
    }
    // Its own kernel takes much of it. What is never taken, it has never sent.
    let _ = timeout(Duration::from_millis(300), client.stream.write_all(&bytes)).await;
    if let Leaves::Reset = leaves {
        client.stream.set_zero_linger()?;
        drop(client);
    } else {
        // Who closes with something unread resets; this one reads until the other side closes, too.
        client.stream.shutdown().await?;
        drop(tokio::spawn(async move { client.end(Duration::from_secs(10)).await }));
    }
    let gone = Instant::now();
    let from = format!("\"{user}|");
    let (mut next, mut disorder, mut offline) = (0_usize, 0, None);
    while offline.is_none() && gone.elapsed() < Duration::from_secs(4) {
        let patience = Duration::from_secs(4).saturating_sub(gone.elapsed());
        let Got::Text(text) = observer.text_where(patience, |text| text.contains(&from)).await
        else {
            break;
        };
        if text.contains("\"online\":false") {
            offline = Some(gone.elapsed());
        } else if let Some((_, rest)) = text.split_once("\"n\":") {
            let number = rest.split([',', '}']).next().and_then(|n| n.parse::<usize>().ok());
            disorder += usize::from(number != Some(next));
            next += 1;
        }
    }
    let seen = offline.map_or("not within 4 s".into(), |after| format!("{after:.2?}"));
    outcome.noisy(
        format!("{frames} frames, {leaves:?}: offline within a second"),
        seen,
        offline.is_some_and(|after| after <= GONE + SLACK),
    );
    // A reset takes with it what has not been read.
    let least = if let Leaves::Reset = leaves { 0 } else { frames.min(BURST) };
    outcome.check(
        format!("{frames} frames, {leaves:?}: what arrives is in order, at least {least}"),
        format!("{next} arrived, {disorder} out of order"),
        disorder == 0 && next >= least,
    );
    Ok(())
}

/// More than the rate, and then away.
pub(crate) async fn gone(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let mut tasks = Vec::new();
    for (frames, leaves) in [
        (100, Leaves::Quietly),
        (2000, Leaves::Quietly),
        (20_000, Leaves::Quietly),
        (20_000, Leaves::Reset),
        (20_000, Leaves::Politely),
    ] {
        tasks.push(tokio::spawn(async move {
            let room = ["lobby".to_owned()];
            let mut part = Outcome::new();
            let user = format!("observer-{frames}-{leaves:?}");
            let mut observer = Client::peer(address, How::default(), &user, &room).await?;
            leave(&mut part, &mut observer, address, frames, leaves).await?;
            Ok::<_, Fault>(part)
        }));
    }
    for task in tasks {
        outcome.checks.extend(task.await??.checks);
    }
    outcome.done("clients send up to 20 000 frames, 100 times their rate, and go");
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}
