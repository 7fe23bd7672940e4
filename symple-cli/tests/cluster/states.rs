//! The state of a room while nodes are killed and stopped, and Redis is restarted: R-K5.

use std::{
    collections::BTreeMap,
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tungstenite::{Message, WebSocket, protocol::Role};

use super::{Cluster, on_each_runtime};

/// Longer than anything takes; not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many keys of its own a member writes, beside the one that all write.
const KEYS: u64 = 20;

#[derive(Default)]
struct Seen {
    /// The fold of what the member was told; none before it was told anything.
    state: Option<Map<String, Value>>,
    /// What it has set and what nobody has answered yet, by id.
    open: BTreeMap<String, (String, u64)>,
    /// The last number that was acknowledged, by key.
    acknowledged: BTreeMap<String, u64>,
    refused: usize,
}

/// A member of the room `board` that sees its state.
struct Member {
    user: String,
    socket: TcpStream,
    writer: Mutex<WebSocket<TcpStream>>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    /// The last number that it has written.
    number: Mutex<u64>,
}

impl Member {
    fn connect(server: SocketAddr, user: &str) -> Self {
        let socket = TcpStream::connect(server).unwrap();
        let (mut reader, _) =
            tungstenite::client("ws://localhost/", socket.try_clone().unwrap()).unwrap();
        let auth =
            json!({ "type": "auth", "user": user, "rooms": ["board"], "extensions": ["state"] });
        reader.send(Message::text(auth.to_string())).unwrap();
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let remembered = Arc::clone(&seen);
        std::thread::spawn(move || {
            while let Ok(message) = reader.read() {
                if let Message::Text(text) = message {
                    remembered.0.lock().unwrap().take(&serde_json::from_str(&text).unwrap());
                    remembered.1.notify_all();
                }
            }
        });
        let writer = WebSocket::from_raw_socket(socket.try_clone().unwrap(), Role::Client, None);
        let (user, writer, number) = (user.to_owned(), Mutex::new(writer), Mutex::new(0));
        let member = Self { user, socket, writer, seen, number };
        member.wait("the state", |seen| seen.state.is_some());
        member
    }

    /// Sets keys so often: one of its own, and the one that all set.
    fn write(&self, times: u64) {
        for _ in 0..times {
            let mut number = self.number.lock().unwrap();
            *number += 1;
            let (own, id) = (format!("{}{}", self.user, *number % KEYS), number.to_string());
            let mut set = Map::new();
            set.insert(own.clone(), json!(*number));
            set.insert("shared".into(), json!(format!("{} {number}", self.user)));
            self.seen.0.lock().unwrap().open.insert(id.clone(), (own, *number));
            let frame =
                json!({ "type": "state", "room": "board", "set": set, "id": id, "echo": true });
            self.writer.lock().unwrap().send(Message::text(frame.to_string())).unwrap();
        }
    }

    fn wait(&self, what: &str, mut so: impl FnMut(&Seen) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock().unwrap();
        while !so(&seen) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} waits for {what}: {:?}", self.user, seen.state);
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    fn state(&self) -> Map<String, Value> {
        self.seen.0.lock().unwrap().state.clone().unwrap()
    }

    /// Everything that it has set is answered.
    fn is_answered(&self) {
        self.wait("answers", |seen| seen.open.is_empty());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Seen {
    fn take(&mut self, frame: &Value) {
        match frame["type"].as_str() {
            Some("state") if frame["room"] == "board" => {
                if let Some(all) = frame["all"].as_object() {
                    self.state = Some(all.clone());
                }
                for (key, value) in frame["set"].as_object().into_iter().flatten() {
                    let state = self.state.as_mut().expect("R-K2: it was told of the state before");
                    match value {
                        Value::Null => drop(state.remove(key)),
                        _ => drop(state.insert(key.clone(), value.clone())),
                    }
                }
            }
            Some("state:ok") => {
                let set = self.open.remove(frame["id"].as_str().unwrap()).unwrap();
                self.acknowledged.insert(set.0, set.1);
            }
            Some("error") => {
                self.refused += 1;
                self.open.remove(frame["id"].as_str().unwrap()).unwrap();
            }
            _ => {}
        }
    }
}

/// All agree; and what was acknowledged to members whose nodes have lived is there, or what they have set later.
fn all_agree(cluster: &Cluster, what: &str, members: &[&Member]) {
    let begun = Instant::now();
    for member in members {
        member.is_answered();
    }
    let first = members[0];
    loop {
        let state = first.state();
        let until = begun + PATIENCE;
        if members.iter().all(|member| member.state() == state) && is_complete(&state, members) {
            break;
        }
        if Instant::now() > until {
            let states: Vec<_> = members.iter().map(|member| member.state()).collect();
            panic!("{what}: they do not agree, or something is lost: {states:#?}");
        }
        // Whoever is behind is told: any of them may be.
        std::thread::yield_now();
    }
    println!("{}: {what}: all agree after {:.2?}", cluster.runtime, begun.elapsed());
}

fn is_complete(state: &Map<String, Value>, members: &[&Member]) -> bool {
    members.iter().all(|member| {
        let seen = member.seen.0.lock().unwrap();
        seen.acknowledged.iter().all(|(key, number)| state.get(key) == Some(&json!(number)))
    })
}

/// R-K5, R-K4, R-C2, R-S4: three nodes, of which one is killed, one is stopped and goes on, and whose Redis is
/// restarted, all while members write: at rest all agree, and nothing is lost that was acknowledged on a
/// node that lives.
#[test]
fn a_state_survives_nodes_and_redis() {
    on_each_runtime(|mut cluster| {
        let [observer, other, third] = cluster.trio();
        let join = |cluster: &Cluster, node: usize, user: &str| {
            Member::connect(cluster.nodes[node].address, user)
        };
        let ann = join(&cluster, 0, "ann");
        let ben = join(&cluster, 1, "ben");
        let cat = join(&cluster, 2, "cat");
        let write = |members: &[&Member], times: u64| {
            std::thread::scope(|scope| {
                for member in members {
                    scope.spawn(|| member.write(times));
                }
            });
        };
        write(&[&ann, &ben, &cat], 300);
        all_agree(&cluster, "load", &[&ann, &ben, &cat]);

        // What cat has set is told to others or is gone with her node; what others have set is there.
        write(&[&ann, &ben, &cat], 100);
        cluster.nodes[2].signal("KILL");
        write(&[&ann, &ben], 200);
        observer.sees(&[&other]);
        all_agree(&cluster, "kill -9", &[&ann, &ben]);
        drop((cat, third));
        cluster.replace(2);
        let third = cluster.client(2, "carol");
        let dan = join(&cluster, 2, "dan");
        all_agree(&cluster, "a new node", &[&ann, &ben, &dan]);

        // It is taken for dead; what its member sends meanwhile is read when it goes on.
        third.sees(&[&observer, &other]);
        write(&[&ann, &ben, &dan], 100);
        cluster.nodes[2].signal("STOP");
        write(&[&ann, &ben, &dan], 100);
        observer.sees(&[&other]);
        write(&[&ann, &ben], 100);
        cluster.nodes[2].signal("CONT");
        write(&[&ann, &ben, &dan], 100);
        all_agree(&cluster, "SIGSTOP, SIGCONT", &[&ann, &ben, &dan]);

        // Each node goes on alone, and accepts what its members set.
        third.sees(&[&observer, &other]);
        cluster.redis.stop();
        write(&[&ann, &ben, &dan], 200);
        observer.sees(&[]);
        other.sees(&[]);
        write(&[&ann, &ben, &dan], 20);
        for member in [&ann, &ben, &dan] {
            member.is_answered();
        }
        cluster.redis.restart();
        all_agree(&cluster, "a restarted Redis", &[&ann, &ben, &dan]);
        write(&[&ann, &ben, &dan], 20);
        all_agree(&cluster, "afterwards", &[&ann, &ben, &dan]);
        for member in [&ann, &ben, &dan] {
            let refused = member.seen.0.lock().unwrap().refused;
            println!("{}: {}: {refused} refused", cluster.runtime, member.user);
        }
    });
}
