//! Clients on sockets.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest as _,
        http::{HeaderName, HeaderValue},
        protocol::{
            CloseFrame,
            frame::{
                Frame as RawFrame,
                coding::{Data, OpCode},
            },
        },
    },
};

use crate::{
    redis::Redis,
    transcript::{Frame, Header},
};

use super::{Done, Host, Kind, Seen, StartError};

/// How long anything may take that a client does.
const PATIENCE: Duration = Duration::from_secs(10);

/// The start of the payload of pings that are no part of a scenario.
const BARRIER: &[u8] = b"symple-conformance ";

type Socket = WebSocketStream<TcpStream>;

/// A client.
struct Client {
    sink: SplitSink<Socket, Message>,
    reader: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A server and clients on sockets.
pub(crate) struct SocketWorld {
    host: Host,
    clients: BTreeMap<String, Client>,
    seen: UnboundedReceiver<Seen>,
    /// What was seen while something else was waited for.
    early: std::collections::VecDeque<Seen>,
    tell: UnboundedSender<Seen>,
    barriers: u64,
    /// For how long a silence is watched that is longer; the whole of it if none.
    watched: Option<Duration>,
    /// How many silences were watched for less than their time.
    pub(crate) shortened: usize,
}

/// Reads what a client receives.
async fn read(conn: String, mut socket: SplitStream<Socket>, tell: UnboundedSender<Seen>) {
    let code = loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                let _ = tell.send(Seen::Text(conn.clone(), text.to_string()));
            }
            Some(Ok(Message::Binary(data))) => {
                let _ = tell.send(Seen::Binary(conn.clone(), data.to_vec()));
            }
            Some(Ok(Message::Pong(data))) => {
                let _ = tell.send(Seen::Pong(conn.clone(), data.to_vec()));
            }
            Some(Ok(Message::Close(frame))) => {
                let code = frame.map_or(1005, |frame| frame.code.into());
                // The answer goes out while the end is awaited.
                while let Some(Ok(_)) = socket.next().await {}
                break code;
            }
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => {}
            Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => break 1005,
            Some(Err(_)) => break 1006,
        }
    };
    let _ = tell.send(Seen::Close(conn, code));
}

impl SocketWorld {
    pub(crate) async fn new(
        kind: Kind,
        header: &Header,
        redis: Option<Arc<Redis>>,
        watched: Option<Duration>,
    ) -> Result<Self, StartError> {
        let (tell, seen) = unbounded_channel();
        let host = Host::start(kind, header, redis, tell.clone()).await?;
        Ok(Self {
            host,
            clients: BTreeMap::new(),
            seen,
            early: std::collections::VecDeque::new(),
            tell,
            barriers: 0,
            watched,
            shortened: 0,
        })
    }

    pub(crate) async fn connect(&mut self, conn: &str, headers: &[(String, String)]) -> Done {
        let connecting = async {
            let socket = TcpStream::connect(self.host.address).await?;
            socket.set_nodelay(true)?;
            let mut request = format!("ws://{}/", self.host.address).into_client_request()?;
            for (name, value) in headers {
                let name = HeaderName::try_from(name)
                    .map_err(|error| Error::Io(std::io::Error::other(error)))?;
                let value = HeaderValue::try_from(value)
                    .map_err(|error| Error::Io(std::io::Error::other(error)))?;
                request.headers_mut().append(name, value);
            }
            client_async(request, socket).await
        };
        let connected =
            timeout(PATIENCE, connecting).await.map_err(|_| "connecting takes too long")?;
        let (socket, _) = connected.map_err(|error| error.to_string())?;
        let (sink, stream) = socket.split();
        let reader = tokio::spawn(read(conn.into(), stream, self.tell.clone()));
        self.clients.insert(conn.into(), Client { sink, reader });
        Ok(())
    }

    pub(crate) fn is_open(&self, conn: &str) -> bool {
        self.clients.contains_key(conn)
    }

    fn client(&mut self, conn: &str) -> Result<&mut Client, String> {
        self.clients.get_mut(conn).ok_or_else(|| format!("the connection of {conn} is closed"))
    }

    async fn message(&mut self, conn: &str, message: Message) -> Done {
        let sink = &mut self.client(conn)?.sink;
        let sent = timeout(PATIENCE, sink.send(message)).await;
        sent.map_err(|_| format!("the server does not read from {conn}"))?
            .map_err(|error| error.to_string())
    }

