//! Many clients on one thread, so cheap that the server is the bottleneck.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use serde_json::Value;

use super::{
    alarm::Alarm,
    outbox::{Outbox, Outboxes},
    target::Target,
    wire::{close_code, frame, push_frame},
};

/// How much is read at once.
const READ: usize = 256 * 1024;
/// The token of the alarm.
const ALARM: Token = Token(usize::MAX - 1);
/// Below this a poll is not exact enough.
const EXACT: Duration = Duration::from_millis(2);

/// What a client tells of itself in its `auth` frame.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    user: String,
    rooms: Vec<String>,
    extensions: &'static [&'static str],
}

impl Identity {
    /// A user in rooms.
    pub(crate) fn new<R: Into<String>>(
        user: impl Into<String>,
        rooms: impl IntoIterator<Item = R>,
    ) -> Self {
        let rooms = rooms.into_iter().map(Into::into).collect();
        Self { user: user.into(), rooms, extensions: &[] }
    }

    /// The same, with extensions of the protocol (R-X1).
    pub(crate) fn with_extensions(self, extensions: &'static [&'static str]) -> Self {
        Self { extensions, ..self }
    }

    /// The `auth` frame.
    fn auth(&self) -> String {
        let Self { user, rooms, extensions } = self;
        let mut auth = serde_json::json!({ "type": "auth", "user": user, "rooms": rooms });
        if !extensions.is_empty() {
            auth["extensions"] = serde_json::json!(extensions);
        }
        auth.to_string()
    }
}

/// What happens to clients.
pub(crate) trait Handler {
    /// A client is welcome.
    fn ready(&mut self, _out: &mut Outboxes, _client: usize, _peer_id: &str) {}

    /// A text frame arrived.
    fn text(&mut self, out: &mut Outboxes, client: usize, text: &[u8]);

    /// A connection that was welcome has ended, with this code of the server's, if it said one.
    /// True if that was to be expected; else the run ends.
    fn closed(&mut self, _out: &mut Outboxes, _client: usize, _code: Option<u16>) -> bool {
        false
    }

    /// Sends what is due in an open loop; when there is more to do, in nanoseconds since the
    /// start.
    fn due(&mut self, _swarm: &mut Swarm) -> io::Result<Option<u64>> {
        Ok(None)
    }
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
    /// Until it has been told.
    identity: Option<Box<Identity>>,
    /// Nothing is read.
    deaf: bool,
    /// The start of a frame, or of the response.
    inbox: Vec<u8>,
}

/// Many clients.
pub(crate) struct Swarm {
    target: Target,
    poll: Poll,
    events: Events,
    alarm: Alarm,
    clients: Vec<Client>,
    pub(crate) out: Outboxes,
    scratch: Vec<u8>,
    /// How many clients have been welcome.
    pub(crate) welcomed: usize,
    /// Bytes that were read.
    pub(crate) bytes_read: u64,
    /// What went wrong.
    broken: Option<String>,
}

impl Swarm {
    pub(crate) fn new(target: Target) -> io::Result<Self> {
        let poll = Poll::new()?;
        Ok(Self {
            target,
            alarm: Alarm::new(poll.registry(), ALARM)?,
            poll,
            events: Events::with_capacity(4096),
            clients: Vec::new(),
            out: Outboxes::new(),
            scratch: vec![0; READ],
            welcomed: 0,
            bytes_read: 0,
            broken: None,
        })
    }

