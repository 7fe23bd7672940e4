//! The process stands still for longer than all limits: what came in time is read before anyone is
//! judged (R-A2, R-T3).

use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;

use crate::{
    Fault,
    client::{Client, Got, How, PATIENCE, silent},
    report::Outcome,
    scene::Stage,
    wire,
};

/// SIGSTOP over the limits for heads, `auth` and pongs, with answers in time.
pub(crate) async fn stall(stage: Stage) -> Result<Outcome, Fault> {
    const COUNT: usize = 20;
    let mut outcome = Outcome::new();
    let flags = [
        "--auth-timeout",
        "2",
        "--upgrade-timeout",
        "2",
        "--ping-interval",
        "1",
        "--pong-timeout",
        "1",
    ];
    let scene = stage.scene(&flags).await?;
    let server = &scene.server;
    let address = server.address;
    outcome.done(format!(
        "the process stands still for 3 s, over limits of 1 and 2 s; 3 times {COUNT} clients"
    ));
    let mut pingers = Vec::new();
    for n in 0..COUNT {
        pingers.push(Client::peer(address, How::default(), &format!("pinged{n}"), &[]).await?);
    }
    // All of them have been pinged, and have not answered yet.
    let mut pings = Vec::new();
    for client in &mut pingers {
        loop {
            match client.next(PATIENCE).await {
                Got::Ping(payload) => break pings.push(payload),
                Got::Text(_) => {}
                other => return Err(Fault(format!("no ping, but {other:?}"))),
            }
        }
    }
    let (mut heads, mut late) = (Vec::new(), Vec::new());
    for _ in 0..COUNT {
        heads.push(silent(address, How::default()).await?);
        late.push(Client::connect(address, How::default()).await?);
    }
    server.signal(Signal::STOP)?;
    // All in time, as they see it.
    for (client, payload) in pingers.iter_mut().zip(&pings) {
        client.raw(&wire::frame(wire::FIN | wire::PONG, payload)).await?;
    }
    for (n, client) in late.iter_mut().enumerate() {
        client.send(&wire::auth(&format!("late{n}"), &[])).await?;
    }
    for stream in &mut heads {
        stream.write_all(wire::upgrade("").as_bytes()).await?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.signal(Signal::CONT)?;
    let mut welcome = 0;
    let mut seen = String::new();
    for client in &mut late {
        match client.text_where(Duration::from_secs(2), |_| true).await {
            Got::Text(text) if text.contains("\"welcome\"") => welcome += 1,
            other => seen = format!("; {other:?}"),
        }
    }
    outcome.check(
        "every auth that came in time is welcome, none 408",
        format!("{welcome} of {COUNT}{seen}"),
        welcome == COUNT,
    );
    let mut upgraded = 0;
    for stream in &mut heads {
        let mut answer = [0; 12];
        let read = tokio::io::AsyncReadExt::read_exact(stream, &mut answer);
        let read = tokio::time::timeout(Duration::from_secs(2), read).await;
        upgraded += usize::from(matches!(read, Ok(Ok(_))) && answer.ends_with(b"101"));
    }
    outcome.check("every head that came in time is answered by 101", upgraded, upgraded == COUNT);
    let mut open = 0;
    for client in &mut pingers {
        let _ = client.send("{\"type\":\"join\",\"room\":\"still here\"}").await;
        let joined = client.text_where(Duration::from_secs(2), |t| t.contains("join:ok")).await;
        open += usize::from(matches!(joined, Got::Text(_)));
    }
    outcome.check("every pong that came in time counts: still open", open, open == COUNT);
    // The bystanders stood still with everyone else.
    let (_, faults) = scene.account().await;
    let seen = faults.first().cloned().unwrap_or_else(|| "nothing lost".into());
    outcome.check("bystanders lose nothing, nothing twice", seen, faults.is_empty());
    Ok(outcome)
}
