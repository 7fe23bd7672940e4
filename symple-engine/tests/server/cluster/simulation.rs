//! A whole cluster in one test, on virtual time, driven from one seed.
//!
//! Nodes crash, shut down, are stopped and go on, lose their bus or messages on it; the bus
//! restarts, and others speak on it in the names of nodes; all the while clients come and go,
//! authenticate again, join and leave, and send, and hosts do what hosts may, and answer what they are
//! asked, or do not. What may never happen
//! is checked as it happens; and when the trouble is over and ten seconds have passed, every roster
//! must be right, and every message must arrive.
//!
//! `SEED=n cargo test -p symple-engine --test server simulation` runs one seed again, and
//! `SEEDS=n` as many as wanted, from `FROM=n` on.

mod acts;
mod asked;
mod checks;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};
use symple_engine::{
    Timestamp,
    server::{
        Action, AllowedUser, ClusterConfig, Config, ConnId, HostCall, Input, PresenceMode,
        RequestId, RoomSend, Server, Verdict,
    },
};
use symple_proto::{Fields, cluster::Envelope};

use crate::common::config;

const TICK: Duration = Duration::from_millis(20);
const USERS: [&str; 3] = ["alice", "bob", "carol"];
const ROOMS: [&str; 4] = ["r0", "r1", "r2", "alice"];

/// R-C2: within so much time after the trouble everything is right again.
const BOUND: Duration = Duration::from_secs(10);

/// `SplitMix64`: all that a seed decides.
#[derive(Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
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
#[derive(Default)]
struct Client {
    /// None before it is welcome.
    address: String,
    id: String,
    /// As it was told.
    rooms: BTreeSet<String>,
    /// The fold of the presence frames that it was sent.
    roster: BTreeSet<String>,
    /// The last message of each sender: order, and nothing twice.
    last: BTreeMap<String, u64>,
    /// The messages that it was sent, in all.
    received: BTreeSet<u64>,
    /// The emissions.
    emitted: BTreeSet<u64>,
    /// It sees the states of rooms: the fold of what it was told, and of what it has set.
    sees_states: bool,
    states: BTreeMap<String, BTreeMap<String, Value>>,
    /// It is a peer of the host's own.
    of_host: bool,
    /// The rooms that it was told it may not join.
    refused: BTreeSet<String>,
    /// What it has set, by id, until that is confirmed.
    setting: BTreeMap<u64, (String, String, Value)>,
}

/// A message that was sent, and by whom.
struct Sent {
    rooms: BTreeSet<String>,
    to: Vec<String>,
    sender: String,
    at: Timestamp,
    /// A host is to be asked about it.
    asked: bool,
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
    /// The rooms whose states its host has pinned: it hears of them without members.
    pinned: BTreeSet<&'static str>,
    /// Clients that are told more when they have read: when that is.
    reading: Vec<(Timestamp, ConnId)>,
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
    /// It shuts down.
    leaving: bool,
    /// The numbers in what it has published last.
    number: u64,
    seq: u64,
    /// How many bytes the bus has taken and the node has not been told of.
    taken: u64,
    /// Claims that are not answered before the node is connected again.
    unanswered: Vec<RequestId>,
    /// What its host will answer.
    asked: Vec<asked::Asked>,
}

