use std::{
    collections::VecDeque,
    io::IoSlice,
    sync::{Arc, Mutex},
    task::Waker,
};

use flate2::{Compress, FlushCompress};
use proptest::prelude::*;
use rand::SeedableRng as _;
use tungstenite::{
    Message,
    protocol::{Role, WebSocket},
};

use super::*;

const LIMIT: usize = 1000;

/// A wire, of which the test has the other end.
#[derive(Clone, Debug, Default)]
struct Wire(Arc<Mutex<Ends>>);

#[derive(Debug)]
struct Ends {
    /// What is read, a piece at a time. An empty piece is the end.
    arrives: VecDeque<Vec<u8>>,
    written: Vec<u8>,
    /// How many bytes it still takes.
    takes: usize,
}

impl Default for Ends {
    fn default() -> Self {
        Self { arrives: VecDeque::new(), written: Vec::new(), takes: usize::MAX }
    }
}

impl Wire {
    fn arrives(&self, bytes: &[u8]) {
        self.0.lock().unwrap().arrives.push_back(bytes.to_vec());
    }

    fn written(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap().written)
    }

    fn takes(&self, bytes: usize) {
        self.0.lock().unwrap().takes = bytes;
    }
}

impl Socket for Wire {
    fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut ends = self.0.lock().unwrap();
        let Some(mut piece) = ends.arrives.pop_front() else { return Poll::Pending };
        let count = piece.len().min(buf.len());
        buf[..count].copy_from_slice(&piece[..count]);
        piece.drain(..count);
        if !piece.is_empty() {
            ends.arrives.push_front(piece);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut ends = self.0.lock().unwrap();
        let count = ends.takes.min(buf.len());
        if count == 0 {
            return Poll::Pending;
        }
        ends.takes -= count;
        ends.written.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        &mut self,
        _: &mut Context<'_>,
        _: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        unreachable!()
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        unreachable!()
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn with(compression: Option<Compression>, limit: usize) -> (ClientSocket, Wire) {
    let wire = Wire::default();
    let random = StdRng::seed_from_u64(1);
    (ClientSocket::new(Box::new(wire.clone()), &[], limit, compression, random), wire)
}

fn plain() -> (ClientSocket, Wire) {
    with(None, LIMIT)
}

fn deflating() -> (ClientSocket, Wire) {
    with(Some(Compression::default()), LIMIT)
}

/// What is read before there is nothing more.
fn read(socket: &mut ClientSocket) -> Option<Result<Incoming, SocketError>> {
    match socket.poll_read(&mut cx()) {
        Poll::Ready(read) => Some(read),
        Poll::Pending => None,
    }
}

/// The next text; what comes before is passed over.
fn text(socket: &mut ClientSocket) -> String {
    loop {
        match read(socket) {
            Some(Ok(Incoming::Text(text))) => return text.to_string(),
            Some(Ok(Incoming::Alive)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The next error; what comes before is passed over.
fn error(socket: &mut ClientSocket) -> SocketError {
    loop {
        match read(socket) {
            Some(Err(error)) => return error,
            Some(Ok(Incoming::Alive)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A frame as a server sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let (mut header, len) = encode(Opcode::Text, false, payload.len());
    header[0] = first;
    [&header[..len], payload].concat()
}

/// The frames that a client has written: their first bytes, and their payloads.
fn frames(mut bytes: Vec<u8>) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let header = Header::parse(&bytes).unwrap().unwrap();
        let end = header.len + header.payload as usize;
        let mut payload = bytes[header.len..end].to_vec();
        apply_mask(&mut payload, header.mask.expect("a client masks"));
        frames.push((bytes[0], payload));
        bytes.drain(..end);
    }
    frames
}

fn flush(socket: &mut ClientSocket) -> bool {
    match socket.poll_flush(&mut cx()) {
        Poll::Ready(flushed) => {
            flushed.unwrap();
            true
        }
        Poll::Pending => false,
    }
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 1000);
    let mut state = Compress::new(flate2::Compression::best(), false);
    state.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
    out.truncate(out.len() - 4);
    out
}

fn outgoing(text: &str) -> Outgoing {
    Outgoing::Text(Text::from(text.to_owned()))
}

/// RFC 6455 §5.1, §5.2: what a server may not send ends the connection, and it is told.
#[test]
fn what_no_server_may_send() {
    for (what, bytes, code) in [
        ("a masked frame", b"\x81\x85\0\0\0\0hello".to_vec(), 1002),
        ("compressed without agreement", frame(0xc1, b"x"), 1002),
        ("a reserved bit", frame(0xa1, b"x"), 1002),
        ("continuation of nothing", frame(0x80, b"x"), 1002),
        ("a text in a text", [frame(0x01, b"a"), frame(0x81, b"b")].concat(), 1002),
        ("a long ping", frame(0x89, &[0; 126]), 1002),
        ("a close with one byte", frame(0x88, b"\x03"), 1002),
        ("a text that is none", frame(0x81, b"\xff"), 1007),
        ("a close whose reason is none", frame(0x88, b"\x03\xe8\xff"), 1007),
        ("one more than the limit", frame(0x81, &[b'x'; LIMIT + 1]), 1009),
        ("one more in fragments", [frame(0x01, &[b'x'; LIMIT]), frame(0x80, b"x")].concat(), 1009),
        ("a claim", b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff".to_vec(), 1009),
    ] {
        let (mut socket, wire) = plain();
        wire.arrives(&bytes);
        assert_eq!(error(&mut socket).code(), Some(CloseCode(code)), "{what}");
        let told = u16::to_be_bytes(code).to_vec();
        assert_eq!(frames(wire.written()), [(0x88, told)], "{what}");
    }
    let (mut socket, wire) = plain();
    wire.arrives(&[]);
    assert!(matches!(error(&mut socket), SocketError::Cut));
    assert!(wire.written().is_empty());
}

/// What a client does not look into says all the same that the server lives.
#[test]
fn what_is_no_text() {
    let (mut socket, wire) = plain();
    wire.arrives(&frame(0x82, b"\xff"));
    wire.arrives(&[frame(0x02, b"\xff"), frame(0x8a, b""), frame(0x80, b"\xff")].concat());
    for _ in 0..4 {
        assert!(matches!(read(&mut socket), Some(Ok(Incoming::Alive))));
    }
    assert!(read(&mut socket).is_none());
    // Exactly the limit, in a piece and in many.
    wire.arrives(&frame(0x81, &[b'x'; LIMIT]));
    assert_eq!(text(&mut socket).len(), LIMIT);
    wire.arrives(&frame(0x01, &[b'x'; LIMIT]));
    (0..5000).for_each(|_| wire.arrives(&frame(0x00, b"")));
    wire.arrives(&frame(0x80, b""));
    assert_eq!(text(&mut socket).len(), LIMIT);
}

/// Memory grows with what arrives, and is given back.
#[test]
fn buffers() {
    const LARGE: usize = 4 * 1024 * 1024;
    let (mut socket, wire) = with(None, LARGE);
    let large = frame(0x81, &vec![b'x'; LARGE]);
    wire.arrives(&large[..100]);
    assert!(read(&mut socket).is_none());
    assert!(socket.input.bytes.len() <= READ);
    wire.arrives(&large[100..]);
    let text = loop {
        // It is not read all at once.
        match read(&mut socket) {
            Some(Ok(Incoming::Text(text))) => break text,
            None => assert!(socket.input.bytes.len() <= large.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(text.len(), LARGE);
    assert!(read(&mut socket).is_none());
    assert!(socket.input.bytes.len() <= READ);

    wire.takes(1000);
    socket.push(&Outgoing::Text(text));
    assert!(socket.poll_ready(&mut cx()).is_pending());
    wire.takes(usize::MAX);
    assert!(socket.poll_ready(&mut cx()).is_ready());
    assert!(flush(&mut socket));
    assert!(socket.output.capacity() <= KEPT);
    assert_eq!(frames(wire.written())[0].1.len(), LARGE);
}

/// RFC 6455 §5.5: the latest ping is answered, as long as the client has not said goodbye, and a
/// server that does not read gets no memory for more.
#[test]
fn pings() {
    let (mut socket, wire) = plain();
    wire.arrives(&[frame(0x89, b"1"), frame(0x89, b"2")].concat());
    while read(&mut socket).is_some() {}
    assert!(flush(&mut socket));
    assert_eq!(frames(wire.written()), [(0x8a, b"2".to_vec())]);

    wire.takes(0);
    while socket.waits() < WRITE {
        socket.push(&outgoing(&"x".repeat(1000)));
    }
    let waits = socket.waits();
    for _ in 0..100 {
        wire.arrives(&frame(0x89, &[0; 125]));
        read(&mut socket);
        assert!(!flush(&mut socket));
    }
    assert_eq!(socket.waits(), waits);
    wire.takes(usize::MAX);
    assert!(flush(&mut socket));
    assert_eq!(frames(wire.written()).last(), Some(&(0x8a, vec![0; 125])));

    wire.arrives(&frame(0x89, b"3"));
    read(&mut socket);
    socket.push(&Outgoing::Close(CloseCode(1000), "bye"));
    socket.push(&outgoing("too late"));
    assert!(flush(&mut socket));
    assert_eq!(frames(wire.written()), [(0x88, b"\x03\xe8bye".to_vec())]);
}

/// RFC 6455 §5.5.1: a close frame is answered, once, with its code.
#[test]
fn goodbyes() {
    for (payload, code) in [(&b""[..], None), (b"\x0f\xa1why", Some(CloseCode(4001)))] {
        for first in [true, false] {
            let (mut socket, wire) = plain();
            if !first {
                socket.push(&Outgoing::Close(CloseCode(1000), ""));
            }
            wire.arrives(&frame(0x88, payload));
            let Some(Ok(Incoming::Close(found, _))) = read(&mut socket) else { panic!() };
            assert_eq!(found, code);
            assert!(flush(&mut socket));
            let answer = payload.get(..2).unwrap_or_default().to_vec();
            let expected = if first { answer } else { b"\x03\xe8".to_vec() };
            assert_eq!(frames(wire.written()), [(0x88, expected)]);
        }
    }
}

/// R-T10: the limit of messages holds for what is inflated, while it runs.
#[test]
fn inflating() {
    let (exact, more) = (vec![b'x'; LIMIT], vec![b'x'; LIMIT + 1]);
    let bomb = deflate(&vec![b'x'; 100_000_000]);
    let in_two = |message: &[u8]| {
        let (one, other) = message.split_at(message.len() / 2);
        [frame(0x41, one), frame(0x89, b""), frame(0x80, other)].concat()
    };
    let (mut socket, wire) = deflating();
    for (message, fits) in [(deflate(&exact), true), (deflate(&more), false), (bomb, false)] {
        for bytes in [frame(0xc1, &message), in_two(&message)] {
            let bytes: &[u8] = &bytes;
            if fits {
                wire.arrives(bytes);
                assert_eq!(text(&mut socket).len(), LIMIT);
                continue;
            }
            let (mut socket, wire) = with(Some(Compression::default()), LIMIT);
            wire.arrives(bytes);
            assert!(matches!(error(&mut socket), SocketError::TooBig(LIMIT)));
            let deflate = socket.deflate.as_ref().unwrap();
            let memory = deflate.inflater.as_ref().map_or(0, Inflater::capacity);
            assert!(memory <= 64 * 1024, "{memory}");
            assert_eq!(frames(wire.written()).last(), Some(&(0x88, b"\x03\xf1".to_vec())));
        }
    }
    // What is not compressed is taken as before; what cannot be inflated ends the connection.
    wire.arrives(&frame(0x81, b"hello"));
    assert_eq!(text(&mut socket), "hello");
    for payload in [&b"\xff\xff"[..], &deflate(b"\xff")] {
        let (mut socket, wire) = deflating();
        wire.arrives(&frame(0xc1, payload));
        assert_eq!(error(&mut socket).code(), Some(CloseCode(1007)));
    }
}

/// R-T10: texts from the threshold on are compressed. Nothing has memory for that before it is needed.
#[test]
fn deflating_texts() {
    let (mut socket, wire) = deflating();
    let long = "hello ".repeat(1000);
    socket.push(&outgoing("short"));
    wire.arrives(&frame(0x81, b"short"));
    read(&mut socket);
    let deflate = socket.deflate.as_ref().unwrap();
    assert!(deflate.deflater.is_none() && deflate.inflater.is_none());
    socket.push(&outgoing(&long));
    socket.push(&outgoing(&long));
    assert!(flush(&mut socket));
    let written = frames(wire.written());
    assert_eq!(written[0], (0x81, b"short".to_vec()));
    assert_eq!(written[1], written[2], "no text refers to one before");
    assert_eq!(written[1].0, 0xc1);
    let mut inflater = Inflater::default();
    assert_eq!(inflater.inflate(&written[1].1, 100_000), Ok(long.as_bytes()));

    let (mut socket, wire) = plain();
    assert!(socket.deflate.is_none());
    socket.push(&outgoing(&long));
    assert!(flush(&mut socket));
    assert_eq!(frames(wire.written()), [(0x81, long.into_bytes())]);
}

/// Where tungstenite's server reads and writes.
#[derive(Debug, Default)]
struct Server {
    read: Vec<u8>,
    written: Vec<u8>,
}

impl io::Read for Server {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.read.len().min(buf.len());
        buf[..count].copy_from_slice(&self.read[..count]);
        self.read.drain(..count);
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }
}

impl io::Write for Server {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

proptest! {
    /// What another library's server writes is read as it was meant, in whatever pieces it comes, and
    /// the other way round.
    #[test]
    fn talks_with_another_library(
        texts in prop::collection::vec(
            prop_oneof![".{0,100}".boxed(), (0..70_000_usize).prop_map(|n| "x".repeat(n)).boxed()],
            1..8,
        ),
        pieces in prop::collection::vec(1..5000_usize, 1..20),
        behind in 0..100_usize,
    ) {
        let mut server = WebSocket::from_raw_socket(Server::default(), Role::Server, None);
        for text in &texts {
            server.write(Message::text(text.as_str())).unwrap();
            server.write(Message::Ping(vec![1].into())).unwrap();
        }
        server.close(None).unwrap();
        let bytes = std::mem::take(&mut server.get_mut().written);
        let wire = Wire::default();
        // Some of it was read behind the response.
        let (first, mut rest) = bytes.split_at(behind.min(bytes.len()));
        let random = StdRng::seed_from_u64(1);
        let mut socket = ClientSocket::new(Box::new(wire.clone()), first, 1_000_000, None, random);
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, others) = rest.split_at((*piece).min(rest.len()));
            wire.arrives(piece);
            rest = others;
        }
        let mut seen = Vec::new();
        for text in &texts {
            socket.push(&outgoing(text));
        }
        loop {
            match read(&mut socket) {
                Some(Ok(Incoming::Text(text))) => seen.push(text.to_string()),
                Some(Ok(Incoming::Close(code, _))) => break prop_assert_eq!(code, None),
                Some(Ok(Incoming::Alive)) | None => {}
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(&seen, &texts);
        prop_assert!(flush(&mut socket));
        server.get_mut().read = wire.written();
        let mut heard = Vec::new();
        while let Ok(message) = server.read() {
            if let Message::Text(text) = message {
                heard.push(text.to_string());
            }
        }
        prop_assert_eq!(heard, texts);
    }

    #[test]
    fn never_panics(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..8), deflates in any::<bool>()) {
        let (mut socket, wire) = if deflates { deflating() } else { plain() };
        pieces.iter().for_each(|piece| wire.arrives(piece));
        while let Some(Ok(_)) = read(&mut socket) {}
    }
}
