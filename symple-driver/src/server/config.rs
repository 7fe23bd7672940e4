//! How a server is set up.

use std::{num::NonZeroUsize, time::Duration};

use http::uri::PathAndQuery;
use thiserror::Error;

use crate::{
    http::origin::OriginPattern,
    http::proxy::{ProxyHeader, TrustedProxy},
    redis::RedisConfig,
    server::memory,
    ws::decode::MAX_FRAGMENTS,
    ws::deflate::Compression,
};

/// How a server behaves. [`Config::default`] has the values of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The decisions of the protocol: authentication, rooms, presence, limits. `hook`, the flags in
    /// `hooks`, `events`, `remote_events` and `refusals` are set by the server: they follow from the
    /// hooks that the builder was given, from who reads events, and from the log. So is
    /// `authentication`, where nothing has sessions or tokens to be checked, or a token check was given.
    pub engine: symple_engine::server::Config,
    /// The only path for WebSocket (R-T2); any, without one.
    pub path: Option<String>,
    /// The origins that browsers may connect from (R-T5); any, if empty.
    pub allowed_origins: Vec<OriginPattern>,
    /// The proxies that may tell a client's address (R-T6). None.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// The header in which they tell it (R-T6). `X-Forwarded-For`.
    pub proxy_header: ProxyHeader,
    /// How many bytes the head of an HTTP request may have (R-T7), 1 KiB to 1 MiB. 16 KiB.
    pub max_head_size: usize,
    /// After so long without a byte from it a client is pinged (R-T3). 25 s, up to a fifth less by
    /// chance; zero is never.
    pub ping_interval: Duration,
    /// After so long without an answer to a ping a connection is dropped (R-T3). 10 s; zero is
    /// never.
    pub pong_timeout: Duration,
    /// How long the HTTP upgrade may take, TLS included (R-L5). 10 s; zero is for ever.
    pub upgrade_timeout: Duration,
    /// How long a connection may be idle behind an answer that is no upgrade, such as that to a
    /// health check, for the next request (R-T2). 10 s; zero ends it behind the answer.
    pub keep_alive_timeout: Duration,
    /// How long a closing handshake may take (R-L5), more than zero: who does not answer the close
    /// frame would hold its socket for ever. 5 s.
    pub close_timeout: Duration,
    /// How many bytes may wait for a client to read them (R-L4). 4 MiB.
    pub outbound_limit: usize,
    /// How long they may wait without any progress (R-L4). 10 s; zero is for ever.
    pub outbound_timeout: Duration,
    /// How many bytes may wait in memory for all connections together, to be sent or to be handled
    /// (R-L7). Past it those for which most waits are closed, until three quarters of it are left.
    /// 1 GiB, or a quarter of the memory that the machine, or the container, has, if that is less;
    /// zero is no limit.
    pub outbound_total: usize,
    /// How long a message may take from its first byte to its last (R-L9). 30 s; zero is for ever.
    pub message_timeout: Duration,
    /// In how many frames a message may come (R-L3), at least 1. 1024.
    pub max_fragments: u32,
    /// How texts are compressed for clients that can take it (R-T10), and that clients may do the
    /// same. None: nothing is.
    pub compression: Option<Compression>,
    /// Where sessions are, what backends emit, and other nodes (SPEC §9). None.
    pub redis: Option<RedisConfig>,
    /// How many events may wait for the host to read them; past that the oldest are lost, and the
    /// host is told how many. 1024.
    pub event_backlog: usize,
    /// Over how many threads connections are spread; one of them also has the engine, which decides
    /// everything. 1: more carry more where a core is full and others are not, at a higher cost for
    /// each delivery.
    pub threads: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            engine: symple_engine::server::Config::default(),
            path: None,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            proxy_header: ProxyHeader::default(),
            max_head_size: 16 * 1024,
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            upgrade_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            outbound_limit: 4 * 1024 * 1024,
            outbound_timeout: Duration::from_secs(10),
            outbound_total: memory::default_total(),
            message_timeout: Duration::from_secs(30),
            max_fragments: MAX_FRAGMENTS,
            compression: None,
            redis: None,
            event_backlog: 1024,
            threads: NonZeroUsize::MIN,
        }
    }
}

impl Config {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`ConfigError`]: a server would not start like this.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err(ConfigError::Path);
        }
        if self.path.as_ref().is_some_and(|path| !is_path(path)) {
            return Err(ConfigError::PathNeverAsked);
        }
        if !(1024..=1024 * 1024).contains(&self.max_head_size) {
            return Err(ConfigError::HeadSize);
        }
        if self.max_fragments == 0 {
            return Err(ConfigError::Fragments);
        }
        if self.outbound_limit < self.engine.limits.message {
            return Err(ConfigError::OutboundLimit);
        }
        if self.outbound_total > 0 && self.outbound_total < self.outbound_limit {
            return Err(ConfigError::OutboundTotal);
        }
        if self.close_timeout.is_zero() {
            return Err(ConfigError::CloseTimeout);
        }
        if self.compression.as_ref().is_some_and(|compression| !compression.is_valid()) {
            return Err(ConfigError::Compression);
        }
        if let Some(cluster) = &self.engine.cluster
            && (cluster.heartbeat.is_zero() || cluster.timeout <= cluster.heartbeat * 2)
        {
            return Err(ConfigError::Heartbeat);
        }
        if self.engine.cluster.is_some() && !self.redis.as_ref().is_some_and(|redis| redis.cluster)
        {
            return Err(ConfigError::ClusterWithoutRedis);
        }
        if self.engine.authentication && !self.engine.hook && self.redis.is_none() {
            return Err(ConfigError::NothingToAuthenticateWith);
        }
        Ok(())
    }
}