struct World {
    dice: Dice,
    config: Config,
    now: Timestamp,
    nodes: Vec<Node>,
    /// Messages by number.
    sent: Vec<Sent>,
    emissions: u64,
    /// Someone has spoken in a node's name: for a while nodes may believe anything.
    forged: bool,
    told: told::Told,
    answers: asked::Answers,
    /// What has been claimed, and by which node.
    claims: BTreeMap<String, String>,
    /// One in so many messages from the bus is lost; none if 0.
    loss: usize,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut answers = asked::Answers::new(seed);
        // Nodes ask for all peers at once, or for one after the other.
        let window = dice.pick(&[1, 256 * 1024]);
        let config = config(|config| {
            let mut cluster = ClusterConfig::default();
            cluster.pull_window = window;
            config.cluster = Some(cluster);
            // Work on many peers is done at once, or for each of them when the driver comes back.
            config.work_burst = dice.pick(&[1, 4096]);
            config.rate = None;
            config.hooks = answers.hooks();
            config.room_send = dice.pick(&[RoomSend::Auto, RoomSend::Members]);
            config.dynamic_rooms = !dice.one_in(3);
            config.hook = dice.one_in(3);
            if dice.one_in(8) {
                config.presence = PresenceMode::Classic;
            }
        });
        let mut world = Self {
            config,
            now: Timestamp::from_millis(1000),
            nodes: Vec::new(),
            sent: Vec::new(),
            emissions: 0,
            forged: false,
            told: told::Told::default(),
            answers,
            claims: BTreeMap::new(),
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
            pinned: BTreeSet::new(),
            reading: Vec::new(),
            subscribed: BTreeSet::new(),
            outbox: VecDeque::new(),
            inbox: VecDeque::new(),
            up: false,
            up_at: Some(self.now + Duration::from_millis(self.dice.roll() % 500)),
            cut: false,
            paused_until: None,
            leaving: false,
            number: 0,
            seq: 0,
            taken: 0,
            unanswered: Vec::new(),
            asked: Vec::new(),
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

    fn host(&mut self, at: usize, call: HostCall<'_>) {
        self.input(at, Input::Host(call));
    }

    fn carry_out(&mut self, at: usize) {
        let (mut questions, mut closed, mut drained) = (Vec::new(), Vec::new(), Vec::new());
        let (mut claims, mut asked) = (Vec::new(), Vec::new());
        loop {
            let node = &mut self.nodes[at];
            let Some(action) = node.server.poll_action() else { break };
            let command = match action {
                Action::Send { text, to, .. } => {
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
                    let envelope = Envelope::parse(&payload).unwrap();
                    assert_eq!(envelope.number, node.number + 1);
                    (node.number, node.seq) = (envelope.number, envelope.seq);
                    Command::Publish(channel.into(), payload.to_vec())
                }
                Action::Authenticate { request, .. } => {
                    questions.push(request);
                    continue;
                }
                Action::Claim { request, key, node: holder } => {
                    claims.push((request, key, holder));
                    continue;
                }
                Action::Ask { request, question } => {
                    asked.push((request, *question));
                    continue;
                }
                Action::Tell(change) => {
                    self.told.add(*change, self.seed);
                    continue;
                }
                Action::Close { conn, .. } => {
                    closed.push(conn);
                    continue;
                }
                Action::AwaitDrain { conn } => {
                    // Some read at once.
                    if self.dice.one_in(2) {
                        drained.push(conn);
                    } else {
                        let due = self.now + Duration::from_millis(self.dice.roll() % 1000);
                        node.reading.push((due, conn));
                    }
                    continue;
                }
                _ => continue,
            };
            if node.up {
                let at = self.now + Duration::from_millis(self.dice.roll() % 60);
                let at = node.outbox.back().map_or(at, |(last, _)| at.max(*last));
                node.outbox.push_back((at, command));
            }
        }
        for (request, question) in asked {
            self.ask(at, request, question);
        }
        for (request, key, holder) in claims {
            if self.nodes[at].cut {
                self.nodes[at].unanswered.push(request);
                continue;
            }
            let up = self.nodes[at].up;
            let holder =
                up.then(|| self.claims.entry(key.into()).or_insert_with(|| holder.into()).clone());
            self.input(at, Input::Claimed { request, holder: holder.as_deref() });
        }
        for conn in closed {
            self.nodes[at].clients.remove(&conn);
            self.input(at, Input::Disconnected { conn });
        }
        for conn in drained {
            self.input(at, Input::Drained { conn });
        }
        for request in questions {
            let verdict = if self.dice.one_in(8) {
                Verdict::Deny { message: None }
            } else {
                let rooms = self.dice.rooms().into_iter().map(Into::into).collect();
                Verdict::Allow {
                    user: AllowedUser::Claimed,
                    rooms,
                    peer: Fields::new(),
                    expires: None,
                }
            };
            self.input(at, Input::AuthDecided { request, verdict });
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
                    Command::Publish(channel, payload) => {
                        self.nodes[at].taken += payload.len() as u64;
                        self.spread(&channel, &payload);
                    }
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
        if node.leaving && node.server.is_shut_down() && node.outbox.is_empty() {
            // The process has ended; another one comes in its place.
            self.nodes[at] = self.boot();
            return;
        }
        if node.up_at.is_some_and(|up_at| up_at <= self.now) {
            node.up_at = None;
            node.up = true;
            node.cut = false;
            for request in std::mem::take(&mut node.unanswered) {
                self.input(at, Input::Claimed { request, holder: None });
            }
            let node = &mut self.nodes[at];
            node.outbox.clear();
            node.inbox.clear();
            // The driver subscribes to everything before it says that the bus is up.
            node.subscribed.clear();
            self.carry_out(at);
            let node = &mut self.nodes[at];
            node.outbox.clear();
            node.subscribed = node.wanted.clone();
            node.taken = 0;
            self.input(at, Input::BusUp);
        }
        let bytes = std::mem::take(&mut self.nodes[at].taken);
        if bytes > 0 {
            self.input(at, Input::BusTaken { bytes });
        }
        self.answer_hooks(at);
        let now = self.now;
        let reading = std::mem::take(&mut self.nodes[at].reading);
        let (read, reading): (Vec<_>, Vec<_>) =
            reading.into_iter().partition(|(due, _)| *due <= now);
        self.nodes[at].reading = reading;
        for (_, conn) in read {
            self.input(at, Input::Drained { conn });
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
        node.taken = 0;
        node.up_at = Some(self.now + after);
        self.input(at, Input::BusDown);
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
        let names: Vec<String> = match &to {
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(names)) => {
                names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
            }
            _ => Vec::new(),
        };
        if let Some(to) = to {
            frame["to"] = to;
        }
        let client = &self.nodes[at].clients[&conn];
        self.sent.push(Sent {
            rooms: client.rooms.clone(),
            to: names,
            sender: client.address.clone(),
            at: self.now,
            asked: self.config.hooks.frame && !client.of_host,
        });
        self.input(at, Input::Text { conn, text: &frame.to_string() });
        number
    }

    fn any_address(&mut self) -> Option<String> {
        let all: Vec<_> = self.nodes.iter().flat_map(|node| node.clients.values()).collect();
        (!all.is_empty()).then(|| all[self.dice.below(all.len())].address.clone())
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
            self.forged = false;
            self.check_rest();
            self.check_delivery();
            self.check_emission();
            self.check_states();
            self.check_rest();
            self.check_told();
        }
    }
}

/// The seeds that are wanted: so many, where nothing else is.
pub(super) fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let from = number("FROM").unwrap_or(0);
            from..from + number("SEEDS").unwrap_or(count)
        }
    }
}

/// R-H1, R-H2, R-H3, R-H5, R-P1, R-P2, R-M1, R-M2, R-M3, R-M6, R-C1, R-C2, R-C3, R-C5, R-S4, R-X2, R-P8, R-K5: whatever happens
/// to nodes and to the bus.
#[test]
fn simulation() {
    let (range, mut deaths) = (seeds(300), 0);
    let (mut asked, mut denied, mut late) = (0, 0, 0);
    let many = range.end - range.start > 100;
    for seed in range {
        let mut world = World::new(seed);
        world.run();
        deaths += world.told.deaths;
        asked += world.answers.asked;
        denied += world.answers.denied;
        late += world.answers.late;
    }
    assert!(!many || deaths > 100, "peers of dead nodes: {deaths}");
    let enough = asked > 500 && denied > 100 && late > 30;
    assert!(!many || enough, "{asked} questions, {denied} denied, {late} answered late");
}
