//! What clients, hosts, fate and others do.

use std::time::Duration;

use serde_json::{Value, json};
use symple_engine::server::{ConnId, HostCall, Input, Whom};
use symple_proto::{Fields, UserName, cluster::VERSION};

use super::{Client, Node, ROOMS, USERS, World};
use crate::common::ADDRESS;

/// The longest drain: shorter than the time after which everything must be right again.
const DRAIN: Duration = Duration::from_secs(6);

impl World {
    /// A client comes, or a peer of the host's own.
    fn arrive(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let conn = ConnId::new(node.next_conn, 0);
        node.next_conn += 1;
        let user = self.dice.pick(&USERS);
        let rooms = self.dice.rooms();
        // Some are so large that few go into a part of a snapshot.
        let size = if self.dice.one_in(3) { 12_000 } else { 1 };
        let (padding, of_host) = ("x".repeat(size), self.dice.one_in(8));
        let client = Client { of_host, ..Client::default() };
        self.nodes[at].clients.insert(conn, client);
        if of_host {
            let rooms: Vec<_> = rooms.into_iter().map(String::from).collect();
            let user = UserName::new(user).unwrap();
            let peer = Fields::new().with("padding", &*padding);
            return self.host(at, HostCall::AddPeer { conn, user, peer, rooms: &rooms });
        }
        self.input(at, Input::Connected { conn, address: ADDRESS });
        let mut frame = json!({"type": "auth", "user": user, "rooms": rooms, "padding": padding});
        let (roster, state) = (self.dice.one_in(3), self.dice.one_in(2));
        let wanted = [("roster", roster), ("state", state)];
        let wanted = wanted.into_iter().filter_map(|(name, wanted)| wanted.then_some(name));
        frame["extensions"] = wanted.collect();
        if let Some(client) = self.nodes[at].clients.get_mut(&conn) {
            client.sees_states = state;
        }
        self.input(at, Input::Text { conn, text: &frame.to_string() });
    }

    /// A client authenticates again: it may gain and lose rooms (R-A9).
    fn authenticate_again(&mut self) {
        let Some((at, conn)) = self.any_client() else { return };
        let client = &self.nodes[at].clients[&conn];
        let user = client.address.split('|').next().unwrap().to_owned();
        let rooms = self.dice.rooms();
        let frame = json!({"type": "auth", "user": user, "rooms": rooms}).to_string();
        self.input(at, Input::Text { conn, text: &frame });
    }

    /// Whom an emission may be for.
    pub(super) fn any_recipient(&mut self) -> Value {
        match self.dice.below(3) {
            0 => self.any_address().map_or("nobody".into(), Value::from),
            1 => self.dice.pick(&ROOMS).into(),
            _ => self.dice.rooms().into(),
        }
    }

    /// A host emits, or a backend; the number of the emission.
    pub(super) fn emit(&mut self, to: &Value) -> u64 {
        self.emissions += 1;
        let number = self.emissions;
        let text = json!({"type": "event", "from": "backend", "to": to, "n": number}).to_string();
        if self.dice.one_in(2) {
            self.spread("broadcast", text.as_bytes());
        } else {
            let at = self.dice.below(self.nodes.len());
            self.host(at, HostCall::Emit { text: &text });
        }
        number
    }

