//! The engine's thread: inputs go in, actions are carried out.

mod asking;
mod bus;
mod hooks;
pub(crate) mod request;
pub(crate) mod task;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_channel::Sender;
use symple_engine::{
    Timestamp,
    server::{
        Action, Close, ConnId, EngineError, Event, HostCall, Input, Newcomers, Place, RequestId,
        Server, Text, TransportFault, Verdict,
    },
};
use symple_proto::{Fields, SessionError, Token, UserName};

use crate::{
    core::request::{CoreRequest, ReadState, Reply},
    http::{Policy, RefusedUpgrade, Request, UNKNOWN_PEER, Upgrade},
    net::connection::Gone,
    net::table::{ConnectionTable, Entry},
    net::upstream::Upstream,
    redis::{Link, Lookup, Warnings},
    runtime::{Runtime, Socket},
    server::config::Config,
    server::events::{EventSenders, GAVE_WAY},
    server::hooks::{AuthRequest, Hooks, changes::Changes},
    server::log::{ConnectionLog, OncePerSecond, Refusals, log_cluster},
    server::proofs::{Proof, Proofs, Prover},
    server::stats::{CloseCounts, ClosedBy},
    server::status::Status,
    worker::mailbox::WorkerEvent,
};

pub(crate) use asking::{ask, ask_upgrade};
use hooks::Answer;

/// The slots that connections are named by.
#[derive(Debug, Default)]
struct Slots {
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl Slots {
    fn take(&mut self) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.generations.push(0);
            u32::try_from(self.generations.len() - 1).expect("fewer connections than 2^32")
        });
        let generation = &mut self.generations[slot as usize];
        *generation = generation.wrapping_add(1);
        ConnId::new(slot, *generation)
    }

    fn give(&mut self, id: ConnId) {
        self.free.push(id.slot);
    }
}

/// The engine and its surroundings.
pub(crate) struct Core<R> {
    runtime: R,
    config: Arc<Config>,
    pub(crate) engine: Server,
    hooks: Hooks,
    /// What may prove who the holder of a token is; nothing, until it is set.
    pub(crate) proofs: Proofs,
    /// The connection to Redis, if there is one, and the warnings about what it delivers.
    pub(crate) redis: Option<Link>,
    pub(crate) warnings: Warnings,
    /// The warnings about malformed sessions. They have a rate limit because clients decide how often they come.
    pub(crate) session_faults: Warnings,
    /// What the log is to say of connections when they end.
    pub(crate) connection_log: ConnectionLog,
    /// How WebSocket connections have ended.
    pub(crate) closes: CloseCounts,
    slots: Slots,
    /// By slot: the upgrade requests of connections, where there is a hook that may ask for them.
    upgrade_requests: Vec<Option<Arc<Request>>>,
    /// Questions that no hook can be asked.
    denied: Vec<RequestId>,
    /// Answers to questions, of the functions that are asked at once.
    decided: Vec<Answer>,
    /// Work that has been done for connections, in bytes, and that they are not charged for yet.
    worked: Vec<(ConnId, usize)>,
    /// The changes that hooks must be told.
    changes: Option<Changes>,
    /// Those that began with a request that is not finished, and where they stand among them.
    handshakes: Newcomers,
    places: BTreeMap<ConnId, Place>,
    /// Who has asked for states that are being asked for, by the number of the question.
    state_questions: BTreeMap<u64, Reply<Result<ReadState, EngineError>>>,
    next_question: u64,
    requests: Sender<CoreRequest>,
    events: EventSenders,
    /// The connection that the engine is told is gone, and how it was closed.
    gone: Option<(ConnId, Close)>,
    pub(crate) status: Arc<Status>,
}

/// To compress a byte is as much work as to read so many (R-L3).
const DEFLATED: usize = 4;

