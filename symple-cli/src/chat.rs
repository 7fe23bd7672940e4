//! `symple chat`: a person, or a script, who talks to others.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use clap::{Arg, ArgMatches, Command};
use symple_engine::client::{Event, Frame, OfflinePolicy, Outgoing, QueueLimits};
use symple_proto::{Fields, RawJson, RoutedType};

use crate::{
    Failure, block_on,
    client::{arguments, builder, failure, history_argument},
    console::{Colours, Console},
    listen::said,
    talk::{Flow, Program, Talk, safe},
};

/// What `/help` says.
const HELP: &[&str] = &[
    "What you type is said to everyone in the room that stands before it.",
    "/who           who is there",
    "/join ROOM     be in a room, and talk to it",
    "/leave ROOM    be in a room no more",
    "/to WHOM       talk to a user, a session (user|id) or a room from now on",
    "/name NAME     how you want to be called",
    "/state         the state of the room that you talk to",
    "/state KEY JSON  set a key of it; null deletes it",
    "/raw JSON      send a frame as it is",
    "/help          this",
    "/quit          say goodbye (or Ctrl-D)",
    "A line that begins with // is said with one of them.",
];

/// The command line of `symple chat`.
pub(crate) fn command() -> Command {
    Command::new("chat")
        .about("Talks to others: what is typed is said, and what they say is shown")
        .long_about(
            "Talks to others: what is typed is said, and what they say is shown above it. /help \
             has the commands. Where standard input is no terminal each of its lines is said, in \
             order, and the program ends when the server has handled the last one: with 0 if all \
             went. It comes back by itself when the connection is lost, and what is said meanwhile \
             waits for a minute. There are no colours where the variable NO_COLOR is set.",
        )
        .args(arguments())
        .arg(Arg::new("to").long("to").value_name("TO").help(
            "Whom to talk to first: a user, a session (user|id) or a room; the first room, if \
             it does not say",
        ))
        .arg(history_argument())
}

/// Talks until there is nothing left to say.
pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let first_room = || flags.get_many::<String>("room").and_then(|mut rooms| rooms.next());
    let chat = Chat {
        to: flags.get_one::<String>("to").or_else(first_room).cloned(),
        rooms: BTreeSet::new(),
        known: false,
        states: BTreeMap::new(),
    };
    let builder = builder(flags)?.configure(|config| {
        config.offline = OfflinePolicy::Queue(QueueLimits::default());
        config.extensions = vec!["state".into(), "roster".into()];
    });
    let console = Console::open(flags.get_one::<PathBuf>("history").map(PathBuf::as_path))?;
    block_on(async {
        let (client, events) = builder.start().map_err(failure)?;
        Talk::run(client, events, console, chat).await
    })
}

struct Chat {
    /// Whom the next line is for.
    to: Option<String>,
    /// Where the client is.
    rooms: BTreeSet<Box<str>>,
    /// Who is there is known, so that each who comes is news.
    known: bool,
    /// The states of the rooms, as they were told.
    states: BTreeMap<Box<str>, Fields>,
}

impl Program for Chat {
    fn prompt(&self) -> String {
        format!("{}> ", self.to.as_deref().map(safe).unwrap_or_default())
    }

    fn hear(&mut self, talk: &mut Talk, event: &Event) {
        let colours = talk.console.colours();
        match event {
            Event::Online { rooms, .. } => {
                self.rooms = rooms.iter().cloned().collect();
                self.states.clear();
            }
            Event::RoomState { room, state } => {
                self.states.insert(room.clone(), state.clone());
            }
            Event::StateChanged { room, set, from } => {
                let state = self.states.entry(room.clone()).or_default();
                for (key, value) in set.iter() {
                    if value.text() == "null" {
                        state.remove(key);
                    } else {
                        state.set(key, value.clone());
                    }
                    let from = from.as_ref().map_or_else(String::new, |from| safe(&from.user));
                    let line = format!("{} {}", safe(key), safe(value.text()));
                    talk.console.show(&format!("[{}] {from} sets {line}", safe(room)));
                }
            }
            Event::RosterComplete if !self.known => {
                self.known = true;
                talk.who();
            }
            Event::Joined { room } => {
                self.rooms.insert(room.clone());
                talk.notice(&format!("you are in {room}"));
            }
            Event::Left { room } => {
                self.rooms.remove(room);
                self.states.remove(room);
                talk.notice(&format!("you are not in {room} any more"));
            }
            Event::PeerOnline(peer) if self.known => {
                talk.console.show(&format!("+ {}", colours.name(&safe(peer.user()))));
            }
            Event::PeerOffline(peer) if self.known => {
                talk.console.show(&format!("- {}", colours.name(&safe(peer.user()))));
            }
            Event::Frame(frame) if frame.kind() != RoutedType::Presence => {
                talk.console.show(&self.line(frame, colours));
            }
            _ => {}
        }
    }

