//! Actions on their way out.

use alloc::{collections::VecDeque, vec::Vec};
use core::ops::Range;

use super::{
    ConnId,
    action::{Action, Text},
};

#[derive(Debug)]
enum Queued {
    Send { text: Text, to: Range<usize> },
    Other(Action<'static>),
}

/// What has been decided and not fetched yet.
///
/// The receivers of all sends stand in one list, in a row for each, so a fan-out allocates
/// nothing for a receiver.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Queued>,
    receivers: Vec<ConnId>,
    /// Where the receivers of the next send begin.
    start: usize,
    /// How many frames to how many receivers.
    pub(super) deliveries: u64,
}

impl Outbox {
    /// The list of receivers, to be appended to; [`send`](Self::send) makes use of what was.
    pub(super) fn receivers(&mut self) -> &mut Vec<ConnId> {
        &mut self.receivers
    }

    /// Sends a text to the receivers that have been appended; how many there are. The text is
    /// made only if there are any.
    pub(super) fn send(&mut self, text: impl FnOnce() -> Text) -> usize {
        let to = self.start..self.receivers.len();
        let count = to.len();
        if count > 0 {
            self.start = self.receivers.len();
            self.deliveries += count as u64;
            self.queue.push_back(Queued::Send { text: text(), to });
        }
        count
    }

    /// Sends a text to one connection. No receivers may be pending.
    pub(super) fn send_to(&mut self, conn: ConnId, text: impl Into<Text>) {
        debug_assert_eq!(self.start, self.receivers.len(), "receivers are pending");
        self.receivers.push(conn);
        self.send(|| text.into());
    }

    /// Wants anything else done.
    pub(super) fn push(&mut self, action: Action<'static>) {
        self.queue.push_back(Queued::Other(action));
    }

    /// The next action.
    pub(super) fn poll(&mut self) -> Option<Action<'_>> {
        match self.queue.pop_front() {
            Some(Queued::Send { text, to }) => Some(Action::Send { text, to: &self.receivers[to] }),
            Some(Queued::Other(action)) => Some(action),
            None => {
                self.receivers.clear();
                self.start = 0;
                None
            }
        }
    }
}
