//! Redis is watched, not believed: R-S4, R-T2.

use std::time::Duration;

use serde_json::json;

use super::{
    Redis,
    fake::{Door, port},
    until, until_ready,
};
use crate::{
    adapter::{
        Config, Emitter, RedisConfig, RedisError, Server, Sessions, block_on, proto::Fields,
    },
    suite::{
        client::{Client, PATIENCE, get},
        start_with,
    },
};

/// A server that checks often.
fn serve_at(url: &str, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = RedisConfig::new(url).unwrap();
    config.ping_interval = Duration::from_millis(50);
    config.max_backoff = Duration::from_millis(200);
    start_with(|builder| builder.redis(config).configure(change))
}

/// What one says reaches the other, sooner or later: nodes that have missed something of each other
/// deliver nothing before they have caught up.
fn reach(from: &mut Client, to: &mut Client) {
    let frame = json!({ "type": "message", "to": to.address(), "data": "hello" });
    to.ws.get_ref().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    until("it arrives", || {
        from.send(&frame);
        to.ws.read().is_ok_and(|message| message.to_string().contains("hello"))
    });
    to.ws.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
}

/// Makes one the master, and the other its replica.
fn turn(master: &Redis, replica: &Redis) {
    let _: () = master.ask("REPLICAOF NO ONE");
    let _: () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", port(&master.url())));
}

/// R-S4, R-C1: the roles of two servers are swapped behind one plain URL, to and fro. No node goes
/// on with the one that has become a replica: they are not ready until the URL leads to a master,
/// and then they see each other again.
#[test]
fn roles_swapped_behind_a_url() {
    let Some(a) = Redis::start() else { return };
    let Some(b) = Redis::start() else { return };
    let door = Door::to(&a.url());
    let (one, two) = (serve_at(&door.url, |_| {}), serve_at(&door.url, |_| {}));
    let mut alice = Client::join(&one, "alice", &["r"]);
    let mut bob = Client::join(&two, "bob", &["r"]);
    reach_when_seen(&one, &two, &mut alice, &mut bob);
    for (master, replica) in [(&b, &a), (&a, &b)] {
        turn(master, replica);
        until_ready(&one, 503);
        until_ready(&two, 503);
        door.lead(&master.url());
        until_ready(&one, 200);
        until_ready(&two, 200);
        reach_when_seen(&one, &two, &mut alice, &mut bob);
    }
}

/// Each server sees the peer of the other one, and what they say crosses, both ways.
fn reach_when_seen(one: &Server, two: &Server, alice: &mut Client, bob: &mut Client) {
    let seen = |server: &Server, id: &str| {
        let mut carol = Client::join(server, "carol", &["r"]);
        loop {
            let frame = carol.recv();
            if frame["type"] == "presence" && frame["data"]["id"] == *id {
                return true;
            }
        }
    };
    assert!(seen(one, bob.id()) && seen(two, alice.id()));
    reach(alice, bob);
    reach(bob, alice);
}

/// R-T2, R-C2: who is sent to a node because it is ready sees at once who is on the others, and
/// reaches them.
#[test]
fn ready_is_caught_up() {
    let Some(redis) = Redis::start() else { return };
    let one = serve_at(&redis.url(), |_| {});
    let mut there: Vec<_> =
        (0..20).map(|n| Client::join(&one, &format!("user{n}"), &["r"])).collect();
    let two = serve_at(&redis.url(), |_| {});
    until_ready(&two, 200);
    let mut carol = Client::join(&two, "carol", &["r"]);
    carol.send(&json!({ "type": "message", "to": there[0].address(), "data": "hello" }));
    carol.send(&json!({ "type": "message", "to": carol.address(), "data": "end" }));
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let frame = carol.recv();
        if frame["type"] == "message" {
            break;
        }
        seen.insert(frame["data"]["id"].as_str().unwrap_or_default().to_owned());
    }
    assert!(there.iter().all(|peer| seen.contains(peer.id())), "{seen:?}");
    loop {
        let frame = there[0].recv();
        if frame["type"] == "message" {
            assert_eq!(frame["data"], "hello");
            break;
        }
    }
}

/// R-S4: two nodes on two servers of which one becomes the replica of the other: that node would
/// hear the other one and not be heard. It is not ready, and nobody is half there.
#[test]
fn half_a_cluster() {
    let Some(a) = Redis::start() else { return };
    let Some(b) = Redis::start() else { return };
    let (one, two) = (serve_at(&a.url(), |_| {}), serve_at(&b.url(), |_| {}));
    until_ready(&two, 200);
    turn(&b, &a);
    until_ready(&one, 503);
    let mut alice = Client::join(&one, "alice", &["r"]);
    let _bob = Client::join(&two, "bob", &["r"]);
    alice.hears_nothing();
    assert_eq!((get(&one, "/readyz").0, get(&two, "/readyz").0), (503, 200));
    let _: () = a.ask("REPLICAOF NO ONE");
    until_ready(&one, 200);
}

