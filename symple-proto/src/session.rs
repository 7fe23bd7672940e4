//! The session records that stand in Redis behind tokens (R-A4, R-A12).

use alloc::{borrow::Cow, boxed::Box};
use core::fmt;

use thiserror::Error;

use crate::{
    fields::Fields,
    json::{Json, Kind, MAX_DEPTH, RawJson},
    name::{NameError, check_room, check_user},
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
///
/// `user` is who the holder is, `name` how it is shown, `rooms` where it is put, and `private` what
/// hooks may know and nobody else (R-A4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRecord(pub Fields);

/// The member of a session that never leaves the server (R-A4).
pub const PRIVATE_MEMBER: &str = "private";

/// What is wrong with a session. [`NotAnObject`](Self::NotAnObject) is told to clients as it is
/// written here; the others say something about what is stored, and are for those who store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Not a JSON object.
    #[error("Session must be an object")]
    NotAnObject,
    /// Half a surrogate pair in a key or a value, where text is needed: a server refuses it.
    #[error("Session has half a surrogate pair, which is no character")]
    HalfSurrogate,
    /// A `user` that is no string: a server refuses it.
    #[error("Session user must be a string")]
    UserNotAString,
    /// A `user` that is no name: a server refuses it.
    #[error("Session user {0}")]
    User(NameError),
    /// No `user`: a server refuses it, unless it is set up otherwise or a hook says who it is.
    #[error("Session names no user")]
    NoUser,
    /// A `name` that is neither string nor number nor boolean: a server shows the user instead.
    #[error("Session name must be a string")]
    Name,
    /// `rooms` that are no array: a server ignores them.
    #[error("Session rooms must be an array of strings")]
    Rooms,
    /// A room among `rooms` that is no name: a server ignores it.
    #[error("Session rooms: a room {0}")]
    Room(NameError),
}

impl SessionRecord {
    /// Reads a stored text.
    ///
    /// # Errors
    /// [`SessionError::NotAnObject`], and [`SessionError::HalfSurrogate`] for a key that no Rust
    /// string can hold.
    pub fn parse(text: &str) -> Result<Self, SessionError> {
        let object = Json::parse(text, MAX_DEPTH).ok().and_then(Json::as_object);
        let object = object.ok_or(SessionError::NotAnObject)?;
        Fields::try_from(object).map(Self).map_err(|_| SessionError::HalfSurrogate)
    }

    /// Who the holder is; none if the session does not say (R-A4).
    ///
    /// # Errors
    /// A `user` that is no name of a user.
    pub fn user(&self) -> Result<Option<Cow<'_, str>>, SessionError> {
        let Some(user) = self.0.get("user") else { return Ok(None) };
        match user.get().as_str() {
            Some(Ok(user)) => match check_user(&user) {
                Ok(()) => Ok(Some(user)),
                Err(error) => Err(SessionError::User(error)),
            },
            Some(Err(_)) => Err(SessionError::HalfSurrogate),
            None => Err(SessionError::UserNotAString),
        }
    }

    /// Finds what a server would refuse: a text that no Rust string can hold, a `user` that is no
    /// name. It does not ask for a `user`.
    ///
    /// # Errors
    /// The first such fault.
    pub fn check_refused(&self) -> Result<(), SessionError> {
        if self.0.iter().any(|(_, value)| value.get().has_half_surrogate()) {
            return Err(SessionError::HalfSurrogate);
        }
        self.user().map(drop)
    }

    /// Finds what a server would refuse or ignore (R-A4): the faults of
    /// [`check_refused`](Self::check_refused), a `name` that is no name, rooms that are none. It
    /// does not ask for a `user`.
    ///
    /// # Errors
    /// The first such fault.
    pub fn check(&self) -> Result<(), SessionError> {
        self.check_refused()?;
        if let Some(Kind::Object | Kind::Array) = self.0.get("name").map(|name| name.get().kind()) {
            return Err(SessionError::Name);
        }
        let Some(rooms) = self.0.get("rooms").map(RawJson::get) else { return Ok(()) };
        let rooms = rooms.as_array().ok_or(SessionError::Rooms)?;
        let mut checked = Ok(());
        rooms.for_each(|room| {
            checked = checked.and(match room.as_str() {
                Some(Ok(room)) => check_room(&room).map_err(SessionError::Room),
                _ => Err(SessionError::Rooms),
            });
        });
        checked
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn a_token_is_not_printed() {
        let token = Token::new("secret").unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
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

    /// R-A1, R-A4: what a server would refuse or ignore, each with a sentence.
    #[test]
    fn what_is_wrong_with_a_session() {
        let long = format!(r#"{{"rooms":["{}"]}}"#, "x".repeat(256));
        for (text, refused, message) in [
            (r#"{"user":"a\ud800"}"#, true, "half a surrogate pair"),
            (r#"{"user":"a","data":{"\ud800":1}}"#, true, "half a surrogate pair"),
            (r#"{"user":5}"#, true, "user must be a string"),
            (r#"{"user":null}"#, true, "user must be a string"),
            (r#"{"user":""}"#, true, "user must not be empty"),
            (r#"{"user":"a|b"}"#, true, "user must not contain '|'"),
            (r#"{"user":"a","name":{}}"#, false, "name must be a string"),
            (r#"{"user":"a","name":["b"]}"#, false, "name must be a string"),
            (r#"{"user":"a","rooms":"team-a"}"#, false, "rooms must be an array of strings"),
            (r#"{"user":"a","rooms":null}"#, false, "rooms must be an array of strings"),
            (r#"{"user":"a","rooms":["b",5]}"#, false, "rooms must be an array of strings"),
            (r#"{"user":"a","rooms":["b",""]}"#, false, "a room must not be empty"),
            (&long, false, "a room must not be longer than 255 bytes"),
        ] {
            let session = SessionRecord::parse(text).unwrap();
            let error = session.check().unwrap_err();
            assert!(format!("{error}").contains(message), "{text}: {error}");
            assert_eq!(session.check_refused().is_err(), refused, "{text}");
        }
        let key = SessionRecord::parse(r#"{"user":"a","\ud800":1}"#);
        assert_eq!(key, Err(SessionError::HalfSurrogate));
        for good in [
            "{}",
            r#"{"user":"a","name":5,"rooms":["b"],"private":{"csrf":1}}"#,
            r#"{"user":"a","name":null}"#,
        ] {
            assert_eq!(SessionRecord::parse(good).unwrap().check(), Ok(()), "{good}");
        }
    }
}
