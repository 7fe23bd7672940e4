//! A naive model of rooms, permissions and presence against the engine.
//!
//! The model is written to be read beside SPEC §5 and §6: sets, loops, no cleverness. Any sequence
//! of inputs must give what the model says, and leave every roster right (R-P1).

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use symple_engine::{
    Timestamp,
    server::{Action, Config, ConnId, HostCall, Input, RoomSend, Server, TransportFault, Whom},
};

use crate::common::{ADDRESS, config, counter};

const USERS: [&str; 4] = ["alice", "bob", "carol", "r0"];
const ROOMS: [&str; 5] = ["r0", "r1", "r2", "alice", "bob"];
/// Never to be seen by anyone but its owner.
const SECRET: &str = "s3cr3t";

/// A peer of the model.
#[derive(Clone, Debug)]
struct Peer {
    user: String,
    id: String,
    rooms: BTreeSet<String>,
    /// What it was told of others: the fold of its presence frames, or of its batches.
    roster: BTreeSet<String>,
    batches: bool,
    /// It has been told that the batches have told of everyone.
    complete: bool,
}

impl Peer {
    fn address(&self) -> String {
        format!("{}|{}", self.user, self.id)
    }

    fn shares(&self, other: &Self) -> bool {
        !self.rooms.is_disjoint(&other.rooms)
    }
}

