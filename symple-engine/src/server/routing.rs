//! Routing: selects the receivers of a frame (SPEC §5).

use alloc::{format, string::String};
use core::time::Duration;

use symple_proto::{FrameView, RawJson, Recipient, RoutedType, Status, cluster::Call};

use super::{ConnId, FrameKind, Server, batches::News, remotes::NodeIndex, rooms::RoomIndex};

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

/// The receivers of a frame. Those on this node are pending in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// How many of the receivers are in a room with the sender that the frame is for; they come
    /// first. The others have it because the sender has addressed it to them (R-L8).
    pub(super) members: usize,
    /// Where else there are receivers.
    pub(super) elsewhere: Elsewhere,
}

/// Whether the `to` of a frame is repeated to its sender: what is longer is a list, and the sender
/// may make it as long as a message. An address is always short enough. Nodes write an empty one to
/// each other for one that is not repeated.
fn is_repeated(to: &str) -> bool {
    /// How many bytes of JSON.
    const MAX_ECHO: usize = 2048;
    to.len() <= MAX_ECHO && to != "\"\""
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
        // Nobody is told of a hidden peer, whoever asks for it (R-H4).
        if kind == RoutedType::Presence && self.registry.peer(conn).is_some_and(|peer| peer.hidden)
        {
            return;
        }
        let Selection { members, elsewhere } = self.select(conn, &recipient, kind);
        if self.is_early_echo(conn)
            && let Some(peer) = self.registry.peer(conn)
        {
            let text = Self::write(0, |text| frame.relay(peer.quoted(), text));
            return self.keep_echo(conn, text);
        }
        let members = if data.is_some() && self.is_plain_presence(frame) {
            // Without a `to` all are members.
            self.note_for_pending(conn, News::Updated);
            self.out.pending()
        } else {
            members
        };
        self.tell_of_sender(conn);
        let Self { registry, out, .. } = self;
        let Some(peer) = registry.peer(conn) else { return };
        let relay = || {
            Self::write(0, |text| match kind {
                RoutedType::Presence => {
                    frame.relay_with_data(peer.quoted(), data.as_deref(), text);
                }
                _ => frame.relay(peer.quoted(), text),
            })
        };
        if elsewhere == Elsewhere::Nobody {
            out.relay(conn, members, FrameKind::from(kind), relay);
        } else {
            let text = relay();
            out.relay(conn, members, FrameKind::from(kind), || text.clone());
            self.charge_elsewhere(elsewhere);
            self.publish_frame(conn, elsewhere, &text);
        }
    }

    /// True if a presence says no more than the record (R-X2, R-P8), and somebody is told of records later.
    pub(super) fn is_plain_presence(&self, frame: &FrameView<'_>) -> bool {
        if self.batches.is_unused() && self.rosters.is_empty() {
            return false;
        }
        let (mut members, known) = (0, [frame.data(), frame.from()]);
        frame.object().for_each(|_| members += 1);
        members == 1 + known.iter().flatten().count() && frame.data().is_some()
    }

    /// Counts what other nodes will deliver.
    fn charge_elsewhere(&mut self, elsewhere: Elsewhere) {
        let rooms = &self.registry.rooms;
        self.deliveries_elsewhere += match elsewhere {
            Elsewhere::Nobody => 0,
            Elsewhere::Node(_) => 1,
            Elsewhere::Rooms => {
                self.rooms_elsewhere.iter().map(|room| rooms.remotes(*room).len() as u64).sum()
            }
        };
    }

    /// Collects the receivers of a frame on this node; where else there are any. The sender may
    /// be a peer of another node.
    pub(super) fn select(
        &mut self,
        conn: ConnId,
        recipient: &Recipient<'_>,
        kind: RoutedType,
    ) -> Selection {
        self.rooms_elsewhere.clear();
        let mut elsewhere = Elsewhere::Rooms;
        let mut members = None;
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
                members = Some(0);
                elsewhere = match self.registry.find(id) {
                    Some(target) => self.reach_session(conn, target, kind),
                    None => Elsewhere::Nobody,
                };
            }
            Recipient::Name(name) => {
                if let Some(target) = self.registry.find(name) {
                    members = Some(0);
                    elsewhere = self.reach_session(conn, target, kind);
                } else if let Some(room) = self.own_room(conn, name) {
                    // One room has each of its members once: nothing to mark.
                    self.registry.push_members(room, conn, self.out.receivers());
                    if !self.registry.rooms.remotes(room).is_empty() {
                        self.rooms_elsewhere.push(room);
                    }
                } else {
                    members = Some(0);
                    self.mark_sender(conn);
                    let room = self.registry.rooms.find(name);
                    self.reach_others(conn, room.as_slice(), kind);
                }
            }
            Recipient::Rooms(rooms) => {
                self.mark_sender(conn);
                let mut named = core::mem::take(&mut self.rooms_named);
                let mut others = false;
                rooms.for_each_str(|name| {
                    let room = self.registry.rooms.find(&name);
                    others |= room.is_none_or(|room| !self.registry.rooms.is_marked(room));
                    named.extend(room);
                });
                // However often a room is named, its members are looked at once.
                named.sort_unstable();
                named.dedup();
                named.retain(|room| {
                    let own = self.registry.rooms.is_marked(*room);
                    if own {
                        self.reach(*room);
                    }
                    !own
                });
                members = Some(self.out.pending());
                if others {
                    self.reach_others(conn, &named, kind);
                }
                named.clear();
                self.rooms_named = named;
            }
        }
        if elsewhere == Elsewhere::Rooms && self.rooms_elsewhere.is_empty() {
            elsewhere = Elsewhere::Nobody;
        }
        let members = members.unwrap_or(self.out.pending());
        Selection { members: self.spare_hidden(recipient, members), elsewhere }
    }

    /// The room of that name, if the peer is in it.
    fn own_room(&self, conn: ConnId, name: &str) -> Option<RoomIndex> {
        let room = self.registry.rooms.find(name)?;
        self.registry.is_member(conn, room).then_some(room)
    }

    /// Prepares for [`reach`](Self::reach) and [`reach_others`](Self::reach_others).
    fn mark_sender(&mut self, conn: ConnId) {
        self.registry.unmark_all();
        self.registry.mark(conn);
        self.registry.mark_rooms_of(conn);
    }

    /// A session is reached by those who share a room with it (R-M3), and by itself, except with
    /// presence (R-M1).
    fn reach_session(&mut self, conn: ConnId, target: ConnId, kind: RoutedType) -> Elsewhere {
        let hidden = self.registry.peer(target).is_some_and(|peer| peer.hidden);
        let permitted = if target == conn {
            kind != RoutedType::Presence
        } else {
            !hidden && self.registry.share(conn, target)
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

    /// All members of a room are reached. Everyone is marked who is not to receive the frame again
    /// (R-M1, R-M2).
    fn reach(&mut self, room: RoomIndex) {
        self.registry.push_unmarked_members(room, self.out.receivers());
        if !self.registry.rooms.remotes(room).is_empty() {
            self.rooms_elsewhere.push(room);
        }
    }

    /// Rooms that the sender is not in are reached by all, or by those who share a room with a
    /// member, as it is set up (R-M3); with presence, only those are reached who share a room
    /// (R-P6).
    ///
    /// Where members only are reached it is the sender's own rooms that are looked through, not
    /// those that it names: how long that takes tells nothing about what others there are.
    fn reach_others(&mut self, conn: ConnId, rooms: &[RoomIndex], kind: RoutedType) {
        if self.config.anyone_sends() && kind != RoutedType::Presence {
            for room in rooms {
                self.reach(*room);
            }
            return;
        }
        self.stats.not_permitted += rooms.len() as u64;
        self.registry.aim_at(rooms);
        self.registry.push_acquaintances_aimed_at(
            conn,
            self.out.receivers(),
            &mut self.rooms_elsewhere,
        );
    }

    /// A receiver did not take what was addressed to it: the sender is told (R-L8).
    pub(super) fn undelivered(&mut self, sender: ConnId, text: &str) {
        /// How often a sender is told.
        const INTERVAL: Duration = Duration::from_secs(1);
        self.stats.undelivered += 1;
        if self.registry.peer(sender).is_none() {
            return;
        }
        let told = self.told_too_slow.get(&sender);
        if told.is_some_and(|at| self.now.since(*at) < INTERVAL) {
            return;
        }
        let Ok(frame) = FrameView::parse(text, self.config.limits.depth) else { return };
        let Some(to) = frame.to() else { return };
        self.told_too_slow.insert(sender, self.now);
        if sender.is_remote() {
            if let Ok(id) = self.id_of(sender) {
                let to = if is_repeated(to.text()) { RawJson::from(to) } else { RawJson::from("") };
                let _ = self.call(sender, Call::Undelivered { id, to });
            }
            return;
        }
        self.tell_undelivered(sender, to.text());
    }

    /// Tells a peer of this node that a receiver is too slow for what it addresses to it.
    pub(super) fn tell_undelivered(&mut self, sender: ConnId, to: &str) {
        let more = if is_repeated(to) { format!("\"to\":{to}") } else { String::new() };
        self.error_with(sender, Status::TOO_MANY, "Receiver too slow", &more);
    }
}
