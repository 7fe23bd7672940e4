//! What commands read and write.

use std::io::{self, Read as _, Write as _};

use crate::Failure;

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
