//! What can be wrong with a text that should have been a frame.

use thiserror::Error;

/// A text that is no frame: what is wrong with it, and where.
///
/// The `Display` form is what a server answers with `error` 400 (R-F3); it repeats nothing of what
/// the client wrote but short names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{fault} at byte {offset}")]
pub struct DecodeError {
    fault: Fault,
    offset: usize,
}

impl DecodeError {
    pub(crate) fn new(fault: Fault, offset: usize) -> Self {
        Self { fault, offset }
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Where, in bytes from the start of the text that was parsed.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

/// The kinds of [`DecodeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The text ends before its value does.
    #[error("unexpected end of JSON")]
    UnexpectedEnd,
    /// Something follows the value.
    #[error("unexpected data after the JSON value")]
    TrailingData,
    /// No value starts here.
    #[error("invalid JSON: expected a value")]
    ExpectedValue,
    /// No key starts here.
    #[error("invalid JSON: expected a key in quotes")]
    ExpectedKey,
    /// A key is not followed by its colon.
    #[error("invalid JSON: expected ':'")]
    ExpectedColon,
    /// A member is followed by something else.
    #[error("invalid JSON: expected ',' or '}}'")]
    ExpectedCommaOrBrace,
    /// An element is followed by something else.
    #[error("invalid JSON: expected ',' or ']'")]
    ExpectedCommaOrBracket,
    /// A number is not spelled as JSON spells numbers.
    #[error("invalid JSON: invalid number")]
    InvalidNumber,
    /// A backslash is followed by something else than an escape.
    #[error("invalid JSON: invalid escape")]
    InvalidEscape,
    /// A control character stands in a string.
    #[error("invalid JSON: control character in a string")]
    ControlCharacter,
    /// Half a surrogate pair, where text is needed.
    #[error("half a surrogate pair in a string")]
    LoneSurrogate,
    /// More levels than the limit, which is named (R-L6).
    #[error("JSON nested deeper than {0} levels")]
    TooDeep(usize),
    /// The value is sound JSON and not an object.
    #[error("a frame must be a JSON object")]
    NotAnObject,
}
