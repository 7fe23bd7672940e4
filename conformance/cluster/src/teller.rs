//! Nodes that do nothing but tell of their peers: engines without sockets, many in one process.
//!
//! They do not listen to one another, so a million peers need not be known twenty times to be told
//! once.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, Client, Pipeline, PushInfo, PushKind, Value};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use symple_engine::{
    Timestamp,
    server::{Action, ClusterConfig, Config, ConnId, HostCall, Input, Server},
};
use symple_proto::{UserName, cluster::Envelope};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
    sync::{Barrier, mpsc},
    time::{sleep, timeout},
};

use crate::{
    fault::{Fault, fault},
    node::{record, spawn},
    process::{memory, signal},
};

/// What stands before all channels.
const PREFIX: &str = "symple:";
/// How many messages are handled before what comes of them is published.
const MESSAGES: usize = 64;
/// How long they may take to have their peers.
const START: Duration = Duration::from_secs(120);

/// What the tellers are told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) redis: String,
    pub(crate) tellers: usize,
    /// How many peers each has.
    pub(crate) peers: usize,
    pub(crate) pad: usize,
}

/// The tellers, seen from outside. They are killed when this is dropped.
pub(crate) struct Tellers {
    child: Child,
    _stdin: ChildStdin,
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Tellers {
    /// Starts them, and waits until they have their peers and are about to enter the bus.
    pub(crate) async fn start(setup: &Setup, log: std::fs::File) -> Result<Self, Fault> {
        let (child, stdin, mut lines) = spawn("tellers", &serde_json::to_string(setup)?, log)?;
        match timeout(START, lines.next_line()).await {
            Ok(Ok(Some(line))) if line == "up" => Ok(Self { child, _stdin: stdin, _lines: lines }),
            other => fault(format!("the tellers do not start: {other:?}")),
        }
    }

    pub(crate) fn memory(&self) -> u64 {
        self.child.id().map_or(0, memory)
    }

    /// Ends them as if their machines were gone.
    pub(crate) async fn kill(mut self) -> Result<(), Fault> {
        if let Some(id) = self.child.id() {
            signal(id, Signal::KILL)?;
        }
        self.child.wait().await?;
        Ok(())
    }
}

/// What the process does that has tellers.
pub(crate) async fn run(setup: &str) -> Result<(), Fault> {
    let setup: Setup = serde_json::from_str(setup)?;
    let begun = Instant::now();
    let mut tellers = Vec::new();
    for n in 0..setup.tellers {
        tellers.push(Teller::new(n, &setup, begun)?);
    }
    let own: Arc<BTreeSet<_>> =
        Arc::new(tellers.iter().filter_map(|it| it.engine.node_id().map(Into::into)).collect());
    let together = Arc::new(Barrier::new(setup.tellers + 1));
    for teller in tellers {
        let (own, together) = (Arc::clone(&own), Arc::clone(&together));
        let redis = setup.redis.clone();
        tokio::spawn(async move {
            if let Err(Fault(why)) = teller.tell(&redis, &own, &together).await {
                eprintln!("a teller has ended: {why}");
            }
        });
    }
    together.wait().await;
    println!("up");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {}
    Ok(())
}

struct Teller {
    engine: Server,
    begun: Instant,
}

impl Teller {
    fn new(number: usize, setup: &Setup, begun: Instant) -> Result<Self, Fault> {
        let mut config = Config::default();
        config.cluster = Some(ClusterConfig::default());
        // Ids are unique without being random.
        let mut count = (number as u64) << 40;
        let random = move |bytes: &mut [u8]| {
            for part in bytes.chunks_mut(8) {
                count = count.wrapping_add(1);
                let mixed = count.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ count;
                part.copy_from_slice(&mixed.to_le_bytes()[..part.len()]);
            }
        };
        let mut teller = Self { engine: Server::new(config, random), begun };
        for n in 0..setup.peers {
            let user = UserName::new(format!("teller{number}-{n:06}"))?;
            let conn = ConnId::new(u32::try_from(n)?, 1);
            let peer = record(setup.pad);
            let call = HostCall::AddPeer { conn, user, peer, rooms: &[] };
            teller.engine.handle(Timestamp::ZERO, Input::Host(call))?;
            // The channels of rooms are of no use to whom nobody is sent.
            while teller.engine.poll_action().is_some() {}
        }
        Ok(teller)
    }

    fn input(&mut self, input: Input<'_>) {
        let now = Timestamp::ZERO + self.begun.elapsed();
        if let Err(error) = self.engine.handle(now, input) {
            eprintln!("a teller: {error}");
        }
    }

    async fn tell(
        mut self,
        redis: &str,
        own: &BTreeSet<String>,
        together: &Barrier,
    ) -> Result<(), Fault> {
        let (told, mut heard) = mpsc::unbounded_channel();
        let push = move |info: PushInfo| told.send(info);
        let client = Client::open(format!("{redis}/?protocol=resp3"))?;
        let config = AsyncConnectionConfig::new().set_push_sender(push).set_response_timeout(None);
        let mut bus = client.get_multiplexed_async_connection_with_config(&config).await?;
        let node = self.engine.node_id().unwrap_or_default().to_owned();
        for channel in ["cluster".into(), format!("node:{node}")] {
            bus.subscribe(format!("{PREFIX}{channel}")).await?;
        }
        together.wait().await;
        self.input(Input::BusUp);
        loop {
            loop {
                let mut pipeline = Pipeline::new();
                let mut bytes = 0;
                while let Some(action) = self.engine.poll_action() {
                    if let Action::Publish { channel, payload } = action {
                        bytes += payload.len() as u64;
                        let channel = format!("{PREFIX}{channel}");
                        pipeline.cmd("PUBLISH").arg(channel).arg(&payload[..]).ignore();
                    }
                }
                if bytes == 0 {
                    break;
                }
                pipeline.exec_async(&mut bus).await?;
                self.input(Input::BusTaken { bytes });
            }
            let now = Timestamp::ZERO + self.begun.elapsed();
            let due = self.engine.poll_timeout().map_or(Duration::from_secs(1), |at| at.since(now));
            tokio::select! {
                info = heard.recv() => {
                    let mut next = info;
                    for _ in 0..MESSAGES {
                        let Some(info) = next else { break };
                        if info.kind == PushKind::Disconnection {
                            return fault("Redis has closed the connection");
                        }
                        self.hear(info, own);
                        next = heard.try_recv().ok();
                    }
                    if let Some(info) = next {
                        self.hear(info, own);
                    }
                }
                () = sleep(due) => {}
            }
            if self.engine.poll_timeout().is_some_and(|at| at <= now + due) {
                self.input(Input::Timeout);
            }
        }
    }

    fn hear(&mut self, info: PushInfo, own: &BTreeSet<String>) {
        let mut data = info.data.into_iter();
        let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload)), PushKind::Message) =
            (data.next(), data.next(), info.kind)
        else {
            return;
        };
        let channel = String::from_utf8_lossy(&channel).into_owned();
        let channel = channel.strip_prefix(PREFIX).unwrap_or_default();
        let of_another =
            Envelope::parse(&payload).is_ok_and(|envelope| !own.contains(&*envelope.node));
        if of_another {
            self.input(Input::BusMessage { channel, payload: &payload });
        }
    }
}
