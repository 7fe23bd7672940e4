//! Transcripts as files.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{Event, Frame, Transcript};

impl Transcript {
    /// The text of the file: the header, then the events.
    #[must_use]
    pub fn to_text(&self) -> String {
        let header = serde_json::to_string(&self.header).unwrap_or_default();
        let events = self.events.iter().enumerate().map(|(index, event)| event.to_line(index + 1));
        std::iter::once(header).chain(events).map(|line| line + "\n").collect()
    }
}

impl Event {
    /// The event as a line.
    fn to_line(&self, seq: usize) -> String {
        let (name, rest) = self.members();
        let mut line = Map::new();
        line.insert("seq".into(), seq.into());
        if let Some(conn) = self.conn() {
            line.insert("conn".into(), conn.into());
        }
        line.insert("event".into(), name.into());
        if let Value::Object(rest) = rest {
            line.extend(rest);
        }
        Value::Object(line).to_string()
    }

    /// The name of the event, and its members besides `seq` and `conn`.
    fn members(&self) -> (&'static str, Value) {
        let close = |code: u16, by: &str| ("close", json!({ "code": code, "by": by }));
        match self {
            Self::Connect(_, headers) if headers.is_empty() => ("connect", Value::Null),
            Self::Connect(_, headers) => {
                let headers: Map<_, _> =
                    headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
                ("connect", json!({ "headers": headers }))
            }
            Self::ConnectFailed(_) => ("connect_failed", Value::Null),
            Self::Send(_, Frame::Text(text)) => ("send", json!({ "text": text })),
            Self::Send(_, Frame::Binary(data)) => {
                ("send", json!({ "binary": STANDARD.encode(data) }))
            }
            Self::Send(_, Frame::BrokenText(data)) => {
                ("send", json!({ "text_base64": STANDARD.encode(data) }))
            }
            Self::Recv(_, text) => ("recv", json!({ "text": text })),
            Self::Ping(_, data) => ("ping", json!({ "data": STANDARD.encode(data) })),
            Self::Pong(_, data) => ("pong", json!({ "data": STANDARD.encode(data) })),
            Self::ClientClose(_, code) => close(*code, "client"),
            Self::ServerClose(_, code) => close(*code, "server"),
            Self::Quiet(ms) => ("quiet", json!({ "ms": ms })),
            Self::Wait(ms) => ("wait", json!({ "ms": ms })),
            Self::RedisPublish(channel, text) => {
                ("redis_publish", json!({ "channel": channel, "text": text }))
            }
            Self::ServerShutdown => ("server_shutdown", Value::Null),
            Self::ServerKill => ("server_kill", Value::Null),
            Self::ServerStart => ("server_start", Value::Null),
            Self::ServerExit(code) => ("server_exit", json!({ "code": code })),
            Self::Application => ("call", Value::Null),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is what was read, for every transcript there is.
    #[test]
    fn written_and_read() {
        for transcript in Transcript::built_in().unwrap() {
            let again = Transcript::parse(&transcript.path, &transcript.to_text()).unwrap();
            assert_eq!(again, transcript);
        }
    }
}
