//! Values that stay in the spelling they came in.

use alloc::{borrow::Cow, boxed::Box, string::String};
use core::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

use crate::error::DecodeError;

use super::{Entry, MAX_DEPTH, decode, has_half_surrogate, quote, scan, string::decode_to, walk};

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, in any notation.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A borrowed JSON value that has been checked: its text as written, without space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<'a> {
    text: &'a str,
    kind: Kind,
}

impl<'a> Json<'a> {
    /// Checks a text of at most `max_depth` levels (never more than [`MAX_DEPTH`]).
    ///
    /// # Errors
    /// The first fault of the text and its position.
    pub fn parse(text: &'a str, max_depth: usize) -> Result<Self, DecodeError> {
        let kind = scan::check(text, max_depth)?;
        Ok(Self { text: text.trim_ascii(), kind })
    }

    /// A value that the caller has checked.
    pub(crate) fn checked(text: &'a str, kind: Kind) -> Self {
        Self { text, kind }
    }

    /// The value as written.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.text
    }

    /// What the value is.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// True if a string in the value, or a key at any depth, has half a surrogate pair: JSON can
    /// spell it, and no Rust string can hold it.
    #[must_use]
    pub fn has_half_surrogate(self) -> bool {
        has_half_surrogate(self.text)
    }

    /// The decoded string, if the value is one.
    ///
    /// # Errors
    /// [`Fault::LoneSurrogate`](crate::error::Fault::LoneSurrogate)
    #[must_use]
    pub fn as_str(self) -> Option<Result<Cow<'a, str>, DecodeError>> {
        (self.kind == Kind::String).then(|| decode(self.text))
    }

    /// The value as an object, if it is one.
    #[must_use]
    pub fn as_object(self) -> Option<Object<'a>> {
        (self.kind == Kind::Object).then_some(Object { text: self.text })
    }

    /// The value as an array, if it is one.
    #[must_use]
    pub fn as_array(self) -> Option<Array<'a>> {
        (self.kind == Kind::Array).then_some(Array { text: self.text })
    }
}

/// A checked object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    text: &'a str,
}

/// A member of an object.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    key: &'a str,
    /// Where the key stands in the object, in bytes.
    pub(crate) at: usize,
    escaped: bool,
    /// The value.
    pub value: Json<'a>,
}

impl<'a> Member<'a> {
    /// The decoded key, unless no Rust string can hold it; such a key equals none that the
    /// protocol knows.
    #[must_use]
    pub fn key(&self) -> Option<Cow<'a, str>> {
        if self.escaped {
            decode(self.key).ok()
        } else {
            self.key.get(1..self.key.len() - 1).map(Cow::Borrowed)
        }
    }

    /// The same, decoded into a buffer if that is needed.
    pub(crate) fn key_in<'b>(&self, buffer: &'b mut String) -> Option<&'b str>
    where
        'a: 'b,
    {
        if !self.escaped {
            return self.key.get(1..self.key.len() - 1);
        }
        buffer.clear();
        decode_to(self.key, buffer).ok()?;
        Some(buffer)
    }
}

impl<'a> Object<'a> {
    /// An object that the caller has checked, or written.
    pub(crate) fn checked(text: &'a str) -> Self {
        Self { text }
    }

    /// The object as written.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.text
    }

    /// Calls `visit` with each member, in order, duplicates included.
    pub fn for_each(self, mut visit: impl FnMut(Member<'a>)) {
        self.for_each_while(|member| {
            visit(member);
            true
        });
    }

    /// As [`for_each`](Self::for_each), as long as `visit` wants more.
    pub(crate) fn for_each_while(self, mut visit: impl FnMut(Member<'a>) -> bool) {
        let text = self.text;
        walk::members(text, |entry| {
            visit(Member {
                at: entry.key.start,
                key: &text[entry.key],
                escaped: entry.escaped,
                value: Json::checked(&text[entry.value], entry.kind),
            })
        });
    }

    /// As [`for_each_while`](Self::for_each_while), with where each member stands.
    pub(crate) fn for_each_entry(self, visit: impl FnMut(Entry) -> bool) {
        walk::members(self.text, visit);
    }

    /// The value of a member that stands there.
    pub(crate) fn value(self, entry: &Entry) -> Json<'a> {
        Json::checked(&self.text[entry.value.clone()], entry.kind)
    }

    /// The value of the last member of that name: the one that counts, as in `JSON.parse`.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Json<'a>> {
        let mut found = None;
        self.for_each(|member| {
            if member.key().is_some_and(|found| found == key) {
                found = Some(member.value);
            }
        });
        found
    }
}

