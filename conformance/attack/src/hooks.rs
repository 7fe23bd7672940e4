//! Hooks of an application that never answer, panic or take their time, while clients do what they can
//! to have them asked (R-H2, R-H5).

use std::time::{Duration, Instant};

use crate::{
    Fault,
    client::{Client, Got, How, PATIENCE, Reader, total},
    report::Outcome,
    scene::{Scene, Stage},
    units::press,
    wire,
};

/// How many clients flood.
const FLOODS: usize = 8;
/// What may wait of each behind a question, and in its buffer: a message as large as may be.
const WAITING: u64 = FLOODS as u64 * (1 << 20);
const DOCUMENTED: &str = "R-A11, R-L1: a message for each of 8";

/// How many questions have no answer, as the application counts them.
async fn open_questions(scene: &Scene) -> Result<u64, Fault> {
    let mut client = Client::peer(scene.server.address, How::default(), "counter", &[]).await?;
    client.send("{\"type\":\"message\",\"subtype\":\"count\"}").await?;
    let is_count = |text: &str| text.contains("\"name\":\"count\"");
    match client.text_where(PATIENCE, is_count).await {
        Got::Text(text) => {
            let answer: serde_json::Value = serde_json::from_str(&text)?;
            answer["data"].as_u64().ok_or(Fault(text))
        }
        other => Err(Fault(format!("no answer, but {other:?}"))),
    }
}

/// Judges how many questions are open: of each client one at a time is asked about.
async fn judge_open(scene: &Scene, outcome: &mut Outcome, most: usize) -> Result<(), Fault> {
    let open = open_questions(scene).await?;
    outcome.check(format!("at most {most} questions are open"), open, open <= most as u64);
    Ok(())
}

/// Judges whether no question is left a while after those who flood have gone.
async fn judge_gone(
    scene: &Scene,
    outcome: &mut Outcome,
    readers: Vec<Reader>,
) -> Result<(), Fault> {
    drop(readers);
    let begun = Instant::now();
    let mut open = open_questions(scene).await?;
    while open > 0 && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
        open = open_questions(scene).await?;
    }
    let seen = format!("{open} after {:.1} s", begun.elapsed().as_secs_f64());
    outcome.check("none is 10 s after they have gone", seen, open == 0);
    Ok(())
}

/// Clients that send frames of a subtype, as fast as they are read.
async fn flood(scene: &Scene, subtype: &str, time: Duration) -> Result<Vec<Reader>, Fault> {
    let address = scene.server.address;
    let pad = "f".repeat(500);
    let frame = format!("{{\"type\":\"message\",\"subtype\":\"{subtype}\",\"data\":\"{pad}\"}}");
    let mut tasks = Vec::new();
    for n in 0..FLOODS {
        let client = Client::peer(address, How::default(), &format!("flood{n}"), &[]).await?;
        let (mut reader, bytes) = (client.drain(), wire::text(&frame).repeat(20));
        tasks.push(tokio::spawn(async move {
            press(&mut reader.sending, &bytes, time).await;
            reader
        }));
    }
    let mut readers = Vec::new();
    for task in tasks {
        readers.push(task.await?);
    }
    Ok(readers)
}

/// A hook that never answers: clients flood, and others come again and again.
pub(crate) async fn stuck(stage: Stage) -> Result<Outcome, Fault> {
    const AGAIN: usize = 400;
    let mut scene = stage.scene_of_hooks().await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let comers = stage.many(AGAIN);
    let coming = tokio::spawn(async move {
        let auth = "{\"type\":\"auth\",\"user\":\"comer\",\"token\":\"t\"}";
        for _ in 0..comers {
            let mut client = Client::connect(address, How::default()).await?;
            client.send(auth).await?;
        }
        Ok::<_, Fault>(())
    });
    let readers = flood(&scene, "stuck", stage.long(5.0)).await?;
    coming.await??;
    let refused = total(&readers, |c| &c.errors);
    outcome.done(format!(
        "{FLOODS} clients flood a hook that never answers ({refused} refused), and {comers} come and go"
    ));
    outcome.check("those who are asked about are refused", refused, refused > 0);
    // One for each who floods, and one for each who has come in the last second.
    judge_open(&scene, &mut outcome, FLOODS + comers).await?;
    judge_gone(&scene, &mut outcome, readers).await?;
    scene.judge(&mut outcome, WAITING, DOCUMENTED).await;
    Ok(outcome)
}

/// A hook that panics each time that it is asked.
pub(crate) async fn panics(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene_of_hooks().await?;
    let mut outcome = Outcome::new();
    let readers = flood(&scene, "panic", stage.long(3.0)).await?;
    let refused = total(&readers, |c| &c.errors);
    outcome.done(format!("{FLOODS} clients flood a hook that panics, {refused} times"));
    outcome.check("each is refused", refused, refused > 0);
    let closed = readers.iter().filter(|one| one.closed().is_some()).count();
    outcome.check("nobody is closed", closed, closed == 0);
    judge_open(&scene, &mut outcome, FLOODS).await?;
    judge_gone(&scene, &mut outcome, readers).await?;
    scene.judge(&mut outcome, WAITING, DOCUMENTED).await;
    Ok(outcome)
}

/// A hook that takes 50 ms, while clients flood.
pub(crate) async fn slow(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene_of_hooks().await?;
    let mut outcome = Outcome::new();
    let time = stage.long(4.0);
    let mut target = Client::peer(scene.server.address, How::default(), "target", &[]).await?;
    let frame = "{\"type\":\"message\",\"subtype\":\"slow\",\"to\":\"target\"}";
    let mut sender = Client::peer(scene.server.address, How::default(), "sender", &[]).await?;
    let begun = Instant::now();
    let ordered = tokio::spawn(async move {
        for n in 0..10 {
            sender.send(&frame.replacen('{', &format!("{{\"n\":{n},"), 1)).await?;
        }
        for n in 0..10 {
            let next = format!("{{\"n\":{n},");
            let message = |text: &str| text.contains("\"message\"");
            match target.text_where(PATIENCE, message).await {
                Got::Text(text) if text.starts_with(&next) => {}
                other => return Err(Fault(format!("{n} was next, and came {other:?}"))),
            }
        }
        Ok::<_, Fault>(begun.elapsed())
    });
    let readers = flood(&scene, "slow", time).await?;
    let took = ordered.await?;
    let took = match &took {
        Ok(took) => format!("10 in {:.2} s", took.as_secs_f64()),
        Err(Fault(fault)) => fault.clone(),
    };
    outcome.done(format!("{FLOODS} clients flood a hook that takes 50 ms, for {time:.1?}"));
    outcome.check("an honest client's frames arrive in order", &took, took.starts_with("10 in"));
    let closed = readers.iter().filter(|one| one.closed().is_some()).count();
    outcome.check("nobody is closed", closed, closed == 0);
    // What they have sent is still asked about when they have gone, as far as it was read.
    judge_open(&scene, &mut outcome, FLOODS).await?;
    drop(readers);
    scene.judge(&mut outcome, WAITING, DOCUMENTED).await;
    Ok(outcome)
}
