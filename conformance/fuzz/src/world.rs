//! Nodes, their clients, and a bus that loses nothing, on virtual time.
//!
//! The clients believe what they are sent, and nothing else: what they make of it is what the
//! invariants are about.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use serde_json::Value;
use symple_engine::{
    Timestamp,
    server::{Action, Config, ConnId, EngineError, Input, QuestionAbout, RequestId, Server},
};
use symple_proto::Token;

use super::json::{Reading, members};

/// A token: nobody but its owner may see it. Texts of clients do not contain it.
pub const TOKEN: &str = "s3cr3t-t0k3n";
/// What is private in a session: nobody at all may see it.
pub const PRIVATE: &str = "pr1v4te-m3mb3r";

/// How often a node may want to be called again at the same time.
const MOST_TIMEOUTS: usize = 20_000;

/// In this time after a change all batches about it are sent (R-X2): the tick is 50 ms.
const BATCHED_WITHIN: Duration = Duration::from_millis(100);

/// A client, and what it has been told.
#[derive(Debug, Default)]
pub struct Client {
    /// Its `user|id`; empty before it is welcome.
    pub address: String,
    /// The rooms that it is in.
    pub rooms: BTreeSet<String>,
    /// The fold of the presence that it was sent: addresses.
    pub roster: BTreeSet<String>,
    /// It is a peer of the application's own.
    pub of_host: bool,
    /// The node has asked to be told when it has read everything.
    pub awaits_drain: bool,
    /// Nothing is to be read from it.
    pub paused: bool,
    /// A message was too big: nothing is read before the engine says so.
    pub oversized: bool,
    /// The node has closed it, and it is not gone yet.
    pub closed: bool,
    /// It has left, and what it had sent before may still follow.
    pub departed: bool,
    /// It takes nothing that is addressed to it by others.
    pub slow: bool,
    /// It has sent presence of its own, and so may be told of more often than once.
    pub talkative: bool,
    /// It is told of others in batches (R-X2), later than they change.
    pub batched: bool,
}

/// A node and its clients.
pub struct Node {
    /// The engine.
    pub server: Server,
    /// Its connections, until they are gone.
    pub clients: BTreeMap<ConnId, Client>,
    /// The channels that it listens to.
    pub wanted: BTreeSet<String>,
    /// What has arrived for it.
    pub inbox: VecDeque<(String, Vec<u8>)>,
    /// The bus can be used.
    pub up: bool,
    /// What it has asked: sessions, hooks, and whether sessions are still there.
    pub sessions: Vec<RequestId>,
    /// As above.
    pub hooks: Vec<RequestId>,
    /// As above.
    pub checks: Vec<(ConnId, Token)>,
    /// What its application has been asked about peers.
    pub asked: Vec<Asked>,
    next_slot: u32,
}

/// A question about what a peer does.
#[derive(Debug)]
pub struct Asked {
    /// What the answer is to.
    pub request: RequestId,
    /// The address of the peer.
    pub peer: String,
    /// The room that it wants to join; none if it is about a frame.
    pub join: Option<String>,
}

/// Everything.
pub struct World {
    /// What time it is.
    pub now: Timestamp,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// What is being done comes from the application, which may send what it likes.
    pub trusted: bool,
    /// Messages between nodes may have been lost.
    pub lossy: bool,
    /// Sessions may hold whatever a backend has written.
    pub odd_sessions: bool,
    /// Clients have written what otherwise only leaks.
    pub spoilt: bool,
    /// How many frames have been delivered.
    pub deliveries: u64,
    /// How many bytes of frames and envelopes have come out.
    pub bytes: u64,
    /// What has been published, to make seeds of.
    pub published: Vec<Vec<u8>>,
    /// When something was put in last.
    changed: Timestamp,
    config: Config,
}

