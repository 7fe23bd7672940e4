//! What the nodes of a cluster say to each other (R-C4, R-C5).
//!
//! An envelope is a line of JSON, the header, and what it carries behind it:
//!
//! ```text
//! {"v":3,"node":"6u2…","number":31,"seq":7,"kind":"frame"}
//! {"type":"message","to":"team","data":1.0,"from":"alice|0ab"}
//! ```
//!
//! So a frame travels between nodes as it does to clients: byte for byte, never encoded again.
//! Clients see nothing of this; and backends keep to [`Emission`](crate::Emission).
//!
//! Changes are told to everyone, once, and are numbered. A node that has missed some asks the one
//! node that knows ([`Ask`]), which answers it alone: with the changes that are missing
//! ([`Changes`]), or with all its peers in parts ([`Part`]), each of which is asked for.

use alloc::{borrow::Cow, boxed::Box, collections::BTreeMap, format, string::String, vec::Vec};
use core::str::Utf8Error;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::{
    json::RawJson,
    name::{PeerId, RoomName, UserName},
};

/// The version of the envelopes that this crate reads and writes. It is another one after every change that nodes
/// of the version before would not understand, or would misread: these refuse each other then (R-C5), and do not
/// half understand each other.
pub const VERSION: u32 = 3;

/// The longest header, in bytes; a longer one is not looked at.
const MAX_HEADER_LEN: usize = 512;

/// The longest id of a node, in bytes.
const MAX_NODE_LEN: usize = 64;

/// The channel of backends (R-S3): [`Emission`](crate::Emission)s, no envelopes.
pub const BROADCAST_CHANNEL: &str = "broadcast";

/// The channel of all nodes: who is there, in which rooms, and who lives.
pub const CLUSTER_CHANNEL: &str = "cluster";

/// The channel of one node.
#[must_use]
pub fn node_channel(node: &str) -> Box<str> {
    format!("node:{node}").into()
}

/// The channel of a room: to those nodes that have members in it (R-C3).
#[must_use]
pub fn room_channel(room: &str) -> Box<str> {
    format!("room:{room}").into()
}

/// The sum of a node's changes up to one, given the sum before it and its text: two nodes that
/// have read the same changes have the same sum. It is a checksum, not a signature.
#[must_use]
pub fn next_sum(sum: u64, change: &str) -> u64 {
    // FNV-1a.
    let step = |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    change.bytes().fold(sum ^ 0xcbf2_9ce4_8422_2325, step)
}

/// What one node says to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Who says it: digits and lower-case letters.
    pub node: Cow<'a, str>,
    /// How many envelopes the node has published until then, this one included. One with a number
    /// that is not greater than the last one's is a repeat.
    pub number: u64,
    /// How many changes the node has told of its peers until then, those in this envelope
    /// included. A receiver that has seen fewer has missed some.
    pub seq: u64,
    /// How often the node may have been taken for dead, and has come back (R-H3).
    pub lives: u32,
    /// What.
    pub payload: Payload<'a>,
}

