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
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("emit")
        .about("Sends a frame to the peers of the servers on a Redis")
        .arg(text("to", "TO", "Whom it is for: a user, a session (user|id or its id) or a room; several are rooms")
            .action(ArgAction::Append)
            .required_unless_present("frame"))
        .arg(
            text("type", "TYPE", "What kind of frame it is")
                .value_parser(["message", "presence", "command", "event"])
                .default_value("message"),
        )
        .arg(text("from", "FROM", "Who sends it; relayed as it is written"))
        .arg(text("name", "NAME", "The name of an event"))
        .args(content_arguments(&["to", "from", "name"]))
        .args(redis_settings())
        .after_help(PRECEDENCE)
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

fn frame(flags: &ArgMatches) -> Result<String, Failure> {
    let text = |name| flags.get_one::<String>(name).map(String::as_str);
    if let Some(frame) = text("frame") {
        return read_input(frame);
    }
    let to: Vec<_> = flags.get_many::<String>("to").into_iter().flatten().collect();
    let to = match &*to {
        [one] => RawJson::string(one),
        several => RawJson::from_value(several).map_err(Failure::crash)?,
    };
    let mut frame = Fields::new().with("type", text("type").unwrap_or("message")).with("to", to);
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
