//! Input that is expensive to read. Nothing may cost more than three times what a plain message
//! costs that its sender is charged as much for (R-F5, R-L3).
//!
//! A frame is charged a unit for itself, and one more for each 8 KiB, where the bytes of a presence count
//! twice and those of an `auth` four times. From 8 KiB on its bytes are what it is charged for, so its
//! cost by the byte that is charged is held against that of the largest plain message, which nobody
//! receives: that is the least that bytes can cost. Below that each frame is charged the same unit,
//! however short it is, so what counts is the whole frame: it is held against a plain message of the
//! same length that one peer receives, as the sender of an `auth` receives its welcome. That is
//! stricter than the units, for the same unit buys a message of 8 KiB.
//!
//! Strangers are refused before they are charged. Their frames are held against a plain one together
//! with the connection that each of them takes.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt as _, time::timeout};

use crate::{
    Fault,
    client::{Client, How},
    report::Outcome,
    scene::Stage,
    server::Server,
    wire,
};

/// How much larger than by a plain message the costs may be.
const FACTOR: f64 = 3.0;
/// The largest message of a peer, and of a stranger.
const LARGEST: usize = 1 << 20;
const FIRST: usize = 64 << 10;
/// How much of small frames is sent at once.
const BUFFER: usize = 16 << 10;
/// What a record may be, but for what the server adds.
const RECORD: usize = 15 << 10;

/// Repeats a part until there is no room for more, between a start and an end. `#` stands for the
/// number of the repetition.
fn filled(start: &str, part: &str, end: &str, size: usize) -> String {
    let mut text = String::with_capacity(size);
    text.push_str(start);
    let mut n = 0;
    loop {
        let length = text.len();
        let (before, after) = part.split_once('#').unwrap_or((part, ""));
        text.push_str(before);
        if part.contains('#') {
            let _ = write!(text, "{n}");
        }
        text.push_str(after);
        if text.len() + end.len() > size {
            text.truncate(length);
            // Between values there is a comma.
            let trimmed = text.trim_end_matches(',').len();
            text.truncate(trimmed);
            text.push_str(end);
            return text;
        }
        n += 1;
    }
}

/// A value that is as deep as is allowed, with secrets at each level.
fn nested(levels: usize) -> String {
    let start = "[{\"token\":".repeat(levels / 2);
    format!("{start}1{},", "}]".repeat(levels / 2))
}

/// A value that is as deep as is allowed, with a secret at its bottom.
fn buried(open: &str, close: &str, levels: usize) -> String {
    format!("{}{{\"token\":1}}{},", open.repeat(levels), close.repeat(levels))
}

/// What an ordinary large message looks like.
fn plain(size: usize) -> String {
    let part = "{\"id\":#,\"name\":\"some name\",\"at\":[12.5,-3],\"on\":true},";
    filled("{\"type\":\"message\",\"to\":\"nobody\",\"data\":[", part, "]}", size)
}

