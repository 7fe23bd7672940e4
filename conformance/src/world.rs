//! A server and its clients, as a replay acts on them.

mod engine;
mod host;
mod sockets;

use std::{collections::BTreeMap, time::Duration};

use symple_driver::{AuthDecision, Config, FrameDecision, JoinDecision};
use symple_engine::server::{PresenceMode, PublicMembers, RateLimit, RoomSend};
use symple_proto::Status;
use thiserror::Error;

use crate::transcript::{Frame, FrameAnswer, FrameChoice, Header, HookAnswer, ScenarioConfig};

pub(crate) use engine::EngineWorld;
pub(crate) use host::{Host, Kind};
pub(crate) use sockets::SocketWorld;

/// Something that came from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String, String),
    Binary(String, Vec<u8>),
    Pong(String, Vec<u8>),
    /// The server closed a connection.
    Close(String, u16),
    /// The server process ended.
    Exit(i32),
}

impl Seen {
    /// The connection that it came on.
    pub(crate) fn conn(&self) -> Option<&str> {
        match self {
            Self::Text(conn, _)
            | Self::Binary(conn, _)
            | Self::Pong(conn, _)
            | Self::Close(conn, _) => Some(conn),
            Self::Exit(_) => None,
        }
    }
}

/// Why there is no server for a scenario.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// It does not want to start like this.
    #[error("the server does not start: {0}")]
    Refused(String),
    /// The target cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// Something went wrong.
    #[error("{0}")]
    Failed(String),
}

/// A server and its clients.
pub(crate) enum World {
    Engine(Box<EngineWorld>),
    Sockets(Box<SocketWorld>),
}

/// What could not be done.
pub(crate) type Done = Result<(), String>;

macro_rules! both {
    ($self:expr, $world:ident => $do:expr, $socket:ident => $await:expr) => {
        match $self {
            World::Engine($world) => $do,
            World::Sockets($socket) => $await,
        }
    };
}

impl World {
    pub(crate) async fn connect(&mut self, conn: &str, headers: &[(String, String)]) -> Done {
        both!(self, world => world.connect(conn), world => world.connect(conn, headers).await)
    }

    pub(crate) async fn send(&mut self, conn: &str, frame: Frame) -> Done {
        both!(self, world => world.send(conn, frame), world => world.send(conn, frame).await)
    }

    pub(crate) async fn ping(&mut self, conn: &str, data: Vec<u8>) -> Done {
        both!(self, world => world.ping(conn, data), world => world.ping(conn, data).await)
    }

    pub(crate) async fn close(&mut self, conn: &str, code: u16) -> Done {
        both!(self, world => world.close(conn), world => world.close(conn, code).await)
    }

    pub(crate) async fn publish(&mut self, channel: &str, text: &str) -> Done {
        both!(self, world => world.publish(channel, text), world => world.publish(channel, text).await)
    }

    pub(crate) async fn shut_down(&mut self) -> Done {
        both!(self, world => world.shut_down(), world => world.shut_down().await)
    }

    pub(crate) async fn kill(&mut self) -> Done {
        both!(self, world => world.kill(), world => world.kill().await)
    }

    pub(crate) async fn start(&mut self) -> Done {
        both!(self, world => world.start(), world => world.start().await)
    }

    /// True if a client can act on this connection.
    pub(crate) fn is_open(&self, conn: &str) -> bool {
        both!(self, world => world.is_open(conn), world => world.is_open(conn))
    }

    /// How many silences were watched for less time than was asked for.
    pub(crate) fn shortened(&self) -> usize {
        match self {
            Self::Engine(_) => 0,
            Self::Sockets(world) => world.shortened,
        }
    }

    /// What comes next from the server, if anything does within that time.
    pub(crate) async fn next(&mut self, patience: Duration) -> Option<Seen> {
        both!(self, world => world.next(patience), world => world.next(patience).await)
    }

    /// Gives everything time to arrive that what was done can cause, and what comes by itself
    /// within that time.
    pub(crate) async fn settle(&mut self, quiet: Duration) {
        both!(self, world => world.settle(quiet), world => world.settle(quiet).await);
    }

    /// The end of the scenario.
    pub(crate) async fn finish(self) {
        if let Self::Sockets(world) = self {
            world.finish().await;
        }
    }
}

