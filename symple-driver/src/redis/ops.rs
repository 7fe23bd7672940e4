//! What is asked of Redis, as commands, and what its answers mean.

use std::time::Duration;

use ::redis::{Pipeline, ServerError, Value};
use bytes::Bytes;
use symple_engine::server::{ConnId, RequestId, SessionLookup};
use symple_proto::Token;

use super::RedisConfig;
use crate::core::request::Reply;

/// The largest session that is looked at; what is larger is no session (R-A12).
pub(super) const MAX_SESSION: usize = 1024 * 1024;
/// How long a claim is remembered, in seconds: longer than an outage in which nodes cannot ask, and
/// so ask again afterwards.
const CLAIM_TTL: u64 = 24 * 60 * 60;
/// What an operation takes beside its texts.
const OVERHEAD: usize = 64;

/// What is done on the bus. The order counts.
#[derive(Debug)]
pub(super) enum BusOp {
    Subscribe(Box<str>),
    Unsubscribe(Box<str>),
    Publish { channel: Box<str>, payload: Bytes },
}

impl BusOp {
    /// The bytes that it takes while it waits.
    pub(super) fn size(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Subscribe(channel) | Self::Unsubscribe(channel) => channel.len(),
                Self::Publish { channel, payload } => channel.len() + payload.len(),
            }
    }

    /// The bytes of its payload, if it publishes one.
    pub(super) fn payload_size(&self) -> usize {
        match self {
            Self::Publish { payload, .. } => payload.len(),
            Self::Subscribe(_) | Self::Unsubscribe(_) => 0,
        }
    }

    /// Appends its command; there is one answer to each.
    pub(super) fn push_to(&self, pipeline: &mut Pipeline, prefix: &str) {
        let name = |channel: &str| format!("{prefix}{channel}");
        match self {
            Self::Subscribe(channel) => pipeline.cmd("SUBSCRIBE").arg(name(channel)),
            Self::Unsubscribe(channel) => pipeline.cmd("UNSUBSCRIBE").arg(name(channel)),
            Self::Publish { channel, payload } => {
                pipeline.cmd("PUBLISH").arg(name(channel)).arg(&payload[..])
            }
        };
    }
}

/// A question about a session.
#[derive(Debug)]
pub(crate) enum Lookup {
    Load {
        request: RequestId,
        token: Token,
    },
    Check {
        conn: ConnId,
        token: Token,
    },
    Touch {
        token: Token,
        ttl: Duration,
    },
    /// A claim of a node's, of which one is granted (R-H3).
    Claim {
        request: RequestId,
        key: Box<str>,
        node: Box<str>,
    },
    /// A claim of the application's, of which one is granted (R-I1). The holder's value is sent back;
    /// nothing, if Redis does not say.
    ClaimForHost {
        key: Box<str>,
        value: Box<str>,
        reply: Reply<String>,
    },
}

impl Lookup {
    /// Appends its commands.
    pub(super) fn push_to(&self, pipeline: &mut Pipeline, config: &RedisConfig) {
        match self {
            // As much of it as is looked at, and one byte that tells if there is more; that is
            // nothing both for no session and for an empty one.
            Self::Load { token, .. } => {
                let key = config.session_key(token);
                pipeline.cmd("EXISTS").arg(&key);
                pipeline.cmd("GETRANGE").arg(key).arg(0).arg(MAX_SESSION)
            }
            Self::Check { token, .. } => pipeline.cmd("EXISTS").arg(config.session_key(token)),
            Self::Touch { token, ttl } => {
                pipeline.cmd("EXPIRE").arg(config.session_key(token)).arg(whole_seconds(*ttl))
            }
            // Whoever is first has it; an answer that was lost is found when it is asked again.
            Self::Claim { key, node: value, .. } | Self::ClaimForHost { key, value, .. } => {
                let key = format!("{}{key}", config.prefix);
                let set = pipeline.cmd("SET").arg(&key).arg(&**value);
                set.arg("NX").arg("EX").arg(CLAIM_TTL);
                pipeline.cmd("GET").arg(key)
            }
        };
    }

