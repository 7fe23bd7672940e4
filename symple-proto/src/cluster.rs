//! What the nodes of a cluster say to each other (R-C4, R-C5).
//!
//! An envelope is a line of JSON, the header, and what it carries behind it:
//!
//! ```text
//! {"v":1,"node":"6u2…","seq":7,"kind":"frame"}
//! {"type":"message","to":"team","data":1.0,"from":"alice|0ab"}
//! ```
//!
//! So a frame travels between nodes as it does to clients: byte for byte, never encoded again.
//! Clients see nothing of this; and backends keep to [`Emission`](crate::Emission).

use alloc::{borrow::Cow, boxed::Box, format, string::String, vec::Vec};
use core::str::Utf8Error;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    json::RawJson,
    name::{PeerId, RoomName, UserName},
};

/// The version of the envelopes that this crate reads and writes.
pub const VERSION: u32 = 1;

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

/// What one node says to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Who says it: digits and lower-case letters.
    pub node: Cow<'a, str>,
    /// How many changes the node has told of its peers until then, those in this envelope
    /// included. Who has seen fewer has missed some.
    pub seq: u64,
    /// What.
    pub payload: Payload<'a>,
}

/// What an envelope carries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// The node lives.
    Beat,
    /// The node is there (again), and asks the others for their peers.
    Hello,
    /// The node leaves, and so do all its peers.
    Bye,
    /// The node has missed something of the receiver's, and asks for its peers.
    Resync,
    /// What has changed with the node's peers since `seq - 1`.
    Change(Change),
    /// Peers of the node, a part of all that it has: [`Snapshot::parse`] reads it, for those who
    /// have use for it.
    Snapshot(Cow<'a, str>),
    /// A frame of one of the node's peers, as it is relayed: for those of the receiver's peers
    /// that its `to` names.
    Frame(Cow<'a, str>),
    /// A frame that the node's host emits: for those of the receiver's peers that its `to` names.
    Emission(Cow<'a, str>),
    /// What the node's host asks of the receiver.
    Call(Call),
}

/// What has changed with one of a node's peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is online.
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
    /// It is offline.
    Offline {
        /// Which peer.
        id: PeerId,
    },
}

impl Change {
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

/// A peer, as other nodes know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// Whose session it is.
    pub user: UserName,
    /// Which one.
    pub id: PeerId,
    /// Its public record, an object.
    pub record: RawJson,
    /// The rooms that it is in.
    pub rooms: Vec<RoomName>,
}

/// A part of all peers of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Which part, from 0.
    pub part: u32,
    /// There is no further part.
    pub last: bool,
    /// The peers.
    pub peers: Vec<PeerState>,
}

impl Snapshot {
    /// Reads what [`Payload::Snapshot`] carries.
    ///
    /// # Errors
    /// [`EnvelopeError::Payload`]
    pub fn parse(text: &str) -> Result<Self, EnvelopeError> {
        read(text, "snapshot")
    }