/// Frames of a peer, each with what it is.
fn frames() -> Vec<(&'static str, String)> {
    let presence = |start: &str, part: &str, end: &str| {
        filled(&format!("{{\"type\":\"presence\",{start}"), part, end, LARGEST)
    };
    let message = |start: &str, part: &str, end: &str| {
        filled(&format!("{{\"type\":\"message\",\"to\":\"nobody\",{start}"), part, end, LARGEST)
    };
    let auth = |start: &str, part: &str, end: &str| {
        filled(&format!("{{\"type\":\"auth\",\"user\":\"parser\",{start}"), part, end, LARGEST)
    };
    let deep = |levels: usize| format!("{}1{},", "[".repeat(levels), "]".repeat(levels));
    vec![
        (
            "presence: tokens within arrays",
            presence("\"data\":{\"x\":[", &buried("[", "]", 120), "]}}"),
        ),
        (
            "presence: tokens at each level",
            presence("\"data\":{\"x\":[", &buried("[{\"token\":1},", "]", 100), "]}}"),
        ),
        (
            "presence: data that is such an array",
            presence("\"data\":[", &buried("[{\"token\":1},", "]", 100), "]}"),
        ),
        (
            "presence: tokens within arrays outside data",
            presence("\"data\":{},\"x\":[", &buried("[", "]", 120), "]}"),
        ),
        (
            "presence: tokens within arrays, a probe",
            presence("\"probe\":true,\"to\":\"nobody\",\"x\":[", &buried("[", "]", 120), "]}"),
        ),
        (
            "presence: tokens within objects",
            presence("\"data\":{\"x\":[", &buried("{\"a\":", "}", 120), "]}}"),
        ),
        ("presence: nested arrays with tokens", presence("\"data\":{\"x\":[", &nested(120), "]}}")),
        ("presence: nested arrays", presence("\"data\":{\"token\":[", &deep(120), "]}}")),
        ("presence: tokens side by side", presence("\"data\":{", "\"token\":\"t\",", "}}")),
        (
            "presence: escaped tokens",
            presence("\"data\":{", "\"\\u0074oken\":{\"token\":1},", "}}"),
        ),
        (
            "presence: tokens outside data",
            presence("\"data\":{},", "\"token\":[{\"token\":1}],", ",\"z\":1}"),
        ),
        ("presence: many data", presence("", "\"data\":{\"a\":1},", ",\"z\":1}")),
        (
            "presence: many ids in data",
            presence("\"data\":{", "\"id\":\"x\",\"user\":\"y\",", "}}"),
        ),
        ("message: many from", message("", "\"from\":\"x\",", ",\"z\":1}")),
        ("message: many escaped from", message("", "\"\\u0066rom\":\"x\",", ",\"z\":1}")),
        ("message: many to", message("", "\"to\":\"n#\",", ",\"z\":1}")),
        (
            "message: to with 100 000 rooms",
            filled("{\"type\":\"message\",\"to\":[", "\"r#\",", "]}", LARGEST),
        ),
        ("message: many keys", message("", "\"k#\":1,", ",\"z\":1}")),
        ("message: escapes", message("\"data\":\"", "\\u0041", "\"}")),
        ("message: escaped surrogates", message("\"data\":\"", "\\ud83d\\ude00", "\"}")),
        ("message: half surrogates in keys", message("", "\"\\ud83d\":1,", ",\"z\":1}")),
        (
            "message: nested objects",
            message("\"data\":[", &"{\"a\":".repeat(100).add("1", "}", 100), "]}"),
        ),
        ("message: half a million levels", "[".repeat(LARGEST)),
        ("message: numbers", message("\"data\":[", "1e9,", "]}")),
        ("message: white space", message("\"data\":", "         ", "1}")),
        ("message: never ends", message("\"data\":[", "\"a\",", "\"b\"")),
        ("message: short escapes", message("\"data\":[", "\"\\n\",", "]}")),
        ("message: escaped backslashes", message("\"data\":\"", "\\\\", "\"}")),
        ("message: half surrogates", message("\"data\":\"", "\\ud83d", "\"}")),
        ("message: numbers with all parts", message("\"data\":[", "-0.1E-2,", "]}")),
        ("message: one long number", message("\"data\":1", "0", "}")),
        ("message: words", message("\"data\":[", "true,null,", "]}")),
        ("message: empty containers", message("\"data\":[", "[],{},", "]}")),
        ("message: empty containers and space", message("\"data\":[", "[ ] , { } ,", ",1]}")),
        ("message: empty keys", message("", "\"\":1,", ",\"z\":1}")),
        ("message: long keys", message("", &format!("\"{}\":1,", "k".repeat(300)), ",\"z\":1}")),
        ("message: keys in other case", message("", "\"FROM\":1,\"tO\":1,", ",\"z\":1}")),
        ("message: keys folded", message("", "\"\u{17f}\u{212a}\":1,", ",\"z\":1}")),
        ("message: keys ended", message("", "\"\\u0066rom\\u0000\":1,", ",\"z\":1}")),
        ("message: many types", message("", "\"type\":\"message\",", ",\"z\":1}")),
        (
            "presence: texts like tokens",
            presence("\"data\":{\"x\":[", "\"token\",\"tokem\",", "]}}"),
        ),
        (
            "presence: tokens in strings",
            presence("\"data\":{\"x\":[\"", "\\\"token\\\":1,", "\"]}}"),
        ),
        ("presence: escapes in values", presence("\"data\":{\"x\":\"", "\\u0074", "\"}}")),
        (
            "presence: keys in other case",
            presence("\"data\":{", "\"Token\":{},\"NAME\":1,\"Host\":1,", "}}"),
        ),
        (
            "presence: private members",
            presence("\"data\":{", "\"host\":[],\"rooms\":{},\"token\":1,", "}}"),
        ),
        ("presence: many names", presence("\"data\":{", "\"name\":1,\"name\":\"\",", "}}")),
        ("join: escapes", filled("{\"type\":\"join\",\"room\":\"", "\\u0041", "\"}", LARGEST)),
        ("type: escapes", filled("{\"type\":\"", "\\u0041", "\"}", LARGEST)),
        ("auth again: 90 000 keys", auth("", "\"k#\":1,", ",\"z\":1}")),
        ("auth again: 100 000 rooms", auth("\"rooms\":[", "\"r#\",", "]}")),
        ("auth again: one room 100 000 times", auth("\"rooms\":[", "\"room\",", "]}")),
        ("auth again: nested tokens", auth("\"data\":[", &nested(120), "]}")),
        ("auth again: many users", auth("", "\"user\":\"parser\",", ",\"z\":1}")),
    ]
}

