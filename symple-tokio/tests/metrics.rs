//! R-I2: what `GET /metrics` says is what has happened, and a parser that is not ours reads it.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod listener;
#[path = "../../symple-driver/tests/suite/redis/process.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod process;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    num::NonZeroUsize,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use process::Redis;
use prometheus_parse::{Sample, Value};
use serde_json::json;
use symple_tokio::{
    HttpEndpoint, RedisConfig, Server, ServerBuilder, WebhookSettings, admin::Admin,
};
use tokio::runtime::Runtime;
use tungstenite::{
    Message, WebSocket,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// A server with its metrics.
struct Node {
    _runtime: Runtime,
    server: Server,
    admin: SocketAddr,
}

impl Node {
    fn start(builder: ServerBuilder) -> Self {
        let runtime = Runtime::new().unwrap();
        let (server, admin) = runtime.block_on(async {
            let server = builder.bind("127.0.0.1:0").start().unwrap();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let admin = Admin::new(server.handle()).dropped_log_lines(|| 7);
            tokio::spawn(admin.serve(listener, std::future::pending()));
            (server, address)
        });
        Self { _runtime: runtime, server, admin }
    }

    fn get(&self, path: &str) -> (String, String) {
        listener::get(self.admin, path)
    }

    fn scrape(&self) -> Scrape {
        let (head, text) = self.get("/metrics");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(
            head.contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{head}"
        );
        Scrape::read(&text)
    }

    /// The first scrape of which this holds.
    fn scrape_when(&self, holds: impl Fn(&Scrape) -> bool) -> Scrape {
        let begun = Instant::now();
        loop {
            let scrape = self.scrape();
            if holds(&scrape) {
                return scrape;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{:#?}", scrape.samples);
        }
    }
}

struct Scrape {
    samples: Vec<Sample>,
    text: String,
}

impl Scrape {
    fn read(text: &str) -> Self {
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let scrape = prometheus_parse::Scrape::parse(lines).unwrap();
        Self { samples: scrape.samples, text: text.to_owned() }
    }

    /// The value of the sample with this name and exactly these labels.
    #[track_caller]
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            sample.metric == name
                && sample.labels.len() == labels.len()
                && labels.iter().all(|(key, value)| sample.labels.get(key) == Some(*value))
        };
        let found: Vec<_> = self.samples.iter().filter(has).collect();
        let [sample] = found[..] else { panic!("{name} {labels:?}: {}", self.text) };
        match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
            ref other => panic!("{name}: {other:?}"),
        }
    }

    fn sum(&self, name: &str) -> f64 {
        let samples = self.samples.iter().filter(|sample| sample.metric == name);
        let values = samples.map(|sample| match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
            ref other => panic!("{name}: {other:?}"),
        });
        values.sum()
    }

    /// Those of one label's values whose count is not 0.
    fn by(&self, name: &str, wanted: &[(&str, &str)], label: &str) -> BTreeMap<String, u64> {
        let samples = self.samples.iter().filter(|sample| {
            let labels = &sample.labels;
            sample.metric == name
                && wanted.iter().all(|(key, value)| labels.get(key) == Some(*value))
        });
        let rows = samples.map(|sample| {
            let (Value::Counter(value) | Value::Untyped(value)) = sample.value else {
                panic!("{name}")
            };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            (sample.labels[label].to_owned(), value as u64)
        });
        rows.filter(|(_, count)| *count > 0).collect()
    }

    /// The names of metrics, as `# TYPE` lines have them.
    fn families(&self) -> BTreeSet<String> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }

    /// The names that a query may have.
    fn names(&self) -> BTreeSet<String> {
        let lines = self.text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
    }
}

/// The bytes that all clients have read and written.
#[derive(Clone, Default)]
struct Bytes(Arc<[AtomicU64; 2]>);

/// A socket whose bytes are counted.
struct Counted(TcpStream, Bytes);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.0[1].fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.0.write(bytes)?;
        self.1.0[0].fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A client that keeps a ledger: how many frames of each type it has sent and been sent.
struct Client {
    socket: WebSocket<Counted>,
    sent: BTreeMap<String, u64>,
    received: BTreeMap<String, u64>,
}

