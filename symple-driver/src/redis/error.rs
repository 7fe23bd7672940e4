//! What can be wrong with Redis.

use ::redis::{ErrorKind, RedisError as Cause, ServerErrorKind};
use thiserror::Error;

/// Why Redis cannot do what it is asked for. No text of it has a password in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL is none, or asks for what is not there.
    #[error(
        "the Redis URL must look like redis://user:password@host:port/database or redis+sentinel://host:port,host:port/service ({0})"
    )]
    Url(String),
    /// Nobody answers there.
    #[error("cannot reach Redis at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why not.
        reason: String,
    },
    /// Redis wants another user name or password.
    #[error("Redis at {address} refuses the user name or password")]
    Credentials {
        /// Where.
        address: String,
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
    /// Nothing came from Redis in the time that it has.
    pub(super) fn timeout(address: &str) -> Self {
        Self::Unreachable { address: address.into(), reason: "no answer in time".into() }
    }

    /// It was the master, and is not any more.
    pub(super) fn demoted(address: &str) -> Self {
        Self::Unreachable {
            address: address.into(),
            reason: "it is not the master any more".into(),
        }
    }

    pub(super) fn new(address: &str, cause: &Cause) -> Self {
        let address = address.to_owned();
        match (cause.kind(), cause.code()) {
            // What is wrong with a name or a password must not repeat it.
            (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
                Self::Credentials { address }
            }
            (ErrorKind::Server(ServerErrorKind::NoPerm), _) | (_, Some("NOPERM")) => {
                let reason = cause.detail().unwrap_or("no permission").to_owned();
                Self::Permission { address, reason }
            }
            (ErrorKind::RESP3NotSupported, _) => Self::TooOld { address },
            (ErrorKind::InvalidClientConfig, _) => Self::Url(cause.to_string()),
            (ErrorKind::Io, _) => Self::Unreachable { address, reason: cause.to_string() },
            (_, Some("ERR")) if cause.detail().is_some_and(is_of_hello) => Self::TooOld { address },
            _ => Self::Other { address, reason: without_arguments(&cause.to_string()) },
        }
    }
}

/// The command that every connection begins with is not there, or not any more.
fn is_of_hello(detail: &str) -> bool {
    let command = detail.strip_prefix("unknown command ").unwrap_or_default();
    command.trim_start_matches(['\'', '`']).to_ascii_uppercase().starts_with("HELLO")
}

/// Redis repeats the arguments of a command that it does not know: passwords and tokens.
fn without_arguments(reason: &str) -> String {
    match reason.split_once(", with args beginning with") {
        Some((reason, _)) => reason.into(),
        None => reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use ::redis::{ErrorKind, RedisError as Cause, Value, parse_redis_value};

    use super::*;

    fn error(line: &str) -> RedisError {
        let Ok(Value::ServerError(error)) = parse_redis_value(line.as_bytes()) else { panic!() };
        RedisError::new("redis://a", &Cause::from(error))
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
    }
}
