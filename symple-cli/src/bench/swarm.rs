//! Many clients on one thread, so cheap that the server is the bottleneck.
//!
//! The frames are those of the WebSocket protocol, made and read by hand: a mask of zeros is a
//! mask, and a server's frames have none.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

/// How much is read at once.
const READ: usize = 256 * 1024;
/// Local ports are used up; from so many connections on there are other local addresses.
const PER_ADDRESS: usize = 20_000;

/// Where to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The value of the `Host` header.
    pub(crate) host: String,
    /// Path and query.
    pub(crate) path: String,
}

/// What a client tells of itself in its `auth` frame.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) user: String,
    pub(crate) rooms: Vec<String>,
}

/// What happens to clients.
pub(crate) trait Handler {
    /// A client is welcome.
    fn ready(&mut self, out: &mut Outboxes, client: usize, peer_id: &str);
    /// A text frame arrived.
    fn text(&mut self, out: &mut Outboxes, client: usize, text: &[u8]);
    /// A connection has ended.
    fn closed(&mut self, out: &mut Outboxes, client: usize);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Upgrading,
    Authenticating,
    Ready,
    Closed,
}

struct Client {
    socket: Option<TcpStream>,
    state: State,
    identity: Identity,
    /// The start of a frame, or of the response.
    inbox: Vec<u8>,
}

/// What waits to be written to clients' sockets.
#[derive(Default)]
pub(crate) struct Outboxes {
    boxes: Vec<Outbox>,
    dirty: Vec<usize>,
}

#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    dirty: bool,
    blocked: bool,
}

impl Outboxes {
    fn push(&mut self, client: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let outbox = &mut self.boxes[client];
        write(&mut outbox.bytes);
        if !std::mem::replace(&mut outbox.dirty, true) {
            self.dirty.push(client);
        }
    }

    /// Queues a text frame.
    pub(crate) fn send(&mut self, client: usize, text: &str) {
        self.push(client, |bytes| push_frame(bytes, 0x81, text.as_bytes()));
    }

    /// Queues a close frame with code 1000.
    pub(crate) fn close(&mut self, client: usize) {
        self.push(client, |bytes| push_frame(bytes, 0x88, &1000_u16.to_be_bytes()));
    }
}

fn push_frame(bytes: &mut Vec<u8>, first: u8, payload: &[u8]) {
    bytes.push(first);
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | u8::try_from(length).unwrap_or_default()),
        length @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).unwrap_or_default().to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
}

/// A frame at the start of the bytes: first byte, where its payload begins and ends.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, length): (usize, usize) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, usize::from(length)),
    };
    let end = start.checked_add(length)?;
    (end <= bytes.len()).then_some((first, start, end))
}

/// Many clients.
pub(crate) struct Swarm {
    target: Target,
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    pub(crate) out: Outboxes,
    scratch: Vec<u8>,
    /// How many clients are ready.
    pub(crate) ready: usize,
    /// Bytes that were read.
    pub(crate) bytes_read: u64,
}

impl Swarm {
    pub(crate) fn new(target: Target) -> io::Result<Self> {
        Ok(Self {
            target,
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            clients: Vec::new(),
            out: Outboxes::default(),
            scratch: vec![0; READ],
            ready: 0,
            bytes_read: 0,
        })
    }

    /// Begins to connect a client; its number.
    pub(crate) fn connect(&mut self, identity: Identity) -> io::Result<usize> {
        let number = self.clients.len();
        let socket = self.socket(number)?;
        self.clients.push(Client {
            socket: Some(socket),
            state: State::Connecting,
            identity,
            inbox: Vec::new(),
        });
        self.out.boxes.push(Outbox { blocked: true, ..Outbox::default() });
        Ok(number)
    }