impl World {
    /// Nodes of the same configuration, with nobody on them; the bus is up.
    #[must_use]
    pub fn new(config: Config, nodes: usize) -> Self {
        let mut world = Self {
            now: Timestamp::from_millis(1000),
            changed: Timestamp::from_millis(1000),
            nodes: (0..nodes as u64).map(|at| Node::new(config.clone(), at)).collect(),
            trusted: false,
            lossy: false,
            odd_sessions: false,
            spoilt: false,
            deliveries: 0,
            bytes: 0,
            published: Vec::new(),
            config,
        };
        for at in 0..nodes {
            world.carry_out(at);
        }
        if world.config.cluster.is_some() {
            for at in 0..nodes {
                world.bus(at, true);
            }
        }
        world.pass(Duration::from_secs(1));
        world
    }

    /// The bus is up or down for a node.
    pub fn bus(&mut self, at: usize, up: bool) {
        if self.nodes[at].up != up {
            self.nodes[at].up = up;
            self.nodes[at].inbox.clear();
            self.must(at, if up { Input::BusUp } else { Input::BusDown });
        }
    }

    /// The name of a new connection. Slots are used again.
    pub fn new_conn(&mut self, at: usize) -> ConnId {
        let node = &mut self.nodes[at];
        let generation = node.next_slot;
        node.next_slot += 1;
        let mut slots = 0_u32..;
        let is_free = |slot: &u32| node.clients.keys().all(|conn| conn.slot != *slot);
        let slot = slots.find(is_free).unwrap_or(generation);
        ConnId::new(slot, generation)
    }

    /// Hands an input to a node, whose driver and host are right.
    ///
    /// # Panics
    /// If the node says that they are not, and whatever an invariant is broken by.
    pub fn must(&mut self, at: usize, input: Input<'_>) {
        let what = format!("{input:?}");
        if let Err(error) = self.input(at, input) {
            let what: String = what.chars().take(200).collect();
            panic!("{error}: {what}");
        }
    }

    /// Hands an input to a node, and carries out what it and others want, until all is quiet.
    ///
    /// # Errors
    /// What the node says of the input.
    pub fn input(&mut self, at: usize, input: Input<'_>) -> Result<usize, EngineError> {
        self.changed = self.now;
        let result = self.nodes[at].server.handle(self.now, input);
        self.carry_out(at);
        self.settle();
        result
    }

