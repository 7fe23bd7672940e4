//! The command line, made from the table of settings.

use clap::{Arg, ArgAction, Command};

use crate::settings::{REDIS, SETTINGS, Setting};

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

pub(crate) const PRECEDENCE: &str = "A flag wins over the environment, the environment over a file .env in \
                          the current folder.";

/// A flag for each setting.
fn settings() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().map(flag)
}

/// A flag for each setting that is about Redis, for commands that need no server.
pub(crate) fn redis_settings() -> impl Iterator<Item = Arg> {
    SETTINGS
        .iter()
        .filter(|setting| setting.group == REDIS)
        .map(|setting| flag(setting).global(true))
}

fn flag(setting: &Setting) -> Arg {
    let default = match setting.default {
        "" => String::new(),
        default => format!("; default {default}"),
    };
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value)
        .help(format!("{} [env {}{default}]", setting.help, setting.env.join(", ")))
        .help_heading(setting.group)
        // -1 is no flag.
        .allow_negative_numbers(true)
        .action(ArgAction::Set);
    if setting.value == "BOOL" {
        // `--authentication` alone means what it says.
        arg.num_args(0..=1).default_missing_value("true")
    } else {
        arg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        command().debug_assert();
    }
}