impl Client {
    fn connect(node: &Node, bytes: &Bytes) -> Self {
        let address = node.server.local_address();
        let stream = Counted(TcpStream::connect(address).unwrap(), bytes.clone());
        let (socket, _) = tungstenite::client(format!("ws://{address}/ws"), stream).unwrap();
        Self { socket, sent: BTreeMap::new(), received: BTreeMap::new() }
    }

    fn join(node: &Node, bytes: &Bytes, user: &str) -> Self {
        let mut client = Self::connect(node, bytes);
        client.send("auth", &json!({ "type": "auth", "user": user, "rooms": ["r"] }).to_string());
        client.until("welcome");
        client
    }

    fn send(&mut self, kind: &str, text: &str) {
        *self.sent.entry(kind.into()).or_default() += 1;
        self.socket.send(Message::text(text)).unwrap();
    }

    /// The type of the next frame, if there is one.
    fn next(&mut self) -> Option<String> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
                    let kind = frame["type"].as_str().unwrap().to_owned();
                    *self.received.entry(kind.clone()).or_default() += 1;
                    return Some(kind);
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    #[track_caller]
    fn until(&mut self, kind: &str) {
        while self.next().expect("the frame comes before the end") != kind {}
    }

    fn drain(&mut self) {
        while self.next().is_some() {}
    }
}

fn add(to: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (kind, count) in more {
        *to.entry(kind.clone()).or_default() += count;
    }
}

