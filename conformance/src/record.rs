//! A proxy between clients and a server that writes down what they say.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    time::Duration,
};

use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest as _,
        handshake::server::{ErrorResponse, Request, Response},
        http::HeaderMap,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::transcript::{Event, Frame};

/// How long nothing must come from the server until a client's next act is let through: so a
/// barrier in the transcript is one.
const SETTLED: Duration = Duration::from_millis(50);

/// How long is waited for that.
const PATIENCE: Duration = Duration::from_secs(2);

/// Headers that are the affair of each connection of its own.
const OF_THE_UPGRADE: &[&str] = &["host", "connection", "upgrade"];

/// A connection of either side.
type ClientSocket = WebSocketStream<TcpStream>;

/// Something that happened on the connection of that number.
enum Fact {
    Opened(Box<(ClientSocket, HeaderMap)>),
    Client(Message),
    ClientGone,
    Server(Message),
    ServerGone,
}

impl Fact {
    fn is_of_server(&self) -> bool {
        matches!(self, Self::Server(_) | Self::ServerGone)
    }
}

/// One connection through the proxy.
struct Passage {
    client: SplitSink<ClientSocket, Message>,
    server: SplitSink<ClientSocket, Message>,
    readers: [JoinHandle<()>; 2],
    pings: usize,
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

/// A recording that is under way.
struct Recorder {
    upstream: String,
    facts: UnboundedReceiver<(usize, Fact)>,
    tell: UnboundedSender<(usize, Fact)>,
    /// What clients did while the server had something to say.
    waiting: VecDeque<(usize, Fact)>,
    passages: BTreeMap<usize, Passage>,
    events: Vec<Event>,
    /// What connections are called: after who authenticates on them.
    names: BTreeMap<usize, String>,
}

/// Records what clients that connect to the listener and the server at `upstream`
/// (`ws://HOST:PORT`) say to each other, until `end`.
///
/// Before it lets a client act, it waits until the server has answered what came before, and
/// notes a barrier; what one client sends in one go passes in one go. Connections are called
/// after the user that first authenticates on them. Of the headers of an upgrade only `origin`,
/// `forwarded` and those that begin with `x-` are noted. Text frames that are not UTF-8 break the
/// connection off.
///
/// # Errors
/// The listener fails.
pub async fn record(
    listener: TcpListener,
    upstream: &str,
    end: impl Future<Output = ()>,
) -> io::Result<Vec<Event>> {
    let (tell, facts) = unbounded_channel();
    let mut recorder = Recorder {
        upstream: upstream.to_owned(),
        facts,
        tell: tell.clone(),
        waiting: VecDeque::new(),
        passages: BTreeMap::new(),
        events: Vec::new(),
        names: BTreeMap::new(),
    };
    let mut number = 0;
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => {
                let (socket, _) = accepted?;
                tokio::spawn(accept(socket, number, tell.clone()));
                number += 1;
            }
            there_is_more = recorder.ready() => {
                if there_is_more {
                    recorder.step().await;
                }
            }
        }
    }
    while let Ok(fact) = recorder.facts.try_recv() {
        recorder.waiting.push_back(fact);
    }
    while !recorder.waiting.is_empty() {
        recorder.step().await;
    }
    recorder.settle().await;
    Ok(recorder.finish())
}

async fn accept(socket: TcpStream, number: usize, tell: UnboundedSender<(usize, Fact)>) {
    let _ = socket.set_nodelay(true);
    let mut headers = HeaderMap::new();
    #[expect(clippy::result_large_err, reason = "the library wants it so")]
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        headers.clone_from(request.headers());
        Ok(response)
    };
    if let Ok(client) = accept_hdr_async(socket, note).await {
        let _ = tell.send((number, Fact::Opened(Box::new((client, headers)))));
    }
}

async fn read(
    mut stream: SplitStream<ClientSocket>,
    number: usize,
    tell: UnboundedSender<(usize, Fact)>,
    fact: fn(Message) -> Fact,
    gone: fn() -> Fact,
) {
    while let Some(Ok(message)) = stream.next().await {
        let _ = tell.send((number, fact(message)));
    }
    let _ = tell.send((number, gone()));
}

/// The code of a close frame, and the frame to pass on.
fn close_of(frame: Option<&CloseFrame>) -> (u16, Option<CloseFrame>) {
    let code = frame.map_or(1005, |frame| frame.code.into());
    (
        code,
        frame.map(|frame| CloseFrame { code: CloseCode::from(code), reason: frame.reason.clone() }),
    )
}

impl Recorder {
    /// Waits until something has happened. Nothing is lost if that is given up.
    async fn ready(&mut self) -> bool {
        if self.waiting.is_empty() {
            self.waiting.extend(self.facts.recv().await);
        }
        !self.waiting.is_empty()
    }

    /// Handles what happened next.
    async fn step(&mut self) {
        let Some((_, fact)) = self.waiting.front() else { return };
        if !fact.is_of_server() {
            self.settle().await;
        }
        let Some((number, fact)) = self.waiting.pop_front() else { return };
        let acts = matches!(fact, Fact::Client(_));
        self.handle(number, fact).await;
        // What it sent in one go.
        while acts
            && matches!(self.waiting.front(), Some((next, Fact::Client(_))) if *next == number)
        {
            if let Some((_, fact)) = self.waiting.pop_front() {
                self.handle(number, fact).await;
            }
        }
    }