/// What an envelope carries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// The node lives.
    Beat(Beat),
    /// The node is there (again), says what it knows, and asks for what it does not.
    Hello(Hello<'a>),
    /// The node leaves, and so do all its peers.
    Bye,
    /// The node asks the receiver for what it has missed.
    Ask(Ask),
    /// What has changed with one of the node's peers since `seq - 1`: [`Change::parse`] reads it.
    Change(Cow<'a, str>),
    /// An answer: the changes that the receiver has missed. [`Changes::parse`] reads it.
    Changes(Cow<'a, str>),
    /// An answer: a part of the node's peers. [`Part::parse`] reads it.
    Part(Cow<'a, str>),
    /// A frame of one of the node's peers, as it is relayed: for those of the receiver's peers
    /// that its `to` names.
    Frame(Cow<'a, str>),
    /// A frame that the node's host emits: for those of the receiver's peers that its `to` names.
    Emission(Cow<'a, str>),
    /// What the node's host asks of the receiver.
    Call(Call),
    /// What nodes say to each other of the states of rooms (R-K5).
    State(StateTalk),
}

/// What nodes say to each other of the states of rooms (R-K5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateTalk {
    /// Keys have been set: to all nodes that hold the room.
    Set {
        /// The room.
        room: RoomName,
        /// The address of who has set them; none if it is not known any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The `id` of the frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<RawJson>,
        /// The keys.
        entries: Vec<StateEntry>,
    },
    /// A checksum of a state, so that nodes notice that theirs differ.
    Sum {
        /// The room.
        room: RoomName,
        /// The checksum.
        sum: u64,
        /// The logical time of its latest change: what is set from now on is later.
        clock: u64,
    },
    /// A question for the states of rooms.
    Ask {
        /// Chosen at random; repeated in the answer.
        nonce: u64,
        /// The rooms.
        rooms: Vec<RoomName>,
    },
    /// An answer: the states of those of the rooms that the node holds.
    All {
        /// That of the question.
        nonce: u64,
        /// The rooms with their keys, deleted ones included.
        rooms: Vec<(RoomName, Vec<StateEntry>)>,
        /// More of the answer follows.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        more: bool,
    },
}

/// A key of a room's state, as a register that the last writer wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// The key.
    #[serde(rename = "k")]
    pub key: String,
    /// The value; none if the key has been deleted.
    #[serde(rename = "v")]
    pub value: Option<RawJson>,
    /// The logical time at which it was set: more is later.
    #[serde(rename = "c")]
    pub clock: u64,
    /// The id of the node that has set it, which decides between equal times.
    #[serde(rename = "n")]
    pub node: String,
}

/// What a node says of itself with every heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The [sum](next_sum) of its changes.
    pub sum: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What a node says when its bus is up (again).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// Chosen at random; repeated in the answers.
    pub nonce: u64,
    /// The [sum](next_sum) of its changes.
    pub sum: u64,
    /// What it knows of the other nodes: how many of their changes, and the sum of these.
    #[serde(borrow)]
    pub known: BTreeMap<Cow<'a, str>, (u64, u64)>,
}

/// What a node asks another one for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Chosen at random; repeated in the answer.
    pub nonce: u64,
    /// The changes behind so many, of which this is the sum. If the other side does not have them
    /// any more, or the sum is another one, it answers with the first part of its peers.
    pub since: Option<(u64, u64)>,
    /// Without `since`: the peers from this place on.
    pub after: u32,
    /// About how many bytes the answer may have.
    pub bytes: u32,
}

/// What has changed with one of a node's peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is online, as this says and no otherwise.
    Online(PeerState),
    /// It is in these rooms, beside those that it was in.
    Join {
        /// Which peer.
        id: PeerId,
        /// Which rooms.
        rooms: Vec<RoomName>,
    },
    /// It is in this room no more.
    Leave {
        /// Which peer.
        id: PeerId,
        /// Which room.
        room: RoomName,
    },
    /// It has told something else of itself (R-P4).
    Record {
        /// Which peer.
        id: PeerId,
        /// Its public record, an object.
        record: RawJson,
    },
    /// It is offline, if it was not already.
    Offline {
        /// Which peer.
        id: PeerId,
    },
}

impl Change {
    /// Reads what [`Payload::Change`] carries, or one of [`Changes`].
    ///
    /// # Errors
    /// [`EnvelopeError::Payload`]
    pub fn parse(text: &str) -> Result<Self, EnvelopeError> {
        read(text, "change")
    }

    /// The text that [`Payload::Change`] carries.
    #[must_use]
    pub fn encode(&self) -> Cow<'static, str> {
        write(self)
    }

    /// Which peer it is about.
    #[must_use]
    pub fn id(&self) -> &PeerId {
        match self {
            Self::Online(PeerState { id, .. })
            | Self::Join { id, .. }
            | Self::Leave { id, .. }
            | Self::Record { id, .. }
            | Self::Offline { id } => id,
        }
    }
}

/// Changes that a node has told before, as they were told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Changes<'a> {
    /// That of the question.
    pub nonce: u64,
    /// The [sum](next_sum) of all changes of the node.
    pub sum: u64,
    /// The number of the first one.
    pub first: u64,
    #[serde(borrow)]
    changes: Vec<&'a RawValue>,
}

impl<'a> Changes<'a> {
    /// Reads what [`Payload::Changes`] carries.
    ///
    /// # Errors
    /// [`EnvelopeError::Payload`]
    pub fn parse(text: &'a str) -> Result<Self, EnvelopeError> {
        read(text, "list of changes")
    }

