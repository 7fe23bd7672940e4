//! An authentication that is being decided.

use alloc::{boxed::Box, collections::VecDeque};

use super::{RequestId, claim::Claim};

/// An authentication that is being decided.
#[derive(Debug)]
pub(super) struct Pending {
    /// The question that is open.
    pub(super) request: RequestId,
    pub(super) stage: Stage,
    pub(super) claim: Claim,
    /// The id that the peer has or will have.
    pub(super) id: Box<str>,
    /// The frame, for the hook.
    pub(super) auth: Box<str>,
    /// The session that was found, for the hook.
    pub(super) session: Option<Box<str>>,
    /// What the client has sent meanwhile (R-A11), in order.
    pub(super) queue: VecDeque<Box<str>>,
    pub(super) queued_bytes: usize,
}

/// Who is being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Session,
    Hook,
}
