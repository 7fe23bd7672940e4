//! Sessions, for those who make them.

use std::{fmt, time::Duration};

use ::redis::{Cmd, cmd};
use symple_proto::{Fields, SessionRecord, Token};

use super::{RedisConfig, RedisError, connection::Connection, ops::whole_seconds};

/// How many keys Redis is to look at in one step of a listing.
const STEP: usize = 1000;

/// Sessions behind tokens (R-A4), for a backend that lets its users in.
///
/// It needs no server: it is a connection to Redis, to be cloned for use by several tasks. One
/// that is lost fails what is under way, and is made again for what comes then.
///
/// ```no_run
/// # use std::time::Duration;
/// # use symple_driver::{RedisConfig, Sessions};
/// # use symple_proto::Fields;
/// # async fn log_in() -> Result<(), symple_driver::RedisError> {
/// let sessions = Sessions::connect(&RedisConfig::new("redis://localhost")?).await?;
/// let session = Fields::new().with("user", "alice").with("name", "Alice");
/// sessions.set("a random token", &session, Some(Duration::from_secs(3600))).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sessions {
    connection: Connection,
}

/// A session that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionEntry {
    /// Its token.
    pub token: Token,
    /// How long it lives from now on; for ever, without.
    pub ttl: Option<Duration>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("config", self.connection.config()).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Connects to Redis. To be called within the runtime whose adapter is used.
    ///
    /// # Errors
    /// [`RedisError`]
    pub async fn connect(config: &RedisConfig) -> Result<Self, RedisError> {
        Ok(Self { connection: Connection::open(config).await? })
    }

    /// Makes a session, or replaces the one that has this token. Its members go over those of the
    /// `auth` frame: `user`, `name`, `rooms` and what the application wants. With a time to live
    /// of at least a second it ends by itself.
    ///
    /// # Errors
    /// [`RedisError`]
    pub async fn set(
        &self,
        token: &str,
        session: &Fields,
        ttl: Option<Duration>,
    ) -> Result<(), RedisError> {
        let mut set = self.command("SET", token)?;
        set.arg(session.to_json());
        if let Some(ttl) = ttl {
            set.arg("EX").arg(whole_seconds(ttl));
        }
        self.connection.run(&set).await
    }

    /// The session of a token, if there is one.
    ///
    /// # Errors
    /// [`RedisError`]: also for something that is no session.
    pub async fn get(&self, token: &str) -> Result<Option<Fields>, RedisError> {
        let text: Option<Vec<u8>> = self.connection.run(&self.command("GET", token)?).await?;
        let Some(text) = text else { return Ok(None) };
        let text = String::from_utf8(text).map_err(|_| RedisError::NotAnObject)?;
        let session = SessionRecord::parse(&text).map_err(|_| RedisError::NotAnObject)?;
        Ok(Some(session.0))
    }

    /// Lets a session live so long from now on, or for ever. False if there is none.
    ///
    /// # Errors
    /// [`RedisError`]
    pub async fn touch(&self, token: &str, ttl: Option<Duration>) -> Result<bool, RedisError> {
        match ttl {
            Some(ttl) => {
                let mut expire = self.command("EXPIRE", token)?;
                self.connection.run(expire.arg(whole_seconds(ttl))).await
            }
            None => {
                let _: bool = self.connection.run(&self.command("PERSIST", token)?).await?;
                self.connection.run(&self.command("EXISTS", token)?).await
            }
        }
    }

    /// Ends a session: its connections are closed within half a minute (R-S2). False if there is none.
    ///
    /// # Errors
    /// [`RedisError`]
    pub async fn delete(&self, token: &str) -> Result<bool, RedisError> {
        self.connection.run(&self.command("DEL", token)?).await
    }

    /// The sessions that there are, in no order. One that comes or goes meanwhile may be missing.
    ///
    /// # Errors
    /// [`RedisError`]
    pub async fn list(&self) -> Result<Vec<SessionEntry>, RedisError> {
        let prefix = format!("{}session:", self.connection.config().prefix);
        // A cursor means nothing to another server.
        let mut connection = self.connection.get().await?;
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{}*", escape(&prefix)));
            scan.arg("COUNT").arg(STEP);
            let step = scan.query_async(&mut connection).await;
            let (next, found): (u64, Vec<Vec<u8>>) = self.connection.check(step)?;
            keys.extend(found);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        keys.sort_unstable();
        keys.dedup();
        let mut entries = Vec::with_capacity(keys.len());
        for keys in keys.chunks(STEP) {
            let mut pipeline = ::redis::Pipeline::with_capacity(keys.len());
            for key in keys {
                pipeline.cmd("PTTL").arg(key);
            }
            let ttls = pipeline.query_async(&mut connection).await;
            let ttls: Vec<i64> = self.connection.check(ttls)?;
            for (key, ttl) in keys.iter().zip(ttls) {
                let key = String::from_utf8_lossy(key);
                // -2 is gone, -1 is for ever.
                if let Some(token) = key.strip_prefix(&prefix).and_then(Token::new)
                    && ttl != -2
                {
                    let ttl = u64::try_from(ttl).ok().map(Duration::from_millis);
                    entries.push(SessionEntry { token, ttl });
                }
            }
        }
        Ok(entries)
    }

    fn command(&self, name: &str, token: &str) -> Result<Cmd, RedisError> {
        let token = Token::new(token).ok_or(RedisError::NoToken)?;
        let mut command = cmd(name);
        command.arg(self.connection.config().session_key(&token));
        Ok(command)
    }
}

/// A text as a pattern of Redis that matches only itself.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert_eq!(escape(r"a*b?[c]\:"), r"a\*b\?\[c\]\\:");
    }
}
