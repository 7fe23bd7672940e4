//! Where values come from: flags, then the environment, then `.env`, then the defaults.

use std::{collections::HashMap, fmt, path::Path};

use clap::ArgMatches;
use symple_driver::RedisConfig;
use thiserror::Error;

use super::table::{SETTINGS, Setting};

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

/// Why the file `.env` cannot be used.
#[derive(Debug, Error)]
#[error(".env: {0}")]
pub(crate) struct DotEnvError(dotenvy::Error);

/// The values as they were written.
#[derive(Debug)]
pub(crate) struct Source {
    values: HashMap<&'static str, (String, Origin)>,
}

impl Source {
    /// Collects the values. A variable that is empty counts as one that is not set, as with the
    /// Node server.
    pub(crate) fn collect(
        flags: &ArgMatches,
        environment: impl Fn(&str) -> Option<String>,
        dot_env: &HashMap<String, String>,
    ) -> Self {
        let find = |setting: &Setting| {
            // Some commands have flags for some settings only.
            let flag = flags.try_get_one::<String>(setting.name).ok().flatten();
            if let Some(value) = flag {
                return (value.clone(), Origin::Flag);
            }
            for name in setting.env {
                let filled = |value: &String| !value.trim().is_empty();
                if let Some(value) = environment(name).filter(filled) {
                    return (value, Origin::Environment(name));
                }
                if let Some(value) = dot_env.get(*name).filter(|value| filled(value)) {
                    return (value.clone(), Origin::DotEnv(name));
                }
            }
            (setting.default.into(), Origin::Default)
        };
        let values = SETTINGS.iter().map(|setting| (setting.name, find(setting))).collect();
        Self { values }
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
            "redis-password" => "…".into(),
            "redis-url" => RedisConfig::new(value).map_or("…".into(), |redis| redis.address()),
            _ => value.into(),
        }
    }
}

/// Reads a `.env` file; none is as good as an empty one.
pub(crate) fn read_dot_env(path: &Path) -> Result<HashMap<String, String>, DotEnvError> {
    match dotenvy::from_path_iter(path) {
        Ok(pairs) => pairs.collect::<Result<_, _>>().map_err(DotEnvError),
        Err(dotenvy::Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(HashMap::new())
        }
        Err(error) => Err(DotEnvError(error)),
    }
}
