//! Compressed messages (R-L1, R-T10, RFC 7692).

use symple_driver::fuzzing::{Message, deflate, inflate, message};

/// More than any of these messages has.
const MORE: usize = 1 << 20;
/// What memory may be taken beside the text.
const BESIDE: usize = 64 * 1024;
/// The bits of a frame's first byte.
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const TEXT: u8 = 0x01;
const CONTINUATION: u8 = 0x00;

/// Reads the data as a limit, of two bytes, and a compressed message.
///
/// # Panics
/// If more is inflated than a limit allows, if a text of exactly the limit is not taken or one of a
/// byte more is, if fragments or a limit that is raised on the way make a difference, or if the
/// server's own compressed messages cannot be read.
pub fn run(data: &[u8]) {
    let Some((limit, data)) = data.split_first_chunk::<2>() else { return };
    let limit = usize::from(u16::from_le_bytes(*limit));
    let whole = bounded(data, MORE);
    let small = bounded(data, limit);
    match &whole {
        Some(text) => {
            assert_eq!(small.as_ref(), whole.as_ref().filter(|text| text.len() <= limit));
            exact(data, text);
            framed(data, Some(text), limit);
        }
        None => {
            // It is invalid, or it is too long for any limit here.
            assert_eq!(small, None, "what cannot be inflated is inflated");
            framed(data, None, limit);
        }
    }
    there_and_back(data);
}

/// The text of a message under a limit, if it has one: no more than that is ever inflated.
fn bounded(data: &[u8], limit: usize) -> Option<Vec<u8>> {
    let (text, memory) = inflate(data, limit);
    assert!(memory <= limit + BESIDE, "{memory} bytes of memory for {limit}");
    if let Some(text) = &text {
        assert!(text.len() <= limit, "{} bytes of {limit}", text.len());
    }
    text
}

/// The limit is exact.
fn exact(data: &[u8], text: &[u8]) {
    assert_eq!(bounded(data, text.len()).as_deref(), Some(text), "as long as the limit");
    if let Some(less) = text.len().checked_sub(1) {
        assert_eq!(bounded(data, less), None, "one byte more than the limit");
    }
}

/// The frames of a compressed message, masked, cut at these places.
fn frames(data: &[u8], cuts: &[usize]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0x00, 0xff, 0x37];
    let mut ends: Vec<_> = cuts.iter().map(|cut| (*cut).min(data.len())).collect();
    ends.push(data.len());
    let (mut out, mut start) = (Vec::new(), 0);
    for (n, end) in ends.iter().enumerate() {
        let piece = &data[start..*end];
        let first = if n == 0 { RSV1 | TEXT } else { CONTINUATION };
        out.push(first | if n + 1 == ends.len() { FIN } else { 0 });
        match u16::try_from(piece.len()) {
            Ok(length @ 0..126) => out.push(0x80 | length as u8),
            Ok(length) => {
                out.push(0x80 | 126);
                out.extend(length.to_be_bytes());
            }
            Err(_) => {
                out.push(0x80 | 127);
                out.extend((piece.len() as u64).to_be_bytes());
            }
        }
        out.extend(MASK);
        out.extend(piece.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        start = *end;
    }
    out
}

/// The same message in frames, in one and in fragments: its text is what it was, or it is refused.
fn framed(data: &[u8], text: Option<&Vec<u8>>, limit: usize) {
    let length = data.len();
    let cuts = [&[][..], &[0], &[length / 2], &[1, length / 3, length - length / 3], &[length]];
    for cuts in cuts {
        let mut cuts = cuts.to_vec();
        cuts.sort_unstable();
        let frames = frames(data, &cuts);
        let Some(text) = text else {
            for limit in [limit, MORE] {
                let got = message(&frames, &[limit]);
                assert!(matches!(got, Message::Invalid | Message::TooBig), "{got:?}");
            }
            continue;
        };
        let exactly = text.len();
        for limit in [exactly, exactly.saturating_sub(1), limit, MORE] {
            let got = message(&frames, &[limit]);
            let expected =
                if exactly <= limit { Message::Text(text.clone()) } else { Message::TooBig };
            // What is longer than any text of this length need be is not looked into.
            let is_long = got == Message::TooBig && length > limit + limit / 8 + 64;
            assert!(got == expected || is_long, "{got:?} at {limit} of {exactly}");
            // Limits are raised when a client has authenticated: what was too big is read again.
            if got == Message::TooBig {
                let got = message(&frames, &[limit, MORE]);
                assert_eq!(got, Message::Text(text.clone()), "once more, after {limit}");
            }
        }
        // No more than a part of it has come.
        assert_eq!(message(&frames[..frames.len() - 1], &[MORE]), Message::Incomplete);
    }
}

/// What the server compresses is shorter than it was, and can be read.
fn there_and_back(text: &[u8]) {
    let Some(message) = deflate(text) else { return };
    assert!(message.len() < text.len(), "{} bytes for {}", message.len(), text.len());
    exact(&message, text);
}
