//! The states of rooms, as a client sees and changes them (R-K1, R-K2).

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};

use symple_proto::{
    Address, Fields, FrameView, RoomName,
    json::{Json, push_string},
};

use crate::Timestamp;

use super::{
    Client, Event, OperationError,
    input::OperationId,
    machine::{State, after},
    outgoing::OutgoingError,
};

/// The name of the extension (R-X1).
const EXTENSION: &str = "state";

/// Changes that the server has not answered yet, by the ids of their frames.
#[derive(Debug, Default)]
pub(super) struct Changes {
    open: BTreeMap<Box<str>, OperationId>,
    /// When each is given up, in order; those that were answered are passed over.
    deadlines: VecDeque<(Timestamp, Box<str>)>,
}

impl Changes {
    /// When the next one is given up.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    /// One that is given up.
    fn pop_expired(&mut self, now: Timestamp) -> Option<OperationId> {
        loop {
            let (at, _) = self.deadlines.front()?;
            if *at > now {
                return None;
            }
            let (_, id) = self.deadlines.pop_front()?;
            if let Some(operation) = self.open.remove(&id) {
                return Some(operation);
            }
        }
    }

    fn answered(&mut self, id: &str) -> Option<OperationId> {
        let operation = self.open.remove(id)?;
        while self.deadlines.front().is_some_and(|(_, id)| !self.open.contains_key(id)) {
            self.deadlines.pop_front();
        }
        Some(operation)
    }

    /// Forgets an operation; true if there was one.
    pub(super) fn cancel(&mut self, operation: OperationId) -> bool {
        let before = self.open.len();
        self.open.retain(|_, open| *open != operation);
        self.open.len() < before
    }

    fn take_all(&mut self) -> Vec<OperationId> {
        self.deadlines.clear();
        core::mem::take(&mut self.open).into_values().collect()
    }
}

impl Client {
    /// The caller sets keys of a room's state (R-K1).
    pub(super) fn set_state(&mut self, id: OperationId, room: &RoomName, set: &Fields) {
        let on = match &self.state {
            State::Online(online) => online.extensions.iter().any(|name| name == EXTENSION),
            _ => return self.fail_offline(id),
        };
        if !on {
            let message = format!("the extension {EXTENSION} is not on").into();
            return self.fail(id, OperationError::Refused { status: None, message });
        }
        let limit = self.config.limits.requests;
        if self.changes.open.len() >= limit {
            return self.fail(id, OperationError::TooMany { what: "requests", limit });
        }
        let frame = self.random_id();
        let mut text = String::from("{\"type\":\"state\",\"room\":");
        push_string(&mut text, room);
        text.push_str(",\"set\":");
        set.push_json(&mut text);
        text.push_str(",\"id\":");
        push_string(&mut text, &frame);
        // What others have changed before comes before it, and what they change later behind it.
        text.push_str(",\"echo\":true}");
        let (size, limit) = (text.len(), self.config.limits.message);
        if size > limit {
            return self.fail(id, OutgoingError::TooLarge { size, limit }.into());
        }
        self.send_text(text);
        let until = after(self.now, self.config.limits.request_timeout);
        self.changes.open.insert(frame.as_str().into(), id);
        self.changes.deadlines.push_back((until, frame.into()));
    }

    /// A `state` has arrived.
    pub(super) fn hear_state(&mut self, view: &FrameView<'_>) {
        self.questions.progress(self.now);
        let room = view.room().and_then(|room| room.as_str()?.ok()).map(Box::from);
        let object = view.object();
        let fields = |name| Fields::try_from(object.get(name).and_then(Json::as_object)?).ok();
        let event = match (room, fields("all"), fields("set")) {
            (Some(room), Some(state), _) => Event::RoomState { room, state },
            (Some(room), None, Some(set)) => {
                let from =
                    view.from().and_then(|from| from.as_str()?.ok()?.parse::<Address>().ok());
                Event::StateChanged { room, set, from }
            }
            _ => {
                self.stats.malformed += 1;
                return;
            }
        };
        if matches!(self.state, State::Online(_)) {
            self.tell(event);
        }
    }

    /// The server has taken the change with that id.
    pub(super) fn state_taken(&mut self, view: &FrameView<'_>) {
        let id = view.object().get("id").and_then(|id| id.as_str()?.ok());
        match id.and_then(|id| self.changes.answered(&id)) {
            Some(operation) => self.done(operation),
            None => self.stats.unexpected_answers += 1,
        }
    }

    /// The server has refused the change with that id. False if there is none.
    pub(super) fn state_refused(&mut self, id: &str, error: OperationError) -> bool {
        let operation = self.changes.answered(id);
        if let Some(operation) = operation {
            self.fail(operation, error);
        }
        operation.is_some()
    }

    /// Gives up changes that the server does not answer.
    pub(super) fn check_changes(&mut self) {
        while let Some(operation) = self.changes.pop_expired(self.now) {
            self.fail(operation, OperationError::TimedOut);
        }
    }

    /// The connection is gone, and with it the answers.
    pub(super) fn drop_changes(&mut self, error: &OperationError) {
        for operation in self.changes.take_all() {
            self.fail(operation, error.clone());
        }
    }
}
