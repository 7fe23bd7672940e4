//! `user|id`: who a session is, and whom a frame is for.

use alloc::{
    borrow::Cow,
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, ops::Range, str::FromStr};

use memchr::memchr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

use crate::{
    json::{Array, Json, Kind},
    name::{NameError, PeerId, UserName},
};

/// The full address of a session, written `user|id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Whose session it is.
    pub user: UserName,
    /// Which of the user's sessions.
    pub id: PeerId,
}

/// Why a text is no [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no `|`.
    #[error("an address has the form user|id")]
    NoSeparator,
    /// What stands before `|` is no user name.
    #[error("user {0}")]
    User(NameError),
    /// What stands after `|` is no peer id.
    #[error("id {0}")]
    Id(NameError),
}

impl Address {
    /// The address of a session.
    #[must_use]
    pub fn new(user: UserName, id: PeerId) -> Self {
        Self { user, id }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.user, self.id)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (user, id) = text.split_once('|').ok_or(AddressError::NoSeparator)?;
        Ok(Self {
            user: UserName::new(user).map_err(AddressError::User)?,
            id: PeerId::new(id).map_err(AddressError::Id)?,
        })
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Whom a routed frame is for, as its `to` says (SPEC §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// No `to`: every peer that shares a room with the sender.
    Everyone,
    /// The session with this id, if it shares a room with the sender.
    Session(Cow<'a, str>),
    /// The session with this id if there is one, or else the room of this name.
    Name(Cow<'a, str>),
    /// The members of these rooms: the strings of the array, other elements do not count.
    Rooms(Array<'a>),
}

/// Why a `to` names nobody (R-M5, R-L6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// Neither a string nor an array.
    #[error("must be a string or an array of rooms")]
    WrongType,
    /// Neither a name nor an id.
    #[error("must not be empty")]
    Empty,
    /// More rooms than the limit, which is named.
    #[error("must not name more than {0} rooms")]
    TooManyRooms(usize),
    /// A string that no Rust string can hold.
    #[error("must not contain half a surrogate pair")]
    LoneSurrogate,
}

impl<'a> Recipient<'a> {
    /// Reads the `to` of a frame. An array may name `max_rooms` rooms.
    ///
    /// # Errors
    /// [`RecipientError`]: the sender is to be told.
    pub fn decode(to: Option<Json<'a>>, max_rooms: usize) -> Result<Self, RecipientError> {
        let Some(to) = to else { return Ok(Self::Everyone) };
        if let Some(text) = to.as_str() {
            let text = text.map_err(|_| RecipientError::LoneSurrogate)?;
            let (part, range) = Self::split(&text)?;
            let text = match text {
                Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
                Cow::Owned(text) => Cow::Owned(text[range].into()),
            };
            return Ok(match part {
                Part::Id => Self::Session(text),
                Part::Name => Self::Name(text),
            });
        }
        let rooms = to.as_array().ok_or(RecipientError::WrongType)?;
        let mut count = 0;
        rooms.for_each_while(|element| {
            count += usize::from(element.kind() == Kind::String);
            count <= max_rooms
        });
        if count > max_rooms {
            return Err(RecipientError::TooManyRooms(max_rooms));
        }
        Ok(Self::Rooms(rooms))
    }

    /// Splits a string `to` (R-M0): the first part is the name, the second the id, the rest is
    /// ignored; with an id, the id decides.
    fn split(to: &str) -> Result<(Part, Range<usize>), RecipientError> {
        let end = |text: &str| memchr(b'|', text.as_bytes()).unwrap_or(text.len());
        let name = end(to);
        let id = to.get(name + 1..).unwrap_or_default();
        let id = name + 1..name + 1 + end(id);
        if !id.is_empty() {
            Ok((Part::Id, id))
        } else if name > 0 {
            Ok((Part::Name, 0..name))
        } else {
            Err(RecipientError::Empty)
        }
    }
}

/// Which part of a string `to` decides.
enum Part {
    Name,
    Id,
}

/// The `to` of a frame that is being built.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum To {
    /// An address, a user, a room or a peer id.
    One(String),
    /// Several rooms.
    Rooms(Vec<String>),
}

impl From<&Address> for To {
    fn from(address: &Address) -> Self {
        Self::One(address.to_string())
    }
}

impl From<&str> for To {
    fn from(name: &str) -> Self {
        Self::One(name.into())
    }
}

impl From<String> for To {
    fn from(name: String) -> Self {
        Self::One(name)
    }
}

impl From<Vec<String>> for To {
    fn from(rooms: Vec<String>) -> Self {
        Self::Rooms(rooms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let address: Address = "alice|0ab".parse().unwrap();
        assert_eq!((address.user.as_str(), address.id.as_str()), ("alice", "0ab"));
        assert_eq!(address.to_string(), "alice|0ab");
        assert_eq!(serde_json::to_string(&address).unwrap(), "\"alice|0ab\"");
        assert_eq!(serde_json::from_str::<Address>("\"alice|0ab\"").unwrap(), address);
        for (text, error) in [
            ("alice", AddressError::NoSeparator),
            ("|0ab", AddressError::User(NameError::Empty)),
            ("alice|", AddressError::Id(NameError::Empty)),
            ("alice|0ab|x", AddressError::Id(NameError::NotAlphanumeric)),
        ] {
            assert_eq!(text.parse::<Address>().unwrap_err(), error, "{text}");
        }
    }

    fn decode(to: &str) -> Result<Recipient<'_>, RecipientError> {
        Recipient::decode(Some(Json::parse(to, 8).unwrap()), 3)
    }

    /// R-M0, R-M5
    #[test]
    fn recipients() {
        use Recipient::{Name, Session};
        assert_eq!(Recipient::decode(None, 3), Ok(Recipient::Everyone));
        for (to, expected) in [
            (r#""bob|0ab""#, Ok(Session("0ab".into()))),
            (r#""|0ab""#, Ok(Session("0ab".into()))),
            (r#""x|0ab|y|z""#, Ok(Session("0ab".into()))),
            (r#""bob""#, Ok(Name("bob".into()))),
            (r#""bob|""#, Ok(Name("bob".into()))),
            (r#""bob||x""#, Ok(Name("bob".into()))),
            (r#""b\u006fb\u007c0ab""#, Ok(Session("0ab".into()))),
            (r#""|""#, Err(RecipientError::Empty)),
            (r#""||x""#, Err(RecipientError::Empty)),
            (r#""""#, Err(RecipientError::Empty)),
            (r#""\ud800""#, Err(RecipientError::LoneSurrogate)),
            ("null", Err(RecipientError::WrongType)),
            ("5", Err(RecipientError::WrongType)),
            ("true", Err(RecipientError::WrongType)),
            ("{}", Err(RecipientError::WrongType)),
        ] {
            assert_eq!(decode(to), expected, "{to}");
        }
    }

    /// R-L6
    #[test]
    fn an_array_names_so_many_rooms() {
        assert!(matches!(decode(r#"["a","b|c",5,"","d"]"#), Err(RecipientError::TooManyRooms(3))));
        let Ok(Recipient::Rooms(rooms)) = decode(r#"["a",5,"b|c",null]"#) else { panic!() };
        let mut names = Vec::new();
        rooms.for_each_str(|name| names.push(name.into_owned()));
        assert_eq!(names, ["a", "b|c"]);
        assert!(decode("[]").is_ok());
    }

    #[test]
    fn what_is_built_can_be_read() {
        assert_eq!(serde_json::to_string(&To::from("bob")).unwrap(), "\"bob\"");
        let rooms = To::Rooms(["a".into(), "b".into()].into());
        assert_eq!(serde_json::to_string(&rooms).unwrap(), r#"["a","b"]"#);
        assert_eq!(serde_json::from_str::<To>(r#"["a","b"]"#).unwrap(), rooms);
    }
}
