//! What became of attacks: each with the bounds that it was held against.

use std::fmt::Display;

use serde::Serialize;

/// A bound, and what was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What must hold.
    pub bound: String,
    /// What was seen.
    pub seen: String,
    /// Whether it held.
    pub held: bool,
    /// Whether a busy machine may be to blame, so that it is worth another try.
    #[serde(skip)]
    pub(crate) noisy: bool,
}

/// What became of an attack.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The attack's name.
    pub name: &'static str,
    /// What was done: how much of what.
    pub done: String,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// How long it took, in seconds, with all tries.
    pub seconds: f64,
    /// How often it was tried.
    pub tries: u32,
}

impl Outcome {
    pub(crate) fn new() -> Self {
        Self { name: "", done: String::new(), checks: Vec::new(), seconds: 0.0, tries: 1 }
    }

    /// One that could not be carried through.
    pub(crate) fn broken(fault: String) -> Self {
        let mut outcome = Self::new();
        outcome.done = "could not be carried through".into();
        outcome.check("the server does what is needed", fault, false);
        outcome
    }

    /// Says what was done.
    pub(crate) fn done(&mut self, done: impl Into<String>) {
        self.done = done.into();
    }

    /// Adds a bound.
    pub(crate) fn check(&mut self, bound: impl Into<String>, seen: impl Display, held: bool) {
        let (bound, seen) = (bound.into(), seen.to_string());
        self.checks.push(Check { bound, seen, held, noisy: false });
    }

    /// Adds a bound that a busy machine can break.
    pub(crate) fn noisy(&mut self, bound: impl Into<String>, seen: impl Display, held: bool) {
        self.check(bound, seen, held);
        if let Some(check) = self.checks.last_mut() {
            check.noisy = true;
        }
    }

    /// Whether all bounds held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.checks.iter().all(|check| check.held)
    }

    /// Whether all bounds held but those that a busy machine can break.
    #[must_use]
    pub fn held_but_for_noise(&self) -> bool {
        self.checks.iter().all(|check| check.held || check.noisy)
    }

    /// Whether another try may end otherwise.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        !self.held() && self.held_but_for_noise()
    }

    /// How many bounds did not hold.
    pub(crate) fn broken_bounds(&self) -> usize {
        self.checks.iter().filter(|check| !check.held).count()
    }

    /// A table of this outcome.
    #[must_use]
    pub fn table(&self) -> String {
        let verdict = if self.held() { "held" } else { "NOT HELD" };
        let tries = if self.tries > 1 { format!(", {} tries", self.tries) } else { String::new() };
        let mut table =
            format!("{}: {verdict} ({:.1} s{tries})\n    {}\n", self.name, self.seconds, self.done);
        for Check { bound, seen, held, .. } in &self.checks {
            let held = if *held { "yes" } else { "NO " };
            table += &format!("    {held} | {bound:<64} | {seen}\n");
        }
        table
    }
}

/// Bytes in MiB, for people.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}