    fn obey(&mut self, talk: &mut Talk, line: &str) -> Flow {
        let Some(command) = line.strip_prefix('/') else {
            self.say(talk, line);
            return Flow::Goes;
        };
        if command.starts_with('/') {
            self.say(talk, command);
            return Flow::Goes;
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        let client = talk.client.clone();
        match (name, rest) {
            ("quit", _) => return Flow::Ends,
            ("help", _) => HELP.iter().for_each(|line| talk.notice(line)),
            ("who", _) => talk.who(),
            ("to", "") => match &self.to {
                Some(to) => talk.notice(&format!("you talk to {to}")),
                None => talk.notice("you talk to everyone who shares a room with you"),
            },
            ("join" | "leave" | "name" | "raw", "") => {
                talk.fail(&format!("/{name} what? /help has the commands"));
            }
            ("state", "") => self.show_state(talk),
            ("state", rest) => self.set_state(talk, rest),
            ("to", whom) => self.to = Some(whom.into()),
            ("join", room) => {
                let room = room.to_owned();
                self.to = Some(room.clone());
                talk.begin(async move { done(client.join(&room).await) });
            }
            ("leave", room) => {
                let room = room.to_owned();
                if self.to.as_ref() == Some(&room) {
                    self.to = None;
                }
                talk.begin(async move { done(client.leave(&room).await) });
            }
            ("name", name) => {
                let record = Fields::new().with("name", name);
                talk.begin(async move { done(client.update_record(record).await) });
            }
            ("raw", json) => match Outgoing::from_json(json) {
                Ok(frame) => talk.begin(async move { done(client.send(frame).await) }),
                Err(error) => talk.fail(&error.to_string()),
            },
            _ => talk.fail(&format!("there is no command /{name}; /help has those that there are")),
        }
        Flow::Goes
    }
}

/// What is shown of something that needs no words where it was done.
fn done<E: std::fmt::Display>(result: Result<(), E>) -> crate::talk::Done {
    result.map(|()| Vec::new()).map_err(|error| error.to_string())
}

impl Chat {
    fn say(&self, talk: &mut Talk, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        let mut frame = Outgoing::message(text);
        if let Some(to) = &self.to {
            frame = frame.to(to.as_str());
        }
        let client = talk.client.clone();
        talk.begin(async move { done(client.send(frame).await) });
    }

    /// The room that is talked to, if it is one.
    fn room(&self, talk: &mut Talk) -> Option<String> {
        let room = self.to.clone().filter(|to| self.rooms.contains(to.as_str()));
        if room.is_none() {
            talk.fail("you talk to no room that you are in: /join ROOM");
        }
        room
    }

    fn show_state(&self, talk: &mut Talk) {
        let Some(room) = self.room(talk) else { return };
        match self.states.get(room.as_str()) {
            None => talk.notice(&format!("the server says nothing of a state of {room}")),
            Some(state) if state.is_empty() => talk.notice(&format!("{room} has no state")),
            Some(state) => {
                for (key, value) in state.iter() {
                    talk.notice(&format!("{key} {}", value.text()));
                }
            }
        }
    }

    fn set_state(&self, talk: &mut Talk, what: &str) {
        let Some(room) = self.room(talk) else { return };
        let (key, json) = what.split_once(char::is_whitespace).unwrap_or((what, ""));
        match RawJson::parse(json.trim()) {
            Err(error) => talk.fail(&format!("/state KEY JSON: {error}")),
            Ok(value) => {
                let (client, set) = (talk.client.clone(), Fields::new().with(key, value));
                talk.begin(async move { done(client.set_state(&room, set).await) });
            }
        }
    }

    /// A frame for people.
    fn line(&self, frame: &Frame, colours: Colours) -> String {
        let from = match frame.from() {
            Some(from) => safe(&from.user),
            None => frame.get_str("from").map_or_else(|| "the server".into(), |from| safe(&from)),
        };
        let (kind, from) = (frame.kind(), colours.name(&from));
        let place = self.place(frame.get("to").as_ref()).unwrap_or_default();
        let member = |name| frame.get_str(name).map(|text| safe(&text)).unwrap_or_default();
        let what = match kind {
            RoutedType::Message => member("subtype"),
            RoutedType::Event => format!("event {}", member("name")),
            RoutedType::Command => format!("command {} {}", member("node"), member("action")),
            RoutedType::Presence => "presence".into(),
        };
        let what = match what.trim() {
            "" => String::new(),
            what => format!(" {}", colours.notice(what)),
        };
        format!("{place}{from}{what}: {}", safe(&said(frame)))
    }

    /// Which of the rooms a frame was for, where there may be a doubt.
    fn place(&self, to: Option<&RawJson>) -> Option<String> {
        let to = to?.as_str()?;
        let talks_there = self.to.as_deref() == Some(&*to);
        (self.rooms.contains(&*to) && !talks_there).then(|| format!("[{}] ", safe(&to)))
    }
}
