//! A whole cluster in one test, on virtual time, driven from one seed.
//!
//! Nodes crash, are stopped and go on, lose their bus or messages on it; the bus restarts; all
//! the while clients come and go, join and leave, and send. What may never happen is checked as it
//! happens; and when the trouble is over and ten seconds have passed, every roster must be right,
//! and every message must arrive.
//!
//! `SEED=n cargo test -p symple-engine --test server simulation` runs one seed again, and
//! `SEEDS=n` as many as wanted.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};
use symple_engine::{
    Timestamp,
    server::{Action, ClusterConfig, Config, ConnId, Input, RoomSend, Server},
};

use crate::common::{ADDRESS, config};

const TICK: Duration = Duration::from_millis(20);
const USERS: [&str; 3] = ["alice", "bob", "carol"];
const ROOMS: [&str; 4] = ["r0", "r1", "r2", "alice"];

/// R-C2: within so much time after the trouble everything is right again.
const BOUND: Duration = Duration::from_secs(10);

/// `SplitMix64`: all that a seed decides.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % n as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn rooms(&mut self) -> Vec<&'static str> {
        (0..self.below(3)).map(|_| self.pick(&ROOMS)).collect()
    }
}

/// A client, and what it has seen.
struct Client {
    address: String,
    id: String,
    rooms: BTreeSet<String>,
    /// The fold of the presence frames that it was sent.
    roster: BTreeSet<String>,
    /// The last message of each sender: order, and nothing twice.
    last: BTreeMap<String, u64>,
    /// The messages that it was sent, in all.
    received: BTreeSet<u64>,
}

/// A message that was sent, and by whom.
struct Sent {
    rooms: BTreeSet<String>,
    to: Vec<String>,
}

enum Command {
    Subscribe(String),
    Unsubscribe(String),
    Publish(String, Vec<u8>),
}

struct Node {
    server: Server,
    clients: BTreeMap<ConnId, Client>,
    next_conn: u32,
    /// What it wants to hear: the driver subscribes to it again when the bus is back.
    wanted: BTreeSet<String>,
    /// What the bus knows that it wants.
    subscribed: BTreeSet<String>,
    /// On the way to the bus and from it.
    outbox: VecDeque<(Timestamp, Command)>,
    inbox: VecDeque<(Timestamp, String, Vec<u8>)>,
    up: bool,
    /// When the bus will be up again.
    up_at: Option<Timestamp>,
    /// Nothing arrives in either direction, and the node does not know.
    cut: bool,
    /// It does nothing until then.
    paused_until: Option<Timestamp>,
}

