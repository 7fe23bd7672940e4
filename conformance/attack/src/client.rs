//! Clients of attacks, on raw sockets.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::{Fault, wire};

/// How long an answer may take that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What came from the server.
#[derive(Debug)]
pub(crate) enum Got {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A close frame with this code.
    Close(Option<u16>),
    /// The connection has ended.
    End,
    /// Nothing, for as long as was waited.
    Nothing,
}

/// How a client connects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Its own address.
    pub(crate) from: Ipv4Addr,
    /// How much its kernel takes that it does not read.
    pub(crate) receive_buffer: Option<u32>,
    /// Whether it compresses, and has to be compressed for (R-T10).
    pub(crate) deflate: bool,
}

impl Default for How {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl How {
    pub(crate) const DEFAULT: Self =
        Self { from: Ipv4Addr::LOCALHOST, receive_buffer: None, deflate: false };

    /// A client whose kernel takes little that it does not read.
    pub(crate) fn slow() -> Self {
        Self { receive_buffer: Some(16 * 1024), ..Self::default() }
    }
}

/// A connection that has said nothing yet.
pub(crate) async fn silent(address: SocketAddr, how: How) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(size) = how.receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if how.from != Ipv4Addr::LOCALHOST {
        socket.bind((how.from, 0).into())?;
    }
    let connected = timeout(PATIENCE, socket.connect(address)).await;
    let stream = connected.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends bytes over a new connection, and gives back what comes until the server closes, or for
/// so long.
pub(crate) async fn exchange(
    address: SocketAddr,
    pieces: &[&[u8]],
    patience: Duration,
) -> io::Result<Vec<u8>> {
    let mut stream = silent(address, How::default()).await?;
    for (n, piece) in pieces.iter().enumerate() {
        if n > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // A server that has answered already may have closed, and its answer is there to be read.
        if stream.write_all(piece).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = timeout(patience, async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            answer.extend(&buffer[..count]);
        }
    })
    .await;
    Ok(answer)
}

/// A client that speaks WebSocket.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    /// How much at the start of the buffer has been given out.
    read: usize,
    /// Its id, once it is a peer.
    pub(crate) id: String,
}

