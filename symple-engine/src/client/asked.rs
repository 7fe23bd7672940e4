//! What the server has been asked and has not answered yet, in order.
//!
//! A server handles the frames of a client in order (R-M6), and names in an `error` neither the
//! frame nor, mostly, the room. So what is asked is kept in order; and where an answer does not
//! come, the client sends a frame to itself, a *fence*: when it is back (R-M1), all that was sent
//! before it has been handled, and what has not been answered then never will be.

use alloc::{boxed::Box, collections::VecDeque, string::String};

use symple_proto::{Address, RoomName, Token, json::push_string};

use crate::Timestamp;

use super::{Client, OperationError, input::OperationId, machine::State};

/// What was asked.
#[derive(Debug)]
pub(super) enum What {
    /// To be in a room; the operations that wait stand with the room.
    Join { room: RoomName },
    /// To be in a room no more.
    Leave { room: RoomName, operation: Option<OperationId> },
    /// To take a new token (R-A9).
    Refresh { token: Token, operation: Option<OperationId> },
    /// Whether all that was sent before has been handled.
    Fence { id: Box<str>, purpose: Purpose },
}

/// What a fence is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Behind it the roster is complete (R-P3).
    Roster,
    /// The caller waits for it.
    Flush(Option<OperationId>),
    /// Behind it an answer that has not come never will.
    Answers,
}

/// A question.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) what: What,
    /// The number of its frame among those that were sent.
    pub(super) number: u64,
    at: Timestamp,
}

/// All questions that are open, in the order in which they were asked.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: VecDeque<Asked>,
    /// The last `error` of the server that could not be assigned since the last answer.
    pub(super) last_error: Option<OperationError>,
    /// When something arrived last that says that the server is at it.
    progress: Timestamp,
}

impl Questions {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The server tells of peers: a fence may take longer.
    pub(super) fn progress(&mut self, now: Timestamp) {
        self.progress = now;
    }

    /// The first question of a kind that the server answers.
    pub(super) fn first(&self) -> Option<&What> {
        self.open.iter().map(|asked| &asked.what).find(|what| !matches!(what, What::Fence { .. }))
    }

    pub(super) fn position(&self, mut is: impl FnMut(&What) -> bool) -> Option<usize> {
        self.open.iter().position(|asked| is(&asked.what))
    }

    /// True if a frame that comes back may be a fence.
    pub(super) fn has_fence(&self) -> bool {
        self.open.iter().any(|asked| matches!(asked.what, What::Fence { .. }))
    }

    /// True if no fence stands behind the last question.
    fn is_unfenced(&self) -> bool {
        self.open.back().is_some_and(|asked| !matches!(asked.what, What::Fence { .. }))
    }
}

impl Client {
    /// Remembers that something was asked; its frame is the one that was sent last.
    pub(super) fn ask(&mut self, what: What) {
        self.questions.open.push_back(Asked { what, number: self.sent, at: self.now });
    }

    /// An operation may wait for an answer.
    pub(super) fn may_wait(&self) -> Result<(), OperationError> {
        let limit = self.config.limits.operations;
        if self.questions.len() + self.waiting_joins + self.connects.len() + self.closes.len()
            >= limit
        {
            return Err(OperationError::TooMany { what: "operations", limit });
        }
        Ok(())
    }

    /// Sends a frame to the client itself.
    pub(super) fn send_fence(&mut self, purpose: Purpose) {
        let State::Online(online) = &self.state else { return };
        let to = Self::address_text(&online.address);
        let id = self.random_id();
        let mut text = String::from("{\"type\":\"event\",\"name\":\"fence\",\"id\":");
        push_string(&mut text, &id);
        text.push_str(",\"to\":");
        push_string(&mut text, &to);
        text.push('}');
        self.send_text(text);
        self.ask(What::Fence { id: id.into(), purpose });
    }

    pub(super) fn address_text(address: &Address) -> String {
        let mut text = String::with_capacity(address.user.len() + address.id.len() + 1);
        text.push_str(&address.user);
        text.push('|');
        text.push_str(&address.id);
        text
    }

    pub(super) fn room_frame(start: &str, room: &str) -> String {
        let mut text = String::with_capacity(start.len() + room.len() + 3);
        text.push_str(start);
        push_string(&mut text, room);
        text.push('}');
        text
    }

    /// The caller wants to know when all that was sent has been handled.
    pub(super) fn flush(&mut self, id: OperationId) {
        if !matches!(self.state, State::Online(_)) {
            return self.fail_offline(id);
        }
        match self.may_wait() {
            Ok(()) => self.send_fence(Purpose::Flush(Some(id))),
            Err(error) => self.fail(id, error),
        }
    }

    /// A frame of the client's own has come back: true if it is a fence.
    pub(super) fn fence_is_back(&mut self, id: &str) -> bool {
        let position = self
            .questions
            .position(|what| matches!(what, What::Fence { id: fence, .. } if **fence == *id));
        let Some(at) = position else { return false };
        self.answer_before(at + 1, true);
        true
    }

