//! Clients and a server on virtual time, and links between them that can be cut at any step.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use serde_json::Value;
use symple_engine::{
    Timestamp,
    client::{
        Action, CallEvent, CallId, CallState, Callee, Client, Config, ConnectFailure, ConnectionId,
        Event, Frame, Input, Operation, OperationError, OperationId, Outgoing, Reply, Signal,
        Status,
    },
    server::{self, ConnId, Server, SessionLookup, Text},
};
use symple_proto::{CloseCode, Fields, RawJson, RoomName, Token, UserName};

pub(crate) const ROOMS: [&str; 4] = ["r0", "r1", "r2", "r3"];
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// How long a server takes to notice that a client is gone without a word.
const NOTICED_AFTER: Duration = Duration::from_secs(35);

/// Where the choices of a run come from.
pub(crate) enum Choices {
    /// A generator with a seed.
    Seed(u64),
    /// A list; behind its end everything is zero.
    List(VecDeque<u16>),
}

impl Choices {
    fn next(&mut self) -> u64 {
        match self {
            Self::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
            Self::List(list) => u64::from(list.pop_front().unwrap_or(0)),
        }
    }

    /// One of `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }
}

/// Randomness that differs between seeds.
pub(crate) fn random(seed: u64) -> impl FnMut(&mut [u8]) + Send {
    let mut choices = Choices::Seed(seed);
    move |bytes| {
        for byte in bytes {
            *byte = choices.next().to_le_bytes()[0];
        }
    }
}

#[derive(Debug)]
enum Up {
    Open,
    Text(Text),
    Ping,
    Close,
}

#[derive(Debug)]
enum Down {
    Opened,
    Text(Text),
    Pong,
    Drained,
    Close(CloseCode),
}

/// A connection between a client and the server, with what is on its way.
#[derive(Debug)]
struct Link {
    client: usize,
    conn: ConnectionId,
    server_conn: Option<ConnId>,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    paused: bool,
    /// Nothing travels any more, and the client has not noticed.
    dead: bool,
}

/// How a link is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// What is on its way to the server still arrives.
    pub(crate) flush_up: bool,
    /// The client notices.
    pub(crate) client_notices: bool,
    /// The server notices at once.
    pub(crate) server_notices: bool,
}

impl Cut {
    pub(crate) fn of(bits: usize) -> Self {
        Self { flush_up: bits & 1 > 0, client_notices: bits & 2 > 0, server_notices: bits & 4 > 0 }
    }
}

/// What the naive model knows of a client, and what its application has been told.
pub(crate) struct Sim {
    pub(crate) client: Client,
    pub(crate) user: &'static str,
    next_operation: u64,
    /// Operations that are not finished.
    pub(crate) open: BTreeMap<OperationId, &'static str>,
    /// What came of the others.
    pub(crate) finished: BTreeMap<OperationId, Result<Reply, OperationError>>,
    /// The requests, and what is asked for in them.
    asked: BTreeMap<OperationId, u64>,
    /// The rooms that the application wants to be in.
    pub(crate) wanted: BTreeSet<String>,
    joins: BTreeMap<OperationId, String>,
    /// The fold of the roster's events.
    pub(crate) roster: BTreeMap<String, RawJson>,
    /// The fold of the rooms' events.
    rooms: BTreeSet<String>,
    /// The fold of the calls' events.
    calls: BTreeSet<CallId>,
    /// The numbers of the messages that arrived from each peer.
    heard: BTreeMap<String, Vec<u64>>,
    pub(crate) texts: Vec<String>,
    pub(crate) wants_online: bool,
    version: u64,
}

pub(crate) struct World {
    pub(crate) choices: Choices,
    pub(crate) now: Timestamp,
    server: Option<Server>,
    server_config: server::Config,
    servers: u64,
    pub(crate) sims: Vec<Sim>,
    links: Vec<Link>,
    next_slot: u32,
    /// Connections whose clients are gone, and when the server notices.
    unnoticed: Vec<(Timestamp, ConnId)>,
    /// Which token of each user is good.
    epochs: BTreeMap<String, u64>,
    number: u64,
    /// How many steps were made.
    pub(crate) steps: usize,
    /// After how many to cut a link, and how.
    pub(crate) cut_at: Option<(usize, Cut)>,
    trace: bool,
}