/// The configuration of our own server for a scenario.
pub(crate) fn server_config(config: &ScenarioConfig) -> Result<Config, String> {
    let mut server = Config::default();
    let engine = &mut server.engine;
    engine.authentication = config.authentication;
    engine.hook = config.auth_hook.is_some();
    engine.hooks.join = config.join_hook.is_some();
    engine.hooks.frame = config.frame_hook.is_some();
    engine.dynamic_rooms = config.dynamic_rooms;
    for (name, value) in &config.settings {
        let invalid = || format!("setting '{name}': {value} is not understood");
        let number = || value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(invalid);
        let seconds = || value.as_f64().map(Duration::from_secs_f64).ok_or_else(invalid);
        match name.as_str() {
            "rate-limit" => {
                let rate = engine.rate.unwrap_or_default();
                let units_per_second = u32::try_from(number()?).map_err(|_| invalid())?;
                engine.rate =
                    (units_per_second > 0).then_some(RateLimit { units_per_second, ..rate });
            }
            "rate-burst" => {
                let burst = u32::try_from(number()?).map_err(|_| invalid())?;
                engine.rate = engine.rate.map(|rate| RateLimit { burst, ..rate });
            }
            "max-message-size" => engine.limits.message = number()?,
            "max-rooms-per-peer" => engine.limits.rooms_per_peer = number()?,
            "max-connections" => engine.connections.total = number()?,
            "max-connections-per-address" => engine.connections.per_address = number()?,
            "max-unauthenticated" => engine.connections.unauthenticated = number()?,
            "auth-timeout" => engine.auth_timeout = seconds()?,
            "session-user" => match value.as_str() {
                Some("required") => engine.sessions.user_optional = false,
                Some("optional") => engine.sessions.user_optional = true,
                _ => return Err(invalid()),
            },
            "session-public" => {
                let names = value.as_str().ok_or_else(invalid)?.split(',').map(Into::into);
                engine.sessions.public = PublicMembers::Only(names.collect());
            }
            "presence" => {
                engine.presence = match value.as_str() {
                    Some("full") => PresenceMode::Full,
                    Some("classic") => PresenceMode::Classic,
                    _ => return Err(invalid()),
                };
            }
            "room-send" => {
                engine.room_send = match value.as_str() {
                    Some("auto") => RoomSend::Auto,
                    Some("members") => RoomSend::Members,
                    Some("anyone") => RoomSend::Anyone,
                    _ => return Err(invalid()),
                };
            }
            _ => return Err(format!("there is no setting '{name}'")),
        }
    }
    Ok(server)
}

/// What our hook says where the described hook would return this, or throw.
pub(crate) fn decide(answer: &HookAnswer) -> AuthDecision {
    let value = answer.value();
    if answer.throws.is_some() || value["allowed"] != true {
        let message = value["message"].as_str().filter(|_| answer.throws.is_none());
        return AuthDecision::deny(message.unwrap_or_default());
    }
    let rooms = value["rooms"].as_array().into_iter().flatten().filter_map(|room| room.as_str());
    // On the Node server a hook cannot say who it is.
    let mut decision = AuthDecision::allow_claimed().rooms(rooms);
    if value["readonly"] == true {
        decision = decision.read_only();
    }
    if value["hidden"] == true {
        decision = decision.hidden();
    }
    decision
}

/// What our hook about joins says where the described one would return this, or throw.
pub(crate) fn decide_join(answer: Option<&HookAnswer>) -> JoinDecision {
    let Some(answer) = answer.filter(|answer| answer.throws.is_none()) else {
        return JoinDecision::deny("");
    };
    let value = answer.value();
    if value["allowed"] == true {
        JoinDecision::allow()
    } else {
        JoinDecision::deny(value["message"].as_str().unwrap_or_default())
    }
}

/// What our hook about frames says where the described one would decide this.
pub(crate) fn decide_frame(answer: Option<&FrameAnswer>) -> Result<FrameDecision, &'static str> {
    let Some(answer) = answer else { return Ok(FrameDecision::pass()) };
    Ok(match &answer.decision {
        FrameChoice::Pass => FrameDecision::pass(),
        FrameChoice::Drop => FrameDecision::discard(),
        FrameChoice::Replace(frame) => FrameDecision::replace(frame.as_str()),
        FrameChoice::Answer(frame) => FrameDecision::answer(frame.as_str()),
        FrameChoice::Refuse { status, message } => {
            FrameDecision::refuse_with(Status(*status), message.as_str())
        }
        FrameChoice::Fail => return Err("the scenario wants it to fail"),
    })
}

/// How long the slowest answer of a scenario's hooks takes.
pub(crate) fn slowest_answer(header: &Header) -> Duration {
    let ScenarioConfig { auth_hook, join_hook, frame_hook, .. } = &header.config;
    let hooks = [auth_hook, join_hook].into_iter().flatten();
    let answers = hooks.flat_map(BTreeMap::values).map(|answer| answer.delay_ms);
    let frames = frame_hook.iter().flat_map(BTreeMap::values).map(|answer| answer.delay_ms);
    Duration::from_millis(answers.chain(frames).flatten().max().unwrap_or(0))
}
