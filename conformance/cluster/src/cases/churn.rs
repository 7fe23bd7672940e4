//! Peers come and go on one node, faster and faster, until Redis cannot carry it to all others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use symple_engine::{
    Timestamp,
    server::{Action, ClusterConfig, Config, ConnId, HostCall, Input, Server},
};
use symple_proto::UserName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, tcp::OwnedWriteHalf},
    task::{JoinHandle, yield_now},
    time::sleep,
};

use super::super::{
    fault::{Fault, fault},
    node::record,
    process::processor,
    report::{Outcome, megabytes},
    stage::{Options, Stage, check_links},
};

/// How many nodes listen. They only read: what a node makes of it is its own processor's affair.
const LISTENERS: usize = 19;
/// How many peers come and go before the same ones come again.
const RECORDED: u32 = 2000;
/// How many changes are published at once at most.
const AT_ONCE: u64 = 256;
/// The changes a second at the beginning, and how much faster each step is.
const FIRST: f64 = 500.0;
const GROWTH: f64 = 1.4;
const LAST: f64 = 500_000.0;
/// How long a step lasts.
const STEP: Duration = Duration::from_secs(2);
/// How late the last change of a step may be for a queue that does not grow.
const LATE: Duration = Duration::from_millis(100);

/// What has been seen of one step.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Changes a second that were asked for.
    rate: f64,
    /// Bytes that Redis has written in a second.
    output: f64,
    /// The part of a processor that Redis has used.
    redis: f64,
    /// The part of a processor that this process has used.
    own: f64,
    /// How late the last change was published, and read by the slowest listener.
    published: Duration,
    heard: Duration,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rate, output, redis, own, published, heard } = self;
        let messages = rate * (LISTENERS + 1) as f64;
        write!(
            f,
            "{rate:.0} changes a second: Redis writes {messages:.0} messages and {} a second, and uses {:.0} % \
             of a processor (this process {:.0} %); {published:.0?} late, heard {heard:.0?} after",
            megabytes(*output as u64),
            redis * 100.0,
            own * 100.0,
        )
    }
}

pub(super) async fn run(options: &Options) -> Result<Outcome, Fault> {
    let stage = Stage::set(options).await?;
    let mut listeners = Vec::new();
    for _ in 0..=LISTENERS {
        // The node that tells hears itself, too, as every node does.
        listeners.push(Listener::start(stage.redis.port).await?);
    }
    let mut node = Churner::start(stage.redis.port).await?;
    let before = stage.redis.counts().await?;
    let (mut carried, mut last) = (Seen::default(), Seen::default());
    let mut rate = FIRST;
    while rate < LAST {
        last = step(&stage, &mut node, &listeners, rate).await?;
        if last.published > LATE || last.heard > LATE {
            break;
        }
        (carried, rate) = (last, rate * GROWTH);
        if options.quick && rate > FIRST * GROWTH * GROWTH {
            break;
        }
    }
    let counts = stage.redis.counts().await?.since(before);
    let done = format!("{LISTENERS} nodes listen while peers come to another one and go");
    let mut outcome = Outcome::new("churn", done);
    check_links(&mut outcome, counts, 0);
    let bound = format!("Redis carries at least {FIRST} changes a second");
    outcome.check(bound, format!("{:.0}", carried.rate), carried.rate >= FIRST);
    outcome.note("it carries", carried);
    if last.rate > carried.rate {
        outcome.note("it does not carry", last);
    }
    Ok(outcome)
}

/// Lets so many peers a second come and go.
async fn step(
    stage: &Stage,
    node: &mut Churner,
    listeners: &[Listener],
    rate: f64,
) -> Result<Seen, Fault> {
    let before = stage.redis.counts().await?;
    let used = (stage.redis.processor(), processor(std::process::id()));
    let begun = Instant::now();
    let all = (STEP.as_secs_f64() * rate) as u64;
    let mut done = 0;
    while done < all {
        let due = all.min((begun.elapsed().as_secs_f64() * rate) as u64);
        if due == done {
            sleep(Duration::from_millis(1)).await;
            continue;
        }
        let now = (due - done).min(AT_ONCE);
        node.publish(now).await?;
        done += now;
        if begun.elapsed() > STEP + LATE * 2 {
            break;
        }
    }
    let published = Instant::now();
    // All that were published before are read before a number that nobody else publishes.
    let mark = node.mark().await?;
    while listeners.iter().any(|listener| listener.mark.load(Ordering::Relaxed) < mark) {
        if published.elapsed() > STEP * 2 {
            break;
        }
        sleep(Duration::from_millis(1)).await;
    }
    let took = begun.elapsed();
    let counts = stage.redis.counts().await?.since(before);
    let part = |used: Duration| used.as_secs_f64() / took.as_secs_f64();
    Ok(Seen {
        rate,
        output: counts.output as f64 / took.as_secs_f64(),
        redis: part(stage.redis.processor() - used.0),
        own: part(processor(std::process::id()) - used.1),
        published: (published - begun).saturating_sub(STEP),
        heard: published.elapsed(),
    })
}

