//! `symple chat` and `symple call`, as people in terminals and scripts see them.

use std::{
    fs::File,
    io::Write,
    process::{ChildStdin, ChildStdout, ExitStatus},
    sync::mpsc::{Receiver, channel},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::{running::PATIENCE, *};

#[path = "room.rs"]
mod room;

/// The program in a terminal of its own.
struct Terminal {
    child: Running,
    screen: File,
    /// The other end, which says what the terminal is set to.
    line: File,
    /// What comes on the screen, and what of it has not been looked for yet.
    parts: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Terminal {
    fn start(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let size = Winsize { ws_row: 40, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&screen, size).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
        let line = File::options().read(true).write(true).open(name).unwrap();
        let end = || Stdio::from(line.try_clone().unwrap());
        let child = symple(folder)
            .args(arguments)
            .env("TERM", "xterm-256color")
            .envs(variables.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let screen = File::from(screen);
        let mut from = screen.try_clone().unwrap();
        let (sender, parts) = channel();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut part)
                && sender.send(part[..read].to_vec()).is_ok()
            {}
        });
        Self { child: Running(child), screen, line, parts, seen: Vec::new() }
    }

    /// Waits until this is on the screen, and forgets what was before it; what stood in between.
    fn until(&mut self, text: &str) -> String {
        loop {
            let seen = String::from_utf8_lossy(&self.seen);
            if let Some(at) = seen.find(text) {
                let before = seen[..at].to_owned();
                self.seen = seen[at + text.len()..].as_bytes().to_vec();
                return before;
            }
            match self.parts.recv_timeout(PATIENCE) {
                Ok(part) => self.seen.extend(part),
                Err(_) => panic!("{text:?} does not come; {seen:?} is left"),
            }
        }
    }

    fn types(&mut self, text: &str) {
        self.screen.write_all(text.as_bytes()).unwrap();
    }

    /// The terminal is edited by the program, not by the system.
    fn is_raw(&self) -> bool {
        !tcgetattr(&self.line).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    fn wait(&mut self) -> i32 {
        let code = self.child.ends().code().unwrap();
        assert!(!self.is_raw(), "the terminal is as it was");
        code
    }
}

/// The program between two pipes.
struct Piped {
    child: Running,
    input: Option<ChildStdin>,
    out: BufReader<ChildStdout>,
}

impl Piped {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = symple(folder)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child: Running(child), input, out }
    }

    fn says(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn until(&mut self, text: &str) -> String {
        let out = &mut self.out;
        Running::within(&mut self.child, |_| {
            loop {
                let mut line = String::new();
                assert_ne!(out.read_line(&mut line).unwrap(), 0, "it has ended before {text:?}");
                assert!(!line.contains('\u{1b}'), "nothing for a terminal: {line:?}");
                if line.contains(text) {
                    return line;
                }
            }
        })
    }

    /// Says nothing more, and hears the rest.
    fn ends(mut self) -> (ExitStatus, String) {
        drop(self.input.take());
        let (mut rest, out) = (String::new(), &mut self.out);
        Running::within(&mut self.child, |_| out.read_to_string(&mut rest).unwrap());
        (self.child.ends(), rest)
    }
}

/// Two terminals talk; what would do something to a terminal is shown, and not done.
#[test]
fn two_terminals_talk() {
    let folder = folder("chat");
    let server = Server::start(&folder, &[]);
    let url = format!("ws://{}", server.address);
    let history = folder.join("history");
    let history = history.to_str().unwrap();
    let arguments = ["chat", &url, "--user", "alice", "--room", "lobby", "--history", history];
    let mut alice = Terminal::start(&folder, &arguments, &[("NO_COLOR", "1")]);
    alice.until("0 here beside you");
    alice.until("lobby> ");
    assert!(alice.is_raw());
    let mut bob =
        Terminal::start(&folder, &["chat", &url, "--user", "bob", "--room", "lobby"], &[]);
    bob.until("1 here beside you");
    alice.until("+ bob");

    bob.types("hello, größe\r");
    assert!(!alice.until("bob: hello, größe").contains("\u{1b}[3"), "NO_COLOR");
    // What alice has begun to type stays, below what comes in.
    alice.types("half");
    alice.until("half");
    bob.types("again\r");
    alice.until("bob: again");
    alice.until("half");
    alice.types(" a line\r");
    bob.until("alice");
    // The name has its colour.
    bob.until("\u{1b}[0m: half a line");

    let raw = r#"{"to":"lobby","data":"\u001b]0;owned\u0007\u001b[2J\u202e\nx"}"#;
    bob.types(&format!("/raw {raw}\r"));
    alice.until(r"bob: \u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}\nx");

    bob.types("/join den\r");
    bob.until("you are in den");
    alice.types("/to bob\r");
    alice.until("bob> ");
    alice.types("only you\r");
    bob.until(": only you");
    bob.types("/name Robert\r");
    // Behind the name.
    bob.types("/to alice\r");
    bob.types("so I am called\r");
    alice.until("so I am called");
    alice.types("/who\r");
    alice.until("Robert");
    alice.types("/nonsense\r");
    alice.until("there is no command /nonsense");
    alice.types("/join \r");
    alice.until("/join what?");
    alice.types("//not a command\r");
    bob.until(": /not a command");

    // Ctrl-C, and Ctrl-D.
    bob.types("\u{3}");
    assert_eq!(bob.wait(), 0);
    alice.until("- bob");
    alice.types("\u{4}");
    assert_eq!(alice.wait(), 0);
    let kept = std::fs::read_to_string(history).unwrap();
    assert!(kept.contains("half a line") && kept.contains("/to bob"), "{kept}");
    let mut again = Terminal::start(&folder, &arguments, &[]);
    again.until("lobby> ");
    // The arrow up.
    again.types("\u{1b}[A");
    again.until("//not a command");
}

