//! A stranger's large messages to someone who reads slowly: the stranger is refused, the reader
//! stays (R-L8).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt as _, net::tcp::OwnedReadHalf, task::JoinHandle};

use crate::{
    Fault,
    client::{Client, Got, How, PATIENCE},
    report::Outcome,
    scene::Stage,
    wire,
};

/// 40 Mbit/s, in bytes.
const SPEED: u64 = 5_000_000;
const MEGABYTE: usize = 1_000_000;

/// What became of a slow reader.
struct Victim {
    /// How many large messages it got.
    messages: u64,
    /// Whether its connection was closed.
    closed: bool,
}

/// Reads at a speed, after a pause, until it has been told to stop or is closed.
fn read_slowly(
    mut reading: OwnedReadHalf,
    speed: u64,
    pause: Duration,
    until: Instant,
) -> JoinHandle<Victim> {
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        let (mut buffer, mut chunk) = (Vec::new(), vec![0; 50_000]);
        let mut victim = Victim { messages: 0, closed: false };
        let begun = Instant::now();
        let mut read = 0_u64;
        while Instant::now() < until {
            let due = Duration::from_secs_f64(read as f64 / speed as f64);
            tokio::time::sleep_until((begun + due).into()).await;
            let got = tokio::time::timeout_at(until.into(), reading.read(&mut chunk)).await;
            match got {
                Err(_) => break,
                Ok(Ok(count @ 1..)) => {
                    read += count as u64;
                    buffer.extend_from_slice(&chunk[..count]);
                }
                Ok(_) => {
                    victim.closed = true;
                    break;
                }
            }
            while let Some((first, start, end)) = wire::parse(&buffer) {
                victim.closed |= first & 0xf == wire::CLOSE;
                if end - start > MEGABYTE / 2 {
                    victim.messages += 1;
                }
                buffer.drain(..end);
            }
        }
        victim
    })
}

/// Who is written to, and how.
#[derive(Clone, Copy, Debug)]
enum To {
    User,
    Address,
    Id,
    Array,
}

/// Ten messages of 1 MB by each stranger; gives back the checks of what became of it.
async fn send_ten(
    outcome: &mut Outcome,
    address: SocketAddr,
    name: &str,
    to: To,
    strangers: usize,
    pause: Duration,
    long: Duration,
) -> Result<(), Fault> {
    // A direct address needs a room that is shared; it is the receiver's own room, where the
    // stranger may be, too, with dynamic rooms.
    let shared = format!("shared-{name}");
    let user = format!("victim-{name}");
    let direct = matches!(to, To::Address | To::Id);
    let rooms: Vec<_> = if direct { vec![shared.clone()] } else { Vec::new() };
    let slow = How { receive_buffer: Some(64 * 1024), ..How::default() };
    let victim = Client::peer(address, slow, &user, &rooms).await?;
    let to = match to {
        To::User => format!("\"{user}\""),
        To::Address => format!("\"{user}|{}\"", victim.id),
        To::Id => format!("\"{}\"", victim.id),
        To::Array => format!("[\"{user}\",\"{user}\",\"nobody\"]"),
    };
    let data = "d".repeat(MEGABYTE);
    let frame = wire::text(&format!("{{\"type\":\"message\",\"to\":{to},\"data\":\"{data}\"}}"));
    let (reading, _writing) = victim.stream.into_split();
    let until = Instant::now() + long + Duration::from_secs(2);
    let victim = read_slowly(reading, SPEED, pause, until);
    let mut senders = Vec::new();
    for n in 0..strangers {
        let mut client =
            Client::peer(address, How::default(), &format!("stranger-{name}-{n}"), &rooms).await?;
        let frame = frame.clone();
        senders.push(tokio::spawn(async move {
            let mut refused = Vec::new();
            let deadline = Instant::now() + long;
            let mut sent = 0_u64;
            while sent < 10 && Instant::now() < deadline {
                if client.raw(&frame).await.is_err() {
                    break;
                }
                sent += 1;
                // Errors come as soon as frames are refused.
                while let Got::Text(text) = client.next(Duration::from_millis(1)).await {
                    if text.contains("\"error\"") {
                        refused.push(text);
                    }
                }
            }
            let last = |text: &str| text.contains("\"error\"");
            let patience = deadline.saturating_duration_since(Instant::now());
            if refused.is_empty()
                && let Got::Text(text) = client.text_where(patience, last).await
            {
                refused.push(text);
            }
            (sent, refused)
        }));
    }
    let (mut sent, mut told, mut wrong) = (0, 0, None);
    for sender in senders {
        let (count, refused) = sender.await?;
        sent += count;
        told += usize::from(!refused.is_empty());
        let right = |text: &&String| {
            text.contains("\"status\":429")
                && text.contains("Receiver too slow")
                && text.contains("\"to\":")
        };
        wrong = wrong.or(refused.iter().find(|text| !right(text)).cloned());
    }
    let victim = tokio::time::timeout(PATIENCE, victim).await??;
    let stays = if victim.closed { "closed" } else { "open" };
    outcome.check(
        format!("{name}: the receiver stays"),
        format!("{stays}, {} of {sent} received", victim.messages),
        !victim.closed,
    );
    outcome.check(
        format!("{name}: who was refused is told, all else arrives"),
        format!("{told} of {strangers} told, {} of {sent} received", victim.messages),
        victim.messages > 0 && (victim.messages == sent || told > 0),
    );
    if let Some(wrong) = wrong {
        let bound = format!("{name}: error 429 `Receiver too slow` with `to`");
        outcome.check(bound, wrong, false);
    }
    Ok(())
}

/// Ten messages of 1 MB to a user that reads 40 Mbit/s.
pub(crate) async fn victim(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    outcome.done("ten messages of 1 MB to someone who reads 40 Mbit/s");
    let address = scene.server.address;
    let (pause, long) = (Duration::ZERO, Duration::from_secs(5));
    send_ten(&mut outcome, address, "by user", To::User, 1, pause, long).await?;
    scene.judge(&mut outcome, 4 << 20, "R-L4: 4 MiB for the receiver").await;
    Ok(outcome)
}

/// The same otherwise: at the same time, on one server.
pub(crate) async fn variants(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    outcome.done("ten messages of 1 MB each to those who pause for 3 s");
    let address = scene.server.address;
    let mut tasks = Vec::new();
    for (name, to, strangers) in [
        ("user", To::User, 1),
        ("address", To::Address, 1),
        ("id", To::Id, 1),
        ("array", To::Array, 1),
        ("three", To::User, 3),
    ] {
        tasks.push(tokio::spawn(async move {
            let mut part = Outcome::new();
            let (pause, long) = (Duration::from_secs(3), Duration::from_secs(4));
            send_ten(&mut part, address, name, to, strangers, pause, long).await.map(|()| part)
        }));
    }
    for task in tasks {
        outcome.checks.extend(task.await??.checks);
    }
    // Each has a message of the largest size in its buffer, and the receivers what may wait.
    let budget = (5 * 4 + 7 * 2) << 20;
    scene.judge(&mut outcome, budget, "R-L1, R-L4 for 5 receivers, 7 senders").await;
    Ok(outcome)
}