    /// What Redis has answered to its commands means, and what is wrong with that.
    pub(super) fn answered(
        self,
        answers: &mut impl Iterator<Item = Value>,
        problem: &mut Option<ServerError>,
    ) -> Option<LinkEvent> {
        match (self, answers.next().unwrap_or(Value::Nil)) {
            (Self::Load { request, .. }, Value::Int(count)) => {
                let session = match answers.next() {
                    Some(Value::BulkString(_)) if count == 0 => Session::Missing,
                    Some(Value::BulkString(text)) => {
                        // What is none of these is no JSON either, and the engine says so.
                        let text = Some(text).filter(|text| text.len() <= MAX_SESSION);
                        let text = text.and_then(|text| String::from_utf8(text).ok());
                        Session::Found(text.unwrap_or_default())
                    }
                    // Something else than a text has that key.
                    Some(Value::ServerError(error)) if error.code() == "WRONGTYPE" => {
                        Session::Found(String::new())
                    }
                    Some(Value::ServerError(error)) => {
                        *problem = Some(error);
                        Session::Unavailable
                    }
                    _ => Session::Unavailable,
                };
                Some(LinkEvent::SessionLoaded(request, session))
            }
            (Self::Check { conn, token }, Value::Int(count)) => {
                Some(LinkEvent::SessionChecked(conn, token, count > 0))
            }
            (Self::Claim { request, .. }, Value::Nil | Value::Okay) => {
                Some(LinkEvent::Claimed(request, holder(answers)))
            }
            (Self::ClaimForHost { reply, .. }, Value::Nil | Value::Okay) => {
                if let Some(holder) = holder(answers) {
                    // Whoever asked may not wait any more.
                    let _ = reply.try_send(holder);
                }
                None
            }
            (lookup, answer) => {
                if let Value::ServerError(error) = answer {
                    *problem = Some(error);
                }
                if let Self::Load { .. } | Self::Claim { .. } | Self::ClaimForHost { .. } = lookup {
                    answers.next();
                }
                lookup.unanswered()
            }
        }
    }

    /// It cannot be told: whoever wants to come in does not (R-A4), and nobody is closed for it.
    pub(super) fn unanswered(self) -> Option<LinkEvent> {
        match self {
            Self::Load { request, .. } => {
                Some(LinkEvent::SessionLoaded(request, Session::Unavailable))
            }
            Self::Claim { request, .. } => Some(LinkEvent::Claimed(request, None)),
            // Without a reply the application learns that there is none.
            Self::Check { .. } | Self::Touch { .. } | Self::ClaimForHost { .. } => None,
        }
    }
}

/// Who holds a claim, as the answer to its second command says.
fn holder(answers: &mut impl Iterator<Item = Value>) -> Option<String> {
    match answers.next() {
        Some(Value::BulkString(holder)) => String::from_utf8(holder).ok(),
        _ => None,
    }
}

/// A time to live as Redis has it; never zero, which would be a deletion.
pub(super) fn whole_seconds(ttl: Duration) -> i64 {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX / 1000).clamp(1, i64::MAX / 1000)
}

/// What the server is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// The bus can be used, and everything that is wanted is subscribed to.
    Up,
    /// It cannot.
    Down,
    /// Redis has answered to the publication of so many bytes of payloads.
    Taken(u64),
    Message {
        channel: Box<str>,
        payload: Vec<u8>,
    },
    SessionLoaded(RequestId, Session),
    SessionChecked(ConnId, Token, bool),
    Claimed(RequestId, Option<String>),
}

impl LinkEvent {
    /// The bytes of a message.
    pub(super) fn payload_size(&self) -> usize {
        match self {
            Self::Message { payload, .. } => payload.len(),
            _ => 0,
        }
    }
}

/// What a look-up of a session found, as [`SessionLookup`] but owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    Found(String),
    Missing,
    Unavailable,
}

impl Session {
    pub(crate) fn as_lookup(&self) -> SessionLookup<'_> {
        match self {
            Self::Found(text) => SessionLookup::Found(text),
            Self::Missing => SessionLookup::Missing,
            Self::Unavailable => SessionLookup::Unavailable,
        }
    }
}
