//! The API for operators from the command line: `--admin` and `symple ctl` (R-I1).

use std::{io::BufRead as _, path::Path, process::Stdio};

use serde_json::{Value, json};
use tungstenite::Message;

use super::{RUNTIMES, Server, checked, folder, recv, run, running::Running, symple};

/// A server with the API, and where that is.
struct Operated {
    server: Server,
    url: String,
    folder: std::path::PathBuf,
}

impl Operated {
    fn start(name: &str, arguments: &[&str], key: &str) -> Self {
        Self::start_at("127.0.0.1:0", name, arguments, key)
    }

    fn start_at(admin: &str, name: &str, arguments: &[&str], key: &str) -> Self {
        let folder = folder(name);
        let mut child = symple(&folder)
            .args(["serve", "--host", "127.0.0.1", "--port", "0", "--admin", admin])
            .args(arguments)
            .env("SYMPLE_ADMIN_KEY", key)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It is said where the API is before anything else.
        let mut log = std::io::BufReader::with_capacity(1, child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        assert!(line.contains("the API for operators listens on http://127.0.0.1:"), "{line}");
        let url = line.trim_end().rsplit(' ').next().unwrap().to_owned();
        child.stderr = Some(log.into_inner());
        Self { server: Server::of(child, |_| true), url, folder }
    }

    /// What `symple ctl` says: its exit code, what it prints, what is wrong.
    fn ctl(&self, arguments: &[&str]) -> (i32, String, String) {
        let variables = [("SYMPLE_ADMIN_URL", self.url.as_str()), ("SYMPLE_ADMIN_KEY", "secret")];
        run(&self.folder, &[&["ctl"], arguments].concat(), &variables)
    }

    /// What it prints, where all is well.
    fn prints(&self, arguments: &[&str]) -> String {
        let (code, printed, problem) = self.ctl(arguments);
        assert_eq!((code, &*problem), (0, ""), "{arguments:?}");
        printed
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.prints(&[arguments, &["--json"]].concat())).unwrap()
    }
}

fn end(operated: Operated) {
    operated.server.signal("TERM");
    assert_eq!(operated.server.wait().0, 0);
}

