//! stub
use crate::Failure;
use clap::{ArgMatches, Command};
pub(crate) fn command() -> Command {
    Command::new("compare")
}
pub(crate) fn run(_: &ArgMatches) -> Result<(), Failure> {
    Ok(())
}
