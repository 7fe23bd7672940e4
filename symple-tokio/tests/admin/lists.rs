//! What can be asked: peers, users, rooms, nodes, events.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    RUNTIME, Service,
    client::{Client, exchange},
    until,
};
use symple_tokio::proto::{Fields, UserName};

/// R-I1: a server without anybody, and what is there when somebody comes.
#[test]
fn peers_users_and_rooms() {
    let Service { server, api, .. } = &Service::start();
    assert_eq!(api.get("/v1/peers").body, json!({ "peers": [], "next": null }));
    assert_eq!(api.get("/v1/rooms").body, json!({ "rooms": [], "next": null }));
    assert_eq!(api.get("/v1/peers/nobody").code(), (404, "not_found"));
    assert_eq!(api.get("/v1/rooms/nowhere").code(), (404, "not_found"));
    let alice = Client::join(server, "alice", &["a/b ü"]);
    let peer = api.get(&format!("/v1/peers/{}", alice.id())).body;
    assert_eq!(peer["address"], alice.address());
    assert_eq!((&peer["here"], &peer["node"]), (&json!(true), &Value::Null));
    assert_eq!((&peer["readonly"], &peer["hidden"]), (&json!(false), &json!(false)));
    assert_eq!(peer["rooms"], json!(["alice", "a/b ü"]));
    assert_eq!(peer["record"]["user"], "alice");
    // By its address, too; and others see the same.
    let address = alice.address().replace('|', "%7C");
    assert_eq!(api.get(&format!("/v1/peers/{address}")).body, peer);
    assert_eq!(api.get("/v1/peers").body["peers"], json!([peer]));
    for (query, count) in [
        ("user=alice", 1),
        ("user=ali", 0),
        ("room=a/b%20%C3%BC", 1),
        ("room=bob", 0),
        ("search=LIC", 1),
        ("search=bob", 0),
        ("user=alice&room=alice&search=a&limit=1", 1),
        ("node=elsewhere", 0),
    ] {
        let found = api.get(&format!("/v1/peers?{query}")).body;
        assert_eq!(found["peers"].as_array().unwrap().len(), count, "{query}");
    }
    let room = api.get("/v1/rooms/a%2Fb%20%C3%BC").body;
    assert_eq!((&room["name"], &room["count"]), (&json!("a/b ü"), &json!(1)));
    assert_eq!(room["members"], json!([peer]));
    let user = api.get("/v1/users/alice").body;
    assert_eq!(user["rooms"], json!(["a/b ü", "alice"]));
    assert_eq!(user["peers"], json!([peer]));
    assert_eq!(api.get("/v1/users/bob").body["peers"], json!([]));
    let rooms = api.get("/v1/rooms?search=ALICE").body;
    assert_eq!(rooms["rooms"], json!([{ "name": "alice", "members": 1 }]));
}

/// R-I1: all pages together have each peer and each room once.
#[test]
fn all_pages() {
    let Service { server, api, .. } = &Service::start();
    let bots: Vec<_> = (0..250)
        .map(|number| {
            let user = UserName::new(format!("bot{number}").as_str()).unwrap();
            let room = format!("r{}", number % 5);
            // Nobody is told of it, so that nothing waits for those who read nothing.
            let hidden = Fields::new().with("hidden", symple_tokio::proto::RawJson::bool(true));
            RUNTIME.block_on(server.handle().add_peer(user, hidden, [room])).unwrap()
        })
        .collect();
    for (path, list, count) in [
        ("/v1/peers?limit=100", "peers", 250),
        ("/v1/peers?limit=1000", "peers", 250),
        ("/v1/peers?limit=7&room=r1", "peers", 50),
        ("/v1/rooms/r1?limit=7", "members", 50),
        ("/v1/rooms?limit=33", "rooms", 255),
    ] {
        let all = api.all(path, list);
        let name = |entry: &Value| entry.get("id").or(entry.get("name")).unwrap().to_string();
        let names: BTreeSet<_> = all.iter().map(name).collect();
        assert_eq!((all.len(), names.len()), (count, count), "{path}");
    }
    drop(bots);
}

