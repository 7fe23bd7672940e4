//! The first bytes of a connection (R-T5, R-T6, R-T7).

use symple_driver::fuzzing::{Outcome, http_head};

/// The limit of heads by default, in bytes.
const LIMIT: usize = 16 * 1024;

/// What is answered to what is no request for WebSocket, or a bad one.
const STATUSES: [u16; 9] = [200, 400, 403, 404, 405, 426, 431, 501, 503];

/// Reads the data as the bytes that a connection begins with.
///
/// # Panics
/// If the outcome depends on how the bytes are cut or on what comes behind the head, if a head over
/// the limit is not refused, or if one is upgraded that another reader would see otherwise: one
/// with a body, with a second host or key, or with a line that ends in another way than CR LF.
pub fn run(data: &[u8]) {
    let outcome = http_head([data]);
    cut(data, &outcome);
    match &outcome {
        Outcome::Incomplete => {
            assert!(data.len() <= LIMIT, "{} bytes are awaited further", data.len());
            let half = &data[..data.len() / 2];
            assert_eq!(http_head([half]), Outcome::Incomplete, "less is more");
        }
        Outcome::Answered(status) => {
            assert!(STATUSES.contains(status), "status {status}");
            followed(data, &outcome);
        }
        Outcome::Upgraded { length, response, .. } => {
            assert!(*length <= LIMIT && *length <= data.len(), "{length} of {}", data.len());
            let head = &data[..*length];
            assert_eq!(http_head([head]), outcome, "what is behind the head counts");
            assert_eq!(http_head([&head[..*length - 1]]), Outcome::Incomplete);
            assert!(response.starts_with(b"HTTP/1.1 101 "));
            assert!(response.ends_with(b"\r\n\r\n"));
            followed(head, &outcome);
            handshake(head);
            padded(head, &outcome);
        }
    }
}

/// The same bytes in other pieces.
fn cut(data: &[u8], outcome: &Outcome) {
    assert_eq!(&http_head(data.chunks(1)), outcome, "byte by byte");
    for size in [2, 3, 7, 61, 1460] {
        assert_eq!(&http_head(data.chunks(size)), outcome, "in pieces of {size}");
    }
    let step = (data.len() / 64).max(1);
    for at in (0..data.len()).step_by(step) {
        let (first, second) = data.split_at(at);
        assert_eq!(&http_head([first, second]), outcome, "cut at {at}");
    }
}

/// What comes behind that which has been decided.
fn followed(data: &[u8], outcome: &Outcome) {
    for more in [&b"x"[..], b"\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x81\x80\0\0\0\0"] {
        let longer = [data, more].concat();
        assert_eq!(&http_head([&longer[..]]), outcome, "more does not matter");
    }
}

/// A request that is upgraded, as a strict reader sees it.
fn handshake(head: &[u8]) {
    let Ok(text) = std::str::from_utf8(head) else {
        // Nothing but the values of headers that nobody looks at.
        return assert!(!head.contains(&0), "a NUL");
    };
    // Empty lines may stand before a request (RFC 9112 §2.2).
    let lines: Vec<_> = text.trim_matches(['\r', '\n']).split("\r\n").collect();
    assert!(!lines.iter().any(|line| line.contains(['\r', '\n', '\0'])), "a line in a line");
    assert!(lines[0].starts_with("GET ") && lines[0].ends_with(" HTTP/1.1"), "{:?}", lines[0]);
    let values = |name: &str| -> Vec<&str> {
        let headers = lines[1..].iter().filter_map(|line| line.split_once(':'));
        let named = headers.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim_matches([' ', '\t'])).collect()
    };
    assert_eq!(values("host").len(), 1, "hosts");
    assert_eq!(values("sec-websocket-version"), ["13"]);
    let keys = values("sec-websocket-key");
    assert!(keys.len() == 1 && keys[0].len() == 24 && keys[0].ends_with("=="), "{keys:?}");
    assert!(values("transfer-encoding").is_empty(), "a body");
    let lengths = values("content-length");
    assert!(lengths.len() < 2 && lengths.iter().all(|n| n.bytes().all(|b| b == b'0')), "a body");
    let names = |name: &str| -> Vec<String> {
        let values = values(name).into_iter().flat_map(|value| value.split(','));
        values.map(|name| name.trim_matches([' ', '\t']).to_ascii_lowercase()).collect()
    };
    assert!(names("upgrade").iter().any(|name| name == "websocket"));
    assert!(names("connection").iter().any(|name| name == "upgrade"));
}

/// The same request with a header so long that the head just fits, and just does not.
fn padded(head: &[u8], outcome: &Outcome) {
    let start = head.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    let end = head[start..].windows(2).position(|pair| pair == b"\r\n");
    let Some(line) = end.map(|at| start + at + 2) else { return };
    let Some(room) = LIMIT.checked_sub(head.len() + b"X:\r\n".len()).filter(|room| *room > 0)
    else {
        return;
    };
    let with = |length: usize| {
        let (first, rest) = head.split_at(line);
        [first, b"X:", &b"x".repeat(length), b"\r\n", rest].concat()
    };
    let fits = http_head(with(room).chunks(4096));
    match (&fits, outcome) {
        (Outcome::Upgraded { length, .. }, _) => assert_eq!(*length, LIMIT),
        // One header too many.
        (Outcome::Answered(431), Outcome::Upgraded { headers, .. }) => {
            assert!(*headers > 90, "{headers} headers are too many");
        }
        (other, _) => panic!("{other:?} with a long header"),
    }
    let over = with(room + 1);
    assert_eq!(http_head([&over[..]]), Outcome::Answered(431), "over the limit");
    assert_eq!(http_head(over.chunks(1000)), Outcome::Answered(431), "over the limit, cut");
}
