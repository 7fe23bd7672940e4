//! The session records that stand in Redis behind tokens (R-A4, R-A12).

use alloc::boxed::Box;
use core::fmt;

use thiserror::Error;

use crate::{
    fields::Fields,
    json::{Json, MAX_DEPTH},
};

/// What proves who a client is. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(Box<str>);

impl Token {
    /// A token; `None` for the empty text, which clients send for none (R-A12).
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty()).then_some(Self(text))
    }

    /// The token itself: for what looks sessions up, and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What is known of the holder of a token: members that go over those of the `auth` frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRecord(pub Fields);

/// Why a stored text is no session record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SessionError {
    /// Not a JSON object. The text is the one that clients are told; it says nothing about what
    /// is stored.
    #[error("Session must be an object")]
    NotAnObject,
}

impl SessionRecord {
    /// Reads a stored text.
    ///
    /// # Errors
    /// [`SessionError`]
    pub fn parse(text: &str) -> Result<Self, SessionError> {
        let object = Json::parse(text, MAX_DEPTH).ok().and_then(Json::as_object);
        object.map(|object| Self(Fields::from(object))).ok_or(SessionError::NotAnObject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_printed() {
        let token = Token::new("secret").unwrap();
        assert_eq!(alloc::format!("{token:?}"), "Token(…)");
        assert_eq!(token.expose(), "secret");
        assert_eq!(Token::new(""), None);
    }

    /// R-A12
    #[test]
    fn only_objects_are_sessions() {
        for text in ["", "5", "null", "[]", "\"alice\"", r#"{"user":"alice""#] {
            assert_eq!(SessionRecord::parse(text), Err(SessionError::NotAnObject), "{text}");
        }
        let session = SessionRecord::parse(r#"{"user":"alice","plan":1.0}"#).unwrap();
        assert_eq!(session.0.get_str("user").unwrap(), "alice");
        assert_eq!(session.0.get("plan").unwrap().text(), "1.0");
    }
}