    pub(crate) async fn send(&mut self, conn: &str, frame: Frame) -> Done {
        let message = match frame {
            Frame::Text(text) => Message::text(text),
            Frame::Binary(data) => Message::binary(data),
            Frame::BrokenText(data) => {
                Message::Frame(RawFrame::message(data, OpCode::Data(Data::Text), true))
            }
        };
        self.message(conn, message).await
    }

    pub(crate) async fn ping(&mut self, conn: &str, data: Vec<u8>) -> Done {
        self.message(conn, Message::Ping(data.into())).await
    }

    pub(crate) async fn close(&mut self, conn: &str, code: u16) -> Done {
        if code == 1006 {
            self.clients.remove(conn).ok_or_else(|| format!("{conn} is closed already"))?;
            return Ok(());
        }
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        self.message(conn, Message::Close((code != 1005).then_some(frame))).await?;
        // The server answers with the same code.
        let mut others = Vec::new();
        let answer = loop {
            match timeout(PATIENCE, self.take()).await {
                Ok(Some(Seen::Close(closed, code))) if closed == conn => break Some(code),
                Ok(Some(seen)) => others.push(seen),
                Ok(None) | Err(_) => break None,
            }
        };
        self.put_back(others);
        self.clients.remove(conn);
        match answer {
            Some(answer) if answer == code => Ok(()),
            Some(answer) => Err(format!("a close with {code} is answered with {answer}")),
            None => Err(format!("a close with {code} is not answered")),
        }
    }

    pub(crate) async fn publish(&mut self, channel: &str, text: &str) -> Done {
        self.host.publish(channel, text).await
    }

    pub(crate) async fn shut_down(&mut self) -> Done {
        self.host.shut_down().await
    }

    pub(crate) async fn kill(&mut self) -> Done {
        self.host.kill()
    }

    pub(crate) async fn start(&mut self) -> Done {
        self.host.start_again().await
    }

    /// What was seen while something else was waited for comes first again.
    fn put_back(&mut self, others: Vec<Seen>) {
        for seen in others.into_iter().rev() {
            self.early.push_front(seen);
        }
    }

    async fn take(&mut self) -> Option<Seen> {
        match self.early.pop_front() {
            Some(seen) => Some(seen),
            None => self.seen.recv().await,
        }
    }

    pub(crate) async fn next(&mut self, patience: Duration) -> Option<Seen> {
        loop {
            let seen = timeout(patience, self.take()).await.ok()??;
            match &seen {
                Seen::Pong(_, data) if data.starts_with(BARRIER) => {}
                Seen::Close(conn, _) => {
                    self.clients.remove(conn);
                    return Some(seen);
                }
                _ => return Some(seen),
            }
        }
    }

    /// A pong on every connection tells that what was sent before has been handled; twice, so that
    /// what it caused on the others has arrived. What happens later by itself is waited for.
    pub(crate) async fn settle(&mut self, quiet: Duration) {
        for _ in 0..2 {
            self.barriers += 1;
            let payload = [BARRIER, self.barriers.to_string().as_bytes()].concat();
            let names: Vec<_> = self.clients.keys().cloned().collect();
            let mut waiting = Vec::new();
            for name in names {
                if self.message(&name, Message::Ping(payload.clone().into())).await.is_ok() {
                    waiting.push(name);
                }
            }
            let mut others = Vec::new();
            while !waiting.is_empty() {
                match timeout(Duration::from_secs(2), self.take()).await {
                    Ok(Some(Seen::Pong(conn, data))) if data == payload => {
                        waiting.retain(|name| *name != conn);
                    }
                    Ok(Some(seen)) => {
                        if let Seen::Close(conn, _) = &seen {
                            waiting.retain(|name| name != conn);
                        }
                        others.push(seen);
                    }
                    Ok(None) | Err(_) => break,
                }
            }
            self.put_back(others);
        }
        let watched = self.watched.map_or(quiet, |watched| watched.min(quiet));
        self.shortened += usize::from(watched < quiet);
        sleep(watched).await;
    }

    pub(crate) async fn finish(mut self) {
        self.clients.clear();
        let _ = self.host.kill();
    }
}
