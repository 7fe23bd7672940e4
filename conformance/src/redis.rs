//! A Redis server of our own, for scenarios that need one.

use std::{
    io,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis::{AsyncCommands as _, Client, aio::MultiplexedConnection};
use tempfile::TempDir;

use crate::port::free_port;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is tried on another port.
const ATTEMPTS: usize = 3;

/// A Redis server that ends with this value.
pub struct Redis {
    child: Child,
    port: u16,
    connection: MultiplexedConnection,
    _folder: TempDir,
}

impl Redis {
    /// Starts a server.
    ///
    /// # Errors
    /// The program `redis-server` is not there, or does not start.
    pub async fn start() -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            match Self::start_on(free_port().map_err(|error| error.to_string())?).await {
                Err(error) => last = error,
                started => return started,
            }
        }
        Err(last)
    }

    async fn start_on(port: u16) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot start redis-server: {error}");
        let folder = tempfile::tempdir().map_err(failed)?;
        let mut child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let client = Client::open(format!("redis://127.0.0.1:{port}/"))
            .map_err(|error| error.to_string())?;
        let until = Instant::now() + PATIENCE;
        loop {
            // Another server may have the port.
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("redis-server does not start: {status}"));
            }
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => return Ok(Self { child, port, connection, _folder: folder }),
                Err(error) if Instant::now() > until => {
                    let _ = child.kill();
                    return Err(format!("redis-server does not answer: {error}"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// True if the program is there.
    #[must_use]
    pub fn is_installed() -> bool {
        let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Forgets everything, and has these sessions.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn reset<'a>(
        &self,
        sessions: impl Iterator<Item = (&'a str, String)>,
    ) -> Result<(), String> {
        let mut connection = self.connection.clone();
        let _: () = redis::cmd("FLUSHALL")
            .query_async(&mut connection)
            .await
            .map_err(|error| error.to_string())?;
        for (token, text) in sessions {
            let key = format!("symple:session:{token}");
            let _: () = connection.set(key, text).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// How many servers listen for emissions.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn subscribers(&self) -> Result<usize, String> {
        let (_, count): (String, usize) = redis::cmd("PUBSUB")
            .arg("NUMSUB")
            .arg("symple:broadcast")
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|error| error.to_string())?;
        Ok(count)
    }

    /// Publishes a text.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn publish(&self, channel: &str, text: &str) -> Result<(), String> {
        let mut connection = self.connection.clone();
        let _: usize =
            connection.publish(channel, text).await.map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