    /// How many clients there have been.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Begins to connect a client; its number.
    pub(crate) fn connect(&mut self, identity: Identity) -> io::Result<usize> {
        let number = self.clients.len();
        let mut socket = self.target.socket(number).map_err(|error| {
            let why = format!("cannot connect to {}: {error}", self.target.url);
            io::Error::new(error.kind(), why)
        })?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(number), interest)?;
        self.clients.push(Client {
            socket: Some(socket),
            state: State::Connecting,
            identity: Some(Box::new(identity)),
            deaf: false,
            inbox: Vec::new(),
        });
        self.out.boxes.push(Outbox { blocked: true, ..Outbox::default() });
        Ok(number)
    }

    /// Cuts a client's connection, without a word.
    pub(crate) fn cut(&mut self, client: usize) {
        let client = &mut self.clients[client];
        client.state = State::Closed;
        client.socket = None;
        client.inbox = Vec::new();
    }

    /// Reads nothing more from a client's socket.
    pub(crate) fn deafen(&mut self, client: usize) {
        self.clients[client].deaf = true;
    }

    /// Reads from a client's socket again.
    pub(crate) fn hear(&mut self, client: usize, handler: &mut impl Handler) {
        self.clients[client].deaf = false;
        self.readable(client, handler);
    }

    /// Waits for something to happen, handles it, and writes what is to be written.
    ///
    /// # Errors
    /// A connection that should not have ended has.
    pub(crate) fn turn(&mut self, handler: &mut impl Handler, wait: Duration) -> io::Result<()> {
        self.flush(handler);
        let timeout = if wait >= EXACT {
            // What a poll waits is rounded up.
            Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) - 1)
        } else if wait.is_zero() {
            wait
        } else {
            self.alarm.set(wait)?;
            EXACT
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        self.out.tick();
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in events.iter().filter(|event| event.token() != ALARM) {
            let number = event.token().0;
            if event.is_writable() {
                self.writable(number);
            }
            if event.is_readable() {
                self.readable(number, handler);
            }
        }
        self.events = events;
        self.flush(handler);
        self.broken.take().map_or(Ok(()), |why| Err(io::Error::other(why)))
    }

    fn writable(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.state == State::Connecting {
            let socket = client.socket.as_ref();
            if let Some(Ok(Some(error))) = socket.map(TcpStream::take_error) {
                self.cut(number);
                let why = format!("cannot connect to {}: {error}", self.target.url);
                self.broken.get_or_insert(why);
                return;
            }
            client.state = State::Upgrading;
            let request = self.target.request();
            self.out.push(number, |bytes| bytes.extend(request.as_bytes()));
        }
        let outbox = &mut self.out.boxes[number];
        outbox.blocked = false;
        if outbox.written < outbox.bytes.len() {
            self.out.mark(number);
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
                        self.end(number, handler, None);
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

    /// A connection has ended, with this code.
    fn end(&mut self, number: usize, handler: &mut impl Handler, code: Option<u16>) {
        let state = self.clients[number].state;
        if state == State::Closed {
            return;
        }
        self.cut(number);
        if state != State::Ready {
            self.refused(format_args!("closed before the welcome{}", Code(code)));
        } else if !handler.closed(&mut self.out, number, code) {
            let why = format!("the server closed connection {number}{}", Code(code));
            self.broken.get_or_insert(why);
        }
    }

    fn refused(&mut self, why: impl fmt::Display) {
        self.broken.get_or_insert_with(|| format!("the server refused a connection: {why}"));
    }

    fn readable(&mut self, number: usize, handler: &mut impl Handler) {
        let mut scratch = std::mem::take(&mut self.scratch);
        loop {
            let client = &mut self.clients[number];
            if client.deaf {
                break;
            }
            let Some(socket) = client.socket.as_mut() else { break };
            match socket.read(&mut scratch) {
                Ok(0) => {
                    self.end(number, handler, None);
                    break;
                }
                Ok(count) => {
                    self.bytes_read += count as u64;
                    self.out.tick();
                    self.ingest(number, &scratch[..count], handler);
                    if count < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.end(number, handler, None);
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
                let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                self.refused(String::from_utf8_lossy(line));
                self.cut(number);
                return bytes.len();
            }
            at = end + 4;
            let client = &mut self.clients[number];
            client.state = State::Authenticating;
            let Some(identity) = client.identity.take() else { return bytes.len() };
            self.out.send(number, &identity.auth());
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
                    self.end(number, handler, close_code(payload));
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
            self.welcomed += 1;
            let id = frame["peer"]["id"].as_str().unwrap_or_default();
            handler.ready(&mut self.out, number, id);
        } else if frame["type"] == "error" {
            self.refused(frame["message"].as_str().unwrap_or_default());
            self.cut(number);
        }
    }
}

/// A code of a close frame, for people.
struct Code(Option<u16>);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |code| write!(f, " with code {code}"))
    }
}
