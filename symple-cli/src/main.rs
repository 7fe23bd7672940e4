//! The program `symple`: a Symple v4 server for messaging and presence.

#![forbid(unsafe_code)]

#[cfg(feature = "admin")]
mod admin;
#[cfg(feature = "bench")]
mod bench;
mod call;
mod chat;
mod check_config;
mod client;
mod command_line;
mod console;
#[cfg(feature = "admin")]
mod ctl;
mod emit;
mod input;
mod listen;
mod logging;
mod runtime;
mod send;
mod serve;
mod session;
mod settings;
mod signals;
mod stderr;
mod talk;
mod text;
mod token;

use std::{path::Path, process::ExitCode};

use clap::ArgMatches;
use settings::{RedisSettings, Settings, Source, read_dot_env};
use symple_driver::{RedisConfig, RedisError};

/// What was asked for cannot be done as it was asked for.
const USAGE: u8 = 2;

/// Why the program ends before it has done what it was asked for.
struct Failure {
    /// For people; shown as one line that is not long, whatever foreign text is in it.
    message: String,
    code: u8,
}

impl Failure {
    /// It was asked for in a way that makes no sense.
    fn usage(problem: impl std::fmt::Display) -> Self {
        Self { message: problem.to_string(), code: USAGE }
    }

    /// Redis cannot be used as it was asked for, or does not do what it should.
    fn redis(error: RedisError) -> Self {
        match error {
            RedisError::Other { .. } => Self::crash(error),
            _ => Self::usage(error),
        }
    }

    /// Something went wrong on the way.
    fn crash(problem: impl std::fmt::Display) -> Self {
        Self { message: problem.to_string(), code: 1 }
    }
}

/// The Redis of a command that needs one and no server, and what is to be known of sessions there.
fn read_redis(flags: &ArgMatches) -> Result<(RedisConfig, RedisSettings), Failure> {
    let source = source(flags)?;
    warn(&source);
    let mut settings = RedisSettings::read(&source).map_err(Failure::usage)?;
    let redis = settings.redis.take().ok_or_else(|| Failure::usage("which Redis? (redis-url)"))?;
    Ok((redis, settings))
}

/// Runs a future to its end.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    runtime::block_on(future).map_err(Failure::crash)?
}

fn main() -> ExitCode {
    logging::watch_panics();
    let _last = stderr::Flush;
    let result = match command_line::command().try_get_matches() {
        Ok(matches) => run(&matches),
        Err(error) if error.use_stderr() => {
            stderr::write(command_line::explain(error));
            return ExitCode::from(USAGE);
        }
        // Help, or the version.
        Err(asked) => input::print(&asked.render().to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            logging::fail(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Does what was asked for.
fn run(matches: &ArgMatches) -> Result<(), Failure> {
    match matches.subcommand() {
        Some(("serve", flags)) => {
            read_settings(flags).and_then(|(settings, source)| serve::run(&settings, &source))
        }
        Some(("check-config", flags)) => read_settings(flags)
            .and_then(|(settings, source)| check_config::run(&settings, &source)),
        Some(("session", flags)) => session::run(flags),
        Some(("token", flags)) => token::run(flags),
        Some(("emit", flags)) => emit::run(flags),
        Some(("listen", flags)) => listen::run(flags),
        Some(("send", flags)) => send::run(flags),
        Some(("chat", flags)) => chat::run(flags),
        Some(("call", flags)) => call::run(flags),
        #[cfg(feature = "admin")]
        Some(("ctl", flags)) => ctl::run(flags),
        #[cfg(feature = "bench")]
        Some(("bench", flags)) => bench::run(flags),
        _ => Err(Failure::usage("there is no such command")),
    }
}

/// Says what does not count, where there is no log.
fn warn(source: &Source) {
    source.warnings().for_each(|warning| warn_of(&warning));
}

/// Says one thing that does not count, where there is no log.
fn warn_of(problem: &str) {
    stderr::write(format!("symple: warning: {problem}\n"));
}

/// Where the values of settings come from.
fn source(flags: &ArgMatches) -> Result<Source, Failure> {
    let dot_env = read_dot_env(Path::new(".env")).map_err(Failure::usage)?;
    let mut source = Source::collect(flags, |name| std::env::var(name).ok(), &dot_env);
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    source.look_through(std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))));
    Ok(source)
}

/// The settings, and where they come from.
fn read_settings(flags: &ArgMatches) -> Result<(Settings, Source), Failure> {
    let source = source(flags)?;
    let settings = Settings::read(&source).map_err(Failure::usage)?;
    Ok((settings, source))
}
