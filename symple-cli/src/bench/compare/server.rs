//! Servers that are started, measured, and ended.

use std::{
    io::{self, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::case::Case;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);
/// How often a server is tried to be started.
const TRIES: usize = 3;
/// How long a run may take beside what it measures.
const PATIENCE: Duration = Duration::from_secs(240);

/// A server that can be started.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// This program, with further flags.
    Symple(Vec<String>),
    /// The Node server in a folder.
    Node(PathBuf),
}

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Kind {
    /// Its name in the results.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Symple(_) => "symple",
            Self::Node(_) => "node",
        }
    }

    /// Starts a server; several times, if its port has been taken meanwhile.
    fn start(&self) -> Result<(Running, SocketAddr), String> {
        let mut problem = String::new();
        for _ in 0..TRIES {
            match self.start_once() {
                Ok(started) => return Ok(started),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    fn start_once(&self) -> Result<(Running, SocketAddr), String> {
        let address = free_address().map_err(|error| format!("no port is free: {error}"))?;
        let port = address.port().to_string();
        let mut command = match self {
            Self::Symple(flags) => {
                let mut command = Command::new(own_path()?);
                command.args([
                    "serve",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    &port,
                    "--rate-limit",
                    "0",
                ]);
                command.args(flags).env("RUST_LOG", "error");
                command
            }
            Self::Node(folder) => {
                let mut command = Command::new("node");
                command.arg("server.js").current_dir(folder).env("PORT", &port);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("cannot start: {error}"))?;
        let mut running = Running(child);
        let started = Instant::now();
        while TcpStream::connect_timeout(&address, START).is_err() {
            if let Ok(Some(status)) = running.0.try_wait() {
                return Err(format!("did not start: {status}"));
            }
            if started.elapsed() > START {
                return Err("did not start in time".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        // Whatever a start leaves to be done is done before it is measured.
        thread::sleep(Duration::from_millis(500));
        Ok((running, address))
    }
}

fn own_path() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))
}

/// An address that no connection takes by chance: those come from ports above these. (Who
/// connects to a port among them on which nobody listens yet may reach itself, and have the port.)
fn free_address() -> io::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16 % 8000;
    let mut outcome = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..100 {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + first.wrapping_add(nth) % 8000;
        outcome = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|l| l.local_addr());
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// The reports of a workload against a fresh server. The load comes from a process of its own, so
/// that no run has anything to do with another, and none can take for ever.
pub(crate) fn measure(kind: &Kind, case: &Case, seconds: u32) -> Result<Vec<Value>, String> {
    let (server, address) = kind.start()?;
    let seconds = case.seconds.unwrap_or(seconds);
    let mut load = Command::new(own_path()?)
        .args(["bench", "--json", "--url", &format!("ws://{address}/")])
        .args(["--pid", &server.0.id().to_string(), "--seconds", &seconds.to_string()])
        .args(case.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Running)
        .map_err(|error| format!("cannot start the load: {error}"))?;
    let (Some(stdout), Some(stderr)) = (load.0.stdout.take(), load.0.stderr.take()) else {
        return Err("the load has no output".into());
    };
    let (stdout, stderr) = (thread::spawn(|| text(stdout)), thread::spawn(|| text(stderr)));
    let limit = PATIENCE + Duration::from_secs(seconds.into()) * 6;
    let started = Instant::now();
    while matches!(load.0.try_wait(), Ok(None)) {
        if started.elapsed() > limit {
            return Err(format!("took longer than {} s", limit.as_secs()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    // A run that has lost messages has its reports, too: they say so.
    let mut document: Value =
        serde_json::from_str(&stdout).map_err(|_| stderr.trim().to_owned())?;
    match document["reports"].take() {
        Value::Array(reports) => Ok(reports),
        _ => Err("the load has no reports".into()),
    }
}

fn text(mut stream: impl Read) -> String {
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}