    /// Something that a host does, with a peer on any node.
    fn host_acts(&mut self) {
        let at = self.dice.below(self.nodes.len());
        if self.nodes[at].paused_until.is_some() {
            return;
        }
        let Some(peer) = self.any_address() else { return };
        let room = self.dice.pick(&ROOMS);
        let user = self.dice.pick(&USERS);
        let id = self.sent.len() as u64 * 1_000_000 + self.dice.roll() % 1_000_000;
        let key = self.dice.pick(&["a", "b", "c"]);
        let set =
            json!({key: if self.dice.one_in(4) { Value::Null } else { id.into() }}).to_string();
        let call = match self.dice.below(16) {
            0..4 => HostCall::Join { peer: &peer, room },
            4..7 => HostCall::Leave { peer: &peer, room },
            7 => HostCall::CloseRoom { room },
            8 => HostCall::Kick { whom: Whom::Peer(&peer), reason: "out" },
            9 => HostCall::Kick { whom: Whom::User(user), reason: "out" },
            10 => HostCall::Send { peer: &peer, text: "{\"type\":\"event\"}" },
            11..13 => HostCall::SetState { room, set: &set },
            13 => HostCall::ClearState { room },
            14 => {
                let pinned = self.dice.one_in(2);
                if pinned {
                    self.nodes[at].pinned.insert(room);
                } else {
                    self.nodes[at].pinned.remove(room);
                }
                HostCall::PinState { room, pinned }
            }
            _ => {
                let to = self.any_recipient();
                self.emit(&to);
                return;
            }
        };
        self.host(at, call);
    }

    /// A client sets or deletes a key.
    pub(super) fn set_state(&mut self, at: usize, conn: ConnId, room: &str) {
        let id = self.sent.len() as u64 * 1_000_000 + self.dice.roll() % 1_000_000;
        let key = self.dice.pick(&["a", "b", "c"]);
        let value = if self.dice.one_in(4) { Value::Null } else { id.into() };
        let Some(client) = self.nodes[at].clients.get_mut(&conn) else { return };
        if !client.sees_states || client.id.is_empty() {
            return;
        }
        client.setting.insert(id, (room.into(), key.into(), value.clone()));
        let frame = json!({"type": "state", "room": room, "set": {key: value}, "id": id});
        self.input(at, Input::Text { conn, text: &frame.to_string() });
    }

    /// Something that clients do.
    pub(super) fn act(&mut self) {
        match self.dice.below(26) {
            24.. => {
                if let Some((at, conn)) = self.any_client() {
                    self.input(at, Input::Behind { conn });
                }
            }
            0..4 => {
                let at = self.dice.below(self.nodes.len());
                let node = &self.nodes[at];
                if node.paused_until.is_none() && !node.leaving && node.clients.len() < 6 {
                    self.arrive(at);
                }
            }
            4..6 => {
                if let Some((at, conn)) = self.any_client() {
                    self.nodes[at].clients.remove(&conn);
                    self.input(at, Input::Disconnected { conn });
                }
            }
            6..11 => {
                let Some((at, conn)) = self.any_client() else { return };
                let room = self.dice.pick(&ROOMS);
                let kind = self.dice.pick(&["join", "leave"]);
                let frame = json!({"type": kind, "room": room}).to_string();
                self.input(at, Input::Text { conn, text: &frame });
            }
            18..20 => {
                if let Some((at, conn)) = self.any_client() {
                    let room = self.dice.pick(&ROOMS);
                    self.set_state(at, conn, room);
                }
            }
            20..22 => self.host_acts(),
            22 => self.authenticate_again(),
            _ => {
                let Some((at, conn)) = self.any_client() else { return };
                let to = match self.dice.below(4) {
                    0 => None,
                    1 => self.any_address().map(Into::into),
                    2 => Some(self.dice.pick(&ROOMS).into()),
                    _ => Some(self.dice.rooms().into()),
                };
                let kind = if self.dice.one_in(5) { "presence" } else { "message" };
                self.send(at, conn, kind, to);
            }
        }
    }

