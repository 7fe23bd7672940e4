//! What a server sends.

use alloc::{string::String, vec::Vec};
use core::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{
    PROTOCOL,
    address::Address,
    extension::Extensions,
    fields::Fields,
    json::{Json, Kind, RawJson, push_string},
    name::{PeerId, RoomName, UserName},
    record::PublicRecord,
    status::Status,
};

use super::{
    field::{Field, FrameError, frame, frames, require, take},
    routed::{Command, Event, Message, Presence},
};

/// A peer as the server tells of it: in `welcome`, and as the `data` of presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whose session it is.
    pub user: UserName,
    /// Which one.
    pub id: PeerId,
    /// How it wants to be called.
    pub name: Option<String>,
    /// True while it is there.
    pub online: bool,
    /// Where it connects from; only the peer itself is told.
    pub host: Option<String>,
    /// Further members, as they were written.
    pub extra: Fields,
}

impl Peer {
    /// Where to send frames for it.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::new(self.user.clone(), self.id.clone())
    }
}

impl TryFrom<&RawJson> for Peer {
    type Error = FrameError;

    fn try_from(raw: &RawJson) -> Result<Self, FrameError> {
        let invalid = FrameError::Invalid { name: "peer", expected: Self::EXPECTED };
        let mut fields = <Fields as Field>::read(raw).ok_or(invalid)?;
        Ok(Self {
            user: require(&mut fields, "user")?,
            id: require(&mut fields, "id")?,
            name: take(&mut fields, "name")?,
            online: take(&mut fields, "online")?.unwrap_or_default(),
            host: take(&mut fields, "host")?,
            extra: fields,
        })
    }
}

impl Field for Vec<Peer> {
    const EXPECTED: &'static str = "an array of peers";

    fn read(raw: &RawJson) -> Option<Self> {
        let mut peers = Some(Self::new());
        raw.get().as_array()?.for_each(|peer| {
            let peer = Peer::try_from(&RawJson::from(peer)).ok();
            peers = peers.take().zip(peer).map(|(mut peers, peer)| {
                peers.push(peer);
                peers
            });
        });
        peers
    }

    fn write(&self) -> RawJson {
        let peers: Vec<_> = self.iter().map(|peer| String::from(peer.write().text())).collect();
        let text = alloc::format!("[{}]", peers.join(","));
        RawJson::from(Json::checked(&text, Kind::Array))
    }
}

impl Field for Peer {
    const EXPECTED: &'static str = "an object with user and id";

    fn read(raw: &RawJson) -> Option<Self> {
        Self::try_from(raw).ok()
    }

    fn write(&self) -> RawJson {
        let mut fields = Fields::new();
        fields.set("user", self.user.as_str());
        fields.set("id", self.id.as_str());
        fields.set("online", self.online);
        if let Some(name) = &self.name {
            fields.set("name", name.as_str());
        }
        if let Some(host) = &self.host {
            fields.set("host", host.as_str());
        }
        fields.merge(self.extra.clone());
        Field::write(&fields)
    }
}

frame! {
    /// `welcome`: the client is authenticated (R-A8).
    Welcome = "welcome" {
        /// [`PROTOCOL`]
        protocol: String,
        /// [`Status::OK`]
        status: Status,
        /// Who the client is now.
        peer: Peer,
        /// The rooms that it is in, its user's own first.
        rooms: Vec<String>,
        ? /// The extensions that are on, by name, where the client has asked for any (R-X1).
        extensions: Vec<String>,
    }
}

impl Welcome {
    /// Appends a welcome to `out`; `peer` is a JSON object, `extensions` are those that are on,
    /// where the client has asked for any (R-X1).
    pub fn push(
        peer: &str,
        rooms: &[impl AsRef<str>],
        extensions: Option<Extensions>,
        out: &mut String,
    ) {
        out.push_str("{\"type\":\"welcome\",\"protocol\":");
        push_string(out, PROTOCOL);
        out.push_str(",\"status\":200,\"peer\":");
        out.push_str(peer);
        out.push_str(",\"rooms\":[");
        for (at, room) in rooms.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            push_string(out, room.as_ref());
        }
        out.push(']');
        if let Some(extensions) = extensions {
            out.push_str(",\"extensions\":");
            extensions.push(out);
        }
        out.push('}');
    }
}

