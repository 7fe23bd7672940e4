//! Frames that wait for the client to be online.

use alloc::{boxed::Box, collections::VecDeque};

use crate::{Timestamp, server::Text};

use super::{config::QueueLimits, error::OperationError, input::OperationId};

/// A frame that waits.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) operation: OperationId,
    pub(super) text: Text,
    expires: Timestamp,
    /// The id of the frame, if it is a request.
    pub(super) request: Option<Box<str>>,
}

/// Frames that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: VecDeque<Queued>,
    bytes: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn push(
        &mut self,
        now: Timestamp,
        limits: &QueueLimits,
        operation: OperationId,
        text: Text,
        request: Option<Box<str>>,
    ) -> Result<(), OperationError> {
        let size = text.as_bytes().len();
        if self.frames.len() >= limits.count {
            return Err(OperationError::TooMany { what: "frames that wait", limit: limits.count });
        }
        if self.bytes + size > limits.bytes {
            return Err(OperationError::TooMany { what: "bytes that wait", limit: limits.bytes });
        }
        self.bytes += size;
        let expires = if limits.age.is_zero() { Timestamp::MAX } else { now + limits.age };
        self.frames.push_back(Queued { operation, text, expires, request });
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Queued> {
        let queued = self.frames.pop_front()?;
        self.bytes -= queued.text.as_bytes().len();
        Some(queued)
    }

    /// The next frame that has waited too long.
    pub(super) fn pop_expired(&mut self, now: Timestamp) -> Option<Queued> {
        // All wait equally long, so the first is the first to have waited too long.
        if self.next()? > now {
            return None;
        }
        self.pop()
    }

    /// When the first one has waited too long.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.frames.front().map(|queued| queued.expires)
    }

    /// Takes the frame of an operation out.
    pub(super) fn remove(&mut self, operation: OperationId) -> bool {
        let at = self.frames.iter().position(|queued| queued.operation == operation);
        let Some(queued) = at.and_then(|at| self.frames.remove(at)) else { return false };
        self.bytes -= queued.text.as_bytes().len();
        true
    }
}
