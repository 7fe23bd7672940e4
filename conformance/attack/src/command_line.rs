//! What the program can be told, and how it ends.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use symple_attack::{ATTACKS, Options, run as attack};

/// What was asked for cannot be done as it was asked for.
const USAGE: u8 = 2;

/// Why the program ends before it has done what it was asked for.
struct Problem(String);

impl<E: std::fmt::Display> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Runs the program: 0 if all attacks were held off, 1 if not, 2 if that makes no sense.
pub(crate) fn main() -> ExitCode {
    let flags = match command().try_get_matches() {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match run(&flags) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Problem(problem)) => {
            eprintln!("symple-attack: {problem}");
            ExitCode::from(USAGE)
        }
    }
}

fn command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("symple-attack")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Attacks a server of its own in every known way, and says which bounds held")
        .arg(
            Arg::new("server")
                .long("server")
                .value_name("PATH")
                .value_parser(value_parser!(PathBuf))
                .help("The program symple [default: beside this program]"),
        )
        .arg(
            Arg::new("hooked")
                .long("hooked")
                .value_name("PATH")
                .value_parser(value_parser!(PathBuf))
                .help("The server with hooks [default: examples/hooked beside the server]"),
        )
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("PATTERN")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help("Only attacks whose name contains this; several, comma-separated"),
        )
        .arg(
            Arg::new("except")
                .long("except")
                .value_name("PATTERN")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help("No attacks whose name contains this"),
        )
        .arg(flag("list", "Say which attacks there are"))
        .arg(flag(
            "lenient",
            "Fail for no bound that a busy machine can break: times, and what follows from them",
        ))
        .arg(
            Arg::new("outage")
                .long("outage")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(5..=500))
                .default_value("30")
                .help("How long the receiver of webhooks is away; 300 to measure"),
        )
        .arg(flag("quick", "Smaller crowds, shorter attacks"))
        .arg(
            Arg::new("json")
                .long("json")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write the results for programs to read"),
        )
}

fn run(flags: &ArgMatches) -> Result<bool, Problem> {
    let patterns = |name: &str| -> Vec<String> {
        flags.get_many::<String>(name).into_iter().flatten().cloned().collect()
    };
    let (only, except) = (patterns("only"), patterns("except"));
    let named = |patterns: &[String], name: &str| patterns.iter().any(|p| name.contains(&**p));
    let attacks: Vec<_> = ATTACKS
        .iter()
        .filter(|attack| only.is_empty() || named(&only, attack.name))
        .filter(|attack| !named(&except, attack.name))
        .copied()
        .collect();
    if attacks.is_empty() {
        return Err(Problem("there are no such attacks".into()));
    }
    if flags.get_flag("list") {
        for attack in attacks {
            println!("{:<20} {}", attack.name, attack.about);
        }
        return Ok(true);
    }
    let program = match flags.get_one::<PathBuf>("server") {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("symple"),
    };
    if !program.is_file() {
        let problem = "there is no program {}: build it (cargo build -p symple-cli), or say where \
                       it is (--server PATH)";
        return Err(Problem(problem.replace("{}", &program.display().to_string())));
    }
    // As cargo builds it beside the server.
    let hooked = program.with_file_name("examples").join("hooked");
    let hooked = flags.get_one::<PathBuf>("hooked").cloned().unwrap_or(hooked);
    if attacks.iter().any(|attack| attack.name.starts_with("hooks-")) && !hooked.is_file() {
        let problem = "there is no program {}: build it (cargo build -p symple-attack --example hooked), \
                       say where it is (--hooked PATH), or leave it out (--except hooks-)";
        return Err(Problem(problem.replace("{}", &hooked.display().to_string())));
    }
    let outage = flags.get_one::<u64>("outage").copied().unwrap_or(30);
    let (quick, outage) = (flags.get_flag("quick"), Duration::from_secs(outage));
    let options = Options { program, hooked, quick, outage };
    let outcomes = attack(&options, &attacks, |outcome| println!("{}", outcome.table()))?;
    let held = outcomes.iter().filter(|outcome| outcome.held()).count();
    for outcome in &outcomes {
        let broken = outcome.checks.iter().filter(|check| !check.held).count();
        match broken {
            0 => println!("held      {}", outcome.name),
            _ => println!("NOT HELD  {} ({broken} of {})", outcome.name, outcome.checks.len()),
        }
    }
    let seconds: f64 = outcomes.iter().map(|outcome| outcome.seconds).sum();
    println!("{held} of {} attacks held off, in {seconds:.0} s", outcomes.len());
    if let Some(path) = flags.get_one::<PathBuf>("json") {
        std::fs::write(path, serde_json::to_string_pretty(&outcomes)?)?;
    }
    let lenient = flags.get_flag("lenient");
    Ok(outcomes.iter().all(|outcome| outcome.held() || lenient && outcome.held_but_for_noise()))
}
