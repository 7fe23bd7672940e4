//! Names that have been checked: users, rooms, peer ids.

use alloc::{boxed::Box, string::String};
use core::{borrow::Borrow, fmt, ops::Deref, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use thiserror::Error;

/// The longest user or room name, in bytes of UTF-8 (R-A1, R-R2).
pub const MAX_NAME_LEN: usize = 255;

/// The longest peer id, in bytes.
pub const MAX_ID_LEN: usize = 64;

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The empty text names nothing.
    #[error("must not be empty")]
    Empty,
    /// Longer than the limit, which is named.
    #[error("must not be longer than {0} bytes")]
    TooLong(usize),
    /// `|` parts user and id in an address.
    #[error("must not contain '|'")]
    Separator,
    /// A control character (Unicode category Cc).
    #[error("must not contain control characters")]
    ControlCharacter,
    /// A peer id has digits and lower-case letters only.
    #[error("must consist of 0-9 and a-z")]
    NotAlphanumeric,
}

/// Checks the name of a user (R-A1): not empty, no `|`, no control characters, at most
/// [`MAX_NAME_LEN`] bytes.
///
/// # Errors
/// The first rule that the text breaks.
pub fn check_user(text: &str) -> Result<(), NameError> {
    check_length(text, MAX_NAME_LEN)?;
    if text.contains('|') {
        return Err(NameError::Separator);
    }
    if text.contains(char::is_control) {
        return Err(NameError::ControlCharacter);
    }
    Ok(())
}

/// Checks the name of a room (R-R2): not empty, any characters, at most [`MAX_NAME_LEN`] bytes.
///
/// # Errors
/// The first rule that the text breaks.
pub fn check_room(text: &str) -> Result<(), NameError> {
    check_length(text, MAX_NAME_LEN)
}

/// Checks a peer id (R-F6): `[0-9a-z]`, not empty, at most [`MAX_ID_LEN`] bytes.
///
/// # Errors
/// The first rule that the text breaks.
pub fn check_id(text: &str) -> Result<(), NameError> {
    check_length(text, MAX_ID_LEN)?;
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()) {
        Ok(())
    } else {
        Err(NameError::NotAlphanumeric)
    }
}

fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        length if length > max => Err(NameError::TooLong(max)),
        _ => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks a text.
            ///
            /// # Errors
            /// The first rule that the text breaks.
            pub fn new(text: impl Into<Box<str>>) -> Result<Self, NameError> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    };
}

name! {
    /// The name of a user (R-A1), who may have several sessions; see [`check_user`].
    UserName, check_user
}

name! {
    /// The name of a room (R-R2); see [`check_room`].
    RoomName, check_room
}

name! {
    /// The id that the server gave to a session (R-F6); see [`check_id`].
    PeerId, check_id
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-A1
    #[test]
    fn user_names() {
        let longest = "é".repeat(127) + "x";
        for good in
            ["alice", " ", "Zoë-日本-🎈", "a\"b\\c", "hasOwnProperty", "__proto__", &longest]
        {
            assert_eq!(check_user(good), Ok(()), "{good}");
        }
        assert_eq!(check_user(""), Err(NameError::Empty));
        assert_eq!(check_user("al|ice"), Err(NameError::Separator));
        assert_eq!(check_user("a\nb"), Err(NameError::ControlCharacter));
        assert_eq!(check_user("a\u{0}"), Err(NameError::ControlCharacter));
        assert_eq!(check_user("a\u{85}"), Err(NameError::ControlCharacter));
        assert_eq!(check_user(&"é".repeat(128)), Err(NameError::TooLong(255)));
    }

    /// R-R2
    #[test]
    fn room_names() {
        for good in ["r", "a|b", "\n", "\u{0}", "🎤"] {
            assert_eq!(check_room(good), Ok(()), "{good}");
        }
        assert_eq!(check_room(""), Err(NameError::Empty));
        assert_eq!(check_room(&"x".repeat(256)), Err(NameError::TooLong(255)));
    }

    /// R-F6
    #[test]
    fn peer_ids() {
        assert_eq!(check_id("0azgq9"), Ok(()));
        for bad in ["A", "a-b", "é", "a b"] {
            assert_eq!(check_id(bad), Err(NameError::NotAlphanumeric), "{bad}");
        }
        assert_eq!(check_id(&"0".repeat(65)), Err(NameError::TooLong(64)));
    }

    #[test]
    fn names_are_checked_on_their_way_in() {
        assert_eq!(serde_json::from_str::<UserName>("\"bob\"").unwrap(), "bob");
        assert!(serde_json::from_str::<UserName>("\"b|b\"").is_err());
        assert_eq!(serde_json::to_string(&RoomName::new("a|b").unwrap()).unwrap(), "\"a|b\"");
    }
}
