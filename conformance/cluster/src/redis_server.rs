//! A Redis as it is shipped, and what it counts.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis::{Client, aio::MultiplexedConnection, cmd};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    fault::{Fault, fault},
    process::{free_port, memory, processor},
};

/// How long it may take to start.
const START: Duration = Duration::from_secs(10);

/// A Redis that ends with this value. Nothing of it is set up but its address, and that it saves
/// nothing.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    connection: MultiplexedConnection,
    _folder: TempDir,
}

/// What Redis has counted since it was started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Subscribers that it has cut because their output buffers were full.
    pub(crate) cuts: u64,
    /// Connections that were made to it.
    pub(crate) connections: u64,
    /// Bytes that it has read.
    pub(crate) input: u64,
    /// Bytes that it has written.
    pub(crate) output: u64,
}

impl Counts {
    /// What has been counted since an earlier look.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cuts: self.cuts - before.cuts,
            connections: self.connections - before.connections,
            input: self.input - before.input,
            output: self.output - before.output,
        }
    }
}

impl Redis {
    pub(crate) async fn start(program: &str) -> Result<Self, Fault> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let mut child = Command::new(program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Fault(format!("{program} cannot be started: {error}")))?;
        let client = Client::open(format!("redis://127.0.0.1:{port}"))?;
        let started = Instant::now();
        let connection = loop {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => break connection,
                Err(_) if started.elapsed() < START && matches!(child.try_wait(), Ok(None)) => {
                    sleep(Duration::from_millis(10)).await;
                }
                Err(error) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return fault(format!("{program} does not start: {error}"));
                }
            }
        };
        Ok(Self { child, port, connection, _folder: folder })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn memory(&self) -> u64 {
        memory(self.child.id())
    }

    /// The time that it has used processors for.
    pub(crate) fn processor(&self) -> Duration {
        processor(self.child.id())
    }

    pub(crate) async fn counts(&self) -> Result<Counts, Fault> {
        let mut connection = self.connection.clone();
        let info: String = cmd("INFO").arg("stats").query_async(&mut connection).await?;
        let count = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
        };
        Ok(Counts {
            cuts: count("client_output_buffer_limit_disconnections"),
            connections: count("total_connections_received"),
            input: count("total_net_input_bytes"),
            output: count("total_net_output_bytes"),
        })
    }

    /// Sets a key.
    pub(crate) async fn set(&self, key: &str, value: &str) -> Result<(), Fault> {
        let mut connection = self.connection.clone();
        Ok(cmd("SET").arg(key).arg(value).exec_async(&mut connection).await?)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
