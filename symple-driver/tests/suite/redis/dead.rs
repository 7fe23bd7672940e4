//! A node that dies, and what the applications on the others are told (R-H3).

use std::{sync::mpsc, time::Duration};

use symple_engine::server::{ClusterConfig, OfflineReason};

use super::{Redis, until, until_ready};
use crate::{
    adapter::{PeerOffline, RedisConfig, Server, block_on},
    suite::{
        client::{Client, PATIENCE},
        start_with,
    },
};

/// R-H3, R-C2: of the peers of a node that is gone without goodbye exactly one of the others tells
/// that they are offline; what clients do is told by their own node alone.
#[test]
fn the_peers_of_a_dead_node() {
    let Some(redis) = Redis::start() else { return };
    let (tell, told) = mpsc::channel();
    let serve = |node: usize| -> Server {
        let tell = tell.clone();
        let config = RedisConfig::new(redis.url()).unwrap();
        start_with(|builder| {
            builder
                .redis(config)
                .configure(|config| {
                    let mut cluster = ClusterConfig::default();
                    cluster.heartbeat = Duration::from_millis(200);
                    cluster.timeout = Duration::from_millis(1000);
                    config.engine.cluster = Some(cluster);
                })
                .on_offline(move |change: PeerOffline| tell.send((node, change)).unwrap())
        })
    };
    let (dying, others) = (serve(0), [serve(1), serve(2)]);
    for server in others.iter().chain([&dying]) {
        until_ready(server, 200);
    }
    let mut clients: Vec<_> =
        (0..10).map(|n| Client::join(&dying, &format!("user-{n}"), &["r"])).collect();
    for server in &others {
        let peers = || block_on(server.handle().peers()).unwrap().len();
        until("the peers are known", || peers() == 10);
        assert!(block_on(server.handle().local_peers()).unwrap().is_empty());
    }
    let polite = clients.pop().unwrap();
    let address = polite.address();
    drop(polite);
    let (node, change) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((node, change.peer.to_string()), (0, address));
    for server in &others {
        let peers = || block_on(server.handle().peers()).unwrap().len();
        until("it is gone", || peers() == 9);
    }
    let mut expected: Vec<_> = clients.iter().map(Client::address).collect();
    drop(dying);
    let mut dead: Vec<_> = (0..9).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(dead.iter().all(|(node, _)| *node == dead[0].0), "one node has told");
    assert!(dead.iter().all(|(_, change)| change.reason == OfflineReason::NodeLost));
    assert!(dead.iter().all(|(_, change)| change.rooms.len() == 2));
    let mut gone: Vec<_> = dead.drain(..).map(|(_, change)| change.peer.to_string()).collect();
    gone.sort_unstable();
    expected.sort_unstable();
    assert_eq!(gone, expected);
    for server in others {
        until("they are gone", || block_on(server.handle().peers()).unwrap().is_empty());
        block_on(server.shutdown(Duration::ZERO)).unwrap();
    }
    drop(tell);
    // The hooks end with their servers: whatever else was to be told has been.
    assert_eq!(told.into_iter().count(), 0, "nobody else has told");
}
