//! What a checked text is made of, without checking it again.
//!
//! A text that has been scanned once is looked into several times: for its members, for theirs.
//! All that has to be found then is where strings and containers end. Where a text is not what the
//! scanner accepts the result is undefined, though safe.

use core::ops::Range;

use super::{
    Entry, Kind,
    word::{BACKSLASH, QUOTE, TOPS, count, equal, first_equal, low_bytes, splat},
};

/// Reports each member of a checked object, which is the whole text, as long as `visit` wants more.
pub(super) fn members(text: &str, mut visit: impl FnMut(Entry) -> bool) {
    let mut walker = Walker { bytes: text.as_bytes(), pos: 1 };
    walker.skip_whitespace();
    while walker.peek() == Some(b'"') {
        let start = walker.pos;
        let escaped = walker.string();
        let key = start..walker.pos;
        walker.pass(b':');
        let (value, kind) = walker.value();
        if !visit(Entry { key, escaped, value, kind }) {
            break;
        }
        walker.pass(b',');
    }
    #[cfg(test)]
    super::work::count(walker.pos);
}

/// Reports each element of a checked array, which is the whole text, as long as `visit` wants more.
pub(super) fn elements(text: &str, mut visit: impl FnMut(Range<usize>, Kind) -> bool) {
    let mut walker = Walker { bytes: text.as_bytes(), pos: 1 };
    walker.skip_whitespace();
    while !matches!(walker.peek(), None | Some(b']')) {
        let (value, kind) = walker.value();
        if !visit(value, kind) {
            break;
        }
        walker.pass(b',');
    }
    #[cfg(test)]
    super::work::count(walker.pos);
}

/// Where the value ends that begins there in a checked text.
pub(super) fn value_end(text: &str, start: usize) -> usize {
    let mut walker = Walker { bytes: text.as_bytes(), pos: start };
    walker.value().0.end
}

struct Walker<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl Walker<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while let Some(..=b' ') = self.peek() {
            self.pos += 1;
        }
    }

    /// Passes the space before that byte, the byte if it is there, and the space behind.
    #[inline(always)]
    fn pass(&mut self, byte: u8) {
        // Texts of many members have no space.
        if let Some([first, behind, ..]) = self.bytes.get(self.pos..)
            && *first == byte
            && *behind > b' '
        {
            self.pos += 1;
            return;
        }
        self.pass_spaced(byte);
    }

    #[inline(never)]
    fn pass_spaced(&mut self, byte: u8) {
        self.skip_whitespace();
        if self.peek() == Some(byte) {
            self.pos += 1;
            self.skip_whitespace();
        }
    }

    /// Passes a value, the cursor on its first byte. It always moves, unless the text has ended.
    #[inline(always)]
    fn value(&mut self) -> (Range<usize>, Kind) {
        let start = self.pos;
        let kind = match self.peek() {
            Some(b'"') => {
                self.string();
                Kind::String
            }
            Some(b'{') => {
                self.container();
                Kind::Object
            }
            Some(b'[') => {
                self.container();
                Kind::Array
            }
            Some(b't' | b'f') => self.word(Kind::Bool),
            Some(b'n') => self.word(Kind::Null),
            _ => self.word(Kind::Number),
        };
        (start..self.pos, kind)
    }

    /// Passes what ends where a value can.
    #[inline(always)]
    fn word(&mut self, kind: Kind) -> Kind {
        let mut pos = self.pos + 1;
        while let Some(byte) = self.bytes.get(pos)
            && !matches!(byte, b'\0'..=b' ' | b',' | b']' | b'}')
        {
            pos += 1;
        }
        self.pos = pos.min(self.bytes.len());
        kind
    }

    /// Passes a string, the cursor on its opening quote; true if it has an escape.
    #[inline(always)]
    fn string(&mut self) -> bool {
        let pos = self.pos + 1;
        // Most are short, and have none.
        if let Some(chunk) = chunk_at(self.bytes, pos) {
            let word = u64::from_le_bytes(*chunk);
            let quotes = first_equal(word, splat(QUOTE));
            let escapes = first_equal(word, splat(BACKSLASH));
            if quotes != 0 && escapes.trailing_zeros() > quotes.trailing_zeros() {
                self.pos = pos + quotes.trailing_zeros() as usize / 8 + 1;
                return false;
            }
        }
        self.rest_of_string()
    }

    #[inline(never)]
    fn rest_of_string(&mut self) -> bool {
        let mut escaped = false;
        let mut pos = self.pos + 1;
        loop {
            while let Some(chunk) = chunk_at(self.bytes, pos) {
                let word = u64::from_le_bytes(*chunk);
                let hits = first_equal(word, splat(QUOTE)) | first_equal(word, splat(BACKSLASH));
                if hits != 0 {
                    pos += hits.trailing_zeros() as usize / 8;
                    break;
                }
                pos += 8;
            }
            while let Some(byte) = self.bytes.get(pos)
                && *byte != QUOTE
                && *byte != BACKSLASH
            {
                pos += 1;
            }
            if self.bytes.get(pos) != Some(&BACKSLASH) {
                self.pos = (pos + 1).min(self.bytes.len());
                return escaped;
            }
            escaped = true;
            while self.bytes.get(pos) == Some(&BACKSLASH) {
                pos += 2;
            }
        }
    }

    /// Passes an object or an array, the cursor on its bracket.
    ///
    /// Eight bytes at a time, whatever they are: brackets are counted where no string is.
    fn container(&mut self) {
        let mut pos = self.pos + 1;
        let mut depth = 1;
        // Each bit is set within a string, none outside.
        let mut within = 0_u64;
        loop {
            let mut taken = 8;
            let word = match chunk_at(self.bytes, pos) {
                Some(chunk) => u64::from_le_bytes(*chunk),
                None => {
                    let rest = self.bytes.get(pos..).unwrap_or_default();
                    if rest.is_empty() {
                        self.pos = self.bytes.len();
                        return;
                    }
                    taken = rest.len();
                    let mut chunk = [b' '; 8];
                    chunk[..taken].copy_from_slice(rest);
                    u64::from_le_bytes(chunk)
                }
            };
            let mut counted = TOPS;
            let escapes = equal(word, splat(BACKSLASH));
            if escapes != 0 {
                // What stands behind it is looked at on the next turn.
                taken = escapes.trailing_zeros() as usize / 8;
                counted = low_bytes(taken) & TOPS;
            }
            // From an opening quote, which is set, to a closing one, which is not.
            let mut strings = equal(word, splat(QUOTE)) & counted;
            strings ^= strings << 8;
            strings ^= strings << 16;
            strings ^= strings << 32;
            strings ^= within & TOPS;
            // The brackets of objects are those of arrays with one bit more.
            let brackets = word & splat(!0x20);
            let counted = counted & !strings;
            let closing = equal(brackets, splat(b']')) & counted;
            let opening = equal(brackets, splat(b'[')) & counted;
            let closed = count(closing);
            if closed < depth {
                depth = depth + count(opening) - closed;
            } else if let Some(at) = end_of(opening, closing, &mut depth) {
                self.pos = pos + at;
                return;
            }
            pos += taken;
            if escapes == 0 {
                within = ((strings as i64) >> 63) as u64;
            } else {
                within = u64::MAX;
                while self.bytes.get(pos) == Some(&BACKSLASH) {
                    pos += 2;
                }
            }
        }
    }
}

