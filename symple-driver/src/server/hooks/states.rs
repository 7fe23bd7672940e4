//! Asking about changes of the states of rooms (R-K6).

use symple_engine::server::Text;
use symple_proto::{Address, Fields, FrameView, Json, json::MAX_DEPTH};

use super::frames::FrameDecision;

/// A change of a room's state that a client asks for (R-K6).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StateRequest {
    /// The address of the sender.
    pub sender: Address,
    /// The name of the room.
    pub room: Box<str>,
    /// The frame as the client wrote it.
    pub text: Text,
}

impl StateRequest {
    pub(crate) fn new(sender: Address, room: Box<str>, text: Text) -> Self {
        Self { sender, room, text }
    }

    fn member(&self, name: &str) -> Option<Json<'_>> {
        FrameView::parse(&self.text, MAX_DEPTH).ok()?.object().get(name)
    }

    /// The keys with their new values; `null` deletes one.
    #[must_use]
    pub fn set(&self) -> Fields {
        let set = self.member("set").and_then(Json::as_object);
        set.and_then(|set| Fields::try_from(set).ok()).unwrap_or_default()
    }

    /// The decision that these keys are set instead.
    pub fn replace(&self, set: &Fields) -> FrameDecision {
        let mut text = String::from("{\"type\":\"state\",\"room\":");
        text.push_str(&symple_proto::json::quote(&self.room));
        text.push_str(",\"set\":");
        text.push_str(&set.to_json());
        for name in ["id", "echo"] {
            if let Some(value) = self.member(name) {
                text.push_str(&format!(",\"{name}\":{}", value.text()));
            }
        }
        text.push('}');
        FrameDecision::replace(text)
    }
}
