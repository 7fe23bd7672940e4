//! A frame as the server reads it: one pass, nothing copied, and relayed byte for byte.

use alloc::{borrow::Cow, string::String};
use core::ops::Range;

use thiserror::Error;

use crate::{
    error::DecodeError,
    json::{Entry, Json, Kind, Names, Object, Scanner, Spelling},
};

/// The types of frames that a client may send (SPEC §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameType<'a> {
    /// `auth`: who the client says it is.
    Auth,
    /// One of the four types that are relayed.
    Routed(RoutedType),
    /// `join`: to be in a room.
    Join,
    /// `leave`: to be in a room no more.
    Leave,
    /// `close`: to be closed.
    Close,
    /// Anything else (R-F3).
    Unknown(Cow<'a, str>),
}

/// The types of frames that a server relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoutedType {
    /// `message`
    Message,
    /// `presence`
    Presence,
    /// `command`
    Command,
    /// `event`
    Event,
}

/// Why a frame has no type (R-F3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TypeError {
    /// There is no `type`.
    #[error("Missing type field")]
    Missing,
    /// The `type` is no string.
    #[error("Invalid type field: must be a string")]
    NotAString,
}

impl<'a> FrameType<'a> {
    fn new(name: Cow<'a, str>) -> Self {
        // As bytes they are told apart by their length and a comparison.
        match name.as_bytes() {
            b"message" => Self::Routed(RoutedType::Message),
            b"presence" => Self::Routed(RoutedType::Presence),
            b"command" => Self::Routed(RoutedType::Command),
            b"event" => Self::Routed(RoutedType::Event),
            b"auth" => Self::Auth,
            b"join" => Self::Join,
            b"leave" => Self::Leave,
            b"close" => Self::Close,
            _ => Self::Unknown(name),
        }
    }
}

/// A checked frame, borrowed from its text.
///
/// The text is read once, when the view is made: it is sound JSON of bounded depth, and the
/// members that the protocol knows have been found. Where a member occurs several times the last
/// one counts, as in `JSON.parse` (R-F2).
#[derive(Clone, Debug)]
pub struct FrameView<'a> {
    text: &'a str,
    known: [Option<Known>; Name::COUNT],
    /// Bits of [`Name`]: these members occur several times.
    repeated: u8,
    /// A name that another key is for some receivers.
    misspelt: Option<Name>,
}

/// Where the last member of a known name has its value.
#[derive(Clone, Debug)]
struct Known {
    value: Range<usize>,
    kind: Kind,
}

/// The members that the protocol knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Type,
    To,
    From,
    Data,
    Room,
}

impl Name {
    const COUNT: usize = 5;

    /// The members that the server vouches for in every frame it relays.
    const ENFORCED: u8 = Self::Type.bit() | Self::To.bit() | Self::From.bit();

    const fn bit(self) -> u8 {
        1 << self as usize
    }

    /// The names by the order of the variants.
    const NAMES: [&'static str; Self::COUNT] = ["type", "to", "from", "data", "room"];
    const ALL: [Self; Self::COUNT] = [Self::Type, Self::To, Self::From, Self::Data, Self::Room];

    /// Which name a key spells, and how.
    fn of(quoted: &str, escaped: bool) -> Option<(Self, Spelling)> {
        if escaped {
            const NAMES: Names = Names::new(&Name::NAMES);
            let (index, how) = NAMES.find(quoted, escaped)?;
            return Some((Self::ALL[index], how));
        }
        // Most keys are neither known nor as long as one that is. No letter outside ASCII has the
        // case of one that occurs in these names.
        let inner = quoted.as_bytes().get(1..quoted.len() - 1)?;
        let name = match inner {
            b"type" => Self::Type,
            b"to" => Self::To,
            b"from" => Self::From,
            b"data" => Self::Data,
            b"room" => Self::Room,
            [_, _] | [_, _, _, _] => return Self::of_folded(inner),
            _ => return None,
        };
        Some((name, Spelling::Exact))
    }

    #[cold]
    fn of_folded(inner: &[u8]) -> Option<(Self, Spelling)> {
        let spelt =
            |name: &&Self| Self::NAMES[**name as usize].as_bytes().eq_ignore_ascii_case(inner);
        Self::ALL.iter().find(spelt).map(|name| (*name, Spelling::Other))
    }
}

/// What becomes of the `data` of a frame that is relayed.
#[derive(Clone, Copy)]
enum Data<'a> {
    AsWritten,
    Replaced(&'a str),
    Removed,
}

impl<'a> FrameView<'a> {
    /// Reads a frame of at most `max_depth` levels.
    ///
    /// # Errors
    /// [`DecodeError`]: no JSON, no object, or nested too deeply (R-F3, R-F5, R-L6).
    pub fn parse(text: &'a str, max_depth: usize) -> Result<Self, DecodeError> {
        let mut scanner = Scanner::new(text, max_depth);
        scanner.skip_whitespace();
        let start = scanner.position();
        let mut known = [const { None::<Known> }; Name::COUNT];
        let mut repeated = 0;
        let mut misspelt = None;
        scanner.object(|Entry { key, escaped, value, kind }| {
            match Name::of(&text[key], escaped) {
                Some((name, Spelling::Exact)) => {
                    let value = value.start - start..value.end - start;
                    let before = known[name as usize].replace(Known { value, kind });
                    repeated |= u8::from(before.is_some()) << name as usize;
                }
                // The server enforces no room in a frame that it relays.
                Some((Name::Room, Spelling::Other)) | None => {}
                Some((name, Spelling::Other)) => misspelt = Some(name),
            }
        })?;
        let end = scanner.position();
        scanner.end()?;
        Ok(Self { text: &text[start..end], known, repeated, misspelt })
    }

