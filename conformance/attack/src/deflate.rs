//! Compressed messages (R-T10): no more is inflated than a message may have (R-L1), whatever arrives
//! in however few bytes, and what it costs is its sender's affair (R-L3).

use std::time::{Duration, Instant};

use flate2::{Compress, Compression, FlushCompress};
use tokio::{io::AsyncWriteExt as _, time::timeout};

use crate::{
    Fault,
    client::{Client, Counts, Got, How, PATIENCE, Reader, crowd_as, total},
    report::Outcome,
    scene::{Scene, Stage},
    units::press,
    wire::{self, CONTINUATION, FIN, PING, RSV1, TEXT},
};

/// What switches compression on.
const FLAGS: [&str; 2] = ["--compression", "true"];
/// The largest message of a peer, and of a stranger.
const LARGEST: usize = 1 << 20;
const FIRST: usize = 64 << 10;
/// What an unfinished message of a peer may take, compressed.
const UNFINISHED: u64 = (LARGEST + LARGEST / 4) as u64;

const HOW: How = How { deflate: true, ..How::DEFAULT };

/// A compressed message's payload.
fn compress(text: &[u8]) -> Vec<u8> {
    let mut state = Compress::new(Compression::new(6), false);
    let mut out = Vec::with_capacity(text.len() + text.len() / 8 + 100);
    let _ = state.compress_vec(text, &mut out, FlushCompress::Sync);
    // The end of a sync flush is left out (RFC 7692 §7.2.1).
    out.truncate(out.len().saturating_sub(4));
    out
}

/// The payload of a message of so many MiB of spaces: a thousandth of that.
fn bomb(mebibytes: usize) -> Vec<u8> {
    let mut state = Compress::new(Compression::new(9), false);
    let spaces = vec![b' '; 1 << 20];
    let mut piece = || {
        let mut out = Vec::with_capacity(16 << 10);
        let _ = state.compress_vec(&spaces, &mut out, FlushCompress::Sync);
        out
    };
    // What each refers to is the same but for the first, so they can stand behind each other.
    let (mut out, next) = (piece(), piece());
    for _ in 1..mebibytes {
        out.extend(&next);
    }
    out.truncate(out.len() - 4);
    out
}

/// A compressed message in a frame.
fn one(payload: &[u8]) -> Vec<u8> {
    wire::frame(FIN | RSV1 | TEXT, payload)
}

/// A compressed message in two frames, the first of so many bytes, with a ping between them.
fn two(payload: &[u8], first: usize) -> Vec<u8> {
    let (first, rest) = payload.split_at(first.min(payload.len()));
    let ping = wire::frame(FIN | PING, b"between");
    [wire::frame(RSV1 | TEXT, first), ping, wire::frame(FIN | CONTINUATION, rest)].concat()
}

/// Whether the server closes with this code, in time.
async fn closes(client: &mut Client, code: u16) -> bool {
    matches!(client.end(PATIENCE).await, Got::Close(Some(got)) if got == code)
}

/// A new peer, or somebody who has not said who it is.
async fn somebody(scene: &Scene, peer: bool) -> Result<Client, Fault> {
    if peer {
        Client::peer(scene.server.address, HOW, "bomber", &[]).await
    } else {
        Client::connect(scene.server.address, HOW).await
    }
}

