//! What may stand in a URL beside the address.

use ::redis::{ConnectionInfo, IntoConnectionInfo as _, parse_redis_url};

/// The parameters behind the `?` of a URL, as they are written. Those that nobody knows are
/// refused: who wrote them relies on them.
pub(super) fn parameters<'a>(
    query: &'a str,
    known: &[&str],
) -> Result<Vec<(&'a str, &'a str)>, String> {
    // What is read as parameters may be the rest of a password, which nobody may see.
    if query.contains('@') {
        return Err("there is an @ behind the ?; a ? in a password is written %3F".into());
    }
    let mut found: Vec<(&str, &str)> = Vec::new();
    for member in query.split('&').filter(|member| !member.is_empty()) {
        let Some((name, value)) = member.split_once('=') else {
            return Err("a parameter behind the ? has no value".into());
        };
        let plausible = (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if !plausible {
            return Err("a parameter behind the ? has no name".into());
        }
        if !known.contains(&name) {
            return Err(format!("unknown parameter {name}; known here: {}", known.join(", ")));
        }
        if found.iter().any(|(other, _)| *other == name) {
            return Err(format!("the parameter {name} is there twice"));
        }
        found.push((name, value));
    }
    Ok(found)
}

/// A URL that names several servers, in its parts behind the scheme.
pub(super) struct Servers<'a> {
    scheme: &'a str,
    /// The user name and the password in front of the servers, as they are written.
    pub(super) credentials: Option<&'a str>,
    hosts: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
}

impl<'a> Servers<'a> {
    /// Takes apart what stands behind `redis…://` or `rediss…://`.
    pub(super) fn split(scheme: &'a str, rest: &'a str) -> Result<Self, String> {
        if rest.contains('#') {
            return Err("there must be no #; in a password it is written %23".into());
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        Ok(Self { scheme, credentials, hosts, path, query })
    }

    /// How to connect to each of them, with these credentials, and this port where none is named.
    pub(super) fn each(
        &self,
        credentials: Option<&str>,
        port: u16,
    ) -> Result<Vec<ConnectionInfo>, String> {
        let each = self.hosts.split(',').map(|host| {
            // Those of IPv6 stand in brackets.
            let (name, named) = match host.rsplit_once(':') {
                Some((name, named)) if !named.contains(']') => (name, named),
                _ => (host, ""),
            };
            let port = if named.is_empty() { port.to_string() } else { named.into() };
            self.connect_to(credentials, &format!("{name}:{port}"), "")
        });
        each.collect()
    }

    /// How to connect to one server: the redis crate reads each as a URL of its own.
    pub(super) fn connect_to(
        &self,
        credentials: Option<&str>,
        host: &str,
        database: &str,
    ) -> Result<ConnectionInfo, String> {
        let (credentials, at) = credentials.map_or(("", ""), |credentials| (credentials, "@"));
        let url = format!("{}://{credentials}{at}{host}/{database}", self.scheme);
        url.into_connection_info().map_err(|_| "one of its parts cannot be read".into())
    }
}

/// The database that a URL names.
pub(super) fn database(text: &str) -> Result<(), String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(_) if digits => Ok(()),
        _ if text.is_empty() => Ok(()),
        _ => Err("the database must be a number".into()),
    }
}

/// Sees whether all of a URL is understood that its reader would pass over.
pub(super) fn check(text: &str) -> Result<(), String> {
    // What is no URL at all is its reader's affair.
    let Some(url) = parse_redis_url(text) else { return Ok(()) };
    let is_path = matches!(url.scheme(), "unix" | "redis+unix" | "valkey+unix");
    match url.fragment() {
        None | Some("") => {}
        Some("insecure") if matches!(url.scheme(), "rediss" | "valkeys") => {
            return Err("TLS without checking certificates is not supported".into());
        }
        Some(_) => return Err("there must be no #; in a password it is written %23".into()),
    }
    let known: &[&str] = if is_path { &["db", "user", "pass", "protocol"] } else { &["protocol"] };
    for (name, value) in parameters(url.query().unwrap_or_default(), known)? {
        match name {
            "db" if value.is_empty() => return Err("the database must be a number".into()),
            "db" => database(value)?,
            // Messages and answers on one connection need it.
            "protocol" if !matches!(value, "3" | "resp3") => {
                return Err("the parameter protocol can only be 3".into());
            }
            _ => {}
        }
    }
    if !is_path && url.host().is_some() {
        database(url.path().trim_matches('/'))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-S1: what a URL asks for and nobody does is an error that names it.
    #[test]
    fn what_is_passed_over() {
        for (url, problem) in [
            ("redis://a", ""),
            ("redis://a:1/", ""),
            ("redis://a/15/?", ""),
            ("redis://u:p@a/0?protocol=3", ""),
            ("redis://a?protocol=resp3#", ""),
            ("unix:///r.sock?db=1&user=u&pass=p%40%26", ""),
            ("redis+unix:///r.sock", ""),
            ("redis://a?db=1", "unknown parameter db; known here: protocol"),
            ("rediss://a?ssl=true", "unknown parameter ssl; known here: protocol"),
            ("redis://a/0?typo=1", "unknown parameter typo; known here: protocol"),
            (
                "unix:///r.sock?database=1",
                "unknown parameter database; known here: db, user, pass, protocol",
            ),
            ("unix:///r.sock?db=1&db=2", "the parameter db is there twice"),
            ("unix:///r.sock?db=", "the database must be a number"),
            ("unix:///r.sock?db=-1", "the database must be a number"),
            ("redis://a/x", "the database must be a number"),
            ("redis://a/+1", "the database must be a number"),
            ("redis://a/1/2", "the database must be a number"),
            ("redis://a/99999999999", "the database must be a number"),
            ("redis://a?protocol=2", "the parameter protocol can only be 3"),
            ("redis://a?x", "a parameter behind the ? has no value"),
            ("redis://a?=x", "a parameter behind the ? has no name"),
            ("redis://a?d%62=1", "a parameter behind the ? has no name"),
            ("redis://a#x", "there must be no #; in a password it is written %23"),
            (
                "redis://u:6?sec=ret@host",
                "there is an @ behind the ?; a ? in a password is written %3F",
            ),
            ("rediss://a#insecure", "TLS without checking certificates is not supported"),
        ] {
            assert_eq!(check(url).err().unwrap_or_default(), problem, "{url}");
        }
    }
}
