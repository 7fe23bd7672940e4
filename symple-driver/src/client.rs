//! A client on any async runtime: the machine of [`symple_engine::client`], and a WebSocket.

pub(crate) mod builder;
pub(crate) mod events;
pub(crate) mod handle;
mod shared;
mod task;
pub mod transport;
