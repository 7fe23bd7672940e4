//! The command line.

use clap::Command;

use crate::settings::flags::{PRECEDENCE, settings};

/// The command line of the program.
pub(crate) fn command() -> Command {
    Command::new("symple")
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
        .subcommand(crate::emit::command())
        .subcommand(crate::bench::command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        command().debug_assert();
    }
}