impl<R: Runtime> Core<R> {
    pub(crate) fn new(
        runtime: R,
        config: Arc<Config>,
        hooks: Hooks,
        engine: Server,
        requests: Sender<CoreRequest>,
        events: EventSenders,
        status: Arc<Status>,
    ) -> Self {
        let changes = hooks::tell_changes(&runtime, &hooks);
        let handshakes = Newcomers::new(config.engine.connections.ipv6_prefix);
        Self {
            runtime,
            config,
            engine,
            hooks,
            proofs: Proofs::default(),
            redis: None,
            warnings: Warnings::default(),
            session_faults: Warnings::default(),
            connection_log: ConnectionLog::default(),
            closes: CloseCounts::default(),
            slots: Slots::default(),
            upgrade_requests: Vec::new(),
            denied: Vec::new(),
            decided: Vec::new(),
            worked: Vec::new(),
            changes,
            handshakes,
            places: BTreeMap::new(),
            state_questions: BTreeMap::new(),
            next_question: 0,
            requests,
            events,
            gone: None,
            status,
        }
    }

    /// When the next connection may be accepted: until then nobody can be asked to give way for it
    /// (R-L2). `None` if that is now.
    pub(crate) fn accepts_at(&self, table: &ConnectionTable<R::Socket>) -> Option<Timestamp> {
        let limit = self.config.engine.connections.unauthenticated;
        let waits = limit > 0 && table.handshakes >= limit;
        let handshakes = waits.then(|| self.handshakes.gives_way_at(limit)).flatten();
        let handshakes = handshakes.filter(|at| *at > table.now);
        self.engine.accepts_at(table.now).max(handshakes)
    }

    /// A name for a connection that begins now.
    ///
    /// There may be only so many that are not WebSocket yet (R-L2): those that take longest give
    /// way.
    pub(crate) fn new_connection(
        &mut self,
        table: &mut ConnectionTable<R::Socket>,
        address: SocketAddr,
    ) -> ConnId {
        let limit = self.config.engine.connections.unauthenticated;
        while limit > 0
            && table.handshakes >= limit
            && let Some((_, oldest)) = self.handshakes.first_to_go(limit)
        {
            self.leaves_handshake(oldest);
            if table.is_handshake(oldest) {
                table.stats.upgrades_dropped += 1;
                let address = table.address_of(oldest).unwrap_or(UNKNOWN_PEER.ip());
                self.upgrade_failed(address, None, GAVE_WAY);
                table.end(oldest);
                break;
            }
        }
        let id = self.slots.take();
        let proxy = self.config.trusted_proxies.iter().any(|proxy| proxy.is_at(address));
        let address = address.ip().to_canonical();
        let place = self.handshakes.add(id, (!proxy).then_some(address), table.now);
        self.places.insert(id, place);
        id
    }

    /// Forgets a connection that has made its request, or never will.
    fn leaves_handshake(&mut self, id: ConnId) {
        if let Some(place) = self.places.remove(&id) {
            self.handshakes.remove(place);
        }
    }

    /// Switches events on while somebody reads them, and those of other nodes apart from them. The
    /// log reads them, too, if it has lines about connections.
    pub(crate) fn look_for_watchers(&mut self) {
        let Status { watched, cluster_watched, .. } = &*self.status;
        let watched = is_watched(watched, &self.events.own);
        let cluster_watched = is_watched(cluster_watched, &self.events.cluster);
        self.engine.set_events(watched || cluster_watched || ConnectionLog::is_wanted());
        self.engine.set_remote_events(cluster_watched);
        self.engine.set_refusals(Refusals::are_wanted());
    }

    /// Gives an input to the engine and carries out its actions.
    pub(crate) fn input(
        &mut self,
        table: &mut ConnectionTable<R::Socket>,
        input: Input<'_>,
    ) -> Result<usize, EngineError> {
        table.input += 1;
        let before = self.engine.effort();
        let result = self.engine.handle(table.now, input);
        table.spend(usize::try_from(self.engine.effort() - before).unwrap_or(usize::MAX));
        self.carry_out(table);
        result
    }

