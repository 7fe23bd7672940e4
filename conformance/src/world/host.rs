//! Where a server runs whose sockets are real.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use symple_async_std::AsyncStd;
use symple_driver::{
    AuthDecision, Config, FrameRequest, JoinRequest, RedisConfig, Server, ServerBuilder,
    runtime::Runtime,
};
use symple_tokio::Tokio;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    process::{Child, Command},
    sync::mpsc::UnboundedSender,
    time::{Instant, sleep, timeout},
};

use crate::{
    port::free_port,
    redis::Redis,
    transcript::{FrameAnswer, Header, HookAnswer},
};

use super::{Done, Seen, StartError, decide, decide_frame, decide_join, server_config};

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a server that does not start is started again, elsewhere.
const ATTEMPTS: usize = 3;

/// The program that runs the original server.
const NODE_SERVER: &str = include_str!("../../js/node-server.cjs");

/// What kind of server it is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Ours, in this process, on tokio.
    Tokio,
    /// Ours, in this process, on async-std.
    AsyncStd,
    /// Any server that runs already.
    Address(SocketAddr),
    /// Any server that a command starts.
    Command(String),
    /// The original server, in this folder.
    Node(PathBuf),
}

/// A server.
enum Running {
    Ours(Server),
    Child {
        child: tokio::sync::oneshot::Sender<()>,
        id: u32,
        /// Only then its end is part of the scenario.
        listens: Arc<AtomicBool>,
        stdin: Option<tokio::process::ChildStdin>,
    },
    Elsewhere,
}

/// A server that can be killed and started again at the same address.
pub(crate) struct Host {
    kind: Kind,
    header: Header,
    pub(crate) address: SocketAddr,
    redis: Option<Arc<Redis>>,
    running: Option<Running>,
    seen: UnboundedSender<Seen>,
}

impl Host {
    pub(crate) async fn start(
        kind: Kind,
        header: &Header,
        redis: Option<Arc<Redis>>,
        seen: UnboundedSender<Seen>,
    ) -> Result<Self, StartError> {
        let address = match &kind {
            Kind::Address(address) => *address,
            _ => free_address()?,
        };
        let mut host = Self { kind, header: header.clone(), address, redis, running: None, seen };
        for _ in 0..ATTEMPTS {
            match host.boot().await {
                // Perhaps only because something else has taken the port.
                Err(StartError::Refused(_)) => host.address = free_address()?,
                result => return result.map(|()| host),
            }
        }
        host.boot().await.map(|()| host)
    }

    async fn boot(&mut self) -> Result<(), StartError> {
        let running = match self.kind.clone() {
            Kind::Tokio => self.start_ours::<Tokio, _>(sleep)?,
            Kind::AsyncStd => self.start_ours::<AsyncStd, _>(async_std::task::sleep)?,
            Kind::Address(_) => self.check_elsewhere()?,
            Kind::Command(command) => self.start_command(&command)?,
            Kind::Node(folder) => self.start_node(&folder)?,
        };
        self.running = Some(running);
        self.wait_until_it_listens().await
    }

    /// What a server that runs already can be used for is what needs nothing special.
    fn check_elsewhere(&self) -> Result<Running, StartError> {
        let config = &self.header.config;
        let special = config.authentication
            || config.redis
            || config.auth_hook.is_some()
            || config.has_own_hooks()
            || !config.dynamic_rooms
            || !config.settings.is_empty();
        if special {
            let reason = "needs a server that is set up for it";
            return Err(StartError::Unsupported(reason.into()));
        }
        Ok(Running::Elsewhere)
    }

    fn config(&self) -> Result<Config, StartError> {
        server_config(&self.header.config).map_err(StartError::Unsupported)
    }

