//! Strings between their two spellings: with quotes and escapes, and plain.

use alloc::{borrow::Cow, string::String};

use memchr::memchr;

use crate::error::{DecodeError, Fault};

/// Decodes a checked JSON string, quotes included. Borrows where there is no escape.
///
/// # Errors
/// [`Fault::LoneSurrogate`]: JSON can spell half a character, a Rust string cannot hold it.
///
/// # Panics
/// Never for a string that [`check`](super::check) accepted; for others the result is undefined,
/// though safe.
pub fn decode(quoted: &str) -> Result<Cow<'_, str>, DecodeError> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if memchr(b'\\', inner.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(inner));
    }
    let mut out = String::with_capacity(inner.len());
    decode_to(quoted, &mut out).map(|()| Cow::Owned(out))
}

/// Appends what a checked JSON string says, as [`decode`] does.
pub(crate) fn decode_to(quoted: &str, out: &mut String) -> Result<(), DecodeError> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let mut at = next_escape(inner.as_bytes(), 0);
    out.push_str(&inner[..at]);
    while at < inner.len() {
        let (character, length) = decode_escape(&inner[at..])
            .ok_or_else(|| DecodeError::new(Fault::LoneSurrogate, at + 1))?;
        out.push(character);
        at += length;
        let plain = at..next_escape(inner.as_bytes(), at);
        out.push_str(&inner[plain.clone()]);
        at = plain.end;
    }
    Ok(())
}

/// Where the next escape stands, or the end. Escapes often follow each other.
fn next_escape(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    if rest.first() == Some(&b'\\') {
        return from;
    }
    from + memchr(b'\\', rest).unwrap_or(rest.len())
}

/// The number that a checked hexadecimal digit is.
#[inline]
pub(super) const fn hex_digit(byte: u8) -> u8 {
    // The letters, in either case, stand at 1 and on in their columns of ASCII.
    (byte & 15) + 9 * (byte >> 6)
}

/// The number that four checked hexadecimal digits are.
#[inline]
pub(super) fn hex(digits: &[u8]) -> Option<u16> {
    let digit = |byte: u8| u16::from(hex_digit(byte));
    let [a, b, c, d] = *digits.first_chunk()?;
    Some(digit(a) << 12 | digit(b) << 8 | digit(c) << 4 | digit(d))
}

/// The character that an escape at the start of `text` stands for, and the length of the escape.
#[inline]
pub(super) fn decode_escape(text: &str) -> Option<(char, usize)> {
    let bytes = text.as_bytes();
    match *bytes.get(1)? {
        b'b' => Some(('\u{8}', 2)),
        b'f' => Some(('\u{c}', 2)),
        b'n' => Some(('\n', 2)),
        b'r' => Some(('\r', 2)),
        b't' => Some(('\t', 2)),
        b'u' => {
            let first = hex(bytes.get(2..)?)?;
            if let Some(character) = char::from_u32(u32::from(first)) {
                return Some((character, 6));
            }
            if bytes.get(6..8) != Some(b"\\u") {
                return None;
            }
            let character = char::decode_utf16([first, hex(bytes.get(8..)?)?]).next()?.ok()?;
            Some((character, 12))
        }
        other => Some((char::from(other), 2)),
    }
}

/// The start of a checked JSON string, quotes included, for people: at most `max` characters, in
/// one line, U+FFFD for each half of a surrogate pair.
pub(crate) fn decode_lossy(quoted: &str, max: usize) -> String {
    let mut rest = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let mut out = String::new();
    for _ in 0..max {
        let Some(character) = rest.chars().next() else { break };
        let (character, length) = match character {
            '\\' => decode_escape(rest).unwrap_or(('\u{fffd}', "\\ud800".len())),
            other => (other, other.len_utf8()),
        };
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// True if a string somewhere in a checked JSON text has half a surrogate pair, which no Rust string
/// can hold.
pub(crate) fn has_half_surrogate(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at = next_escape(bytes, at);
        at += match bytes.get(at + 1) {
            None => return false,
            // Only these are halves: D800 to DFFF.
            Some(b'u') if matches!(bytes.get(at + 2), Some(b'd' | b'D')) => {
                let Some((_, length)) = decode_escape(&text[at..]) else { return true };
                length
            }
            Some(b'u') => 6,
            Some(_) => 2,
        };
    }
}

/// Appends `text` as a JSON string with its quotes, spelled as `JSON.stringify` spells it.
pub fn push_string(out: &mut String, text: &str) {
    out.reserve(text.len() + 2);
    out.push('"');
    // Most have nothing to be escaped. All bytes are looked at, so that several are at once.
    let is_special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    if !text.bytes().fold(false, |special, byte| special | is_special(byte)) {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let short = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x0c => "\\f",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x00..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        if short.is_empty() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.push_str("\\u00");
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        } else {
            out.push_str(short);
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// `text` as a JSON string with its quotes.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_every_escape() {
        for (quoted, expected) in [
            (r#""""#, ""),
            (r#""plain é""#, "plain é"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u0066rom""#, "from"),
            (r#""caf\u00e9 \uD83D\ude00!""#, "café 😀!"),
        ] {
            assert_eq!(decode(quoted).unwrap(), expected, "{quoted}");
        }
    }

    #[test]
    fn refuses_half_a_character() {
        for quoted in
            [r#""\ud800""#, r#""\ud800x""#, r#""\ud800\n""#, r#""\ud800A""#, r#""\udc00""#]
        {
            assert_eq!(decode(quoted).unwrap_err().fault(), Fault::LoneSurrogate, "{quoted}");
        }
    }

    #[test]
    fn borrows_what_needs_no_decoding() {
        assert!(matches!(decode(r#""abc""#), Ok(Cow::Borrowed("abc"))));
    }

    proptest! {
        #[test]
        fn quoting_and_decoding_are_inverse(text in any::<String>()) {
            let quoted = quote(&text);
            prop_assert_eq!(&quoted, &serde_json::to_string(&text).unwrap());
            prop_assert_eq!(decode(&quoted).unwrap(), text);
        }

        #[test]
        fn decodes_as_serde_json_does(units in prop::collection::vec(any::<u16>(), 0..6)) {
            let quoted = format!(
                "\"{}\"",
                units.iter().map(|u| format!("\\u{u:04x}")).collect::<String>()
            );
            let theirs = serde_json::from_str::<String>(&quoted).ok();
            prop_assert_eq!(decode(&quoted).ok().map(Cow::into_owned), theirs);
        }
    }
}
