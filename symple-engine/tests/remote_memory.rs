//! What a node keeps of each peer of the other nodes, counted in bytes that are in use.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stdout, reason = "what was counted is of interest")]

use std::time::Duration;

use allocation_counter::measure;
use symple_engine::{
    Timestamp,
    server::{Action, ClusterConfig, Config, Input, Server},
};
use symple_proto::{
    RawJson,
    cluster::{Beat, Envelope, Part, Payload, PeerState},
};

/// How many peers the other node has.
const PEERS: u32 = 50_000;

/// How many of them it tells in one part: about 64 KiB, as between real nodes.
const PER_PART: u32 = 350;

/// The bytes that a node may keep of a lean peer: one that has a name, is in the room of its user, and says
/// nothing of itself. 473 of them are in use today, with what tables have in reserve at this number.
const BOUND: i64 = 537;

/// A node that hears another one, which the test plays.
struct Node {
    server: Server,
    now: Timestamp,
    /// The number of the last envelope of the other node.
    number: u64,
    /// The question that it has been asked: the nonce and the place.
    asked: Option<(u64, u32)>,
}

impl Node {
    fn new() -> Self {
        let mut count = 0_u64;
        let random = move |bytes: &mut [u8]| {
            bytes.fill(0);
            bytes[..8].copy_from_slice(&count.to_le_bytes());
            count += 1;
        };
        let mut config = Config::default();
        config.cluster = Some(ClusterConfig::default());
        let server = Server::new(config, random);
        let mut node = Self { server, now: Timestamp::ZERO, number: 0, asked: None };
        node.input(Input::BusUp);
        node
    }

    fn input(&mut self, input: Input<'_>) {
        self.server.handle(self.now, input).unwrap();
        loop {
            let mut taken = 0;
            while let Some(action) = self.server.poll_action() {
                let Action::Publish { payload, .. } = action else { continue };
                taken += payload.len() as u64;
                if let Payload::Ask(ask) = Envelope::parse(&payload).unwrap().payload {
                    self.asked = Some((ask.nonce, ask.after));
                }
            }
            if taken > 0 {
                self.server.handle(self.now, Input::BusTaken { bytes: taken }).unwrap();
            } else if self.server.poll_timeout().is_some_and(|due| due <= self.now) {
                self.server.handle(self.now, Input::Timeout).unwrap();
            } else {
                return;
            }
        }
    }

    fn hear(&mut self, payload: Payload<'_>) {
        self.now += Duration::from_millis(1);
        self.number += 1;
        let number = self.number;
        let envelope = Envelope { node: "n9".into(), number, seq: 0, lives: 0, payload };
        let payload = envelope.encode();
        self.input(Input::BusMessage { channel: "cluster", payload: &payload });
    }

    /// The other node tells all its peers, part by part.
    fn learn(&mut self) {
        self.hear(Payload::Beat(Beat { sum: 0 }));
        while let Some((nonce, after)) = self.asked.take() {
            let end = PEERS.min(after + PER_PART);
            let peers = (after..end).map(lean).collect();
            let part = Part { nonce, sum: 0, after, next: (end < PEERS).then_some(end), peers };
            self.hear(Payload::Part(part.encode()));
        }
    }
}

/// A peer as `symple` tells of one that says nothing of itself.
fn lean(n: u32) -> PeerState {
    let (user, id) = (format!("node0-{n:06}"), format!("{n:020}"));
    let record = format!(r#"{{"user":"{user}","name":"{user}","id":"{id}","online":true}}"#);
    PeerState {
        user: user.parse().unwrap(),
        id: id.parse().unwrap(),
        record: RawJson::parse(&record).unwrap(),
        hidden: false,
        read_only: false,
        rooms: [user.parse().unwrap()].into(),
    }
}

/// A node knows every peer of the cluster, so this times a million is what it needs.
#[test]
fn a_lean_peer_of_another_node() {
    let mut node = Node::new();
    let counted = measure(|| node.learn());
    assert_eq!(node.server.stats().remote_peers, PEERS as usize);
    let each = counted.bytes_current / i64::from(PEERS);
    println!("{each} bytes for each of {PEERS}, {} at most", counted.bytes_max / u64::from(PEERS));
    assert!(each <= BOUND, "{each} bytes for each peer");
    // Those who come again take the places of those who have gone.
    let again = measure(|| {
        node.hear(Payload::Bye);
        assert_eq!(node.server.stats().remote_peers, 0);
        node.learn();
    });
    assert_eq!(node.server.stats().remote_peers, PEERS as usize);
    let each = (counted.bytes_current + again.bytes_current) / i64::from(PEERS);
    assert!(each <= BOUND, "{each} bytes for each peer, when it has come again");
}
