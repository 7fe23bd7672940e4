//! Values as what they mean.

use std::{
    fmt::Display, num::NonZeroUsize, path::PathBuf, str::FromStr, thread::available_parallelism,
    time::Duration,
};

use symple_driver::{Compression, Config, HttpEndpoint, ProxyHeader, RedisConfig};
use symple_engine::server::{PresenceMode, PublicMembers, RateLimit, RoomSend};
use symple_proto::PRIVATE_MEMBER;
use thiserror::Error;

use crate::{
    runtime::{RUNTIMES, Runtime},
    text::one_line,
};

use super::{
    jwt::JwtSource,
    places::{Place, PlaceTls},
    source::{Origin, Source},
};

/// How much is shown of a value that means nothing, so that there is room for what is wrong with it.
const SHOWN: usize = 80;
/// The longest time that a setting can mean, in seconds: some thirty years.
const MAX_SECONDS: f64 = 1e9;
/// The shortest, if it is not none at all: less is a mistake, and would keep a server busy.
const MIN_SECONDS: f64 = 0.001;
/// The largest message that may be allowed, in bytes.
const MAX_MESSAGE: usize = 1 << 30;

/// A value that means nothing, and where it was written.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("invalid value {value}for {setting} ({origin}): {problem}")]
pub(crate) struct ValueError {
    setting: &'static str,
    /// In quotes, with a space behind it; nothing if it must not be shown.
    value: String,
    origin: Origin,
    problem: String,
}

/// Why the settings make no sense.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum SettingsError {
    /// One of them.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// TLS without what it needs: never unencrypted instead (D-TLS).
    #[error("TLS is enabled (ssl-enabled) without {0}")]
    TlsIncomplete(&'static str),
    /// An API for operators that anybody may use.
    #[error(
        "{0} (admin) can be reached by others, and there is no key (admin-key): set one, or listen on \
         127.0.0.1"
    )]
    #[cfg(feature = "admin")]
    AdminOpen(std::net::SocketAddr),
    /// The same of one of several places.
    #[error(
        "{0} (listen) has no certificate: write ?cert=FILE&key=FILE behind it, or set ssl-cert and \
         ssl-key"
    )]
    PlaceIncomplete(String),
}

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Where the API for operators listens, and the key that it asks for.
#[cfg(feature = "admin")]
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AdminSettings {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) key: Option<String>,
}

#[cfg(feature = "admin")]
impl std::fmt::Debug for AdminSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminSettings").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(feature = "admin")]
impl AdminSettings {
    /// Reads the settings of the API for operators; none if it is off.
    fn read(reader: &Reader<'_>) -> Result<Option<Self>, SettingsError> {
        let key = admin_key(reader)?;
        if reader.text("admin").is_none() {
            return Ok(None);
        }
        let address: std::net::SocketAddr = reader.read("admin", |value| {
            let value = value
                .strip_prefix("localhost")
                .map_or(value.into(), |port| format!("127.0.0.1{port}"));
            value
                .parse()
                .map_err(|_| "must be an address and a port, such as 127.0.0.1:4501".into())
        })?;
        if key.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(SettingsError::AdminOpen(address));
        }
        Ok(Some(Self { address, key }))
    }
}

/// The key of the API for operators, for commands that are clients of it.
#[cfg(feature = "admin")]
pub(crate) fn read_admin_key(source: &Source) -> Result<Option<String>, SettingsError> {
    Ok(admin_key(&Reader(source))?)
}

/// The key of the API for operators. It is sent in a header.
#[cfg(feature = "admin")]
fn admin_key(reader: &Reader<'_>) -> Result<Option<String>, ValueError> {
    reader.read("admin-key", |key| match key {
        "" => Ok(None),
        key if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(key.into())),
        _ => Err("must be printable ASCII without spaces".into()),
    })
}

