//! Keys as different receivers read them.
//!
//! Some JSON libraries ignore the case of keys (Go's `encoding/json`, many of C# and Java), some
//! end them at a NUL (those that hand out C strings), and some do both. For those a key can be
//! another spelling of a name (R-F2).

use super::string::decode_escape;

/// The longest name that is looked for, in bytes.
const LONGEST: usize = 12;

/// How a key stands to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// It is the name, whatever its escapes.
    Exact,
    /// It is the name for a receiver that ignores case, or ends texts at a NUL.
    Other,
}

/// Which of the names (lower-case ASCII, at most 12 bytes) a checked key spells, quotes included.
///
/// Reads no more of the key than the longest name has, and allocates nothing.
pub(crate) fn spelling(quoted: &str, escaped: bool, names: &[&str]) -> Option<(usize, Spelling)> {
    let inner = quoted.get(1..quoted.len() - 1)?;
    if !escaped {
        if inner.len() > 3 * LONGEST {
            return None;
        }
        // Nearly every key is like this.
        if inner.is_ascii() {
            let index = names.iter().position(|name| name.eq_ignore_ascii_case(inner))?;
            let exact = names[index] == inner;
            return Some((index, if exact { Spelling::Exact } else { Spelling::Other }));
        }
    }
    let mut folded = [0; LONGEST];
    let mut length = 0;
    let mut spelling = Spelling::Exact;
    let mut at = 0;
    while let Some(character) = inner[at..].chars().next() {
        let (character, bytes) = match character {
            '\\' => decode_escape(&inner[at..])?,
            other => (other, other.len_utf8()),
        };
        if character == '\0' {
            spelling = Spelling::Other;
            break;
        }
        let lower = fold(character)?;
        if char::from(lower) != character {
            spelling = Spelling::Other;
        }
        *folded.get_mut(length)? = lower;
        length += 1;
        at += bytes;
    }
    let index = names.iter().position(|name| name.as_bytes() == &folded[..length])?;
    Some((index, spelling))
}

/// The ASCII character, in lower case, that a receiver may take this one for when it ignores case;
/// none if there is none.
///
/// Beside the letters of ASCII these are the four whose upper or lower case is one of them.
fn fold(character: char) -> Option<u8> {
    match character {
        '\u{17f}' => Some(b's'),
        '\u{212a}' => Some(b'k'),
        '\u{130}' | '\u{131}' => Some(b'i'),
        _ => {
            u8::try_from(character).ok().filter(u8::is_ascii).map(|byte| byte.to_ascii_lowercase())
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    /// R-F2: in every spelling that some receiver may take for the name, and in no other.
    #[test]
    fn spellings() {
        use Spelling::{Exact, Other};
        for (key, expected) in [
            ("user", Some((0, Exact))),
            (r"\u0075ser", Some((0, Exact))),
            (r"\u0055ser", Some((0, Other))),
            ("User", Some((0, Other))),
            ("uſer", Some((0, Other))),
            (r"u\u017FER", Some((0, Other))),
            (r"user\u0000", Some((0, Other))),
            (r"user\u0000 and more of it than any name has", Some((0, Other))),
            (r"USER\u0000\ud800", Some((0, Other))),
            ("id", Some((1, Exact))),
            ("ıd", Some((1, Other))),
            ("İD", Some((1, Other))),
            ("users", None),
            ("use", None),
            ("", None),
            (r"\u0000user", None),
            (r"user\ud800", None),
            ("us\u{e9}r", None),
            ("a key that is longer than any name that is looked for", None),
            (r"\\user", None),
        ] {
            let escaped = key.contains('\\');
            assert_eq!(
                spelling(&format!("\"{key}\""), escaped, &["user", "id"]),
                expected,
                "{key}"
            );
        }
    }

    /// R-F2: no character is forgotten that some way to ignore case takes for one of ASCII.
    #[test]
    fn every_character_that_case_takes_for_ascii_is_folded() {
        let lower = |c: char| c.to_lowercase().next();
        for character in '\0'..=char::MAX {
            let upper: alloc::vec::Vec<_> = character.to_uppercase().collect();
            let of_upper = match upper[..] {
                [upper] => lower(upper),
                _ => None,
            };
            for taken_for in
                [lower(character), of_upper].into_iter().flatten().filter(char::is_ascii)
            {
                let folded = fold(character).map(char::from);
                assert_eq!(folded, Some(taken_for.to_ascii_lowercase()), "{character:?}");
            }
        }
    }
}
