//! What must hold: always, and at rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use symple_engine::server::{ConnId, PresenceMode, RoomSend};

use super::{Client, ROOMS, USERS, World};

impl World {
    /// A client gets a frame: what may never happen is noticed here.
    pub(super) fn receive(&mut self, at: usize, conn: ConnId, frame: &Value) {
        let open = self.anyone_sends() || self.forged;
        let classic = self.config.presence == PresenceMode::Classic;
        let numbered = !["event", "command"].contains(&frame["type"].as_str().unwrap());
        let number = frame["n"].as_u64().filter(|_| numbered);
        let let_through = number.is_none_or(|number| self.is_let_through(number));
        let Some(client) = self.nodes[at].clients.get_mut(&conn) else { return };
        let room = || frame["room"].as_str().unwrap().to_owned();
        let from = frame["from"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().unwrap() {
            "welcome" => {
                let peer = &frame["peer"];
                client.id = peer["id"].as_str().unwrap().into();
                client.address = format!("{}|{}", peer["user"].as_str().unwrap(), client.id);
                let rooms = frame["rooms"].as_array().unwrap();
                client.rooms = rooms.iter().map(|room| room.as_str().unwrap().into()).collect();
                assert_eq!(client.rooms.len(), rooms.len(), "R-A8");
                // It may have authenticated again, and be in other rooms than before.
                let (address, rooms) = (client.address.clone(), client.rooms.clone());
                rooms.iter().for_each(|room| self.note_join(&address, room));
            }
            "join:ok" => {
                client.rooms.insert(room());
                let address = client.address.clone();
                self.note_join(&address, &room());
            }
            "leave:ok" => {
                client.rooms.remove(&room());
                client.states.remove(&room());
            }
            kind @ ("state" | "state:ok") => {
                assert!(client.sees_states, "R-X1");
                let mut changed = Vec::new();
                if kind == "state:ok" {
                    let id = frame["id"].as_u64().unwrap();
                    let (of, key, value) = client.setting.remove(&id).unwrap();
                    assert_eq!(of, room());
                    changed.push((key, value));
                } else if let Some(all) = frame["all"].as_object() {
                    client.states.insert(room(), BTreeMap::new());
                    changed.extend(all.clone());
                } else {
                    changed.extend(frame["set"].as_object().unwrap().clone());
                    assert!(
                        client.states.contains_key(&room()),
                        "R-K2: a change of an untold state"
                    );
                }
                let Some(state) = client.states.get_mut(&room()) else { return };
                for (key, value) in changed {
                    if value.is_null() {
                        state.remove(&key);
                    } else {
                        state.insert(key, value);
                    }
                }
            }
            "error" if frame["id"].is_u64() => {
                client.setting.remove(&frame["id"].as_u64().unwrap());
            }
            "error" if frame["room"].is_string() => drop(client.refused.insert(room())),
            // Nobody sends one but who speaks in another's name.
            "command" if !self.forged => self.fail("a forged frame"),
            "event" => {
                let Some(number) = frame["n"].as_u64() else { return };
                if !client.emitted.insert(number) {
                    let fault = format!("{} got emission {number} twice", client.address);
                    self.fail(&fault);
                }
            }
            "presence" => {
                assert_ne!(from, client.address, "R-M1");
                let own = frame["n"].is_u64();
                let online = frame["data"]["online"] == true;
                let known = client.roster.contains(&from);
                let fault = match (own, online) {
                    _ if !let_through => "R-H2: denied, and relayed",
                    _ if classic => return,
                    (true, _) if !known => "told by one it does not see",
                    (false, true) if !client.roster.insert(from.clone()) => "online twice",
                    (false, false) if !client.roster.remove(&from) => "offline twice",
                    _ => return,
                };
                let fault = format!("{} of {from}: {fault}", client.address);
                self.fail(&fault);
            }
            "roster" if classic => {}
            "roster" => {
                // Who is told of again tells something else of itself, or was away for a moment.
                let online = frame["online"].as_array().unwrap().iter();
                client.roster.extend(online.map(|data| {
                    format!("{}|{}", data["user"].as_str().unwrap(), data["id"].as_str().unwrap())
                }));
                for gone in frame["offline"].as_array().unwrap() {
                    let gone = gone.as_str().unwrap();
                    if !client.roster.remove(gone) {
                        let fault = format!("{} of {gone}: offline twice", client.address);
                        self.fail(&fault);
                    }
                }
                if client.roster.contains(&client.address) {
                    self.fail("R-M1: told of itself");
                }
            }
            "message" => {
                let number = frame["n"].as_u64().unwrap();
                let sent = &self.sent[usize::try_from(number).unwrap()];
                let shares = !sent.rooms.is_disjoint(&client.rooms);
                let open =
                    open && (self.forged || sent.to.iter().any(|room| client.rooms.contains(room)));
                let first = client.received.insert(number);
                let in_order = client.last.insert(from.clone(), number).is_none_or(|n| n < number);
                let own = from == client.address;
                let fault = if !let_through {
                    "R-H2: denied, and relayed"
                } else if !first || !in_order {
                    "twice or out of order"
                } else if !shares && !open && !own {
                    "not permitted"
                } else {
                    return;
                };
                let fault = format!("{} got {number} of {from}: {fault}", client.address);
                self.fail(&fault);
            }
            _ => {}
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (usize, ConnId, &Client)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.flat_map(|(at, node)| node.clients.iter().map(move |(conn, c)| (at, *conn, c)))
    }

    /// R-M3
    fn anyone_sends(&self) -> bool {
        self.config.room_send == RoomSend::Auto && self.config.dynamic_rooms
    }

    /// R-P1 on every node, and R-C3: what each hears is what it must.
    pub(super) fn check_rest(&self) {
        let full = self.config.presence == PresenceMode::Full;
        for (at, _, client) in self.all().filter(|_| full) {
            let sees: BTreeSet<_> = self
                .all()
                .filter(|(_, _, other)| other.address != client.address)
                .filter(|(_, _, other)| !other.rooms.is_disjoint(&client.rooms))
                .map(|(_, _, other)| other.address.clone())
                .collect();
            if sees != client.roster {
                let (address, roster) = (&client.address, &client.roster);
                self.fail(&format!("{address} on {at} sees {roster:?} and should {sees:?}"));
            }
        }
        for node in &self.nodes {
            let id = node.server.node_id().unwrap();
            let rooms: BTreeSet<_> = node.clients.values().flat_map(|c| &c.rooms).collect();
            let mut wanted: BTreeSet<_> = rooms.iter().map(|room| format!("room:{room}")).collect();
            wanted.extend(node.pinned.iter().map(|room| format!("room:{room}")));
            wanted.extend(["broadcast".into(), "cluster".into(), format!("node:{id}")]);
            assert_eq!(node.wanted, wanted, "seed {}: R-C3", self.seed);
            assert_eq!(node.server.stats().remote_peers + node.clients.len(), self.all().count());
            for user in USERS {
                let prefix = format!("{user}|");
                let sessions = self.all().map(|(_, _, client)| client);
                let sessions = sessions.filter(|client| client.address.starts_with(&prefix));
                let rooms: BTreeSet<_> = sessions.flat_map(|client| &client.rooms).collect();
                let known = node.server.user_rooms(user);
                assert!(
                    known.iter().map(|room| &**room).eq(rooms.iter().map(|room| room.as_str())),
                    "seed {}: {user} is in {rooms:?}, not {known:?}",
                    self.seed
                );
            }
            for room in ROOMS.into_iter().chain(USERS) {
                let members: BTreeSet<_> =
                    node.server.members(room).map(|address| address.to_string()).collect();
                let expected: BTreeSet<_> = self
                    .all()
                    .filter(|(_, _, client)| client.rooms.contains(room))
                    .map(|(_, _, client)| client.address.clone())
                    .collect();
                assert_eq!(members, expected, "seed {}: who is in {room}", self.seed);
            }
        }
    }

    /// At rest every message reaches exactly those whom it would reach on one node.
    pub(super) fn check_delivery(&mut self) {
        let senders: Vec<_> = self.all().map(|(at, conn, _)| (at, conn)).collect();
        for (at, conn) in senders.into_iter().take(6) {
            let to = match self.dice.below(4) {
                0 => None,
                1 => self.any_address().map(Value::from),
                2 => Some(self.dice.pick(&ROOMS).into()),
                _ => Some(self.dice.rooms().into()),
            };
            let number = self.send(at, conn, "message", to.clone());
            self.pass(self.patience(300));
            let let_through = self.is_let_through(number);
            let sender = &self.nodes[at].clients[&conn];
            let open = self.anyone_sends();
            for (_, _, other) in self.all() {
                let shares = !other.rooms.is_disjoint(&sender.rooms);
                let myself = other.address == sender.address;
                let expected = match &to {
                    None => shares && !myself,
                    Some(Value::String(name)) if name.contains('|') => {
                        *name == other.address && (shares || myself)
                    }
                    Some(to) => {
                        let names: Vec<&str> = match to {
                            Value::String(name) => vec![name],
                            _ => to.as_array().unwrap().iter().flat_map(Value::as_str).collect(),
                        };
                        !myself
                            && (open || shares)
                            && names.iter().any(|name| other.rooms.contains(*name))
                    }
                };
                let expected = expected && let_through;
                if other.received.contains(&number) != expected {
                    let (from, whom) = (&sender.address, &other.address);
                    self.fail(&format!("{from} to {to:?}: {whom} expected {expected}"));
                }
            }
        }
    }

    /// At rest all who see a room's state see the same, wherever they are, and a change reaches all (R-K5).
    pub(super) fn check_states(&mut self) {
        for room in ROOMS {
            let member = self.all().find(|(_, _, client)| client.states.contains_key(room));
            if let Some((at, conn)) = member.map(|(at, conn, _)| (at, conn)) {
                self.set_state(at, conn, room);
            }
        }
        self.pass(self.patience(600));
        for room in ROOMS {
            let mut first = None;
            for (at, _, client) in self.all().filter(|(_, _, client)| client.sees_states) {
                if !client.rooms.contains(room) {
                    continue;
                }
                let Some(state) = client.states.get(room) else {
                    self.fail(&format!("{} was not told of {room}", client.address));
                };
                let held = self.nodes[at].server.room_state(room);
                let held: Value = serde_json::from_str(&held.unwrap()).unwrap();
                let seen = json!(state);
                let first = first.get_or_insert(held.clone());
                if seen != *first || held != *first {
                    let who = &client.address;
                    let what = format!("{room} is {first}, on {at} {held}, for {who} {seen}");
                    self.fail(&what);
                }
            }
        }
    }

    /// At rest an emission reaches exactly those whom it names, wherever the host is (R-S3).
    pub(super) fn check_emission(&mut self) {
        let to = self.any_recipient();
        let number = self.emit(&to);
        self.pass(Duration::from_millis(300));
        for (_, _, client) in self.all() {
            let named = |name: &Value| {
                let name = name.as_str().unwrap();
                client.rooms.contains(name) || client.address == name
            };
            let expected = match &to {
                Value::Array(names) => names.iter().any(named),
                to => named(to),
            };
            if client.emitted.contains(&number) != expected {
                self.fail(&format!("emission to {to}: {} expected {expected}", client.address));
            }
        }
    }
}
