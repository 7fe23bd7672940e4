//! What can be wrong with Redis.

use ::redis::{ErrorKind, RedisError as Cause, ServerError};
use thiserror::Error;

use super::text::one_line;

/// Why Redis cannot do what it is asked for.
///
/// Each is one line, and what Redis or others have said is repeated in their own words: at most 200
/// characters, what cannot be printed escaped. No text of it has a password in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL is none, or asks for what is not there.
    #[error(
        "the Redis URL must look like redis://user:password@host:port/database, redis+sentinel://host:port,host:port/service or redis-cluster://host:port,host:port ({0})"
    )]
    Url(String),
    /// The keys and channels of the prefix do not belong to one slot of the Redis Cluster.
    #[error("with a Redis Cluster the prefix must have a hash tag, such as {{symple}}:")]
    Prefix,
    /// Nobody answers there.
    #[error("cannot reach Redis at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why not.
        reason: String,
    },
    /// Redis wants another user name or password.
    #[error("Redis at {address} refuses the user name or password: {reason}")]
    Credentials {
        /// Where.
        address: String,
        /// What it says.
        reason: String,
    },
    /// The user may not do what is needed: keys and channels below the prefix.
    #[error("Redis at {address} does not permit what is needed: {reason}")]
    Permission {
        /// Where.
        address: String,
        /// What it says.
        reason: String,
    },
    /// Redis is older than version 6.
    #[error("Redis at {address} is too old: version 6 is needed")]
    TooOld {
        /// Where.
        address: String,
    },
    /// Redis says that something is wrong.
    #[error("Redis at {address}: {reason}")]
    Other {
        /// Where.
        address: String,
        /// What it says.
        reason: String,
    },
    /// A session that is no JSON object (R-A12).
    #[error("a session must be a JSON object")]
    NotAnObject,
    /// A token that is empty.
    #[error("a token must not be empty")]
    NoToken,
    /// What is to be emitted can be delivered to nobody (R-S3).
    #[error("cannot emit: {0}")]
    Emission(#[from] symple_proto::EmissionError),
}

impl RedisError {
    /// The URL cannot be read.
    pub(super) fn url(cause: &Cause) -> Self {
        Self::Url(one_line(&cause.to_string()))
    }

    /// Nobody is there who could be used.
    pub(super) fn unreachable(address: &str, reason: &str) -> Self {
        Self::Unreachable { address: one_line(address), reason: one_line(reason) }
    }

    /// Nothing came from Redis in the time that it has.
    pub(super) fn timeout(address: &str) -> Self {
        Self::unreachable(address, "no answer in time")
    }

    /// What a server said to a command that was for something.
    pub(super) fn of(address: &str, what: &str, said: ServerError) -> Self {
        match Self::new(address, &said.into()) {
            Self::Permission { address, reason } => {
                Self::Permission { address, reason: format!("{what} ({reason})") }
            }
            error => error,
        }
    }

    pub(super) fn new(address: &str, cause: &Cause) -> Self {
        let (address, reason) = (one_line(address), one_line(&words(cause)));
        match (cause.kind(), cause.code()) {
            // What is wrong with a name or a password must not repeat it.
            (ErrorKind::AuthenticationFailed, _) => {
                Self::Credentials { address, reason: "no more is said".into() }
            }
            (_, Some("WRONGPASS" | "NOAUTH")) => Self::Credentials { address, reason },
            (_, Some("NOPERM")) => Self::Permission { address, reason },
            (ErrorKind::RESP3NotSupported, _) => Self::TooOld { address },
            (ErrorKind::InvalidClientConfig, _) => Self::url(cause),
            // A replica is not what was asked for: the master is not there.
            (ErrorKind::Io, _) | (_, Some("READONLY")) => Self::Unreachable { address, reason },
            (ErrorKind::Parse, _) => Self::unreachable(&address, "what answers there is no Redis"),
            (_, Some("ASK")) => {
                let reason =
                    format!("the slot of the prefix is on its way to another server ({reason})");
                Self::Other { address, reason }
            }
            (_, Some("MOVED")) => {
                let reason = format!(
                    "another server of the Redis Cluster has it; the URL of all is \
                     redis-cluster://host:port,host:port ({reason})"
                );
                Self::Other { address, reason }
            }
            (_, Some("ERR")) if cause.detail().is_some_and(is_of_hello) => Self::TooOld { address },
            _ => Self::Other { address, reason },
        }
    }

    /// Without passwords, should somebody repeat them.
    pub(super) fn without(mut self, secrets: &[String]) -> Self {
        let (Self::Unreachable { reason, .. }
        | Self::Credentials { reason, .. }
        | Self::Permission { reason, .. }
        | Self::Other { reason, .. }) = &mut self
        else {
            return self;
        };
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            if reason.contains(secret.as_str()) {
                *reason = reason.replace(secret.as_str(), "…");
            }
        }
        self
    }
}