    /// As [`input`](Self::input), for inputs about connections: the engine and the driver agree on
    /// which there are.
    fn connection_input(&mut self, table: &mut ConnectionTable<R::Socket>, input: Input<'_>) {
        if let Err(error) = self.input(table, input) {
            static FAULTS: OncePerSecond = OncePerSecond::new();
            if let Some(more) = FAULTS.is_due() {
                tracing::error!(%error, more, "the engine does not know what it is told of");
            }
            debug_assert!(false, "{error}");
        }
    }

    fn carry_out(&mut self, table: &mut ConnectionTable<R::Socket>) {
        loop {
            while let Some(action) = self.engine.poll_action() {
                match action {
                    Action::Send { text, to, sender, cause } => {
                        let deflated = table.send(&text, to, sender);
                        if let Some(conn) = cause.filter(|_| deflated > 0) {
                            let bytes = deflated * DEFLATED;
                            match self.worked.last_mut() {
                                Some((last, sum)) if *last == conn => *sum += bytes,
                                _ => self.worked.push((conn, bytes)),
                            }
                        }
                    }
                    Action::AwaitDrain { conn } => table.await_drain(conn),
                    Action::Close { conn, code, reason, discard } => {
                        self.connection_log.closed(conn, code, reason);
                        let address = table.get(conn).map(|conn| conn.address);
                        self.status.refusals.limit(code, reason, address);
                        self.closes.add(ClosedBy::Server, code);
                        table.close(conn, code, reason, discard);
                    }
                    Action::SetMessageLimit { conn, limit } => {
                        table.set_message_limit(conn, limit);
                    }
                    Action::Pause { conn } => table.pause(conn),
                    Action::Resume { conn } => table.resume(conn),
                    Action::Authenticate { request, conn, peer, auth, session } => {
                        let from = self.upgrade_requests.get(conn.slot as usize).cloned().flatten();
                        self.authenticate(request, from, |request| {
                            AuthRequest::new(&peer, &auth, session.as_deref(), request)
                        });
                    }
                    Action::Ask { request, question } => self.ask_hook(request, *question),
                    Action::Tell(change) => {
                        if let Some(changes) = &mut self.changes {
                            changes.push(*change);
                        }
                    }
                    Action::Claim { request, key, node } => {
                        self.look_up(Lookup::Claim { request, key, node });
                    }
                    Action::StateRead { question, state, pinned } => {
                        if let Some(reply) = self.state_questions.remove(&question) {
                            // Who has asked may be gone.
                            let _ = reply.try_send(Ok(ReadState { state, pinned }));
                        }
                    }
                    Action::Event(mut event) => {
                        if let Event::Offline { conn, close: close @ None, .. } = &mut event {
                            let gone = self.gone.as_ref().filter(|(gone, _)| gone == conn);
                            *close = gone.map(|(_, close)| close.clone());
                        }
                        if let Event::SessionFault { user, fault, .. } = &event {
                            let fault = SessionFault { user, fault };
                            self.session_faults.warn(table.now, "a session is at fault", &fault);
                        }
                        match &event {
                            Event::Online { conn, peer, .. } => {
                                self.connection_log.online(*conn, peer);
                            }
                            Event::Refused { address, status, message, .. } => {
                                self.status.refusals.authentication(*address, *status, message);
                            }
                            _ => log_cluster(&event),
                        }
                        self.events.tell(event);
                    }
                    Action::LoadSession { request, token } => {
                        self.prove(request, token);
                    }
                    Action::CheckSession { conn, token } => {
                        self.look_up(Lookup::Check { conn, token });
                    }
                    Action::TouchSession { token, ttl } => {
                        self.look_up(Lookup::Touch { token, ttl });
                    }
                    Action::Subscribe { channel } => self.bus(|redis| redis.subscribe(channel)),
                    Action::Unsubscribe { channel } => {
                        self.bus(|redis| redis.unsubscribe(channel));
                    }
                    Action::Publish { channel, payload } => {
                        self.bus(|redis| redis.publish(channel, payload));
                    }
                }
            }
            let input = if let Some(conn) = table.closed_virtuals.pop() {
                self.slots.give(conn);
                Input::Disconnected { conn }
            } else if let Some(request) = self.denied.pop() {
                Input::AuthDecided { request, verdict: Verdict::Deny { message: None } }
            } else if let Some(answer) = self.decided.pop() {
                answer.into_input()
            } else if let Some((conn, bytes)) = self.worked.pop() {
                Input::Work { conn, bytes }
            } else {
                return;
            };
            if let Err(error) = self.engine.handle(table.now, input) {
                match error {
                    EngineError::Verdict(_) | EngineError::Frame(_) | EngineError::State(_) => {
                        hooks::hook_is_wrong(&error);
                    }
                    _ => tracing::debug!(%error, "gone already"),
                }
            }
        }
    }

