//! Three processes of the program, a real Redis and real sockets: SPEC §10.
//!
//! What each fault did, and how long it took, is printed: `cargo test -p symple-cli --test cluster
//! -- --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "see above")]

mod client;
mod processes;
#[path = "../../../symple-driver/tests/suite/receiver.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod receiver;
mod redis_cluster;
mod rolling;
mod sentinel;
mod states;
mod versions;
mod webhooks;

use std::time::{Duration, Instant};

use client::Client;
use processes::{Node, Redis, balancer};

/// Nodes on one Redis, and observers in the room `team` on the first two.
struct Cluster {
    runtime: &'static str,
    redis: Redis,
    nodes: Vec<Node>,
}

/// Three nodes on each runtime, side by side; none where there is no Redis to be had.
fn on_each_runtime(test: fn(Cluster)) {
    std::thread::scope(|scope| {
        for runtime in ["tokio", "async-std"] {
            if let Some(redis) = Redis::start() {
                let nodes = (0..3).map(|_| Node::start(&redis, runtime)).collect();
                scope.spawn(move || test(Cluster { runtime, redis, nodes }));
            }
        }
    });
}

impl Cluster {
    /// A node in the place of one that has ended.
    fn replace(&mut self, node: usize) {
        self.nodes[node] = Node::start(&self.redis, self.runtime);
    }

    /// A node in the place of one that has ended, at the same address.
    fn replace_at(&mut self, node: usize, address: std::net::SocketAddr) {
        self.nodes[node] = Node::start_at(&self.redis, self.runtime, address.port());
    }

    fn client(&self, node: usize, user: &str) -> Client {
        Client::connect(self.nodes[node].address, user, &["team"])
    }

    /// A client on every node, and each sees the others.
    fn trio(&self) -> [Client; 3] {
        let trio = [self.client(0, "alice"), self.client(1, "bob"), self.client(2, "carol")];
        for client in &trio {
            client.sees(&trio.iter().collect::<Vec<_>>());
        }
        trio
    }
}