/// Messages of 1 GiB in 1 MiB, one after the other and many at once, by peers and by strangers, in one
/// frame and behind a fragment.
pub(crate) async fn bombs(stage: Stage) -> Result<Outcome, Fault> {
    const AT_ONCE: usize = 12;
    let mut scene = stage.scene(&FLAGS).await?;
    let mut outcome = Outcome::new();
    let (large, small) = (bomb(1024), bomb(60));
    let bombs = [
        ("1 GiB by a peer", true, one(&large)),
        ("1 GiB by a peer, behind a fragment", true, two(&large, 100)),
        ("60 MiB by a stranger", false, one(&small)),
        ("60 MiB by a stranger, behind a fragment", false, two(&small, 100)),
    ];
    let rounds = stage.many(8);
    let plain =
        format!("{{\"type\":\"message\",\"to\":\"x\",\"data\":\"{}\"}}", "x".repeat(LARGEST - 50));
    // What the largest plain message costs that nobody receives, with its connection.
    let mut begun = scene.server.cpu();
    for _ in 0..rounds {
        let mut client = somebody(&scene, true).await?;
        client.send(&plain).await?;
        client.barrier().await?;
    }
    let each = |scene: &Scene, begun: Duration, count: usize| {
        (scene.server.cpu() - begun).as_secs_f64() * 1000.0 / count as f64
    };
    let cost = each(&scene, begun, rounds);
    scene.begin().await;
    let (mut open, mut worst) = (Vec::new(), (0.0_f64, ""));
    for (name, peer, bytes) in &bombs {
        begun = scene.server.cpu();
        for _ in 0..rounds {
            let mut client = somebody(&scene, *peer).await?;
            // It may be closed before all of it is written.
            let _ = client.raw(bytes).await;
            if !closes(&mut client, 1009).await {
                open.push(*name);
            }
        }
        let cost = each(&scene, begun, rounds);
        if cost > worst.0 {
            worst = (cost, name);
        }
    }
    let mut tasks = Vec::new();
    for _ in 0..AT_ONCE {
        let (mut client, bytes) = (somebody(&scene, true).await?, bombs[0].2.clone());
        tasks.push(tokio::spawn(async move {
            let _ = client.raw(&bytes).await;
            closes(&mut client, 1009).await
        }));
    }
    for task in tasks {
        if !task.await? {
            open.push("many at once");
        }
    }
    outcome.done(format!(
        "{} messages that inflate to 1 GiB or 60 MiB, of {} and {} bytes; {AT_ONCE} more at once",
        rounds * bombs.len(),
        large.len(),
        small.len()
    ));
    let seen =
        open.first().map_or("all".into(), |name| format!("{} not, such as {name}", open.len()));
    outcome.check("each is closed with 1009", seen, open.is_empty());
    outcome.noisy(
        format!("costs at most 3 times a plain message of 1 MiB ({cost:.1} ms)"),
        format!("{:.1} ms by {}", worst.0, worst.1),
        worst.0 <= 3.0 * cost + 1.0,
    );
    let documented = format!("{AT_ONCE} messages that have begun");
    scene.judge(&mut outcome, AT_ONCE as u64 * UNFINISHED, &documented).await;
    Ok(outcome)
}

/// A message of so many bytes to a room, and an `auth` frame.
fn message(size: usize) -> String {
    let (start, end) = ("{\"type\":\"message\",\"to\":\"hall\",\"data\":\"", "\"}");
    format!("{start}{}{end}", "m".repeat(size - start.len() - end.len()))
}

fn auth(size: usize) -> String {
    let start = "{\"type\":\"auth\",\"user\":\"exact\",\"rooms\":[\"hall\"]";
    format!("{start}{}}}", " ".repeat(size - start.len() - 1))
}

