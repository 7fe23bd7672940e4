//! `symple bench`: load for a server, and what becomes of it.

mod message;
mod process;
mod report;
mod swarm;
mod workload;

use std::{net::ToSocketAddrs, time::Duration};

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::Failure;
use process::Process;
use swarm::Target;
use workload::{Connect, Direct, FanOut, Plan, idle};

/// The command line of `symple bench`.
pub(crate) fn command() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).value_parser(value_parser!(u32)).help(help)
    };
    Command::new("bench")
        .about("Puts load on a server and tells what becomes of it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            Arg::new("url")
                .long("url")
                .global(true)
                .default_value("ws://127.0.0.1:4500/")
                .help("The server, ws://HOST:PORT/PATH"),
        )
        .arg(
            Arg::new("pid")
                .long("pid")
                .global(true)
                .value_parser(value_parser!(u32))
                .help("The server's process, to tell its CPU time and memory"),
        )
        .arg(number("seconds", "5", "How long to measure").global(true))
        .arg(number("payload", "128", "Bytes of data in a message").global(true))
        .subcommand(
            Command::new("fan-out")
                .about("One room, its members receive what senders send")
                .arg(number("receivers", "200", "How many members receive"))
                .arg(number("senders", "1", "How many members send"))
                .arg(number("window", "1", "How many messages of each are outstanding")),
        )
        .subcommand(
            Command::new("direct")
                .about("Pairs that answer each other with direct messages")
                .arg(number("pairs", "50", "How many pairs"))
                .arg(number("window", "1", "How many messages of each pair are outstanding")),
        )
        .subcommand(Command::new("connect").about("Connections that come and go").arg(number(
            "count",
            "2000",
            "How many connections",
        )))
        .subcommand(Command::new("idle").about("Connections that are held").arg(number(
            "count",
            "5000",
            "How many connections",
        )))
}

fn target(url: &str) -> Result<Target, Failure> {
    let rest =
        url.strip_prefix("ws://").ok_or_else(|| Failure::usage("the URL must begin with ws://"))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let address = host.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    let address =
        address.ok_or_else(|| Failure::usage(format!("there is no address for {host}")))?;
    Ok(Target { address, host: host.into(), path: path.into() })
}

/// Runs a workload.
pub(crate) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((name, flags)) = matches.subcommand() else {
        return Err(Failure::usage("there is no such workload"));
    };
    let number = |name: &str| flags.get_one::<u32>(name).copied().unwrap_or_default();
    let count = |name: &str| number(name) as usize;
    let url = flags.get_one::<String>("url").map_or("", String::as_str);
    let plan = Plan {
        target: target(url)?,
        server: flags.get_one::<u32>("pid").copied().map(Process),
        duration: Duration::from_secs(number("seconds").into()),
        warmup: Duration::from_secs(1),
        payload: count("payload"),
    };
    match name {
        "fan-out" => FanOut::run(&plan, count("receivers"), count("senders"), number("window"))
            .map(|report| println!("fan-out: {report}")),
        "direct" => Direct::run(&plan, count("pairs"), number("window"))
            .map(|report| println!("direct: {report}")),
        "connect" => Connect::run(&plan, count("count")).map(|[connect, disconnect]| {
            println!("connect: {connect}");
            println!("disconnect: {disconnect}");
        }),
        _ => idle(&plan, count("count")).map(|report| println!("idle: {report}")),
    }
    .map_err(Failure::crash)
}