/// R-I1: nodes, this node, and the API's description.
#[test]
fn nodes() {
    let Service { server, api, .. } = &Service::start();
    let _alice = Client::join(server, "alice", &[]);
    let node = api.get("/v1/node").body;
    assert_eq!((&node["peers"], &node["cluster_peers"]), (&json!(1), &json!(1)));
    assert_eq!(node["stats"]["engine"]["admitted"], 1);
    assert_eq!(node["listen"][0]["address"], server.local_address().to_string());
    assert_eq!(node["protocol"], "symple/4");
    let nodes = json!({ "nodes": [{ "id": null, "here": true, "peers": 1, "silence": null }] });
    assert_eq!(api.get("/v1/nodes").body, nodes);
    assert_eq!(api.get("/v1/openapi.json").body["openapi"], "3.1.0");
}

/// R-I1: every counter of the server that is one number is shown under its name.
#[test]
fn all_counters() {
    let Service { server, api, .. } = &Service::start();
    let stats = RUNTIME.block_on(server.handle().stats()).unwrap();
    let shown = &api.get("/v1/node").body["stats"];
    for (part, debug) in [
        ("engine", format!("{:#?}", stats.engine)),
        ("transport", format!("{:#?}", stats.transport)),
    ] {
        let fields = debug.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
        let number = |value: &str| value.trim_end_matches(',').parse::<u64>().is_ok();
        let names: Vec<_> =
            fields.filter(|(_, value)| number(value)).map(|(name, _)| name).collect();
        let shown: Vec<_> = shown[part].as_object().unwrap().keys().collect();
        assert_eq!(shown, names, "{part}");
    }
}

/// R-I1: events are told as they happen, of the types that are wanted, and counted.
#[test]
fn events() {
    let service = Service::start();
    let Service { server, api, .. } = &service;
    api.get("/v1/node");
    let mut all = api.follow("").unwrap();
    let mut some = api.follow("?types=offline,joined").unwrap();
    let mut alice = Client::join(server, "alice", &["a"]);
    alice.send(&json!({ "type": "join", "room": "b" }));
    alice.recv_type("join:ok");
    alice.send(&json!({ "type": "leave", "room": "a" }));
    alice.recv_type("leave:ok");
    alice.send(&json!({ "type": "close" }));
    let told: Vec<_> = (0..4).map(|_| all.next().unwrap()).collect();
    let kinds: Vec<_> =
        told.iter().map(|(id, told)| (*id, told["type"].as_str().unwrap())).collect();
    assert_eq!(kinds, [(1, "online"), (2, "joined"), (3, "left"), (4, "offline")]);
    assert_eq!(told[0].1["rooms"], json!(["alice", "a"]));
    assert_eq!((&told[1].1["room"], &told[2].1["room"]), (&json!("b"), &json!("a")));
    assert_eq!(told[3].1["reason"], "closed");
    let close = json!({ "by": "server", "code": 1000, "reason": "Closed" });
    assert_eq!(told[3].1["close"], close);
    assert!(told.iter().all(|(_, told)| told["peer"] == alice.address() && told["here"] == true));
    assert_eq!(some.next().unwrap().1, told[1].1);
    assert_eq!(some.next().unwrap(), (2, told[3].1.clone()));
    let no_version = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert!(exchange(server, no_version).starts_with("HTTP/1.1 426 "));
    let (_, failed) = all.next().unwrap();
    assert_eq!((&failed["type"], &failed["status"]), (&json!("upgrade_failed"), &json!(426)));
    assert_eq!((&failed["address"], &failed["missed"]), (&json!("127.0.0.1"), &json!(0)));
    // They end with the server.
    RUNTIME.block_on(server.shutdown(std::time::Duration::ZERO)).unwrap();
    assert_eq!(all.next(), None);
    assert_eq!(some.next(), None);
    assert_eq!(api.get("/v1/peers").code(), (503, "unavailable"));
}

/// R-I1: a follower that is too slow is told how much it has lost, and costs no memory meanwhile.
#[test]
fn a_slow_follower() {
    let service = Service::start_with(
        |builder| builder.configure(|config| config.event_backlog = 16),
        |admin| admin.key(crate::KEY),
        Some(crate::KEY),
    );
    let Service { server, api, .. } = &service;
    api.get("/v1/node");
    let mut slow = api.follow("").unwrap();
    // Far more than sockets hold.
    let rooms: Vec<_> = (0..50).map(|number| format!("{}{number}", "x".repeat(200))).collect();
    for _ in 0..3000 {
        let user = UserName::new("bot").unwrap();
        RUNTIME.block_on(server.handle().add_peer(user, Fields::new(), rooms.clone())).unwrap();
    }
    loop {
        let (_, event) = slow.next().unwrap();
        if event["type"] == "lost" {
            assert!(event["count"].as_u64().unwrap() > 0);
            return;
        }
    }
}