struct World {
    dice: Dice,
    config: Config,
    now: Timestamp,
    nodes: Vec<Node>,
    /// Messages by number.
    sent: Vec<Sent>,
    /// One in so many messages from the bus is lost; none if 0.
    loss: usize,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let members = dice.one_in(2);
        // Nodes tell all their peers at once, or one by one.
        let burst = dice.pick(&[1, 512 * 1024]);
        let config = config(|config| {
            let mut cluster = ClusterConfig::default();
            cluster.snapshot_burst = burst;
            config.cluster = Some(cluster);
            config.rate = None;
            if members {
                config.room_send = RoomSend::Members;
            }
        });
        let mut world = Self {
            config,
            now: Timestamp::from_millis(1000),
            nodes: Vec::new(),
            sent: Vec::new(),
            loss: 0,
            seed,
            dice,
        };
        for _ in 0..2 + world.dice.below(3) {
            let node = world.boot();
            world.nodes.push(node);
        }
        world
    }

    fn boot(&mut self) -> Node {
        let mut dice = Dice(self.dice.roll());
        let random = move |bytes: &mut [u8]| {
            for byte in bytes {
                *byte = u8::try_from(dice.roll() & 0xff).unwrap();
            }
        };
        Node {
            server: Server::new(self.config.clone(), random),
            clients: BTreeMap::new(),
            next_conn: 0,
            wanted: BTreeSet::new(),
            subscribed: BTreeSet::new(),
            outbox: VecDeque::new(),
            inbox: VecDeque::new(),
            up: false,
            up_at: Some(self.now + Duration::from_millis(self.dice.roll() % 500)),
            cut: false,
            paused_until: None,
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!("seed {} at {}: {what}", self.seed, self.now)
    }

    /// Hands an input to a node and carries out what it wants.
    fn input(&mut self, at: usize, input: Input<'_>) {
        // What others publish may make no sense here any more; that is not this node's fault.
        let _ = self.nodes[at].server.handle(self.now, input);
        self.carry_out(at);
    }

    fn carry_out(&mut self, at: usize) {
        loop {
            let node = &mut self.nodes[at];
            let Some(action) = node.server.poll_action() else { return };
            let command = match action {
                Action::Send { text, to } => {
                    let value: Value = serde_json::from_str(&text).unwrap();
                    let to = to.to_vec();
                    for conn in to {
                        self.receive(at, conn, &value);
                    }
                    continue;
                }
                Action::Subscribe { channel } => {
                    node.wanted.insert(channel.to_string());
                    Command::Subscribe(channel.into())
                }
                Action::Unsubscribe { channel } => {
                    node.wanted.remove(&*channel);
                    Command::Unsubscribe(channel.into())
                }
                Action::Publish { channel, payload } => {
                    Command::Publish(channel.into(), payload.to_vec())
                }
                _ => continue,
            };
            if node.up {
                let at = self.now + Duration::from_millis(self.dice.roll() % 60);
                let at = node.outbox.back().map_or(at, |(last, _)| at.max(*last));
                node.outbox.push_back((at, command));
            }
        }
    }

    /// A client gets a frame: what may never happen is noticed here.
    fn receive(&mut self, at: usize, conn: ConnId, frame: &Value) {
        let Some(client) = self.nodes[at].clients.get_mut(&conn) else { return };
        let from = frame["from"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().unwrap() {
            "presence" => {
                assert_ne!(from, client.address, "R-M1");
                let own = frame["n"].is_u64();
                let online = frame["data"]["online"] == true;
                let known = client.roster.contains(&from);
                let fault = match (own, online) {
                    (true, _) if !known => "told by one it does not see",
                    (false, true) if !client.roster.insert(from.clone()) => "online twice",
                    (false, false) if !client.roster.remove(&from) => "offline twice",
                    _ => return,
                };
                let fault = format!("{} of {from}: {fault}", client.address);
                self.fail(&fault);
            }
            "message" => {
                let number = frame["n"].as_u64().unwrap();
                let sent = &self.sent[usize::try_from(number).unwrap()];
                let shares = !sent.rooms.is_disjoint(&client.rooms);
                let open = self.config.room_send != RoomSend::Members
                    && sent.to.iter().any(|room| client.rooms.contains(room));
                let first = client.received.insert(number);
                let in_order = client.last.insert(from.clone(), number).is_none_or(|n| n < number);
                let own = from == client.address;
                let fault = if !first || !in_order {
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

    /// The bus: what has arrived there goes out to those who want it.
    fn run_bus(&mut self) {
        for at in 0..self.nodes.len() {
            while self.nodes[at].outbox.front().is_some_and(|(due, _)| *due <= self.now) {
                let (_, command) = self.nodes[at].outbox.pop_front().unwrap();
                if self.nodes[at].cut {
                    continue;
                }
                match command {
                    Command::Subscribe(channel) => {
                        self.nodes[at].subscribed.insert(channel);
                    }
                    Command::Unsubscribe(channel) => {
                        self.nodes[at].subscribed.remove(&channel);
                    }
                    Command::Publish(channel, payload) => self.spread(&channel, &payload),
                }
            }
        }
    }

    fn spread(&mut self, channel: &str, payload: &[u8]) {
        for node in &mut self.nodes {
            if !node.subscribed.contains(channel) || node.cut {
                continue;
            }
            if self.loss > 0 && self.dice.one_in(self.loss) {
                continue;
            }
            let due = self.now + Duration::from_millis(self.dice.roll() % 60);
            let due = node.inbox.back().map_or(due, |(last, ..)| due.max(*last));
            node.inbox.push_back((due, channel.to_owned(), payload.to_vec()));
        }
    }

    fn run_node(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.paused_until.is_some_and(|until| until > self.now) {
            return;
        }
        node.paused_until = None;
        if node.up_at.is_some_and(|up_at| up_at <= self.now) {
            node.up_at = None;
            node.up = true;
            node.cut = false;
            node.outbox.clear();
            node.inbox.clear();
            // The driver subscribes to everything before it says that the bus is up.
            node.subscribed.clear();
            self.carry_out(at);
            let node = &mut self.nodes[at];
            node.outbox.clear();
            node.subscribed = node.wanted.clone();
            self.input(at, Input::BusUp);
        }
        // Timers and the bus: which comes first is chance.
        let timer_first = self.dice.one_in(2);
        for timer in [timer_first, !timer_first] {
            if timer {
                if self.nodes[at].server.poll_timeout().is_some_and(|due| due <= self.now) {
                    self.input(at, Input::Timeout);
                }
            } else {
                while self.nodes[at].inbox.front().is_some_and(|(due, ..)| *due <= self.now) {
                    let (_, channel, payload) = self.nodes[at].inbox.pop_front().unwrap();
                    self.input(at, Input::BusMessage { channel: &channel, payload: &payload });
                }
            }
        }
    }

    fn tick(&mut self) {
        self.now += TICK;
        self.run_bus();
        for at in 0..self.nodes.len() {
            self.run_node(at);
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.tick();
        }
    }

    /// The bus of a node breaks, and is back after a while.
    fn reconnect(&mut self, at: usize, after: Duration) {
        let node = &mut self.nodes[at];
        node.up = false;
        node.subscribed.clear();
        node.outbox.clear();
        node.inbox.clear();
        node.up_at = Some(self.now + after);
        self.input(at, Input::BusDown);
    }

    fn arrive(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let conn = ConnId::new(node.next_conn, 0);
        node.next_conn += 1;
        let user = self.dice.pick(&USERS);
        let rooms = self.dice.rooms();
        let before: BTreeSet<_> =
            self.nodes[at].server.peers().map(|peer| peer.address.to_string()).collect();
        let client = Client {
            address: String::new(),
            id: String::new(),
            rooms: rooms.iter().copied().chain([user]).map(Into::into).collect(),
            roster: BTreeSet::new(),
            last: BTreeMap::new(),
            received: BTreeSet::new(),
        };
        self.nodes[at].clients.insert(conn, client);
        self.input(at, Input::Connected { conn, address: ADDRESS });
        let frame = json!({"type": "auth", "user": user, "rooms": rooms}).to_string();
        self.input(at, Input::Text { conn, text: &frame });
        let node = &mut self.nodes[at];
        let address = node
            .server
            .peers()
            .map(|peer| peer.address.to_string())
            .find(|address| !before.contains(address))
            .unwrap();
        let client = node.clients.get_mut(&conn).unwrap();
        client.id = address.rsplit_once('|').unwrap().1.into();
        client.address = address;
    }

    /// Any client of a node that is running.
    fn any_client(&mut self) -> Option<(usize, ConnId)> {
        let at = self.dice.below(self.nodes.len());
        let node = &self.nodes[at];
        if node.clients.is_empty() || node.paused_until.is_some() {
            return None;
        }
        let nth = self.dice.below(node.clients.len());
        self.nodes[at].clients.keys().nth(nth).map(|conn| (at, *conn))
    }

    fn send(&mut self, at: usize, conn: ConnId, kind: &str, to: Option<Value>) -> u64 {
        let number = self.sent.len() as u64;
        let mut frame = json!({"type": kind, "n": number, "data": {"n": number}});
        let names = match &to {
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(names)) => {
                names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
            }
            _ => Vec::new(),
        };
        if let Some(to) = to {
            frame["to"] = to;
        }
        let rooms = self.nodes[at].clients[&conn].rooms.clone();
        self.sent.push(Sent { rooms, to: names });
        self.input(at, Input::Text { conn, text: &frame.to_string() });
        number
    }

    fn any_address(&mut self) -> Option<String> {
        let all: Vec<_> = self.nodes.iter().flat_map(|node| node.clients.values()).collect();
        (!all.is_empty()).then(|| all[self.dice.below(all.len())].address.clone())
    }

    /// Something that clients do.
    fn act(&mut self) {
        match self.dice.below(20) {
            0..4 => {
                let at = self.dice.below(self.nodes.len());
                if self.nodes[at].paused_until.is_none() && self.nodes[at].clients.len() < 6 {
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
                let join = self.dice.one_in(2);
                let rooms = &mut self.nodes[at].clients.get_mut(&conn).unwrap().rooms;
                let kind = if join {
                    rooms.insert(room.into());
                    "join"
                } else {
                    rooms.remove(room);
                    "leave"
                };
                let frame = json!({"type": kind, "room": room}).to_string();
                self.input(at, Input::Text { conn, text: &frame });
            }
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
    fn trouble(&mut self) {
        let at = self.dice.below(self.nodes.len());
        let a_while = Duration::from_millis(100 + self.dice.roll() % 16_000);
        match self.dice.below(7) {
            // kill -9, and a new process.
            0 => self.nodes[at] = self.boot(),
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
            5 => self.loss = [0, 2, 5, 50][self.dice.below(4)],
            _ => self.forge(),
        }
    }

    /// Someone else publishes.
    fn forge(&mut self) {
        let victim = self.any_address().unwrap_or_default();
        let node = |at: &Node| at.server.node_id().unwrap().to_owned();
        let target = node(&self.nodes[self.dice.below(self.nodes.len())]);
        let id = victim.rsplit_once('|').map(|(_, id)| id.to_owned()).unwrap_or_default();
        let frame = json!({"type": "message", "n": 0, "to": ROOMS, "from": victim});
        let online = json!({"online": {"user": "mallory", "id": id, "record": {}, "rooms": ROOMS}});
        let (kind, body) = match self.dice.below(6) {
            0 => ("frame", frame),
            1 => ("change", online),
            2 => ("change", json!({"offline": {"id": id}})),
            3 => ("snapshot", json!({"part": 0, "last": true, "peers": [online["online"]]})),
            4 => ("resync", json!({})),
            _ => ("quux", json!({})),
        };
        let version = if self.dice.one_in(3) { 2 } else { 1 };
        let header = json!({"v": version, "node": "mallory", "seq": 1, "kind": kind});
        let payload = format!("{header}\n{body}");
        let channel = ["cluster".to_owned(), format!("node:{target}"), "room:r0".into()];
        let channel = &channel[self.dice.below(3)];
        self.spread(channel, payload.as_bytes());
        self.spread(channel, &[0xff, 0, 1]);
    }

    /// The trouble is over.
    fn heal(&mut self) {
        self.loss = 0;
        for at in 0..self.nodes.len() {
            self.nodes[at].paused_until = None;
            if self.nodes[at].cut || !self.nodes[at].up {
                self.reconnect(at, Duration::ZERO);
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = (usize, ConnId, &Client)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.flat_map(|(at, node)| node.clients.iter().map(move |(conn, c)| (at, *conn, c)))
    }

    /// R-P1 on every node, and R-C3: what each hears is what it must.
    fn check_rest(&self) {
        for (at, _, client) in self.all() {
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
            wanted.extend(["broadcast".into(), "cluster".into(), format!("node:{id}")]);
            assert_eq!(node.wanted, wanted, "seed {}: R-C3", self.seed);
            assert_eq!(node.server.stats().remote_peers + node.clients.len(), self.all().count());
        }
    }

    /// At rest every message reaches exactly those whom it would reach on one node.
    fn check_delivery(&mut self) {
        let senders: Vec<_> = self.all().map(|(at, conn, _)| (at, conn)).collect();
        for (at, conn) in senders.into_iter().take(6) {
            let to = match self.dice.below(4) {
                0 => None,
                1 => self.any_address().map(Value::from),
                2 => Some(self.dice.pick(&ROOMS).into()),
                _ => Some(self.dice.rooms().into()),
            };
            let number = self.send(at, conn, "message", to.clone());
            self.pass(Duration::from_millis(300));
            let sender = &self.nodes[at].clients[&conn];
            let open = self.config.room_send != RoomSend::Members;
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
                if other.received.contains(&number) != expected {
                    let (from, whom) = (&sender.address, &other.address);
                    self.fail(&format!("{from} to {to:?}: {whom} expected {expected}"));
                }
            }
        }
    }

    fn run(&mut self) {
        self.pass(Duration::from_secs(1));
        for _ in 0..3 {
            for _ in 0..self.dice.below(4) {
                for _ in 0..self.dice.below(150) {
                    if self.dice.one_in(3) {
                        self.act();
                    }
                    self.tick();
                }
                self.trouble();
            }
            self.heal();
            for _ in 0..10 {
                self.act();
            }
            self.pass(BOUND);
            self.check_rest();
            self.check_delivery();
            self.check_rest();
        }
    }
}

/// R-P1, R-P2, R-M1, R-M2, R-M3, R-M6, R-C1, R-C2, R-C3, R-C5, R-S4: whatever happens to nodes
/// and to the bus.
#[test]
fn simulation() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(300),
    };
    for seed in seeds {
        World::new(seed).run();
    }
}
