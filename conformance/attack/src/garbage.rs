//! What is no WebSocket, or ends in the middle: it costs its sender its connection, and no one
//! else anything (R-F5).

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt as _, time::timeout};

use crate::{
    Fault,
    client::{Client, Got, How, silent},
    report::Outcome,
    scene::Stage,
    wire::{self, CLOSE, CONTINUATION, FIN, Noise, PING, TEXT},
};

/// What breaks the protocol, so that the server must close at once.
fn violations() -> Vec<(&'static str, Vec<u8>)> {
    let header = |first: u8, length: u64| {
        let mut bytes = Vec::new();
        wire::push_header(&mut bytes, first, length);
        bytes
    };
    vec![
        ("a length of 5 in two bytes", b"\x81\xfe\0\x05\0\0\0\0hello".to_vec()),
        ("a length of 5 in eight bytes", b"\x81\xff\0\0\0\0\0\0\0\x05\0\0\0\0hello".to_vec()),
        ("a length of 200 in eight bytes", {
            let head = b"\x82\xff\0\0\0\0\0\0\0\xc8\0\0\0\0";
            [&head[..], &[b' '; 200]].concat()
        }),
        ("a ping whose length of 4 is in two bytes", b"\x89\xfe\0\x04\0\0\0\0ping".to_vec()),
        ("no mask", vec![FIN | TEXT, 2, b'{', b'}']),
        ("a reserved bit", wire::frame(FIN | 0x40 | TEXT, b"{}")),
        ("a reserved opcode", wire::frame(FIN | 0x3, b"{}")),
        ("a reserved control opcode", wire::frame(FIN | 0xb, b"")),
        ("a ping in fragments", wire::frame(PING, b"")),
        ("a ping of 126 bytes", wire::frame(FIN | PING, &[0; 126])),
        ("a ping of 2^62 bytes", header(FIN | PING, 1 << 62)),
        ("a continuation of nothing", wire::frame(FIN | CONTINUATION, b"{}")),
        ("a text within a message", [wire::frame(TEXT, b"{"), wire::text("{}")].concat()),
        ("a close of one byte", wire::frame(FIN | CLOSE, b"x")),
        ("a close code of 5", wire::frame(FIN | CLOSE, &[0, 5])),
        ("a close code of 1005", wire::frame(FIN | CLOSE, &1005_u16.to_be_bytes())),
        ("a close reason that is no UTF-8", wire::frame(FIN | CLOSE, &[3, 232, 0xff])),
        ("text that is no UTF-8", wire::frame(FIN | TEXT, &[0xff; 10])),
        ("binary that is no UTF-8", wire::frame(FIN | 0x2, &[0xff; 10])),
        ("2 MiB announced", header(FIN | TEXT, 2 << 20)),
        ("2^62 bytes announced", header(FIN | TEXT, 1 << 62)),
        ("2^64 - 1 bytes announced", header(FIN | TEXT, u64::MAX)),
        ("a fragment of 2^62 bytes", header(TEXT, 1 << 62)),
    ]
}

/// Every violation by peers and strangers, then random bytes.
pub(crate) async fn garbage(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let mut open = Vec::new();
    let violations = violations();
    let mut checked = Vec::new();
    for (name, bytes) in &violations {
        for peer in [true, false] {
            let mut client = if peer {
                Client::peer(address, How::default(), "garbler", &[]).await?
            } else {
                Client::connect(address, How::default()).await?
            };
            client.raw(bytes).await?;
            let (name, whole) = (*name, bytes.clone());
            checked.push(tokio::spawn(async move {
                let end = client.end(Duration::from_secs(3)).await;
                (!matches!(end, Got::Close(_) | Got::End)).then_some((name, peer, whole.len()))
            }));
        }
    }
    for one in checked {
        open.extend(one.await?);
    }
    let seen = open.first().map_or("all".into(), |(name, peer, _)| {
        let who = if *peer { "a peer" } else { "a stranger" };
        format!("{} still open, such as after {name} by {who}", open.len())
    });
    outcome.check("a violation of the protocol closes within 3 s", seen, open.is_empty());
    let mut noise = Noise::new(7);
    let count = stage.many(400);
    let mut bytes = 0;
    for n in 0..count {
        let length = 1 + noise.below(4096);
        let mut payload = noise.bytes(length);
        bytes += payload.len();
        match n % 4 {
            // As the first bytes of all, in the place of a request.
            0 => {
                let mut stream = silent(address, How::default()).await?;
                let _ = stream.write_all(&payload).await;
                continue;
            }
            // As what a text frame holds.
            1 => payload = wire::frame(FIN | TEXT, &payload),
            // As JSON that is cut somewhere.
            2 => {
                let whole = wire::text(&wire::auth("garbler", &["x".into()]));
                payload = whole[..noise.below(whole.len())].to_vec();
            }
            _ => {}
        }
        let mut client = Client::connect(address, How::default()).await?;
        let _ = client.raw(&payload).await;
        // Half of them stay until the server has had enough.
        if n % 2 == 0 {
            let _ = client.next(Duration::from_millis(5)).await;
        }
    }
    outcome.done(format!(
        "{} violations by peers and strangers, and {count} connections with {bytes} random bytes",
        violations.len() * 2
    ));
    let fresh = Client::peer(address, How::default(), "fresh", &[]).await;
    outcome.check("a connection afterwards works", fresh.is_ok(), fresh.is_ok());
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}

