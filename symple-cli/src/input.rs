//! What commands read and write.

use std::io::{self, Read as _, Write as _};

use clap::{Arg, ArgMatches};
use symple_proto::RawJson;

use crate::Failure;

/// The arguments of what a frame says: JSON, a text, or the frame as it is in the place of `parts`.
pub(crate) fn content_arguments(parts: &[&'static str]) -> [Arg; 3] {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    [
        text("data", "JSON", "What it says; - reads it from standard input"),
        text("text", "TEXT", "What it says, as a text; - reads it from standard input")
            .conflicts_with("data"),
        text(
            "frame",
            "JSON",
            "The frame as it is, with whom it is for; - reads it from standard input",
        )
        .conflicts_with_all(["data", "text"].iter().chain(parts)),
    ]
}

/// What a frame says, as the arguments have it.
pub(crate) fn read_content(flags: &ArgMatches) -> Result<Option<RawJson>, Failure> {
    if let Some(data) = flags.get_one::<String>("data") {
        let data = RawJson::parse(read_input(data)?.trim());
        return data
            .map(Some)
            .map_err(|error| Failure::usage(format!("the data is no JSON: {error}")));
    }
    let Some(said) = flags.get_one::<String>("text") else { return Ok(None) };
    Ok(Some(RawJson::string(read_input(said)?.trim_end_matches(['\r', '\n']))))
}

/// The argument, or what standard input has if that is `-` or empty.
pub(crate) fn read_input(argument: &str) -> Result<String, Failure> {
    if !argument.is_empty() && argument != "-" {
        return Ok(argument.into());
    }
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    Ok(text)
}

/// Prints a text on standard output, and all that `println!` would be used for: that panics where
/// it cannot write. Whoever reads it may have read enough.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::crash(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
