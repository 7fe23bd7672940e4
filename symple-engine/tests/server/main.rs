//! The server machine, from outside. Every test names the rules that it is about.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod admission;
mod batches;
mod behind;
mod bounds;
mod cluster;
mod common;
mod counts;
mod expiry;
mod hooks;
mod host;
mod limits;
mod listing;
mod model;
mod presence;
mod rooms;
mod routing;
mod sessions;
mod shutdown;
mod snapshots;
mod states;
