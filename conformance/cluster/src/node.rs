//! A node: a process of its own with a real server and peers of the application's, which need no
//! descriptors.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use symple_tokio::{
    RedisConfig, ServerBuilder,
    admin::Admin,
    proto::{Fields, UserName},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

use crate::{
    fault::{Fault, fault},
    process::{free_port, memory, processor, signal},
};

/// How long a node may take to start and to have its peers.
const START: Duration = Duration::from_secs(120);
/// How long it may take to say what it has counted.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether something is so.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// What a node is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) redis: String,
    pub(crate) port: u16,
    /// The port of the API for operators; 0 is none.
    pub(crate) admin: u16,
    /// How its peers' names begin.
    pub(crate) name: String,
    pub(crate) peers: usize,
    /// How many bytes their records have beside their names.
    pub(crate) pad: usize,
    /// The room that its peers are in beside their own; none if it is empty.
    pub(crate) room: String,
    /// Clients need sessions.
    pub(crate) authentication: bool,
}

/// What a node has counted.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct NodeCounts {
    pub(crate) peers: usize,
    pub(crate) remote_peers: usize,
    pub(crate) nodes: usize,
    pub(crate) resyncs: u64,
    pub(crate) nodes_lost: u64,
    pub(crate) frames_missed: u64,
}

/// The record of a peer.
pub(crate) fn record(pad: usize) -> Fields {
    match pad {
        0 => Fields::new(),
        pad => Fields::new().with("pad", &*"x".repeat(pad)),
    }
}

/// How many bytes a node needs to tell of a peer like that.
pub(crate) fn told_size(name: &str, pad: usize) -> u64 {
    let (user, id) = (format!("{name}-{:06}", 0), "x".repeat(22));
    let record = match pad {
        0 => format!(r#"{{"user":"{user}","name":"{user}","id":"{id}","online":true}}"#),
        pad => {
            let pad = "x".repeat(pad);
            format!(
                r#"{{"user":"{user}","name":"{user}","pad":"{pad}","id":"{id}","online":true}}"#
            )
        }
    };
    let told = format!(r#"{{"user":"{user}","id":"{id}","record":{record},"rooms":["{user}"]}},"#);
    told.len() as u64
}

/// A node, seen from outside. It is killed when this is dropped.
pub(crate) struct Node {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl Node {
    /// Starts a node and waits until its server runs and its peers are there.
    pub(crate) async fn start(setup: &Setup, log: &Path) -> Result<Self, Fault> {
        let mut node = Self::launch(setup, log)?;
        node.is_up().await?;
        Ok(node)
    }

    /// Starts a node, and waits for nothing.
    pub(crate) fn launch(setup: &Setup, log: &Path) -> Result<Self, Fault> {
        let mut setup = setup.clone();
        if setup.port == 0 {
            setup.port = free_port()?;
        }
        let log = File::options().create(true).append(true).open(log)?;
        let (child, stdin, lines) = spawn("node", &serde_json::to_string(&setup)?, log)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, setup.port));
        Ok(Self { child, stdin, lines, address })
    }

    /// Waits until its server runs and its peers are there.
    pub(crate) async fn is_up(&mut self) -> Result<(), Fault> {
        match timeout(START, self.lines.next_line()).await {
            Ok(Ok(Some(line))) if line == "up" => Ok(()),
            Ok(other) => fault(format!("a node does not start: {other:?}")),
            Err(_) => fault("a node does not start in time"),
        }
    }

    /// What it has counted.
    pub(crate) async fn counts(&mut self) -> Result<NodeCounts, Fault> {
        self.stdin.write_all(b"counts\n").await?;
        match timeout(PATIENCE, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => Ok(serde_json::from_str(&line)?),
            _ => fault("a node does not answer"),
        }
    }

    /// Waits until it knows so many peers of others; when it did.
    pub(crate) async fn knows(
        &mut self,
        peers: usize,
        until: Instant,
    ) -> Result<Option<Instant>, Fault> {
        loop {
            let counts = self.counts().await?;
            let now = Instant::now();
            if counts.remote_peers == peers {
                return Ok(Some(now));
            }
            if now >= until {
                return Ok(None);
            }
            sleep(LOOK).await;
        }
    }

    pub(crate) fn memory(&self) -> u64 {
        self.child.id().map_or(0, memory)
    }

    /// The time that it has used processors for.
    pub(crate) fn processor(&self) -> Duration {
        self.child.id().map_or(Duration::ZERO, processor)
    }

    /// Ends it as if its machine were gone.
    pub(crate) async fn kill(mut self) -> Result<(), Fault> {
        if let Some(id) = self.child.id() {
            signal(id, Signal::KILL)?;
        }
        self.child.wait().await?;
        Ok(())
    }
}

/// Starts a process of this program that does something else. It ends with its standard input.
pub(crate) fn spawn(
    role: &str,
    setup: &str,
    log: File,
) -> Result<(Child, ChildStdin, Lines<BufReader<ChildStdout>>), Fault> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([role, setup])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let Some((stdin, stdout)) = pipes else { return fault("a process has no pipes") };
    Ok((child, stdin, BufReader::new(stdout).lines()))
}

/// What the process does that is a node.
pub(crate) async fn run(setup: &str) -> Result<(), Fault> {
    let setup: Setup = serde_json::from_str(setup)?;
    let server = ServerBuilder::new()
        .bind(format!("127.0.0.1:{}", setup.port))
        .configure(|config| config.engine.authentication = setup.authentication)
        .redis(RedisConfig::new(&*setup.redis)?)
        .start()?;
    let handle = server.handle();
    let mut peers = Vec::with_capacity(setup.peers);
    for n in 0..setup.peers {
        let user = UserName::new(format!("{}-{n:06}", setup.name))?;
        let room = (!setup.room.is_empty()).then_some(&*setup.room);
        let mut peer = handle.add_peer(user, record(setup.pad), room).await?;
        if room.is_none() {
            peers.push(peer);
        } else {
            // It hears of the others, and would be closed if it never read that.
            tokio::spawn(async move { while peer.recv().await.is_some() {} });
        }
    }
    if setup.admin != 0 {
        // On a thread of its own, as in the program.
        let admin = Admin::new(server.handle());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, setup.admin)).await;
                if let Ok(listener) = listener {
                    let _ = admin.serve(listener, std::future::pending()).await;
                }
            });
        });
    }
    println!("up");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        let stats = handle.stats().await?.engine;
        let counts = NodeCounts {
            peers: stats.peers,
            remote_peers: stats.remote_peers,
            nodes: stats.nodes,
            resyncs: stats.resyncs,
            nodes_lost: stats.nodes_lost,
            frames_missed: stats.frames_missed,
        };
        println!("{}", serde_json::to_string(&counts)?);
    }
    Ok(())
}
