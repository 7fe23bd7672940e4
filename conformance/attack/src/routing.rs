//! Receivers that are named so that finding them is dear, or tells something (R-M2, R-M4).

use std::time::{Duration, Instant};

use crate::{
    Fault,
    client::{Client, How, PATIENCE, Reader, crowd, quiet, total},
    report::Outcome,
    scene::Stage,
    server::Server,
    wire,
};

/// How often a name is repeated: as many rooms as `to` may name.
const NAMES: usize = 256;

/// How long `to` and filler are together.
const LENGTH: usize = 256 * 16;

/// CPU time of a message with this `to`, in microseconds; messages are equally long.
async fn cost(server: &Server, client: &mut Client, to: &str, count: usize) -> Result<f64, Fault> {
    let filler = "f".repeat(LENGTH.saturating_sub(to.len()));
    let bytes = wire::text(&format!("{{\"type\":\"message\",\"to\":{to},\"data\":\"{filler}\"}}"));
    let mut least = f64::MAX;
    for _ in 0..3 {
        client.barrier().await?;
        let before = server.cpu();
        for _ in 0..count {
            client.raw(&bytes).await?;
        }
        client.barrier().await?;
        let used = (server.cpu() - before).as_secs_f64() * 1e6;
        least = least.min(used / count as f64);
    }
    Ok(least)
}

fn list(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("\"{name}\"")).collect();
    format!("[{}]", names.join(","))
}

/// Waits until so many messages have arrived, and gives back how many have; more may come.
async fn arrived(members: &[Reader], expected: u64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    while total(members, |c| &c.messages) < expected && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    total(members, |c| &c.messages)
}

/// One room, named 256 times, by someone who may send to it, and by someone who is in it.
pub(crate) async fn repeated(stage: Stage) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::new();
    // What is measured is what a message costs, however long that is spread.
    let server = stage.server(&["--rate-limit", "0"]).await?;
    let size = stage.many(500);
    let auths = (0..size).map(|n| wire::auth(&format!("member{n}"), &["big".into()]));
    let members = crowd(server.address, auths).await?;
    quiet(&members).await;
    let mut client = Client::peer(server.address, How::default(), "mallory", &[]).await?;
    let count = 20;
    outcome.done(format!("messages to one room of {size}, named 256 times in one `to`"));
    let once = cost(&server, &mut client, "[\"big\"]", count).await?;
    let before = (3 * count * size) as u64;
    arrived(&members, before).await;
    let escaped = "\\u0062ig".to_owned();
    let spelled = (0..NAMES).map(|n| if n % 2 == 0 { "big".into() } else { escaped.clone() });
    for (name, to) in
        [("256 times", list((0..NAMES).map(|_| "big".into()))), ("in two spellings", list(spelled))]
    {
        let repeated = cost(&server, &mut client, &to, count).await?;
        outcome.noisy(
            format!("{name}: at most 1.5 times the CPU of once ({once:.0} µs)"),
            format!("{repeated:.0} µs"),
            repeated <= once * 1.5 + 100.0,
        );
    }
    let expected = 3 * before;
    let got = arrived(&members, expected).await;
    outcome.check("each member gets each message once", got, got == expected);
    let strays = total(&members, |c| &c.errors);
    outcome.check("no member gets an error", strays, strays == 0);
    Ok(outcome)
}

/// With assigned rooms only: whether a room exists is nobody's affair who is not in it.
pub(crate) async fn closed(stage: Stage) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::new();
    let server = stage.server(&["--rate-limit", "0", "--dynamic-rooms", "false"]).await?;
    let size = stage.many(400);
    let secret = |n: usize| format!("secret{n}");
    let auths = (0..size).map(|n| {
        let rooms = ["secret".to_owned(), secret(n % 200)];
        wire::auth(&format!("member{n}"), &rooms)
    });
    let members = crowd(server.address, auths).await?;
    quiet(&members).await;
    let mut client = Client::peer(server.address, How::default(), "mallory", &[]).await?;
    outcome.done(format!("messages to a closed room of {size} and to one that is not there"));
    let before = total(&members, |c| &c.messages);
    let cases = [
        ("one room", "\"secret\"".to_owned(), "\"absent\"".to_owned()),
        (
            "one room 256 times",
            list((0..NAMES).map(|_| "secret".into())),
            list((0..NAMES).map(|_| "absent".into())),
        ),
        (
            "200 small rooms",
            list((0..200).map(secret)),
            list((0..200).map(|n| format!("absent{n}"))),
        ),
        (
            "users",
            list((0..200).map(|n| format!("member{n}"))),
            list((0..200).map(|n| format!("nobody{n}"))),
        ),
    ];
    for (name, there, absent) in cases {
        let absent = cost(&server, &mut client, &absent, 40).await?;
        let there = cost(&server, &mut client, &there, 40).await?;
        outcome.noisy(
            format!("{name}: within a third and 10 µs of none ({absent:.0} µs)"),
            format!("{there:.0} µs"),
            (there - absent).abs() <= absent / 3.0 + 10.0,
        );
    }
    let got = total(&members, |c| &c.messages) - before;
    outcome.check("nothing of it is delivered", got, got == 0);
    Ok(outcome)
}
