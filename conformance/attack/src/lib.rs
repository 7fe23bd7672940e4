//! Attacks on a server: everything that one client could do to others, tried on a real process.
//!
//! Each attack starts a server, lets two honest clients talk there in a room of their own, does its
//! worst for a bounded time, and is held against bounds: that the two lose nothing and wait for at
//! most 10 ms longer, that memory grows by at most 16 MiB beyond what is documented, and what
//! the specification says about the case. Linux tells what the server used (`/proc`).

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

mod attacks;
mod bystander;
mod client;
mod control;
mod deflate;
mod drop;
mod forgery;
mod garbage;
mod gone;
mod hooks;
mod http;
mod log;
mod newcomers;
mod parse;
mod report;
mod routing;
mod run;
mod scene;
mod server;
mod slow;
mod stall;
mod stopped;
mod total;
mod units;
mod webhook;
mod wire;

pub use attacks::{ATTACKS, Attack};
pub use report::{Check, Outcome};
pub(crate) use run::Fault;
pub use run::{Options, run};
