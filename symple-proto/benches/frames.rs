//! What it takes to read a frame, and to relay it: `cargo bench -p symple-proto`.

#![allow(missing_docs, reason = "a program")]

use divan::{Bencher, black_box, counter::BytesCount};
use symple_proto::{ClientFrame, FrameView, Recipient};

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
