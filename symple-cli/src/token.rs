//! `symple token`: JSON Web Tokens for trying out, and what a server would say of one (R-V1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgAction, ArgMatches, Command};
use symple_driver::{HttpEndpoint, Jwt, JwtKeys, fetch_jwks, transport::Connect};
use symple_proto::{Fields, PRIVATE_MEMBER, RawJson, check_room, check_user};

use crate::{
    Failure,
    input::{print, read_input},
    runtime::{RUNTIMES, Within},
    settings::{
        Source,
        flags::{PRECEDENCE, jwt_settings},
        jwt::JwtSource,
    },
    source, warn,
};

/// The longest that a token may last, in seconds: some thirty years.
const MAX_TTL: u64 = 1_000_000_000;

/// The command line of `symple token`.
pub(crate) fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("token")
        .about("Makes JSON Web Tokens for trying out, and says what a server thinks of one")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(jwt_settings())
        .after_help(PRECEDENCE)
        .subcommand(
            Command::new("make")
                .about("Prints a token that is signed with --jwt-secret (HS256)")
                .arg(text("user", "USER", "Who its holder is").required(true))
                .arg(
                    text("secret", "SECRET", "The same as --jwt-secret")
                        .conflicts_with("jwt-secret"),
                )
                .arg(
                    text("ttl", "TIME", "How long it counts, such as 90s, 30m, 1h or 7d")
                        .default_value("1h"),
                )
                .arg(text("rooms", "ROOM,…", "The rooms that its holder is put in"))
                .arg(text("name", "NAME", "How its holder is shown to others"))
                .arg(flag("readonly", "Its holder may hear, and not send"))
                .arg(flag("hidden", "Its holder is not shown to others"))
                .arg(
                    text("claim", "NAME=JSON", "A further claim; the flag may be repeated")
                        .action(ArgAction::Append),
                ),
        )
        .subcommand(
            Command::new("check")
                .about("Says what a server with these settings would say of a token; exit code 1 if it would refuse it")
                .arg(Arg::new("token").value_name("TOKEN").help(
                    "The token; from standard input if it is missing or -, where others do not see it",
                )),
        )
}

/// Does what was asked for.
pub(crate) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    match matches.subcommand() {
        Some(("make", flags)) => make(flags),
        Some(("check", flags)) => check(flags),
        _ => Err(Failure::usage("there is no such command")),
    }
}

fn make(flags: &ArgMatches) -> Result<(), Failure> {
    let source = source(flags)?;
    warn(&source);
    let text = |name| flags.get_one::<String>(name).map_or("", String::as_str);
    let secret = match text("secret") {
        "" => source.get("jwt-secret").0,
        secret => secret,
    };
    if secret.is_empty() {
        return Err(Failure::usage("which secret? (jwt-secret)"));
    }
    JwtKeys::from_secret(secret).map_err(Failure::usage)?;
    let claims = claims(flags, &source)?;
    print(&format!("{}\n", Jwt::issue_claims(secret, &claims)))
}

