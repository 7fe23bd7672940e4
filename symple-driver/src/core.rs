//! The engine's thread: inputs go in, actions are carried out.

mod bus;
pub(crate) mod request;
pub(crate) mod task;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
};

use async_channel::Sender;
use http::HeaderMap;
use symple_engine::{
    Timestamp,
    server::{
        Action, ConnId, EngineError, Event, HostCall, Input, Newcomers, Place, RequestId, Server,
        Text, TransportFault, Verdict,
    },
};
use symple_proto::{Fields, SessionError, UserName};

use crate::{
    core::request::Command,
    http::{Policy, Request, Upgrade},
    net::connection::Phase,
    net::shard::Upstream,
    net::table::{Conns, Entry},
    redis::{Link, Lookup, Warnings, one_line},
    runtime::{Runtime, Socket},
    server::config::Config,
    server::hooks::{AuthRequest, Hooks, UpgradeDecision},
    server::status::Status,
    worker::mailbox::{Fact, Order},
};

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
pub(crate) struct Hub<R> {
    runtime: R,
    config: Arc<Config>,
    pub(crate) engine: Server,
    hooks: Hooks,
    /// The connection to Redis, where there is one, and what is said of what it delivers.
    pub(crate) redis: Option<Link>,
    pub(crate) warnings: Warnings,
    /// What is said of sessions that are at fault: clients choose how often.
    pub(crate) session_faults: Warnings,
    slots: Slots,
    /// By slot: the requests of connections, where there is a hook that may ask for them.
    requests: Vec<Option<Arc<Request>>>,
    /// Questions that nobody can be asked.
    denied: Vec<RequestId>,
    /// Those that began with a request that is not finished, and where they stand among them.
    handshakes: Newcomers,
    places: BTreeMap<ConnId, Place>,
    commands: Sender<Command>,
    events: async_broadcast::Sender<Event>,
    pub(crate) status: Arc<Status>,
}

impl<R: Runtime> Hub<R> {
    pub(crate) fn new(
        runtime: R,
        config: Arc<Config>,
        hooks: Hooks,
        engine: Server,
        commands: Sender<Command>,
        events: async_broadcast::Sender<Event>,
        status: Arc<Status>,
    ) -> Self {
        Self {
            runtime,
            config,
            engine,
            hooks,
            redis: None,
            warnings: Warnings::default(),
            session_faults: Warnings::default(),
            slots: Slots::default(),
            requests: Vec::new(),
            denied: Vec::new(),
            handshakes: Newcomers::default(),
            places: BTreeMap::new(),
            commands,
            events,
            status,
        }
    }

    /// When the next connection may be accepted: until then nobody can be asked to give way for it
    /// (R-L2). `None` if that is now.
    pub(crate) fn accepts_at(&self, conns: &Conns<R::Socket>) -> Option<Timestamp> {
        let limit = self.config.engine.connections.unauthenticated;
        let waits = limit > 0 && conns.handshakes >= limit;
        let handshakes = waits.then(|| self.handshakes.gives_way_at(limit)).flatten();
        let handshakes = handshakes.filter(|at| *at > conns.now);
        self.engine.accepts_at(conns.now).max(handshakes)
    }

    /// A name for a connection that begins now.
    ///
    /// There may be only so many that are not WebSocket yet (R-L2): those that take longest give
    /// way.
    pub(crate) fn new_connection(
        &mut self,
        conns: &mut Conns<R::Socket>,
        address: SocketAddr,
    ) -> ConnId {
        let limit = self.config.engine.connections.unauthenticated;
        while limit > 0
            && conns.handshakes >= limit
            && let Some((_, oldest)) = self.handshakes.first_to_go(limit)
        {
            self.leaves_handshake(oldest);
            if conns.is_handshake(oldest) {
                conns.stats.upgrades_dropped += 1;
                conns.end(oldest);
                break;
            }
        }
        let id = self.slots.take();
        let address = address.ip().to_canonical();
        let proxy = self.config.trusted_proxies.iter().any(|network| network.contains(address));
        let place = self.handshakes.add(id, (!proxy).then_some(address), conns.now);
        self.places.insert(id, place);
        id
    }

    /// A connection has made its request, or never will.
    fn leaves_handshake(&mut self, id: ConnId) {
        if let Some(place) = self.places.remove(&id) {
            self.handshakes.remove(place);
        }
    }

