//! `symple-conformance js-client`

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use symple_conformance::{KNOWN_FAULTS, Target, js_client};

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
        .arg(
            Arg::new("target")
                .long("target")
                .value_name("TARGET")
                .default_value("tokio")
                .value_parser(value_parser!(Target))
                .help("tokio, async-std, ws://HOST:PORT, cmd:COMMAND or node:DIR"),
        )
}

pub(crate) async fn run(flags: &ArgMatches) -> Result<bool, Problem> {
    let target = replay::target(flags, Target::Tokio).await?;
    let folder = flags.get_one::<PathBuf>("folder").cloned().unwrap_or_default();
    let checks = js_client(&folder, &target, |check| match &check.failure {
        None => println!("passed  {}", check.name),
        Some(failure) => println!("FAILED  {}: {failure}", check.name),
    })
    .await?;
    let failed: Vec<_> = checks.iter().filter(|check| check.failure.is_some()).collect();
    let fine = if matches!(target, Target::Node(_)) {
        for check in &failed {
            let fault = check.known_fault().unwrap_or("NOT a known fault");
            println!("{fault}: {}", check.name);
        }
        failed.iter().all(|check| check.known_fault().is_some())
            && failed.len() == KNOWN_FAULTS.len()
    } else {
        failed.is_empty()
    };
    println!("{} passed, {} failed", checks.len() - failed.len(), failed.len());
    Ok(fine)
}
