//! Frames of the operator's, and the end of a node.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State as Extract,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    extract::{Client, NoParams, Text},
    once::{self, Call},
};
use crate::admin::{Shared, State, error::ApiError};

/// The longest time over which the closing of connections can be spread, in seconds.
const MAX_DRAIN: u64 = 24 * 60 * 60;

/// How many peers a frame goes to.
#[derive(Debug, Serialize)]
struct Delivered {
    receivers: usize,
}

/// Whom a frame is for.
#[derive(Clone, Copy, Debug)]
enum To {
    /// Those whom its `to` names.
    Named,
    Everyone,
}

pub(super) async fn emit(
    Extract(shared): State,
    _: NoParams,
    client: Client,
    headers: HeaderMap,
    body: Text,
) -> Result<Response, ApiError> {
    deliver(shared, client, &headers, &body, To::Named).await
}

pub(super) async fn broadcast(
    Extract(shared): State,
    _: NoParams,
    client: Client,
    headers: HeaderMap,
    body: Text,
) -> Result<Response, ApiError> {
    deliver(shared, client, &headers, &body, To::Everyone).await
}

async fn deliver(
    shared: Arc<Shared>,
    client: Client,
    headers: &HeaderMap,
    body: &Text,
    to: To,
) -> Result<Response, ApiError> {
    let (handle, frame) = (shared.handle.clone(), body.text()?.to_owned());
    let name = match to {
        To::Named => "emit",
        To::Everyone => "broadcast",
    };
    let call = Call::new(headers, &[name], &body.0)?;
    // What cannot be delivered is refused before the key is used up.
    match to {
        To::Named => handle.check_emit(frame.clone()).await?,
        To::Everyone => handle.check_broadcast(frame.clone()).await?,
    }
    let effect = async move {
        let receivers = match to {
            To::Named => handle.emit(frame).await?,
            To::Everyone => handle.broadcast(frame).await?,
        };
        client.did(name, None, receivers).log_often();
        Ok(Json(Delivered { receivers }).into_response())
    };
    once::once(shared, call, effect).await
}

/// How this node is to end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    seconds: u64,
    node: Option<String>,
}

/// What has begun.
#[derive(Debug, Serialize)]
struct Draining {
    draining: bool,
}

pub(super) async fn drain(
    Extract(shared): State,
    _: NoParams,
    client: Client,
    headers: HeaderMap,
    body: Text,
) -> Result<Response, ApiError> {
    let Drain { seconds, node } = body.read()?;
    if seconds > MAX_DRAIN {
        return Err(ApiError::bad_request(format!("seconds must be from 0 to {MAX_DRAIN}")));
    }
    let handle = shared.handle.clone();
    if let Some(node) = node.filter(|node| handle.node_id() != Some(node)) {
        let nodes = handle.nodes().await?;
        if !nodes.iter().any(|known| *known.id == *node) {
            return Err(ApiError::not_found(format!("no such node: {node}")));
        }
        let message =
            format!("a node ends itself alone: ask the API of node {node}, this is another one");
        return Err(ApiError::new(StatusCode::CONFLICT, "other_node", message));
    }
    // The same request to two nodes is not the same thing twice.
    let instance = format!("{:x}", handle.instance());
    let call = Call::new(&headers, &["drain", &instance], &body.0)?;
    let effect = async move {
        client.did("drain", handle.node_id(), None).log();
        handle.shutdown(Duration::from_secs(seconds)).await?;
        Ok((StatusCode::ACCEPTED, Json(Draining { draining: true })).into_response())
    };
    once::once(Arc::clone(&shared), call, effect).await
}
