//! `symple-conformance draft`

use std::{fs, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use symple_conformance::{Target, deviation::OPEN, draft};

use crate::Problem;

use super::replay::{self, common_arguments, transcripts};

pub(crate) fn command() -> Command {
    Command::new("draft")
        .about("Writes what a target does where something else was recorded; the reasons are yours")
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Where the declarations are written"),
        )
        .arg(
            Arg::new("because")
                .long("because")
                .value_name("ID")
                .action(ArgAction::Append)
                .default_value(OPEN)
                .help("The reason of all differences: D-… or R-…, also several times"),
        )
        .args(
            common_arguments().into_iter().filter(|argument| {
                ["target", "only", "paths"].contains(&argument.get_id().as_str())
            }),
        )
}

pub(crate) async fn run(flags: &ArgMatches) -> Result<bool, Problem> {
    let target = replay::target(flags, Target::Engine).await?;
    let because: Vec<_> =
        flags.get_many::<String>("because").into_iter().flatten().cloned().collect();
    let out = flags.get_one::<PathBuf>("out").cloned().unwrap_or_default();
    let transcripts = transcripts(flags)?;
    fs::create_dir_all(&out)?;
    let mut redis = None;
    let mut all = true;
    for transcript in transcripts {
        let name = &transcript.header.name;
        match draft(&transcript, &target, &because, &mut redis).await {
            Ok(differences) => {
                println!("{:>4} differences  {name}", differences.len());
                if differences.is_empty() {
                    continue;
                }
                let mut text = String::new();
                for difference in &differences {
                    text += &serde_json::to_string(difference)?;
                    text.push('\n');
                }
                fs::write(out.join(format!("{name}.jsonl")), text)?;
            }
            Err(problem) => {
                all = false;
                println!("NOT DRAFTED       {name}: {problem}");
            }
        }
    }
    println!("replay with: --target '{target}' --deviations {}", out.display());
    Ok(all)
}
