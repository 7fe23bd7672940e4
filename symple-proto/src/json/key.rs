//! Keys as different receivers read them.
//!
//! Some JSON libraries ignore the case of keys (Go's `encoding/json`, many of C# and Java), some
//! end them at a NUL (those that hand out C strings), and some do both. For those a key can be
//! another spelling of a name (R-F2).

use super::string::{decode_escape, hex_digit};

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

/// Names that keys are held against: at most 16, in lower-case ASCII, of 1 to 12 bytes, and no two
/// with the same initial and the same length.
///
/// Nearly every key is none of them, and that is seen by its initial. Which one it may be is seen
/// by the initial and the length.
pub(crate) struct Names {
    names: &'static [&'static str],
    /// A bit for each initial, as [`column`] says.
    initials: u32,
    /// The initial and the length of each name; 0 is none.
    heads: [u16; 16],
    longest: usize,
}

/// The lowest five bits of a character, which are the same in upper and in lower case.
const fn column(initial: u8) -> u16 {
    (initial & 31) as u16
}

const fn head(initial: u8, length: usize) -> u16 {
    column(initial) << 8 | length as u16
}

impl Names {
    pub(crate) const fn new(names: &'static [&'static str]) -> Self {
        let (mut initials, mut heads, mut longest, mut at) = (0, [0; 16], 0, 0);
        while at < names.len() {
            let name = names[at].as_bytes();
            assert!(name.len() <= LONGEST);
            if name.len() > longest {
                longest = name.len();
            }
            initials |= 1 << column(name[0]);
            heads[at] = head(name[0], name.len());
            let mut other = 0;
            while other < at {
                assert!(heads[other] != heads[at]);
                other += 1;
            }
            at += 1;
        }
        Self { names, initials, heads, longest }
    }

    /// Which of the names a checked key spells, quotes included.
    ///
    /// Reads no more of the key than the longest name has, and allocates nothing.
    #[inline]
    pub(crate) fn find(&self, quoted: &str, escaped: bool) -> Option<(usize, Spelling)> {
        let inner = quoted.as_bytes().get(1..quoted.len() - 1)?;
        let initial = *inner.first()?;
        if initial.is_ascii() && initial != b'\\' && !self.begins(initial) {
            return None;
        }
        if escaped || !inner[..inner.len().min(3 * LONGEST)].is_ascii() {
            return self.find_folded(quoted.get(1..quoted.len() - 1)?);
        }
        let (index, name) = self.candidate(inner)?;
        if name.as_bytes() == inner {
            return Some((index, Spelling::Exact));
        }
        name.as_bytes().eq_ignore_ascii_case(inner).then_some((index, Spelling::Other))
    }

    /// True if some name has this initial.
    fn begins(&self, initial: u8) -> bool {
        self.initials & (1 << column(initial)) != 0
    }

    /// The only name that a text of ASCII may spell.
    fn candidate(&self, text: &[u8]) -> Option<(usize, &'static str)> {
        let initial = *text.first()?;
        if text.len() > LONGEST || !self.begins(initial) {
            return None;
        }
        let head = head(initial, text.len());
        let index = self.heads.iter().position(|other| *other == head)?;
        Some((index, self.names.get(index)?))
    }

    /// The name at that index.
    pub(crate) fn name(&self, index: usize) -> &'static str {
        self.names.get(index).copied().unwrap_or_default()
    }

    /// Which of the names a key spells whose characters are not just those of ASCII.
    fn find_folded(&self, inner: &str) -> Option<(usize, Spelling)> {
        let bytes = inner.as_bytes();
        let mut folded = [0; LONGEST];
        let mut length = 0;
        let mut spelling = Spelling::Exact;
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let lower = if byte == b'\\' || !byte.is_ascii() {
                let (character, width) = match bytes[at..] {
                    // The escape that a name is spelled with.
                    [b'\\', b'u', b'0', b'0', high @ b'4'..=b'7', low, ..] => {
                        (char::from((high & 15) << 4 | hex_digit(low)), 6)
                    }
                    [b'\\', ..] => decode_escape(&inner[at..])?,
                    _ => inner[at..].chars().next().map(|other| (other, other.len_utf8()))?,
                };
                at += width;
                if character == '\0' {
                    spelling = Spelling::Other;
                    break;
                }
                let lower = fold(character)?;
                if char::from(lower) != character {
                    spelling = Spelling::Other;
                }
                lower
            } else {
                at += 1;
                let lower = byte.to_ascii_lowercase();
                if lower != byte {
                    spelling = Spelling::Other;
                }
                lower
            };
            if length == 0 && !self.begins(lower) || length == self.longest {
                return None;
            }
            folded[length] = lower;
            length += 1;
        }
        let (index, name) = self.candidate(&folded[..length])?;
        (name.as_bytes() == &folded[..length]).then_some((index, spelling))
    }
}

/// The ASCII character, in lower case, that a receiver may take this one for when it ignores case;
/// none if there is none.
///
/// Beside the letters of ASCII these are the four whose upper or lower case is one of them.
#[inline]
fn fold(character: char) -> Option<u8> {
    match character {
        '\0'..='\x7f' => Some((character as u8).to_ascii_lowercase()),
        '\u{17f}' => Some(b's'),
        '\u{212a}' => Some(b'k'),
        '\u{130}' | '\u{131}' => Some(b'i'),
        _ => None,
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
        let names = Names::new(&["user", "id"]);
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
            assert_eq!(names.find(&format!("\"{key}\""), escaped), expected, "{key}");
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
