//! Members of frames, read from and written to [`Fields`].

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use thiserror::Error;

use crate::{
    TypeError,
    address::To,
    error::DecodeError,
    fields::Fields,
    json::{Json, Kind, MAX_DEPTH, RawJson},
    name::{PeerId, RoomName, UserName},
    session::Token,
    status::Status,
};

/// Why a text is none of the frames that were expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// No JSON, or no object.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// No `type`.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// A `type` that the other side does not send.
    #[error("unknown type: {0}")]
    UnknownType(String),
    /// A member that must be there is not.
    #[error("missing {0} field")]
    Missing(&'static str),
    /// A member is not what it must be.
    #[error("invalid {name} field: must be {expected}")]
    Invalid {
        /// The member.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

/// What a member can be read as.
pub(super) trait Field: Sized {
    /// What a reader is told if it is something else.
    const EXPECTED: &'static str;

    fn read(raw: &RawJson) -> Option<Self>;

    fn write(&self) -> RawJson;
}

impl Field for RawJson {
    const EXPECTED: &'static str = "JSON";

    fn read(raw: &RawJson) -> Option<Self> {
        Some(raw.clone())
    }

    fn write(&self) -> RawJson {
        self.clone()
    }
}

impl Field for String {
    const EXPECTED: &'static str = "a string";

    fn read(raw: &RawJson) -> Option<Self> {
        raw.as_str().map(alloc::borrow::Cow::into_owned)
    }

    fn write(&self) -> RawJson {
        RawJson::string(self)
    }
}

impl Field for Token {
    const EXPECTED: &'static str = "a string that is not empty";

    fn read(raw: &RawJson) -> Option<Self> {
        Self::new(raw.as_str()?)
    }

    fn write(&self) -> RawJson {
        RawJson::string(self.expose())
    }
}

impl Field for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(raw: &RawJson) -> Option<Self> {
        raw.to().ok()
    }

    fn write(&self) -> RawJson {
        RawJson::bool(*self)
    }
}

impl Field for Status {
    const EXPECTED: &'static str = "a number from 0 to 65535";

    fn read(raw: &RawJson) -> Option<Self> {
        raw.to().ok()
    }

    fn write(&self) -> RawJson {
        number(self.0)
    }
}

/// A small number as JSON.
fn number(value: u16) -> RawJson {
    let text = value.to_string();
    RawJson::from(Json::checked(&text, Kind::Number))
}

impl Field for To {
    const EXPECTED: &'static str = "a string or an array of strings";

    fn read(raw: &RawJson) -> Option<Self> {
        match raw.get().kind() {
            Kind::Array => Vec::read(raw).map(Self::Rooms),
            _ => String::read(raw).map(Self::One),
        }
    }

    fn write(&self) -> RawJson {
        match self {
            Self::One(name) => name.write(),
            Self::Rooms(rooms) => rooms.write(),
        }
    }
}

impl Field for Vec<String> {
    const EXPECTED: &'static str = "an array of strings";

    fn read(raw: &RawJson) -> Option<Self> {
        raw.to().ok()
    }

    fn write(&self) -> RawJson {
        let mut text = String::from("[");
        for (at, item) in self.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            crate::json::push_string(&mut text, item);
        }
        text.push(']');
        RawJson::from(Json::checked(&text, Kind::Array))
    }
}

macro_rules! name_field {
    ($($name:ident, $expected:literal;)*) => {$(
        impl Field for $name {
            const EXPECTED: &'static str = $expected;

            fn read(raw: &RawJson) -> Option<Self> {
                Self::new(raw.as_str()?).ok()
            }

            fn write(&self) -> RawJson {
                RawJson::string(self)
            }
        }
    )*};
}

name_field! {
    UserName, "a user name";
    RoomName, "a room name";
    PeerId, "a peer id";
}

impl Field for Fields {
    const EXPECTED: &'static str = "an object";

    fn read(raw: &RawJson) -> Option<Self> {
        Self::try_from(raw.get().as_object()?).ok()
    }

    fn write(&self) -> RawJson {
        RawJson::from(Json::checked(&self.to_json(), Kind::Object))
    }
}

/// Takes a member out of a frame that is being read.
pub(super) fn take<T: Field>(
    fields: &mut Fields,
    name: &'static str,
) -> Result<Option<T>, FrameError> {
    let Some(raw) = fields.remove(name) else { return Ok(None) };
    match T::read(&raw) {
        Some(value) => Ok(Some(value)),
        None => Err(FrameError::Invalid { name, expected: T::EXPECTED }),
    }
}

/// Takes a member out that must be there.
pub(super) fn require<T: Field>(fields: &mut Fields, name: &'static str) -> Result<T, FrameError> {
    take(fields, name)?.ok_or(FrameError::Missing(name))
}

