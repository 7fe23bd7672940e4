//! A client that reads all the time and remembers what it was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, protocol::Role};

/// Longer than anything takes; not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Seen {
    roster: BTreeSet<String>,
    /// How often each peer went offline, and came online.
    offline: BTreeMap<String, usize>,
    online: BTreeMap<String, usize>,
    /// The `n` of the messages, in order, as far as nobody has asked for them.
    numbers: Vec<u64>,
    fault: Option<String>,
    closed: bool,
}

pub(crate) struct Client {
    address: String,
    socket: TcpStream,
    writer: Mutex<WebSocket<TcpStream>>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Client {
    pub(crate) fn connect(server: SocketAddr, user: &str, rooms: &[&str]) -> Self {
        let socket = TcpStream::connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut reader, _) =
            tungstenite::client("ws://localhost/", socket.try_clone().unwrap()).unwrap();
        let auth = json!({ "type": "auth", "user": user, "rooms": rooms });
        reader.send(Message::text(auth.to_string())).unwrap();
        let welcome: Value =
            serde_json::from_str(reader.read().unwrap().to_text().unwrap()).unwrap();
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        let address = format!("{user}|{}", welcome["peer"]["id"].as_str().unwrap());
        socket.set_read_timeout(None).unwrap();
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let remembered = Arc::clone(&seen);
        std::thread::spawn(move || {
            while let Ok(message) = reader.read() {
                if let Message::Text(text) = message {
                    let mut seen = remembered.0.lock().unwrap();
                    seen.take(&serde_json::from_str(&text).unwrap());
                    remembered.1.notify_all();
                }
            }
            remembered.0.lock().unwrap().closed = true;
            remembered.1.notify_all();
        });
        let writer = WebSocket::from_raw_socket(socket.try_clone().unwrap(), Role::Client, None);
        Self { address, socket, writer: Mutex::new(writer), seen }
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn send(&self, text: &str) {
        self.writer.lock().unwrap().send(Message::text(text)).unwrap();
    }

    /// Waits until what was seen is so.
    fn wait(&self, what: &str, mut so: impl FnMut(&mut Seen) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock().unwrap();
        loop {
            assert_eq!(seen.fault, None, "{}", self.address);
            if so(&mut seen) {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} waits for {what}; its roster is {:?}",
                self.address,
                seen.roster
            );
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Its connection is there: something that it sends to itself comes back.
    pub(crate) fn is_open(&self) -> bool {
        let echo = format!(r#"{{"type":"message","to":"{}","n":99}}"#, self.address);
        let sent = self.writer.lock().unwrap().send(Message::text(echo)).is_ok();
        let mut closed = !sent;
        if sent {
            self.wait("an echo", |seen| {
                closed = seen.closed;
                closed || seen.numbers.last() == Some(&99)
            });
        }
        !closed
    }

    /// Its roster is these, itself left aside.
    pub(crate) fn sees(&self, others: &[&Self]) {
        let others: BTreeSet<_> = others
            .iter()
            .map(|other| other.address.clone())
            .filter(|other| *other != self.address)
            .collect();
        self.wait(&format!("{others:?}"), |seen| seen.roster == others);
    }

    pub(crate) fn saw_online(&self, address: &str) {
        self.wait(address, |seen| seen.online.contains_key(address));
    }

    /// A peer has gone offline so often, and no more often.
    pub(crate) fn saw_offline(&self, address: &str, times: usize) {
        let count = |seen: &Seen| seen.offline.get(address).copied().unwrap_or_default();
        self.wait(&format!("{address} to go"), |seen| count(seen) >= times);
        assert_eq!(count(&self.seen.0.lock().unwrap()), times, "{address}");
    }

    /// The numbers of so many messages, in order; and there are no more.
    pub(crate) fn numbers(&self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        self.wait(&format!("{count} messages"), |seen| {
            let enough = seen.numbers.len() >= count;
            if enough {
                numbers = std::mem::take(&mut seen.numbers);
            }
            enough
        });
        numbers
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Seen {
    fn take(&mut self, frame: &Value) {
        let from = frame["from"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str() {
            Some("presence") => {
                let online = frame["data"]["online"] == true;
                let (new, counts) = if online {
                    (self.roster.insert(from.clone()), &mut self.online)
                } else {
                    (self.roster.remove(&from), &mut self.offline)
                };
                if !new {
                    self.fault = Some(format!("{from} is told of twice: online {online}"));
                }
                *counts.entry(from).or_default() += 1;
            }
            Some("message") => self.numbers.extend(frame["n"].as_u64()),
            _ => {}
        }
    }
}
