//! Changes that wait for a state to be known.

use alloc::{
    boxed::Box,
    collections::{BTreeSet, VecDeque},
};

use crate::server::{ConnId, Server, waiting::Counted};

use super::{Change, Refused};

/// How many bytes of changes may wait for one state.
const MAX_WAITING: usize = 256 * 1024;

/// A change that waits, and how many bytes it has.
#[derive(Debug)]
pub(super) struct WaitingChange {
    change: Change,
    bytes: usize,
}

/// The changes of one client that wait.
#[derive(Debug)]
pub(super) struct ChangesOf {
    /// How much they are, among what waits on this node (R-L7).
    counted: Counted,
    /// The states that they wait for.
    rooms: BTreeSet<Box<str>>,
}

impl Change {
    fn bytes(&self) -> usize {
        let value = |value: &Option<Box<str>>| value.as_ref().map_or(0, |value| value.len());
        let id = self.id.as_ref().map_or(0, |id| id.len());
        64 + id + self.set.iter().map(|(key, of)| 64 + key.len() + value(of)).sum::<usize>()
    }
}

impl Server {
    /// Changes a state as soon as it is known. Returns whether it was done at once.
    pub(super) fn start_change(
        &mut self,
        room: &str,
        change: Change,
    ) -> Result<bool, (Change, Refused)> {
        let known = self.knows_state(room);
        let first = self.states.rooms.get_mut(room).is_some_and(|state| {
            state.for_question = false;
            state.changes.is_empty()
        });
        let done = if known && first {
            self.change_state(room, &change).map(|()| true).map_err(|refused| (change, refused))
        } else {
            self.keep_change(room, change).map(|()| false)
        };
        if done.is_ok() && self.is_unasked(room) {
            self.fetch([room.into()].into());
        }
        self.settle_state(room);
        done
    }

    fn keep_change(&mut self, room: &str, change: Change) -> Result<(), (Change, Refused)> {
        let bytes = change.bytes();
        let Some(state) = self.states.rooms.get_mut(room) else { return Ok(()) };
        if state.waiting_bytes + bytes > MAX_WAITING {
            return Err((change, Refused::Busy));
        }
        state.waiting_bytes += bytes;
        let sender = change.sender;
        state.changes.push_back(WaitingChange { change, bytes });
        let of = self.states.changes_of.entry(sender).or_insert_with(|| {
            let counted = self.waiting.part();
            ChangesOf { counted, rooms: BTreeSet::new() }
        });
        of.counted.set(of.counted.bytes() + bytes);
        of.rooms.insert(room.into());
        Ok(())
    }

    /// The next change that waits for a state, which waits no more.
    fn take_waiting_change(&mut self, room: &str) -> Option<WaitingChange> {
        let state = self.states.rooms.get_mut(room)?;
        let taken = state.changes.pop_front()?;
        state.waiting_bytes -= taken.bytes;
        if let Some(of) = self.states.changes_of.get_mut(&taken.change.sender) {
            of.counted.set(of.counted.bytes() - taken.bytes);
            if of.counted.bytes() == 0 {
                self.states.changes_of.remove(&taken.change.sender);
            }
        }
        Some(taken)
    }

    /// How many bytes of changes of a client wait.
    pub(in crate::server) fn changes_waiting(&self, conn: ConnId) -> usize {
        self.states.changes_of.get(&Some(conn)).map_or(0, |of| of.counted.bytes())
    }

    /// A client is gone: what it wanted to change is not changed. It was not told that it was.
    pub(in crate::server) fn forget_changes(&mut self, conn: ConnId) {
        let Some(of) = self.states.changes_of.remove(&Some(conn)) else { return };
        for room in of.rooms {
            if let Some(state) = self.states.rooms.get_mut(&room) {
                state.changes.retain(|waiting| waiting.change.sender != Some(conn));
                state.waiting_bytes = state.changes.iter().map(|waiting| waiting.bytes).sum();
            }
            self.settle_state(&room);
        }
    }

    /// Does the next thing that has waited for these states: a client is told of those that it waits for, or
    /// a change is made. Returns how many bytes that concerned; none where nothing is left.
    pub(in crate::server) fn next_of_states(
        &mut self,
        rooms: &mut VecDeque<Box<str>>,
        peers: &mut VecDeque<ConnId>,
    ) -> Option<usize> {
        if let Some(conn) = peers.pop_front() {
            return Some(self.tell_fetched_states(conn));
        }
        let room = rooms.front()?;
        let known = self.states.rooms.get(room).is_some_and(|state| state.known);
        let taken = if known { self.take_waiting_change(room) } else { None };
        let Some(WaitingChange { change, bytes }) = taken else {
            self.answer_questions(room);
            self.settle_state(room);
            rooms.pop_front();
            return Some(0);
        };
        let act = |server: &mut Self| {
            // Meanwhile it may have left the room.
            if let Some(sender) = change.sender
                && !server.may_set_state(sender, room)
            {
                server.deny_change(sender, room, change.id.as_deref());
            } else if let Err(refused) = server.change_state(room, &change) {
                server.refuse_change(room, &change, refused);
            }
        };
        match change.sender {
            Some(sender) => self.charged_arrival(sender, act),
            None => act(self),
        }
        Some(bytes)
    }
}
