//! What happens in the cluster, as server-sent events.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    extract::State as Extract,
    response::{
        IntoResponse as _, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_core::Stream;
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use symple_driver::Events;
use symple_engine::server::{Close, Event, OfflineReason, RemoteChange};
use symple_proto::Address;
use tokio::sync::OwnedSemaphorePermit;

use super::extract::Params;
use crate::admin::{State, error::ApiError};

/// How many can follow the events at once.
pub(in crate::admin) const MAX_FOLLOWERS: usize = 64;

/// The names of events.
const TYPES: [&str; 9] = [
    "online",
    "offline",
    "joined",
    "left",
    "refused",
    "upgrade_failed",
    "node_joined",
    "node_left",
    "state_not_set",
];

/// Which events are told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Follow {
    types: Option<String>,
}

impl Follow {
    fn types(&self) -> Result<Vec<&'static str>, ApiError> {
        let Some(types) = &self.types else { return Ok(TYPES.into()) };
        let known = |name: &str| {
            TYPES.into_iter().find(|known| *known == name).ok_or_else(|| {
                let message =
                    format!("no such type of event: '{name}'; there are {}", TYPES.join(", "));
                ApiError::bad_request(message)
            })
        };
        types.split(',').map(known).collect()
    }
}

pub(super) async fn follow(
    Extract(shared): State,
    Params(follow): Params<Follow>,
) -> Result<Response, ApiError> {
    let types = follow.types()?;
    let Ok(permit) = Arc::clone(&shared.followers).try_acquire_owned() else {
        let mut response =
            ApiError::busy(format!("there are {MAX_FOLLOWERS} followers already")).into_response();
        // Its connection is for somebody else.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return Ok(response);
    };
    let node = shared.handle.node_id().map(Into::into);
    let events = shared.handle.cluster_events();
    let followed = Followed { events, types, node, number: 0, _permit: permit };
    Ok(Sse::new(followed).keep_alive(KeepAlive::new()).into_response())
}

/// The events for one follower.
///
/// What it has not read waits in the one backlog of the server, whose oldest events are lost when it is
/// full: however slow it is, it takes no memory of its own.
struct Followed {
    events: Events,
    types: Vec<&'static str>,
    /// The id of this node.
    node: Option<Box<str>>,
    /// How many events there have been for it.
    number: u64,
    _permit: OwnedSemaphorePermit,
}

/// An event as it is told.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told<'a> {
    Online {
        #[serde(flatten)]
        of: Of<'a>,
        rooms: &'a [Box<str>],
    },
    Offline {
        #[serde(flatten)]
        of: Of<'a>,
        reason: &'static str,
        close: Option<ToldClose<'a>>,
    },
    Joined {
        #[serde(flatten)]
        of: Of<'a>,
        room: &'a str,
    },
    Left {
        #[serde(flatten)]
        of: Of<'a>,
        room: &'a str,
    },
    Refused {
        node: Option<&'a str>,
        address: Option<String>,
        status: u16,
        message: &'a str,
    },
    UpgradeFailed {
        node: Option<&'a str>,
        address: Option<String>,
        status: Option<u16>,
        message: &'a str,
        missed: u64,
    },
    NodeJoined {
        node: &'a str,
    },
    NodeLeft {
        node: &'a str,
        dead: bool,
    },
    StateNotSet {
        node: Option<&'a str>,
        room: &'a str,
        message: String,
    },
    Lost {
        count: u64,
    },
}

/// How a connection was closed.
#[derive(Debug, Serialize)]
struct ToldClose<'a> {
    by: &'static str,
    code: Option<u16>,
    reason: &'a str,
}

impl<'a> From<&'a Close> for ToldClose<'a> {
    fn from(Close { by, code, reason }: &'a Close) -> Self {
        Self { by: by.name(), code: code.map(|code| code.0), reason }
    }
}

