//! What the application reads and does of states (R-K4).

use alloc::{string::String, vec::Vec};

use symple_proto::{
    json::Json,
    state::{StateChanges, read_changes},
};

use crate::server::{Action, EngineError, Server};

use super::Change;

/// How many questions of the application may wait for states of other nodes.
const MAX_QUESTIONS: usize = 1024;

impl Server {
    /// The state of a room, a JSON object, as this node knows it; none if it does not hold it. On several
    /// nodes it is sure to be that of all only where the node has members with the extension, or has
    /// [pinned](crate::server::HostCall::PinState) the room; [`HostCall::ReadState`](crate::server::HostCall::ReadState)
    /// asks the other nodes.
    #[must_use]
    pub fn room_state(&self, room: &str) -> Option<String> {
        let state = self.states.rooms.get(room)?;
        let mut text = String::new();
        let values = state.registers.live().map(|(key, value)| (key, Some(value)));
        symple_proto::state::push_values(values, &mut text);
        Some(text)
    }

    /// The application sets keys of a room's state (R-K4).
    pub(in crate::server) fn host_sets_state(
        &mut self,
        room: &str,
        set: &str,
    ) -> Result<usize, EngineError> {
        let set = self.read_set(room, set)?;
        let change = Change { sender: None, set, clear: false, id: None, echo: false };
        self.host_changes_state(room, change)
    }

    /// Whether the application may set this of a room's state, as far as that does not depend on the state: a
    /// JSON object with the keys.
    ///
    /// # Errors
    /// Those of [`HostCall::SetState`](crate::server::HostCall::SetState) for what no state can hold.
    pub fn check_state(&self, room: &str, set: &str) -> Result<(), EngineError> {
        self.read_set(room, set).map(drop)
    }

    fn read_set(&self, room: &str, set: &str) -> Result<StateChanges, EngineError> {
        symple_proto::check_room(room)?;
        let set = Json::parse(set, self.config.limits.depth)?;
        let set = set.as_object().ok_or(EngineError::NoObject)?;
        read_changes(set, &self.config.state.limits).map_err(EngineError::State)
    }

    /// The application asks for a state, which other nodes may know better (R-K4).
    pub(in crate::server) fn host_reads_state(
        &mut self,
        room: &str,
        question: u64,
    ) -> Result<usize, EngineError> {
        symple_proto::check_room(room)?;
        // A question goes on the bus unless this node knows the answer, and all others answer it.
        let known = self.states.rooms.get(room).is_some_and(|state| state.known);
        if self.states.questions >= MAX_QUESTIONS || !known && !self.has_room_for_question() {
            return Err(EngineError::Busy);
        }
        self.states.questions += 1;
        let held = self.states.rooms.contains_key(room);
        let known = self.knows_state(room);
        if let Some(state) = self.states.rooms.get_mut(room) {
            state.for_question |= !held;
            state.questions.push(question);
            // What waits to be changed is changed first.
            let waits = !known || !state.changes.is_empty();
            if !waits {
                self.answer_questions(room);
            } else if self.is_unasked(room) {
                self.fetch([room.into()].into());
            }
        }
        self.settle_state(room);
        Ok(0)
    }

    /// The state is as well known as it will be, or goes: who has asked for it is answered.
    pub(super) fn answer_questions(&mut self, room: &str) {
        let Some(state) = self.states.rooms.get_mut(room) else { return };
        let questions = core::mem::take(&mut state.questions);
        if questions.is_empty() {
            return;
        }
        self.states.questions -= questions.len();
        let pinned = state.pinned;
        let state = self.room_state(room).unwrap_or_default();
        for question in questions {
            self.out.push(Action::StateRead { question, state: state.as_str().into(), pinned });
        }
    }

    /// The application deletes all keys of a room's state (R-K4).
    pub(in crate::server) fn host_clears_state(
        &mut self,
        room: &str,
    ) -> Result<usize, EngineError> {
        symple_proto::check_room(room)?;
        let change = Change { sender: None, set: Vec::new(), clear: true, id: None, echo: false };
        self.host_changes_state(room, change)
    }

    /// Says whether it was done (1), or waits for other nodes to tell of the state (0).
    fn host_changes_state(&mut self, room: &str, change: Change) -> Result<usize, EngineError> {
        let done = self.start_change(room, change).map_err(|(_, refused)| refused.into_error())?;
        Ok(usize::from(done))
    }

    /// The application keeps a room's state, or does not any more (R-K4).
    pub(in crate::server) fn host_pins_state(
        &mut self,
        room: &str,
        pinned: bool,
    ) -> Result<usize, EngineError> {
        symple_proto::check_room(room)?;
        let state = self.states.rooms.entry(room.into()).or_default();
        if core::mem::replace(&mut state.pinned, pinned) != pinned {
            self.follow_pin(room, pinned);
        }
        if pinned && !self.knows_state(room) && self.is_unasked(room) {
            self.fetch([room.into()].into());
        }
        self.settle_state(room);
        Ok(0)
    }

    /// True if the application keeps the state of the room on this node.
    pub(in crate::server) fn is_pinned(&self, room: &str) -> bool {
        self.states.rooms.get(room).is_some_and(|state| state.pinned)
    }
}