impl Client {
    /// Connects and upgrades.
    pub(crate) async fn connect(address: SocketAddr, how: How) -> Result<Self, Fault> {
        let mut stream = silent(address, how).await?;
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let more = if how.deflate { offer } else { "" };
        stream.write_all(wire::upgrade(more).as_bytes()).await?;
        let mut this = Self { stream, buffer: Vec::new(), read: 0, id: String::new() };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = this.buffer.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&this.buffer[..end]).into_owned();
                if !head.starts_with("HTTP/1.1 101") {
                    return Err(Fault(head.replace("\r\n", " | ")));
                }
                if how.deflate && !head.contains("permessage-deflate") {
                    return Err(Fault("compression is not agreed on".into()));
                }
                this.read = end + 4;
                return Ok(this);
            }
            if !this.fill(deadline.saturating_duration_since(Instant::now())).await {
                return Err(Fault("no answer to the upgrade".into()));
            }
        }
    }

    /// Connects and authenticates.
    pub(crate) async fn peer(
        address: SocketAddr,
        how: How,
        user: &str,
        rooms: &[String],
    ) -> Result<Self, Fault> {
        Self::peer_as(address, how, &wire::auth(user, rooms)).await
    }

    /// Connects and authenticates with this frame.
    pub(crate) async fn peer_as(address: SocketAddr, how: How, auth: &str) -> Result<Self, Fault> {
        let mut this = Self::connect(address, how).await?;
        this.send(auth).await?;
        match this.next(PATIENCE).await {
            Got::Text(text) if text.starts_with("{\"type\":\"welcome\"") => {
                let welcome: serde_json::Value = serde_json::from_str(&text)?;
                this.id = welcome["peer"]["id"].as_str().unwrap_or_default().into();
                Ok(this)
            }
            Got::Text(text) => Err(Fault(text)),
            other => Err(Fault(format!("no welcome, but {other:?}"))),
        }
    }

    /// Reads some more; whether there was something.
    async fn fill(&mut self, patience: Duration) -> bool {
        if self.read > 0 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.reserve(64 * 1024);
        matches!(timeout(patience, self.stream.read_buf(&mut self.buffer)).await, Ok(Ok(1..)))
    }

    /// The next frame, whatever it is.
    pub(crate) async fn next(&mut self, patience: Duration) -> Got {
        let deadline = Instant::now() + patience;
        loop {
            if let Some((first, start, end)) = wire::parse(&self.buffer[self.read..]) {
                let payload = &self.buffer[self.read + start..self.read + end];
                let got = match first & 0xf {
                    wire::PING => Got::Ping(payload.into()),
                    wire::PONG => Got::Pong(payload.into()),
                    wire::CLOSE => Got::Close(close_code(payload)),
                    _ => Got::Text(String::from_utf8_lossy(payload).into_owned()),
                };
                self.read += end;
                return got;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Got::Nothing;
            }
            if !self.fill(left).await {
                return if Instant::now() < deadline { Got::End } else { Got::Nothing };
            }
        }
    }

    /// The next text for which this holds; what comes before is passed over, pings are answered.
    pub(crate) async fn text_where(
        &mut self,
        patience: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Got {
        let deadline = Instant::now() + patience;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())).await {
                Got::Text(text) if !wanted(&text) => {}
                Got::Ping(payload) => {
                    let pong = wire::frame(wire::FIN | wire::PONG, &payload);
                    if self.stream.write_all(&pong).await.is_err() {
                        return Got::End;
                    }
                }
                Got::Pong(_) => {}
                other => return other,
            }
        }
    }

    /// How the connection ends, within so long: the code of its close frame.
    pub(crate) async fn end(&mut self, patience: Duration) -> Got {
        self.text_where(patience, |_| false).await
    }

    /// Sends a text.
    pub(crate) async fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(&wire::text(text)).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Waits until everything that was sent before has been handled.
    pub(crate) async fn barrier(&mut self) -> Result<(), Fault> {
        self.send("{\"type\":\"leave\",\"room\":\"no such room\"}").await?;
        let over = |text: &str| text.contains("no such room") || text.contains("rooms disabled");
        match self.text_where(PATIENCE * 3, over).await {
            Got::Text(_) => Ok(()),
            other => Err(Fault(format!("no answer, but {other:?}"))),
        }
    }

    /// Reads on its own from now on, and counts.
    pub(crate) fn drain(self) -> Reader {
        Reader::new(self)
    }
}

fn close_code(payload: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(payload.get(..2)?.try_into().ok()?))
}

/// What a [`Reader`] has seen.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) messages: AtomicU64,
    /// Presence that says online, or more than 2 KiB.
    pub(crate) presence: AtomicU64,
    /// Presence that says offline.
    pub(crate) offline: AtomicU64,
    pub(crate) errors: AtomicU64,
    /// The code of the close frame, or 1 where the connection ended without.
    pub(crate) closed: AtomicU32,
    /// Whether it does not read for a while.
    pub(crate) paused: AtomicBool,
}

