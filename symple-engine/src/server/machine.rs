//! The machine itself: inputs to the parts that decide about them.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};
use core::{fmt, net::IpAddr};

use symple_proto::{CloseCode, Status, frame::push_error};

use crate::Timestamp;

use super::{
    Action, Close, ClosedBy, Config, ConnId, EngineError, Event, Input, OfflineReason, RequestId,
    Stats, Text, TransportFault,
    batches::Batches,
    cluster::Cluster,
    expiry::Expiries,
    flow::PAUSED_BY_PENDING,
    hooks::Hooks,
    jobs::Job,
    newcomers::{Newcomers, Place, counted_party},
    outbox::Outbox,
    registry::{Connection, Registry, Session},
    rooms::{Keys, RoomIndex},
    roster::{Echoes, Untold},
    shutdown::Shutdown,
    states::States,
    timers::{Timer, Timers},
    waiting::Waiting,
};

/// Where the engine gets its randomness: peer ids (R-F6) and the keys of its hash tables.
///
/// In production it must be the operating system's, or a generator that it has seeded; in tests a
/// counter makes everything repeatable. Any `FnMut(&mut [u8])` will do.
pub trait Random {
    /// Fills all the bytes.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Random for F {
    fn fill(&mut self, bytes: &mut [u8]) {
        self(bytes);
    }
}

/// A node. See the [module](super) for how it is driven.
pub struct Server {
    pub(super) config: Config,
    pub(super) random: Box<dyn Random + Send>,
    pub(super) now: Timestamp,
    pub(super) registry: Registry,
    pub(super) timers: Timers,
    /// When peers are to be closed because their authentication ends.
    pub(super) expiries: Expiries,
    pub(super) out: Outbox,
    /// A list that is empty between inputs, kept for its memory.
    pub(super) scratch: Vec<ConnId>,
    /// The rooms in which a frame has receivers on other nodes, while it is looked at.
    pub(super) rooms_elsewhere: Vec<RoomIndex>,
    /// The rooms that a frame names: a list that is empty between inputs, kept for its memory.
    pub(super) rooms_named: Vec<RoomIndex>,
    /// The other nodes, where there is a bus.
    pub(super) cluster: Option<Cluster>,
    /// Whose authentications are being decided.
    pub(super) requests: BTreeMap<RequestId, ConnId>,
    pub(super) last_request: u64,
    /// Connections by party, where they are limited.
    addresses: BTreeMap<IpAddr, usize>,
    pub(super) connections: usize,
    pub(super) unauthenticated: usize,
    /// Connections that have not sent anything yet.
    pub(super) newcomers: Newcomers,
    /// Connections that wait for their first authentication to be decided.
    pub(super) deciding: Newcomers,
    /// Work that has been begun and not finished.
    pub(super) jobs: VecDeque<Job>,
    /// Some of it is being done.
    pub(super) working: bool,
    /// The peers that are still to be told of others: what.
    pub(super) rosters: BTreeMap<ConnId, Untold>,
    /// The clients that are told of others in batches.
    pub(super) batches: Batches,
    /// What these peers have sent to themselves; it comes back behind their rosters.
    pub(super) echoes: BTreeMap<ConnId, Echoes>,
    /// Clients that have left and are still heard: how much of what they had sent may be handled.
    pub(super) departed: BTreeMap<ConnId, u64>,
    /// Senders that were told that a receiver is too slow: when.
    pub(super) told_too_slow: BTreeMap<ConnId, Timestamp>,
    /// Senders that were told that the cluster is busy: when.
    pub(super) told_busy: BTreeMap<ConnId, Timestamp>,
    /// Deliveries that are charged to someone and made later, or by other nodes.
    pub(super) deliveries_elsewhere: u64,
    /// How often something was noted of a peer for one that is told later, or that was told or forgotten.
    /// Each costs about as much as a delivery.
    pub(super) noted: u64,
    /// The states of rooms.
    pub(super) states: States,
    /// What is open between this and the application's hooks.
    pub(super) hooks: Hooks,
    /// How many bytes of what clients have sent wait.
    pub(super) waiting: Waiting,
    pub(super) shutdown: Option<Shutdown>,
    pub(super) stats: Stats,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("now", &self.now).field("stats", &self.stats()).finish()
    }
}

