//! A cluster whose links carry so much and no more, a fiftieth of a real one, on virtual time.
//!
//! What nodes publish waits until their link has carried it, and past a limit they give the link up; what Redis
//! has for a node waits until that node has taken it, and past a limit Redis cuts the node off. So whatever is told
//! to too many at once begins a storm: those that are cut off come back, and ask for everything.
//!
//! `FROM=` and `SEEDS=` are as in the simulation.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use serde_json::json;
use symple_engine::{
    Timestamp,
    server::{Action, ClusterConfig, Config, ConnId, EngineError, HostCall, Input, Server},
};
use symple_proto::{Fields, UserName};

use super::simulation::{Dice, seeds};
use crate::common::config;

const TICK: Duration = Duration::from_millis(1);
/// How much a link carries in a tick: 50 MB/s, scaled.
const CARRIES: i64 = 1000;
/// Past so much that waits for a node Redis cuts it off: 32 MiB, scaled.
const LIMIT: usize = 640_000;
/// Past so much that waits in a node for its link, the node gives the link up: 16 MiB, scaled.
const OUT_LIMIT: usize = 16 * 1024 * 1024 / 50;
/// How long a node takes to come back.
const RECONNECT: Duration = Duration::from_millis(200);
const RECORD: usize = 800;

struct Link {
    /// How much it carries in a tick, to Redis and from it.
    carries: i64,
    up: bool,
    up_at: Timestamp,
    outbox: VecDeque<(String, Vec<u8>)>,
    inbox: VecDeque<(String, Vec<u8>)>,
    waiting: usize,
    /// How much is in the outbox.
    queued: usize,
    /// How much it may carry before it must wait: less than nothing after something large.
    credit: (i64, i64),
}

struct Node {
    server: Server,
    wanted: BTreeSet<String>,
    link: Link,
    next: u32,
}

struct World {
    dice: Dice,
    config: Config,
    now: Timestamp,
    nodes: Vec<Node>,
    /// How much may wait in a node, and in Redis for a node.
    limits: (usize, usize),
    /// How often Redis has cut a node off, or a node has given its link up.
    cuts: usize,
    /// What Redis has taken, and what it has sent out.
    bytes: (usize, usize),
}

impl World {
    fn new(seed: u64, nodes: usize, peers: usize) -> Self {
        let config = config(|config| {
            let mut cluster = ClusterConfig::default();
            cluster.pull_window /= 50;
            config.cluster = Some(cluster);
        });
        let now = Timestamp::from_millis(1000);
        let (dice, nodes_of_it) = (Dice(seed), Vec::new());
        let limits = (OUT_LIMIT, LIMIT);
        let mut world =
            Self { dice, config, now, nodes: nodes_of_it, limits, cuts: 0, bytes: (0, 0) };
        for _ in 0..nodes {
            world.boot(peers);
        }
        world
    }

    /// A node comes, with its peers.
    fn boot(&mut self, peers: usize) {
        let mut dice = Dice(self.dice.roll());
        let random = move |bytes: &mut [u8]| bytes.fill_with(|| dice.roll().to_le_bytes()[0]);
        let link = Link {
            carries: CARRIES,
            up: false,
            up_at: self.now + Duration::from_millis(self.dice.roll() % 100),
            outbox: VecDeque::new(),
            inbox: VecDeque::new(),
            waiting: 0,
            queued: 0,
            credit: (0, 0),
        };
        let server = Server::new(self.config.clone(), random);
        self.nodes.push(Node { server, wanted: BTreeSet::new(), link, next: 0 });
        let at = self.nodes.len() - 1;
        for _ in 0..peers {
            self.arrive(at);
        }
    }

    fn arrive(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let conn = ConnId::new(node.next, 0);
        node.next += 1;
        let user = UserName::new(format!("u{}", node.next)).unwrap();
        let peer = Fields::new().with("padding", &*"x".repeat(RECORD));
        let call = HostCall::AddPeer { conn, user, peer, rooms: &[] };
        self.input(at, Input::Host(call)).unwrap();
    }

    fn input(&mut self, at: usize, input: Input<'_>) -> Result<usize, EngineError> {
        let node = &mut self.nodes[at];
        let result = node.server.handle(self.now, input);
        while let Some(action) = node.server.poll_action() {
            match action {
                Action::Subscribe { channel } => drop(node.wanted.insert(channel.into())),
                Action::Unsubscribe { channel } => drop(node.wanted.remove(&*channel)),
                Action::Publish { channel, payload } if node.link.up => {
                    node.link.queued += payload.len();
                    node.link.outbox.push_back((channel.into(), payload.to_vec()));
                }
                _ => {}
            }
        }
        result
    }

