//! Several nodes that are one server: SPEC §10.

mod elsewhere;
mod flow;
mod simulation;
mod states;
mod storm;
mod strangers;

use std::time::Duration;

use crate::common::{Node, config};
use symple_engine::server::{
    ClusterConfig, Config, ConnId, EngineError, HostCall, Input, RoomSend, Whom,
};
use symple_proto::{Fields, UserName, cluster::EnvelopeError};

fn clustered() -> Config {
    config(|config| config.cluster = Some(ClusterConfig::default()))
}

/// Two nodes on one bus, which brings at once what is published.
struct Pair {
    a: Node,
    b: Node,
}

impl Pair {
    fn new(config: &Config) -> Self {
        Self::of(Node::with_ids_from(config.clone(), 10), Node::with_ids_from(config.clone(), 20))
    }

    fn of(a: Node, b: Node) -> Self {
        let mut pair = Self { a, b };
        for node in [&mut pair.a, &mut pair.b] {
            node.drain();
            node.input(Input::BusUp).unwrap();
        }
        pair.settle();
        pair.forget();
        pair
    }

    /// Brings everything that is on the bus to where it is wanted.
    fn settle(&mut self) {
        while !(self.a.published.is_empty() && self.b.published.is_empty()) {
            let published = std::mem::take(&mut self.a.published);
            let published = published.into_iter().chain(std::mem::take(&mut self.b.published));
            for (channel, payload) in published {
                for node in [&mut self.a, &mut self.b] {
                    if node.subscribed.contains(&channel) {
                        let input = Input::BusMessage { channel: &channel, payload: &payload };
                        node.input(input).unwrap();
                    }
                }
            }
        }
    }

    fn forget(&mut self) {
        self.a.forget();
        self.b.forget();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.a.now + time;
        while self.a.now < until {
            for node in [&mut self.a, &mut self.b] {
                node.pass(Duration::from_millis(100));
            }
            self.settle();
        }
    }
}

/// R-I2: the lag is the time since another node was heard, and grows while it is silent.
#[test]
fn the_lag_of_a_cluster() {
    let mut pair = Pair::new(&clustered());
    assert_eq!(Node::new(clustered()).server.stats().cluster_lag, Duration::ZERO);
    let heartbeat = ClusterConfig::default().heartbeat;
    for _ in 0..20 {
        pair.pass(heartbeat / 4);
        assert!(pair.a.server.stats().cluster_lag <= heartbeat * 3 / 2);
    }
    let before = pair.a.server.stats().cluster_lag;
    pair.a.pass(heartbeat / 2);
    pair.a.input(Input::Timeout).unwrap();
    assert_eq!(pair.a.server.stats().cluster_lag, before + heartbeat / 2);
}

