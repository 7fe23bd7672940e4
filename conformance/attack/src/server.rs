//! The server that is attacked: a process of its own, and what Linux tells about it.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::Fault;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(10);
/// The ports that are used: below those that systems give to connections.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// How often its memory is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Where the server's log goes.
pub(crate) enum Log {
    /// To a file.
    File,
    /// To something else.
    To(OwnedFd),
}

/// A server; it is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

impl Server {
    /// Starts a server with these flags and variables.
    pub(crate) fn start(
        program: &Path,
        flags: &[String],
        variables: &[(&str, &str)],
        log: Log,
    ) -> Result<Self, Fault> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = Command::new(program);
        // Nothing of the surroundings may change what is attacked.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let ours = text.starts_with("SYMPLE") || text.starts_with("REDIS");
            // With backtraces a panic takes milliseconds, and whoever panics next waits for it.
            let of_rust = text.starts_with("RUST_");
            if ours || of_rust || ["PORT", "DEBUG"].contains(&&*text) {
                command.env_remove(&name);
            }
        }
        let stderr = match log {
            Log::File => File::create(folder.path().join("log"))?.into(),
            Log::To(descriptor) => Stdio::from(descriptor),
        };
        command
            .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()])
            .args(flags)
            .envs(variables.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let child = command
            .spawn()
            .map_err(|error| Fault(format!("{} cannot be started: {error}", program.display())))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self { child, address, folder };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = server.child.try_wait() {
                let why = server.log().lines().next().unwrap_or_default().to_owned();
                return Err(Fault(format!("the server does not start ({status}): {why}")));
            }
            if started.elapsed() > START {
                return Err(Fault("the server does not start in time".into()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn file(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.child.id()).into()
    }

    /// What it has logged, where that goes to a file.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Its resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        memory(&self.file("statm"))
    }

    /// User and system time of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let mut nanos = 0;
        for task in fs::read_dir(self.file("task")).into_iter().flatten().flatten() {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            nanos += stat.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        Duration::from_nanos(nanos)
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.file("fd")).map_or(0, Iterator::count)
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.pid().ok_or(io::ErrorKind::NotFound)?;
        Ok(kill_process(pid, signal)?)
    }

    /// Lets it have so many descriptors, and gives back how many it could have.
    pub(crate) fn limit_descriptors(&self, current: u64) -> io::Result<u64> {
        let maximum = prlimit(
            self.pid(),
            Resource::Nofile,
            Rlimit {
                current: Some(current),
                // What has been lowered cannot be raised again.
                maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
            },
        )?;
        Ok(maximum.current.unwrap_or(u64::MAX))
    }

    /// Watches how much memory it takes at most from now on.
    pub(crate) fn watch(&self) -> Watch {
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let watch = Watch { stop: Arc::clone(&stop), peak: Arc::clone(&peak) };
        let file = self.file("statm");
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(memory(&file), Ordering::Relaxed);
                thread::sleep(LOOK);
            }
        });
        watch
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port where nobody listens, and that this process was not given lately; other processes begin
/// elsewhere.
pub(crate) fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let count = u64::from(PORTS.end - PORTS.start);
    let first = u64::from(std::process::id()) * 997;
    let mut failed = io::Error::other("no port is free");
    for _ in 0..count {
        let nth = first + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + u16::try_from(nth % count).map_err(io::Error::other)?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn memory(file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// The most memory that was seen.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
}

impl Watch {
    /// Forgets what was seen until now.
    pub(crate) fn reset(&self) {
        self.peak.store(0, Ordering::Relaxed);
    }

    /// In bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
