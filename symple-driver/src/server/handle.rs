//! The calls of an application to a running server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_broadcast::InactiveReceiver;
use async_channel::{Receiver, Sender};
use rustls::ServerConfig;
use symple_engine::server::{
    ClusterNode, ClusterPeer, ConnId, EngineError, Event, ListCursor, Page, PeerFilter, PeerInfo,
    RoomInfo, Text,
};
use symple_proto::{Address, Fields, Json, ServerFrame, UserName, frame::Peer, json::MAX_DEPTH};
use thiserror::Error;

use crate::{
    core::request::{Call, CoreRequest, Reply},
    server::endpoint::ListenAddress,
    server::events::Events,
    server::stats::ServerStats,
    server::status::Status,
};

/// How many frames may wait for the host to take them from a peer of its own. The queue is one
/// without a limit of its own, for those that have one take all its memory from the beginning.
pub(crate) const VIRTUAL_BACKLOG: usize = 4096;

/// How many bytes of records and names a page may have; the one that reaches it is the last.
const PAGE_BYTES: usize = 1024 * 1024;

/// An error of a call.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandleError {
    /// The server has ended.
    #[error("the server has ended")]
    Ended,
    /// The server does not encrypt its connections.
    #[error("the server has no TLS")]
    NoTls,
    /// The server has no Redis.
    #[error("the server has no Redis")]
    NoRedis,
    /// Redis did not answer.
    #[error("Redis does not answer")]
    RedisAway,
    /// The engine refuses the call.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The state of a room (R-K4), as all nodes have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomState {
    /// Its keys with their values, as they were set; empty where no node holds it.
    pub state: Fields,
    /// Whether [`Handle::pin_state`] keeps it on this node.
    pub pinned: bool,
}

/// The members of a JSON object that the engine has written.
fn fields(text: &str) -> Fields {
    let object = Json::parse(text, MAX_DEPTH).ok().and_then(Json::as_object);
    object.and_then(|object| Fields::try_from(object).ok()).unwrap_or_default()
}

/// Access to a server from anywhere; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) requests: Sender<CoreRequest>,
    pub(crate) events: InactiveReceiver<Event>,
    pub(crate) cluster_events: InactiveReceiver<Event>,
    pub(crate) status: Arc<Status>,
    pub(crate) about: Arc<About>,
}

/// What is known of a server from its start to its end.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) node_id: Option<Box<str>>,
    pub(crate) listen_addresses: Vec<(ListenAddress, bool)>,
    pub(crate) has_redis: bool,
    pub(crate) started: Instant,
    pub(crate) instance: u64,
}

impl Handle {
    async fn ask<T>(
        &self,
        question: impl FnOnce(Reply<T>) -> CoreRequest,
    ) -> Result<T, HandleError> {
        let (reply, answer) = async_channel::bounded(1);
        self.requests.send(question(reply)).await.map_err(|_| HandleError::Ended)?;
        answer.recv().await.map_err(|_| HandleError::Ended)
    }

    async fn call(&self, call: Call) -> Result<usize, HandleError> {
        Ok(self.ask(|reply| CoreRequest::Call(call, reply)).await??)
    }

    /// Delivers a frame to the receivers in its `to`, unchanged and without checking permissions
    /// (R-S3). Returns how many peers it reached.
    ///
    /// # Errors
    /// [`HandleError`]: also for a text that is no frame, or has no `to`. As of every call that concerns peers of
    /// other nodes, [`EngineError::Busy`](symple_engine::server::EngineError::Busy) while so much waits for Redis
    /// that it would come to more than 8 MiB: nobody gets it then, and it may be tried again later (R-C6).
    /// A frame for several rooms goes to each node that has members, and counts as often.
    pub async fn emit(&self, frame: impl Into<String>) -> Result<usize, HandleError> {
        self.call(Call::Emit { text: frame.into() }).await
    }

    /// Delivers a frame to every peer of the cluster, unchanged, whatever its `to`. Returns how many there
    /// are.
    ///
    /// # Errors
    /// [`HandleError`]: also for a text that is no frame.
    pub async fn broadcast(&self, frame: impl Into<String>) -> Result<usize, HandleError> {
        self.call(Call::Broadcast { text: frame.into() }).await
    }

    /// Checks a frame as [`emit`](Self::emit) does, and delivers nothing.
    ///
    /// # Errors
    /// Those of [`emit`](Self::emit).
    pub async fn check_emit(&self, frame: impl Into<String>) -> Result<(), HandleError> {
        let frame = frame.into();
        Ok(self.ask(|reply| CoreRequest::CheckFrame(frame, false, reply)).await??)
    }

