//! JSON as it was written: a strict scanner that checks a text once and hands out its parts.
//!
//! A relay must not change what it relays (R-F1), so nothing here turns a number into a float or
//! a string into another spelling of itself. The scanner accepts exactly the grammar of RFC 8259,
//! as `JSON.parse` does, lone surrogate escapes included; it never recurses, allocates nothing,
//! and stops at a depth limit (R-L6).

mod key;
mod raw;
#[cfg(test)]
pub(crate) mod readings;
mod scan;
mod string;
mod strip;
mod walk;
mod word;

pub use raw::{Array, Json, Kind, Member, Object, RawJson};
pub use scan::{MAX_DEPTH, check};
pub use string::{decode, push_string, quote};

pub(crate) use key::{Names, Spelling};
#[cfg(test)]
pub(crate) use scan::work;
pub(crate) use scan::{Entry, Scanner};
pub(crate) use string::{decode_lossy, decode_to, has_half_surrogate};
pub(crate) use strip::Secrets;
