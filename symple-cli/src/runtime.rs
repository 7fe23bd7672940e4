//! The async runtimes that a server of this build can run on: one for each cargo feature.

use std::{fmt, future::Future, io};

#[cfg(not(any(feature = "tokio", feature = "async-std")))]
compile_error!("a server needs a runtime: turn on the feature `tokio` or `async-std`");

/// An async runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    #[cfg(feature = "tokio")]
    Tokio,
    #[cfg(feature = "async-std")]
    AsyncStd,
}

/// Their names; the first is the default.
pub(crate) const RUNTIMES: &[(&str, Runtime)] = &[
    #[cfg(feature = "tokio")]
    ("tokio", Runtime::Tokio),
    #[cfg(feature = "async-std")]
    ("async-std", Runtime::AsyncStd),
];

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = RUNTIMES.iter().find(|(_, runtime)| runtime == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

/// Something to be run within a runtime.
pub(crate) trait Within {
    type Output;

    /// Runs with what a server needs of the runtime.
    fn run<R: symple_driver::transport::Connect>(self) -> impl Future<Output = Self::Output>;
}

/// Runs a future on this thread, within the default runtime, to its end.
///
/// # Errors
/// The runtime cannot be started.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    match RUNTIMES[0].1 {
        #[cfg(feature = "tokio")]
        Runtime::Tokio => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let output = runtime.block_on(future);
            runtime.shutdown_background();
            Ok(output)
        }
        #[cfg(feature = "async-std")]
        Runtime::AsyncStd => Ok(async_std::task::block_on(future)),
    }
}

impl Runtime {
    /// Runs something on this thread, within the runtime, to its end.
    ///
    /// # Errors
    /// The runtime cannot be started.
    pub(crate) fn run<W: Within>(self, within: W) -> io::Result<W::Output> {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let output = runtime.block_on(within.run::<symple_tokio::Tokio>());
                // A name that is still being looked up keeps nobody.
                runtime.shutdown_background();
                Ok(output)
            }
            #[cfg(feature = "async-std")]
            Self::AsyncStd => {
                Ok(async_std::task::block_on(within.run::<symple_async_std::AsyncStd>()))
            }
        }
    }
}
