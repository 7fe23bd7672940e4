//! What the log says of hooks that fail.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::redis::one_line;

/// How often a kind of complaint is logged.
const INTERVAL: Duration = Duration::from_secs(1);

/// One kind of complaint. Clients choose how often a hook fails, so the log has it at most once a
/// second, with how many others there were.
pub(crate) struct Complaint {
    what: &'static str,
    last: Mutex<(Option<Instant>, u64)>,
}

impl Complaint {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, last: Mutex::new((None, 0)) }
    }

    pub(crate) fn log(&self, error: &dyn fmt::Display) {
        if let Some(more) = self.is_due(Instant::now()) {
            let error = error.to_string();
            tracing::warn!(error = one_line(&error), more, "{}", self.what);
        }
    }

    /// How many were kept back since the last one that was logged, if another one may be.
    fn is_due(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (logged, more) = &mut *last;
        if logged.is_some_and(|logged| now.saturating_duration_since(logged) < INTERVAL) {
            *more += 1;
            return None;
        }
        *logged = Some(now);
        Some(std::mem::take(more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second() {
        let complaint = Complaint::new("a hook fails");
        let begun = Instant::now();
        let due = |millis| complaint.is_due(begun + Duration::from_millis(millis));
        assert_eq!(due(0), Some(0));
        assert_eq!((due(1), due(999)), (None, None));
        assert_eq!((due(1000), due(1001)), (Some(2), None));
        assert_eq!(due(5000), Some(1));
    }
}
