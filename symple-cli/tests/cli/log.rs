//! The log says why: who was refused and what they were told, how each connection ended, and who
//! a node is.

use std::io::{Read as _, Write as _};

use serde_json::{Map, json};
use tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

#[cfg(feature = "admin")]
use super::receiver::{Reply, Service};
use super::{redis::process::Redis, *};

const REFUSED_UPGRADE: &str = "an upgrade was refused";
const REFUSED_AUTH: &str = "an authentication was refused";
const ENDED: &str = "a connection has ended";

impl Server {
    /// One that logs JSON, as much as `level` says.
    fn logging(folder: &Path, level: &str, arguments: &[&str]) -> Self {
        let child = symple(folder)
            .args(["serve", "--host", "127.0.0.1", "--port", "0", "--log-format", "json"])
            .args(arguments)
            .env("RUST_LOG", level)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self::of(child, |line| line.contains("listens on"))
    }

    /// One with the API for operators, and where that is.
    #[cfg(feature = "admin")]
    fn operated(folder: &Path, level: &str, arguments: &[&str]) -> (Self, SocketAddr) {
        let child = symple(folder)
            .args(["serve", "--host", "127.0.0.1", "--port", "0", "--log-format", "json"])
            .args(["--admin", "127.0.0.1:0"])
            .args(arguments)
            .env("RUST_LOG", level)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let admin = std::cell::Cell::new(None);
        let server = Self::of(child, |line| {
            if let Some((_, rest)) = line.split_once("operators listens on http://") {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap();
                admin.set(Some(rest[..end].parse().unwrap()));
            }
            line.contains("listens on ws://")
        });
        (server, admin.get().unwrap())
    }

    /// The next line of the log with this message.
    fn logged(&mut self, message: &str) -> Map<String, Value> {
        loop {
            let line: Map<_, _> = serde_json::from_str(&self.next_line()).unwrap();
            if line["message"] == message {
                return line;
            }
        }
    }

