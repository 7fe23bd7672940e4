//! Peers, rooms and counters as the API shows them.

use serde::Serialize;
use serde_json::value::RawValue;
use symple_engine::server::{ClusterPeer, RoomInfo, Stats};

use symple_driver::{Handle, TransportStats};

/// A peer.
#[derive(Debug, Serialize)]
pub(super) struct Peer {
    id: String,
    user: String,
    address: String,
    /// None for a server on its own.
    node: Option<Box<str>>,
    here: bool,
    pub(super) rooms: Vec<Box<str>>,
    readonly: bool,
    hidden: bool,
    record: Box<RawValue>,
}

impl Peer {
    pub(super) fn new(peer: ClusterPeer, handle: &Handle) -> Self {
        let here = peer.node.is_none();
        Self {
            id: peer.address.id.to_string(),
            user: peer.address.user.to_string(),
            address: peer.address.to_string(),
            node: peer.node.or_else(|| handle.node_id().map(Into::into)),
            here,
            rooms: peer.rooms,
            readonly: peer.read_only,
            hidden: peer.hidden,
            // A record is an object in any case.
            record: RawValue::from_string(peer.record.into()).unwrap_or_default(),
        }
    }
}

/// A room.
#[derive(Debug, Serialize)]
pub(super) struct Room {
    name: Box<str>,
    members: usize,
}

impl From<RoomInfo> for Room {
    fn from(room: RoomInfo) -> Self {
        Self { name: room.name, members: room.members }
    }
}

/// Writes what a struct of counters has, which stays as it is.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident of $of:ty { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Serialize)]
        pub(super) struct $name { $($field: $type),* }

        impl From<$of> for $name {
            fn from(counted: $of) -> Self {
                Self { $($field: counted.$field),* }
            }
        }
    };
}

counters! {
    /// What the engine has counted.
    EngineStats of Stats {
        connections: usize,
        peers: usize,
        rooms: usize,
        remote_peers: usize,
        nodes: usize,
        unauthenticated: usize,
        paused_now: usize,
        frames: u64,
        deliveries: u64,
        opened: u64,
        admitted: u64,
        refused: u64,
        over_capacity: u64,
        errors: u64,
        not_permitted: u64,
        paused: u64,
        too_big: u64,
        unfinished: u64,
        departed_cut_short: u64,
        undelivered: u64,
        too_slow: u64,
        protocol_errors: u64,
        published: u64,
        bus_waiting: u64,
        bus_refused: u64,
        nodes_lost: u64,
        resyncs: u64,
        pulls: u64,
        repeats: u64,
        frames_missed: u64,
        sessions_expired: u64,
        kicked: u64,
        hooks_asked: u64,
        hooks_denied: u64,
        batches: u64,
        fell_behind: u64,
        states: usize,
        state_bytes: usize,
        hooks_late: u64,
    }
}

counters! {
    /// What the transport has counted.
    Transport of TransportStats {
        sockets: usize,
        handshakes: usize,
        received: u64,
        sent: u64,
        waiting: usize,
        answered: u64,
        upgrades_dropped: u64,
        silent: u64,
        shed: u64,
        deflated: u64,
        inflated: u64,
    }
}