/// Presence whose record is small enough to be kept.
fn records() -> Vec<(&'static str, String)> {
    let record =
        |part: &str| filled("{\"type\":\"presence\",\"data\":{\"x\":[", part, "]}}", RECORD);
    let members = |part: &str| filled("{\"type\":\"presence\",\"data\":{", part, "}}", RECORD);
    vec![
        ("a record: tokens within arrays", record(&buried("[", "]", 120))),
        ("a record: tokens within objects", record(&buried("{\"a\":", "}", 120))),
        ("a record: tokens at each level", record(&buried("[{\"token\":1},", "]", 100))),
        ("a record: escapes", record("\"\\u0074oken\",")),
        ("a record: escaped backslashes", record("{\"token\":1,\"\\\\\":\"\\\\\\\\\"},")),
        ("a record: escaped tokens", record("{\"\\u0074oken\":1},")),
        ("a record: tokens side by side", record("{\"token\":1,\"token\":2,\"a\":1},")),
        ("a record: tokens and space", record("{ \"token\" : 1 , \"token\" : 2 },")),
        ("a record: texts like tokens", record("\"token\",\"tokem\",")),
        ("a record: empty containers", record("[],{},")),
        ("a record: one token and empty containers", record("{\"token\":1},[],{},")),
        ("a record: many members", members("\"k#\":1,")),
        ("a record: many members and tokens", members("\"k#\":[{\"token\":1}],")),
        ("a record: many short members", members("\"\":1,")),
    ]
}

/// First frames of strangers.
fn first_frames() -> Vec<(&'static str, String)> {
    let auth = |start: &str, part: &str, end: &str| {
        filled(&format!("{{\"type\":\"auth\",\"user\":\"\",{start}"), part, end, FIRST)
    };
    vec![
        ("auth: nested tokens", auth("\"data\":[", &nested(120), "]}")),
        ("auth: tokens within arrays", auth("\"data\":[", &buried("[", "]", 120), "]}")),
        ("auth: tokens within objects", auth("\"data\":[", &buried("{\"a\":", "}", 120), "]}")),
        ("auth: tokens side by side", auth("\"data\":{", "\"token\":{\"token\":1},", "}}")),
        ("auth: many keys", auth("", "\"k#\":1,", ",\"z\":1}")),
        ("auth: many rooms", auth("\"rooms\":[", "\"r#\",", "]}")),
        ("auth: escaped keys", auth("", "\"\\u0074oken\":1,", ",\"z\":1}")),
        ("auth: many names", auth("", "\"name\":\"n\",", ",\"z\":1}")),
        ("auth: many escaped names", auth("", "\"\\u006eame\":1,", ",\"z\":1}")),
        (
            "auth: private members in turn",
            auth("", "\"token\":1,\"host\":1,\"id\":1,", ",\"z\":1}"),
        ),
        (
            "auth: private members behind others",
            auth(&apart(20), "\"token\":1,\"host\":1,\"id\":1,", ",\"z\":1}"),
        ),
        ("auth: keys in other case", auth("", "\"TOKEN\":1,\"Host\":1,", ",\"z\":1}")),
        ("auth: half surrogates", auth("\"token\":\"", "\\ud83d", "\"}")),
        ("auth: escapes in values", auth("\"token\":\"", "\\u0074", "\"}")),
        (
            "auth: tokens that hold tokens",
            auth("\"x\":[", "{\"a\":{\"token\":[{\"token\":1}]}},", "]}"),
        ),
        ("no auth: deep", "[".repeat(FIRST)),
    ]
}

/// Members with names in no order.
fn apart(count: u32) -> String {
    let name = |n: u32| n.wrapping_mul(2_654_435_761) >> 16;
    (0..count).map(|n| format!("\"{:x}\":1,", name(n))).collect()
}