    /// Checks a frame as [`broadcast`](Self::broadcast) does, and delivers nothing.
    ///
    /// # Errors
    /// Those of [`broadcast`](Self::broadcast).
    pub async fn check_broadcast(&self, frame: impl Into<String>) -> Result<(), HandleError> {
        let frame = frame.into();
        Ok(self.ask(|reply| CoreRequest::CheckFrame(frame, true, reply)).await??)
    }

    /// Closes all sessions of this node, as [`kick_peer`](Self::kick_peer) closes one, except the peers that
    /// the application has added. Returns how many. The server goes on and accepts new connections.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn close_all(&self, reason: impl Into<String>) -> Result<usize, HandleError> {
        self.call(Call::CloseAll { reason: reason.into() }).await
    }

    /// Accepts no more connections: its sockets listen no more when this returns, and what the
    /// application brings is refused with 503. Those that there are go on, and so do those whose
    /// upgrade was [accepted](Self::upgrade) before. [`start_accepting`](Self::start_accepting) takes again
    /// what the application brings.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn stop_accepting(&self) -> Result<(), HandleError> {
        self.ask(CoreRequest::StopAccepting).await
    }

    /// Takes what the application brings again, after [`stop_accepting`](Self::stop_accepting). The
    /// server's own sockets stay closed: they listen no more.
    ///
    /// # Errors
    /// [`HandleError::Ended`]: also of a server that shuts down.
    pub async fn start_accepting(&self) -> Result<(), HandleError> {
        self.ask(CoreRequest::StartAccepting).await
    }

    /// Delivers a frame to one session, named by its id or its full address, unchanged.
    ///
    /// # Errors
    /// [`HandleError`]: also if there is no such session.
    pub async fn send(
        &self,
        peer: impl Into<String>,
        frame: impl Into<String>,
    ) -> Result<(), HandleError> {
        self.call(Call::Send { peer: peer.into(), text: frame.into() }).await.map(drop)
    }

    /// Closes a session, named by its id or its full address, with `error` 403 and code 4409; it
    /// is told why.
    ///
    /// # Errors
    /// [`HandleError`]: also if there is no such session.
    pub async fn kick_peer(
        &self,
        peer: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<(), HandleError> {
        let call = Call::KickPeer { peer: peer.into(), reason: reason.into() };
        self.call(call).await.map(drop)
    }

    /// Closes all sessions of a user, as [`kick_peer`](Self::kick_peer) closes one. Returns how many.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn kick_user(
        &self,
        user: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<usize, HandleError> {
        self.call(Call::KickUser { user: user.into(), reason: reason.into() }).await
    }

    /// Puts a session in a room, whatever clients may do themselves.
    ///
    /// # Errors
    /// [`HandleError`]: also if there is no such session, or the room has no name.
    pub async fn join(
        &self,
        peer: impl Into<String>,
        room: impl Into<String>,
    ) -> Result<(), HandleError> {
        self.call(Call::Join { peer: peer.into(), room: room.into() }).await.map(drop)
    }

    /// Takes a session out of a room.
    ///
    /// # Errors
    /// [`HandleError`]: also if there is no such session.
    pub async fn leave(
        &self,
        peer: impl Into<String>,
        room: impl Into<String>,
    ) -> Result<(), HandleError> {
        self.call(Call::Leave { peer: peer.into(), room: room.into() }).await.map(drop)
    }

    /// Takes all members out of a room. Returns how many there were.
    ///
    /// # Errors
    /// [`HandleError`]: also if nobody is in it.
    pub async fn close_room(&self, room: impl Into<String>) -> Result<usize, HandleError> {
        self.call(Call::CloseRoom { room: room.into() }).await
    }

    /// The state of a room (R-K4), a JSON object; none if this node does not hold it. On several nodes it is
    /// sure to be that of all where this node has members that have asked for the extension `state`, or
    /// [`pin_state`](Self::pin_state) was called a moment ago; [`read_state`](Self::read_state) asks the others.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn room_state(&self, room: impl Into<String>) -> Result<Option<Fields>, HandleError> {
        let room = room.into();
        let state = self.ask(|reply| CoreRequest::RoomState(room, reply)).await?;
        Ok(state.map(|text| fields(&text)))
    }

    /// The state of a room (R-K4) as all nodes have it: where this one does not know it, it asks the others, for
    /// at most 300 ms. That leaves nothing behind, and no state lives longer for it.
    ///
    /// # Errors
    /// [`HandleError`]: also for what is no name of a room, and when 1024 questions wait already.
    pub async fn read_state(&self, room: impl Into<String>) -> Result<RoomState, HandleError> {
        let room = room.into();
        let read = self.ask(|reply| CoreRequest::ReadState(room, reply)).await??;
        Ok(RoomState { state: fields(&read.state), pinned: read.pinned })
    }

    /// Whether [`set_state`](Self::set_state) could set this, as far as that does not depend on the state that
    /// is there.
    ///
    /// # Errors
    /// [`HandleError`]: for keys or values that no state can hold, and for what is no name of a room.
    pub async fn check_state(
        &self,
        room: impl Into<String>,
        set: &Fields,
    ) -> Result<(), HandleError> {
        let (room, set) = (room.into(), set.to_json());
        Ok(self.ask(|reply| CoreRequest::CheckState(room, set, reply)).await??)
    }

    /// Sets keys of a room's state; `null` deletes one (R-K4). Members are told without a sender. A node
    /// that has first to ask others for the state does it then: where it is refused then, nothing is set, and
    /// the log and [`Event::StateNotSet`](symple_engine::server::Event::StateNotSet) say so. Returns whether it
    /// is done; if not, it waits for the others.
    ///
    /// # Errors
    /// [`HandleError`]: also where the limits of a state are passed or the cluster is busy, for keys or values
    /// that no state can hold, and for what is no name of a room. Nothing is set then.
    pub async fn set_state(
        &self,
        room: impl Into<String>,
        set: &Fields,
    ) -> Result<bool, HandleError> {
        let call = Call::SetState { room: room.into(), set: set.to_json() };
        self.call(call).await.map(|done| done > 0)
    }

    /// Deletes all keys of a room's state (R-K4). Returns whether it is done, as [`set_state`](Self::set_state).
    ///
    /// # Errors
    /// [`HandleError`]: also for what is no name of a room.
    pub async fn clear_state(&self, room: impl Into<String>) -> Result<bool, HandleError> {
        self.call(Call::ClearState { room: room.into() }).await.map(|done| done > 0)
    }

    /// Keeps a room's state on this node also without members, or does not any more (R-K4).
    ///
    /// # Errors
    /// [`HandleError`]: also for what is no name of a room.
    pub async fn pin_state(
        &self,
        room: impl Into<String>,
        pinned: bool,
    ) -> Result<(), HandleError> {
        self.call(Call::PinState { room: room.into(), pinned }).await.map(drop)
    }

    /// The peers that are online, on all nodes of the cluster. [`local_peers`](Self::local_peers) has
    /// those of this node. Where there may be very many of them, [`list_peers`](Self::list_peers) has
    /// them in pages.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn peers(&self) -> Result<Vec<ClusterPeer>, HandleError> {
        self.ask(CoreRequest::Peers).await
    }

    /// The peers of this node that are online.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn local_peers(&self) -> Result<Vec<PeerInfo>, HandleError> {
        self.ask(CoreRequest::LocalPeers).await
    }

    /// A page of the peers of all nodes that are online: at most `limit` of them, and not many more
    /// than 1 MiB of their records. The server goes on with other work whenever it has looked at some
    /// thousand places. A list from [the beginning](ListCursor::default) to its end has each peer
    /// exactly once that is there all the time.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn list_peers(
        &self,
        filter: PeerFilter,
        from: ListCursor,
        limit: usize,
    ) -> Result<Page<ClusterPeer>, HandleError> {
        let filter = Arc::new(filter);
        self.list(from, limit, |from, limit, reply| {
            CoreRequest::ListPeers(Arc::clone(&filter), from, limit, reply)
        })
        .await
    }

    /// A page of the rooms that have members on any node, or of those whose names contain a text, in
    /// which letters of ASCII match in either case. As [`list_peers`](Self::list_peers).
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn list_rooms(
        &self,
        search: Option<String>,
        from: ListCursor,
        limit: usize,
    ) -> Result<Page<RoomInfo>, HandleError> {
        let search: Option<Arc<str>> = search.map(Into::into);
        self.list(from, limit, |from, limit, reply| {
            CoreRequest::ListRooms(search.clone(), from, limit, reply)
        })
        .await
    }

    /// Asks the engine for parts of a page until it is full.
    async fn list<T>(
        &self,
        mut from: ListCursor,
        limit: usize,
        question: impl Fn(ListCursor, usize, Reply<Page<T>>) -> CoreRequest,
    ) -> Result<Page<T>, HandleError> {
        let mut page: Option<Page<T>> = None;
        loop {
            let left = limit - page.as_ref().map_or(0, |page| page.entries.len());
            let part = self.ask(|reply| question(from, left, reply)).await?;
            let next = part.next;
            let whole = match page.take() {
                None => part,
                Some(mut page) => {
                    page.entries.extend(part.entries);
                    page.next = part.next;
                    page.effort += part.effort;
                    page.bytes += part.bytes;
                    page
                }
            };
            match next {
                Some(next) if whole.entries.len() < limit && whole.bytes < PAGE_BYTES => {
                    (from, page) = (next, Some(whole));
                }
                _ => return Ok(whole),
            }
        }
    }

    /// The peer of that id, or of that full address, on whatever node it is; `None` if it is not
    /// online.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn peer(&self, peer: impl Into<String>) -> Result<Option<ClusterPeer>, HandleError> {
        let peer = peer.into();
        self.ask(|reply| CoreRequest::Peer(peer, reply)).await
    }

    /// The room of that name; `None` if nobody is in it.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn room(&self, name: impl Into<String>) -> Result<Option<RoomInfo>, HandleError> {
        let name = name.into();
        self.ask(|reply| CoreRequest::Room(name, reply)).await
    }

    /// The other nodes that have answered this one, with how many peers each of them has, as far as this one
    /// knows.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn nodes(&self) -> Result<Vec<ClusterNode>, HandleError> {
        self.ask(CoreRequest::Nodes).await
    }

    /// Claims a key in Redis for 24 hours: of all who claim it, on all nodes, the first one gets it.
    /// Returns the value of that one. Whoever gets back its own value, which must be unique, is the
    /// first.
    ///
    /// # Errors
    /// [`HandleError::NoRedis`]: the server has none. [`HandleError::RedisAway`]: it did not answer,
    /// and the claim may have been granted or not.
    pub async fn claim(
        &self,
        key: impl Into<Box<str>>,
        value: impl Into<Box<str>>,
    ) -> Result<String, HandleError> {
        if !self.about.has_redis {
            return Err(HandleError::NoRedis);
        }
        let (key, value) = (key.into(), value.into());
        let (reply, answer) = async_channel::bounded(1);
        let request = CoreRequest::Claim(key, value, reply);
        self.requests.send(request).await.map_err(|_| HandleError::Ended)?;
        answer.recv().await.map_err(|_| HandleError::RedisAway)
    }

    /// What the other nodes of its cluster call the server; `None` for one on its own.
    #[must_use]
    pub fn node_id(&self) -> Option<&str> {
        self.about.node_id.as_deref()
    }

    /// All addresses that it listens on, in the order in which they were given, and whether
    /// connections there are encrypted.
    #[must_use]
    pub fn listen_addresses(&self) -> &[(ListenAddress, bool)] {
        &self.about.listen_addresses
    }

    /// How long it has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.about.started.elapsed()
    }

    /// A number of this start of this server, which no other one has.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.about.instance
    }

    /// Whether its peers and sessions are in a Redis.
    #[must_use]
    pub fn has_redis(&self) -> bool {
        self.about.has_redis
    }

    /// Whether it shuts down, and takes no connections any more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.status.draining.load(Ordering::Relaxed)
    }

    /// Why `/readyz` does not answer with 200 (R-T2), in a word: `draining`, `redis` (it cannot be used as it is
    /// needed), or `catching_up` (what was missed of other nodes is not known yet). None if it does.
    #[must_use]
    pub fn not_ready(&self) -> Option<&'static str> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let status = &self.status;
        match (is(&status.draining), is(&status.ready), is(&status.catching_up)) {
            (true, ..) => Some("draining"),
            (_, false, _) => Some("redis"),
            (.., true) => Some("catching_up"),
            (false, true, false) => None,
        }
    }

    /// The rooms that a session is in, named by its id or its full address, on whatever node it is.
    ///
    /// # Errors
    /// [`HandleError`]: also if there is no such session.
    pub async fn peer_rooms(&self, peer: impl Into<String>) -> Result<Vec<Box<str>>, HandleError> {
        let peer = peer.into();
        Ok(self.ask(|reply| CoreRequest::PeerRooms(peer, reply)).await??)
    }

    /// The rooms that any session of a user is in, on all nodes, in the order of their names.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn user_rooms(&self, user: impl Into<String>) -> Result<Vec<Box<str>>, HandleError> {
        let user = user.into();
        self.ask(|reply| CoreRequest::UserRooms(user, reply)).await
    }

    /// The rooms that have members.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn rooms(&self) -> Result<Vec<RoomInfo>, HandleError> {
        self.ask(CoreRequest::Rooms).await
    }

    /// The members of a room.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn members(&self, room: impl Into<String>) -> Result<Vec<Address>, HandleError> {
        let room = room.into();
        self.ask(|reply| CoreRequest::Members(room, reply)).await
    }

    /// The counters of the server.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn stats(&self) -> Result<ServerStats, HandleError> {
        self.ask(CoreRequest::Stats).await.map(|stats| *stats)
    }

    /// The events from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        let events = Events(self.events.activate_cloned());
        self.status.watched.store(true, Ordering::Relaxed);
        events
    }

    /// As [`events`](Self::events), and what this node learns of peers of other nodes
    /// ([`Event::Elsewhere`]).
    #[must_use]
    pub fn cluster_events(&self) -> Events {
        let events = Events(self.cluster_events.activate_cloned());
        self.status.cluster_watched.store(true, Ordering::Relaxed);
        // The server begins with it even if nothing else happens.
        let _ = self.requests.try_send(CoreRequest::Wake);
        events
    }

    /// Uses other keys for the TLS of new connections; they are in use when this returns.
    ///
    /// # Errors
    /// [`HandleError::NoTls`]: a server that began without TLS stays without. Or it has
    /// [ended](HandleError::Ended).
    pub async fn set_tls(&self, config: Arc<ServerConfig>) -> Result<(), HandleError> {
        let is_tls = self.ask(|reply| CoreRequest::Tls(config, reply)).await?;
        if is_tls { Ok(()) } else { Err(HandleError::NoTls) }
    }

    /// Begins a shutdown (SPEC §12) and returns; [`Server::wait`](crate::Server::wait) tells when
    /// it is done. A second one can only be more urgent.
    ///
    /// # Errors
    /// [`HandleError::Ended`]: it is done already.
    pub async fn shutdown(&self, drain: Duration) -> Result<(), HandleError> {
        self.requests.send(CoreRequest::Shutdown(drain)).await.map_err(|_| HandleError::Ended)
    }

    /// Adds a peer of the host's own: a bot, a bridge. Others see it, send to it and hear from it
    /// as they do from any peer.
    ///
    /// `peer` is its public record: `name`, and whatever else the application wants others to see.
    ///
    /// # Errors
    /// [`HandleError`]: also if its public record is too large, or a room has no name.
    pub async fn add_peer(
        &self,
        user: UserName,
        peer: Fields,
        rooms: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<VirtualPeer, HandleError> {
        let (sender, frames) = async_channel::unbounded();
        let rooms = rooms.into_iter().map(Into::into).collect();
        let conn = self
            .ask(|reply| CoreRequest::AddPeer { user, peer, rooms, frames: sender, reply })
            .await??;
        let mut peer = VirtualPeer { conn, requests: self.requests.clone(), frames, peer: None };
        // The first frame is the welcome, which tells who it is.
        let welcome = peer.recv().await.ok_or(HandleError::Ended)?;
        if let Ok(ServerFrame::Welcome(welcome)) = ServerFrame::parse(&welcome) {
            peer.peer = Some(welcome.peer);
        }
        Ok(peer)
    }
}

