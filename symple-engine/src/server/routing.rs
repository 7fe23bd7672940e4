//! Who receives what a peer sends (SPEC §5).

use alloc::format;

use symple_proto::{FrameView, Recipient, RoutedType};

use super::{ConnId, Server, rooms::RoomIndex};

impl Server {
    /// Relays a frame of a peer.
    pub(super) fn route(&mut self, conn: ConnId, frame: &FrameView<'_>, kind: RoutedType) {
        let limit = self.config.limits.recipient_rooms;
        let recipient = match Recipient::decode(frame.to(), limit) {
            Ok(recipient) => recipient,
            Err(error) => return self.bad_request(conn, &format!("Invalid to field: {error}")),
        };
        let data = if kind == RoutedType::Presence {
            let Ok(data) = self.store_record(conn, frame) else { return };
            data
        } else {
            None
        };
        match &recipient {
            Recipient::Everyone => self.registry.push_sharing(conn, self.out.receivers()),
            Recipient::Session(id) => {
                if let Some(target) = self.registry.find(id) {
                    self.reach_session(conn, target, kind);
                }
            }
            Recipient::Name(name) => {
                if let Some(target) = self.registry.find(name) {
                    self.reach_session(conn, target, kind);
                } else if let Some(room) = self.registry.rooms.find(name) {
                    if self.registry.is_member(conn, room) {
                        // One room has each of its members once: nothing to mark.
                        self.registry.push_members(room, conn, self.out.receivers());
                    } else {
                        self.mark_sender(conn);
                        self.reach_room(room, kind);
                    }
                }
            }
            Recipient::Rooms(rooms) => {
                self.mark_sender(conn);
                rooms.for_each_str(|name| {
                    if let Some(room) = self.registry.rooms.find(&name) {
                        self.reach_room(room, kind);
                    }
                });
            }
        }
        let Self { registry, out, .. } = self;
        let Some(peer) = registry.peer(conn) else { return };
        out.send(|| {
            Self::write(0, |text| match &data {
                Some(data) => frame.relay_with_data(peer.quoted(), data, text),
                None => frame.relay(peer.quoted(), text),
            })
        });
    }

    /// Prepares for [`reach_room`](Self::reach_room).
    fn mark_sender(&mut self, conn: ConnId) {
        self.registry.unmark_all();
        self.registry.mark(conn);
        self.registry.mark_rooms_of(conn);
    }

    /// A session is reached by those who share a room with it (R-M3), and by itself, except with
    /// presence (R-M1).
    fn reach_session(&mut self, conn: ConnId, target: ConnId, kind: RoutedType) {
        let permitted = if target == conn {
            kind != RoutedType::Presence
        } else {
            self.registry.share(conn, target)
        };
        if permitted {
            self.out.receivers().push(target);
        } else {
            self.stats.not_permitted += 1;
        }
    }

    /// A room is reached by its members, and by others as the host has it (R-M3); with presence,
    /// only those are reached who share a room (R-P6). The rooms of the sender are marked, and so
    /// is everyone who is not to receive the frame again (R-M1, R-M2).
    fn reach_room(&mut self, room: RoomIndex, kind: RoutedType) {
        let anyone = self.config.anyone_sends() && kind != RoutedType::Presence;
        let receivers = self.out.receivers();
        if anyone || self.registry.rooms.is_marked(room) {
            self.registry.push_unmarked_members(room, receivers);
        } else {
            self.stats.not_permitted += self.registry.push_unmarked_acquaintances(room, receivers);
        }
    }
}
