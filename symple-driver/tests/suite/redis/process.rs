//! A Redis server of a test's own.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

#[path = "missing.rs"]
#[allow(dead_code, reason = "others use more of it")]
pub(crate) mod missing;
#[path = "started.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod started;

use redis::{Client, Connection, ConnectionLike as _, FromRedisValue};
use tempfile::TempDir;

/// A Redis server that ends with this value.
pub(crate) struct Redis {
    child: Option<Child>,
    port: u16,
    arguments: Vec<String>,
    /// Whatever it writes, gone with it.
    folder: TempDir,
}

impl Redis {
    /// Starts a server. None where the program is missing, which is said; but in continuous
    /// integration nothing may be missing.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Option<Self> {
        if !missing::is_installed("redis-server", "--version") {
            return None;
        }
        let folder = TempDir::new().unwrap();
        let mut all = vec!["--save".into(), String::new(), "--appendonly".into(), "no".into()];
        // A socket with a name of its own is there, too.
        all.extend(["--dir".into(), folder.path().display().to_string()]);
        all.extend(arguments.iter().map(|&argument| argument.into()));
        Some(Self::launch(all, folder))
    }

    /// Starts a sentinel that looks after a server as the service `main`, and never finds it dead.
    #[allow(dead_code, reason = "the tests of a link need one, and those of servers do not")]
    pub(crate) fn sentinel_of(master: &Self) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("sentinel.conf");
        let port = master.port;
        let lines = format!(
            "sentinel monitor main 127.0.0.1 {port} 1\nsentinel down-after-milliseconds main 600000\n"
        );
        std::fs::write(&file, lines).unwrap();
        Self::launch(vec![file.display().to_string(), "--sentinel".into()], folder)
    }

    /// Where a file of its folder is.
    #[allow(dead_code, reason = "the tests of servers ask, and those of a link do not")]
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn launch(arguments: Vec<String>, folder: TempDir) -> Self {
        let mut redis = Self { child: None, port: 0, arguments, folder };
        // Somebody else may be faster at a port that was free.
        for _ in 0..10 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            redis.port = listener.local_addr().unwrap().port();
            drop(listener);
            if redis.restart() {
                return redis;
            }
        }
        panic!("redis-server does not start");
    }

    /// Starts it again where it was. False if somebody else is there.
    pub(crate) fn restart(&mut self) -> bool {
        let child = Command::new("redis-server")
            .args(&self.arguments)
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        started::says(child.stdout.take().unwrap(), started::REDIS_LISTENS)
    }

    /// Ends it, as if the machine were gone.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal: `STOP` and `CONT` make it stand still and go on.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        // Every shell has a kill; not every machine has the program.
        let kill = format!("kill -s {name} {pid}");
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn connect(&self) -> Connection {
        Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// What it answers to a command, written with spaces between its words.
    pub(crate) fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        self.run(&command.split(' ').collect::<Vec<_>>())
    }

    pub(crate) fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        redis::from_redis_value(self.connect().req_command(&command).unwrap()).unwrap()
    }

    /// Publishes a text; how many heard it.
    pub(crate) fn publish(&self, text: impl AsRef<[u8]>) -> usize {
        let mut command = redis::cmd("PUBLISH");
        command.arg("symple:broadcast").arg(text.as_ref());
        redis::from_redis_value(self.connect().req_command(&command).unwrap()).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
