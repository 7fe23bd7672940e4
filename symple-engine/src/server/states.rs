//! The states of rooms: a small key-value store for each (R-K1 to R-K6).
//!
//! A node holds the state of a room while it has members there that have asked for the extension `state`,
//! or the application has pinned it; and for a while longer. It *knows* the state as long as it hears of every
//! change. A node that does not know it asks the others before it says or changes anything: meanwhile what is
//! wanted waits.

mod host;
mod registers;
mod telling;
mod waiting;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    string::String,
    vec::Vec,
};

use symple_proto::{
    Extension, FrameView, Status,
    json::{Json, quote},
    state::{StateChanges, StateError, StateRequest, push_state_ok},
};

use crate::Timestamp;

use super::{
    ConnId, EngineError, Event, Server, jobs::Job, peer::Peer, remotes::NodeIndex, timers::Timer,
};
use registers::MAX_CLOCK;
pub(super) use registers::{Registers, Stamp};
pub(super) use telling::changes_text;
use telling::{Untold, UntoldRoom, Written};
use waiting::{ChangesOf, WaitingChange};

/// The states that the node holds, by room.
#[derive(Debug, Default)]
pub(super) struct States {
    pub(super) rooms: BTreeMap<Box<str>, RoomState>,
    /// The bytes of all of them together.
    bytes: usize,
    /// When the states end that nobody uses.
    expiry: BTreeSet<(Timestamp, Box<str>)>,
    /// A timer for the first of them is set.
    expiring: bool,
    /// The states that clients are still to be sent, in order.
    untold: BTreeMap<ConnId, Untold>,
    /// Of what others have set who are not in the room, how many bytes each client was sent since it has read
    /// what it was sent (R-L8); those to whom there are none are not in it.
    of_strangers: BTreeMap<ConnId, usize>,
    /// Those that are to say when they have read, behind what is about to be sent.
    await_drain: Vec<ConnId>,
    /// The state that was written last.
    written: Option<Written>,
    /// Whose changes wait; none is the application.
    changes_of: BTreeMap<Option<ConnId>, ChangesOf>,
    /// The questions to other nodes, by nonce.
    pub(super) fetches: BTreeMap<u64, Fetch>,
    /// The room whose checksum was told last.
    pub(super) cursor: Box<str>,
    /// How many questions of the application wait for states.
    questions: usize,
}

impl States {
    /// How many bytes all of them have together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A state is used, or is gone: it does not end by itself.
    fn is_used(&mut self, room: &str) {
        if let Some(state) = self.rooms.get_mut(room)
            && let Some(due) = state.expires.take()
        {
            self.expiry.remove(&(due, room.into()));
        }
    }
}

/// The state of a room.
#[derive(Debug, Default)]
pub(super) struct RoomState {
    pub(super) registers: Registers,
    /// How many members on this node have the extension.
    members: usize,
    /// The application keeps it.
    pinned: bool,
    /// The node hears of every change, and knows what was before.
    pub(super) known: bool,
    /// It is being asked for.
    pub(super) fetch: Option<u64>,
    /// Who is to be told of it as soon as it is known.
    tell: Vec<ConnId>,
    /// The changes that wait for it to be known, in order.
    changes: VecDeque<WaitingChange>,
    /// The bytes of these.
    waiting_bytes: usize,
    expires: Option<Timestamp>,
    /// The questions of the application that wait for it to be known.
    questions: Vec<u64>,
    /// It is here for a question alone, and is dropped when that has been answered: to look at a state does
    /// not make it live longer.
    for_question: bool,
    /// When another node was asked because its checksum was another one.
    pub(super) asked_at: Option<Timestamp>,
}

impl RoomState {
    /// Somebody here is to hear of changes.
    fn is_used(&self) -> bool {
        self.members > 0 || self.pinned
    }
}

/// A question to all other nodes for the states of rooms.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) rooms: Vec<Box<str>>,
    /// Who has not answered.
    pub(super) from: BTreeSet<NodeIndex>,
}

/// A change of a state.
#[derive(Debug)]
pub(super) struct Change {
    /// Who has asked for it; none for the application.
    sender: Option<ConnId>,
    set: StateChanges,
    /// All keys are to be deleted.
    clear: bool,
    id: Option<Box<str>>,
    echo: bool,
}

/// Why a change is refused.
#[derive(Debug)]
pub(super) enum Refused {
    Limit(StateError),
    /// All states together are too large.
    Total,
    /// Too much waits for the bus, or for the state (R-C6).
    Busy,
}

impl Refused {
    fn into_error(self) -> EngineError {
        match self {
            Self::Limit(error) => EngineError::State(error),
            Self::Total => EngineError::StatesTooLarge,
            Self::Busy => EngineError::Busy,
        }
    }
}

