//! Differences from what was recorded, each declared with its reason.
//!
//! The transcripts tell what the Node server did. Where the specification wants something else,
//! a file in `deviations/` says for a transcript exactly what: which recorded event is another
//! one, does not happen, or what happens besides. Whatever is not declared is a failure, and so is
//! a declared difference that does not occur.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::transcript::{Event, Transcript};

/// Why the specification differs from the Node server somewhere.
#[derive(Clone, Copy, Debug)]
pub struct Deviation {
    /// Its name in the specification.
    pub id: &'static str,
    /// What the Node server does, and why that is not wanted.
    pub reason: &'static str,
    /// The rules that want it otherwise.
    pub rules: &'static str,
}

const fn deviation(id: &'static str, rules: &'static str, reason: &'static str) -> Deviation {
    Deviation { id, reason, rules }
}

/// Every deviation.
pub const DEVIATIONS: &[Deviation] = &[
    deviation(
        "D-PROXY",
        "R-T6",
        "Node believes X-Forwarded-For and X-Real-IP from anyone: any client can choose its address",
    ),
    deviation(
        "D-EXACT",
        "R-F1",
        "Node parses and re-encodes frames, which changes numbers, escapes and white space",
    ),
    deviation(
        "D-400",
        "R-F3, R-F4, R-F5, R-M5",
        "Node ignores frames that it cannot use, or dies of them",
    ),
    deviation(
        "D-DEPTH",
        "R-L6",
        "Node takes JSON of any depth; here more than 128 levels are an error",
    ),
    deviation(
        "D-BINARY",
        "R-T1",
        "Node ignores binary frames that are not UTF-8; here they close with 1007",
    ),
    deviation(
        "D-USER",
        "R-A1",
        "Node takes any user that JavaScript takes for true; here it is a string that an address can hold",
    ),
    deviation("D-NAME", "R-A1", "Node shows whatever was written for a name, an object too"),
    deviation(
        "D-SPELLING",
        "R-F2",
        "Node relays keys that are another spelling of from for receivers that ignore case or end keys at a NUL",
    ),
    deviation(
        "D-PROTO",
        "R-A8, R-P5",
        "Node relays a __proto__ of the auth frame, which JavaScript clients can trip over",
    ),
    deviation(
        "D-EXTENSIONS",
        "R-X1",
        "Node takes the extensions of the auth frame for a member of the peer, and shows them to everyone",
    ),
    deviation(
        "D-STRICT",
        "R-A12",
        "Node takes tokens and sessions of any type, allows unless a hook says false, and tells clients of internal errors",
    ),
    deviation(
        "D-SESSION",
        "R-A4",
        "Node puts a peer in the room of the user that it claims to be, not of that of its session",
    ),
    deviation("D-SESSIONUSER", "R-A4", "Node lets a client be any user whose session names none"),
    deviation(
        "D-ROOMS",
        "R-A6",
        "Node joins the rooms that a client asks for even where it must prove who it is",
    ),
    deviation(
        "D-CLOSE",
        "R-A7",
        "Node leaves the connection open after a failed authentication, for unlimited guesses",
    ),
    deviation(
        "D-PENDING",
        "R-A10, R-A11",
        "Node answers 401 to frames that arrive while an authentication is being decided, and announces peers that are gone",
    ),
    deviation("D-REAUTH", "R-A9", "Node ignores a second auth"),
    deviation("D-PEER", "R-A8", "Node shows type, token and rooms in the peer of the welcome"),
    deviation(
        "D-STORE",
        "R-S1",
        "Node starts with authentication and without Redis, and dies of the first token",
    ),
    deviation(
        "D-LOCKED",
        "R-R3",
        "Node lets leave through with dynamicRooms=false; its error has no status",
    ),
    deviation(
        "D-ROOMNAME",
        "R-R2",
        "Node takes numbers and objects for names of rooms, and ignores empty ones silently",
    ),
    deviation("D-ONCE", "R-M2", "Node sends one copy for each room that is shared"),
    deviation(
        "D-BAREID",
        "R-M0, R-M3",
        "Node takes a bare id for a room, so the JavaScript client's answers to probes are lost",
    ),
    deviation(
        "D-BOUNDARY",
        "R-M3",
        "Node lets anyone send to any room, also with dynamicRooms=false",
    ),
    deviation(
        "D-VISIBLE",
        "R-P3",
        "Node tells nobody about joins and leaves, and newcomers of nobody: rosters are wrong",
    ),
    deviation(
        "D-PRESENCE",
        "R-P4, R-P6",
        "Node relays whatever a peer says of itself or others, to anyone",
    ),
    deviation("D-TOKEN", "R-P5", "Node sends a peer's token, address and rooms to its room mates"),
    deviation("D-CODES", "SPEC §7", "Node closes without codes"),
    deviation(
        "D-SHUTDOWN",
        "SPEC §12",
        "Node's shutdown event has no name, and unauthenticated connections stay open",
    ),
    deviation(
        "D-TLS",
        "SPEC §11",
        "Node falls back to plain HTTP where key or certificate are missing",
    ),
];

