//! The engine, driven in every order that a driver may drive it in, with the roster invariant (R-P1).
//!
//! An input is a program, a line for each step. The first line sets the nodes up, letter by letter:
//!
//! | letter | |
//! |---|---|
//! | `a`, `h` | authentication with tokens; a hook |
//! | `o` | sessions need not name a user |
//! | `s` | no dynamic rooms |
//! | `m`, `y` | room sends by members only; by anyone |
//! | `c` | classic presence |
//! | `1`, `2` | bursts of rosters, of work and of snapshots: one, some |
//! | `r` | a rate of few units |
//! | `l` | small limits of records and rooms |
//! | `p` | few connections: in all, for each address, and that are not authenticated |
//! | `t` | sessions have a TTL, and are looked after |
//! | `e` | events |
//! | `i` | hooks about joins, frames and states |
//! | `k`, `n` | a node with a bus; two nodes on one |
//!
//! In every other line the first byte says what happens, and those behind it to whom and how. A
//! number is a byte, counted from `0`, and stands for one of those that there are: `9` of three is
//! the first. A place where nothing stands is `0`.
//!
//! | line | |
//! |---|---|
//! | `+NA` | a connection to node N from address A |
//! | `tC…` | client C sends the rest of the line; `$C` in it is the id of a client |
//! | `aCURT` | C sends `auth` as user U, for rooms R (bits), with a token or without |
//! | `jCR`, `lCR` | C joins room R, leaves it |
//! | `mCKT` | C sends a frame of kind K to T |
//! | `fCN` | N frames without text come from C |
//! | `xCSF` | C breaks rule F of the transport, with a message of size S |
//! | `dC` | C has left while it was not read from |
//! | `-C` | C is gone |
//! | `rC` | C has read everything |
//! | `zC` | C is slow from now on, or is no more |
//! | `sNK…` | the session that was asked for: `m` missing, `u` unavailable, `f` found: the rest; or a usual one |
//! | `vNKUR` | what the hook says: `d` no, `n` yes to user U, else to whom it claims to be; rooms R |
//! | `iNQK…` | what the application says to question Q: `d` no, `w` the answer to another question, `x` drops, `a` answers, `r` replaces by the rest; or yes |
//! | `eNK` | the session of an authenticated client is still there, or not |
//! | `wN` | 10^N milliseconds pass |
//! | `T` | a timeout that nobody asked for |
//! | `hNK…` | node N's application does something |
//! | `uNK` | the bus of node N is down, or up again |
//! | `Q` | the nodes shut down |

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use serde_json::{Value, json};
use symple_engine::server::{
    AllowedUser, ClusterConfig, Config, ConnId, FrameVerdict, HostCall, Input, JoinVerdict,
    PresenceMode, RateLimit, RoomSend, SessionLookup, TransportFault, Verdict, Whom,
};
use symple_proto::{Fields, FrameType, FrameView, RoutedType, Status, UserName};

use super::world::{Asked, Client, PRIVATE, TOKEN, World};

const USERS: [&str; 4] = ["alice", "bob", "carol", "r0"];
const ROOMS: [&str; 6] = ["r0", "r1", "r2", "alice", "bob", "\u{e9} \"|\0"];
const KINDS: [&str; 4] = ["message", "presence", "command", "event"];

/// No more happens in one run.
const MOST_STEPS: usize = 120;
const MOST_CLIENTS: usize = 24;

/// The bytes of a line, one by one.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => b'0',
        }
    }

    /// A number below a limit.
    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.next().wrapping_sub(b'0')) % limit.max(1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn rooms(&mut self) -> Vec<&'static str> {
        let bits = self.next().wrapping_sub(b'0');
        (0..ROOMS.len()).filter(|bit| bits & 1 << bit != 0).map(|bit| ROOMS[bit]).collect()
    }

    fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Runs the data as a program.
///
/// # Panics
/// If the engine panics or calls a driver wrong that is right; if it wants to be called for ever; if
/// a client is told something twice that is told once, gets a frame twice or after its end, or sees
/// a token that is another's; if a `from` can be read in two ways; and if, at rest, a roster is not
/// the set of the peers that share a room.
pub fn run(data: &[u8]) {
    let _ = play(data);
}

/// As [`run`]; the world as it is at the end.
#[must_use]
pub fn play(data: &[u8]) -> World {
    let mut lines = data.split(|byte| *byte == b'\n');
    let letters = lines.next().unwrap_or_default();
    let (config, nodes) = setup(letters);
    let full = config.presence == PresenceMode::Full;
    let mut run = Run { world: World::new(config, nodes), clients: Vec::new(), full, end: false };
    for line in lines.take(MOST_STEPS) {
        if let [kind, rest @ ..] = line {
            run.step(*kind, Bytes(rest));
            run.check(false);
        }
    }
    run.finish();
    run.world
}

