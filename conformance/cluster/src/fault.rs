//! Why a case cannot be carried through.

/// Why a case cannot be carried through.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) String);

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// A fault in words.
pub(crate) fn fault<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(why.into()))
}
