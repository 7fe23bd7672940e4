//! Errors, counted by status.

use core::fmt;

use symple_proto::Status;

/// Numbers of errors, by status.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct StatusCounts([u64; Self::STATUSES.len() + 1]);

impl StatusCounts {
    /// The statuses that errors have (SPEC §7).
    const STATUSES: [Status; 8] = [
        Status::BAD_REQUEST,
        Status::UNAUTHORIZED,
        Status::FORBIDDEN,
        Status(404),
        Status::TIMEOUT,
        Status::TOO_LARGE,
        Status::TOO_MANY,
        Status::UNAVAILABLE,
    ];

    pub(in crate::server) fn add(&mut self, status: Status) {
        let place = Self::STATUSES.iter().position(|known| *known == status);
        self.0[place.unwrap_or(Self::STATUSES.len())] += 1;
    }

    /// The statuses, and how many errors had each; `None` stands for those that an application has
    /// chosen.
    pub fn iter(&self) -> impl Iterator<Item = (Option<Status>, u64)> {
        Self::STATUSES.into_iter().map(Some).chain([None]).zip(self.0)
    }

    /// How many errors had this status, which is one of those that the protocol knows.
    #[must_use]
    pub fn get(&self, status: Status) -> u64 {
        self.iter().find(|(known, _)| *known == Some(status)).map_or(0, |(_, count)| count)
    }
}

impl fmt::Debug for StatusCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = self.iter().filter(|(_, count)| *count > 0);
        let shown = some.map(|(status, count)| (status.map_or(0, |status| status.0), count));
        f.debug_map().entries(shown).finish()
    }
}