impl Server {
    /// True if the peer has the extension.
    pub(super) fn has_states(&self, conn: ConnId) -> bool {
        self.registry.peer(conn).is_some_and(|peer| peer.has(Extension::State))
    }

    /// True if the node knows the state, which it does when there is nobody to ask.
    fn knows_state(&mut self, room: &str) -> bool {
        let can_ask = self.can_ask_for_states();
        let state = self.states.rooms.entry(room.into()).or_default();
        state.known |= state.fetch.is_none() && !can_ask;
        state.known
    }

    /// True if the state is not known and is not being asked for.
    fn is_unasked(&self, room: &str) -> bool {
        self.states.rooms.get(room).is_some_and(|state| !state.known && state.fetch.is_none())
    }

    /// Other nodes have answered, or will not: what waits is done, in slices.
    pub(super) fn state_fetched(&mut self, nonce: u64) {
        let Some(fetch) = self.states.fetches.remove(&nonce) else { return };
        let (mut rooms, mut peers) = (VecDeque::new(), VecDeque::new());
        for room in fetch.rooms {
            let Some(state) = self.states.rooms.get_mut(&room) else { continue };
            if state.fetch != Some(nonce) {
                continue;
            }
            state.fetch = None;
            state.known = true;
            // Until they are told, they are told of no change: it will be in what they are told.
            for conn in core::mem::take(&mut state.tell) {
                let untold = &mut self.states.untold.entry(conn).or_default().rooms;
                if !untold.iter().any(|untold| untold.room == room) {
                    untold.push_back(UntoldRoom::seen(room.clone()));
                }
                peers.push_back(conn);
            }
            rooms.push_back(room);
        }
        self.start(Job::States { rooms, peers });
    }

    /// Asks the other nodes for the states of these rooms, which are not being asked for.
    fn fetch(&mut self, rooms: Vec<Box<str>>) {
        if rooms.is_empty() {
            return;
        }
        let (nonce, from) = self.ask_for_states(&rooms);
        for room in &rooms {
            if let Some(state) = self.states.rooms.get_mut(room) {
                state.fetch = Some(nonce);
            }
        }
        self.states.fetches.insert(nonce, Fetch { rooms, from });
    }

    /// A room may have lost its last member here: its state lives for a while.
    fn settle_state(&mut self, room: &str) {
        let ttl = self.config.state.ttl;
        let now = self.now;
        let alone = self.cluster.is_none();
        let Some(state) = self.states.rooms.get_mut(room) else { return };
        if state.is_used() || !state.changes.is_empty() {
            state.for_question = false;
            return self.states.is_used(room);
        }
        if state.fetch.is_some() || !state.questions.is_empty() {
            return;
        }
        // Nobody has to tell this node of changes any more.
        state.known &= alone;
        if ttl.is_zero() || state.registers.is_empty() || state.for_question {
            self.drop_state(room);
        } else if state.expires.is_none() {
            let due = now + ttl;
            state.expires = Some(due);
            self.states.expiry.insert((due, room.into()));
            if !core::mem::replace(&mut self.states.expiring, true) {
                self.timers.set(due, Timer::States);
            }
        }
    }

    fn drop_state(&mut self, room: &str) {
        self.answer_questions(room);
        self.states.is_used(room);
        if let Some(state) = self.states.rooms.remove(room) {
            self.states.bytes -= state.registers.memory();
        }
        self.states.forget_written(room);
    }

    /// It is time to look at the states that nobody uses (R-K4).
    pub(super) fn states_due(&mut self) {
        // Meanwhile a timer counts as set: what is put back sets none of its own.
        self.states.expiring = true;
        while self.states.expiry.first().is_some_and(|(due, _)| *due <= self.now) {
            self.expire_next();
        }
        let next = self.states.expiry.first().map(|(due, _)| *due);
        self.states.expiring = next.is_some();
        if let Some(due) = next {
            self.timers.set(due, Timer::States);
        }
    }

    /// Ends the state that has been unused for the longest time, unless it is used again, or has members
    /// that cannot see it.
    fn expire_next(&mut self) -> bool {
        let Some((due, room)) = self.states.expiry.pop_first() else { return false };
        if let Some(state) = self.states.rooms.get_mut(&room) {
            state.expires = None;
        }
        if due <= self.now && self.registry.rooms.find(&room).is_some() {
            self.settle_state(&room);
        } else {
            self.drop_state(&room);
        }
        true
    }

