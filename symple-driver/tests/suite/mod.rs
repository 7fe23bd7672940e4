//! End to end: a server on a runtime, and clients on sockets that block.
//!
//! The file is compiled once for each adapter, beside a module `adapter` that has its
//! `ServerBuilder`, a `block_on`, and how many `THREADS` servers have.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod bounds;
mod client;
mod clients;
mod comeback;
mod crash;
mod deflate;
mod handle;
mod hooks;
mod hostile;
mod hung;
mod limits;
mod listeners;
mod messaging;
mod moderation;
mod mount;
mod names;
mod receiver;
mod redis;
mod shutdown;
mod starting;
mod states;
mod tls;
mod tokens;
mod transport;
mod webhooks;

use crate::adapter::{Config, Server, ServerBuilder, THREADS, block_on};

/// A server at an address of its own.
pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Server {
    start_with(|builder| builder.configure(change))
}

/// A server at an address of its own, with whatever a builder can do.
pub(crate) fn start_with(build: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Server {
    let builder = ServerBuilder::new().bind("127.0.0.1:0");
    let builder = builder.configure(|config| config.threads = THREADS.try_into().unwrap());
    block_on(async { build(builder).start() }).unwrap()
}
