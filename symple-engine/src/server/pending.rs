//! An authentication that is being decided.

use alloc::{boxed::Box, collections::VecDeque};

use symple_proto::PeerMembers;

use crate::Timestamp;

use super::{
    RequestId,
    claim::Claim,
    newcomers::Place,
    waiting::{Counted, Waiting},
};

/// An authentication that is being decided, with the frames that wait for it. Once it is decided, only the
/// frames that have not been handled are left.
#[derive(Debug)]
pub(super) struct Pending {
    /// The question that is open, or was the last one.
    pub(super) request: RequestId,
    pub(super) stage: Stage,
    /// When it began, for the statistics.
    pub(super) since: Timestamp,
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
    queue: VecDeque<Box<str>>,
    queued_bytes: usize,
    /// All of this, among what waits on this node (R-L7).
    counted: Counted,
    /// Whether the rest of the queue is being handled, slice by slice.
    pub(super) running: bool,
}

/// The bytes that a waiting frame costs beside its text.
const FRAME_COST: usize = 64;

impl Pending {
    /// An authentication that is to be decided, by the party of this stage.
    pub(super) fn new(
        stage: Stage,
        claim: Claim,
        id: Box<str>,
        place: Place,
        auth: Box<str>,
        waiting: &Waiting,
    ) -> Self {
        let mut pending = Self {
            request: RequestId(0),
            stage,
            since: Timestamp::ZERO,
            claim,
            id,
            place,
            auth,
            session: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            counted: waiting.part(),
            running: false,
        };
        pending.count();
        pending
    }

    /// Nothing is being decided, but frames wait.
    pub(super) fn settled(waiting: &Waiting) -> Self {
        let claim = Claim::new(Box::default(), PeerMembers::new(0));
        let (id, auth) = (Box::default(), Box::default());
        Self::new(Stage::Settled, claim, id, Place::default(), auth, waiting)
    }

    /// Counts what waits, after a change. The claim is what was read of the frame, and as long.
    fn count(&mut self) {
        let session = self.session.as_ref().map_or(0, |session| session.len());
        self.counted.set(self.queued_bytes + 2 * self.auth.len() + session);
    }

    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.counted.bytes()
    }

    /// Keeps the session that was found for the hook.
    pub(super) fn keep_session(&mut self, session: &str) {
        self.session = Some(session.into());
        self.count();
    }

    /// The session for the hook, which is asked now.
    pub(super) fn take_session(&mut self) -> Option<Box<str>> {
        let session = self.session.take();
        self.count();
        session
    }

    /// Takes over what waited behind another question.
    pub(super) fn take_queue(&mut self, before: &mut Self) {
        self.queue = core::mem::take(&mut before.queue);
        self.queued_bytes = core::mem::take(&mut before.queued_bytes);
        before.count();
        self.count();
    }

    /// No frames wait.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues a frame behind the others. Returns how many bytes wait now.
    pub(super) fn push(&mut self, text: &str) -> usize {
        self.queue.push_back(text.into());
        self.queued_bytes += text.len() + FRAME_COST;
        self.count();
        self.queued_bytes
    }

    /// The next frame.
    pub(super) fn pop(&mut self) -> Option<Box<str>> {
        let text = self.queue.pop_front()?;
        self.queued_bytes -= text.len() + FRAME_COST;
        self.count();
        Some(text)
    }

    /// Ends the question, which is decided or given up. Only the queue still matters.
    pub(super) fn settle(&mut self) {
        self.stage = Stage::Settled;
        self.auth = Box::default();
        self.session = None;
        self.count();
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