/// The peer that an event is about.
#[derive(Debug, Serialize)]
struct Of<'a> {
    node: Option<&'a str>,
    here: bool,
    peer: String,
    user: &'a str,
    id: &'a str,
}

impl<'a> Of<'a> {
    fn new(peer: &'a Address, node: Option<&'a str>, here: bool) -> Self {
        Self { node, here, peer: peer.to_string(), user: peer.user.as_str(), id: peer.id.as_str() }
    }
}

/// The name of a reason.
fn reason(reason: OfflineReason) -> &'static str {
    match reason {
        OfflineReason::Disconnected => "disconnected",
        OfflineReason::Closed => "closed",
        OfflineReason::Kicked => "kicked",
        OfflineReason::TooSlow => "too_slow",
        OfflineReason::ProtocolError => "protocol_error",
        OfflineReason::SessionExpired => "session_expired",
        OfflineReason::Shutdown => "shutdown",
        OfflineReason::NodeLost => "node_lost",
        // Of a peer of another node, which does not tell why.
        _ => "unknown",
    }
}

/// An event with its name; `None` for what operators are not told.
fn told<'a>(event: &'a Event, own: Option<&'a str>) -> Option<(&'static str, Told<'a>)> {
    let here = |peer| Of::new(peer, own, true);
    Some(match event {
        Event::Online { peer, rooms, .. } => ("online", Told::Online { of: here(peer), rooms }),
        Event::Offline { peer, reason: why, close, .. } => {
            let (reason, close) = (reason(*why), close.as_ref().map(Into::into));
            ("offline", Told::Offline { of: here(peer), reason, close })
        }
        Event::Joined { peer, room } => ("joined", Told::Joined { of: here(peer), room }),
        Event::Left { peer, room } => ("left", Told::Left { of: here(peer), room }),
        Event::Elsewhere { node, change } => {
            let of = |peer| Of::new(peer, Some(node), false);
            match change {
                RemoteChange::Online { peer, rooms } => {
                    ("online", Told::Online { of: of(peer), rooms })
                }
                RemoteChange::Offline { peer, reason: why } => {
                    ("offline", Told::Offline { of: of(peer), reason: reason(*why), close: None })
                }
                RemoteChange::Joined { peer, room } => {
                    ("joined", Told::Joined { of: of(peer), room })
                }
                RemoteChange::Left { peer, room } => ("left", Told::Left { of: of(peer), room }),
                _ => return None,
            }
        }
        Event::Refused { address, status, message, .. } => {
            let address = address.map(|address| address.to_string());
            let status = status.0;
            ("refused", Told::Refused { node: own, address, status, message })
        }
        Event::UpgradeFailed { address, status, reason, missed } => {
            let address = address.map(|address| address.to_string());
            let (status, missed) = (*status, *missed);
            let told = Told::UpgradeFailed { node: own, address, status, message: reason, missed };
            ("upgrade_failed", told)
        }
        Event::NodeJoined { node } => ("node_joined", Told::NodeJoined { node }),
        Event::NodeLeft { node, dead } => ("node_left", Told::NodeLeft { node, dead: *dead }),
        Event::StateNotSet { room, error } => {
            ("state_not_set", Told::StateNotSet { node: own, room, message: error.to_string() })
        }
        Event::Lost(count) => ("lost", Told::Lost { count: *count }),
        _ => return None,
    })
}

impl Stream for Followed {
    type Item = Result<sse::Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(event) = ready!(Pin::new(&mut this.events).poll_next(cx)) else {
                return Poll::Ready(None);
            };
            let Some((name, told)) = told(&event, this.node.as_deref()) else { continue };
            if name != "lost" && !this.types.contains(&name) {
                continue;
            }
            this.number += 1;
            let event = sse::Event::default().event(name).id(this.number.to_string());
            if let Ok(event) = event.json_data(&told) {
                return Poll::Ready(Some(Ok(event)));
            }
        }
    }
}