/// What is wrong, in the words of whoever says so.
fn words(cause: &Cause) -> String {
    match (cause.code(), cause.detail()) {
        (Some(code), Some(detail)) => format!("{code} {}", without_arguments(detail)),
        (Some(code), None) => code.into(),
        // The library's words for a connection that has ended.
        _ if cause.is_connection_dropped() && cause.to_string() == "broken pipe" => {
            "the connection was closed".into()
        }
        _ => without_arguments(&cause.to_string()).into(),
    }
}

/// The command that every connection begins with is not there, or not any more.
fn is_of_hello(detail: &str) -> bool {
    let command = detail.strip_prefix("unknown command ").unwrap_or_default();
    command.trim_start_matches(['\'', '`']).to_ascii_uppercase().starts_with("HELLO")
}

/// Redis repeats the arguments of a command that it does not know: passwords and tokens.
fn without_arguments(reason: &str) -> &str {
    match reason.split_once(", with args beginning with") {
        Some((reason, _)) => reason,
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use ::redis::{ErrorKind, RedisError as Cause, Value, parse_redis_value};

    use super::*;

    fn cause(line: &str) -> Cause {
        let Ok(Value::ServerError(error)) = parse_redis_value(line.as_bytes()) else { panic!() };
        Cause::from(error)
    }

    fn error(line: &str) -> RedisError {
        RedisError::new("redis://a", &cause(line))
    }

    #[test]
    fn secrets_stay_inside() {
        let line =
            "-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'secret' \r\n";
        assert!(matches!(error(line), RedisError::TooOld { .. }), "{}", error(line));
        let line = "-ERR unknown command 'GETRANGE', with args beginning with: 'symple:session:secret' \r\n";
        let text = error(line).to_string();
        assert!(text.contains("GETRANGE") && !text.contains("secret"), "{text}");
        let cause = Cause::from((ErrorKind::AuthenticationFailed, "no", "secret".into()));
        let text = RedisError::new("redis://a", &cause).to_string();
        assert!(!text.contains("secret"), "{text}");
        for line in ["-WRONGPASS secret\r\n", "-ERR a secret\r\n", "-NOPERM secret\r\n"] {
            let error = error(line).without(&["other".into(), String::new(), "secret".into()]);
            let text = error.to_string();
            assert!(text.contains('…') && !text.contains("secret"), "{text}");
        }
    }

    /// R-S1, R-S4: what Redis says is told in its own words, as one short line.
    #[test]
    fn own_words() {
        for (line, text) in [
            (
                "-ERR max number of clients reached\r\n",
                "Redis at redis://a: ERR max number of clients reached",
            ),
            (
                "-LOADING Redis is loading the dataset in memory\r\n",
                "Redis at redis://a: LOADING Redis is loading the dataset in memory",
            ),
            ("-DENIED Redis is running\r\n", "Redis at redis://a: DENIED Redis is running"),
            (
                "-MOVED 1 127.0.0.1:1\r\n",
                "Redis at redis://a: another server of the Redis Cluster has it; the URL of all \
                 is redis-cluster://host:port,host:port (MOVED 1 127.0.0.1:1)",
            ),
            ("-BUSY\r\n", "Redis at redis://a: BUSY"),
            (
                "-WRONGPASS invalid username-password pair\r\n",
                "Redis at redis://a refuses the user name or password: WRONGPASS invalid \
                 username-password pair",
            ),
            (
                "-NOPERM this user\r\n",
                "Redis at redis://a does not permit what is needed: NOPERM this user",
            ),
            ("-READONLY You can't\r\n", "cannot reach Redis at redis://a: READONLY You can't"),
            ("-X a\u{1b}[2Jb\nc\r\n", "Redis at redis://a: X a\\u{1b}[2Jb\\nc"),
        ] {
            assert_eq!(error(line).to_string(), text);
        }
        let long = error(&format!("-DENIED {}\r\n", "x".repeat(100_000))).to_string();
        assert!(long.chars().count() < 250 && long.ends_with('…'), "{long}");
        let cause = Cause::from((ErrorKind::Parse, "one\ntwo", "HTTP/1.0 400\r\n".into()));
        let text = RedisError::new("redis://a\nb", &cause).to_string();
        assert_eq!(text, "cannot reach Redis at redis://a\\nb: what answers there is no Redis");
        let Ok(Value::ServerError(said)) = parse_redis_value(b"-NOPERM no\r\n") else { panic!() };
        let text = RedisError::of("redis://a", "reading", said).to_string();
        assert!(text.ends_with("what is needed: reading (NOPERM no)"), "{text}");
    }
}
