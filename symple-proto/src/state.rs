//! Frames about the state of rooms, as a server reads and writes them (R-K1 to R-K3).

use alloc::{borrow::ToOwned, boxed::Box, collections::BTreeMap, format, string::String, vec::Vec};

use thiserror::Error;

use crate::{
    json::{Json, Kind, Object, push_string},
    name::check_room,
};

/// A key that JavaScript takes for more than a member.
const PROTO: &str = "__proto__";

/// How many bytes the `id` of a frame may have: members are told it.
const MAX_ID: usize = 1024;

/// The limits on the state of a room (R-K3). [`StateLimits::default`] has the values of the
/// specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateLimits {
    /// Keys in a room. 256.
    pub keys: usize,
    /// Bytes in a key. 128.
    pub key: usize,
    /// Bytes in a value, as JSON. 16 KiB.
    pub value: usize,
    /// Bytes of all keys and values of a room. 64 KiB.
    pub room: usize,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self { keys: 256, key: 128, value: 16 * 1024, room: 64 * 1024 }
    }
}

/// Why a `state` frame changes nothing. The text is the one that the client is told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StateError {
    /// A member is missing or is not what it must be: which one, and why.
    #[error("{0}")]
    Field(Box<str>),
    /// More keys than a room may have, which is named.
    #[error("State of a room larger than {0} keys")]
    Keys(usize),
    /// A key that is longer than the limit, which is named.
    #[error("State key longer than {0} bytes")]
    Key(usize),
    /// A value that is larger than the limit, which is named.
    #[error("State value larger than {0} bytes")]
    Value(usize),
    /// More bytes than a room may have, which is named.
    #[error("State of a room larger than {0} bytes")]
    Room(usize),
}

impl StateError {
    /// True if a limit has been passed (413), and not a rule of the frame (400).
    #[must_use]
    pub fn is_limit(&self) -> bool {
        !matches!(self, Self::Field(_))
    }

    fn field(text: impl AsRef<str>) -> Self {
        Self::Field(text.as_ref().into())
    }
}

/// Keys with their new values, as JSON; none for a key that is deleted. Each once, in order.
pub type StateChanges = Vec<(Box<str>, Option<Box<str>>)>;

/// A `state` frame of a client (R-K1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRequest {
    /// The room.
    pub room: Box<str>,
    /// What is to be set.
    pub set: StateChanges,
    /// The `id` of the frame, as it was written.
    pub id: Option<Box<str>>,
    /// The sender wants to have the frame itself, too.
    pub echo: bool,
}

impl StateRequest {
    /// Reads a `state` frame. Where a member, or a key of `set`, is repeated the last one counts, as in
    /// `JSON.parse`. The values are kept as they were written.
    ///
    /// # Errors
    /// [`StateError`]: nothing is to be set.
    pub fn read(frame: Object<'_>, limits: &StateLimits) -> Result<Self, StateError> {
        let (mut room, mut set, mut id, mut echo) = (None, None, None, false);
        frame.for_each(|member| match member.key().as_deref() {
            Some("room") => room = Some(member.value),
            Some("set") => set = Some(member.value),
            Some("id") => id = Some(member.value),
            Some("echo") => echo = member.value.text() == "true",
            _ => {}
        });
        let room = room.ok_or_else(|| StateError::field("Missing room field"))?;
        let room = match room.as_str() {
            Some(Ok(room)) => room,
            Some(Err(_)) => {
                return Err(StateError::field(
                    "Invalid room field: must not contain half a surrogate pair",
                ));
            }
            None => return Err(StateError::field("Invalid room field: must be a string")),
        };
        check_room(&room)
            .map_err(|error| StateError::field(format!("Invalid room field: {error}")))?;
        let set = set.ok_or_else(|| StateError::field("Missing set field"))?;
        let set = set
            .as_object()
            .ok_or_else(|| StateError::field("Invalid set field: must be an object"))?;
        let set = read_changes(set, limits)?;
        let id = id.map(|id: Json<'_>| id.text());
        if id.is_some_and(|id| id.len() > MAX_ID) {
            return Err(StateError::field("Invalid id field: must have at most 1024 bytes"));
        }
        let id = id.map(Into::into);
        Ok(Self { room: (*room).into(), set, id, echo })
    }
}

/// Reads the keys and values of a `set`.
///
/// # Errors
/// [`StateError`]: nothing is to be set.
pub fn read_changes(set: Object<'_>, limits: &StateLimits) -> Result<StateChanges, StateError> {
    let mut changes: BTreeMap<Box<str>, Option<Box<str>>> = BTreeMap::new();
    let mut checked = Ok(());
    set.for_each(|member| {
        if checked.is_err() {
            return;
        }
        let Some(key) = member.key() else {
            checked = Err(StateError::field(
                "Invalid set field: a key must not contain half a surrogate pair",
            ));
            return;
        };
        let deleted = member.value.kind() == Kind::Null;
        checked = if *key == *PROTO {
            Err(StateError::field("Invalid set field: a key must not be __proto__"))
        } else if key.len() > limits.key {
            Err(StateError::Key(limits.key))
        } else if !deleted && member.value.text().len() > limits.value {
            Err(StateError::Value(limits.value))
        } else if changes.len() >= limits.keys && !changes.contains_key(&*key) {
            Err(StateError::Keys(limits.keys))
        } else {
            let value = (!deleted).then(|| member.value.text().to_owned().into());
            changes.insert((*key).into(), value);
            Ok(())
        };
    });
    checked?;
    Ok(changes.into_iter().collect())
}

/// Appends an object of keys and values; `null` stands for a key that is deleted.
pub fn push_values<'a>(values: impl Iterator<Item = (&'a str, Option<&'a str>)>, out: &mut String) {
    out.push('{');
    for (at, (key, value)) in values.enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(out, key);
        out.push(':');
        out.push_str(value.unwrap_or("null"));
    }
    out.push('}');
}

