//! Sessions: R-A4, R-S2.

use std::time::Duration;

use redis::Commands as _;
use serde_json::{Value, json};

use super::{Redis, serve, until, until_ready};
use crate::{
    adapter::{
        AuthDecision, AuthRequest, Config, RedisConfig, RedisError, Sessions, block_on, proto,
    },
    suite::{client::Client, start_with},
};

fn authenticated(config: &mut Config) {
    config.engine.authentication = true;
}

fn auth(token: &str) -> Value {
    json!({ "type": "auth", "user": "claimed", "token": token, "rooms": ["mine"], "x": 1 })
}

/// R-A4, R-A6, R-A12, R-S2: the session goes over the frame; without one nobody comes in.
#[test]
fn sessions() {
    let Some(redis) = Redis::start() else { return };
    let server = serve(&redis, authenticated);
    let mut store = redis.connect();
    let session = r#"{"user":"alice","name":"Alice","rooms":["team"],"plan":1.0}"#;
    let _: () = store.set("symple:session:good", session).unwrap();
    let mut alice = Client::connect(&server);
    let welcome = alice.auth(&auth("good"));
    assert_eq!(welcome["rooms"], json!(["alice", "team"]));
    assert_eq!((&welcome["peer"]["user"], &welcome["peer"]["x"]), (&json!("alice"), &json!(1)));
    assert_eq!(welcome["peer"]["token"], Value::Null);

    let _: () = store.set("symple:session:array", "[]").unwrap();
    let _: () = store.set("symple:session:empty", "").unwrap();
    let _: () = store.set("symple:session:bytes", b"\xff\xfe").unwrap();
    let _: () = store.hset("symple:session:hash", "user", "alice").unwrap();
    let huge = format!(r#"{{"user":"alice","x":"{}"}}"#, "x".repeat(1024 * 1024));
    let _: () = store.set("symple:session:huge", huge).unwrap();
    let refused = |frame: &Value| {
        let mut client = Client::connect(&server);
        client.send(frame);
        client.refused()
    };
    let failed = |why: &str| (401, format!("Authentication failed: {why}"), 4401);
    assert_eq!(refused(&json!({ "type": "auth", "user": "a" })), failed("Missing token"));
    assert_eq!(refused(&auth("unknown")), failed("No session"));
    assert_eq!(refused(&auth("good\n")), failed("No session"));
    for token in ["array", "empty", "bytes", "hash", "huge"] {
        assert_eq!(refused(&auth(token)), failed("Session must be an object"), "{token}");
    }
    alice.hears_nothing();
}

/// R-A4: many look-ups at once.
#[test]
fn many_at_once() {
    let Some(redis) = Redis::start() else { return };
    let server = serve(&redis, authenticated);
    let mut clients: Vec<_> = (0..200).map(|_| Client::connect(&server)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let session = json!({ "user": format!("user{n}") }).to_string();
        redis.run::<()>(&["SET", &format!("symple:session:{n}"), &session]);
        client.send(&auth(&n.to_string()));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.recv_type("welcome")["peer"]["user"], format!("user{n}"));
    }
}

