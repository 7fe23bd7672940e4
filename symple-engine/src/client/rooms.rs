//! Rooms that the client wants to be in, and those that it is in (SPEC §4).

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use symple_proto::{RoomName, Status};

use super::{
    Action, Client, Event, OperationError, Reply, asked::What, input::OperationId, machine::State,
};

/// The rooms of a client.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    /// Those that it wants to be in, and the operations that wait for it to be.
    pub(super) wanted: BTreeMap<RoomName, Vec<OperationId>>,
    /// Those that it is in, by the server's word.
    pub(super) held: BTreeSet<Box<str>>,
    /// Those that stood in the last `auth` frame.
    pub(super) claimed: Vec<RoomName>,
}

impl Client {
    /// The rooms that the client is in now, by the server's word, in alphabetical order.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.rooms.held.iter().map(|room| &**room)
    }

    /// The rooms that the client wants to be in, in alphabetical order.
    pub fn wanted_rooms(&self) -> impl Iterator<Item = &str> {
        self.rooms.wanted.keys().map(RoomName::as_str)
    }

    /// The caller wants to be in a room (R-R2).
    pub(super) fn join(&mut self, id: OperationId, room: RoomName) {
        if matches!(self.state, State::Closed(_) | State::Closing { .. }) {
            return self.fail_offline(id);
        }
        let limit = self.config.limits.rooms;
        if !self.rooms.wanted.contains_key(&room) && self.rooms.wanted.len() >= limit {
            return self.fail(id, OperationError::TooMany { what: "rooms", limit });
        }
        if let Err(error) = self.may_wait() {
            return self.fail(id, error);
        }
        self.waiting_joins += 1;
        self.rooms.wanted.entry(room.clone()).or_default().push(id);
        if matches!(self.state, State::Online(_)) {
            self.ask_to_join(room);
        }
    }

    /// The caller wants to be in a room no more (R-R2).
    pub(super) fn leave(&mut self, id: OperationId, room: RoomName) {
        if let Err(error) = self.may_wait() {
            return self.fail(id, error);
        }
        for join in self.rooms.wanted.remove(&room).into_iter().flatten() {
            self.waiting_joins -= 1;
            self.fail(join, OperationError::Superseded);
        }
        if matches!(self.state, State::Online(_)) {
            self.ask_to_leave(room, Some(id));
        } else {
            self.done(id);
        }
    }

    fn ask_to_leave(&mut self, room: RoomName, operation: Option<OperationId>) {
        let text = Self::room_frame("{\"type\":\"leave\",\"room\":", &room);
        self.send_text(text);
        self.ask(What::Leave { room, operation });
    }

    fn ask_to_join(&mut self, room: RoomName) {
        let text = Self::room_frame("{\"type\":\"join\",\"room\":", &room);
        self.send_text(text);
        self.ask(What::Join { room });
    }

    /// The client has come online: in these rooms. It asks for those that it wants beside them.
    pub(super) fn enter_rooms(&mut self, rooms: &[Box<str>]) {
        self.rooms.held.clear();
        for room in rooms {
            if self.rooms.held.len() >= self.config.limits.held_rooms {
                self.stats.rooms_dropped += 1;
                continue;
            }
            self.rooms.held.insert(room.clone());
        }
        // What it asked for when it came, and has not wanted any more since.
        for room in core::mem::take(&mut self.rooms.claimed) {
            if self.rooms.held.contains(room.as_str()) && !self.rooms.wanted.contains_key(&room) {
                self.ask_to_leave(room, None);
            }
        }
        let wanted: Vec<_> = self.rooms.wanted.keys().cloned().collect();
        for room in wanted {
            if self.rooms.held.contains(room.as_str()) {
                self.finish_joins(&room, &Ok(()));
            } else {
                self.ask_to_join(room);
            }
        }
    }

    /// The server says that the client is in a room.
    pub(super) fn joined(&mut self, room: &RoomName) {
        let again = self.leaves_later(room);
        if !self.rooms.held.contains(room.as_str()) {
            if self.rooms.held.len() >= self.config.limits.held_rooms {
                self.stats.rooms_dropped += 1;
            } else {
                self.rooms.held.insert(room.as_str().into());
                self.tell(Event::Joined { room: room.as_str().into() });
            }
        }
        if !again {
            self.finish_joins(room, &Ok(()));
        }
        self.probe_room(room);
    }

    /// The server says that the client is in a room no more.
    pub(super) fn left(&mut self, room: &RoomName) {
        if self.rooms.held.remove(room.as_str()) {
            self.tell(Event::Left { room: room.as_str().into() });
        }
    }

    /// The server does not let the client in.
    pub(super) fn join_refused(&mut self, room: &RoomName, error: OperationError) {
        // What the caller wants now was asked for later, and is answered later.
        if self.leaves_later(room) {
            return;
        }
        let Some(operations) = self.rooms.wanted.get(room) else { return };
        if operations.is_empty() {
            let (status, message) = match &error {
                OperationError::Refused { status, message } => (*status, message.clone()),
                _ => (None::<Status>, Box::default()),
            };
            let room = room.as_str().into();
            self.tell(Event::RoomRefused { room, status, message });
        }
        self.finish_joins(room, &Err(error));
        self.rooms.wanted.remove(room);
    }

    /// Finishes the operations that wait for the client to be in a room.
    fn finish_joins(&mut self, room: &RoomName, result: &Result<(), OperationError>) {
        let Some(operations) = self.rooms.wanted.get_mut(room) else { return };
        for id in core::mem::take(operations) {
            self.waiting_joins -= 1;
            let result = result.clone().map(|()| Reply::Done);
            self.out.push_back(Action::Finish { id, result });
        }
    }

    /// The client has ended: nothing waits for rooms any more. Those that it has waited for in vain
    /// are not wanted any more, as the caller is told.
    pub(super) fn fail_joins(&mut self, error: &OperationError) {
        self.rooms.held.clear();
        let result = Err(error.clone());
        let rooms: Vec<_> = self.rooms.wanted.keys().cloned().collect();
        for room in rooms {
            if self.rooms.wanted.get(&room).is_some_and(|operations| !operations.is_empty()) {
                self.finish_joins(&room, &result);
                self.rooms.wanted.remove(&room);
            }
        }
    }

    /// Forgets an operation that waits for a room; true if there was one.
    pub(super) fn cancel_join(&mut self, id: OperationId) -> bool {
        for operations in self.rooms.wanted.values_mut() {
            if let Some(at) = operations.iter().position(|operation| *operation == id) {
                operations.remove(at);
                self.waiting_joins -= 1;
                return true;
            }
        }
        false
    }
}
