//! Redis comes and goes: R-S4.

use std::time::Duration;

use serde_json::json;

use super::{Redis, serve, until_ready};
use crate::{
    adapter::{RedisConfig, Server},
    suite::{
        client::{Client, get},
        start_with,
    },
};

/// Two peers still hear each other.
fn talk(server: &Server) {
    let mut alice = Client::join(server, "alice", &["r"]);
    let mut bob = Client::join(server, "bob", &["r"]);
    bob.send(&json!({ "type": "message", "to": "r", "data": "hello" }));
    assert_eq!(alice.recv_type("message")["data"], "hello");
}

/// What a backend emits arrives.
fn hear(server: &Server, redis: &Redis) {
    let mut carol = Client::join(server, "carol", &[]);
    assert_eq!(redis.publish(r#"{"type":"message","to":"carol"}"#), 1);
    assert_eq!(carol.recv()["type"], "message");
}

/// R-S4, R-T2: Redis is stopped and started: local traffic goes on, `/readyz` says so, and
/// afterwards everything is subscribed to again.
#[test]
fn stopped_and_started() {
    let Some(mut redis) = Redis::start() else { return };
    let server = serve(&redis, |_| {});
    until_ready(&server, 200);
    hear(&server, &redis);
    for _ in 0..2 {
        redis.stop();
        until_ready(&server, 503);
        assert_eq!(get(&server, "/healthz").0, 200);
        talk(&server);
        assert!(redis.restart());
        until_ready(&server, 200);
        hear(&server, &redis);
    }
}

/// R-S4: a Redis that stands still without closing anything is noticed, too.
#[test]
fn standing_still() {
    let Some(redis) = Redis::start() else { return };
    let mut config = RedisConfig::new(redis.url()).unwrap();
    config.ping_interval = Duration::from_millis(50);
    config.response_timeout = Duration::from_millis(300);
    config.connect_timeout = Duration::from_millis(300);
    let server = start_with(|builder| builder.redis(config));
    redis.signal("STOP");
    until_ready(&server, 503);
    talk(&server);
    redis.signal("CONT");
    until_ready(&server, 200);
    hear(&server, &redis);
}

/// R-S4: a server that can do without Redis starts without it, is ready, and uses it when it is
/// there.
#[test]
fn not_required() {
    let Some(mut redis) = Redis::start() else { return };
    redis.stop();
    let mut config = RedisConfig::new(redis.url()).unwrap();
    config.required = false;
    let server = start_with(|builder| builder.redis(config));
    until_ready(&server, 200);
    talk(&server);
    assert!(redis.restart());
    super::until("the server subscribes", || {
        let (_, count): (String, usize) = redis.ask("PUBSUB NUMSUB symple:broadcast");
        count == 1
    });
    hear(&server, &redis);
    redis.stop();
    talk(&server);
    assert_eq!(get(&server, "/readyz").0, 200);
}

/// R-S4: a shutdown while Redis is away.
#[test]
fn shutdown_without_redis() {
    let Some(mut redis) = Redis::start() else { return };
    let server = serve(&redis, |_| {});
    let mut alice = Client::join(&server, "alice", &[]);
    redis.stop();
    until_ready(&server, 503);
    crate::adapter::block_on(async {
        server.handle().shutdown(Duration::ZERO).await.unwrap();
    });
    assert_eq!(alice.closed(), 1001);
    crate::adapter::block_on(server.wait()).unwrap();
}