    fn socket(&self, number: usize) -> io::Result<TcpStream> {
        let address = self.target.address;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let IpAddr::V4(ip) = address.ip()
            && ip.is_loopback()
        {
            let last = u8::try_from(1 + number / PER_ADDRESS).unwrap_or(u8::MAX);
            let local = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
            socket.bind(&local.into())?;
        }
        match socket.connect(&address.into()) {
            Err(error) if !is_in_progress(&error) => return Err(error),
            _ => {}
        }
        let mut socket = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(number), interest)?;
        Ok(socket)
    }

    /// Cuts a client's connection.
    fn cut(&mut self, client: usize) {
        let client = &mut self.clients[client];
        if client.state == State::Ready {
            self.ready -= 1;
        }
        client.state = State::Closed;
        client.socket = None;
        client.inbox = Vec::new();
    }

    /// Waits for something to happen, handles it, and writes what is to be written.
    pub(crate) fn turn(
        &mut self,
        handler: &mut impl Handler,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.flush(handler);
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let events: Vec<_> = self
            .events
            .iter()
            .map(|event| (event.token().0, event.is_readable(), event.is_writable()))
            .collect();
        for (number, readable, writable) in events {
            if writable {
                self.writable(number);
            }
            if readable {
                self.readable(number, handler);
            }
        }
        self.flush(handler);
        Ok(())
    }

    fn writable(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.state == State::Connecting {
            client.state = State::Upgrading;
            let Target { host, path, .. } = &self.target;
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            self.out.push(number, |bytes| bytes.extend(request.as_bytes()));
        }
        let outbox = &mut self.out.boxes[number];
        outbox.blocked = false;
        if outbox.written < outbox.bytes.len() && !std::mem::replace(&mut outbox.dirty, true) {
            self.out.dirty.push(number);
        }
    }

    fn flush(&mut self, handler: &mut impl Handler) {
        while let Some(number) = self.out.dirty.pop() {
            let outbox = &mut self.out.boxes[number];
            outbox.dirty = false;
            if outbox.blocked {
                continue;
            }
            let Some(socket) = &mut self.clients[number].socket else {
                *outbox = Outbox::default();
                continue;
            };
            while outbox.written < outbox.bytes.len() {
                match socket.write(&outbox.bytes[outbox.written..]) {
                    Ok(count) => outbox.written += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        outbox.blocked = true;
                        break;
                    }
                    Err(_) => {
                        self.end(number, handler);
                        break;
                    }
                }
            }
            let outbox = &mut self.out.boxes[number];
            if outbox.written == outbox.bytes.len() {
                outbox.bytes.clear();
                outbox.written = 0;
            }
        }
    }

    fn end(&mut self, number: usize, handler: &mut impl Handler) {
        if self.clients[number].state != State::Closed {
            self.cut(number);
            handler.closed(&mut self.out, number);
        }
    }

    fn readable(&mut self, number: usize, handler: &mut impl Handler) {
        let mut scratch = std::mem::take(&mut self.scratch);
        loop {
            let client = &mut self.clients[number];
            let Some(socket) = client.socket.as_mut() else { break };
            match socket.read(&mut scratch) {
                Ok(0) => {
                    self.end(number, handler);
                    break;
                }
                Ok(count) => {
                    self.bytes_read += count as u64;
                    self.ingest(number, &scratch[..count], handler);
                    if count < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.end(number, handler);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    fn ingest(&mut self, number: usize, bytes: &[u8], handler: &mut impl Handler) {
        let mut inbox = std::mem::take(&mut self.clients[number].inbox);
        if inbox.is_empty() {
            let used = self.frames(number, bytes, handler);
            self.clients[number].inbox.extend_from_slice(&bytes[used..]);
        } else {
            inbox.extend_from_slice(bytes);
            let used = self.frames(number, &inbox, handler);
            inbox.drain(..used);
            self.clients[number].inbox = inbox;
        }
    }

    /// Handles the frames at the start of the bytes; how many bytes are done with.
    fn frames(&mut self, number: usize, bytes: &[u8], handler: &mut impl Handler) -> usize {
        let mut at = 0;
        if self.clients[number].state == State::Upgrading {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                return 0;
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                self.end(number, handler);
                return bytes.len();
            }
            at = end + 4;
            let client = &mut self.clients[number];
            client.state = State::Authenticating;
            let Identity { user, rooms } = &client.identity;
            let auth = serde_json::json!({ "type": "auth", "user": user, "rooms": rooms });
            self.out.send(number, &auth.to_string());
        }
        while let Some((first, start, end)) = frame(&bytes[at..]) {
            let payload = &bytes[at + start..at + end];
            at += end;
            match first & 0x0f {
                1 if self.clients[number].state == State::Ready => {
                    handler.text(&mut self.out, number, payload);
                }
                1 => self.welcome(number, payload, handler),
                8 => {
                    self.end(number, handler);
                    return bytes.len();
                }
                9 => self.out.push(number, |out| push_frame(out, 0x8a, payload)),
                _ => {}
            }
        }
        at
    }

    fn welcome(&mut self, number: usize, payload: &[u8], handler: &mut impl Handler) {
        let frame: Value = serde_json::from_slice(payload).unwrap_or_default();
        if frame["type"] == "welcome" {
            self.clients[number].state = State::Ready;
            self.ready += 1;
            let id = frame["peer"]["id"].as_str().unwrap_or_default();
            handler.ready(&mut self.out, number, id);
        } else if frame["type"] == "error" {
            self.end(number, handler);
        }
    }
}

/// True if a connection is on its way.
fn is_in_progress(error: &io::Error) -> bool {
    #[cfg(unix)]
    if rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::INPROGRESS) {
        return true;
    }
    error.kind() == ErrorKind::WouldBlock
}