    /// The frame as written, without the space around it.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The frame as an object, to look at all its members.
    #[must_use]
    pub fn object(&self) -> Object<'a> {
        Object::checked(self.text)
    }

    fn get(&self, name: Name) -> Option<Json<'a>> {
        let known = self.known[name as usize].as_ref()?;
        Some(Json::checked(&self.text[known.value.clone()], known.kind))
    }

    /// The name of which a top-level key is another spelling: `type`, `to`, `from` or `data`, for
    /// a receiver that ignores case, or ends texts at a NUL, or both. No frame with such a key may
    /// be relayed (R-F2): that receiver would read another value than the server has enforced.
    #[must_use]
    pub fn misspelt(&self) -> Option<&'static str> {
        self.misspelt.map(|name| Name::NAMES[name as usize])
    }

    /// The type of the frame.
    ///
    /// # Errors
    /// [`TypeError`] (R-F3)
    pub fn frame_type(&self) -> Result<FrameType<'a>, TypeError> {
        let value = self.get(Name::Type).ok_or(TypeError::Missing)?;
        match value.as_str() {
            Some(Ok(name)) => Ok(FrameType::new(name)),
            // No Rust string can hold it, so it is none of the known ones.
            Some(Err(_)) => Ok(FrameType::Unknown(Cow::Borrowed("\u{fffd}"))),
            None => Err(TypeError::NotAString),
        }
    }

    /// `to`, whatever it is.
    #[must_use]
    pub fn to(&self) -> Option<Json<'a>> {
        self.get(Name::To)
    }

    /// `from`, whatever it is: what the sender claims.
    #[must_use]
    pub fn from(&self) -> Option<Json<'a>> {
        self.get(Name::From)
    }

    /// `data`, whatever it is.
    #[must_use]
    pub fn data(&self) -> Option<Json<'a>> {
        self.get(Name::Data)
    }

    /// `room`, whatever it is.
    #[must_use]
    pub fn room(&self) -> Option<Json<'a>> {
        self.get(Name::Room)
    }

    /// Appends the frame as it is to be relayed (R-F1, R-F2): as written, but `from` is the given
    /// JSON string, in the place of the sender's `from` or at the end, and of `type`, `to`, `from`
    /// each occurs once, the last of several.
    pub fn relay(&self, from: &str, out: &mut String) {
        self.splice(from, Data::AsWritten, out);
    }

    /// As [`relay`](Self::relay), with the given JSON text in the place of `data`, once, however
    /// often it was written; without a text the result has no `data` (R-P4). Where there is no
    /// `data` there is none in the result either.
    pub fn relay_with_data(&self, from: &str, data: Option<&str>, out: &mut String) {
        let data = match data {
            _ if self.known[Name::Data as usize].is_none() => Data::AsWritten,
            Some(data) => Data::Replaced(data),
            None => Data::Removed,
        };
        self.splice(from, data, out);
    }

    fn splice(&self, from: &str, data: Data<'_>, out: &mut String) {
        let (replaced, removed) = match data {
            Data::AsWritten => (None, false),
            Data::Replaced(text) => (Some(text), false),
            Data::Removed => (None, true),
        };
        out.reserve(self.text.len() + from.len() + replaced.map_or(0, str::len) + 8);
        let enforced = Name::ENFORCED | if replaced.is_some() { Name::Data.bit() } else { 0 };
        if self.repeated & enforced != 0 || removed {
            return self.rebuild(enforced, from, data, out);
        }
        let edit = |name: Name, text| {
            let known = self.known[name as usize].as_ref()?;
            Some((known.value.clone(), text))
        };
        let mut edits = [edit(Name::From, from), replaced.and_then(|data| edit(Name::Data, data))];
        if let [Some((first, _)), Some((second, _))] = &edits
            && second.start < first.start
        {
            edits.reverse();
        }
        let mut at = 0;
        for (range, text) in edits.into_iter().flatten() {
            out.push_str(&self.text[at..range.start]);
            out.push_str(text);
            at = range.end;
        }
        if self.known[Name::From as usize].is_some() {
            out.push_str(&self.text[at..]);
        } else {
            out.push_str(&self.text[at..self.text.len() - 1]);
            // Only a frame without members ends like this.
            push_last_member(from, out.trim_ascii_end().ends_with('{'), out);
        }
    }

    /// The slow way, for a frame that repeats a member or loses one: member by member, without all
    /// but the last of those that the server vouches for.
    fn rebuild(&self, enforced: u8, from: &str, data: Data<'_>, out: &mut String) {
        out.push('{');
        let mut first = true;
        let mut scanner = Scanner::new(self.text, crate::json::MAX_DEPTH);
        let checked = scanner.object(|Entry { key, escaped, value, .. }| {
            let name = match Name::of(&self.text[key.clone()], escaped) {
                Some((name, Spelling::Exact)) => Some(name),
                _ => None,
            };
            let replacement = match (name, data) {
                (Some(Name::Data), Data::Removed) => return,
                (Some(Name::Data), Data::Replaced(text)) => Some(text),
                (Some(Name::From), _) => Some(from),
                _ => None,
            };
            if let Some(name) = name
                && name.bit() & enforced != 0
                && self.known[name as usize].as_ref().is_some_and(|last| last.value != value)
            {
                return;
            }
            if !core::mem::take(&mut first) {
                out.push(',');
            }
            match replacement {
                Some(text) => {
                    out.push_str(&self.text[key.start..value.start]);
                    out.push_str(text);
                }
                None => out.push_str(&self.text[key.start..value.end]),
            }
        });
        debug_assert!(checked.is_ok(), "the frame was checked when the view was made");
        if self.known[Name::From as usize].is_none() {
            push_last_member(from, first, out);
        } else {
            out.push('}');
        }
    }
}