/// Appends the `state` frame that tells of all keys of a room (R-K2).
pub fn push_state<'a>(
    room: &str,
    values: impl Iterator<Item = (&'a str, &'a str)>,
    out: &mut String,
) {
    out.push_str("{\"type\":\"state\",\"room\":");
    push_string(out, room);
    out.push_str(",\"all\":");
    push_values(values.map(|(key, value)| (key, Some(value))), out);
    out.push('}');
}

/// Appends the `state` frame that tells of keys that have been set (R-K1): `from` is the address of
/// who has set them as a JSON string, `id` that of the frame as JSON.
pub fn push_changes<'a>(
    room: &str,
    values: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    id: Option<&str>,
    from: Option<&str>,
    out: &mut String,
) {
    out.push_str("{\"type\":\"state\",\"room\":");
    push_string(out, room);
    out.push_str(",\"set\":");
    push_values(values, out);
    for (name, value) in [(",\"id\":", id), (",\"from\":", from)] {
        if let Some(value) = value {
            out.push_str(name);
            out.push_str(value);
        }
    }
    out.push('}');
}

/// Appends a `state:ok` (R-K1); `id` is that of the frame as JSON.
pub fn push_state_ok(room: &str, id: Option<&str>, out: &mut String) {
    out.push_str("{\"type\":\"state:ok\",\"room\":");
    push_string(out, room);
    if let Some(id) = id {
        out.push_str(",\"id\":");
        out.push_str(id);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn read(text: &str) -> Result<StateRequest, String> {
        let limits = StateLimits { keys: 3, key: 4, value: 8, room: 100 };
        let frame = Json::parse(text, 128).unwrap().as_object().unwrap();
        StateRequest::read(frame, &limits).map_err(|error| error.to_string())
    }

    /// R-K1, R-K3, R-F1: each key once, the last value counts, and is kept as it was written.
    #[test]
    fn what_is_set() {
        let text = r#"{"type":"state","r\u006fom":"r","set":{"b": 1.0 ,"a":{"x":-0},"\u0062":12e5,"c":null},"id":7,"echo":true}"#;
        let request = read(text).unwrap();
        assert_eq!((&*request.room, request.id.as_deref(), request.echo), ("r", Some("7"), true));
        let mut out = String::new();
        let set = || request.set.iter().map(|(key, value)| (&**key, value.as_deref()));
        push_changes("r", set(), request.id.as_deref(), Some("\"a|1\""), &mut out);
        assert_eq!(
            out,
            r#"{"type":"state","room":"r","set":{"a":{"x":-0},"b":12e5,"c":null},"id":7,"from":"a|1"}"#
        );
        let request = read(r#"{"room":"r","set":{},"echo":1}"#).unwrap();
        assert_eq!((request.set.len(), request.id, request.echo), (0, None, false));
    }

    /// R-K3: nothing is set of a frame at fault, whatever else is in it.
    #[test]
    fn what_is_refused() {
        let long = format!(r#"{{"room":"r","set":{{}},"id":"{}"}}"#, "x".repeat(1023));
        for (text, message) in [
            ("{}", "Missing room field"),
            (r#"{"room":5,"set":{}}"#, "Invalid room field: must be a string"),
            (r#"{"room":"","set":{}}"#, "Invalid room field: must not be empty"),
            (
                r#"{"room":"\ud800","set":{}}"#,
                "Invalid room field: must not contain half a surrogate pair",
            ),
            (r#"{"room":"r"}"#, "Missing set field"),
            (&long, "Invalid id field: must have at most 1024 bytes"),
            (r#"{"room":"r","set":[]}"#, "Invalid set field: must be an object"),
            (
                r#"{"room":"r","set":{"\ud800":1}}"#,
                "Invalid set field: a key must not contain half a surrogate pair",
            ),
            (
                r#"{"room":"r","set":{"__pr\u006fto__":1}}"#,
                "Invalid set field: a key must not be __proto__",
            ),
            (r#"{"room":"r","set":{"12345":1}}"#, "State key longer than 4 bytes"),
            (r#"{"room":"r","set":{"12345":null}}"#, "State key longer than 4 bytes"),
            (r#"{"room":"r","set":{"a":"1234567"}}"#, "State value larger than 8 bytes"),
            (
                r#"{"room":"r","set":{"a":1,"b":1,"c":1,"d":1}}"#,
                "State of a room larger than 3 keys",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), message, "{text}");
        }
        assert!(read(r#"{"room":"r","set":{"a":1,"b":1,"c":1,"a":2}}"#).is_ok());
    }
}