    /// The text that [`Payload::Changes`] carries, of changes that are encoded already.
    #[must_use]
    pub fn encode<'b>(
        nonce: u64,
        sum: u64,
        first: u64,
        changes: impl Iterator<Item = &'b str>,
    ) -> String {
        let mut text = format!(r#"{{"nonce":{nonce},"sum":{sum},"first":{first},"changes":["#);
        for (at, change) in changes.enumerate() {
            if at > 0 {
                text.push(',');
            }
            text.push_str(change);
        }
        text.push_str("]}");
        text
    }

    /// The texts of the changes with their numbers: [`Change::parse`] reads them.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &'a str)> {
        self.changes.iter().zip(0..).map(|(text, at)| (self.first.saturating_add(at), text.get()))
    }
}

/// A peer, as other nodes know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// Whose session it is.
    pub user: UserName,
    /// Which one.
    pub id: PeerId,
    /// Its public record, an object.
    pub record: RawJson,
    /// Nobody is told of it (R-H4).
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub hidden: bool,
    /// It may not send, and join no rooms (R-H4).
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub read_only: bool,
    /// The rooms that it is in.
    pub rooms: Vec<RoomName>,
}

/// A part of all peers of a node, as they were when it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// That of the question.
    pub nonce: u64,
    /// The [sum](next_sum) of all changes of the node.
    pub sum: u64,
    /// From which place on.
    pub after: u32,
    /// Where the next part begins; none if this is the last one.
    pub next: Option<u32>,
    /// The peers.
    pub peers: Vec<PeerState>,
}

impl Part {
    /// Reads what [`Payload::Part`] carries.
    ///
    /// # Errors
    /// [`EnvelopeError::Payload`]
    pub fn parse(text: &str) -> Result<Self, EnvelopeError> {
        let part: Self = read(text, "part")?;
        // A part behind which the same would come again has no end.
        match part.next {
            Some(next) if next <= part.after => Err(EnvelopeError::Payload("part")),
            _ => Ok(part),
        }
    }

    /// The text that [`Payload::Part`] carries.
    #[must_use]
    pub fn encode(&self) -> Cow<'static, str> {
        write(self)
    }
}

/// What a host asks of a peer on another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Deliver a frame to one session, whatever its `to`.
    Send {
        /// Which session.
        id: PeerId,
        /// The frame.
        text: String,
    },
    /// Deliver a frame to every peer of the receiver, whatever its `to`.
    Broadcast {
        /// The frame.
        text: String,
    },
    /// Close a session.
    Kick {
        /// Which session.
        id: PeerId,
        /// What it is told.
        reason: String,
    },
    /// Tell a session that what it addressed to a peer of the caller's was not delivered, because
    /// too much waits there (R-L8).
    Undelivered {
        /// Which session.
        id: PeerId,
        /// The `to` of its frame.
        to: RawJson,
    },
    /// Close all sessions of a user.
    KickUser {
        /// Whose.
        user: UserName,
        /// What they are told.
        reason: String,
    },
    /// Put a session in a room.
    Join {
        /// Which session.
        id: PeerId,
        /// Which room.
        room: RoomName,
    },
    /// Take a session out of a room.
    Leave {
        /// Which session.
        id: PeerId,
        /// Which room.
        room: RoomName,
    },
    /// Take all members out of a room.
    CloseRoom {
        /// Which room.
        room: RoomName,
    },
    /// The receiver was taken for dead, and perhaps the application was told that its peers are
    /// offline (R-H3).
    Buried {
        /// In which of its lives: how often it has come back.
        lives: u32,
    },
}

/// Why an envelope is dropped. Whoever can publish on the bus can send anything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// No header, or one that cannot be read.
    #[error("no header of an envelope")]
    Header,
    /// An envelope of another version (R-C5).
    #[error("an envelope of version {0}; this node reads version {VERSION}")]
    Version(u64),
    /// An id that no node has.
    #[error("the id of the node must consist of 0-9 and a-z")]
    Node,
    /// Of a kind that this version does not know (R-C5).
    #[error("an envelope of an unknown kind")]
    Kind,
    /// What is carried makes no sense for its kind.
    #[error("an envelope with a broken {0}")]
    Payload(&'static str),
}

