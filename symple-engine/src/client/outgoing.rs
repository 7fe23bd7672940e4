//! A frame that is to be sent.

use alloc::{boxed::Box, string::String};

use symple_proto::{
    DecodeError, Fields, FrameView, Limits, RawJson, RecipientError, RoutedType, To,
    frame::{Command, Event, Message, Presence},
    json::{Json, Kind, MAX_DEPTH, push_string},
};
use thiserror::Error;

use super::frame::{Frame, short};

/// The largest record that a server takes, in bytes (R-L6).
pub const MAX_RECORD: usize = 16 * 1024;

/// A routed frame that is to be sent: `message`, `presence`, `command` or `event`.
///
/// It is built in a chain, from a type of [`symple_proto::frame`], or from any JSON object.
/// `from` is the server's to write (R-F2), and is left out. Without an `id` it gets a random one.
///
/// ```
/// use symple_engine::client::Outgoing;
///
/// let frame = Outgoing::message("hello").to("lobby").with("mood", "fine");
/// let same = Outgoing::from_json(r#"{"to":"lobby","data":"hello","mood":"fine"}"#)?;
/// assert_eq!(frame, same);
/// # Ok::<(), symple_engine::client::OutgoingError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub(super) kind: RoutedType,
    pub(super) id: Option<Box<str>>,
    pub(super) to: Option<To>,
    /// Other members, in order.
    members: Fields,
}