/// How many transcripts are named in the table for one deviation.
const NAMED: usize = 6;

/// The deviation of that name.
#[must_use]
pub fn find(id: &str) -> Option<&'static Deviation> {
    DEVIATIONS.iter().find(|deviation| deviation.id == id)
}

/// The reason of a difference that nobody has explained yet, as `draft` writes it.
pub const OPEN: &str = "?";

/// True for what can be a reason: a deviation, a rule of the specification, or [`OPEN`].
fn is_known(id: &str) -> bool {
    id == OPEN || find(id).is_some() || rules().any(|rule| rule == id)
}

/// The rules of the specification, by the lines that begin with them.
fn rules() -> impl Iterator<Item = &'static str> {
    const SPECIFICATION: &str = include_str!("../../symple-proto/docs/specification.md");
    let rule = |line: &'static str| line.strip_prefix("- ")?.split([' ', ',']).next();
    SPECIFICATION.lines().filter_map(rule).filter(|id| id.starts_with("R-"))
}

/// A declaration that cannot be used.
#[derive(Debug, Error)]
pub enum DeclarationError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// A line makes no sense.
    #[error("{path}:{line}: {problem}")]
    Line {
        /// In which file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// One line of a declaration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The recorded event that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<usize>,
    /// The recorded event behind which something more happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<usize>,
    /// The deviations (`D-…`) and rules (`R-…`) that it is due to, or [`OPEN`].
    pub because: Vec<String>,
    /// On which connection something more happens; none for the end of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conn: Option<String>,
    /// What happens: this text is received,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recv: Option<String>,
    /// or the server closes with this code,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<u16>,
    /// or the server process ends by itself with this code,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// or nothing: a recorded event does not happen. What a client did cannot be done any more,
    /// because its connection is closed; that it still can be done is a failure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// The server does not start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_start: bool,
}

/// What is declared, by transcript.
#[derive(Clone, Debug, Default)]
pub struct Declarations(BTreeMap<String, Vec<Difference>>);

/// What is expected of a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectation {
    /// It does not start.
    pub no_start: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// The deviations and rules that make a difference.
    pub because: Vec<String>,
}

/// One thing that is expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The `seq` of the recorded event that it is, or comes after.
    pub seq: usize,
    /// What happens.
    pub event: Event,
    /// False if a client cannot do it, because its connection is closed.
    pub possible: bool,
}

