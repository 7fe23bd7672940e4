//! A value without the members that are secret, at any depth.

use core::{cell::OnceCell, ops::Range};

use memchr::{memchr, memmem::Finder};

use super::{string::hex, walk};

/// The member that the server's own frames do not carry at any depth (R-P5).
const NAME: &[u8] = b"token";

/// As it stands in a text, unless it is spelled with escapes.
const KEY: &[u8] = b"\"token\"";

/// What finds the members named `token` in checked texts.
///
/// They are searched for as a word is: what stands between them is not looked into, and neither is
/// what is left out, but for its end.
pub(crate) struct Secrets(OnceCell<Finder<'static>>);

impl Secrets {
    pub(crate) const fn new() -> Self {
        Self(OnceCell::new())
    }

    /// Begins to look for secrets in a checked text.
    pub(crate) fn of<'a>(&'a self, text: &'a str) -> SecretsOf<'a> {
        let finder = self.0.get_or_init(|| Finder::new(KEY));
        SecretsOf { text, search: Search::new(finder, text), next: None, ended: false }
    }

    /// True if a checked value has such a member, at any depth, under any spelling.
    #[cfg(test)]
    pub(crate) fn any(&self, text: &str) -> bool {
        self.of(text).any_in(&(0..text.len()))
    }
}

/// The secrets of one text, found in its order: however many of its parts are asked for, one after
/// the other, the text is searched once.
pub(crate) struct SecretsOf<'a> {
    text: &'a str,
    search: Search<'a>,
    /// The next one: its key and its value.
    next: Option<(usize, usize)>,
    ended: bool,
}

impl SecretsOf<'_> {
    /// The next one that stands there or behind, and is no part of another one.
    fn next_from(&mut self, from: usize) -> Option<(usize, usize)> {
        while !self.ended && self.next.is_none_or(|(key, _)| key < from) {
            self.search.skip_to(from);
            self.next = self.search.next();
            self.ended = self.next.is_none();
        }
        self.next
    }
}

impl<'a> SecretsOf<'a> {
    /// True if there is one in a value that stands there; no earlier one may be asked for later.
    #[inline]
    pub(crate) fn any_in(&mut self, range: &Range<usize>) -> bool {
        self.next_from(range.start).is_some_and(|(key, _)| key < range.end)
    }

    /// Hands out the parts of the value that stands there that are not secret, in order and as
    /// they were written, as long as `keep` wants more. Together they are a value of the same kind.
    pub(crate) fn strip(&mut self, range: Range<usize>, mut keep: impl FnMut(&'a str) -> bool) {
        let (text, bytes) = (self.text, self.text.as_bytes());
        // What stands before this has been handed out or left out.
        let mut copied = range.start;
        let mut from = range.start;
        while let Some((key, value)) = self.next_from(from)
            && key < range.end
        {
            let end = walk::value_end(text, value);
            let before = last_before(bytes, key);
            // Behind another member the comma before goes too, at the beginning the one behind.
            let kept = if copied == key || bytes[before] == b'{' {
                let kept = copied..key;
                copied = skip_whitespace(bytes, end);
                if bytes.get(copied) == Some(&b',') {
                    copied = skip_whitespace(bytes, copied + 1);
                }
                kept
            } else {
                let kept = copied..(last_before(bytes, before) + 1).max(copied);
                copied = end;
                kept
            };
            if !kept.is_empty() && !keep(&text[kept]) {
                return;
            }
            from = end;
        }
        keep(&text[copied..range.end]);
    }
}

/// The last byte before that one that is no whitespace; there is one.
fn last_before(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().rposition(|byte| *byte > b' ').unwrap_or_default()
}

fn skip_whitespace(bytes: &[u8], mut at: usize) -> usize {
    while let Some(..=b' ') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Where the keys of secrets stand, in order.
struct Search<'a> {
    finder: &'a Finder<'static>,
    bytes: &'a [u8],
    /// The next text that is such a key if no backslash stands before it, and a colon behind.
    plain: Next,
    /// The next escape that has not been looked at.
    escape: Next,
}

/// What is the next one of its kind.
#[derive(Clone, Copy)]
enum Next {
    /// Not known, but none stands before that.
    From(usize),
    At(usize),
    None,
}

impl Next {
    fn skip_to(&mut self, position: usize) {
        match *self {
            Self::From(at) | Self::At(at) if at < position => *self = Self::From(position),
            _ => {}
        }
    }

    /// Its position, found with `find` if it is not known; past all positions if there is none.
    #[inline]
    fn get(&mut self, find: impl FnOnce(usize) -> Option<usize>) -> usize {
        if let Self::From(from) = *self {
            *self = find(from).map_or(Self::None, Self::At);
        }
        match *self {
            Self::At(at) => at,
            _ => usize::MAX,
        }
    }
}

impl<'a> Search<'a> {
    fn new(finder: &'a Finder<'static>, text: &'a str) -> Self {
        Self { finder, bytes: text.as_bytes(), plain: Next::From(0), escape: Next::From(0) }
    }