fn setup(letters: &[u8]) -> (Config, usize) {
    let mut config = Config::default();
    let mut nodes = 1;
    let mut cluster = ClusterConfig::default();
    for letter in letters.iter().take(16) {
        match letter {
            b'a' => config.authentication = true,
            b'h' => config.hook = true,
            b'o' => config.sessions.user_optional = true,
            b's' => config.dynamic_rooms = false,
            b'm' => config.room_send = RoomSend::Members,
            b'y' => config.room_send = RoomSend::Anyone,
            b'c' => config.presence = PresenceMode::Classic,
            b'1' => {
                (config.roster_burst, config.work_burst, cluster.pull_window) = (1, 1, 1);
            }
            b'2' => {
                (config.roster_burst, config.work_burst, cluster.pull_window) = (300, 3, 300);
            }
            b'r' => {
                let (bytes_per_unit, deliveries_per_unit) = (64, 2);
                config.rate = Some(RateLimit {
                    units_per_second: 5,
                    burst: 1,
                    bytes_per_unit,
                    deliveries_per_unit,
                });
            }
            b'l' => {
                config.limits.record = 200;
                config.limits.rooms_per_peer = 2;
                config.limits.recipient_rooms = 2;
                config.limits.depth = 4;
            }
            b'p' => {
                config.connections.total = 6;
                config.connections.per_address = 4;
                config.connections.unauthenticated = 2;
            }
            b't' => {
                config.sessions.ttl = Some(Duration::from_secs(60));
                config.sessions.check_interval = Duration::from_secs(5);
            }
            b'e' => config.events = true,
            b'i' => {
                (config.hooks.join, config.hooks.frame, config.hooks.state) = (true, true, true);
            }
            b'k' => config.cluster = Some(cluster.clone()),
            b'n' => {
                config.cluster = Some(cluster.clone());
                nodes = 2;
            }
            _ => {}
        }
    }
    if let Some(set) = &mut config.cluster {
        set.pull_window = cluster.pull_window;
    }
    (config, nodes)
}

struct Run {
    world: World,
    /// In the order in which they came, those that are gone included.
    clients: Vec<(usize, ConnId)>,
    /// Presence is told in full.
    full: bool,
    /// The nodes shut down.
    end: bool,
}

impl Run {
    fn any(&self, bytes: &mut Bytes<'_>) -> Option<(usize, ConnId)> {
        let at = bytes.below(self.clients.len());
        let (node, conn) = *self.clients.get(at)?;
        self.client(node, conn).map(|_| (node, conn))
    }

    fn client(&self, at: usize, conn: ConnId) -> Option<&Client> {
        self.world.nodes[at].clients.get(&conn)
    }

    fn step(&mut self, kind: u8, mut bytes: Bytes<'_>) {
        let nodes = self.world.nodes.len();
        match kind {
            b'+' => self.connect(bytes.below(nodes), bytes.below(6)),
            b's' => self.session(bytes),
            b'v' => self.hook(bytes),
            b'i' => self.answer(bytes),
            b'e' => {
                let at = bytes.below(nodes);
                if let Some((conn, token)) = self.world.nodes[at].checks.pop() {
                    let live = bytes.below(2) == 0;
                    self.world.must(at, Input::SessionChecked { conn, token: &token, live });
                }
            }
            b'w' => {
                let exponent = u32::try_from(bytes.below(6)).unwrap_or_default();
                self.world.pass(Duration::from_millis(10_u64.pow(exponent)));
            }
            b'T' => self.world.must(bytes.below(nodes), Input::Timeout),
            b'h' => self.host(bytes.below(nodes), bytes),
            b'u' => {
                let at = bytes.below(nodes);
                self.world.lossy = true;
                self.world.bus(at, bytes.below(2) != 0);
            }
            b'Q' => {
                self.end = true;
                let drain = bytes.pick(&[Duration::ZERO, Duration::from_secs(1)]);
                for at in 0..nodes {
                    self.world.must(at, Input::Shutdown { drain });
                }
            }
            _ => {
                if let Some((at, conn)) = self.any(&mut bytes) {
                    self.act(kind, at, conn, bytes);
                }
            }
        }
    }

