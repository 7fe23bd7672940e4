//! What transcripts are replayed against.

use std::{fmt, net::ToSocketAddrs, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use crate::{
    deviation::{Declarations, Expectation},
    redis::Redis,
    replay::{Failure, replay},
    transcript::{Event, Transcript},
    world::{EngineWorld, Kind, SocketWorld, StartError, World},
};

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
    /// A server that this command starts, with PORT and `SYMPLE_*` set.
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
                Some(("command", command)) => Ok(Self::Command(command.into())),
                Some(("node", folder)) => Ok(Self::Node(folder.into())),
                _ => Err(format!(
                    "there is no target '{text}': engine, tokio, async-std, ws://HOST:PORT, \
                     command:CMD or node:DIR"
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
            Self::Command(command) => write!(f, "command:{command}"),
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
    },
    /// Something was not.
    Failed(Failure),
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

    /// How long it must be quiet until nothing more comes: the original server answers a ping
    /// while it still waits for Redis, and strangers may do worse.
    fn least_quiet(&self) -> Duration {
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

    async fn world(
        &self,
        transcript: &Transcript,
        redis: &mut Option<Arc<Redis>>,
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
        let world = SocketWorld::new(kind, header, redis, self.least_quiet()).await?;
        Ok(World::Sockets(Box::new(world)))
    }

    /// Replays a transcript. The Redis is started when it is first needed. What is expected may
    /// take so much longer than it took when it was recorded.
    pub async fn run(
        &self,
        transcript: &Transcript,
        declarations: &Declarations,
        redis: &mut Option<Arc<Redis>>,
        patience: Duration,
    ) -> Verdict {
        let failed = |expected: &str, seen: String| {
            Verdict::Failed(Failure { seq: 0, expected: expected.into(), seen })
        };
        let expectation = match self.expectation(transcript, declarations) {
            Ok(expectation) => expectation,
            Err(problem) => return failed("a declaration that fits", problem),
        };
        let stops = |event: &Event| {
            matches!(event, Event::ServerShutdown | Event::ServerKill | Event::ServerStart)
        };
        if matches!(self, Self::Url(_)) && expectation.steps.iter().any(|(_, event)| stops(event)) {
            return Verdict::Skipped("needs a server that can be stopped from here".into());
        }
        let mut world = match self.world(transcript, redis).await {
            Ok(world) => world,
            Err(StartError::Unsupported(reason)) => return Verdict::Skipped(reason),
            Err(StartError::Refused(_)) if expectation.no_start => {
                return Verdict::Passed { because: expectation.because };
            }
            Err(error) => return failed("a server", error.to_string()),
        };
        let result = if expectation.no_start {
            let (seq, expected, seen) = (0, "no server".into(), "it starts".into());
            Err(Failure { seq, expected, seen })
        } else {
            replay(transcript, &expectation, &mut world, patience).await
        };
        world.finish().await;
        match result {
            Ok(()) => Verdict::Passed { because: expectation.because },
            Err(failure) => Verdict::Failed(failure),
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
            "command:symple serve --drain 1",
            "node:/some/where",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert!("nowhere".parse::<Target>().unwrap_err().contains("there is no target"));
    }
}
