//! Peers, and the sessions of users.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::State as Extract,
    response::{IntoResponse as _, Response},
};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use symple_engine::server::{ListCursor, PeerFilter};
use symple_proto::RoomName;

use super::{
    extract::{Client, Name, NoParams, Params, Text, cursor, limit, search, show_cursor},
    once::{self, Call},
    view::Peer,
};
use crate::admin::{Shared, State, error::ApiError};

/// How many rooms can be joined or left at once.
const MAX_ROOMS: usize = 256;
/// How many peers are looked for at once, and how many sessions of a user are shown.
pub(super) const MANY: usize = 1000;
/// What clients are told where nobody says why.
const REASON: &str = "Closed by an operator";

/// Which peers are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    user: Option<String>,
    room: Option<String>,
    node: Option<String>,
    search: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A page of peers.
#[derive(Debug, Serialize)]
pub(super) struct Peers {
    peers: Vec<Peer>,
    next: Option<String>,
}

pub(super) async fn list(
    Extract(shared): State,
    Params(list): Params<List>,
) -> Result<Json<Peers>, ApiError> {
    let (limit, from) = (limit(list.limit)?, cursor(&shared, list.cursor.as_deref())?);
    let List { user, room, node, search: text, .. } = list;
    let search = search(text)?;
    let filter = PeerFilter { user, room, node, search };
    let (peers, next) = page(&shared, filter, from, limit).await?;
    Ok(Json(Peers { peers, next }))
}

/// A page of peers, and the cursor of the next one.
pub(super) async fn page(
    shared: &Shared,
    filter: PeerFilter,
    from: ListCursor,
    limit: usize,
) -> Result<(Vec<Peer>, Option<String>), ApiError> {
    let page = shared.handle.list_peers(filter, from, limit).await?;
    let peers = page.entries.into_iter().map(|peer| Peer::new(peer, &shared.handle)).collect();
    Ok((peers, show_cursor(shared, page.next)))
}

pub(super) async fn one(
    Extract(shared): State,
    Name(id): Name,
    _: NoParams,
) -> Result<Json<Peer>, ApiError> {
    match shared.handle.peer(id).await? {
        Some(peer) => Ok(Json(Peer::new(peer, &shared.handle))),
        None => Err(no_peer()),
    }
}

fn no_peer() -> ApiError {
    ApiError::not_found("no such peer")
}

/// Why peers are closed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kick {
    reason: Option<String>,
}

impl Kick {
    fn reason(self) -> String {
        self.reason.unwrap_or_else(|| REASON.into())
    }
}

/// How many peers were closed.
#[derive(Debug, Serialize)]
pub(super) struct Closed {
    closed: usize,
}

pub(super) async fn kick(
    Extract(shared): State,
    Name(id): Name,
    _: NoParams,
    client: Client,
    body: Text,
) -> Result<Json<Closed>, ApiError> {
    let kick: Kick = body.read_or_default()?;
    shared.handle.kick_peer(id.clone(), kick.reason()).await?;
    client.did("kick", &*id, 1).log();
    Ok(Json(Closed { closed: 1 }))
}

/// The sessions of a user, as far as one page has them.
#[derive(Debug, Serialize)]
pub(super) struct User {
    user: String,
    peers: Vec<Peer>,
    rooms: Vec<Box<str>>,
    next: Option<String>,
}

fn sessions_of(user: &str) -> PeerFilter {
    PeerFilter { user: Some(user.into()), ..PeerFilter::default() }
}

pub(super) async fn of_user(
    Extract(shared): State,
    Name(user): Name,
    _: NoParams,
) -> Result<Json<User>, ApiError> {
    let (peers, next) = page(&shared, sessions_of(&user), ListCursor::default(), MANY).await?;
    let rooms: BTreeSet<_> = peers.iter().flat_map(|peer| &peer.rooms).cloned().collect();
    Ok(Json(User { user, peers, rooms: rooms.into_iter().collect(), next }))
}

pub(super) async fn kick_user(
    Extract(shared): State,
    Name(user): Name,
    _: NoParams,
    client: Client,
    body: Text,
) -> Result<Json<Closed>, ApiError> {
    let kick: Kick = body.read_or_default()?;
    let reason = kick.reason();
    let closed = shared.handle.kick_user(user.to_string(), reason).await?;
    client.did("kick", &*user, closed).log();
    Ok(Json(Closed { closed }))
}

/// The rooms that a peer is to be in, and those it is not to be in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    #[serde(default)]
    join: Vec<String>,
    #[serde(default)]
    leave: Vec<String>,
}

impl Change {
    fn check(&self) -> Result<(), ApiError> {
        if self.join.len() > MAX_ROOMS || self.leave.len() > MAX_ROOMS {
            let message = format!("join and leave have at most {MAX_ROOMS} rooms each");
            return Err(ApiError::bad_request(message));
        }
        for room in self.join.iter().chain(&self.leave) {
            RoomName::new(room.as_str())
                .map_err(|error| ApiError::bad_request(format!("room '{room}': {error}")))?;
        }
        match self.leave.iter().find(|room| self.join.contains(room)) {
            Some(room) => {
                let message = format!("room '{room}' stands in join and in leave");
                Err(ApiError::bad_request(message))
            }
            None => Ok(()),
        }
    }
}

/// The rooms of a peer.
#[derive(Debug, Serialize)]
struct Rooms {
    /// False for a peer of another node, which was asked: then the rooms are those that it will be
    /// in.
    done: bool,
    rooms: Vec<Box<str>>,
}

pub(super) async fn change_rooms(
    Extract(shared): State,
    Name(id): Name,
    _: NoParams,
    client: Client,
    headers: HeaderMap,
    body: Text,
) -> Result<Response, ApiError> {
    let change: Change = body.read()?;
    change.check()?;
    let peer = shared.handle.peer(id).await?.ok_or_else(no_peer)?;
    let id = peer.address.id.to_string();
    let call = Call::new(&headers, &["rooms", &id], &body.0)?;
    let handle = shared.handle.clone();
    let effect = async move {
        for room in &change.leave {
            handle.leave(id.clone(), room.clone()).await?;
        }
        for room in &change.join {
            handle.join(id.clone(), room.clone()).await?;
        }
        client.did("change-rooms", &*id, change.leave.len() + change.join.len()).log();
        let rooms = if peer.node.is_none() {
            let peer = handle.peer(id).await?.ok_or_else(no_peer)?;
            Rooms { done: true, rooms: peer.rooms }
        } else {
            let mut rooms = peer.rooms;
            rooms.retain(|room| !change.leave.iter().any(|left| **left == **room));
            for room in &change.join {
                if !rooms.iter().any(|known| **known == **room) {
                    rooms.push(room.as_str().into());
                }
            }
            Rooms { done: false, rooms }
        };
        Ok(Json(rooms).into_response())
    };
    once::once(Arc::clone(&shared), call, effect).await
}
