//! The suite of all adapters, on async-std.

/// What the suite needs of an adapter.
mod adapter {
    pub(crate) use async_std::task::block_on;
    pub(crate) use symple_async_std::*;

    pub(crate) type Runtime = AsyncStd;
    pub(crate) const THREADS: usize = 1;
}

#[path = "../../symple-driver/tests/suite/mod.rs"]
mod suite;