/// R-K1, R-K2: the state of a room is shown, and set.
#[test]
fn states_of_rooms() {
    let folder = folder("chat-states");
    let server = Server::start(&folder, &[]);
    let url = format!("ws://{}", server.address);
    let mut alice =
        Terminal::start(&folder, &["chat", &url, "--user", "alice", "--room", "lobby"], &[]);
    alice.until("0 here beside you");
    alice.types("/state\r");
    alice.until("lobby has no state");
    alice.types("/state topic \"tea\"\r");
    alice.until("[lobby] alice sets topic \"tea\"");
    let mut bob =
        Terminal::start(&folder, &["chat", &url, "--user", "bob", "--room", "lobby"], &[]);
    bob.until("1 here beside you");
    bob.types("/state\r");
    bob.until("topic \"tea\"");
    bob.types("/state topic null\r");
    alice.until("[lobby] bob sets topic null");
    bob.types("/state topic {\r");
    bob.until("/state KEY JSON: ");
    bob.types("/to alice\r/state\r");
    bob.until("you talk to no room that you are in");
}

/// Whoever is sent away, or told to end by a signal, leaves the terminal as it was.
#[test]
fn a_terminal_is_given_back() {
    let folder = folder("chat-ends");
    let server = Server::start(&folder, &[]);
    let url = format!("ws://{}", server.address);
    let mut alice = Terminal::start(&folder, &["chat", &url, "--user", "alice"], &[]);
    alice.until("0 here beside you");
    alice.until("> ");
    while !alice.is_raw() {
        std::thread::yield_now();
    }
    let kill = format!("kill -s TERM {}", alice.child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(alice.wait(), 0);
    let refused = ["chat", &url, "--user", "a|b"];
    let (code, _, problem) = run(&folder, &refused, &[]);
    assert_eq!((code, problem.lines().count()), (2, 1), "{problem}");
    let folder_as_history = ["chat", &url, "--user", "a", "--history", "."];
    let mut alice = Terminal::start(&folder, &folder_as_history, &[]);
    assert_eq!(alice.wait(), 2);
}

/// What is piped in is said in order, and the exit code says whether all of it went.
#[test]
fn pipes() {
    let folder = folder("chat-pipes");
    let server = Server::start(&folder, &[]);
    let url = format!("ws://{}", server.address);
    let mut bob = Piped::start(&folder, &["chat", &url, "--user", "bob", "--room", "lobby"]);
    bob.until("0 here beside you");
    let mut alice = Piped::start(&folder, &["chat", &url, "--user", "alice", "--room", "lobby"]);
    for n in 0..200 {
        alice.says(&format!("line {n}"));
    }
    let (status, _) = alice.ends();
    assert!(status.success());
    for n in 0..200 {
        assert_eq!(bob.until("alice: line"), format!("alice: line {n}\n"));
    }
    let mut alice = Piped::start(&folder, &["chat", &url, "--user", "alice"]);
    alice.says("/raw [1]");
    let (status, out) = alice.ends();
    assert_eq!(status.code(), Some(1));
    assert!(out.contains("! a frame must be a JSON object"), "{out}");

    // Nobody reads what it shows any more.
    let Piped { child, out, .. } = &mut bob;
    drop(std::mem::replace(out, BufReader::new(closed())));
    let mut alice = Piped::start(&folder, &["chat", &url, "--user", "alice", "--room", "lobby"]);
    alice.says("is anybody there?");
    assert!(alice.ends().0.success());
    assert_eq!(child.ends().code(), Some(0));
}

/// What the server refuses is not done, and what is left to do keeps nobody from ending.
#[test]
fn what_does_not_go() {
    let folder = folder("chat-refused");
    let server = Server::start(&folder, &[]);
    let url = format!("ws://{}", server.address);
    let mut alice = Piped::start(&folder, &["chat", &url, "--user", "alice"]);
    alice.says(r#"/raw {"type":"presence","data":{"ID":1}}"#);
    let (status, out) = alice.ends();
    assert_eq!(status.code(), Some(1), "{out}");
    assert!(out.contains("the server says: Invalid id field"), "{out}");

    let slow = Server::start(&folder, &["--rate-limit", "1", "--rate-burst", "1"]);
    let url = format!("ws://{}", slow.address);
    let mut alice = Piped::start(&folder, &["chat", &url, "--user", "alice"]);
    alice.until("online as alice");
    for n in 0..1000 {
        alice.says(&n.to_string());
    }
    drop(alice.input.take());
    let kill = format!("kill -s TERM {}", alice.child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert!(alice.child.ends().code().is_some(), "it had to be killed");
}

/// What cannot be written is said, and ends it.
#[cfg(target_os = "linux")]
#[test]
fn an_output_that_is_full() {
    let folder = folder("chat-full");
    let server = Server::start(&folder, &[]);
    let url = format!("ws://{}", server.address);
    let mut child = symple(&folder)
        .args(["chat", &url, "--user", "alice"])
        .stdin(Stdio::piped())
        .stdout(File::options().write(true).open("/dev/full").unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (_input, mut news) = (child.stdin.take(), child.stderr.take().unwrap());
    let mut child = Running(child);
    assert_eq!(child.ends().code(), Some(1));
    let mut said = String::new();
    news.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("symple: cannot write to standard output: "), "{said}");
}

/// The output of a program that has none.
fn closed() -> ChildStdout {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    child.wait().unwrap();
    out
}

/// What is said while the server is away is said when it is back.
#[test]
fn a_restart_in_the_middle() {
    let folder = folder("chat-restart");
    let server = Server::start(&folder, &[]);
    let address = server.address;
    let url = format!("ws://{address}");
    let start = |user| Piped::start(&folder, &["chat", &url, "--user", user, "--room", "lobby"]);
    let mut alice = start("alice");
    alice.until("0 here beside you");
    let mut bob = start("bob");
    bob.until("1 here beside you");
    server.signal("KILL");
    drop(server);
    alice.until("trying again in");
    bob.until("trying again in");
    let _again = Server::start_at(&folder, address);
    bob.until("online as bob|");
    alice.says("we are back");
    // Whoever comes back later has not heard what was said before.
    alice.until("online as alice|");
    bob.says("so we are");
    alice.until("bob: so we are");
    alice.says("once more");
    bob.until("alice: once more");
}

/// A call from ring to end, one that is not taken, and two that ring each other at once.
#[test]
fn calls() {
    let folder = folder("call");
    let server = Server::start(&folder, &[]);
    let url = format!("ws://{}", server.address);
    let arguments = |user: &'static str| ["call", &url, "--user", user, "--room", "lobby"];
    let mut alice = Terminal::start(&folder, &arguments("alice"), &[("NO_COLOR", "1")]);
    alice.until("online as alice|");
    let mut bob = Piped::start(&folder, &arguments("bob"));
    bob.until("+ alice|");
    alice.until("+ bob|");

    alice.types("call bob\r");
    alice.until("ringing bob");
    bob.until("calls: accept, or reject");
    bob.says("accept");
    bob.until("connecting with alice|");
    bob.until("an offer: {");
    alice.until("connecting with bob|");
    alice.until("an answer: {");
    alice.until("active");
    bob.until("active");
    bob.until("a candidate: {");
    alice.types("hangup enough\r");
    bob.until("the other side has hung up (enough)");
    alice.until("the call has ended: hung up");

    bob.says("call alice");
    alice.until("calls: accept, or reject");
    alice.types("reject not now\r");
    bob.until("the other side has not taken it (not now)");
    alice.until("the call has ended: not taken");
    bob.says("call nobody");
    bob.until("ringing nobody");
    bob.says("hangup");
    bob.until("the call has ended: hung up");

    // Both at once: there is one call, whoever was first.
    let takes = |user: &'static str| [&arguments(user)[..], &["--accept"]].concat();
    let mut carol = Piped::start(&folder, &takes("carol"));
    carol.until("online as carol|");
    let mut dave = Piped::start(&folder, &takes("dave"));
    dave.until("+ carol|");
    carol.until("+ dave|");
    carol.says("call dave");
    dave.says("call carol");
    carol.until("connecting with dave|");
    dave.until("connecting with carol|");
    carol.until("active");
    dave.until("active");
    drop(carol);
    dave.until("the call has ended: the other side is offline");

    alice.types("call bob\r");
    bob.until("calls: accept, or reject");
    bob.says("accept");
    alice.until("active");
    // Whoever leaves ends it.
    alice.types("\u{3}");
    assert_eq!(alice.wait(), 0);
    bob.until("the call has ended: ");
    bob.says("hangup");
    bob.until("! there is no call");
    let (status, _) = bob.ends();
    assert_eq!(status.code(), Some(1), "it was asked for what there is not");
}