    /// The text that [`Payload::Snapshot`] carries.
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
    seq: u64,
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
            "beat" => Payload::Beat,
            "hello" => Payload::Hello,
            "bye" => Payload::Bye,
            "resync" => Payload::Resync,
            "change" => Payload::Change(read(rest, "change")?),
            "snapshot" => Payload::Snapshot(rest.into()),
            "frame" => Payload::Frame(rest.into()),
            "emission" => Payload::Emission(rest.into()),
            "call" => Payload::Call(read(rest, "call")?),
            _ => return Err(EnvelopeError::Kind),
        };
        Ok(Self { node: header.node, seq: header.seq, payload })
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
            Payload::Beat => ("beat", Cow::Borrowed("")),
            Payload::Hello => ("hello", Cow::Borrowed("")),
            Payload::Bye => ("bye", Cow::Borrowed("")),
            Payload::Resync => ("resync", Cow::Borrowed("")),
            Payload::Change(change) => ("change", write(change)),
            Payload::Snapshot(text) => ("snapshot", Cow::Borrowed(&**text)),
            Payload::Frame(text) => ("frame", Cow::Borrowed(&**text)),
            Payload::Emission(text) => ("emission", Cow::Borrowed(&**text)),
            Payload::Call(call) => ("call", write(call)),
        };
        let header =
            Header { v: VERSION, node: (&*self.node).into(), seq: self.seq, kind: kind.into() };
        let mut out = String::with_capacity(80 + rest.len());
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
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn state() -> PeerState {
        PeerState {
            user: UserName::new("alice").unwrap(),
            id: PeerId::new("0ab").unwrap(),
            record: RawJson::parse(r#"{"user":"alice","n":1.0}"#).unwrap(),
            rooms: [RoomName::new("alice").unwrap(), RoomName::new("a\nb").unwrap()].into(),
        }
    }

    /// R-C4: envelopes of their own, and what a client wrote is not written anew.
    #[test]
    fn every_payload_is_read_as_it_was_written() {
        let id = || PeerId::new("0ab").unwrap();
        let room = || RoomName::new("team").unwrap();
        for payload in [
            Payload::Beat,
            Payload::Hello,
            Payload::Bye,
            Payload::Resync,
            Payload::Change(Change::Online(state())),
            Payload::Change(Change::Join { id: id(), rooms: [room()].into() }),
            Payload::Change(Change::Leave { id: id(), room: room() }),
            Payload::Change(Change::Record { id: id(), record: RawJson::parse("{}").unwrap() }),
            Payload::Change(Change::Offline { id: id() }),
            Payload::Snapshot("{}".into()),
            Payload::Frame("{\"to\":\n1.0}".into()),
            Payload::Emission("".into()),
            Payload::Call(Call::Send { id: id(), text: "{}".into() }),
            Payload::Call(Call::Kick { id: id(), reason: "because".into() }),
            Payload::Call(Call::KickUser {
                user: UserName::new("bob").unwrap(),
                reason: "é".into(),
            }),
            Payload::Call(Call::Join { id: id(), room: room() }),
            Payload::Call(Call::Leave { id: id(), room: room() }),
            Payload::Call(Call::CloseRoom { room: room() }),
        ] {
            let envelope = Envelope { node: "n1".into(), seq: 7, payload };
            let bytes = envelope.encode();
            assert_eq!(Envelope::parse(&bytes).unwrap(), envelope);
            assert!(Envelope::is_from(&bytes, "n1"));
            assert!(!Envelope::is_from(&bytes, "n"));
            assert!(!Envelope::is_from(&bytes, "n11"));
        }
        let envelope =
            Envelope { node: "n1".into(), seq: 7, payload: Payload::Frame("{\"a\":1.0}".into()) };
        assert_eq!(
            envelope.encode(),
            "{\"v\":1,\"node\":\"n1\",\"seq\":7,\"kind\":\"frame\"}\n{\"a\":1.0}"
        );
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written() {
        let snapshot = Snapshot { part: 1, last: true, peers: [state()].into() };
        assert_eq!(Snapshot::parse(&snapshot.encode()).unwrap(), snapshot);
    }

    /// R-C5: what this version does not know is named, whatever else it says.
    #[test]
    fn foreign_envelopes_are_refused() {
        use EnvelopeError::{Header, Kind, Node, Payload, Utf8, Version};
        let long = format!("{{\"v\":1,\"x\":\"{}\"}}\n", "x".repeat(MAX_HEADER_LEN));
        for (text, error) in [
            ("", Header),
            ("\n", Header),
            ("hello", Header),
            ("null\n", Header),
            ("{}\n", Header),
            (r#"{"v":1,"node":"n","seq":1,"kind":"beat"}"#, Header),
            ("{\"v\":\"1\"}\n", Header),
            ("{\"v\":1}\n", Header),
            (&long, Header),
            ("{\"v\":2}\n", Version(2)),
            ("{\"v\":99,\"node\":5,\"new\":[]}\nwhatever", Version(99)),
            ("{\"v\":1,\"node\":\"a b\",\"seq\":1,\"kind\":\"beat\"}\n", Node),
            ("{\"v\":1,\"node\":\"\",\"seq\":1,\"kind\":\"beat\"}\n", Node),
            ("{\"v\":1,\"node\":\"n\",\"seq\":-1,\"kind\":\"beat\"}\n", Header),
            ("{\"v\":1,\"node\":\"n\",\"seq\":1,\"kind\":\"quux\"}\n", Kind),
            ("{\"v\":1,\"node\":\"n\",\"seq\":1,\"kind\":\"change\"}\n", Payload("change")),
            (
                "{\"v\":1,\"node\":\"n\",\"seq\":1,\"kind\":\"change\"}\n{\"offline\":{\"id\":\"A\"}}",
                Payload("change"),
            ),
            ("{\"v\":1,\"node\":\"n\",\"seq\":1,\"kind\":\"call\"}\n{\"a\":1}", Payload("call")),
        ] {
            assert_eq!(Envelope::parse(text.as_bytes()).unwrap_err(), error, "{text}");
        }
        assert_eq!(Snapshot::parse("[]").unwrap_err(), Payload("snapshot"));
        assert_eq!(Envelope::parse(b"\xff\n").unwrap_err(), Utf8);
        assert_eq!(Version(2).to_string(), "an envelope of version 2; this node reads version 1");
    }
}