/// What `symple serve` runs with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) port: u16,
    /// Nothing is all addresses.
    pub(crate) hosts: Vec<String>,
    /// Instead of port and hosts.
    pub(crate) places: Vec<Place>,
    pub(crate) config: Config,
    pub(crate) tls: Option<Tls>,
    /// How tokens are checked, if they are.
    pub(crate) jwt: Option<JwtSource>,
    /// Who is asked about authentications.
    pub(crate) auth_url: Option<HttpEndpoint>,
    /// Who is told of peers.
    pub(crate) webhook_url: Option<HttpEndpoint>,
    pub(crate) drain: Duration,
    pub(crate) log_format: LogFormat,
    pub(crate) runtime: Runtime,
    #[cfg(feature = "admin")]
    pub(crate) admin: Option<AdminSettings>,
}

/// Reads values.
pub(super) struct Reader<'a>(pub(super) &'a Source);

impl Reader<'_> {
    pub(super) fn read<T>(
        &self,
        setting: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ValueError> {
        let (value, origin) = self.0.get(setting);
        parse(value).map_err(|problem| ValueError {
            setting,
            value: match origin {
                // A quote that is not closed makes other lines of the file part of the value.
                Origin::DotEnv(_) => String::new(),
                _ if value.is_empty() => "'' ".into(),
                _ => format!("'{}' ", one_line(&self.0.shown(setting), SHOWN)),
            },
            origin: origin.clone(),
            problem,
        })
    }

    fn number<T: FromStr>(&self, setting: &'static str, what: &str) -> Result<T, ValueError> {
        self.read(setting, |value| value.parse().map_err(|_| format!("must be {what}")))
    }

    fn count(&self, setting: &'static str) -> Result<usize, ValueError> {
        self.number(setting, "a number, 0 or more")
    }

    fn positive(&self, setting: &'static str) -> Result<usize, ValueError> {
        self.read(setting, |value| match value.parse() {
            Ok(0) | Err(_) => Err("must be a number, 1 or more".into()),
            Ok(number) => Ok(number),
        })
    }

    fn bool(&self, setting: &'static str) -> Result<bool, ValueError> {
        self.read(setting, |value| match value.to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("must be true or false (or 1, yes, on; 0, no, off)".into()),
        })
    }

    pub(super) fn seconds(&self, setting: &'static str) -> Result<Duration, ValueError> {
        self.read(setting, |value| match value.parse::<f64>() {
            Ok(0.0) => Ok(Duration::ZERO),
            Ok(seconds) if seconds > MAX_SECONDS => {
                Err("must be a number of seconds, at most 1000000000".into())
            }
            Ok(seconds) if seconds >= MIN_SECONDS => Ok(Duration::from_secs_f64(seconds)),
            Ok(seconds) if seconds > 0.0 => {
                Err("must be a number of seconds, 0 or at least 0.001".into())
            }
            _ => Err("must be a number of seconds, 0 or more".into()),
        })
    }

    pub(super) fn list<T: FromStr<Err: Display>>(
        &self,
        setting: &'static str,
    ) -> Result<Vec<T>, ValueError> {
        let (_, origin) = self.0.get(setting);
        let problem = |item: &str, error: T::Err| match origin {
            Origin::DotEnv(_) => error.to_string(),
            _ => format!("{}: {error}", one_line(item, SHOWN)),
        };
        self.read(setting, |value| {
            let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(|item| item.parse().map_err(|error| problem(item, error))).collect()
        })
    }

    pub(super) fn choice<T: Copy>(
        &self,
        setting: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, ValueError> {
        self.read(setting, |value| {
            let found = choices.iter().find(|(name, _)| value.eq_ignore_ascii_case(name));
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                format!("must be one of {}", names.join(", "))
            })
        })
    }

    pub(super) fn text(&self, setting: &'static str) -> Option<String> {
        let (value, _) = self.0.get(setting);
        (!value.is_empty()).then(|| value.into())
    }
}

/// What commands run with that need Redis and no server.
#[derive(Debug)]
pub(crate) struct RedisSettings {
    pub(crate) redis: Option<RedisConfig>,
    pub(crate) session_ttl: Option<Duration>,
    /// A session need not name its user.
    pub(crate) session_user_optional: bool,
}