    /// Trouble.
    pub(super) fn trouble(&mut self) {
        let at = self.dice.below(self.nodes.len());
        let a_while = Duration::from_millis(100 + self.dice.roll() % 16_000);
        match self.dice.below(8) {
            // kill -9, and a new process.
            0 => {
                self.note_crash(at);
                self.nodes[at] = self.boot();
            }
            // SIGSTOP and SIGCONT.
            1 => self.nodes[at].paused_until = Some(self.now + a_while),
            2 => self.reconnect(at, a_while),
            // A partition that is noticed when it is over.
            3 => {
                self.nodes[at].cut = true;
                if self.nodes[at].up {
                    self.nodes[at].up_at = Some(self.now + a_while);
                }
            }
            // The bus restarts.
            4 => {
                for at in 0..self.nodes.len() {
                    let after = a_while + Duration::from_millis(self.dice.roll() % 2000);
                    self.reconnect(at, after);
                }
            }
            // SIGTERM, at once or with a drain.
            5 => {
                let drain = self.dice.pick(&[Duration::ZERO, Duration::from_secs(1), DRAIN]);
                if self.nodes[at].paused_until.is_none() {
                    self.nodes[at].leaving = true;
                    self.input(at, Input::Shutdown { drain });
                }
            }
            6 if !self.forged => self.loss = [0, 2, 5, 50][self.dice.below(4)],
            _ => self.forge(),
        }
    }

    /// Someone else publishes.
    fn forge(&mut self) {
        self.told.forged = true;
        let named = self.dice.below(self.nodes.len());
        let victim = match self.nodes[named].clients.values().next() {
            Some(client) if self.dice.one_in(2) => client.address.clone(),
            _ => self.any_address().unwrap_or_default(),
        };
        let node = |at: &Node| at.server.node_id().unwrap().to_owned();
        let target = node(&self.nodes[self.dice.below(self.nodes.len())]);
        let id = victim.rsplit_once('|').map(|(_, id)| id.to_owned()).unwrap_or_default();
        let frame = json!({"type": "command", "n": 0, "to": ROOMS, "from": victim});
        let online = json!({"online": {"user": "mallory", "id": id, "record": {}, "rooms": ROOMS}});
        let sum = self.dice.roll();
        let part = json!({"nonce": sum, "sum": sum, "after": 0, "peers": [online["online"]]});
        let changes = json!({"nonce": sum, "sum": sum, "first": 1, "changes": [online]});
        let (kind, body) = match self.dice.below(11) {
            0 => ("frame", frame),
            1 => ("change", online),
            2 => ("change", json!({"offline": {"id": id}})),
            3 => ("part", part),
            4 => ("changes", changes),
            5 => ("ask", json!({"nonce": sum, "after": 0, "bytes": 1_000_000})),
            6 => ("bye", json!({})),
            7 => ("hello", json!({"nonce": sum, "sum": sum, "known": {"a": [1, sum]}})),
            8 => ("beat", json!({"sum": sum})),
            9 => ("change", json!({"join": {"id": id, "rooms": ROOMS}})),
            _ => ("quux", json!({})),
        };
        let version = if self.dice.one_in(3) { 1 } else { VERSION };
        let mut header =
            json!({"v": version, "node": "mallory", "number": 1, "seq": 1, "kind": kind});
        if self.dice.one_in(2) {
            self.forged = true;
            // Never the number at which the node is: if what it says itself is lost, too, nobody
            // can tell which of the two was its own word.
            let next = self.nodes[named].seq + 1;
            let seqs = if self.loss > 0 { [u64::MAX; 3] } else { [next, next + 1, u64::MAX] };
            header["node"] = node(&self.nodes[named]).into();
            header["seq"] = self.dice.pick(&seqs).into();
            let number = self.nodes[named].number;
            header["number"] = self.dice.pick(&[1, number + 1, number + 1000, u64::MAX]).into();
        }
        let payload = format!("{header}\n{body}");
        let channel = ["cluster".to_owned(), format!("node:{target}"), "room:r0".into()];
        let channel = &channel[self.dice.below(3)];
        self.spread(channel, payload.as_bytes());
        self.spread(channel, &[0xff, 0, 1]);
    }

    /// The trouble is over.
    pub(super) fn heal(&mut self) {
        self.loss = 0;
        for at in 0..self.nodes.len() {
            self.nodes[at].paused_until = None;
            if self.nodes[at].cut || !self.nodes[at].up {
                self.reconnect(at, Duration::ZERO);
            }
        }
    }
}
