//! What was seen, and the bounds that it was held against.

use std::{fmt::Display, time::Duration};

use serde::Serialize;

/// A bound, and what was seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) bound: String,
    pub(crate) seen: String,
    pub(crate) held: bool,
}

/// What became of a case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    /// What was done: how much of what.
    pub(crate) done: String,
    pub(crate) checks: Vec<Check>,
    /// What was seen beside that, and is not held against anything.
    pub(crate) notes: Vec<(String, String)>,
    pub(crate) seconds: f64,
}

impl Outcome {
    pub(crate) fn new(name: &str, done: impl Into<String>) -> Self {
        let (checks, notes) = (Vec::new(), Vec::new());
        Self { name: name.into(), done: done.into(), checks, notes, seconds: 0.0 }
    }

    /// Adds a bound.
    pub(crate) fn check(&mut self, bound: impl Into<String>, seen: impl Display, held: bool) {
        self.checks.push(Check { bound: bound.into(), seen: seen.to_string(), held });
    }

    /// Adds a bound on a time; without one it was never so.
    pub(crate) fn within(&mut self, what: &str, bound: Duration, seen: Option<Duration>) {
        let text = seen.map_or_else(|| "never".into(), |seen| format!("{seen:.2?}"));
        let held = seen.is_some_and(|seen| seen <= bound);
        self.check(format!("{what} within {bound:.1?}"), text, held);
    }

    pub(crate) fn note(&mut self, what: impl Into<String>, seen: impl Display) {
        self.notes.push((what.into(), seen.to_string()));
    }

    pub(crate) fn held(&self) -> bool {
        self.checks.iter().all(|check| check.held)
    }

    /// A table of this outcome.
    pub(crate) fn table(&self) -> String {
        let verdict = if self.held() { "held" } else { "NOT HELD" };
        let mut table =
            format!("{}: {verdict} ({:.1} s)\n    {}\n", self.name, self.seconds, self.done);
        for Check { bound, seen, held } in &self.checks {
            let held = if *held { "yes" } else { "NO " };
            table += &format!("    {held} | {bound:<64} | {seen}\n");
        }
        for (what, seen) in &self.notes {
            table += &format!("        | {what:<64} | {seen}\n");
        }
        table
    }
}

/// Bytes in MB, for people.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
