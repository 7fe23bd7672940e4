//! What a node makes of what is published on its bus, by whomever (R-C4, R-C5, R-F5).

use std::{borrow::Cow, net::Ipv4Addr, time::Duration};

use symple_engine::server::{ClusterConfig, Config, Input};
use symple_proto::{
    FrameType, FrameView, RoutedType,
    cluster::{Call, Change, Changes, Envelope, Part, Payload},
};

use super::world::{Client, World};

/// What stands between two messages.
const BETWEEN: u8 = 0x1e;

/// No more is published in one run.
const MOST: usize = 40;

/// Reads the data as messages that arrive one after the other. A letter may stand before a message
/// for the channel: `B` that of backends, `N` that of the node, `R` that of a room. `$N` in a message
/// is the nonce of the last question that the node has asked.
///
/// # Panics
/// If an envelope does not survive being written and read again; if a node panics, or answers more
/// than its peers and what was said account for; if it remembers peers of nodes that are silent;
/// and if its clients then see others than those who are there.
pub fn run(data: &[u8]) {
    let mut config = Config::default();
    config.cluster = Some(ClusterConfig::default());
    if data.len().is_multiple_of(2) {
        (config.roster_burst, config.work_burst) = (1, 1);
    }
    let mut world = World::new(config, 1);
    for (user, rooms) in [("alice", "[\"r0\",\"r1\"]"), ("bob", "[\"r1\"]"), ("carol", "[]")] {
        let conn = world.new_conn(0);
        world.nodes[0].clients.insert(conn, Client::default());
        world.must(0, Input::Connected { conn, address: Ipv4Addr::LOCALHOST.into() });
        let text = format!(r#"{{"type":"auth","user":"{user}","rooms":{rooms}}}"#);
        world.must(0, Input::Text { conn, text: &text });
    }
    world.check_rest(true);

    // Whoever speaks for a node may say what it likes.
    world.trusted = true;
    let mut honest = true;
    for message in data.split(|byte| *byte == BETWEEN).take(MOST) {
        let (channel, message) = match message {
            [b'B', rest @ ..] => ("broadcast".to_owned(), rest),
            [b'N', rest @ ..] => {
                (format!("node:{}", world.nodes[0].server.node_id().unwrap_or_default()), rest)
            }
            [b'R', rest @ ..] => ("room:r1".into(), rest),
            message => ("cluster".into(), message),
        };
        let message = &*with_nonce(&world, message);
        honest &= parse(message) && channel != "broadcast";
        let (before, bytes) = (world.deliveries, world.bytes);
        let _ = world.input(0, Input::BusMessage { channel: &channel, payload: message });
        let (deliveries, bytes) = (world.deliveries - before, world.bytes - bytes);
        // A peer of another node has a few dozen bytes at least, and comes and goes.
        let most = 64 + message.len() as u64;
        assert!(deliveries <= most, "{deliveries} deliveries of {} bytes", message.len());
        assert!(bytes <= 64 * 1024 + 64 * message.len() as u64, "{bytes} bytes");
        world.pass(Duration::from_millis(7));
    }

    // Nodes that are silent are dead.
    world.pass(Duration::from_secs(30));
    world.read_all();
    let stats = world.nodes[0].server.stats();
    assert_eq!((stats.remote_peers, stats.nodes), (0, 0), "who is silent is gone");
    world.check_rest(honest);
}

/// A message that answers what the node has asked last.
fn with_nonce<'a>(world: &World, message: &'a [u8]) -> Cow<'a, [u8]> {
    let mark = b"$N";
    let Some(at) = message.windows(mark.len()).position(|bytes| bytes == mark) else {
        return message.into();
    };
    let asked = world.published.iter().rev().find_map(|bytes| match Envelope::parse(bytes) {
        Ok(Envelope { payload: Payload::Ask(ask), .. }) => Some(ask.nonce),
        _ => None,
    });
    let nonce = asked.unwrap_or_default().to_string();
    [&message[..at], nonce.as_bytes(), &message[at + mark.len()..]].concat().into()
}

/// An envelope on its own. False if it carries presence that its author has made up.
fn parse(bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::parse(bytes) else { return true };
    let encoded = envelope.encode();
    let again = match Envelope::parse(&encoded) {
        Ok(again) => again,
        Err(error) => panic!("{error}: {envelope:?}"),
    };
    assert_eq!(again, envelope);
    assert_eq!(again.encode(), encoded);
    assert!(Envelope::is_from(&encoded, &envelope.node));
    match &envelope.payload {
        Payload::Part(text) => {
            if let Ok(part) = Part::parse(text) {
                assert_eq!(Part::parse(&part.encode()), Ok(part));
            }
            true
        }
        Payload::Change(text) => {
            if let Ok(change) = Change::parse(text) {
                assert_eq!(Change::parse(&change.encode()), Ok(change));
            }
            true
        }
        Payload::Changes(text) => {
            if let Ok(changes) = Changes::parse(text) {
                let texts = changes.iter().map(|(_, text)| text);
                let encoded = Changes::encode(changes.nonce, changes.sum, changes.first, texts);
                assert!(
                    Changes::parse(&encoded).is_ok_and(|again| again.iter().eq(changes.iter()))
                );
            }
            true
        }
        Payload::Frame(text) | Payload::Emission(text) => !is_presence(text),
        Payload::Call(Call::Send { text, .. }) => !is_presence(text),
        _ => true,
    }
}

fn is_presence(text: &str) -> bool {
    FrameView::parse(text, 128)
        .is_ok_and(|frame| frame.frame_type() == Ok(FrameType::Routed(RoutedType::Presence)))
}
