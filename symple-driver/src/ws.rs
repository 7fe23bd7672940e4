//! WebSocket frames (RFC 6455): decoding what arrives, and queueing what is to be written.

pub(crate) mod client;
pub(crate) mod decode;
pub(crate) mod deflate;
pub(crate) mod header;
pub(crate) mod queue;
mod tail;