/// R-C1, R-M6: what is sent on one node arrives on the others, in order and once, to a peer, to a
/// user, to a room and to everyone; and so does presence.
#[test]
fn nodes_are_one_server() {
    on_each_runtime(|cluster| {
        let [alice, bob, carol] = cluster.trio();
        for n in 0..200 {
            alice.send(&format!(r#"{{"type":"message","to":"team","n":{n}}}"#));
            alice.send(&format!(r#"{{"type":"message","to":"{}","n":{n}}}"#, bob.address()));
            alice.send(&format!(r#"{{"type":"message","to":"carol","n":{n}}}"#));
            alice.send(&format!(r#"{{"type":"message","to":["team","bob"],"n":{n}}}"#));
            alice.send(&format!(r#"{{"type":"message","n":{n}}}"#));
        }
        let to_bob: Vec<_> = (0..200).flat_map(|n| [n; 4]).collect();
        assert_eq!(bob.numbers(to_bob.len()), to_bob);
        assert_eq!(carol.numbers(to_bob.len()), to_bob);
        // Who leaves the room is not seen any more, and sees nobody.
        carol.send(r#"{"type":"leave","room":"team"}"#);
        alice.sees(&[&bob]);
        bob.sees(&[&alice]);
        carol.sees(&[]);
        carol.send(r#"{"type":"join","room":"team"}"#);
        for client in [&alice, &bob, &carol] {
            client.sees(&[&alice, &bob, &carol]);
        }
        let address = bob.address();
        drop(bob);
        alice.saw_offline(&address, 1);
        // Once when she left the room, and once when he went.
        carol.saw_offline(&address, 2);
    });
}

/// R-C2: the peers of a node that is killed are offline within ten seconds, announced once each.
#[test]
fn a_node_is_killed() {
    on_each_runtime(|mut cluster| {
        let [alice, bob, carol] = cluster.trio();
        let more: Vec<_> = (0..20).map(|n| cluster.client(2, &format!("user{n}"))).collect();
        for client in &more {
            alice.saw_online(&client.address());
            bob.saw_online(&client.address());
        }
        let started = Instant::now();
        cluster.nodes[2].signal("KILL");
        for observer in [&alice, &bob] {
            observer.sees(&[&alice, &bob]);
        }
        let took = started.elapsed();
        println!("{}: kill -9: the last offline after {took:.2?}", cluster.runtime);
        assert!(took < Duration::from_secs(10), "R-C2: {took:?}");
        for client in more.iter().chain([&carol]) {
            alice.saw_offline(&client.address(), 1);
            bob.saw_offline(&client.address(), 1);
        }
        // A node in its place, and it is as before.
        cluster.replace(2);
        let carol = cluster.client(2, "carol");
        for client in [&alice, &bob, &carol] {
            client.sees(&[&alice, &bob, &carol]);
        }
        assert_eq!(cluster.nodes[0].crashed(), None);
    });
}

/// R-C2: a node that is stopped for longer than a node may be silent, and goes on, is a ghost at no
/// time, and loses nobody.
#[test]
fn a_node_is_stopped_and_goes_on() {
    on_each_runtime(|mut cluster| {
        let [alice, bob, carol] = cluster.trio();
        let started = Instant::now();
        cluster.nodes[2].signal("STOP");
        alice.sees(&[&bob]);
        bob.sees(&[&alice]);
        println!("{}: SIGSTOP: offline after {:.2?}", cluster.runtime, started.elapsed());
        // Both have taken it for dead: it has been silent for too long.
        let resumed = Instant::now();
        cluster.nodes[2].signal("CONT");
        for client in [&alice, &bob, &carol] {
            client.sees(&[&alice, &bob, &carol]);
        }
        println!("{}: SIGCONT: right again after {:.2?}", cluster.runtime, resumed.elapsed());
        alice.saw_offline(&carol.address(), 1);
        carol.send(r#"{"type":"message","to":"team","n":1}"#);
        assert_eq!(alice.numbers(1), [1]);
        alice.send(r#"{"type":"message","to":"carol","n":2}"#);
        assert_eq!(carol.numbers(1), [2]);
    });
}

/// R-S4, R-C2: without Redis local traffic goes on; when it is back all is right again.
#[test]
fn redis_is_stopped_and_started() {
    on_each_runtime(|mut cluster| {
        let [alice, bob, carol] = cluster.trio();
        let local = cluster.client(0, "dave");
        alice.saw_online(&local.address());
        local.saw_online(&alice.address());
        cluster.redis.stop();
        // Nodes that cannot hear each other take each other for dead; on one node nothing changes.
        alice.sees(&[&local]);
        bob.sees(&[]);
        carol.sees(&[]);
        alice.send(r#"{"type":"message","to":"dave","n":1}"#);
        assert_eq!(local.numbers(1), [1]);
        let newcomer = cluster.client(0, "erin");
        newcomer.sees(&[&alice, &local]);
        let resumed = Instant::now();
        cluster.redis.restart();
        let everyone = [&alice, &bob, &carol, &local, &newcomer];
        for client in everyone {
            client.sees(&everyone);
        }
        println!("{}: Redis is back: right again after {:.2?}", cluster.runtime, resumed.elapsed());
        bob.send(r#"{"type":"message","to":"team","n":2}"#);
        assert_eq!(local.numbers(1), [2]);
        assert_eq!(newcomer.numbers(1), [2]);
    });
}

/// R-C2, R-M2, R-M6: a node is restarted under load: nothing twice, nothing out of order, and
/// nothing lost between nodes that stay.
#[test]
fn a_node_is_restarted_under_load() {
    on_each_runtime(|mut cluster| {
        let [alice, bob, carol] = cluster.trio();
        let mut n = 0;
        let mut send = |count: u64| {
            for _ in 0..count {
                alice.send(&format!(r#"{{"type":"message","to":"team","n":{n}}}"#));
                n += 1;
            }
            n
        };
        send(500);
        let restarted = cluster.nodes[2].signal("TERM");
        send(500);
        bob.saw_offline(&carol.address(), 1);
        let code = restarted.wait();
        assert_eq!(code, Some(0), "SPEC §12");
        let total = send(500);
        let all: Vec<_> = (0..total).collect();
        assert_eq!(bob.numbers(all.len()), all);
        cluster.replace(2);
        let carol = cluster.client(2, "carol");
        carol.sees(&[&alice, &bob]);
        alice.sees(&[&bob, &carol]);
        let last: Vec<_> = (total..send(500)).collect();
        assert_eq!(bob.numbers(last.len()), last);
        assert_eq!(carol.numbers(last.len()), last);
    });
}

/// R-C1, R-T6: the three-node page as it is written, with nginx before the nodes.
#[test]
fn nodes_behind_a_balancer() {
    on_each_runtime(|mut cluster| {
        let Some(nginx) = balancer(&cluster.nodes) else { return };
        let clients: Vec<_> = (0..6)
            .map(|n| Client::connect(nginx.address, &format!("user{n}"), &["team"]))
            .collect();
        let everyone: Vec<_> = clients.iter().collect();
        for client in &everyone {
            client.sees(&everyone);
        }
        clients[0].send(r#"{"type":"message","to":"team","n":1}"#);
        for client in &clients[1..] {
            assert_eq!(client.numbers(1), [1]);
        }
        // A node goes; whoever was on it comes back through the balancer, to another.
        cluster.nodes[2].signal("KILL");
        let back: Vec<_> = (0..6)
            .map(|n| Client::connect(nginx.address, &format!("again{n}"), &["team"]))
            .collect();
        let everyone: Vec<_> =
            clients.iter().filter(|client| client.is_open()).chain(&back).collect();
        assert_eq!(everyone.len(), 4 + 6, "a third of them was on the node that was killed");
        for client in &everyone {
            client.sees(&everyone);
        }
    });
}