    /// Asks Redis for a session. Without Redis no session is found.
    fn look_up(&mut self, lookup: Lookup) {
        if let Some(redis) = &mut self.redis {
            redis.look_up(lookup);
        }
    }

    /// Asks for a state, which other nodes may know better. The engine bounds how many wait.
    pub(crate) fn read_state(
        &mut self,
        table: &mut ConnectionTable<R::Socket>,
        room: &str,
        reply: Reply<Result<ReadState, EngineError>>,
    ) {
        let question = self.next_question;
        self.next_question += 1;
        self.state_questions.insert(question, reply);
        let asked = self.input(table, Input::Host(HostCall::ReadState { room, question }));
        if let Err(error) = asked
            && let Some(reply) = self.state_questions.remove(&question)
        {
            let _ = reply.try_send(Err(error));
        }
    }

    /// Claims a key for the application. Without Redis nothing replies.
    pub(crate) fn claim(&mut self, key: Box<str>, value: Box<str>, reply: Reply<String>) {
        self.look_up(Lookup::ClaimForHost { key, value, reply });
    }

    /// Finds out what a token proves: from Redis, or from the token itself, on the host's runtime.
    fn prove(&mut self, request: RequestId, token: Token) {
        match self.proofs.prover(&token) {
            Prover::Sessions => self.look_up(Lookup::Load { request, token }),
            Prover::Jwt(check) => {
                let check = check.clone();
                let answer = async move { CoreRequest::Proved(request, check.prove(&token).await) };
                let limit = self.config.engine.auth_timeout;
                self.ask(limit, answer, CoreRequest::Proved(request, Proof::Unavailable));
            }
        }
    }

    /// Does something on the bus. Without Redis there is no bus.
    fn bus(&mut self, act: impl FnOnce(&mut Link)) {
        if let Some(redis) = &mut self.redis {
            act(redis);
        }
    }

    /// Asks the host's hook, on the host's runtime. Whatever becomes of it, there is an answer.
    fn authenticate(
        &mut self,
        request: RequestId,
        from: Option<Arc<Request>>,
        question: impl FnOnce(Arc<Request>) -> AuthRequest,
    ) {
        let (Some(hook), Some(from)) = (self.hooks.authenticate.clone(), from) else {
            return self.denied.push(request);
        };
        let deny = CoreRequest::AuthDecided(request, Verdict::Deny { message: None });
        let question = question(from);
        let answer = async move { CoreRequest::AuthDecided(request, hook(question).await.0) };
        self.ask(self.config.engine.auth_timeout, answer, deny);
    }

    /// Asks the host something, on its runtime, and waits no longer for it than the limit.
    fn ask(
        &self,
        limit: Duration,
        answer: impl Future<Output = CoreRequest> + Send + 'static,
        otherwise: CoreRequest,
    ) {
        ask(&self.runtime, &self.requests, limit, answer, otherwise);
    }

    /// Tells the engine of a new WebSocket connection.
    fn announce(
        &mut self,
        table: &mut ConnectionTable<R::Socket>,
        id: ConnId,
        address: IpAddr,
        request: Option<Request>,
    ) {
        self.leaves_handshake(id);
        if let Some(request) = request
            && self.hooks.authenticate.is_some()
        {
            let slot = id.slot as usize;
            if slot >= self.upgrade_requests.len() {
                self.upgrade_requests.resize(slot + 1, None);
            }
            self.upgrade_requests[slot] = Some(Arc::new(request));
        }
        self.connection_log.connected(id, address, table.now);
        self.connection_input(table, Input::Connected { conn: id, address });
    }

