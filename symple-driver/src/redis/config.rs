//! Which Redis, and how it is used.

use std::{fmt, time::Duration};

use ::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};
use symple_proto::Token;

use super::{
    RedisError,
    address::url_of,
    sentinel::Sentinels,
    slot::{self, Slot},
    url,
};

/// Where Redis is.
pub(super) enum Place {
    Server(ConnectionInfo),
    /// Where they say.
    Sentinels(Sentinels),
    /// The one of them that has the slot of the prefix.
    Cluster(Slot),
}

/// Which Redis, and how it is used (SPEC §9). Version 6 or newer is needed.
///
/// `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisConfig {
    url: String,
    username: Option<String>,
    password: Option<String>,
    /// What stands before the names of all keys and channels. `symple:`, which is what backends
    /// expect. With a Redis Cluster it must have a hash tag: `{symple}:`.
    pub prefix: String,
    /// Whether a server needs Redis: it does not start without it, and is not ready while it does
    /// not do what is needed (R-T2, R-S4). Otherwise it keeps trying. On.
    pub required: bool,
    /// Whether servers on this Redis are nodes of one server (SPEC §10). Otherwise each is on its
    /// own, with sessions and emission. On.
    pub cluster: bool,
    /// How long a connection may take, TLS and password included. 5 s. For `Sessions` and
    /// `Emitter` with sentinels it is that for each step: to a sentinel, and to the master, twice.
    pub connect_timeout: Duration,
    /// How long an answer may take. Past it Redis counts as gone. 3 s.
    pub response_timeout: Duration,
    /// How often Redis is checked: whether it answers, is the master, delivers what is published,
    /// and lets sessions be read where they are used. What is wrong is noticed within this and
    /// `response_timeout`, or twice that while other messages keep coming. 1 s; at least 10 ms.
    pub ping_interval: Duration,
    /// How long a server waits before it tries again, at most: it begins with 100 ms and doubles,
    /// less up to half by chance. 2 s.
    pub max_backoff: Duration,
    /// How many bytes may wait to be published. Past it the connection is dropped, and what
    /// waited is lost. 16 MiB.
    pub outbound_limit: usize,
    /// How many bytes that were published may wait for the server. Past it the connection is
    /// dropped, and what waited is lost. 64 MiB.
    pub inbound_limit: usize,
}

impl RedisConfig {
    /// The Redis at a URL: `redis://user:password@host:port/database`, with TLS `rediss://…`, or
    /// `unix:///path?db=database&user=user&pass=password`. All but scheme and host, or path, may be
    /// left out; parameters that are not known are refused.
    ///
    /// Where sentinels know which server is the master:
    /// `redis+sentinel://user:password@host:port,host:port/service/database`, or
    /// `rediss+sentinel://…`; their port is 26379 where none is given, and they may have a
    /// password of their own: `?sentinel_username=…&sentinel_password=…`. They are asked for each
    /// connection, so one that is lost is made again to the master of then.
    ///
    /// A Redis Cluster: `redis-cluster://user:password@host:port,host:port`, or
    /// `rediss-cluster://…`, with some of its servers. `prefix` must then have a hash tag, as
    /// `{symple}:`, so that one slot has all keys and channels. They are asked for each connection
    /// who has it.
    ///
    /// Certificates are checked against those that the system trusts; a file of others can be
    /// named in the environment, as `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// [`RedisError::Url`]
    pub fn new(url: impl Into<String>) -> Result<Self, RedisError> {
        let config = Self {
            url: url.into(),
            username: None,
            password: None,
            prefix: "symple:".into(),
            required: true,
            cluster: true,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(3),
            ping_interval: Duration::from_secs(1),
            max_backoff: Duration::from_secs(2),
            outbound_limit: 16 * 1024 * 1024,
            inbound_limit: 64 * 1024 * 1024,
        };
        config.place()?;
        Ok(config)
    }

    /// Sees whether its parts go together.
    ///
    /// # Errors
    /// [`RedisError::Prefix`] if it is a Redis Cluster and the prefix has no hash tag
    pub fn check(&self) -> Result<(), RedisError> {
        match self.place()? {
            Place::Cluster(_) => slot::check_prefix(&self.prefix),
            _ => Ok(()),
        }
    }

    /// Uses this user name, whatever the URL says.
    #[must_use]
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Uses this password, whatever the URL says.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Where it is, as a URL without user name and password.
    #[must_use]
    pub fn address(&self) -> String {
        match self.place() {
            Ok(Place::Server(info)) => {
                let database = match (info.redis_settings().db(), info.addr()) {
                    (0, _) => String::new(),
                    (database, ConnectionAddr::Unix(_)) => format!("?db={database}"),
                    (database, _) => format!("/{database}"),
                };
                format!("{}{database}", url_of(info.addr()))
            }
            Ok(Place::Sentinels(sentinels)) => sentinels.address(),
            Ok(Place::Cluster(slot)) => slot.address(),
            Err(_) => "redis".into(),
        }
    }