#[inline]
fn chunk_at(bytes: &[u8], pos: usize) -> Option<&[u8; 8]> {
    bytes.get(pos..)?.first_chunk()
}

/// Where the outermost container ends among brackets that are top bits of bytes, if it does.
fn end_of(mut opening: u64, closing: u64, depth: &mut usize) -> Option<usize> {
    let mut brackets = opening | closing;
    while brackets != 0 {
        let lowest = brackets & brackets.wrapping_neg();
        if opening & lowest != 0 {
            *depth += 1;
            opening ^= lowest;
        } else {
            *depth -= 1;
            if *depth == 0 {
                return Some(lowest.trailing_zeros() as usize / 8 + 1);
            }
        }
        brackets ^= lowest;
    }
    None
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec::Vec};

    use proptest::prelude::*;

    use super::*;
    use crate::json::{MAX_DEPTH, Scanner, scan::tests::any_json};

    fn walked(text: &str) -> Vec<Entry> {
        let mut seen = Vec::new();
        members(text, |entry| {
            seen.push(entry);
            true
        });
        seen
    }

    fn scanned(text: &str) -> Vec<Entry> {
        let mut seen = Vec::new();
        Scanner::new(text, MAX_DEPTH).object(|entry| seen.push(entry)).unwrap();
        seen
    }

    #[test]
    fn finds_what_the_scanner_finds() {
        for text in [
            "{}",
            "{ }",
            r#"{"a":1}"#,
            r#"{ "a" : 1 , "b\"" : [ "]" , {"}":"\\"} ] , "" : "" }"#,
            r#"{"a":[[[[[[[[[]]]]]]]]],"b":{"c":{"d":{"e":{}}}},"f":null}"#,
            r#"{"a":["\\\\\\\\\\","\"]",1,"\u0041\\"],"b":[{},[],{},[]],"c":-1.5e3,"d":true}"#,
        ] {
            assert_eq!(walked(text), scanned(text), "{text}");
        }
        let mut seen = Vec::new();
        let text = r#"[ 1,"a" , [2,[]],{"b":[]} ,null ]"#;
        elements(text, |range, kind| {
            seen.push((&text[range], kind));
            seen.len() < 4
        });
        let expected = [
            ("1", Kind::Number),
            ("\"a\"", Kind::String),
            ("[2,[]]", Kind::Array),
            (r#"{"b":[]}"#, Kind::Object),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn as_deep_as_a_text_may_be() {
        for levels in 1..MAX_DEPTH - 1 {
            let value = format!("{}{}", "[{\"a\":".repeat(levels / 2), "}]".repeat(levels / 2));
            let text = format!(r#"{{"x":[{value}],"y":{value}}}"#).replace(":}", ":1}");
            assert_eq!(walked(&text).len(), scanned(&text).len(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_scanner(values in prop::collection::vec(any_json(), 0..6)) {
            let members: Vec<_> =
                values.iter().enumerate().map(|(n, v)| format!("\"k\\n{n}\" : {v}")).collect();
            let text = format!("{{{}}}", members.join(" ,"));
            prop_assert_eq!(walked(&text), scanned(&text));
            let text = format!("[{}]", values.join("\n,"));
            let (mut walked, mut scanned) = (Vec::new(), Vec::new());
            elements(&text, |range, kind| {
                walked.push((range, kind));
                true
            });
            Scanner::new(&text, MAX_DEPTH).array(|range, kind| scanned.push((range, kind))).unwrap();
            prop_assert_eq!(walked, scanned);
        }

        /// Whatever the text is, which should have been checked.
        #[test]
        fn never_panics(text in "[\\[\\]{}\",:\\\\ a1é]{0,40}") {
            members(&text, |_| true);
            elements(&text, |_, _| true);
            value_end(&text, 0);
        }
    }
}