/// R-I1: what is not known is refused and named: nothing is ignored.
#[test]
fn what_is_not_known_is_refused() {
    let Service { api, .. } = &Service::start();
    for (path, named) in [
        ("/v1/peers?usr=alice", "usr"),
        ("/v1/peers?user=a&user=b", "user"),
        ("/v1/peers?limit=0", "limit"),
        ("/v1/peers?limit=1001", "limit"),
        ("/v1/peers?limit=x", "limit"),
        ("/v1/peers?cursor=x", "cursor"),
        ("/v1/peers?cursor=1-1", "cursor"),
        ("/v1/node?verbose", "verbose"),
        ("/v1/peers/x?limit=1", "limit"),
        ("/v1/events?types=online,offlne", "offlne"),
        ("/v1/rooms/%ff", "UTF-8"),
    ] {
        let answer = api.get(path);
        assert_eq!(answer.status, 400, "{path}");
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(named), "{path}: {message}");
    }
    let long = "x".repeat(257);
    assert_eq!(api.get(&format!("/v1/peers?search={long}")).status, 400);
    assert_eq!(api.get("/v1/peer").code(), (404, "not_found"));
    assert_eq!(api.get("/nothing").code(), (404, "not_found"));
    for (path, body) in [
        ("/v1/drain", json!({ "seconds": 0, "hard": true })),
        ("/v1/drain", json!({})),
        ("/v1/drain", json!({ "seconds": 86_401 })),
        ("/v1/drain", json!({ "seconds": -1 })),
        ("/v1/peers/x/rooms", json!({ "joins": [] })),
        ("/v1/emit", json!({ "type": "message" })),
        ("/v1/emit", json!([])),
    ] {
        assert_eq!(api.post(path, &body).status, 400, "{path} {body}");
    }
    let answer = api.ask("DELETE /v1/peers/x", &[], r#"{"why":"x"}"#);
    assert_eq!(answer.status, 400);
    // A message is one line, whatever is repeated in it.
    let answer = api.ask("POST /v1/drain", &[], "{\"\\u0000\\n\u{1b}[2J\":1}");
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.len() < 1000 && !message.contains(char::is_control), "{message:?}");
}

/// R-I1: each path has the methods that are described, and tells so.
#[test]
fn methods() {
    let Service { api, .. } = &Service::start();
    let description = api.get("/v1/openapi.json").body;
    for (path, operations) in description["paths"].as_object().unwrap() {
        let path = path.replace(['{', '}'], "");
        let answer = api.ask(&format!("PATCH {path}"), &[], "{}");
        assert_eq!(answer.code(), (405, "method_not_allowed"), "{path}");
        let allowed: BTreeSet<_> = answer
            .header("allow")
            .unwrap()
            .split(',')
            .map(|method| method.trim().to_lowercase())
            .collect();
        let mut described: BTreeSet<_> = operations
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters")
            .cloned()
            .collect();
        if described.contains("get") {
            described.insert("head".into());
        }
        assert_eq!(allowed, described, "{path}");
    }
}

/// R-I1: what was counted, from the start of the listener on.
#[test]
fn history() {
    let Service { server, api, .. } = &Service::start();
    let _alice = Client::join(server, "alice", &[]);
    until("there is a sample", || {
        !api.get("/v1/history").body["samples"].as_array().unwrap().is_empty()
    });
    let history = api.get("/v1/history").body;
    assert_eq!((&history["every"], &history["columns"][0]), (&json!(5), &json!("at")));
    let sample = history["samples"][0].as_array().unwrap();
    assert_eq!(sample.len(), history["columns"].as_array().unwrap().len());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!((now.as_secs_f64() - sample[0].as_f64().unwrap() / 1000.0).abs() < 60.0, "{sample:?}");
}

/// R-I1, R-T2: whether a node is ready, and why not.
#[test]
fn readiness() {
    let Service { server, api, .. } = &Service::start();
    let node = api.get("/v1/node").body;
    assert_eq!((&node["ready"], &node["reason"]), (&json!(true), &Value::Null));
    let _alice = Client::join(server, "alice", &[]);
    RUNTIME.block_on(server.handle().shutdown(std::time::Duration::from_secs(60))).unwrap();
    until("it ends", || api.get("/v1/node").body["reason"] == "draining");
    assert_eq!(api.get("/v1/node").body["ready"], false);
}
