//! The grammar: one pass over the bytes, no recursion, no allocation.

use core::ops::Range;

use crate::error::{DecodeError, Fault};

use super::{
    Kind,
    word::{BACKSLASH, QUOTE, TOPS, first_equal, splat},
};

/// The deepest nesting that any limit may allow, in levels: an object of plain values has one.
pub const MAX_DEPTH: usize = 128;

/// Checks that `text` is one JSON value of at most `max_depth` levels.
///
/// # Errors
/// The first fault of the text and its position.
pub fn check(text: &str, max_depth: usize) -> Result<Kind, DecodeError> {
    let mut scanner = Scanner::new(text, max_depth);
    scanner.skip_whitespace();
    let kind = scanner.value(0)?;
    scanner.end()?;
    Ok(kind)
}

/// What [`Scanner::object`] reports of one member: positions in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key with its quotes.
    pub(crate) key: Range<usize>,
    /// The key contains an escape and must be decoded before it is compared.
    pub(crate) escaped: bool,
    /// The value as written.
    pub(crate) value: Range<usize>,
    /// What the value is.
    pub(crate) kind: Kind,
}

/// A cursor over a text that is checked as it is passed.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    pos: usize,
    max_depth: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str, max_depth: usize) -> Self {
        Self { bytes: text.as_bytes(), pos: 0, max_depth: max_depth.min(MAX_DEPTH) }
    }

    /// Where the cursor stands.
    pub(crate) fn position(&self) -> usize {
        self.pos
    }

    #[inline]
    pub(crate) fn skip_whitespace(&mut self) {
        while let Some(byte @ ..=b' ') = self.peek()
            && let b' ' | b'\n' | b'\r' | b'\t' = byte
        {
            self.pos += 1;
        }
    }

    /// Nothing but whitespace may follow.
    pub(crate) fn end(&mut self) -> Result<(), DecodeError> {
        self.skip_whitespace();
        if self.pos == self.bytes.len() {
            Ok(())
        } else {
            Err(DecodeError::new(Fault::TrailingData, self.pos))
        }
    }

    /// Passes an object, the cursor on its first byte, and reports each member.
    pub(crate) fn object(&mut self, mut visit: impl FnMut(Entry)) -> Result<(), DecodeError> {
        match self.peek() {
            Some(b'{') => self.pos += 1,
            // Broken JSON is called that; a sound value of another kind is not an object.
            _ => {
                let start = self.pos;
                self.value(0)?;
                self.end()?;
                return Err(DecodeError::new(Fault::NotAnObject, start));
            }
        }
        self.skip_whitespace();
        if self.peek() == Some(b'}') {
            self.pos += 1;
            return Ok(());
        }
        loop {
            let (key, escaped) = self.key()?;
            let start = self.pos;
            let kind = self.value(1)?;
            visit(Entry { key, escaped, value: start..self.pos, kind });
            if self.comma_or(b'}', Fault::ExpectedCommaOrBrace)? {
                return Ok(());
            }
        }
    }

    /// Passes an array, the cursor on its bracket, and reports each element.
    #[cfg(test)]
    pub(super) fn array(
        &mut self,
        mut visit: impl FnMut(Range<usize>, Kind),
    ) -> Result<(), DecodeError> {
        self.expect(b'[', Fault::ExpectedValue)?;
        self.skip_whitespace();
        if self.peek() == Some(b']') {
            self.pos += 1;
            return Ok(());
        }
        loop {
            let start = self.pos;
            let kind = self.value(1)?;
            visit(start..self.pos, kind);
            if self.comma_or(b']', Fault::ExpectedCommaOrBracket)? {
                return Ok(());
            }
        }
    }

    /// Passes one value whose containers stand at `depth` levels already.
    pub(crate) fn value(&mut self, depth: usize) -> Result<Kind, DecodeError> {
        match self.peek() {
            Some(b'{') => self.nested(depth).map(|()| Kind::Object),
            Some(b'[') => self.nested(depth).map(|()| Kind::Array),
            _ => self.scalar(),
        }
    }

    /// Passes an object or an array, the cursor on its bracket.
    ///
    /// The open containers are bits of a word, the innermost lowest: 1 for an object, 0 for an
    /// array. [`MAX_DEPTH`] is its width. A hostile text is brackets and commas for the most part,
    /// so each costs one turn of a loop here, and those that follow each other cost less.
    fn nested(&mut self, depth: usize) -> Result<(), DecodeError> {
        let mut open: u128 = 0;
        let mut levels = 0;
        let most = self.max_depth.saturating_sub(depth);
        loop {
            // A value begins.
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if levels >= most {
                        return Err(DecodeError::new(Fault::TooDeep(self.max_depth), self.pos));
                    }
                    let object = bracket == b'{';
                    open = (open << 1) | u128::from(object);
                    levels += 1;
                    self.pos += 1;
                    self.skip_whitespace();
                    // Both closing brackets stand two after the opening ones.
                    if self.peek() != Some(bracket + 2) {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                    self.skip_whitespace();
                }
            }
            // A value has ended: close what ends with it, until another one must follow.
            loop {
                let object = open & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.pos += 1;
                        self.skip_whitespace();
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(byte) if byte == if object { b'}' } else { b']' } => {
                        self.pos += 1;
                        open >>= 1;
                        levels -= 1;
                        if levels == 0 {
                            return Ok(());
                        }
                        self.skip_whitespace();
                    }
                    _ if object => return Err(self.fault(Fault::ExpectedCommaOrBrace)),
                    _ => return Err(self.fault(Fault::ExpectedCommaOrBracket)),
                }
            }
        }
    }

    /// Passes a value that contains no other.
    #[inline]
    fn scalar(&mut self) -> Result<Kind, DecodeError> {
        match self.peek() {
            Some(b'"') => {
                self.string()?;
                Ok(Kind::String)
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                Ok(Kind::Number)
            }
            Some(b't') => self.literal(b"true", Kind::Bool),
            Some(b'f') => self.literal(b"false", Kind::Bool),
            Some(b'n') => self.literal(b"null", Kind::Null),
            _ => Err(self.fault(Fault::ExpectedValue)),
        }
    }

    /// Passes a key, its colon and the space around; the cursor ends on the value.
    #[inline]
    fn key(&mut self) -> Result<(Range<usize>, bool), DecodeError> {
        if self.peek() != Some(b'"') {
            return Err(self.fault(Fault::ExpectedKey));
        }
        let start = self.pos;
        let escaped = self.string()?;
        let key = start..self.pos;
        // Texts of many members have no space.
        if let Some([b':', value, ..]) = self.bytes.get(self.pos..)
            && *value > b' '
        {
            self.pos += 1;
            return Ok((key, escaped));
        }
        self.skip_whitespace();
        self.expect(b':', Fault::ExpectedColon)?;
        self.skip_whitespace();
        Ok((key, escaped))
    }

    /// Passes a comma and the space around it, or the closing bracket; true for the bracket.
    fn comma_or(&mut self, close: u8, fault: Fault) -> Result<bool, DecodeError> {
        self.skip_whitespace();
        match self.peek() {
            Some(b',') => {
                self.pos += 1;
                self.skip_whitespace();
                Ok(false)
            }
            Some(byte) if byte == close => {
                self.pos += 1;
                Ok(true)
            }
            _ => Err(self.fault(fault)),
        }
    }

    /// Passes a string, the cursor on its opening quote; true if it contains an escape.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, DecodeError> {
        // Most are short, and have no escape.
        let rest = self.bytes.get(self.pos + 1..).unwrap_or_default();
        if let Some(word) = rest.first_chunk() {
            let hits = not_plain(u64::from_le_bytes(*word));
            let length = hits.trailing_zeros() as usize / 8;
            if hits != 0 && rest[length] == b'"' {
                self.pos += length + 2;
                return Ok(false);
            }
        }
        self.long_string()
    }

    #[inline(never)]
    fn long_string(&mut self) -> Result<bool, DecodeError> {
        self.pos += 1 + plain_run(self.bytes.get(self.pos + 1..).unwrap_or_default());
        if self.peek() == Some(b'"') {
            self.pos += 1;
            return Ok(false);
        }
        self.escapes().map(|()| true)
    }

    /// Passes the rest of a string, the cursor on what is not plain in it.
    fn escapes(&mut self) -> Result<(), DecodeError> {
        loop {
            // Escapes often follow each other.
            if self.peek() != Some(b'\\') {
                self.pos += plain_run(&self.bytes[self.pos..]);
            }
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.pos += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.pos += 1;
                        }
                        Some(b'u') => {
                            self.pos += 1;
                            let digits = self.bytes.get(self.pos..).and_then(<[u8]>::first_chunk);
                            if digits.is_some_and(|d: &[u8; 4]| d.iter().all(u8::is_ascii_hexdigit))
                            {
                                self.pos += 4;
                                continue;
                            }
                            for _ in 0..4 {
                                match self.peek() {
                                    Some(byte) if byte.is_ascii_hexdigit() => self.pos += 1,
                                    _ => return Err(self.fault(Fault::InvalidEscape)),
                                }
                            }
                        }
                        _ => return Err(self.fault(Fault::InvalidEscape)),
                    }
                }
                _ => return Err(self.fault(Fault::ControlCharacter)),
            }
        }
    }

    fn number(&mut self) -> Result<(), DecodeError> {
        if self.peek() == Some(b'-') {
            self.pos += 1;
        }
        match self.peek() {
            Some(b'0') => self.pos += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.fault(Fault::InvalidNumber)),
        }
        if self.peek() == Some(b'.') {
            self.pos += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.pos += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), DecodeError> {
        match self.peek() {
            Some(b'0'..=b'9') => {
                self.digits();
                Ok(())
            }
            _ => Err(self.fault(Fault::InvalidNumber)),
        }
    }

    /// Passes digits, the cursor on the first of them.
    fn digits(&mut self) {
        self.pos += 1;
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return;
        }
        // Times are long enough for that.
        while let Some(word) = self.bytes.get(self.pos..).and_then(<[u8]>::first_chunk) {
            let others = not_digits(u64::from_le_bytes(*word));
            if others != 0 {
                self.pos += others.trailing_zeros() as usize / 8;
                return;
            }
            self.pos += 8;
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.pos += 1;
        }
    }

    fn literal(&mut self, word: &[u8], kind: Kind) -> Result<Kind, DecodeError> {
        for &expected in word {
            self.expect(expected, Fault::ExpectedValue)?;
        }
        Ok(kind)
    }

    #[inline]
    fn expect(&mut self, byte: u8, fault: Fault) -> Result<(), DecodeError> {
        if self.peek() == Some(byte) {
            self.pos += 1;
            Ok(())
        } else {
            Err(self.fault(fault))
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    /// The fault at the cursor; past the last byte every fault is that the text ends too early.
    fn fault(&self, fault: Fault) -> DecodeError {
        let fault = if self.pos >= self.bytes.len() { Fault::UnexpectedEnd } else { fault };
        DecodeError::new(fault, self.pos)
    }
}

/// Counts what is read: work, without a clock.
#[cfg(test)]
pub(crate) mod work {
    use core::cell::Cell;

    std::thread_local! {
        static BYTES: Cell<usize> = const { Cell::new(0) };
    }

    /// So many bytes have been passed.
    pub(crate) fn count(bytes: usize) {
        BYTES.set(BYTES.get() + bytes);
    }

    /// How many bytes are passed while `act` runs on this thread.
    pub(crate) fn bytes_read<T>(act: impl FnOnce() -> T) -> (T, usize) {
        let before = BYTES.get();
        let result = act();
        (result, BYTES.get() - before)
    }
}

#[cfg(test)]
impl Drop for Scanner<'_> {
    fn drop(&mut self) {
        work::count(self.pos);
    }
}

