//! `symple-conformance client`

use clap::{Arg, ArgMatches, Command, value_parser};
use symple_async_std::AsyncStd;
use symple_conformance::{Check, FAULTS_FOR_OUR_CLIENT, Target, rust_client};
use symple_tokio::Tokio;

use crate::Problem;

pub(crate) fn command() -> Command {
    Command::new("client")
        .about("Drives our own client against a target; checks what the application sees")
        .arg(
            Arg::new("target")
                .long("target")
                .value_name("TARGET")
                .default_value("tokio")
                .value_parser(value_parser!(Target))
                .help("tokio, async-std, ws://HOST:PORT, cmd:COMMAND or node:DIR"),
        )
        .arg(
            Arg::new("runtime")
                .long("runtime")
                .value_name("RUNTIME")
                .default_value("tokio")
                .value_parser(["tokio", "async-std"])
                .help("What the client runs on"),
        )
}

pub(crate) async fn run(flags: &ArgMatches) -> Result<bool, Problem> {
    let target = flags.get_one::<Target>("target").cloned().unwrap_or(Target::Tokio);
    let report = |check: &Check| match &check.failure {
        None => println!("passed  {}", check.name),
        Some(failure) => println!("FAILED  {}: {failure}", check.name),
    };
    let checks = match flags.get_one::<String>("runtime").map(String::as_str) {
        Some("async-std") => rust_client::<AsyncStd>(&target, report).await?,
        _ => rust_client::<Tokio>(&target, report).await?,
    };
    let failed: Vec<_> = checks.iter().filter(|check| check.failure.is_some()).collect();
    let known = |check: &Check| FAULTS_FOR_OUR_CLIENT.iter().find(|(name, _)| *name == check.name);
    let fine = if matches!(target, Target::Node(_)) {
        for check in &failed {
            println!("{}: {}", known(check).map_or("NOT a known fault", |k| k.1), check.name);
        }
        failed.iter().all(|check| known(check).is_some())
            && failed.len() == FAULTS_FOR_OUR_CLIENT.len()
    } else {
        failed.is_empty()
    };
    println!("{} passed, {} failed", checks.len() - failed.len(), failed.len());
    Ok(fine)
}
