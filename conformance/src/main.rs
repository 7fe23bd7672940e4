//! The program `symple-conformance`.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is run by hand, for what it prints"
)]

mod commands;

use std::process::ExitCode;

use clap::Command;

/// What was asked for cannot be done as it was asked for.
pub(crate) const USAGE: u8 = 2;

/// Why the program ends before it has done what it was asked for.
pub(crate) struct Problem(String);

impl<E: std::fmt::Display> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

fn main() -> ExitCode {
    let command = Command::new("symple-conformance")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Replays recorded symple/4 exchanges against anything that speaks symple/4")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(commands::replay::command())
        .subcommand(commands::parity::command())
        .subcommand(commands::record::command())
        .subcommand(commands::js_client::command())
        .subcommand(commands::client::command())
        .subcommand(commands::deviations::command())
        .subcommand(commands::draft::command());
    let matches = match command.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let result = tokio::runtime::Runtime::new().map_err(Problem::from).and_then(|runtime| {
        runtime.block_on(async {
            match matches.subcommand() {
                Some(("replay", flags)) => commands::replay::run(flags).await,
                Some(("parity", flags)) => commands::parity::run(flags).await,
                Some(("record", flags)) => commands::record::run(flags).await,
                Some(("js-client", flags)) => commands::js_client::run(flags).await,
                Some(("client", flags)) => commands::client::run(flags).await,
                Some(("deviations", flags)) => commands::deviations::run(flags),
                Some(("draft", flags)) => commands::draft::run(flags).await,
                _ => Err(Problem("there is no such command".into())),
            }
        })
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Problem(problem)) => {
            eprintln!("symple-conformance: {problem}");
            ExitCode::from(USAGE)
        }
    }
}
