//! The command line.

use clap::{Command, Error, error::ContextValue};

use crate::{
    settings::flags::{PRECEDENCE, settings},
    text::{escape, one_line},
};

/// How much is repeated of something that makes no sense.
const REPEATED: usize = 100;
/// How long the text is at most that says what is wrong with a command line.
const EXPLAINED: usize = 8000;

/// The command line of the program.
pub(crate) fn command() -> Command {
    let program = Command::new("symple")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Realtime messaging and presence over WebSocket (symple/4)")
        .subcommand_required(true)
        .arg_required_else_help(true)
        // Of several values the last one counts.
        .args_override_self(true)
        .subcommand(
            Command::new("serve")
                .about("Runs a server")
                .long_about(
                    "Runs a server until SIGTERM or SIGINT; a second signal ends it at once. \
                     SIGHUP reads the TLS files again.",
                )
                .args(settings())
                .after_help(PRECEDENCE),
        )
        .subcommand(
            Command::new("check-config")
                .about("Prints the settings that a server would run with, and where they come from")
                .args(settings())
                .after_help(PRECEDENCE),
        )
        .subcommand(crate::session::command())
        .subcommand(crate::token::command())
        .subcommand(crate::emit::command())
        .subcommand(crate::listen::command())
        .subcommand(crate::send::command())
        .subcommand(crate::chat::command())
        .subcommand(crate::call::command());
    #[cfg(feature = "admin")]
    let program = program.subcommand(crate::ctl::command());
    #[cfg(feature = "bench")]
    let program = program.subcommand(crate::bench::command());
    program
}

/// What is wrong with a command line, and how it should be: in several lines, but each part of it
/// that is repeated is short and printable.
pub(crate) fn explain(mut error: Error) -> String {
    let repeated: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, one_line(text, REPEATED))),
            _ => None,
        })
        .collect();
    for (kind, text) in repeated {
        error.insert(kind, ContextValue::String(text));
    }
    escape(&error.render().to_string(), EXPLAINED, |c| c == '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        command().debug_assert();
    }
}
