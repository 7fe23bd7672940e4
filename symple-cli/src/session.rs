//! `symple session`: sessions behind tokens, for people and scripts.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use symple_driver::{SessionEntry, Sessions};
use symple_proto::{Fields, SessionError, SessionRecord};

use crate::{
    Failure, block_on,
    input::{print, read_input},
    read_redis,
    settings::{
        RedisSettings,
        flags::{PRECEDENCE, redis_settings},
    },
};

/// The command line of `symple session`.
pub(crate) fn command() -> Command {
    let token = || Arg::new("token").value_name("TOKEN").required(true).help("The session's token");
    Command::new("session")
        .about("Makes, shows and ends sessions in Redis")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(redis_settings())
        .after_help(PRECEDENCE)
        .subcommand(
            Command::new("set")
                .about("Makes a session, or replaces it; it lives as long as --session-ttl says")
                .arg(token())
                .arg(Arg::new("session").value_name("JSON").help(
                    "What is known of its holder, such as {\"user\":\"alice\"}; from standard \
                     input if it is missing or -",
                )),
        )
        .subcommand(Command::new("get").about("Prints a session").arg(token()))
        .subcommand(
            Command::new("touch")
                .about("Lets a session live as long as --session-ttl says, from now on")
                .arg(token()),
        )
        .subcommand(
            Command::new("delete")
                .about("Ends a session; its connections are closed within half a minute")
                .arg(token()),
        )
        .subcommand(
            Command::new("list")
                .about("Prints the tokens that have a session, and how many seconds each lives"),
        )
}

/// Does what was asked for.
pub(crate) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((name, flags)) = matches.subcommand() else {
        return Err(Failure::usage("there is no such command"));
    };
    let (redis, RedisSettings { session_ttl: ttl, session_user_optional, .. }) = read_redis(flags)?;
    let text = |name| flags.try_get_one::<String>(name).ok().flatten().map_or("", String::as_str);
    let token = text("token");
    let session = match name {
        "set" => Some(parse(&read_input(text("session"))?, session_user_optional)?),
        _ => None,
    };
    block_on(async {
        let sessions = Sessions::connect(&redis).await.map_err(Failure::redis)?;
        let there = match (name, session) {
            ("set", Some(session)) => {
                sessions.set(token, &session, ttl).await.map_err(Failure::redis)?;
                true
            }
            ("get", _) => match sessions.get(token).await.map_err(Failure::redis)? {
                Some(session) => {
                    print(&format!("{}\n", session.to_json()))?;
                    true
                }
                None => false,
            },
            ("touch", _) => sessions.touch(token, ttl).await.map_err(Failure::redis)?,
            ("delete", _) => sessions.delete(token).await.map_err(Failure::redis)?,
            _ => {
                print(&list(sessions.list().await.map_err(Failure::redis)?))?;
                true
            }
        };
        if there { Ok(()) } else { Err(Failure::crash("there is no such session")) }
    })
}

/// A session that a server takes as it is (R-A4): what it would refuse or ignore is refused here,
/// where somebody sees it.
fn parse(text: &str, user_optional: bool) -> Result<Fields, Failure> {
    let session = SessionRecord::parse(text).and_then(|session| {
        session.check()?;
        match session.user()? {
            None if !user_optional => Err(SessionError::NoUser),
            _ => Ok(session.0),
        }
    });
    session.map_err(|error| match error {
        SessionError::NotAnObject => Failure::usage("a session must be a JSON object"),
        SessionError::NoUser => Failure::usage(format!(
            "{error}: a server lets nobody in with it, unless session-user is optional"
        )),
        _ => Failure::usage(error),
    })
}

/// A line for each session, in the order of their tokens.
fn list(mut sessions: Vec<SessionEntry>) -> String {
    sessions.sort_by(|a, b| a.token.expose().cmp(b.token.expose()));
    let line = |session: &SessionEntry| {
        let ttl = session.ttl.as_ref().map(Duration::as_secs);
        let ttl = ttl.map_or("-".into(), |seconds| seconds.to_string());
        // A token that is none of ours must not write lines of its own.
        format!("{}\t{ttl}\n", session.token.expose().escape_debug())
    };
    sessions.iter().map(line).collect()
}