    /// Events are made as long as somebody reads them, and no longer.
    pub(crate) fn look_for_watchers(&mut self) {
        let watched = &self.status.watched;
        if watched.load(Ordering::Relaxed) && self.events.receiver_count() == 0 {
            watched.store(false, Ordering::Relaxed);
            // One that came in between has set it before.
            if self.events.receiver_count() > 0 {
                watched.store(true, Ordering::Relaxed);
            }
        }
        self.engine.set_events(self.status.watched.load(Ordering::Relaxed));
    }

    /// Hands a fact to the engine and carries out what it wants done.
    pub(crate) fn input(
        &mut self,
        conns: &mut Conns<R::Socket>,
        input: Input<'_>,
    ) -> Result<usize, EngineError> {
        conns.input += 1;
        let looked = self.engine.looked();
        let result = self.engine.handle(conns.now, input);
        conns.spend(usize::try_from(self.engine.looked() - looked).unwrap_or(usize::MAX));
        self.carry_out(conns);
        result
    }

    /// As [`input`](Self::input), for facts about connections: the engine and the driver agree on
    /// which there are.
    fn fact(&mut self, conns: &mut Conns<R::Socket>, input: Input<'_>) {
        if let Err(error) = self.input(conns, input) {
            tracing::error!(%error, "the engine does not know what it is told of");
            debug_assert!(false, "{error}");
        }
    }

