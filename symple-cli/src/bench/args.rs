//! The command line of `symple bench`.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::Failure;

use super::{
    process::Process,
    run::Plan,
    target::Target,
    workload::{DirectShape, FanOutShape, Pace, RoomsShape, SlowShape, StormKind, StormShape},
};

const ABOUT: &str = "\
Puts load on a server and tells what becomes of it: rate, the server's CPU time and memory (with \
--pid), latency, and each delivery that was lost, duplicated, reordered or misdelivered. The exit \
code is 0 only if there was none of these.

The server must let clients send as fast as they can (symple serve --rate-limit 0), and trust \
them (no --authentication). In a closed loop (--window) the next message is sent when an earlier \
one has arrived; in an open loop (--rate) it is sent when its time has come, and latency is \
counted from then.";

const STORM: &str = "\
Many that come into one room within --seconds (come), leave it all at once but for --stay (leave), \
or one more that comes and goes as fast as it is let in, for --seconds (flap). Tells what that \
costs, when the rosters of all are right, and the latency of a message every 7 ms in a room that \
has nothing to do with it, while it happens. The run fails if a roster is wrong in the end, or if \
somebody was told something twice.";

/// The command line.
pub(crate) fn command() -> Command {
    Command::new("bench")
        .about("Puts load on a server and tells what becomes of it")
        .long_about(ABOUT)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(common())
        .subcommand(
            Command::new("fan-out")
                .about("One room, its members receive what senders send")
                .arg(number("receivers", "200", 1, "How many members receive"))
                .arg(number("senders", "1", 1, "How many members send"))
                .args(pace()),
        )
        .subcommand(
            Command::new("direct")
                .about("Pairs that answer each other with direct messages")
                .arg(number("pairs", "50", 1, "How many pairs"))
                .args(pace()),
        )
        .subcommand(
            Command::new("connect")
                .about("Connections that come, 64 at a time, and go")
                .arg(number("count", "2000", 1, "How many connections")),
        )
        .subcommand(
            Command::new("mixed")
                .about("Rooms in which everyone sends now and then; open loop")
                .args(rooms("500", "50"))
                .arg(
                    Arg::new("rates")
                        .long("rates")
                        .default_value("2,8,20")
                        .value_delimiter(',')
                        .value_parser(positive)
                        .help("Messages a second of each client; a run for each"),
                ),
        )
        .subcommand(
            Command::new("idle")
                .about("Connections that are held, and then told something, all of them")
                .arg(number("count", "5000", 1, "How many connections")),
        )
        .subcommand(
            Command::new("slow")
                .about("A room with a member that never reads; open loop (try --payload 1024)")
                .arg(number("receivers", "20", 2, "How many members receive"))
                .arg(real("rate", "5000", "Messages a second")),
        )
        .subcommand(
            Command::new("soak")
                .about("Rooms under the same load for long, with clients that come and go")
                .args(rooms("500", "50"))
                .arg(real("rate", "2", "Messages a second of each client"))
                .arg(
                    Arg::new("churn")
                        .long("churn")
                        .default_value("20")
                        .value_parser(value_parser!(f64))
                        .help("How many further clients come, and go, in a second"),
                ),
        )
        .subcommand(
            Command::new("storm")
                .about("Many that come into a room, leave it, or come and go; and a room beside it")
                .long_about(STORM)
                .arg(number("count", "1000", 2, "How many peers are in the room"))
                .arg(
                    Arg::new("kind")
                        .long("kind")
                        .default_value("come,leave,flap")
                        .value_delimiter(',')
                        .value_parser(["come", "leave", "flap"])
                        .help("What happens; a run for each"),
                )
                .arg(number("stay", "16", 1, "How many stay when the others leave"))
                .arg(
                    Arg::new("roster")
                        .long("roster")
                        .action(ArgAction::SetTrue)
                        .help("The peers are told in batches (extension roster)"),
                ),
        )
        .subcommand(super::compare::command())
}

fn number(name: &'static str, default: &'static str, least: i64, help: &'static str) -> Arg {
    let parser = value_parser!(u32).range(least..=1_000_000);
    Arg::new(name).long(name).default_value(default).value_parser(parser).help(help)
}

fn real(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).default_value(default).value_parser(positive).help(help)
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1e7 => Ok(number),
        _ => Err("must be a number above 0, and no more than 10 million".into()),
    }
}

fn rooms(clients: &'static str, rooms: &'static str) -> [Arg; 2] {
    [
        number("clients", clients, 2, "How many clients, a multiple of the rooms"),
        number("rooms", rooms, 1, "How many rooms"),
    ]
}

fn pace() -> [Arg; 2] {
    [
        number("window", "1", 1, "How many messages of each are outstanding"),
        Arg::new("rate")
            .long("rate")
            .value_parser(positive)
            .conflicts_with("window")
            .help("Messages a second in all, in an open loop instead"),
    ]
}

