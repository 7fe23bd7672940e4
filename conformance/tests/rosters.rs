//! What is declared is right in itself, whatever the engine does: R-P1, over all transcripts.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use symple_conformance::{Event, Transcript, deviation::Declarations};

/// What a client knows.
#[derive(Debug, Default)]
struct Client {
    id: String,
    rooms: BTreeSet<String>,
    roster: BTreeSet<String>,
    /// Nobody is told of it (R-H4).
    hidden: bool,
}

impl Client {
    fn receive(&mut self, frame: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let from = text(&frame["from"]);
        let id = from.split_once('|').map_or(&*from, |(_, id)| id).to_owned();
        match frame["type"].as_str() {
            Some("welcome") => {
                self.id = text(&frame["peer"]["id"]);
                self.hidden = frame["peer"]["hidden"] == true;
                let rooms = frame["rooms"].as_array().unwrap();
                self.rooms = rooms.iter().map(text).collect();
            }
            Some("join:ok") => drop(self.rooms.insert(text(&frame["room"]))),
            Some("leave:ok") => drop(self.rooms.remove(&text(&frame["room"]))),
            Some("presence") if frame["data"]["online"] == true => drop(self.roster.insert(id)),
            Some("presence") if frame["data"].is_object() => {
                assert!(self.roster.remove(&id), "offline without online: {frame}");
            }
            // R-X2: everyone is told of once, unless it comes again.
            Some("roster") => {
                for peer in frame["online"].as_array().into_iter().flatten() {
                    self.roster.insert(text(&peer["id"]));
                }
                for peer in frame["offline"].as_array().into_iter().flatten() {
                    let address = text(peer);
                    let id = address.split_once('|').map_or(&*address, |(_, id)| id);
                    assert!(self.roster.remove(id), "offline without online: {frame}");
                }
            }
            _ => {}
        }
    }
}

/// R-P1: at every barrier, the roster that a client folds from presence is the set of the others
/// that share a room with it and are not hidden.
#[test]
fn rosters_are_right_in_all_that_is_expected() {
    let declarations = Declarations::of_the_specification().unwrap();
    let mut barriers = 0;
    for transcript in Transcript::built_in().unwrap() {
        let name = &transcript.header.name;
        // Classic presence is not right, and what backends emit is their affair.
        if name.starts_with("classic-") || name == "emit-presence" {
            continue;
        }
        let mut clients: BTreeMap<String, Client> = BTreeMap::new();
        for step in declarations.apply(&transcript).unwrap().steps {
            let seq = step.seq;
            if !step.possible {
                continue;
            }
            match step.event {
                Event::Recv(conn, text) => {
                    let frame = serde_json::from_str(&text).unwrap_or_default();
                    clients.entry(conn).or_default().receive(&frame);
                }
                Event::ClientClose(conn, _) | Event::ServerClose(conn, _) => {
                    clients.remove(&conn);
                }
                Event::ServerKill => clients.clear(),
                Event::Quiet(_) => {
                    for (conn, client) in &clients {
                        let others = clients.iter().filter(|(other, _)| *other != conn);
                        let seen = others
                            .filter(|(_, other)| !other.hidden)
                            .filter(|(_, other)| !other.rooms.is_disjoint(&client.rooms))
                            .map(|(_, other)| other.id.clone());
                        assert_eq!(client.roster, seen.collect(), "{name} at {seq}: {conn}");
                        barriers += 1;
                    }
                }
                _ => {}
            }
        }
    }
    assert!(barriers > 1000, "{barriers}");
}