    fn carry_out(&mut self, conns: &mut Conns<R::Socket>) {
        loop {
            while let Some(action) = self.engine.poll_action() {
                match action {
                    Action::Send { text, to, sender } => conns.send(&text, to, sender),
                    Action::AwaitDrain { conn } => conns.await_drain(conn),
                    Action::Close { conn, code, reason, discard } => {
                        tracing::debug!(?conn, %code, reason, "close");
                        conns.close(conn, code, reason, discard);
                    }
                    Action::Admit { conn } => conns.admit(conn),
                    Action::Pause { conn } => conns.pause(conn),
                    Action::Resume { conn } => conns.resume(conn),
                    Action::Authorize { request, conn, peer, auth, session } => {
                        let from = self.requests.get(conn.slot as usize).cloned().flatten();
                        self.authorize(request, from, |request| {
                            AuthRequest::new(&peer, &auth, session.as_deref(), request)
                        });
                    }
                    Action::Event(event) => {
                        if let Event::SessionFault { user, fault, .. } = &event {
                            let fault = SessionFault { user, fault };
                            self.session_faults.warn(conns.now, "a session is at fault", &fault);
                        }
                        log(&event);
                        // A full backlog loses its oldest event; nobody to listen is no fault.
                        let _ = self.events.try_broadcast(event);
                    }
                    Action::LoadSession { request, token } => {
                        self.look_up(Lookup::Load { request, token });
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
            let input = if let Some(conn) = conns.closed_virtuals.pop() {
                self.slots.give(conn);
                Input::Disconnected { conn }
            } else if let Some(request) = self.denied.pop() {
                Input::Authorized { request, verdict: Verdict::Deny { message: None } }
            } else {
                return;
            };
            if let Err(error) = self.engine.handle(conns.now, input) {
                tracing::debug!(%error, "gone already");
            }
        }
    }

    /// Asks for a session. Without Redis there are none.
    fn look_up(&mut self, lookup: Lookup) {
        if let Some(redis) = &mut self.redis {
            redis.look_up(lookup);
        }
    }

    /// Does something on the bus. Without Redis there is none.
    fn bus(&mut self, act: impl FnOnce(&mut Link)) {
        if let Some(redis) = &mut self.redis {
            act(redis);
        }
    }

    /// Asks the host's hook, on the host's runtime. Whatever becomes of it, there is an answer.
    fn authorize(
        &mut self,
        request: RequestId,
        from: Option<Arc<Request>>,
        question: impl FnOnce(Arc<Request>) -> AuthRequest,
    ) {
        let (Some(hook), Some(from)) = (self.hooks.authenticate.clone(), from) else {
            return self.denied.push(request);
        };
        let deny = Command::Authorized(request, Verdict::Deny { message: None });
        let question = question(from);
        let answer = async move { Command::Authorized(request, hook(question).await.0) };
        self.ask(answer, deny);
    }

    fn ask(&self, answer: impl Future<Output = Command> + Send + 'static, otherwise: Command) {
        ask(&self.runtime, &self.commands, answer, otherwise);
    }

    /// A WebSocket connection has begun.
    fn connected(
        &mut self,
        conns: &mut Conns<R::Socket>,
        id: ConnId,
        address: IpAddr,
        request: Option<Request>,
    ) {
        self.leaves_handshake(id);
        if let Some(request) = request
            && self.hooks.authenticate.is_some()
        {
            let slot = id.slot as usize;
            if slot >= self.requests.len() {
                self.requests.resize(slot + 1, None);
            }
            self.requests[slot] = Some(Arc::new(request));
        }
        self.fact(conns, Input::Connected { conn: id, address });
    }

    /// The host's hook has decided about an upgrade.
    pub(crate) fn upgrade_decided(
        &mut self,
        conns: &mut Conns<R::Socket>,
        id: ConnId,
        decision: UpgradeDecision,
    ) {
        if let Some(upgrade) = conns.decide(id, decision) {
            tracing::debug!(conn = ?id, address = %upgrade.address, "connected");
            self.connected(conns, id, upgrade.address, upgrade.request);
        }
    }

    /// Handles what has happened to the connections of other threads, as long as they can be told
    /// what comes of it.
    pub(crate) fn poll_workers(&mut self, conns: &mut Conns<R::Socket>) {
        for index in 0..conns.workers.len() {
            conns.workers[index].begin();
            while conns.has_room()
                && let Some(fact) = conns.workers[index].next_fact()
            {
                // It had gone when its thread was told not to read from it.
                if let Fact::Disconnected(id) = fact
                    && conns.is_holding(id)
                {
                    self.departed(conns, id);
                }
                let texts = std::mem::take(&mut conns.workers[index].texts);
                if let Some(fact) = conns.hold(fact.id(), fact, &texts) {
                    self.remote_fact(conns, fact, &texts);
                }
                conns.workers[index].texts = texts;
            }
        }
    }

    /// Handles what was kept of connections from which may be read again.
    pub(crate) fn poll_held(&mut self, conns: &mut Conns<R::Socket>) {
        while conns.has_room()
            && let Some((fact, text)) = conns.next_held()
        {
            let fact = match fact {
                Fact::Text { id, .. } => Fact::Text { id, text: 0..text.len() },
                other => other,
            };
            self.remote_fact(conns, fact, &text);
        }
    }

    fn remote_fact(&mut self, conns: &mut Conns<R::Socket>, fact: Fact, texts: &str) {
        match fact {
            Fact::Text { id, text } => {
                if let Some(text) = texts.get(text) {
                    conns.spend_frame(text.len());
                    self.text(conns, id, text);
                }
            }
            Fact::Frames { id, count } => self.frames(conns, id, count),
            Fact::Departed(id) => self.departed(conns, id),
            Fact::Drained(id) => self.drained(conns, id),
            Fact::Undelivered { id, text } => self.undelivered(conns, id, text),
            Fact::Connected { id, address, request } => {
                conns.remote_connected(id);
                self.connected(conns, id, address, request.map(|request| *request));
            }
            // The limit was raised while this was on its way.
            Fact::Fault { id, fault: TransportFault::TooBig { size }, admitted: false }
                if conns.is_remote_admitted(id)
                    && size <= self.config.engine.limits.message as u64 =>
            {
                conns.order(id, Order::Retry(id));
            }
            Fact::Fault { id, fault, .. } => self.fault(conns, id, fault),
            Fact::Disconnected(id) => self.disconnected(conns, id),
            Fact::Removed(id) => {
                conns.remove_remote(id);
                self.removed(id);
            }
        }
    }

    /// Takes in a peer of the host's own.
    pub(crate) fn add_peer(
        &mut self,
        conns: &mut Conns<R::Socket>,
        user: UserName,
        peer: Fields,
        rooms: &[String],
        frames: Sender<Text>,
    ) -> Result<ConnId, EngineError> {
        let conn = self.slots.take();
        conns.insert(conn, Entry::Virtual(conn, frames, false));
        let call = HostCall::AddPeer { conn, user, peer, rooms };
        match self.input(conns, Input::Host(call)) {
            Ok(_) => Ok(conn),
            Err(error) => {
                conns.remove_virtual(conn);
                self.slots.give(conn);
                Err(error)
            }
        }
    }

    /// A peer of the host's own leaves.
    pub(crate) fn remove_peer(&mut self, conns: &mut Conns<R::Socket>, conn: ConnId) {
        if conns.remove_virtual(conn) {
            self.fact(conns, Input::Disconnected { conn });
            self.slots.give(conn);
        }
    }
}

/// Whoever runs a cluster wants to read who is in it.
fn log(event: &Event) {
    match event {
        Event::NodeJoined { node } => {
            tracing::info!(node = one_line(node), "a node has joined the cluster");
        }
        Event::NodeLeft { node, dead: false } => {
            tracing::info!(node = one_line(node), "a node has left the cluster");
        }
        Event::NodeLeft { node, dead: true } => {
            let node = one_line(node);
            tracing::warn!(node, "a node is silent and taken for dead: its peers are offline");
        }
        Event::NotCaughtUp { nodes } => {
            let (count, node) = (nodes.len(), nodes.first().map_or("", |node| node));
            let node = one_line(node);
            tracing::warn!(
                count,
                node,
                "other nodes have not told their peers in ten seconds: rosters lack them"
            );
        }
        _ => {}
    }
}

/// What is wrong with whose session, in one short line.
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

/// Sends an answer when it is dropped: the host's function has panicked, or its runtime is gone.
struct Otherwise(Option<(Sender<Command>, Command)>);

impl Drop for Otherwise {
    fn drop(&mut self) {
        if let Some((commands, answer)) = self.0.take() {
            tracing::warn!("a hook has ended without an answer");
            // Where there is no room this waits for the server's thread, which waits for nobody.
            let _ = commands.send_blocking(answer);
        }
    }
}

/// Asks the host something, on its runtime. Whatever becomes of it, there is an answer.
pub(crate) fn ask(
    runtime: &impl Runtime,
    commands: &Sender<Command>,
    answer: impl Future<Output = Command> + Send + 'static,
    otherwise: Command,
) {
    let commands = commands.clone();
    runtime.spawn(async move {
        let mut otherwise = Otherwise(Some((commands.clone(), otherwise)));
        let answer = answer.await;
        otherwise.0 = None;
        let _ = commands.send(answer).await;
    });
}

/// Asks the host's hook about an upgrade. False if there is none.
pub(crate) fn ask_upgrade(
    runtime: &impl Runtime,
    commands: &Sender<Command>,
    hooks: &Hooks,
    id: ConnId,
    upgrade: &Upgrade,
) -> bool {
    let (Some(hook), Some(request)) = (hooks.upgrade.clone(), upgrade.request.clone()) else {
        return false;
    };
    let request = Arc::new(request);
    let answer = async move { Command::UpgradeDecided(id, hook(request).await) };
    let refuse = UpgradeDecision::reject(http::StatusCode::INTERNAL_SERVER_ERROR, "");
    ask(runtime, commands, answer, Command::UpgradeDecided(id, refuse));
    true
}

impl<R: Runtime> Upstream<R::Socket> for Hub<R>
where
    R::Socket: Socket,
{
    fn policy(&self) -> Policy<'_> {
        self.status.policy(&self.config, &self.hooks)
    }

    fn is_full(&self) -> bool {
        false
    }

    fn upgrade(&mut self, conns: &mut Conns<R::Socket>, id: ConnId, upgrade: Box<Upgrade>) {
        if ask_upgrade(&self.runtime, &self.commands, &self.hooks, id, &upgrade) {
            conns.enter(id, Phase::Deciding(upgrade));
        } else {
            conns.accept(id, &upgrade, &HeaderMap::new());
            tracing::debug!(conn = ?id, address = %upgrade.address, "connected");
            self.connected(conns, id, upgrade.address, upgrade.request);
        }
    }

    fn text(&mut self, conns: &mut Conns<R::Socket>, conn: ConnId, text: &str) {
        self.fact(conns, Input::Text { conn, text });
    }

    fn frames(&mut self, conns: &mut Conns<R::Socket>, conn: ConnId, count: u32) {
        self.fact(conns, Input::Frames { conn, count });
    }

    fn departed(&mut self, conns: &mut Conns<R::Socket>, conn: ConnId) {
        self.fact(conns, Input::Departed { conn });
        // What was kept is handled, also where it comes to nothing.
        conns.release(conn);
    }

    fn drained(&mut self, conns: &mut Conns<R::Socket>, conn: ConnId) {
        self.fact(conns, Input::Drained { conn });
    }

    fn undelivered(&mut self, conns: &mut Conns<R::Socket>, sender: ConnId, text: Text) {
        self.fact(conns, Input::Undelivered { sender, text: &text });
    }

    fn fault(&mut self, conns: &mut Conns<R::Socket>, conn: ConnId, fault: TransportFault) {
        // One that has overflowed may be gone by the time that it is told of.
        if let Err(error) = self.input(conns, Input::Fault { conn, fault }) {
            tracing::debug!(%error, "gone already");
        }
    }

    fn disconnected(&mut self, conns: &mut Conns<R::Socket>, conn: ConnId) {
        tracing::debug!(?conn, "disconnected");
        if let Some(request) = self.requests.get_mut(conn.slot as usize) {
            *request = None;
        }
        self.fact(conns, Input::Disconnected { conn });
    }

    fn removed(&mut self, id: ConnId) {
        self.leaves_handshake(id);
        self.slots.give(id);
    }
}
