//! Every setting, once: `--help`, `check-config` and the README are made from this.

use crate::runtime::RUNTIMES;

/// A setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The flag, without its dashes.
    pub(crate) name: &'static str,
    /// The environment variables, the first that is set counts.
    pub(crate) env: &'static [&'static str],
    /// What a value looks like.
    pub(crate) value: &'static str,
    /// The value where none is given, as it would be written; empty for none.
    pub(crate) default: &'static str,
    /// What it is for.
    pub(crate) help: &'static str,
    /// Under which heading it stands.
    pub(crate) group: &'static str,
}

/// What a port looks like.
pub(crate) const PORT: &str = "PORT";

const LISTENING: &str = "Listening";
const CLIENTS: &str = "Who may connect, and what for";
/// The settings of commands that need tokens and no server, too.
pub(crate) const JWT: &str = "JSON Web Tokens";
const WEBHOOKS: &str = "Webhooks";
const TLS: &str = "TLS";
/// The settings of commands that need Redis and no server, too.
pub(crate) const REDIS: &str = "Redis";
const NODES: &str = "Servers on Redis";
const LIMITS: &str = "Limits";
#[cfg(feature = "admin")]
const ADMIN: &str = "Operating it";
const RUNNING: &str = "Running";

macro_rules! setting {
    ($group:expr, $name:literal, [$($env:literal),+], $value:expr, $default:expr, $help:literal) => {
        Setting {
            name: $name,
            env: &[$($env),+],
            value: $value,
            default: $default,
            help: $help,
            group: $group,
        }
    };
}