/// Whom a generated frame is for; peers are chosen by number among those there are.
#[derive(Clone, Debug)]
enum To {
    Absent,
    Address(usize),
    Id(usize),
    WrongUser(usize),
    Unknown,
    Name(&'static str),
    Rooms(Vec<&'static str>),
}

#[derive(Clone, Debug)]
enum Op {
    Arrive { user: &'static str, rooms: Vec<&'static str>, batches: bool },
    Leave { peer: usize, room: &'static str },
    Join { peer: usize, room: &'static str },
    Again { peer: usize, rooms: Vec<&'static str> },
    Send { peer: usize, kind: &'static str, to: To },
    Depart { peer: usize, how: u8 },
    Emit { to: To },
    KickUser { user: &'static str },
    CloseRoom { room: &'static str },
    HostJoin { peer: usize, room: &'static str },
    HostLeave { peer: usize, room: &'static str },
    Drain(usize),
    FallBehind(usize),
}

fn any_room() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&ROOMS[..])
}

fn any_to() -> impl Strategy<Value = To> {
    prop_oneof![
        3 => Just(To::Absent),
        2 => any::<usize>().prop_map(To::Address),
        1 => any::<usize>().prop_map(To::Id),
        1 => any::<usize>().prop_map(To::WrongUser),
        1 => Just(To::Unknown),
        3 => any_room().prop_map(To::Name),
        2 => prop::collection::vec(any_room(), 0..4).prop_map(To::Rooms),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let rooms = || prop::collection::vec(any_room(), 0..3);
    let user = || prop::sample::select(&USERS[..]);
    let kind = prop::sample::select(&["message", "presence", "command", "event"][..]);
    prop_oneof![
        6 => (user(), rooms(), any::<bool>())
            .prop_map(|(user, rooms, batches)| Op::Arrive { user, rooms, batches }),
        5 => (any::<usize>(), any_room()).prop_map(|(peer, room)| Op::Join { peer, room }),
        4 => (any::<usize>(), any_room()).prop_map(|(peer, room)| Op::Leave { peer, room }),
        1 => (any::<usize>(), rooms()).prop_map(|(peer, rooms)| Op::Again { peer, rooms }),
        12 => (any::<usize>(), kind, any_to()).prop_map(|(peer, kind, to)| Op::Send { peer, kind, to }),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(peer, how)| Op::Depart { peer, how }),
        2 => any_to().prop_map(|to| Op::Emit { to }),
        1 => user().prop_map(|user| Op::KickUser { user }),
        1 => any_room().prop_map(|room| Op::CloseRoom { room }),
        1 => (any::<usize>(), any_room()).prop_map(|(peer, room)| Op::HostJoin { peer, room }),
        1 => (any::<usize>(), any_room()).prop_map(|(peer, room)| Op::HostLeave { peer, room }),
        4 => any::<usize>().prop_map(Op::Drain),
        2 => any::<usize>().prop_map(Op::FallBehind),
    ]
}

struct World {
    config: Config,
    server: Server,
    peers: BTreeMap<ConnId, Peer>,
    next: u32,
    time: u64,
    /// Who is still to be told of others, as soon as it has read.
    awaiting: BTreeSet<ConnId>,
    /// What these have sent to themselves and is to come back behind their rosters.
    echoes: BTreeMap<ConnId, usize>,
}

/// What each connection received, in order.
type Received = BTreeMap<ConnId, Vec<Value>>;

impl World {
    fn new(config: Config) -> Self {
        let server = Server::new(config.clone(), counter());
        Self {
            config,
            server,
            peers: BTreeMap::new(),
            next: 0,
            time: 0,
            awaiting: BTreeSet::new(),
            echoes: BTreeMap::new(),
        }
    }

    fn input(&mut self, input: Input<'_>) -> Received {
        self.time += 10_000;
        let now = Timestamp::from_millis(self.time);
        self.server.handle(now, input).unwrap();
        let mut received = Received::new();
        self.carry_out(&mut received);
        // What was put off, and the batches that are due.
        let soon = Timestamp::from_millis(self.time + 60);
        while let Some(at) = self.server.poll_timeout().filter(|at| *at <= soon) {
            self.server.handle(at.max(now), Input::Timeout).unwrap();
            self.carry_out(&mut received);
        }
        received
    }

    fn carry_out(&mut self, received: &mut Received) {
        while let Some(action) = self.server.poll_action() {
            match action {
                Action::Send { text, to, .. } => {
                    let unique: BTreeSet<_> = to.iter().collect();
                    assert_eq!(unique.len(), to.len(), "R-M2: a receiver twice: {}", &*text);
                    for conn in to {
                        let value: Value = serde_json::from_str(&text).unwrap();
                        // The owner of a token may be told it; nobody else ever is.
                        let own = value["type"] == "welcome";
                        assert!(own || !text.contains(SECRET), "R-P5: a token leaves: {}", &*text);
                        received.entry(*conn).or_default().push(value);
                    }
                }
                Action::AwaitDrain { conn } => drop(self.awaiting.insert(conn)),
                Action::SetMessageLimit { .. } | Action::Close { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// A peer has read everything, and is told of more.
    fn drain(&mut self, n: usize) {
        let count = self.awaiting.len();
        if count == 0 {
            return;
        }
        let conn = *self.awaiting.iter().nth(n % count).unwrap();
        self.awaiting.remove(&conn);
        let received = self.input(Input::Drained { conn });
        self.check_rosters(&received);
        if !self.awaiting.contains(&conn) {
            let back = Self::routed(&received).get(&conn).map_or(0, Vec::len);
            assert_eq!(back, self.echoes.remove(&conn).unwrap_or(0), "R-P3: behind the roster");
        }
    }

    fn text(&mut self, conn: ConnId, text: &Value) -> Received {
        self.input(Input::Text { conn, text: &text.to_string() })
    }

    fn nth(&self, n: usize) -> Option<ConnId> {
        let count = self.peers.len();
        (count > 0).then(|| *self.peers.keys().nth(n % count).unwrap())
    }

    fn to(&self, to: &To) -> Option<Value> {
        let peer = |n: usize| self.nth(n).map(|conn| &self.peers[&conn]);
        match to {
            To::Absent => None,
            To::Address(n) => peer(*n).map(|peer| json!(peer.address())),
            To::Id(n) => peer(*n).map(|peer| json!(peer.id)),
            To::WrongUser(n) => peer(*n).map(|peer| json!(format!("nobody|{}|x", peer.id))),
            To::Unknown => Some(json!("nobody|nosuchid")),
            To::Name(name) => Some(json!(name)),
            To::Rooms(rooms) => Some(json!(rooms)),
        }
    }

    /// SPEC §5, read aloud: who receives this?
    fn receivers(
        &self,
        sender: Option<ConnId>,
        kind: &str,
        to: Option<&Value>,
    ) -> BTreeSet<ConnId> {
        let presence = kind == "presence";
        let anyone = match self.config.room_send {
            RoomSend::Auto => self.config.dynamic_rooms,
            RoomSend::Anyone => true,
            RoomSend::Members => false,
        };
        let shares = |conn: &ConnId| {
            sender.is_none_or(|sender| self.peers[&sender].shares(&self.peers[conn]))
        };
        let by_id = |id: &str| {
            let found = self.peers.iter().find(|(_, peer)| peer.id == id);
            found.map(|(conn, _)| *conn)
        };
        let session = |conn: ConnId| {
            let permitted = if Some(conn) == sender { !presence } else { shares(&conn) };
            permitted.then_some(conn).into_iter().collect::<BTreeSet<_>>()
        };
        let rooms = |names: &[String]| -> BTreeSet<ConnId> {
            self.peers
                .iter()
                .filter(|(conn, peer)| {
                    Some(**conn) != sender
                        && names.iter().any(|name| {
                            let member = sender
                                .is_none_or(|sender| self.peers[&sender].rooms.contains(name));
                            peer.rooms.contains(name)
                                && (member || (anyone && !presence) || shares(conn))
                        })
                })
                .map(|(conn, _)| *conn)
                .collect()
        };
        match to {
            None => {
                let others = self.peers.keys().filter(|conn| Some(**conn) != sender);
                others.filter(|conn| sender.is_some() && shares(conn)).copied().collect()
            }
            Some(Value::Array(names)) => {
                let names: Vec<_> = names.iter().map(|n| n.as_str().unwrap().to_owned()).collect();
                rooms(&names)
            }
            Some(to) => {
                let to = to.as_str().unwrap();
                let mut parts = to.split('|');
                let name = parts.next().unwrap();
                match parts.next().filter(|id| !id.is_empty()) {
                    Some(id) => by_id(id).map(session).unwrap_or_default(),
                    None => match by_id(name) {
                        Some(conn) => session(conn),
                        None => rooms(&[name.to_owned()]),
                    },
                }
            }
        }
    }

    /// Folds what was received into rosters, and checks R-P1 and R-P2.
    fn check_rosters(&mut self, received: &Received) {
        for (conn, frames) in received {
            let Some(peer) = self.peers.get_mut(conn) else { continue };
            if frames.iter().any(|frame| frame["type"] == "join:ok" || frame["type"] == "welcome") {
                peer.complete = false;
            }
            for frame in frames.iter().filter(|frame| frame["type"] == "roster") {
                // R-X2: who is told of again has been away for a moment; who is gone was there.
                for data in frame["online"].as_array().unwrap() {
                    assert_eq!(data["online"], true);
                    peer.roster.insert(data["id"].as_str().unwrap().into());
                }
                peer.complete |= frame["complete"] == true;
                for address in frame["offline"].as_array().unwrap() {
                    let (_, id) = address.as_str().unwrap().split_once('|').unwrap();
                    assert!(peer.roster.remove(id), "{frame}");
                }
            }
            for frame in frames.iter().filter(|frame| frame["type"] == "presence") {
                assert!(!peer.batches || frame.get("x").is_some(), "R-X2: {frame}");
                let Some(data) = frame["data"].as_object() else { continue };
                let id = data["id"].as_str().unwrap().to_owned();
                assert_eq!(frame["from"], format!("{}|{id}", data["user"].as_str().unwrap()));
                let online = data["online"].as_bool().unwrap();
                // What the server tells by itself is always news; a peer may repeat itself.
                let changed = if online { peer.roster.insert(id) } else { peer.roster.remove(&id) };
                assert!(changed || frame.get("x").is_some(), "R-P2: told twice: {frame}");
            }
        }
        self.awaiting.retain(|conn| self.peers.contains_key(conn));
        for (conn, peer) in self.peers.iter().filter(|(conn, _)| !self.awaiting.contains(conn)) {
            let expected: BTreeSet<_> = self
                .peers
                .iter()
                .filter(|(other, known)| *other != conn && known.shares(peer))
                .map(|(_, known)| known.id.clone())
                .collect();
            assert_eq!(peer.roster, expected, "R-P1: the roster of {}", peer.address());
        }
    }

    /// The routed frames that were received, by connection.
    fn routed(received: &Received) -> BTreeMap<ConnId, Vec<&Value>> {
        let mut routed: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (conn, frames) in received {
            for frame in frames.iter().filter(|frame| frame.get("x").is_some()) {
                routed.entry(*conn).or_default().push(frame);
            }
        }
        routed
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Drain(n) => self.drain(*n),
            Op::FallBehind(n) => {
                let Some(conn) = self.nth(*n) else { return };
                let received = self.input(Input::Behind { conn });
                assert!(received.is_empty());
                assert!(self.awaiting.contains(&conn), "R-P8: it is told more when it has read");
            }
            Op::Arrive { user, rooms, batches } => {
                let conn = ConnId::new(self.next, 0);
                self.next += 1;
                self.input(Input::Connected { conn, address: ADDRESS });
                let mut frame = json!({
                    "type": "auth", "user": user, "rooms": rooms,
                    "token": SECRET, "data": { "token": [SECRET], "n": 1 },
                });
                if *batches {
                    frame["extensions"] = json!(["roster"]);
                }
                let received = self.text(conn, &frame);
                let welcome = &received[&conn][0];
                let mut expected = vec![*user];
                for room in rooms {
                    if !expected.contains(room) {
                        expected.push(room);
                    }
                }
                assert_eq!(welcome["rooms"], json!(expected), "R-A8");
                let id = welcome["peer"]["id"].as_str().unwrap().to_owned();
                let rooms = expected.into_iter().map(Into::into).collect();
                let roster = BTreeSet::new();
                self.peers.insert(
                    conn,
                    Peer {
                        user: (*user).into(),
                        id,
                        rooms,
                        roster,
                        batches: *batches,
                        complete: false,
                    },
                );
                self.check_rosters(&received);
            }
            Op::Join { peer, room } => {
                let Some(conn) = self.nth(*peer) else { return };
                let received = self.text(conn, &json!({ "type": "join", "room": room }));
                if self.config.dynamic_rooms {
                    assert_eq!(received[&conn][0], json!({ "type": "join:ok", "room": room }));
                    self.peers.get_mut(&conn).unwrap().rooms.insert((*room).into());
                } else {
                    assert_eq!(received[&conn][0]["status"], 403, "R-R3");
                }
                self.check_rosters(&received);
            }
            Op::Leave { peer, room } => {
                let Some(conn) = self.nth(*peer) else { return };
                let received = self.text(conn, &json!({ "type": "leave", "room": room }));
                if self.config.dynamic_rooms {
                    assert_eq!(received[&conn][0], json!({ "type": "leave:ok", "room": room }));
                    self.peers.get_mut(&conn).unwrap().rooms.remove(*room);
                }
                self.check_rosters(&received);
            }
            Op::Again { peer, rooms } => {
                let Some(conn) = self.nth(*peer) else { return };
                let peer = self.peers.get_mut(&conn).unwrap();
                peer.rooms.insert(peer.user.clone());
                peer.rooms.extend(rooms.iter().map(|room| (*room).to_owned()));
                let (id, frame) = (
                    peer.id.clone(),
                    json!({ "type": "auth", "user": peer.user, "rooms": rooms, "token": SECRET }),
                );
                let received = self.text(conn, &frame);
                assert_eq!(received[&conn][0]["peer"]["id"], id, "R-A9");
                self.check_rosters(&received);
            }
            Op::Send { peer, kind, to } => {
                let Some(conn) = self.nth(*peer) else { return };
                let mut frame = json!({ "type": kind, "from": "forged|x", "x": 1.0 });
                let to = self.to(to);
                if let Some(to) = &to {
                    frame["to"] = to.clone();
                }
                if *kind == "presence" {
                    frame["data"] = json!({ "id": "forged", "online": false, "token": SECRET });
                }
                let mut expected = self.receivers(Some(conn), kind, to.as_ref());
                let peer = &self.peers[&conn];
                let early =
                    if peer.batches { !peer.complete } else { self.awaiting.contains(&conn) };
                if expected.contains(&conn) && early {
                    // R-P3: it comes back behind the roster.
                    expected.clear();
                    *self.echoes.entry(conn).or_default() += 1;
                }
                let received = self.text(conn, &frame);
                let routed = Self::routed(&received);
                let seen: BTreeSet<_> = routed.keys().copied().collect();
                assert_eq!(seen, expected, "R-M1, R-M3, R-P6: {frame}");
                let sender = &self.peers[&conn];
                for frames in routed.values() {
                    assert_eq!(frames.len(), 1, "R-M2");
                    assert_eq!(frames[0]["from"], sender.address(), "R-F2");
                }
                self.check_rosters(&received);
                let sender = &self.peers[&conn];
                for receiver in seen.iter().filter(|receiver| **receiver != conn) {
                    let known = self.peers[receiver].roster.contains(&sender.id);
                    let shares = self.peers[receiver].shares(sender);
                    assert_eq!(known, shares, "R-P3: a frame of a peer it was not told of");
                }
            }
            Op::Depart { peer, how } => {
                let Some(conn) = self.nth(*peer) else { return };
                self.peers.remove(&conn);
                self.echoes.remove(&conn);
                let received = match how % 4 {
                    0 => self.text(conn, &json!({ "type": "close" })),
                    1 => self.input(Input::Fault { conn, fault: TransportFault::TooSlow }),
                    2 => self.input(Input::Fault { conn, fault: TransportFault::InvalidUtf8 }),
                    _ => Received::new(),
                };
                self.check_departure(conn, received);
            }
            Op::Emit { to } => {
                let Some(to) = self.to(to) else { return };
                let text = json!({ "type": "message", "to": to, "from": "backend", "x": 1 });
                let expected = self.receivers(None, "message", Some(&to));
                let received = self.input(Input::Host(HostCall::Emit { text: &text.to_string() }));
                let seen: BTreeSet<_> = Self::routed(&received).keys().copied().collect();
                assert_eq!(seen, expected, "R-S3: {text}");
            }
            Op::KickUser { user } => {
                let gone: Vec<_> =
                    self.peers.iter().filter(|(_, p)| p.user == *user).map(|(c, _)| *c).collect();
                for conn in &gone {
                    self.peers.remove(conn);
                    self.echoes.remove(conn);
                }
                let whom = Whom::User(user);
                let received = self.input(Input::Host(HostCall::Kick { whom, reason: "bye" }));
                self.check_rosters(&received);
                for conn in gone {
                    self.check_departure(conn, Received::new());
                }
            }
            Op::CloseRoom { room } => {
                if !self.peers.values().any(|peer| peer.rooms.contains(*room)) {
                    return;
                }
                for peer in self.peers.values_mut() {
                    peer.rooms.remove(*room);
                }
                let received = self.input(Input::Host(HostCall::CloseRoom { room }));
                self.check_rosters(&received);
            }
            Op::HostJoin { peer, room } => {
                let Some(conn) = self.nth(*peer) else { return };
                let peer = self.peers.get_mut(&conn).unwrap();
                peer.rooms.insert((*room).into());
                let id = peer.id.clone();
                let received = self.input(Input::Host(HostCall::Join { peer: &id, room }));
                self.check_rosters(&received);
            }
            Op::HostLeave { peer, room } => {
                let Some(conn) = self.nth(*peer) else { return };
                let peer = self.peers.get_mut(&conn).unwrap();
                peer.rooms.remove(*room);
                let id = peer.id.clone();
                let received = self.input(Input::Host(HostCall::Leave { peer: &id, room }));
                self.check_rosters(&received);
            }
        }
        self.check_tables();
    }

    fn check_departure(&mut self, conn: ConnId, mut received: Received) {
        for (conn, frames) in self.input(Input::Disconnected { conn }) {
            received.entry(conn).or_default().extend(frames);
        }
        self.check_rosters(&received);
    }

    /// What the host can see is what the model has.
    fn check_tables(&self) {
        let seen: BTreeMap<_, _> = self
            .server
            .local_peers()
            .map(|peer| {
                let rooms: BTreeSet<_> = peer.rooms.iter().map(ToString::to_string).collect();
                (peer.address.to_string(), rooms)
            })
            .collect();
        let expected: BTreeMap<_, _> =
            self.peers.values().map(|peer| (peer.address(), peer.rooms.clone())).collect();
        assert_eq!(seen, expected);
        let seen: BTreeMap<_, _> =
            self.server.rooms().map(|room| (room.name.to_string(), room.members)).collect();
        let mut expected = BTreeMap::new();
        for room in self.peers.values().flat_map(|peer| &peer.rooms) {
            *expected.entry(room.clone()).or_insert(0) += 1;
        }
        assert_eq!(seen, expected, "R-R4");
    }
}

fn any_config() -> impl Strategy<Value = Config> {
    let room_send =
        prop::sample::select(&[RoomSend::Auto, RoomSend::Members, RoomSend::Anyone][..]);
    let burst = prop::sample::select(&[1, 200, 64 * 1024][..]);
    (any::<bool>(), room_send, burst).prop_map(|(dynamic_rooms, room_send, burst)| {
        config(|config| {
            config.dynamic_rooms = dynamic_rooms;
            config.room_send = room_send;
            config.roster_burst = burst;
            config.work_burst = burst as u64;
        })
    })
}

proptest! {
    /// R-P1, R-P2, R-P3, R-P4, R-P5, R-P6, R-P8, R-M1, R-M2, R-M3, R-M4, R-A8, R-A9, R-R1, R-R2, R-R4, R-X2:
    /// whatever happens.
    #[test]
    fn the_engine_does_what_the_model_does(
        config in any_config(),
        ops in prop::collection::vec(any_op(), 1..60),
    ) {
        let mut world = World::new(config);
        for op in &ops {
            world.apply(op);
        }
        while !world.awaiting.is_empty() {
            world.drain(0);
        }
    }
}