/// R-I1: all commands, on every runtime of the server's.
#[test]
fn commands() {
    for runtime in RUNTIMES {
        let operated =
            Operated::start(&format!("ctl-{runtime}"), &["--runtime", runtime], "secret");
        let mut alice = operated.server.client("alice");
        let _bob = operated.server.client("bob");
        let peers = operated.prints(&["peers", "--room", "r"]);
        let lines: Vec<_> = peers.lines().collect();
        assert_eq!(lines.len(), 3, "{peers}");
        assert!(lines[0].starts_with("PEER"), "{peers}");
        assert!(peers.contains("bob|") && peers.contains("alice, r"), "{peers}");
        let listed = operated.json(&["peers", "--user", "alice"]);
        let peer = listed["peers"][0].clone();
        let id = peer["id"].as_str().unwrap();
        assert_eq!(operated.json(&["peer", id]), peer);
        // No client keeps the others from being seen, whatever it writes into its record.
        let data = r#"{"type":"presence","data":{"n":1e999}}"#;
        alice.send(Message::text(data)).unwrap();
        let echo = json!({ "type": "event", "to": id, "name": "told" });
        alice.send(Message::text(echo.to_string())).unwrap();
        while recv(&mut alice)["name"] != "told" {}
        assert!(operated.prints(&["peers", "--json"]).contains(r#""n":1e999"#));
        assert!(operated.prints(&["peers"]).contains("alice|"));
        assert!(operated.prints(&["peer", id]).contains(r#""n":1e999"#));
        assert!(operated.prints(&["peer", id]).contains("record    {"));
        assert_eq!(
            operated.json(&["rooms", "--search", "ali"])["rooms"],
            json!([{ "name": "alice", "members": 1 }])
        );
        assert!(operated.prints(&["room", "r", "--json"]).contains(r#""count":2"#));
        assert!(
            operated
                .prints(&["nodes"])
                .starts_with("NODE  PEERS  HEARD\n-     2      -      answers\n")
        );
        assert!(operated.prints(&["node"]).contains("protocol       symple/4\n"));
        let moved = operated.prints(&["change-rooms", id, "--join", "a/b?c", "--leave", "r"]);
        assert_eq!(moved, "in alice, a/b?c\n");
        assert_eq!(operated.prints(&["close-room", "a/b?c"]), "1 member taken out\n");
        assert_eq!(operated.prints(&["state", "r", "--set", r#"{"k":1.50,"l":["x"]}"#]), "done\n");
        assert_eq!(operated.prints(&["state", "r"]), "KEY  VALUE\nk    1.5\nl    x\n");
        assert_eq!(operated.prints(&["state", "r", "--json"]), "{\"k\":1.50,\"l\":[\"x\"]}\n");
        assert_eq!(operated.prints(&["state", "r", "--clear"]), "done\n");
        assert_eq!(operated.prints(&["state", "r"]), "KEY  VALUE\n");
        assert_eq!(operated.prints(&["state", "kept", "--pin"]), "done\n");
        assert_eq!(operated.prints(&["state", "kept", "--json"]), "{}\n");
        assert_eq!(operated.prints(&["state", "kept", "--unpin"]), "done\n");
        assert_eq!(operated.ctl(&["state", "kept"]).0, 1);
        assert_eq!(operated.ctl(&["state", "r", "--set", "[]"]).0, 2);
        let arguments = ["emit", "--to", "alice", "--text", "hi", "--idempotency-key", "k"];
        assert_eq!(operated.prints(&arguments), "1 receiver\n");
        assert_eq!(operated.prints(&arguments), "1 receiver\n");
        assert_eq!(
            operated.prints(&["broadcast", "--type", "event", "--name", "n"]),
            "2 receivers\n"
        );
        let mut heard = Vec::new();
        while heard.last().is_none_or(|frame: &Value| frame["name"] != "n") {
            heard.push(recv(&mut alice));
        }
        assert_eq!(heard.iter().filter(|frame| frame["data"] == "hi").count(), 1);
        assert_eq!(
            operated.prints(&["kick", "--user", "alice", "--reason", "x"]),
            "1 peer closed\n"
        );
        assert_eq!(
            operated.ctl(&["peer", id]),
            (1, String::new(), "symple: no such peer\n".into())
        );
        assert_eq!(operated.prints(&["drain"]), "the node ends\n");
        assert_eq!(operated.server.wait().0, 0);
    }
}

/// R-I1: events come as they happen, a line each.
#[test]
fn events() {
    let operated = Operated::start("ctl-events", &[], "secret");
    let mut child = symple(&operated.folder)
        .args(["ctl", "events", "--types", "online,refused", "--count", "2", "--json"])
        .envs([("SYMPLE_ADMIN_URL", operated.url.as_str()), ("SYMPLE_ADMIN_KEY", "secret")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut child = Running(child);
    // Who comes before it follows is not told; so they come until it has ended.
    let mut users = 0;
    while child.try_wait().unwrap().is_none() {
        operated.server.client(&format!("user{users}"));
        users += 1;
    }
    assert!(child.ends().success());
    for _ in 0..2 {
        let mut line = String::new();
        printed.read_line(&mut line).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["type"], "online");
    }
    end(operated);
}

/// R-I1: who follows the events goes on with them when the server has been restarted, and says what that means.
#[test]
fn events_are_followed_over_a_restart() {
    let first = Operated::start("ctl-follow", &[], "secret");
    let (url, folder) = (first.url.clone(), first.folder.clone());
    let mut child = symple(&folder)
        .args(["ctl", "events", "--follow", "--types", "online"])
        .envs([("SYMPLE_ADMIN_URL", url.as_str()), ("SYMPLE_ADMIN_KEY", "secret")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let printed = std::io::BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        printed.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut child = Running(child);
    // Who comes before it follows is not told; so they come until one is.
    let told = |operated: &Operated, user: &str| {
        let begun = std::time::Instant::now();
        loop {
            operated.server.client(user);
            match lines.recv_timeout(std::time::Duration::from_millis(20)) {
                Ok(line) if line.contains(&format!("{user}|")) => return,
                Ok(_) | Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(begun.elapsed().as_secs() < 20, "{user} is never told");
        }
    };
    told(&first, "before");
    end(first);
    let admin = url.strip_prefix("http://").unwrap();
    let second = Operated::start_at(admin, "ctl-follow-again", &[], "secret");
    told(&second, "after");
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
    child.kill().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("the server has ended: events are missing"), "{said}");
    end(second);
}

/// R-I1: 1 for what is refused, 2 for what makes no sense or where nobody answers.
#[test]
fn what_is_wrong() {
    let operated = Operated::start("ctl-wrong", &[], "another-key");
    let (code, printed, problem) = operated.ctl(&["peers"]);
    assert_eq!((code, &*printed), (1, ""));
    assert!(problem.contains("the key is missing or wrong"), "{problem}");
    let nobody = [("SYMPLE_ADMIN_URL", "http://127.0.0.1:1")];
    let (code, _, problem) = run(&operated.folder, &["ctl", "peers"], &nobody);
    assert_eq!(code, 2);
    assert!(problem.contains("cannot connect to 127.0.0.1:1: "), "{problem}");
    for (arguments, named) in [
        (&["ctl", "peers", "--url", "https://127.0.0.1"][..], "TLS needs a tunnel"),
        (&["ctl", "peers", "--url", "localhost"], "must begin with http://"),
        (&["ctl", "kick"], "PEER"),
        (&["ctl", "emit"], "--to"),
        (&["ctl", "events", "--count", "0"], "--count"),
        (&["ctl"], "Usage: symple ctl"),
    ] {
        let (code, _, problem) = run(&operated.folder, arguments, &[]);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(problem.contains(named), "{arguments:?}: {problem}");
    }
    end(operated);
}

/// R-I1, SPEC §11: without a key others must not reach the API, and a key is never shown.
#[test]
fn settings() {
    let folder = folder("admin-settings");
    let key = [("SYMPLE_ADMIN_KEY", "s3cr3t"), ("SYMPLE_ADMIN", "0.0.0.0:4501")];
    assert_eq!(checked(&folder, &[], &key, "admin-key"), "… SYMPLE_ADMIN_KEY");
    assert_eq!(checked(&folder, &[], &key, "admin"), "0.0.0.0:4501 SYMPLE_ADMIN");
    for address in ["localhost:4501", "[::1]:4501", "127.0.0.1:0"] {
        checked(&folder, &["--admin", address], &[], "admin");
    }
    let refused = |arguments: &[&str], variables: &[(&str, &str)], folder: &Path| {
        let arguments = [&["check-config"], arguments].concat();
        let (code, _, problem) = run(folder, &arguments, variables);
        assert_eq!(code, 2, "{problem}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
        problem
    };
    for address in ["0.0.0.0:4501", "[::]:4501", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
        let problem = refused(&["--admin", address], &[], &folder);
        assert!(problem.contains("there is no key (admin-key)"), "{problem}");
    }
    for address in ["4501", "example.com:4501", "127.0.0.1", ":4501", "unix:a"] {
        let problem = refused(&["--admin", address], &[], &folder);
        assert!(problem.contains("such as 127.0.0.1:4501"), "{problem}");
    }
    let problem = refused(&[], &[("SYMPLE_ADMIN_KEY", "two words")], &folder);
    assert!(problem.contains("printable ASCII") && !problem.contains("words"), "{problem}");
    let (_, _, warned) = run(&folder, &["check-config", "--admin-key", "x"], &[]);
    assert!(warned.contains("admin-key (flag) has no effect: admin is off"), "{warned}");
}

/// R-I1: a port that is in use is the end of it, in one line.
#[test]
fn a_port_in_use() {
    let folder = folder("admin-port");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["serve", "--host", "127.0.0.1", "--port", "0", "--admin", &address];
    let (code, _, problem) = run(&folder, &arguments, &[]);
    assert_eq!(code, 2);
    assert!(problem.contains(&format!("cannot listen on {address}: ")), "{problem}");
}