    /// Starts our server on a runtime, whose timers the hook waits on.
    fn start_ours<R: Runtime, F: Future<Output = ()> + Send + 'static>(
        &self,
        sleep: fn(Duration) -> F,
    ) -> Result<Running, StartError> {
        let mut builder =
            ServerBuilder::<R>::new().config(self.config()?).bind(self.address.to_string());
        if let Some(redis) = &self.redis {
            let config = RedisConfig::new(redis.url())
                .map_err(|error| StartError::Failed(error.to_string()))?;
            builder = builder.redis(config);
        }
        if let Some(hook) = self.header.config.auth_hook.clone() {
            let hook = Arc::new(hook);
            builder = builder.authenticate(move |request| {
                let hook = Arc::clone(&hook);
                async move {
                    let token = request.token().unwrap_or_default();
                    let Some(answer) = HookAnswer::find(&hook, &token) else {
                        return AuthDecision::deny("");
                    };
                    sleep(Duration::from_millis(answer.delay_ms.unwrap_or(0))).await;
                    decide(answer)
                }
            });
        }
        if let Some(hook) = self.header.config.join_hook.clone() {
            let hook = Arc::new(hook);
            builder = builder.on_join(move |request: JoinRequest| {
                let hook = Arc::clone(&hook);
                async move {
                    let credential = request.credential().unwrap_or_default();
                    let answer = HookAnswer::find(&hook, &credential);
                    let delay = answer.and_then(|answer| answer.delay_ms);
                    sleep(Duration::from_millis(delay.unwrap_or(0))).await;
                    decide_join(answer)
                }
            });
        }
        if let Some(hook) = self.header.config.frame_hook.clone() {
            let hook = Arc::new(hook);
            builder = builder.on_frame_async(move |request: FrameRequest| {
                let hook = Arc::clone(&hook);
                async move {
                    let answer = FrameAnswer::find(&hook, &request.text);
                    let delay = answer.and_then(|answer| answer.delay_ms);
                    sleep(Duration::from_millis(delay.unwrap_or(0))).await;
                    decide_frame(answer)
                }
            });
        }
        let started = builder.start().map(Running::Ours);
        started.map_err(|error| StartError::Refused(error.to_string()))
    }

    fn start_command(&self, command: &str) -> Result<Running, StartError> {
        let config = &self.header.config;
        if config.auth_hook.is_some() || config.has_own_hooks() {
            return Err(StartError::Unsupported("needs a hook, which a command has not".into()));
        }
        let port = self.address.port().to_string();
        let words = shlex::split(command).ok_or_else(|| {
            StartError::Failed(format!("a quotation mark in '{command}' has no end"))
        })?;
        let mut words = words.into_iter().map(|word| with_port(&word, &port));
        let program =
            words.next().ok_or_else(|| StartError::Failed("the command is empty".into()))?;
        let mut command = Command::new(program);
        command
            .args(words)
            .env("PORT", self.address.port().to_string())
            .env("SYMPLE_PORT", self.address.port().to_string())
            .env("SYMPLE_AUTHENTICATION", config.authentication.to_string())
            .env("SYMPLE_DYNAMIC_ROOMS", config.dynamic_rooms.to_string())
            .env("SYMPLE_SESSION_TTL", config.session_ttl.to_string());
        for (name, value) in &config.settings {
            let value = value.as_str().map_or_else(|| value.to_string(), Into::into);
            command.env(format!("SYMPLE_{}", name.to_uppercase().replace('-', "_")), value);
        }
        match &self.redis {
            Some(redis) => drop(command.env("SYMPLE_REDIS_URL", redis.url())),
            None => drop(command.env_remove("SYMPLE_REDIS_URL").env_remove("REDIS_URL")),
        }
        self.spawn(command)
    }

    fn start_node(&self, folder: &std::path::Path) -> Result<Running, StartError> {
        let config = &self.header.config;
        if config.has_own_hooks() {
            let reason = "needs hooks about joins or frames, which the Node server has not";
            return Err(StartError::Unsupported(reason.into()));
        }
        let settings = json!({
            "port": self.address.port(),
            "authentication": config.authentication,
            "dynamicRooms": config.dynamic_rooms,
            "sessionTTL": config.session_ttl,
            "redis": self.redis.as_ref().map(|redis| redis.url()),
            "hook": config.auth_hook,
        });
        let mut command = Command::new("node");
        command.arg("-e").arg(NODE_SERVER).arg("--").arg(folder).arg(settings.to_string());
        command.env_remove("PORT").env_remove("DEBUG");
        self.spawn(command)
    }

    /// Starts a process, and tells when it has ended by itself.
    fn spawn(&self, mut command: Command) -> Result<Running, StartError> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| StartError::Failed(format!("cannot start the server: {error}")))?;
        let stdin = child.stdin.take();
        let id = child.id().unwrap_or_default();
        let (kill, killed) = tokio::sync::oneshot::channel();
        let listens = Arc::new(AtomicBool::new(false));
        tokio::spawn(watch(child, killed, Arc::clone(&listens), self.seen.clone()));
        Ok(Running::Child { child: kill, id, listens, stdin })
    }

    fn check_that_it_lives(&self) -> Result<(), StartError> {
        match &self.running {
            Some(Running::Child { child, .. }) if child.is_closed() => {
                Err(StartError::Refused("the process ends".into()))
            }
            _ => Ok(()),
        }
    }

    async fn wait_until_it_listens(&mut self) -> Result<(), StartError> {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).await.is_err() {
            self.check_that_it_lives()?;
            if Instant::now() > until {
                return Err(StartError::Failed(format!("nothing listens on {}", self.address)));
            }
            sleep(Duration::from_millis(10)).await;
        }
        if let Some(Running::Child { listens, .. }) = &self.running {
            listens.store(true, Ordering::Relaxed);
        }
        // A server that takes what is published has said so to Redis.
        if let Some(redis) = &self.redis {
            while redis.subscribers().await.map_err(StartError::Failed)? == 0 {
                if Instant::now() > until {
                    return Err(StartError::Failed("nobody subscribes to symple:broadcast".into()));
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    /// Asks the server to shut down.
    pub(crate) async fn shut_down(&mut self) -> Done {
        match &mut self.running {
            Some(Running::Ours(_)) => {
                let Some(Running::Ours(server)) = self.running.take() else { return Ok(()) };
                let seen = self.seen.clone();
                tokio::spawn(async move {
                    let ended = server.shutdown(Duration::ZERO).await;
                    let _ = seen.send(Seen::Exit(i32::from(ended.is_err())));
                });
                Ok(())
            }
            Some(Running::Child { stdin: Some(stdin), .. })
                if matches!(self.kind, Kind::Node(_)) =>
            {
                stdin.write_all(b"shutdown\n").await.map_err(|error| error.to_string())
            }
            Some(Running::Child { id, .. }) => {
                let id = id.to_string();
                let killed = Command::new("sh").args(["-c", &format!("kill {id}")]).status().await;
                killed.map(drop).map_err(|error| error.to_string())
            }
            _ => Err("the server cannot be shut down from here".into()),
        }
    }

    /// Kills the server.
    pub(crate) fn kill(&mut self) -> Done {
        match self.running.take() {
            Some(Running::Ours(server)) => drop(server),
            Some(Running::Child { child, .. }) => drop(child.send(())),
            Some(Running::Elsewhere) => return Err("the server cannot be killed from here".into()),
            None => {}
        }
        Ok(())
    }

    /// Starts a server again.
    pub(crate) async fn start_again(&mut self) -> Done {
        // The one before may not be gone yet.
        let until = Instant::now() + PATIENCE;
        loop {
            match self.boot().await {
                Err(StartError::Refused(_)) if Instant::now() < until => {
                    sleep(Duration::from_millis(20)).await;
                }
                result => return result.map_err(|error| error.to_string()),
            }
        }
    }

    /// Publishes a text on Redis.
    pub(crate) async fn publish(&self, channel: &str, text: &str) -> Done {
        match &self.redis {
            Some(redis) => redis.publish(channel, text).await,
            None => Err("there is no Redis".into()),
        }
    }
}

/// Waits for the end of a process, or ends it.
async fn watch(
    mut child: Child,
    mut killed: tokio::sync::oneshot::Receiver<()>,
    listens: Arc<AtomicBool>,
    seen: UnboundedSender<Seen>,
) {
    tokio::select! {
        status = child.wait() => {
            let code = status.ok().and_then(|status| status.code()).unwrap_or(-1);
            drop(killed);
            if listens.load(Ordering::Relaxed) {
                let _ = seen.send(Seen::Exit(code));
            }
        }
        _ = &mut killed => {
            let _ = child.start_kill();
            let _ = timeout(PATIENCE, child.wait()).await;
        }
    }
}

/// A word of a command with the port in the place of PORT, where that is a word of its own:
/// `--port=PORT` and `127.0.0.1:PORT`, not `SYMPLE_PORT`.
fn with_port(word: &str, port: &str) -> String {
    const NAME: &str = "PORT";
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(NAME) {
        let (before, after) = (&rest[..at], &rest[at + NAME.len()..]);
        out.push_str(before);
        let alone = !out.ends_with(is_of_name) && !after.starts_with(is_of_name);
        out.push_str(if alone { port } else { NAME });
        rest = after;
    }
    out + rest
}

/// An address where nobody listens.
fn free_address() -> Result<SocketAddr, StartError> {
    let port = free_port().map_err(|error| StartError::Failed(error.to_string()))?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_takes_its_place() {
        for (word, expected) in [
            ("PORT", "9"),
            ("--port=PORT", "--port=9"),
            ("127.0.0.1:PORT/x", "127.0.0.1:9/x"),
            ("SYMPLE_PORT=PORT", "SYMPLE_PORT=9"),
            ("PORTS", "PORTS"),
            ("PORT,PORT", "9,9"),
        ] {
            assert_eq!(with_port(word, "9"), expected);
        }
    }
}