/// R-S4, R-S1: a socket on this machine, and a database of it, are watched as all others are.
#[cfg(unix)]
#[test]
fn a_socket_of_the_machine() {
    let Some(redis) = Redis::start_with(&["--unixsocket", "redis.sock"]) else { return };
    let path = redis.file("redis.sock");
    let _: () = redis.ask("ACL SETUSER symple on >p&w ~* &* +@all");
    let url = format!("unix://{path}?db=1&user=symple&pass=p%26w");
    let server = serve_at(&url, |config| config.engine.authentication = true);
    let config = RedisConfig::new(&url).unwrap();
    assert_eq!(config.address(), format!("unix://{path}?db=1"));
    let session = Fields::new().with("user", "alice");
    let sessions = block_on(Sessions::connect(&config)).unwrap();
    block_on(sessions.set("t", &session, None)).unwrap();
    assert_eq!(redis.ask::<Option<String>>("GET symple:session:t"), None);
    Client::connect(&server).auth(&json!({ "type": "auth", "user": "x", "token": "t" }));
    let _: () = redis.ask("REPLICAOF 127.0.0.1 1");
    until_ready(&server, 503);
    let error = block_on(sessions.set("t", &session, None)).unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");
    let _: () = redis.ask("REPLICAOF NO ONE");
    until_ready(&server, 200);
}

/// R-S4, R-T2: a Redis that is back and still loads its data cannot be asked for sessions: the
/// server is not ready before it can. The bus is there before that.
#[test]
fn loading() {
    let arguments = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
    let Some(mut redis) = Redis::start_with(&arguments) else { return };
    let server = serve_at(&redis.url(), |config| config.engine.authentication = true);
    let _: () = redis.run(&["SET", "symple:session:t", r#"{"user":"alice"}"#]);
    let many = "for n = 1, 2000 do redis.call('SET', 'k' .. n, string.rep('x', 100)) end";
    let _: () = redis.run(&["EVAL", many, "0"]);
    let _: () = redis.ask("SAVE");
    redis.stop();
    until_ready(&server, 503);
    assert!(redis.restart());
    let loads = || {
        let info: String = redis.ask("INFO persistence");
        info.contains("\nloading:1")
    };
    until("the bus is there", || {
        let channels: Vec<String> = redis.ask("PUBSUB CHANNELS symple:broadcast");
        !channels.is_empty()
    });
    let mut seen = 0;
    until("it is loaded", || {
        let status = get(&server, "/readyz").0;
        let loads = loads();
        if loads {
            assert_eq!(status, 503);
            seen += 1;
        }
        !loads
    });
    assert!(seen > 0, "it was loaded at once");
    until_ready(&server, 200);
    Client::connect(&server).auth(&json!({ "type": "auth", "user": "x", "token": "t" }));
}

/// R-S4, R-T2: rights that are taken away at run time and given back. Without sessions the bus goes
/// on; without the bus local traffic does.
#[test]
fn rights_come_and_go() {
    let Some(redis) = Redis::start() else { return };
    let acl = |rules: &str| {
        let _: () = redis.ask(&format!("ACL SETUSER symple {rules}"));
    };
    acl("on >pw ~symple:* &symple:* -@all +@read +@write +@pubsub +@connection");
    let url = redis.url().replace("redis://", "redis://symple:pw@");
    let server = serve_at(&url, |config| config.engine.authentication = true);
    let _: () = redis.run(&["SET", "symple:session:t", r#"{"user":"alice"}"#]);
    let mut alice = Client::connect(&server);
    alice.auth(&json!({ "type": "auth", "user": "x", "token": "t" }));
    for (taken, given) in [
        ("resetkeys", "~symple:*"),
        ("-getrange", "+getrange"),
        ("-exists", "+exists"),
        ("-publish", "+publish"),
    ] {
        acl(taken);
        until_ready(&server, 503);
        if taken != "-publish" {
            redis.publish(r#"{"type":"message","to":"alice"}"#);
            assert_eq!(alice.recv()["type"], "message");
        }
        acl(given);
        until_ready(&server, 200);
        redis.publish(r#"{"type":"message","to":"alice"}"#);
        assert_eq!(alice.recv()["type"], "message");
    }
}

/// R-T2: what a server does without is not asked for: without authentication it reads no sessions.
#[test]
fn sessions_that_are_not_used() {
    let Some(redis) = Redis::start() else { return };
    let _: () = redis.ask("ACL SETUSER bus on >pw &symple:* -@all +@pubsub +@connection");
    let url = redis.url().replace("redis://", "redis://bus:pw@");
    let server = serve_at(&url, |_| {});
    until_ready(&server, 200);
}

/// R-S3: what is published on a replica is heard by nobody: the emitter says so, and goes to the
/// master of then.
#[test]
fn emission_on_a_replica() {
    let Some(a) = Redis::start() else { return };
    let Some(b) = Redis::start() else { return };
    let door = Door::to(&a.url());
    let server = serve_at(&door.url, |_| {});
    let mut alice = Client::join(&server, "alice", &[]);
    let config = RedisConfig::new(&door.url).unwrap();
    let emitter = block_on(Emitter::connect(&config)).unwrap();
    let frame = r#"{"type":"message","to":"alice"}"#;
    assert_eq!(block_on(emitter.emit(frame)), Ok(1));
    assert_eq!(alice.recv()["type"], "message");
    turn(&b, &a);
    let error = block_on(emitter.emit(frame)).unwrap_err();
    assert!(matches!(error, RedisError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("replica"), "{error}");
    door.lead(&b.url());
    until("the server is there", || block_on(emitter.emit(frame)) == Ok(1));
}
