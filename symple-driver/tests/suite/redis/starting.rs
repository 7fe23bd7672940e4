//! Whether a server starts: R-S1.

use serde_json::json;

use super::Redis;
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
    ask("ACL SETUSER deaf on >pw ~symple:* resetchannels +@all");
    let error = refused(config().username("deaf").password("pw"));
    assert!(matches!(error, RedisError::Permission { .. }), "{error:?}");

    let config = config().username("symple").password("pw");
    let builder = ServerBuilder::new().bind("127.0.0.1:0").redis(config);
    let builder = builder.configure(|config| config.engine.authentication = true);
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
