//! The suite of all adapters, on tokio, with servers of several threads.

/// What the suite needs of an adapter.
mod adapter {
    use std::{future::Future, sync::LazyLock};

    pub(crate) use symple_tokio::*;
    use tokio::runtime;

    pub(crate) type Runtime = Tokio;
    pub(crate) const THREADS: usize = 4;

    static RUNTIME: LazyLock<runtime::Runtime> =
        LazyLock::new(|| runtime::Runtime::new().expect("a runtime can be started"));

    /// A stream that is no socket: it keeps what is written until it is flushed.
    pub(crate) fn foreign(socket: std::net::TcpStream) -> Stream {
        socket.set_nonblocking(true).expect("it is open");
        let _guard = RUNTIME.enter();
        let socket = tokio::net::TcpStream::from_std(socket).expect("it is open");
        stream(tokio::io::BufStream::new(socket))
    }

    /// Runs a future to its end, within the runtime.
    pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
        RUNTIME.block_on(future)
    }
}

#[path = "../../symple-driver/tests/suite/mod.rs"]
mod suite;