/// First frames that are not larger than a record may be: peers can be made of them.
fn small_first_frames() -> Vec<(&'static str, String)> {
    let auth = |start: &str, part: &str| {
        let start = format!("{{\"type\":\"auth\",\"user\":\"u\",{start}");
        filled(&start, part, ",\"z\":1}", RECORD)
    };
    vec![
        ("small auth: one text", auth("\"x\":\"", "xxxxxxxx").replace("x,", "x\",")),
        ("small auth: many members", auth("", "\"k#\":1,")),
        ("small auth: members in no order", auth(&apart(1400), "\"k#\":1,")),
        ("small auth: escaped members", auth("", "\"\\u006b#\":1,")),
        ("small auth: members alike", auth("", "\"a long name that is the same: #\":1,")),
        ("small auth: many arrays", auth("", "\"k#\":[{\"token\":1}],")),
        ("small auth: one array", auth("\"x\":[", "[],{},").replace("},\"z", "}],\"z")),
    ]
}

/// Frames of about so many bytes that are charged as one of that size, or as two to authenticate
/// again.
fn unit_frames(size: usize) -> Vec<(String, String)> {
    let auth = |start: &str, part: &str| {
        let start = format!("{{\"type\":\"auth\",\"user\":\"parser\",{start}");
        filled(&start, part, ",\"z\":1}", size)
    };
    let presence = |part: &str| filled("{\"type\":\"presence\",\"data\":{", part, "}}", size);
    let rooms = "{\"type\":\"auth\",\"user\":\"parser\",\"rooms\":[";
    let all = vec![
        ("auth again, many members", auth("", "\"k#\":1,")),
        ("auth again, escaped members", auth("", "\"\\u006b#\":1,")),
        ("auth again, many arrays", auth("", "\"k#\":[{\"token\":1}],")),
        ("auth again, keys in other case", auth("", "\"TOKEN\":1,\"Host\":1,")),
        ("auth again, private members", auth("", "\"token\":1,\"host\":1,\"id\":1,")),
        ("auth again, one room", filled(rooms, "\"parser\",", "]}", size)),
        ("a record, many members", presence("\"k#\":1,")),
        ("a record, many short members", presence("\"\":1,")),
        ("a record, many arrays", presence("\"k#\":[{\"token\":1}],")),
        ("no frame", "[".repeat(size)),
    ];
    all.into_iter().map(|(name, frame)| (format!("{size} bytes: {name}"), frame)).collect()
}

/// A plain message of that length to a user.
fn received(size: usize) -> String {
    filled("{\"type\":\"message\",\"to\":\"receiver\",\"data\":[", "1234567,", "]}", size)
}

trait Wrap {
    /// This, something in the middle, and so many ends.
    fn add(&self, middle: &str, end: &str, count: usize) -> String;
}

impl Wrap for String {
    fn add(&self, middle: &str, end: &str, count: usize) -> String {
        format!("{self}{middle}{},", end.repeat(count))
    }
}

/// CPU time of frames of a peer, by the byte, in nanoseconds.
async fn cost(server: &Server, client: &mut Client, frame: &str) -> Result<f64, Fault> {
    const ROUNDS: usize = 3;
    // Of small ones there are more, so that there is something to be measured; but what they are
    // answered with must not wait for this client.
    let count = (LARGEST / frame.len()).clamp(4, 400);
    let bytes = wire::text(frame);
    let together: Vec<u8> = bytes.repeat((BUFFER / bytes.len()).clamp(1, count));
    let writes = count.div_ceil(together.len() / bytes.len());
    let mut least = f64::MAX;
    for _ in 0..ROUNDS {
        client.barrier().await?;
        let before = server.cpu();
        for _ in 0..writes {
            client.raw(&together).await?;
        }
        client.barrier().await?;
        let used = (server.cpu() - before).as_nanos() as f64;
        least = least.min(used / (writes * together.len()) as f64);
        if used > 1e9 {
            break;
        }
    }
    Ok(least)
}

/// CPU time of a short first frame and of another one that ends the same way, each with its connection, in
/// nanoseconds.
async fn first_cost(server: &Server, frame: &str, short: &str) -> Result<[f64; 2], Fault> {
    // As many that a connection more or less does not matter.
    let count = (LARGEST / frame.len()).clamp(20, 60);
    let mut least = [f64::MAX; 2];
    // In turns: what the machine does beside it concerns both.
    for _ in 0..3 {
        for (frame, least) in [short, frame].iter().zip(&mut least) {
            let bytes = wire::text(frame);
            let before = server.cpu();
            for _ in 0..count {
                let mut client = Client::connect(server.address, How::default()).await?;
                client.raw(&bytes).await?;
                // It is welcome or refused, and then closed by one or the other.
                let _ = client.next(crate::client::PATIENCE).await;
            }
            *least = least.min((server.cpu() - before).as_nanos() as f64 / count as f64);
        }
    }
    Ok(least)
}

