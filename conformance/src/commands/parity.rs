//! `symple-conformance parity`

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use symple_conformance::{Target, Transcript, Verdict, run_all};

use crate::Problem;

use super::replay::{self, all, common_arguments, declarations, options, transcripts};

pub(crate) fn command() -> Command {
    Command::new("parity")
        .about("Runs the recorded scenarios against the original server and a target, and compares")
        .arg(
            Arg::new("node")
                .long("node")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The original server: a checkout with its dependencies"),
        )
        .args(common_arguments())
}

pub(crate) async fn run(flags: &ArgMatches) -> Result<bool, Problem> {
    let node = Target::Node(flags.get_one::<PathBuf>("node").cloned().unwrap_or_default());
    let target = replay::target(flags, Target::Engine).await?;
    let options = options(flags);
    let mut transcripts = transcripts(flags)?;
    // Of the others there is nothing that the original server did.
    transcripts.retain(Transcript::is_recorded);
    let declarations = declarations(flags)?;
    let there = run_all(&node, transcripts.clone(), declarations.clone(), options, |_, _| {}).await;
    let here = run_all(&target, transcripts, declarations, options, |_, _| {}).await;
    let (mut same, mut declared, mut undeclared, mut skipped) = (0, 0, 0, 0);
    for ((transcript, there), (_, here)) in there.iter().zip(&here) {
        let name = &transcript.header.name;
        match (there, here) {
            (Verdict::Failed(failures), _) => {
                undeclared += 1;
                println!("UNDECLARED  {name}  {node} is not as recorded {}", all(failures));
            }
            (_, Verdict::Failed(failures)) => {
                undeclared += 1;
                println!("UNDECLARED  {name}  {target} {}", all(failures));
            }
            (Verdict::Skipped(reason), _) | (_, Verdict::Skipped(reason)) => {
                skipped += 1;
                println!("skipped     {name}: {reason}");
            }
            (_, Verdict::Passed { because, .. }) if because.is_empty() => {
                same += 1;
                println!("same        {name}");
            }
            (_, Verdict::Passed { because, .. }) => {
                declared += 1;
                println!("declared    {name}  ({})", because.join(" "));
            }
        }
    }
    if skipped > 0 {
        println!("{skipped} skipped");
    }
    println!("{same} the same, {declared} with declared differences, {undeclared} undeclared");
    Ok(undeclared == 0)
}
