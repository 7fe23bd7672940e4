//! Figures of the client: how many come back, and when, what an idle one takes, what a message
//! costs. They are read from /proc, so this runs on Linux.
//!
//! ```sh
//! cargo build -p symple-cli
//! cargo run --profile measure -p symple-tokio --example client_figures -- comeback target/debug/symple
//! cargo run --profile measure -p symple-tokio --example client_figures -- idle target/debug/symple
//! cargo run --profile measure -p symple-tokio --example client_figures -- cpu
//! ```
//!
//! `cpu` compares a client that answers messages with tokio-tungstenite alone, which writes each
//! answer as it is made (`each`) or all answers to what was read at once together (`together`), as
//! our client does. `ours`, `each` and `together` with a number of messages and how many are on
//! their way at a time run one side alone, for `strace -f -c`.

#![allow(clippy::print_stdout, reason = "it is for who runs it in a terminal")]

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use symple_tokio::{
    Client, ClientEvents,
    client::{Event, Outgoing},
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{self, Message, Utf8Bytes},
};

type Failure = Box<dyn Error + Send + Sync>;

/// How many clients share a room.
const SHARE: usize = 20;
/// How long the server is away.
const AWAY: Duration = Duration::from_secs(5);
/// How many messages are on their way at a time.
const WINDOWS: [usize; 3] = [1, 4, 32];

/// A server in a process of its own.
struct Server(Child, SocketAddr);

impl Server {
    fn start(program: &str, port: u16) -> Result<Self, Failure> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = Command::new(program)
            .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut server = Self(child, address);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.0.try_wait()? {
                return Err(format!("the server has ended: {status}").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn url(&self) -> String {
        format!("ws://{}", self.1)
    }
}

impl Drop for Server {
    /// As `kill -9` does.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn user(n: usize) -> String {
    format!("user-{n}")
}

/// What happened to a client, and when.
enum Note {
    Complete,
    Failed(Instant),
    Online(Instant),
}

/// Notes what happens to a client, as long as it lasts.
fn watch(mut events: ClientEvents, notes: UnboundedSender<Note>) {
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let note = match event {
                Event::RosterComplete => Note::Complete,
                Event::AttemptFailed { .. } => Note::Failed(Instant::now()),
                Event::Online { .. } => Note::Online(Instant::now()),
                _ => continue,
            };
            if notes.send(note).is_err() {
                return;
            }
        }
    });
}

/// The clients whose roster is exactly the others of their room.
async fn exact(clients: &[Client]) -> Result<usize, Failure> {
    let mut right = 0;
    for (n, client) in clients.iter().enumerate() {
        let room = n / SHARE;
        let expected: BTreeSet<_> = (room * SHARE..((room + 1) * SHARE).min(clients.len()))
            .filter(|other| *other != n)
            .map(user)
            .collect();
        let roster = client.roster().await?;
        let seen: BTreeSet<_> = roster.iter().map(|peer| peer.user().to_string()).collect();
        right += usize::from(seen == expected && roster.len() == expected.len());
    }
    Ok(right)
}