    /// Goes on there, which is not within a string.
    fn skip_to(&mut self, position: usize) {
        self.plain.skip_to(position);
        self.escape.skip_to(position);
    }

    fn find_plain(&self, from: usize) -> Option<usize> {
        let rest = self.bytes.get(from..)?;
        // Behind a secret there often is another one.
        if rest.get(1..).is_some_and(|rest| rest.starts_with(KEY)) {
            return Some(from + 1);
        }
        self.finder.find(rest).map(|at| from + at)
    }

    fn find_escape(&self, from: usize) -> Option<usize> {
        let rest = self.bytes.get(from..)?;
        // Escapes often follow each other.
        let at = if rest.first() == Some(&b'\\') { Some(0) } else { memchr(b'\\', rest) };
        at.map(|at| from + at)
    }

    /// Where the next key begins, and its value.
    fn next(&mut self) -> Option<(usize, usize)> {
        loop {
            let (mut plain, mut escape) = (self.plain, self.escape);
            let (plain_at, escape_at) = (
                plain.get(|from| self.find_plain(from)),
                escape.get(|from| self.find_escape(from)),
            );
            (self.plain, self.escape) = (plain, escape);
            let found = if plain_at < escape_at {
                self.plain = Next::From(plain_at + 1);
                // A quote behind a backslash begins nothing, and one that ends a string is not
                // followed by a letter.
                let begins = plain_at.checked_sub(1).map(|at| self.bytes[at]) != Some(b'\\');
                self.value(plain_at + KEY.len()).filter(|_| begins).map(|value| (plain_at, value))
            } else if escape_at < usize::MAX {
                self.escaped(escape_at)
            } else {
                return None;
            };
            if found.is_some() {
                return found;
            }
        }
    }

    /// Looks at an escape: whether it is the first one of a key that spells the name.
    fn escaped(&mut self, at: usize) -> Option<(usize, usize)> {
        if self.bytes.get(at + 1) != Some(&b'u') {
            self.escape = Next::From(at + 2);
            return None;
        }
        self.escape = Next::From(at + 6);
        // Only letters of the name stand between the quote and the first escape.
        let plain = (0..NAME.len()).find(|plain| {
            at.checked_sub(plain + 1).is_some_and(|quote| self.bytes[quote] == b'"')
        })?;
        let key = at - plain - 1;
        if self.bytes[key + 1..at] != NAME[..plain]
            || key.checked_sub(1).map(|at| self.bytes[at]) == Some(b'\\')
        {
            return None;
        }
        let mut end = at;
        for letter in &NAME[plain..] {
            end += match self.bytes.get(end)? {
                b'\\'
                    if hex(self.bytes.get(end + 2..)?)? == u16::from(*letter)
                        && self.bytes[end + 1] == b'u' =>
                {
                    6
                }
                byte if byte == letter => 1,
                _ => return None,
            };
        }
        if self.bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.value(end + 1).map(|value| (key, value))
    }

    /// Where the value stands of the key that ends there; a string that is no key has none.
    fn value(&self, end: usize) -> Option<usize> {
        let colon = skip_whitespace(self.bytes, end);
        (self.bytes.get(colon) == Some(&b':')).then(|| skip_whitespace(self.bytes, colon + 1))
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec::Vec};

    use proptest::prelude::*;

    use super::*;
    use crate::json::{Json, MAX_DEPTH};

    fn stripped(text: &str) -> String {
        let mut out = String::new();
        Secrets::new().of(text).strip(0..text.len(), |part| {
            out.push_str(part);
            true
        });
        out
    }