impl RedisSettings {
    /// Reads the settings that are about Redis.
    pub(crate) fn read(source: &Source) -> Result<Self, SettingsError> {
        let reader = Reader(source);
        let session_ttl = reader.read("session-ttl", |value| {
            let minutes: Option<f64> = value.parse().ok();
            match minutes {
                Some(-1.0) => Ok(None),
                // Redis counts in whole seconds, and a session that lives for none is deleted.
                Some(minutes) if minutes * 60.0 >= 1.0 && minutes * 60.0 <= MAX_SECONDS => {
                    Ok(Some(Duration::from_secs_f64(minutes * 60.0)))
                }
                Some(minutes) if minutes * 60.0 > MAX_SECONDS => {
                    Err("must be a number of minutes, at most 16666666, or -1".to_owned())
                }
                _ => Err("must be a number of minutes that is a second or more, or -1".to_owned()),
            }
        })?;
        let parse = |url: &str| RedisConfig::new(url).map_err(|error| error.to_string());
        let (host, port) = (reader.text("redis-host"), reader.text("redis-port"));
        let protocol = || {
            let protocols = [("redis", "redis"), ("rediss", "rediss")];
            reader.choice("redis-protocol", &protocols)
        };
        // What a URL leaves without use may be as wrong as it likes.
        let redis = if reader.text("redis-url").is_some() {
            Some(reader.read("redis-url", parse)?)
        } else if host.is_some() || port.is_some() {
            let protocol = protocol()?;
            if port.is_some() {
                reader.read("redis-port", |value| match value.parse::<u16>() {
                    Ok(0) | Err(_) => Err("must be a number from 1 to 65535".into()),
                    Ok(_) => Ok(()),
                })?;
            }
            let host = host.as_deref().unwrap_or("localhost");
            let host = if host.contains(':') && !host.starts_with('[') {
                format!("[{host}]")
            } else {
                host.to_owned()
            };
            let url = format!("{protocol}://{host}:{}", port.as_deref().unwrap_or("6379"));
            Some(reader.read("redis-host", |_| parse(&url))?)
        } else {
            protocol()?;
            None
        };
        let redis = redis.map(|mut redis| {
            if let Some(username) = reader.text("redis-username") {
                redis = redis.username(username);
            }
            if let Some(password) = reader.text("redis-password") {
                redis = redis.password(password);
            }
            redis.prefix = reader.text("redis-prefix").unwrap_or_default();
            redis
        });
        if let Some(redis) = &redis {
            reader.read("redis-prefix", |_| redis.check().map_err(|error| error.to_string()))?;
        }
        let session_user = [("required", false), ("optional", true)];
        let session_user_optional = reader.choice("session-user", &session_user)?;
        Ok(Self { redis, session_ttl, session_user_optional })
    }
}

/// The members of a session that others see.
fn public_members(value: &str) -> Result<PublicMembers, String> {
    let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(Into::into).collect();
    if names.iter().any(|name| name == PRIVATE_MEMBER) {
        return Err(format!("{PRIVATE_MEMBER} is what nobody sees"));
    }
    if names.iter().any(|name| name == "*") {
        return match names.len() {
            1 => Ok(PublicMembers::All),
            _ => Err("* stands alone".into()),
        };
    }
    Ok(PublicMembers::Only(names))
}

