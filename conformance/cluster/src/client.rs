//! A client over WebSocket.

use std::{net::SocketAddr, time::Duration};

use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, Utf8Bytes, protocol::WebSocketConfig},
};

use crate::fault::{Fault, fault};

/// How long an answer may take that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TcpStream>;

/// A client that has been welcomed.
pub(crate) struct Client {
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    /// `user|id`
    pub(crate) address: String,
}

/// What a client hears; what it says goes another way.
pub(crate) struct Ears(SplitStream<Socket>);

/// What a client says.
pub(crate) struct Mouth(SplitSink<Socket, Message>);

impl Client {
    pub(crate) async fn connect(
        address: SocketAddr,
        user: &str,
        rooms: &[&str],
        token: Option<&str>,
    ) -> Result<Self, Fault> {
        let patience = timeout(PATIENCE, Self::enter(address, user, rooms, token));
        patience.await.map_err(|_| Fault("no welcome in time".into()))?
    }

    async fn enter(
        address: SocketAddr,
        user: &str,
        rooms: &[&str],
        token: Option<&str>,
    ) -> Result<Self, Fault> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{address}/");
        let config = WebSocketConfig::default();
        let (socket, _) =
            tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await?;
        let (mut sink, mut stream) = socket.split();
        let mut auth = json!({"type": "auth", "user": user, "rooms": rooms});
        if let Some(token) = token {
            auth["token"] = token.into();
        }
        sink.send(Message::text(auth.to_string())).await?;
        let welcome = next(&mut stream).await.unwrap_or_default();
        if welcome["type"] != "welcome" {
            return fault(format!("no welcome, but {welcome}"));
        }
        let of = |name: &str| welcome["peer"][name].as_str().unwrap_or_default().to_owned();
        let address = format!("{}|{}", of("user"), of("id"));
        Ok(Self { sink, stream, address })
    }

    pub(crate) async fn send(&mut self, frame: &Value) -> Result<(), Fault> {
        Ok(self.sink.send(Message::text(frame.to_string())).await?)
    }

    /// The next frame, for so long.
    pub(crate) async fn next(&mut self, patience: Duration) -> Option<Value> {
        timeout(patience, next(&mut self.stream)).await.ok()?
    }

    pub(crate) fn split(self) -> (Mouth, Ears) {
        (Mouth(self.sink), Ears(self.stream))
    }
}

impl Mouth {
    pub(crate) async fn say(&mut self, text: String) -> Result<(), Fault> {
        Ok(self.0.send(Message::text(text)).await?)
    }
}

impl Ears {
    /// The next frame; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        next(&mut self.0).await
    }

    /// The next frame as it was written, which costs less; none at the end.
    pub(crate) async fn next_text(&mut self) -> Option<Utf8Bytes> {
        text(&mut self.0).await
    }
}

async fn next(stream: &mut SplitStream<Socket>) -> Option<Value> {
    serde_json::from_str(&text(stream).await?).ok()
}

async fn text(stream: &mut SplitStream<Socket>) -> Option<Utf8Bytes> {
    while let Some(Ok(message)) = stream.next().await {
        if let Message::Text(text) = message {
            return Some(text);
        }
    }
    None
}

/// The status of a page.
pub(crate) async fn status(address: SocketAddr, path: &str) -> Option<u16> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let get = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.split(' ').nth(1)?.parse().ok()
    };
    timeout(PATIENCE, get).await.ok()?
}
