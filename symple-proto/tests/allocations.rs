//! What reading and relaying a frame may allocate, counted.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use allocation_counter::measure;
use symple_proto::{FrameView, Recipient};

const FROM: &str = "\"alice|0123456789abcdefghij\"";

/// However large and whatever is in it: nothing to read it, the text to relay it.
#[test]
fn a_frame() {
    let long = "x".repeat(10_000);
    for (to, data) in [
        ("\"room\"", "1"),
        ("\"bob|7gf\"", r#"{"a":[1,2,{"b":null}],"c":"\u00e9"}"#),
        (r#"["a","b","c"]"#, &format!("\"{long}\"")),
        ("\"room\",\"from\":1", "2"),
        ("\"room\",\"from\":1,\"from\":2", "3"),
    ] {
        let text = format!(r#"{{"type":"message","data":{data},"to":{to}}}"#);
        let read = measure(|| {
            let view = FrameView::parse(&text, 128).unwrap();
            assert!(view.frame_type().is_ok());
            assert!(Recipient::decode(view.to(), 256).is_ok());
        });
        assert_eq!(read.count_total, 0, "{text}");
        let view = FrameView::parse(&text, 128).unwrap();
        let relayed = measure(|| view.relay(FROM, &mut String::new()));
        assert_eq!(relayed.count_total, 1, "{text}");
    }
}
