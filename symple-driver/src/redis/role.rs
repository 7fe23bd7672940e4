//! What a server says that it is.

use ::redis::{Cmd, Value, aio::MultiplexedConnection, cmd};

use super::RedisError;

/// Asks a server what it is. Whoever may connect may ask this; for `ROLE` a user needs a right of
/// its own.
pub(super) fn ask() -> Cmd {
    let mut hello = cmd("HELLO");
    hello.arg(3);
    hello
}

/// Asks a server whether it is a master.
pub(super) async fn check(
    connection: &mut MultiplexedConnection,
    address: &str,
) -> Result<(), RedisError> {
    let answer: Value =
        ask().query_async(connection).await.map_err(|error| RedisError::new(address, &error))?;
    problem(&answer).map_or(Ok(()), |reason| Err(RedisError::unreachable(address, reason)))
}

/// What makes the answer that of a server that others would not be reached by; none for a master,
/// and for what does not say.
pub(super) fn problem(answer: &Value) -> Option<&'static str> {
    let Value::Map(members) = answer else { return None };
    let member = |name: &str| members.iter().find(|(key, _)| text(key) == Some(name.as_bytes()));
    let says = |name: &str| member(name).and_then(|(_, value)| text(value));
    match (says("role"), says("mode")) {
        // It takes what is published, and tells nobody but its own clients.
        (Some(b"replica" | b"slave"), _) => Some("it is a replica, and not the master"),
        (_, Some(b"sentinel")) => {
            Some("it is a sentinel; the URL of a service is redis+sentinel://host:port/service")
        }
        _ => None,
    }
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(text) => Some(text),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ::redis::parse_redis_value;

    use super::*;

    fn of(answer: &str) -> Option<&'static str> {
        problem(&parse_redis_value(answer.as_bytes()).unwrap())
    }

    /// R-S4: who is no master, whoever says it.
    #[test]
    fn roles() {
        let (mode, role) = ("$4\r\nmode\r\n", "$4\r\nrole\r\n");
        let standalone = format!("%2\r\n{mode}$10\r\nstandalone\r\n{role}");
        assert_eq!(of(&format!("{standalone}$6\r\nmaster\r\n")), None);
        assert_eq!(of(&format!("{standalone}+master\r\n")), None);
        assert_eq!(of(&format!("{standalone}$14\r\nactive-replica\r\n")), None);
        for replica in ["$7\r\nreplica\r\n", "$5\r\nslave\r\n", "+slave\r\n"] {
            let problem = of(&format!("{standalone}{replica}"));
            assert!(problem.unwrap().contains("not the master"), "{replica}");
        }
        let sentinel = of(&format!("%1\r\n{mode}$8\r\nsentinel\r\n"));
        assert!(sentinel.unwrap().contains("redis+sentinel://"));
        for other in ["%0\r\n", "+OK\r\n", "*0\r\n", &format!("%1\r\n{role}:1\r\n")] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
