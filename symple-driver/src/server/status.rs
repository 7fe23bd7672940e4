//! Whether a server takes connections.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use symple_engine::server::ConnId;

use crate::{http::Policy, server::config::Config, server::hooks::Hooks, server::log::Refusals};

/// What is known of the server on every thread.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// Nobody may come in any more.
    pub(crate) draining: AtomicBool,
    /// No more connections are accepted, until the application says otherwise of those that it brings.
    pub(crate) closed: AtomicBool,
    /// Everything that must be reachable is.
    pub(crate) ready: AtomicBool,
    /// It has yet to learn of the peers of other nodes.
    pub(crate) catching_up: AtomicBool,
    /// Somebody listens to events.
    pub(crate) watched: AtomicBool,
    /// Somebody listens to those of the whole cluster.
    pub(crate) cluster_watched: AtomicBool,
    /// It is to end now.
    pub(crate) stopped: AtomicBool,
    /// It has ended as it should.
    pub(crate) finished: AtomicBool,
    /// What the log has said of clients that were refused.
    pub(crate) refusals: Refusals,
    /// How many bytes a request head may have that the application has read (R-T7).
    pub(crate) max_head_size: usize,
    abandoned: Abandoned,
}

/// Upgrades that were accepted, and whose streams will not come. Each is there once at most, so
/// there are no more than connections: there is room for every one, whatever else waits.
#[derive(Debug, Default)]
struct Abandoned {
    any: AtomicBool,
    list: Mutex<Vec<ConnId>>,
}

impl Status {
    pub(crate) fn new(config: &Config) -> Self {
        Self { max_head_size: config.max_head_size, ..Self::default() }
    }

    /// No stream will come for this connection.
    pub(crate) fn abandon(&self, id: ConnId) {
        let Abandoned { any, list } = &self.abandoned;
        list.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        any.store(true, Ordering::Release);
    }

    /// The connections for which no stream will come, since this was last asked.
    pub(crate) fn take_abandoned(&self) -> Vec<ConnId> {
        let Abandoned { any, list } = &self.abandoned;
        if !any.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What decides about requests now.
    pub(crate) fn policy<'a>(&self, config: &'a Config, hooks: &Hooks) -> Policy<'a> {
        let draining = self.draining.load(Ordering::Relaxed);
        let closed = self.closed.load(Ordering::Relaxed);
        Policy {
            keep_alive: !draining && !closed && !config.keep_alive_timeout.is_zero(),
            path: config.path.as_deref(),
            max_head_size: config.max_head_size,
            allowed_origins: &config.allowed_origins,
            trusted_proxies: &config.trusted_proxies,
            proxy_header: config.proxy_header,
            deflate: config.compression.as_ref().map(|compression| compression.window_bits),
            keep_request: hooks.authenticate.is_some() || hooks.upgrade.is_some(),
            closed,
            kept: false,
            draining,
            ready: self.ready.load(Ordering::Relaxed),
            caught_up: !self.catching_up.load(Ordering::Relaxed),
        }
    }
}
