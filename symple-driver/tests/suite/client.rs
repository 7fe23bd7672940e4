//! A client that blocks, on tungstenite.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::{
    Message, WebSocket,
    client::IntoClientRequest,
    handshake::client::Response,
    protocol::frame::{Frame, coding::CloseCode},
};

use crate::adapter::Server;

/// Long enough for a machine that is busy; a test that waits so long fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        // Whoever has to do something for it may need this processor.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A socket to a server.
pub(crate) fn socket(server: &Server) -> TcpStream {
    socket_to(server.local_address())
}

pub(crate) fn socket_to(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Everything that a server answers to these bytes, until it closes.
pub(crate) fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut socket = socket(server);
    socket.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A connection that is cut has answered what it has answered.
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// What a server answers to a GET.
pub(crate) fn get(server: &Server, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = exchange(server, request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, body.into())
}

/// A WebSocket client.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) ws: WebSocket<S>,
    /// The peer of its welcome.
    pub(crate) peer: Value,
}

impl Client {
    /// Connects; nothing has been said yet.
    pub(crate) fn connect(server: &Server) -> Self {
        Self::request(server, &[]).unwrap().0
    }

    /// Connects with headers; the response, or the status that was answered instead.
    pub(crate) fn request(
        server: &Server,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Response), u16> {
        Self::request_path(server, "/", headers)
    }

    pub(crate) fn request_path(
        server: &Server,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Response), u16> {
        Self::over(socket(server), &format!("ws://localhost{path}"), headers)
    }

    /// Connects and authenticates as a user, in rooms.
    pub(crate) fn join(server: &Server, user: &str, rooms: &[&str]) -> Self {
        let mut client = Self::connect(server);
        client.auth(&json!({ "type": "auth", "user": user, "rooms": rooms }));
        client
    }
}

impl<S: Read + Write> Client<S> {
    /// Connects over a stream.
    pub(crate) fn over(
        stream: S,
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Response), u16> {
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((ws, response)) => Ok((Self { ws, peer: Value::Null }, response)),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Authenticates; the welcome.
    pub(crate) fn auth(&mut self, frame: &Value) -> Value {
        self.send(frame);
        let welcome = self.recv();
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        self.peer = welcome["peer"].clone();
        welcome
    }

    pub(crate) fn id(&self) -> &str {
        self.peer["id"].as_str().unwrap()
    }

    pub(crate) fn address(&self) -> String {
        format!("{}|{}", self.peer["user"].as_str().unwrap(), self.id())
    }

    pub(crate) fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string());
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.ws.send(Message::text(text)).unwrap();
    }

    /// Sends a frame of the WebSocket kind.
    pub(crate) fn send_raw(&mut self, frame: Frame) {
        self.ws.send(Message::Frame(frame)).unwrap();
    }

    /// The next text, past pings.
    pub(crate) fn recv_text(&mut self) -> String {
        loop {
            match self.ws.read().unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next frame.
    pub(crate) fn recv(&mut self) -> Value {
        serde_json::from_str(&self.recv_text()).unwrap()
    }

    /// The next frame of a type; others are passed over.
    pub(crate) fn recv_type(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.recv();
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Everything that was sent before this has been handled, and nothing came of it for this
    /// client: the next thing that it hears is its own echo.
    pub(crate) fn hears_nothing(&mut self) {
        let nonce = format!("echo-{}", self.id());
        self.send(&json!({ "type": "event", "to": self.id(), "name": nonce }));
        let frame = self.recv();
        assert_eq!(frame["name"], nonce.as_str(), "{frame}");
    }

    /// As [`hears_nothing`](Self::hears_nothing), but for presence.
    pub(crate) fn hears_presence_and_nothing_else(&mut self) {
        let nonce = format!("echo-{}", self.id());
        self.send(&json!({ "type": "event", "to": self.id(), "name": nonce }));
        loop {
            let frame = self.recv();
            if frame["type"] != "presence" {
                assert_eq!(frame["name"], nonce.as_str(), "{frame}");
                return;
            }
        }
    }

    /// The code that the server closes with; texts before it are passed over.
    pub(crate) fn closed(&mut self) -> u16 {
        loop {
            match self.ws.read() {
                Ok(Message::Close(Some(frame))) => {
                    let code = frame.code.into();
                    // The closing handshake goes on until the server has closed the socket.
                    while self.ws.read().is_ok() {}
                    return code;
                }
                Ok(Message::Close(None)) => return CloseCode::Status.into(),
                Ok(_) => {}
                Err(_) => return CloseCode::Abnormal.into(),
            }
        }
    }

    /// The `error` that comes next, and the code that the server closes with.
    pub(crate) fn refused(&mut self) -> (u64, String, u16) {
        let error = self.recv_type("error");
        let message = error["message"].as_str().unwrap().to_owned();
        (error["status"].as_u64().unwrap(), message, self.closed())
    }
}
