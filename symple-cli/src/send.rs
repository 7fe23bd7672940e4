//! `symple send`: a frame of a client, from a script or a person.

use clap::{Arg, ArgMatches, Command};
use symple_engine::client::Outgoing;
use symple_proto::RoutedType;

use crate::{
    Failure, block_on,
    client::{SHOWN, arguments, builder, failure},
    input::{content_arguments, print, read_content, read_input},
    text::{one_line, one_line_of_json},
};

/// The command line of `symple send`.
pub(crate) fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("send")
        .about("Sends a frame as a client, and ends when the server has handled it")
        .long_about(
            "Sends a frame as a client, and ends when the server has handled it. Ends with 0 if it \
             went, and with 1 if the server could not be reached or has refused it.",
        )
        .args(arguments())
        .arg(text("to", "TO", "Whom it is for: a user, a session (user|id) or a room; without it, everyone who shares a room with you"))
        .arg(
            text("type", "TYPE", "What kind of frame it is")
                .value_parser(["message", "event"])
                .default_value("message"),
        )
        .arg(text("event", "NAME", "The name of an event").required_if_eq("type", "event"))
        .args(content_arguments(&["to", "event"]))
        .arg(
            Arg::new("request")
                .long("request")
                .action(clap::ArgAction::SetTrue)
                .help("Waits for the answer of the one that it is for, and prints it"),
        )
}

/// Sends a frame.
pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let frame = frame(flags)?;
    let request = flags.get_flag("request");
    // Whoever has a script wants to know now.
    let builder = builder(flags)?.configure(|config| config.reconnect.max_attempts = Some(1));
    let refused =
        |error: &dyn std::fmt::Display| Failure::crash(one_line(&error.to_string(), SHOWN));
    block_on(async {
        let (client, mut events) = builder.connect().await.map_err(failure)?;
        if request {
            let answer = client.request(frame).await.map_err(|error| refused(&error))?;
            print(&format!("{}\n", one_line_of_json(answer.text())))?;
        } else {
            client.send(frame).await.map_err(|error| refused(&error))?;
            client.flush().await.map_err(|error| refused(&error))?;
        }
        let _ = client.close().await;
        while let Some(event) = events.next().await {
            if let symple_engine::client::Event::Error { message, .. } = event {
                return Err(refused(&format!("the server says: {message}")));
            }
        }
        Ok(())
    })
}

fn frame(flags: &ArgMatches) -> Result<Outgoing, Failure> {
    let text = |name| flags.get_one::<String>(name).map(String::as_str);
    if let Some(frame) = text("frame") {
        return Outgoing::from_json(read_input(frame)?.trim()).map_err(Failure::usage);
    }
    let event = text("event");
    let mut frame = event.map_or_else(|| Outgoing::new(RoutedType::Message), Outgoing::event);
    frame = match read_content(flags)? {
        Some(data) => frame.data(data),
        None if event.is_none() => frame.data(read_input("-")?.trim_end_matches(['\r', '\n'])),
        None => frame,
    };
    if let Some(to) = text("to") {
        frame = frame.to(to);
    }
    Ok(frame)
}