    fn cut(&mut self, at: usize) {
        let link = &mut self.nodes[at].link;
        link.up = false;
        link.up_at = self.now + RECONNECT;
        link.outbox.clear();
        link.inbox.clear();
        (link.waiting, link.queued) = (0, 0);
        let _ = self.input(at, Input::BusDown);
    }

    fn tick(&mut self) {
        self.now += TICK;
        let (first, nodes) = (self.dice.below(self.nodes.len()), self.nodes.len());
        for at in (0..nodes).map(|at| (at + first) % nodes) {
            let link = &mut self.nodes[at].link;
            if !link.up && link.up_at <= self.now {
                link.up = true;
                link.credit = (0, 0);
                let _ = self.input(at, Input::BusUp);
            }
            if self.nodes[at].link.queued > self.limits.0 {
                self.cuts += 1;
                self.cut(at);
            }
            self.publish(at);
        }
        for at in 0..self.nodes.len() {
            if self.nodes[at].link.waiting > self.limits.1 {
                self.cuts += 1;
                self.cut(at);
            }
            self.hear(at);
            if self.nodes[at].server.poll_timeout().is_some_and(|due| due <= self.now) {
                let _ = self.input(at, Input::Timeout);
            }
        }
    }

    /// What the link of a node carries to Redis goes to those who want it.
    fn publish(&mut self, at: usize) {
        let mut taken = 0;
        let link = &mut self.nodes[at].link;
        link.credit.0 = (link.credit.0 + link.carries).min(link.carries);
        while self.nodes[at].link.credit.0 > 0
            && let Some((channel, payload)) = self.nodes[at].link.outbox.pop_front()
        {
            let link = &mut self.nodes[at].link;
            link.credit.0 -= i64::try_from(payload.len()).unwrap();
            link.queued -= payload.len();
            taken += payload.len() as u64;
            self.bytes.0 += payload.len();
            for node in self.nodes.iter_mut().filter(|node| node.link.up) {
                if node.wanted.contains(&channel) {
                    node.link.waiting += payload.len();
                    node.link.inbox.push_back((channel.clone(), payload.clone()));
                    self.bytes.1 += payload.len();
                }
            }
        }
        if taken > 0 {
            let _ = self.input(at, Input::BusTaken { bytes: taken });
        }
    }

    /// What the link of a node carries from Redis.
    fn hear(&mut self, at: usize) {
        let link = &mut self.nodes[at].link;
        link.credit.1 = (link.credit.1 + link.carries).min(link.carries);
        while self.nodes[at].link.credit.1 > 0
            && let Some((channel, payload)) = self.nodes[at].link.inbox.pop_front()
        {
            let link = &mut self.nodes[at].link;
            link.credit.1 -= i64::try_from(payload.len()).unwrap();
            link.waiting -= payload.len();
            // What makes no sense here any more is not this node's fault.
            let _ = self.input(at, Input::BusMessage { channel: &channel, payload: &payload });
        }
    }

    fn is_right(&self) -> bool {
        let all: usize = self.nodes.iter().map(|node| node.server.stats().peers).sum();
        self.nodes.iter().all(|node| {
            let stats = node.server.stats();
            node.link.up && stats.peers + stats.remote_peers == all
        })
    }

    /// How long it takes until everyone knows everyone.
    fn until_right(&mut self, what: &str) -> Duration {
        let started = self.now;
        while !self.is_right() {
            self.tick();
            let gone = self.now.since(started);
            assert!(gone < Duration::from_secs(60), "{what}: not right, {} cuts", self.cuts);
        }
        self.now.since(started)
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.tick();
        }
    }
}

