//! Transcripts: what was said between clients and a server (see `transcripts/README.md`).

mod hooks;
mod write;

pub use hooks::{FrameAnswer, FrameChoice, HookAnswer};

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// A transcript that cannot be used, and where it goes wrong.
#[derive(Debug, Error)]
#[error("{}:{line}: {problem}", path.display())]
pub struct TranscriptError {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

/// A recorded exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// The file that it was read from.
    pub path: PathBuf,
    /// What it is about, and how the server was set up.
    pub header: Header,
    /// What happened, in order; the `seq` of an event is its place, counted from 1.
    pub events: Vec<Event>,
}

/// The first line of a transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of the format: 1.
    pub transcript: u32,
    /// The name of the scenario, as that of the file.
    pub name: String,
    /// What kind of scenario it is.
    pub group: String,
    /// One line about it.
    pub title: String,
    /// `symple/4`
    pub protocol: String,
    /// Who talked.
    pub recorded_from: RecordedFrom,
    /// How the server was set up.
    pub config: ScenarioConfig,
    /// What was in Redis.
    #[serde(default)]
    pub redis: RedisContents,
    /// The rules of the specification that it shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Who talked in a transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedFrom {
    /// The server.
    pub server: String,
    /// The client; `raw` for frames that were written by hand.
    pub client: String,
}

/// How a server is set up for a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioConfig {
    /// Clients need a token with a session behind it.
    pub authentication: bool,
    /// Clients may join and leave rooms.
    pub dynamic_rooms: bool,
    /// Minutes, or -1.
    #[serde(rename = "sessionTTL")]
    pub session_ttl: i64,
    /// There is a Redis.
    pub redis: bool,
    /// What the hook says, by token; `*` is every other token, and none.
    pub auth_hook: Option<BTreeMap<String, HookAnswer>>,
    /// What the hook about joins says, by credential; `*` is every other one, and none. The Node server
    /// has no such hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_hook: Option<BTreeMap<String, HookAnswer>>,
    /// What the hook about frames says, by `subtype`; `*` is every other one, and none. What is not
    /// there passes. The Node server has no such hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_hook: Option<BTreeMap<String, FrameAnswer>>,
    /// Settings that the Node server does not have, by the names of the flags of `symple serve`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Value>,
}

impl ScenarioConfig {
    /// True if the server has a hook, which only one within this program can have that is not the Node
    /// server's.
    #[must_use]
    pub fn has_own_hooks(&self) -> bool {
        self.join_hook.is_some() || self.frame_hook.is_some()
    }
}

/// What was in Redis before the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RedisContents {
    /// Sessions by token: a string is stored as it is, anything else as JSON.
    pub sessions: BTreeMap<String, Value>,
}

impl RedisContents {
    /// The sessions as they are stored.
    pub fn stored(&self) -> impl Iterator<Item = (&str, String)> {
        self.sessions.iter().map(|(token, session)| match session {
            Value::String(text) => (token.as_str(), text.clone()),
            other => (token.as_str(), other.to_string()),
        })
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client opened a connection, with these headers.
    Connect(String, Vec<(String, String)>),
    /// A client could not open a connection.
    ConnectFailed(String),
    /// A client sent a frame.
    Send(String, Frame),
    /// A client received a text frame.
    Recv(String, String),
    /// A client sent a ping.
    Ping(String, Vec<u8>),
    /// A client received a pong.
    Pong(String, Vec<u8>),
    /// A client closed its connection: 1005 without a code, 1006 without goodbye.
    ClientClose(String, u16),
    /// The server closed a connection; the codes mean the same.
    ServerClose(String, u16),
    /// Nothing arrived for so many milliseconds.
    Quiet(u64),
    /// The next event took so many milliseconds.
    Wait(u64),
    /// Something else published a text on Redis: channel and text.
    RedisPublish(String, String),
    /// The server was told to shut down.
    ServerShutdown,
    /// The server process was killed.
    ServerKill,
    /// A server was started again.
    ServerStart,
    /// The server process ended by itself, with this code.
    ServerExit(i32),
    /// The application called the client, or the client the application: for people to read.
    Application,
}

/// A frame of a client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// A text frame that is not UTF-8.
    BrokenText(Vec<u8>),
}

impl Event {
    /// The connection that it happened on.
    #[must_use]
    pub fn conn(&self) -> Option<&str> {
        match self {
            Self::Connect(conn, _)
            | Self::ConnectFailed(conn)
            | Self::Send(conn, _)
            | Self::Recv(conn, _)
            | Self::Ping(conn, _)
            | Self::Pong(conn, _)
            | Self::ClientClose(conn, _)
            | Self::ServerClose(conn, _) => Some(conn),
            _ => None,
        }
    }

