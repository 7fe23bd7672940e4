//! The sockets of one thread: connections, the table that they stand in, TLS, wakers.

mod backlog;
pub(crate) mod connection;
mod foreign;
pub(crate) mod io;
pub(crate) mod ready;
pub(crate) mod shard;
pub(crate) mod source;
pub(crate) mod table;
pub mod tls;
pub(crate) mod upstream;