/// The top bit of the first byte that is a quote, a backslash or a control character, and some bits
/// above it.
#[inline]
fn not_plain(word: u64) -> u64 {
    // A byte under 0x20 borrows, and so may only those above a true hit.
    let control = word.wrapping_sub(splat(0x20)) & !word & TOPS;
    control | first_equal(word, splat(QUOTE)) | first_equal(word, splat(BACKSLASH))
}

/// Some bits of the first byte that is no digit, and of some above it.
#[inline]
fn not_digits(word: u64) -> u64 {
    let digits = word ^ splat(b'0');
    // A byte that is none may carry, and so only those above it are wrong.
    (digits.wrapping_add(splat(6)) | digits) & splat(0xf0)
}

/// How many bytes stand before the first quote, backslash or control character.
///
/// Strings are most of what a frame is made of. Of long ones 32 bytes are looked at together, which the
/// compiler makes a few instructions of, and then eight at a time.
fn plain_run(bytes: &[u8]) -> usize {
    let special = |byte: u8| (byte < 0x20) | (byte == QUOTE) | (byte == BACKSLASH);
    let any = |block: &[u8; 32]| block.iter().fold(false, |any, byte| any | special(*byte));
    let (blocks, rest) = bytes.as_chunks::<32>();
    let plain = 32 * blocks.iter().take_while(|block| !any(block)).count();
    let bytes = if plain == bytes.len() - rest.len() { rest } else { &bytes[plain..plain + 32] };
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let hits = not_plain(u64::from_le_bytes(*word));
        if hits != 0 {
            return plain + index * 8 + hits.trailing_zeros() as usize / 8;
        }
    }
    let tail = plain + bytes.len() - rest.len();
    tail + rest
        .iter()
        .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20)
        .unwrap_or(rest.len())
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::{format, string::String, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn fault(text: &str) -> (Fault, usize) {
        let error = check(text, MAX_DEPTH).unwrap_err();
        (error.fault(), error.offset())
    }

    #[test]
    fn accepts_what_json_parse_accepts() {
        for text in [
            "null",
            "true",
            "false",
            " \t\r\n0 ",
            "-0",
            "1.0",
            "12345678901234567890",
            "1E5",
            "1e+05",
            "-0.5e-7",
            r#""""#,
            r#""\"\\\/\b\f\n\r\té\ud800""#,
            "\"\u{7f}\u{2028}\u{1f600}\"",
            "[]",
            "[ ]",
            "{ }",
            r#"[1,"a",[null,{"b":[]}],{}]"#,
            r#" { "a" : 1 , "a" : { "b" : [ 1 , 2 ] } } "#,
        ] {
            check(text, MAX_DEPTH).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn names_the_fault_and_its_place() {
        use Fault::*;
        for (text, expected) in [
            ("", (UnexpectedEnd, 0)),
            ("  ", (UnexpectedEnd, 2)),
            ("{", (UnexpectedEnd, 1)),
            ("[1,", (UnexpectedEnd, 3)),
            ("nul", (UnexpectedEnd, 3)),
            ("nulL", (ExpectedValue, 3)),
            ("NaN", (ExpectedValue, 0)),
            ("[Infinity]", (ExpectedValue, 1)),
            ("{'a':1}", (ExpectedKey, 1)),
            (r#"{"a":1,}"#, (ExpectedKey, 7)),
            ("[1,]", (ExpectedValue, 3)),
            ("[1 2]", (ExpectedCommaOrBracket, 3)),
            ("[1}", (ExpectedCommaOrBracket, 2)),
            (r#"{"a":1]"#, (ExpectedCommaOrBrace, 6)),
            (r#"{"a" 1}"#, (ExpectedColon, 5)),
            ("{1:1}", (ExpectedKey, 1)),
            ("01", (TrailingData, 1)),
            ("1 2", (TrailingData, 2)),
            ("-", (UnexpectedEnd, 1)),
            ("-a", (InvalidNumber, 1)),
            ("1.", (UnexpectedEnd, 2)),
            ("[1.]", (InvalidNumber, 3)),
            ("[1e]", (InvalidNumber, 3)),
            ("[.5]", (ExpectedValue, 1)),
            ("[+1]", (ExpectedValue, 1)),
            (r#""\x""#, (InvalidEscape, 2)),
            (r#""\u12g4""#, (InvalidEscape, 5)),
            ("\"a\nb\"", (ControlCharacter, 2)),
            ("\"12345678\u{1f}\"", (ControlCharacter, 9)),
            (r#"{"a":1}{"a":1}"#, (TrailingData, 7)),
        ] {
            assert_eq!(fault(text), expected, "{text}");
        }
    }

    /// R-L6: a deep text costs one pass up to the limit, and no stack.
    #[test]
    fn nesting_ends_at_the_limit() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check(&nested(MAX_DEPTH), MAX_DEPTH).is_ok());
        assert_eq!(fault(&nested(MAX_DEPTH + 1)), (Fault::TooDeep(128), 128));
        assert_eq!(fault(&nested(100_000)), (Fault::TooDeep(128), 128));
        assert!(check("[[1]]", 2).is_ok());
        assert!(check("[[[1]]]", 2).is_err());
        assert!(check(&"{\"a\":".repeat(100_000), 3).is_err());
        let mixed = "[{\"a\":".repeat(64) + "1" + &"}]".repeat(64);
        assert!(check(&mixed, MAX_DEPTH).is_ok());
    }

    #[test]
    fn members_and_elements_are_reported_as_written() {
        let text = r#"{"a": 1.0 ,"\u0062":[ {"c":2} ],"a":null}"#;
        let mut seen = Vec::new();
        let mut scanner = Scanner::new(text, MAX_DEPTH);
        scanner
            .object(|entry| {
                seen.push((&text[entry.key], entry.escaped, &text[entry.value], entry.kind));
            })
            .unwrap();
        assert_eq!(
            seen,
            [
                ("\"a\"", false, "1.0", Kind::Number),
                ("\"\\u0062\"", true, r#"[ {"c":2} ]"#, Kind::Array),
                ("\"a\"", false, "null", Kind::Null),
            ]
        );
    }

    pub(crate) fn any_json() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            Just(String::from("null")),
            Just(String::from("true")),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?",
            any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        ];
        scalar.prop_recursive(6, 48, 5, |inner| {
            let member = (any::<String>(), inner.clone())
                .prop_map(|(k, v)| format!("{} : {v}", serde_json::to_string(&k).unwrap()));
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(|v| format!("[{}]", v.join(" ,\n"))),
                prop::collection::vec(member, 0..5).prop_map(|v| format!("{{{}}}", v.join(","))),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_good_texts(text in any_json()) {
            prop_assert!(check(&text, MAX_DEPTH).is_ok());
        }

        /// One byte of a good text exchanged: both parsers must say the same.
        #[test]
        fn agrees_with_serde_json_on_broken_texts(
            text in any_json(),
            at in any::<prop::sample::Index>(),
            with in any::<char>(),
        ) {
            let mut chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            chars[at] = with;
            let text: String = chars.into_iter().collect();
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(check(&text, MAX_DEPTH).is_ok(), theirs, "{}", text);
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = check(&text, MAX_DEPTH);
        }

        #[test]
        fn the_plain_run_ends_where_a_loop_would_end_it(bytes in any::<Vec<u8>>()) {
            let slow = bytes.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20);
            prop_assert_eq!(plain_run(&bytes), slow.unwrap_or(bytes.len()));
        }
    }
}
