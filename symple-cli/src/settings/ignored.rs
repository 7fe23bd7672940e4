//! What is set and does nothing: variables that no setting has, and settings that others switch off.
//! Nobody should have to find out by chance that a line of a configuration has no effect.

use std::collections::BTreeSet;

use crate::text::one_line;

use super::{
    places::{Place, PlaceTls},
    source::{Origin, Source, is_link},
    table::SETTINGS,
};

/// What the names of the settings' variables begin with.
const PREFIX: &str = "SYMPLE_";
/// The most unknown variables that are named one by one.
const MAX_NAMED: usize = 10;
/// How many characters of an unknown name are repeated.
const SHOWN: usize = 80;
/// How similar a name must be to be suggested, from 0 to 1.
const SIMILAR: f64 = 0.8;

/// A line for each variable `SYMPLE_…` that no setting has, with the name that was probably meant.
/// `place` says where the variables were found, such as ` in .env`.
pub(super) fn unknown(
    variables: impl IntoIterator<Item = (String, String)>,
    place: &str,
) -> Vec<String> {
    let unknown: BTreeSet<String> = variables
        .into_iter()
        .filter(|(name, value)| name.starts_with(PREFIX) && !is_of_kubernetes(name, value))
        .map(|(name, _)| name)
        .filter(|name| !known().any(|known| known == name))
        .collect();
    let mut lines: Vec<_> = unknown
        .iter()
        .take(MAX_NAMED)
        .map(|name| {
            let meant =
                nearest(name).map_or(String::new(), |meant| format!("; did you mean {meant}?"));
            let name = one_line(name, SHOWN);
            format!("{name}{place} is ignored: there is no such setting{meant}")
        })
        .collect();
    if unknown.len() > MAX_NAMED {
        let more = unknown.len() - MAX_NAMED;
        lines.push(format!("{more} more variables {PREFIX}…{place} are ignored"));
    }
    lines
}

/// Variables of the commands that are clients.
const OF_CLIENTS: [&str; 2] = ["SYMPLE_TOKEN", "SYMPLE_ADMIN_URL"];

fn known() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().flat_map(|setting| setting.env).copied().chain(OF_CLIENTS)
}

/// The variable of a setting that a name resembles most.
fn nearest(name: &str) -> Option<&'static str> {
    // The prefix is the same everywhere, and would make every name similar.
    let rest: String = name.chars().skip(PREFIX.len()).take(SHOWN).collect();
    let rest = rest.to_uppercase();
    known()
        .filter_map(|known| Some((known, known.strip_prefix(PREFIX)?)))
        .map(|(known, part)| (known, strsim::jaro_winkler(part, &rest)))
        .filter(|(_, similarity)| *similarity >= SIMILAR)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(known, _)| known)
}

/// True for what Kubernetes sets in every container where there is a service named `symple` or
/// `symple-…`: `SYMPLE_SERVICE_HOST`, `SYMPLE_PORT_4500_TCP_ADDR` and the like. Nobody wrote these.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    is_link(value)
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| {
            let protocol = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            protocol.len() < rest.len()
                && ["_TCP", "_UDP", "_SCTP"].iter().any(|known| protocol.starts_with(known))
        })
}