/// What an input costs, and a plain message before and after it: a machine that does other things
/// too is slower at times.
struct Costs {
    input: f64,
    plain: f64,
}

impl Costs {
    /// Whether bytes that are each charged as so many cost no more than is allowed.
    fn judge(&self, name: &str, charged: f64, outcome: &mut Outcome) {
        let factor = self.input / self.plain / charged;
        outcome.noisy(
            format!("{name}: at most 3 times a plain message, its bytes charged {charged} times"),
            format!("{factor:.1} times ({:.2} ns a byte, {:.2})", self.input, self.plain),
            factor <= FACTOR,
        );
    }

    /// The same for a frame that is not charged, with the connection that it takes.
    fn judge_stranger(&self, name: &str, connection: f64, bytes: usize, outcome: &mut Outcome) {
        let plain = connection + self.plain * bytes as f64;
        let factor = self.input / plain;
        outcome.noisy(
            format!("{name}: with its connection at most 3 times a plain message"),
            format!("{factor:.1} times ({:.0} ns, {plain:.0})", self.input),
            factor <= FACTOR,
        );
    }
}

/// What each costs by its CPU time.
pub(crate) async fn cpu(stage: Stage) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::new();
    // What is measured is what input costs, however long that is spread.
    let server = stage.server(&["--rate-limit", "0"]).await?;
    let mut client = Client::peer(server.address, How::default(), "parser", &[]).await?;
    let ordinary = plain(LARGEST);
    // The first one finds no memory to be used again.
    cost(&server, &mut client, &ordinary).await?;
    let mut before = cost(&server, &mut client, &ordinary).await?;
    let frames = if stage.quick { frames().split_off(30) } else { frames() };
    outcome.done(format!(
        "{} kinds of frames of 1 MiB, {} of 64 KiB; a plain one costs {before:.2} ns a byte",
        frames.len(),
        first_frames().len()
    ));
    for (name, frame) in frames.into_iter().chain(records()) {
        let Ok(input) = cost(&server, &mut client, &frame).await else {
            // What is refused by closing has its costs on a new connection.
            client = Client::peer(server.address, How::default(), "parser", &[]).await?;
            continue;
        };
        let after = cost(&server, &mut client, &ordinary).await?;
        let charged = if name.contains("presence") || name.contains("record") { 2.0 } else { 1.0 };
        Costs { input, plain: before.min(after) }.judge(name, charged, &mut outcome);
        before = after;
    }
    // Again as its peer, too: it is welcomed once more, and its connection costs nothing.
    for (name, frame) in small_first_frames() {
        let frame = frame.replacen("\"user\":\"u\"", "\"user\":\"parser\"", 1);
        let input = cost(&server, &mut client, &frame).await?;
        let after = cost(&server, &mut client, &ordinary).await?;
        Costs { input, plain: before.min(after) }.judge(
            &format!("{name}, again"),
            4.0,
            &mut outcome,
        );
        before = after;
    }
    // As a user that is welcome, too: its peer is made of it.
    let welcome = first_frames().into_iter().map(|(name, frame)| {
        (format!("welcome {name}"), frame.replacen("\"user\":\"\"", "\"user\":\"u\"", 1))
    });
    let small = small_first_frames().into_iter().chain(first_frames());
    let all = small.map(|(name, frame)| (name.to_owned(), frame)).chain(welcome);
    for (name, frame) in all {
        let user = if frame.contains("\"user\":\"u\"") { "u" } else { "" };
        let short = format!("{{\"type\":\"auth\",\"user\":\"{user}\"}}");
        let [connection, all] = first_cost(&server, &frame, &short).await?;
        let after = cost(&server, &mut client, &ordinary).await?;
        let plain = before.min(after);
        if user.is_empty() {
            Costs { input: all, plain }.judge_stranger(
                &name,
                connection,
                frame.len(),
                &mut outcome,
            );
        } else {
            let input = (all - connection).max(0.0) / frame.len() as f64;
            Costs { input, plain }.judge(&name, 4.0, &mut outcome);
        }
        before = after;
    }
    let receiver = Client::peer(server.address, How::default(), "receiver", &[]).await?.drain();
    for size in [100, 1000, 8000] {
        let plain = received(size);
        let mut before = cost(&server, &mut client, &plain).await?;
        for (name, frame) in unit_frames(size) {
            let input = cost(&server, &mut client, &frame).await?;
            let after = cost(&server, &mut client, &plain).await?;
            let (input, plain) =
                (input * frame.len() as f64, before.min(after) * plain.len() as f64);
            // To authenticate again is charged for two frames, and each byte four times; a record for one frame,
            // and each byte twice (R-L3).
            let units = if name.contains("auth again") {
                2 + frame.len() * 3 / 8192
            } else if name.contains("a record") {
                1 + frame.len() * 2 / 8192
            } else {
                1
            };
            let factor = FACTOR * units as f64;
            outcome.noisy(
                format!("{name}: at most {factor} times a plain message that is received"),
                format!("{:.1} times ({input:.0} ns, {plain:.0})", input / plain),
                input <= factor * plain,
            );
            before = after;
        }
    }
    drop(receiver);
    Ok(outcome)
}