    pub(crate) fn conn_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Connect(conn, _)
            | Self::ConnectFailed(conn)
            | Self::Send(conn, _)
            | Self::Recv(conn, _)
            | Self::Ping(conn, _)
            | Self::Pong(conn, _)
            | Self::ClientClose(conn, _)
            | Self::ServerClose(conn, _) => Some(conn),
            _ => None,
        }
    }

    /// True if the server causes it.
    #[must_use]
    pub fn is_of_server(&self) -> bool {
        matches!(
            self,
            Self::Recv(..) | Self::Pong(..) | Self::ServerClose(..) | Self::ServerExit(_)
        )
    }
}

/// Members of a line.
struct Line<'a>(&'a Map<String, Value>);

impl Line<'_> {
    fn text(&self, name: &str) -> Result<String, String> {
        match self.0.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(format!("'{name}' must be a string")),
        }
    }

    fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<T, String> {
        let number = self.0.get(name).and_then(Value::as_i64);
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("'{name}' must be a number in its range"))
    }

    fn base64(&self, name: &str) -> Result<Vec<u8>, String> {
        STANDARD.decode(self.text(name)?).map_err(|error| format!("'{name}': {error}"))
    }

    fn frame(&self) -> Result<Frame, String> {
        if self.0.contains_key("binary") {
            self.base64("binary").map(Frame::Binary)
        } else if self.0.contains_key("text_base64") {
            self.base64("text_base64").map(Frame::BrokenText)
        } else {
            self.text("text").map(Frame::Text)
        }
    }

    fn event(&self) -> Result<Event, String> {
        let conn = || self.text("conn");
        Ok(match self.text("event")?.as_str() {
            "connect" => Event::Connect(conn()?, self.headers()?),
            "connect_failed" => Event::ConnectFailed(conn()?),
            "send" => Event::Send(conn()?, self.frame()?),
            "recv" => Event::Recv(conn()?, self.text("text")?),
            "ping" => Event::Ping(conn()?, self.base64("data")?),
            "pong" => Event::Pong(conn()?, self.base64("data")?),
            "close" => {
                let code = self.number("code")?;
                match self.text("by")?.as_str() {
                    "client" => Event::ClientClose(conn()?, code),
                    "server" => Event::ServerClose(conn()?, code),
                    _ => return Err("'by' must be client or server".into()),
                }
            }
            "quiet" => Event::Quiet(self.number("ms")?),
            "wait" => Event::Wait(self.number("ms")?),
            "redis_publish" => Event::RedisPublish(self.text("channel")?, self.text("text")?),
            "server_shutdown" => Event::ServerShutdown,
            "server_kill" => Event::ServerKill,
            "server_start" => Event::ServerStart,
            "server_exit" => Event::ServerExit(self.number("code")?),
            "call" | "emit" => Event::Application,
            other => return Err(format!("there is no event '{other}'")),
        })
    }

    fn headers(&self) -> Result<Vec<(String, String)>, String> {
        let Some(headers) = self.0.get("headers") else { return Ok(Vec::new()) };
        let headers = headers.as_object().ok_or("'headers' must be an object")?;
        headers
            .iter()
            .map(|(name, value)| {
                let value = value.as_str().ok_or("a header must be a string")?;
                Ok((name.clone(), value.into()))
            })
            .collect()
    }
}

