//! Where values come from: flags, then the environment, then `.env`, then the defaults.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use clap::ArgMatches;
use symple_driver::{HttpEndpoint, RedisConfig};
use thiserror::Error;

use crate::text::one_line;

use super::{
    dot_env, ignored,
    table::{PORT, SETTINGS, Setting},
};

/// How large a file `.env` may be, in bytes.
const MAX_DOT_ENV: u64 = 1024 * 1024;
/// How much is shown of a value.
const SHOWN: usize = 200;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag.
    Flag,
    /// A variable of the process.
    Environment(&'static str),
    /// A variable of the file `.env`.
    DotEnv(&'static str),
    /// Nowhere else.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "{name}"),
            Self::DotEnv(name) => write!(f, "{name} in .env"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why the file `.env` cannot be used. No content of it is ever repeated: much of it is secret.
#[derive(Debug, Error)]
pub(crate) enum DotEnvError {
    /// It cannot be read.
    #[error("cannot read .env: {0}")]
    Read(#[from] io::Error),
    /// It is something else.
    #[error("cannot read .env: it is larger than 1 MiB")]
    TooLarge,
}

/// The values as they were written.
#[derive(Debug)]
pub(crate) struct Source {
    values: HashMap<&'static str, (String, Origin)>,
    /// Variables that are set and count for nothing.
    ignored: Vec<Origin>,
    /// A line for each variable that is named as ours are and is none.
    unknown: Vec<String>,
}

impl Source {
    /// Collects the values. A variable that is empty counts as one that is not set, as with the
    /// Node server. So does a port that is the link to a service: Kubernetes sets `REDIS_PORT` to
    /// `tcp://10.96.0.9:6379` in every container where there is a service named `redis`.
    pub(crate) fn collect(
        flags: &ArgMatches,
        environment: impl Fn(&str) -> Option<String>,
        dot_env: &HashMap<String, String>,
    ) -> Self {
        let mut ignored = Vec::new();
        let mut find = |setting: &Setting| {
            // Some commands have flags for some settings only.
            let flag = flags.try_get_many::<String>(setting.name).ok().flatten();
            if let Some(values) = flag {
                let values: Vec<_> = values.map(String::as_str).collect();
                return (values.join(","), Origin::Flag);
            }
            for name in setting.env {
                let variables = [
                    (environment(name), Origin::Environment(name)),
                    (dot_env.get(*name).cloned(), Origin::DotEnv(name)),
                ];
                for (value, origin) in variables {
                    let Some(value) = value.filter(|value| !value.trim().is_empty()) else {
                        continue;
                    };
                    if setting.value == PORT && is_link(&value) {
                        ignored.push(origin);
                    } else {
                        return (value, origin);
                    }
                }
            }
            (setting.default.into(), Origin::Default)
        };
        let values = SETTINGS.iter().map(|setting| (setting.name, find(setting))).collect();
        let dot_env = dot_env.iter().map(|(name, value)| (name.clone(), value.clone()));
        let unknown = ignored::unknown(dot_env, " in .env");
        Self { values, ignored, unknown }
    }

    /// Looks for variables of the process that are named as ours are and are none.
    pub(crate) fn look_through(&mut self, environment: impl Iterator<Item = (String, String)>) {
        self.unknown.extend(ignored::unknown(environment, ""));
    }

    /// A line for each setting of a server that differs from its default and does nothing.
    pub(crate) fn without_effect(&self) -> Vec<String> {
        ignored::without_effect(self)
    }

    /// A line for each variable that does not count.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let links = self.ignored.iter().map(|origin| {
            format!(
                "{origin} is ignored: it is no port, but the link that Kubernetes sets where a \
                 service has this name (enableServiceLinks: false turns that off)"
            )
        });
        links.chain(self.unknown.iter().cloned())
    }

    /// The value of a setting and where it came from.
    pub(crate) fn get(&self, name: &str) -> (&str, &Origin) {
        let (value, origin) = &self.values[name];
        (value.trim(), origin)
    }

    /// The value of a setting as it may be shown: without secrets.
    pub(crate) fn shown(&self, name: &str) -> String {
        let (value, _) = self.get(name);
        match name {
            _ if value.is_empty() => "-".into(),
            "redis-password" | "admin-key" | "jwt-secret" | "webhook-secret" => "…".into(),
            "auth-url" | "webhook-url" => url(value),
            "jwt-jwks" if is_url(value) => url(value),
            "redis-url" => RedisConfig::new(value)
                .map_or("…".into(), |redis| one_line(&redis.address(), SHOWN)),
            _ => one_line(value, SHOWN),
        }
    }
}

/// True for what is fetched over HTTP, and is no file.
pub(crate) fn is_url(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    value.starts_with("http://") || value.starts_with("https://")
}

/// A URL as it may be shown: its query may be secret.
fn url(value: &str) -> String {
    HttpEndpoint::new(value).map_or("…".into(), |url| one_line(&url.to_string(), SHOWN))
}

/// True for what Kubernetes sets where a service has the name that the variable begins with.
pub(super) fn is_link(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.trim_start().starts_with(scheme))
}

/// Reads a `.env` file; none is as good as an empty one, and so is a folder of that name. What is
/// no UTF-8 is replaced, as Node does.
pub(crate) fn read_dot_env(path: &Path) -> Result<HashMap<String, String>, DotEnvError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_DOT_ENV + 1).read_to_end(&mut bytes));
    match read {
        Ok(size) if size as u64 > MAX_DOT_ENV => return Err(DotEnvError::TooLarge),
        Ok(_) => {}
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) =>
        {
            return Ok(HashMap::new());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(dot_env::parse(&String::from_utf8_lossy(&bytes)).into_iter().collect())
}
