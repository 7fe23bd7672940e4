//! What it takes to read a frame, and to relay it: `cargo bench -p symple-proto`.

#![allow(missing_docs, reason = "a program")]

use divan::{Bencher, black_box, counter::BytesCount};
use symple_proto::{ClientFrame, FrameView, Json, PublicRecord, Recipient, ToldRecord, read_auth};

fn main() {
    divan::main();
}

const FROM: &str = "\"alice|0123456789abcdefghij\"";

/// Bytes of data.
const SIZES: [usize; 3] = [128, 1024, 65_536];

fn message(data: usize) -> String {
    let data = "x".repeat(data);
    format!(r#"{{"type":"message","to":"room","data":{{"text":"{data}"}}}}"#)
}

/// Reading as the server does.
#[divan::bench(args = SIZES)]
fn view(bencher: Bencher<'_, '_>, data: usize) {
    let text = message(data);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench(|| FrameView::parse(black_box(&text), 128).map(|view| view.text().len()));
}

/// Reading as a client does.
#[divan::bench(args = SIZES)]
fn typed(bencher: Bencher<'_, '_>, data: usize) {
    let text = message(data);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench(|| ClientFrame::parse(black_box(&text)).is_ok());
}

/// Reading, and writing with the sender spliced in.
#[divan::bench(args = SIZES)]
fn view_and_splice(bencher: Bencher<'_, '_>, data: usize) {
    let text = message(data);
    bencher.counter(BytesCount::new(text.len())).bench(|| {
        let mut out = String::new();
        if let Ok(view) = FrameView::parse(black_box(&text), 128) {
            view.relay(FROM, &mut out);
        }
        out
    });
}

/// The same with a `from` of the client's, and one that stands there twice.
#[divan::bench(args = ["\"from\":1,", "\"from\":1,\"from\":2,"])]
fn splice_over(bencher: Bencher<'_, '_>, claimed: &str) {
    let text = message(128).replacen('{', &format!("{{{claimed}"), 1);
    bencher.bench(|| {
        let mut out = String::new();
        if let Ok(view) = FrameView::parse(black_box(&text), 128) {
            view.relay(FROM, &mut out);
        }
        out
    });
}

/// Whom a frame is for.
#[divan::bench(args = [r#""room""#, r#""bob|0123456789abcdefghij""#, r#"["a","b","c"]"#])]
fn recipient(bencher: Bencher<'_, '_>, to: &str) {
    let text = format!(r#"{{"type":"message","to":{to}}}"#);
    let view = FrameView::parse(&text, 128).expect("the text is a frame");
    bencher.bench(|| Recipient::decode(black_box(&view).to(), 256).is_ok());
}

/// The limit on public records, in bytes.
const RECORD: usize = 16 * 1024;

/// The `data` of a presence frame that costs most, of about that many bytes.
fn hostile_data(kind: &str, bytes: usize) -> String {
    match kind {
        "plain" => format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes)),
        "nested" => {
            let levels = 60;
            let inner = "[],".repeat(bytes / 3);
            format!(
                r#"{{"x":{}{inner}1{}}}"#,
                r#"[{"token":1,"a":["#.repeat(levels / 2),
                "]}]".repeat(levels / 2)
            )
        }
        "tokens" => format!(r#"{{{}"x":1}}"#, r#""a":{"token":1},"#.repeat(bytes / 16)),
        "private" => format!(r#"{{"token":[{}1]}}"#, "[],".repeat(bytes / 3)),
        _ => {
            let members: Vec<_> = (0..bytes / 11).map(|n| format!("\"k{n:05}\":1")).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

/// What a peer tells of itself, up to the limit and far over it.
#[divan::bench(args = ["plain", "nested", "tokens", "private", "keys"], consts = [15_000, 1_000_000])]
fn told_record<const BYTES: usize>(bencher: Bencher<'_, '_>, kind: &str) {
    let data = hostile_data(kind, BYTES);
    let object = Json::parse(&data, 128).expect("JSON").as_object().expect("an object");
    bencher
        .counter(BytesCount::new(data.len()))
        .bench(|| ToldRecord::read(black_box(object), "alice", "0a", RECORD).is_ok());
}

/// The presence frame around it: reading it, as a yardstick.
#[divan::bench(args = ["plain", "nested", "tokens", "private", "keys"], consts = [15_000, 1_000_000])]
fn view_of_presence<const BYTES: usize>(bencher: Bencher<'_, '_>, kind: &str) {
    let text = format!(r#"{{"type":"presence","data":{}}}"#, hostile_data(kind, BYTES));
    bencher
        .counter(BytesCount::new(text.len()))
        .bench(|| FrameView::parse(black_box(&text), 128).is_ok());
}

/// What is made of an `auth` frame: of a stranger, the largest.
#[divan::bench(args = ["plain", "nested", "tokens", "private", "keys"], consts = [15_000, 64_000])]
fn auth<const BYTES: usize>(bencher: Bencher<'_, '_>, kind: &str) {
    let data = hostile_data(kind, BYTES);
    let object = Json::parse(&data, 128).expect("JSON").as_object().expect("an object");
    bencher.counter(BytesCount::new(data.len())).bench(|| {
        let auth = read_auth(black_box(object), RECORD, 7).ok()?;
        let mut peer = String::new();
        auth.members.push_peer("alice", "0a", None, &mut peer);
        Some((PublicRecord::of_peer(&auth.members, "alice", "0a"), peer))
    });
}