    /// The server has answered the question at a place: those before it that it should have
    /// answered it has passed over. A fence may be late: it waits for the roster.
    pub(super) fn take_answered(&mut self, at: usize) -> Option<Asked> {
        let mut at = at;
        let mut look = 0;
        while look < at {
            if matches!(self.questions.open[look].what, What::Fence { .. }) {
                look += 1;
            } else if let Some(asked) = self.questions.open.remove(look) {
                at -= 1;
                self.pass_over(asked);
            }
        }
        let asked = self.questions.open.remove(at)?;
        self.handled = self.handled.max(asked.number);
        self.questions.last_error = None;
        Some(asked)
    }

    /// All questions before a place are settled: the fences in it are back, or given up.
    fn answer_before(&mut self, end: usize, back: bool) {
        for _ in 0..end {
            let Some(asked) = self.questions.open.pop_front() else { break };
            if back {
                self.handled = self.handled.max(asked.number);
            }
            match asked.what {
                What::Fence { purpose, .. } => self.fence_passed(purpose, back),
                _ => self.pass_over(asked),
            }
        }
        self.questions.last_error = None;
    }

    fn fence_passed(&mut self, purpose: Purpose, back: bool) {
        match purpose {
            Purpose::Roster => self.roster_told(),
            Purpose::Flush(Some(id)) if back => self.done(id),
            Purpose::Flush(Some(id)) => self.fail(id, OperationError::TimedOut),
            Purpose::Flush(None) | Purpose::Answers => {}
        }
    }

    /// The server does not answer a question any more.
    fn pass_over(&mut self, asked: Asked) {
        let error = self.questions.last_error.clone().unwrap_or(OperationError::Unanswered);
        self.refuse(asked, error);
    }

    /// The server has refused what was asked.
    pub(super) fn refuse(&mut self, asked: Asked, error: OperationError) {
        match asked.what {
            What::Join { room } => self.join_refused(&room, error),
            What::Leave { operation, .. } | What::Refresh { operation, .. } => {
                if let Some(id) = operation {
                    self.fail(id, error);
                }
            }
            What::Fence { purpose, .. } => self.fence_passed(purpose, false),
        }
    }

    /// A `leave` of that room is still to be answered: what is said of the room before is not the
    /// last word.
    pub(super) fn leaves_later(&self, room: &RoomName) -> bool {
        self.questions
            .position(|what| matches!(what, What::Leave { room: left, .. } if left == room))
            .is_some()
    }

    /// The connection is gone, and with it the answers.
    pub(super) fn drop_questions(&mut self) {
        self.questions.last_error = None;
        while let Some(asked) = self.questions.open.pop_front() {
            match asked.what {
                // Who has no connection is in no room.
                What::Leave { operation: Some(id), .. } => self.done(id),
                What::Refresh { operation: Some(id), .. }
                | What::Fence { purpose: Purpose::Flush(Some(id)), .. } => {
                    self.fail(id, OperationError::ConnectionLost);
                }
                // A room is asked for again on the next connection.
                What::Join { .. }
                | What::Leave { .. }
                | What::Refresh { .. }
                | What::Fence { .. } => {}
            }
        }
    }

    /// Forgets an operation that waits for an answer; true if there was one.
    pub(super) fn cancel_question(&mut self, id: OperationId) -> bool {
        for asked in &mut self.questions.open {
            if let What::Leave { operation, .. }
            | What::Refresh { operation, .. }
            | What::Fence { purpose: Purpose::Flush(operation), .. } = &mut asked.what
                && *operation == Some(id)
            {
                *operation = None;
                return true;
            }
        }
        false
    }

    /// When something is to be done about answers that do not come.
    pub(super) fn next_question(&self) -> Timestamp {
        let limits = &self.config.limits;
        let first = |fence: bool| {
            let mut open = self.questions.open.iter();
            open.find(|asked| matches!(asked.what, What::Fence { .. }) == fence)
        };
        let fence = first(true).map_or(Timestamp::MAX, |asked| {
            super::machine::after(asked.at.max(self.questions.progress), limits.fence_timeout)
        });
        let unfenced = first(false).filter(|_| self.questions.is_unfenced());
        let asked = unfenced.map_or(Timestamp::MAX, |asked| asked.at + limits.answer_after);
        fence.min(asked)
    }

    /// Does what is due about answers that do not come.
    pub(super) fn check_questions(&mut self) {
        if self.next_question() > self.now {
            return;
        }
        let limits = &self.config.limits;
        let fence = self.questions.position(|what| matches!(what, What::Fence { .. }));
        if let Some(at) = fence {
            let since = self.questions.open[at].at.max(self.questions.progress);
            if super::machine::after(since, limits.fence_timeout) <= self.now {
                return self.answer_before(at + 1, false);
            }
        }
        self.send_fence(Purpose::Answers);
    }
}