impl World {
    pub(crate) fn new(choices: Choices, server_config: server::Config) -> Self {
        let mut world = Self {
            choices,
            now: Timestamp::ZERO,
            server: None,
            server_config,
            servers: 0,
            sims: Vec::new(),
            links: Vec::new(),
            next_slot: 0,
            unnoticed: Vec::new(),
            epochs: BTreeMap::new(),
            number: 0,
            steps: 0,
            cut_at: None,
            trace: std::env::var_os("TRACE").is_some(),
        };
        world.start_server();
        world
    }

    fn log(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{} {}", self.now, line());
        }
    }

    pub(crate) fn start_server(&mut self) {
        if self.server.is_none() {
            self.servers += 1;
            let random = random(self.servers << 32);
            self.server = Some(Server::new(self.server_config.clone(), random));
            self.log(|| "server up".into());
        }
    }

    /// The server is gone, without a word.
    pub(crate) fn kill_server(&mut self) {
        self.log(|| "server down".into());
        self.server = None;
        self.unnoticed.clear();
        // Who has not noticed that its link is dead does not notice this either.
        let cut = self.links.extract_if(.., |link| !link.dead).collect::<Vec<_>>();
        for link in cut {
            self.client_closed(&link, CloseCode(1006));
        }
    }

    pub(crate) fn add_client(&mut self, user: &'static str, change: impl FnOnce(&mut Config)) {
        let mut config = Config::new(UserName::new(user).unwrap());
        change(&mut config);
        let wanted = config.rooms.iter().map(ToString::to_string).collect();
        let seed = self.sims.len() as u64 + 1;
        self.sims.push(Sim {
            client: Client::new(config, random(seed)),
            user,
            next_operation: 0,
            open: BTreeMap::new(),
            finished: BTreeMap::new(),
            asked: BTreeMap::new(),
            wanted,
            joins: BTreeMap::new(),
            roster: BTreeMap::new(),
            rooms: BTreeSet::new(),
            calls: BTreeSet::new(),
            heard: BTreeMap::new(),
            texts: Vec::new(),
            wants_online: false,
            version: 0,
        });
    }

    fn client_input(&mut self, at: usize, input: Input) {
        self.log(|| format!("  client {at} < {input:?}"));
        self.sims[at].client.handle(self.now, input);
        while let Some(action) = self.sims[at].client.poll_action() {
            self.log(|| format!("  client {at} > {action:?}"));
            self.client_action(at, action);
        }
    }

    fn client_action(&mut self, at: usize, action: Action) {
        match action {
            Action::AskToken { request, refused } => {
                // A token may be out of date; if it was refused it is the newest.
                let epoch = *self.epochs.entry(self.sims[at].user.into()).or_default();
                let stale = !refused && epoch > 0 && self.choices.below(2) == 0;
                let epoch = if stale { epoch - 1 } else { epoch };
                let token = Token::new(format!("{}-{epoch}", self.sims[at].user));
                self.client_input(at, Input::Token { request, token: Ok(token) });
            }
            Action::Connect { conn } => {
                assert!(
                    !self.links.iter().any(|link| link.client == at && link.conn >= conn),
                    "a connection is used twice"
                );
                if self.server.is_none() {
                    let failure = ConnectFailure::Unreachable("refused".into());
                    return self.client_input(at, Input::Failed { conn, failure });
                }
                self.links.push(Link {
                    client: at,
                    conn,
                    server_conn: None,
                    up: VecDeque::from([Up::Open]),
                    down: VecDeque::new(),
                    paused: false,
                    dead: false,
                });
            }
            Action::Send { text } => self.up(at, Up::Text(text)),
            Action::Ping => self.up(at, Up::Ping),
            Action::Close { conn, .. } => {
                if let Some(link) = self.links.iter_mut().find(|l| (l.client, l.conn) == (at, conn))
                {
                    link.up.push_back(Up::Close);
                } else {
                    let code = CloseCode(1006);
                    self.client_input(at, Input::Closed { conn, code, reason: "".into() });
                }
            }
            Action::Finish { id, result } => self.finished(at, id, result),
            Action::Event(event) => self.event(at, event),
        }
    }

    fn up(&mut self, at: usize, item: Up) {
        let conn = self.links.iter().filter(|link| link.client == at).map(|link| link.conn).max();
        let link = self.links.iter_mut().find(|link| link.client == at && Some(link.conn) == conn);
        link.expect("what is sent has a connection").up.push_back(item);
    }

    fn finished(&mut self, at: usize, id: OperationId, result: Result<Reply, OperationError>) {
        let sim = &mut self.sims[at];
        let name = sim.open.remove(&id);
        assert!(name.is_some(), "{id:?} of client {at} is finished twice: {result:?}");
        match &result {
            Ok(Reply::Answer(answer)) => {
                let asked = sim.asked[&id];
                assert_eq!(answer.data().unwrap().text(), format!("{}", asked * 2));
            }
            Err(_) => {
                if let Some(room) = sim.joins.get(&id) {
                    sim.wanted.remove(room);
                }
            }
            Ok(Reply::Call(call)) => assert!(sim.calls.insert(*call)),
            _ => {}
        }
        sim.finished.insert(id, result);
    }

    fn event(&mut self, at: usize, event: Event) {
        let sim = &mut self.sims[at];
        match event {
            Event::Online { rooms, .. } => {
                sim.rooms = rooms.iter().map(ToString::to_string).collect();
            }
            Event::Disconnected { .. } => sim.rooms.clear(),
            Event::Closed { .. } => {
                sim.rooms.clear();
                sim.roster.clear();
                sim.wants_online = false;
            }
            Event::PeerOnline(record) => {
                let old = sim.roster.insert(record.id().to_string(), record.data().clone());
                assert_eq!(old, None, "{} is online twice", record.address());
            }
            Event::PeerUpdated(record) => {
                let old = sim.roster.insert(record.id().to_string(), record.data().clone());
                assert!(old.is_some_and(|old| old != *record.data()), "nothing new");
            }
            Event::PeerOffline(record) => {
                assert!(sim.roster.remove(&**record.id()).is_some(), "offline without online");
            }
            Event::Joined { room } => assert!(sim.rooms.insert(room.into())),
            Event::Left { room } => assert!(sim.rooms.remove(&*room)),
            Event::RoomRefused { room, .. } => drop(sim.wanted.remove(&*room)),
            Event::Frame(frame) => self.frame(at, &frame),
            Event::Call(event) => self.call_event(at, event),
            _ => {}
        }
    }

    /// The application of a client: it answers what it is asked.
    fn frame(&mut self, at: usize, frame: &Frame) {
        let text: Value = serde_json::from_str(frame.text()).unwrap();
        self.sims[at].texts.push(text.to_string());
        let Some(number) = text["n"].as_u64() else { return };
        let from = frame.from().unwrap();
        let heard = self.sims[at].heard.entry(from.id.to_string()).or_default();
        assert!(heard.last().is_none_or(|last| *last < number), "R-M6: {number} behind {heard:?}");
        heard.push(number);
        if text["subtype"] == "ask" && self.choices.below(4) > 0 {
            let answer = Outgoing::answer(frame).unwrap();
            let answer = answer.data(RawJson::from_value(&(number * 2)).unwrap());
            self.operate(at, "answer", Operation::Send(answer));
        }
    }

    fn call_event(&mut self, at: usize, event: CallEvent) {
        match event {
            CallEvent::Incoming { call, .. } => {
                assert!(self.sims[at].calls.insert(call));
                match self.choices.below(4) {
                    0 => drop(self.operate(at, "reject", Operation::Reject { call, reason: None })),
                    1 => {}
                    _ => drop(self.operate(at, "accept", Operation::Accept { call, data: None })),
                }
            }
            CallEvent::Accepted { call, offers, .. } => {
                assert!(self.sims[at].calls.contains(&call));
                if offers {
                    let signal = Signal::offer("v=0\r\n");
                    self.operate(at, "signal", Operation::Signal { call, signal });
                }
            }
            CallEvent::Signal { call, signal } => {
                assert!(self.sims[at].calls.contains(&call));
                if let Signal::Offer(_) = signal {
                    let signal = Signal::answer("v=0\r\n");
                    self.operate(at, "signal", Operation::Signal { call, signal });
                }
                self.operate(at, "active", Operation::MarkActive { call });
            }
            CallEvent::Ended { call, .. } => assert!(self.sims[at].calls.remove(&call)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn operate(
        &mut self,
        at: usize,
        name: &'static str,
        operation: Operation,
    ) -> OperationId {
        let sim = &mut self.sims[at];
        sim.next_operation += 1;
        let id = OperationId(sim.next_operation);
        match &operation {
            // It fails at once, and changes nothing.
            Operation::Join(_)
                if matches!(sim.client.status(), Status::Closed | Status::Closing) => {}
            Operation::Join(room) => {
                sim.wanted.insert(room.to_string());
                sim.joins.insert(id, room.to_string());
            }
            Operation::Leave(room) => {
                sim.wanted.remove(&**room);
                sim.joins.retain(|_, joined| *joined != **room);
            }
            Operation::Connect => sim.wants_online = true,
            Operation::Close => sim.wants_online = false,
            _ => {}
        }
        sim.open.insert(id, name);
        self.client_input(at, Input::Operation { id, operation });
        id
    }

    /// Sends a message with a number, or asks for twice that number.
    pub(crate) fn say(&mut self, at: usize, to: Option<&str>, ask: bool) -> OperationId {
        self.number += 1;
        let number = self.number;
        let mut frame = Outgoing::message("hi").with("n", RawJson::from_value(&number).unwrap());
        if let Some(to) = to {
            frame = frame.to(to);
        }
        if !ask {
            return self.operate(at, "send", Operation::Send(frame));
        }
        let frame = frame.subtype("ask");
        let id = OperationId(self.sims[at].next_operation + 1);
        self.sims[at].asked.insert(id, number);
        self.operate(at, "request", Operation::Request { frame, timeout: None })
    }

    /// The link of a connection of the server's, if something can travel on it.
    fn link(links: &mut [Link], conn: ConnId) -> Option<&mut Link> {
        links.iter_mut().find(|link| link.server_conn == Some(conn) && !link.dead)
    }

    fn server_input(&mut self, input: server::Input<'_>) {
        self.log(|| format!("  server < {input:?}"));
        let Some(server) = &mut self.server else { return };
        server.handle(self.now, input).unwrap();
        let mut sessions = Vec::new();
        while let Some(action) = server.poll_action() {
            if self.trace {
                println!("{}   server > {action:?}", self.now);
            }
            match action {
                server::Action::Send { text, to, .. } => {
                    for conn in to {
                        if let Some(link) = Self::link(&mut self.links, *conn) {
                            link.down.push_back(Down::Text(text.clone()));
                        }
                    }
                }
                server::Action::AwaitDrain { conn } => {
                    if let Some(link) = Self::link(&mut self.links, conn) {
                        link.down.push_back(Down::Drained);
                    }
                }
                server::Action::Close { conn, code, .. } => {
                    // Where the socket is dead the server learns of it in its time.
                    if let Some(link) = Self::link(&mut self.links, conn) {
                        link.down.push_back(Down::Close(code));
                    }
                }
                server::Action::LoadSession { request, token } => sessions.push((request, token)),
                server::Action::SetMessageLimit { .. }
                | server::Action::CheckSession { .. }
                | server::Action::TouchSession { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        for (request, token) in sessions {
            let (user, epoch) = token.expose().rsplit_once('-').unwrap();
            let good = epoch == self.epochs.get(user).copied().unwrap_or_default().to_string();
            let text = format!(r#"{{"user":"{user}","rooms":["team"]}}"#);
            let session = if good { SessionLookup::Found(&text) } else { SessionLookup::Missing };
            self.server_input(server::Input::SessionLoaded { request, session });
        }
    }

    /// The tokens of a user are good no more; there is a new one.
    pub(crate) fn revoke(&mut self, user: &str) {
        *self.epochs.entry(user.into()).or_default() += 1;
    }

    fn client_closed(&mut self, link: &Link, code: CloseCode) {
        let conn = link.conn;
        self.client_input(link.client, Input::Closed { conn, code, reason: "".into() });
    }

    pub(crate) fn links(&self) -> usize {
        self.links.len()
    }

    /// Cuts a link.
    pub(crate) fn cut(&mut self, at: usize, cut: Cut) {
        self.log(|| format!("cut {at} {cut:?}"));
        if cut.flush_up && !self.links[at].dead {
            while self.links.get(at).is_some_and(|link| !link.up.is_empty() && !link.paused) {
                let Some(at) = Some(at).filter(|at| *at < self.links.len()) else { return };
                if !self.deliver_up(at) {
                    return;
                }
            }
        }
        let Some(link) = self.links.get_mut(at) else { return };
        link.up.clear();
        link.down.clear();
        let server_conn = link.server_conn.filter(|_| !link.dead);
        link.dead = true;
        if let Some(conn) = server_conn {
            if cut.server_notices {
                self.server_input(server::Input::Disconnected { conn });
            } else {
                self.unnoticed.push((self.now + NOTICED_AFTER, conn));
            }
        }
        if cut.client_notices {
            let link = self.links.remove(at);
            self.client_closed(&link, CloseCode(1006));
        }
    }

    /// Lets the next thing arrive at the server; false if the link is gone.
    fn deliver_up(&mut self, at: usize) -> bool {
        let link = &mut self.links[at];
        if link.dead {
            let gone = link.up.drain(..).any(|item| matches!(item, Up::Close));
            if gone {
                let link = self.links.remove(at);
                self.client_closed(&link, CloseCode(1006));
            }
            return !gone;
        }
        let item = link.up.pop_front();
        match (item, link.server_conn) {
            (Some(Up::Open), _) => {
                let conn = ConnId::new(self.next_slot, 7);
                self.next_slot += 1;
                link.server_conn = Some(conn);
                link.down.push_back(Down::Opened);
                self.server_input(server::Input::Connected { conn, address: ADDRESS });
            }
            (Some(Up::Text(text)), Some(conn)) => {
                self.server_input(server::Input::Text { conn, text: &text });
            }
            (Some(Up::Ping), Some(_)) => link.down.push_back(Down::Pong),
            (Some(Up::Close), conn) => {
                let link = self.links.remove(at);
                if let Some(conn) = conn {
                    self.server_input(server::Input::Disconnected { conn });
                }
                self.client_closed(&link, CloseCode(1000));
                return false;
            }
            (None, _) | (_, None) => {}
        }
        true
    }

    /// Lets the next thing arrive at the client.
    fn deliver_down(&mut self, at: usize) {
        let link = &mut self.links[at];
        let (client, conn) = (link.client, link.conn);
        match link.down.pop_front() {
            Some(Down::Opened) => self.client_input(client, Input::Opened { conn }),
            Some(Down::Text(text)) => self.client_input(client, Input::Text { conn, text }),
            Some(Down::Pong) => self.client_input(client, Input::Alive { conn }),
            Some(Down::Drained) => {
                if let Some(conn) = link.server_conn {
                    self.server_input(server::Input::Drained { conn });
                }
            }
            Some(Down::Close(code)) => {
                let link = self.links.remove(at);
                if let Some(conn) = link.server_conn {
                    self.server_input(server::Input::Disconnected { conn });
                }
                self.client_closed(&link, code);
            }
            None => {}
        }
    }

    /// Lets something that is on its way arrive; false if nothing is.
    pub(crate) fn deliver(&mut self) -> bool {
        self.steps += 1;
        if let Some((step, cut)) = self.cut_at
            && step <= self.steps
            && !self.links.is_empty()
        {
            self.cut_at = None;
            let at = self.choices.below(self.links.len());
            self.cut(at, cut);
        }
        let ready: Vec<(usize, bool)> = self
            .links
            .iter()
            .enumerate()
            .flat_map(|(at, link)| {
                let up = !link.up.is_empty() && !link.paused;
                let down = !link.down.is_empty();
                [up.then_some((at, true)), down.then_some((at, false))].into_iter().flatten()
            })
            .collect();
        if ready.is_empty() {
            return false;
        }
        let (at, up) = ready[self.choices.below(ready.len())];
        if up {
            self.deliver_up(at);
        } else {
            self.deliver_down(at);
        }
        true
    }

    /// When something happens next without being asked for.
    fn next_timeout(&self) -> Option<Timestamp> {
        let clients = self.sims.iter().filter_map(|sim| sim.client.poll_timeout());
        let server = self.server.as_ref().and_then(Server::poll_timeout);
        let unnoticed = self.unnoticed.iter().map(|(at, _)| *at);
        clients.chain(server).chain(unnoticed).min()
    }

    /// Lets time pass up to the next timeout, at most to `until`; false if that has come.
    pub(crate) fn pass(&mut self, until: Timestamp) -> bool {
        let next = self.next_timeout().filter(|at| *at <= until);
        self.now = self.now.max(next.unwrap_or(until));
        let now = self.now;
        for at in 0..self.sims.len() {
            if self.sims[at].client.poll_timeout().is_some_and(|at| at <= now) {
                self.client_input(at, Input::Timeout);
            }
        }
        if self.server.as_ref().and_then(Server::poll_timeout).is_some_and(|at| at <= now) {
            self.server_input(server::Input::Timeout);
        }
        while let Some(at) = self.unnoticed.iter().position(|(at, _)| *at <= now) {
            let (_, conn) = self.unnoticed.remove(at);
            self.server_input(server::Input::Disconnected { conn });
        }
        next.is_some()
    }

    /// Lets everything come to rest: nothing is cut any more, and time passes.
    pub(crate) fn quiet(&mut self) {
        self.start_server();
        self.cut_at = None;
        let until = self.now + Duration::from_secs(240);
        loop {
            while self.deliver() {}
            if !self.pass(until) {
                break;
            }
        }
        while self.deliver() {}
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// What must be true at rest.
    pub(crate) fn check(&self, dynamic_rooms: bool) {
        let peers: BTreeMap<String, BTreeSet<String>> = self
            .server()
            .local_peers()
            .map(|peer| {
                let rooms = peer.rooms.iter().map(ToString::to_string).collect();
                (peer.address.id.to_string(), rooms)
            })
            .collect();
        let versions: BTreeMap<String, u64> = self
            .sims
            .iter()
            .filter_map(|sim| Some((sim.client.peer()?.id.to_string(), sim.version)))
            .collect();
        assert_eq!(
            peers.keys().collect::<Vec<_>>(),
            versions.keys().collect::<Vec<_>>(),
            "the server has the peers that are online, and no ghosts"
        );
        for (at, sim) in self.sims.iter().enumerate() {
            let client = &sim.client;
            assert_eq!(sim.open, BTreeMap::new(), "client {at}: every operation is finished");
            assert_eq!((client.queued(), client.pending_requests()), (0, 0), "client {at}");
            let calls: BTreeSet<_> = client.calls().map(|info| info.call).collect();
            assert_eq!(calls, sim.calls, "client {at}: calls");
            let held: BTreeSet<_> = client.rooms().map(ToOwned::to_owned).collect();
            assert_eq!(held, sim.rooms, "client {at}: the events of rooms");
            let ids: BTreeSet<_> =
                client.roster().iter().map(|peer| peer.id().to_string()).collect();
            assert_eq!(
                ids,
                sim.roster.keys().cloned().collect(),
                "client {at}: the events of peers"
            );
            if !sim.wants_online {
                assert_eq!(client.status(), Status::Closed, "client {at}");
                continue;
            }
            assert_eq!(client.status(), Status::Online, "client {at}");
            assert!(client.roster().is_complete(), "client {at}");
            let id = client.peer().unwrap().id.to_string();
            let mut expected = sim.wanted.clone();
            expected.insert(sim.user.into());
            if self.server_config.authentication {
                expected.insert("team".into());
            }
            if dynamic_rooms {
                assert_eq!(held, expected, "client {at}: R-R2");
            }
            assert_eq!(held, peers[&id], "client {at}: the rooms of the server");
            let wanted: BTreeSet<_> = client.wanted_rooms().map(ToOwned::to_owned).collect();
            assert_eq!(wanted, sim.wanted, "client {at}: the rooms that are wanted");
            let sharing: BTreeSet<_> = peers
                .iter()
                .filter(|(other, rooms)| **other != id && !rooms.is_disjoint(&held))
                .map(|(other, _)| other.clone())
                .collect();
            assert_eq!(ids, sharing, "client {at}: R-P1");
            for peer in client.roster().iter() {
                let version = peer.get("v").map_or(0, |v| v.text().parse().unwrap());
                assert_eq!(
                    version,
                    versions[&**peer.id()],
                    "client {at}: R-P4 of {}",
                    peer.address()
                );
            }
            for info in client.calls() {
                self.check_call(at, &id, &info.with, info.state);
            }
        }
    }

    /// The other side of a call has it, too.
    fn check_call(&self, at: usize, id: &str, with: &Callee, state: CallState) {
        assert!(
            matches!(state, CallState::Connecting | CallState::Active),
            "client {at}: nothing rings for ever: {state}"
        );
        let Callee::Peer(with) = with else { panic!("a call that was taken is with a peer") };
        let other = self
            .sims
            .iter()
            .find(|sim| sim.client.peer().is_some_and(|peer| peer.id == with.id))
            .expect("a call with a peer that is there");
        let back = other.client.calls().filter(|info| {
            matches!(&info.with, Callee::Peer(back) if *back.id == *id)
                && matches!(info.state, CallState::Connecting | CallState::Active)
        });
        assert_eq!(back.count(), 1, "client {at}: one call on both sides");
    }

    /// Every client says something to everyone, and everyone who shares a room hears it.
    pub(crate) fn roll_call(&mut self) {
        let online: Vec<_> = (0..self.sims.len())
            .filter(|at| self.sims[*at].client.status() == Status::Online)
            .collect();
        for at in &online {
            self.sims[*at].heard.clear();
        }
        for at in &online {
            self.say(*at, None, false);
            self.operate(*at, "flush", Operation::Flush);
        }
        while self.deliver() {}
        for at in &online {
            let sim = &self.sims[*at];
            assert_eq!(sim.open, BTreeMap::new(), "client {at} is flushed");
            let heard: BTreeSet<_> = sim.heard.keys().cloned().collect();
            assert_eq!(heard, sim.roster.keys().cloned().collect(), "client {at} hears everyone");
        }
    }

    /// An application does something.
    pub(crate) fn act(&mut self, at: usize) {
        let room = ROOMS[self.choices.below(ROOMS.len())];
        let name = RoomName::new(room).unwrap();
        let roster: Vec<_> =
            self.sims[at].client.roster().iter().map(|peer| peer.address().clone()).collect();
        let peer = (!roster.is_empty()).then(|| roster[self.choices.below(roster.len())].clone());
        match self.choices.below(16) {
            0 | 1 => drop(self.operate(at, "join", Operation::Join(name))),
            2 => drop(self.operate(at, "leave", Operation::Leave(name))),
            3 => drop(self.say(at, None, false)),
            4 => drop(self.say(at, Some(room), false)),
            5 | 6 => {
                if let Some(peer) = peer {
                    let ask = self.choices.below(3) > 0;
                    self.say(at, Some(&peer.to_string()), ask);
                }
            }
            7 => drop(self.say(at, Some(room), true)),
            8 => drop(self.operate(at, "flush", Operation::Flush)),
            9 => {
                let sim = &mut self.sims[at];
                sim.version += 1;
                let version = RawJson::from_value(&sim.version).unwrap();
                let patch = Fields::new().with("v", version);
                self.operate(at, "record", Operation::UpdateRecord(patch));
            }
            10 => {
                if let Some(peer) = peer {
                    let callee = if self.choices.below(3) == 0 {
                        Callee::User(peer.user)
                    } else {
                        Callee::Peer(peer)
                    };
                    self.operate(at, "call", Operation::Call { callee, data: None });
                }
            }
            11 => {
                let call = self.sims[at].client.calls().next();
                if let Some(call) = call.map(|info| info.call) {
                    let reason = None;
                    self.operate(at, "hang up", Operation::HangUp { call, reason });
                }
            }
            12 if self.server_config.authentication => {
                let user = self.sims[at].user;
                let epoch = self.epochs.get(user).copied().unwrap_or_default();
                let token = Token::new(format!("{user}-{epoch}")).unwrap();
                self.operate(at, "refresh", Operation::Refresh(token));
            }
            13 if self.server_config.authentication => {
                let user = self.sims[at].user;
                self.revoke(user);
            }
            14 if self.choices.below(4) == 0 => {
                self.operate(at, "close", Operation::Close);
            }
            15 => {
                // An operation that nobody waits for any more.
                let open: Vec<_> = self.sims[at].open.keys().copied().collect();
                if !open.is_empty() {
                    let id = open[self.choices.below(open.len())];
                    self.sims[at].open.remove(&id);
                    self.client_input(at, Input::Cancel { id });
                }
            }
            _ => drop(self.operate(at, "connect", Operation::Connect)),
        }
    }
}
