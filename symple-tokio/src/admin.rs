//! Operating a server over HTTP (SPEC, R-I1): who is there, and what is to be done about it.
//!
//! [`Admin::router`] is a router of axum 0.8, to be mounted below any path of an application's own
//! server, and [`Admin::serve`] serves it on a listener of its own.
//!
//! ```no_run
//! use axum::Router;
//! use symple_tokio::{ServerBuilder, admin::Admin};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ServerBuilder::new().bind("127.0.0.1:4500").start()?;
//! let admin = Admin::new(server.handle()).key(std::env::var("SYMPLE_ADMIN_KEY")?);
//! let app = Router::new().nest("/symple", admin.router());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:4501").await?;
//! axum::serve(listener, app).await?;
//! # Ok(())
//! # }
//! ```

mod api;
mod console;
mod error;
mod guard;
mod history;
mod metrics;
mod process;
mod serve;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, middleware};
use symple_driver::Handle;
use tokio::sync::Semaphore;

use error::ApiError;
use history::History;
use metrics::Metrics;

/// How many requests are answered at once. Past it they are refused with 503.
const MAX_REQUESTS: usize = 64;

/// How long the head of a request may take, unless it is [set](Admin::head_timeout).
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The size of the largest body of a request, in bytes, unless it is [set](Admin::body_limit).
const BODY_LIMIT: usize = 1024 * 1024;

/// The key, which is shown nowhere.
#[derive(Clone)]
struct Key(String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// From where a request comes, for the log. [`Admin::serve`] knows it; an application that serves the
/// [router](Admin::router) itself may put it among the extensions of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The HTTP API of a server, being set up.
///
/// Without a [key](Self::key) it answers everyone who can reach it, but only requests whose `Host` is an address or
/// `localhost`, so that no web page can reach it under a name of its own.
#[derive(Clone, Debug)]
#[must_use = "an API answers when it is served"]
pub struct Admin {
    handle: Handle,
    key: Option<Key>,
    any_host: bool,
    body_limit: usize,
    head_timeout: Duration,
    dropped_log_lines: Option<fn() -> u64>,
}

/// What all handlers share.
#[derive(Debug)]
struct Shared {
    handle: Handle,
    key: Option<Key>,
    any_host: bool,
    body_limit: usize,
    metrics: Metrics,
    history: History,
    /// One permit for each request that may be answered at once.
    requests: Semaphore,
    /// One permit for each call that is being carried out.
    carried_out: Arc<Semaphore>,
    /// One permit for each follower of events.
    followers: Arc<Semaphore>,
    /// The keys of requests that are carried out once.
    keys: api::once::Keys,
}

/// What handlers get.
type State = axum::extract::State<Arc<Shared>>;

impl Admin {
    /// The API of a server.
    pub fn new(handle: Handle) -> Self {
        Self {
            handle,
            key: None,
            any_host: false,
            body_limit: BODY_LIMIT,
            head_timeout: HEAD_TIMEOUT,
            dropped_log_lines: None,
        }
    }

    /// Every request must bring this key: `Authorization: Bearer <key>`, or as the password of a
    /// browser (`Basic`, with any user). Any other is answered with 401 and nothing else. An empty
    /// key counts as none.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into()).filter(|key| !key.is_empty()).map(Key);
        self
    }

    /// Answers requests for any `Host`, even without a key: the application itself decides who
    /// reaches the router.
    pub fn any_host(mut self) -> Self {
        self.any_host = true;
        self
    }

    /// The size of the largest body of a request, in bytes; 1 MiB unless it is set. A larger one is
    /// answered with 413.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// How long the head of a request may take where the API has a [listener of its own](Self::serve),
    /// and a connection be idle before it; 10 seconds unless it is set.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
        self
    }

    /// How many lines the log of the program has lost so far, for the metrics: where nobody counts that,
    /// they say nothing of it.
    pub fn dropped_log_lines(mut self, count: fn() -> u64) -> Self {
        self.dropped_log_lines = Some(count);
        self
    }

    /// The router. It may be mounted below any path.
    pub fn router(self) -> Router {
        self.build().0
    }

    /// The router, and what its handlers share.
    fn build(self) -> (Router, Arc<Shared>) {
        let Self { handle, key, any_host, body_limit, dropped_log_lines, .. } = self;
        let requests = Semaphore::new(MAX_REQUESTS);
        let carried_out = Arc::new(Semaphore::new(MAX_REQUESTS));
        let followers = Arc::new(Semaphore::new(api::MAX_FOLLOWERS));
        let keys = api::once::Keys::default();
        let metrics = Metrics::new(dropped_log_lines);
        let shared = Arc::new(Shared {
            handle,
            key,
            any_host,
            body_limit,
            metrics,
            history: History::default(),
            requests,
            carried_out,
            followers,
            keys,
        });
        let router = Router::new()
            .merge(api::routes())
            .merge(metrics::routes())
            .merge(console::routes())
            .fallback(async || ApiError::not_found("there is nothing at this path"))
            .method_not_allowed_fallback(async || ApiError::method_not_allowed())
            .layer(middleware::from_fn_with_state(Arc::clone(&shared), guard::guard))
            .layer(middleware::from_fn_with_state(Arc::clone(&shared), metrics::count))
            .with_state(Arc::clone(&shared));
        (router, shared)
    }
}
