//! The flags of the settings, made from their table.

use clap::{Arg, ArgAction};

use super::table::{JWT, REDIS, SETTINGS, Setting};

/// Which value of a setting counts.
pub(crate) const PRECEDENCE: &str = "A flag wins over the environment, the environment over a \
                                     file .env in the current folder.";

/// A flag for each setting.
pub(crate) fn settings() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().map(flag)
}

/// A flag for each setting that is about Redis, for commands that need no server.
pub(crate) fn redis_settings() -> impl Iterator<Item = Arg> {
    SETTINGS
        .iter()
        .filter(|setting| setting.group == REDIS)
        .map(|setting| flag(setting).global(true))
}

/// The flag of one setting.
#[cfg(feature = "admin")]
pub(crate) fn setting(name: &str) -> Option<Arg> {
    SETTINGS.iter().find(|setting| setting.name == name).map(flag)
}

/// A flag for each setting that is about JSON Web Tokens, for commands that need no server.
pub(crate) fn jwt_settings() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().filter(|setting| setting.group == JWT).map(|setting| flag(setting).global(true))
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
    } else if setting.name == "listen" {
        arg.action(ArgAction::Append)
    } else {
        arg
    }
}