/// R-C1, R-C3, R-C4: everything that two nodes say to each other, and to Redis, in the order in
/// which it is said: a room is subscribed to before anyone can learn of its member.
#[test]
fn what_nodes_say_to_each_other() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.auth(r#"{"type":"auth","user":"alice","rooms":["team"]}"#);
    pair.settle();
    let bob = pair.b.auth(r#"{"type":"auth","user":"bob","rooms":["team"]}"#);
    pair.settle();
    for text in [
        r#"{"type":"message","data":1.0}"#,
        r#"{"type":"message","to":"team"}"#,
        r#"{"type":"message","to":"bob"}"#,
        &format!(r#"{{"type":"message","to":"bob|{}"}}"#, pair.b.id(bob)),
        r#"{"type":"message","to":"nobody"}"#,
        r#"{"type":"message","to":["team","bob"]}"#,
        r#"{"type":"presence","data":{"status":"busy","token":"s3cr3t"}}"#,
    ] {
        pair.a.text(alice, text);
        pair.settle();
    }
    pair.b.text(bob, r#"{"type":"join","room":"other"}"#);
    pair.settle();
    pair.b.text(bob, r#"{"type":"leave","room":"team"}"#);
    pair.settle();
    pair.b.disconnect(bob);
    pair.settle();
    pair.b.input(Input::Shutdown { drain: Duration::ZERO }).unwrap();
    pair.settle();
    insta::assert_snapshot!("cluster_a", pair.a.log());
    insta::assert_snapshot!("cluster_b", pair.b.log());
}

/// R-M3, R-P6, R-C1: who may reach whom does not depend on where they are.
#[test]
fn permissions_hold_across_nodes() {
    let config = config(|config| {
        config.cluster = Some(ClusterConfig::default());
        config.room_send = RoomSend::Members;
    });
    let mut pair = Pair::new(&config);
    let alice = pair.a.peer("alice", &["team"]);
    let bob = pair.b.peer("bob", &["team", "den"]);
    let carol = pair.b.peer("carol", &["den"]);
    pair.settle();
    pair.forget();
    // Bob is in the room and shares another one with alice; carol is in the room only.
    pair.a.text(alice, r#"{"type":"message","to":"den"}"#);
    pair.settle();
    assert_eq!(pair.b.received(bob).len(), 1);
    assert_eq!(pair.b.received(carol).len(), 0);
    pair.forget();
    pair.a.text(alice, r#"{"type":"message","to":"carol"}"#);
    pair.a.text(alice, r#"{"type":"presence","to":"carol"}"#);
    assert_eq!(pair.a.published, [], "what nobody may receive goes nowhere");
    // What a forged frame asks for is checked where its receivers are.
    let from = format!("alice|{}", pair.a.id(alice));
    let frame = &format!(r#"{{"type":"message","to":"carol","from":"{from}"}}"#);
    let id = pair.a.server.node_id().unwrap().to_owned();
    let mut number = 1000;
    let mut forged = |seq: u64, frame: &str| {
        number += 1;
        let header = r#""kind":"frame""#;
        format!("{{\"v\":3,\"node\":\"{id}\",\"number\":{number},\"seq\":{seq},{header}}}\n{frame}")
    };
    let channel = "room:den";
    let payload = forged(1, frame);
    let result = pair.b.input(Input::BusMessage { channel, payload: payload.as_bytes() });
    assert_eq!(result, Ok(0));
    for frame in ["", "null", r#"{"type":"join","room":"x"}"#, r#"{"type":"message","to":5}"#] {
        let payload = forged(1, frame);
        let result = pair.b.input(Input::BusMessage { channel, payload: payload.as_bytes() });
        assert!(result.is_err(), "{frame}");
    }
    let payload = forged(1, r#"{"type":"message","from":"carol|x"}"#);
    let result = pair.b.input(Input::BusMessage { channel, payload: payload.as_bytes() });
    assert_eq!(result, Err(EngineError::UnknownPeer));
    assert_eq!(pair.b.received(carol).len(), 0);
}

/// R-C2: the peers of a node that is silent are offline within ten seconds, once each.
#[test]
fn a_dead_node_takes_its_peers_with_it() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.peer("alice", &["team"]);
    pair.b.peer("bob", &["team"]);
    pair.b.peer("carol", &["team"]);
    pair.settle();
    pair.pass(Duration::from_secs(60));
    assert_eq!(pair.a.received(alice).iter().filter(|text| text.contains("false")).count(), 0);
    pair.forget();
    // The other node does nothing any more.
    let started = pair.a.now;
    pair.a.pass(Duration::from_millis(6500));
    let offline = pair.a.received(alice);
    assert_eq!(offline.len(), 2, "{offline:?}");
    assert!(offline.iter().all(|text| text.contains(r#""online":false"#)));
    assert_eq!(pair.a.server.stats().nodes_lost, 1);
    assert_eq!(pair.a.server.nodes().count(), 0);
    assert!(pair.a.now.since(started) < Duration::from_secs(10));
}

/// R-C2: a node that was stopped and goes on neither takes the others for dead, nor is it a ghost.
#[test]
fn a_stopped_node_goes_on() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.peer("alice", &["team"]);
    let bob = pair.b.peer("bob", &["team"]);
    pair.settle();
    pair.pass(Duration::from_secs(3));
    pair.forget();
    // What is said meanwhile waits for it.
    let waiting = {
        pair.a.pass(Duration::from_secs(15));
        std::mem::take(&mut pair.a.published)
    };
    assert_eq!(pair.a.received(alice).len(), 1, "bob is taken for offline");
    pair.b.now = pair.a.now;
    pair.b.input(Input::Timeout).unwrap();
    for (channel, payload) in waiting {
        pair.b.input(Input::BusMessage { channel: &channel, payload: &payload }).unwrap();
    }
    pair.settle();
    pair.pass(Duration::from_secs(5));
    let seen = pair.a.received(alice);
    assert_eq!(seen.len(), 2, "bob is back: {seen:?}");
    assert!(seen[1].contains(r#""online":true"#));
    assert_eq!(pair.b.received(bob), [""; 0], "alice was never away");
}

/// R-C2, SPEC §12: a node that leaves says so.
#[test]
fn a_polite_node_is_gone_at_once() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.peer("alice", &["team"]);
    pair.b.peer("bob", &["team"]);
    pair.settle();
    pair.forget();
    pair.b.input(Input::Shutdown { drain: Duration::ZERO }).unwrap();
    assert_eq!(pair.b.published.len(), 1, "one word for all peers");
    pair.settle();
    assert_eq!(pair.a.received(alice).len(), 1);
    assert_eq!(pair.a.server.stats().nodes_lost, 0);
}

/// SPEC §12: a node whose peers are all gone before its drain is over says goodbye then: nobody is
/// left to wait for.
#[test]
fn a_polite_node_does_not_wait_for_nobody() {
    let mut pair = Pair::new(&clustered());
    let bob = pair.b.peer("bob", &[]);
    pair.settle();
    pair.b.input(Input::Shutdown { drain: Duration::from_secs(60) }).unwrap();
    pair.b.disconnect(bob);
    assert!(pair.b.server.is_shut_down());
    pair.settle();
    assert_eq!(pair.a.server.nodes().count(), 0);
    assert_eq!(pair.a.server.stats().nodes_lost, 0);
}

/// SPEC §12: nor does one that has no connections, only peers of its host's own.
#[test]
fn a_polite_node_without_connections_says_so_too() {
    let mut pair = Pair::new(&clustered());
    let call = HostCall::AddPeer {
        conn: ConnId::new(50, 0),
        user: UserName::new("bot").unwrap(),
        peer: Fields::new(),
        rooms: &[],
    };
    pair.b.host(call).unwrap();
    pair.settle();
    pair.b.input(Input::Shutdown { drain: Duration::from_secs(60) }).unwrap();
    assert!(pair.b.server.is_shut_down());
    pair.settle();
    assert_eq!(pair.a.server.stats().remote_peers, 0);
    assert_eq!(pair.a.server.nodes().count(), 0);
}

/// R-C5: what a newer node says is refused with its version named, and changes nothing.
#[test]
fn foreign_envelopes_change_nothing() {
    let mut pair = Pair::new(&clustered());
    pair.a.peer("alice", &["team"]);
    pair.forget();
    for (payload, error) in [
        ("{\"v\":1,\"node\":\"n\",\"seq\":1,\"kind\":\"beat\"}\n", EnvelopeError::Version(1)),
        ("{\"v\":4,\"node\":\"n\"}\n", EnvelopeError::Version(4)),
        (
            "{\"v\":3,\"node\":\"n\",\"number\":1,\"seq\":1,\"kind\":\"new\"}\n{}",
            EnvelopeError::Kind,
        ),
        ("whatever", EnvelopeError::Header),
    ] {
        let payload = payload.as_bytes();
        let result = pair.a.input(Input::BusMessage { channel: "cluster", payload });
        assert_eq!(result, Err(EngineError::Envelope(error)));
        pair.a.nothing();
    }
}

/// R-S3: what a backend publishes goes to the peers of every node, as it stands.
#[test]
fn backends_publish_to_all_nodes() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.peer("alice", &["team"]);
    let bob = pair.b.peer("bob", &["team"]);
    pair.settle();
    pair.forget();
    let id = pair.b.id(bob);
    let mut publish = |payload: &[u8]| {
        pair.a
            .input(Input::BusMessage { channel: "broadcast", payload })
            .and(pair.b.input(Input::BusMessage { channel: "broadcast", payload }))
    };
    publish(br#"{"type":"message","to":"team","from":"rails"}"#).unwrap();
    publish(br#"{"type":"message","to":["team","bob"],"n":1}"#).unwrap();
    publish(format!(r#"{{"type":"message","to":"bob|{id}","n":2}}"#).as_bytes()).unwrap();
    publish(format!(r#"{{"type":"message","to":"{id}","n":3}}"#).as_bytes()).unwrap();
    for broken in [&b""[..], b"null", b"{}", b"\xff", br#"{"type":"message"}"#] {
        assert!(publish(broken).is_err());
    }
    assert_eq!(
        pair.a.received(alice),
        [
            r#"{"type":"message","to":"team","from":"rails"}"#,
            r#"{"type":"message","to":["team","bob"],"n":1}"#,
        ]
    );
    assert_eq!(pair.b.received(bob).len(), 4);
    assert_eq!(pair.a.published, [], "what all nodes hear is not said again");
}

/// R-C1: the host's calls reach peers wherever they are.
#[test]
fn hosts_reach_peers_of_other_nodes() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.peer("alice", &["team"]);
    let bob = pair.b.peer("bob", &["team"]);
    pair.settle();
    pair.forget();
    let id = &*pair.b.id(bob);
    let alice_id = pair.a.id(alice).replace(&"0".repeat(19), "…");
    let text = r#"{"type":"event","to":["team","bob"]}"#;
    assert_eq!(pair.a.host(HostCall::Emit { text }), Ok(2));
    assert_eq!(pair.a.host(HostCall::Emit { text: r#"{"to":"bob"}"# }), Ok(1));
    assert_eq!(pair.a.host(HostCall::Send { peer: id, text: r#"{"type":"event"}"# }), Ok(1));
    assert_eq!(pair.a.host(HostCall::Join { peer: id, room: "den" }), Ok(1));
    pair.settle();
    assert_eq!(pair.a.server.members("den").count(), 1);
    assert_eq!(pair.a.server.members("team").count(), 2);
    assert_eq!(pair.a.host(HostCall::Leave { peer: id, room: "den" }), Ok(1));
    assert_eq!(pair.a.host(HostCall::CloseRoom { room: "team" }), Ok(2));
    pair.settle();
    assert_eq!(pair.a.host(HostCall::Kick { whom: Whom::User("bob"), reason: "out" }), Ok(1));
    pair.settle();
    assert_eq!(
        pair.a.host(HostCall::Kick { whom: Whom::Peer(id), reason: "out" }),
        Err(EngineError::UnknownPeer)
    );
    let received: Vec<_> = pair.b.received(bob);
    assert_eq!(
        received,
        [
            r#"{"type":"event","to":["team","bob"]}"#,
            r#"{"to":"bob"}"#,
            r#"{"type":"event"}"#,
            r#"{"type":"join:ok","room":"den"}"#,
            r#"{"type":"leave:ok","room":"den"}"#,
            r#"{"type":"leave:ok","room":"team"}"#,
            &format!(
                r#"{{"type":"presence","from":"alice|{alice_id}","data":{{"user":"alice","id":"{alice_id}","online":false,"name":"alice"}}}}"#
            ),
            r#"{"type":"error","status":403,"message":"out"}"#,
        ],
        "{}",
        pair.b.log()
    );
    assert_eq!(pair.a.received(alice).len(), 3);
}

/// What applications are told of who goes offline.
fn told_offline(node: &mut Node) -> Vec<String> {
    let seen = node.seen().into_iter();
    seen.filter(|line| line.starts_with("tell ") && line.contains("Offline")).collect()
}

fn hooked() -> Config {
    config(|config| {
        config.cluster = Some(ClusterConfig::default());
        config.hooks.changes = true;
    })
}

/// R-H3: of a node's own peers the node itself tells, and no other.
#[test]
fn changes_are_told_on_one_node() {
    let mut pair = Pair::new(&hooked());
    let bob = pair.b.auth(r#"{"type":"auth","user":"bob","rooms":["team"]}"#);
    pair.settle();
    pair.b.disconnect(bob);
    pair.settle();
    let told = |node: &mut Node| {
        let seen = node.seen().into_iter();
        seen.filter(|line| line.starts_with("tell ")).count()
    };
    assert_eq!((told(&mut pair.a), told(&mut pair.b)), (0, 2));
}

/// R-H3: of the peers of a dead node the one tells that is granted the claim, once it is; one that
/// is not, or cannot tell, says nothing.
#[test]
fn the_peers_of_a_dead_node_are_told_by_who_has_the_claim() {
    for holder in [None, Some("another"), Some("itself")] {
        let mut pair = Pair::new(&hooked());
        pair.b.auth(r#"{"type":"auth","user":"bob","rooms":["team"]}"#);
        pair.settle();
        pair.pass(Duration::from_secs(10));
        pair.forget();
        pair.a.pass(Duration::from_millis(6500));
        let claims = pair.a.seen().iter().filter(|line| line.starts_with("claim")).count();
        assert_eq!(claims, 1);
        let id = pair.a.server.node_id().unwrap().to_owned();
        let holder = holder.map(|holder| if holder == "itself" { &*id } else { holder });
        let request = *pair.a.requests.last().unwrap();
        pair.a.input(Input::Claimed { request, holder }).unwrap();
        let told = told_offline(&mut pair.a);
        if holder == Some(&*id) {
            let rooms = r#"rooms: ["bob", "team"], reason: NodeLost"#;
            assert!(told.len() == 1 && told[0].contains(rooms), "{told:?}");
            assert!(told[0].contains(&format!(" {} ", (1_u64 << 40) - 1)), "{told:?}");
        } else {
            assert_eq!(told, [""; 0]);
        }
        // What cannot be told is claimed again, and nothing else.
        pair.a.pass(Duration::from_secs(1));
        let again = pair.a.seen().iter().any(|line| line.starts_with("claim"));
        assert_eq!(again, holder.is_none());
    }
}

/// R-H3: a node whose bus was away finds out whether it was taken for dead; if another one has told
/// so, it tells that its peers are online, with a greater number.
#[test]
fn a_node_that_was_taken_for_dead_tells_that_its_peers_are_online() {
    for buried in [true, false] {
        let mut pair = Pair::new(&hooked());
        pair.b.auth(r#"{"type":"auth","user":"bob","rooms":["team"]}"#);
        pair.settle();
        pair.forget();
        pair.b.input(Input::BusDown).unwrap();
        pair.b.input(Input::BusUp).unwrap();
        let request = *pair.b.requests.last().unwrap();
        let id = pair.b.server.node_id().unwrap().to_owned();
        let holder = Some(if buried { "another" } else { &*id });
        pair.b.input(Input::Claimed { request, holder }).unwrap();
        let seen = pair.b.seen();
        let told: Vec<_> = seen.iter().filter(|line| line.starts_with("tell ")).collect();
        if buried {
            assert!(told.len() == 1 && told[0].contains(" 1099511627778 Online"), "{told:?}");
        } else {
            assert!(told.is_empty(), "{told:?}");
        }
    }
}

/// R-H4: a hidden peer is hidden on all nodes, and hears what its rooms hear.
#[test]
fn a_hidden_peer_on_another_node() {
    let mut pair = Pair::new(&clustered());
    let alice = pair.a.peer("alice", &["team"]);
    let conn = ConnId::new(50, 1);
    let user = UserName::new("ghost").unwrap();
    let peer = Fields::new().with("hidden", true);
    pair.b.host(HostCall::AddPeer { conn, user, peer, rooms: &["team".into()] }).unwrap();
    let id = pair.b.id(conn);
    pair.settle();
    assert_eq!(pair.a.received(alice), [""; 0]);
    let carol = pair.a.peer("carol", &["team"]);
    pair.settle();
    pair.a.text(carol, &format!(r#"{{"type":"message","to":"{id}"}}"#));
    pair.b.text(conn, r#"{"type":"presence","data":{"n":1}}"#);
    pair.settle();
    assert!(pair.a.received(alice).iter().all(|text| !text.contains("ghost")));
    assert!(pair.b.received(conn).iter().all(|text| !text.contains("message")));
    pair.forget();
    pair.a.text(alice, r#"{"type":"message"}"#);
    pair.settle();
    assert_eq!(pair.b.received(conn).len(), 1);
    assert_eq!(pair.a.host(HostCall::Send { peer: &id, text: "{\"type\":\"event\"}" }), Ok(1));
    pair.settle();
    assert_eq!(pair.b.received(conn).len(), 2);
    pair.forget();
    pair.b.disconnect(conn);
    pair.settle();
    assert_eq!(pair.a.received(alice), [""; 0]);
}
