//! A node dies, and many clients of another shared a room with its many peers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Deserialize;
use tokio::time::sleep;

use super::super::{
    client::Client,
    fault::{Fault, fault},
    node::LOOK,
    probe::Probe,
    report::Outcome,
    stage::{Options, Stage},
};

const ROOM: &str = "crowd";
/// How many clients log in at the same time.
const AT_ONCE: usize = 32;
/// How long it may take until everybody knows everybody, and until everybody knows of the death.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often somebody writes who has nothing to do with it.
const EVERY: Duration = Duration::from_millis(7);
/// What they may notice of it.
const LATENCY: Duration = Duration::from_millis(10);
/// What comes before the first is told, and belongs to it.
const BEFORE: Duration = Duration::from_millis(50);

/// What all clients together were told of the other node's peers.
#[derive(Debug)]
struct Told {
    begun: Instant,
    online: AtomicUsize,
    offline: AtomicUsize,
    /// Frames that should not have come: what was known before, or nobody's.
    more: AtomicUsize,
    /// Clients whose connection ended.
    lost: AtomicUsize,
    /// When the first and the last heard that one is gone, in µs.
    first: AtomicU64,
    last: AtomicU64,
}

/// What is read of a presence.
#[derive(Deserialize)]
struct Presence<'a> {
    from: &'a str,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    online: bool,
}

pub(super) async fn run(options: &Options) -> Result<Outcome, Fault> {
    let n = if options.quick { 200 } else { 2_000 };
    let most = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: most.maximum, ..most })?;
    let stage = Stage::set(options).await?;
    let mut setup = stage.setup("b");
    (setup.peers, setup.room) = (n, ROOM.into());
    let mut nodes = vec![stage.start(&stage.setup("a")).await?, stage.start(&setup).await?];
    stage.settle(&mut nodes, PATIENCE).await?;
    let told = Arc::new(Told {
        begun: Instant::now(),
        online: AtomicUsize::new(0),
        offline: AtomicUsize::new(0),
        more: AtomicUsize::new(0),
        lost: AtomicUsize::new(0),
        first: AtomicU64::new(u64::MAX),
        last: AtomicU64::new(0),
    });
    let (address, heard) = (nodes[0].address, Arc::clone(&told));
    // On a thread of its own: those who have nothing to do with it do not wait for it in this process, either.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map(|runtime| runtime.block_on(crowd(address, n, heard)))
    });
    if !reach(&told.online, n * n).await {
        return fault(format!("the clients do not see who is there: {told:?}"));
    }
    stage.settle(&mut nodes, PATIENCE).await?;
    stage.quiet(PATIENCE).await?;
    // A node that has nothing to do with it, on a Redis of its own: what one waits there is the machine's affair.
    let elsewhere = Stage::set(options).await?;
    let idle = elsewhere.start(&elsewhere.setup("idle")).await?;
    let control = Probe::pair(idle.address, EVERY).await?;
    let probe = Probe::pair(address, EVERY).await?;
    sleep(Duration::from_secs(2)).await;
    let calm = probe.take();
    let (b, early) = (nodes.remove(1), told.more.load(Relaxed));
    let before = nodes[0].processor();
    let killed = told.begun.elapsed();
    b.kill().await?;
    let all = reach(&told.offline, n * n).await;
    let used = nodes[0].processor() - before;
    let at = |it: &AtomicU64| Duration::from_micros(it.load(Relaxed));
    let (first, last) = (at(&told.first).min(at(&told.last)), at(&told.last));
    let from = told.begun + first.saturating_sub(BEFORE);
    let (telling, machine) = (probe.since(from), control.since(from));
    // What comes twice may come late.
    sleep(Duration::from_secs(1)).await;
    let (offline, more) = (told.offline.load(Relaxed), told.more.load(Relaxed) - early);
    let lost = told.lost.load(Relaxed);
    let done = format!("a node with {n} peers is killed; {n} clients of another shared a room");
    let mut outcome = Outcome::new("storm", done);
    let seen = format!("{offline} of {}", n * n);
    outcome.check("each is told of each that is gone", seen, offline == n * n);
    outcome.check("nobody is told twice, or anything else", more, more == 0);
    outcome.check("no client loses its connection", lost, lost == 0);
    let bound = format!("p99 of others meanwhile at most {LATENCY:?}");
    outcome.check(bound, telling, telling.p99 <= LATENCY);
    let never = |it: Duration, so| if so { format!("{it:.2?}") } else { "never".into() };
    outcome.note(
        "the first is told, from the kill",
        never(first.saturating_sub(killed), last > killed),
    );
    outcome.note("the last is told, from the kill", never(last.saturating_sub(killed), all));
    outcome.note("processor time of the node that tells", format!("{used:.2?}"));
    outcome.note("meanwhile on a node with nothing to do", machine);
    outcome.note("others, before", calm);
    outcome.note("others, from the kill", probe.take());
    Ok(outcome)
}

/// Waits until so many are counted; whether they were, in time.
async fn reach(counted: &AtomicUsize, all: usize) -> bool {
    let until = Instant::now() + PATIENCE;
    while counted.load(Relaxed) < all && Instant::now() < until {
        sleep(LOOK).await;
    }
    counted.load(Relaxed) >= all
}

/// Clients that tick off what they are told, until the process ends.
async fn crowd(address: SocketAddr, n: usize, told: Arc<Told>) -> Result<(), Fault> {
    let enter = |_| async {
        let client = Client::connect(address, "a", &[ROOM], None).await?;
        let (mouth, ears) = client.split();
        let told = Arc::clone(&told);
        tokio::spawn(async move {
            let mut ears = ears;
            // What is known of each: nothing, online, offline.
            let mut known = vec![None; n];
            while let Some(text) = ears.next_text().await {
                tick(&text, &mut known, &told);
            }
            told.lost.fetch_add(1, Relaxed);
            drop(mouth);
        });
        Ok::<_, Fault>(())
    };
    stream::iter(0..n).map(enter).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    std::future::pending().await
}

fn tick(text: &str, known: &mut [Option<bool>], told: &Told) {
    let presence = serde_json::from_str::<Presence<'_>>(text).ok();
    // Peers of the other node have numbers.
    let number =
        presence.as_ref().and_then(|it| it.from.strip_prefix("b-")?.get(..6)?.parse().ok());
    let peer = number.and_then(|number: usize| known.get_mut(number));
    let (Some(Presence { data: Data { online }, .. }), Some(peer)) = (presence, peer) else {
        told.more.fetch_add(1, Relaxed);
        return;
    };
    match (*peer, online) {
        (None, true) => _ = told.online.fetch_add(1, Relaxed),
        (Some(true), false) => {
            let now = u64::try_from(told.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            told.first.fetch_min(now, Relaxed);
            told.last.fetch_max(now, Relaxed);
            told.offline.fetch_add(1, Relaxed);
        }
        _ => _ = told.more.fetch_add(1, Relaxed),
    }
    *peer = Some(online);
}
