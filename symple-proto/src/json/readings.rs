//! How receivers with different JSON libraries read the same text: for tests.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use serde::de::{MapAccess, Visitor};
use serde_json::Value;

/// The habits of a receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// The first of several members counts, not the last.
    first: bool,
    /// Case is ignored.
    folded: bool,
    /// A key ends at a NUL.
    cut: bool,
}

/// Receivers with all habits, one by one and together.
pub(crate) fn all() -> impl Iterator<Item = Reading> {
    (0..8).map(|bits| Reading { first: bits & 1 > 0, folded: bits & 2 > 0, cut: bits & 4 > 0 })
}

impl Reading {
    /// What the receiver takes for the member of that name of an object.
    pub(crate) fn get(self, text: &str, name: &str) -> Option<Value> {
        let members: Members = serde_json::from_str(text).expect("the text is an object");
        let mut found = members.0.into_iter().filter(|(key, _)| self.read(key) == name);
        let (_, value) = if self.first { found.next() } else { found.next_back() }?;
        Some(value)
    }

    fn read(self, key: &str) -> String {
        let key = if self.cut { key.split('\0').next().unwrap_or_default() } else { key };
        if self.folded {
            // By way of upper case: more is equal so than by way of lower case alone.
            let upper: String = key.chars().flat_map(char::to_uppercase).collect();
            // A dotted capital I has two characters in lower case; some receivers drop the dot.
            upper.chars().filter_map(|upper| upper.to_lowercase().next()).collect()
        } else {
            key.to_string()
        }
    }
}

/// The members of an object, repeated ones included.
struct Members(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}
