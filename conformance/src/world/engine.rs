//! The bare engine in this process, on virtual time: timeouts cost nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
    time::Duration,
};

use symple_engine::{
    Timestamp,
    server::{
        Action, Config, ConnId, FrameVerdict, HostCall, Input, JoinVerdict, Question,
        QuestionAbout, RequestId, Server, SessionLookup, TransportFault, Verdict,
    },
};
use symple_proto::Status;

use crate::transcript::{Frame, FrameAnswer, Header, HookAnswer, ScenarioConfig};

use super::{Done, Seen, StartError, decide, decide_frame, decide_join, server_config};

/// A client.
struct Client {
    id: ConnId,
    message_limit: usize,
    paused: bool,
    /// What it sends while nothing is read from it.
    waiting: VecDeque<Frame>,
}

/// What a hook says.
enum Answer {
    Auth(Verdict),
    Join(JoinVerdict),
    Frame(FrameVerdict),
}

/// An engine, and what is around it.
pub(crate) struct EngineWorld {
    config: Config,
    hooks: ScenarioConfig,
    sessions: BTreeMap<String, String>,
    server: Option<Server>,
    now: Timestamp,
    connections: u32,
    clients: BTreeMap<String, Client>,
    seen: VecDeque<Seen>,
    /// Hooks that will answer.
    answers: Vec<(Timestamp, RequestId, Answer)>,
    boots: u64,
    shutting_down: bool,
}

impl EngineWorld {
    pub(crate) fn new(header: &Header) -> Result<Self, StartError> {
        let config = server_config(&header.config).map_err(StartError::Unsupported)?.engine;
        if config.authentication && !config.hook && !header.config.redis {
            return Err(StartError::Refused("authentication needs Redis".into()));
        }
        let sessions =
            header.redis.stored().map(|(token, text)| (token.to_owned(), text)).collect();
        let mut world = Self {
            config,
            hooks: header.config.clone(),
            sessions,
            server: None,
            now: Timestamp::ZERO,
            connections: 0,
            clients: BTreeMap::new(),
            seen: VecDeque::new(),
            answers: Vec::new(),
            boots: 0,
            shutting_down: false,
        };
        world.boot();
        Ok(world)
    }