/// A line for each setting that differs from its default and does nothing, because of another one.
/// It only looks at settings that are valid.
pub(super) fn without_effect(source: &Source) -> Vec<String> {
    let is_on = |name| {
        let (value, _) = source.get(name);
        ["true", "1", "yes", "on"].iter().any(|on| value.eq_ignore_ascii_case(on))
    };
    let is_given = |name| !source.get(name).0.is_empty();
    let is_zero = |name| source.get(name).0.parse() == Ok(0.0);
    let has_redis = ["redis-url", "redis-host", "redis-port"].into_iter().any(is_given);
    let has_keys = ["jwt-secret", "jwt-public-key", "jwt-jwks"].into_iter().any(is_given);
    let has_places = is_given("listen");
    let uses_certificate = source.get("listen").0.split(',').any(|place| {
        place.trim().parse().is_ok_and(|place: Place| place.tls == PlaceTls::OfSettings)
    });
    let rules: &[(bool, &str, &[&str])] = &[
        (!is_on("ssl-enabled") && !has_places, "ssl-enabled is off", &["ssl-cert", "ssl-key"]),
        (has_places, "listen says where, and with TLS or not", &["port", "host", "ssl-enabled"]),
        (has_places && !uses_certificate, "no place of listen needs it", &["ssl-cert", "ssl-key"]),
        (
            !has_redis,
            "there is no Redis (redis-url)",
            &[
                "redis-protocol",
                "redis-username",
                "redis-password",
                "redis-prefix",
                "redis-required",
                "cluster",
                "session-ttl",
                "session-user",
                "session-public",
            ],
        ),
        (
            has_redis && !is_on("authentication"),
            "authentication is off",
            &["session-ttl", "session-user", "session-public"],
        ),
        (
            !has_keys,
            "there is no key for tokens (jwt-secret, jwt-public-key, jwt-jwks)",
            &["jwt-user-claim", "jwt-leeway", "jwt-expiry"],
        ),
        (!is_given("auth-url"), "there is no auth-url", &["auth-url-timeout"]),
        (
            !is_given("auth-url") && !is_given("webhook-url"),
            "there is no auth-url and no webhook-url",
            &["webhook-secret"],
        ),
        (
            has_keys && !has_redis,
            "tokens are checked with keys (jwt-secret, jwt-public-key, jwt-jwks), and there is no Redis with sessions",
            &["authentication"],
        ),
        (
            is_given("redis-url"),
            "redis-url says where Redis is",
            &["redis-host", "redis-port", "redis-protocol"],
        ),
        (
            is_zero("rate-limit"),
            "rate-limit is 0",
            &["rate-burst", "rate-bytes", "rate-deliveries"],
        ),
        (!is_given("trusted-proxies"), "no proxy is trusted (trusted-proxies)", &["proxy-header"]),
        (!is_on("compression"), "compression is off", &["compression-threshold"]),
        #[cfg(feature = "admin")]
        (!is_given("admin"), "admin is off", &["admin-key"]),
        (is_zero("ping-interval"), "ping-interval is 0", &["pong-timeout"]),
    ];
    let lines = rules.iter().filter(|(holds, ..)| *holds).flat_map(|(_, why, names)| {
        names.iter().filter_map(move |name| {
            let default = SETTINGS.iter().find(|setting| setting.name == *name)?.default;
            let (value, origin) = source.get(name);
            let is_set = *origin != Origin::Default && !value.eq_ignore_ascii_case(default);
            is_set.then(|| format!("{name} ({origin}) has no effect: {why}"))
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, value: &str) -> Vec<String> {
        unknown([(name.to_owned(), value.to_owned())], "")
    }

    #[test]
    fn unknown_variables() {
        for (name, meant) in [
            ("SYMPLE_PROT", "; did you mean SYMPLE_PORT?"),
            ("SYMPLE_TRUSTED_PROXY", "; did you mean SYMPLE_TRUSTED_PROXIES?"),
            ("SYMPLE_XYZZY", ""),
        ] {
            let expected = format!("{name} is ignored: there is no such setting{meant}");
            assert_eq!(said(name, "1"), [expected]);
        }
        for (name, value) in [
            ("SYMPLE_PORT", "1"),
            ("PATH", "/bin"),
            ("SYMPLE_SERVICE_HOST", "10.0.0.1"),
            ("SYMPLE_SERVICE_PORT_WS", "4500"),
            ("SYMPLE_PORT_4500_TCP_ADDR", "10.0.0.1"),
            ("SYMPLE_WEB_PORT", "tcp://10.0.0.1:80"),
        ] {
            assert!(said(name, value).is_empty(), "{name}");
        }
    }

    /// What a stranger's environment has costs a few short lines, however much it is.
    #[test]
    fn many_unknown_variables() {
        let many = (0..1000).map(|n| (format!("SYMPLE_{n}\n{}", "x".repeat(1000)), String::new()));
        let lines = unknown(many, " in .env");
        assert_eq!(lines.len(), MAX_NAMED + 1);
        assert_eq!(lines[MAX_NAMED], "990 more variables SYMPLE_… in .env are ignored");
        assert!(lines.iter().all(|line| line.len() < 300 && !line.contains('\n')));
    }
}
