//! How a server is made.

use std::{
    any::Any,
    collections::VecDeque,
    future::Future,
    io,
    marker::PhantomData,
    net::TcpListener,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock, atomic::Ordering, mpsc::SyncSender},
    thread,
    time::Instant,
};

use async_channel::{Receiver, Sender};
use rand::{
    Rng as _, SeedableRng as _,
    rngs::{StdRng, SysRng},
};
use rustls::ServerConfig;
use symple_engine::{Timestamp, server::Server as Engine};
use thiserror::Error;

use crate::{
    client::transport::Connect,
    core::Core,
    core::task::EngineTask,
    fetch::{
        Fetcher,
        endpoint::HttpEndpoint,
        jwks::{self, MAX_KEY_SET, Pace},
    },
    http::Request,
    jwt::Jwt,
    net::ready::Ready,
    net::shard::Shard,
    net::table::{ConnectionTable, Waiting},
    net::tls::SharedTls,
    redis::{self, RedisConfig, RedisError},
    runtime::Runtime,
    server::config::{Config, ConfigError},
    server::endpoint::{Door, Endpoint, EndpointTls},
    server::events::EventSenders,
    server::handle::{About, Handle},
    server::hooks::{
        AuthRequest, Hooks, IntoAuthDecision, UpgradeDecision,
        changes::{PeerLeft, PeerOffline, PeerOnline},
        frames::{FrameRequest, IntoFrameDecision},
        joins::{IntoJoinDecision, JoinRequest},
        states::StateRequest,
    },
    server::proofs::{Proofs, TokenCheck},
    server::running::{Crashed, Server},
    server::status::Status,
    webhook::{
        authentication::AuthWebhook,
        events::{self, WebhookSettings},
    },
    worker::mailbox::{EngineMailbox, Mailbox, WorkerMailbox},
    worker::{Surroundings, Worker},
    ws::deflate::Compression,
};

/// How many requests may wait for the engine.
const REQUESTS: usize = 1024;
/// How many authentications may ask for a key that is missing before others wait to do so.
const MISSING_KEYS: usize = 1024;

/// Why a server cannot be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// It is set up in a way that makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// Which.
        address: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// There is no address to listen on.
    #[error("there is no address to listen on")]
    NoAddress,
    /// Redis is needed and cannot be used (R-S1).
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The server's thread, its runtime or a listener cannot be started, or there is no
    /// randomness.
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    /// A thread of the server's has panicked before it had begun.
    #[error(transparent)]
    Crashed(#[from] Crashed),
}

/// A server that is being set up.
#[must_use = "a builder does nothing until it is started"]
pub struct ServerBuilder<R> {
    runtime: PhantomData<R>,
    config: Config,
    endpoints: Vec<Endpoint>,
    hooks: Hooks,
    jwt: Option<Jwt>,
    /// Where keys that are missing are asked for.
    missing_keys: Option<Sender<Sender<()>>>,
    /// What is started with the server, on the host's runtime.
    tasks: Vec<StartTask<R>>,
    tls: Option<SharedTls>,
}

/// Something that is to run beside a server, on the host's runtime.
type StartTask<R> = Box<dyn FnOnce(&R, &mut Starting) + Send>;

/// What tasks beside a server have to do with it.
#[derive(Default)]
struct Starting {
    hooks: Hooks,
    /// The id of the node, once it has one.
    node: Arc<OnceLock<Box<str>>>,
    /// What ends when tasks have done what is left to do behind the server.
    ends: Vec<Receiver<()>>,
}

impl<R: Runtime> Default for ServerBuilder<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Runtime> ServerBuilder<R> {
    /// A server with the values of the specification, and nowhere to listen yet.
    pub fn new() -> Self {
        Self {
            runtime: PhantomData,
            config: Config::default(),
            endpoints: Vec::new(),
            hooks: Hooks::default(),
            jwt: None,
            missing_keys: None,
            tasks: Vec::new(),
            tls: None,
        }
    }

