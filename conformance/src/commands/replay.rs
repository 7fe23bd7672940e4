//! `symple-conformance replay`

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Value, json};
use symple_conformance::{
    Failure, RunOptions, Target, Transcript, Verdict,
    deviation::{Declarations, OPEN},
    run_all,
};

use crate::Problem;

pub(crate) fn command() -> Command {
    Command::new("replay")
        .about("Replays transcripts against a target")
        .args(common_arguments())
        .arg(
            Arg::new("json")
                .long("json")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Writes the results to a file, as JSON"),
        )
}

/// What all commands that replay need to know.
pub(crate) fn common_arguments() -> [Arg; 7] {
    [
        Arg::new("target")
            .long("target")
            .value_name("TARGET")
            .default_value("engine")
            .value_parser(value_parser!(Target))
            .help("engine, tokio, async-std, ws://HOST:PORT, cmd:COMMAND or node:DIR"),
        Arg::new("only")
            .long("only")
            .value_name("PATTERN")
            .help("Only transcripts whose name contains this; * stands for anything"),
        Arg::new("jobs")
            .long("jobs")
            .value_name("COUNT")
            .default_value("8")
            .value_parser(value_parser!(u16))
            .help("How many transcripts are replayed at the same time"),
        Arg::new("timeout")
            .long("timeout")
            .value_name("SECONDS")
            .default_value("10")
            .value_parser(value_parser!(u16))
            .help("How much longer anything may take than it took when it was recorded"),
        Arg::new("whole-silences")
            .long("whole-silences")
            .action(ArgAction::SetTrue)
            .help("Watch silences on sockets for as long as was recorded"),
        Arg::new("deviations")
            .long("deviations")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help("Declared differences; those of the specification if none are given"),
        Arg::new("paths")
            .value_name("PATH")
            .action(ArgAction::Append)
            .value_parser(value_parser!(PathBuf))
            .help("Transcripts, or folders of them; those that come with this program if none"),
    ]
}

/// The target that is asked for, or the one that is meant without it. If it is a server that should be
/// running, it is: every transcript would fail otherwise, each after its time.
pub(crate) async fn target(flags: &ArgMatches, default: Target) -> Result<Target, Problem> {
    let target = flags.get_one::<Target>("target").cloned().unwrap_or(default);
    target.check_reachable().await?;
    Ok(target)
}

/// The transcripts that are asked for.
pub(crate) fn transcripts(flags: &ArgMatches) -> Result<Vec<Transcript>, Problem> {
    let paths: Vec<_> = flags.get_many::<PathBuf>("paths").into_iter().flatten().cloned().collect();
    let mut transcripts =
        if paths.is_empty() { Transcript::built_in()? } else { Transcript::read_all(&paths)? };
    if let Some(pattern) = flags.get_one::<String>("only") {
        transcripts.retain(|transcript| matches(pattern, &transcript.header.name));
    }
    if transcripts.is_empty() {
        return Err(Problem("there are no such transcripts".into()));
    }
    Ok(transcripts)
}

/// How they are replayed.
pub(crate) fn options(flags: &ArgMatches) -> RunOptions {
    let number = |name| flags.get_one::<u16>(name).copied().unwrap_or(1);
    let patience = Duration::from_secs(number("timeout").into());
    RunOptions {
        jobs: number("jobs").into(),
        patience,
        whole_silences: flags.get_flag("whole-silences"),
    }
}

/// The differences that are declared.
pub(crate) fn declarations(flags: &ArgMatches) -> Result<Arc<Declarations>, Problem> {
    let declarations = match flags.get_one::<PathBuf>("deviations") {
        Some(folder) => Declarations::read(folder)?,
        None => Declarations::of_the_specification()?,
    };
    Ok(Arc::new(declarations))
}

/// True if the parts of the pattern between its stars stand in the name, in their order.
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = name;
    pattern.split('*').all(|part| {
        let found = rest.find(part);
        rest = found.map_or("", |at| &rest[at + part.len()..]);
        found.is_some()
    })
}

pub(crate) async fn run(flags: &ArgMatches) -> Result<bool, Problem> {
    let transcripts = transcripts(flags)?;
    let declarations = declarations(flags)?;
    let target = target(flags, Target::Engine).await?;
    let results =
        run_all(&target, transcripts, declarations, options(flags), |transcript, verdict| {
            let name = &transcript.header.name;
            match verdict {
                Verdict::Passed { because, .. } if because.is_empty() => {
                    println!("passed   {name}");
                }
                Verdict::Passed { because, .. } => {
                    println!("passed   {name}  ({})", because.join(" "));
                }
                Verdict::Skipped(reason) => println!("skipped  {name}: {reason}"),
                Verdict::Failed(failures) => println!("FAILED   {name}  {}", all(failures)),
            }
        })
        .await;
    let count =
        |is: fn(&Verdict) -> bool| results.iter().filter(|(_, verdict)| is(verdict)).count();
    let passed = count(|verdict| matches!(verdict, Verdict::Passed { .. }));
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped(_)));
    if let Some(path) = flags.get_one::<PathBuf>("json") {
        let results: Vec<_> = results.iter().map(|(of, verdict)| as_json(of, verdict)).collect();
        let report = json!({
            "target": target.to_string(),
            "passed": passed,
            "failed": failed,
            "skipped": skipped,
            "results": results,
        });
        fs::write(path, format!("{report:#}\n"))?;
    }
    let shortened: usize = results
        .iter()
        .map(|(_, verdict)| match verdict {
            Verdict::Passed { shortened, .. } => *shortened,
            _ => 0,
        })
        .sum();
    if shortened > 0 {
        println!(
            "{shortened} silences were watched for {} ms instead of as long as recorded \
             (--whole-silences)",
            target.watched_silence().as_millis()
        );
    }
    let open = results.iter().filter(|(_, verdict)| {
        matches!(verdict, Verdict::Passed { because, .. } if because.iter().any(|id| id == OPEN))
    });
    let open = open.count();
    if open > 0 {
        println!("{open} passed with differences that nobody has explained: '{OPEN}'");
    }
    if skipped > 0 {
        println!("{skipped} skipped");
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// All differences of a transcript.
pub(crate) fn all(failures: &[Failure]) -> String {
    let failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
    failures.join("\n  ")
}

fn as_json(transcript: &Transcript, verdict: &Verdict) -> Value {
    let name = &transcript.header.name;
    match verdict {
        Verdict::Passed { because, shortened } => {
            json!({
                "name": name, "verdict": "passed", "deviations": because,
                "shortened": shortened,
            })
        }
        Verdict::Skipped(reason) => {
            json!({ "name": name, "verdict": "skipped", "reason": reason })
        }
        Verdict::Failed(failures) => {
            let failures: Vec<_> = failures
                .iter()
                .map(|Failure { seq, expected, seen }| {
                    json!({ "event": seq, "expected": expected, "seen": seen })
                })
                .collect();
            json!({ "name": name, "verdict": "failed", "failures": failures })
        }
    }
}
