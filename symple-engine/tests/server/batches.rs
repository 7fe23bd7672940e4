//! Presence in batches: R-X2.

use std::time::Duration;

use crate::common::{ADDRESS, Node, config, counter};
use symple_engine::{
    Timestamp,
    server::{Action, Config, ConnId, Input, PresenceMode, Server},
};

const TICK: Duration = Duration::from_millis(50);

impl Node {
    /// A user in rooms that is told in batches.
    fn batched(&mut self, user: &str, rooms: &[&str]) -> ConnId {
        let rooms = serde_json::to_string(rooms).unwrap();
        self.auth(&format!(
            r#"{{"type":"auth","user":"{user}","rooms":{rooms},"extensions":["roster"]}}"#
        ))
    }
}

fn record(user: &str, id: u32) -> String {
    format!(r#"{{"user":"{user}","id":"{id}…","online":true,"name":"{user}"}}"#)
}

fn batch(online: &[String], offline: &[&str], complete: bool) -> String {
    let offline: Vec<_> = offline.iter().map(|address| format!("\"{address}\"")).collect();
    let complete = if complete { r#","complete":true"# } else { "" };
    format!(
        r#"{{"type":"roster","online":[{}],"offline":[{}]{complete}}}"#,
        online.join(","),
        offline.join(",")
    )
}

/// R-X2: the roster is one frame behind the welcome, and behind each `join:ok`, which says that it is
/// complete, also where there is nobody; what happens in 50 ms is one frame.
#[test]
fn a_roster_is_one_frame() {
    let mut node = Node::new(Config::default());
    let alone = node.batched("alone", &[]);
    let received = node.received(alone);
    assert_eq!(received[1..], [batch(&[], &[], true)]);
    let old = node.peer("old", &["r"]);
    let bob = node.batched("bob", &["r"]);
    let received = node.received(bob);
    assert!(received[0].starts_with(r#"{"type":"welcome""#));
    assert_eq!(received[1..], [batch(&[record("old", 3)], &[], true)]);
    node.pass(TICK);
    node.forget();

    let carol = node.peer("carol", &["r"]);
    let dave = node.peer("dave", &["r"]);
    node.text(carol, r#"{"type":"presence","data":{"status":"away"}}"#);
    node.text(dave, r#"{"type":"leave","room":"r"}"#);
    assert_eq!(node.received(bob), [""; 0]);
    node.disconnect(old);
    node.forget();
    node.pass(TICK);
    let carol_says = r#"{"status":"away","id":"5…","user":"carol","online":true}"#;
    assert_eq!(node.received(bob), [batch(&[carol_says.into()], &["old|3…"], false)]);
    node.pass(TICK * 10);
    assert_eq!(node.received(bob).len(), 1, "nothing is told twice");
    node.forget();

    node.text(alone, r#"{"type":"join","room":"r"}"#);
    assert_eq!(
        node.received(alone),
        [
            r#"{"type":"join:ok","room":"r"}"#.to_owned(),
            batch(&[carol_says.into(), record("bob", 4)], &[], true)
        ]
    );
    node.forget();
    // It is inside: nobody else, and complete; not before 50 ms are over.
    node.text(alone, r#"{"type":"join","room":"r"}"#);
    assert_eq!(node.received(alone).len(), 1);
    node.pass(TICK * 2);
    assert_eq!(node.received(alone)[1..], [batch(&[], &[], true)]);
    node.forget();
    node.text(alone, r#"{"type":"leave","room":"r"}"#);
    node.pass(TICK);
    assert_eq!(
        node.received(alone),
        [
            r#"{"type":"leave:ok","room":"r"}"#.to_owned(),
            batch(&[], &["carol|5…", "bob|4…"], false)
        ]
    );
}

/// R-X2: what a peer says comes behind the batch that tells of it, and waits for nothing.
#[test]
fn a_frame_does_not_overtake_the_batch_of_its_sender() {
    let mut node = Node::new(Config::default());
    let bob = node.batched("bob", &["r"]);
    node.pass(TICK);
    node.forget();
    let carol = node.peer("carol", &["r"]);
    let dave = node.peer("dave", &["r"]);
    node.text(dave, r#"{"type":"message","to":"r","data":1}"#);
    let received = node.received(bob);
    assert_eq!(received[0], batch(&[record("dave", 4), record("carol", 3)], &[], false));
    assert!(received[1].starts_with(r#"{"type":"message""#));
    assert_eq!(received.len(), 2);
    node.forget();
    // Nothing is noted of this one.
    node.text(carol, r#"{"type":"message","to":"r","data":1}"#);
    assert_eq!(node.received(bob).len(), 1);
}

/// R-X2: a presence that says more than the record is relayed as it is, and behind what is noted.
#[test]
fn other_presence_is_relayed() {
    let mut node = Node::new(Config::default());
    let bob = node.batched("bob", &["r"]);
    let carol = node.peer("carol", &["r"]);
    node.pass(TICK);
    for (frame, singly) in [
        (r#"{"type":"presence","data":{"a":1}}"#, false),
        (r#"{"from":"x","data":{"a":2},"type":"presence"}"#, false),
        (r#"{"type":"presence","probe":true,"data":{"a":1}}"#, true),
        (r#"{"type":"presence","to":"r","data":{"a":1}}"#, true),
        (r#"{"type":"presence","data":{"a":1},"x":1}"#, true),
        (r#"{"type":"presence"}"#, true),
        (r#"{"type":"presence","data":null}"#, true),
    ] {
        node.forget();
        node.text(carol, frame);
        let received = node.received(bob);
        assert_eq!(received.len(), usize::from(singly), "{frame}");
        node.pass(TICK);
        let received = node.received(bob);
        assert_eq!(received.len(), 1, "{frame}");
        assert_eq!(received[0].starts_with(r#"{"type":"roster""#), !singly, "{frame}");
    }
}

/// R-X2, R-L4: a batch has at most 64 KiB, and the next one follows when it has been read. What the
/// client sends to itself comes back behind all of it (R-P3).
#[test]
fn large_rosters_are_sent_in_step_with_the_reader() {
    let mut node = Node::new(Config::default());
    let padding = "x".repeat(1000);
    for n in 0..200 {
        node.auth(&format!(r#"{{"type":"auth","user":"u{n}","rooms":["r"],"x":"{padding}"}}"#));
    }
    node.forget();
    let bob = node.batched("bob", &["r"]);
    let id = node.id(bob);
    node.text(bob, &format!(r#"{{"type":"event","to":"bob|{id}","name":"fence"}}"#));
    let mut told = 0;
    for round in 0.. {
        let received = node.received(bob);
        node.forget();
        let batches: Vec<_> =
            received.iter().filter(|text| text.starts_with(r#"{"type":"roster""#)).collect();
        assert_eq!(batches.len(), 1, "round {round}");
        assert!(batches[0].len() <= 64 * 1024);
        told += batches[0].matches(r#""online":true"#).count();
        let last = batches[0].ends_with(r#""complete":true}"#);
        assert_eq!(last, told == 200);
        assert_eq!(received.last().unwrap().contains("fence"), last);
        if last {
            assert!(round >= 3);
            break;
        }
        // However long it takes to read.
        node.pass(TICK * 20);
        assert_eq!(node.received(bob), [""; 0]);
        node.input(Input::Drained { conn: bob }).unwrap();
        node.pass(TICK);
    }
}

/// R-X2, R-P7: also where no rosters are told a client learns that there is nothing more to come.
#[test]
fn classic_rosters_are_complete() {
    let mut node = Node::new(config(|config| config.presence = PresenceMode::Classic));
    node.peer("old", &["r"]);
    let bob = node.batched("bob", &["r"]);
    node.pass(TICK);
    assert_eq!(node.received(bob)[1..], [batch(&[], &[], true)]);
}

/// How many deliveries it is when so many peers come into a room within five seconds, a few in each tick, and
/// when all of them, if they are few, leave at once.
fn storm(peers: u64, extensions: &str) -> (u64, u64) {
    let mut server = Server::new(config(|config| config.rate = None), counter());
    let mut now = Timestamp::from_millis(1_000);
    let mut input = |server: &mut Server, input: Option<Input<'_>>, until: Timestamp| {
        if let Some(input) = input {
            server.handle(now, input).unwrap();
        }
        loop {
            let mut read = Vec::new();
            while let Some(action) = server.poll_action() {
                if let Action::AwaitDrain { conn } = action {
                    read.push(conn);
                }
            }
            if let Some(conn) = read.pop() {
                server.handle(now, Input::Drained { conn }).unwrap();
            } else if let Some(at) = server.poll_timeout().filter(|at| *at <= until) {
                now = now.max(at);
                server.handle(now, Input::Timeout).unwrap();
            } else {
                break;
            }
        }
        now = until;
    };
    let mut time = Timestamp::from_millis(1_000);
    // Those who leave cost more than those who come.
    let leave = peers <= 200;
    let conns = (0..u32::try_from(peers).unwrap()).map(|slot| ConnId::new(slot, 0));
    for conn in conns.clone() {
        let auth = format!(
            r#"{{"type":"auth","user":"u{}","rooms":["r"],"extensions":[{extensions}]}}"#,
            conn.slot
        );
        input(&mut server, Some(Input::Connected { conn, address: ADDRESS }), time);
        time += Duration::from_secs(5) / u32::try_from(peers).unwrap();
        input(&mut server, Some(Input::Text { conn, text: &auth }), time);
    }
    time += Duration::from_secs(1);
    input(&mut server, None, time);
    let came = server.stats().deliveries;
    for conn in conns.filter(|_| leave) {
        input(&mut server, Some(Input::Disconnected { conn }), time);
    }
    input(&mut server, None, time + Duration::from_secs(1));
    (came, server.stats().deliveries - came)
}

/// R-X2: what a storm costs, in frames: 2 000 peers come into a room within five seconds, twenty in each tick;
/// and 200 leave at once.
#[test]
fn a_storm_is_few_frames() {
    // Without batches each is told of each other, and welcome.
    let came = |peers: u64| peers * (peers - 1) + peers;
    assert_eq!(storm(200, ""), (came(200), 200 * 199 / 2));
    let (came_batched, _) = storm(2_000, r#""roster""#);
    // One in 32 on the day this was written.
    assert!(came_batched * 10 <= came(2_000), "{came_batched} of {}", came(2_000));
    assert_eq!(storm(200, r#""roster""#).1, 0, "nobody is left to be told");
}

/// R-X2, R-L7: noting what is told later is work, which a driver sees: nobody has to wait for a crowd that comes
/// or leaves at once because nothing has been sent yet. And it is memory, which counts.
#[test]
fn what_is_noted_is_work() {
    let mut node = Node::new(Config::default());
    let peers: Vec<_> = (0..20).map(|n| node.batched(&format!("u{n}"), &["r"])).collect();
    node.pass(TICK * 4);
    node.forget();
    let (before, sent) = (node.server.effort(), node.server.stats().deliveries);
    node.disconnect(peers[0]);
    let noted = node.server.effort();
    assert_eq!(noted - before, 19);
    let kept = node.server.waiting();
    assert!(kept > 0);
    assert_eq!(node.server.waiting_of(peers[1]) * 19, kept);
    node.disconnect(peers[1]);
    // 18 are to be told, and what was noted for the one that leaves is forgotten.
    assert_eq!(node.server.effort() - noted, 19);
    assert_eq!(node.server.stats().deliveries, sent);
    // Telling 18 of two costs as much as noting it has.
    let before = node.server.effort();
    node.pass(TICK);
    assert_eq!(node.server.effort() - before, 36);
    assert_eq!(node.server.waiting(), 0);
}
