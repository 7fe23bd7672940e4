//! The routes below `/v1`.

mod calls;
mod events;
mod extract;
mod node;
pub(super) mod once;
mod peers;
mod rooms;
mod state;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use axum::{
    Router,
    routing::{MethodRouter, get, post},
};
use http::header;

use super::Shared;

pub(super) use events::MAX_FOLLOWERS;

/// The description of the API, which [`tests`] hold against the routes.
const OPENAPI: &str = include_str!("api/openapi.json");

/// Every path of the API with its methods.
fn paths() -> Vec<(&'static str, MethodRouter<Arc<Shared>>)> {
    vec![
        ("/v1/broadcast", post(calls::broadcast)),
        ("/v1/drain", post(calls::drain)),
        ("/v1/emit", post(calls::emit)),
        ("/v1/events", get(events::follow)),
        ("/v1/history", get(node::history)),
        ("/v1/node", get(node::node)),
        ("/v1/nodes", get(node::nodes)),
        ("/v1/openapi.json", get(openapi)),
        ("/v1/peers", get(peers::list)),
        ("/v1/peers/{id}", get(peers::one).delete(peers::kick)),
        ("/v1/peers/{id}/rooms", post(peers::change_rooms)),
        ("/v1/rooms", get(rooms::list)),
        ("/v1/rooms/{room}", get(rooms::one).delete(rooms::close)),
        ("/v1/state", post(state::change)),
        ("/v1/users/{user}", get(peers::of_user).delete(peers::kick_user)),
    ]
}

/// All routes of the API.
pub(super) fn routes() -> Router<Arc<Shared>> {
    paths().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods))
}

async fn openapi(_: extract::NoParams) -> impl axum::response::IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}
