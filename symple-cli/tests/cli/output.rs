//! Outputs that are full, closed or stuck: they neither end the program nor stop it.

use std::{fs::File, io::Write as _};

use tungstenite::WebSocket;

use super::*;

/// A server whose standard error is not the test's to read, once it listens.
struct Deaf {
    child: Running,
    address: SocketAddr,
}

impl Deaf {
    fn start(folder: &Path, arguments: &[&str], stderr: impl Into<Stdio>) -> Self {
        // A port that was free just now: nothing is told of which one it is.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = symple(folder)
            .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()])
            .args(arguments)
            .env("RUST_LOG", "debug")
            .stderr(stderr)
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        while TcpStream::connect(address).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
            std::thread::yield_now();
        }
        Self { child: Running(child), address }
    }

    fn client(&self, user: &str) -> WebSocket<TcpStream> {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = tungstenite::client("ws://localhost/", socket).unwrap().0;
        let auth = json!({ "type": "auth", "user": user, "rooms": ["r"] });
        client.send(Message::text(auth.to_string())).unwrap();
        assert_eq!(recv(&mut client)["type"], "welcome");
        client
    }

    /// Lets many log lines be written, and two clients talk meanwhile.
    fn is_alive(&mut self, connections: usize) {
        let (mut alice, mut bob) = (self.client("alice"), self.client("bob"));
        for n in 0..connections {
            drop(self.client("carol"));
            let message = json!({ "type": "message", "to": "bob", "data": n });
            alice.send(Message::text(message.to_string())).unwrap();
            let heard = loop {
                let frame = recv(&mut bob);
                if frame["type"] == "message" {
                    break frame;
                }
            };
            assert_eq!(heard["data"], n);
        }
        assert!(self.child.try_wait().unwrap().is_none());
    }

    /// Ends it, which nothing may prevent.
    fn end(&mut self) -> i32 {
        let kill = format!("kill {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.child.wait().unwrap().code().unwrap()
    }
}

/// A log on a disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn a_log_that_is_full() {
    let folder = folder("full");
    for format in ["text", "json"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut server = Deaf::start(&folder, &["--log-format", format], full);
        server.is_alive(20);
        assert_eq!(server.end(), 0);
    }
}

/// A log that nobody reads any more.
#[test]
fn a_log_that_is_closed() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut server = Deaf::start(&folder("closed"), &[], writer);
    drop(reader);
    server.is_alive(20);
    assert_eq!(server.end(), 0);
}

/// A log that is read again after a while: what was lost is said, and the last words are there. A
/// log that is never read does not keep the server from ending.
#[test]
fn a_log_that_is_stuck() {
    let folder = folder("stuck");
    for runtime in RUNTIMES {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let mut server = Deaf::start(&folder, &["--runtime", runtime], writer.try_clone().unwrap());
        // As much as a pipe holds: the server's next line finds no room in it, nor the one in its
        // queue that is too much.
        let filler = std::thread::spawn(move || {
            let _ = writer.write_all(&vec![b'x'; 1024 * 1024]);
        });
        server.is_alive(100);
        let read = std::thread::spawn(move || {
            let mut log = Vec::new();
            reader.read_to_end(&mut log).unwrap();
            String::from_utf8_lossy(&log).into_owned()
        });
        filler.join().unwrap();
        server.is_alive(1);
        assert_eq!(server.end(), 0);
        let log = read.join().unwrap();
        assert!(log.contains("shutting down"), "the last words");
        assert!(log.contains("listens on"), "the first words");
    }

    let (_reader, mut writer) = std::io::pipe().unwrap();
    let mut server = Deaf::start(&folder, &[], writer.try_clone().unwrap());
    std::thread::spawn(move || writer.write_all(&vec![b'x'; 1024 * 1024]));
    server.is_alive(20);
    assert_eq!(server.end(), 0);
}