    /// Waits until the server has said what it has to say, and notes it.
    async fn settle(&mut self) {
        if matches!(self.events.last(), None | Some(Event::Quiet(_))) {
            return;
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until
            && let Ok(Some((number, fact))) = timeout(SETTLED, self.facts.recv()).await
        {
            if fact.is_of_server() {
                self.handle(number, fact).await;
            } else {
                self.waiting.push_back((number, fact));
            }
        }
        self.events.push(Event::Quiet(u64::try_from(SETTLED.as_millis()).unwrap_or(0)));
    }

    async fn handle(&mut self, number: usize, fact: Fact) {
        let conn = number.to_string();
        if let Fact::Opened(opened) = fact {
            return self.open(number, *opened).await;
        }
        let Some(passage) = self.passages.get_mut(&number) else { return };
        match fact {
            Fact::Client(Message::Text(text)) => {
                name(&mut self.names, number, &text);
                self.events.push(Event::Send(conn, Frame::Text(text.to_string())));
                let _ = passage.server.send(Message::Text(text)).await;
            }
            Fact::Client(Message::Binary(data)) => {
                self.events.push(Event::Send(conn, Frame::Binary(data.to_vec())));
                let _ = passage.server.send(Message::Binary(data)).await;
            }
            Fact::Client(Message::Ping(data)) => {
                passage.pings += 1;
                self.events.push(Event::Ping(conn, data.to_vec()));
                let _ = passage.server.send(Message::Ping(data)).await;
            }
            Fact::Client(Message::Close(frame)) => {
                let (code, frame) = close_of(frame.as_ref());
                self.events.push(Event::ClientClose(conn, code));
                let _ = passage.server.send(Message::Close(frame)).await;
                let _ = passage.client.flush().await;
                self.passages.remove(&number);
            }
            Fact::Server(Message::Text(text)) => {
                self.events.push(Event::Recv(conn, text.to_string()));
                let _ = passage.client.send(Message::Text(text)).await;
            }
            // The library has answered the client's ping already.
            Fact::Server(Message::Pong(data)) if passage.pings > 0 => {
                passage.pings -= 1;
                self.events.push(Event::Pong(conn, data.to_vec()));
            }
            Fact::Server(Message::Close(frame)) => {
                let (code, frame) = close_of(frame.as_ref());
                self.events.push(Event::ServerClose(conn, code));
                let _ = passage.client.send(Message::Close(frame)).await;
                let _ = passage.server.flush().await;
                self.passages.remove(&number);
            }
            Fact::ClientGone => {
                self.events.push(Event::ClientClose(conn, 1006));
                self.passages.remove(&number);
            }
            Fact::ServerGone => {
                self.events.push(Event::ServerClose(conn, 1006));
                self.passages.remove(&number);
            }
            // Pings and pongs are answered where they come from; a server sends no binary frames.
            Fact::Opened(_) | Fact::Client(_) | Fact::Server(_) => {}
        }
    }

    async fn open(&mut self, number: usize, (client, headers): (ClientSocket, HeaderMap)) {
        let conn = number.to_string();
        let Some(server) = self.connect(&headers).await else {
            return self.events.push(Event::ConnectFailed(conn));
        };
        let noted = headers.iter().filter(|(name, _)| {
            ["origin", "forwarded"].contains(&name.as_str()) || name.as_str().starts_with("x-")
        });
        let noted = noted
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        self.events.push(Event::Connect(conn, noted.collect()));
        let (client, from_client) = client.split();
        let (server, from_server) = server.split();
        let tell = &self.tell;
        let readers = [
            tokio::spawn(read(from_client, number, tell.clone(), Fact::Client, || {
                Fact::ClientGone
            })),
            tokio::spawn(read(from_server, number, tell.clone(), Fact::Server, || {
                Fact::ServerGone
            })),
        ];
        self.passages.insert(number, Passage { client, server, readers, pings: 0 });
    }

    async fn connect(&self, headers: &HeaderMap) -> Option<ClientSocket> {
        let mut request = self.upstream.as_str().into_client_request().ok()?;
        let host = request.uri().authority()?.as_str().to_owned();
        for (name, value) in headers {
            let own = OF_THE_UPGRADE.contains(&name.as_str());
            if !own && !name.as_str().starts_with("sec-websocket") {
                request.headers_mut().append(name, value.clone());
            }
        }
        let connecting = async {
            let socket = TcpStream::connect(host).await.ok()?;
            socket.set_nodelay(true).ok()?;
            client_async(request, socket).await.ok()
        };
        let (socket, _) = timeout(PATIENCE, connecting).await.ok()??;
        Some(socket)
    }

    /// The events, with the names of their connections.
    fn finish(self) -> Vec<Event> {
        let Self { mut events, names, .. } = self;
        for event in &mut events {
            if let Some(conn) = event.conn_mut() {
                let number = conn.parse().unwrap_or_default();
                *conn = names.get(&number).cloned().unwrap_or_else(|| format!("client-{conn}"));
            }
        }
        events
    }
}

/// Calls a connection after the user that authenticates on it, if it has no name yet.
fn name(names: &mut BTreeMap<usize, String>, number: usize, text: &str) {
    if names.contains_key(&number) {
        return;
    }
    let frame: Value = serde_json::from_str(text).unwrap_or_default();
    let user = frame["user"].as_str().filter(|user| frame["type"] == "auth" && !user.is_empty());
    let Some(user) = user else { return };
    let mut name = user.to_owned();
    let mut count = 1;
    while names.values().any(|known| *known == name) {
        count += 1;
        name = format!("{user}-{count}");
    }
    names.insert(number, name);
}