frame! {
    /// `error`: something was refused (SPEC §7).
    Error = "error" {
        ? /// Why, as a number. The Node server leaves it out of some.
        status: Status,
        ? /// Why, for people.
        message: String,
    }
}

frame! {
    /// `join:ok`: the client is in the room.
    JoinOk = "join:ok" {
        /// The room.
        room: RoomName,
    }
}

frame! {
    /// `leave:ok`: the client is not in the room.
    LeaveOk = "leave:ok" {
        /// The room.
        room: RoomName,
    }
}

frame! {
    /// `roster`: presence of several peers, for those who have asked for the extension (R-X2).
    Roster = "roster" {
        /// The peers that are online, each as in a presence of its own.
        online: Vec<Peer>,
        /// The addresses of those that are offline.
        offline: Vec<String>,
        ? /// True where the client has been told of everyone that it can see.
        complete: bool,
    }
}

frame! {
    /// `state`: the state of a room, or changes of it, for those who have asked for the extension
    /// (R-K1, R-K2).
    State = "state" {
        /// The room.
        room: RoomName,
        ? /// The keys that have changed: `null` is that of one that is gone.
        set: Fields,
        ? /// The whole state.
        all: Fields,
        ? /// Who has changed it; none where the server says so by itself.
        from: String,
        ? /// That of the frame that has changed it.
        id: RawJson,
    }
}

frame! {
    /// `state:ok`: a change of the state of a room has been taken (R-K1).
    StateOk = "state:ok" {
        /// The room.
        room: RoomName,
        ? /// That of the frame.
        id: RawJson,
    }
}

frames! {
    /// A frame that a server sends.
    ServerFrame {
        Welcome, Error, JoinOk, LeaveOk, Message, Presence, Command, Event, Roster, State, StateOk,
    }
}

/// A batch of presence that is being written (R-X2): first those who are online, then those who are
/// not.
#[derive(Debug)]
pub struct RosterBatch {
    text: String,
    online: usize,
    offline: usize,
}

impl RosterBatch {
    const OFFLINE: &str = "],\"offline\":[";

    /// A batch of about so many bytes of records and addresses.
    #[must_use]
    pub fn begin(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes + 64);
        text.push_str("{\"type\":\"roster\",\"online\":[");
        Self { text, online: 0, offline: 0 }
    }

    /// Adds a peer that is online. Nothing is added behind those who are offline.
    pub fn online(&mut self, record: &PublicRecord) {
        if self.offline > 0 {
            return;
        }
        if self.online > 0 {
            self.text.push(',');
        }
        self.online += 1;
        record.push(true, &mut self.text);
    }

    /// Adds a peer that is offline: its address as a JSON string.
    pub fn offline(&mut self, address: &str) {
        self.text.push_str(if self.offline == 0 { Self::OFFLINE } else { "," });
        self.offline += 1;
        self.text.push_str(address);
    }

    /// The frame. With `complete`, the client has now been told of everyone that it can see.
    #[must_use]
    pub fn finish(mut self, complete: bool) -> String {
        if self.offline == 0 {
            self.text.push_str(Self::OFFLINE);
        }
        self.text.push_str(if complete { "],\"complete\":true}" } else { "]}" });
        self.text
    }
}

impl JoinOk {
    /// Appends a `join:ok` to `out`.
    pub fn push(room: &str, out: &mut String) {
        push_room_frame("{\"type\":\"join:ok\",\"room\":", room, out);
    }
}

impl LeaveOk {
    /// Appends a `leave:ok` to `out`.
    pub fn push(room: &str, out: &mut String) {
        push_room_frame("{\"type\":\"leave:ok\",\"room\":", room, out);
    }
}

fn push_room_frame(start: &str, room: &str, out: &mut String) {
    out.push_str(start);
    push_string(out, room);
    out.push('}');
}

/// Appends an `error` frame.
pub fn push_error(status: Status, message: &str, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{{\"type\":\"error\",\"status\":{status},\"message\":");
    push_string(out, message);
    out.push('}');
}

/// Appends the presence that the server sends of a peer (R-P2, R-P3, R-P5); `from` is its address
/// as a JSON string.
pub fn push_presence(from: &str, record: &PublicRecord, online: bool, out: &mut String) {
    out.push_str("{\"type\":\"presence\",\"from\":");
    out.push_str(from);
    out.push_str(",\"data\":");
    record.push(online, out);
    out.push('}');
}
