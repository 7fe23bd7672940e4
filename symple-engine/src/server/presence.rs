//! Presence: keeps the rosters of clients right by telling them of each other (SPEC §6).
//!
//! R-P1 holds because two peers are told of each other exactly when they begin to share a room,
//! and told again exactly when they cease to.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use symple_proto::{
    FrameView, RecordError, RoomName, Status, ToldRecord, frame::push_presence, json::Kind,
};

use super::{
    ConnId, PresenceMode, RemoteChange, Server, Text, batches::News, membership::Reason,
    peer::Peer, rooms::RoomIndex,
};

/// The presence frame that the server sends of a peer.
pub(super) fn presence(peer: &Peer, online: bool) -> Text {
    let mut text = String::with_capacity(48 + peer.quoted().len() + peer.record.text().len());
    push_presence(peer.quoted(), &peer.record, online, &mut text);
    Text::from(text)
}

impl Server {
    /// Puts a new peer in its rooms and tells those who share one with it, and it of them (R-P2,
    /// R-P3).
    pub(super) fn arrive(&mut self, conn: ConnId, rooms: &[(&str, Reason)]) {
        self.enter_telling(conn, rooms, true);
        self.registry.has_arrived(conn);
    }

    /// Puts a peer in rooms; those that begin to share a room with it and it itself are told of
    /// each other (R-P3), and other nodes of it. True if there was a room that it was not in.
    pub(super) fn enter(&mut self, conn: ConnId, rooms: &[(&str, Reason)]) -> bool {
        let entered = self.enter_telling(conn, rooms, self.config.presence == PresenceMode::Full);
        if entered {
            self.announce_join(conn, rooms.iter().map(|(room, _)| *room));
        }
        entered
    }

    fn enter_telling(&mut self, conn: ConnId, rooms: &[(&str, Reason)], tell: bool) -> bool {
        let mut found = core::mem::take(&mut self.scratch);
        let mut entered = false;
        // Marked rooms are those that the peer is in; marked connections have been found.
        self.registry.mark_rooms_of(conn);
        self.registry.unmark_all();
        for (name, reason) in rooms {
            let room = self.registry.rooms.find_or_add(name);
            if self.registry.rooms.is_marked(room) {
                // Another node's peers are in all their rooms for the same reason, and may be told
                // of again with all of them at any time.
                if !conn.is_remote() {
                    self.registry.raise_reason(conn, room, *reason);
                }
                continue;
            }
            if tell {
                // Peers of other nodes are told by those.
                self.registry.push_unmarked_strangers(room, !conn.is_remote(), &mut found);
            }
            self.registry.join(conn, room, *reason);
            self.registry.rooms.mark(room);
            entered = true;
        }
        self.tell_roster(conn, &found);
        self.tell_all(conn, &found, true);
        found.clear();
        self.scratch = found;
        entered
    }

    /// Takes a peer out of a room; those that cease to share a room with it and it itself are
    /// told of each other (R-P3). False if it was not in it.
    pub(super) fn exit(&mut self, conn: ConnId, room: RoomIndex) -> bool {
        let membership = self.registry.peer(conn).and_then(|peer| peer.membership(room));
        let Some(membership) = membership else { return false };
        self.announce_leave(conn, room);
        self.tell_left(conn, room);
        if self.has_states(conn) {
            let name: Box<str> = self.registry.rooms.name(room).into();
            self.unsee_state(conn, &name);
        }
        self.registry.leave(conn, membership);
        self.follow_occupancy();
        if self.config.presence == PresenceMode::Full {
            let mut lost = core::mem::take(&mut self.scratch);
            self.registry.mark_rooms_of(conn);
            self.registry.unmark_all();
            self.registry.push_unmarked_strangers(room, !conn.is_remote(), &mut lost);
            let in_batches = self.has_batches(conn);
            for other in lost.iter().filter(|_| !conn.is_remote()) {
                if self.forget_untold(conn, *other) {
                    continue;
                }
                if in_batches {
                    if !self.is_hidden(*other) {
                        self.note(conn, *other, News::Offline);
                    }
                    continue;
                }
                if let Some(other) = self.registry.peer(*other).filter(|other| !other.hidden) {
                    self.out.send_to(conn, presence(other, false));
                }
            }
            self.tell_all(conn, &lost, false);
            lost.clear();
            self.scratch = lost;
        }
        true
    }

