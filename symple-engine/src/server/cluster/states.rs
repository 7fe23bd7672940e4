//! The states of rooms on several nodes (R-K5).
//!
//! Each key is a register: the change with the greater logical time counts, and between equal ones that of the
//! node with the greater id. Changes are told to the nodes that hear the room. What is lost on the way is
//! noticed by checksums, with every heartbeat; then one node asks the other for all that it has, and tells what
//! the other lacks. So in the end all have the same, in whatever order they hear of it.

use alloc::{boxed::Box, collections::BTreeSet, string::String, sync::Arc, vec::Vec};
use core::{ops::Bound, time::Duration};

use symple_proto::{
    RawJson, RoomName,
    cluster::{CLUSTER_CHANNEL, Payload, StateEntry, StateTalk, room_channel},
    state::StateChanges,
};

use crate::server::{
    Action, ConnId, EngineError, Event, Server,
    peer::Peer,
    remotes::NodeIndex,
    states::{Registers, Stamp, changes_text},
    timers::Timer,
};

use super::waiting::{Account, FOR_ANSWERS, FOR_CHANGES};

/// How long other nodes may take to tell of a state.
const PATIENCE: Duration = Duration::from_millis(300);

/// The number of checksums that are told with a heartbeat.
const SUMS_PER_BEAT: usize = 64;

/// The shortest time between two questions about one room because of a checksum.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// The bytes of states that go into one answer, not counting the last one.
const MAX_SIZE: usize = 64 * 1024;

/// Of what other nodes tell, a room may have so many times as much as of what clients of one node set.
const SLACK: usize = 16;

/// As how many deliveries the answer of one node about one room counts.
const DELIVERIES_PER_ANSWER: u64 = 50;

impl Server {
    /// True if there are other nodes that may know of states.
    pub(in crate::server) fn can_ask_for_states(&self) -> bool {
        let cluster = self.cluster.as_ref().filter(|cluster| cluster.up && !cluster.left);
        cluster.is_some_and(|cluster| cluster.nodes.ids().next().is_some())
    }

    /// Asks all other nodes for the states of rooms. Returns the number of the question, and those who are
    /// to answer.
    pub(in crate::server) fn ask_for_states(
        &mut self,
        rooms: &[Box<str>],
    ) -> (u64, BTreeSet<NodeIndex>) {
        let nonce = self.nonce();
        let nodes = self.cluster.iter().flat_map(|cluster| cluster.nodes.iter());
        let from: BTreeSet<_> = nodes.filter(|(_, node)| node.proven).map(|(at, _)| at).collect();
        // Each may answer with a whole state: that is paid for by who wants to see it (R-L3).
        self.deliveries_elsewhere += DELIVERIES_PER_ANSWER * (from.len() * rooms.len()) as u64;
        let rooms = rooms.iter().filter_map(|room| RoomName::new(&**room).ok()).collect();
        let talk = StateTalk::Ask { nonce, rooms };
        self.say(CLUSTER_CHANNEL.into(), Payload::State(talk));
        self.timers.set(self.now + PATIENCE, Timer::StateFetch(nonce));
        (nonce, from)
    }

    /// Other nodes have had the time to answer.
    pub(in crate::server) fn state_fetch_timeout(&mut self, nonce: u64) {
        let Some(fetch) = self.states.fetches.get(&nonce) else { return };
        let nodes = fetch.from.iter().filter_map(|node| self.node_name(*node)).collect();
        let rooms = fetch.rooms.len();
        self.tell_host_of_node(Event::StateNotFetched { rooms, nodes });
        self.state_fetched(nonce);
    }

    /// A node is gone: nothing is expected of it.
    pub(super) fn expect_no_state_of(&mut self, node: NodeIndex) {
        let mut done = Vec::new();
        for (nonce, fetch) in &mut self.states.fetches {
            if fetch.from.remove(&node) && fetch.from.is_empty() {
                done.push(*nonce);
            }
        }
        for nonce in done {
            self.state_fetched(nonce);
        }
    }

    /// Tells the nodes that hear a room of a change of its state. False if too much waits for the bus.
    pub(in crate::server) fn tell_nodes_of_change(
        &mut self,
        sender: Option<ConnId>,
        room: &str,
        set: &StateChanges,
        stamp: &Stamp,
        from: Option<&str>,
        id: Option<&str>,
    ) -> bool {
        let Some(cluster) = self.cluster.as_ref().filter(|cluster| cluster.up) else { return true };
        if cluster.left || set.is_empty() {
            return true;
        }
        let Ok(name) = RoomName::new(room) else { return true };
        let entries = set.iter().map(|(key, value)| entry(key, value.as_deref(), stamp)).collect();
        if let Some(sender) = sender {
            // Those who hear of it are to know who it is from.
            self.tell_deferred(sender);
        }
        if let Some(room) = self.registry.rooms.find(room) {
            self.deliveries_elsewhere += self.registry.rooms.remotes(room).len() as u64;
        }
        let from = from.and_then(|from| RawJson::parse(from).ok()?.as_str().map(String::from));
        let id = id.and_then(|id| RawJson::parse(id).ok());
        let talk = StateTalk::Set { room: name, from, id, entries };
        let account = sender.map_or(Account::Application, Account::Client);
        self.say_for(account, room_channel(room), Payload::State(talk))
    }

