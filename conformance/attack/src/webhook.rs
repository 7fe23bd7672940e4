//! The receiver of event webhooks is away while clients come and go (R-W1).

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    Fault,
    client::{Client, How},
    report::Outcome,
    scene::Stage,
    server::free_port,
};

/// How many clients come in a second.
const RATE: u32 = 500;
/// How many may be on their way at once: a server that is slow is not made slower.
const AT_ONCE: usize = 200;
/// How long clients come and go before and behind the outage.
const AROUND: Duration = Duration::from_secs(3);
/// The longest time before a receiver that is back is tried again (R-W1), and then some.
const BACK: Duration = Duration::from_secs(75);
/// What may wait for a receiver (R-W1).
const WAITING: u64 = 8 << 20;

/// What a receiver was told, and has answered that it has.
#[derive(Debug, Default)]
struct Told {
    events: u64,
    dropped: u64,
    batches: HashSet<String>,
    twice: u64,
}

/// A receiver that can be away: then nobody listens, and connections are cut.
struct Receiver {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    task: Option<JoinHandle<()>>,
}

impl Receiver {
    fn new() -> Result<Self, Fault> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        Ok(Self { address, told: Arc::default(), task: None })
    }

    async fn listen(&mut self) -> Result<(), Fault> {
        let listener = TcpListener::bind(self.address).await?;
        let told = Arc::clone(&self.told);
        self.task = Some(tokio::spawn(async move {
            // They are cut when this ends.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&told)));
            }
        }));
        Ok(())
    }

    async fn leave(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    fn told(&self) -> (u64, u64, usize, u64) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        (told.events, told.dropped, told.batches.len(), told.twice)
    }
}

/// Takes batches until the connection ends. One counts when all of its answer has been written.
async fn serve(mut stream: TcpStream, told: Arc<Mutex<Told>>) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|end| end == b"\r\n\r\n") {
                break end + 4;
            }
            stream.read_buf(&mut buffer).await.ok().filter(|count| *count > 0)?;
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let end = head + length.and_then(|length| length.parse::<usize>().ok())?;
        while buffer.len() < end {
            stream.read_buf(&mut buffer).await.ok().filter(|count| *count > 0)?;
        }
        let batch: serde_json::Value = serde_json::from_slice(&buffer[head..end]).ok()?;
        buffer.drain(..end);
        let answer = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.ok()?;
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.batches.insert(batch["id"].as_str()?.to_owned()) {
            told.events += batch["events"].as_array()?.len() as u64;
            told.dropped += batch["dropped"].as_u64()?;
        } else {
            told.twice += 1;
        }
    }
}

/// Clients that come, and go at once.
struct Churn {
    came: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Churn {
    fn start(address: SocketAddr) -> Self {
        let (came, refused, stop) =
            (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default(), Arc::default());
        let (seen, failed, ends) =
            (Arc::clone(&came), Arc::clone(&refused), Arc::<AtomicBool>::clone(&stop));
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / RATE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let on_their_way = Arc::<AtomicUsize>::default();
            let mut clients = JoinSet::new();
            for n in 0_u64.. {
                ticks.tick().await;
                while clients.try_join_next().is_some() {}
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                if on_their_way.load(Ordering::Relaxed) >= AT_ONCE {
                    continue;
                }
                on_their_way.fetch_add(1, Ordering::Relaxed);
                let (seen, failed) = (Arc::clone(&seen), Arc::clone(&failed));
                let on_their_way = Arc::clone(&on_their_way);
                clients.spawn(async move {
                    // From many addresses, so that there are ports enough.
                    let from = [127, 0, 0, u8::try_from(2 + n % 100).unwrap_or(2)].into();
                    let how = How { from, ..How::default() };
                    match Client::peer(address, how, &format!("u{n}"), &[]).await {
                        Ok(_) => seen.fetch_add(1, Ordering::Relaxed),
                        Err(_) => failed.fetch_add(1, Ordering::Relaxed),
                    };
                    on_their_way.fetch_sub(1, Ordering::Relaxed);
                });
            }
            while clients.join_next().await.is_some() {}
        });
        Self { came, refused, stop, task }
    }

    /// Ends it when the last one has come and gone; how many came.
    async fn end(self) -> Result<(u64, u64), Fault> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?;
        Ok((self.came.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed)))
    }
}

/// The receiver is away for a while, in which 500 clients come and go in a second.
pub(crate) async fn away(stage: Stage) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::new();
    let mut receiver = Receiver::new()?;
    receiver.listen().await?;
    let url = format!("http://{}/", receiver.address);
    let mut scene = stage.scene(&["--webhook-url", &url]).await?;
    let churn = Churn::start(scene.server.address);
    sleep(AROUND).await;
    let (before, ..) = receiver.told();
    receiver.leave().await;
    sleep(stage.outage).await;
    let (away, ..) = receiver.told();
    receiver.listen().await?;
    let back = Instant::now();
    sleep(AROUND).await;
    let (came, refused) = churn.end().await?;
    // The two bystanders have come, too.
    let all = 2 * came + 2;
    let whole = || {
        let (events, dropped, ..) = receiver.told();
        events + dropped
    };
    while whole() < all && back.elapsed() < BACK {
        sleep(Duration::from_millis(100)).await;
    }
    let took = back.elapsed().as_secs_f64();
    // If more comes than there was, it comes now.
    sleep(Duration::from_millis(500)).await;
    let (events, dropped, batches, twice) = receiver.told();
    let seconds = stage.outage.as_secs();
    outcome.done(format!(
        "the receiver is away for {seconds} s in which {RATE} clients a second come and go; {came} in all"
    ));
    outcome.check(
        "events are told before, and none while it is away",
        format!("{before}, then {}", away - before),
        before > 0 && away - before <= 200,
    );
    outcome.check(
        "each event is told or counted as dropped",
        format!("{events} + {dropped} of {all}, {took:.1} s after it was back"),
        events + dropped == all,
    );
    outcome.check(
        "no batch comes again that was taken",
        format!("{twice} of {batches}"),
        twice == 0,
    );
    outcome.check("everybody gets in", format!("{refused} refused"), refused == 0);
    let warnings = scene.server.log().lines().filter(|line| line.contains(" WARN ")).count();
    outcome.check("the log has a few lines about it", warnings, (1..=30).contains(&warnings));
    scene.judge(&mut outcome, WAITING, "R-W1").await;
    Ok(outcome)
}
