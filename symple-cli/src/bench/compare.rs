//! `symple bench compare`: every workload against this server and the Node server, in turns, and
//! a page about it.

mod case;
mod page;
mod plot;
mod server;
mod summary;

use std::{fs, io, path::Path, path::PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::{Failure, input::print, stderr};

use case::CASES;
use server::Kind;
use summary::Results;

const ABOUT: &str = "\
Runs every workload against this server and against the Node server (symple-server, with its \
dependencies installed), in turns, each time with a server of its own, and compares the medians. \
Writes results.json, table.md, cpu.svg and latency.svg to a folder, and puts the table into a \
page. The exit code is 0 if every run went well, whatever the figures are.

It takes about ten minutes, and the machine should have nothing else to do.";

/// The command line.
pub(crate) fn command() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        let parser = value_parser!(u32).range(1..=1000);
        Arg::new(name).long(name).default_value(default).value_parser(parser).help(help)
    };
    let folder = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_parser(value_parser!(PathBuf)).help(help)
    };
    Command::new("compare")
        .about("All workloads against this server and the Node server, and a page about it")
        .long_about(ABOUT)
        .arg(folder("node", "The folder of the Node server; without it, only this one is measured"))
        .arg(folder("out", "Where the results go").required(true))
        .arg(folder("page", "A Markdown file: the table goes between its marks"))
        .arg(number("repeats", "3", "How often everything is done"))
        .arg(
            Arg::new("only")
                .long("only")
                .value_delimiter(',')
                .help("Workloads by their name in the table, such as direct; all if none is given"),
        )
        .arg(
            Arg::new("note")
                .long("note")
                .default_value("")
                .help("What to say about the machine, such as: idle, two cores"),
        )
        .arg(
            Arg::new("serve")
                .num_args(..)
                .last(true)
                .help("Flags for symple serve, beside --rate-limit 0"),
        )
}

/// Compares.
pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let path = |name: &str| flags.get_one::<PathBuf>(name);
    let number = |name: &str| flags.get_one::<u32>(name).copied().unwrap_or(1);
    let words = |name: &str| -> Vec<String> {
        flags.get_many::<String>(name).into_iter().flatten().cloned().collect()
    };
    let Some(out) = path("out") else { return Err(Failure::usage("--out is missing")) };
    let mut kinds = vec![Kind::Symple(words("serve"))];
    if let Some(folder) = path("node") {
        if !folder.join("server.js").is_file() {
            return Err(Failure::usage(format!("there is no server.js in {}", folder.display())));
        }
        kinds.push(Kind::Node(folder.clone()));
    }
    let only = words("only");
    if let Some(name) = only.iter().find(|name| CASES.iter().all(|case| case.name != **name)) {
        let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        return Err(Failure::usage(format!("no workload {name}: {}", names.join(", "))));
    }
    let page = path("page");
    // Whatever cannot be written shall be known before it takes an hour.
    fs::create_dir_all(out).map_err(|error| cannot_write(out, &error))?;
    if let Some(page) = page {
        page::check(page).map_err(Failure::usage)?;
    }

    let note = flags.get_one::<String>("note").map_or("", String::as_str);
    let seconds = number("seconds");
    let mut results = Results::new(note, seconds, number("repeats"), &kinds);
    for repeat in 1..=number("repeats") {
        for case in
            CASES.iter().filter(|case| only.is_empty() || only.iter().any(|n| n == case.name))
        {
            for kind in &kinds {
                let run = server::measure(kind, case, seconds);
                let outcome = run.as_ref().map_or_else(String::as_str, |_| "done");
                let line = format!("{repeat}: {}, {}: {outcome}\n", case.name, kind.name());
                stderr::write(line);
                results.enter(kind, case, run);
            }
        }
        // What has been measured is not lost when the rest fails.
        let write = |name: &str, text: String| {
            let file = out.join(name);
            fs::write(&file, text).map_err(|error| cannot_write(&file, &error))
        };
        write("results.json", results.json())?;
        write("table.md", results.table())?;
        write("cpu.svg", plot::cpu(&results).map_err(Failure::crash)?)?;
        write("latency.svg", plot::latency(&results).map_err(Failure::crash)?)?;
    }
    if let Some(page) = page {
        page::replace(page, &results.table()).map_err(|error| cannot_write(page, &error))?;
    }
    print(&results.table())?;
    match results.failures() {
        0 => Ok(()),
        count => Err(Failure::crash(format!("{count} runs failed; results.json says why"))),
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}
