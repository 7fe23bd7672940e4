//! What transcripts are replayed against.

use std::{fmt, net::ToSocketAddrs, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use crate::{
    deviation::{Declarations, Expectation},
    redis::Redis,
    replay::{Failure, replay},
    runner::RunOptions,
    transcript::{Event, Transcript},
    world::{EngineWorld, Kind, SocketWorld, StartError, World},
};

/// How long a running server may take to accept a connection, before anything is replayed.
const CONNECT: Duration = Duration::from_secs(5);

/// What transcripts are replayed against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The bare engine in this process, on virtual time.
    Engine,
    /// Our server on tokio, in this process, on real sockets.
    Tokio,
    /// Our server on async-std, in this process, on real sockets.
    AsyncStd,
    /// A server that runs.
    Url(String),
    /// A server that this command line starts: the word PORT in it is the port, and the variables PORT
    /// and `SYMPLE_*` are set.
    Command(String),
    /// The original server in this folder.
    Node(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "engine" => Ok(Self::Engine),
            "tokio" => Ok(Self::Tokio),
            "async-std" => Ok(Self::AsyncStd),
            _ if text.starts_with("ws://") => Ok(Self::Url(text.into())),
            _ => match text.split_once(':') {
                Some(("cmd" | "command", command)) => Ok(Self::Command(command.into())),
                Some(("node", folder)) => Ok(Self::Node(folder.into())),
                _ => Err(format!(
                    "there is no target '{text}': engine, tokio, async-std, ws://HOST:PORT, \
                     cmd:COMMAND or node:DIR"
                )),
            },
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine => f.write_str("engine"),
            Self::Tokio => f.write_str("tokio"),
            Self::AsyncStd => f.write_str("async-std"),
            Self::Url(url) => f.write_str(url),
            Self::Command(command) => write!(f, "cmd:{command}"),
            Self::Node(folder) => write!(f, "node:{}", folder.display()),
        }
    }
}

/// What became of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was as expected; with these deviations from what was recorded.
    Passed {
        /// Their names.
        because: Vec<String>,
        /// How many silences were watched for less time than was recorded.
        shortened: usize,
    },
    /// Something was not: all that was not, at least one.
    Failed(Vec<Failure>),
    /// The target cannot do what the transcript needs.
    Skipped(String),
}

impl Target {
    /// What is expected of this target: of the original server what was recorded, of all others
    /// what the specification wants.
    ///
    /// # Errors
    /// A declaration that does not fit the transcript.
    pub fn expectation(
        &self,
        transcript: &Transcript,
        declarations: &Declarations,
    ) -> Result<Expectation, String> {
        match self {
            Self::Node(_) => Ok(Expectation::as_recorded(transcript)),
            _ => declarations.apply(transcript),
        }
    }

    /// For how long a silence is watched on sockets, however long it was recorded, unless
    /// [`RunOptions::whole_silences`] says otherwise. Afterwards nothing more comes: the original server answers a ping
    /// while it still waits for Redis, and strangers may do worse.
    #[must_use]
    pub fn watched_silence(&self) -> Duration {
        match self {
            Self::Engine | Self::Tokio | Self::AsyncStd => Duration::from_millis(20),
            Self::Url(_) | Self::Command(_) | Self::Node(_) => Duration::from_millis(150),
        }
    }

    /// What kind of server it is, if it is one on sockets.
    pub(crate) fn kind(&self) -> Result<Kind, StartError> {
        Ok(match self {
            Self::Engine => return Err(StartError::Failed("the engine has no sockets".into())),
            Self::Tokio => Kind::Tokio,
            Self::AsyncStd => Kind::AsyncStd,
            Self::Url(url) => {
                let host = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
                let mut found =
                    host.to_socket_addrs().map_err(|e| StartError::Failed(e.to_string()))?;
                let none = || StartError::Failed(format!("there is no address for {host}"));
                Kind::Address(found.next().ok_or_else(none)?)
            }
            Self::Command(command) => Kind::Command(command.clone()),
            Self::Node(folder) => Kind::Node(folder.clone()),
        })
    }

