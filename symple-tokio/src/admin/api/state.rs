//! The states of rooms.

use std::sync::Arc;

use axum::{
    Json as JsonBody,
    extract::State as Extract,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use symple_proto::{Fields, Json, json::MAX_DEPTH};

use super::{
    extract::{Client, NoParams, Text},
    once::{self, Call},
};
use crate::admin::{State, error::ApiError};

/// What is to become of a room's state: one of these.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    room: String,
    /// Keys with their values, an object; null deletes a key.
    set: Option<Box<RawValue>>,
    /// All keys are deleted.
    #[serde(default)]
    clear: bool,
    /// The node that answers keeps the state without members, or does not any more.
    pin: Option<bool>,
}

/// The change, when it is sure that it is one.
enum Act {
    Set(Fields),
    Clear,
    Pin(bool),
}

/// Whether the change was made at once, or waits for other nodes to tell of the state.
#[derive(Debug, Serialize)]
struct Changed {
    done: bool,
}

impl Change {
    fn act(&self) -> Result<Act, ApiError> {
        match (&self.set, self.clear, self.pin) {
            (Some(set), false, None) => {
                let set = Json::parse(set.get(), MAX_DEPTH).ok().and_then(Json::as_object);
                let set = set.and_then(|set| Fields::try_from(set).ok());
                set.map(Act::Set).ok_or_else(|| ApiError::bad_request("set must be an object"))
            }
            (None, true, None) => Ok(Act::Clear),
            (None, false, Some(pin)) => Ok(Act::Pin(pin)),
            _ => Err(ApiError::bad_request("the body needs one of: set, clear, pin")),
        }
    }
}

pub(super) async fn change(
    Extract(shared): State,
    _: NoParams,
    client: Client,
    headers: HeaderMap,
    body: Text,
) -> Result<Response, ApiError> {
    let change: Change = body.read()?;
    let act = change.act()?;
    let (handle, room) = (shared.handle.clone(), change.room);
    // What cannot be set is refused before the key is used up.
    let nothing = Fields::default();
    let set = if let Act::Set(set) = &act { set } else { &nothing };
    handle.check_state(room.clone(), set).await?;
    // Each node pins by itself: the same request to two nodes is not the same thing twice.
    let instance = format!("{:x}", handle.instance());
    let what = if let Act::Pin(_) = act { &["state", &instance][..] } else { &["state"] };
    let call = Call::new(&headers, what, &body.0)?;
    let effect = async move {
        let (action, often) = match act {
            Act::Set(_) => ("set-state", true),
            Act::Clear => ("clear-state", false),
            Act::Pin(true) => ("pin-state", false),
            Act::Pin(false) => ("unpin-state", false),
        };
        let done = match act {
            Act::Set(set) => handle.set_state(room.clone(), &set).await?,
            Act::Clear => handle.clear_state(room.clone()).await?,
            Act::Pin(pinned) => {
                handle.pin_state(room.clone(), pinned).await?;
                true
            }
        };
        let operation = client.did(action, &*room, None);
        // What backends do often must not keep what operators do now and then out of the log.
        if often {
            operation.log_often();
        } else {
            operation.log();
        }
        let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
        Ok((status, JsonBody(Changed { done })).into_response())
    };
    once::once(Arc::clone(&shared), call, effect).await
}