    /// What is due now, and what the bus has.
    fn settle(&mut self) {
        let mut timeouts = 0;
        loop {
            let mut quiet = true;
            for at in 0..self.nodes.len() {
                while let Some((channel, payload)) = self.nodes[at].inbox.pop_front() {
                    quiet = false;
                    let input = Input::BusMessage { channel: &channel, payload: &payload };
                    // What another node has said may be out of date.
                    let _ = self.nodes[at].server.handle(self.now, input);
                    self.carry_out(at);
                }
                if self.nodes[at].server.poll_timeout().is_some_and(|due| due <= self.now) {
                    quiet = false;
                    timeouts += 1;
                    assert!(timeouts < MOST_TIMEOUTS, "it wants to be called for ever");
                    let handled = self.nodes[at].server.handle(self.now, Input::Timeout);
                    assert_eq!(handled, Ok(0));
                    self.carry_out(at);
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Lets time pass, with every timeout at its time.
    pub fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            let next = self.nodes.iter().filter_map(|node| node.server.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = until;
        self.settle();
    }

    fn carry_out(&mut self, at: usize) {
        let mut undelivered = Vec::new();
        let mut taken = 0;
        while let Some(action) = self.nodes[at].server.poll_action() {
            match action {
                Action::Send { text, to, sender, .. } => {
                    let unique: BTreeSet<_> = to.iter().collect();
                    assert!(!to.is_empty(), "nobody is sent {}", &*text);
                    assert_eq!(unique.len(), to.len(), "R-M2: a receiver twice: {}", &*text);
                    self.deliveries += to.len() as u64;
                    self.bytes += text.len() as u64;
                    let to = to.to_vec();
                    let slow = |conn: &ConnId| {
                        self.nodes[at].clients.get(conn).is_some_and(|client| client.slow)
                    };
                    match sender {
                        Some(sender) => {
                            let (refused, to): (Vec<_>, Vec<_>) = to.into_iter().partition(slow);
                            undelivered.extend(refused.iter().map(|_| (sender, text.clone())));
                            self.receive(at, &text, &to);
                        }
                        None => self.receive(at, &text, &to),
                    }
                }
                Action::AwaitDrain { conn } => self.client(at, conn).awaits_drain = true,
                Action::Close { conn, reason, .. } => {
                    assert!(reason.len() <= 123, "no reason of a close frame: {reason}");
                    let client = self.client(at, conn);
                    assert!(!client.closed, "{conn:?} is closed twice");
                    client.closed = true;
                }
                Action::SetMessageLimit { conn, .. } => drop(self.client(at, conn)),
                Action::Pause { conn } => {
                    let paused = std::mem::replace(&mut self.client(at, conn).paused, true);
                    assert!(!paused, "{conn:?} is paused twice");
                }
                Action::Resume { conn } => {
                    let client = self.client(at, conn);
                    let paused = std::mem::take(&mut client.paused);
                    let oversized = std::mem::take(&mut client.oversized);
                    assert!(paused || oversized, "{conn:?} was not paused");
                }
                Action::LoadSession { request, .. } => self.nodes[at].sessions.push(request),
                Action::Authenticate { request, .. } => self.nodes[at].hooks.push(request),
                Action::Ask { request, question } => {
                    let join = match question.about {
                        QuestionAbout::Join { room, .. } => Some(room.into()),
                        _ => None,
                    };
                    let peer = question.peer.to_string();
                    let asked = &mut self.nodes[at].asked;
                    assert!(asked.len() < 1000, "nobody asks so much");
                    asked.push(Asked { request, peer, join });
                }
                Action::CheckSession { conn, token } => self.nodes[at].checks.push((conn, token)),
                Action::Subscribe { channel } => {
                    let new = self.nodes[at].wanted.insert(channel.to_string());
                    assert!(new, "{channel} twice");
                }
                Action::Unsubscribe { channel } => {
                    let was = self.nodes[at].wanted.remove(&*channel);
                    assert!(was, "{channel} is not subscribed to");
                }
                Action::Publish { channel, payload } => {
                    self.bytes += payload.len() as u64;
                    taken += payload.len() as u64;
                    let text = String::from_utf8_lossy(&payload);
                    assert!(self.spoilt || !text.contains(TOKEN), "R-P5: a token leaves: {text}");
                    assert!(self.spoilt || !text.contains(PRIVATE), "R-A4: private: {text}");
                    self.published.push(payload.to_vec());
                    if self.nodes[at].up {
                        for node in self.nodes.iter_mut().filter(|node| node.up) {
                            if node.wanted.contains(&*channel) {
                                node.inbox.push_back((channel.to_string(), payload.to_vec()));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        if taken > 0 {
            let input = Input::BusTaken { bytes: taken };
            assert_eq!(self.nodes[at].server.handle(self.now, input), Ok(0));
            self.carry_out(at);
        }
        for (sender, text) in undelivered {
            let input = Input::Undelivered { sender, text: &text };
            assert_eq!(self.nodes[at].server.handle(self.now, input), Ok(0));
            self.carry_out(at);
        }
    }

    fn client(&mut self, at: usize, conn: ConnId) -> &mut Client {
        match self.nodes[at].clients.get_mut(&conn) {
            Some(client) => client,
            None => panic!("{conn:?} is gone, or never was"),
        }
    }

    /// Clients get a frame.
    fn receive(&mut self, at: usize, text: &str, to: &[ConnId]) {
        let frame: Value = match serde_json::from_str(text) {
            Ok(frame) => frame,
            // What clients write is not looked into: half a surrogate pair, or a number of any
            // size. But nothing that the server makes is like that.
            Err(_) if members(text).is_some() => Value::Null,
            Err(error) => panic!("{error}: {text}"),
        };
        let is = |kind: &str| frame["type"] == kind;
        assert!(is("welcome") || self.spoilt || !text.contains(TOKEN), "R-P5: a token: {text}");
        assert!(self.spoilt || !text.contains(PRIVATE), "R-A4: what is private: {text}");
        let routed = is("message") || is("presence") || is("command");
        if routed && !self.trusted {
            let Some(read) = members(text) else { panic!("no object: {text}") };
            let from = frame["from"].to_string();
            for reading in Reading::all() {
                assert_eq!(reading.get(&read, "from"), Some(&*from), "R-F2: {reading:?} {text}");
            }
        }
        let from = frame["from"].as_str().unwrap_or_default();
        if is("presence") && !self.trusted && !self.odd_sessions && frame["data"].is_object() {
            same_for_all(text, from);
        }
        let classic = self.config.presence == symple_engine::server::PresenceMode::Classic;
        let mut clients = self.nodes.iter().flat_map(|node| node.clients.values());
        let talkative = classic
            || self.trusted
            // Of the steps of a program only those send this.
            || frame["x"] == "again"
            || clients.any(|client| client.talkative && client.address == from);
        let room = || frame["room"].as_str().unwrap_or_default().to_owned();
        let relayed = routed || is("event");
        let rooms_of_sender = if relayed && !self.trusted && !classic && !self.lossy {
            self.online().find(|(.., other)| other.address == from).map(|(.., c)| c.rooms.clone())
        } else {
            None
        };
        for conn in to {
            let client = self.client(at, *conn);
            assert!(!client.closed, "{conn:?} is closed, and sent {text}");
            if let Some(rooms) = &rooms_of_sender
                && !is("presence")
                && client.address != from
            {
                let known = client.roster.contains(from) || client.rooms.is_disjoint(rooms);
                assert!(known, "R-P3: a frame of a peer that it was not told of: {text}");
            }
            if is("welcome") {
                let (user, id) = (&frame["peer"]["user"], &frame["peer"]["id"]);
                let address = match (user.as_str(), id.as_str()) {
                    (Some(user), Some(id)) => format!("{user}|{id}"),
                    _ => panic!("whose? {text}"),
                };
                assert!(client.address.is_empty() || client.address == address, "R-A9: {text}");
                client.address = address;
                let rooms = frame["rooms"].as_array().map(Vec::as_slice).unwrap_or_default();
                client.rooms = rooms.iter().filter_map(Value::as_str).map(Into::into).collect();
                assert_eq!(client.rooms.len(), rooms.len(), "R-A8: {text}");
                let extensions = frame["extensions"].as_array();
                client.batched =
                    extensions.is_some_and(|all| all.iter().any(|one| one == "roster"));
                continue;
            }
            if is("error") {
                let message = frame["message"].as_str().unwrap_or_default();
                assert!(!message.is_empty() && message.len() < 500, "{text}");
                continue;
            }
            assert!(!client.address.is_empty(), "{conn:?} is no peer, and sent {text}");
            if is("join:ok") {
                client.rooms.insert(room());
            } else if is("leave:ok") {
                client.rooms.remove(&room());
            } else if is("roster") {
                let part =
                    |name: &str| frame[name].as_array().map(Vec::as_slice).unwrap_or_default();
                for peer in part("online") {
                    let (Some(user), Some(id)) = (peer["user"].as_str(), peer["id"].as_str())
                    else {
                        panic!("R-X2: of whom? {text}");
                    };
                    client.roster.insert(format!("{user}|{id}"));
                }
                for address in part("offline") {
                    let address = address.as_str().unwrap_or_default();
                    assert!(client.roster.remove(address), "R-X2: offline, never online: {text}");
                }
            } else if is("presence") {
                assert!(talkative || from != client.address, "R-M1: {text}");
                let Some(online) = frame["data"]["online"].as_bool() else { continue };
                let changed = if online {
                    client.roster.insert(from.to_owned())
                } else {
                    client.roster.remove(from)
                };
                assert!(changed || talkative, "R-P2: told twice: {text}");
            }
        }
    }

    /// Every client reads everything.
    pub fn read_all(&mut self) {
        loop {
            let found = self.online().find(|(_, _, client)| client.awaits_drain);
            let Some((at, conn)) = found.map(|(at, conn, _)| (at, conn)) else { return };
            self.client(at, conn).awaits_drain = false;
            self.must(at, Input::Drained { conn });
        }
    }

    /// Those who are online, on all nodes.
    pub fn online(&self) -> impl Iterator<Item = (usize, ConnId, &Client)> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .flat_map(|(at, node)| node.clients.iter().map(move |(conn, c)| (at, *conn, c)))
            .filter(|(_, _, client)| !client.closed && !client.address.is_empty())
    }

    /// What must hold when nothing is under way.
    ///
    /// # Panics
    /// If it does not: R-P1, R-R4, R-C3.
    pub fn check_rest(&self, rosters: bool) {
        let batches_are_out = self.now >= self.changed + BATCHED_WITHIN;
        let told = |client: &Client| !client.awaits_drain && (batches_are_out || !client.batched);
        for (_, _, client) in self.online().filter(|(_, _, client)| rosters && told(client)) {
            let sees: BTreeSet<_> = self
                .online()
                .filter(|(_, _, other)| other.address != client.address)
                .filter(|(_, _, other)| !other.rooms.is_disjoint(&client.rooms))
                .map(|(_, _, other)| other.address.clone())
                .collect();
            assert_eq!(client.roster, sees, "R-P1: the roster of {}", client.address);
        }
        let mut rooms: BTreeMap<&str, usize> = BTreeMap::new();
        for room in self.online().flat_map(|(_, _, client)| &client.rooms) {
            *rooms.entry(room).or_default() += 1;
        }
        let count = self.online().count();
        for (at, node) in self.nodes.iter().enumerate() {
            let stats = node.server.stats();
            assert_eq!(stats.peers + stats.remote_peers, count, "who is online on {at}");
            let seen: Vec<_> = node.server.rooms().collect();
            let seen: BTreeMap<_, _> =
                seen.iter().map(|room| (&*room.name, room.members)).collect();
            assert_eq!(seen, rooms, "R-R4: on {at}");
            if let Some(id) = node.server.node_id() {
                let here = self.online().filter(|(node, ..)| *node == at);
                let mut wanted: BTreeSet<_> = here
                    .flat_map(|(_, _, client)| &client.rooms)
                    .map(|room| format!("room:{room}"))
                    .collect();
                wanted.extend(["broadcast".into(), "cluster".into(), format!("node:{id}")]);
                assert_eq!(node.wanted, wanted, "R-C3: on {at}");
            }
        }
    }
}

/// R-F2, R-P4: every receiver reads the same peer in a presence, and the one that it comes from.
fn same_for_all(text: &str, from: &str) {
    let exact = Reading { first: false, folded: false, cut: false };
    let frame = members(text).unwrap_or_default();
    let data = exact.get(&frame, "data").and_then(members).unwrap_or_default();
    for reading in Reading::all() {
        let string = |name: &str| {
            let value = reading.get(&data, name).map(serde_json::from_str::<String>);
            value.and_then(Result::ok).unwrap_or_default()
        };
        let seen = format!("{}|{}", string("user"), string("id"));
        assert_eq!(seen, from, "R-F2: {reading:?} {text}");
        let online = reading.get(&data, "online");
        assert_eq!(online, exact.get(&data, "online"), "R-F2: {reading:?} {text}");
    }
}

impl Node {
    fn new(config: Config, number: u64) -> Self {
        // `SplitMix64`: ids are different, and the same each time.
        let mut state = number << 32;
        let random = move |bytes: &mut [u8]| {
            for byte in bytes {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                *byte = (mixed >> 56) as u8;
            }
        };
        Self {
            server: Server::new(config, random),
            clients: BTreeMap::new(),
            wanted: BTreeSet::new(),
            inbox: VecDeque::new(),
            up: false,
            sessions: Vec::new(),
            hooks: Vec::new(),
            checks: Vec::new(),
            asked: Vec::new(),
            next_slot: 0,
        }
    }
}