    /// Takes a peer of another node out of all rooms but these, at once: what that costs must not
    /// grow with the square of what another node has told.
    pub(super) fn exit_others(&mut self, conn: ConnId, keep: &[RoomName]) {
        let Some(peer) = self.registry.peer(conn).filter(|_| conn.is_remote()) else { return };
        let memberships = peer.memberships.len();
        let rooms = &mut self.registry.rooms;
        rooms.unmark_all();
        for name in keep {
            if let Some(room) = rooms.find(name) {
                rooms.mark(room);
            }
        }
        let mut left = Vec::new();
        // From the end: what closes a gap has been looked at.
        for at in (0..memberships).rev() {
            let room = self.registry.peer(conn).map(|peer| peer.memberships[at].room);
            if let Some(room) = room.filter(|room| !self.registry.rooms.is_marked(*room)) {
                self.tell_host_of_remote(conn, |server, peer| RemoteChange::Left {
                    peer: peer.address(),
                    room: server.registry.rooms.name(room).into(),
                });
                self.registry.leave(conn, at);
                left.push(room);
            }
        }
        if self.config.presence == PresenceMode::Full {
            let mut lost = core::mem::take(&mut self.scratch);
            self.registry.unmark_all();
            for room in left {
                self.registry.push_unmarked_strangers(room, false, &mut lost);
            }
            self.tell_all(conn, &lost, false);
            lost.clear();
            self.scratch = lost;
        }
    }

    /// Takes a peer out of all its rooms, and with `tell` tells those who shared one (R-P2).
    pub(super) fn go_offline(&mut self, conn: ConnId, tell: bool) {
        if tell && !self.is_hidden(conn) {
            self.registry.push_sharing(conn, self.out.receivers());
            self.note_for_pending(conn, News::Offline);
            if let Some(peer) = self.registry.peer(conn) {
                self.out.send(|| presence(peer, false));
            }
        }
        self.unsee_states(conn);
        self.forget_roster(conn);
        self.forget_batches(conn);
        self.echoes.remove(&conn);
        self.told_too_slow.remove(&conn);
        self.announce_offline(conn);
        self.registry.leave_all(conn);
        self.follow_occupancy();
    }

    /// Nobody is told of the peer (R-H4).
    fn is_hidden(&self, conn: ConnId) -> bool {
        self.registry.peer(conn).is_some_and(|peer| peer.hidden)
    }

    /// Tells these of a peer.
    fn tell_all(&mut self, conn: ConnId, whom: &[ConnId], online: bool) {
        if self.is_hidden(conn) {
            return;
        }
        self.out.receivers().extend(whom.iter().filter(|conn| !conn.is_remote()));
        self.note_for_pending(conn, if online { News::Online } else { News::Offline });
        if let Some(peer) = self.registry.peer(conn) {
            self.out.send(|| presence(peer, online));
        }
    }

    /// Stores what a peer tells of itself (R-P4). The `data` to be relayed, if there is any.
    ///
    /// `Err` if the peer has been told that it cannot be stored.
    pub(super) fn store_record(
        &mut self,
        conn: ConnId,
        frame: &FrameView<'_>,
    ) -> Result<Option<String>, ()> {
        let Some(data) = frame.data().filter(|data| data.kind() != Kind::Null) else {
            return Ok(None);
        };
        let Some(object) = data.as_object() else {
            self.bad_request(conn, "Invalid data field: must be an object");
            return Err(());
        };
        let limit = self.config.limits.record;
        let Some(peer) = self.registry.peer_mut(conn) else { return Err(()) };
        match ToldRecord::read(object, peer.user(), peer.id(), limit) {
            Ok(told) => {
                let changed = peer.record != told.record;
                peer.record = told.record;
                if changed {
                    self.announce_record(conn);
                }
                Ok(Some(told.relayed))
            }
            Err(error) => {
                let status = match error {
                    RecordError::TooLarge(_) => Status::TOO_LARGE,
                    _ => Status::BAD_REQUEST,
                };
                self.error(conn, status, &format!("{error}"));
                Err(())
            }
        }
    }
}
