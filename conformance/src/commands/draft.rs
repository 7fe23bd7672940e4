//! `symple-conformance draft`

use std::{fs, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use symple_conformance::{Transcript, draft};

use crate::Problem;

pub(crate) fn command() -> Command {
    Command::new("draft")
        .about(
            "Writes what the engine does where something else was recorded; the reasons are yours",
        )
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Where the declarations are written"),
        )
        .arg(
            Arg::new("paths")
                .value_name("PATH")
                .required(true)
                .action(ArgAction::Append)
                .value_parser(value_parser!(PathBuf))
                .help("Transcripts, or folders of them"),
        )
}

pub(crate) async fn run(flags: &ArgMatches) -> Result<bool, Problem> {
    let paths: Vec<_> = flags.get_many::<PathBuf>("paths").into_iter().flatten().cloned().collect();
    let out = flags.get_one::<PathBuf>("out").cloned().unwrap_or_default();
    fs::create_dir_all(&out)?;
    for transcript in Transcript::read_all(&paths)? {
        let differences = draft(&transcript).await.map_err(Problem)?;
        if differences.is_empty() {
            continue;
        }
        let mut text = String::new();
        for difference in &differences {
            text += &serde_json::to_string(difference)?;
            text.push('\n');
        }
        fs::write(out.join(format!("{}.jsonl", transcript.header.name)), text)?;
    }
    Ok(true)
}