/// R-C2, R-C6: one node that is started again costs the size of what it has missed, once, and cuts
/// nobody off; a bus that is lost for a moment costs next to nothing.
#[test]
fn a_restart_is_no_storm() {
    let (nodes, peers) = (9, 300);
    for seed in seeds(2) {
        let mut world = World::new(seed, nodes, peers);
        world.until_right("at the start");
        world.pass(Duration::from_secs(3));
        (world.cuts, world.bytes) = (0, (0, 0));
        // Killed; another one comes in its place.
        world.nodes.remove(3);
        world.boot(0);
        // Those that are gone are gone within ten seconds; meanwhile the newcomer learns the others.
        let state = (nodes - 1) * peers * (RECORD + 250);
        let started = world.now;
        let newcomer = world.nodes.len() - 1;
        while world.nodes[newcomer].server.stats().remote_peers < (nodes - 1) * peers {
            world.tick();
            assert!(
                world.now.since(started) < Duration::from_secs(9),
                "seed {seed}: {} cuts",
                world.cuts
            );
        }
        let took = world.now.since(started);
        world.until_right("after a restart");
        assert_eq!(world.cuts, 0, "seed {seed}");
        assert!(world.bytes.1 < state * 3 / 2, "seed {seed}: {:?} of {state}", world.bytes);
        // Its link carries 1 MB in a second.
        let carried = Duration::from_secs_f64(state as f64 / (CARRIES * 1000) as f64);
        assert!(took < carried + Duration::from_secs(1), "seed {seed}: {took:?} of {carried:?}");

        // All links are lost for a moment, and someone has come meanwhile.
        world.pass(Duration::from_secs(3));
        (world.cuts, world.bytes) = (0, (0, 0));
        for at in 0..nodes {
            world.cut(at);
        }
        world.arrive(0);
        let took = world.until_right("after a blip");
        assert!(took < Duration::from_secs(1), "seed {seed}: {took:?}");
        assert!(world.bytes.1 < state / 10, "seed {seed}: {:?}", world.bytes);
        assert_eq!(world.cuts, 0, "seed {seed}");
    }
}

/// R-C2, R-C6: one node with a slow link takes as long as that link takes, and disturbs nobody.
#[test]
fn a_slow_link_is_its_own_affair() {
    for seed in seeds(2) {
        let mut world = World::new(seed, 4, 300);
        world.until_right("at the start");
        (world.cuts, world.bytes) = (0, (0, 0));
        world.boot(0);
        let slow = world.nodes.len() - 1;
        world.nodes[slow].link.carries = CARRIES / 10;
        let took = world.until_right("over a slow link");
        let carried = Duration::from_secs_f64(world.bytes.1 as f64 / (CARRIES * 100) as f64);
        assert!(took < carried + Duration::from_secs(3), "seed {seed}: {took:?} of {carried:?}");
        assert_eq!(world.cuts, 0, "seed {seed}");
        for node in &world.nodes {
            let stats = node.server.stats();
            assert_eq!(stats.nodes_lost, 0, "seed {seed}");
        }
    }
}

/// R-C6: whatever comes to a node at once, it does not run its own link into the limit: more peers than the link
/// can be given arrive and go, and the application emits as much as it may.
#[test]
fn a_node_does_not_give_up_its_own_link() {
    const PEERS: usize = 20_000;
    for seed in seeds(1) {
        let mut world = World::new(seed, 3, 10);
        // What the engine lets wait is not scaled.
        world.limits = (16 * 1024 * 1024, 32 * 1024 * 1024);
        for node in &mut world.nodes {
            node.link.carries = CARRIES * 20;
        }
        world.nodes[0].link.carries = CARRIES * 10;
        world.until_right("at the start");
        world.cuts = 0;
        for _ in 0..PEERS {
            world.arrive(0);
        }
        assert!(PEERS * RECORD > world.nodes[0].link.queued * 3, "most of it is told later");
        let text = json!({"type": "event", "to": "u1", "data": "x".repeat(1024 * 1024)});
        let text = text.to_string();
        let (mut emitted, mut refused) = (0, 0);
        for _ in 0..32 {
            match world.input(0, Input::Host(HostCall::Emit { text: &text })) {
                Ok(_) => emitted += 1,
                Err(error) => {
                    assert_eq!(error, EngineError::Busy);
                    refused += 1;
                }
            }
            for slot in 0..PEERS / 40 {
                let conn = ConnId::new(u32::try_from(20 + slot + refused * 500).unwrap(), 0);
                let _ = world.input(0, Input::Disconnected { conn });
            }
        }
        world.until_right("after a mass of changes");
        assert_eq!(world.cuts, 0, "seed {seed}");
        assert!(emitted > 4 && refused > 8, "seed {seed}: {emitted} {refused}");
        assert!(world.nodes[1].server.stats().remote_peers > PEERS / 4, "seed {seed}");
        world.input(0, Input::Host(HostCall::Emit { text: &text })).unwrap();
    }
}
