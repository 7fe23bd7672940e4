//! What the hot path may allocate, counted.
//!
//! Time depends on the machine, counts do not: each bound here is what today's code takes, and a
//! change that allocates more has to say so by raising it. One that allocates less should lower it.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{net::Ipv4Addr, time::Duration};

use allocation_counter::measure;
use symple_engine::{
    Timestamp,
    server::{Action, Config, ConnId, Input, Server},
};

/// For each message that is relayed: the text that is sent.
const ROUTED: u64 = 1;
/// For each join and leave together: two answers, the room, its place.
const JOIN_AND_LEAVE: u64 = 6;
/// The same, beside what is for each of the others.
const JOIN_AND_LEAVE_OTHERS: u64 = 8;
/// For each frame that is refused for its size: the answer, what is written up to the limit.
const REFUSED: u64 = 32;
/// For each connection that comes, authenticates and goes.
const CONNECT: u64 = 54;

struct Node {
    server: Server,
    now: Timestamp,
    next: u32,
    sent: usize,
}

impl Node {
    fn new() -> Self {
        let mut count = 0_u64;
        let random = move |bytes: &mut [u8]| {
            bytes.fill(0);
            bytes[..8].copy_from_slice(&count.to_le_bytes());
            count += 1;
        };
        let server = Server::new(Config::default(), random);
        Self { server, now: Timestamp::ZERO, next: 0, sent: 0 }
    }

    fn input(&mut self, input: Input<'_>) {
        // No faster than the default limit of rate allows, whatever it costs.
        self.now += Duration::from_secs(1);
        self.server.handle(self.now, input).unwrap();
        let mut drained = None;
        loop {
            while let Some(action) = self.server.poll_action() {
                match action {
                    Action::Send { to, .. } => self.sent += to.len(),
                    Action::AwaitDrain { conn } => drained = Some(conn),
                    _ => {}
                }
            }
            let Some(conn) = drained.take() else { break };
            self.server.handle(self.now, Input::Drained { conn }).unwrap();
        }
    }

    fn text(&mut self, conn: ConnId, text: &str) {
        self.input(Input::Text { conn, text });
    }

    fn connect(&mut self, auth: &str) -> ConnId {
        let conn = ConnId::new(self.next, 0);
        self.next += 1;
        self.input(Input::Connected { conn, address: Ipv4Addr::LOCALHOST.into() });
        self.text(conn, auth);
        conn
    }