/// R-A5: the hook decides about who has a session, and about nobody else.
#[test]
fn with_a_hook() {
    let Some(redis) = Redis::start() else { return };
    let config = RedisConfig::new(redis.url()).unwrap();
    let server = start_with(|builder| {
        builder.redis(config).configure(authenticated).authenticate(
            |request: AuthRequest| async move {
                match request.peer.get_str("plan").as_deref() {
                    // The session has said who it is.
                    Some("paid") => AuthDecision::allow_claimed().rooms(["lounge"]),
                    _ => AuthDecision::deny("Pay first"),
                }
            },
        )
    });
    redis.ask::<()>(r#"SET symple:session:paid {"user":"alice","plan":"paid","rooms":["team"]}"#);
    redis.ask::<()>(r#"SET symple:session:free {"user":"bob"}"#);
    let mut alice = Client::connect(&server);
    assert_eq!(alice.auth(&auth("paid"))["rooms"], json!(["alice", "team", "lounge"]));
    for (token, message) in [("free", "Pay first"), ("none", "Authentication failed: No session")] {
        let mut client = Client::connect(&server);
        client.send(&auth(token));
        assert_eq!(client.refused(), (401, message.into(), 4401));
    }
}

/// R-S2: a session lives on when it is used; without a TTL it is left as it is.
#[test]
fn sessions_are_touched() {
    let Some(redis) = Redis::start() else { return };
    let server = serve(&redis, |config| {
        authenticated(config);
        config.engine.sessions.ttl = Some(Duration::from_secs(1000));
    });
    redis.ask::<()>(r#"SET symple:session:t {"user":"alice"} EX 100"#);
    Client::connect(&server).auth(&auth("t"));
    until("the session lives longer", || redis.ask::<i64>("TTL symple:session:t") > 100);

    let server = serve(&redis, authenticated);
    redis.ask::<()>("EXPIRE symple:session:t 100");
    let mut alice = Client::connect(&server);
    alice.auth(&auth("t"));
    // Redis has answered something that was asked after any change would have been.
    alice.auth(&auth("t"));
    assert!(redis.ask::<i64>("TTL symple:session:t") <= 100);
}

/// R-S2: who loses the session loses the connection, whether it is deleted or expires.
#[test]
fn revocation() {
    let Some(redis) = Redis::start() else { return };
    let server = serve(&redis, |config| {
        authenticated(config);
        config.engine.sessions.check_interval = Duration::from_millis(20);
    });
    for (token, user) in [("deleted", "a"), ("expired", "b"), ("kept", "c")] {
        redis.run::<()>(&[
            "SET",
            &format!("symple:session:{token}"),
            &json!({ "user": user, "rooms": ["team"] }).to_string(),
        ]);
    }
    let [mut deleted, mut expired, mut kept] = ["deleted", "expired", "kept"].map(|token| {
        let mut client = Client::connect(&server);
        client.auth(&auth(token));
        client
    });
    redis.ask::<()>("DEL symple:session:deleted");
    assert_eq!(deleted.refused(), (401, "Session expired".into(), 4401));
    redis.ask::<()>("PEXPIRE symple:session:expired 1");
    assert_eq!(expired.refused(), (401, "Session expired".into(), 4401));
    for gone in [deleted, expired] {
        let offline =
            |frame: &Value| frame["from"] == gone.address() && frame["data"]["online"] == false;
        while !offline(&kept.recv()) {}
    }
    kept.hears_nothing();
}

/// R-A4, R-S4: while Redis is away nobody comes in and nobody is closed.
#[test]
fn without_redis_nobody_comes_in() {
    let Some(mut redis) = Redis::start() else { return };
    let server = serve(&redis, |config| {
        authenticated(config);
        config.engine.sessions.check_interval = Duration::from_millis(20);
    });
    redis.ask::<()>(r#"SET symple:session:t {"user":"alice"}"#);
    let mut alice = Client::connect(&server);
    alice.auth(&auth("t"));
    redis.stop();
    let refused = || {
        let mut client = Client::connect(&server);
        client.send(&auth("t"));
        client.refused()
    };
    let unavailable = (503, "Authentication unavailable".to_owned(), 4503);
    assert_eq!(refused(), unavailable);
    until_ready(&server, 503);
    assert_eq!(refused(), unavailable);
    alice.hears_nothing();
    alice.send(&auth("t"));
    let error = alice.recv();
    assert_eq!((&error["type"], &error["status"]), (&json!("error"), &json!(503)));
    alice.hears_nothing();

    assert!(redis.restart());
    redis.ask::<()>(r#"SET symple:session:t {"user":"alice"}"#);
    until_ready(&server, 200);
    Client::connect(&server).auth(&auth("t"));
}

/// R-S2: what backends use to make, see and end sessions.
#[test]
fn sessions_of_backends() {
    let Some(redis) = Redis::start() else { return };
    let server = serve(&redis, authenticated);
    let config = RedisConfig::new(redis.url()).unwrap();
    let sessions = block_on(Sessions::connect(&config)).unwrap();
    let session = proto::Fields::new().with("user", "alice").with("name", "Alice");
    let hour = Duration::from_secs(3600);
    block_on(async {
        assert_eq!(sessions.get("t").await, Ok(None));
        sessions.set("t", &session, Some(hour)).await.unwrap();
        assert_eq!(sessions.get("t").await.unwrap().unwrap(), session);
        sessions.set("u", &session, None).await.unwrap();
    });
    assert_eq!(redis.ask::<String>("GET symple:session:t"), r#"{"user":"alice","name":"Alice"}"#);
    Client::connect(&server).auth(&auth("t"));
    redis.ask::<()>("SET symple:other x");
    redis.ask::<()>("SET symple:session:bad []");
    block_on(async {
        let mut list = sessions.list().await.unwrap();
        list.sort_by(|a, b| a.token.expose().cmp(b.token.expose()));
        let tokens: Vec<_> = list.iter().map(|entry| entry.token.expose()).collect();
        assert_eq!(tokens, ["bad", "t", "u"]);
        assert!(list[1].ttl.is_some_and(|ttl| ttl <= hour));
        assert_eq!(list[2].ttl, None);
        assert_eq!(sessions.get("bad").await, Err(RedisError::NotAnObject));
        assert_eq!(sessions.touch("t", None).await, Ok(true));
        assert_eq!(sessions.touch("u", Some(hour)).await, Ok(true));
        assert_eq!(sessions.touch("v", Some(hour)).await, Ok(false));
        assert_eq!(sessions.touch("v", None).await, Ok(false));
        assert_eq!(sessions.delete("u").await, Ok(true));
        assert_eq!(sessions.delete("u").await, Ok(false));
        assert_eq!(sessions.get("").await, Err(RedisError::NoToken));
    });
    assert_eq!(redis.ask::<i64>("TTL symple:session:t"), -1);
}