    /// A `state` frame of a client with the extension (R-K1).
    pub(super) fn state_frame(&mut self, conn: ConnId, frame: &FrameView<'_>) {
        let Some(peer) = self.registry.peer(conn) else { return };
        if peer.read_only {
            return self.refuse_read_only(conn);
        }
        let request = match StateRequest::read(frame.object(), &self.config.state.limits) {
            Ok(request) => request,
            Err(error) => {
                let status = if error.is_limit() { Status::TOO_LARGE } else { Status::BAD_REQUEST };
                let object = frame.object();
                let id = object.get("id").map(Json::text);
                let room = object.get("room").and_then(Json::as_str).and_then(Result::ok);
                let room = room.as_deref().filter(|room| symple_proto::check_room(room).is_ok());
                return self.state_error(conn, status, &format!("{error}"), room, id);
            }
        };
        if !self.may_set_state(conn, &request.room) {
            return self.deny_change(conn, &request.room, request.id.as_deref());
        }
        if self.config.hooks.state {
            return self.ask_about_state(conn, &request.room, frame);
        }
        self.request_state(conn, request);
    }

    /// R-K1: a peer may set the state of its rooms, and where anyone may send to rooms that of every room
    /// that is there.
    pub(super) fn may_set_state(&self, conn: ConnId, room: &str) -> bool {
        let index = self.registry.rooms.find(room);
        index.is_some_and(|room| self.config.anyone_sends() || self.registry.is_member(conn, room))
    }

    /// Does what a client asks for.
    pub(super) fn request_state(&mut self, conn: ConnId, request: StateRequest) {
        let StateRequest { room, set, id, echo } = request;
        let change = Change { sender: Some(conn), set, clear: false, id, echo };
        if let Err((change, refused)) = self.start_change(&room, change) {
            self.refuse_change(&room, &change, refused);
        }
    }

    /// Tells who has asked for a change that it is refused.
    fn refuse_change(&mut self, room: &str, change: &Change, refused: Refused) {
        let error = refused.into_error();
        let Some(sender) = change.sender else {
            return self.tell_host_of_node(Event::StateNotSet { room: room.into(), error });
        };
        let (status, message) = match error {
            EngineError::State(error) => (Status::TOO_LARGE, format!("{error}")),
            EngineError::StatesTooLarge => {
                (Status::TOO_LARGE, "States of all rooms too large".into())
            }
            _ => (Status::UNAVAILABLE, "Cluster busy".into()),
        };
        self.state_error(sender, status, &message, Some(room), change.id.as_deref());
    }

    fn deny_change(&mut self, sender: ConnId, room: &str, id: Option<&str>) {
        self.state_error(sender, Status::FORBIDDEN, "Not permitted", Some(room), id);
    }

    /// Answers a `state` frame with an error that names its room and its id.
    pub(super) fn state_error(
        &mut self,
        conn: ConnId,
        status: Status,
        message: &str,
        room: Option<&str>,
        id: Option<&str>,
    ) {
        let mut more = String::new();
        let members = [("room", room.map(quote)), ("id", id.map(String::from))];
        for (name, value) in members {
            if let Some(value) = value {
                more.push_str(if more.is_empty() { "\"" } else { ",\"" });
                more.push_str(name);
                more.push_str("\":");
                more.push_str(&value);
            }
        }
        self.error_with(conn, status, message, &more);
    }

    /// Changes a state that is known, and tells everybody (R-K1, R-K3).
    fn change_state(&mut self, room: &str, change: &Change) -> Result<(), Refused> {
        let limits = &self.config.state;
        let Some(state) = self.states.rooms.get(room) else { return Ok(()) };
        let all = || state.registers.live().map(|(key, _)| (key.into(), None)).collect();
        let cleared: StateChanges = if change.clear { all() } else { Vec::new() };
        let set = if change.clear { &cleared } else { &change.set };
        let (keys, bytes) = state.registers.sizes_with(set);
        let (keys_before, bytes_before) = (state.registers.len(), state.registers.bytes());
        let memory_before = state.registers.memory();
        if keys > limits.limits.keys && keys > keys_before {
            return Err(Refused::Limit(StateError::Keys(limits.limits.keys)));
        }
        if bytes > limits.limits.room && bytes > bytes_before {
            return Err(Refused::Limit(StateError::Room(limits.limits.room)));
        }
        let total = limits.total_bytes;
        if total > 0 && bytes > bytes_before && !self.make_room(room, bytes - bytes_before, total) {
            return Err(Refused::Total);
        }
        let Some(state) = self.states.rooms.get(room) else { return Ok(()) };
        let node: Box<str> = self.node_id().unwrap_or_default().into();
        let stamp = Stamp { clock: state.registers.next_clock(), node: node.into() };
        if stamp.clock > MAX_CLOCK {
            // Nothing later would be believed, here or elsewhere.
            return Err(Refused::Busy);
        }
        let from = change.sender.and_then(|sender| self.registry.peer(sender)).map(Peer::quoted);
        let from: Option<Box<str>> = from.map(Into::into);
        if !self.tell_nodes_of_change(
            change.sender,
            room,
            set,
            &stamp,
            from.as_deref(),
            change.id.as_deref(),
        ) {
            return Err(Refused::Busy);
        }
        let keep_deleted = self.cluster.is_some();
        let Some(state) = self.states.rooms.get_mut(room) else { return Ok(()) };
        for (key, value) in set {
            state.registers.set(key, value.clone(), &stamp, keep_deleted);
        }
        self.states.bytes = self.states.bytes - memory_before + state.registers.memory();
        self.states.forget_written(room);
        let text = changes_text(room, set, change.id.as_deref(), from.as_deref());
        self.tell_members(room, change.sender, change.sender, &text);
        if let Some(sender) = change.sender
            && self.registry.peer(sender).is_some()
        {
            let id = change.id.as_deref();
            let ok = Self::write(64 + room.len(), |text| push_state_ok(room, id, text));
            self.out.send_to(sender, ok);
            // To whom the whole is still to be told, this is part of it (R-K2).
            if change.echo && !self.is_state_untold(sender, room) {
                self.out.send_to(sender, text);
            }
        }
        Ok(())
    }

