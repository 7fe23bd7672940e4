//! Control frames, empty ones and scraps: they cost a frame each, and what waits is bounded
//! (R-L3, R-L4).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

use crate::{
    Fault,
    client::{Client, Got, How, PATIENCE},
    report::Outcome,
    scene::Stage,
    wire::{self, CONTINUATION, FIN, PING, PONG, TEXT},
};

/// The longest payload of a control frame.
const LARGEST: &[u8] = &[b'x'; 125];

/// Writes these bytes again and again for so long, and gives back how often that could be done,
/// and whether the server has closed.
async fn pour(stream: &mut TcpStream, bytes: &[u8], time: Duration) -> (u64, bool) {
    let deadline = Instant::now() + time;
    let mut poured = 0;
    while Instant::now() < deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        match timeout(left, stream.write_all(bytes)).await {
            Ok(Ok(())) => poured += 1,
            Ok(Err(_)) => return (poured, true),
            Err(_) => break,
        }
    }
    (poured, false)
}

/// Pings of 125 bytes by a stranger that reads no pong.
pub(crate) async fn pings_of_a_stranger(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let client = Client::connect(scene.server.address, How::slow()).await?;
    pings(&stage, &mut scene, client, "a stranger").await
}

/// Pings of 125 bytes by a peer that reads no pong.
pub(crate) async fn pings_of_a_peer(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let honest = answered(scene.server.address).await?;
    let client = Client::peer(scene.server.address, How::slow(), "mallory", &[]).await?;
    let mut outcome = pings(&stage, &mut scene, client, "a peer").await?;
    outcome.check("who pings ten times a second gets each pong", honest, honest == 10);
    Ok(outcome)
}

async fn pings(
    stage: &Stage,
    scene: &mut crate::scene::Scene,
    mut client: Client,
    who: &str,
) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::new();
    let many = wire::frame(FIN | PING, LARGEST).repeat(500);
    let (poured, closed) = pour(&mut client.stream, &many, stage.long(2.5)).await;
    let closed = if closed { "; then it was closed" } else { "" };
    outcome.done(format!("{} pings of 125 bytes by {who}{closed}", poured * 500));
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}

/// How many of ten pings are answered.
async fn answered(address: SocketAddr) -> Result<usize, Fault> {
    let mut client = Client::peer(address, How::default(), "ponger", &[]).await?;
    let mut count = 0;
    for n in 0..10_u8 {
        client.raw(&wire::frame(FIN | PING, &[n])).await?;
        match client.next(Duration::from_secs(2)).await {
            Got::Pong(payload) if payload == [n] => count += 1,
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(count)
}

/// Twenty connections each of pings, pongs, frames without content, and scraps of messages, as fast
/// as the server takes them; half of them are peers.
pub(crate) async fn flood_of_many(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    // One byte is no JSON: each is answered by an error, which is not read.
    let kinds: [(&str, Vec<u8>); 4] = [
        ("pings", wire::frame(FIN | PING, b"")),
        ("pongs", wire::frame(FIN | PONG, LARGEST)),
        ("texts of one byte", wire::text("x")),
        ("empty fragments", wire::frame(CONTINUATION, b"")),
    ];
    let mut done = Vec::new();
    for (kind, bytes) in kinds {
        let many = bytes.repeat(2000);
        let time = stage.long(1.2);
        let mut pouring = Vec::new();
        for n in 0..20 {
            let user = format!("mallory{n}");
            let mut client = if n % 2 == 0 && !kind.starts_with("texts") {
                Client::connect(address, How::default()).await?
            } else {
                Client::peer(address, How::default(), &user, &[]).await?
            };
            if kind == "empty fragments" {
                client.raw(&wire::frame(TEXT, b"")).await?;
            }
            let many = many.clone();
            pouring
                .push(tokio::spawn(async move { pour(&mut client.stream, &many, time).await.0 }));
        }
        let mut poured = 0;
        for one in pouring {
            poured += one.await? * 2000;
        }
        done.push(format!("{poured} {kind}"));
    }
    outcome.done(format!("20 connections at a time: {}", done.join(", ")));
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}

/// R-L3: a message has at most 1 024 fragments.
pub(crate) async fn fragments(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    outcome.done("messages of 1 024 fragments of a byte, and of more, also empty ones");
    let filled =
        format!("{{\"type\":\"message\",\"to\":\"whole\",\"data\":\"{}\"}}", "x".repeat(1024 - 41));
    let whole = cut(filled.as_bytes());
    let mut receiver = Client::peer(address, How::default(), "whole", &[]).await?;
    let mut sender = Client::peer(address, How::default(), "sender", &[]).await?;
    sender.raw(&whole).await?;
    let mut attackers = Vec::new();
    for (name, payload) in [("bytes", vec![b' '; 2000]), ("empty", Vec::new())] {
        let bytes = if payload.is_empty() {
            let mut bytes = wire::frame(TEXT, b"");
            bytes.extend(wire::frame(CONTINUATION, b"").repeat(2000));
            bytes
        } else {
            cut(&payload)
        };
        for peer in [true, false] {
            let mut client = if peer {
                Client::peer(address, How::default(), "mallory", &[]).await?
            } else {
                Client::connect(address, How::default()).await?
            };
            client.raw(&bytes).await?;
            let who = if peer { "a peer" } else { "a stranger" };
            attackers.push((format!("2 000 fragments ({name}) by {who}: close 1009"), client));
        }
    }
    // At the rate of frames it takes some seconds until so many are read.
    let ends: Vec<_> = attackers
        .into_iter()
        .map(|(bound, mut client)| tokio::spawn(async move { (bound, client.end(PATIENCE).await) }))
        .collect();
    for end in ends {
        let (bound, end) = end.await?;
        outcome.check(bound, format!("{end:?}"), matches!(end, Got::Close(Some(1009))));
    }
    let got = receiver.text_where(PATIENCE, |text| text.contains("\"type\":\"message\"")).await;
    let held = matches!(&got, Got::Text(text) if text.contains("xxx"));
    let seen = if held { "delivered".into() } else { format!("{got:?}") };
    outcome.check(format!("{} fragments are a message", filled.len()), seen, held);
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}

/// A message in fragments of a byte each.
fn cut(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, byte) in payload.iter().enumerate() {
        let opcode = if n == 0 { TEXT } else { CONTINUATION };
        let fin = if n + 1 == payload.len() { FIN } else { 0 };
        bytes.extend(wire::frame(fin | opcode, &[*byte]));
    }
    bytes
}
