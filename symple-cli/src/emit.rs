//! `symple emit`: a frame for peers, from a script or a person.

use clap::{Arg, ArgAction, ArgMatches, Command};
use symple_driver::Emitter;
use symple_proto::{Fields, RawJson};

use crate::{
    Failure, block_on,
    input::{content_arguments, print, read_content, read_input},
    read_redis,
    settings::flags::{PRECEDENCE, redis_settings},
};

/// The command line of `symple emit`.
pub(crate) fn command() -> Command {
    Command::new("emit")
        .about("Sends a frame to the peers of the servers on a Redis")
        .arg(to_argument())
        .args(frame_arguments(&["to", "from", "name"]))
        .args(redis_settings())
        .after_help(PRECEDENCE)
}

/// The argument that says whom a frame is for.
pub(crate) fn to_argument() -> Arg {
    Arg::new("to")
        .long("to")
        .value_name("TO")
        .help("Whom it is for: a user, a session (user|id or its id) or a room; several are rooms")
        .action(ArgAction::Append)
        .required_unless_present("frame")
}

/// The arguments that say what a frame is beside that; the frame as it is stands in the place of
/// `parts`.
pub(crate) fn frame_arguments(parts: &[&'static str]) -> Vec<Arg> {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let kind = text("type", "TYPE", "What kind of frame it is")
        .value_parser(["message", "presence", "command", "event"])
        .default_value("message");
    let from = text("from", "FROM", "Who sends it; relayed as it is written");
    let name = text("name", "NAME", "The name of an event");
    [kind, from, name].into_iter().chain(content_arguments(parts)).collect()
}

/// Emits a frame.
pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let (redis, _) = read_redis(flags)?;
    let frame = frame(flags)?;
    let servers = block_on(async {
        let emitter = Emitter::connect(&redis).await.map_err(Failure::redis)?;
        emitter.emit(&frame).await.map_err(Failure::redis)
    })?;
    let servers = if servers == 1 { "1 server".into() } else { format!("{servers} servers") };
    print(&format!("heard by {servers}\n"))
}

/// The frame of the arguments.
pub(crate) fn frame(flags: &ArgMatches) -> Result<String, Failure> {
    let text = |name| flags.get_one::<String>(name).map(String::as_str);
    if let Some(frame) = text("frame") {
        return read_input(frame);
    }
    let mut frame = Fields::new().with("type", text("type").unwrap_or("message"));
    // A frame for everyone names nobody.
    let to = flags.try_get_many::<String>("to").ok().flatten();
    let to: Vec<_> = to.into_iter().flatten().collect();
    match &*to {
        [] => {}
        [one] => frame.set("to", RawJson::string(one)),
        several => frame.set("to", RawJson::from_value(several).map_err(Failure::crash)?),
    }
    for name in ["from", "name"] {
        if let Some(value) = text(name) {
            frame.set(name, value);
        }
    }
    if let Some(data) = read_content(flags)? {
        frame.set("data", data);
    }
    Ok(frame.to_json())
}
