//! What backends emit: R-S3.

use std::time::Duration;

use serde_json::json;

use super::{Redis, fake, serve, until};
use crate::{
    adapter::{
        Emitter, RedisConfig, RedisError, Sessions, block_on,
        proto::{Fields, frame::Event},
    },
    suite::{client::Client, start_with},
};

/// R-S3: it goes where its `to` says, as it stands; what is malformed is dropped, and nothing
/// else happens. R-C4: on the channel that emitters know, on a node and on a server of its own.
#[test]
fn emission() {
    let Some(redis) = Redis::start() else { return };
    for cluster in [true, false] {
        let mut config = RedisConfig::new(redis.url()).unwrap();
        config.cluster = cluster;
        let server = start_with(|builder| builder.redis(config));
        let mut alice = Client::join(&server, "alice", &["r", "s"]);
        let mut bob = Client::join(&server, "bob", &["x"]);
        for to in [json!(alice.address()), json!(alice.id()), json!("alice"), json!("s")] {
            let frame = format!(r#"{{ "to":{to}, "from":"backend","type":"message","n":1.0}}"#);
            assert_eq!(redis.publish(&frame), 1);
            assert_eq!(alice.recv_text(), frame);
        }
        let to_rooms =
            r#"{"type":"presence","from":"x","to":["r",5,"s","x"],"data":{"token":"t"}}"#;
        redis.publish(to_rooms);
        assert_eq!(alice.recv_text(), to_rooms);
        assert_eq!(bob.recv_text(), to_rooms);
        let deep = format!(r#"{{"to":"alice","x":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
        for bad in ["", "null", "[]", "{", "x", r#"{"type":"message"}"#, r#"{"to":5}"#, &deep] {
            redis.publish(bad);
        }
        redis.publish(b"\xff{}");
        redis.publish(r#"{"type":"message","to":"nobody"}"#);
        let last = r#"{"type":"event","to":["alice","bob"],"name":"last"}"#;
        redis.publish(last);
        assert_eq!(alice.recv_text(), last);
        assert_eq!(bob.recv_text(), last);
    }
}

/// R-S3: frames of a size that takes Redis and the server several steps, in order.
#[test]
fn large_and_many() {
    let Some(redis) = Redis::start() else { return };
    let server = serve(&redis, |_| {});
    let mut alice = Client::join(&server, "alice", &[]);
    for n in 0..20 {
        let data = "x".repeat(if n % 5 == 0 { 300_000 } else { 10 });
        redis
            .publish(json!({ "type": "message", "to": "alice", "n": n, "data": data }).to_string());
    }
    for n in 0..20 {
        assert_eq!(alice.recv()["n"], n);
    }
}

/// R-S3: what is more than a client may have waiting ends nobody.
#[test]
fn too_large() {
    let Some(redis) = Redis::start() else { return };
    let server = serve(&redis, |config| config.outbound_limit = 2_000_000);
    let mut alice = Client::join(&server, "alice", &[]);
    let frame =
        |size| format!(r#"{{"type":"message","to":"alice","data":"{}"}}"#, "x".repeat(size));
    redis.publish(frame(2_000_000));
    redis.publish(frame(1_900_000));
    assert_eq!(alice.recv_text(), frame(1_900_000));
    alice.hears_nothing();
}

/// R-S3, R-S4: a backend goes on when Redis is there again.
#[test]
fn backends_come_back() {
    let Some(mut redis) = Redis::start() else { return };
    let config = RedisConfig::new(redis.url()).unwrap();
    let (emitter, sessions) = block_on(async {
        (Emitter::connect(&config).await.unwrap(), Sessions::connect(&config).await.unwrap())
    });
    redis.stop();
    let frame = r#"{"type":"message","to":"alice"}"#;
    let error = block_on(emitter.emit(frame)).unwrap_err();
    assert!(matches!(error, RedisError::Unreachable { .. }), "{error:?}");
    assert!(redis.restart());
    until("it emits", || block_on(emitter.emit(frame)) == Ok(0));
    until("it looks up", || block_on(sessions.get("t")) == Ok(None));
}

/// R-S3, R-S4: no command of a backend waits for ever, whatever is silent.
#[test]
fn backends_do_not_hang() {
    let mute = fake::answering_all("");
    let silent = fake::answering(|words| match &*words[0] {
        "HELLO" => fake::HELLO.into(),
        _ => String::new(),
    });
    let config = |url: &str| {
        let mut config = RedisConfig::new(url).unwrap();
        config.connect_timeout = Duration::from_millis(200);
        config.response_timeout = Duration::from_millis(200);
        config
    };
    let is_away = |error: &RedisError| matches!(error, RedisError::Unreachable { .. });
    for url in [mute.clone(), format!("{silent}/1")] {
        assert!(is_away(&block_on(Emitter::connect(&config(&url))).map(drop).unwrap_err()));
        assert!(is_away(&block_on(Sessions::connect(&config(&url))).map(drop).unwrap_err()));
    }
    let url = mute.replace("redis://", "redis+sentinel://") + "/main";
    assert!(is_away(&block_on(Emitter::connect(&config(&url))).map(drop).unwrap_err()));
    let emitter = block_on(Emitter::connect(&config(&silent))).unwrap();
    let emitted = block_on(emitter.emit(r#"{"type":"message","to":"alice"}"#));
    assert!(is_away(&emitted.unwrap_err()));
    let sessions = block_on(Sessions::connect(&config(&silent))).unwrap();
    let session = Fields::new();
    block_on(async {
        assert!(is_away(&sessions.get("t").await.unwrap_err()));
        assert!(is_away(&sessions.set("t", &session, None).await.unwrap_err()));
        assert!(is_away(&sessions.touch("t", None).await.unwrap_err()));
        assert!(is_away(&sessions.list().await.unwrap_err()));
    });
}

/// R-S3, R-C4: what backends use to emit; another prefix is another world.
#[test]
fn emission_of_backends() {
    let Some(redis) = Redis::start() else { return };
    let mut config = RedisConfig::new(redis.url()).unwrap();
    config.prefix = "other:".into();
    let server = start_with(|builder| builder.redis(config.clone()));
    let mut alice = Client::join(&server, "alice", &[]);
    assert_eq!(redis.publish(r#"{"type":"message","to":"alice"}"#), 0);
    let emitter = block_on(Emitter::connect(&config)).unwrap();
    let event =
        Event { to: Some("alice".into()), name: Some("deployed".into()), ..Event::default() };
    block_on(async {
        assert_eq!(emitter.emit_frame(event).await, Ok(1));
        assert_eq!(emitter.emit(r#"{"type":"message","to":"alice"}"#).await, Ok(1));
        let nobody = emitter.emit(r#"{"type":"message"}"#).await;
        assert!(matches!(nobody, Err(RedisError::Emission(_))), "{nobody:?}");
    });
    assert_eq!(alice.recv()["name"], "deployed");
    assert_eq!(alice.recv()["type"], "message");
}