/// Every setting, in the order in which people read about them.
pub(crate) const SETTINGS: &[Setting] = &[
    setting!(
        LISTENING,
        "port",
        ["PORT", "SYMPLE_PORT"],
        PORT,
        "4500",
        "The port to listen on; 0 is any that is free"
    ),
    setting!(
        LISTENING,
        "host",
        ["SYMPLE_HOST"],
        "HOST,…",
        "",
        "The addresses to listen on; all of the machine's if none is given"
    ),
    setting!(
        LISTENING,
        "listen",
        ["SYMPLE_LISTEN"],
        "PLACE,…",
        "",
        "The places to listen at, instead of port and host: tcp://HOST:PORT, tls://HOST:PORT with ssl-cert and ssl-key or ?cert=FILE&key=FILE behind it, unix:PATH with ?mode=660, fd:3 and tls+fd:3 for sockets of systemd, each with ?backlog=COUNT; the flag may be repeated"
    ),
    setting!(
        LISTENING,
        "path",
        ["SYMPLE_PATH"],
        "PATH",
        "",
        "The only path for WebSocket, such as /ws; any if none is given"
    ),
    setting!(
        CLIENTS,
        "authentication",
        ["SYMPLE_AUTHENTICATION"],
        "BOOL",
        "false",
        "Clients need a token with a session behind it"
    ),
    setting!(
        CLIENTS,
        "dynamic-rooms",
        ["SYMPLE_DYNAMIC_ROOMS"],
        "BOOL",
        "true",
        "Clients may join and leave rooms"
    ),
    setting!(
        CLIENTS,
        "room-send",
        ["SYMPLE_ROOM_SEND"],
        "auto|members|anyone",
        "auto",
        "Who may send to a room; auto: anyone with dynamic rooms, members without"
    ),
    setting!(
        CLIENTS,
        "presence",
        ["SYMPLE_PRESENCE"],
        "full|classic",
        "full",
        "Who is told of whom; classic: as the Node server does, on connect and disconnect only"
    ),
    setting!(
        CLIENTS,
        "allowed-origins",
        ["SYMPLE_ALLOWED_ORIGINS"],
        "ORIGIN,…",
        "",
        "The origins that browsers may connect from, such as https://example.com or \
         *.example.com; any if none is given"
    ),
    setting!(
        CLIENTS,
        "trusted-proxies",
        ["SYMPLE_TRUSTED_PROXIES"],
        "ADDRESS,…",
        "",
        "The proxies that may tell a client's address, such as 10.0.0.1 or 10.0.0.0/8; unix is the other end of a Unix socket"
    ),
    setting!(
        CLIENTS,
        "proxy-header",
        ["SYMPLE_PROXY_HEADER"],
        "x-forwarded-for|forwarded",
        "x-forwarded-for",
        "The header in which trusted proxies tell a client's address; x-forwarded-for is also X-Real-IP"
    ),
    setting!(
        CLIENTS,
        "compression",
        ["SYMPLE_COMPRESSION"],
        "BOOL",
        "false",
        "Compress texts for clients that can take it (permessage-deflate), once for all receivers"
    ),
    setting!(
        CLIENTS,
        "compression-threshold",
        ["SYMPLE_COMPRESSION_THRESHOLD"],
        "BYTES",
        "1024",
        "The fewest bytes that a text must have to be compressed, at least 1"
    ),
    setting!(
        JWT,
        "jwt-secret",
        ["SYMPLE_JWT_SECRET"],
        "SECRET",
        "",
        "Let clients in by JSON Web Tokens that are signed with this secret (HS256, HS384, HS512), at least 32 bytes. Others can see a flag, but not a variable"
    ),
    setting!(
        JWT,
        "jwt-public-key",
        ["SYMPLE_JWT_PUBLIC_KEY"],
        "FILE",
        "",
        "The same for the public keys in this PEM file (RS256, PS256, ES256, EdDSA)"
    ),
    setting!(
        JWT,
        "jwt-jwks",
        ["SYMPLE_JWT_JWKS"],
        "FILE|URL",
        "",
        "The same for the keys of a JSON Web Key Set, in a file, or at a URL from where it is fetched again when keys change"
    ),
    setting!(
        JWT,
        "jwt-audience",
        ["SYMPLE_JWT_AUDIENCE"],
        "NAME,…",
        "",
        "Whom tokens must be for (aud), one of these; without it tokens must have no aud"
    ),
    setting!(
        JWT,
        "jwt-issuer",
        ["SYMPLE_JWT_ISSUER"],
        "NAME,…",
        "",
        "Who must have issued tokens (iss), one of these; anyone who has the key if none is given"
    ),
    setting!(
        JWT,
        "jwt-user-claim",
        ["SYMPLE_JWT_USER_CLAIM"],
        "CLAIM",
        "sub",
        "The claim that says which user a client is"
    ),
    setting!(
        JWT,
        "jwt-leeway",
        ["SYMPLE_JWT_LEEWAY"],
        "SECONDS",
        "30",
        "How far the clock of the issuer may differ; 0 is not at all"
    ),
    setting!(
        JWT,
        "jwt-expiry",
        ["SYMPLE_JWT_EXPIRY"],
        "required|optional",
        "required",
        "Whether a token must say when it expires (exp); one that does not counts for ever"
    ),
    setting!(
        WEBHOOKS,
        "auth-url",
        ["SYMPLE_AUTH_URL"],
        "URL",
        "",
        "Ask this HTTP service about every client that wants to come in, behind its token if it needs one"
    ),
    setting!(
        WEBHOOKS,
        "auth-url-timeout",
        ["SYMPLE_AUTH_URL_TIMEOUT"],
        "SECONDS",
        "5",
        "How long its answer may take; more than 0, and less than auth-timeout"
    ),
    setting!(
        WEBHOOKS,
        "webhook-url",
        ["SYMPLE_WEBHOOK_URL"],
        "URL",
        "",
        "Tell this HTTP service of peers that come online, leave a room and go offline"
    ),
    setting!(
        WEBHOOKS,
        "webhook-secret",
        ["SYMPLE_WEBHOOK_SECRET"],
        "SECRET",
        "",
        "Sign what is posted to both with this secret. Others can see a flag, but not a variable"
    ),
    setting!(
        TLS,
        "ssl-enabled",
        ["SYMPLE_SSL_ENABLED"],
        "BOOL",
        "false",
        "Encrypt connections; needs a certificate and a key, which are read again on SIGHUP"
    ),
    setting!(
        TLS,
        "ssl-cert",
        ["SYMPLE_SSL_CERT"],
        "FILE",
        "",
        "The certificate chain, in PEM form"
    ),
    setting!(TLS, "ssl-key", ["SYMPLE_SSL_KEY"], "FILE", "", "The private key, in PEM form"),
    setting!(
        REDIS,
        "redis-url",
        ["SYMPLE_REDIS_URL", "REDIS_URL"],
        "URL",
        "",
        "Where Redis is: redis://user:password@host:port/database, rediss:// for TLS, \
         redis+sentinel://host:port,host:port/service, or redis-cluster://host:port,host:port; none without this, a host or a port"
    ),
    setting!(
        REDIS,
        "redis-host",
        ["SYMPLE_REDIS_HOST", "REDIS_HOST"],
        "HOST",
        "",
        "Where Redis is, without a URL; localhost if only a port is given"
    ),
    setting!(
        REDIS,
        "redis-port",
        ["SYMPLE_REDIS_PORT", "REDIS_PORT"],
        PORT,
        "",
        "Where Redis is, without a URL; 6379 if only a host is given"
    ),
    setting!(
        REDIS,
        "redis-protocol",
        ["SYMPLE_REDIS_PROTOCOL"],
        "redis|rediss",
        "redis",
        "How to speak to Redis, without a URL; rediss is TLS"
    ),
    setting!(
        REDIS,
        "redis-username",
        ["SYMPLE_REDIS_USERNAME"],
        "NAME",
        "",
        "The user for Redis; wins over that of the URL"
    ),
    setting!(
        REDIS,
        "redis-password",
        ["SYMPLE_REDIS_PASSWORD"],
        "PASSWORD",
        "",
        "The password for Redis; wins over that of the URL. Others can see a flag, but not a variable"
    ),
    setting!(
        REDIS,
        "redis-prefix",
        ["SYMPLE_REDIS_PREFIX"],
        "PREFIX",
        "symple:",
        "What the names of keys and channels begin with"
    ),
    setting!(
        REDIS,
        "session-ttl",
        ["SYMPLE_SESSION_TTL"],
        "MINUTES",
        "-1",
        "How long sessions live after their last use, at least a second; -1 leaves them as they are"
    ),
    setting!(
        REDIS,
        "session-user",
        ["SYMPLE_SESSION_USER"],
        "required|optional",
        "required",
        "Whether a session must say who its holder is; with optional and one that does not, a \
         client may be any user"
    ),
    setting!(
        NODES,
        "session-public",
        ["SYMPLE_SESSION_PUBLIC"],
        "NAME,…",
        "*",
        "Which members of a session others see, beside user and name; * is all but private, which \
         nobody sees"
    ),
    setting!(
        NODES,
        "redis-required",
        ["SYMPLE_REDIS_REQUIRED"],
        "BOOL",
        "true",
        "Do not start without Redis, and do not be ready while it is away; otherwise keep trying"
    ),
    setting!(
        NODES,
        "cluster",
        ["SYMPLE_CLUSTER"],
        "BOOL",
        "true",
        "Servers on the same Redis are one: peers on different ones see each other"
    ),
    setting!(
        LIMITS,
        "rate-limit",
        ["SYMPLE_RATE_LIMIT"],
        "UNITS/S",
        "200",
        "How many units a second a peer may cause: a frame is one, and more where it is large or reaches many; 0 is no limit"
    ),
    setting!(
        LIMITS,
        "rate-burst",
        ["SYMPLE_RATE_BURST"],
        "UNITS",
        "400",
        "How many units a peer may cause at once, at least 1"
    ),
    setting!(
        LIMITS,
        "rate-bytes",
        ["SYMPLE_RATE_BYTES"],
        "BYTES",
        "8192",
        "A frame is one more unit for each so many bytes; 0 is for none"
    ),
    setting!(
        LIMITS,
        "rate-deliveries",
        ["SYMPLE_RATE_DELIVERIES"],
        "COUNT",
        "250",
        "A frame is one more unit for each so many deliveries that it causes; 0 is for none"
    ),
    setting!(
        LIMITS,
        "max-message-size",
        ["SYMPLE_MAX_MESSAGE_SIZE"],
        "BYTES",
        "1048576",
        "The largest message of an authenticated client, from 1 to 1073741824"
    ),
    setting!(
        LIMITS,
        "max-head-size",
        ["SYMPLE_MAX_HEAD_SIZE"],
        "BYTES",
        "16384",
        "The largest head of an HTTP request; 1024 to 1048576"
    ),
    setting!(
        LIMITS,
        "outbound-limit",
        ["SYMPLE_OUTBOUND_LIMIT"],
        "BYTES",
        "4194304",
        "How much may wait for a client that does not read; not less than a message may have"
    ),
    setting!(
        LIMITS,
        "outbound-total",
        ["SYMPLE_OUTBOUND_TOTAL"],
        "BYTES",
        "auto",
        "How much may wait in memory for all clients together; auto is 1 GiB, or a quarter of the memory if that is less; 0 is no limit"
    ),
    setting!(
        LIMITS,
        "max-connections",
        ["SYMPLE_MAX_CONNECTIONS"],
        "COUNT",
        "0",
        "How many connections there may be; 0 is no limit"
    ),
    setting!(
        LIMITS,
        "max-connections-per-address",
        ["SYMPLE_MAX_CONNECTIONS_PER_ADDRESS"],
        "COUNT",
        "0",
        "How many there may be from one address; 0 is no limit"
    ),
    setting!(
        LIMITS,
        "ipv6-prefix",
        ["SYMPLE_IPV6_PREFIX"],
        "BITS",
        "64",
        "IPv6 addresses with so many bits in common count as one address; 1 to 128"
    ),
    setting!(
        LIMITS,
        "max-unauthenticated",
        ["SYMPLE_MAX_UNAUTHENTICATED"],
        "COUNT",
        "1024",
        "How many may not be authenticated yet; 0 is no limit"
    ),
    setting!(
        LIMITS,
        "max-rooms-per-peer",
        ["SYMPLE_MAX_ROOMS_PER_PEER"],
        "COUNT",
        "256",
        "How many rooms a client may be in by its own wish; 0 is none"
    ),
    setting!(
        LIMITS,
        "state-total",
        ["SYMPLE_STATE_TOTAL"],
        "BYTES",
        "268435456",
        "How much the states of all rooms may have together; 0 is no limit"
    ),
    setting!(
        LIMITS,
        "state-ttl",
        ["SYMPLE_STATE_TTL"],
        "SECONDS",
        "60",
        "How long the state of a room lives without members; 0 is not at all"
    ),
    setting!(
        LIMITS,
        "auth-timeout",
        ["SYMPLE_AUTH_TIMEOUT"],
        "SECONDS",
        "10",
        "How long a client may take to authenticate; 0 is for ever"
    ),
    setting!(
        LIMITS,
        "ping-interval",
        ["SYMPLE_PING_INTERVAL"],
        "SECONDS",
        "25",
        "After how much silence a client is pinged; 0 is never"
    ),
    setting!(
        LIMITS,
        "pong-timeout",
        ["SYMPLE_PONG_TIMEOUT"],
        "SECONDS",
        "10",
        "How long it may take to answer; 0 is for ever"
    ),
    setting!(
        LIMITS,
        "upgrade-timeout",
        ["SYMPLE_UPGRADE_TIMEOUT"],
        "SECONDS",
        "10",
        "How long the HTTP upgrade may take; 0 is for ever"
    ),
    setting!(
        LIMITS,
        "keep-alive-timeout",
        ["SYMPLE_KEEP_ALIVE_TIMEOUT"],
        "SECONDS",
        "10",
        "How long a connection may be idle behind a health check, for the next one; 0 ends it"
    ),
    setting!(
        LIMITS,
        "close-timeout",
        ["SYMPLE_CLOSE_TIMEOUT"],
        "SECONDS",
        "5",
        "How long a closing handshake may take, more than 0"
    ),
    setting!(
        LIMITS,
        "outbound-timeout",
        ["SYMPLE_OUTBOUND_TIMEOUT"],
        "SECONDS",
        "10",
        "How long something may wait for a client that takes nothing at all; 0 is for ever"
    ),
    setting!(
        LIMITS,
        "message-timeout",
        ["SYMPLE_MESSAGE_TIMEOUT"],
        "SECONDS",
        "30",
        "How long a message may take from its first byte to its last; 0 is for ever"
    ),
    #[cfg(feature = "admin")]
    setting!(
        ADMIN,
        "admin",
        ["SYMPLE_ADMIN"],
        "ADDRESS:PORT",
        "",
        "Where the HTTP API for operators listens, such as 127.0.0.1:4501; nowhere if none is given"
    ),
    #[cfg(feature = "admin")]
    setting!(
        ADMIN,
        "admin-key",
        ["SYMPLE_ADMIN_KEY"],
        "KEY",
        "",
        "The key that requests to it must bring; without one it listens on loopback addresses only. \
         Others can see a flag, but not a variable"
    ),
    setting!(
        RUNNING,
        "threads",
        ["SYMPLE_THREADS"],
        "COUNT",
        "1",
        "Over how many threads connections are spread, at most 256; 0 is one for each core"
    ),
    setting!(
        RUNNING,
        "drain",
        ["SYMPLE_DRAIN"],
        "SECONDS",
        "0",
        "Over how long a shutdown spreads the closing of connections; 0 closes all at once"
    ),
    setting!(
        RUNNING,
        "log-format",
        ["SYMPLE_LOG_FORMAT"],
        "text|json",
        "text",
        "How logs are written; how much is said by RUST_LOG, or DEBUG=symple:*"
    ),
    setting!(
        RUNNING,
        "runtime",
        ["SYMPLE_RUNTIME"],
        "tokio|async-std",
        RUNTIMES[0].0,
        "The async runtime; clients see no difference"
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// SPEC §11: the flag is the name of the variable in kebab-case without its prefix.
    #[test]
    fn flags_are_named_after_variables() {
        for setting in SETTINGS {
            let variable = format!("SYMPLE_{}", setting.name.to_uppercase().replace('-', "_"));
            assert!(setting.env.contains(&variable.as_str()), "{}", setting.name);
        }
    }

    /// The table in the README is this one: `UPDATE_README=1 cargo test -p symple-cli` writes it.
    /// It tells of a build that has everything.
    #[cfg(all(feature = "tokio", feature = "async-std", feature = "admin"))]
    #[test]
    fn the_readme_has_the_table() {
        const BEGIN: &str = "<!-- settings -->\n";
        const END: &str = "<!-- end of settings -->";
        let mut table = String::from("| flag | environment | default | |\n|---|---|---|---|\n");
        for Setting { name, env, default, help, .. } in SETTINGS {
            let env: Vec<_> = env.iter().map(|name| format!("`{name}`")).collect();
            let default = match *default {
                "" => "–".into(),
                default => format!("`{default}`"),
            };
            table += &format!("| `--{name}` | {} | {default} | {help} |\n", env.join(", "));
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        let readme = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = readme.split_once(BEGIN).unwrap();
        let (written, after) = rest.split_once(END).unwrap();
        if std::env::var_os("UPDATE_README").is_some() {
            std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        } else {
            assert!(written == table, "the settings in the README are old: set UPDATE_README=1");
        }
    }

    /// SPEC §11: the names of the Node server, verbatim.
    #[test]
    fn variables_of_the_node_server() {
        for name in [
            "PORT",
            "SYMPLE_PORT",
            "SYMPLE_AUTHENTICATION",
            "SYMPLE_DYNAMIC_ROOMS",
            "SYMPLE_SESSION_TTL",
            "SYMPLE_REDIS_URL",
            "REDIS_URL",
            "SYMPLE_REDIS_HOST",
            "REDIS_HOST",
            "SYMPLE_REDIS_PORT",
            "REDIS_PORT",
            "SYMPLE_REDIS_PROTOCOL",
            "SYMPLE_SSL_ENABLED",
            "SYMPLE_SSL_KEY",
            "SYMPLE_SSL_CERT",
        ] {
            assert!(SETTINGS.iter().any(|setting| setting.env.contains(&name)), "{name}");
        }
    }
}
