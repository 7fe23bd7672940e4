//! `symple-conformance client`

use clap::{Arg, ArgMatches, Command};
use symple_async_std::AsyncStd;
use symple_conformance::{FAULTS_FOR_OUR_CLIENT, Target, rust_client};
use symple_tokio::Tokio;

use crate::Problem;

use super::{
    js_client::{judge, print, target_option},
    replay,
};

pub(crate) fn command() -> Command {
    Command::new("client")
        .about("Drives our own client against a target; checks what the application sees")
        .arg(target_option())
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
    let target = replay::target(flags, Target::Tokio).await?;
    let checks = match flags.get_one::<String>("runtime").map(String::as_str) {
        Some("async-std") => rust_client::<AsyncStd>(&target, print).await?,
        _ => rust_client::<Tokio>(&target, print).await?,
    };
    Ok(judge(&target, &checks, FAULTS_FOR_OUR_CLIENT))
}
