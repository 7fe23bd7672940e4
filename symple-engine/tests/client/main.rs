//! The client machine, from outside. Every test names the rules that it is about.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod against_server;
mod world;