/// Every command survives a standard output, and a standard error, that cannot be written to; and
/// says so, where it can.
#[cfg(target_os = "linux")]
#[test]
fn outputs_of_commands() {
    let folder = folder("outputs");
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let closed = || Stdio::from(std::io::pipe().unwrap().1);
    let commands: &[(&[&str], i32)] = &[
        (&["--help"], 0),
        (&["--version"], 0),
        (&["serve", "--help"], 0),
        (&["check-config"], 0),
        (&["fly"], 2),
        (&["check-config", "--port", "x"], 2),
        (&["serve", "--port", "x"], 2),
        (&["emit", "--to", "a", "--data", "1"], 2),
        (&["bench", "fan-out", "--url", "ws://127.0.0.1:1"], 1),
    ];
    for (arguments, code) in commands {
        let run = |stdout: Stdio, stderr: Stdio| {
            let mut command = symple(&folder);
            command.args(*arguments).stdout(stdout).stderr(stderr).output().unwrap()
        };
        let seen = run(full(), Stdio::piped());
        let expected = if *code == 0 { 1 } else { *code };
        let stderr = String::from_utf8(seen.stderr).unwrap();
        assert_eq!(seen.status.code(), Some(expected), "{arguments:?} {stderr}");
        let said = stderr.starts_with("symple: cannot write to standard output: ");
        assert_eq!(said, *code == 0, "{stderr}");
        // Whoever reads no more has read enough.
        assert_eq!(run(closed(), Stdio::piped()).status.code(), Some(*code), "{arguments:?}");
        for stderr in [full(), closed()] {
            assert_eq!(run(Stdio::null(), stderr).status.code(), Some(*code), "{arguments:?}");
        }
        for stderr in [full(), closed()] {
            assert_eq!(run(full(), stderr).status.code(), Some(expected), "{arguments:?}");
        }
    }
}

/// What is repeated of foreign text is one line, and not long.
#[test]
fn errors_are_one_line() {
    let folder = folder("one-line");
    let long = "x".repeat(5000);
    for (arguments, variables) in [
        (vec!["check-config", "--port", "1\n2\x1b[31m\r3"], vec![]),
        (vec!["check-config", "--port", &long], vec![]),
        (vec!["check-config", "--path", &long], vec![]),
        (vec!["check-config", "--trusted-proxies", "10.0.0.0/8,\n\n"], vec![("PORT", "\u{202e}")]),
        (vec!["check-config", "--trusted-proxies", &long], vec![]),
        (vec!["check-config"], vec![("SYMPLE_RUNTIME", "a\nb")]),
        (vec!["serve", "--host", "a\nb", "--port", "0"], vec![]),
        (vec!["serve", "--host", &long, "--port", "0"], vec![]),
        (vec!["serve", "--ssl-enabled", "--ssl-cert", &long, "--ssl-key", "x"], vec![]),
        (vec!["serve", "--ssl-enabled", "--ssl-cert", "a\nb", "--ssl-key", "x"], vec![]),
        (vec!["serve", "--redis-host", "a\nb", "--port", "0"], vec![]),
    ] {
        let (code, _, stderr) = run(&folder, &arguments, &variables);
        assert!(code == 2 || code == 1, "{code} {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.chars().count() < 320, "{stderr}");
        let line = stderr.strip_suffix('\n').unwrap();
        assert!(line.starts_with("symple: ") && !line.contains(char::is_control), "{line:?}");
    }
}

/// What clap says has several lines, but repeats no others.
#[test]
fn command_lines_are_repeated_in_short() {
    let folder = folder("clap");
    let long = "x".repeat(100_000);
    for arguments in [
        vec![&*long],
        vec!["a\nb\x1b[31m"],
        vec!["serve", "--a\nb\x1b[31m"],
        vec!["serve", &long],
        vec!["emit", "--to", "a", "--type", "a\nb\x1b[31m"],
        vec!["emit", "--to", "a", "--type", &long],
        vec!["bench", "fan-out", "--window", "a\nb\x1b[31m"],
        vec!["bench", "fan-out", "--window", &long],
    ] {
        let (code, _, stderr) = run(&folder, &arguments, &[]);
        assert_eq!(code, 2);
        assert!(stderr.starts_with("error: ") && stderr.len() < 3000, "{stderr}");
        assert!(!stderr.contains('\x1b') && !stderr.contains("\nb"), "{stderr}");
    }
}

/// A filter that makes no sense is told of; the rest of it counts.
#[test]
fn a_filter_that_makes_no_sense() {
    let folder = folder("filter");
    let (code, _, stderr) =
        run(&folder, &["serve", "--host", "x y"], &[("RUST_LOG", "warn,symple=loud")]);
    assert_eq!(code, 2);
    assert!(stderr.contains("WARN RUST_LOG: 'symple=loud' is ignored"), "{stderr}");
    assert!(!stderr.contains("INFO"), "{stderr}");
}
