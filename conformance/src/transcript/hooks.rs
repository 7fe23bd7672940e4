//! What the hooks of a scenario's server say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a hook says of a token, or of the credential of a join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookAnswer {
    /// It waits so many milliseconds first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// It throws an error with this message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throws: Option<String>,
    /// It returns this; `null` where the value is.
    #[serde(default, with = "present", skip_serializing_if = "Option::is_none")]
    pub returns: Option<Value>,
    /// Or an object of these members: `allowed`, `rooms`, `message`.
    #[serde(flatten)]
    pub object: Map<String, Value>,
}

/// A member that may be `null`, which is not the same as no member.
mod present {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
        Value::deserialize(d).map(Some)
    }

    pub(super) fn serialize<S: Serializer>(value: &Option<Value>, s: S) -> Result<S::Ok, S::Error> {
        value.serialize(s)
    }
}

impl HookAnswer {
    /// What it returns.
    #[must_use]
    pub fn value(&self) -> Value {
        self.returns.clone().unwrap_or_else(|| Value::Object(self.object.clone()))
    }

    /// The answer for a token, or for a credential.
    #[must_use]
    pub fn find<'a>(hook: &'a BTreeMap<String, Self>, token: &str) -> Option<&'a Self> {
        hook.get(token).or_else(|| hook.get("*"))
    }
}

/// What a hook says of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameAnswer {
    /// It waits so many milliseconds first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// What it decides.
    pub decision: FrameChoice,
}

/// What a hook decides about a frame (R-H2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum FrameChoice {
    /// The frame is relayed.
    Pass,
    /// The frame is not relayed, and nobody is told.
    Drop,
    /// Another frame takes its place.
    Replace(String),
    /// The sender alone is sent this frame.
    Answer(String),
    /// The sender is told why it is not relayed.
    Refuse {
        /// The status of the error.
        status: u16,
        /// Its message; the usual one, if it is empty.
        message: String,
    },
    /// The hook fails.
    Fail,
}

impl FrameAnswer {
    /// The answer for a frame: none passes it.
    #[must_use]
    pub fn find<'a>(hook: &'a BTreeMap<String, Self>, frame: &str) -> Option<&'a Self> {
        let frame: Value = serde_json::from_str(frame).unwrap_or_default();
        let named = frame["subtype"].as_str().and_then(|subtype| hook.get(subtype));
        named.or_else(|| hook.get("*"))
    }
}
