//! What the program can be asked for. Each command tells whether everything was as it should be.

pub(crate) mod client;
pub(crate) mod deviations;
pub(crate) mod draft;
pub(crate) mod js_client;
pub(crate) mod parity;
pub(crate) mod record;
pub(crate) mod replay;
