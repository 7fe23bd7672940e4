//! `symple listen`: what a client is told, a line each.

use std::io::{self, Write as _};

use clap::{Arg, ArgAction, ArgMatches, Command};
use symple_engine::client::{Event, Frame};
use symple_proto::RoutedType;

use crate::{
    Failure, block_on,
    client::{SHOWN, arguments, builder, failure, why},
    stderr,
    text::{one_line, one_line_of_json},
};

/// The command line of `symple listen`.
pub(crate) fn command() -> Command {
    Command::new("listen")
        .about("Prints the frames that a client gets, one a line, until it is ended")
        .long_about(
            "Prints the frames that a client gets, one a line, until it is ended. It comes back \
             by itself when the connection is lost; what happens to the connection is said on \
             standard error.",
        )
        .args(arguments())
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Prints frames as they are, in JSON, and nothing else"),
        )
}

/// Listens until the client has ended, or nobody reads any more.
pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let json = flags.get_flag("json");
    let builder = builder(flags)?;
    block_on(async {
        let (_client, mut events) = builder.start().map_err(failure)?;
        let mut out = io::stdout();
        let mut dropped = 0;
        while let Some(event) = events.next().await {
            if let Event::Closed { end } = &event {
                return Err(Failure::crash(why(end)));
            }
            if let Some(line) = line(&event, json) {
                match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                    // Whoever reads it has read enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    Err(error) => {
                        let problem = format!("cannot write to standard output: {error}");
                        return Err(Failure::crash(problem));
                    }
                    Ok(()) => {}
                }
            } else if let Some(news) = news(&event) {
                stderr::write(format!("symple: {news}\n"));
            }
            if events.dropped() > dropped {
                let lost = events.dropped() - dropped;
                dropped += lost;
                stderr::write(format!(
                    "symple: warning: {lost} events came too fast and are not shown\n"
                ));
            }
        }
        Ok(())
    })
}

/// The line of a frame; none for what is no frame.
fn line(event: &Event, json: bool) -> Option<String> {
    match event {
        Event::Frame(frame) if json => Some(one_line_of_json(frame.text()) + "\n"),
        Event::Frame(frame) => Some(for_people(frame)),
        Event::PeerOnline(peer) if !json => {
            Some(format!("+ {}\n", shown(&peer.address().to_string())))
        }
        Event::PeerOffline(peer) if !json => {
            Some(format!("- {}\n", shown(&peer.address().to_string())))
        }
        _ => None,
    }
}

fn shown(text: &str) -> String {
    one_line(text, SHOWN)
}

/// Its type, what it is about, who has sent it, and what it says, as far as it has them: what a backend
/// emits need not have a sender.
fn for_people(frame: &Frame) -> String {
    let about = match frame.kind() {
        RoutedType::Event => frame.get_str("name"),
        RoutedType::Command => frame.get_str("node"),
        _ => None,
    };
    let from = frame.from().map(ToString::to_string);
    let words = [frame.get_str("type"), about, from].into_iter().flatten();
    let words: Vec<_> = words.map(|word| shown(&word)).collect();
    let mut line = words.join(" ");
    let said = said(frame);
    if !said.is_empty() {
        line = format!("{line}: {}", shown(&said));
    }
    line + "\n"
}

/// What a frame says, as it is.
pub(crate) fn said(frame: &Frame) -> String {
    let Some(data) = frame.data() else { return String::new() };
    data.as_str().map_or_else(|| data.to_string(), String::from)
}

/// What is said of the connection.
pub(crate) fn news(event: &Event) -> Option<String> {
    let seconds = |duration: &std::time::Duration| format!("{:.1} s", duration.as_secs_f64());
    Some(match event {
        Event::Online { peer, .. } => {
            format!("online as {}", shown(&format!("{}|{}", peer.user, peer.id)))
        }
        Event::Disconnected { end, retry_in } => {
            format!("the connection is lost ({}); trying again in {}", why(end), seconds(retry_in))
        }
        Event::AttemptFailed { end, retry_in } => {
            format!("cannot connect ({}); trying again in {}", why(end), seconds(retry_in))
        }
        Event::Shutdown => "the server shuts down".into(),
        Event::RoomRefused { room, message, .. } => {
            format!("not in the room {} any more: {}", shown(room), shown(message))
        }
        Event::Error { message, .. } => format!("the server says: {}", shown(message)),
        _ => return None,
    })
}
