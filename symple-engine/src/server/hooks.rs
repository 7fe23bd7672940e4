//! What the application is asked about its clients, and told of them (R-H1 to R-H5).
//!
//! A question goes out as an [`Action::Ask`](super::Action::Ask) and its answer comes back as an
//! input, as with authentication. Until then what the client sends waits in order; others go on.
//! Everything here is empty where no hook is set.

mod ask;
mod changes;
mod graves;
mod hidden;
mod verdict;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::time::Duration;

use symple_proto::{Address, RoutedType, Status};

use crate::Timestamp;

use super::{ConnId, OfflineReason, RequestId, Text, waiting::Counted};
pub(super) use graves::MAX_LIVES;
use graves::{Grave, OwnClaim};

/// The hooks that the application has (R-H1 to R-H3). None by default.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookConfig {
    /// Whether it is asked before a client joins a room (R-H1). The rooms in the `auth` frame of a
    /// client are ignored then.
    pub join: bool,
    /// Whether it is asked about every routed frame of a client (R-H2).
    pub frame: bool,
    /// Whether it is asked about every change of a room's state by a client (R-K6).
    pub state: bool,
    /// Whether it is told which peers come online, leave a room and go offline (R-H3).
    pub changes: bool,
    /// How long an answer may take; after that it counts as a denial (R-H5). 5 s by default; zero means
    /// no limit.
    pub timeout: Duration,
}

impl Default for HookConfig {
    fn default() -> Self {
        Self {
            join: false,
            frame: false,
            state: false,
            changes: false,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A question to the application about a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The address of the peer.
    pub peer: Address,
    /// The frame, as the client wrote it.
    pub frame: Text,
    /// What is asked.
    pub about: QuestionAbout,
}

/// What is asked about a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuestionAbout {
    /// May it join a room (R-H1)? [`Input::JoinDecided`](super::Input::JoinDecided) answers.
    Join {
        /// The name of the room.
        room: Box<str>,
        /// The public record of the peer, a JSON object.
        record: Box<str>,
    },
    /// May its frame be relayed (R-H2)? [`Input::FrameDecided`](super::Input::FrameDecided)
    /// answers.
    Frame {
        /// The type of the frame.
        kind: RoutedType,
    },
    /// May it change the state of a room (R-K6)? [`Input::FrameDecided`](super::Input::FrameDecided)
    /// answers; what replaces the frame is another `state` frame for the same room.
    State {
        /// The name of the room.
        room: Box<str>,
    },
}

/// The answer of a hook about a join (R-H1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinVerdict {
    /// The peer may join.
    Allow,
    /// It may not: `error` 403 that names the room.
    Deny {
        /// What the client is told; `Join denied` without one.
        message: Option<Box<str>>,
    },
}

/// The answer of a hook about a frame (R-H2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameVerdict {
    /// It is relayed as it is.
    Pass,
    /// It is not relayed, and nobody is told.
    Drop,
    /// Another frame is relayed in its place. It is checked and stamped as one that the client has
    /// written: a frame of one of the routed types, within the limits.
    Replace(Box<str>),
    /// It is not relayed, and its sender is sent this frame.
    Answer(Box<str>),
    /// It is not relayed, and its sender is sent an `error`.
    Refuse {
        /// The status; 403 is the usual one.
        status: Status,
        /// What the client is told; `Frame refused` without one.
        message: Option<Box<str>>,
    },
}

/// A change of a peer (R-H3). The application is told on exactly one node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerChange {
    /// The address of the peer.
    pub peer: Address,
    /// A number that grows with each change of a peer, below 2^53. A change with a smaller number
    /// than another one of the same peer is older.
    pub number: u64,
    /// What has changed.
    pub what: Changed,
}

/// What has changed with a peer (R-H3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Changed {
    /// It is online. Told again for a peer of a node that was taken for dead and is back.
    Online {
        /// Its rooms.
        rooms: Vec<Box<str>>,
    },
    /// It has left a room, and is still online.
    Left {
        /// The name of the room.
        room: Box<str>,
    },
    /// It is offline, and so it has left all its rooms.
    Offline {
        /// The rooms that it was in.
        rooms: Vec<Box<str>>,
        /// The reason.
        reason: OfflineReason,
    },
}

/// What is open between the engine and the hooks of the application.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// Peers that something is being asked about, at most one question for each.
    asked: BTreeMap<ConnId, Asked>,
    /// The peers that the open questions are about.
    open: BTreeMap<RequestId, ConnId>,
    /// When questions are too old, in order; those that have been answered are passed over.
    deadlines: VecDeque<(Timestamp, RequestId)>,
    /// Whether a timer for the first of them is set.
    timer: bool,
    /// The number of hidden peers on this node (R-H4).
    pub(super) hidden: usize,
    /// The number of changes that have been told.
    told: u64,
    /// How often this node may have been taken for dead, and has come back.
    lives: u32,
    /// Dead nodes. One of the others must tell the application that their peers are offline.
    graves: Vec<Grave>,
    /// How far this node is with finding out whether it was taken for dead.
    own_claim: OwnClaim,
    /// Nodes that this one took for dead, and how often they had come back by then.
    buried: VecDeque<(Box<str>, u32)>,
}

/// A peer that something is being asked about.
#[derive(Debug)]
struct Asked {
    request: RequestId,
    about: About,
    /// The frame, among what waits on this node (R-L7).
    counted: Counted,
}

/// What is to be done if the answer allows it.
#[derive(Debug)]
enum About {
    Join { room: Box<str> },
    Frame { text: Text },
    State { room: Box<str>, text: Text },
}

impl Hooks {
    /// True while the application is asked about a peer. Frames of that peer wait meanwhile.
    pub(super) fn is_asked(&self, conn: ConnId) -> bool {
        !self.asked.is_empty() && self.asked.contains_key(&conn)
    }

    /// How many bytes of a connection wait for an answer.
    pub(super) fn waiting_of(&self, conn: ConnId) -> usize {
        self.asked.get(&conn).map_or(0, |asked| asked.counted.bytes())
    }

    /// Forgets what was asked about a peer that is gone.
    pub(super) fn forget(&mut self, conn: ConnId) {
        if let Some(asked) = self.asked.remove(&conn) {
            self.open.remove(&asked.request);
        }
    }
}
