//! `symple call`: calls between two terminals. What WebRTC would have to say is said; media are
//! not.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::{Arg, ArgAction, ArgMatches, Command};
use symple_engine::client::{
    CallConfig, CallEnd, CallEvent, CallId, CallState, Callee, Event, Signal,
};
use symple_proto::{Address, UserName};

use crate::{
    Failure, block_on,
    client::{arguments, builder, failure, history_argument},
    console::Console,
    talk::{Done, Flow, Program, Talk, safe},
    text::one_line,
};

/// How much is shown of a session description.
const SHOWN: usize = 60;

/// What `help` says.
const HELP: &[&str] = &[
    "call WHOM        ring all sessions of a user, or one (user|id)",
    "accept           take the call that comes in",
    "reject [WHY]     do not take it",
    "hangup [WHY]     end the call",
    "who              who is there",
    "help             this",
    "quit             say goodbye (or Ctrl-D)",
];

/// The command line of `symple call`.
pub(crate) fn command() -> Command {
    Command::new("call")
        .about("Rings others, and is rung by them: shows the signalling of WebRTC, without media")
        .long_about(
            "Rings others, and is rung by them: shows the signalling of WebRTC, without media. Run \
             it in two terminals, with two users and the same --room, and type help. Where \
             standard input is no terminal each of its lines is a command, and the program ends \
             behind the last one, when there is no call any more; with --call it waits for whom to \
             ring, and with --accept for whoever rings.",
        )
        .args(arguments())
        .arg(
            Arg::new("call")
                .long("call")
                .value_name("WHOM")
                .help("Rings a user, or a session (user|id), as soon as it is there"),
        )
        .arg(
            Arg::new("accept")
                .long("accept")
                .action(ArgAction::SetTrue)
                .help("Takes each call that comes in"),
        )
        .arg(history_argument())
}

/// Rings and is rung until there is nothing left to do.
pub(crate) fn run(flags: &ArgMatches) -> Result<(), Failure> {
    let whom = flags.get_one::<String>("call").map(|whom| callee(whom)).transpose();
    let calls = Calls {
        whom: whom.map_err(Failure::usage)?,
        accept: flags.get_flag("accept"),
        call: None,
        rings: Arc::default(),
    };
    let builder = builder(flags)?.configure(|config| config.calls = Some(CallConfig::default()));
    let console = Console::open(flags.get_one::<PathBuf>("history").map(PathBuf::as_path))?;
    block_on(async {
        let (client, events) = builder.start().map_err(failure)?;
        Talk::run(client, events, console, calls).await
    })
}

/// Whom a word names: one session, or all of a user.
fn callee(whom: &str) -> Result<Callee, String> {
    let problem = |error: &dyn std::fmt::Display| format!("the name {error}");
    if whom.contains('|') {
        return whom.parse::<Address>().map(Callee::Peer).map_err(|error| problem(&error));
    }
    UserName::new(whom).map(Callee::User).map_err(|error| problem(&error))
}

struct Calls {
    /// Whom to ring, as soon as it is there.
    whom: Option<Callee>,
    /// Each call is taken.
    accept: bool,
    /// The call that there is, from when the other side is known.
    call: Option<(CallId, CallState)>,
    /// Somebody is rung.
    rings: Arc<AtomicBool>,
}

impl Program for Calls {
    fn prompt(&self) -> String {
        "call> ".into()
    }

    fn hear(&mut self, talk: &mut Talk, event: &Event) {
        match event {
            Event::Call(event) => self.hear_call(talk, event),
            Event::PeerOnline(peer) => {
                talk.notice(&format!("+ {}", peer.address()));
                let is_it = |whom: &mut Callee| match whom {
                    Callee::Peer(address) => address == peer.address(),
                    Callee::User(user) => user == peer.user(),
                };
                if let Some(whom) = self.whom.take_if(is_it) {
                    self.ring(talk, whom);
                }
            }
            Event::PeerOffline(peer) => talk.notice(&format!("- {}", peer.address())),
            _ => {}
        }
    }

