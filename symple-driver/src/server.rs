//! What users of a server see: how it is built, configured, spoken to and watched.

pub(crate) mod builder;
pub(crate) mod config;
pub(crate) mod endpoint;
pub(crate) mod events;
pub(crate) mod handle;
pub(crate) mod hooks;
pub(crate) mod log;
mod memory;
pub(crate) mod mount;
pub(crate) mod proofs;
pub(crate) mod running;
pub(crate) mod stats;
pub(crate) mod status;
