//! Actions on their way out.

use alloc::{collections::VecDeque, vec::Vec};
use core::ops::Range;

use super::{
    ConnId, FrameCounts, FrameKind,
    action::{Action, Text},
};

#[derive(Debug)]
enum Queued {
    Send { text: Text, to: Range<usize>, sender: Option<ConnId>, cause: Option<ConnId> },
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
    /// Who is charged for what is sent now.
    pub(super) cause: Option<ConnId>,
    /// How many frames to how many receivers.
    pub(super) deliveries: u64,
    /// The same by the kind of the frame.
    pub(super) sent: FrameCounts,
    /// A connection that is gone, though what it had sent is still being handled: nothing is wanted of it.
    pub(super) gone: Option<ConnId>,
}

impl Outbox {
    /// The list of receivers, to be appended to; [`send`](Self::send) makes use of what was.
    pub(super) fn receivers(&mut self) -> &mut Vec<ConnId> {
        &mut self.receivers
    }

    /// Sends a text to the receivers that have been appended; how many there are. The text is
    /// made only if there are any.
    pub(super) fn send(&mut self, text: impl FnOnce() -> Text) -> usize {
        let count = self.pending();
        self.send_pending(count, None, None, text);
        count
    }

    /// Sends a text of a sender to the receivers that have been appended. Those behind the first
    /// `members` have it only because the sender has addressed them (R-L8).
    pub(super) fn send_from(
        &mut self,
        sender: ConnId,
        members: usize,
        text: impl FnOnce() -> Text,
    ) -> usize {
        self.relay(sender, members, None, text)
    }

    /// Sends a frame as [`send_from`](Self::send_from) does, whose kind is known: a client may
    /// write its type anywhere.
    pub(super) fn relay(
        &mut self,
        sender: ConnId,
        members: usize,
        kind: impl Into<Option<FrameKind>>,
        text: impl FnOnce() -> Text,
    ) -> usize {
        let kind = kind.into();
        let count = self.pending();
        if members == 0 || members >= count {
            let sender = (members == 0).then_some(sender);
            self.send_pending(count, sender, kind, text);
        } else {
            let text = text();
            self.send_pending(members, None, kind, || text.clone());
            self.send_pending(count - members, Some(sender), kind, || text);
        }
        count
    }

    /// Sends a text to the first so many of the receivers that have been appended.
    fn send_pending(
        &mut self,
        mut count: usize,
        sender: Option<ConnId>,
        kind: Option<FrameKind>,
        text: impl FnOnce() -> Text,
    ) {
        if let Some(gone) = self.gone
            && let Some(at) =
                self.receivers[self.start..][..count].iter().position(|conn| *conn == gone)
        {
            self.receivers.remove(self.start + at);
            count -= 1;
        }
        if count > 0 {
            let to = self.start..self.start + count;
            self.start = to.end;
            self.deliveries += count as u64;
            let text = text();
            let kind = kind.unwrap_or_else(|| FrameKind::of_text(text.as_bytes()));
            self.sent.add(kind, count as u64);
            self.queue.push_back(Queued::Send { text, to, sender, cause: self.cause });
        }
    }

    /// How many receivers have been appended.
    pub(super) fn pending(&self) -> usize {
        self.receivers.len() - self.start
    }

    /// Keeps only some of the receivers that have been appended.
    pub(super) fn retain_pending(&mut self, mut keep: impl FnMut(ConnId) -> bool) {
        let mut end = self.start;
        for at in self.start..self.receivers.len() {
            if keep(self.receivers[at]) {
                self.receivers[end] = self.receivers[at];
                end += 1;
            }
        }
        self.receivers.truncate(end);
    }

    /// Takes away the receivers that have been appended.
    pub(super) fn take_pending(&mut self) -> Vec<ConnId> {
        self.receivers.split_off(self.start)
    }

    /// Sends a text to one connection. No receivers may be pending.
    pub(super) fn send_to(&mut self, conn: ConnId, text: impl Into<Text>) {
        debug_assert_eq!(self.start, self.receivers.len(), "receivers are pending");
        self.receivers.push(conn);
        self.send(|| text.into());
    }

    /// Wants anything else done.
    pub(super) fn push(&mut self, action: Action<'static>) {
        match action {
            Action::Close { conn, .. }
            | Action::SetMessageLimit { conn, .. }
            | Action::Pause { conn }
            | Action::Resume { conn }
                if self.gone == Some(conn) => {}
            action => self.queue.push_back(Queued::Other(action)),
        }
    }

    /// The next action.
    pub(super) fn poll(&mut self) -> Option<Action<'_>> {
        match self.queue.pop_front() {
            Some(Queued::Send { text, to, sender, cause }) => {
                Some(Action::Send { text, to: &self.receivers[to], sender, cause })
            }
            Some(Queued::Other(action)) => Some(action),
            None => {
                self.receivers.clear();
                self.start = 0;
                None
            }
        }
    }
}