impl Declarations {
    /// Reads the files of a folder, each named after its transcript.
    ///
    /// # Errors
    /// [`DeclarationError`]
    pub fn read(folder: &Path) -> Result<Self, DeclarationError> {
        let unreadable =
            |path: &Path, error| DeclarationError::Read { path: path.display().to_string(), error };
        let mut declarations = Self::default();
        for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
            let path = entry.map_err(|error| unreadable(folder, error))?.path();
            let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
            declarations.add(&path, &text)?;
        }
        Ok(declarations)
    }

    /// What this program declares of its own server: the differences that the specification
    /// wants.
    ///
    /// # Errors
    /// [`DeclarationError`]: only in a program that was not tested.
    pub fn of_the_specification() -> Result<Self, DeclarationError> {
        static FILES: include_dir::Dir<'_> =
            include_dir::include_dir!("$CARGO_MANIFEST_DIR/deviations");
        let mut declarations = Self::default();
        for file in FILES.files() {
            declarations.add(file.path(), file.contents_utf8().unwrap_or_default())?;
        }
        Ok(declarations)
    }

    /// What is declared of one transcript, by name.
    ///
    /// # Errors
    /// A difference that a file could not declare either.
    pub fn of_one(name: &str, differences: Vec<Difference>) -> Result<Self, String> {
        differences.iter().try_for_each(Difference::check)?;
        Ok(Self([(name.to_owned(), differences)].into()))
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), DeclarationError> {
        let mut differences = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let checked = serde_json::from_str::<Difference>(line)
                .map_err(|error| error.to_string())
                .and_then(|difference| difference.check().map(|()| difference));
            differences.push(checked.map_err(|problem| DeclarationError::Line {
                path: path.display().to_string(),
                line: index + 1,
                problem,
            })?);
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.0.insert(name, differences);
        Ok(())
    }

    /// The names of the transcripts that a deviation touches.
    pub fn touched_by<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(move |(name, differences)| {
            let touched = differences.iter().any(|d| d.because.iter().any(|because| because == id));
            touched.then_some(name.as_str())
        })
    }

    /// The names of all transcripts that are touched.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The deviations with their reasons, their rules and the transcripts that show them, as a
    /// table in Markdown: the recorded transcripts that they touch, and of those given the ones
    /// that name them among their rules. Of many transcripts, the first are named.
    #[must_use]
    pub fn table(&self, transcripts: &[Transcript]) -> String {
        let mut table = String::from("| id | reason | rules | transcripts |\n|---|---|---|---|\n");
        for Deviation { id, reason, rules } in DEVIATIONS {
            let names = self.shown_by(id, transcripts);
            let mut shown: Vec<_> =
                names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
            if names.len() > NAMED {
                shown.push(format!("and {} more", names.len() - NAMED));
            }
            let shown = if shown.is_empty() { "–".into() } else { shown.join(", ") };
            table += &format!("| {id} | {reason} | {rules} | {shown} |\n");
        }
        table
    }

    /// The names of the transcripts that show a deviation: see [`Declarations::table`].
    #[must_use]
    pub fn shown_by<'a>(&'a self, id: &'a str, transcripts: &'a [Transcript]) -> Vec<&'a str> {
        let names_it = |transcript: &&Transcript| transcript.header.rules.iter().any(|r| r == id);
        let named = transcripts.iter().filter(names_it);
        self.touched_by(id).chain(named.map(|transcript| &*transcript.header.name)).collect()
    }

    /// What is expected instead of what was recorded.
    ///
    /// # Errors
    /// A declaration that does not fit the transcript: it names no event of it, or what it
    /// declares is what was recorded.
    pub fn apply(&self, transcript: &Transcript) -> Result<Expectation, String> {
        let none = Vec::new();
        let differences = self.0.get(&transcript.header.name).unwrap_or(&none);
        let mut expectation = Expectation::as_recorded(transcript);
        for difference in differences {
            for id in &difference.because {
                if !expectation.because.contains(id) {
                    expectation.because.push(id.clone());
                }
            }
            difference.apply(&mut expectation)?;
        }
        Ok(expectation)
    }
}

impl Expectation {
    /// What was recorded is expected.
    #[must_use]
    pub fn as_recorded(transcript: &Transcript) -> Self {
        let steps = transcript.events.iter().cloned().enumerate();
        let step = |(index, event)| Step { seq: index + 1, event, possible: true };
        Self { no_start: false, steps: steps.map(step).collect(), because: Vec::new() }
    }
}

impl Difference {
    fn check(&self) -> Result<(), String> {
        if self.because.is_empty() {
            return Err("a difference needs a reason".into());
        }
        if let Some(id) = self.because.iter().find(|id| !is_known(id)) {
            return Err(match id.starts_with("R-") {
                true => format!("there is no rule {id} in the specification"),
                false => format!("there is no deviation {id}; a rule begins with R-"),
            });
        }
        let whats = [
            self.recv.is_some(),
            self.close.is_some(),
            self.exit.is_some(),
            self.absent,
            self.no_start,
        ];
        if whats.iter().filter(|what| **what).count() != 1 {
            return Err("one of recv, close, exit, absent, no_start says what happens".into());
        }
        let more = self.recv.is_some() || self.close.is_some();
        match (self.seq, self.after, &self.conn) {
            (None, None, None) if self.no_start => Ok(()),
            (Some(_), None, None) if !self.no_start => Ok(()),
            (None, Some(_), Some(_)) if more => Ok(()),
            (None, Some(_), None) if self.exit.is_some() => Ok(()),
            (None, Some(_), None) if more => Err("'conn' says on which connection".into()),
            _ if self.no_start => Err("no_start stands alone".into()),
            _ if self.absent => Err("'seq' says which event is absent".into()),
            _ => Err("either 'seq', or 'after' (and 'conn'), says where".into()),
        }
    }

    /// What happens, on this connection; nothing if an event is absent.
    fn event(&self, conn: &str) -> Option<Event> {
        if let Some(text) = &self.recv {
            return Some(Event::Recv(conn.into(), text.clone()));
        }
        let close = self.close.map(|code| Event::ServerClose(conn.into(), code));
        close.or(self.exit.map(Event::ServerExit))
    }