/// A checked array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array<'a> {
    text: &'a str,
}

impl<'a> Array<'a> {
    /// Calls `visit` with each element, in order.
    pub fn for_each(self, mut visit: impl FnMut(Json<'a>)) {
        self.for_each_while(|element| {
            visit(element);
            true
        });
    }

    /// As [`for_each`](Self::for_each), as long as `visit` wants more.
    pub fn for_each_while(self, mut visit: impl FnMut(Json<'a>) -> bool) {
        let text = self.text;
        walk::elements(text, |range, kind| visit(Json::checked(&text[range], kind)));
    }

    /// Calls `visit` with each element that is a string a Rust string can hold.
    pub fn for_each_str(self, mut visit: impl FnMut(Cow<'a, str>)) {
        self.for_each(|element| {
            if let Some(Ok(text)) = element.as_str() {
                visit(text);
            }
        });
    }
}

/// An owned JSON value in the spelling it came in: what the protocol carries and does not read.
///
/// Serialized with `serde_json` it is written verbatim. Other serializers are refused, as they are
/// by [`serde_json::value::RawValue`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(CompactString);

impl RawJson {
    /// Checks a text of at most [`MAX_DEPTH`] levels.
    ///
    /// # Errors
    /// The first fault of the text and its position.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        Json::parse(text, MAX_DEPTH).map(Self::from)
    }

    /// Any value that serde can write as JSON.
    ///
    /// # Errors
    /// What the value's own `Serialize` reports, and maps whose keys are not strings.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// Reads the value into a Rust type.
    ///
    /// # Errors
    /// What the type's own `Deserialize` reports.
    pub fn to<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// A string.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self(quote(text).into())
    }

    /// `true` or `false`.
    #[must_use]
    pub fn bool(value: bool) -> Self {
        Self(CompactString::const_new(if value { "true" } else { "false" }))
    }

    /// The value as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The value, borrowed, to be looked into.
    #[must_use]
    pub fn get(&self) -> Json<'_> {
        let kind = match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        };
        Json::checked(&self.0, kind)
    }

    /// The decoded string, if the value is one that a Rust string can hold.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'_, str>> {
        self.get().as_str()?.ok()
    }
}

impl From<Json<'_>> for RawJson {
    fn from(json: Json<'_>) -> Self {
        Self(CompactString::new(json.text))
    }
}

impl From<&str> for RawJson {
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}

impl From<bool> for RawJson {
    fn from(value: bool) -> Self {
        Self::bool(value)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(String::from(self.text())).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec::Vec};

    use super::*;

    #[test]
    fn the_last_of_several_members_counts() {
        let json = Json::parse(r#" {"a":1,"\u0061":2,"b":3} "#, 8).unwrap();
        let object = json.as_object().unwrap();
        assert_eq!(object.get("a").unwrap().text(), "2");
        assert_eq!(object.get("b").unwrap().text(), "3");
        assert!(object.get("c").is_none());
        assert_eq!(object.text(), r#"{"a":1,"\u0061":2,"b":3}"#);
    }

    #[test]
    fn a_key_with_half_a_character_equals_nothing() {
        let json = Json::parse(r#"{"from\ud800":1}"#, 8).unwrap();
        assert!(json.as_object().unwrap().get("from").is_none());
    }

    #[test]
    fn strings_of_an_array() {
        let json = Json::parse(r#"["a",1,null,["b"],"\u0063","\ud800"]"#, 8).unwrap();
        let mut seen = Vec::new();
        json.as_array().unwrap().for_each_str(|text| seen.push(text.into_owned()));
        assert_eq!(seen, ["a", "c"]);
    }

    #[test]
    fn a_raw_value_survives_serde() {
        for text in ["12345678901234567890", "1.0", "-0", r#"{"b":1,"a":"\u00e9"}"#, "null"] {
            let raw: RawJson = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&raw).unwrap(), text);
            assert_eq!(raw.to_string(), text);
            assert_eq!(raw.get(), Json::parse(text, 8).unwrap());
        }
        assert_eq!(RawJson::from("a\"b").text(), r#""a\"b""#);
        assert_eq!(RawJson::from_value(&[1, 2]).unwrap().to::<Vec<u8>>().unwrap(), [1, 2]);
    }
}