    fn boot(&mut self) {
        // Ids need only be different here, also from those of the server before.
        self.boots += 1;
        let mut state = 0x1234_5678_9abc_def0_u64.wrapping_mul(self.boots);
        let random = move |bytes: &mut [u8]| {
            for byte in bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = state.to_be_bytes()[0];
            }
        };
        self.server = Some(Server::new(self.config.clone(), random));
        self.shutting_down = false;
    }

    fn name_of(&self, id: ConnId) -> Option<String> {
        let found = self.clients.iter().find(|(_, client)| client.id == id);
        found.map(|(name, _)| name.clone())
    }

    fn input(&mut self, input: Input<'_>) -> Done {
        let server = self.server.as_mut().ok_or("there is no server")?;
        let handled = server.handle(self.now, input);
        self.carry_out();
        handled.map(drop).map_err(|error| error.to_string())
    }

    fn carry_out(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let mut closed = Vec::new();
        let mut resumed = Vec::new();
        let mut asked = Vec::new();
        let mut drained = Vec::new();
        while let Some(action) = server.poll_action() {
            match action {
                Action::Send { text, to, .. } => {
                    for id in to {
                        if let Some(name) = self.name_of(*id) {
                            self.seen.push_back(Seen::Text(name, text.to_string()));
                        }
                    }
                }
                Action::Close { conn, code, .. } => {
                    if let Some(name) = self.name_of(conn) {
                        self.seen.push_back(Seen::Close(name.clone(), code.0));
                        self.clients.remove(&name);
                    }
                    closed.push(conn);
                }
                Action::SetMessageLimit { conn, limit } => {
                    self.change(conn, |client| client.message_limit = limit);
                }
                Action::Pause { conn } => self.change(conn, |client| client.paused = true),
                Action::Resume { conn } => {
                    self.change(conn, |client| client.paused = false);
                    resumed.push(conn);
                }
                Action::AwaitDrain { conn } => drained.push(conn),
                Action::LoadSession { request, token } => {
                    asked.push((request, self.sessions.get(token.expose()).cloned()));
                }
                Action::Authenticate { request, auth, .. } => {
                    let auth: serde_json::Value = serde_json::from_str(&auth).unwrap_or_default();
                    let token = auth["token"].as_str().unwrap_or_default();
                    let hook = self.hooks.auth_hook.as_ref();
                    let answer = hook.and_then(|hook| HookAnswer::find(hook, token));
                    let verdict = match answer {
                        Some(answer) => decide(answer).into(),
                        None => Verdict::Deny { message: None },
                    };
                    let delay = answer.and_then(|answer| answer.delay_ms);
                    self.answer(delay, request, Answer::Auth(verdict));
                }
                Action::Ask { request, question } => self.ask(request, &question),
                // Sessions here neither end nor live longer, and there is one node.
                Action::CheckSession { .. }
                | Action::TouchSession { .. }
                | Action::Subscribe { .. }
                | Action::Unsubscribe { .. }
                | Action::Publish { .. }
                | Action::Claim { .. }
                | Action::Event(_)
                // No transcript has an application that reads states or is told of changes.
                | Action::StateRead { .. }
                | Action::Tell(_) => {}
            }
        }
        self.server = Some(server);
        for conn in closed {
            let _ = self.input(Input::Disconnected { conn });
        }
        for conn in drained {
            let _ = self.input(Input::Drained { conn });
        }
        for (request, session) in asked {
            let session = session.as_deref().map_or(SessionLookup::Missing, SessionLookup::Found);
            let _ = self.input(Input::SessionLoaded { request, session });
        }
        for conn in resumed {
            self.read_waiting(conn);
        }
        if self.shutting_down && self.server.as_ref().is_some_and(Server::is_shut_down) {
            self.server = None;
            self.seen.push_back(Seen::Exit(0));
        }
    }

    /// A hook will answer, after so many milliseconds.
    fn answer(&mut self, delay: Option<u64>, request: RequestId, answer: Answer) {
        let at = self.now + Duration::from_millis(delay.unwrap_or(0));
        self.answers.push((at, request, answer));
    }

    /// Asks a hook about what a peer does.
    fn ask(&mut self, request: RequestId, question: &Question) {
        match &question.about {
            QuestionAbout::Join { .. } => {
                let frame: serde_json::Value =
                    serde_json::from_str(&question.frame).unwrap_or_default();
                let credential = frame["credential"].as_str().unwrap_or_default();
                let hook = self.hooks.join_hook.as_ref();
                let answer = hook.and_then(|hook| HookAnswer::find(hook, credential));
                let delay = answer.and_then(|answer| answer.delay_ms);
                self.answer(delay, request, Answer::Join(decide_join(answer).into()));
            }
            QuestionAbout::Frame { .. } | QuestionAbout::State { .. } => {
                let hook = self.hooks.frame_hook.as_ref();
                let answer = hook.and_then(|hook| FrameAnswer::find(hook, &question.frame));
                let delay = answer.and_then(|answer| answer.delay_ms);
                let verdict = decide_frame(answer).map_or_else(
                    |_| FrameVerdict::Refuse { status: Status::FORBIDDEN, message: None },
                    Into::into,
                );
                self.answer(delay, request, Answer::Frame(verdict));
            }
        }
    }

    fn change(&mut self, id: ConnId, change: impl FnOnce(&mut Client)) {
        if let Some(client) = self.clients.values_mut().find(|client| client.id == id) {
            change(client);
        }
    }

    /// Handles what a client has sent, as far as it is read.
    fn read_waiting(&mut self, id: ConnId) {
        while let Some(client) = self.clients.values_mut().find(|client| client.id == id) {
            let limit = client.message_limit;
            if client.paused {
                return;
            }
            let Some(frame) = client.waiting.front() else { return };
            let (Frame::Text(_) | Frame::Binary(_) | Frame::BrokenText(_)) = frame;
            let bytes = match frame {
                Frame::Text(text) => text.as_bytes(),
                Frame::Binary(bytes) | Frame::BrokenText(bytes) => bytes,
            };
            let handled = if bytes.len() > limit {
                let size = bytes.len() as u64;
                let fault = TransportFault::TooBig { size, limit };
                let handled = self.input(Input::Fault { conn: id, fault });
                // Still unread, if it may be read later.
                if self.clients.values().any(|client| client.id == id && client.paused) {
                    return;
                }
                handled
            } else {
                let bytes = bytes.to_vec();
                client.waiting.pop_front();
                match String::from_utf8(bytes) {
                    Ok(text) => self.input(Input::Text { conn: id, text: &text }),
                    Err(_) => {
                        let fault = TransportFault::InvalidUtf8;
                        self.input(Input::Fault { conn: id, fault })
                    }
                }
            };
            if handled.is_err() {
                return;
            }
        }
    }

    pub(crate) fn connect(&mut self, conn: &str) -> Done {
        let id = ConnId::new(self.connections, 0);
        self.connections += 1;
        let message_limit = self.config.limits.message_unauthenticated;
        let client = Client { id, message_limit, paused: false, waiting: VecDeque::new() };
        self.clients.insert(conn.into(), client);
        self.input(Input::Connected { conn: id, address: Ipv4Addr::LOCALHOST.into() })
    }

    fn client(&mut self, conn: &str) -> Result<&mut Client, String> {
        self.clients.get_mut(conn).ok_or_else(|| format!("the connection of {conn} is closed"))
    }

    pub(crate) fn is_open(&self, conn: &str) -> bool {
        self.clients.contains_key(conn)
    }

    pub(crate) fn send(&mut self, conn: &str, frame: Frame) -> Done {
        let client = self.client(conn)?;
        client.waiting.push_back(frame);
        let id = client.id;
        self.read_waiting(id);
        Ok(())
    }

    pub(crate) fn ping(&mut self, conn: &str, data: Vec<u8>) -> Done {
        self.client(conn)?;
        self.seen.push_back(Seen::Pong(conn.into(), data));
        Ok(())
    }

    pub(crate) fn close(&mut self, conn: &str) -> Done {
        let id = self.client(conn)?.id;
        self.clients.remove(conn);
        self.input(Input::Disconnected { conn: id })
    }

    pub(crate) fn publish(&mut self, channel: &str, text: &str) -> Done {
        if channel == "symple:broadcast" {
            // What is no emission is dropped with a warning.
            let _ = self.input(Input::Host(HostCall::Emit { text }));
        }
        Ok(())
    }

    pub(crate) fn shut_down(&mut self) -> Done {
        self.shutting_down = true;
        self.input(Input::Shutdown { drain: Duration::ZERO })
    }

    pub(crate) fn kill(&mut self) -> Done {
        self.server = None;
        for name in std::mem::take(&mut self.clients).into_keys() {
            self.seen.push_back(Seen::Close(name, 1006));
        }
        Ok(())
    }

    pub(crate) fn start(&mut self) -> Done {
        self.boot();
        Ok(())
    }

    /// When something will happen by itself.
    fn next_time(&self) -> Option<Timestamp> {
        let timer = self.server.as_ref().and_then(Server::poll_timeout);
        let answer = self.answers.iter().map(|(at, ..)| *at).min();
        [timer, answer].into_iter().flatten().min()
    }

    /// Lets time pass up to the next thing that happens by itself, if that is in time.
    fn step(&mut self, until: Timestamp) -> bool {
        let Some(at) = self.next_time().filter(|at| *at <= until) else { return false };
        self.now = self.now.max(at);
        if let Some(due) = self.answers.iter().position(|(at, ..)| *at <= self.now) {
            let (_, request, answer) = self.answers.remove(due);
            // A verdict that cannot be used is an error; the engine has denied then.
            let _ = self.input(match answer {
                Answer::Auth(verdict) => Input::AuthDecided { request, verdict },
                Answer::Join(verdict) => Input::JoinDecided { request, verdict },
                Answer::Frame(verdict) => Input::FrameDecided { request, verdict },
            });
        } else {
            let _ = self.input(Input::Timeout);
        }
        true
    }

    pub(crate) fn next(&mut self, patience: Duration) -> Option<Seen> {
        let until = self.now + patience;
        while self.seen.is_empty() && self.step(until) {}
        self.seen.pop_front()
    }

    pub(crate) fn settle(&mut self, quiet: Duration) {
        let until = self.now + quiet;
        while self.step(until) {}
        self.now = until;
    }
}
