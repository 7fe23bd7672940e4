//! Whether a server starts: R-S1.

use std::time::Duration;

use serde_json::json;

use super::{
    Redis,
    fake::{self, port},
    until,
};
use crate::{
    adapter::{ConfigError, RedisConfig, RedisError, Server, ServerBuilder, StartError, block_on},
    suite::client::Client,
};

fn start(config: RedisConfig) -> Result<Server, StartError> {
    block_on(async { ServerBuilder::new().bind("127.0.0.1:0").redis(config).start() })
}

fn refused(config: RedisConfig) -> RedisError {
    match start(config) {
        Err(StartError::Redis(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Why a server does not start that reads and extends sessions.
fn refused_with_sessions(config: RedisConfig) -> RedisError {
    let builder = ServerBuilder::new().bind("127.0.0.1:0").redis(config);
    let builder = builder.configure(|config| {
        config.engine.authentication = true;
        config.engine.sessions.ttl = Some(Duration::from_secs(3600));
    });
    match block_on(async { builder.start() }) {
        Err(StartError::Redis(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// R-S1: authentication without Redis and without a hook.
#[test]
fn authentication_without_anything() {
    let builder = ServerBuilder::new().bind("127.0.0.1:0");
    let started = block_on(async { builder.configure(|c| c.engine.authentication = true).start() });
    let error = started.map(drop).unwrap_err();
    assert!(matches!(error, StartError::Config(ConfigError::NothingToAuthenticateWith)));
}

/// R-S1: a Redis that is not there.
#[test]
fn nobody_there() {
    let Some(mut redis) = Redis::start() else { return };
    let config = RedisConfig::new(redis.url()).unwrap();
    redis.stop();
    let error = refused(config);
    assert!(matches!(error, RedisError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot reach Redis at redis://127.0.0.1:"), "{error}");
}

/// R-S1: user names and passwords: none, wrong ones, right ones, and what they may do.
#[test]
fn who_may() {
    let Some(redis) = Redis::start_with(&["--requirepass", "secret"]) else { return };
    let config = || RedisConfig::new(redis.url()).unwrap();
    for config in [config(), config().password("wrong"), config().username("a").password("secret")]
    {
        let error = refused(config);
        assert!(matches!(error, RedisError::Credentials { .. }), "{error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let _ = start(config().password("secret")).unwrap();
    let url = redis.url().replace("redis://", "redis://:secret@");
    let _ = start(RedisConfig::new(&url).unwrap()).unwrap();

    let admin = redis::Client::open(&*url).unwrap();
    let ask = |command: &str| {
        let mut words = redis::Cmd::new();
        for word in command.split(' ') {
            words.arg(word);
        }
        words.exec(&mut admin.get_connection().unwrap()).unwrap();
    };
    ask("ACL SETUSER symple on >pw ~symple:* &symple:* -@all +@read +@write +@pubsub +@connection");
    ask(r#"SET symple:session:t {"user":"alice"}"#);
    for (rules, missing) in [
        ("~symple:* resetchannels +@all", "subscribing to channels below symple:"),
        ("~symple:* &symple:* +@all -subscribe", "subscribing to channels below symple:"),
        ("~symple:* &symple:* +@all -publish", "publishing on channels below symple:"),
        ("~other:* &symple:* +@all", "reading sessions below symple:session:"),
        ("~symple:* &symple:* +@all -getrange", "reading sessions below symple:session:"),
        ("~symple:* &symple:* +@all -exists", "reading sessions below symple:session:"),
        ("~symple:* &symple:* +@all -expire", "extending sessions below symple:session:"),
    ] {
        ask(&format!("ACL SETUSER few reset on >pw {rules}"));
        let config = config().username("few").password("pw");
        let error = refused_with_sessions(config);
        assert!(matches!(error, RedisError::Permission { .. }), "{rules}: {error:?}");
        let line = error.to_string();
        assert!(line.contains(missing) && line.contains("NOPERM"), "{rules}: {line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }

    let config = config().username("symple").password("pw");
    let builder = ServerBuilder::new().bind("127.0.0.1:0").redis(config);
    let builder = builder.configure(|config| {
        config.engine.authentication = true;
        config.engine.sessions.ttl = Some(Duration::from_secs(3600));
    });
    let server = block_on(async { builder.start() }).unwrap();
    let mut alice = Client::connect(&server);
    alice.auth(&json!({ "type": "auth", "user": "a", "token": "t" }));
    ask(r#"PUBLISH symple:broadcast {"type":"message","to":"alice"}"#);
    assert_eq!(alice.recv()["type"], "message");

    // One that may not see sessions lets nobody in, and says nothing about it to clients.
    ask("ACL SETUSER symple resetkeys");
    let mut bob = Client::connect(&server);
    bob.send(&json!({ "type": "auth", "user": "a", "token": "t" }));
    assert_eq!(bob.refused(), (503, "Authentication unavailable".into(), 4503));
    alice.hears_nothing();
}

/// R-S1: what Redis says when it cannot be used is the reason of the error, in its own words.
#[test]
fn what_redis_says() {
    let Some(redis) = Redis::start() else { return };
    let error = refused(RedisConfig::new(format!("{}/99", redis.url())).unwrap());
    assert!(error.to_string().ends_with(": ERR DB index is out of range"), "{error}");
    let Some(other) = Redis::start() else { return };
    let _: () = other.ask(&format!("REPLICAOF 127.0.0.1 {}", port(&redis.url())));
    let error = refused(RedisConfig::new(other.url()).unwrap());
    assert!(error.to_string().ends_with("it is a replica, and not the master"), "{error}");
    let sentinel = Redis::sentinel_of(&redis);
    let error = refused(RedisConfig::new(sentinel.url()).unwrap());
    assert!(error.to_string().contains("it is a sentinel"), "{error}");
    let service = sentinel.url().replace("redis://", "redis+sentinel://") + "/other";
    let error = refused(RedisConfig::new(service).unwrap());
    assert!(error.to_string().ends_with("knows no service of this name"), "{error}");
    let arguments = ["--cluster-enabled", "yes"];
    let Some(cluster) = Redis::start_with(&arguments) else { return };
    let error = refused_with_sessions(RedisConfig::new(cluster.url()).unwrap());
    assert!(error.to_string().contains(": CLUSTERDOWN "), "{error}");
    let Some(full) = Redis::start_with(&["--maxclients", "1"]) else { return };
    let client = redis::Client::open(full.url()).unwrap();
    let mut only = client.get_connection();
    until("there is room for one", || {
        only = client.get_connection();
        only.is_ok()
    });
    for database in ["", "/1"] {
        let error = refused(RedisConfig::new(format!("{}{database}", full.url())).unwrap());
        assert!(error.to_string().ends_with(": ERR max number of clients reached"), "{error}");
    }
}

/// R-S1: whoever answers there, the error is one short line, and the password is not in it.
#[test]
fn others_than_redis() {
    let page = "HTTP/1.0 400 Bad request\r\nServer: x\r\n\r\n<html>\n<p>no</p>\n</html>\n";
    for (url, expected) in [
        (fake::saying("-DENIED Redis is running in protected mode\r\n"), "DENIED Redis is running"),
        (fake::saying("-ERR a secret\u{1b}[2Jthing\r\n"), "ERR a …\\u{1b}[2Jthing"),
        (fake::saying("-BUSY \u{202e}\r\n"), "BUSY \\u{202e}"),
        (fake::saying(""), "cannot reach Redis"),
        (fake::answering_all(page), "what answers there is no Redis"),
        (fake::answering_all("-WRONGPASS secret\r\n"), "WRONGPASS …"),
        (fake::answering(|_| "+OK\r\n".into()), "what is published there does not come back"),
        (fake::answering(|_| "%1\r\n+role\r\n+slave\r\n".into()), "it is a replica"),
        (fake::answering_all(""), "no answer in time"),
        (fake::answering(|words| format!("${}\r\n{}\r\n", words[0].len(), words[0])), "come back"),
    ] {
        let mut config = RedisConfig::new(&url).unwrap().password("secret");
        config.connect_timeout = Duration::from_millis(300);
        config.response_timeout = Duration::from_millis(300);
        let line = refused(config).to_string();
        assert!(line.contains(expected), "{expected}: {line}");
        assert!(line.lines().count() == 1 && !line.contains("secret"), "{line}");
        assert!(!line.contains(char::is_control) && line.chars().count() < 300, "{line}");
    }
}
