//! Those who come: silent ones must not lock out others, and a crowd is not refused for good
//! (R-L2).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinHandle, time::timeout};

use crate::{
    Fault,
    client::{Client, Got, How, silent as connect},
    report::Outcome,
    scene::Stage,
    wire,
};

/// How many connections may not be authenticated yet, by default.
const UNAUTHENTICATED: usize = 1024;
/// How many new silent ones there are, and how many honest ones, a second.
const SILENT: f64 = 132.0;
const HONEST: f64 = 25.0;
/// How long it takes from the server to those of a storm, and back.
const FAR: Duration = Duration::from_millis(300);
/// How long an honest client waits.
const WAIT: Duration = Duration::from_secs(3);

/// What a silent connection has said before it fell silent.
#[derive(Clone, Copy, Debug)]
enum Silence {
    Nothing,
    HalfHead,
    Upgrade,
}

async fn fall_silent(address: SocketAddr, from: Ipv4Addr, silence: Silence) -> Option<TcpStream> {
    let how = How { from, ..How::default() };
    let mut stream = connect(address, how).await.ok()?;
    let head = wire::upgrade("");
    let said = match silence {
        Silence::Nothing => "",
        Silence::HalfHead => &head[..head.len() / 2],
        Silence::Upgrade => &head,
    };
    let _ = stream.write_all(said.as_bytes()).await;
    Some(stream)
}

/// Whether an honest client gets in at once.
async fn gets_in(address: SocketAddr, user: &str) -> bool {
    let peer = Client::peer(address, How::default(), user, &[]);
    matches!(timeout(WAIT, peer).await, Ok(Ok(_)))
}

async fn lock_out(
    stage: &Stage,
    address: SocketAddr,
    silence: Silence,
    from: fn(usize) -> Ipv4Addr,
) -> Result<(usize, usize, usize), Fault> {
    let mut silents = Vec::new();
    for n in 0..UNAUTHENTICATED {
        silents.extend(fall_silent(address, from(n), silence).await);
    }
    let begun = Instant::now();
    let long = stage.long(2.0);
    let more: JoinHandle<Vec<TcpStream>> = tokio::spawn(async move {
        let mut more = Vec::new();
        for n in 0.. {
            let due = Duration::from_secs_f64(n as f64 / SILENT);
            if due > long {
                break;
            }
            tokio::time::sleep_until((begun + due).into()).await;
            more.extend(fall_silent(address, from(n), silence).await);
        }
        more
    });
    let mut honest = Vec::new();
    for n in 0.. {
        let due = Duration::from_secs_f64(f64::from(n) / HONEST);
        if due > long {
            break;
        }
        tokio::time::sleep_until((begun + due).into()).await;
        honest.push(tokio::spawn(async move { gets_in(address, &format!("honest{n}")).await }));
    }
    let tried = honest.len();
    let mut welcome = 0;
    for one in honest {
        welcome += usize::from(one.await?);
    }
    silents.extend(more.await?);
    Ok((silents.len(), tried, welcome))
}

async fn lock_outs(stage: Stage, from: fn(usize) -> Ipv4Addr) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let mut done = 0;
    for silence in [Silence::Nothing, Silence::HalfHead, Silence::Upgrade] {
        let (silents, tried, welcome) = lock_out(&stage, address, silence, from).await?;
        done += silents;
        outcome.check(
            format!("{silence:?}: of {tried} honest clients 99 % get in"),
            format!("{welcome}"),
            welcome * 100 >= tried * 99,
        );
    }
    outcome.done(format!(
        "{done} connections that fall silent: 1 024, and {SILENT} more a second, three times"
    ));
    // Each has a buffer for its head, at most.
    let budget = UNAUTHENTICATED as u64 * 16 * 1024;
    scene.judge(&mut outcome, budget, "1 024 heads of 16 KiB").await;
    Ok(outcome)
}

/// All silent ones from one address, which is also that of the honest ones.
pub(crate) async fn silent(stage: Stage) -> Result<Outcome, Fault> {
    lock_outs(stage, |_| Ipv4Addr::LOCALHOST).await
}