    /// Handles what has happened to the connections of other threads, as long as they can be told
    /// what comes of it.
    pub(crate) fn poll_workers(&mut self, table: &mut ConnectionTable<R::Socket>) {
        for index in 0..table.workers.len() {
            table.workers[index].begin();
            while table.has_room()
                && let Some(event) = table.workers[index].next_event()
            {
                // It was already gone when its thread was told not to read from it.
                if let WorkerEvent::Disconnected(id, _) = &event
                    && table.is_holding(*id)
                {
                    self.departed(table, *id);
                }
                let texts = std::mem::take(&mut table.workers[index].texts);
                if let Some(event) = table.hold(event.id(), event, &texts) {
                    self.worker_event(table, event, &texts);
                }
                table.workers[index].texts = texts;
            }
        }
    }

    /// Handles what was kept of connections from which may be read again.
    pub(crate) fn poll_held(&mut self, table: &mut ConnectionTable<R::Socket>) {
        while table.has_room()
            && let Some((event, text)) = table.next_held()
        {
            let event = match event {
                WorkerEvent::Text { id, .. } => WorkerEvent::Text { id, text: 0..text.len() },
                other => other,
            };
            self.worker_event(table, event, &text);
        }
    }

    fn worker_event(
        &mut self,
        table: &mut ConnectionTable<R::Socket>,
        event: WorkerEvent,
        texts: &str,
    ) {
        match event {
            WorkerEvent::Text { id, text } => {
                if let Some(text) = texts.get(text) {
                    table.spend_frame(text.len());
                    self.text(table, id, text);
                }
            }
            WorkerEvent::Frames { id, count } => self.frames(table, id, count),
            WorkerEvent::Departed(id) => self.departed(table, id),
            WorkerEvent::Behind(id) => self.behind(table, id),
            WorkerEvent::Drained(id) => self.drained(table, id),
            WorkerEvent::Undelivered { id, text } => self.undelivered(table, id, text),
            WorkerEvent::Connected { id, address, request, deflates } => {
                table.remote_connected(id, deflates);
                self.announce(table, id, address, request.map(|request| *request));
            }
            WorkerEvent::Fault { id, fault } => self.fault(table, id, fault),
            WorkerEvent::Disconnected(id, gone) => self.disconnected(table, id, gone),
            WorkerEvent::Removed(id) => {
                table.remove_remote(id);
                self.removed(id);
            }
        }
    }

    /// Adds a peer of the application.
    pub(crate) fn add_peer(
        &mut self,
        table: &mut ConnectionTable<R::Socket>,
        user: UserName,
        peer: Fields,
        rooms: &[String],
        frames: Sender<Text>,
    ) -> Result<ConnId, EngineError> {
        let conn = self.slots.take();
        table.insert(conn, Entry::Virtual(conn, frames, false));
        let call = HostCall::AddPeer { conn, user, peer, rooms };
        match self.input(table, Input::Host(call)) {
            Ok(_) => Ok(conn),
            Err(error) => {
                table.remove_virtual(conn);
                self.slots.give(conn);
                Err(error)
            }
        }
    }

    /// Removes a peer of the application.
    pub(crate) fn remove_peer(&mut self, table: &mut ConnectionTable<R::Socket>, conn: ConnId) {
        if table.remove_virtual(conn) {
            self.connection_input(table, Input::Disconnected { conn });
            self.slots.give(conn);
        }
    }
}

/// Whether somebody reads events, as far as is known without a look at the channel.
fn is_watched(watched: &AtomicBool, events: &async_broadcast::Sender<Event>) -> bool {
    if watched.load(Ordering::Relaxed) && events.receiver_count() == 0 {
        watched.store(false, Ordering::Relaxed);
        // A reader that came in between has set it before.
        if events.receiver_count() > 0 {
            watched.store(true, Ordering::Relaxed);
        }
    }
    watched.load(Ordering::Relaxed)
}