/// Messages whose text is as long as may be, and a byte longer.
pub(crate) async fn limits(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&FLAGS).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let hall = ["hall".to_owned()];
    let listener = Client::peer(address, How::default(), "listener", &hall).await?.drain();
    // In a frame, and behind fragments of nothing, of a byte, of half of it, and of all of it.
    let ways = |text: &str| {
        let payload = compress(text.as_bytes());
        let mut ways = vec![one(&payload)];
        ways.extend([0, 1, payload.len() / 2, payload.len()].map(|first| two(&payload, first)));
        ways
    };
    scene.begin().await;
    let (mut exact, mut more) = (0, 0);
    let messages = ways(&message(LARGEST));
    for bytes in &messages {
        let mut client = Client::peer(address, HOW, "exact", &hall).await?;
        client.raw(bytes).await?;
        client.barrier().await?;
    }
    for bytes in ways(&auth(FIRST)) {
        let mut client = Client::connect(address, HOW).await?;
        client.raw(&bytes).await?;
        let welcome = |text: &str| text.contains("\"welcome\"");
        exact += usize::from(matches!(client.text_where(PATIENCE, welcome).await, Got::Text(_)));
    }
    let delivered = || Counts::get(&listener.counts.messages);
    let waits = Instant::now();
    while delivered() < messages.len() as u64 && waits.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let taken = delivered();
    for bytes in ways(&message(LARGEST + 1)) {
        let mut client = Client::peer(address, HOW, "more", &hall).await?;
        let _ = client.raw(&bytes).await;
        more += usize::from(closes(&mut client, 1009).await);
    }
    for bytes in ways(&auth(FIRST + 1)) {
        let mut client = Client::connect(address, HOW).await?;
        let _ = client.raw(&bytes).await;
        more += usize::from(closes(&mut client, 1009).await);
    }
    let count = messages.len();
    outcome
        .done(format!("texts of {LARGEST} and {FIRST} bytes and of one more, {count} ways each"));
    outcome.check("a message as long as may be is delivered", taken, taken == count as u64);
    outcome.check("an auth frame as long as may be is welcome", exact, exact == count);
    outcome.check("one byte more is closed with 1009", more, more == 2 * count);
    let late = delivered() - taken;
    outcome.check("and nobody receives it", late, late == 0);
    // The message in the listener's queue, and the one that is read.
    scene.judge(&mut outcome, 4 * UNFINISHED, "messages as long as may be").await;
    Ok(outcome)
}

/// Small compressed messages as fast as they can be sent: to nobody, and to a room for whose members
/// they are compressed.
pub(crate) async fn storm(stage: Stage) -> Result<Outcome, Fault> {
    const SENDERS: usize = 4;
    const MEMBERS: usize = 20;
    /// A unit for the frame, and for what is compressed one for each 2 KiB (R-T10).
    const UNITS: f64 = 3.0;
    let mut scene = stage.scene(&FLAGS).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let hall = ["hall".to_owned()];
    let auths = (0..MEMBERS).map(|n| wire::auth(&format!("member{n}"), &hall));
    let members = crowd_as(address, HOW, auths).await?;
    let mut attackers = Vec::new();
    for n in 0..2 * SENDERS {
        let rooms = if n < SENDERS { &hall[..] } else { &[] };
        attackers.push(Client::peer(address, HOW, &format!("stormer{n}"), rooms).await?.drain());
    }
    scene.begin().await;
    let before = total(&members, |c| &c.messages);
    let (begun, long) = (Instant::now(), stage.long(2.5));
    let to_hall = one(&compress(message(5000).as_bytes()));
    let to_nobody = one(&compress(b"{\"type\":\"message\",\"to\":\"nobody\"}")).repeat(100);
    let tasks: Vec<_> = attackers
        .into_iter()
        .enumerate()
        .map(|(n, mut attacker)| {
            let bytes = if n < SENDERS { to_hall.clone() } else { to_nobody.clone() };
            tokio::spawn(async move {
                press(&mut attacker.sending, &bytes, long).await;
                attacker
            })
        })
        .collect();
    let mut stormers: Vec<Reader> = Vec::new();
    for task in tasks {
        stormers.push(task.await?);
    }
    let took = begun.elapsed().as_secs_f64();
    // Of what they have sent to the room the senders receive what others do.
    let each = (total(&members, |c| &c.messages) - before) as f64 / MEMBERS as f64;
    outcome.done(format!(
        "{} senders for {took:.1} s, half of them to a room of {} that takes compressed messages",
        stormers.len(),
        MEMBERS + SENDERS
    ));
    let most = (200.0 * took + 400.0) / UNITS * SENDERS as f64 * 1.1;
    outcome.check(
        format!("at most {most:.0} are delivered, of {UNITS} units each"),
        format!("{each:.0}"),
        each <= most && each > 0.0,
    );
    let closed = members.iter().chain(&stormers).filter(|one| one.closed().is_some()).count();
    outcome.check("nobody is closed", closed, closed == 0);
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}

