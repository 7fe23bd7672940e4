//! The processes of a cluster.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use missing::is_installed;
use started::{REDIS_LISTENS, says};

#[path = "../../../symple-driver/tests/suite/redis/missing.rs"]
pub(crate) mod missing;
#[path = "../support/nginx.rs"]
mod nginx;
#[path = "../../../symple-driver/tests/suite/redis/started.rs"]
mod started;

use nginx::Nginx;

/// Longer than anything takes; not a measure.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[derive(Clone, Copy)]
enum Kind {
    Server,
    Sentinel,
    /// A server of a Redis Cluster.
    Member,
}

/// A Redis server of the test's own, or a sentinel.
pub(crate) struct Redis {
    kind: Kind,
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Redis {
    /// Starts one; none where the program is missing.
    pub(crate) fn start() -> Option<Self> {
        Self::spawn_with(Kind::Server, "save \"\"")
    }

    /// Starts one that does what another one does.
    pub(crate) fn replica_of(master: &Self) -> Option<Self> {
        let lines = format!("save \"\"\nreplicaof 127.0.0.1 {}", master.port);
        Self::spawn_with(Kind::Server, &lines)
    }

    /// Starts a sentinel that watches one, as the service `main`, and needs nobody's consent.
    pub(crate) fn sentinel_of(master: &Self) -> Option<Self> {
        let lines = format!(
            "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 300\n\
             sentinel failover-timeout main 2000",
            master.port
        );
        Self::spawn_with(Kind::Sentinel, &lines)
    }

    /// Starts three masters, each with a replica; none where a program is missing. The master of
    /// the slot of `{symple}:` is the first.
    pub(crate) fn start_cluster() -> Option<Vec<Self>> {
        if !is_installed("redis-cli", "--version") {
            return None;
        }
        let lines = "save \"\"\ncluster-enabled yes\ncluster-node-timeout 1000\n\
                     cluster-config-file nodes.conf";
        let mut members = Vec::new();
        while members.len() < 6 {
            let member = Self::spawn_with(Kind::Member, lines)?;
            // The port of the servers among one another is that of the clients and 10 000, and
            // Linux gives away none below 32 768.
            if member.port < 55_000 {
                members.push(member);
            }
        }
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(members.iter().map(|member| format!("127.0.0.1:{}", member.port)));
        create.args(["--cluster-replicas", "1", "--cluster-yes"]);
        let created = create.output().unwrap();
        assert!(created.status.success(), "{created:?}");
        // There is no event for what others know.
        let until = Instant::now() + PATIENCE;
        for member in &members {
            while !member.ask(&["cluster", "info"]).contains("cluster_state:ok")
                || member.ask(&["cluster", "nodes"]).matches("slave ").count() != 3
            {
                assert!(Instant::now() < until, "the Redis Cluster is not complete");
            }
        }
        let replicas_follow = |member: &Self| {
            let said = member.ask(&["info", "replication"]);
            said.contains("role:master") || said.contains("master_link_status:up")
        };
        while !members.iter().all(replicas_follow) {
            assert!(Instant::now() < until, "the replicas do not follow");
        }
        let has_it = |member: &Self| !member.ask(&["get", "{symple}:x"]).contains("MOVED");
        let owner = members.iter().position(has_it).unwrap();
        members.swap(0, owner);
        Some(members)
    }

    /// What a server says to a command.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let mut ask = Command::new("redis-cli");
        let said = ask.args(["-p", &self.port.to_string()]).args(command).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    fn spawn_with(kind: Kind, configuration: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !is_installed("redis-server", "--version") {
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-redis-{number}"));
        // What one of the same number knew in the run before is no concern of this one.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let configuration =
            format!("port {port}\nbind 127.0.0.1\ndir {}\n{configuration}\n", folder.display());
        std::fs::write(folder.join("redis.conf"), configuration).unwrap();
        let child = Self::spawn(kind, &folder);
        Some(Self { kind, child, port, folder })
    }

    fn spawn(kind: Kind, folder: &Path) -> Child {
        let mut command = Command::new("redis-server");
        command.arg(folder.join("redis.conf"));
        if let Kind::Sentinel = kind {
            command.arg("--sentinel");
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        assert!(says(child.stdout.take().unwrap(), REDIS_LISTENS), "Redis has ended");
        child
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        match self.kind {
            Kind::Server => format!("redis://127.0.0.1:{}", self.port),
            Kind::Member => format!("redis-cluster://127.0.0.1:{}", self.port),
            Kind::Sentinel => format!("redis+sentinel://127.0.0.1:{}/main", self.port),
        }
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn restart(&mut self) {
        self.child = Self::spawn(self.kind, &self.folder);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A node.
pub(crate) struct Node {
    child: Option<Child>,
    pid: u32,
    pub(crate) address: SocketAddr,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
}

/// A process that was told to end.
pub(crate) struct Ending(Option<Child>);

impl Ending {
    /// Its exit code.
    pub(crate) fn wait(mut self) -> Option<i32> {
        self.0.take().unwrap().wait().unwrap().code()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Node {
    pub(crate) fn start(redis: &Redis, runtime: &str) -> Self {
        Self::start_at(redis, runtime, 0)
    }

    /// Starts one on a port; 0 is any that is free.
    pub(crate) fn start_at(redis: &Redis, runtime: &str, port: u16) -> Self {
        Self::start_program(env!("CARGO_BIN_EXE_symple").as_ref(), redis, runtime, port)
    }

    /// A node that is another build of the program.
    pub(crate) fn start_program(program: &Path, redis: &Redis, runtime: &str, port: u16) -> Self {
        Self::spawn(program, redis, &redis.url(), runtime, port, &[])
    }

    /// A node that reaches Redis at another address.
    pub(crate) fn start_through(address: SocketAddr, redis: &Redis, runtime: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_symple").as_ref();
        Self::spawn(program, redis, &format!("redis://{address}"), runtime, 0, &[])
    }

    /// A node with further settings.
    pub(crate) fn start_with(redis: &Redis, runtime: &str, more: &[&str]) -> Self {
        let program = env!("CARGO_BIN_EXE_symple").as_ref();
        Self::spawn(program, redis, &redis.url(), runtime, 0, more)
    }

    fn spawn(
        program: &Path,
        redis: &Redis,
        url: &str,
        runtime: &str,
        port: u16,
        more: &[&str],
    ) -> Self {
        let prefix = if let Kind::Member = redis.kind { "{symple}:" } else { "symple:" };
        let mut child = Command::new(program)
            .env_clear()
            .env("SYMPLE_REDIS_PREFIX", prefix)
            .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--rate-limit", "0"])
            .args(["--redis-url", url, "--runtime", runtime])
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        // The line that says where it listens; others may come before.
        let address = loop {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it listened");
            if let Some((_, rest)) = line.split_once("ws://") {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
                break rest[..end.unwrap_or(rest.len())].parse().unwrap();
            }
        };
        let lines = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let read = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                println!("{address} {line}");
                read.0.lock().unwrap().push(line);
                read.1.notify_all();
            }
        });
        let pid = child.id();
        Self { child: Some(child), pid, address, log: lines }
    }

    /// Waits until a line of its log has this in it.
    pub(crate) fn logs(&self, what: &str) {
        let lines = self.log.0.lock().unwrap();
        let without = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(what));
        let (lines, waited) = self.log.1.wait_timeout_while(lines, PATIENCE, without).unwrap();
        assert!(!waited.timed_out(), "{what} is not in {lines:#?}");
    }

    pub(crate) fn signal(&mut self, name: &str) -> Ending {
        let pid = self.pid.to_string();
        // Every shell has a kill; not every machine has the program.
        let kill = format!("kill -s {name} {pid}");
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        Ending(if matches!(name, "KILL" | "TERM") { self.child.take() } else { None })
    }

    /// Its exit code, if it has ended.
    pub(crate) fn crashed(&mut self) -> Option<i32> {
        self.child.as_mut()?.try_wait().unwrap().and_then(|status| status.code())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The balancer of the three-node page, with its own configuration but for the addresses. None where
/// the program is missing.
pub(crate) fn balancer(nodes: &[Node]) -> Option<Nginx> {
    if !is_installed("nginx", "-v") {
        return None;
    }
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{count}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/nginx.conf");
    let mut changes =
        vec![("/tmp/symple-nginx.pid".into(), folder.join("pid").display().to_string())];
    changes.extend(nodes.iter().zip([4501, 4502, 4503]).map(|(node, written)| {
        // Whole words: the port of a node may begin with one that is still to be replaced.
        (format!("server 127.0.0.1:{written} "), format!("server {} ", node.address))
    }));
    Some(Nginx::start(&folder, page, changes))
}
