//! Frames that a backend emits (R-S3).

use thiserror::Error;

use crate::{
    address::{Recipient, RecipientError},
    error::DecodeError,
    view::FrameView,
};

/// A frame that a backend emits: trusted, relayed as it stands, `from` included.
#[derive(Clone, Debug)]
pub struct Emission<'a> {
    /// Whom it is for; never everyone.
    pub recipient: Recipient<'a>,
    text: &'a str,
}

/// Why an emission is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EmissionError {
    /// No JSON object.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// No `to`: there is no sender whose rooms it could mean.
    #[error("the emission has no to field")]
    NoRecipient,
    /// A `to` that names nobody.
    #[error("invalid to field: {0}")]
    Recipient(#[from] RecipientError),
}

impl<'a> Emission<'a> {
    /// Reads an emitted text of at most `max_depth` levels, for at most `max_rooms` rooms.
    ///
    /// # Errors
    /// [`EmissionError`]: to be logged; there is nobody to be told.
    pub fn parse(text: &'a str, max_depth: usize, max_rooms: usize) -> Result<Self, EmissionError> {
        let view = FrameView::parse(text, max_depth)?;
        match Recipient::decode(view.to(), max_rooms)? {
            Recipient::Everyone => Err(EmissionError::NoRecipient),
            recipient => Ok(Self { recipient, text: view.text() }),
        }
    }

    /// The frame as it is delivered.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-S3
    #[test]
    fn emissions() {
        let text = r#" {"type":"message","from":"backend","to":"bob|0a","data":1.0} "#;
        let emission = Emission::parse(text, 8, 2).unwrap();
        assert_eq!(emission.recipient, Recipient::Session("0a".into()));
        assert_eq!(emission.text(), text.trim());
        for (text, expected) in [
            (r#"{"type":"message"}"#, EmissionError::NoRecipient),
            (r#"{"to":null}"#, EmissionError::Recipient(RecipientError::WrongType)),
            (r#"{"to":"|"}"#, EmissionError::Recipient(RecipientError::Empty)),
            (r#"{"to":["a","b","c"]}"#, EmissionError::Recipient(RecipientError::TooManyRooms(2))),
        ] {
            assert_eq!(Emission::parse(text, 8, 2).unwrap_err(), expected, "{text}");
        }
        for text in ["", "[]", "5", "null", "{"] {
            assert!(matches!(Emission::parse(text, 8, 2), Err(EmissionError::Decode(_))), "{text}");
        }
    }
}
