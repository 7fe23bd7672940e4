//! What the program can be told, and how it ends.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use tokio::runtime::Runtime;

use crate::{
    cases::{CASES, Case, LONGEST},
    fault::Fault,
    node,
    report::Outcome,
    stage::Options,
    teller,
};

/// What was asked for cannot be done as it was asked for.
const USAGE: u8 = 2;

/// Runs the program: 0 if all bounds held, 1 if not, 2 if what was asked for makes no sense.
pub(crate) fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return problem(&error.to_string()),
    };
    // What the processes are told that this program starts of itself.
    let role = (arguments.next(), arguments.next());
    if let (Some(role @ ("node" | "tellers")), Some(setup)) = (role.0.as_deref(), &role.1) {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
        let ran = runtime.block_on(async {
            if role == "node" { node::run(setup).await } else { teller::run(setup).await }
        });
        runtime.shutdown_background();
        return match ran {
            Ok(()) => ExitCode::SUCCESS,
            Err(Fault(why)) => problem(&why),
        };
    }
    let flags = match command().try_get_matches() {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match run(&runtime, &flags) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Fault(why)) => problem(&why),
    }
}

fn problem(why: &str) -> ExitCode {
    eprintln!("symple-cluster: {why}");
    ExitCode::from(USAGE)
}

fn command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let path = |name| Arg::new(name).long(name).value_parser(value_parser!(PathBuf));
    Command::new("symple-cluster")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Measures how a cluster of its own recovers, and what it costs Redis")
        .arg(
            Arg::new("redis-server")
                .long("redis-server")
                .value_name("PATH")
                .default_value("redis-server")
                .help("The program redis-server"),
        )
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("NAME")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help("Only these cases; several, comma-separated"),
        )
        .arg(flag("list", "Say which cases there are"))
        .arg(flag("quick", "Fewer peers, and shorter"))
        .arg(path("json").value_name("FILE").help("Write the results for programs to read"))
        .arg(path("logs").value_name("FOLDER").help("Keep the nodes' logs here"))
}

fn run(runtime: &Runtime, flags: &ArgMatches) -> Result<bool, Fault> {
    let only: Vec<&String> = flags.get_many("only").into_iter().flatten().collect();
    if let Some(unknown) = only.iter().find(|name| !CASES.iter().any(|case| case.name == ***name)) {
        return Err(Fault(format!("there is no case {}", unknown.escape_debug())));
    }
    let cases =
        CASES.iter().filter(|case| only.is_empty() || only.iter().any(|it| **it == case.name));
    if flags.get_flag("list") {
        for Case { name, about, .. } in cases {
            println!("{name:<16} {about}");
        }
        return Ok(true);
    }
    let options = Options {
        quick: flags.get_flag("quick"),
        redis_server: flags.get_one::<String>("redis-server").cloned().unwrap_or_default(),
        logs: flags.get_one::<PathBuf>("logs").cloned(),
    };
    let mut outcomes = Vec::new();
    for case in cases {
        let begun = Instant::now();
        let ran = runtime
            .block_on(async { tokio::time::timeout(LONGEST, (case.run)(options.clone())).await });
        let broken = |why: String| {
            let mut outcome = Outcome::new(case.name, "could not be carried through");
            outcome.check("the case can be carried through", why, false);
            outcome
        };
        let mut outcome = match ran {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Fault(why))) => broken(why),
            Err(_) => broken("it takes too long".into()),
        };
        outcome.seconds = begun.elapsed().as_secs_f64();
        println!("{}", outcome.table());
        outcomes.push(outcome);
    }
    if let Some(path) = flags.get_one::<PathBuf>("json") {
        std::fs::write(path, serde_json::to_string_pretty(&outcomes)?)?;
    }
    Ok(outcomes.iter().all(Outcome::held))
}
