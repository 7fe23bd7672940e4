//! Asking about joins (R-H1).

use std::fmt;

use super::complaints::Complaint;
use symple_engine::server::JoinVerdict;
use symple_proto::{Address, Fields, Json, RawJson, json::MAX_DEPTH};

/// A client that wants to join a room (R-H1).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JoinRequest {
    /// The address of the peer that wants to join.
    pub peer: Address,
    /// The public record of the peer: what others see of it.
    pub record: Fields,
    /// The name of the room.
    pub room: String,
    /// The members of the `join` frame, such as `credential` and `data`.
    pub frame: Fields,
}

impl JoinRequest {
    pub(crate) fn new(peer: Address, room: &str, record: &str, frame: &str) -> Self {
        let fields = |text| {
            let object = Json::parse(text, MAX_DEPTH).ok().and_then(Json::as_object);
            object.and_then(|object| Fields::try_from(object).ok()).unwrap_or_default()
        };
        Self { peer, record: fields(record), room: room.into(), frame: fields(frame) }
    }

    /// The `credential` of the frame, if it is a string that is not empty.
    #[must_use]
    pub fn credential(&self) -> Option<String> {
        self.frame.get_str("credential").filter(|text| !text.is_empty()).map(Into::into)
    }

    /// The `data` of the frame.
    #[must_use]
    pub fn data(&self) -> Option<&RawJson> {
        self.frame.get("data")
    }
}

/// The answer of a hook about a join (R-H1).
#[derive(Clone, Debug)]
#[must_use]
pub struct JoinDecision(pub(crate) JoinVerdict);

impl JoinDecision {
    /// The peer may join the room.
    pub fn allow() -> Self {
        Self(JoinVerdict::Allow)
    }

    /// The peer may not join. It is sent `error` 403 with the room and this message; without one the
    /// message is `Join denied`.
    pub fn deny(message: impl Into<String>) -> Self {
        Self(JoinVerdict::Deny { message: Some(message.into().into()) })
    }
}

impl From<JoinDecision> for JoinVerdict {
    fn from(decision: JoinDecision) -> Self {
        decision.0
    }
}

/// What a hook about joins may return: a decision, or a result that is one. An error denies; it is
/// logged, and the client is not told of it (R-H5).
pub trait IntoJoinDecision {
    /// The decision.
    fn into_decision(self) -> JoinDecision;
}

impl IntoJoinDecision for JoinDecision {
    fn into_decision(self) -> JoinDecision {
        self
    }
}

impl<E: fmt::Display> IntoJoinDecision for Result<JoinDecision, E> {
    fn into_decision(self) -> JoinDecision {
        self.unwrap_or_else(|error| {
            static FAILED: Complaint = Complaint::new("the hook about joins failed");
            FAILED.log(&error);
            JoinDecision::deny("")
        })
    }
}