/// Where a connection is reset.
const RESETS: [&str; 6] =
    ["at once", "in the head", "behind the head", "in auth", "behind auth", "in a frame"];

/// Connections that are reset in the middle of everything, more than there are slots.
pub(crate) async fn resets(stage: Stage) -> Result<Outcome, Fault> {
    let flags = ["--max-unauthenticated", "64", "--max-connections", "128"];
    let mut scene = stage.scene(&flags).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let room = ["haunted".to_owned()];
    let before = scene.server.descriptors();
    let mut observer = Client::peer(address, How::default(), "observer", &room).await?;
    let count = stage.many(1500);
    let auth = wire::text(&wire::auth("ghost", &room));
    for n in 0..count {
        let Ok(mut stream) = silent(address, How::default()).await else { continue };
        let request = wire::upgrade("").into_bytes();
        let mut bytes = Vec::new();
        match n % RESETS.len() {
            0 => {}
            1 => bytes.extend(&request[..request.len() / 2]),
            2 => bytes.extend(&request),
            3 => {
                bytes.extend(&request);
                bytes.extend(&auth[..auth.len() / 2]);
            }
            4 => {
                bytes.extend(&request);
                bytes.extend(&auth);
            }
            _ => {
                bytes.extend(&request);
                bytes.extend(&auth);
                bytes.extend(&auth[..auth.len() / 2]);
            }
        }
        let _ = stream.write_all(&bytes).await;
        if n % 3 == 0 {
            // Some have been answered.
            let _ = timeout(Duration::from_millis(2), stream.readable()).await;
        }
        let _ = stream.set_zero_linger();
    }
    outcome.done(format!("{count} connections are reset: {}", RESETS.join(", ")));
    let begun = Instant::now();
    // The observer is one more.
    while scene.server.descriptors() > before + 1 && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let after = scene.server.descriptors();
    outcome.check(
        "descriptors are back within 5 s",
        format!("{before} before, {after} after"),
        after <= before + 1,
    );
    let fresh = Client::peer(address, How::default(), "fresh", &[]).await;
    outcome.check("a connection afterwards works", fresh.is_ok(), fresh.is_ok());
    // Of each that was online all were told that it is gone.
    let (mut online, mut offline) = (0, 0);
    observer.send("{\"type\":\"join\",\"room\":\"over\"}").await?;
    let got = observer.text_where(Duration::from_secs(5), |text| {
        online += usize::from(text.contains("\"online\":true"));
        offline += usize::from(text.contains("\"online\":false"));
        text.contains("\"join:ok\"")
    });
    let ended = matches!(got.await, Got::Text(_));
    outcome.check(
        "whoever came online went offline",
        format!("{online} online, {offline} offline"),
        online == offline && ended,
    );
    // Nobody is left of them for someone who comes now.
    let mut late = Client::peer(address, How::default(), "late", &room).await?;
    let mut ghosts = 0;
    late.send("{\"type\":\"join\",\"room\":\"over\"}").await?;
    let got = late.text_where(Duration::from_secs(5), |text| {
        ghosts += usize::from(text.contains("\"user\":\"ghost\""));
        text.contains("\"join:ok\"")
    });
    let ended = matches!(got.await, Got::Text(_));
    outcome.check("no ghost is left in the room", ghosts, ghosts == 0 && ended);
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}
