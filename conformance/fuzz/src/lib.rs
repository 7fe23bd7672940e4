//! The bodies of the fuzz targets: each takes any bytes, and panics if something does not hold.
//!
//! `cargo test` runs them on the seeds and on mutations of those (`conformance/tests/fuzz.rs`), and
//! `cargo fuzz` on whatever it finds (see the README beside this crate).

#![forbid(unsafe_code)]

pub mod dot_env;
pub mod engine;
pub mod envelope;
pub mod http_head;
pub mod inflate;
pub mod json;
pub mod view;
pub mod world;