    /// Where it is, and how to enter.
    pub(super) fn place(&self) -> Result<Place, RedisError> {
        if let Some(sentinels) = Sentinels::parse(&self.url) {
            return sentinels.map(Place::Sentinels);
        }
        if let Some(slot) = Slot::parse(&self.url) {
            return slot.map(Place::Cluster);
        }
        url::check(&self.url).map_err(RedisError::Url)?;
        let info = self.url.as_str().into_connection_info();
        let info = info.map_err(|error| RedisError::url(&error))?;
        Ok(Place::Server(self.complete(info)))
    }

    /// With the user name and the password that are set beside the URL.
    pub(super) fn complete(&self, info: ConnectionInfo) -> ConnectionInfo {
        // Version 3 of the protocol delivers messages and answers on one connection.
        let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        info.set_redis_settings(settings)
    }

    /// Which database, where it is not the one that everybody uses. Channels have none: servers
    /// with the same prefix hear each other whatever their databases.
    pub(super) fn other_database(&self) -> Option<i64> {
        let info = match self.place().ok()? {
            Place::Server(info) => info,
            Place::Sentinels(sentinels) => sentinels.master,
            Place::Cluster(_) => return None,
        };
        Some(info.redis_settings().db()).filter(|database| *database != 0)
    }

    /// The passwords that are told to servers, which could repeat them.
    pub(super) fn secrets(&self) -> Vec<String> {
        let of = |info: &ConnectionInfo| info.redis_settings().password().map(str::to_owned);
        match self.place() {
            Ok(Place::Server(info)) => of(&info).into_iter().collect(),
            Ok(Place::Sentinels(sentinels)) => {
                let master = self.complete(sentinels.master.clone());
                sentinels.each.iter().chain([&master]).filter_map(of).collect()
            }
            Ok(Place::Cluster(slot)) => {
                let each = slot.each.into_iter().map(|info| self.complete(info));
                each.filter_map(|info| of(&info)).collect()
            }
            Err(_) => Vec::new(),
        }
    }

    /// Whether it is a Redis Cluster, whose slots may move from one server to another.
    pub(super) fn is_redis_cluster(&self) -> bool {
        matches!(self.place(), Ok(Place::Cluster(_)))
    }

    /// What stands before the tokens of sessions in their keys; as there is no empty token, no
    /// session is there.
    pub(super) fn session_prefix(&self) -> String {
        format!("{}session:", self.prefix)
    }

    /// The key of a session (R-A4).
    pub(super) fn session_key(&self, token: &Token) -> String {
        format!("{}{}", self.session_prefix(), token.expose())
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("address", &self.address())
            .field("prefix", &self.prefix)
            .field("required", &self.required)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_no_secrets() {
        for (url, address) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://alice:secret@example.com:7000/3", "redis://example.com:7000/3"),
            ("rediss://:secret@[::1]:7000", "rediss://[::1]:7000"),
            ("unix:///run/redis.sock?pass=secret", "unix:///run/redis.sock"),
            ("unix:///run/redis.sock?db=3&pass=secret", "unix:///run/redis.sock?db=3"),
            ("redis://localhost/0?protocol=3", "redis://localhost:6379"),
        ] {
            let config = RedisConfig::new(url).unwrap().password("secret");
            assert_eq!(config.address(), address);
            assert!(!format!("{config:?}").contains("secret"), "{config:?}");
        }
    }

    /// R-S1: a database that is not everybody's is noticed, wherever it is written.
    #[test]
    fn databases() {
        for (url, database) in [
            ("redis://localhost", None),
            ("redis://localhost/0", None),
            ("redis://localhost/3", Some(3)),
            ("unix:///run/redis.sock?db=4", Some(4)),
            ("redis+sentinel://a/main", None),
            ("redis+sentinel://a/main/5", Some(5)),
        ] {
            assert_eq!(RedisConfig::new(url).unwrap().other_database(), database, "{url}");
        }
    }

    /// R-S1: a Redis Cluster needs a prefix that belongs to one slot.
    #[test]
    fn parts_that_go_together() {
        for (url, prefix, good) in [
            ("redis://a", "symple:", true),
            ("redis-cluster://a", "{symple}:", true),
            ("redis-cluster://a", "symple:", false),
        ] {
            let mut config = RedisConfig::new(url).unwrap();
            config.prefix = prefix.into();
            assert_eq!(config.check().is_ok(), good, "{url} {prefix}");
        }
    }

    #[test]
    fn urls_that_are_none() {
        for url in [
            "",
            "localhost",
            "http://localhost",
            "redis://:secret@",
            "rediss://a/#insecure",
            "redis://:secret@a/x",
            "redis://a?password=secret",
            "redis://a?secret",
            "redis://u:6?secret@a",
            "redis://u:6#secret@a",
            "redis://u:se/cret:secret@a",
            "unix:///path?pass=secret&typo=secret",
            "unix:///path?protocol=secret",
        ] {
            let error = RedisConfig::new(url).unwrap_err();
            assert!(matches!(error, RedisError::Url(_)), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