    /// Sees to it that a state may grow so much, with all states no larger than this. False if it may not.
    fn make_room(&mut self, room: &str, growth: usize, total: usize) -> bool {
        while self.states.bytes.saturating_add(growth) > total {
            // Those that nobody uses give way; this one is used now.
            if self.states.expiry.first().is_none_or(|(_, first)| **first == *room)
                || !self.expire_next()
            {
                return false;
            }
        }
        true
    }

    /// How much a state may grow by what other nodes tell, which wants it to grow so much. All nodes must
    /// agree, and each has other rooms: so it may be twice the limit.
    pub(super) fn room_for_states(&mut self, room: &str, growth: usize) -> usize {
        let total = self.config.state.total_bytes.saturating_mul(2);
        let held = self.states.rooms.contains_key(room);
        if total == 0 || !held || self.make_room(room, growth, total) {
            return usize::MAX;
        }
        total.saturating_sub(self.states.bytes)
    }

    /// Counts what a state has grown by.
    pub(super) fn state_grew(&mut self, room: &str, before: usize, after: usize) {
        self.states.forget_written(room);
        self.states.bytes = self.states.bytes - before + after;
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::server::{Config, Input};

    /// R-K4: however many states are put back because their rooms have members that do not see them, there is
    /// one timer for all.
    #[test]
    fn one_timer_for_all_states() {
        let mut count = 0_u8;
        let mut server = Server::new(Config::default(), move |bytes: &mut [u8]| {
            count += 1;
            bytes.fill(count);
        });
        let mut now = Timestamp::ZERO;
        let input = |server: &mut Server, now: Timestamp, input: Input<'_>| {
            server.handle(now, input).unwrap();
            while server.poll_action().is_some() {}
        };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let conns = [ConnId::new(0, 1), ConnId::new(1, 1)];
        for (conn, extensions) in conns.into_iter().zip(["", "\"state\""]) {
            input(&mut server, now, Input::Connected { conn, address });
            let text = format!(
                r#"{{"type":"auth","user":"a","rooms":["r","s","t"],"extensions":[{extensions}]}}"#
            );
            input(&mut server, now, Input::Text { conn, text: &text });
        }
        for room in ["r", "s", "t"] {
            let text = format!(r#"{{"type":"state","room":"{room}","set":{{"k":1}}}}"#);
            input(&mut server, now, Input::Text { conn: conns[1], text: &text });
        }
        for room in ["r", "s", "t"] {
            let text = format!(r#"{{"type":"leave","room":"{room}"}}"#);
            input(&mut server, now, Input::Text { conn: conns[1], text: &text });
            now += core::time::Duration::from_secs(1);
        }
        let begun = now;
        let mut fired = 0;
        while now.since(begun) < 20 * server.config.state.ttl {
            assert_eq!(server.timers.count(Timer::States), 1, "after {fired}");
            now = server.poll_timeout().unwrap();
            input(&mut server, now, Input::Timeout);
            fired += 1;
        }
        assert_eq!(server.states.expiry.len(), 3);
        for conn in conns {
            input(&mut server, now, Input::Disconnected { conn });
        }
        now += 2 * server.config.state.ttl;
        input(&mut server, now, Input::Timeout);
        assert_eq!((server.timers.count(Timer::States), server.states.rooms.len()), (0, 0));
    }
}