    /// The application keeps the state of a room: the node hears the room, with or without members.
    pub(in crate::server) fn follow_pin(&mut self, room: &str, pinned: bool) {
        if self.cluster.is_none() {
            return;
        }
        let index = self.registry.rooms.find(room);
        if index.is_some_and(|room| !self.registry.rooms.members(room).is_empty()) {
            return;
        }
        let channel = room_channel(room);
        self.out.push(if pinned {
            Action::Subscribe { channel }
        } else {
            Action::Unsubscribe { channel }
        });
    }

    /// What another node says of states. What a node says that has never answered does not count.
    pub(super) fn state_talk(
        &mut self,
        node: NodeIndex,
        seq: u64,
        talk: StateTalk,
    ) -> Result<(), EngineError> {
        if !self.node_mut(node).is_some_and(|node| node.proven) {
            self.pull_more();
            return Ok(());
        }
        match talk {
            StateTalk::Set { room, from, id, entries } => {
                let sender = from.map(|from| self.setter_of(node, seq, &room, &from));
                let sender = sender.unwrap_or(Ok(None));
                let known = sender.as_ref().ok().copied().flatten();
                // The keys count in any case: of each the latest one does, on all nodes.
                let id = id.as_ref().filter(|_| known.is_some()).map(RawJson::text);
                self.merge_state(&room, entries, known, id);
                return sender.map(drop);
            }
            StateTalk::Sum { room, sum, clock } => self.compare_state(node, room, sum, clock),
            StateTalk::Ask { nonce, rooms } => self.answer_with_states(node, nonce, &rooms),
            StateTalk::All { nonce, rooms, more } => {
                let fetching = self.states.fetches.contains_key(&nonce);
                for (room, entries) in rooms {
                    let theirs: Vec<_> = if fetching {
                        Vec::new()
                    } else {
                        entries.iter().map(|entry| (entry.key.clone(), stamp(entry))).collect()
                    };
                    self.merge_state(&room, entries, None, None);
                    if !fetching {
                        self.tell_what_is_newer(&room, &theirs);
                    }
                }
                if let Some(fetch) = self.states.fetches.get_mut(&nonce)
                    && !more
                {
                    fetch.from.remove(&node);
                    if fetch.from.is_empty() {
                        self.state_fetched(nonce);
                    }
                }
            }
        }
        Ok(())
    }

    /// The peer that a node names as who has set keys: one of its own, which may do so (R-K1). None where the
    /// node has told something of its peers that was missed.
    fn setter_of(
        &mut self,
        node: NodeIndex,
        seq: u64,
        room: &str,
        from: &str,
    ) -> Result<Option<ConnId>, EngineError> {
        match self.node_mut(node) {
            Some(state) if state.is_known() && state.seq >= seq => {}
            Some(state) if state.is_known() => {
                self.missed(node);
                return Ok(None);
            }
            _ => {
                self.pull_more();
                return Ok(None);
            }
        }
        let sender = self.sender_of(node, from, &symple_proto::json::quote(from))?;
        if sender.is_some_and(|sender| !self.may_set_state(sender, room)) {
            return Err(EngineError::UnknownPeer);
        }
        Ok(sender)
    }

    /// Takes in what another node knows of a state, if this one holds it, and tells members what is
    /// new.
    fn merge_state(
        &mut self,
        room: &RoomName,
        entries: Vec<StateEntry>,
        sender: Option<ConnId>,
        id: Option<&str>,
    ) {
        let limits = self.config.state.limits;
        let size_of = |entry: &StateEntry| {
            let value = entry.value.as_ref().map_or(0, |value| value.text().len());
            Registers::size_of(entry.key.len() + value)
        };
        let mut left = self.room_for_states(room, entries.iter().map(size_of).sum());
        let Some(state) = self.states.rooms.get_mut(room.as_str()) else { return };
        let before = state.registers.memory();
        let mut changed: StateChanges = Vec::new();
        for entry in entries {
            let stamp = stamp(&entry);
            let size = entry.value.as_ref().map_or(0, |value| value.text().len());
            let fits = entry.key.len() <= limits.key * SLACK
                && size <= limits.value * SLACK
                && state.registers.bytes() + size <= limits.room * SLACK
                && state.registers.len() < limits.keys * SLACK;
            let growth = size_of(&entry);
            if (!fits || growth > left) && entry.value.is_some() {
                continue;
            }
            left = left.saturating_sub(growth);
            let value = entry.value.map(|value| Box::from(value.text()));
            if state.registers.set(&entry.key, value.clone(), &stamp, true) {
                changed.push((entry.key.into(), value));
            }
        }
        let after = state.registers.memory();
        self.state_grew(room, before, after);
        if changed.is_empty() {
            return;
        }
        let from = sender.and_then(|sender| self.registry.peer(sender)).map(Peer::quoted);
        let text = changes_text(room, &changed, id, from);
        self.tell_members(room, None, sender, &text);
    }

