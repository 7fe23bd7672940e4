//! Several nodes: each answers for all of them.

use serde_json::{Value, json};

use crate::{Service, client::Client, process::Redis, until};

/// Two nodes that know each other.
fn pair(redis: &Redis) -> (Service, Service) {
    let (a, b) = (Service::on(redis), Service::on(redis));
    for service in [&a, &b] {
        until("they know each other", || {
            service.api.get("/v1/nodes").body["nodes"].as_array().unwrap().len() == 2
        });
    }
    (a, b)
}

/// Waits until a node knows a peer.
fn knows(service: &Service, peer: &Client) {
    let path = format!("/v1/peers/{}", peer.id());
    until("it knows the peer", || service.api.get(&path).status == 200);
}

/// R-I1: asked on node B, the API knows a peer of node A, and does with it what is asked.
#[test]
fn a_peer_of_another_node() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = pair(&redis);
    let mut alice = Client::join(&a.server, "alice", &["team"]);
    knows(&b, &alice);
    let path = format!("/v1/peers/{}", alice.id());
    let peer = b.api.get(&path).body;
    assert_eq!(peer["here"], false);
    assert_eq!(peer["node"], a.server.node_id().unwrap());
    assert_eq!(peer["rooms"], json!(["alice", "team"]));
    assert_eq!(a.api.get(&path).body["here"], true);
    // Lists of both nodes have it, and so has that of its node.
    for (node, count) in [(&a, 1), (&b, 0)] {
        let id = node.server.node_id().unwrap();
        let found = b.api.get(&format!("/v1/peers?node={id}")).body;
        assert_eq!(found["peers"].as_array().unwrap().len(), count);
    }
    let nodes = b.api.get("/v1/nodes").body;
    for node in nodes["nodes"].as_array().unwrap() {
        assert_eq!(node["silence"].is_null(), node["here"] == true, "{node}");
        assert!(node["silence"].as_f64().is_none_or(|silence| silence < 10.0), "{node}");
    }
    let peers: u64 =
        nodes["nodes"].as_array().unwrap().iter().map(|node| node["peers"].as_u64().unwrap()).sum();
    assert_eq!(peers, 1);
    // A cursor of one node means nothing to another.
    let _bob = Client::join(&a.server, "bob", &["team"]);
    let cursor = a.api.get("/v1/peers?limit=1").body["next"].as_str().unwrap().to_owned();
    assert_eq!(b.api.get(&format!("/v1/peers?cursor={cursor}")).code(), (400, "stale_cursor"));
    // A node ends itself alone.
    let answer = b.api.post("/v1/drain", &json!({ "seconds": 0, "node": a.server.node_id() }));
    assert_eq!(answer.code(), (409, "other_node"));
    let answer =
        b.api.post(&format!("{path}/rooms"), &json!({ "join": ["den"], "leave": ["team"] }));
    assert_eq!(answer.body, json!({ "done": false, "rooms": ["alice", "den"] }));
    assert_eq!(alice.recv_type("leave:ok")["room"], "team");
    assert_eq!(alice.recv_type("join:ok")["room"], "den");
    let answer = b.api.post("/v1/emit", &json!({ "type": "message", "to": "alice" }));
    assert_eq!(answer.body, json!({ "receivers": 1 }));
    assert_eq!(alice.recv_type("message")["to"], "alice");
    assert_eq!(b.api.delete("/v1/users/alice").body, json!({ "closed": 1 }));
    assert_eq!(alice.recv_type("error")["message"], "Closed by an operator");
    until("it is gone", || b.api.get(&path).status == 404);
}

/// R-I1: a repeated key delivers once, also on another node; with another body it is refused there,
/// too.
#[test]
fn once_on_two_nodes() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = pair(&redis);
    let mut alice = Client::join(&a.server, "alice", &[]);
    knows(&b, &alice);
    let frame = json!({ "type": "message", "to": "alice", "data": 1 });
    let first = a.api.post_once("/v1/emit", "k", &frame);
    assert_eq!(first.body, json!({ "receivers": 1 }));
    let again = b.api.post_once("/v1/emit", "k", &frame);
    assert_eq!((again.status, again.body), (200, json!({ "replayed": true })));
    let again = b.api.post_once("/v1/emit", "k", &frame);
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
    assert_eq!(a.api.post_once("/v1/emit", "k", &frame).body, first.body);
    let other = json!({ "type": "message", "to": "alice", "data": 2 });
    assert_eq!(b.api.post_once("/v1/emit", "k", &other).code(), (422, "key_reused"));
    assert_eq!(a.api.post_once("/v1/emit", "k", &other).code(), (422, "key_reused"));
    assert_eq!(alice.recv_type("message"), frame);
    alice.hears_nothing();
    let ttl: i64 = redis.ask("TTL symple:once:k");
    assert!((1..=86_400).contains(&ttl), "{ttl}");
}

