use std::collections::HashMap;

use super::*;
use crate::{command_line::command, serve::check, settings::SETTINGS};

/// What a value means, as `check-config` sees it; or the line that it says.
fn read(setting: &str, value: &str) -> Result<Settings, String> {
    let own = format!("--{setting}={value}");
    // Some mean something only beside another one.
    let more: &[_] = match setting {
        "jwt-leeway" => &["--jwt-secret=a secret that has more than 32 bytes"],
        "auth-url-timeout" => &["--auth-url=http://127.0.0.1/", "--auth-timeout=0"],
        _ => &[],
    };
    let arguments = ["symple", "check-config", &own].into_iter().chain(more.iter().copied());
    let matches = command().try_get_matches_from(arguments).unwrap();
    let (_, flags) = matches.subcommand().unwrap();
    let source = Source::collect(flags, |_| None, &HashMap::new());
    let settings = Settings::read(&source).map_err(|error| error.to_string())?;
    check(&settings).map_err(|failure| failure.message)?;
    Ok(settings)
}

/// The settings that are numbers.
fn numbers() -> impl Iterator<Item = &'static str> {
    const NUMBERS: [&str; 7] = ["PORT", "MINUTES", "UNITS/S", "UNITS", "BYTES", "COUNT", "SECONDS"];
    SETTINGS.iter().filter(|setting| NUMBERS.contains(&setting.value)).map(|setting| setting.name)
}

/// SPEC §11: whatever is written for a setting, it is taken, or refused in one line.
#[test]
fn values_of_all_kinds() {
    let long = "9".repeat(400);
    for setting in SETTINGS {
        for value in [
            "0",
            "-0",
            "0.0",
            "1",
            "-1",
            "+1",
            "1.5",
            "1e9",
            "1e10",
            "1e300",
            "-1e300",
            "1e-300",
            "4294967295",
            "4294967296",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "inf",
            "-inf",
            "NaN",
            "infinity",
            "0x10",
            "1_000",
            "1,5",
            "٣",
            "½",
            "true",
            "null",
            "\u{0}",
            "\n",
            "a\nb",
            "a b",
            "/",
            ",",
            "*",
            ":",
            "[",
            "'",
            &long,
        ] {
            let Err(problem) = read(setting.name, value) else { continue };
            let line = one_line(&problem, 300);
            assert_eq!(line, problem, "{}: it is one line, and not long", setting.name);
        }
    }
}

/// SPEC §11: zero means what the help says, or is refused.
#[test]
fn zero() {
    let mut seen = Vec::new();
    for setting in numbers() {
        let meaning = read(setting, "0").map(|settings| match setting {
            "port" => format!("{}", settings.port),
            "session-ttl" => format!("{:?}", settings.config.engine.sessions.ttl),
            "jwt-leeway" => format!("{:?}", settings.jwt.map(|jwt| jwt.jwt.settings().leeway)),
            "auth-url-timeout" => settings.auth_url.is_some().to_string(),
            "rate-limit" => format!("{:?}", settings.config.engine.rate),
            "rate-bytes" => {
                format!("{:?}", settings.config.engine.rate.map(|rate| rate.bytes_per_unit))
            }
            "rate-deliveries" => {
                format!("{:?}", settings.config.engine.rate.map(|rate| rate.deliveries_per_unit))
            }
            "outbound-total" => settings.config.outbound_total.to_string(),
            "message-timeout" => format!("{:?}", settings.config.message_timeout),
            "max-connections" => settings.config.engine.connections.total.to_string(),
            "max-connections-per-address" => {
                settings.config.engine.connections.per_address.to_string()
            }
            "max-unauthenticated" => settings.config.engine.connections.unauthenticated.to_string(),
            "max-rooms-per-peer" => settings.config.engine.limits.rooms_per_peer.to_string(),
            "state-total" => settings.config.engine.state.total_bytes.to_string(),
            "state-ttl" => format!("{:?}", settings.config.engine.state.ttl),
            "auth-timeout" => format!("{:?}", settings.config.engine.auth_timeout),
            "ping-interval" => format!("{:?}", settings.config.ping_interval),
            "pong-timeout" => format!("{:?}", settings.config.pong_timeout),
            "upgrade-timeout" => format!("{:?}", settings.config.upgrade_timeout),
            "keep-alive-timeout" => format!("{:?}", settings.config.keep_alive_timeout),
            "close-timeout" => format!("{:?}", settings.config.close_timeout),
            "outbound-timeout" => format!("{:?}", settings.config.outbound_timeout),
            "drain" => format!("{:?}", settings.drain),
            "threads" => (settings.config.threads == available_parallelism().unwrap()).to_string(),
            other => panic!("what does zero mean for {other}?"),
        });
        let help = SETTINGS.iter().find(|known| known.name == setting).unwrap().help;
        assert_eq!(meaning.is_ok(), help.contains("; 0 "), "{setting}: {help}");
        seen.push((setting, meaning));
    }
    let means = |setting, meaning: &str| (setting, Ok(meaning.to_owned()));
    let refused = |setting, line: &str| (setting, Err(line.to_owned()));
    assert_eq!(
        seen,
        [
            means("port", "0"),
            refused(
                "compression-threshold",
                "invalid value '0' for compression-threshold (flag): must be a number, 1 or more"
            ),
            means("jwt-leeway", "Some(0ns)"),
            refused(
                "auth-url-timeout",
                "invalid value '0' for auth-url-timeout (flag): must be a number of seconds, more than 0"
            ),
            refused(
                "redis-port",
                "invalid value '0' for redis-port (flag): must be a number from 1 to 65535"
            ),
            refused(
                "session-ttl",
                "invalid value '0' for session-ttl (flag): must be a number of minutes that is a second or more, or -1"
            ),
            means("rate-limit", "None"),
            refused(
                "rate-burst",
                "invalid value '0' for rate-burst (flag): must be a number from 1 to 4294967295"
            ),
            means("rate-bytes", "Some(0)"),
            means("rate-deliveries", "Some(0)"),
            refused(
                "max-message-size",
                "invalid value '0' for max-message-size (flag): must be a number, 1 or more"
            ),
            refused(
                "max-head-size",
                "invalid value '0' for max-head-size (flag): must be a number of bytes from 1024 to 1048576"
            ),
            refused(
                "outbound-limit",
                "invalid value '0' for outbound-limit (flag): must be a number, 1 or more"
            ),
            means("outbound-total", "0"),
            means("max-connections", "0"),
            means("max-connections-per-address", "0"),
            means("max-unauthenticated", "0"),
            means("max-rooms-per-peer", "0"),
            means("state-total", "0"),
            means("state-ttl", "0ns"),
            means("auth-timeout", "0ns"),
            means("ping-interval", "0ns"),
            means("pong-timeout", "0ns"),
            means("upgrade-timeout", "0ns"),
            means("keep-alive-timeout", "0ns"),
            refused(
                "close-timeout",
                "invalid value '0' for close-timeout (flag): must be a number of seconds, more than 0"
            ),
            means("outbound-timeout", "0ns"),
            means("message-timeout", "0ns"),
            means("threads", "true"),
            means("drain", "0ns"),
        ]
    );
}