    /// Something of a client's.
    fn act(&mut self, kind: u8, at: usize, conn: ConnId, mut bytes: Bytes<'_>) {
        let Some(client) = self.world.nodes[at].clients.get_mut(&conn) else { return };
        match kind {
            b't' => {
                if let Ok(text) = std::str::from_utf8(bytes.rest()) {
                    let text = self.with_ids(text);
                    self.text(at, conn, &text);
                }
            }
            b'a' => {
                let user = bytes.pick(&USERS);
                let rooms = bytes.rooms();
                let mut frame = json!({"type": "auth", "user": user, "rooms": rooms, "n": 1.0});
                if bytes.below(2) == 0 {
                    frame["token"] = TOKEN.into();
                    frame["data"] = json!([{"token": TOKEN}]);
                }
                self.say(at, conn, &frame);
            }
            b'j' => self.say(at, conn, &json!({"type": "join", "room": bytes.pick(&ROOMS)})),
            b'l' => self.say(at, conn, &json!({"type": "leave", "room": bytes.pick(&ROOMS)})),
            b'm' => {
                let kind = bytes.pick(&KINDS);
                let mut frame = json!({"type": kind, "from": "forged|x", "x": "again"});
                if let Some(to) = self.recipient(&mut bytes) {
                    frame["to"] = to;
                }
                if kind == "presence" {
                    let size = bytes.below(4) * 60;
                    frame["data"] = json!({"id": "x", "name": "y".repeat(size), "online": false});
                }
                self.say(at, conn, &frame);
            }
            b'f' if !client.of_host => {
                let count = u32::try_from(bytes.below(10)).unwrap_or_default();
                self.world.must(at, Input::Frames { conn, count });
            }
            b'x' if !client.of_host => {
                let size = bytes.below(3) as u64 * 100_000;
                let fault = match bytes.below(6) {
                    0 => TransportFault::TooBig { size, limit: 65_536 },
                    1 => TransportFault::InvalidUtf8,
                    2 => TransportFault::Protocol,
                    3 => TransportFault::TooManyFragments,
                    4 => TransportFault::Unfinished,
                    _ => TransportFault::TooSlow,
                };
                client.oversized |= matches!(fault, TransportFault::TooBig { .. });
                self.world.must(at, Input::Fault { conn, fault });
            }
            b'd' if client.paused && !client.departed => {
                client.departed = true;
                self.world.must(at, Input::Departed { conn });
            }
            b'-' => self.disconnect(at, conn),
            b'r' if std::mem::take(&mut client.awaits_drain) && !client.closed => {
                self.world.must(at, Input::Drained { conn });
            }
            b'z' => client.slow = !client.slow,
            _ => {}
        }
    }