    fn obey(&mut self, talk: &mut Talk, line: &str) -> Flow {
        let line = line.trim();
        let line = line.strip_prefix('/').unwrap_or(line);
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (client, rest) = (talk.client.clone(), rest.trim().to_owned());
        let why = (!rest.is_empty()).then(|| rest.clone());
        match (name, self.call) {
            ("", _) => {}
            ("quit", _) => return Flow::Ends,
            ("help", _) => HELP.iter().for_each(|line| talk.notice(line)),
            ("who", _) => talk.who(),
            ("call", _) => match callee(&rest) {
                Ok(whom) => self.ring(talk, whom),
                Err(problem) => talk.fail(&problem),
            },
            ("accept", Some((call, CallState::Incoming))) => Self::accept(talk, call),
            ("reject", Some((call, CallState::Incoming))) => {
                talk.begin(async move { done(client.reject(call, why.as_deref()).await) });
            }
            ("hangup", _) if self.is_in_call() => talk.begin(async move {
                for call in client.calls().await.map_err(|error| error.to_string())? {
                    done(client.hang_up(call.call, why.as_deref()).await)?;
                }
                Ok(Vec::new())
            }),
            ("accept" | "reject", _) => talk.fail("nobody calls"),
            ("hangup", _) => talk.fail("there is no call"),
            (name, _) => {
                talk.fail(&format!("there is no command {name}; help has those that there are"));
            }
        }
        Flow::Goes
    }

    fn is_busy(&self) -> bool {
        self.is_in_call() || self.whom.is_some() || self.accept
    }
}

fn done<E: std::fmt::Display>(result: Result<(), E>) -> Done {
    result.map(|()| Vec::new()).map_err(|error| error.to_string())
}

impl Calls {
    fn is_in_call(&self) -> bool {
        self.call.is_some() || self.rings.load(Ordering::Relaxed)
    }

    fn ring(&self, talk: &mut Talk, whom: Callee) {
        let client = talk.client.clone();
        self.rings.store(true, Ordering::Relaxed);
        let rings = Arc::clone(&self.rings);
        talk.begin(async move {
            let name = safe(&whom.to_string());
            match client.call(whom, None).await {
                Ok(_) => Ok(vec![format!("ringing {name}")]),
                Err(error) => {
                    rings.store(false, Ordering::Relaxed);
                    Err(error.to_string())
                }
            }
        });
    }

    fn accept(talk: &mut Talk, call: CallId) {
        let client = talk.client.clone();
        talk.begin(async move { done(client.accept(call, None).await) });
    }

    fn signal(talk: &mut Talk, call: CallId, signals: Vec<Signal>, flows: bool) {
        let client = talk.client.clone();
        talk.begin(async move {
            for signal in signals {
                client.signal(call, signal).await.map_err(|error| error.to_string())?;
            }
            if flows {
                done(client.mark_active(call).await)?;
            }
            Ok(Vec::new())
        });
    }

    fn hear_call(&mut self, talk: &mut Talk, event: &CallEvent) {
        self.rings.store(false, Ordering::Relaxed);
        match event {
            CallEvent::Incoming { call, from, .. } => {
                self.call = Some((*call, CallState::Incoming));
                talk.notice(&format!("{from} calls: accept, or reject"));
                if self.accept {
                    Self::accept(talk, *call);
                }
            }
            CallEvent::Accepted { call, with, offers, .. } => {
                self.call = Some((*call, CallState::Connecting));
                talk.notice(&format!("connecting with {with}"));
                if *offers {
                    Self::signal(talk, *call, vec![Signal::offer("v=0 of a demonstration")], false);
                }
            }
            CallEvent::Signal { call, signal } => {
                let (name, answer) = match signal {
                    Signal::Offer(_) => {
                        let answer = Signal::answer("v=0 of a demonstration");
                        ("an offer", Some(answer))
                    }
                    Signal::Answer(_) => ("an answer", None),
                    _ => ("a candidate", None),
                };
                let data = one_line(signal.data().text(), SHOWN);
                talk.notice(&format!("{name}: {data}"));
                if name != "a candidate" {
                    let mine = Signal::candidate(
                        "candidate:1 1 UDP 1 192.0.2.1 9 typ host",
                        None,
                        Some(0),
                    );
                    let signals = answer.into_iter().chain([mine]).collect();
                    self.call = Some((*call, CallState::Active));
                    Self::signal(talk, *call, signals, true);
                    talk.notice("active: now media would flow");
                }
            }
            CallEvent::Ended { end, .. } => {
                self.call = None;
                talk.notice(&format!("the call has ended: {}", why(end)));
            }
            _ => {}
        }
    }
}

/// Why a call has ended, for people.
fn why(end: &CallEnd) -> String {
    match end {
        CallEnd::HungUp => "hung up".into(),
        CallEnd::Declined => "not taken".into(),
        CallEnd::HungUpByPeer(reason) => format!("the other side has hung up ({reason})"),
        CallEnd::Rejected(reason) => format!("the other side has not taken it ({reason})"),
        CallEnd::NotTaken => "nobody has answered in time".into(),
        CallEnd::PeerOffline => "the other side is offline".into(),
        CallEnd::ConnectionLost => "the connection was lost".into(),
        _ => "for another reason".into(),
    }
}