/// Kills a server that has many clients, starts it again later, and tells how they come back.
async fn comeback(program: &str, count: usize) -> Result<(), Failure> {
    let port = free_port()?;
    let server = Server::start(program, port)?;
    let (notes, mut noted) = unbounded_channel();
    let mut clients = Vec::new();
    for n in 0..count {
        let builder = Client::builder(server.url()).user(user(n));
        let (client, events) = builder.room(format!("room-{}", n / SHARE)).connect().await?;
        watch(events, notes.clone());
        clients.push(client);
    }
    let mut complete = 0;
    while complete < count {
        complete += usize::from(matches!(noted.recv().await, Some(Note::Complete)));
    }
    while exact(&clients).await? < count {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while noted.try_recv().is_ok() {}
    println!("{count} clients are online in rooms of {SHARE}; all rosters are exact");

    let killed = Instant::now();
    drop(server);
    tokio::time::sleep(AWAY).await;
    let _server = Server::start(program, port)?;
    println!("the server was killed, and listens again after {:.1} s", seconds(killed));
    let (mut failed, mut online) = (BTreeMap::<u64, usize>::new(), BTreeMap::<u64, usize>::new());
    complete = 0;
    while complete < count {
        let bucket = |at: Instant| (at - killed).as_secs();
        match noted.recv().await {
            Some(Note::Complete) => complete += 1,
            Some(Note::Failed(at)) => *failed.entry(bucket(at)).or_default() += 1,
            Some(Note::Online(at)) => *online.entry(bucket(at)).or_default() += 1,
            None => return Err("the clients have ended".into()),
        }
    }
    println!("all are back after {:.1} s", seconds(killed));
    let whole = Instant::now();
    while exact(&clients).await? < count {
        if whole.elapsed() > Duration::from_secs(30) {
            return Err(format!("{} rosters of {count} are exact", exact(&clients).await?).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("all rosters are exact after {:.1} s", seconds(killed));
    println!("\nsecond  failed  online");
    let last = failed.keys().chain(online.keys()).max().copied().unwrap_or_default();
    for second in 0..=last {
        let count = |of: &BTreeMap<u64, usize>| of.get(&second).copied().unwrap_or_default();
        let (failed, online) = (count(&failed), count(&online));
        println!("{second:6}  {failed:6}  {online:6}  {}", "#".repeat((failed + online) / 20));
    }
    let mut attempts = BTreeMap::<u64, usize>::new();
    for client in &clients {
        // The first one was before.
        *attempts.entry(client.stats().await?.attempts - 1).or_default() += 1;
    }
    println!("\nattempts  clients");
    for (attempts, clients) in attempts {
        println!("{attempts:8}  {clients:7}");
    }
    Ok(())
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// The memory of this process that is in use, in bytes.
fn memory() -> Result<usize, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<usize>()? * 1024)
}

/// How much memory an idle client takes, alone in its room.
async fn idle(program: &str, count: usize) -> Result<(), Failure> {
    let server = Server::start(program, free_port()?)?;
    let mut clients = Vec::new();
    // The first ones pay for what all share.
    for n in 0..20 {
        clients.push(Client::builder(server.url()).user(user(n)).connect().await?);
    }
    let before = memory()?;
    for n in 0..count {
        clients.push(Client::builder(server.url()).user(user(20 + n)).connect().await?);
    }
    for (client, _) in &clients {
        client.flush().await?;
    }
    println!("{} bytes for each of {count} idle clients", (memory()? - before) / count);
    Ok(())
}

/// The time that this thread has had a processor.
fn cpu() -> Result<Duration, Failure> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split(' ').next().ok_or("no schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

/// A frame of the other side.
fn frame() -> Utf8Bytes {
    let text = "x".repeat(100);
    format!(r#"{{"type":"message","id":"m1234567","to":"alice","from":"bob|8gf","data":"{text}"}}"#)
        .into()
}

/// The other side of a client, on a thread of its own: it welcomes whoever authenticates, sends so
/// many frames, a few at a time, and reads as many.
fn other_side(messages: usize, window: usize) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> Result<(), Failure> {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        let mut socket = tungstenite::accept(socket)?;
        socket.read()?;
        socket.send(Message::text(
            r#"{"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"alice","id":"7gf","name":"alice","online":true},"rooms":["alice"]}"#,
        ))?;
        let (mut sent, mut heard) = (0, 0);
        while heard < messages {
            while sent < messages && sent - heard < window {
                socket.write(Message::Text(frame()))?;
                sent += 1;
            }
            socket.flush()?;
            // All that comes back of a window is read, and then there is the next one.
            while heard < sent {
                if let Message::Text(text) = socket.read()?
                    && text.contains(r#""data""#)
                    && text.starts_with(r#"{"type":"message""#)
                {
                    heard += 1;
                }
            }
        }
        socket.close(None)?;
        while socket.read().is_ok() {}
        Ok(())
    });
    Ok(address)
}

/// What a message in and a message out cost a client of ours.
pub(crate) fn ours(messages: usize, window: usize) -> Result<Duration, Failure> {
    let address = other_side(messages, window)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let builder = Client::builder(format!("ws://{address}")).user("alice");
        let builder = builder.configure(|config| {
            config.probe = false;
            config.reconnect.enabled = false;
        });
        let (client, mut events) = builder.connect().await?;
        let (before, mut heard) = (cpu()?, 0);
        while let Some(event) = events.next().await {
            if let Event::Frame(frame) = event
                && let (Some(from), Some(data)) = (frame.from(), frame.data())
            {
                client.send(Outgoing::message(data).to(from)).await?;
                heard += 1;
                if heard == messages {
                    break;
                }
            }
        }
        Ok((cpu()? - before) / u32::try_from(messages)?)
    })
}

/// When tokio-tungstenite alone writes.
#[derive(Clone, Copy)]
pub(crate) enum Flush {
    /// Each answer as it is made.
    Each,
    /// All answers to what has arrived together.
    Together,
}

/// What as many reads and writes cost with tokio-tungstenite alone.
pub(crate) fn bare(messages: usize, window: usize, flush: Flush) -> Result<Duration, Failure> {
    use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
    let address = other_side(messages, window)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let url = format!("ws://{address}/");
        // Without Nagle's algorithm, as our client is: it would wait 40 ms in each window.
        let (mut socket, _) = connect_async_with_config(url, None, true).await?;
        socket.send(Message::text(r#"{"type":"auth","user":"alice"}"#)).await?;
        socket.next().await.ok_or("no welcome")??;
        let (before, mut heard) = (cpu()?, 0);
        let answer = frame();
        while heard < messages {
            let next = match flush {
                Flush::Each => socket.next().await,
                Flush::Together => match socket.next().now_or_never() {
                    Some(next) => next,
                    None => {
                        socket.flush().await?;
                        socket.next().await
                    }
                },
            };
            if let Message::Text(_) = next.ok_or("the other side has gone")?? {
                let message = Message::Text(answer.clone());
                match flush {
                    Flush::Each => socket.send(message).await?,
                    Flush::Together => socket.feed(message).await?,
                }
                heard += 1;
            }
        }
        socket.flush().await?;
        Ok((cpu()? - before) / u32::try_from(messages)?)
    })
}

/// What a message costs, beside what it must.
fn compare(messages: usize) -> Result<(), Failure> {
    println!("processor time for a message in and a message out; medians of 5 rounds");
    println!("on their way     ours     each  ratio  together  ratio");
    for window in WINDOWS {
        let mut rounds = Vec::new();
        for round in 0..6 {
            let took = [
                ours(messages, window)?,
                bare(messages, window, Flush::Each)?,
                bare(messages, window, Flush::Together)?,
            ];
            let [ours, each, together] = took.map(|took| took.as_secs_f64() * 1e6);
            // The first round warms the machine up.
            if round > 0 {
                rounds.push([ours, each, ours / each, together, ours / together]);
            }
        }
        let [ours, each, over_each, together, over_together] = [0, 1, 2, 3, 4].map(|column| {
            let mut column: Vec<_> = rounds.iter().map(|round| round[column]).collect();
            column.sort_by(f64::total_cmp);
            column[column.len() / 2]
        });
        println!(
            "{window:12}  {ours:4.1} µs  {each:4.1} µs  {over_each:5.2}   {together:4.1} µs  {over_together:5.2}"
        );
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let count = |at: usize, otherwise: usize| {
        arguments.get(at).map_or(Ok(otherwise), |count| count.parse())
    };
    let program = arguments.get(1).cloned();
    let runtime = Arc::new(tokio::runtime::Runtime::new()?);
    match (arguments.first().map(String::as_str), program) {
        (Some("comeback"), Some(program)) => runtime.block_on(comeback(&program, count(2, 1000)?)),
        (Some("idle"), Some(program)) => runtime.block_on(idle(&program, count(2, 1000)?)),
        (Some("cpu"), _) => compare(count(1, 200_000)?),
        (Some(side @ ("ours" | "each" | "together")), _) => {
            let (messages, window) = (count(1, 10_000)?, count(2, 32)?);
            let took = match side {
                "ours" => ours(messages, window)?,
                "each" => bare(messages, window, Flush::Each)?,
                _ => bare(messages, window, Flush::Together)?,
            };
            println!("{took:?} for a message in and a message out");
            Ok(())
        }
        _ => Err("comeback PROGRAM [CLIENTS], idle PROGRAM [CLIENTS], cpu [MESSAGES], or ours, each or together [MESSAGES] [AT A TIME]".into()),
    }
}