impl Counts {
    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    fn count(&self, payload: &[u8]) {
        let counter = if payload.starts_with(b"{\"type\":\"presence\"") {
            let offline = b"\"online\":false";
            let small = payload.len() <= 2048;
            if small && payload.windows(offline.len()).any(|part| part == offline) {
                &self.offline
            } else {
                &self.presence
            }
        } else if payload.starts_with(b"{\"type\":\"error\"") {
            &self.errors
        } else if payload.starts_with(b"{\"type\":\"message\"") {
            &self.messages
        } else {
            return;
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client that reads all that comes; it goes away when this is dropped.
pub(crate) struct Reader {
    pub(crate) counts: Arc<Counts>,
    pub(crate) sending: tokio::net::tcp::OwnedWriteHalf,
    task: JoinHandle<()>,
}

impl Reader {
    fn new(client: Client) -> Self {
        let counts = Arc::new(Counts::default());
        let seen = Arc::clone(&counts);
        let Client { stream, mut buffer, read, .. } = client;
        let (mut reading, sending) = stream.into_split();
        buffer.drain(..read);
        let task = tokio::spawn(async move {
            loop {
                let mut at = 0;
                while let Some((first, start, end)) = wire::parse(&buffer[at..]) {
                    let payload = &buffer[at + start..at + end];
                    if first & 0xf == wire::CLOSE {
                        let code = close_code(payload).unwrap_or(1).into();
                        seen.closed.store(code, Ordering::Relaxed);
                    } else if first & 0xf == wire::PING {
                        // Beside what is sent: nobody who sends something is pinged.
                        let pong = wire::frame(wire::FIN | wire::PONG, payload);
                        let stream: &TcpStream = reading.as_ref();
                        let _ = stream.try_write(&pong);
                    } else if first & wire::RSV1 != 0 {
                        // Presence here is too short to be compressed.
                        seen.messages.fetch_add(1, Ordering::Relaxed);
                    } else if first & 0xf == wire::TEXT {
                        seen.count(payload);
                    }
                    at += end;
                }
                buffer.drain(..at);
                buffer.reserve(16 * 1024);
                while seen.paused.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                if !matches!(reading.read_buf(&mut buffer).await, Ok(1..)) {
                    let _ =
                        seen.closed.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
                    return;
                }
            }
        });
        Self { counts, sending, task }
    }

    /// Whether the server has closed it, and how.
    pub(crate) fn closed(&self) -> Option<u32> {
        Some(self.counts.closed.load(Ordering::Relaxed)).filter(|code| *code != 0)
    }

    /// Sends a text.
    pub(crate) async fn send(&mut self, text: &str) -> io::Result<()> {
        self.sending.write_all(&wire::text(text)).await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A crowd of clients that read: as many as are wanted, by user and `auth` frame.
pub(crate) async fn crowd(
    address: SocketAddr,
    auths: impl IntoIterator<Item = String>,
) -> Result<Vec<Reader>, Fault> {
    crowd_as(address, How::default(), auths).await
}

/// As [`crowd`], of clients that connect so.
pub(crate) async fn crowd_as(
    address: SocketAddr,
    how: How,
    auths: impl IntoIterator<Item = String>,
) -> Result<Vec<Reader>, Fault> {
    let mut crowd = Vec::new();
    let mut auths = auths.into_iter();
    loop {
        // Some at a time, so that none of them waits long.
        let batch: Vec<_> = auths.by_ref().take(50).collect();
        if batch.is_empty() {
            return Ok(crowd);
        }
        let joining: Vec<_> = batch
            .into_iter()
            .map(|auth| {
                tokio::spawn(async move {
                    Client::peer_as(address, how, &auth).await.map(Client::drain)
                })
            })
            .collect();
        for one in joining {
            crowd.push(one.await??);
        }
    }
}

/// The sum of a counter over a crowd.
pub(crate) fn total(crowd: &[Reader], counter: impl Fn(&Counts) -> &AtomicU64) -> u64 {
    crowd.iter().map(|one| Counts::get(counter(&one.counts))).sum()
}

/// Waits until nobody in the crowd has heard of others for a while.
pub(crate) async fn quiet(crowd: &[Reader]) {
    let deadline = Instant::now() + PATIENCE * 2;
    let mut last = u64::MAX;
    loop {
        let now = total(crowd, |c| &c.presence) + total(crowd, |c| &c.offline);
        if now == last || Instant::now() > deadline {
            return;
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
