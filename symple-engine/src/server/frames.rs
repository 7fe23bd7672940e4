//! Texts from clients, to the parts that decide about them (SPEC §2).

use alloc::{collections::BTreeSet, format, string::String};

use symple_proto::{
    CloseCode, Extension, Fields, FrameType, FrameView, Json, RoutedType, Status, check_room,
    frame::{JoinOk, LeaveOk},
    json::Kind,
};

use super::{
    ConnId, EngineError, Event, FrameKind, OfflineReason, Server, membership::Reason,
    registry::Session,
};

/// How many characters of an unknown type are repeated in the answer.
const MAX_ECHO: usize = 64;

/// As how many bytes one of an `auth` counts, and one of a presence: to look at each member, and to
/// write it anew, takes longer than to pass a text on (R-L3).
const MEMBERS_COST: usize = 4;
const RECORD_COST: usize = 2;

/// What a frame is charged for beside what it causes (R-L3).
#[derive(Clone, Copy, Debug)]
pub(super) struct Price {
    pub(super) frames: u32,
    pub(super) bytes: usize,
}

impl Server {
    /// A text arrived.
    pub(super) fn text(&mut self, conn: ConnId, text: &str) -> Result<(), EngineError> {
        let connection = self.registry.get(conn).ok_or(EngineError::UnknownConnection(conn))?;
        match &connection.session {
            Session::Closing => return Ok(()),
            Session::AwaitingAuth(place) => {
                self.newcomers.remove(*place);
                self.charged_arrival(conn, |server| server.first_frame(conn, text));
                // That it came is free, but not how large it was.
                self.charge(conn, 0, text.len() * MEMBERS_COST, 0);
            }
            Session::Authenticating(_) => self.queue(conn, text),
            Session::Online(peer) if peer.pending.is_some() || self.hooks.is_asked(conn) => {
                self.queue(conn, text);
            }
            Session::Online(peer) => {
                if peer.of_host {
                    self.frame(conn, text);
                } else {
                    if peer.touch_at <= self.now {
                        self.touch_session(conn);
                    }
                    self.charged(conn, |server| server.frame(conn, text));
                }
            }
        }
        self.stats.frames += 1;
        Ok(())
    }

    /// A frame of a peer. Returns what it is charged for beside what it causes; nothing is charged before it has
    /// been handled, for that may end the peer.
    pub(super) fn frame(&mut self, conn: ConnId, text: &str) -> Price {
        let mut price = Price { frames: 1, bytes: text.len() };
        let frame = match FrameView::parse(text, self.config.limits.depth) {
            Ok(frame) => frame,
            Err(error) => {
                self.stats.received.add(FrameKind::Other, 1);
                self.bad_request(conn, &format!("Invalid frame: {error}"));
                return price;
            }
        };
        self.stats.received.add(FrameKind::of_client(&frame.frame_type()), 1);
        match frame.frame_type() {
            // Some receivers would read another value than the server has enforced (R-F2).
            Ok(FrameType::Routed(_)) if frame.misspelt().is_some() => {
                let name = frame.misspelt().unwrap_or_default();
                self.bad_request(conn, &format!("Invalid {name} field: must be spelled {name}"));
            }
            Ok(FrameType::Routed(RoutedType::Presence)) if self.is_patch(conn, &frame) => {
                price.bytes += self.patch_record(conn, &frame) * RECORD_COST;
            }
            Ok(FrameType::Routed(kind)) => {
                if kind == RoutedType::Presence {
                    price.bytes *= RECORD_COST;
                }
                self.routed(conn, &frame, kind);
            }
            Ok(FrameType::Join) => self.join_or_leave(conn, &frame, |server, conn, room| {
                server.client_joins(conn, room, &frame);
            }),
            Ok(FrameType::Leave) => self.join_or_leave(conn, &frame, Self::leave),
            Ok(FrameType::Auth) if self.registry.peer(conn).is_some_and(|peer| peer.of_host) => {
                self.bad_request(conn, "Unknown type: auth");
            }
            Ok(FrameType::Auth) => {
                // A peer is made of it, member by member, unless it is too large.
                let bytes = text.len().min(self.config.limits.message_unauthenticated);
                price.frames += 1;
                price.bytes += bytes * (MEMBERS_COST - 1);
                self.authenticate(conn, &frame);
            }
            Ok(FrameType::Close) => {
                self.end(conn, CloseCode::NORMAL, "Closed", OfflineReason::Closed);
            }
            // For others there is no such type (R-X1).
            Ok(FrameType::Unknown(name)) if *name == *"state" && self.has_states(conn) => {
                self.state_frame(conn, &frame);
            }
            Ok(FrameType::Unknown(name)) => {
                let name: String = name.chars().take(MAX_ECHO).collect();
                self.bad_request(conn, &format!("Unknown type: {name}"));
            }
            Err(error) => self.bad_request(conn, &format!("{error}")),
        }
        price
    }

    /// True if a presence changes members of the record of its peer (R-K7).
    fn is_patch(&self, conn: ConnId, frame: &FrameView<'_>) -> bool {
        frame.data().is_none()
            && self.registry.peer(conn).is_some_and(|peer| peer.has(Extension::State))
            && frame.object().get("patch").and_then(Json::as_object).is_some()
    }