impl Settings {
    /// Reads all settings.
    pub(crate) fn read(source: &Source) -> Result<Self, SettingsError> {
        let reader = Reader(source);
        let mut config = Config::default();
        let RedisSettings { redis, session_ttl, session_user_optional } =
            RedisSettings::read(source)?;
        let (required, cluster) = (reader.bool("redis-required")?, reader.bool("cluster")?);
        config.redis = redis.map(|mut redis| {
            (redis.required, redis.cluster) = (required, cluster);
            redis
        });
        config.engine.sessions.ttl = session_ttl;
        config.engine.sessions.user_optional = session_user_optional;
        config.engine.sessions.public = reader.read("session-public", public_members)?;
        config.path = reader.read("path", |path| match path {
            "" => Ok(None),
            path if path.starts_with('/') => Ok(Some(path.into())),
            _ => Err("must begin with '/'".into()),
        })?;
        config.allowed_origins = reader.list("allowed-origins")?;
        config.trusted_proxies = reader.list("trusted-proxies")?;
        config.proxy_header = reader.choice(
            "proxy-header",
            &[
                ("x-forwarded-for", ProxyHeader::XForwardedFor),
                ("forwarded", ProxyHeader::Forwarded),
            ],
        )?;
        config.max_head_size = reader.read("max-head-size", |value| match value.parse() {
            Ok(size @ 1024..=1_048_576) => Ok(size),
            _ => Err("must be a number of bytes from 1024 to 1048576".into()),
        })?;
        config.ping_interval = reader.seconds("ping-interval")?;
        config.pong_timeout = reader.seconds("pong-timeout")?;
        config.upgrade_timeout = reader.seconds("upgrade-timeout")?;
        config.keep_alive_timeout = reader.seconds("keep-alive-timeout")?;
        config.close_timeout = reader.seconds("close-timeout")?;
        if config.close_timeout.is_zero() {
            // Whoever does not answer a close frame would hold its socket for ever.
            config.close_timeout = reader.read("close-timeout", |_| {
                Err("must be a number of seconds, more than 0".into())
            })?;
        }
        config.outbound_timeout = reader.seconds("outbound-timeout")?;
        config.outbound_limit = reader.positive("outbound-limit")?;
        let least = config.outbound_limit;
        config.outbound_total = reader.read("outbound-total", |value| match value.parse() {
            Err(_) if value == "auto" => Ok(config.outbound_total.max(least)),
            Ok(bytes) if bytes == 0 || bytes >= least => Ok(bytes),
            Ok(_) => Err("must not be less than the outbound limit".to_owned()),
            Err(_) => Err("must be auto or a number, 0 or more".to_owned()),
        })?;
        let mut compression = Compression::default();
        compression.threshold = reader.positive("compression-threshold")?;
        config.compression = reader.bool("compression")?.then_some(compression);
        config.message_timeout = reader.seconds("message-timeout")?;
        config.threads = reader.read("threads", |value| {
            let threads = value.parse().ok().filter(|threads| *threads <= 256);
            let threads: usize = threads.ok_or("must be a number from 0 to 256")?;
            let cores = || available_parallelism().unwrap_or(NonZeroUsize::MIN);
            Ok(NonZeroUsize::new(threads).unwrap_or_else(cores))
        })?;

        let jwt = JwtSource::read(&reader)?;
        let endpoint = |setting: &'static str| -> Result<Option<HttpEndpoint>, ValueError> {
            reader.read(setting, |url| match url {
                "" => Ok(None),
                url => HttpEndpoint::new(url).map(Some).map_err(|error| error.to_string()),
            })
        };
        let secret = reader.text("webhook-secret");
        let signed = |url: HttpEndpoint| match &secret {
            Some(secret) => url.secret(secret),
            None => url,
        };
        let (timeout, whole) =
            (reader.seconds("auth-url-timeout")?, reader.seconds("auth-timeout")?);
        reader.read("auth-url-timeout", |_| {
            if timeout.is_zero() {
                // Requests that are never answered would take all turns.
                Err("must be a number of seconds, more than 0".into())
            } else if timeout >= whole && !whole.is_zero() && reader.text("auth-url").is_some() {
                // Nobody would be told that the service does not answer.
                Err("must be less than auth-timeout".into())
            } else {
                Ok(())
            }
        })?;
        let auth_url = endpoint("auth-url")?.map(|url| signed(url).timeout(timeout));
        let webhook_url = endpoint("webhook-url")?.map(signed);
        // Who has another way to find out who clients are needs no sessions.
        let (has_redis, proves) = (config.redis.is_some(), jwt.is_some() || auth_url.is_some());