/// A connection that is subscribed to what all nodes hear, and reads it.
struct Listener {
    /// The last mark that it has read.
    mark: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Listener {
    async fn start(port: u16) -> Result<Self, Fault> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"SUBSCRIBE symple:cluster\r\n").await?;
        let mut chunk = vec![0; 256 * 1024];
        // The confirmation.
        if stream.read(&mut chunk).await? == 0 {
            return fault("Redis does not let anyone listen");
        }
        let mark = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&mark);
        let task = tokio::spawn(async move {
            let mut tail = Vec::new();
            while let Ok(count @ 1..) = stream.read(&mut chunk).await {
                // A mark ends what is published; nothing comes behind it before it has been read.
                let from = count.saturating_sub(MARK_LEN);
                tail.extend_from_slice(&chunk[from..count]);
                tail.drain(..tail.len().saturating_sub(MARK_LEN));
                if let Some(number) = read_mark(&tail) {
                    seen.store(number, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { mark, task })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long a mark is at the end of a message, with the line end of the protocol.
const MARK_LEN: usize = 5 + 20 + 2;

fn write_mark(number: u64) -> String {
    format!("mark:{number:020}")
}

fn read_mark(tail: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(tail).ok()?;
    text.strip_prefix("mark:")?.strip_suffix("\r\n")?.parse().ok()
}

/// What a node publishes while peers come and go, as it goes over the wire. It is recorded before it is needed: how
/// fast a node can say it is not the question.
fn recorded() -> Result<Vec<Vec<u8>>, Fault> {
    let mut config = Config::default();
    config.cluster = Some(ClusterConfig::default());
    let mut count = 0_u64;
    let random = move |bytes: &mut [u8]| {
        for part in bytes.chunks_mut(8) {
            count = count.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = count ^ count.rotate_left(29);
            part.copy_from_slice(&mixed.to_le_bytes()[..part.len()]);
        }
    };
    let mut engine = Server::new(config, random);
    let mut said = Vec::new();
    let mut input = |input: Input<'_>| -> Result<(), Fault> {
        engine.handle(Timestamp::ZERO, input)?;
        let mut bytes = 0;
        while let Some(action) = engine.poll_action() {
            if let Action::Publish { channel, payload } = action {
                bytes += payload.len() as u64;
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(format!("symple:{channel}")).arg(&payload[..]);
                said.push(publish.get_packed_command());
            }
        }
        engine.handle(Timestamp::ZERO, Input::BusTaken { bytes })?;
        Ok(())
    };
    input(Input::BusUp)?;
    for n in 0..RECORDED {
        let conn = ConnId::new(n, 0);
        let user = UserName::new(format!("teller-{n:06}"))?;
        let call = HostCall::AddPeer { conn, user, peer: record(0), rooms: &[] };
        input(Input::Host(call))?;
        input(Input::Disconnected { conn })?;
    }
    // The first one is the greeting.
    Ok(said.split_off(1))
}

/// A node to which peers come, and from which they go.
struct Churner {
    socket: OwnedWriteHalf,
    said: Vec<Vec<u8>>,
    sent: u64,
    /// How many of them Redis has answered to.
    answered: Arc<AtomicU64>,
    marks: u64,
    task: JoinHandle<()>,
}

impl Churner {
    async fn start(port: u16) -> Result<Self, Fault> {
        let (mut from, socket) = TcpStream::connect(("127.0.0.1", port)).await?.into_split();
        let answered = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&answered);
        let task = tokio::spawn(async move {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut chunk).await {
                let lines = chunk[..count].iter().filter(|byte| **byte == b'\n').count();
                counted.fetch_add(lines as u64, Ordering::Relaxed);
            }
        });
        Ok(Self { socket, said: recorded()?, sent: 0, answered, marks: 0, task })
    }

    /// Publishes the next changes, and waits until Redis has taken them.
    async fn publish(&mut self, count: u64) -> Result<(), Fault> {
        let mut batch = Vec::new();
        for _ in 0..count {
            let at = usize::try_from(self.sent)? % self.said.len();
            batch.extend_from_slice(&self.said[at]);
            self.sent += 1;
        }
        self.say(&batch).await
    }

    async fn say(&mut self, batch: &[u8]) -> Result<(), Fault> {
        self.socket.write_all(batch).await?;
        let until = Instant::now() + STEP * 2;
        while self.answered.load(Ordering::Relaxed) < self.sent + self.marks {
            if Instant::now() >= until {
                return fault("Redis does not answer");
            }
            yield_now().await;
        }
        Ok(())
    }

    async fn mark(&mut self) -> Result<u64, Fault> {
        self.marks += 1;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg("symple:cluster").arg(write_mark(self.marks));
        self.say(&publish.get_packed_command()).await?;
        Ok(self.marks)
    }
}

impl Drop for Churner {
    fn drop(&mut self) {
        self.task.abort();
    }
}