/// What is no compressed message, or only made to take time; and the code that it is closed with.
fn violations() -> Vec<(&'static str, Vec<u8>, u16)> {
    let empty = [0x00, 0x00, 0x00, 0xff, 0xff];
    let hello = compress(b"{\"type\":\"message\"}");
    vec![
        ("no deflate data", one(&[0xff; 20]), 1007),
        ("a message that is cut", one(&hello[..hello.len() - 3]), 1007),
        ("a reference to the message before", one(&[0xf2, 0x00, 0x11, 0x00, 0x00]), 1007),
        ("text that is no UTF-8", one(&compress(&[0xff; 100])), 1007),
        ("200 000 blocks of nothing", one(&[&empty.repeat(200_000)[..], &[0]].concat()), 1007),
        ("500 000 last blocks", one(&[0x03, 0x00].repeat(500_000)), 1007),
        (
            "a bit on a continuation",
            {
                let first = wire::frame(RSV1 | TEXT, &hello);
                [first, wire::frame(FIN | RSV1 | CONTINUATION, b"")].concat()
            },
            1002,
        ),
        ("a bit on a ping", wire::frame(FIN | RSV1 | PING, b""), 1002),
        ("another reserved bit", wire::frame(FIN | RSV1 | 0x20 | TEXT, &hello), 1002),
        ("a length of 5 in two bytes", b"\xc1\xfe\0\x05\0\0\0\0hello".to_vec(), 1002),
        (
            "2 MiB announced",
            {
                let mut bytes = Vec::new();
                wire::push_header(&mut bytes, FIN | RSV1 | TEXT, 2 << 20);
                bytes
            },
            1009,
        ),
    ]
}

/// What is wrong with compressed messages, by peers again and again.
pub(crate) async fn garbage(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&FLAGS).await?;
    let mut outcome = Outcome::new();
    let violations = violations();
    let rounds = stage.many(8);
    scene.begin().await;
    let mut others = Vec::new();
    for _ in 0..rounds {
        for (name, bytes, code) in &violations {
            let mut client = somebody(&scene, true).await?;
            let _ = timeout(PATIENCE, client.stream.write_all(bytes)).await;
            if !closes(&mut client, *code).await {
                others.push(format!("{name}, not {code}"));
            }
        }
    }
    outcome.done(format!("{} violations, {rounds} times each", violations.len()));
    let seen =
        others.first().map_or("all".into(), |one| format!("{}, such as {one}", others.len()));
    outcome.check("each is closed with its code", seen, others.is_empty());
    scene.judge(&mut outcome, UNFINISHED, "a message that has begun").await;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};

    use super::*;

    /// A bomb is what it says.
    #[test]
    fn a_bomb_is_as_large_as_it_says() {
        let payload = bomb(1024);
        assert!(payload.len() < LARGEST + LARGEST / 8, "{}", payload.len());
        let mut state = Decompress::new(false);
        let (mut at, mut out) = (0, vec![0; 1 << 16]);
        while at < payload.len() {
            let before = state.total_in();
            state.decompress(&payload[at..], &mut out, FlushDecompress::None).unwrap();
            at += (state.total_in() - before) as usize;
        }
        while state.total_out() < 1 << 30 {
            let before = state.total_out();
            state.decompress(&[], &mut out, FlushDecompress::None).unwrap();
            assert!(state.total_out() > before);
        }
        assert_eq!(state.total_out(), 1 << 30);
    }

    /// Texts are as long as they are to be.
    #[test]
    fn texts_are_exact() {
        for size in [100, FIRST, FIRST + 1] {
            assert_eq!((message(size).len(), auth(size).len()), (size, size));
        }
    }
}