        let engine = &mut config.engine;
        engine.authentication = reader.bool("authentication")? && (has_redis || !proves);
        engine.dynamic_rooms = reader.bool("dynamic-rooms")?;
        let room_send = [
            ("auto", RoomSend::Auto),
            ("members", RoomSend::Members),
            ("anyone", RoomSend::Anyone),
        ];
        engine.room_send = reader.choice("room-send", &room_send)?;
        let presence = [("full", PresenceMode::Full), ("classic", PresenceMode::Classic)];
        engine.presence = reader.choice("presence", &presence)?;
        engine.auth_timeout = reader.seconds("auth-timeout")?;
        engine.limits.message = reader.read("max-message-size", |value| match value.parse() {
            Ok(0) | Err(_) => Err("must be a number, 1 or more".into()),
            Ok(bytes) if bytes > MAX_MESSAGE => Err(format!("must be at most {MAX_MESSAGE}")),
            Ok(bytes) => Ok(bytes),
        })?;
        engine.limits.message_unauthenticated =
            engine.limits.message_unauthenticated.min(engine.limits.message);
        engine.limits.rooms_per_peer = reader.count("max-rooms-per-peer")?;
        engine.state.total_bytes = reader.count("state-total")?;
        engine.state.ttl = reader.seconds("state-ttl")?;
        engine.connections.total = reader.count("max-connections")?;
        engine.connections.per_address = reader.count("max-connections-per-address")?;
        engine.connections.ipv6_prefix =
            reader.read("ipv6-prefix", |value| match value.parse() {
                Ok(bits @ 1..=128) => Ok(bits),
                _ => Err("must be a number of bits from 1 to 128".into()),
            })?;
        engine.connections.unauthenticated = reader.count("max-unauthenticated")?;
        let units_per_second =
            reader.number("rate-limit", "a number of units a second, 0 or more")?;
        let burst = reader.read("rate-burst", |value| match value.parse::<u32>() {
            Ok(0) | Err(_) => Err(format!("must be a number from 1 to {}", u32::MAX)),
            Ok(burst) => Ok(burst),
        })?;
        let bytes_per_unit = reader.count("rate-bytes")?;
        let deliveries_per_unit = reader.count("rate-deliveries")?;
        engine.rate = (units_per_second > 0).then_some(RateLimit {
            units_per_second,
            burst,
            bytes_per_unit,
            deliveries_per_unit,
        });

        let (certificate, key) = (reader.text("ssl-cert"), reader.text("ssl-key"));
        let places: Vec<Place> = reader.list("listen")?;
        let encrypted = places.iter().find(|place| place.tls == PlaceTls::OfSettings);
        let enabled = reader.bool("ssl-enabled")? && places.is_empty();
        if let Some(place) = encrypted.filter(|_| certificate.is_none() || key.is_none()) {
            return Err(SettingsError::PlaceIncomplete(place.to_string()));
        }
        let tls = match (enabled || encrypted.is_some(), certificate, key) {
            (false, ..) => None,
            (true, Some(certificate), Some(key)) => {
                Some(Tls { certificate: certificate.into(), key: key.into() })
            }
            (true, None, _) => {
                return Err(SettingsError::TlsIncomplete("a certificate (ssl-cert)"));
            }
            (true, _, None) => return Err(SettingsError::TlsIncomplete("a key (ssl-key)")),
        };
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        Ok(Self {
            port: reader.number("port", "a number from 0 to 65535")?,
            hosts: reader.list("host")?,
            places,
            config,
            tls,
            jwt,
            auth_url,
            webhook_url,
            drain: reader.seconds("drain")?,
            log_format: reader.choice("log-format", &formats)?,
            runtime: reader.choice("runtime", RUNTIMES)?,
            #[cfg(feature = "admin")]
            admin: AdminSettings::read(&reader)?,
        })
    }
}

impl Settings {
    /// True if clients must prove who they are.
    pub(crate) fn proves(&self) -> bool {
        self.config.engine.authentication || self.jwt.is_some() || self.auth_url.is_some()
    }
}

#[cfg(test)]
mod tests;