/// Silent ones from 200 addresses.
pub(crate) async fn addresses(stage: Stage) -> Result<Outcome, Fault> {
    lock_outs(stage, |n| Ipv4Addr::new(127, 0, 1, (n % 200 + 2) as u8)).await
}

/// When a refused client is told to come back, in seconds: by an `error` frame, or by the head of
/// an answer.
fn retry_after(refusal: &str) -> Option<f64> {
    let refusal = refusal.to_lowercase();
    let (_, after) =
        refusal.split_once("\"retry_after\":").or_else(|| refusal.split_once("retry-after:"))?;
    after.split([',', '}', '|']).next()?.trim().parse().ok()
}

/// A client that comes again when it is told to; says how often it was refused, and how often
/// without a hint.
async fn persistent(
    address: SocketAddr,
    n: usize,
    until: Instant,
) -> (Option<Client>, usize, usize) {
    let (mut refused, mut hintless) = (0, 0);
    let auth = wire::auth(&format!("guest{n}"), &["party".into()]);
    while Instant::now() < until {
        let why = match Client::connect(address, How::default()).await {
            Ok(mut client) => {
                // They are far away: what they say next takes its time.
                tokio::time::sleep(FAR).await;
                let _ = client.send(&auth).await;
                match client.next(until.saturating_duration_since(Instant::now())).await {
                    Got::Text(text) if text.contains("\"welcome\"") => {
                        return (Some(client), refused, hintless);
                    }
                    Got::Text(text) => text,
                    _ => String::new(),
                }
            }
            Err(Fault(fault)) => fault,
        };
        refused += 1;
        let wait = retry_after(&why);
        // One that has not been heard yet may be closed without a word.
        hintless += usize::from(wait.is_none() && why.contains("503"));
        let wait = wait.unwrap_or(1.0).clamp(0.05, 3.0);
        tokio::time::sleep(Duration::from_secs_f64(wait)).await;
    }
    (None, refused, hintless)
}

/// 2 000 honest clients come to one room at once.
pub(crate) async fn storm(stage: Stage) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::new();
    let server = stage.server(&[]).await?;
    let address = server.address;
    let count = stage.many(2000);
    let until = Instant::now() + Duration::from_secs(20);
    let begun = Instant::now();
    let inside = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..count)
        .map(|n| {
            let inside = Arc::clone(&inside);
            tokio::spawn(async move {
                let (client, refused, hintless) = persistent(address, n, until).await;
                inside.fetch_add(usize::from(client.is_some()), Ordering::Relaxed);
                (client.map(Client::drain), refused, hintless)
            })
        })
        .collect();
    let (mut guests, mut refused, mut hintless) = (Vec::new(), 0, 0);
    for task in tasks {
        let (guest, times, without) = task.await?;
        guests.extend(guest);
        refused += times;
        hintless += without;
    }
    let took = begun.elapsed().as_secs_f64();
    outcome.done(format!(
        "{count} clients, 300 ms away, connect and authenticate at once into one room"
    ));
    let got = inside.load(Ordering::Relaxed);
    outcome.check(
        format!("all {count} get in within 20 s"),
        format!("{got} after {took:.1} s"),
        got == count,
    );
    outcome.check(
        "refusals say when to come back",
        format!("{refused} refusals, {hintless} without"),
        hintless == 0,
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    let closed = guests.iter().filter(|guest| guest.closed().is_some()).count();
    outcome.check("nobody is closed afterwards", closed, closed == 0);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        assert_eq!(retry_after("{\"type\":\"error\",\"retry_after\":3}"), Some(3.0));
        assert_eq!(retry_after("{\"retry_after\":0.5,\"x\":1}"), Some(0.5));
        assert_eq!(retry_after("HTTP/1.1 503 Busy | Retry-After: 2 | X: y"), Some(2.0));
        assert_eq!(retry_after("{\"type\":\"error\"}"), None);
    }
}
