//! What a webhook is told by a cluster: R-W1.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    client::Client,
    processes::{Node, Redis},
    receiver::{Reply, Service},
};

/// Reads batches until the events are as many as wanted.
fn told(service: &Service, wanted: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < wanted {
        let batch = service.next().json();
        assert_eq!(batch["dropped"], 0);
        events.extend(batch["events"].as_array().unwrap().iter().cloned());
    }
    assert_eq!(events.len(), wanted, "{events:#?}");
    events
}

/// R-W1, R-H3: each change is told by one node, also that the peers of a node that was killed are
/// offline.
#[test]
fn a_node_with_a_webhook_is_killed() {
    const PEERS: usize = 25;
    for runtime in ["tokio", "async-std"] {
        let Some(redis) = Redis::start() else { return };
        let service = Service::start(|_| Reply::Answer(200, String::new()));
        let url = service.url();
        let mut nodes: Vec<_> =
            (0..3).map(|_| Node::start_with(&redis, runtime, &["--webhook-url", &url])).collect();
        let [bob, carol] = [(1, "bob"), (2, "carol")]
            .map(|(node, user)| Client::connect(nodes[node].address, user, &["team"]));
        let mut peers = Vec::new();
        for n in 0..PEERS {
            peers.push(Client::connect(nodes[0].address, &format!("peer-{n}"), &["team"]));
        }
        for peer in &peers {
            bob.saw_online(&peer.address());
            carol.saw_online(&peer.address());
        }
        let online = told(&service, PEERS + 2);
        assert!(online.iter().all(|event| event["type"] == "online"));
        let dead: BTreeSet<_> = online
            .iter()
            .filter(|event| event["user"].as_str().unwrap().starts_with("peer-"))
            .map(|event| event["node"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(dead.len(), 1, "each node tells of its own");
        nodes[0].signal("KILL").wait();
        let offline = told(&service, PEERS);
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for event in &offline {
            assert_eq!(
                (&event["type"], &event["reason"]),
                (&"offline".into(), &"node lost".into())
            );
            assert!(!dead.contains(event["node"].as_str().unwrap()), "a dead node tells nothing");
            *times.entry(event["peer"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(times.len(), PEERS);
        assert!(peers.iter().all(|peer| times.get(&peer.address()) == Some(&1)));
        // What comes behind is of the others: nothing is told twice.
        let address = bob.address();
        drop(bob);
        carol.saw_offline(&address, 1);
        assert_eq!(told(&service, 1)[0]["user"], "bob");
    }
}
