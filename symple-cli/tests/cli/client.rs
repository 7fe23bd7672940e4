//! `symple listen` and `symple send`, as their users see them.

use std::{io::Write as _, process::ChildStdout, thread};

use super::*;

/// A `symple listen` that is online, and what it prints.
struct Listener {
    _child: Running,
    out: BufReader<ChildStdout>,
    news: BufReader<std::process::ChildStderr>,
}

impl Listener {
    fn start(folder: &Path, url: &str, arguments: &[&str]) -> Self {
        let mut child = symple(folder)
            .args(["listen", url, "--user", "ear", "--room", "lobby"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let news = BufReader::new(child.stderr.take().unwrap());
        let mut listener = Self { _child: Running(child), out, news };
        assert!(listener.news().starts_with("symple: online as ear|"));
        listener
    }

    fn news(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.news.read_line(&mut line).unwrap(), 0, "it has ended");
        line
    }

    /// The next line that begins or is so.
    fn line(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.out.read_line(&mut line).unwrap(), 0, "it has ended");
            if is_it(&line) {
                return line;
            }
        }
    }
}

#[test]
fn what_is_sent_is_heard() {
    let folder = folder("client");
    let server = Server::start(&folder, &[]);
    let url = format!("ws://{}", server.address);
    let mut json = Listener::start(&folder, &url, &["--json"]);
    let mut people = Listener::start(&folder, &url, &[]);
    let send = |more: &[&str]| {
        let arguments = [&["send", &url, "--user", "mouth", "--room", "lobby"], more].concat();
        run(&folder, &arguments, &[])
    };
    assert_eq!(
        send(&["--to", "lobby", "--text", "hello\u{1b}[2J"]),
        (0, String::new(), String::new())
    );
    let heard = json.line(|line| line.contains("hello"));
    let heard: Value = serde_json::from_str(&heard).unwrap();
    assert_eq!((&heard["type"], &heard["data"]), (&json!("message"), &json!("hello\u{1b}[2J")));
    // What would do something to a terminal is shown, not done.
    let heard = people.line(|line| line.contains("hello"));
    assert!(
        heard.starts_with("message mouth|") && heard.ends_with(": hello\\u{1b}[2J\n"),
        "{heard:?}"
    );

    let frame = r#"{"type":"event","name":"n","to":"lobby","data":[1,{"a":2}]}"#;
    assert_eq!(send(&["--frame", frame]).0, 0);
    assert!(people.line(|line| line.starts_with("event")).ends_with(": [1,{\"a\":2}]\n"));
    people.line(|line| line.starts_with("- mouth|"));

    // The exit code says whether it went.
    let (code, _, problem) = send(&["--frame", "[]"]);
    assert_eq!(code, 2, "{problem}");
    let (code, _, problem) = send(&["--data", "no json", "--to", "lobby"]);
    assert_eq!((code, problem.contains("the data is no JSON")), (2, true), "{problem}");
}

/// Whoever asks gets an answer, or is told soon that there is nobody to give one.
#[test]
fn nobody_is_there() {
    let folder = folder("client-nobody");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}");
    let (code, _, problem) = run(&folder, &["send", &url, "--user", "a", "--text", "x"], &[]);
    assert_eq!(code, 1);
    assert!(problem.contains("refused") && problem.lines().count() == 1, "{problem}");
    let (code, _, problem) =
        run(&folder, &["send", "localhost", "--user", "a", "--text", "x"], &[]);
    assert_eq!((code, problem.lines().count()), (2, 1), "{problem}");
    let header = ["listen", &url, "--user", "a", "--header", "no-colon"];
    let (code, _, problem) = run(&folder, &header, &[]);
    assert_eq!((code, problem.contains("a header is NAME: VALUE")), (2, true), "{problem}");
}

/// R-T10: `--compression` asks the server for it.
#[test]
fn compression_is_asked_for() {
    let folder = folder("client-compression");
    for (flags, asked) in [(&["--compression"][..], true), (&[], false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() > 0 {
                head.push(byte[0]);
            }
            socket.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").unwrap();
            String::from_utf8(head).unwrap()
        });
        let arguments = [&["send", &url, "--user", "a", "--text", "x"], flags].concat();
        let (code, _, problem) = run(&folder, &arguments, &[]);
        assert_eq!((code, problem.contains("403")), (1, true), "{problem}");
        let head = server.join().unwrap();
        assert_eq!(head.contains("Sec-WebSocket-Extensions: permessage-deflate"), asked, "{head}");
    }
}

/// A listener comes back when its server does, and ends when it is sent away.
#[test]
fn a_listener_is_told_of_its_connection() {
    let folder = folder("client-restart");
    let server = Server::start(&folder, &["--authentication", "false"]);
    let url = format!("ws://{}", server.address);
    let mut listener = Listener::start(&folder, &url, &[]);
    let address = server.address;
    server.signal("TERM");
    assert_eq!(server.wait().0, 0);
    let mut seen = listener.news();
    while !seen.contains("trying again in") {
        seen = listener.news();
    }
    let _again = Server::start_at(&folder, address);
    while !listener.news().starts_with("symple: online as ear|") {}
}
