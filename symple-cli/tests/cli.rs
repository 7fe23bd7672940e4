//! The program from outside: settings, exit codes, signals (SPEC §11 and §12).

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[cfg(unix)]
#[path = "cli/chat.rs"]
mod chat;
#[path = "cli/client.rs"]
mod client;
#[cfg(feature = "admin")]
#[path = "cli/ctl.rs"]
mod ctl;
#[path = "cli/dot_env.rs"]
mod dot_env;
#[path = "cli/log.rs"]
mod log;
#[path = "cli/output.rs"]
mod output;
#[path = "../../symple-driver/tests/suite/receiver.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod receiver;
#[path = "cli/redis.rs"]
mod redis;
#[path = "support/running.rs"]
mod running;
#[path = "cli/token.rs"]
mod token;

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use running::Running;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// The runtimes of this build, the default first.
const RUNTIMES: &[&str] = &[
    #[cfg(feature = "tokio")]
    "tokio",
    #[cfg(feature = "async-std")]
    "async-std",
];

/// A folder of its own for a test.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The program, in a folder, with no variables that mean anything to it.
fn symple(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_symple"));
    command.current_dir(folder).env_clear();
    command
}

fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        symple(folder).args(arguments).envs(variables.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// What `check-config` says of a setting: value and origin.
fn checked(folder: &Path, arguments: &[&str], variables: &[(&str, &str)], name: &str) -> String {
    let arguments = [&["check-config"], arguments].concat();
    let (code, stdout, stderr) = run(folder, &arguments, variables);
    assert_eq!(code, 0, "{stderr}");
    let line = stdout.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

/// A server that runs, and what it logs.
struct Server {
    child: Running,
    log: BufReader<std::process::ChildStderr>,
    address: SocketAddr,
    greeting: String,
}

impl Server {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let child = symple(folder)
            .args(["serve", "--host", "127.0.0.1", "--port", "0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self::of(child, |_| true)
    }

    /// One in the place of another one that is gone.
    fn start_at(folder: &Path, address: SocketAddr) -> Self {
        let child = symple(folder)
            .args(["serve", "--host", "127.0.0.1", "--port", &address.port().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self::of(child, |line| line.contains("://"))
    }

    /// One whose greeting is the first line that is one.
    fn of(mut child: Child, is_greeting: impl Fn(&str) -> bool) -> Self {
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut greeting = String::new();
        while greeting.is_empty() || !is_greeting(&greeting) {
            greeting.clear();
            assert_ne!(log.read_line(&mut greeting).unwrap(), 0, "no greeting");
        }
        let address = greeting.split("://").nth(1).unwrap();
        let end = address.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap();
        let address = address[..end].parse().unwrap();
        Self { child: Running(child), log, address, greeting }
    }

    /// The next line of its log.
    fn next_line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the log has ended");
        line
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        // Every shell has a kill; not every machine has the program.
        let kill = format!("kill -s {name} {pid}");
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    fn wait(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap();
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        (code, log)
    }

    fn connect(&self) -> WebSocket<TcpStream> {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        tungstenite::client("ws://localhost/", socket).unwrap().0
    }

    fn client(&self, user: &str) -> WebSocket<TcpStream> {
        let mut client = self.connect();
        let auth = json!({ "type": "auth", "user": user, "rooms": ["r"] });
        client.send(Message::text(auth.to_string())).unwrap();
        assert_eq!(recv(&mut client)["type"], "welcome");
        client
    }
}

fn recv(client: &mut WebSocket<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = client.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// SPEC §11: flags, then the environment, then `.env`, then the default.
#[test]
fn where_values_come_from() {
    let folder = folder("precedence");
    let port = |arguments: &[&str], variables: &[(&str, &str)]| {
        checked(&folder, arguments, variables, "port")
    };
    assert_eq!(port(&[], &[]), "4500 default");
    std::fs::write(folder.join(".env"), "# comment\nSYMPLE_PORT=5001\nSYMPLE_DRAIN='3'\n").unwrap();
    assert_eq!(port(&[], &[]), "5001 SYMPLE_PORT in .env");
    assert_eq!(port(&[], &[("SYMPLE_PORT", "5002")]), "5002 SYMPLE_PORT");
    assert_eq!(port(&[], &[("SYMPLE_PORT", "")]), "5001 SYMPLE_PORT in .env");
    assert_eq!(port(&[], &[("SYMPLE_PORT", "5002"), ("PORT", "5003")]), "5003 PORT");
    assert_eq!(port(&["--port", "5004"], &[("PORT", "5003")]), "5004 flag");
    assert_eq!(port(&["--port=5004"], &[]), "5004 flag");
    assert_eq!(checked(&folder, &[], &[], "drain"), "3 SYMPLE_DRAIN in .env");
}

/// SPEC §11: the spellings of yes and no.
#[test]
fn yes_and_no() {
    let folder = folder("bools");
    for value in ["true", "1", "yes", "on", "TRUE", " On "] {
        let variables = [("SYMPLE_DYNAMIC_ROOMS", value)];
        let seen = checked(&folder, &[], &variables, "dynamic-rooms");
        assert_eq!(seen, format!("{} SYMPLE_DYNAMIC_ROOMS", value.trim()));
    }
    assert_eq!(checked(&folder, &["--dynamic-rooms", "off"], &[], "dynamic-rooms"), "off flag");
    assert_eq!(checked(&folder, &["--dynamic-rooms"], &[], "dynamic-rooms"), "true flag");
}

/// SPEC §11: a value that means nothing is one line, and exit code 2. R-S1: so is authentication
/// without anything to authenticate with.
#[test]
fn values_that_mean_nothing() {
    let folder = folder("values");
    for (variable, value, expected) in [
        (
            "SYMPLE_PORT",
            "x",
            "invalid value 'x' for port (SYMPLE_PORT): must be a number from 0 to 65535",
        ),
        (
            "PORT",
            "70000",
            "invalid value '70000' for port (PORT): must be a number from 0 to 65535",
        ),
        (
            "SYMPLE_AUTHENTICATION",
            "maybe",
            "invalid value 'maybe' for authentication (SYMPLE_AUTHENTICATION): must be true or false (or 1, yes, on; 0, no, off)",
        ),
        (
            "SYMPLE_ROOM_SEND",
            "all",
            "invalid value 'all' for room-send (SYMPLE_ROOM_SEND): must be one of auto, members, anyone",
        ),
        (
            "SYMPLE_PRESENCE",
            "x",
            "invalid value 'x' for presence (SYMPLE_PRESENCE): must be one of full, classic",
        ),
        ("SYMPLE_PATH", "ws", "invalid value 'ws' for path (SYMPLE_PATH): must begin with '/'"),
        (
            "SYMPLE_ALLOWED_ORIGINS",
            "https://a.test, b",
            "invalid value 'https://a.test, b' for allowed-origins (SYMPLE_ALLOWED_ORIGINS): b: an origin is written https://example.com or *.example.com",
        ),
        (
            "SYMPLE_ALLOWED_ORIGINS",
            "https://a.test:443",
            "invalid value 'https://a.test:443' for allowed-origins (SYMPLE_ALLOWED_ORIGINS): https://a.test:443: browsers send no such origin: write https://a.test",
        ),
        (
            "SYMPLE_ALLOWED_ORIGINS",
            "*.bücher.test",
            "invalid value '*.bücher.test' for allowed-origins (SYMPLE_ALLOWED_ORIGINS): *.bücher.test: browsers send no such origin: write *.xn--bcher-kva.test",
        ),
        (
            "SYMPLE_ALLOWED_ORIGINS",
            "*",
            "invalid value '*' for allowed-origins (SYMPLE_ALLOWED_ORIGINS): *: any origin is allowed where none is given: leave it out",
        ),
        (
            "SYMPLE_TRUSTED_PROXIES",
            "10.0.0.0/99",
            "invalid value '10.0.0.0/99' for trusted-proxies (SYMPLE_TRUSTED_PROXIES): 10.0.0.0/99: a proxy is written 10.0.0.1, and a network of them 10.0.0.0/8",
        ),
        (
            "SYMPLE_TRUSTED_PROXIES",
            "10.0.0.1:80",
            "invalid value '10.0.0.1:80' for trusted-proxies (SYMPLE_TRUSTED_PROXIES): 10.0.0.1:80: a proxy is an address alone: write 10.0.0.1",
        ),
        (
            "SYMPLE_MAX_HEAD_SIZE",
            "0",
            "invalid value '0' for max-head-size (SYMPLE_MAX_HEAD_SIZE): must be a number of bytes from 1024 to 1048576",
        ),
        (
            "SYMPLE_PING_INTERVAL",
            "-1",
            "invalid value '-1' for ping-interval (SYMPLE_PING_INTERVAL): must be a number of seconds, 0 or more",
        ),
        (
            "SYMPLE_MAX_MESSAGE_SIZE",
            "0",
            "invalid value '0' for max-message-size (SYMPLE_MAX_MESSAGE_SIZE): must be a number, 1 or more",
        ),
        (
            "SYMPLE_THREADS",
            "257",
            "invalid value '257' for threads (SYMPLE_THREADS): must be a number from 0 to 256",
        ),
        (
            "SYMPLE_SSL_ENABLED",
            "true",
            "TLS is enabled (ssl-enabled) without a certificate (ssl-cert)",
        ),
        (
            "SYMPLE_AUTHENTICATION",
            "true",
            "authentication needs Redis (redis-url), a key for tokens (jwt-secret, jwt-public-key, jwt-jwks) or an auth-url",
        ),
        (
            "SYMPLE_OUTBOUND_LIMIT",
            "1000",
            "the outbound limit must not be less than the message limit",
        ),
    ] {
        for command in ["serve", "check-config"] {
            let (code, stdout, stderr) = run(&folder, &[command], &[(variable, value)]);
            assert_eq!((code, &*stderr), (2, &*format!("symple: {expected}\n")), "{command}");
            assert_eq!(stdout, "");
        }
    }
    std::fs::write(folder.join(".env"), "SYMPLE_PORT='1\n").unwrap();
    let (code, _, stderr) = run(&folder, &["check-config"], &[]);
    let expected = "symple: invalid value for port (SYMPLE_PORT in .env): must be a number";
    assert!(code == 2 && stderr.starts_with(expected), "{stderr}");
}

/// SPEC §11: nothing is ignored silently: neither names that are none, nor settings that others
/// switch off. Neither keeps a server from starting.
#[test]
fn what_is_ignored_is_said() {
    let folder = folder("ignored");
    std::fs::write(folder.join(".env"), "SYMPLE_REDIS_ULR=redis://:secret@localhost\n").unwrap();
    let seen = |arguments: &[&str], variables: &[(&str, &str)]| {
        let (code, _, stderr) = run(&folder, &[&["check-config"], arguments].concat(), variables);
        assert_eq!(code, 0, "{stderr}");
        assert!(!stderr.contains("secret"), "{stderr}");
        stderr.replace("symple: warning: ", "")
    };
    let url = "SYMPLE_REDIS_ULR in .env is ignored: there is no such setting; \
               did you mean SYMPLE_REDIS_URL?\n";
    assert_eq!(seen(&[], &[]), url);
    let port = "SYMPLE_PROT is ignored: there is no such setting; did you mean SYMPLE_PORT?\n";
    assert_eq!(seen(&[], &[("SYMPLE_PROT", "1")]), format!("{url}{port}"));
    let redis = ["--redis-url", "redis://localhost"];
    for (arguments, variables, expected) in [
        (
            &["--ssl-cert", "x.crt"][..],
            &[][..],
            "ssl-cert (flag) has no effect: ssl-enabled is off",
        ),
        (
            &["--session-ttl", "60"],
            &[],
            "session-ttl (flag) has no effect: there is no Redis (redis-url)",
        ),
        (
            &[&redis[..], &["--session-ttl", "60"]].concat(),
            &[],
            "session-ttl (flag) has no effect: authentication is off",
        ),
        (
            &redis,
            &[("REDIS_PORT", "6380")],
            "redis-port (REDIS_PORT) has no effect: redis-url says where Redis is",
        ),
        (&["--cluster=false"], &[], "cluster (flag) has no effect: there is no Redis (redis-url)"),
        (
            &["--rate-limit", "0", "--rate-burst", "9"],
            &[],
            "rate-burst (flag) has no effect: rate-limit is 0",
        ),
    ] {
        assert_eq!(seen(arguments, variables), format!("{url}{expected}\n"));
    }
    // What has its default does nothing else without the other setting.
    assert_eq!(seen(&["--session-ttl", "-1", "--cluster"], &[]), url);

    let child = symple(&folder)
        .args(["serve", "--host", "127.0.0.1", "--port", "0", "--ssl-key", "x.key"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let server = Server::of(child, |line| line.contains("listens on"));
    server.signal("TERM");
    assert_eq!(server.wait().0, 0);
}

/// SPEC §11, D-TLS: never unencrypted instead.
#[test]
fn tls_that_is_incomplete() {
    let folder = folder("tls-incomplete");
    let serve = |variables: &[(&str, &str)]| {
        let variables = [&[("SYMPLE_SSL_ENABLED", "true")], variables].concat();
        let (code, _, stderr) = run(&folder, &["serve"], &variables);
        assert_eq!(code, 2);
        stderr
    };
    assert!(serve(&[("SYMPLE_SSL_CERT", "x.crt")]).ends_with("without a key (ssl-key)\n"));
    let missing = serve(&[("SYMPLE_SSL_CERT", "x.crt"), ("SYMPLE_SSL_KEY", "x.key")]);
    assert!(missing.starts_with("symple: cannot read x.crt: "), "{missing}");
}

/// SPEC §11: a port in use.
#[test]
fn a_port_in_use() {
    let folder = folder("in-use");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, _, stderr) = run(&folder, &["serve", "--host", "127.0.0.1", "--port", &port], &[]);
    let line = stderr.lines().last().unwrap();
    assert!(line.starts_with(&format!("symple: cannot listen on 127.0.0.1:{port}: ")), "{line}");
    assert_eq!(code, 2);
}

#[test]
fn the_command_line() {
    let folder = folder("command-line");
    let (code, stdout, _) = run(&folder, &["--help"], &[]);
    assert!(code == 0 && stdout.contains("serve") && stdout.contains("check-config"));
    let (code, stdout, _) = run(&folder, &["serve", "--help"], &[]);
    assert!(code == 0 && stdout.contains("SYMPLE_RATE_LIMIT; default"), "{stdout}");
    for arguments in [&[][..], &["fly"], &["serve", "--nonsense"], &["serve", "--port"]] {
        let (code, stdout, stderr) = run(&folder, arguments, &[]);
        assert_eq!((code, stdout), (2, String::new()), "{arguments:?}");
        assert!(!stderr.is_empty());
    }
    let (code, stdout, _) = run(&folder, &["--version"], &[]);
    assert_eq!((code, stdout), (0, format!("symple {}\n", env!("CARGO_PKG_VERSION"))));
}

/// One line tells what runs where; a public address without authentication is warned of.
#[test]
fn greeting() {
    let folder = folder("greeting");
    let server = Server::start(&folder, &["--path", "/ws", "--rate-limit", "0"]);
    let expected = format!(
        "listens on ws://{}/ws (anonymous, dynamic rooms, no rate limit, no Redis, {})\n",
        server.address, RUNTIMES[0]
    );
    assert!(server.greeting.ends_with(&expected), "{}", server.greeting);
    server.signal("TERM");
    assert!(!server.wait().1.contains("ANYONE"));

    let server = Server::start(&folder, &["--host", "0.0.0.0", "--log-format", "json"]);
    let greeting: Value = serde_json::from_str(&server.greeting).unwrap();
    assert_eq!(greeting["level"], "INFO");
    server.signal("INT");
    let (code, log) = server.wait();
    assert_eq!(code, 0);
    let warning: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(warning["level"], "WARN");
    assert!(warning["message"].as_str().unwrap().starts_with("ANYONE WHO CAN REACH 0.0.0.0:"));
}

/// SPEC §12: a signal ends it in good order, with exit code 0.
#[test]
fn signals() {
    for runtime in RUNTIMES {
        for signal in ["TERM", "INT"] {
            let server = Server::start(&folder("signals"), &["--runtime", runtime]);
            let mut client = server.client("alice");
            server.signal(signal);
            assert_eq!(recv(&mut client)["name"], "shutdown");
            let Message::Close(Some(frame)) = client.read().unwrap() else { panic!() };
            assert_eq!(u16::from(frame.code), 1001);
            while client.read().is_ok() {}
            assert_eq!(server.wait().0, 0);
        }
    }
}

/// The same server, whichever runtime it is on; and it is on the one that it was told.
#[test]
fn runtimes() {
    let folder = folder("runtimes");
    for runtime in RUNTIMES {
        let server = Server::start(&folder, &["--runtime", runtime]);
        assert!(server.greeting.ends_with(&format!(", {runtime})\n")), "{}", server.greeting);
        let (mut alice, mut bob) = (server.client("alice"), server.client("bob"));
        let message = json!({ "type": "message", "to": "r", "data": { "n": 1 } });
        alice.send(Message::text(message.to_string())).unwrap();
        let heard = loop {
            let frame = recv(&mut bob);
            if frame["type"] == "message" {
                break frame;
            }
        };
        #[cfg(target_os = "linux")]
        {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap();
            let names: Vec<_> = tasks
                .map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap())
                .collect();
            let has_reactor = names.iter().any(|name| name == "async-io\n");
            assert_eq!(has_reactor, *runtime == "async-std", "{names:?}");
        }
        assert_eq!(heard["data"]["n"], 1);
        drop((alice, bob));
        server.signal("TERM");
        assert_eq!(server.wait().0, 0);

        let seen = checked(&folder, &[], &[("SYMPLE_RUNTIME", runtime)], "runtime");
        assert_eq!(seen, format!("{runtime} SYMPLE_RUNTIME"));
    }
    assert_eq!(checked(&folder, &[], &[], "runtime"), format!("{} default", RUNTIMES[0]));
    let (code, _, stderr) = run(&folder, &["serve", "--runtime", "smol"], &[]);
    let names = RUNTIMES.join(", ");
    let expected = format!("invalid value 'smol' for runtime (flag): must be one of {names}\n");
    assert!(code == 2 && stderr.ends_with(&expected), "{stderr}");
}

/// Times that are as long as they may be are no different from shorter ones.
#[test]
fn long_times() {
    let times = [
        "--auth-timeout",
        "--ping-interval",
        "--pong-timeout",
        "--upgrade-timeout",
        "--close-timeout",
        "--outbound-timeout",
    ];
    for runtime in RUNTIMES {
        let arguments = times.iter().flat_map(|name| [*name, "1000000000"]);
        let arguments: Vec<_> = arguments.chain(["--runtime", runtime]).collect();
        let server = Server::start(&folder("long-times"), &arguments);
        let mut client = server.client("alice");
        let message = json!({ "type": "message", "to": "alice", "data": 1 });
        client.send(Message::text(message.to_string())).unwrap();
        server.signal("TERM");
        assert_eq!(recv(&mut client)["name"], "shutdown");
        while client.read().is_ok() {}
        assert_eq!(server.wait().0, 0);
    }
}

/// SPEC §12: a second signal ends it at once.
#[test]
fn a_second_signal() {
    let mut server = Server::start(&folder("second-signal"), &["--drain", "1000"]);
    let mut client = server.client("alice");
    server.signal("TERM");
    assert_eq!(recv(&mut client)["name"], "shutdown");
    assert!(server.child.try_wait().unwrap().is_none());
    server.signal("TERM");
    let (code, log) = server.wait();
    assert_eq!(code, 1);
    assert!(log.contains("ended by a second signal"), "{log}");
}

/// SPEC §11: `DEBUG=symple:*` asks for more.
#[test]
fn debug_logs() {
    let folder = folder("debug");
    let lines = |variable: (&str, &str)| {
        let mut child = symple(&folder)
            .args(["serve", "--host", "127.0.0.1", "--port", "0"])
            .env(variable.0, variable.1)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        log.read_line(&mut first).unwrap();
        let address = first.split("ws://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let socket = TcpStream::connect(address).unwrap();
        drop(tungstenite::client("ws://localhost/", socket).unwrap());
        Command::new("sh").args(["-c", &format!("kill {}", child.id())]).status().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        first + &rest
    };
    assert!(lines(("DEBUG", "symple:*")).contains("DEBUG"));
    assert!(lines(("RUST_LOG", "debug")).contains("DEBUG"));
    assert!(!lines(("DEBUG", "express:*")).contains("DEBUG"));
    assert!(lines(("RUST_LOG", "")).contains("INFO"));
}

/// SIGHUP reads the certificate again; one that cannot be read changes nothing.
#[test]
fn a_certificate_is_read_again() {
    let folder = folder("reload");
    let certify = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("symple.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("symple.key"), made.signing_key.serialize_pem()).unwrap();
    };
    certify();
    let files = ["--ssl-enabled", "--ssl-cert", "symple.crt", "--ssl-key", "symple.key"];
    let mut server = Server::start(&folder, &files);
    assert!(server.greeting.contains("wss://"));
    let hang_up = |server: &mut Server| {
        server.signal("HUP");
        let mut line = String::new();
        server.log.read_line(&mut line).unwrap();
        line
    };
    certify();
    assert!(hang_up(&mut server).contains("new connections use the certificate"));
    std::fs::write(folder.join("symple.key"), "nonsense").unwrap();
    assert!(hang_up(&mut server).contains("the certificate stays as it was"));
    certify();
    let chain = std::fs::read_to_string(folder.join("symple.crt")).unwrap();
    std::fs::write(folder.join("symple.crt"), format!("{chain}-----BEGIN CERTIFICATE-----\n"))
        .unwrap();
    let refused = hang_up(&mut server);
    assert!(refused.contains("the certificate stays as it was"), "{refused}");
    assert!(refused.contains("it has no end") && refused.lines().count() == 1, "{refused}");
    // What is refused while it runs is refused at the start.
    let (code, _, stderr) = run(&folder, &[&["serve"], &files[..]].concat(), &[]);
    assert!(code == 2 && stderr.contains("it has no end"), "{stderr}");
    server.signal("TERM");
    assert_eq!(server.wait().0, 0);
}

/// R-T9: several places, plain, encrypted, at a path, and handed over by a service manager.
#[cfg(unix)]
#[test]
fn several_places() {
    use std::os::{fd::OwnedFd, unix::net::UnixStream};

    let folder = folder("places");
    let path = folder.join("symple.sock");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let handed_over = TcpListener::bind("127.0.0.1:0").unwrap();
    let third = handed_over.local_addr().unwrap();
    // As systemd does it: the socket is number 3, and two variables tell of it.
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    let child = Command::new("sh")
        .current_dir(&folder)
        .env_clear()
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_symple"), "serve"])
        .args(["--listen", "tcp://127.0.0.1:0", "--listen", "unix:symple.sock?mode=600"])
        .args(["--listen", "tls://127.0.0.1:0?cert=cert.pem&key=key.pem,fd:3"])
        .stdin(OwnedFd::from(handed_over))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let server = Server::of(child, |line| line.contains("listens on"));
    let greeting = &server.greeting;
    assert!(greeting.contains(", unix:symple.sock, wss://127.0.0.1:"), "{greeting}");
    assert!(greeting.contains(&format!(", ws://{third} (")), "{greeting}");
    let _alice = server.client("alice");
    for address in [server.address, third] {
        let socket = TcpStream::connect(address).unwrap();
        tungstenite::client("ws://localhost/", socket).unwrap();
    }
    tungstenite::client("ws://localhost/", UnixStream::connect(&path).unwrap()).unwrap();
    server.signal("TERM");
    assert_eq!(server.wait().0, 0);
    assert!(!path.exists());

    for (place, problem) in [
        ("tcp://127.0.0.1", "an address is written HOST:PORT"),
        ("tls://127.0.0.1:0", "has no certificate"),
        ("fd:3", "cannot listen on fd:3: there is no such socket: 0 have been handed over"),
        ("unix:cert.pem", "there is something that is no socket"),
    ] {
        let (code, _, error) = run(&folder, &["serve", "--listen", place], &[]);
        assert_eq!((code, error.lines().count()), (2, 1), "{place} {error}");
        assert!(error.contains(problem), "{place} {error}");
    }
    let place = "tcp://127.0.0.1:4500";
    let (code, stdout, stderr) =
        run(&folder, &["check-config", "--port", "1", "--listen", place], &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains(&format!("\nlistens on {place}\n")), "{stdout}");
    assert!(stderr.contains("port (flag) has no effect: listen says where"), "{stderr}");
}
