//! Redis: sessions, what backends emit, and the bus between nodes (SPEC §9, §10).
//!
//! A server has one connection ([`link`]), which its own thread looks after: subscribing,
//! publishing and what arrives are in the order in which they happen. Backends have
//! [`Sessions`] and [`Emitter`], which need no server.

mod address;
mod config;
mod connection;
mod emitter;
mod error;
#[cfg(test)]
#[path = "../tests/suite/redis/fake.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod fake;
mod first;
mod inbox;
mod link;
mod ops;
#[cfg(test)]
#[path = "../tests/suite/redis/process.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod process;
mod role;
mod sentinel;
mod sessions;
mod slot;
mod text;
mod trouble;
mod url;
mod warnings;

pub use config::RedisConfig;
pub use emitter::Emitter;
pub use error::RedisError;
pub(crate) use link::{Link, SessionUse};
pub(crate) use ops::{LinkEvent, Lookup};
pub use sessions::{SessionEntry, Sessions};
pub(crate) use text::one_line;
pub(crate) use warnings::Warnings;
