//! All that waits for clients has a limit together (R-L7).

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt as _, time::timeout};

use crate::{
    Fault,
    client::{Client, Got, How, crowd, quiet},
    report::Outcome,
    scene::Stage,
    wire,
};

/// The limit here.
const TOTAL: u64 = 32 << 20;

/// Many that do not read; of those with the most waiting some are closed, the others stay.
pub(crate) async fn total(stage: Stage) -> Result<Outcome, Fault> {
    let flags = ["--outbound-total", "33554432"];
    let mut scene = stage.scene(&flags).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let (heavy, light) = (40, 40);
    let stopped = |name: &'static str, count: usize| async move {
        let mut clients = Vec::new();
        for n in 0..count {
            let room = [name.to_owned()];
            let user = format!("{name}{n}");
            clients.push(Client::peer(address, How::slow(), &user, &room).await?);
        }
        Ok::<_, Fault>(clients)
    };
    let mut heavies = stopped("heavy", heavy).await?;
    let mut lights = stopped("light", light).await?;
    let mut honest =
        crowd(address, (0..4).map(|n| wire::auth(&format!("speaker{n}"), &["heavy".into()])))
            .await?;
    quiet(&honest).await;
    scene.begin().await;
    // Something waits for the light ones, too, but much less.
    let small =
        format!("{{\"type\":\"message\",\"to\":\"light\",\"data\":\"{}\"}}", "l".repeat(4096));
    honest[0].send(&small).await?;
    let large =
        format!("{{\"type\":\"message\",\"to\":\"heavy\",\"data\":\"{}\"}}", "h".repeat(15 * 1024));
    let frame = wire::text(&large);
    let deadline = Instant::now() + Duration::from_secs(4);
    let mut sent = 0;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match timeout(left, honest[0].sending.write_all(&frame)).await {
            Ok(Ok(())) => sent += 1,
            _ => break,
        }
    }
    outcome.done(format!(
        "{sent} messages of 15 KiB to {heavy} that do not read, and a few to {light} others"
    ));
    scene.judge(&mut outcome, TOTAL, "R-L7: SYMPLE_OUTBOUND_TOTAL").await;
    // How they ended is behind all that still waits for them.
    let (mut too_slow, mut ended) = (0, 0);
    let mut ends = Vec::new();
    for mut client in heavies.drain(..) {
        ends.push(tokio::spawn(async move { client.end(Duration::from_secs(2)).await }));
    }
    for end in ends {
        match end.await? {
            Got::Close(Some(4429)) => too_slow += 1,
            Got::Close(_) | Got::End => ended += 1,
            _ => {}
        }
    }
    outcome.check(
        "of those with the most waiting some are closed (4429)",
        format!("{too_slow} by 4429, {ended} otherwise"),
        too_slow + ended > 0,
    );
    let mut open = 0;
    for client in &mut lights {
        let got = client.text_where(Duration::from_secs(2), |text| text.contains("llll")).await;
        open += usize::from(matches!(got, Got::Text(_)));
    }
    outcome.check(format!("all {light} with little waiting stay, and get it"), open, open == light);
    let closed = honest.iter().filter(|one| one.closed().is_some()).count();
    outcome.check("no one that reads is closed", closed, closed == 0);
    Ok(outcome)
}
