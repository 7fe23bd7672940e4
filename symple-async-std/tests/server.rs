//! The suite of all adapters, on async-std.

/// What the suite needs of an adapter.
mod adapter {
    pub(crate) use async_std::task::block_on;
    pub(crate) use symple_async_std::*;

    /// A stream that is no socket: it keeps what is written until it is flushed.
    pub(crate) fn foreign(socket: std::net::TcpStream) -> Stream {
        let socket = async_io::Async::new(socket).expect("it is open");
        stream(futures_util::io::BufWriter::new(socket))
    }

    pub(crate) type Runtime = AsyncStd;
    pub(crate) const THREADS: usize = 1;
}

#[path = "../../symple-driver/tests/suite/mod.rs"]
mod suite;