    /// How many peers, each in a room of its own and in this one.
    fn fill(&mut self, room: &str, count: usize) -> ConnId {
        let auths = (0..count)
            .map(|n| format!(r#"{{"type":"auth","user":"{room}{n}","rooms":["{room}"]}}"#));
        auths.map(|auth| self.connect(&auth)).last().unwrap()
    }

    /// The allocations of a step that has been done before, and its sends.
    fn count(&mut self, mut step: impl FnMut(&mut Self)) -> (u64, usize) {
        for _ in 0..3 {
            step(self);
        }
        self.sent = 0;
        let counted = measure(|| step(self));
        (counted.count_total, self.sent)
    }
}

fn assert_routed((count, sent): (u64, usize), receivers: usize) {
    assert_eq!(sent, receivers);
    assert!(count <= ROUTED, "{count} allocations for a message to {receivers}");
}

const MESSAGE: &str = r#"{"type":"message","to":"room","data":{"text":"hello"}}"#;

/// Nothing for a receiver: as much for ten as for a thousand.
#[test]
fn a_message_to_a_room() {
    for size in [10, 1000] {
        let mut node = Node::new();
        let sender = node.fill("room", size);
        assert_routed(node.count(|node| node.text(sender, MESSAGE)), size - 1);
    }
}

/// To a room from outside, and to several: as much again.
#[test]
fn a_message_to_rooms() {
    for size in [10, 1000] {
        let mut node = Node::new();
        node.fill("room", size);
        node.fill("other", size);
        let sender = node.connect(r#"{"type":"auth","user":"alice"}"#);
        assert_routed(node.count(|node| node.text(sender, MESSAGE)), size);
        let both = r#"{"type":"message","to":["room","other","none"],"data":1}"#;
        assert_routed(node.count(|node| node.text(sender, both)), 2 * size);
    }
}

#[test]
fn a_direct_message() {
    let mut node = Node::new();
    let sender = node.fill("room", 1000);
    let to = |to: &str| format!(r#"{{"type":"message","to":"{to}","data":1}}"#);
    // Ids are made of a counter: the sender's is that of the last that was made.
    let mut id = String::new();
    let probe = ConnId::new(node.next, 0);
    node.next += 1;
    node.input(Input::Connected { conn: probe, address: Ipv4Addr::LOCALHOST.into() });
    let auth = r#"{"type":"auth","user":"bob","rooms":["room"]}"#;
    node.server.handle(node.now, Input::Text { conn: probe, text: auth }).unwrap();
    while let Some(action) = node.server.poll_action() {
        if let Action::Send { text, to, .. } = action
            && to == [probe]
            && text.starts_with(r#"{"type":"welcome""#)
        {
            let welcome: serde_json::Value = serde_json::from_str(&text).unwrap();
            id = welcome["peer"]["id"].as_str().unwrap().to_owned();
        }
    }
    // Until it has been told of everyone, others are told of first.
    for _ in 0..10 {
        node.input(Input::Drained { conn: probe });
    }
    let (full, bare) = (to(&format!("bob|{id}")), to(&id));
    assert_routed(node.count(|node| node.text(sender, &full)), 1);
    assert_routed(node.count(|node| node.text(sender, &bare)), 1);
    // Nothing is made for nobody.
    let nobody = to("nobody|0");
    assert_eq!(node.count(|node| node.text(sender, &nobody)), (0, 0));
}

/// In and out of an empty room, which is made and forgotten: as much on a node with many rooms.
#[test]
fn joining_and_leaving() {
    for rooms in [10, 10_000] {
        let mut node = Node::new();
        for n in 0..rooms {
            node.connect(&format!(r#"{{"type":"auth","user":"user{n}"}}"#));
        }
        let conn = node.connect(r#"{"type":"auth","user":"alice"}"#);
        let (count, sent) = node.count(|node| {
            node.text(conn, r#"{"type":"join","room":"a"}"#);
            node.text(conn, r#"{"type":"leave","room":"a"}"#);
        });
        assert_eq!(sent, 2);
        assert!(count <= JOIN_AND_LEAVE, "{count} allocations with {rooms} rooms");
    }
}

/// In a room of others it is their presence that is told, once for all.
#[test]
fn joining_and_leaving_others() {
    for size in [10, 1000] {
        let mut node = Node::new();
        node.fill("room", size);
        let conn = node.connect(r#"{"type":"auth","user":"alice"}"#);
        let (count, sent) = node.count(|node| {
            node.text(conn, r#"{"type":"join","room":"room"}"#);
            node.text(conn, r#"{"type":"leave","room":"room"}"#);
        });
        assert_eq!(sent, 2 + 4 * size);
        // A frame for each of the others, about it, twice.
        // A large roster is told bit by bit, and kept in pieces meanwhile.
        let bits = size as u64 / 11;
        let bound = JOIN_AND_LEAVE_OTHERS + bits + 4 * size as u64;
        assert!(count <= bound, "{count} allocations for {size}");
    }
}

/// Coming and going: as much on an empty node as on a full one.
#[test]
fn connecting_and_disconnecting() {
    for peers in [0, 10_000] {
        let mut node = Node::new();
        for n in 0..peers {
            node.connect(&format!(r#"{{"type":"auth","user":"user{n}"}}"#));
        }
        let (count, sent) = node.count(|node| {
            let conn = node.connect(r#"{"type":"auth","user":"alice","rooms":["a","b"]}"#);
            node.next -= 1;
            node.input(Input::Disconnected { conn });
        });
        assert_eq!(sent, 1);
        assert!(count <= CONNECT, "{count} allocations with {peers} peers");
    }
}

/// R-L6, R-A9: what is too large is refused before anything is made of it, however many members
/// it has and whatever is in them.
#[test]
fn what_is_refused_is_not_taken_apart() {
    let mut node = Node::new();
    let conn = node.connect(r#"{"type":"auth","user":"alice","rooms":["room"]}"#);
    let members = |count: usize, value: &str| {
        let members: Vec<_> = (0..count).map(|n| format!("\"k{n}\":{value}")).collect();
        members.join(",")
    };
    for count in [3_000, 60_000] {
        for value in ["1", r#"{"t\u006fken":1}"#] {
            let auth = format!(r#"{{"type":"auth","user":"alice",{}}}"#, members(count, value));
            let (count_total, sent) = node.count(|node| node.text(conn, &auth));
            assert_eq!(sent, 1);
            assert!(count_total <= REFUSED, "{count_total} allocations for {count} members");
            let data = members(count, value);
            let presence = format!(r#"{{"type":"presence","data":{{{data}}}}}"#);
            let (count_total, sent) = node.count(|node| node.text(conn, &presence));
            assert_eq!(sent, 1);
            assert!(count_total <= REFUSED, "{count_total} allocations for {count} members");
        }
    }
}

/// R-A3: a list of rooms costs as much as there may be, however long it is.
#[test]
fn rooms_that_are_too_many_are_not_collected() {
    let mut node = Node::new();
    let conn = node.connect(r#"{"type":"auth","user":"alice","rooms":["room"]}"#);
    for count in [1_000, 6_000] {
        let rooms: Vec<_> = (0..count).map(|n| format!("\"r{n}\"")).collect();
        let auth = format!(r#"{{"type":"auth","user":"alice","rooms":[{}]}}"#, rooms.join(","));
        let (count_total, sent) = node.count(|node| node.text(conn, &auth));
        assert_eq!(sent, 1);
        // Each of those that may be is kept twice, once to find it again.
        assert!(count_total <= REFUSED + 4 * 256, "{count_total} allocations for {count} rooms");
    }
}
