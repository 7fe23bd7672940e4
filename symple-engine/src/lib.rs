//! What happens on a Symple v4 node, as a pure state machine.
//!
//! No sockets, no clock, no randomness and no runtime: facts go in, [actions](server::Action)
//! come out, and the same facts always give the same actions. So a node can be driven by any
//! runtime, replayed from a transcript, or simulated by the thousand in a test. The crate is
//! `no_std`; that it touches nothing outside is checked by the compiler.
//!
//! What it does *not* do: frames on a socket, TLS, HTTP, Redis. Those who want a server that
//! listens take `symple-tokio` or `symple-async-std`; those who have a transport of their own
//! drive [`server::Server`] themselves.
//!
//! Items name the rules of the [specification](symple_proto::specification) that they carry out:
//! `R-…`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod client;
pub mod server;
mod time;

pub use time::Timestamp;
