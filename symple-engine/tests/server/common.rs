//! A node on virtual time, and a log of what goes in and what comes out.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use symple_engine::{
    Timestamp,
    server::{Action, Config, ConnId, EngineError, HostCall, Input, Question, RequestId, Server},
};

/// The client's address in all tests.
pub(crate) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Small numbers instead of randomness: ids are `2…`, `3…`, in the order in which they are made.
pub(crate) fn counter() -> impl FnMut(&mut [u8]) + Send {
    counter_from(0)
}

/// As [`counter`], from another number on: ids of different nodes differ.
pub(crate) fn counter_from(mut count: u64) -> impl FnMut(&mut [u8]) + Send {
    move |bytes| {
        bytes.fill(0);
        bytes[..8].copy_from_slice(&count.to_le_bytes());
        count += 1;
    }
}

pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) now: Timestamp,
    next: u32,
    /// Everything that went in and came out.
    log: String,
    /// The questions that came out, in order.
    pub(crate) requests: Vec<RequestId>,
    /// What came out since the last look: rendered actions.
    seen: Vec<String>,
    /// What is to go to the bus.
    pub(crate) published: Vec<(String, Vec<u8>)>,
    /// The bus takes at once what is published.
    pub(crate) takes: bool,
    /// What it wants from the bus.
    pub(crate) subscribed: BTreeSet<String>,
}

impl Node {
    pub(crate) fn new(config: Config) -> Self {
        Self::with_ids_from(config, 0)
    }

    pub(crate) fn with_ids_from(config: Config, first: u64) -> Self {
        Self {
            server: Server::new(config, counter_from(first)),
            now: Timestamp::ZERO,
            next: 0,
            log: String::new(),
            requests: Vec::new(),
            seen: Vec::new(),
            published: Vec::new(),
            takes: true,
            subscribed: BTreeSet::new(),
        }
    }

    pub(crate) fn drain(&mut self) {
        while self.takes && self.drain_once() > 0 {}
        self.drain_once();
    }