fn common() -> [Arg; 8] {
    let seconds = value_parser!(u32).range(1..=1_000_000);
    [
        Arg::new("url")
            .long("url")
            .global(true)
            .default_value("ws://127.0.0.1:4500/")
            .help("The server, ws://HOST:PORT/PATH"),
        Arg::new("pid")
            .long("pid")
            .global(true)
            .value_parser(value_parser!(u32))
            .help("The server's process, to tell its CPU time and memory (Linux)"),
        number("seconds", "5", 0, "How long to measure; with idle, how long to hold").global(true),
        real("warm-up", "1", "How many seconds to work before it is measured").global(true),
        Arg::new("patience")
            .long("patience")
            .global(true)
            .default_value("30")
            .value_parser(seconds)
            .help("After how many seconds without a sign of life the run ends"),
        number("payload", "128", 0, "Bytes of data in a message").global(true),
        number(
            "source-addresses",
            "0",
            0,
            "Over how many addresses (127.0.0.1, 127.0.0.2, …) connections to a loopback address \
             are spread, since each has ports for some 28 000; 0 is one for every 10 000",
        )
        .global(true),
        Arg::new("json")
            .long("json")
            .global(true)
            .action(ArgAction::SetTrue)
            .help("Print the reports as JSON"),
    ]
}

/// What was asked for.
pub(crate) enum Workload {
    FanOut(FanOutShape),
    Direct(DirectShape),
    Connect(usize),
    Mixed(RoomsShape, Vec<f64>),
    Idle(usize),
    Slow(SlowShape),
    Soak(RoomsShape, f64),
    Storm(StormShape),
}

impl Workload {
    /// How many connections it has at the same time, at most.
    pub(crate) fn connections(&self) -> usize {
        match self {
            Self::FanOut(shape) => shape.receivers + shape.senders,
            Self::Direct(shape) => shape.pairs * 2,
            Self::Connect(count) => count + 50,
            Self::Mixed(shape, _) => shape.clients,
            Self::Idle(count) => count + 1,
            Self::Slow(shape) => shape.receivers + 1,
            Self::Storm(shape) => shape.count + 4,
            Self::Soak(shape, _) => shape.clients + (shape.churn * 4.0) as usize + 64,
        }
    }
}

/// Reads the flags of a workload.
pub(crate) fn read(name: &str, flags: &ArgMatches) -> Result<(Workload, Plan), Failure> {
    let number = |name: &str| flags.get_one::<u32>(name).copied().unwrap_or_default();
    let count = |name: &str| number(name) as usize;
    let real = |name: &str| flags.get_one::<f64>(name).copied().unwrap_or_default();
    let pace = || {
        let rate = flags.get_one::<f64>("rate").copied();
        rate.map_or_else(|| Pace::Window(number("window")), Pace::Rate)
    };
    let rooms = |churn: f64| {
        let shape = RoomsShape { clients: count("clients"), rooms: count("rooms"), churn };
        if shape.clients.is_multiple_of(shape.rooms) && shape.size() > 1 {
            Ok(shape)
        } else {
            Err(Failure::usage("clients must be a multiple of rooms, and at least two in each"))
        }
    };
    let workload = match name {
        "fan-out" => Workload::FanOut(FanOutShape {
            receivers: count("receivers"),
            senders: count("senders"),
            pace: pace(),
        }),
        "direct" => Workload::Direct(DirectShape { pairs: count("pairs"), pace: pace() }),
        "connect" => Workload::Connect(count("count")),
        "mixed" => {
            let rates = flags.get_many::<f64>("rates").into_iter().flatten().copied().collect();
            Workload::Mixed(rooms(0.0)?, rates)
        }
        "slow" => Workload::Slow(SlowShape { receivers: count("receivers"), rate: real("rate") }),
        "soak" => Workload::Soak(rooms(real("churn"))?, real("rate")),
        "storm" => {
            let kinds = flags.get_many::<String>("kind").into_iter().flatten();
            Workload::Storm(StormShape {
                count: count("count"),
                kinds: kinds.filter_map(|kind| StormKind::named(kind)).collect(),
                stay: count("stay"),
                roster: flags.get_flag("roster"),
            })
        }
        _ => Workload::Idle(count("count")),
    };
    let url = flags.get_one::<String>("url").map_or("", String::as_str);
    let mut target = Target::parse(url).map_err(Failure::usage)?;
    target.source_addresses = count("source-addresses");
    let server = flags.get_one::<u32>("pid").copied().map(Process);
    if let Some(process) = server
        && process.cpu().is_none()
    {
        return Err(Failure::usage(format!("cannot watch process {}", process.0)));
    }
    let plan = Plan {
        target,
        server,
        duration: Duration::from_secs(number("seconds").into()),
        warmup: Duration::from_secs_f64(real("warm-up")),
        patience: Duration::from_secs(number("patience").into()),
        payload: count("payload"),
    };
    Ok((workload, plan))
}