impl Server {
    /// A node on which nobody is yet. With a bus ([`Config::cluster`]) there are actions at once.
    #[must_use]
    pub fn new(config: Config, random: impl Random + Send + 'static) -> Self {
        let mut random: Box<dyn Random + Send> = Box::new(random);
        let mut key = || {
            let mut bytes = [0; 8];
            random.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        let keys = Keys(key(), key());
        let prefix = config.connections.ipv6_prefix;
        let mut server = Self {
            config,
            random,
            now: Timestamp::ZERO,
            registry: Registry::new(keys),
            timers: Timers::default(),
            expiries: Expiries::default(),
            out: Outbox::default(),
            scratch: Vec::new(),
            rooms_elsewhere: Vec::new(),
            rooms_named: Vec::new(),
            cluster: None,
            requests: BTreeMap::new(),
            last_request: 0,
            addresses: BTreeMap::new(),
            connections: 0,
            unauthenticated: 0,
            newcomers: Newcomers::new(prefix),
            deciding: Newcomers::deciding(prefix),
            jobs: VecDeque::new(),
            working: false,
            rosters: BTreeMap::new(),
            batches: Batches::default(),
            echoes: BTreeMap::new(),
            departed: BTreeMap::new(),
            told_too_slow: BTreeMap::new(),
            told_busy: BTreeMap::new(),
            deliveries_elsewhere: 0,
            noted: 0,
            states: States::default(),
            hooks: Hooks::default(),
            waiting: Waiting::default(),
            shutdown: None,
            stats: Stats::default(),
        };
        if server.config.cluster.is_some() {
            server.enter_cluster();
        }
        server
    }

    /// How the node is set up.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the host is told what happens ([`Config::events`]), from now on.
    pub fn set_events(&mut self, wanted: bool) {
        self.config.events = wanted;
    }

    /// Whether the host is told what happens with peers of other nodes ([`Config::remote_events`]),
    /// from now on.
    pub fn set_remote_events(&mut self, wanted: bool) {
        self.config.remote_events = wanted;
    }

    /// Whether the host is told of clients that are refused ([`Config::refusals`]), from now on.
    pub fn set_refusals(&mut self, wanted: bool) {
        self.config.refusals = wanted;
    }

    /// What has been counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            connections: self.connections,
            peers: self.registry.peer_count(),
            rooms: self.registry.rooms.len(),
            remote_peers: self.registry.remote_count(),
            nodes: self.nodes().count(),
            bus_waiting: self.bus_waiting(),
            unauthenticated: self.unauthenticated,
            deliveries: self.out.deliveries,
            sent: self.out.sent,
            cluster_lag: self.cluster_lag(),
            states: self.states.rooms.len(),
            state_bytes: self.states.bytes(),
            ..self.stats
        }
    }

    /// Takes one fact in. Time must not go back; where it does, it stands still.
    ///
    /// Afterwards [`poll_action`](Self::poll_action) is to be called until it has nothing more.
    ///
    /// # Errors
    /// [`EngineError`]: the driver or the host is wrong, and nothing has changed; or what the bus
    /// delivered makes no sense, and is dropped as far as it does not. What a client does is never
    /// an error.
    ///
    /// For a [`HostCall`](super::HostCall) the answer is the number of peers that it reached.
    pub fn handle(&mut self, now: Timestamp, input: Input<'_>) -> Result<usize, EngineError> {
        self.now = self.now.max(now);
        match input {
            Input::Text { conn, text } => self.text(conn, text)?,
            Input::Connected { conn, address } => self.connected(conn, address)?,
            Input::Frames { conn, count } => self.other_frames(conn, count)?,
            Input::Work { conn, bytes } => self.worked(conn, bytes)?,
            Input::Departed { conn } => self.departed(conn)?,
            Input::Behind { conn } => self.behind(conn),
            Input::Drained { conn } => self.drained(conn),
            Input::Undelivered { sender, text } => self.undelivered(sender, text),
            Input::Fault { conn, fault } => self.fault(conn, fault)?,
            Input::Disconnected { conn } => self.disconnected(conn)?,
            Input::SessionLoaded { request, session } => self.session_loaded(request, session),
            Input::AuthDecided { request, verdict } => self.auth_decided(request, verdict),
            Input::JoinDecided { request, verdict } => self.join_decided(request, verdict),
            Input::FrameDecided { request, verdict } => self.frame_decided(request, verdict)?,
            Input::Claimed { request, holder } => self.claimed(request, holder),
            Input::SessionChecked { conn, token, live } => self.session_checked(conn, token, live),
            Input::BusUp => self.bus_up(),
            Input::BusDown => self.bus_down(),
            Input::BusTaken { bytes } => self.bus_taken(bytes),
            Input::BusMessage { channel, payload } => return self.bus_message(channel, payload),
            Input::Timeout => self.timeout(),
            Input::Shutdown { drain } => self.shut_down(drain),
            Input::Host(call) => return self.host_call(call),
        }
        Ok(0)
    }

    /// The next thing to do, until there is none.
    pub fn poll_action(&mut self) -> Option<Action<'_>> {
        self.out.poll()
    }

    /// When [`Input::Timeout`] is wanted, unless another input comes first. To be asked again
    /// after every input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        // What was put off so that others have their turn is due at once.
        if !self.jobs.is_empty() {
            return Some(self.now);
        }
        let times = [self.timers.next(), self.expiries.next()];
        times.into_iter().flatten().min()
    }

    /// When another connection had better be accepted: so long as nobody can be asked to give way
    /// for it, it waits where it is (R-L2). `None` if it need not wait.
    #[must_use]
    pub fn accepts_at(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = self.config.connections.unauthenticated;
        if limit == 0 || self.unauthenticated < limit {
            return None;
        }
        let silent = self.newcomers.gives_way_at(limit);
        silent.or_else(|| self.deciding.gives_way_at(limit)).filter(|at| *at > now)
    }

    fn connected(&mut self, conn: ConnId, address: IpAddr) -> Result<(), EngineError> {
        let connection = Connection {
            id: conn,
            address: Some(address),
            session: Session::AwaitingAuth(Place::default()),
            paused: 0,
            full_at: Timestamp::ZERO,
        };
        if !self.registry.add(connection) {
            return Err(EngineError::ConnectionInUse(conn));
        }
        self.stats.opened += 1;
        self.connections += 1;
        self.unauthenticated += 1;
        let limits = &self.config.connections;
        let over = |count: usize, limit: usize| limit > 0 && count > limit;
        let from_there = match counted_party(address, self.config.connections.ipv6_prefix) {
            Some(party) if limits.per_address > 0 => {
                let count = self.addresses.entry(party).or_default();
                *count += 1;
                *count
            }
            _ => 0,
        };
        if self.shutdown.is_some() {
            self.close(conn, CloseCode::GOING_AWAY, "Server shutting down");
        } else if over(self.connections, limits.total) || over(from_there, limits.per_address) {
            self.refuse_at_capacity(conn);
        } else {
            if over(self.unauthenticated, limits.unauthenticated) {
                match self.gives_way(limits.unauthenticated) {
                    Some(oldest) => self.refuse_at_capacity(oldest),
                    None => {
                        self.refuse_at_capacity(conn);
                        return Ok(());
                    }
                }
            }
            let place = self.newcomers.add(conn, Some(address), self.now);
            if let Some(connection) = self.registry.get_mut(conn) {
                connection.session = Session::AwaitingAuth(place);
            }
            if !self.config.auth_timeout.is_zero() {
                self.timers.set(self.now + self.config.auth_timeout, Timer::Auth(conn));
            }
        }
        Ok(())
    }

    /// Who gives way for a newcomer (R-L2): the oldest that is silent; if there is none, the oldest
    /// whose authentication takes too long to be decided.
    fn gives_way(&self, limit: usize) -> Option<ConnId> {
        let silent = self.newcomers.first_to_go(limit);
        let deciding = || {
            let too_long = self.deciding.gives_way_at(limit)? <= self.now;
            too_long.then(|| self.deciding.first_to_go(limit))?
        };
        silent.or_else(deciding).map(|(_, conn)| conn)
    }

    /// There is no place for a connection, or not any more; it is told when to come back (R-L2).
    fn refuse_at_capacity(&mut self, conn: ConnId) {
        /// Those who are refused at the same time come back at different times within so many
        /// seconds.
        const SPREAD: u8 = 10;
        self.stats.over_capacity += 1;
        let mut random = [0; 8];
        self.random.fill(&mut random);
        let seconds = 1 + random[0] % SPREAD;
        self.tell_refused(conn, Status::UNAVAILABLE, "At capacity");
        let more = format!("\"retry_after\":{seconds}");
        self.error_with(conn, Status::UNAVAILABLE, "At capacity", &more);
        self.close(conn, CloseCode::AT_CAPACITY, "At capacity");
    }

    fn disconnected(&mut self, conn: ConnId) -> Result<(), EngineError> {
        if self.registry.get(conn).is_none() {
            return Err(EngineError::UnknownConnection(conn));
        }
        self.out.gone = Some(conn);
        self.finish_queue(conn);
        self.end_session(conn, OfflineReason::Disconnected, true, None);
        self.out.gone = None;
        self.departed.remove(&conn);
        self.told_busy.remove(&conn);
        if let Some(Connection { address: Some(address), .. }) = self.registry.remove(conn) {
            self.connections -= 1;
            if let Some(party) = counted_party(address, self.config.connections.ipv6_prefix)
                && let Some(count) = self.addresses.get_mut(&party)
            {
                *count -= 1;
                if *count == 0 {
                    self.addresses.remove(&party);
                }
            }
        }
        if self.shutdown.is_some() && self.connections == 0 {
            // The driver stops here, whatever is left of the drain: also of the host's own peers.
            self.drain();
        }
        Ok(())
    }

    fn fault(&mut self, conn: ConnId, fault: TransportFault) -> Result<(), EngineError> {
        let connection = self.registry.get(conn).ok_or(EngineError::UnknownConnection(conn))?;
        let limits = &self.config.limits;
        match (&connection.session, fault) {
            (Session::Closing, _) => {}
            // It is too big for a stranger; who it comes from is being decided (R-A11).
            (Session::Authenticating(_), TransportFault::TooBig { size, .. })
                if size <= limits.message as u64 =>
            {
                self.pause(conn, PAUSED_BY_PENDING);
            }
            // The limit was raised while this was on its way.
            (Session::Online(_), TransportFault::TooBig { size, limit })
                if limit < limits.message && size <= limits.message as u64 =>
            {
                if connection.paused == 0 {
                    self.out.push(Action::Resume { conn });
                }
            }
            (_, TransportFault::TooBig { .. }) => {
                self.stats.too_big += 1;
                self.error(conn, Status::TOO_LARGE, "Message too big");
                self.end(conn, CloseCode::TOO_BIG, "Message too big", OfflineReason::ProtocolError);
            }
            (_, TransportFault::InvalidUtf8) => {
                self.stats.protocol_errors += 1;
                let reason = OfflineReason::ProtocolError;
                self.end(conn, CloseCode::INVALID_DATA, "Invalid UTF-8", reason);
            }
            (_, TransportFault::InvalidPayload) => {
                self.stats.protocol_errors += 1;
                let reason = OfflineReason::ProtocolError;
                self.end(conn, CloseCode::INVALID_DATA, "Invalid payload", reason);
            }
            (_, TransportFault::Protocol) => {
                self.stats.protocol_errors += 1;
                let reason = OfflineReason::ProtocolError;
                self.end(conn, CloseCode::PROTOCOL_ERROR, "Protocol error", reason);
            }
            (_, TransportFault::TooManyFragments) => {
                self.stats.too_big += 1;
                self.error(conn, Status::TOO_LARGE, "Too many fragments");
                let reason = OfflineReason::ProtocolError;
                self.end(conn, CloseCode::TOO_BIG, "Too many fragments", reason);
            }
            (_, TransportFault::Unfinished) => {
                self.stats.unfinished += 1;
                let reason = OfflineReason::ProtocolError;
                self.end(conn, CloseCode::POLICY, "Message timeout", reason);
            }
            (_, TransportFault::TooSlow) => {
                self.stats.too_slow += 1;
                let (code, reason) = (CloseCode::TOO_SLOW, "Too slow");
                self.end_session(conn, OfflineReason::TooSlow, true, Some((code, reason)));
                self.out.push(Action::Close { conn, code, reason, discard: true });
            }
        }
        Ok(())
    }

    fn timeout(&mut self) {
        // A slice, and no more until the driver comes back.
        self.work();
        self.expire();
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Auth(conn) => self.auth_timeout(conn),
                Timer::Decision(request) => self.decision_timeout(request),
                Timer::Refill(conn) => self.refilled(conn),
                Timer::Session(conn) => self.check_session(conn),
                Timer::Records => self.tell_records(),
                Timer::Heartbeat => self.heartbeat(),
                Timer::CaughtUp => self.check_caught_up(),
                Timer::Drain => self.drain(),
                Timer::Batches => self.batches_due(),
                Timer::States => self.states_due(),
                Timer::StateFetch(nonce) => self.state_fetch_timeout(nonce),
                Timer::Hooks => self.hooks_timeout(),
            }
        }
    }

    /// Answers a connection with an `error` frame.
    pub(super) fn error(&mut self, conn: ConnId, status: Status, message: &str) {
        self.error_with(conn, status, message, "");
    }

    /// Answers a connection with an `error` frame that has another member, given as JSON.
    pub(super) fn error_with(&mut self, conn: ConnId, status: Status, message: &str, more: &str) {
        self.stats.errors += 1;
        self.stats.errors_by_status.add(status);
        let mut text = String::with_capacity(48 + message.len() + more.len());
        push_error(status, message, &mut text);
        if !more.is_empty() {
            text.pop();
            text.push(',');
            text.push_str(more);
            text.push('}');
        }
        self.out.send_to(conn, text);
    }

    /// Closes a connection that is no peer.
    pub(super) fn close(&mut self, conn: ConnId, code: CloseCode, reason: &'static str) {
        self.end(conn, code, reason, OfflineReason::Closed);
    }

    /// Ends a session, tells those who saw it, and closes the connection.
    pub(super) fn end(
        &mut self,
        conn: ConnId,
        code: CloseCode,
        reason: &'static str,
        why: OfflineReason,
    ) {
        self.end_session(conn, why, true, Some((code, reason)));
        self.out.push(Action::Close { conn, code, reason, discard: false });
    }

    /// Whatever the connection is at, nothing that it says counts any more. A peer goes offline,
    /// and with `tell` those who share a room with it are told (R-P2). `close` is the code and the text of
    /// the close frame, if the connection is closed here.
    pub(super) fn end_session(
        &mut self,
        conn: ConnId,
        why: OfflineReason,
        tell: bool,
        close: Option<(CloseCode, &'static str)>,
    ) {
        let Some(connection) = self.registry.get_mut(conn) else { return };
        self.stats.paused_now -= usize::from(core::mem::take(&mut connection.paused) != 0);
        match &mut connection.session {
            Session::Closing => {}
            Session::AwaitingAuth(place) => {
                self.newcomers.remove(*place);
                connection.session = Session::Closing;
                self.unauthenticated -= 1;
            }
            Session::Authenticating(pending) => {
                self.deciding.remove(pending.place);
                self.requests.remove(&pending.request);
                connection.session = Session::Closing;
                self.unauthenticated -= 1;
            }
            Session::Online(peer) => {
                if let Some(pending) = &peer.pending {
                    self.requests.remove(&pending.request);
                }
                self.hooks.forget(conn);
                self.expiries.remove(conn);
                let gone = self.before_offline(conn);
                self.go_offline(conn, tell);
                // Who is gone was not told so.
                let close = close.filter(|_| self.out.gone != Some(conn));
                if let Some(peer) = self.registry.set_offline(conn) {
                    self.hooks.hidden -= usize::from(peer.hidden);
                    self.tell_host(|| {
                        let close = close.map(|(code, reason)| Close {
                            by: ClosedBy::Server,
                            code: Some(code),
                            reason: reason.into(),
                        });
                        Event::Offline { conn, peer: peer.address(), reason: why, close }
                    });
                }
                self.tell_offline(gone, why);
            }
        }
    }

    /// Tells the host, if it wants to know.
    pub(super) fn tell_host(&mut self, event: impl FnOnce() -> Event) {
        if self.config.events {
            self.out.push(Action::Event(event()));
        }
    }

    /// Tells the host, if it wants to know, that a client is refused, and what the client is told.
    pub(super) fn tell_refused(&mut self, conn: ConnId, status: Status, message: &str) {
        if !self.config.events && !self.config.refusals {
            return;
        }
        let address = self.registry.get(conn).and_then(|connection| connection.address);
        let event = Event::Refused { conn, address, status, message: message.into() };
        self.out.push(Action::Event(event));
    }

    /// True if the engine has closed the connection, or does not know it: whatever happens to it now
    /// is no decision of its client's.
    #[must_use]
    pub fn has_closed(&self, conn: ConnId) -> bool {
        let connection = self.registry.get(conn);
        connection.is_none_or(|connection| matches!(connection.session, Session::Closing))
    }

    /// True when a shutdown has closed every connection and all of them are gone, and so are the peers of the
    /// application's own: it was told so of each (R-H3).
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        let closing = || self.jobs.iter().any(|job| matches!(job, Job::ShutDown { .. }));
        self.shutdown.is_some() && self.connections == 0 && !closing()
    }

    /// A text that was written for the occasion.
    pub(super) fn write(capacity: usize, write: impl FnOnce(&mut String)) -> Text {
        let mut text = String::with_capacity(capacity);
        write(&mut text);
        Text::from(text)
    }
}
