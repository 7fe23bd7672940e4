//! Who receives what a peer sends (SPEC §5).

use alloc::format;

use symple_proto::{FrameView, Recipient, RoutedType, cluster::Payload};

use super::{ConnId, Server, remotes::NodeIndex, rooms::RoomIndex};

/// Where else than on this node a frame has receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// Nowhere.
    Nobody,
    /// On one node.
    Node(NodeIndex),
    /// In the rooms that are [listed](Server::rooms_elsewhere).
    Rooms,
}

impl Server {
    /// Relays a frame of a peer of this node.
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
        let elsewhere = self.select(conn, &recipient, kind);
        let Self { registry, out, .. } = self;
        let Some(peer) = registry.peer(conn) else { return };
        let relay = || {
            Self::write(0, |text| match &data {
                Some(data) => frame.relay_with_data(peer.quoted(), data, text),
                None => frame.relay(peer.quoted(), text),
            })
        };
        if elsewhere == Elsewhere::Nobody {
            out.send(relay);
        } else {
            let text = relay();
            out.send(|| text.clone());
            self.publish(elsewhere, Payload::Frame((*text).into()));
        }
    }

    /// Collects the receivers of a frame on this node; where else there are any. The sender may
    /// be a peer of another node.
    pub(super) fn select(
        &mut self,
        conn: ConnId,
        recipient: &Recipient<'_>,
        kind: RoutedType,
    ) -> Elsewhere {
        self.rooms_elsewhere.clear();
        let mut elsewhere = Elsewhere::Rooms;
        match recipient {
            Recipient::Everyone => {
                self.registry.push_sharing(conn, self.out.receivers());
                if let Some(peer) = self.registry.peer(conn) {
                    let rooms = peer.memberships.iter().map(|membership| membership.room);
                    let registry = &self.registry;
                    self.rooms_elsewhere
                        .extend(rooms.filter(|room| !registry.rooms.remotes(*room).is_empty()));
                }
            }
            Recipient::Session(id) => {
                elsewhere = match self.registry.find(id) {
                    Some(target) => self.reach_session(conn, target, kind),
                    None => Elsewhere::Nobody,
                };
            }
            Recipient::Name(name) => {
                if let Some(target) = self.registry.find(name) {
                    elsewhere = self.reach_session(conn, target, kind);
                } else if let Some(room) = self.registry.rooms.find(name) {
                    if self.registry.is_member(conn, room) {
                        // One room has each of its members once: nothing to mark.
                        self.registry.push_members(room, conn, self.out.receivers());
                        if !self.registry.rooms.remotes(room).is_empty() {
                            self.rooms_elsewhere.push(room);
                        }
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
        if elsewhere == Elsewhere::Rooms && self.rooms_elsewhere.is_empty() {
            Elsewhere::Nobody
        } else {
            elsewhere
        }
    }

    /// Prepares for [`reach_room`](Self::reach_room).
    fn mark_sender(&mut self, conn: ConnId) {
        self.registry.unmark_all();
        self.registry.mark(conn);
        self.registry.mark_rooms_of(conn);
    }

    /// A session is reached by those who share a room with it (R-M3), and by itself, except with
    /// presence (R-M1).
    fn reach_session(&mut self, conn: ConnId, target: ConnId, kind: RoutedType) -> Elsewhere {
        let permitted = if target == conn {
            kind != RoutedType::Presence
        } else {
            self.registry.share(conn, target)
        };
        if !permitted {
            self.stats.not_permitted += 1;
        } else if let Some(remote) = self.registry.remote(target) {
            return Elsewhere::Node(remote.node);
        } else {
            self.out.receivers().push(target);
        }
        Elsewhere::Nobody
    }

    /// A room is reached by its members, and by others as the host has it (R-M3); with presence,
    /// only those are reached who share a room (R-P6). The rooms of the sender are marked, and so
    /// is everyone who is not to receive the frame again (R-M1, R-M2).
    fn reach_room(&mut self, room: RoomIndex, kind: RoutedType) {
        let anyone = self.config.anyone_sends() && kind != RoutedType::Presence;
        let receivers = self.out.receivers();
        let everyone = anyone || self.registry.rooms.is_marked(room);
        if everyone {
            self.registry.push_unmarked_members(room, receivers);
        } else {
            self.stats.not_permitted += self.registry.push_unmarked_acquaintances(room, receivers);
        }
        let remotes = !self.registry.rooms.remotes(room).is_empty();
        if remotes && (everyone || self.registry.has_remote_acquaintance(room)) {
            self.rooms_elsewhere.push(room);
        }
    }
}
