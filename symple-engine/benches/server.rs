//! What the engine takes to decide: `cargo bench -p symple-engine`.
//!
//! Routing is to cost so much for a receiver and nothing else; what joins, leaves and goes is to
//! cost the same on a node with any number of rooms.

#![allow(missing_docs, reason = "a program")]

use std::{net::Ipv4Addr, time::Duration};

use divan::{Bencher, black_box, counter::ItemsCount};
use symple_engine::{
    Timestamp,
    server::{Action, Config, ConnId, Input, PresenceMode, Server},
};

fn main() {
    divan::main();
}

/// A node on virtual time.
struct Node {
    server: Server,
    now: Timestamp,
    next: u32,
    generation: u32,
}

impl Node {
    fn new() -> Self {
        let mut config = Config::default();
        config.rate = None;
        // A room of 100 000 fills without 10 000 000 000 frames.
        config.presence = PresenceMode::Classic;
        let mut count = 0_u64;
        let random = move |bytes: &mut [u8]| {
            bytes.fill(0);
            bytes[..8].copy_from_slice(&count.to_le_bytes());
            count += 1;
        };
        Self { server: Server::new(config, random), now: Timestamp::ZERO, next: 0, generation: 0 }
    }

    /// How many are sent something.
    fn input(&mut self, input: Input<'_>) -> usize {
        self.now += Duration::from_micros(10);
        let result = self.server.handle(self.now, input);
        assert!(result.is_ok(), "the input makes sense");
        let mut receivers = 0;
        while let Some(action) = self.server.poll_action() {
            if let Action::Send { text, to, .. } = black_box(action) {
                receivers += to.len();
                drop(text);
            }
        }
        receivers
    }

    fn text(&mut self, conn: ConnId, text: &str) -> usize {
        self.input(Input::Text { conn, text })
    }

    fn connect(&mut self, auth: &str) -> ConnId {
        self.generation += 1;
        let conn = ConnId::new(self.next, self.generation);
        self.next += 1;
        self.input(Input::Connected { conn, address: Ipv4Addr::LOCALHOST.into() });
        self.text(conn, auth);
        conn
    }

    fn disconnect_last(&mut self, conn: ConnId) {
        self.next -= 1;
        self.input(Input::Disconnected { conn });
    }

    /// So many rooms with ten members each.
    fn rooms(count: usize) -> Self {
        let mut node = Self::new();
        for n in 0..count * 10 {
            let room = n / 10;
            node.connect(&format!(r#"{{"type":"auth","user":"u{n}","rooms":["room{room}"]}}"#));
        }
        node
    }
}

/// Members of the room.
const MEMBERS: [usize; 3] = [10, 1000, 100_000];
/// Rooms on the node, with ten members each.
const ROOMS: [usize; 5] = [10, 100, 1000, 10_000, 100_000];

/// A message to a room; items are receivers.
#[divan::bench(args = MEMBERS)]
fn route_to_room(bencher: Bencher<'_, '_>, members: usize) {
    let mut node = Node::new();
    // The first comes before there is anyone to be told of it.
    let sender = node.connect(r#"{"type":"auth","user":"alice","rooms":["room"]}"#);
    fill_quietly(&mut node, members - 1);
    let text = format!(r#"{{"type":"message","to":"room","data":"{}"}}"#, "x".repeat(128));
    assert_eq!(node.text(sender, &text), members - 1);
    bencher
        .counter(ItemsCount::new(members - 1))
        .bench_local(move || node.text(sender, black_box(&text)));
}

/// Members join by themselves: with classic presence nobody is told.
fn fill_quietly(node: &mut Node, members: usize) {
    for n in 0..members {
        let conn = node.connect(&format!(r#"{{"type":"auth","user":"member{n}"}}"#));
        node.text(conn, r#"{"type":"join","room":"room"}"#);
    }
}

/// One that comes into a room, and leaves it: the others are told of both, each in one input.
#[divan::bench(args = [1000, 5000], sample_count = 100, sample_size = 1)]
fn come_into_a_crowd_and_leave(bencher: Bencher<'_, '_>, members: usize) {
    let mut node = Node::new();
    fill_quietly(&mut node, members);
    bencher.counter(ItemsCount::new(2 * members)).bench_local(move || {
        let conn = node.connect(r#"{"type":"auth","user":"alice","rooms":["room"]}"#);
        node.disconnect_last(conn);
    });
}

/// A message to a room of ten, on nodes with many rooms: each time of another member to another
/// room, so that what is far apart in memory has its price.
#[divan::bench(args = ROOMS, sample_count = 100, sample_size = 1000)]
fn route_among_rooms(bencher: Bencher<'_, '_>, rooms: usize) {
    let mut node = Node::new();
    let mut members = Vec::new();
    for n in 0..rooms * 10 {
        let room = n / 10;
        let auth = format!(r#"{{"type":"auth","user":"u{n}","rooms":["room{room}"]}}"#);
        members.push(node.connect(&auth));
    }
    let data = "x".repeat(128);
    let messages: Vec<_> = (0..10_000)
        .map(|n| {
            // A prime number visits all of them, in no order.
            let sender = n * 7919 % members.len();
            let room = sender / 10;
            let text = format!(r#"{{"type":"message","to":"room{room}","data":"{data}"}}"#);
            (members[sender], text)
        })
        .collect();
    let mut at = 0;
    bencher.bench_local(move || {
        let (sender, text) = &messages[at % messages.len()];
        at += 1;
        assert_eq!(node.text(*sender, black_box(text)), 9);
    });
}

/// In and out of a room of ten, on nodes with many rooms.
#[divan::bench(args = ROOMS)]
fn join_and_leave(bencher: Bencher<'_, '_>, rooms: usize) {
    let mut node = Node::rooms(rooms);
    let conn = node.connect(r#"{"type":"auth","user":"alice"}"#);
    bencher.bench_local(move || {
        node.text(conn, r#"{"type":"join","room":"room5"}"#);
        node.text(conn, r#"{"type":"leave","room":"room5"}"#);
    });
}

/// In and out of a room that is made for it.
#[divan::bench(args = ROOMS)]
fn make_and_forget_a_room(bencher: Bencher<'_, '_>, rooms: usize) {
    let mut node = Node::rooms(rooms);
    let conn = node.connect(r#"{"type":"auth","user":"alice"}"#);
    bencher.bench_local(move || {
        node.text(conn, r#"{"type":"join","room":"new"}"#);
        node.text(conn, r#"{"type":"leave","room":"new"}"#);
    });
}

/// A peer that comes, is in a room of ten, and goes.
#[divan::bench(args = ROOMS)]
fn connect_and_disconnect(bencher: Bencher<'_, '_>, rooms: usize) {
    let mut node = Node::rooms(rooms);
    bencher.bench_local(move || {
        let conn = node.connect(r#"{"type":"auth","user":"alice","rooms":["room5"]}"#);
        node.disconnect_last(conn);
    });
}
