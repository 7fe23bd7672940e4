//! The suite of all adapters, on tokio.

/// What the suite needs of an adapter.
mod adapter {
    use std::{future::Future, sync::LazyLock};

    pub(crate) use symple_tokio::*;
    use tokio::runtime;

    pub(crate) type Runtime = Tokio;
    pub(crate) const THREADS: usize = 1;

    static RUNTIME: LazyLock<runtime::Runtime> =
        LazyLock::new(|| runtime::Runtime::new().expect("a runtime can be started"));

    /// Runs a future to its end, within the runtime.
    pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
        RUNTIME.block_on(future)
    }
}

#[path = "../../symple-driver/tests/suite/mod.rs"]
mod suite;
