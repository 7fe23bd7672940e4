//! What reaches the engine's thread from elsewhere.

use std::{sync::Arc, time::Duration};

use async_channel::Sender;
use rustls::ServerConfig;
use symple_engine::server::{
    ClusterNode, ClusterPeer, ConnId, EngineError, FrameVerdict, HostCall, JoinVerdict, ListCursor,
    Page, PeerFilter, PeerInfo, RequestId, RoomInfo, Text, Verdict, Whom,
};
use symple_proto::{Address, Fields, UserName};

use crate::{
    net::source::Stream, server::hooks::UpgradeDecision, server::mount::Opening,
    server::proofs::Proof, server::stats::ServerStats,
};

/// Where an answer goes; a channel for one.
pub(crate) type Reply<T> = Sender<T>;

/// What the host asks of the engine, as [`HostCall`] but owned.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Emit { text: String },
    Broadcast { text: String },
    CloseAll { reason: String },
    Send { peer: String, text: String },
    KickPeer { peer: String, reason: String },
    KickUser { user: String, reason: String },
    Join { peer: String, room: String },
    Leave { peer: String, room: String },
    CloseRoom { room: String },
    SetState { room: String, set: String },
    ClearState { room: String },
    PinState { room: String, pinned: bool },
}

impl Call {
    pub(crate) fn as_host_call(&self) -> HostCall<'_> {
        match self {
            Self::Emit { text } => HostCall::Emit { text },
            Self::Broadcast { text } => HostCall::Broadcast { text },
            Self::CloseAll { reason } => HostCall::CloseAll { reason },
            Self::Send { peer, text } => HostCall::Send { peer, text },
            Self::KickPeer { peer, reason } => HostCall::Kick { whom: Whom::Peer(peer), reason },
            Self::KickUser { user, reason } => HostCall::Kick { whom: Whom::User(user), reason },
            Self::Join { peer, room } => HostCall::Join { peer, room },
            Self::Leave { peer, room } => HostCall::Leave { peer, room },
            Self::CloseRoom { room } => HostCall::CloseRoom { room },
            Self::SetState { room, set } => HostCall::SetState { room, set },
            Self::ClearState { room } => HostCall::ClearState { room },
            Self::PinState { room, pinned } => HostCall::PinState { room, pinned: *pinned },
        }
    }
}

/// A state as all nodes have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadState {
    /// A JSON object.
    pub(crate) state: Box<str>,
    /// This node keeps it.
    pub(crate) pinned: bool,
}

/// What reaches the engine's thread.
pub(crate) enum CoreRequest {
    /// The host asks the engine for something.
    Call(Call, Reply<Result<usize, EngineError>>),
    LocalPeers(Reply<Vec<PeerInfo>>),
    Peers(Reply<Vec<ClusterPeer>>),
    PeerRooms(String, Reply<Result<Vec<Box<str>>, EngineError>>),
    UserRooms(String, Reply<Vec<Box<str>>>),
    Rooms(Reply<Vec<RoomInfo>>),
    Members(String, Reply<Vec<Address>>),
    RoomState(String, Reply<Option<String>>),
    /// The state of a room as all nodes have it.
    ReadState(String, Reply<Result<ReadState, EngineError>>),
    /// Whether an object may be set of a room's state.
    CheckState(String, String, Reply<Result<(), EngineError>>),
    Stats(Reply<Box<ServerStats>>),
    /// A page of the peers of all nodes, from there on and at most so many.
    ListPeers(Arc<PeerFilter>, ListCursor, usize, Reply<Page<ClusterPeer>>),
    /// A page of the rooms whose names contain a text.
    ListRooms(Option<Arc<str>>, ListCursor, usize, Reply<Page<RoomInfo>>),
    Peer(String, Reply<Option<ClusterPeer>>),
    Room(String, Reply<Option<RoomInfo>>),
    Nodes(Reply<Vec<ClusterNode>>),
    /// Whether a frame may be emitted, or broadcast.
    CheckFrame(String, bool, Reply<Result<(), EngineError>>),
    /// A claim of the application's in the store: a key and a value. No reply if it does not say.
    Claim(Box<str>, Box<str>, Reply<String>),
    /// A peer of the host's own comes, speaks and goes.
    AddPeer {
        user: UserName,
        peer: Fields,
        rooms: Vec<String>,
        frames: Sender<Text>,
        reply: Reply<Result<ConnId, EngineError>>,
    },
    PeerText(ConnId, String),
    PeerGone(ConnId),
    /// What was asked has been answered.
    AuthDecided(RequestId, Verdict),
    Proved(RequestId, Proof),
    UpgradeDecided(ConnId, UpgradeDecision),
    JoinDecided(RequestId, JoinVerdict),
    FrameDecided(RequestId, FrameVerdict),
    /// A connection that the application brings.
    Open(Opening),
    /// The stream of a connection that waits for it; who hands it over is told when it goes on.
    Attach(ConnId, Stream, Reply<()>),
    /// New connections use these keys; false if there is no TLS.
    Tls(Arc<ServerConfig>, Reply<bool>),
    /// Accept no more connections.
    StopAccepting(Reply<()>),
    /// Accept what the application brings again.
    StartAccepting(Reply<()>),
    Shutdown(Duration),
    /// Look whether the server is to end, or somebody has given up.
    Wake,
}
