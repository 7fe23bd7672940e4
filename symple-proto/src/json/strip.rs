//! A value without the members of one name, at any depth, in one pass.

use alloc::string::String;

use crate::error::{DecodeError, Fault};

use super::{
    Kind, MAX_DEPTH, Scanner,
    key::{Spelling, spelling},
};

/// Appends a checked value without any member of that name, at any depth; everything else is as it
/// was written.
///
/// Each byte is read once, whatever is nested in what, and what is left out is not looked into.
pub(crate) fn push_without(text: &str, name: &str, out: &mut String) {
    let mut strip = Strip { text, name, scanner: Scanner::new(text, MAX_DEPTH), copied: 0, out };
    let checked = strip.run();
    debug_assert!(checked.is_ok(), "the value was checked when it was made");
}

struct Strip<'a> {
    text: &'a str,
    name: &'a str,
    scanner: Scanner<'a>,
    /// What stands before this has been appended or left out.
    copied: usize,
    out: &'a mut String,
}

impl Strip<'_> {
    /// As [`Scanner::value`], which see for the bits.
    fn run(&mut self) -> Result<(), DecodeError> {
        let mut open: u128 = 0;
        let mut levels = 0;
        loop {
            let kind = self.scanner.scalar_or_bracket()?;
            if let Kind::Object | Kind::Array = kind {
                if levels >= MAX_DEPTH {
                    return Err(DecodeError::new(Fault::TooDeep(MAX_DEPTH), self.copied));
                }
                let object = kind == Kind::Object;
                self.scanner.skip_whitespace();
                let ended = if self.scanner.pass_if(if object { b'}' } else { b']' }) {
                    true
                } else {
                    object && self.members_to_keep(None)?
                };
                if !ended {
                    open = (open << 1) | u128::from(object);
                    levels += 1;
                    continue;
                }
            }
            // A value has ended: close what ends with it, until another one must follow.
            loop {
                if levels == 0 {
                    self.out.push_str(&self.text[self.copied..]);
                    return Ok(());
                }
                let end = self.scanner.position();
                let ended = if open & 1 == 1 {
                    self.scanner.comma_or(b'}', Fault::ExpectedCommaOrBrace)?
                        || self.members_to_keep(Some(end))?
                } else {
                    self.scanner.comma_or(b']', Fault::ExpectedCommaOrBracket)?
                };
                if !ended {
                    break;
                }
                open >>= 1;
                levels -= 1;
            }
        }
    }

    /// The cursor on a key: leaves members out until one is to be kept, and stops on its value.
    /// True if the object has ended before. `kept` is where the last member before ends that is
    /// kept, if there is one.
    fn members_to_keep(&mut self, kept: Option<usize>) -> Result<bool, DecodeError> {
        let mut end_before = kept;
        loop {
            let start = self.scanner.position();
            let (key, escaped) = self.scanner.key()?;
            let found = spelling(&self.text[key], escaped, &[self.name]);
            if found != Some((0, Spelling::Exact)) {
                return Ok(false);
            }
            self.scanner.value(0)?;
            let end = self.scanner.position();
            // Behind another member the comma before goes too, at the beginning the one behind.
            self.out.push_str(&self.text[self.copied..end_before.unwrap_or(start)]);
            let ended = self.scanner.comma_or(b'}', Fault::ExpectedCommaOrBrace)?;
            self.copied = match end_before {
                Some(_) => end,
                None if ended => self.scanner.position() - 1,
                None => self.scanner.position(),
            };
            end_before = end_before.map(|_| end);
            if ended {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(text: &str) -> String {
        let mut out = String::new();
        push_without(text, "x", &mut out);
        out
    }

    #[test]
    fn everything_else_is_as_it_was_written() {
        for (text, expected) in [
            ("1.0", "1.0"),
            (r#""x""#, r#""x""#),
            ("[ ]", "[ ]"),
            ("{ }", "{ }"),
            (r#"{"x":1}"#, "{}"),
            (r#"{ "x" : {"a":[1,{"x":2}]} }"#, "{ }"),
            (r#"{"x":1, "a":2}"#, r#"{"a":2}"#),
            (r#"{"a":2 , "x":1 }"#, r#"{"a":2 }"#),
            (r#"{"x":1,"x":2,"a":3,"x":4,"\u0078":5,"b":6,"x":7}"#, r#"{"a":3,"b":6}"#),
            (r#"[{"x":1},[{"x":[]}],{"X":{"x":1,"xx":{"x":2}}}]"#, r#"[{},[{}],{"X":{"xx":{}}}]"#),
            (r#"{"a":"\"x\":1","b":{"x":{}} , "c":[ ]}"#, r#"{"a":"\"x\":1","b":{} , "c":[ ]}"#),
        ] {
            assert_eq!(stripped(text), expected, "{text}");
        }
    }

    #[test]
    fn as_deep_as_a_text_may_be() {
        let text = r#"{"a":1,"x":[],"a":"#.repeat(MAX_DEPTH) + "1" + &"}".repeat(MAX_DEPTH);
        let expected = r#"{"a":1,"a":"#.repeat(MAX_DEPTH) + "1" + &"}".repeat(MAX_DEPTH);
        assert_eq!(stripped(&text), expected);
    }
}