    /// Another node has told the checksum of a state: if this one knows another one, it asks.
    fn compare_state(&mut self, node: NodeIndex, room: RoomName, sum: u64, clock: u64) {
        let now = self.now;
        let Some(state) = self.states.rooms.get_mut(room.as_str()) else { return };
        state.registers.hear(clock);
        let asked = state.asked_at.is_some_and(|at| now.since(at) < ASK_INTERVAL);
        if !state.known || state.registers.sum() == sum || asked {
            return;
        }
        state.asked_at = Some(now);
        let nonce = self.nonce();
        let talk = StateTalk::Ask { nonce, rooms: [room].into() };
        self.say_to(node, Payload::State(talk));
    }

    /// Tells another node of the states that this one has of these rooms. Where much waits for the bus it
    /// is not told, and asks again.
    fn answer_with_states(&mut self, node: NodeIndex, nonce: u64, rooms: &[RoomName]) {
        if self.cluster.as_ref().is_none_or(|cluster| cluster.waiting.bytes() > FOR_CHANGES) {
            return;
        }
        let (mut answer, mut size) = (Vec::new(), 0);
        for room in rooms {
            let Some(state) = self.states.rooms.get(room.as_str()) else { continue };
            if state.fetch.is_some() && state.registers.is_empty() {
                continue;
            }
            let entries: Vec<_> = state
                .registers
                .iter()
                .map(|(key, register)| entry(key, register.value.as_deref(), &register.stamp))
                .collect();
            size += 64 + state.registers.bytes() + 64 * entries.len();
            answer.push((room.clone(), entries));
            if size > MAX_SIZE {
                // Of what does not fit the other node notices by the checksums that it lacks it.
                if self.bus_waiting() > FOR_CHANGES {
                    break;
                }
                let rooms = core::mem::take(&mut answer);
                let talk = StateTalk::All { nonce, rooms, more: true };
                self.say_to(node, Payload::State(talk));
                size = 0;
            }
        }
        let talk = StateTalk::All { nonce, rooms: answer, more: false };
        self.say_to(node, Payload::State(talk));
    }

    /// Tells the nodes that hear a room what another node lacks of its state.
    fn tell_what_is_newer(&mut self, room: &RoomName, theirs: &[(String, Stamp)]) {
        let Some(state) = self.states.rooms.get(room.as_str()).filter(|state| state.known) else {
            return;
        };
        let mut known: Vec<_> = theirs.iter().map(|(key, stamp)| (key.as_str(), stamp)).collect();
        known.sort_unstable();
        let lacks = |registers: &Registers| -> Vec<StateEntry> {
            registers
                .iter()
                .filter(|(key, register)| {
                    match known.binary_search_by(|(known, _)| (*known).cmp(key)) {
                        Ok(at) => known.get(at).is_some_and(|(_, of)| **of < register.stamp),
                        Err(_) => true,
                    }
                })
                .map(|(key, register)| entry(key, register.value.as_deref(), &register.stamp))
                .collect()
        };
        let entries = lacks(&state.registers);
        if !entries.is_empty() {
            let talk = StateTalk::Set { room: room.clone(), from: None, id: None, entries };
            self.say(room_channel(room), Payload::State(talk));
        }
    }

    /// Tells the checksums of some of the states that this node knows: the next ones, in order.
    pub(super) fn tell_state_sums(&mut self) {
        if !self.can_ask_for_states() || self.bus_waiting() > FOR_ANSWERS {
            return;
        }
        let cursor = &self.states.cursor;
        let behind = (Bound::Excluded(&**cursor), Bound::Unbounded);
        let upto = (Bound::Unbounded, Bound::Included(&**cursor));
        let rooms = self.states.rooms.range::<str, _>(behind);
        let rooms = rooms.chain(self.states.rooms.range::<str, _>(upto));
        let known = rooms.filter(|(_, state)| state.known && state.fetch.is_none());
        let sums = known.filter_map(|(room, state)| {
            let registers = &state.registers;
            Some((RoomName::new(&**room).ok()?, registers.sum(), registers.clock()))
        });
        let sums: Vec<_> = sums.take(SUMS_PER_BEAT).collect();
        if let Some((last, ..)) = sums.last() {
            self.states.cursor = last.as_str().into();
        }
        for (room, sum, clock) in sums {
            let channel = room_channel(&room);
            self.say(channel, Payload::State(StateTalk::Sum { room, sum, clock }));
        }
    }
}

fn entry(key: &str, value: Option<&str>, stamp: &Stamp) -> StateEntry {
    StateEntry {
        key: key.into(),
        value: value.and_then(|value| RawJson::parse(value).ok()),
        clock: stamp.clock,
        node: (&*stamp.node).into(),
    }
}

fn stamp(entry: &StateEntry) -> Stamp {
    Stamp { clock: entry.clock, node: Arc::from(entry.node.as_str()) }
}