/// R-I1: while Redis does not answer nothing is delivered that must be delivered once; what has no key
/// is delivered.
#[test]
fn once_without_an_answer_of_redis() {
    let Some(mut redis) = Redis::start() else { return };
    let service = Service::on(&redis);
    let mut alice = Client::join(&service.server, "alice", &[]);
    redis.stop();
    let frame = json!({ "type": "message", "to": "alice", "data": 1 });
    until("Redis is missed", || service.api.post_once("/v1/emit", "k", &frame).status == 503);
    until("it says why it is not ready", || {
        let node = service.api.get("/v1/node").body;
        node["ready"] == false && node["reason"] == "redis"
    });
    let other = json!({ "type": "message", "to": "alice", "data": 2 });
    assert_eq!(service.api.post("/v1/emit", &other).status, 200);
    // It may have been claimed before it was missed, and then it was delivered.
    assert_eq!(alice.recv_type("message")["data"], 2);
    assert!(redis.restart());
    until("Redis is back", || service.api.post_once("/v1/emit", "k", &frame).status == 200);
    assert_eq!(alice.recv_type("message")["data"], 1);
    alice.hears_nothing();
}

/// R-I1, R-K5: the state of a room whose members are on node A is read and set on node B, each time anew; what
/// waits for A is answered with 202.
#[test]
fn states_of_another_node() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = pair(&redis);
    let mut alice = Client::connect(&a.server);
    let auth = json!({ "type": "auth", "user": "alice", "rooms": ["r"], "extensions": ["state"] });
    alice.auth(&auth);
    knows(&b, &alice);
    assert_eq!(a.api.post("/v1/state", &json!({ "room": "r", "set": { "a": 1 } })).status, 200);
    let state = |service: &Service| service.api.get("/v1/rooms/r").body["state"].clone();
    assert_eq!((state(&a), state(&b)), (json!({ "a": 1 }), json!({ "a": 1 })));
    // Nothing of it stays, so the next answer has what was set meanwhile.
    alice.send(&json!({ "type": "state", "room": "r", "set": { "a": 2 } }));
    alice.recv_type("state:ok");
    assert_eq!(state(&b), json!({ "a": 2 }));
    let answer = b.api.post("/v1/state", &json!({ "room": "r", "set": { "b": 3 } }));
    assert_eq!((answer.status, answer.body), (202, json!({ "done": false })));
    while alice.recv_type("state")["set"] != json!({ "b": 3 }) {}
    assert_eq!((state(&a), state(&b)), (json!({ "a": 2, "b": 3 }), json!({ "a": 2, "b": 3 })));

    // What is refused later is told as an event.
    let mut events = b.api.follow("?types=state_not_set").unwrap();
    for n in 0..8 {
        let set = json!({ "room": "r", "set": { format!("k{n}"): "x".repeat(12_000) } });
        let answer = b.api.post("/v1/state", &set);
        assert!([200, 202, 413].contains(&answer.status), "{answer:?}");
        if answer.status == 413 {
            return;
        }
        until("it is done, or refused", || {
            let state = state(&a);
            state.get(format!("k{n}")).is_some() || n >= 5
        });
    }
    let told = events.next().unwrap().1;
    assert_eq!((&told["type"], &told["room"]), (&json!("state_not_set"), &json!("r")));
    assert_eq!(told["node"], b.server.node_id().unwrap());
}

/// R-I1: what is broadcast on one node is heard on the other one, and a room is closed on both.
#[test]
fn broadcasts_and_rooms_of_both_nodes() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = pair(&redis);
    let mut alice = Client::join(&a.server, "alice", &["team"]);
    let mut bob = Client::join(&b.server, "bob", &["team"]);
    knows(&a, &bob);
    knows(&b, &alice);
    let frame = json!({ "type": "event", "name": "x", "data": 1 });
    assert_eq!(b.api.post("/v1/broadcast", &frame).body, json!({ "receivers": 2 }));
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.recv_type("event"), frame);
    }
    assert_eq!(a.api.delete("/v1/rooms/team").body, json!({ "removed": 2 }));
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.recv_type("leave:ok")["room"], "team");
    }
    for service in [&a, &b] {
        until("nobody is in it", || service.api.get("/v1/rooms/team").status == 404);
    }
}

/// R-I1: the events of all nodes are told on each of them, each once.
#[test]
fn events_of_all_nodes() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = pair(&redis);
    let mut followed = [a.api.follow("").unwrap(), b.api.follow("").unwrap()];
    let mut alice = Client::join(&a.server, "alice", &["team"]);
    alice.send(&json!({ "type": "join", "room": "den" }));
    alice.recv_type("join:ok");
    drop(alice);
    let node = a.server.node_id().unwrap().to_owned();
    for (followed, here) in followed.iter_mut().zip([true, false]) {
        let told: Vec<Value> = (0..3).map(|_| followed.next().unwrap().1).collect();
        let kinds: Vec<_> = told.iter().map(|told| told["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["online", "joined", "offline"]);
        assert_eq!(told[0]["rooms"], json!(["alice", "team"]));
        assert!(told.iter().all(|told| told["node"] == *node && told["here"] == here), "{told:?}");
    }
}
