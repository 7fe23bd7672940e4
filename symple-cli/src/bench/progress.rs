//! A line on a terminal that says how far a run is.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use crate::stderr;

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(250);

/// A line on standard error, if that is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    on: bool,
    shown: Option<Instant>,
}

impl Progress {
    /// A line that has not been shown yet.
    pub(crate) fn new() -> Self {
        Self { on: std::io::stderr().is_terminal(), shown: None }
    }

    /// A line that is never shown.
    pub(crate) fn silent() -> Self {
        Self { on: false, shown: None }
    }

    /// Shows the line, if it is time for it.
    pub(crate) fn show(&mut self, line: impl FnOnce() -> String) {
        if self.on && self.shown.is_none_or(|shown| shown.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            stderr::write(format!("\r\x1b[K{}", line()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            stderr::write("\r\x1b[K");
        }
    }
}
