//! What the program can be asked for. Each command tells whether everything was as it should be.

pub(crate) mod draft;
pub(crate) mod replay;
