//! JSON as receivers read it: the full parser that the server's view is held against.
//!
//! Nothing here is the server's own code: what is sound is what `serde_json` takes, and members are
//! found by it, too.

use std::{fmt, ops::Range};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A member of an object, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key with its quotes and escapes.
    pub key: &'a str,
    /// The value.
    pub value: &'a str,
}

impl Member<'_> {
    /// The key as a text.
    #[must_use]
    pub fn name(&self) -> String {
        unescape(self.key)
    }
}

/// The text is one JSON value, of any depth.
#[must_use]
pub fn is_sound(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// How many levels a sound text has: `1` has none, `{"a":[]}` two.
#[must_use]
pub fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// The members of an object in order, repeated ones included; none if the text is no object.
#[must_use]
pub fn members(text: &str) -> Option<Vec<Member<'_>>> {
    serde_json::from_str::<Members<'_>>(text).ok().map(|members| members.0)
}

/// Where a part of a text stands in it.
#[must_use]
pub fn range(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

struct Members<'a>(Vec<Member<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push(Member { key: key.get(), value: value.get() });
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// What a sound string stands for. Half a surrogate pair is U+FFFD.
fn unescape(quoted: &str) -> String {
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(quoted);
    let mut units: Vec<u16> = Vec::new();
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        let decoded = match character {
            '\\' => match rest.next() {
                Some('u') => {
                    let digits: String = rest.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).unwrap_or(0xfffd));
                    continue;
                }
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        };
        units.extend_from_slice(decoded.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

/// The habits of a receiver.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The first of several members counts, not the last.
    pub first: bool,
    /// Case is ignored, as Go's `encoding/json` does and more.
    pub folded: bool,
    /// A key ends at a NUL, as where it is a C string.
    pub cut: bool,
}

impl Reading {
    /// Receivers with these habits, one by one and together.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self { first: bits & 1 > 0, folded: bits & 2 > 0, cut: bits & 4 > 0 })
    }

    /// What the receiver takes a key for.
    #[must_use]
    pub fn read(self, key: &str) -> String {
        let key = if self.cut { key.split('\0').next().unwrap_or_default() } else { key };
        if self.folded { key.chars().map(fold).collect() } else { key.to_owned() }
    }

    /// What the receiver takes for the value of the member of that name.
    #[must_use]
    pub fn get<'a>(self, members: &[Member<'a>], name: &str) -> Option<&'a str> {
        let is_it = |member: &&Member<'_>| self.read(&member.name()) == name;
        let member =
            if self.first { members.iter().find(is_it) } else { members.iter().rev().find(is_it) };
        member.map(|member| member.value)
    }
}

/// By way of upper case: more is equal so than by way of lower case alone (U+017F is an S).
fn fold(character: char) -> char {
    let mut upper = character.to_uppercase();
    let upper = match (upper.next(), upper.next()) {
        (Some(upper), None) => upper,
        _ => character,
    };
    upper.to_lowercase().next().unwrap_or(upper)
}
