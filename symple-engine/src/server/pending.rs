//! An authentication that is being decided.

use alloc::{boxed::Box, collections::VecDeque};

use symple_proto::PeerMembers;

use super::{RequestId, claim::Claim, newcomers::Place};

/// An authentication that is being decided, with the frames that wait for it. Once it is decided, only the
/// frames that have not been handled are left.
#[derive(Debug)]
pub(super) struct Pending {
    /// The question that is open, or was the last one.
    pub(super) request: RequestId,
    pub(super) stage: Stage,
    pub(super) claim: Claim,
    /// The id that the peer has or will have.
    pub(super) id: Box<str>,
    /// The place of its connection among those that wait for their first decision (R-L2).
    pub(super) place: Place,
    /// The frame, for the hook.
    pub(super) auth: Box<str>,
    /// The session that was found, for the hook.
    pub(super) session: Option<Box<str>>,
    /// The frames that the client has sent meanwhile (R-A11), in order.
    pub(super) queue: VecDeque<Box<str>>,
    pub(super) queued_bytes: usize,
    /// Whether the rest of the queue is being handled, slice by slice.
    pub(super) running: bool,
}

/// The bytes that a waiting frame costs beside its text.
const FRAME_COST: usize = 64;

impl Pending {
    /// Nothing is being decided, but frames wait.
    pub(super) fn settled() -> Self {
        Self {
            request: RequestId(0),
            stage: Stage::Settled,
            claim: Claim::new(Box::default(), PeerMembers::new(0)),
            id: Box::default(),
            place: Place::default(),
            auth: Box::default(),
            session: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            running: false,
        }
    }

    /// Queues a frame behind the others. Returns how many bytes wait now.
    pub(super) fn push(&mut self, text: &str) -> usize {
        self.queue.push_back(text.into());
        self.queued_bytes += text.len() + FRAME_COST;
        self.queued_bytes
    }

    /// The next frame.
    pub(super) fn pop(&mut self) -> Option<Box<str>> {
        let text = self.queue.pop_front()?;
        self.queued_bytes -= text.len() + FRAME_COST;
        Some(text)
    }

    /// Ends the question, which is decided or given up. Only the queue still matters.
    pub(super) fn settle(&mut self) {
        self.stage = Stage::Settled;
        self.auth = Box::default();
        self.session = None;
    }
}

/// The party that decides next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Session,
    Hook,
    /// Nobody: it is decided.
    Settled,
}
