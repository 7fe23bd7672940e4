//! The client machine, from outside. Every test names the rules that it is about.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stdout, reason = "a run is shown with TRACE=1")]

mod against_server;
mod frames;
mod world;