    /// Looks whether somebody listens where a running server should be. For other targets, which are
    /// started when they are needed, there is nothing to look at.
    ///
    /// # Errors
    /// A line that says that nobody does, and why.
    pub async fn check_reachable(&self) -> Result<(), String> {
        let Self::Url(url) = self else { return Ok(()) };
        let unreachable = |why: &dyn fmt::Display| format!("cannot connect to {url}: {why}");
        let Kind::Address(address) = self.kind().map_err(|error| unreachable(&error))? else {
            return Ok(());
        };
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(unreachable(&error)),
            Err(_) => Err(unreachable(&"no answer")),
        }
    }

    pub(crate) async fn world(
        &self,
        transcript: &Transcript,
        redis: &mut Option<Arc<Redis>>,
        whole_silences: bool,
    ) -> Result<World, StartError> {
        let header = &transcript.header;
        if *self == Self::Engine {
            return EngineWorld::new(header).map(|world| World::Engine(Box::new(world)));
        }
        let kind = self.kind()?;
        let redis = if header.config.redis {
            if redis.is_none() {
                *redis = Some(Arc::new(Redis::start().await.map_err(StartError::Failed)?));
            }
            if let Some(redis) = redis {
                redis.reset(header.redis.stored()).await.map_err(StartError::Failed)?;
            }
            redis.clone()
        } else {
            None
        };
        let watched = (!whole_silences).then(|| self.watched_silence());
        let world = SocketWorld::new(kind, header, redis, watched).await?;
        Ok(World::Sockets(Box::new(world)))
    }

    /// Replays a transcript. The Redis is started when it is first needed.
    pub async fn run(
        &self,
        transcript: &Transcript,
        declarations: &Declarations,
        redis: &mut Option<Arc<Redis>>,
        options: RunOptions,
    ) -> Verdict {
        let failed = |expected: &str, seen: String| {
            Verdict::Failed(vec![Failure { seq: 0, expected: expected.into(), seen }])
        };
        let expectation = match self.expectation(transcript, declarations) {
            Ok(expectation) => expectation,
            Err(problem) => return failed("a declaration that fits", problem),
        };
        if matches!(self, Self::Node(_)) && !transcript.is_recorded() {
            return Verdict::Skipped("was not recorded from the original server".into());
        }
        let stops = |event: &Event| {
            matches!(event, Event::ServerShutdown | Event::ServerKill | Event::ServerStart)
        };
        if matches!(self, Self::Url(_)) && expectation.steps.iter().any(|step| stops(&step.event)) {
            return Verdict::Skipped("needs a server that can be stopped from here".into());
        }
        let mut world = match self.world(transcript, redis, options.whole_silences).await {
            Ok(world) => world,
            Err(StartError::Unsupported(reason)) => return Verdict::Skipped(reason),
            Err(StartError::Refused(_)) if expectation.no_start => {
                return Verdict::Passed { because: expectation.because, shortened: 0 };
            }
            Err(error) => return failed("a server", error.to_string()),
        };
        let result = if expectation.no_start {
            let (seq, expected, seen) = (0, "no server".into(), "it starts".into());
            Err(vec![Failure { seq, expected, seen }])
        } else {
            replay(transcript, &expectation, &mut world, options.patience).await
        };
        let shortened = world.shortened();
        world.finish().await;
        match result {
            Ok(()) => Verdict::Passed { because: expectation.because, shortened },
            Err(failures) => Verdict::Failed(failures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_written() {
        for text in [
            "engine",
            "tokio",
            "async-std",
            "ws://localhost:4500",
            "cmd:symple serve --port PORT",
            "node:/some/where",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert!("nowhere".parse::<Target>().unwrap_err().contains("there is no target"));
    }
}