/// Ends an object with a `from`.
fn push_last_member(from: &str, first: bool, out: &mut String) {
    out.push_str(if first { "\"from\":" } else { ",\"from\":" });
    out.push_str(from);
    out.push('}');
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, vec::Vec};

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{error::Fault, json::readings};

    const FROM: &str = r#""alice|0a""#;

    fn view(text: &str) -> FrameView<'_> {
        FrameView::parse(text, 8).unwrap()
    }

    fn relayed(text: &str) -> String {
        let mut out = String::new();
        view(text).relay(FROM, &mut out);
        out
    }

    #[test]
    fn finds_what_the_protocol_knows() {
        let frame = view(r#" {"type":"join","room":"r","data":[1],"to":null,"from":5} "#);
        assert_eq!(frame.frame_type(), Ok(FrameType::Join));
        assert_eq!(frame.room().unwrap().text(), "\"r\"");
        assert_eq!(frame.data().unwrap().text(), "[1]");
        assert_eq!(frame.to().unwrap().text(), "null");
        assert_eq!(frame.from().unwrap().text(), "5");
        assert_eq!(view("{}").to(), None);
    }

    #[test]
    fn types() {
        for (name, expected) in [
            ("auth", FrameType::Auth),
            ("message", FrameType::Routed(RoutedType::Message)),
            ("presence", FrameType::Routed(RoutedType::Presence)),
            ("command", FrameType::Routed(RoutedType::Command)),
            ("event", FrameType::Routed(RoutedType::Event)),
            ("join", FrameType::Join),
            ("leave", FrameType::Leave),
            ("close", FrameType::Close),
            ("Message", FrameType::Unknown("Message".into())),
            ("", FrameType::Unknown("".into())),
            ("hasOwnProperty", FrameType::Unknown("hasOwnProperty".into())),
            (r"m\u0065ssage", FrameType::Routed(RoutedType::Message)),
            (r"\ud800", FrameType::Unknown("\u{fffd}".into())),
        ] {
            let text = format!(r#"{{"type":"{name}"}}"#);
            assert_eq!(view(&text).frame_type(), Ok(expected), "{name}");
        }
        assert_eq!(view("{}").frame_type(), Err(TypeError::Missing));
        assert_eq!(view(r#"{"type":5}"#).frame_type(), Err(TypeError::NotAString));
        assert_eq!(view(r#"{"type":null}"#).frame_type(), Err(TypeError::NotAString));
    }

    /// R-F5
    #[test]
    fn what_is_no_object_is_no_frame() {
        for text in ["null", "5", "\"x\"", "[]", "true", r#"[{"type":"auth"}]"#] {
            assert_eq!(
                FrameView::parse(text, 8).unwrap_err().fault(),
                Fault::NotAnObject,
                "{text}"
            );
        }
        assert!(FrameView::parse("{", 8).is_err());
        assert!(FrameView::parse("", 8).is_err());
        assert!(FrameView::parse(r#"{"type":"message"} x"#, 8).is_err());
    }

    /// R-F1: not a byte changes but for `from`.
    #[test]
    fn relays_byte_for_byte() {
        let body = r#""n":[12345678901234567890,1.0,-0,1e2],"s":"\u00e9\/" , "a" : { "b":null }"#;
        assert_eq!(
            relayed(&format!(" {{\"type\":\"message\",{body}}}\n")),
            format!("{{\"type\":\"message\",{body},\"from\":{FROM}}}"),
        );
    }

    /// R-F2: whatever the client wrote, `from` is the server's, and stands once.
    #[test]
    fn enforces_from() {
        for (text, expected) in [
            (r#"{"type":"message"}"#, r#"{"type":"message","from":"alice|0a"}"#),
            ("{}", r#"{"from":"alice|0a"}"#),
            (" { } ", r#"{ "from":"alice|0a"}"#),
            (r#"{"from":"carol|1","to":"x"}"#, r#"{"from":"alice|0a","to":"x"}"#),
            (r#"{"from":{"from":1},"to":"x"}"#, r#"{"from":"alice|0a","to":"x"}"#),
            (r#"{"\u0066rom":"carol|1","to":"x"}"#, r#"{"\u0066rom":"alice|0a","to":"x"}"#),
            (r#"{"from":1,"a":2,"from":3}"#, r#"{"a":2,"from":"alice|0a"}"#),
            (r#"{"from":1,"\u0066rom":3,"a":2}"#, r#"{"\u0066rom":"alice|0a","a":2}"#),
            (
                r#"{"type":"a","to":"b","type":"c","to":"d"}"#,
                r#"{"type":"c","to":"d","from":"alice|0a"}"#,
            ),
            (r#"{"data":1, "data" : 2 }"#, r#"{"data":1, "data" : 2 ,"from":"alice|0a"}"#),
            (
                r#"{ "data":1, "data" : 2, "to":"a" , "to" : "b" }"#,
                r#"{"data":1,"data" : 2,"to" : "b","from":"alice|0a"}"#,
            ),
        ] {
            assert_eq!(relayed(text), expected, "{text}");
        }
    }

    /// R-P4: the `data` that is relayed is the one that the server made, once.
    #[test]
    fn replaces_data() {
        for (text, expected) in [
            (r#"{"type":"presence"}"#, r#"{"type":"presence","from":"alice|0a"}"#),
            (r#"{"data":1,"from":2}"#, r#"{"data":{},"from":"alice|0a"}"#),
            (r#"{"from":2,"data":1}"#, r#"{"from":"alice|0a","data":{}}"#),
            (r#"{"data":1,"a":2}"#, r#"{"data":{},"a":2,"from":"alice|0a"}"#),
            (
                r#"{"data":1,"a":2,"d\u0061ta":3,"from":4}"#,
                r#"{"a":2,"d\u0061ta":{},"from":"alice|0a"}"#,
            ),
        ] {
            let mut out = String::new();
            view(text).relay_with_data(FROM, Some("{}"), &mut out);
            assert_eq!(out, expected, "{text}");
        }
    }

    /// R-P4: no `data` is none, however often it is written.
    #[test]
    fn removes_data() {
        for (text, expected) in [
            (r#"{"type":"presence"}"#, r#"{"type":"presence","from":"alice|0a"}"#),
            (r#"{"data":null}"#, r#"{"from":"alice|0a"}"#),
            (r#"{"a":1,"data":null,"from":2}"#, r#"{"a":1,"from":"alice|0a"}"#),
            (r#"{"data":{"a":1},"d\u0061ta":null,"b":2}"#, r#"{"b":2,"from":"alice|0a"}"#),
        ] {
            let mut out = String::new();
            view(text).relay_with_data(FROM, None, &mut out);
            assert_eq!(out, expected, "{text}");
        }
    }

    /// R-F2: keys that are a name for some receivers only.
    #[test]
    fn other_spellings() {
        for (key, expected) in [
            ("FROM", Some("from")),
            ("From", Some("from")),
            (r"\u0046rom", Some("from")),
            (r"from\u0000", Some("from")),
            (r"DATA\u0000x", Some("data")),
            ("Type", Some("type")),
            ("tO", Some("to")),
            ("from", None),
            (r"\u0066rom", None),
            ("fro", None),
            ("froms", None),
            ("rfom", None),
            // No receiver takes it for what the server has enforced.
            ("ROOM", None),
        ] {
            for text in [
                format!(r#"{{"type":"message","{key}":1}}"#),
                format!(r#"{{"{key}":1,"ROOM":2,"type":"message"}}"#),
            ] {
                assert_eq!(view(&text).misspelt(), expected, "{text}");
            }
        }
    }

    /// Keys that matter, in spellings that matter, and values.
    fn any_member() -> impl Strategy<Value = String> {
        let key = prop::sample::select(
            &[
                "\"type\"",
                "\"to\"",
                "\"from\"",
                "\"data\"",
                "\"\\u0066rom\"",
                "\"t\\u006f\"",
                "\"typ\\u0065\"",
                "\"From\"",
                "\"DATA\"",
                "\"from\\u0000\"",
                "\"\\u0054o\\u0000x\"",
                "\"Room\"",
                "\"x\"",
            ][..],
        );
        let value = prop_oneof![
            Just("1.0"),
            Just("\"bob|0\""),
            Just("null"),
            Just("{\"from\":\"carol\"}"),
            Just("[\"from\",{}]"),
            Just("\"\\\",\\\"from\\\":\\\"carol\""),
        ];
        let space = prop_oneof![Just(""), Just(" "), Just("\n\t")];
        (key, space, value).prop_map(|(key, space, value)| format!("{space}{key}{space}:{value}"))
    }

    proptest! {
        /// R-F2, the whole of it: what a receiver parses has the server's `from`, the sender's
        /// last `type` and `to`, each once under every spelling, and everything else unchanged;
        /// and so it has for a receiver that takes the first of several keys, ignores case, ends
        /// keys at a NUL, or all of that.
        #[test]
        fn nothing_is_smuggled(members in prop::collection::vec(any_member(), 1..8)) {
            let text = format!("{{{}}}", members.join(","));
            let sent: Value = serde_json::from_str(&text).unwrap();
            let relayed = relayed(&text);
            let received: Value = serde_json::from_str(&relayed).unwrap();

            let mut expected = sent.as_object().unwrap().clone();
            expected.insert("from".to_string(), Value::from("alice|0a"));
            prop_assert_eq!(received.as_object().unwrap(), &expected);

            let mut keys = Vec::new();
            Json::parse(&relayed, 8).unwrap().as_object().unwrap()
                .for_each(|member| keys.push(member.key().unwrap().into_owned()));
            for name in ["type", "to", "from"] {
                let occurs = keys.iter().filter(|key| *key == name).count();
                prop_assert_eq!(occurs, usize::from(expected.contains_key(name)), "{}", relayed);
            }

            // A frame with another spelling of a name is not relayed, but for `room`.
            if view(&text).misspelt().is_some() {
                return Ok(());
            }
            for reading in readings::all() {
                for name in ["type", "to", "from"] {
                    let read = reading.get(&relayed, name);
                    prop_assert_eq!(read.as_ref(), expected.get(name), "{:?} {}", reading, relayed);
                }
            }
        }

        /// R-P4: every receiver reads the same `data` of a presence, the server's, or none.
        #[test]
        fn no_data_is_smuggled(
            members in prop::collection::vec(any_member(), 1..8),
            given in prop_oneof![Just(None), Just(Some("{\"id\":\"0a\"}"))],
        ) {
            let text = format!("{{{}}}", members.join(","));
            let frame = view(&text);
            if frame.misspelt().is_some() {
                return Ok(());
            }
            let mut relayed = String::new();
            frame.relay_with_data(FROM, given, &mut relayed);
            let expected = given.filter(|_| frame.data().is_some());
            let expected: Option<Value> = expected.map(|data| serde_json::from_str(data).unwrap());
            for reading in readings::all() {
                let read = reading.get(&relayed, "data");
                prop_assert_eq!(&read, &expected, "{:?} {}", reading, relayed);
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = FrameView::parse(&text, 8);
        }
    }
}
