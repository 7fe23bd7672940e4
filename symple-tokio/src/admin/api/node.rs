//! The nodes of the cluster, and this one.

use axum::{Json, extract::State as Extract};
use serde::Serialize;

use super::{
    extract::NoParams,
    view::{EngineStats, Transport},
};
use crate::admin::{
    State,
    error::ApiError,
    history::{self, History},
};

/// A place where a node listens.
#[derive(Debug, Serialize)]
struct Listens {
    address: String,
    encrypted: bool,
}

/// What a node has counted.
#[derive(Debug, Serialize)]
struct Counts {
    engine: EngineStats,
    transport: Transport,
}

/// This node.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    id: Option<Box<str>>,
    version: &'static str,
    protocol: &'static str,
    /// In seconds.
    uptime: u64,
    draining: bool,
    /// Whether `/readyz` says so.
    ready: bool,
    /// Why not, in a word.
    reason: Option<&'static str>,
    listen: Vec<Listens>,
    connections: usize,
    /// Those of this node.
    peers: usize,
    /// Those of all nodes.
    cluster_peers: usize,
    rooms: usize,
    stats: Counts,
}

pub(super) async fn node(Extract(shared): State, _: NoParams) -> Result<Json<Node>, ApiError> {
    let handle = &shared.handle;
    let (stats, reason) = (handle.stats().await?, handle.not_ready());
    let listens = handle.listen_addresses().iter().map(|(address, encrypted)| Listens {
        address: address.to_string(),
        encrypted: *encrypted,
    });
    Ok(Json(Node {
        id: handle.node_id().map(Into::into),
        version: env!("CARGO_PKG_VERSION"),
        protocol: symple_proto::PROTOCOL,
        uptime: handle.uptime().as_secs(),
        draining: handle.is_draining(),
        ready: reason.is_none(),
        reason,
        listen: listens.collect(),
        connections: stats.engine.connections,
        peers: stats.engine.peers,
        cluster_peers: stats.engine.peers + stats.engine.remote_peers,
        rooms: stats.engine.rooms,
        stats: Counts { engine: stats.engine.into(), transport: stats.transport.into() },
    }))
}

/// A node of the cluster.
#[derive(Debug, Serialize)]
struct Member {
    id: Option<Box<str>>,
    here: bool,
    peers: usize,
    /// For how long it has not been heard by this one, in seconds; none for this one.
    silence: Option<f64>,
}

/// All nodes of the cluster.
#[derive(Debug, Serialize)]
pub(super) struct Nodes {
    nodes: Vec<Member>,
}

pub(super) async fn nodes(Extract(shared): State, _: NoParams) -> Result<Json<Nodes>, ApiError> {
    let handle = &shared.handle;
    let peers = handle.stats().await?.engine.peers;
    let mut nodes =
        vec![Member { id: handle.node_id().map(Into::into), here: true, peers, silence: None }];
    let others = handle.nodes().await?.into_iter();
    nodes.extend(others.map(|node| Member {
        id: Some(node.id),
        here: false,
        peers: node.peers,
        silence: Some((node.silence.as_secs_f64() * 1000.0).round() / 1000.0),
    }));
    nodes.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Json(Nodes { nodes }))
}

/// What was counted in the last quarter of an hour.
#[derive(Debug, Serialize)]
pub(super) struct Samples {
    /// In seconds.
    every: u64,
    columns: [&'static str; history::COLUMNS.len()],
    samples: Vec<[f64; history::COLUMNS.len()]>,
}

pub(super) async fn history(Extract(shared): State, _: NoParams) -> Json<Samples> {
    // Where an application serves the router, nobody knows before that there is a runtime.
    history::start(&shared);
    let samples = shared.history.samples();
    Json(Samples { every: History::every(), columns: history::COLUMNS, samples })
}
