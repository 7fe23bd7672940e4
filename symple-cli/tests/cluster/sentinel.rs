//! A master of Redis dies, and sentinels name another.

use std::{
    process::{Command, Output},
    time::Instant,
};

use super::{Cluster, Redis, processes::Node};

/// What `symple session` says.
fn session(redis: &Redis, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_symple"))
        .env_clear()
        .arg("session")
        .args(arguments)
        .args(["--redis-url", &redis.url()])
        .output()
        .unwrap()
}

/// R-C1, R-S4: nodes follow the sentinels to the new master by themselves, and so does whoever
/// makes sessions.
#[test]
fn a_master_is_killed() {
    std::thread::scope(|scope| {
        for runtime in ["tokio", "async-std"] {
            let Some(mut master) = Redis::start() else { return };
            let Some(replica) = Redis::replica_of(&master) else { return };
            let Some(sentinel) = Redis::sentinel_of(&master) else { return };
            scope.spawn(move || {
                let set = session(&sentinel, &["set", "token", r#"{"user":"alice"}"#]);
                assert!(set.status.success(), "{set:?}");
                // There is no event for what a replica has taken over.
                while !session(&replica, &["get", "token"]).status.success() {}
                let nodes = (0..3).map(|_| Node::start(&sentinel, runtime)).collect();
                let cluster = Cluster { runtime, redis: sentinel, nodes };
                let [alice, bob, carol] = cluster.trio();

                let killed = Instant::now();
                master.stop();
                // Whoever comes now is seen on the other nodes when these hear each other again.
                let (dave, erin) = (cluster.client(2, "dave"), cluster.client(0, "erin"));
                let everyone = [&alice, &bob, &carol, &dave, &erin];
                for client in everyone {
                    client.sees(&everyone);
                }
                println!("{runtime}: a new master: right again after {:.2?}", killed.elapsed());
                alice.send(r#"{"type":"message","to":"dave","n":1}"#);
                assert_eq!(dave.numbers(1), [1]);
                let get = session(&cluster.redis, &["get", "token"]);
                assert!(get.status.success(), "{get:?}");
                let set = session(&cluster.redis, &["set", "other", r#"{"user":"bob"}"#]);
                assert!(set.status.success(), "{set:?}");
            });
        }
    });
}
