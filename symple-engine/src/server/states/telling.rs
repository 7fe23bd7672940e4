//! Telling clients of states (R-K2): the whole of one to who comes to see it, as fast as it reads, and every
//! change behind that.

use alloc::{boxed::Box, collections::VecDeque, string::String, vec::Vec};

use symple_proto::{
    Extension,
    state::{push_changes, push_state},
};

use crate::server::{Action, ConnId, Server, Text};

use super::States;

/// A state of more bytes than this must have been read before its client is sent another one.
const SMALL: usize = 4 * 1024;

/// How many bytes of states a client is sent when it has read what it was sent, not counting the last one.
const BURST: usize = 256 * 1024;

/// Of what others set who are not in a room, so many bytes may wait for one of its members (R-L8).
const OF_STRANGERS: usize = 64 * 1024;

/// After so many of these bytes it is asked when the member has read them.
const UNWATCHED: usize = 16 * 1024;

/// The states that a client is still to be sent.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// In order.
    pub(super) rooms: VecDeque<UntoldRoom>,
    /// They are sent when the client has read what it was sent before.
    awaits_drain: bool,
}

/// A state that a client is still to be sent.
#[derive(Debug)]
pub(super) struct UntoldRoom {
    pub(super) room: Box<str>,
    /// The client has not asked for it, and does not pay for it: somebody else has changed too much.
    spared: bool,
}

impl UntoldRoom {
    /// One that the client has come to see.
    pub(super) fn seen(room: Box<str>) -> Self {
        Self { room, spared: false }
    }
}

/// The state that was written last, and of which room: many are told the same.
pub(super) type Written = (Box<str>, Text);

impl States {
    /// A state is another one now.
    pub(super) fn forget_written(&mut self, room: &str) {
        if self.written.as_ref().is_some_and(|(of, _)| **of == *room) {
            self.written = None;
        }
    }
}