    /// Carries out what there is to do, and takes what is published; how many bytes that was.
    fn drain_once(&mut self) -> u64 {
        let mut bytes = 0;
        while let Some(action) = self.server.poll_action() {
            let line = match &action {
                Action::Send { text, to, .. } => format!("send {to:?} {}", &**text),
                Action::LoadSession { request, token } => {
                    self.requests.push(*request);
                    format!("load session {}", token.expose())
                }
                Action::Authenticate { request, conn, peer, auth, session } => {
                    self.requests.push(*request);
                    let session = session.as_ref().map(|session| format!(" session {session}"));
                    let session = session.unwrap_or_default();
                    format!("authorize {conn:?} peer {peer} auth {auth}{session}")
                }
                Action::Ask { request, question } => {
                    self.requests.push(*request);
                    let Question { peer, frame, about } = &**question;
                    format!("ask {peer} {} {about:?}", &**frame)
                }
                Action::Claim { request, key, .. } => {
                    self.requests.push(*request);
                    format!("claim {}", key.split(':').next().unwrap())
                }
                Action::Tell(change) => {
                    format!("tell {} {} {:?}", change.peer, change.number, change.what)
                }
                Action::StateRead { question, state, pinned } => {
                    let pinned = if *pinned { " pinned" } else { "" };
                    format!("state read {question} {state}{pinned}")
                }
                Action::Close { conn, code, reason, discard } => {
                    let discard = if *discard { " discard" } else { "" };
                    format!("close {conn:?} {code} {reason}{discard}")
                }
                Action::Subscribe { channel } => {
                    self.subscribed.insert(channel.to_string());
                    format!("subscribe {channel}")
                }
                Action::Unsubscribe { channel } => {
                    self.subscribed.remove(&**channel);
                    format!("unsubscribe {channel}")
                }
                Action::Publish { channel, payload } => {
                    self.published.push((channel.to_string(), payload.to_vec()));
                    bytes += payload.len() as u64;
                    format!("publish {channel} {}", String::from_utf8_lossy(payload))
                }
                other => format!("{other:?}"),
            };
            // An id is a digit and zeros.
            let line = line.replace(&"0".repeat(19), "…");
            let _ = writeln!(self.log, "  {line}");
            self.seen.push(line);
        }
        if self.takes && bytes > 0 {
            self.server.handle(self.now, Input::BusTaken { bytes }).unwrap();
        }
        bytes
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Result<usize, EngineError> {
        let result = self.server.handle(self.now, input);
        self.drain();
        result
    }

    /// As [`input`](Self::input), and what comes out stays in the server.
    pub(crate) fn input_without_drain(&mut self, input: Input<'_>) {
        self.server.handle(self.now, input).unwrap();
    }

    /// Opens a connection.
    pub(crate) fn connect(&mut self) -> ConnId {
        self.connect_from(ADDRESS)
    }

    pub(crate) fn connect_from(&mut self, address: IpAddr) -> ConnId {
        let conn = ConnId::new(self.next, 7);
        self.next += 1;
        let _ = writeln!(self.log, "connect {conn:?}");
        self.input(Input::Connected { conn, address }).unwrap();
        conn
    }

    /// A text from a client.
    pub(crate) fn text(&mut self, conn: ConnId, text: &str) {
        let _ = writeln!(self.log, "text {conn:?} {text}");
        self.input(Input::Text { conn, text }).unwrap();
    }

    /// Opens a connection and authenticates with this frame.
    pub(crate) fn auth(&mut self, frame: &str) -> ConnId {
        let conn = self.connect();
        self.text(conn, frame);
        conn
    }

    /// The id of a peer of this node.
    pub(crate) fn id(&self, conn: ConnId) -> String {
        let peer = self.server.local_peers().find(|peer| peer.conn == conn).unwrap();
        peer.address.id.to_string()
    }

    /// A user in rooms; what it causes is not looked at.
    pub(crate) fn peer(&mut self, user: &str, rooms: &[&str]) -> ConnId {
        let rooms = serde_json::to_string(rooms).unwrap();
        let conn = self.auth(&format!(r#"{{"type":"auth","user":"{user}","rooms":{rooms}}}"#));
        self.seen.clear();
        conn
    }

    pub(crate) fn disconnect(&mut self, conn: ConnId) {
        let _ = writeln!(self.log, "disconnect {conn:?}");
        self.input(Input::Disconnected { conn }).unwrap();
    }

    pub(crate) fn host(&mut self, call: HostCall<'_>) -> Result<usize, EngineError> {
        let _ = writeln!(self.log, "host {call:?}");
        self.input(Input::Host(call))
    }

    /// Lets time pass, with every timeout at its time.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        let _ = writeln!(self.log, "pass {duration:?}");
        while let Some(at) = self.server.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.input(Input::Timeout).unwrap();
        }
        self.now = until;
    }

    /// What came out since the last look.
    pub(crate) fn seen(&mut self) -> Vec<String> {
        std::mem::take(&mut self.seen)
    }

    /// The one thing that came out since the last look.
    pub(crate) fn one(&mut self) -> String {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.into_iter().next().unwrap()
    }

    /// Nothing came out since the last look.
    pub(crate) fn nothing(&mut self) {
        assert_eq!(self.seen(), [""; 0]);
    }

    /// Who received something since the last look, and what.
    pub(crate) fn received(&mut self, conn: ConnId) -> Vec<String> {
        let name = format!("{conn:?}");
        self.seen
            .iter()
            .filter_map(|line| {
                let (to, text) = line.strip_prefix("send [")?.split_once("] ")?;
                to.split(", ").any(|to| to == name).then(|| text.to_owned())
            })
            .collect()
    }

    /// Forgets what came out.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    /// Everything that went in and came out, for a snapshot.
    pub(crate) fn log(&self) -> &str {
        &self.log
    }
}

/// A configuration, changed.
pub(crate) fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}