/// Why a frame is none that a server takes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OutgoingError {
    /// No JSON object.
    #[error(transparent)]
    Json(#[from] DecodeError),
    /// A `type` that is not routed; the start of it is named.
    #[error("a frame of type {0} cannot be sent")]
    Type(Box<str>),
    /// A `to` that names nobody (R-M5), or too many (R-L6).
    #[error("invalid to field: {0}")]
    To(#[from] RecipientError),
    /// A key that is another spelling of a name that the server enforces, which is named (R-F2).
    #[error("invalid {0} field: must be spelled {0}")]
    Misspelt(&'static str),
    /// The `data` of a presence that is no object (R-P4).
    #[error("the data of a presence must be an object")]
    Record,
    /// The frame, or the record of a peer, is larger than the limit (R-L1, R-L6).
    #[error("{size} bytes: the limit is {limit}")]
    TooLarge {
        /// How many bytes it has.
        size: usize,
        /// How many it may have.
        limit: usize,
    },
}

impl Outgoing {
    /// A frame without members.
    #[must_use]
    pub fn new(kind: RoutedType) -> Self {
        Self { kind, id: None, to: None, members: Fields::new() }
    }

    /// A message that says this.
    #[must_use]
    pub fn message(data: impl Into<RawJson>) -> Self {
        Self::new(RoutedType::Message).with("data", data)
    }

    /// A command: what it is about, such as `camera:front`, and what to do with it.
    #[must_use]
    pub fn command(node: &str, action: &str) -> Self {
        Self::new(RoutedType::Command).with("node", node).with("action", action)
    }

    /// An event of that name.
    #[must_use]
    pub fn event(name: &str) -> Self {
        Self::new(RoutedType::Event).with("name", name)
    }

    /// The answer to a frame: a message to its sender with the same `id`, so that it is what a
    /// [request](super::Operation::Request) waits for. None for a frame without sender or id.
    #[must_use]
    pub fn answer(frame: &Frame) -> Option<Self> {
        let mut answer = Self::new(RoutedType::Message);
        answer.id = Some(frame.id()?);
        Some(answer.to(frame.from()?))
    }

    /// Any JSON object: without `type` it is a message.
    ///
    /// # Errors
    /// [`OutgoingError`]: no object, or a `type` that is not routed.
    pub fn from_json(text: &str) -> Result<Self, OutgoingError> {
        // The view says what is no object.
        Self::try_from(Fields::try_from(FrameView::parse(text, MAX_DEPTH)?.object())?)
    }

    /// Addresses the frame; it goes to everyone who shares a room, without a `to` (SPEC §5).
    #[must_use]
    pub fn to(mut self, to: impl Into<To>) -> Self {
        self.to = Some(to.into());
        self
    }

    /// Gives the frame an id.
    #[must_use]
    pub fn id(mut self, id: impl Into<Box<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Gives the frame a `subtype`.
    #[must_use]
    pub fn subtype(self, subtype: &str) -> Self {
        self.with("subtype", subtype)
    }

    /// Gives the frame `data`.
    #[must_use]
    pub fn data(self, data: impl Into<RawJson>) -> Self {
        self.with("data", data)
    }

    /// Gives the frame another member. `type` and `from` are passed over, and so are `to` and
    /// `id`, which have functions of their own.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<RawJson>) -> Self {
        if !matches!(name, "type" | "from" | "to" | "id") {
            self.members.set(name, value);
        }
        self
    }

    /// The frame as a text with that id, unless it has one.
    ///
    /// # Errors
    /// [`OutgoingError`]: a server would not take it.
    pub(super) fn encode(&self, id: &str, limit: usize) -> Result<String, OutgoingError> {
        let rooms = match &self.to {
            None => 0,
            Some(To::One(name)) if name.trim_start_matches('|').is_empty() => {
                return Err(RecipientError::Empty.into());
            }
            Some(To::One(_)) => 1,
            Some(To::Rooms(rooms)) => rooms.len(),
        };
        let max = Limits::default().recipient_rooms;
        if rooms > max {
            return Err(RecipientError::TooManyRooms(max).into());
        }
        if self.kind == RoutedType::Presence
            && let Some(data) = self.members.get("data")
            && !matches!(data.get().kind(), Kind::Object | Kind::Null)
        {
            return Err(OutgoingError::Record);
        }
        let mut text = String::with_capacity(96 + self.size());
        text.push_str("{\"type\":");
        push_string(&mut text, name(self.kind));
        text.push_str(",\"id\":");
        push_string(&mut text, self.id.as_deref().unwrap_or(id));
        match &self.to {
            None => {}
            Some(To::One(to)) => {
                text.push_str(",\"to\":");
                push_string(&mut text, to);
            }
            Some(To::Rooms(rooms)) => {
                text.push_str(",\"to\":[");
                for (at, room) in rooms.iter().enumerate() {
                    if at > 0 {
                        text.push(',');
                    }
                    push_string(&mut text, room);
                }
                text.push(']');
            }
        }
        let mut plain = true;
        for (name, value) in self.members.iter() {
            text.push(',');
            push_string(&mut text, name);
            text.push(':');
            text.push_str(value.text());
            // Another spelling of a name in small letters has something else in it.
            plain &= name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        }
        text.push('}');
        if text.len() > limit {
            return Err(OutgoingError::TooLarge { size: text.len(), limit });
        }
        if !plain && let Some(name) = FrameView::parse(&text, MAX_DEPTH)?.misspelt() {
            return Err(OutgoingError::Misspelt(name));
        }
        Ok(text)
    }

    /// About how many bytes the members take.
    fn size(&self) -> usize {
        self.members.iter().map(|(name, value)| name.len() + value.text().len() + 4).sum()
    }
}

/// The name of a type.
fn name(kind: RoutedType) -> &'static str {
    match kind {
        RoutedType::Message => "message",
        RoutedType::Presence => "presence",
        RoutedType::Command => "command",
        RoutedType::Event => "event",
    }
}

impl TryFrom<Fields> for Outgoing {
    type Error = OutgoingError;

    fn try_from(mut members: Fields) -> Result<Self, OutgoingError> {
        let kind = match members.remove("type") {
            None => RoutedType::Message,
            Some(raw) => match raw.as_str().as_deref() {
                Some("message") => RoutedType::Message,
                Some("presence") => RoutedType::Presence,
                Some("command") => RoutedType::Command,
                Some("event") => RoutedType::Event,
                Some(other) => return Err(OutgoingError::Type(short(other, 64))),
                None => return Err(OutgoingError::Type(short(raw.text(), 64))),
            },
        };
        members.remove("from");
        let to = match members.remove("to") {
            None => None,
            Some(raw) => Some(read_to(raw.get())?),
        };
        let id = members.remove("id").map(|raw| match raw.as_str() {
            Some(id) => id.into(),
            None => raw.text().into(),
        });
        Ok(Self { kind, id, to, members })
    }
}

/// A `to` as it is written; elements of an array that are no strings do not count (SPEC §5).
fn read_to(to: Json<'_>) -> Result<To, RecipientError> {
    match (to.as_str(), to.as_array()) {
        (Some(Ok(name)), _) => Ok(To::One(name.into_owned())),
        (Some(Err(_)), _) => Err(RecipientError::LoneSurrogate),
        (None, Some(array)) => {
            let mut rooms = alloc::vec::Vec::new();
            array.for_each_str(|room| rooms.push(room.into_owned()));
            Ok(To::Rooms(rooms))
        }
        (None, None) => Err(RecipientError::WrongType),
    }
}

macro_rules! from_typed {
    ($($frame:ident { $($member:ident),* })*) => {$(
        impl From<$frame> for Outgoing {
            fn from(frame: $frame) -> Self {
                let mut outgoing = Self::new(RoutedType::$frame);
                outgoing.id = frame.id.map(Into::into);
                outgoing.to = frame.to;
                $(if let Some(value) = frame.$member {
                    let name = stringify!($member);
                    outgoing = outgoing.with(name, from_typed!(@value $member value));
                })*
                for (name, value) in frame.extra {
                    outgoing = outgoing.with(&name, value);
                }
                outgoing
            }
        }
    )*};
    (@value data $value:ident) => { $value };
    (@value probe $value:ident) => { $value };
    (@value $member:ident $value:ident) => { RawJson::string(&$value) };
}

from_typed! {
    Message { subtype, data }
    Presence { probe, data }
    Command { node, action, data }
    Event { name, data }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, vec, vec::Vec};

    use super::*;

    fn encoded(frame: &Outgoing) -> Result<String, String> {
        frame.encode("ID", 200).map_err(|error| error.to_string())
    }

    /// R-F1, R-F6, SPEC §5: what is built is what is written.
    #[test]
    fn frames_are_written_as_they_are_built() {
        for (frame, text) in [
            (Outgoing::message("hi"), r#"{"type":"message","id":"ID","data":"hi"}"#),
            (
                Outgoing::message("hi").to("bob|1").id("m\"1").subtype("greeting"),
                r#"{"type":"message","id":"m\"1","to":"bob|1","data":"hi","subtype":"greeting"}"#,
            ),
            (
                Outgoing::command("camera:front", "zoom").to(vec!["a".to_string(), "b".into()]),
                r#"{"type":"command","id":"ID","to":["a","b"],"node":"camera:front","action":"zoom"}"#,
            ),
            (Outgoing::event("typing"), r#"{"type":"event","id":"ID","name":"typing"}"#),
            (
                Outgoing::new(RoutedType::Presence)
                    .with("probe", true)
                    .with("from", "mallory|1")
                    .with("type", "message"),
                r#"{"type":"presence","id":"ID","probe":true}"#,
            ),
            (
                Command { id: Some("c".into()), node: Some("n".into()), ..Command::default() }
                    .into(),
                r#"{"type":"command","id":"c","node":"n"}"#,
            ),
        ] {
            assert_eq!(encoded(&frame).unwrap(), text);
            assert_eq!(encoded(&Outgoing::from_json(text).unwrap()).unwrap(), text);
        }
    }

    /// R-M5, R-F2, R-F3, R-P4, R-L1, R-L6: what a server would refuse is not sent.
    #[test]
    fn what_a_server_refuses_is_not_sent() {
        let rooms: Vec<_> = (0..257).map(|n| n.to_string()).collect();
        for (frame, error) in [
            (Outgoing::message("").to(""), "invalid to field: must not be empty"),
            (Outgoing::message("").to("||"), "invalid to field: must not be empty"),
            (
                Outgoing::message("").to(rooms),
                "invalid to field: must not name more than 256 rooms",
            ),
            (
                Outgoing::new(RoutedType::Presence).data("here"),
                "the data of a presence must be an object",
            ),
            (Outgoing::message("").with("From", "x"), "invalid from field: must be spelled from"),
            (Outgoing::message("").with("to\0", "x"), "invalid to field: must be spelled to"),
            (Outgoing::message(&*"x".repeat(200)), "238 bytes: the limit is 200"),
        ] {
            assert_eq!(encoded(&frame).unwrap_err(), error);
        }
        assert!(encoded(&Outgoing::message("").with("fromAbove", "x")).is_ok());
        for (text, error) in [
            ("null", "a frame must be a JSON object at byte 0"),
            (r#"{"type":"auth"}"#, "a frame of type auth cannot be sent"),
            (r#"{"type":5}"#, "a frame of type 5 cannot be sent"),
            (r#"{"to":5}"#, "invalid to field: must be a string or an array of rooms"),
        ] {
            assert_eq!(format!("{}", Outgoing::from_json(text).unwrap_err()), error);
        }
    }
}