impl Server {
    /// A client has been told that it is in these rooms, and is about to be put in those that it is not in
    /// yet: it is told of their states (R-K2). With `again` it is told of those of the others, too.
    pub(in crate::server) fn see_states<'a>(
        &mut self,
        conn: ConnId,
        rooms: impl Iterator<Item = &'a str>,
        again: bool,
    ) {
        if !self.has_states(conn) {
            return;
        }
        let mut missing = Vec::new();
        for room in rooms {
            let index = self.registry.rooms.find(room);
            let inside = index.is_some_and(|room| self.registry.is_member(conn, room));
            if !inside {
                let state = self.states.rooms.entry(room.into()).or_default();
                state.members += 1;
                state.for_question = false;
                self.states.is_used(room);
            }
            if inside && !again {
                continue;
            }
            if self.knows_state(room) {
                self.tell_state(conn, room);
            } else if let Some(state) = self.states.rooms.get_mut(room) {
                state.tell.push(conn);
                if state.fetch.is_none() {
                    missing.push(room.into());
                }
            }
        }
        self.fetch(missing);
    }

    /// A client is in a room no more.
    pub(in crate::server) fn unsee_state(&mut self, conn: ConnId, room: &str) {
        if !self.has_states(conn) {
            return;
        }
        if let Some(untold) = self.states.untold.get_mut(&conn) {
            untold.rooms.retain(|untold| *untold.room != *room);
        }
        if let Some(state) = self.states.rooms.get_mut(room) {
            state.members = state.members.saturating_sub(1);
            state.tell.retain(|to| *to != conn);
            self.settle_state(room);
        }
    }

    /// A peer is about to leave all its rooms.
    pub(in crate::server) fn unsee_states(&mut self, conn: ConnId) {
        let Some(peer) = self.registry.peer(conn).filter(|peer| peer.has(Extension::State)) else {
            return;
        };
        let names = peer.memberships.iter().map(|membership| membership.room);
        let names: Vec<Box<str>> =
            names.map(|room| self.registry.rooms.name(room).into()).collect();
        for room in names {
            self.unsee_state(conn, &room);
        }
        self.states.untold.remove(&conn);
        self.states.of_strangers.remove(&conn);
        self.forget_changes(conn);
    }

    /// Sends a frame about a state to the members on this node that have the extension and know what was
    /// before.
    pub(in crate::server) fn tell_members(
        &mut self,
        room: &str,
        except: Option<ConnId>,
        sender: Option<ConnId>,
        text: &Text,
    ) {
        let Some(index) = self.registry.rooms.find(room) else { return };
        let Some(state) = self.states.rooms.get(room).filter(|state| state.members > 0) else {
            return;
        };
        if state.fetch.is_some() {
            // Every member here waits to be told of the whole.
            return;
        }
        let mut looks = 0;
        let members = self.registry.rooms.members(index).iter().map(|member| member.conn);
        let told: Vec<ConnId> = members
            .filter(|conn| {
                looks += 1;
                Some(*conn) != except
                    && self.registry.peer(*conn).is_some_and(|peer| peer.has(Extension::State))
                    && !self.is_state_untold(*conn, room)
            })
            .collect();
        self.registry.looks += looks - told.len() as u64;
        self.out.receivers().extend(told);
        if let Some(sender) = sender {
            if !self.registry.is_member(sender, index) {
                let bytes = self.spare_full(room, text.len());
                // Whom it makes read the whole state has not asked for that.
                self.charge(sender, 0, bytes, 0);
            }
            self.tell_of_sender(sender);
        }
        self.out.send(|| text.clone());
        for conn in core::mem::take(&mut self.states.await_drain) {
            self.out.push(Action::AwaitDrain { conn });
        }
    }

    /// Of the pending receivers of a change by one who is not in the room, those do not get it that have much of
    /// that kind to read: they get the whole state when they have read it. So nobody misses it, as one to
    /// whom a frame is not delivered would. Returns how many bytes all of them will be sent for it.
    fn spare_full(&mut self, room: &str, bytes: usize) -> usize {
        let Self { out, states, .. } = self;
        let size = states.rooms.get(room).map_or(0, |state| state.registers.bytes());
        let mut later = 0;
        out.retain_pending(|conn| {
            let unread = states.of_strangers.entry(conn).or_default();
            let before = *unread;
            let has_room = before + bytes <= OF_STRANGERS;
            *unread = (before + bytes).min(OF_STRANGERS);
            if before <= UNWATCHED && *unread > UNWATCHED {
                states.await_drain.push(conn);
            }
            if !has_room {
                let untold = states.untold.entry(conn).or_default();
                untold.awaits_drain = true;
                untold.rooms.push_back(UntoldRoom { room: room.into(), spared: true });
                later += size;
            }
            has_room
        });
        later
    }

    pub(super) fn is_state_untold(&self, conn: ConnId, room: &str) -> bool {
        let untold = self.states.untold.get(&conn);
        untold.is_some_and(|untold| untold.rooms.iter().any(|untold| *untold.room == *room))
    }

    /// Tells a client of a whole state (R-K2): now, or when it has read what it was sent before.
    pub(super) fn tell_state(&mut self, conn: ConnId, room: &str) {
        if self.registry.peer(conn).is_none() || self.is_state_untold(conn, room) {
            return;
        }
        if let Some(untold) = self.states.untold.get_mut(&conn) {
            untold.rooms.push_back(UntoldRoom::seen(room.into()));
        } else if self.send_state(conn, &UntoldRoom::seen(room.into())) > SMALL {
            self.await_reader(conn, VecDeque::new());
        }
    }

    fn await_reader(&mut self, conn: ConnId, rooms: VecDeque<UntoldRoom>) {
        self.states.untold.insert(conn, Untold { rooms, awaits_drain: true });
        self.out.push(Action::AwaitDrain { conn });
    }

    fn send_state(&mut self, conn: ConnId, UntoldRoom { room, spared }: &UntoldRoom) -> usize {
        let Some(state) = self.states.rooms.get(room) else { return 0 };
        let bytes = state.registers.bytes();
        let text = match &self.states.written {
            Some((of, text)) if *of == *room => text.clone(),
            _ => {
                let text: Text = Self::write(64 + 2 * bytes, |text| {
                    push_state(room, state.registers.live(), text);
                });
                self.states.written = Some((room.clone(), text.clone()));
                text
            }
        };
        // It is paid for by who wants to see it, whenever it is sent.
        let outer = core::mem::replace(&mut self.out.cause, (!spared).then_some(conn));
        self.out.send_to(conn, text);
        self.out.cause = outer;
        if !spared {
            self.charge(conn, 0, bytes, 0);
        }
        bytes
    }

    /// Tells a client of the states that it is still to be told of, as fast as it reads. Returns how many
    /// bytes that are.
    pub(in crate::server) fn tell_untold_states(&mut self, conn: ConnId) -> usize {
        self.states.of_strangers.remove(&conn);
        let Some(mut untold) = self.states.untold.remove(&conn) else { return 0 };
        let mut sent = 0;
        while sent < BURST {
            let Some(room) = untold.rooms.pop_front() else { return sent };
            sent += self.send_state(conn, &room);
        }
        self.await_reader(conn, untold.rooms);
        sent
    }

    /// Tells a client of states that were asked for, unless it has still to read others. Returns how many
    /// bytes that are.
    pub(super) fn tell_fetched_states(&mut self, conn: ConnId) -> usize {
        let Some(mut untold) = self.states.untold.remove(&conn) else { return 0 };
        if untold.awaits_drain {
            self.states.untold.insert(conn, untold);
            return 0;
        }
        let mut sent = 0;
        while let Some(room) = untold.rooms.pop_front() {
            let bytes = self.send_state(conn, &room);
            sent += bytes;
            if bytes > SMALL {
                self.await_reader(conn, untold.rooms);
                break;
            }
        }
        sent
    }
}

/// The frame that tells of keys that have been set.
pub(in crate::server) fn changes_text(
    room: &str,
    set: &[(Box<str>, Option<Box<str>>)],
    id: Option<&str>,
    from: Option<&str>,
) -> Text {
    let mut text = String::with_capacity(128);
    let values = set.iter().map(|(key, value)| (&**key, value.as_deref()));
    push_changes(room, values, id, from, &mut text);
    Text::from(text)
}