    fn apply(&self, expectation: &mut Expectation) -> Result<(), String> {
        let steps = &mut expectation.steps;
        if self.no_start {
            expectation.no_start = true;
        } else if let Some(seq) = self.seq {
            let at = steps
                .iter()
                .position(|step| step.seq == seq && step.possible)
                .ok_or_else(|| format!("there is no event {seq} to be different"))?;
            let step = &mut steps[at];
            let conn = step.event.conn().unwrap_or_default().to_owned();
            match self.event(&conn) {
                None if step.event.is_of_server() || conn.is_empty() => drop(steps.remove(at)),
                None => step.possible = false,
                Some(_) if !step.event.is_of_server() => {
                    return Err(format!("event {seq} is no event of the server's: use 'after'"));
                }
                Some(event) if event == step.event => {
                    return Err(format!("event {seq} is what was recorded: no difference"));
                }
                Some(event) => step.event = event,
            }
        } else if let Some(after) = self.after {
            let last = steps.last().map_or(0, |step| step.seq);
            if after > last {
                return Err(format!("there is no event {after} to come after"));
            }
            // Behind the event and what has been put behind it; its place is open if it is absent.
            let at = steps.iter().rposition(|step| step.seq <= after).map_or(0, |at| at + 1);
            let event = self.event(self.conn.as_deref().unwrap_or_default());
            let event = event.ok_or("nothing more does not happen")?;
            steps.insert(at, Step { seq: after, event, possible: true });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{Header, RecordedFrom, RedisContents, ScenarioConfig};

    fn transcript() -> Transcript {
        let events = vec![
            Event::Connect("a".into(), vec![]),
            Event::Recv("a".into(), "one".into()),
            Event::Quiet(1),
        ];
        let config = ScenarioConfig {
            authentication: false,
            dynamic_rooms: true,
            session_ttl: -1,
            redis: false,
            auth_hook: None,
            join_hook: None,
            frame_hook: None,
            settings: BTreeMap::new(),
        };
        let header = Header {
            transcript: 1,
            name: "x".into(),
            group: "g".into(),
            title: "t".into(),
            protocol: "symple/4".into(),
            recorded_from: RecordedFrom { server: "s".into(), client: "raw".into() },
            config,
            redis: RedisContents::default(),
            rules: vec![],
            note: None,
        };
        Transcript { path: "x.jsonl".into(), header, events }
    }

    fn apply(lines: &[&str]) -> Result<Vec<(usize, Event)>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.jsonl"), lines.join("\n")).unwrap();
        let declarations = Declarations::read(folder.path()).map_err(|error| error.to_string())?;
        let expectation = declarations.apply(&transcript())?;
        Ok(expectation.steps.into_iter().map(|step| (step.seq, step.event)).collect())
    }

    #[test]
    fn differences() {
        let recv = |text: &str| Event::Recv("a".into(), text.into());
        assert_eq!(
            apply(&[
                r#"{"seq":2,"because":["D-PEER"],"recv":"two"}"#,
                r#"{"after":2,"because":["D-VISIBLE"],"conn":"a","recv":"three"}"#,
                r#"{"after":2,"because":["D-CODES"],"conn":"a","close":4401}"#,
            ]),
            Ok(vec![
                (1, Event::Connect("a".into(), vec![])),
                (2, recv("two")),
                (2, recv("three")),
                (2, Event::ServerClose("a".into(), 4401)),
                (3, Event::Quiet(1)),
            ])
        );
        assert_eq!(apply(&[r#"{"seq":2,"because":["D-400"],"absent":true}"#]).unwrap().len(), 2);
    }

    #[test]
    fn declarations_that_make_no_sense() {
        for (line, problem) in [
            (r#"{"seq":2,"because":[],"recv":"x"}"#, "needs a reason"),
            (r#"{"seq":2,"because":["D-NONE"],"recv":"x"}"#, "there is no deviation D-NONE"),
            (r#"{"seq":2,"because":["R-NONE"],"recv":"x"}"#, "there is no rule R-NONE"),
            (r#"{"after":2,"because":["R-F1"],"recv":"x"}"#, "'conn' says on which connection"),
            (r#"{"after":9,"because":["R-F1"],"exit":1}"#, "there is no event 9 to come after"),
            (r#"{"seq":1,"because":["R-F1"],"recv":"x"}"#, "no event of the server's"),
            (r#"{"seq":2,"because":["D-400"]}"#, "says what happens"),
            (r#"{"because":["D-400"],"recv":"x"}"#, "says where"),
            (r#"{"seq":2,"because":["D-400"],"recv":"one"}"#, "no difference"),
            (r#"{"seq":9,"because":["D-400"],"recv":"x"}"#, "there is no event 9"),
        ] {
            let error = apply(&[line]).unwrap_err();
            assert!(error.contains(problem), "{line}: {error}");
        }
    }
}