/// A fault of a session and its user, in one short line.
struct SessionFault<'a> {
    user: &'a str,
    fault: &'a SessionError,
}

impl fmt::Display for SessionFault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// How many characters of the user are repeated.
        const MAX_ECHO: usize = 64;
        let user: String = self.user.chars().take(MAX_ECHO).collect();
        write!(f, "{} (user '{}')", self.fault, user.escape_debug())
    }
}

impl<R: Runtime> Upstream<R::Socket> for Core<R>
where
    R::Socket: Socket,
{
    fn policy(&self) -> Policy<'_> {
        self.status.policy(&self.config, &self.hooks)
    }

    fn is_full(&self) -> bool {
        false
    }

    fn ask_upgrade(&self, id: ConnId, upgrade: &Upgrade) -> bool {
        let limit = self.config.upgrade_timeout;
        ask_upgrade(&self.runtime, &self.requests, &self.hooks, limit, id, upgrade)
    }

    fn connected(&mut self, table: &mut ConnectionTable<R::Socket>, id: ConnId, upgrade: Upgrade) {
        self.announce(table, id, upgrade.address, upgrade.request);
    }

    fn text(&mut self, table: &mut ConnectionTable<R::Socket>, conn: ConnId, text: &str) {
        self.connection_input(table, Input::Text { conn, text });
    }

    fn frames(&mut self, table: &mut ConnectionTable<R::Socket>, conn: ConnId, count: u32) {
        self.connection_input(table, Input::Frames { conn, count });
    }

    fn departed(&mut self, table: &mut ConnectionTable<R::Socket>, conn: ConnId) {
        self.connection_input(table, Input::Departed { conn });
        // Texts that were kept are handled, even if nothing comes of them.
        table.release(conn);
    }

    fn behind(&mut self, table: &mut ConnectionTable<R::Socket>, conn: ConnId) {
        self.connection_input(table, Input::Behind { conn });
    }

    fn drained(&mut self, table: &mut ConnectionTable<R::Socket>, conn: ConnId) {
        self.connection_input(table, Input::Drained { conn });
    }

    fn undelivered(&mut self, table: &mut ConnectionTable<R::Socket>, sender: ConnId, text: Text) {
        self.connection_input(table, Input::Undelivered { sender, text: &text });
    }

    fn fault(
        &mut self,
        table: &mut ConnectionTable<R::Socket>,
        conn: ConnId,
        fault: TransportFault,
    ) {
        // A connection that has overflowed may be gone by now.
        if let Err(error) = self.input(table, Input::Fault { conn, fault }) {
            tracing::debug!(%error, "gone already");
        }
    }

    fn disconnected(&mut self, table: &mut ConnectionTable<R::Socket>, conn: ConnId, gone: Gone) {
        self.connection_log.disconnected(conn, &gone, table.now);
        // One that the server has closed has been counted.
        if !self.engine.has_closed(conn) {
            self.closes.gone(&gone);
        }
        if let Some(request) = self.upgrade_requests.get_mut(conn.slot as usize) {
            *request = None;
        }
        self.gone = Some((conn, gone.into()));
        self.connection_input(table, Input::Disconnected { conn });
        self.gone = None;
    }

    fn refused(&mut self, refused: &RefusedUpgrade) {
        self.status.refusals.upgrade(refused);
        let status = Some(refused.status.as_u16());
        self.upgrade_failed(refused.address, status, &refused.body);
    }

    fn upgrade_failed(&self, address: IpAddr, status: Option<u16>, reason: &str) {
        self.events.tell_failed_upgrade(&self.status, address, status, reason);
    }

    fn removed(&mut self, id: ConnId) {
        self.leaves_handshake(id);
        self.slots.give(id);
    }

    fn kept(&self) -> usize {
        self.engine.waiting()
    }

    fn kept_of(&self, id: ConnId) -> usize {
        self.engine.waiting_of(id)
    }
}