    /// Lays the members of a patch over the record of a peer: others get all of it (R-K7). A `to` is
    /// passed over, for the record is told to everyone. Returns how many bytes have been written for it: all
    /// of the record, however small the patch is.
    fn patch_record(&mut self, conn: ConnId, frame: &FrameView<'_>) -> usize {
        let patch = frame.object().get("patch").and_then(Json::as_object);
        let Some(patch) = patch.and_then(|patch| Fields::try_from(patch).ok()) else {
            self.bad_request(
                conn,
                "Invalid patch field: a key must not contain half a surrogate pair",
            );
            return 0;
        };
        let record = self.registry.peer(conn).map(|peer| peer.record.text());
        let record = record.and_then(|record| Json::parse(record, self.config.limits.depth).ok());
        let record = record.and_then(Json::as_object);
        let mut record =
            record.and_then(|record| Fields::try_from(record).ok()).unwrap_or_default();
        let nulls = patch.iter().filter(|(_, value)| value.get().kind() == Kind::Null);
        let gone: BTreeSet<String> = nulls.map(|(name, _)| name.into()).collect();
        // To look for each member in turn would take seconds for a large patch.
        record.merge(patch);
        record.retain(|name| !gone.contains(name));
        let text = format!("{{\"type\":\"presence\",\"data\":{}}}", record.to_json());
        if let Ok(frame) = FrameView::parse(&text, self.config.limits.depth) {
            self.routed(conn, &frame, RoutedType::Presence);
        }
        text.len()
    }

    pub(super) fn bad_request(&mut self, conn: ConnId, message: &str) {
        self.error(conn, Status::BAD_REQUEST, message);
    }

    /// `join` and `leave` ask for the same things first (R-R2, R-R3).
    fn join_or_leave(
        &mut self,
        conn: ConnId,
        frame: &FrameView<'_>,
        act: impl FnOnce(&mut Self, ConnId, &str),
    ) {
        const WRONG_TYPE: &str = "must be a string";
        if !self.config.dynamic_rooms {
            return self.error(conn, Status::FORBIDDEN, "Dynamic rooms disabled");
        }
        let Some(room) = frame.room() else {
            return self.bad_request(conn, "Missing room field");
        };
        let checked = match room.as_str() {
            Some(Ok(room)) => check_room(&room).map(|()| room).map_err(|error| format!("{error}")),
            Some(Err(error)) => Err(format!("{}", error.fault())),
            None => Err(String::from(WRONG_TYPE)),
        };
        match checked {
            Ok(room) => act(self, conn, &room),
            Err(why) => self.bad_request(conn, &format!("Invalid room field: {why}")),
        }
    }

    /// Puts a client in a room that it has asked for, if it may be in another one.
    pub(super) fn join(&mut self, conn: ConnId, room: &str) {
        if let Some(reason) = self.join_reason(conn, room) {
            self.put_in(conn, room, reason);
        }
    }

    /// Why a client would be in a room; none if it has been told that it is in too many.
    pub(super) fn join_reason(&mut self, conn: ConnId, room: &str) -> Option<Reason> {
        let peer = self.registry.peer(conn)?;
        let inside =
            self.registry.rooms.find(room).is_some_and(|room| peer.membership(room).is_some());
        let limit = self.config.limits.rooms_per_peer;
        // The room of the user is the user's, asked for or not (R-R1, R-R4).
        let reason = if *peer.user() == *room { Reason::Own } else { Reason::Asked };
        if !inside && reason == Reason::Asked && peer.asked_rooms() >= limit {
            let message = format!("Too many rooms: the limit is {limit}");
            self.error(conn, Status::FORBIDDEN, &message);
            return None;
        }
        Some(reason)
    }

    /// Confirms that a peer is in a room, and puts it there if it is not.
    pub(super) fn put_in(&mut self, conn: ConnId, room: &str, reason: Reason) {
        let text = Self::write(32 + room.len(), |text| JoinOk::push(room, text));
        self.out.send_to(conn, text);
        self.see_states(conn, core::iter::once(room), true);
        self.owe_complete(conn);
        if self.enter(conn, &[(room, reason)]) {
            self.tell_host_of_room(conn, room, |peer, room| Event::Joined { peer, room });
        }
    }

    /// Confirms that a peer is not in a room, and takes it out if it is.
    pub(super) fn leave(&mut self, conn: ConnId, room: &str) {
        let text = Self::write(32 + room.len(), |text| LeaveOk::push(room, text));
        self.out.send_to(conn, text);
        if let Some(index) = self.registry.rooms.find(room)
            && self.exit(conn, index)
        {
            self.tell_host_of_room(conn, room, |peer, room| Event::Left { peer, room });
        }
    }

    /// Tells the host that a peer has joined or left a room, if it wants to know.
    pub(super) fn tell_host_of_room(
        &mut self,
        conn: ConnId,
        room: &str,
        event: impl FnOnce(symple_proto::Address, alloc::boxed::Box<str>) -> Event,
    ) {
        if self.config.events
            && let Some(peer) = self.registry.peer(conn).map(super::peer::Peer::address)
        {
            self.tell_host(|| event(peer, room.into()));
        }
    }
}