/// Reads the members of a frame and the name of its type.
pub(super) fn read_frame(text: &str) -> Result<(String, Fields), FrameError> {
    let json = Json::parse(text, MAX_DEPTH)?;
    let object =
        json.as_object().ok_or_else(|| DecodeError::new(crate::error::Fault::NotAnObject, 0))?;
    read_type(Fields::try_from(object)?)
}

/// Takes the name of the type out of the members of a frame.
pub(super) fn read_type(mut fields: Fields) -> Result<(String, Fields), FrameError> {
    let raw = fields.remove("type").ok_or(TypeError::Missing)?;
    let name = raw.as_str().ok_or(TypeError::NotAString)?.into_owned();
    Ok((name, fields))
}

/// A frame type: its struct, how it is read from members and written to them.
///
/// Members marked `?` may be missing.
macro_rules! frame {
    (
        $(#[$doc:meta])*
        $frame:ident = $type:literal {
            $($(#[$required_doc:meta])* $required:ident: $required_type:ty,)*
            $(? $(#[$optional_doc:meta])* $optional:ident: $optional_type:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $frame {
            $($(#[$required_doc])* pub $required: $required_type,)*
            $($(#[$optional_doc])* pub $optional: Option<$optional_type>,)*
            /// Further members, as they were written.
            pub extra: $crate::Fields,
        }

        impl $frame {
            pub(super) const TYPE: &'static str = $type;

            /// Reads the members of a frame without its `type`.
            #[allow(unused_mut, reason = "a frame may have no members of its own")]
            pub(super) fn read(mut fields: $crate::Fields) -> Result<Self, $crate::FrameError> {
                Ok(Self {
                    $($required: $crate::frame::field::require(&mut fields, stringify!($required))?,)*
                    $($optional: $crate::frame::field::take(&mut fields, stringify!($optional))?,)*
                    extra: fields,
                })
            }

            /// The members of the frame.
            pub(super) fn write(&self) -> $crate::Fields {
                let mut fields = $crate::Fields::new().with("type", Self::TYPE);
                $(fields.set(stringify!($required), $crate::frame::field::Field::write(&self.$required));)*
                $(if let Some(value) = &self.$optional {
                    fields.set(stringify!($optional), $crate::frame::field::Field::write(value));
                })*
                fields.merge(self.extra.clone());
                fields
            }

            /// The frame as the text that goes over the wire.
            #[must_use]
            pub fn to_text(&self) -> alloc::string::String {
                self.write().to_json()
            }
        }

        impl From<$frame> for alloc::string::String {
            /// The frame as the text that goes over the wire.
            fn from(frame: $frame) -> Self {
                frame.to_text()
            }
        }
    };
}

/// An enum of frames: reading by type, and serde by way of [`Fields`].
macro_rules! frames {
    (
        $(#[$doc:meta])*
        $frames:ident { $($frame:ident,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "Fields", into = "Fields")]
        #[non_exhaustive]
        pub enum $frames {
            $(#[doc = concat!("See [`", stringify!($frame), "`].")] $frame($frame),)*
        }

        impl $frames {
            /// Reads the text of a frame.
            ///
            /// # Errors
            /// [`FrameError`](crate::FrameError)
            pub fn parse(text: &str) -> Result<Self, $crate::FrameError> {
                let (name, fields) = $crate::frame::field::read_frame(text)?;
                Self::read(name, fields)
            }

            fn read(name: alloc::string::String, fields: $crate::Fields) -> Result<Self, $crate::FrameError> {
                match name.as_str() {
                    $($frame::TYPE => $frame::read(fields).map(Self::$frame),)*
                    _ => Err($crate::FrameError::UnknownType(name)),
                }
            }

            /// The frame as the text that goes over the wire.
            #[must_use]
            pub fn to_text(&self) -> alloc::string::String {
                match self {
                    $(Self::$frame(frame) => frame.to_text(),)*
                }
            }
        }

        impl TryFrom<$crate::Fields> for $frames {
            type Error = $crate::FrameError;

            fn try_from(fields: $crate::Fields) -> Result<Self, $crate::FrameError> {
                let (name, fields) = $crate::frame::field::read_type(fields)?;
                Self::read(name, fields)
            }
        }

        impl From<$frames> for $crate::Fields {
            fn from(frame: $frames) -> Self {
                match frame {
                    $($frames::$frame(frame) => frame.write(),)*
                }
            }
        }

        $(impl From<$frame> for $frames {
            fn from(frame: $frame) -> Self {
                Self::$frame(frame)
            }
        })*
    };
}

pub(super) use {frame, frames};