/// The same, with default settings, from three connections at a time, and from strangers.
pub(crate) async fn stall(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let frames: Vec<Vec<u8>> = frames().iter().map(|(_, frame)| wire::text(frame)).collect();
    let first: Vec<Vec<u8>> = first_frames().iter().map(|(_, frame)| wire::text(frame)).collect();
    scene.begin().await;
    let deadline = Instant::now() + stage.long(4.0);
    let mut tasks = Vec::new();
    for start in 0..3 {
        let frames = frames.clone();
        let client = Client::peer(address, How::default(), "parser", &[]).await?;
        tasks.push(tokio::spawn(async move {
            let mut client = client.drain();
            let mut sent = 0_u64;
            for frame in frames.iter().cycle().skip(start * 9) {
                let left = deadline.saturating_duration_since(Instant::now());
                match timeout(left, client.sending.write_all(frame)).await {
                    Ok(Ok(())) => sent += 1,
                    _ => break,
                }
            }
            sent
        }));
    }
    tasks.push(tokio::spawn(async move {
        let mut sent = 0;
        for frame in first.iter().cycle() {
            if Instant::now() > deadline {
                break;
            }
            let Ok(mut client) = Client::connect(address, How::default()).await else { continue };
            let _ = client.raw(frame).await;
            let _ = client.next(Duration::from_millis(500)).await;
            sent += 1;
        }
        sent
    }));
    let mut sent = Vec::new();
    for task in tasks {
        sent.push(task.await?);
    }
    let strangers = sent.pop().unwrap_or(0);
    outcome.done(format!(
        "{} expensive frames of 1 MiB by three peers, {strangers} of 64 KiB by strangers",
        sent.iter().sum::<u64>()
    ));
    // Each of them has a message of that size in its buffer, and one that was read.
    scene.judge(&mut outcome, 6 << 20, "R-L1: 1 MiB for each of three, twice").await;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is measured is what it claims to be: of the right size, and JSON where it should be.
    #[test]
    fn frames_are_large_and_whole() {
        for (name, frame) in frames().into_iter().chain([("plain", plain(LARGEST))]) {
            assert!((LARGEST - 2000..=LARGEST).contains(&frame.len()), "{name}: {}", frame.len());
            if !name.contains("levels") && !name.contains("never ends") {
                let mut json = serde_json::Deserializer::from_str(&frame);
                let read = <serde::de::IgnoredAny as serde::Deserialize>::deserialize(&mut json);
                assert!(read.is_ok(), "{name}: {read:?}");
            }
        }
        for (name, frame) in records().into_iter().chain(small_first_frames()) {
            assert!((RECORD - 2000..=RECORD).contains(&frame.len()), "{name}: {}", frame.len());
            let mut json = serde_json::Deserializer::from_str(&frame);
            let read = <serde::de::IgnoredAny as serde::Deserialize>::deserialize(&mut json);
            assert!(read.is_ok(), "{name}: {read:?}");
        }
        for size in [100, 1000, 8000] {
            for (name, frame) in unit_frames(size) {
                assert!((size - 40..=size).contains(&frame.len()), "{name}: {}", frame.len());
            }
            assert!((size - 40..=size).contains(&received(size).len()));
        }
        for (name, frame) in first_frames() {
            assert!((FIRST - 2000..=FIRST).contains(&frame.len()), "{name}: {}", frame.len());
        }
    }
}
