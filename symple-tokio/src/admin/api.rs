//! The routes below `/v1`.

use std::sync::Arc;

use axum::{Json, Router, extract::State as Extract, routing::get};
use serde::Serialize;

use super::{Shared, State, error::ApiError};

/// All routes of the API.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v1/node", get(node))
}

/// This node.
#[derive(Debug, Serialize)]
struct Node {
    peers: usize,
}

async fn node(Extract(shared): State) -> Result<Json<Node>, ApiError> {
    let stats = shared.handle.stats().await?;
    Ok(Json(Node { peers: stats.engine.peers }))
}
