//! Redis Cluster: who is asked which server has the slot of the prefix now.
//!
//! All keys and channels of a prefix with a hash tag, `{symple}:`, belong to one slot, so one
//! server has all of them, as if there were no others. What is published goes by plain `PUBLISH` to
//! that server, and what is subscribed to is subscribed to there: one connection, in whose order
//! all arrives. Redis passes what is published on to its other servers, too, which costs them its
//! bytes once each; in return a backend may publish on any of them, as it would for the Node
//! server. Sharded channels would save these bytes. But `PUBLISH` does not reach `SSUBSCRIBE`, so
//! backends would have to change, and Redis 7 would be needed.

use std::fmt;

use ::redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, cmd};

use super::{
    RedisError,
    address::{beside, hosts, url_of},
    connection::connect,
    first::first,
    role,
    url::{self, Servers},
};

/// The port of a server whose URL names none.
const PORT: u16 = 6379;
/// How many servers may name another one before the asking ends. They may disagree while a master
/// is replaced.
const HOPS: usize = 4;

/// Servers of a Redis Cluster, which know the others.
pub(super) struct Slot {
    /// With the user name and the password of the URL.
    pub(super) each: Vec<ConnectionInfo>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}

/// The part of a key that says to which slot it belongs, if it is not the whole key.
fn hash_tag(key: &str) -> Option<&str> {
    let (tag, _) = key.split_once('{')?.1.split_once('}')?;
    Some(tag).filter(|tag| !tag.is_empty())
}

/// What is wrong with a prefix, if its keys and channels do not belong to one slot.
pub(super) fn check_prefix(prefix: &str) -> Result<(), RedisError> {
    match hash_tag(prefix) {
        Some(_) => Ok(()),
        None => Err(RedisError::Prefix),
    }
}

impl Slot {
    /// Reads `redis-cluster://user:password@host:port,host:port`; none if it is another URL.
    pub(super) fn parse(url: &str) -> Option<Result<Self, RedisError>> {
        let (scheme, rest) = url.split_once("-cluster://")?;
        Some(match scheme {
            "redis" | "rediss" => Self::read(scheme, rest).map_err(RedisError::Url),
            _ => return None,
        })
    }

    fn read(scheme: &str, rest: &str) -> Result<Self, String> {
        let servers = Servers::split(scheme, rest)?;
        // No parameters are known; what is there may be the rest of a password.
        url::parameters(servers.query, &[])?;
        if !matches!(servers.path, "" | "0") {
            return Err("a Redis Cluster has no databases".into());
        }
        Ok(Self { each: servers.each(servers.credentials, PORT)? })
    }

    /// As a URL without user name and password.
    pub(super) fn address(&self) -> String {
        let tls = |info: &ConnectionInfo| matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let scheme = if self.each.iter().any(tls) { "rediss" } else { "redis" };
        format!("{scheme}-cluster://{}", hosts(&self.each))
    }

    /// How to connect to the master that has the slot of a key. All are asked at once, and the
    /// first way is believed at whose end a master says itself that it has the slot, and that
    /// enough of the others are there.
    pub(super) async fn find_master(
        &self,
        key: &str,
        enter: impl Fn(ConnectionInfo) -> ConnectionInfo,
        config: &AsyncConnectionConfig,
    ) -> Result<ConnectionInfo, RedisError> {
        let ask = |info: &ConnectionInfo| follow(enter(info.clone()), key, config);
        first(self.each.iter().map(ask), &self.address()).await
    }
}

/// Goes from server to server until one has the slot. Each says so itself, in its answer to a
/// command that every user may use who may read sessions; `CLUSTER SLOTS` needs a right of its own.
async fn follow(
    mut at: ConnectionInfo,
    key: &str,
    config: &AsyncConnectionConfig,
) -> Result<ConnectionInfo, RedisError> {
    for _ in 0..HOPS {
        let address = url_of(at.addr());
        let failed = |error| RedisError::new(&address, &error);
        let mut connection = connect(at.clone(), config, &address).await?;
        let answer: Result<i64, _> = cmd("EXISTS").arg(key).query_async(&mut connection).await;
        match answer {
            Err(error) if error.code() == Some("MOVED") => {
                let named = error.redirect_node().and_then(|(named, _)| named.rsplit_once(':'));
                let named = named.and_then(|(host, port)| Some((host, port.parse().ok()?)));
                let Some((host, port)) = named else { return Err(failed(error)) };
                // No host is that of whoever says so.
                let own = match at.addr() {
                    ConnectionAddr::Tcp(own, _) | ConnectionAddr::TcpTls { host: own, .. } => own,
                    _ => "",
                };
                let host = if host.is_empty() { own } else { host }.to_owned();
                let next = beside(at.addr(), host, port);
                at = at.set_addr(next);
            }
            // The slot is on its way to another one, and still this one's.
            Err(error) if error.code() != Some("ASK") => return Err(failed(error)),
            _ => {
                role::check(&mut connection, &address).await?;
                return Ok(at);
            }
        }
    }
    let reason = "its servers do not agree who has the slot of the prefix";
    Err(RedisError::unreachable(&url_of(at.addr()), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-S1: one slot has all keys and channels, or it is said what is missing.
    #[test]
    fn prefixes() {
        for (prefix, good) in [
            ("{symple}:", true),
            ("app:{x}", true),
            ("symple:", false),
            ("", false),
            ("{}symple:", false),
            ("{}{symple}:", false),
            ("{symple:", false),
            ("}symple{", false),
        ] {
            assert_eq!(check_prefix(prefix).is_ok(), good, "{prefix}");
        }
        assert!(RedisError::Prefix.to_string().contains("{symple}:"));
    }

    /// R-S1: what a URL of a Redis Cluster may be.
    #[test]
    fn urls() {
        for (url, address) in [
            ("redis-cluster://a", "redis-cluster://a:6379"),
            ("redis-cluster://a:1,[::1],b:2/0", "redis-cluster://a:1,[::1]:6379,b:2"),
            ("rediss-cluster://alice:secret@a:1,b:2/", "rediss-cluster://a:1,b:2"),
        ] {
            let slot = Slot::parse(url).unwrap().unwrap();
            assert_eq!((slot.address(), format!("{slot:?}")), (address.into(), address.into()));
        }
        for url in [
            "redis-cluster://",
            "redis-cluster://a,,b",
            "redis-cluster://a:99999",
            "redis-cluster://a/1",
            "redis-cluster://a/x",
            "redis-cluster://a?protocol=3",
            "redis-cluster://u:6?secret@a",
            "redis-cluster://u:6#secret@a",
            "redis-cluster://u:se/cret:secret@a",
        ] {
            let error = Slot::parse(url).unwrap().unwrap_err();
            assert!(matches!(error, RedisError::Url(_)), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(Slot::parse("redis://a").is_none() && Slot::parse("http-cluster://a").is_none());
    }
}