/// A time that is not zero never becomes it, and none is so long that sums with it overflow.
#[test]
fn times() {
    let seconds = SETTINGS.iter().filter(|setting| setting.value == "SECONDS");
    let mut count = 0;
    for setting in seconds {
        count += 1;
        let name = setting.name;
        let problem = |value| read(name, value).unwrap_err();
        for (value, expected) in [
            ("1e-9", "0 or at least 0.001"),
            ("1e-300", "0 or at least 0.001"),
            ("0.0009", "0 or at least 0.001"),
            ("-0.1", "0 or more"),
            ("NaN", "0 or more"),
            ("x", "0 or more"),
            ("", "0 or more"),
            ("1000000001", "at most 1000000000"),
            ("inf", "at most 1000000000"),
            ("1e300", "at most 1000000000"),
        ] {
            // A value that is empty is none.
            if value.is_empty() && read(name, value).is_ok() {
                continue;
            }
            let line = problem(value);
            assert!(line.ends_with(&format!("must be a number of seconds, {expected}")), "{line}");
        }
        for value in ["0.001", "1e3", "1000000000", "0.5"] {
            assert!(read(name, value).is_ok(), "{name} {value}");
        }
        // Without end is no way to close.
        assert_eq!(
            read(name, "-0").is_ok(),
            !["close-timeout", "auth-url-timeout"].contains(&name),
            "{name}"
        );
    }
    assert_eq!(count, 12);
    let ttl = |value| read("session-ttl", value).map(|read| read.config.engine.sessions.ttl);
    assert_eq!(ttl("0.5"), Ok(Some(Duration::from_secs(30))));
    assert_eq!(ttl("-1"), Ok(None));
    for value in ["0.01", "1e-300", "1e9", "1e300", "inf", "NaN", "-2", "-inf"] {
        assert!(ttl(value).is_err(), "{value}");
    }
}

/// The largest values are taken, and fit together.
#[test]
fn sizes() {
    let problem = |setting, value| read(setting, value).unwrap_err();
    let line = problem("max-message-size", "1073741825");
    assert!(line.ends_with("must be at most 1073741824"), "{line}");
    assert!(problem("rate-burst", "4294967296").ends_with("must be a number from 1 to 4294967295"));
    assert!(read("rate-burst", "4294967295").is_ok());
    assert!(read("rate-limit", "4294967295").is_ok());
    assert!(read("outbound-limit", &usize::MAX.to_string()).is_ok());
    assert!(read("redis-port", "1").is_ok());
    assert!(problem("redis-port", "0").ends_with("must be a number from 1 to 65535"));
}
