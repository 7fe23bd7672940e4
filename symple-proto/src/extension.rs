//! The extensions of the protocol that a client may ask for (R-X1).

use alloc::string::String;
use core::fmt;

use crate::json::{Json, push_string};

/// A part of the protocol that only those clients see that have asked for it (R-X1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Extension {
    /// `state`: rooms have a state (R-K1 to R-K6).
    State,
    /// `roster`: presence comes in batches (R-X2).
    Roster,
    /// `expires`: the client is told when its session is about to expire.
    Expires,
}

impl Extension {
    /// Every extension.
    pub const ALL: [Self; 3] = [Self::State, Self::Roster, Self::Expires];

    /// The name of the extension in `auth` and `welcome`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Roster => "roster",
            Self::Expires => "expires",
        }
    }

    /// The extension of that name, if there is one.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.name() == name)
    }
}

/// A set of extensions in the order in which they were asked for: a few bytes, however long the
/// list was that it was read from.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions([Option<Extension>; Extension::ALL.len()]);

impl Extensions {
    /// No extensions.
    pub const NONE: Self = Self([None; Extension::ALL.len()]);

    /// Reads the `extensions` of an `auth` frame (R-X1). Names of no extension are ignored, and so
    /// are repeated ones and elements that are not strings. `None` if it is no array: then nothing
    /// has been asked for.
    #[must_use]
    pub fn read(asked: Json<'_>) -> Option<Self> {
        let mut extensions = Self::NONE;
        asked.as_array()?.for_each_str(|name| {
            if let Some(extension) = Extension::of_name(&name) {
                extensions.insert(extension);
            }
        });
        Some(extensions)
    }

    /// Adds an extension behind the others, unless it is there.
    pub fn insert(&mut self, extension: Extension) {
        if !self.contains(extension)
            && let Some(place) = self.0.iter_mut().find(|place| place.is_none())
        {
            *place = Some(extension);
        }
    }

    /// True if the extension is one of them.
    #[must_use]
    pub fn contains(self, extension: Extension) -> bool {
        self.0.contains(&Some(extension))
    }

    /// The extensions, in order.
    pub fn iter(self) -> impl Iterator<Item = Extension> {
        self.0.into_iter().flatten()
    }

    /// Appends the names of the extensions, as a JSON array.
    pub fn push(self, out: &mut String) {
        out.push('[');
        for (at, extension) in self.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            push_string(out, extension.name());
        }
        out.push(']');
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl FromIterator<Extension> for Extensions {
    fn from_iter<I: IntoIterator<Item = Extension>>(extensions: I) -> Self {
        let mut all = Self::NONE;
        for extension in extensions {
            all.insert(extension);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn read(text: &str) -> Option<String> {
        let mut out = String::new();
        Extensions::read(Json::parse(text, 128).unwrap())?.push(&mut out);
        Some(out)
    }

    /// R-X1: what is known, each once, in the order in which it was asked for.
    #[test]
    fn what_is_known_counts_once() {
        for (asked, on) in [
            ("[]", "[]"),
            (r#"["state"]"#, r#"["state"]"#),
            (r#"["roster","st\u0061te","roster"]"#, r#"["roster","state"]"#),
            (r#"["x","","State","state ",1,null,["state"],{"state":1}]"#, "[]"),
            (r#"["expires","x","state","y","roster","\ud800"]"#, r#"["expires","state","roster"]"#),
        ] {
            assert_eq!(read(asked).as_deref(), Some(on), "{asked}");
        }
        for asked in ["null", "1", "true", r#""state""#, r#"{"state":true}"#] {
            assert_eq!(read(asked), None, "{asked}");
        }
    }

    /// R-X1: a long list costs no more than a short one.
    #[test]
    fn a_long_list_is_short_here() {
        let many = [r#""state","x""#; 10_000].join(",");
        assert_eq!(read(&format!("[{many}]")).as_deref(), Some(r#"["state"]"#));
    }
}