    /// The same member by member.
    fn slowly(value: Json<'_>) -> String {
        let text = value.text();
        let mut out = String::new();
        let mut copied = 0;
        if let Some(array) = value.as_array() {
            array.for_each(|element| {
                let at = element.text().as_ptr() as usize - text.as_ptr() as usize;
                out.push_str(&text[copied..at]);
                out.push_str(&slowly(element));
                copied = at + element.text().len();
            });
        }
        if let Some(object) = value.as_object() {
            let mut members = Vec::new();
            object.for_each(|member| {
                let at = member.value.text().as_ptr() as usize - text.as_ptr() as usize;
                members.push((member, at));
            });
            let mut kept = None;
            for (index, (member, at)) in members.iter().enumerate() {
                let end = at + member.value.text().len();
                if member.key().is_some_and(|key| key == "token") {
                    let until = kept.unwrap_or(member.at).max(copied);
                    out.push_str(&text[copied..until]);
                    copied = match (kept, members.get(index + 1)) {
                        (Some(_), _) => end,
                        (None, Some((next, _))) => next.at,
                        (None, None) => text.len() - 1,
                    };
                } else {
                    out.push_str(&text[copied..*at]);
                    out.push_str(&slowly(member.value));
                    copied = end;
                    kept = Some(end);
                }
            }
        }
        out + &text[copied..]
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
            (r#"{"x":1,"x":2,"a":3,"x":4,"\u0074oken":5,"b":6,"x":7}"#, r#"{"a":3,"b":6}"#),
            (r#"[{"x":1},[{"x":[]}],{"X":{"x":1,"xx":{"x":2}}}]"#, r#"[{},[{}],{"X":{"xx":{}}}]"#),
            (r#"{"a":"\"x\":1","b":{"x":{}} , "c":[ ]}"#, r#"{"a":"\"x\":1","b":{} , "c":[ ]}"#),
            (r#"["x","x" ,"\"x",{"\"x":1,"x\"":"x"}]"#, r#"["x","x" ,"\"x",{"\"x":1,"x\"":"x"}]"#),
            (r#"{"\\":"\\","x":"\\","a":"\\\\"}"#, r#"{"\\":"\\","a":"\\\\"}"#),
            (r#"{"\\\u0074oken":1,"\"\u0074oken":1}"#, r#"{"\\\u0074oken":1,"\"\u0074oken":1}"#),
            (r#"{"\\u0074oken":1,"tok\u0065n ":1}"#, r#"{"\\u0074oken":1,"tok\u0065n ":1}"#),
            (r#"{"toke\u006E":1,"\u0074\u006f\u006B\u0065n" : 2 }"#, "{}"),
            (r#"{"toke\u006E":1,"a":0,"t\u006f\u006B\u0065\u006e" : 2 }"#, r#"{"a":0 }"#),
            (r#"{"t\u006fken":"t\u006fken","a":["t\u006fken"]}"#, r#"{"a":["t\u006fken"]}"#),
        ] {
            let text = text.replace("x", "token");
            let expected = expected.replace("x", "token");
            assert_eq!(stripped(&text), expected, "{text}");
            let json = Json::parse(&text, MAX_DEPTH).unwrap();
            assert_eq!(slowly(json), expected, "{text}");
            assert_eq!(Secrets::new().any(&text), text != expected, "{text}");
        }
    }

    #[test]
    fn as_deep_as_a_text_may_be() {
        let text = r#"{"a":1,"token":[],"a":"#.repeat(MAX_DEPTH) + "1" + &"}".repeat(MAX_DEPTH);
        let expected = r#"{"a":1,"a":"#.repeat(MAX_DEPTH) + "1" + &"}".repeat(MAX_DEPTH);
        assert_eq!(stripped(&text), expected);
    }

    #[test]
    fn ends_when_it_is_told_to() {
        let mut seen = Vec::new();
        let text = r#"[{"token":1},{"token":2},3]"#;
        let secrets = Secrets::new();
        secrets.of(text).strip(0..text.len(), |part| {
            seen.push(part);
            seen.len() < 2
        });
        assert_eq!(seen, ["[{", "},{"]);
    }

    fn any_value() -> impl Strategy<Value = String> {
        let string = prop::sample::select(
            &[
                "token",
                r"t\u006fken",
                r"\u0074\u006f\u006b\u0065\u006e",
                r"toke\u006E",
                r"\u0074oken\u0000",
                r#"\"token"#,
                r#"token\""#,
                r"\\",
                r"\\u0074oken",
                r"\\\u0074oken",
                r#"\"\u0074oken"#,
                "Token",
                "tokens",
                "a",
                "",
                r#"\"token\":1,"#,
                "{[,]}:",
                "é\\ud83d\\ude00\\ud83d",
            ][..],
        );
        let space = prop::sample::select(&["", " ", "\n\t", "        "][..]);
        let leaf = prop_oneof![
            prop::sample::select(&["1", "-1.5e3", "null", "true", "[]", "{}", "{ }"][..])
                .prop_map(String::from),
            string.clone().prop_map(|text| format!("\"{text}\"")),
        ];
        leaf.prop_recursive(5, 60, 5, move |inner| {
            let spaced = (space.clone(), inner, space.clone());
            let spaced = spaced.prop_map(|(a, value, b)| format!("{a}{value}{b}"));
            let member = (space.clone(), string.clone(), space.clone(), spaced.clone());
            let member = member.prop_map(|(a, key, b, value)| format!("{a}\"{key}\"{b}:{value}"));
            prop_oneof![
                prop::collection::vec(spaced, 0..5).prop_map(|v| format!("[{}]", v.join(","))),
                prop::collection::vec(member, 0..5).prop_map(|v| format!("{{{}}}", v.join(","))),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_what_goes_member_by_member(text in any_value()) {
            let json = Json::parse(&text, MAX_DEPTH).unwrap();
            let expected = slowly(json);
            let stripped = stripped(&text);
            prop_assert_eq!(&stripped, &expected, "{}", text);
            prop_assert_eq!(Secrets::new().any(&text), stripped != text);
            Json::parse(&stripped, MAX_DEPTH).unwrap();
        }
    }
}
