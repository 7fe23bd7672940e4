//! A Redis Cluster: its servers fail, and others take their slots.

use std::{
    process::{Command, Output},
    time::Instant,
};

use super::{
    Cluster, Redis,
    processes::{Node, PATIENCE},
};

/// What `symple session` says, with this prefix.
fn session(redis: &Redis, prefix: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_symple"))
        .env_clear()
        .arg("session")
        .args(arguments)
        .args(["--redis-url", &redis.url(), "--redis-prefix", prefix])
        .output()
        .unwrap()
}

/// Waits until the replica has taken over what has been written: of that there is no event, and
/// `WAIT` is for the connection that has written.
fn is_replicated(master: &Redis) {
    let number = |text: &str, name: &str| -> Option<u64> {
        let value = text.split(name).nth(1)?;
        value[..value.find(|c: char| !c.is_ascii_digit())?].parse().ok()
    };
    let written = number(&master.ask(&["info", "replication"]), "master_repl_offset:").unwrap();
    let asked = Instant::now();
    while number(&master.ask(&["info", "replication"]), ",offset=").is_none_or(|at| at < written) {
        assert!(asked.elapsed() < PATIENCE, "the replica does not follow");
    }
}

/// R-C1, R-S4: what holds on one Redis holds on the server that has the slot. It is killed, and
/// nodes follow the slot to the new master by themselves: rosters are right again, messages arrive
/// once, in order, and so does what a backend publishes on any server.
#[test]
fn the_master_of_the_slot_is_killed() {
    std::thread::scope(|scope| {
        for runtime in ["tokio", "async-std"] {
            let Some(mut members) = Redis::start_cluster() else { return };
            scope.spawn(move || {
                let mut owner = members.remove(0);
                // A node is told of any, and asks its way.
                let told = members.remove(0);
                let refused = session(&told, "symple:", &["get", "token"]);
                let words = String::from_utf8_lossy(&refused.stderr).into_owned();
                assert!(!refused.status.success() && words.contains("hash tag"), "{words}");
                let set = session(&told, "{symple}:", &["set", "token", r#"{"user":"alice"}"#]);
                assert!(set.status.success(), "{set:?}");
                is_replicated(&owner);
                let nodes = (0..2).map(|_| Node::start(&told, runtime)).collect();
                let cluster = Cluster { runtime, redis: told, nodes };
                let (alice, bob) = (cluster.client(0, "alice"), cluster.client(1, "bob"));
                for client in [&alice, &bob] {
                    client.sees(&[&alice, &bob]);
                }
                for n in 0..100 {
                    alice.send(&format!(r#"{{"type":"message","to":"team","n":{n}}}"#));
                }
                assert_eq!(bob.numbers(100), (0..100).collect::<Vec<_>>());

                let killed = Instant::now();
                owner.stop();
                // Whoever comes now is seen on the other node when they hear each other again.
                let (carol, dave) = (cluster.client(0, "carol"), cluster.client(1, "dave"));
                let everyone = [&alice, &bob, &carol, &dave];
                for client in everyone {
                    client.sees(&everyone);
                }
                println!(
                    "{runtime}: a new master of the slot: right after {:.2?}",
                    killed.elapsed()
                );
                let get = session(&cluster.redis, "{symple}:", &["get", "token"]);
                assert!(get.status.success(), "{get:?}");
                for n in 100..200 {
                    alice.send(&format!(r#"{{"type":"message","to":"team","n":{n}}}"#));
                    dave.send(&format!(r#"{{"type":"message","to":"carol","n":{n}}}"#));
                }
                // A repeat would be among them.
                let numbers: Vec<_> = (100..200).collect();
                assert_eq!(bob.numbers(100), numbers);
                for (number, member) in (200..).zip(&members) {
                    let frame =
                        format!(r#"{{"type":"message","from":"backend","to":"bob","n":{number}}}"#);
                    member.ask(&["publish", "{symple}:broadcast", &frame]);
                    assert_eq!(bob.numbers(1), [number]);
                }
            });
        }
    });
}