impl Transcript {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TranscriptError`]
    pub fn read(path: &Path) -> Result<Self, TranscriptError> {
        let failed = |line, problem: String| TranscriptError { path: path.into(), line, problem };
        let text = fs::read_to_string(path).map_err(|error| failed(0, error.to_string()))?;
        Self::parse(path, &text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`TranscriptError`]
    pub fn parse(path: &Path, text: &str) -> Result<Self, TranscriptError> {
        let failed = |line, problem: String| TranscriptError { path: path.into(), line, problem };
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().ok_or_else(|| failed(0, "the file is empty".into()))?;
        let header: Header =
            serde_json::from_str(first).map_err(|error| failed(1, format!("header: {error}")))?;
        if header.transcript != 1 {
            return Err(failed(1, format!("there is no format {}", header.transcript)));
        }
        let mut events = Vec::new();
        for (index, line) in lines {
            let failed = |problem| failed(index + 1, problem);
            if line.trim().is_empty() {
                continue;
            }
            let line: Map<String, Value> =
                serde_json::from_str(line).map_err(|error| failed(error.to_string()))?;
            let line = Line(&line);
            let event = line.event().map_err(failed)?;
            events.push(event);
            let seq: usize = line.number("seq").map_err(failed)?;
            if seq != events.len() {
                return Err(failed(format!("'seq' must be {}", events.len())));
            }
        }
        Ok(Self { path: path.into(), header, events })
    }

    /// The transcripts that this program has with it: those that were recorded with the original
    /// server, and those of the specification's other rules. In the order of their paths.
    ///
    /// # Errors
    /// [`TranscriptError`]: only in a program that was not tested.
    pub fn built_in() -> Result<Vec<Self>, TranscriptError> {
        static FILES: include_dir::Dir<'_> =
            include_dir::include_dir!("$CARGO_MANIFEST_DIR/transcripts");
        let mut files: Vec<_> = FILES
            .dirs()
            .flat_map(include_dir::Dir::files)
            .filter(|file| file.path().extension().is_some_and(|end| end == "jsonl"))
            .collect();
        files.sort_by_key(|file| file.path());
        let parse = |file: &include_dir::File<'_>| {
            Self::parse(file.path(), file.contents_utf8().unwrap_or_default())
        };
        files.into_iter().map(parse).collect()
    }

    /// True if the original server was recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.header.recorded_from.server.starts_with("symple-server ")
    }

    /// The transcripts in files and folders, in the order of their paths.
    ///
    /// # Errors
    /// [`TranscriptError`]: also for a path that does not exist.
    pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Self>, TranscriptError> {
        let mut files = Vec::new();
        for path in paths {
            find(path, &mut files)?;
        }
        files.iter().map(|path| Self::read(path)).collect()
    }
}

/// The transcripts at or below a path.
fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), TranscriptError> {
    let failed = |error: std::io::Error| TranscriptError {
        path: path.into(),
        line: 0,
        problem: error.to_string(),
    };
    if fs::metadata(path).map_err(failed)?.is_dir() {
        let entries = fs::read_dir(path).map_err(failed)?;
        let mut entries = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        entries.sort();
        for entry in entries {
            if entry.is_dir() || entry.extension().is_some_and(|end| end == "jsonl") {
                find(&entry, files)?;
            }
        }
    } else {
        files.push(path.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"transcript":1,"name":"x","group":"g","title":"t","protocol":"symple/4","recorded_from":{"server":"s","client":"raw"},"config":{"authentication":false,"dynamicRooms":true,"sessionTTL":-1,"redis":false,"authHook":null}}"#;

    fn parse(lines: &[&str]) -> Result<Transcript, String> {
        let text = lines.join("\n");
        Transcript::parse(Path::new("x.jsonl"), &text).map_err(|error| error.to_string())
    }

    #[test]
    fn events() {
        let transcript = parse(&[
            HEADER,
            r#"{"seq":1,"conn":"a","event":"connect","headers":{"x":"y"}}"#,
            r#"{"seq":2,"conn":"a","event":"send","binary":"AAE="}"#,
            r#"{"seq":3,"conn":"a","event":"close","code":1006,"by":"server"}"#,
            "",
        ])
        .unwrap();
        assert_eq!(
            transcript.events,
            [
                Event::Connect("a".into(), vec![("x".into(), "y".into())]),
                Event::Send("a".into(), Frame::Binary(vec![0, 1])),
                Event::ServerClose("a".into(), 1006),
            ]
        );
    }

    /// A broken transcript: file, line and what is wrong.
    #[test]
    fn what_is_wrong_and_where() {
        for (lines, expected) in [
            (&[][..], "x.jsonl:0: the file is empty"),
            (&["{}"], "x.jsonl:1: header: missing field `transcript` at line 1 column 2"),
            (&[HEADER, "{"], "x.jsonl:2: EOF while parsing an object at line 1 column 1"),
            (&[HEADER, r#"{"seq":1,"event":"fly"}"#], "x.jsonl:2: there is no event 'fly'"),
            (&[HEADER, r#"{"seq":1,"event":"send"}"#], "x.jsonl:2: 'conn' must be a string"),
            (&[HEADER, r#"{"seq":2,"event":"quiet","ms":1}"#], "x.jsonl:2: 'seq' must be 1"),
            (
                &[HEADER, r#"{"seq":1,"conn":"a","event":"close","code":70000,"by":"server"}"#],
                "x.jsonl:2: 'code' must be a number in its range",
            ),
            (
                &[HEADER, r#"{"seq":1,"conn":"a","event":"ping","data":"?"}"#],
                "x.jsonl:2: 'data': Invalid symbol 63, offset 0.",
            ),
        ] {
            assert_eq!(parse(lines).unwrap_err(), expected);
        }
    }
}