/// What the token is to say.
fn claims(flags: &ArgMatches, source: &Source) -> Result<Fields, Failure> {
    let text = |name| flags.get_one::<String>(name).map_or("", String::as_str);
    let user = text("user");
    check_user(user).map_err(|error| Failure::usage(format!("user {error}")))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = |seconds: u64| RawJson::parse(&seconds.to_string()).map_err(Failure::usage);
    let mut claims = Fields::new().with(source.get("jwt-user-claim").0, user);
    claims.set("iat", number(now.as_secs())?);
    claims.set("exp", number((now + ttl(text("ttl"))?).as_secs())?);
    // What a server asks for that has the same settings.
    for (claim, setting) in [("aud", "jwt-audience"), ("iss", "jwt-issuer")] {
        let first = source.get(setting).0.split(',').next().unwrap_or_default().trim();
        if !first.is_empty() {
            claims.set(claim, first);
        }
    }
    let rooms: Vec<_> =
        text("rooms").split(',').map(str::trim).filter(|room| !room.is_empty()).collect();
    for room in &rooms {
        check_room(room).map_err(|error| Failure::usage(format!("rooms: a room {error}")))?;
    }
    if !rooms.is_empty() {
        claims.set("rooms", RawJson::from_value(&rooms).map_err(Failure::usage)?);
    }
    for name in ["readonly", "hidden"] {
        if flags.get_flag(name) {
            claims.set(name, true);
        }
    }
    if !text("name").is_empty() {
        let peer = Fields::new().with("name", text("name"));
        claims.set("peer", RawJson::parse(&peer.to_json()).map_err(Failure::usage)?);
    }
    for claim in flags.get_many::<String>("claim").into_iter().flatten() {
        let (name, value) = claim.split_once('=').ok_or_else(|| {
            Failure::usage("a claim must be NAME=JSON, such as plan='\"pro\"' or level=5")
        })?;
        let value = RawJson::parse(value).map_err(|error| {
            Failure::usage(format!("the claim {name} must be JSON, texts in quotes: {error}"))
        })?;
        claims.set(name, value);
    }
    Ok(claims)
}

/// A time such as `90s`, `30m`, `1h` or `7d`.
fn ttl(text: &str) -> Result<Duration, Failure> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let unit = units.iter().find(|(name, _)| text.ends_with(*name));
    let (number, seconds) = match unit {
        Some((name, seconds)) => (text.strip_suffix(*name).unwrap_or(text), *seconds),
        None => (text, 1),
    };
    let time = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    match time {
        Some(time @ 1..=MAX_TTL) => Ok(Duration::from_secs(time)),
        _ => Err(Failure::usage(
            "ttl must be a time from 1s to some thirty years, such as 90s, 30m, 1h or 7d",
        )),
    }
}

fn check(flags: &ArgMatches) -> Result<(), Failure> {
    let source = source(flags)?;
    warn(&source);
    let jwt = JwtSource::collect(&source).map_err(Failure::usage)?;
    let Some(JwtSource { jwt, url }) = jwt else {
        return Err(Failure::usage("which key? (jwt-secret, jwt-public-key, jwt-jwks)"));
    };
    let token = flags.get_one::<String>("token").map_or("", String::as_str);
    let token = read_input(token)?;
    let jwt = match url {
        None => jwt,
        Some(url) => {
            let fetched = RUNTIMES[0].1.run(Fetch(url)).map_err(Failure::crash)?;
            jwt.with_keys(fetched.map_err(Failure::crash)?)
        }
    };
    match jwt.verify(token.trim(), SystemTime::now()) {
        Ok(proof) => {
            let mut session = proof.session.0;
            session.remove(PRIVATE_MEMBER);
            let left = match proof.expires {
                Some(left) => format!("for {} s", left.as_secs()),
                None => "for ever".into(),
            };
            print(&format!("allowed {left}: {}\n", session.to_json()))
        }
        Err(error) => Err(Failure::crash(format!(
            "refused: Authentication failed: {}: {error}",
            error.message()
        ))),
    }
}

/// Fetches keys.
struct Fetch(HttpEndpoint);

impl Within for Fetch {
    type Output = Result<JwtKeys, String>;

    async fn run<R: Connect>(self) -> Self::Output {
        let runtime = R::current().map_err(|error| error.to_string())?;
        fetch_jwks(&runtime, &self.0).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in
            [("90s", 90), ("90", 90), ("30m", 1800), ("1h", 3600), ("7d", 604_800)]
        {
            assert_eq!(ttl(text).ok().map(|time| time.as_secs()), Some(seconds), "{text}");
        }
        for text in
            ["", "0", "h", "-1h", "1.5h", "1w", "99999999999999999999d", "1000000001", "1hh"]
        {
            assert!(ttl(text).is_err(), "{text}");
        }
    }
}
