//! The settings of a server (SPEC §11): their names, where they come from, what they mean.

mod dot_env;
pub(crate) mod flags;
mod ignored;
pub(crate) mod jwt;
pub(crate) mod places;
mod source;
mod table;
mod typed;

pub(crate) use source::{Source, read_dot_env};
pub(crate) use table::SETTINGS;
#[cfg(feature = "admin")]
pub(crate) use typed::{AdminSettings, read_admin_key};
pub(crate) use typed::{LogFormat, RedisSettings, Settings, Tls};