/// R-I2: the sums are those of a load whose clients keep a ledger, also where other threads have the
/// sockets.
#[test]
fn sums_are_those_of_the_load() {
    for threads in [1, 3] {
        let node = Node::start(ServerBuilder::new().configure(|config| {
            config.threads = NonZeroUsize::new(threads).unwrap();
            config.engine.connections.per_address = 0;
            config.path = Some("/ws".into());
        }));
        let bytes = Bytes::default();
        let mut clients: Vec<_> =
            (0..4).map(|n| Client::join(&node, &bytes, &format!("user{n}"))).collect();
        let told = node.scrape();
        assert_eq!(told.get("symple_connections", &[]), 4.0);
        assert_eq!(told.get("symple_peers", &[]), 4.0);
        // Its own and the one that all share.
        assert_eq!(told.get("symple_rooms", &[]), 5.0);
        assert_eq!(told.get("symple_sockets", &[]), 4.0);
        assert_eq!(told.get("symple_paused_connections", &[]), 0.0);

        // Also where the type is not the first that a client writes.
        for n in 0..5 {
            clients[0].send("message", &format!(r#"{{"data":{n},"to":["r"],"type":"message"}}"#));
        }
        clients[1].send("command", r#"{"type":"command","to":"user2","data":{}}"#);
        clients[1].send("event", r#"{"type":"event","data":1}"#);
        clients[2].send("presence", r#"{"type":"presence","data":{"name":"x"}}"#);
        clients[2].send("join", r#"{"type":"join","room":"s"}"#);
        clients[2].until("join:ok");
        clients[2].send("leave", r#"{"type":"leave","room":"s"}"#);
        clients[2].until("leave:ok");
        for (kind, text) in [
            ("other", r#"{"type":"no such type"}"#),
            ("other", "not JSON"),
            ("message", r#"{"type":"message","to":5}"#),
        ] {
            clients[3].send(kind, text);
            clients[3].until("error");
        }
        clients[3].socket.send(Message::Ping(tungstenite::Bytes::new())).unwrap();
        *clients[3].sent.entry("control".into()).or_default() += 1;

        let mut stranger = Client::connect(&node, &bytes);
        stranger.send("auth", r#"{"type":"auth"}"#);
        stranger.drain();
        // One that asks for a path that is none.
        let mut other =
            Counted(TcpStream::connect(node.server.local_address()).unwrap(), bytes.clone());
        let upgrade = "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        other.write_all(upgrade.as_bytes()).unwrap();
        let mut answer = String::new();
        other.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");

        // Each leaves in a way of its own; what had been sent to it is read before.
        clients[0].send("close", r#"{"type":"close"}"#);
        clients[0].drain();
        // What is on its way to who leaves is counted, though it never comes.
        let has_heard = |client: &mut Client| {
            client.send("join", r#"{"type":"join","room":"t"}"#);
            client.until("join:ok");
        };
        has_heard(&mut clients[1]);
        let frame = CloseFrame { code: CloseCode::Library(4999), reason: "".into() };
        clients[1].socket.close(Some(frame)).unwrap();
        clients[1].drain();
        has_heard(&mut clients[2]);
        clients[2].socket.close(None).unwrap();
        clients[2].drain();
        let kicked = node.server.handle();
        node._runtime.block_on(kicked.kick_user("user3", "for a test")).unwrap();
        clients[3].drain();

        let scrape = node.scrape_when(|scrape| scrape.get("symple_sockets", &[]) == 0.0);
        let (mut sent, mut received) = (BTreeMap::new(), BTreeMap::new());
        for client in clients.iter().chain([&stranger]) {
            add(&mut sent, &client.sent);
            add(&mut received, &client.received);
        }
        let frames =
            |direction| scrape.by("symple_frames_total", &[("direction", direction)], "type");
        assert_eq!(frames("in"), sent);
        assert_eq!(frames("out"), received);
        #[allow(clippy::cast_precision_loss, reason = "few")]
        let all = received.values().sum::<u64>() as f64;
        assert_eq!(scrape.get("symple_deliveries_total", &[]), all);

        let closes = |by| scrape.by("symple_closes_total", &[("by", by)], "code");
        let counts = |codes: &[&str]| -> BTreeMap<String, u64> {
            codes.iter().map(|code| ((*code).to_owned(), 1)).collect()
        };
        assert_eq!(closes("server"), counts(&["1000", "4401", "4409"]));
        assert_eq!(closes("client"), counts(&["other", "1005"]));
        assert_eq!((closes("network"), closes("silence")), (counts(&[]), counts(&[])));

        let errors = scrape.by("symple_errors_total", &[], "status");
        let errors: Vec<_> = errors.iter().map(|(code, count)| (&**code, *count)).collect();
        assert_eq!(errors, [("400", 3), ("401", 1), ("403", 1)]);
        let result = |result| scrape.get("symple_authentications_total", &[("result", result)]);
        assert_eq!((result("admitted"), result("refused")), (4.0, 1.0));
        let reason = |reason| scrape.get("symple_refusals_total", &[("reason", reason)]);
        assert_eq!((reason("authentication"), reason("capacity")), (1.0, 0.0));
        let upgrades = scrape.by("symple_refused_upgrades_total", &[], "status");
        assert_eq!(upgrades.into_iter().collect::<Vec<_>>(), [("404".to_owned(), 1)]);
        assert_eq!(scrape.get("symple_connections_opened_total", &[]), 5.0);
        assert_eq!(scrape.get("symple_kicks_total", &[]), 1.0);

        let traffic = |direction| {
            let name = "symple_traffic_bytes_total";
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let count = scrape.get(name, &[("direction", direction)]) as u64;
            count
        };
        // A client that is told the end may say goodbye behind it, to nobody.
        let written = bytes.0[0].load(Ordering::Relaxed);
        assert!((written.saturating_sub(100)..=written).contains(&traffic("in")), "{written}");
        assert_eq!(traffic("out"), bytes.0[1].load(Ordering::Relaxed));

        assert_eq!(scrape.get("symple_queue_bytes", &[("queue", "connections")]), 0.0);
        assert_eq!(scrape.get("symple_dropped_log_lines_total", &[]), 7.0);
        assert!(scrape.get("symple_admin_requests_total", &[("status", "200")]) >= 1.0);
        assert!(scrape.sum("symple_build_info") == 1.0);
        if cfg!(target_os = "linux") {
            assert!(scrape.get("process_resident_memory_bytes", &[]) > 1e6);
            assert!(scrape.get("process_open_fds", &[]) > 3.0);
        }
    }
}

/// R-I2: how long authentications took that a hook has decided, and that there is a time for each.
#[test]
fn authentications_are_timed() {
    let builder =
        ServerBuilder::new().authenticate(async |_| symple_tokio::AuthDecision::deny("no"));
    let node = Node::start(builder);
    let bytes = Bytes::default();
    for _ in 0..3 {
        let mut client = Client::connect(&node, &bytes);
        client.send("auth", r#"{"type":"auth","user":"a"}"#);
        client.drain();
    }
    let scrape = node.scrape();
    let name = "symple_authentication_duration_seconds";
    let sample = scrape.samples.iter().find(|sample| sample.metric == name).unwrap();
    let Value::Histogram(classes) = &sample.value else { panic!("{sample:?}") };
    assert!(classes.windows(2).all(|pair| pair[0].count <= pair[1].count), "{classes:?}");
    let last = classes.last().unwrap();
    assert!((last.less_than, last.count) == (f64::INFINITY, 3.0), "{classes:?}");
    assert_eq!(scrape.get("symple_authentication_duration_seconds_count", &[]), 3.0);
}

/// R-I2: what Redis and the other node have to do with it: a frame that crosses is one in here and one out
/// there.
#[test]
fn two_nodes() {
    let Some(redis) = Redis::start() else { return };
    let start = || Node::start(ServerBuilder::new().redis(RedisConfig::new(redis.url()).unwrap()));
    let (here, there) = (start(), start());
    let bytes = Bytes::default();
    let mut alice = Client::join(&here, &bytes, "alice");
    let mut bob = Client::join(&there, &bytes, "bob");
    let told = here.scrape_when(|scrape| scrape.get("symple_cluster_peers", &[]) == 1.0);
    assert_eq!(told.get("symple_cluster_nodes", &[]), 1.0);
    assert_eq!(told.get("symple_peers", &[]), 1.0);
    assert_eq!(told.get("symple_redis_up", &[]), 1.0);
    assert_eq!(told.get("symple_redis_losses_total", &[]), 0.0);
    assert!(told.get("symple_redis_round_trip_seconds_count", &[("kind", "bus")]) > 0.0);
    assert!(told.get("symple_cluster_published_total", &[]) > 0.0);
    assert!(told.get("symple_cluster_lag_seconds", &[]) < 60.0);

    alice.send("message", r#"{"data":1,"to":["r"],"type":"message"}"#);
    bob.until("message");
    let message = |node: &Node, direction| {
        let labels = [("direction", direction), ("type", "message")];
        node.scrape().get("symple_frames_total", &labels)
    };
    assert_eq!((message(&here, "in"), message(&here, "out")), (1.0, 0.0));
    assert_eq!((message(&there, "in"), message(&there, "out")), (0.0, 1.0));
}

/// R-I2, R-K4, R-X2, R-W1: states with their bytes, batches of presence, and the events that a webhook has not
/// taken, or will never take.
#[test]
fn states_batches_and_webhooks() {
    let mut settings = WebhookSettings::default();
    settings.max_events = 3;
    let nobody = HttpEndpoint::new("http://127.0.0.1:1/").unwrap();
    let node = Node::start(ServerBuilder::new().webhook(nobody, settings));
    let bytes = Bytes::default();
    let count = |name: &str| node.scrape().get(name, &[]);
    assert_eq!((count("symple_states"), count("symple_state_bytes")), (0.0, 0.0));
    let mut alice = Client::connect(&node, &bytes);
    let auth = json!({ "type": "auth", "user": "alice", "extensions": ["state", "roster"] });
    alice.send("auth", &auth.to_string());
    alice.until("roster");
    alice.send("other", r#"{"type":"state","room":"alice","set":{"k":"12345"}}"#);
    alice.until("state:ok");
    // For its own room, and whatever each key and each state counts beside that.
    assert_eq!(count("symple_states"), 1.0);
    assert!((8.0..1000.0).contains(&count("symple_state_bytes")));
    assert!(count("symple_roster_batches_total") >= 1.0);

    let waiting = "symple_webhook_waiting_events";
    node.scrape_when(|scrape| scrape.get(waiting, &[]) == 1.0);
    let others: Vec<_> = (0..5).map(|n| Client::join(&node, &bytes, &format!("user{n}"))).collect();
    // All that have come are told or dropped, or wait: three at most, and those that are being told.
    let dropped = "symple_webhook_dropped_events_total";
    let scrape = node.scrape_when(|scrape| {
        scrape.get(waiting, &[]) + scrape.get(dropped, &[]) == 1.0 + others.len() as f64
    });
    assert!((3.0..=5.0).contains(&scrape.get(waiting, &[])), "{}", scrape.text);
}

/// A server that has all metrics: one with Redis, also where there is none.
fn with_everything() -> Scrape {
    let mut redis = RedisConfig::new("redis://127.0.0.1:1/").unwrap();
    redis.required = false;
    let nobody = HttpEndpoint::new("http://127.0.0.1:1/").unwrap();
    let builder = ServerBuilder::new().redis(redis).webhook(nobody, WebhookSettings::default());
    Node::start(builder).scrape_when(|scrape| {
        let losses = "symple_redis_losses_total";
        scrape.names().contains(losses) && scrape.get(losses, &[]) > 0.0
    })
}

/// The names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_part(c));
    let ours = words.filter(|word| word.starts_with("symple_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

fn file(path: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// R-I2: the page has a line for each metric and none for others; the dashboard and the alerts ask for what
/// there is.
#[test]
fn the_page_the_dashboard_and_the_alerts_name_what_there_is() {
    let scrape = with_everything();
    assert!(scrape.text.ends_with("# EOF\n"));
    let page = file("metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: BTreeSet<String> =
        rows.map(|row| row.split(['`', '{']).next().unwrap().to_owned()).collect();
    let families = scrape.families();
    let as_named = |family: &String| {
        let names = scrape.names();
        let named = ["", "_total", "_info"].iter().map(|end| format!("{family}{end}"));
        named.clone().find(|name| names.contains(name)).unwrap_or_else(|| family.clone())
    };
    // Histograms are named without what their samples end with.
    let expected: BTreeSet<String> = families.iter().map(as_named).collect();
    assert_eq!(rows, expected, "docs/metrics.md and what /metrics has");

    let dashboard = file("operate/grafana-dashboard.json");
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
    for (name, text) in
        [("dashboard", dashboard), ("alerts", file("operate/prometheus-alerts.yml"))]
    {
        let asked = named(&text);
        assert!(asked.len() >= 5, "{name}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&scrape.names()).cloned().collect();
        assert!(unknown.is_empty(), "{name} asks for {unknown:?}");
    }
}

/// R-I2: each alert fires when it should and is quiet when it should be: Prometheus itself says so.
#[test]
fn alerts_fire_and_stay_quiet() {
    if !process::missing::is_installed("promtool", "--version") {
        return;
    }
    for arguments in [["check", "prometheus-alerts.yml"], ["test", "prometheus-alerts.test.yml"]] {
        let [what, file] = arguments;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operate");
        let mut promtool = Command::new("promtool");
        let said = promtool.current_dir(folder).args([what, "rules", file]).output().unwrap();
        let text =
            [said.stdout, said.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(said.status.success(), "{text:?}");
    }
    // No alert is without cases of both kinds.
    let alerts = file("operate/prometheus-alerts.yml");
    let cases = file("operate/prometheus-alerts.test.yml");
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let quiet = format!("{{ eval_time: 25m, alertname: {alert} }}");
        assert!(cases.contains(&quiet), "{alert}");
        assert!(
            cases.contains(&format!("        alertname: {alert}\n        exp_alerts:")),
            "{alert}"
        );
    }
}

/// R-I2: nobody's name, room, token or address is in a label, whatever clients write.
#[test]
fn no_label_has_a_value_of_a_client() {
    const SECRET: &str = "zzsecretzz";
    let node = Node::start(ServerBuilder::new());
    let bytes = Bytes::default();
    let mut client = Client::connect(&node, &bytes);
    let auth = json!({ "type": "auth", "user": SECRET, "token": SECRET, "rooms": [SECRET] });
    client.send("auth", &auth.to_string());
    client.until("welcome");
    client.send("other", &json!({ "type": SECRET }).to_string());
    client.until("error");
    let mut other = TcpStream::connect(node.server.local_address()).unwrap();
    write!(other, "{SECRET} /{SECRET} HTTP/1.1\r\nHost: {SECRET}\r\n\r\n").unwrap();
    other.read_to_string(&mut String::new()).unwrap();
    node.get(&format!("/{SECRET}"));
    let scrape = node.scrape();
    assert!(!scrape.text.contains(SECRET) && !scrape.text.contains("127.0.0.1"), "{}", scrape.text);
    assert!(scrape.get("symple_admin_requests_total", &[("status", "404")]) == 1.0);
}