    /// Sets everything that is no hook.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Changes what has been set.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Listens on an address, `host:port`; port 0 is any that is free. May be called several
    /// times. A name that has several addresses is listened on at all of them.
    pub fn bind(self, address: impl Into<String>) -> Self {
        self.listen(Endpoint::tcp(address).of_server())
    }

    /// Listens on a socket that is bound already.
    pub fn listener(self, listener: TcpListener) -> Self {
        self.listen(Endpoint::bound(listener).of_server())
    }

    /// Listens at a place that is more than an address: with a certificate of its own, on a Unix
    /// socket, or on what a service manager has opened. May be called several times.
    pub fn listen(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Asks the host about every client that wants to come in (R-A5). The function runs on the
    /// host's runtime; it allows only by saying so. Its future is dropped if it takes longer than
    /// [`auth_timeout`](symple_engine::server::Config::auth_timeout), 10 s; for that the host's
    /// runtime needs timers.
    pub fn authenticate<F, D>(
        mut self,
        hook: impl Fn(AuthRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = D> + Send + 'static,
        D: IntoAuthDecision + 'static,
    {
        self.hooks.set_authenticate(hook);
        self
    }

    /// Lets clients in by JSON Web Tokens (R-V1). Then every client needs a token; with
    /// [`authentication`](symple_engine::server::Config::authentication) and Redis, what has not the
    /// form of a JWT may be that of a session. A hook about authentications is asked behind it, and
    /// sees the claims as the member `private` of the session.
    pub fn jwt(mut self, jwt: Jwt) -> Self {
        self.jwt = Some(jwt);
        self
    }

    /// As [`jwt`](Self::jwt), with keys of a JSON Web Key Set at a URL, beside those that `jwt` has. They
    /// are fetched at the start, again from time to time
    /// ([`JwtSettings::jwks_refresh`](crate::JwtSettings::jwks_refresh)), and when a token names a
    /// key that is not there. While they cannot be fetched those from before count; as long as there
    /// have been none, clients get `error` 503 and are closed with 4503. Secrets in the set do not
    /// count. The set may have 64 keys and 256 KiB.
    pub fn jwt_with_jwks(mut self, jwt: Jwt, url: HttpEndpoint) -> Self
    where
        R: Connect,
    {
        let (sender, missing) = async_channel::bounded(MISSING_KEYS);
        let keys = jwt.fetched().clone();
        let settings = jwt.settings();
        let pace = Pace { refresh: settings.jwks_refresh, refetch: settings.jwks_refetch };
        self.tasks.push(Box::new(move |runtime: &R, _| {
            let fetcher = Fetcher::new(runtime.clone(), url, MAX_KEY_SET);
            runtime.spawn(jwks::keep(fetcher, keys, pace, missing));
        }));
        (self.jwt, self.missing_keys) = (Some(jwt), Some(sender));
        self
    }

    /// Asks an HTTP service about every client that wants to come in (R-V2), in place of a function:
    /// with both, this counts and [`authenticate`](Self::authenticate) does not.
    ///
    /// It is sent `{"auth":{…},"peer":{…},"session":{…},"request":{…}}` and answers with
    /// `{"allow":true,"user":"alice"}`, or `{"allow":false,"message":"No"}`. What is no clear answer
    /// lets nobody in: `error` 503, 4503. At most 64 requests are made at a time.
    pub fn authenticate_by_webhook(mut self, url: HttpEndpoint) -> Self
    where
        R: Connect,
    {
        self.tasks.push(Box::new(move |runtime: &R, starting| {
            let webhook = Arc::new(AuthWebhook::new(runtime.clone(), url));
            starting.hooks.set_authenticate(move |request| {
                let webhook = Arc::clone(&webhook);
                async move { webhook.decide(request).await }
            });
        }));
        self
    }

    /// Tells an HTTP service of each peer that comes online, leaves a room and goes offline (R-W1): on
    /// one node of the cluster, in batches, each until it has been taken. May be called several times.
    pub fn webhook(mut self, url: HttpEndpoint, settings: WebhookSettings) -> Self
    where
        R: Connect,
    {
        self.tasks.push(Box::new(move |runtime: &R, starting| {
            let fetcher = Fetcher::new(runtime.clone(), url, events::MAX_ANSWER);
            let (sink, end) = events::start(fetcher, settings, Arc::clone(&starting.node));
            starting.hooks.changes.sinks.push(sink);
            starting.ends.push(end);
        }));
        self
    }

    /// Asks the host about every request to be upgraded to WebSocket. The function runs on the
    /// host's runtime. Its future is dropped if it takes longer than
    /// [`upgrade_timeout`](Config::upgrade_timeout), 10 s.
    pub fn on_upgrade<F>(mut self, hook: impl Fn(Arc<Request>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = UpgradeDecision> + Send + 'static,
    {
        self.hooks.set_upgrade(hook);
        self
    }

    /// Asks the host before a client joins a room (R-H1). The function runs on the host's runtime;
    /// it allows only by saying so, and denies if it takes longer than
    /// [`HookConfig::timeout`](symple_engine::server::HookConfig::timeout), 5 s: then its future is
    /// dropped.
    ///
    /// With this hook the `rooms` that clients write in their `auth` frames are ignored.
    pub fn on_join<F, D>(mut self, hook: impl Fn(JoinRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = D> + Send + 'static,
        D: IntoJoinDecision + 'static,
    {
        self.hooks.set_join(hook);
        self
    }

    /// Asks the host about each routed frame of a client before it is relayed (R-H2).
    ///
    /// The function runs on the server's own thread, so all clients wait for it: it is for
    /// decisions that need nothing but what is in memory. One that takes 100 ms or longer is logged, at
    /// most once a second. One that panics refuses the frame.
    /// [`on_frame_async`](Self::on_frame_async) is for all others; the one that is set last counts.
    pub fn on_frame<D: IntoFrameDecision + 'static>(
        mut self,
        hook: impl Fn(&FrameRequest) -> D + Send + Sync + 'static,
    ) -> Self {
        self.hooks.set_frame(hook);
        self
    }

    /// As [`on_frame`](Self::on_frame), with a function that may wait: it runs on the host's
    /// runtime. Meanwhile the client's later frames wait in order, and no one else's. It refuses if
    /// it takes longer than
    /// [`HookConfig::timeout`](symple_engine::server::HookConfig::timeout), 5 s: then its future is
    /// dropped. A frame of a client
    /// that is gone before the answer comes is not relayed.
    pub fn on_frame_async<F, D>(
        mut self,
        hook: impl Fn(FrameRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = D> + Send + 'static,
        D: IntoFrameDecision + 'static,
    {
        self.hooks.set_frame_async(hook);
        self
    }

    /// Asks the host about each change of a room's state by a client (R-K6).
    ///
    /// The function runs on the server's own thread, so all clients wait for it, as for that of
    /// [`on_frame`](Self::on_frame). It passes the change, [replaces](StateRequest::replace) its
    /// keys, answers the client with a frame of its own, or refuses it.
    /// [`on_state_async`](Self::on_state_async) is for functions that wait; the one that is set last
    /// counts.
    pub fn on_state<D: IntoFrameDecision + 'static>(
        mut self,
        hook: impl Fn(&StateRequest) -> D + Send + Sync + 'static,
    ) -> Self {
        self.hooks.set_state(hook);
        self
    }

    /// As [`on_state`](Self::on_state), with a function that may wait: it runs on the host's runtime.
    /// Meanwhile the client's later frames wait in order, and no one else's.
    pub fn on_state_async<F, D>(
        mut self,
        hook: impl Fn(StateRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = D> + Send + 'static,
        D: IntoFrameDecision + 'static,
    {
        self.hooks.set_state_async(hook);
        self
    }

    /// Tells the host of each peer that comes online (R-H3), on one node of the cluster.
    ///
    /// This function, [`on_leave`](Self::on_leave) and [`on_offline`](Self::on_offline) are called
    /// on the host's runtime, one after the other in the order of what happens. They must not
    /// block; 65 536 changes may wait for them, and what has no room is lost, and logged.
    pub fn on_online(mut self, hook: impl Fn(PeerOnline) + Send + Sync + 'static) -> Self {
        self.hooks.changes.online = Some(Arc::new(hook));
        self
    }

    /// Tells the host of each peer that leaves a room and stays online (R-H3), as
    /// [`on_online`](Self::on_online).
    pub fn on_leave(mut self, hook: impl Fn(PeerLeft) + Send + Sync + 'static) -> Self {
        self.hooks.changes.left = Some(Arc::new(hook));
        self
    }

    /// Tells the host of each peer that goes offline (R-H3), as [`on_online`](Self::on_online): on
    /// exactly one node, also when the peer's own node has died.
    pub fn on_offline(mut self, hook: impl Fn(PeerOffline) + Send + Sync + 'static) -> Self {
        self.hooks.changes.offline = Some(Arc::new(hook));
        self
    }

    /// Uses Redis: for sessions, for what backends emit, and with other nodes (SPEC §9, §10).
    pub fn redis(mut self, redis: RedisConfig) -> Self {
        self.config.redis = Some(redis);
        self
    }

    /// Compresses texts for clients that can take it (R-T10), and lets clients do the same.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.config.compression = Some(compression);
        self
    }

    /// Encrypts all connections to the addresses of [`bind`](Self::bind) and
    /// [`listener`](Self::listener); an [`Endpoint`] says so itself.
    /// [`tls::load`](crate::net::tls::load) reads the usual files.
    pub fn tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config.into());
        self
    }

    /// Starts the server, on threads of its own. Call it within the runtime that runs the hooks.
    ///
    /// It blocks until the names of [`bind`](Self::bind) are resolved and the first attempt to connect
    /// to Redis has ended, which takes seconds when these do not answer. Where the thread has other
    /// tasks, use [`start_async`](Self::start_async).
    ///
    /// # Errors
    /// [`StartError`]: then there is no server, and what had been started for it, such as the fetching of
    /// keys, ends by itself.
    pub fn start(self) -> Result<Server, StartError> {
        if self.endpoints.is_empty() {
            return Err(StartError::NoAddress);
        }
        self.start_unbound()
    }

    /// As [`start`](Self::start), but the server need not listen anywhere: all its connections may
    /// be those that the application brings ([`Handle::upgrade`], [`Handle::accept`]).
    ///
    /// # Errors
    /// [`StartError`]: then there is no server, and what had been started for it, such as the fetching of
    /// keys, ends by itself.
    pub fn start_unbound(self) -> Result<Server, StartError> {
        let runtime = R::current().map_err(StartError::Start)?;
        self.start_on(&runtime)
    }

    /// Starts the server as [`start`](Self::start) does, but lets other tasks of the runtime run
    /// meanwhile. A server that starts after this future was dropped ends at once.
    ///
    /// # Errors
    /// [`StartError`]: then there is no server, and what had been started for it, such as the fetching of
    /// keys, ends by itself.
    pub async fn start_async(self) -> Result<Server, StartError> {
        if self.endpoints.is_empty() {
            return Err(StartError::NoAddress);
        }
        let runtime = R::current().map_err(StartError::Start)?;
        let (sender, started) = async_channel::bounded(1);
        let start = move || {
            let _ = sender.try_send(self.start_on(&runtime));
        };
        thread::Builder::new()
            .name("symple-start".into())
            .spawn(start)
            .map_err(StartError::Start)?;
        started.recv().await.unwrap_or(Err(StartError::Crashed(Crashed)))
    }

    fn start_on(self, runtime: &R) -> Result<Server, StartError> {
        let Self { mut config, endpoints, hooks, jwt, missing_keys, tasks, tls, .. } = self;
        let mut starting = Starting { hooks, ..Starting::default() };
        for start in tasks {
            start(runtime, &mut starting);
        }
        let Starting { hooks, node, ends } = starting;
        config.engine.hook = hooks.authenticate.is_some();
        if jwt.is_some() && config.redis.is_none() {
            // Tokens need no store.
            config.engine.authentication = false;
        }
        config.engine.hooks.join = hooks.join.is_some();
        config.engine.hooks.frame = hooks.frame.is_some();
        config.engine.hooks.state = hooks.state.is_some();
        config.engine.hooks.changes = hooks.changes.is_some();
        config.check()?;
        match &config.redis {
            // The engine has a bus to other nodes, or none.
            Some(redis) if redis.cluster => {
                config.engine.cluster.get_or_insert_default();
            }
            Some(_) => {}
            None => {
                // Without a store the hook alone decides (R-S1).
                config.engine.authentication = false;
            }
        }
        let proofs = Proofs {
            sessions: config.engine.authentication,
            jwt: jwt.map(|jwt| TokenCheck::new(jwt, missing_keys)),
        };
        config.engine.authentication = proofs.are_wanted();
        let redis = config.redis.clone().map(redis::Link::new);
        let mut doors = Vec::new();
        for endpoint in endpoints {
            let encrypted = match &endpoint.tls {
                EndpointTls::OfServer => tls.clone(),
                EndpointTls::Off => None,
                EndpointTls::Own(own) => Some(own.clone()),
            };
            let address = endpoint.name();
            let listening = endpoint.listen();
            let listening = listening.map_err(|error| StartError::Bind { address, error })?;
            doors.extend(listening.into_iter().map(|listening| (listening, encrypted.clone())));
        }
        let listen_addresses: Vec<_> = doors
            .iter()
            .map(|(listening, tls)| (listening.address.clone(), tls.is_some()))
            .collect();

        let mut random = StdRng::try_from_rng(&mut SysRng)
            .map_err(|error| StartError::Start(io::Error::other(error)))?;
        let instance = random.next_u64();
        let engine =
            Engine::new(config.engine.clone(), move |bytes: &mut [u8]| random.fill_bytes(bytes));
        let node_id: Option<Box<str>> = engine.node_id().map(Into::into);
        if let Some(id) = &node_id {
            let _ = node.set(id.clone());
        }
        let (requests, received) = async_channel::bounded(REQUESTS);
        let [(events, inactive), (cluster_events, cluster_inactive)] = [(); 2].map(|()| {
            let (mut events, inactive) = async_broadcast::broadcast(config.event_backlog.max(1));
            events.set_overflow(true);
            (events, inactive.deactivate())
        });
        let events = EventSenders::new(events, cluster_events);
        let status = Arc::new(Status::new(&config));
        let required = config.redis.as_ref().is_some_and(|redis| redis.required);
        status.ready.store(!required, Ordering::Relaxed);

        let (config, core_status) = (Arc::new(config), Arc::clone(&status));
        let core_requests = requests.clone();
        let about = About {
            node_id: node_id.clone(),
            listen_addresses: listen_addresses.clone(),
            has_redis: config.redis.is_some(),
            started: Instant::now(),
            instance,
        };
        let handle = Handle {
            requests: requests.clone(),
            events: inactive,
            cluster_events: cluster_inactive,
            status: Arc::clone(&status),
            about: Arc::new(about),
        };
        let threads = config.threads.get();
        let (started, start) = std::sync::mpsc::sync_channel(threads);
        let (ended, end) = async_channel::bounded::<()>(1);
        let ready: Arc<Ready> = Arc::default();
        let waiting = Waiting::default();
        let mut workers = Vec::new();
        for number in 1..threads {
            let worker_ready: Arc<Ready> = Arc::default();
            let link = Mailbox::new(Arc::clone(&ready), Arc::clone(&worker_ready));
            workers.push(WorkerMailbox::new(Arc::clone(&link)));
            let surroundings = Surroundings {
                runtime: runtime.clone(),
                config: Arc::clone(&config),
                hooks: hooks.clone(),
                requests: requests.clone(),
                status: Arc::clone(&status),
                events: events.clone(),
                mailbox: EngineMailbox::new(link),
            };
            let (told, started, ended) = (started.clone(), started.clone(), ended.clone());
            let waiting = waiting.clone();
            let worker = async move {
                let table =
                    ConnectionTable::new(Arc::clone(&surroundings.config), Vec::new(), waiting);
                let shard = Shard::new(&surroundings.runtime, table, worker_ready);
                let worker = Worker::new(shard, surroundings);
                let _ = started.send(Ok(()));
                drop(started);
                worker.await;
                // The server has ended when all its threads have.
                drop(ended);
            };
            spawn(runtime, format!("symple-{number}"), told, worker)?;
        }
        let (future_runtime, finished) = (runtime.clone(), Arc::clone(&status));
        let told = started.clone();
        let node = async move {
            let runtime = future_runtime;
            let doors = doors
                .into_iter()
                .map(|(listening, tls)| Door::open(&runtime, listening, tls))
                .collect::<io::Result<Vec<_>>>();
            let doors = match doors {
                Ok(doors) => doors,
                Err(error) => return drop(started.send(Err(StartError::Start(error)))),
            };
            let mut node = EngineTask {
                shard: Shard::new(
                    &runtime,
                    ConnectionTable::new(Arc::clone(&config), workers, waiting),
                    ready,
                ),
                core: Core::new(runtime, config, hooks, engine, core_requests, events, core_status),
                doors,
                next_door: 0,
                requests: Box::pin(received),
                openings: VecDeque::new(),
                openings_first: false,
                tls,
                accept_after: Timestamp::ZERO,
                ends_at: None,
            };
            node.core.proofs = proofs;
            if let Err(error) = node.connect_redis(redis).await {
                return drop(started.send(Err(StartError::Redis(error))));
            }
            let _ = started.send(Ok(()));
            drop(started);
            let as_it_should = node.await;
            finished.finished.store(as_it_should, Ordering::Relaxed);
            drop(ended);
        };
        spawn(runtime, "symple".into(), told, node)?;
        let server = Server::new(handle, end, ends);
        for _ in 0..threads {
            // The threads that have been started end with the server.
            start.recv().unwrap_or(Err(StartError::Crashed(Crashed)))?;
        }
        Ok(server)
    }
}

/// Runs a future on a thread of its own. Whoever waits for it to begin is told if it never does;
/// the log, if it does not end as it should.
fn spawn<R: Runtime>(
    runtime: &R,
    name: String,
    started: SyncSender<Result<(), StartError>>,
    future: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let runtime = runtime.clone();
    let run = move || {
        // Nothing is used any more that a panic has left half done.
        let failure = match catch_unwind(AssertUnwindSafe(|| runtime.run(future))) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::error!(%error, "the runtime cannot be started");
                StartError::Start(error)
            }
            Err(panic) => {
                let name = thread::current().name().unwrap_or_default().to_owned();
                let message = message(&*panic);
                tracing::error!(thread = name, "the server has crashed: {message}");
                StartError::Crashed(Crashed)
            }
        };
        // Where it had begun there is nobody to be told.
        let _ = started.try_send(Err(failure));
    };
    thread::Builder::new().name(name).spawn(run).map(drop).map_err(StartError::Start)
}

/// What a panic says, in one line.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("for an unknown reason").chars().take(300).flat_map(char::escape_debug).collect()
}
