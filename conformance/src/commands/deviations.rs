//! `symple-conformance deviations`

use clap::{Arg, ArgMatches, Command};
use symple_conformance::{
    Transcript,
    deviation::{self, Declarations},
};

use crate::Problem;

pub(crate) fn command() -> Command {
    Command::new("deviations")
        .about("Prints where the specification differs from the original server, and why")
        .arg(Arg::new("id").value_name("ID").help("Only this one, with all its transcripts"))
}

pub(crate) fn run(flags: &ArgMatches) -> Result<bool, Problem> {
    let declarations = Declarations::of_the_specification()?;
    let transcripts = Transcript::built_in()?;
    let Some(id) = flags.get_one::<String>("id") else {
        print!("{}", declarations.table(&transcripts));
        return Ok(true);
    };
    let deviation =
        deviation::find(id).ok_or_else(|| Problem(format!("there is no deviation '{id}'")))?;
    println!("{}: {} ({})", deviation.id, deviation.reason, deviation.rules);
    for name in declarations.shown_by(id, &transcripts) {
        println!("{name}");
    }
    Ok(true)
}
