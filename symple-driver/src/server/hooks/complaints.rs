//! What the log says of hooks that fail.

use std::fmt;

use crate::{redis::one_line, server::log::OncePerSecond};

/// One kind of complaint. Clients choose how often a hook fails, so the log has it at most once a
/// second, with how many others there were.
pub(crate) struct Complaint {
    what: &'static str,
    limit: OncePerSecond,
}

impl Complaint {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, limit: OncePerSecond::new() }
    }

    pub(crate) fn log(&self, error: &dyn fmt::Display) {
        if let Some(more) = self.limit.is_due() {
            let error = error.to_string();
            tracing::warn!(error = one_line(&error), more, "{}", self.what);
        }
    }
}