    fn connect(&mut self, at: usize, address: usize) {
        if self.clients.len() >= MOST_CLIENTS {
            return;
        }
        let number = u8::try_from(address / 2).unwrap_or_default();
        let address = match address % 2 {
            0 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)),
            _ => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into())),
        };
        let conn = self.add(at, false);
        self.world.must(at, Input::Connected { conn, address });
    }

    fn add(&mut self, at: usize, of_host: bool) -> ConnId {
        let conn = self.world.new_conn(at);
        let client = Client { of_host, ..Client::default() };
        self.world.nodes[at].clients.insert(conn, client);
        self.clients.push((at, conn));
        conn
    }

    fn disconnect(&mut self, at: usize, conn: ConnId) {
        // It is not sent anything any more from here on; a node that sends all the same is found out.
        if let Some(client) = self.world.nodes[at].clients.get_mut(&conn) {
            client.closed = true;
        }
        self.world.must(at, Input::Disconnected { conn });
        self.world.nodes[at].clients.remove(&conn);
        self.world.nodes[at].checks.retain(|(of, _)| *of != conn);
    }

    /// A text with the ids of clients in the places of their numbers.
    fn with_ids(&self, text: &str) -> String {
        let mut parts = text.split('$');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let number = part.bytes().next().filter(u8::is_ascii_digit);
            let client = number.and_then(|n| self.clients.get(usize::from(n - b'0')));
            match client.and_then(|(at, conn)| self.client(*at, *conn)) {
                Some(client) => {
                    out += client.address.split_once('|').map_or("", |(_, id)| id);
                    out += &part[1..];
                }
                None => {
                    out.push('$');
                    out += part;
                }
            }
        }
        out
    }

    fn say(&mut self, at: usize, conn: ConnId, frame: &Value) {
        self.world.must(at, Input::Text { conn, text: &frame.to_string() });
    }

    /// A client sends what it likes.
    fn text(&mut self, at: usize, conn: ConnId, text: &str) {
        let address = self.client(at, conn).map_or_else(String::new, |c| c.address.clone());
        self.note_what_is_sent(at, &address, text);
        if is_presence(text)
            && let Some(client) = self.world.nodes[at].clients.get_mut(&conn)
        {
            client.talkative = true;
        }
        self.world.must(at, Input::Text { conn, text });
    }

    /// Notes what must be known of a frame that may be relayed for this peer.
    fn note_what_is_sent(&mut self, at: usize, peer: &str, text: &str) {
        self.world.spoilt |= text.contains(TOKEN) || text.contains(PRIVATE);
        let clients = self.world.nodes[at].clients.values_mut();
        for client in clients.filter(|client| client.address == peer && is_presence(text)) {
            client.talkative = true;
        }
    }

    fn recipient(&self, bytes: &mut Bytes<'_>) -> Option<Value> {
        let address = |bytes: &mut Bytes<'_>| match self.any(bytes) {
            Some((at, conn)) => self.client(at, conn).map_or("", |client| &*client.address),
            None => "nobody|x",
        };
        Some(match bytes.below(6) {
            0 => return None,
            1 => address(bytes).into(),
            2 => address(bytes).split('|').nth(1).unwrap_or("nobody").into(),
            3 => bytes.pick(&ROOMS).into(),
            4 => format!("{}|", bytes.pick(&USERS)).into(),
            _ => bytes.rooms().into(),
        })
    }

    fn session(&mut self, mut bytes: Bytes<'_>) {
        let at = bytes.below(self.world.nodes.len());
        let asked = &mut self.world.nodes[at].sessions;
        if asked.is_empty() {
            return;
        }
        let request = asked.remove(bytes.below(asked.len()));
        let usual = |user: &str, rooms: &[&str]| json!({"user": user, "rooms": rooms, "private": {"p": PRIVATE}, "token": TOKEN});
        let text;
        let session = match bytes.next() {
            b'm' => SessionLookup::Missing,
            b'u' => SessionLookup::Unavailable,
            b'f' => {
                let stored = std::str::from_utf8(bytes.rest()).unwrap_or_default();
                self.world.odd_sessions = true;
                self.world.spoilt |= stored.contains(TOKEN) || stored.contains(PRIVATE);
                SessionLookup::Found(stored)
            }
            _ => {
                text = usual(bytes.pick(&USERS), &bytes.rooms()).to_string();
                SessionLookup::Found(&text)
            }
        };
        self.world.must(at, Input::SessionLoaded { request, session });
    }

    fn hook(&mut self, mut bytes: Bytes<'_>) {
        let at = bytes.below(self.world.nodes.len());
        let asked = &mut self.world.nodes[at].hooks;
        if asked.is_empty() {
            return;
        }
        let request = asked.remove(bytes.below(asked.len()));
        let kind = bytes.next();
        let user = bytes.pick(&USERS);
        let user = match (kind, UserName::new(user)) {
            (b'n', Ok(user)) => AllowedUser::Named(user),
            _ => AllowedUser::Claimed,
        };
        let rooms = bytes.rooms().into_iter().map(Into::into).collect();
        let verdict = match kind {
            b'd' => Verdict::Deny { message: None },
            _ => Verdict::Allow {
                user,
                rooms,
                peer: Fields::new().with("token", TOKEN),
                expires: None,
            },
        };
        self.world.must(at, Input::AuthDecided { request, verdict });
    }

    /// The application answers what it was asked about a peer, perhaps too late.
    fn answer(&mut self, mut bytes: Bytes<'_>) {
        let at = bytes.below(self.world.nodes.len());
        let asked = &mut self.world.nodes[at].asked;
        if asked.is_empty() {
            return;
        }
        let Asked { request, peer, join } = asked.remove(bytes.below(asked.len()));
        let kind = bytes.next();
        let replacement = match std::str::from_utf8(bytes.rest()) {
            Ok(text) if kind == b'r' => self.with_ids(text),
            _ => String::new(),
        };
        if kind == b'r' {
            self.note_what_is_sent(at, &peer, &replacement);
        }
        let frame = match kind {
            b'd' => FrameVerdict::Refuse { status: Status::FORBIDDEN, message: None },
            b'x' => FrameVerdict::Drop,
            b'a' => FrameVerdict::Answer(r#"{"type":"event","name":"answer"}"#.into()),
            b'r' => FrameVerdict::Replace(replacement.into()),
            _ => FrameVerdict::Pass,
        };
        let refused = matches!(kind, b'd' | b'w');
        let verdict =
            if refused { JoinVerdict::Deny { message: None } } else { JoinVerdict::Allow };
        let input = if join.is_some() == (kind != b'w') {
            Input::JoinDecided { request, verdict }
        } else {
            Input::FrameDecided { request, verdict: frame }
        };
        let is_in = |run: &Self| {
            let mut clients = run.world.nodes[at].clients.values();
            let client = clients.find(|client| client.address == peer);
            client.zip(join.as_ref()).is_some_and(|(client, room)| client.rooms.contains(room))
        };
        let was_in = is_in(self);
        // What an application puts in the place of a frame may make no sense.
        let _ = self.world.input(at, input);
        assert!(was_in || !refused || !is_in(self), "R-H1: {peer} was denied {join:?}");
    }

    /// What the application does. What it names may not be there.
    fn host(&mut self, at: usize, mut bytes: Bytes<'_>) {
        let kind = bytes.below(9);
        let peer = match self.any(&mut bytes) {
            Some((at, conn)) => {
                self.client(at, conn).map_or_else(String::new, |client| client.address.clone())
            }
            None => "nobody|x".into(),
        };
        let room = bytes.pick(&ROOMS);
        let user = bytes.pick(&USERS);
        let text = json!({"type": "event", "from": "backend", "n": 1, "to": room}).to_string();
        let call = match kind {
            0 => HostCall::Join { peer: &peer, room },
            1 => HostCall::Leave { peer: &peer, room },
            2 => HostCall::CloseRoom { room },
            3 => HostCall::Kick { whom: Whom::Peer(&peer), reason: "out" },
            4 => HostCall::Kick { whom: Whom::User(user), reason: "out" },
            5 => HostCall::Send { peer: &peer, text: &text },
            6 => HostCall::Emit { text: &text },
            7 => {
                let to = self.recipient(&mut bytes);
                let text = json!({"type": "message", "from": "backend", "to": to}).to_string();
                self.world.trusted = true;
                let _ = self.world.input(at, Input::Host(HostCall::Emit { text: &text }));
                self.world.trusted = false;
                return;
            }
            _ => return self.add_peer(at, user, bytes),
        };
        self.world.trusted = true;
        let _ = self.world.input(at, Input::Host(call));
        self.world.trusted = false;
    }

    fn add_peer(&mut self, at: usize, user: &str, mut bytes: Bytes<'_>) {
        let Ok(user) = UserName::new(user) else { return };
        if self.clients.len() >= MOST_CLIENTS {
            return;
        }
        let conn = self.add(at, true);
        let rooms: Vec<String> = bytes.rooms().into_iter().map(Into::into).collect();
        let peer = Fields::new().with("token", TOKEN);
        let call = HostCall::AddPeer { conn, user, peer, rooms: &rooms };
        if self.world.input(at, Input::Host(call)).is_err() {
            self.world.nodes[at].clients.remove(&conn);
        }
    }

    /// What must hold at rest, if this is rest.
    fn check(&self, healed: bool) {
        if !self.end && (healed || !self.world.lossy) {
            self.world.check_rest(self.full);
        }
    }

    /// Whatever is outstanding comes, and everyone goes.
    fn finish(&mut self) {
        for at in 0..self.world.nodes.len() {
            if self.world.nodes[at].server.node_id().is_some() {
                self.world.bus(at, true);
            }
            let node = &mut self.world.nodes[at];
            let (sessions, hooks) =
                (std::mem::take(&mut node.sessions), std::mem::take(&mut node.hooks));
            for request in sessions {
                let session = SessionLookup::Found(r#"{"user":"bob","rooms":["r1"]}"#);
                self.world.must(at, Input::SessionLoaded { request, session });
            }
            // Each answer may be followed by the next question.
            while !self.world.nodes[at].asked.is_empty() {
                self.answer(Bytes(&[b'0' + u8::try_from(at).unwrap_or_default()]));
            }
            for request in hooks {
                let verdict = Verdict::Deny { message: Some("no".into()) };
                self.world.must(at, Input::AuthDecided { request, verdict });
            }
        }
        self.world.pass(Duration::from_secs(15));
        self.world.read_all();
        self.check(true);
        // In no order that anyone could count on.
        let everyone: BTreeSet<_> = self.clients.iter().map(|(at, conn)| (*conn, *at)).collect();
        for (conn, at) in everyone {
            if self.client(at, conn).is_some() {
                self.disconnect(at, conn);
                self.check(true);
            }
        }
        for node in &self.world.nodes {
            let stats = node.server.stats();
            assert_eq!((stats.connections, stats.peers, stats.rooms), (0, 0, 0));
            assert_eq!(node.server.is_shut_down(), self.end);
        }
    }
}

/// True for presence that a client sends.
fn is_presence(text: &str) -> bool {
    FrameView::parse(text, 128)
        .is_ok_and(|frame| frame.frame_type() == Ok(FrameType::Routed(RoutedType::Presence)))
}
