//! Rooms and their members.

use axum::{Json, extract::State as Extract};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use symple_driver::HandleError;
use symple_engine::server::{EngineError, PeerFilter};

use super::{
    extract::{Client, Name, NoParams, Params, Text, cursor, limit, search, show_cursor},
    peers::page,
    view::{Peer, Room},
};
use crate::admin::{State, error::ApiError};

/// Which rooms are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    search: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A page of rooms.
#[derive(Debug, Serialize)]
pub(super) struct Rooms {
    rooms: Vec<Room>,
    next: Option<String>,
}

pub(super) async fn list(
    Extract(shared): State,
    Params(list): Params<List>,
) -> Result<Json<Rooms>, ApiError> {
    let (limit, from) = (limit(list.limit)?, cursor(&shared, list.cursor.as_deref())?);
    let page = shared.handle.list_rooms(search(list.search)?, from, limit).await?;
    let rooms = page.entries.into_iter().map(Room::from).collect();
    Ok(Json(Rooms { rooms, next: show_cursor(&shared, page.next) }))
}

/// Which of its members are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Members {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A room, and a page of its members.
#[derive(Debug, Serialize)]
pub(super) struct RoomMembers {
    name: String,
    /// Its state, an object; none on the pages behind the first, so that the other nodes are asked once.
    state: Option<Box<RawValue>>,
    /// Whether the node that answers keeps the state; none as above.
    pinned: Option<bool>,
    members: Vec<Peer>,
    /// How many there are in all.
    count: usize,
    next: Option<String>,
}

fn no_room() -> ApiError {
    ApiError::not_found("nobody is in this room, and it has no state")
}

pub(super) async fn one(
    Extract(shared): State,
    Name(name): Name,
    Params(members): Params<Members>,
) -> Result<Json<RoomMembers>, ApiError> {
    let (limit, from) = (limit(members.limit)?, cursor(&shared, members.cursor.as_deref())?);
    let handle = &shared.handle;
    let count = handle.room(name.clone()).await?.map(|room| room.members);
    let (mut state, mut pinned) = (None, None);
    if members.cursor.is_none() {
        let read = match handle.read_state(name.clone()).await {
            // Nobody is in a room that can have no name.
            Err(HandleError::Engine(EngineError::Name(_))) => return Err(no_room()),
            read => read?,
        };
        if count.is_none() && read.state.is_empty() && !read.pinned {
            return Err(no_room());
        }
        (state, pinned) = (RawValue::from_string(read.state.to_json()).ok(), Some(read.pinned));
    } else if count.is_none() {
        return Err(no_room());
    }
    let filter = PeerFilter { room: Some(name.clone()), ..PeerFilter::default() };
    let (members, next) = page(&shared, filter, from, limit).await?;
    Ok(Json(RoomMembers { name, state, pinned, members, count: count.unwrap_or_default(), next }))
}

/// Nothing is known of why a room is closed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {}

/// How many members were taken out of a room.
#[derive(Debug, Serialize)]
pub(super) struct Removed {
    removed: usize,
}

pub(super) async fn close(
    Extract(shared): State,
    Name(name): Name,
    _: NoParams,
    client: Client,
    body: Text,
) -> Result<Json<Removed>, ApiError> {
    let Close {} = body.read_or_default()?;
    let removed = shared.handle.close_room(name.clone()).await?;
    client.did("close-room", &*name, removed).log();
    Ok(Json(Removed { removed }))
}