/// A peer that the application has added. It leaves when it is dropped.
///
/// Frames for it must be taken with [`recv`](Self::recv). Beyond 4096 waiting frames it is closed, like a
/// client that does not read (R-L4).
#[derive(Debug)]
pub struct VirtualPeer {
    conn: ConnId,
    requests: Sender<CoreRequest>,
    frames: Receiver<Text>,
    peer: Option<Peer>,
}

impl VirtualPeer {
    /// The peer as its `welcome` has it.
    ///
    /// # Panics
    /// Never: the server welcomes its peers with what they are.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.peer.as_ref().expect("the welcome of a server can be read")
    }

    /// The next frame for it; `None` when it was kicked, or the server has ended.
    pub async fn recv(&mut self) -> Option<Text> {
        self.frames.recv().await.ok()
    }

    /// Sends a frame as a client would: `message`, `presence`, `command`, `event`, `join`,
    /// `leave`, `close`. What is wrong with it comes back as an `error` frame.
    ///
    /// # Errors
    /// [`HandleError::Ended`]
    pub async fn send(&self, frame: impl Into<String>) -> Result<(), HandleError> {
        let request = CoreRequest::PeerText(self.conn, frame.into());
        self.requests.send(request).await.map_err(|_| HandleError::Ended)
    }
}

impl Drop for VirtualPeer {
    fn drop(&mut self) {
        // If there is no room, the server notices at the next frame that nobody takes it.
        let _ = self.requests.try_send(CoreRequest::PeerGone(self.conn));
    }
}
