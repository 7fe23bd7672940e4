//! Redis Sentinel: who is asked which server is the master now.

use ::redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ProtocolVersion, cmd};

use super::{
    RedisError,
    address::{beside, host_and_port, hosts, url_of},
    connection::connect,
    first::first,
    role,
    url::{self, Servers},
};

/// The port of a sentinel whose URL names none.
const PORT: u16 = 26379;

/// Sentinels, and the service whose master they are asked for.
#[derive(Debug)]
pub(super) struct Sentinels {
    pub(super) each: Vec<ConnectionInfo>,
    service: String,
    /// The master, but for its address.
    pub(super) master: ConnectionInfo,
}

impl Sentinels {
    /// Reads `redis+sentinel://user:password@host:port,host:port/service/database`, with the
    /// sentinels' own user name and password behind a question mark; none if it is another URL.
    pub(super) fn parse(url: &str) -> Option<Result<Self, RedisError>> {
        let (scheme, rest) = url.split_once("+sentinel://")?;
        Some(match scheme {
            "redis" | "rediss" => Self::read(scheme, rest).map_err(RedisError::Url),
            _ => return None,
        })
    }

    fn read(scheme: &str, rest: &str) -> Result<Self, String> {
        let servers = Servers::split(scheme, rest)?;
        let (service, database) = servers.path.split_once('/').unwrap_or((servers.path, ""));
        if service.is_empty() {
            return Err("the service is missing".into());
        }
        url::database(database)?;
        let (mut username, mut password) = ("", None);
        for (name, value) in
            url::parameters(servers.query, &["sentinel_username", "sentinel_password"])?
        {
            match name {
                "sentinel_username" => username = value,
                _ => password = Some(value),
            }
        }
        if password.is_none() && !username.is_empty() {
            return Err("sentinel_password is missing".into());
        }
        let own = password.map(|password| format!("{username}:{password}"));
        // The greeting of that version is asked for first, and answered before all else.
        let greet = |info: ConnectionInfo| {
            let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            info.set_redis_settings(settings.set_skip_set_lib_name())
        };
        let each = servers.each(own.as_deref(), PORT)?.into_iter().map(greet).collect();
        let master = servers.connect_to(servers.credentials, "master", database)?;
        Ok(Self { each, service: service.into(), master })
    }

    /// As a URL without user names and passwords.
    pub(super) fn address(&self) -> String {
        let tls = matches!(self.master.addr(), ConnectionAddr::TcpTls { .. });
        let database = match self.master.redis_settings().db() {
            0 => String::new(),
            database => format!("/{database}"),
        };
        let scheme = if tls { "rediss" } else { "redis" };
        format!("{scheme}+sentinel://{}/{}{database}", hosts(&self.each), self.service)
    }

    /// How to connect to the master, given what is known of it but its address. All are asked at
    /// once, and the first is believed whose master says itself that it is one: a sentinel that is
    /// behind the times names a server that is gone, or a replica by now.
    pub(super) async fn find_master(
        &self,
        master: &ConnectionInfo,
        config: &AsyncConnectionConfig,
    ) -> Result<ConnectionInfo, RedisError> {
        let ask = |info: &ConnectionInfo| self.ask(info.clone(), master, config);
        first(self.each.iter().map(ask), &self.address()).await
    }

    async fn ask(
        &self,
        sentinel: ConnectionInfo,
        master: &ConnectionInfo,
        config: &AsyncConnectionConfig,
    ) -> Result<ConnectionInfo, RedisError> {
        let address =
            format!("redis+sentinel://{}/{}", host_and_port(sentinel.addr()), self.service);
        let failed = |error| RedisError::new(&address, &error);
        let mut connection = connect(sentinel, config, &address).await?;
        let found: Option<(String, u16)> = cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.service)
            .query_async(&mut connection)
            .await
            .map_err(failed)?;
        let Some((host, port)) = found else {
            let reason = "the sentinel knows no service of this name";
            return Err(RedisError::unreachable(&address, reason));
        };
        let found = beside(master.addr(), host, port);
        let address = url_of(&found);
        let found = master.clone().set_addr(found);
        let mut connection = connect(found.clone(), config, &address).await?;
        role::check(&mut connection, &address).await?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, address) in [
            ("redis+sentinel://a/main", "redis+sentinel://a:26379/main"),
            ("redis+sentinel://a:/main", "redis+sentinel://a:26379/main"),
            (
                "rediss+sentinel://alice:secret@a:1,[::1],b:2/main/3?sentinel_password=secret",
                "rediss+sentinel://a:1,[::1]:26379,b:2/main/3",
            ),
        ] {
            let sentinels = Sentinels::parse(url).unwrap().unwrap();
            assert_eq!(sentinels.address(), address);
        }
        let url = "redis+sentinel://al%40:se%3Acret@a,b/main/3?sentinel_password=x%2Fy";
        let sentinels = Sentinels::parse(url).unwrap().unwrap();
        let master = sentinels.master.redis_settings();
        assert_eq!((master.username(), master.password()), (Some("al@"), Some("se:cret")));
        assert_eq!(master.db(), 3);
        for sentinel in &sentinels.each {
            let sentinel = sentinel.redis_settings();
            assert_eq!((sentinel.username(), sentinel.password()), (None, Some("x/y")));
            assert_eq!(sentinel.db(), 0);
        }
        assert!(Sentinels::parse("redis://a/main").is_none());
    }

    #[test]
    fn urls_that_are_none() {
        for url in [
            "redis+sentinel://",
            "redis+sentinel://a",
            "redis+sentinel://a/",
            "redis+sentinel:///main",
            "redis+sentinel://a,,b/main",
            "redis+sentinel://a:x/main",
            "redis+sentinel://a:99999/main",
            "redis+sentinel://a/main/many",
            "redis+sentinel://a/main/-1",
            "redis+sentinel://a/main/0/1",
            "redis+sentinel://a/main?protocol=3",
            "redis+sentinel://a/main?sentinel_password=secret&sentinel_password=secret",
            "redis+sentinel://:a?secret@a/main",
            "redis+sentinel://a/main?password=secret",
            "redis+sentinel://a/main?sentinel_password=sec/ret",
            "redis+sentinel://a/main?sentinel_username=alice",
            "redis+sentinel://a/main#x",
            "rediss+sentinel://a/main/0#insecure",
        ] {
            let error = Sentinels::parse(url).unwrap().unwrap_err();
            assert!(matches!(error, RedisError::Url(_)), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