    /// What is answered to a request that ends with an empty line.
    fn request(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    fn refuse(&self, frame: &Value) {
        let mut client = self.connect();
        client.send(Message::text(frame.to_string())).unwrap();
        assert_eq!(recv(&mut client)["type"], "error");
        while client.read().is_ok() {}
    }
}

/// Asks the API for operators for something, with the key that some servers here have; the answer.
#[cfg(feature = "admin")]
fn ask(admin: SocketAddr, call: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(admin).unwrap();
    let length = body.len();
    write!(
        socket,
        "{call} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer secret-admin-key\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Some members of a line.
fn members<const N: usize>(line: &Map<String, Value>, names: [&str; N]) -> [Value; N] {
    names.map(|name| line.get(name).cloned().unwrap_or(Value::Null))
}

/// R-T2, R-T5, R-T6, R-T7: each refused upgrade is a line at info, with what the client was told.
/// Who asked for a page is none.
#[test]
fn refused_upgrades() {
    let folder = folder("log-upgrades");
    let own = ["--path", "/ws", "--allowed-origins", "https://example.com"];
    for threads in ["1", "3"] {
        for (request, address, status, told, origin) in [
            (upgrade("/x", ""), "127.0.0.1", 404, "Not found", None),
            (
                upgrade("/ws", "Origin: https://evil.test\r\nX-Forwarded-For: 203.0.113.9\r\n"),
                "203.0.113.9",
                403,
                "Origin not allowed",
                Some("https://evil.test"),
            ),
            ("\x16\x03\x01\r\n\r\n".into(), "127.0.0.1", 400, "Bad request", None),
            (
                upgrade("/ws", "Content-Length: 1\r\n"),
                "127.0.0.1",
                400,
                "Not a WebSocket handshake",
                None,
            ),
            (
                "POST /ws HTTP/1.1\r\nHost: x\r\n\r\n".into(),
                "127.0.0.1",
                405,
                "Method not allowed",
                None,
            ),
        ] {
            let more = ["--threads", threads, "--trusted-proxies", "127.0.0.1"];
            let mut server = Server::logging(&folder, "info", &[&own[..], &more].concat());
            for path in ["/", "/healthz", "/nothing", "/ws"] {
                let page = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                server.request(&page);
            }
            let answer = server.request(&request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            let line = server.logged(REFUSED_UPGRADE);
            let seen = members(&line, ["level", "address", "status", "told", "origin", "more"]);
            assert_eq!(json!(seen), json!(["INFO", address, status, told, origin, 0]), "{request}");
        }
    }
}

/// R-A7, R-A2, R-L2: each refused authentication is a line at info, with what the client was told;
/// so is one that does not come in time, or finds no room.
#[test]
fn refused_authentications() {
    let folder = folder("log-authentications");
    for runtime in RUNTIMES {
        for (frame, status, told) in [
            (json!({ "type": "auth" }), 401, "Missing user field"),
            (json!({ "type": "message", "to": "a", "data": 1 }), 401, "Not authenticated"),
            (
                json!({ "type": "auth", "user": "a", "k\u{1b}[31m": 1, "USER": 1 }),
                401,
                "Invalid user field: must be spelled user",
            ),
        ] {
            let mut server = Server::logging(&folder, "info", &["--runtime", runtime]);
            server.refuse(&frame);
            let line = server.logged(REFUSED_AUTH);
            let seen = members(&line, ["level", "address", "status", "told", "more"]);
            assert_eq!(json!(seen), json!(["INFO", "127.0.0.1", status, told, 0]));
        }
        let late = ["--runtime", runtime, "--auth-timeout", "1"];
        let full = ["--runtime", runtime, "--max-connections", "1"];
        for (arguments, status, told) in
            [(late, 408, "Authentication timeout"), (full, 503, "At capacity")]
        {
            let mut server = Server::logging(&folder, "info", &arguments);
            let _clients = (server.connect(), server.connect());
            let line = server.logged(REFUSED_AUTH);
            assert_eq!(json!(members(&line, ["status", "told"])), json!([status, told]));
        }
    }
}

/// A client chooses how often it is refused, and does not fill the log: at info there are fewer
/// lines than refusals, and each says how many were kept back since the last. At debug there are all.
#[test]
fn refusals_do_not_fill_the_log() {
    const COUNT: u64 = 60;
    let folder = folder("log-flood");
    let mut server = Server::logging(&folder, "debug", &["--threads", "2"]);
    let (mut info, mut debug, mut counted) = (0, 0, 0);
    for n in 0..COUNT {
        server.request(&upgrade("/", "Sec-WebSocket-Key: x\r\n"));
        let line = server.logged(REFUSED_UPGRADE);
        match line["level"].as_str() {
            Some("INFO") => {
                info += 1;
                counted += 1 + line["more"].as_u64().unwrap();
                assert_eq!(counted, n + 1, "all before it are counted");
            }
            _ => debug += 1,
        }
    }
    assert!(info >= 1 && debug >= 1 && info + debug == COUNT, "{info} {debug}");
}

/// At debug each WebSocket connection is one line when it ends: who it was, from where, for how
/// long, and why it ended. The code is that of the side that closed first.
#[test]
fn ends_of_connections() {
    let folder = folder("log-ends");
    let names = ["level", "user", "address", "code", "cause"];
    for runtime in RUNTIMES {
        for threads in ["1", "3"] {
            let arguments = ["--runtime", runtime, "--threads", threads, "--auth-timeout", "0"];
            let mut server = Server::logging(&folder, "debug", &arguments);
            let ended = |server: &mut Server, expected: Value| {
                let line = server.logged(ENDED);
                assert_eq!(json!(members(&line, names)), expected);
                let known = line.get("id").is_some_and(Value::is_string);
                assert_eq!(known, !expected[1].is_null(), "{line:?}");
                assert!(line["duration"].as_str().unwrap().ends_with('s'));
            };

            server.refuse(&json!({ "type": "auth" }));
            let cause = "closed by the server: Authentication failed";
            ended(&mut server, json!(["DEBUG", null, "127.0.0.1", 4401, cause]));

            let mut client = server.client("al\u{202e}ice");
            let frame = CloseFrame { code: CloseCode::Library(4999), reason: "".into() };
            client.close(Some(frame)).unwrap();
            while client.read().is_ok() {}
            let user = "al\\u{202e}ice";
            ended(&mut server, json!(["DEBUG", user, "127.0.0.1", 4999, "closed by the client"]));

            drop(server.client("bob").into_inner());
            ended(&mut server, json!(["DEBUG", "bob", "127.0.0.1", null, "lost"]));

            let mut client = server.client("carol");
            client.send(Message::text(r#"{"type":"close"}"#)).unwrap();
            while client.read().is_ok() {}
            let line = server.logged(ENDED);
            assert_eq!(json!(members(&line, ["user", "code"])), json!(["carol", 1000]));

            let mut client = server.client("dave");
            server.signal("TERM");
            while client.read().is_ok() {}
            let cause = "closed by the server: Server shutting down";
            ended(&mut server, json!(["DEBUG", "dave", "127.0.0.1", 1001, cause]));
            assert!(!server.wait().1.contains(ENDED), "each has one line");
        }
    }
}

/// R-T3: a connection that was cut without a word says so.
#[test]
fn the_end_of_a_silent_connection() {
    let arguments = ["--ping-interval", "1", "--pong-timeout", "1"];
    let mut server = Server::logging(&folder("log-silent"), "debug", &arguments);
    // Nobody reads from it, so that nobody answers.
    let _client = server.client("alice");
    let line = server.logged(ENDED);
    let seen = members(&line, ["user", "code", "cause"]);
    assert_eq!(json!(seen), json!(["alice", null, "did not answer a ping"]));
}

/// A node says who it is, as the others will call it, and where it listens.
#[test]
fn who_a_node_is() {
    let Some(redis) = Redis::start() else { return };
    let folder = folder("log-node");
    let url = redis.url();
    let start = || Server::logging(&folder, "info", &["--redis-url", &url]);
    let (mut first, second) = (start(), start());
    let said = second.greeting.split(" as node ").nth(1).unwrap();
    let id = said.split(',').next().unwrap();
    assert_eq!(first.logged("a node has joined the cluster")["node"], id);
    assert!(second.greeting.contains(&second.address.to_string()), "{}", second.greeting);

    let alone = Server::logging(&folder, "info", &["--redis-url", &url, "--cluster=false"]);
    assert!(!alone.greeting.contains(" node "), "{}", alone.greeting);
}

/// The members that every line of a log in JSON has, as those who ship logs expect them: an object with a
/// time in RFC 3339, a level and a message, and no member twice.
#[track_caller]
fn shipped(line: &str) -> Map<String, Value> {
    let object: Map<String, Value> =
        serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    let time = object["timestamp"].as_str().unwrap();
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000Z", "{line}");
    assert!(
        ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&object["level"].as_str().unwrap())
    );
    assert!(!object["message"].as_str().unwrap().is_empty(), "{line}");
    assert!(object["target"].is_string(), "{line}");
    for name in object.keys() {
        assert_eq!(line.matches(&format!("{}:", json!(name))).count(), 1, "{name} in {line}");
    }
    object
}

/// A log in JSON is one object a line, to the last one, which says why the program ends.
#[test]
fn every_line_of_a_log_in_json_is_an_object() {
    let folder = folder("log-json");
    for (arguments, problem) in [
        (&["--redis-url", "redis://127.0.0.1:1", "--authentication"][..], "127.0.0.1:1"),
        (&["--authentication"], "authentication needs Redis (redis-url)"),
    ] {
        let ended = symple(&folder)
            .args(["serve", "--host", "127.0.0.1", "--port", "0", "--log-format", "json"])
            .args(arguments)
            .env("RUST_LOG", "debug")
            .output()
            .unwrap();
        let log = String::from_utf8(ended.stderr).unwrap();
        let last = log.lines().next_back().map(shipped).unwrap();
        assert_eq!(last["level"], "ERROR", "{log}");
        assert!(last["message"].as_str().unwrap().contains(problem), "{log}");
        assert_eq!(ended.status.code(), Some(2), "{log}");
    }

    let server = Server::logging(&folder, "debug", &[]);
    shipped(&server.greeting);
    server.request(&upgrade("/", "Origin: a\tb\"c\u{7f}\r\nSec-WebSocket-Key: x\r\n"));
    let mut client = server.client("a\u{2028}b\"\u{202e}");
    client.send(Message::text(r#"{"type":"close"}"#)).unwrap();
    while client.read().is_ok() {}
    server.signal("TERM");
    let log = server.wait().1;
    assert!(log.lines().map(shipped).any(|line| line["message"] == ENDED), "{log}");
}

/// R-L1: connections that are closed for a limit are told, and however many they are, not one by one.
#[test]
fn connections_that_break_limits() {
    let folder = folder("log-limits");
    let mut server = Server::logging(&folder, "info", &["--max-message-size", "1000"]);
    for _ in 0..20 {
        let mut client = server.client("alice");
        client.send(Message::text("x".repeat(2000))).unwrap();
        while client.read().is_ok() {}
    }
    let line = server.logged("a connection was closed for a limit");
    let seen = members(&line, ["level", "address", "code", "reason", "more"]);
    assert_eq!(json!(seen), json!(["INFO", "127.0.0.1", 1009, "Message too big", 0]));
    server.signal("TERM");
    let log = server.wait().1;
    let lines = log.lines().filter(|line| line.contains("closed for a limit")).count();
    assert!(lines < 19, "{log}");
    assert!(log.contains("shutting down"), "{log}");
}

/// R-I1: what an operator does is a line each: what, to whom, from where and how many, and nothing of what was
/// sent. That the server shuts down is said, also where the API began it.
#[cfg(feature = "admin")]
#[test]
fn what_operators_do() {
    let folder = folder("log-operators");
    let (mut server, admin) = Server::operated(&folder, "info", &[]);
    let _clients = (server.client("alice"), server.client("bob"), server.client("carol"));
    let calls = [
        ("POST /v1/emit", r#"{"type":"message","to":"alice","data":"hidden-text"}"#),
        ("POST /v1/state", r#"{"room":"r","set":{"k":"hidden-text"}}"#),
        ("DELETE /v1/users/alice", r#"{"reason":"hidden-text"}"#),
        ("DELETE /v1/users/n%0ab", ""),
        ("DELETE /v1/rooms/r", ""),
        ("DELETE /v1/rooms/nothing", ""),
        ("GET /v1/peers", ""),
        ("POST /v1/drain", r#"{"seconds":0}"#),
    ];
    for (call, body) in calls {
        ask(admin, call, body);
    }
    let mut seen = Vec::new();
    loop {
        let line: Map<_, _> = serde_json::from_str(&server.next_line()).unwrap();
        if line["message"] == "shutting down" {
            break;
        }
        if line["message"] == "an operator has acted" {
            assert_eq!((&line["level"], &line["address"]), (&json!("INFO"), &json!("127.0.0.1")));
            seen.push(json!(members(&line, ["action", "subject", "count"])));
        }
    }
    let often = |action: &Value| action == "emit" || action == "set-state";
    assert_eq!(json!(seen[0]), json!(["emit", null, 1]));
    seen.retain(|line| !often(&line[0]));
    let expected = json!([
        ["kick", "alice", 1],
        ["kick", "n\\nb", 0],
        ["close-room", "r", 2],
        ["drain", null, null]
    ]);
    assert_eq!(json!(seen), expected);
    let (code, log) = server.wait();
    assert!(code == 0 && !log.contains("shutting down"), "{log}");
    assert!(!log.contains("hidden-text"), "{log}");
}

/// R-A12: nobody's token is in the log, nor the password of Redis, however much is said.
#[test]
fn no_token_is_in_the_log() {
    const TOKEN: &str = "secret-token-9f3a";
    let Some(redis) = Redis::start_with(&["--requirepass", "secret-password"]) else { return };
    let url = redis.url().replace("redis://", "redis://:secret-password@");
    let arguments = ["--redis-url", &url, "--authentication"];
    let server = Server::logging(&folder("log-tokens"), "symple=trace,debug", &arguments);
    server.refuse(&json!({ "type": "auth", "user": "alice", "token": TOKEN }));
    server.refuse(&json!({ "type": "auth", "user": "alice", "token": [TOKEN] }));
    server.request(&upgrade(&format!("/?token={TOKEN}"), "Sec-WebSocket-Key: x\r\n"));
    server.signal("TERM");
    let log = server.wait().1;
    assert!(log.lines().map(shipped).any(|line| line["message"] == REFUSED_AUTH), "{log}");
    for secret in [TOKEN, "secret-password"] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// R-A12, R-V1, R-V2, R-W1, R-I1: no other secret is in the log either, however much is said: tokens that are
/// looked up nowhere, the keys that they are made with, the key of the API, the secret of webhooks, and what
/// stands behind the `?` of the URLs that the server asks. What is asked for is what goes wrong, too.
#[cfg(feature = "admin")]
#[test]
fn no_secret_of_a_setting_is_in_the_log() {
    const JWT: &str = "secret-jwt-that-has-more-than-32-bytes";
    const KEY: &str = "secret-admin-key";
    let folder = folder("log-secrets");
    let make = |arguments: &[&str]| {
        let arguments =
            [&["token", "make", "--user", "alice", "--secret", JWT], arguments].concat();
        let (code, token, problem) = run(&folder, &arguments, &[]);
        assert_eq!(code, 0, "{problem}");
        token.trim().to_owned()
    };
    let (token, expired) = (make(&[]), make(&["--claim", "exp=5"]));
    let wrong = format!("{}x", &token[..token.len() - 1]);
    let answers = |status| move |_: &_| Reply::Answer(status, r#"{"allow":true}"#.into());
    for status in [200, 500] {
        let (asked, told) = (Service::start(answers(status)), Service::start(answers(status)));
        let keys = Service::start(|_| Reply::Answer(500, String::new()));
        let jwks = keys.url().replace("key=", "key=secret-jwks-");
        let (asks, tells) = (
            asked.url().replace("key=", "key=secret-ask-"),
            told.url().replace("key=", "key=secret-tell-"),
        );
        let (server, admin) = Server::operated(
            &folder,
            "trace",
            &[
                &["--jwt-secret", JWT, "--jwt-jwks", &jwks, "--admin-key", KEY][..],
                &["--auth-url", &asks, "--webhook-url", &tells, "--webhook-secret", "secret-hook"],
            ]
            .concat(),
        );
        for token in [&token, &expired, &wrong, &format!("{token}.more")] {
            let mut client = server.connect();
            let auth = json!({ "type": "auth", "user": "alice", "token": token });
            client.send(Message::text(auth.to_string())).unwrap();
            recv(&mut client);
        }
        server.request(&upgrade(&format!("/?token={token}"), "Sec-WebSocket-Key: x\r\n"));
        assert!(ask(admin, "GET /v1/peers", "").starts_with("HTTP/1.1 200 "));
        let answer = ask(admin, &format!("GET /v1/nothing?key={KEY}"), "");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        ask(admin, "POST /v1/emit", r#"{"type":"message","to":"alice","data":"secret-text"}"#);
        assert!(asked.next().body.contains(&token));
        server.signal("TERM");
        let log = server.wait().1;
        assert!(log.contains(REFUSED_AUTH), "{log}");
        let part = token.split('.').nth(1).unwrap();
        for secret in ["secret-", "hidden", part, expired.split('.').nth(1).unwrap()] {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    }
}