/// True for the path of a request target, as it is compared: byte for byte.
fn is_path(text: &str) -> bool {
    text.parse::<PathAndQuery>().is_ok_and(|parsed| parsed.path() == text)
}

/// Why a server cannot be set up like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A path that does not begin with `/`.
    #[error("the path must begin with '/'")]
    Path,
    /// A path that no request asks for: with a query, a fragment, or characters that are written in
    /// another way there.
    #[error("the path must have no '?' or '#', and be percent-encoded as in a URL")]
    PathNeverAsked,
    /// A head that is too small for what browsers send, or so large that many of them at once would
    /// take all memory.
    #[error("the head limit must be from 1024 to 1048576 bytes")]
    HeadSize,
    /// No message at all could arrive.
    #[error("a message must be allowed to have one frame")]
    Fragments,
    /// A single message would be too much for its receiver.
    #[error("the outbound limit must not be less than the message limit")]
    OutboundLimit,
    /// All connections together might have less than one of them.
    #[error("the outbound total must not be less than the outbound limit")]
    OutboundTotal,
    /// Whoever does not answer a close frame would hold its socket for ever.
    #[error("the close timeout must be longer than zero")]
    CloseTimeout,
    /// There is no such compressor.
    #[error("compression must have a window of 9 to 15 bits and a level from 1 to 9")]
    Compression,
    /// Nodes would take each other for dead between two signs of life, or do nothing else than
    /// give them.
    #[error("the heartbeat must not be zero, and the cluster's timeout longer than two heartbeats")]
    Heartbeat,
    /// A cluster is set up, and there is no Redis on which its nodes could hear each other.
    #[error("a cluster needs Redis, with RedisConfig::cluster")]
    ClusterWithoutRedis,
    /// Sessions are asked for, and there is nothing that has them (R-S1).
    #[error("authentication needs Redis or a hook")]
    NothingToAuthenticateWith,
}

#[cfg(test)]
mod tests {
    use super::*;
    use symple_engine::server::ClusterConfig;

    #[test]
    fn a_config_is_checked() {
        assert_eq!(Config::default().check(), Ok(()));
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check()
        };
        assert_eq!(with(|c| c.path = Some("ws".into())), Err(ConfigError::Path));
        assert_eq!(with(|c| c.path = Some("/a%20b/c".into())), Ok(()));
        for path in ["/a?b", "/a#b", "/a b", "/<a>"] {
            let config = Config { path: Some(path.into()), ..Config::default() };
            assert_eq!(config.check(), Err(ConfigError::PathNeverAsked), "{path}");
        }
        assert_eq!(with(|c| c.max_head_size = 1023), Err(ConfigError::HeadSize));
        assert_eq!(with(|c| c.max_head_size = 1024 * 1024 + 1), Err(ConfigError::HeadSize));
        assert_eq!(with(|c| c.max_fragments = 0), Err(ConfigError::Fragments));
        assert_eq!(with(|c| c.outbound_limit = 1000), Err(ConfigError::OutboundLimit));
        assert_eq!(with(|c| c.outbound_total = 1000), Err(ConfigError::OutboundTotal));
        assert_eq!(with(|c| c.outbound_total = 0), Ok(()));
        assert_eq!(with(|c| c.max_fragments = 0), Err(ConfigError::Fragments));
        assert_eq!(with(|c| c.close_timeout = Duration::ZERO), Err(ConfigError::CloseTimeout));
        for (window_bits, level, ok) in
            [(9, 1, true), (8, 1, false), (16, 1, false), (9, 0, false), (9, 10, false)]
        {
            let compression = Compression { window_bits, level, ..Compression::default() };
            let config = Config { compression: Some(compression), ..Config::default() };
            assert_eq!(config.check().is_ok(), ok, "{window_bits} {level}");
        }
        for (heartbeat, timeout, ok) in [(0, 6, false), (3, 6, false), (2, 6, true)] {
            let redis = RedisConfig::new("redis://localhost").unwrap();
            let mut config = Config { redis: Some(redis), ..Config::default() };
            let cluster = config.engine.cluster.get_or_insert_default();
            cluster.heartbeat = Duration::from_secs(heartbeat);
            cluster.timeout = Duration::from_secs(timeout);
            assert_eq!(config.check().is_ok(), ok, "{heartbeat} {timeout}");
        }
        let alone = with(|c| c.engine.cluster = Some(ClusterConfig::default()));
        assert_eq!(alone, Err(ConfigError::ClusterWithoutRedis));
        let no_redis = with(|c| c.engine.authentication = true);
        assert_eq!(no_redis, Err(ConfigError::NothingToAuthenticateWith));
    }
}
