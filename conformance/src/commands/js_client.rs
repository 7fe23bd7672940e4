//! `symple-conformance js-client`

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use symple_conformance::{Check, KNOWN_FAULTS, Target, js_client};

use crate::Problem;

use super::replay;

pub(crate) fn command() -> Command {
    Command::new("js-client")
        .about("Drives the JavaScript client against a target; checks what the application sees")
        .arg(
            Arg::new("folder")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The client: a checkout, with the package ws"),
        )
        .arg(target_option())
}

pub(crate) async fn run(flags: &ArgMatches) -> Result<bool, Problem> {
    let target = replay::target(flags, Target::Tokio).await?;
    let folder = flags.get_one::<PathBuf>("folder").cloned().unwrap_or_default();
    let checks = js_client(&folder, &target, print).await?;
    Ok(judge(&target, &checks, KNOWN_FAULTS))
}

/// Says what came of a check.
pub(super) fn print(check: &Check) {
    match &check.failure {
        None => println!("passed  {}", check.name),
        Some(failure) => println!("FAILED  {}: {failure}", check.name),
    }
}

/// Whether all is as it should be: nothing failed, or of the original server just what is known to.
pub(super) fn judge(target: &Target, checks: &[Check], faults: &[(&str, &str)]) -> bool {
    let failed: Vec<_> = checks.iter().filter(|check| check.failure.is_some()).collect();
    let known = |check: &Check| {
        faults.iter().find(|(name, _)| *name == check.name).map(|(_, deviation)| *deviation)
    };
    let fine = if matches!(target, Target::Node(_)) {
        for check in &failed {
            println!("{}: {}", known(check).unwrap_or("NOT a known fault"), check.name);
        }
        failed.iter().all(|check| known(check).is_some()) && failed.len() == faults.len()
    } else {
        failed.is_empty()
    };
    println!("{} passed, {} failed", checks.len() - failed.len(), failed.len());
    fine
}

/// What the client is driven against.
pub(super) fn target_option() -> Arg {
    Arg::new("target")
        .long("target")
        .value_name("TARGET")
        .default_value("tokio")
        .value_parser(value_parser!(Target))
        .help("tokio, async-std, ws://HOST:PORT, cmd:COMMAND or node:DIR")
}