impl From<Utf8Error> for EnvelopeError {
    fn from(_: Utf8Error) -> Self {
        Self::Utf8
    }
}

/// The one thing that every version's header has.
#[derive(Deserialize)]
struct AnyHeader {
    v: u64,
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    v: u32,
    #[serde(borrow)]
    node: Cow<'a, str>,
    number: u64,
    seq: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    lives: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// Reads what was published.
    ///
    /// # Errors
    /// [`EnvelopeError`]: to be logged, and dropped.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let text = core::str::from_utf8(bytes)?;
        let end = text.bytes().take(MAX_HEADER_LEN).position(|byte| byte == b'\n');
        let end = end.ok_or(EnvelopeError::Header)?;
        let (header, rest) = (&text[..end], &text[end + 1..]);
        let AnyHeader { v } = serde_json::from_str(header).map_err(|_| EnvelopeError::Header)?;
        if v != u64::from(VERSION) {
            return Err(EnvelopeError::Version(v));
        }
        let header: Header<'a> = serde_json::from_str(header).map_err(|_| EnvelopeError::Header)?;
        if header.node.len() > MAX_NODE_LEN || crate::check_id(&header.node).is_err() {
            return Err(EnvelopeError::Node);
        }
        let payload = match &*header.kind {
            "beat" => Payload::Beat(read(rest, "beat")?),
            "hello" => Payload::Hello(read(rest, "hello")?),
            "bye" => Payload::Bye,
            "ask" => Payload::Ask(read(rest, "ask")?),
            "change" => Payload::Change(rest.into()),
            "changes" => Payload::Changes(rest.into()),
            "part" => Payload::Part(rest.into()),
            "frame" => Payload::Frame(rest.into()),
            "emission" => Payload::Emission(rest.into()),
            "call" => Payload::Call(read(rest, "call")?),
            "state" => Payload::State(read(rest, "state")?),
            _ => return Err(EnvelopeError::Kind),
        };
        let Header { node, number, seq, lives, .. } = header;
        Ok(Self { node, number, seq, lives, payload })
    }

    /// The node that published this, if it is an envelope; cheaper than [`parse`](Self::parse).
    #[must_use]
    pub fn is_from(bytes: &[u8], node: &str) -> bool {
        // The header as `encode` writes it.
        bytes
            .strip_prefix(format!(r#"{{"v":{VERSION},"node":""#).as_bytes())
            .and_then(|rest| rest.strip_prefix(node.as_bytes()))
            .is_some_and(|rest| rest.starts_with(b"\""))
    }

    /// The envelope as it is published.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (kind, rest) = match &self.payload {
            Payload::Beat(beat) => ("beat", write(beat)),
            Payload::Hello(hello) => ("hello", write(hello)),
            Payload::Bye => ("bye", Cow::Borrowed("")),
            Payload::Ask(ask) => ("ask", write(ask)),
            Payload::Change(text) => ("change", Cow::Borrowed(&**text)),
            Payload::Changes(text) => ("changes", Cow::Borrowed(&**text)),
            Payload::Part(text) => ("part", Cow::Borrowed(&**text)),
            Payload::Frame(text) => ("frame", Cow::Borrowed(&**text)),
            Payload::Emission(text) => ("emission", Cow::Borrowed(&**text)),
            Payload::Call(call) => ("call", write(call)),
            Payload::State(talk) => ("state", write(talk)),
        };
        let header = Header {
            v: VERSION,
            node: (&*self.node).into(),
            number: self.number,
            seq: self.seq,
            lives: self.lives,
            kind: kind.into(),
        };
        let mut out = String::with_capacity(112 + rest.len());
        out.push_str(&write(&header));
        out.push('\n');
        out.push_str(&rest);
        Bytes::from(out)
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str, what: &'static str) -> Result<T, EnvelopeError> {
    serde_json::from_str(text).map_err(|_| EnvelopeError::Payload(what))
}

fn write<'a>(value: &impl Serialize) -> Cow<'a, str> {
    // Strings, numbers and checked JSON: there is nothing in them that cannot be written.
    serde_json::to_string(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
