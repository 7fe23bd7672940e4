//! permessage-deflate: SPEC R-T10.

use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
};

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};

use super::{client::socket, start, start_with};
use crate::adapter::{
    AuthDecision, Compression, Config, FrameDecision, FrameRequest, Server, ServerBuilder, block_on,
};

const OFFER: &str = "permessage-deflate; client_max_window_bits";
/// The bits of a first byte: the last frame of a message, compressed, of text.
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const TEXT: u8 = 0x01;
const MIB: usize = 1024 * 1024;

/// A client on frames as they travel.
struct Raw {
    socket: BufReader<TcpStream>,
    /// The head of the answer.
    head: String,
}

impl Raw {
    fn connect(server: &Server, offer: Option<&str>) -> Self {
        let mut socket = socket(server);
        let offer =
            offer.map(|offer| format!("Sec-WebSocket-Extensions: {offer}\r\n")).unwrap_or_default();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{offer}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        let mut socket = BufReader::new(socket);
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        Self { socket, head: String::from_utf8(head).unwrap() }
    }

    /// Connects with compression and authenticates, in a room.
    fn join(server: &Server, user: &str) -> Self {
        let mut raw = Self::connect(server, Some(OFFER));
        assert!(raw.head.contains("Sec-WebSocket-Extensions: permessage-deflate;"), "{}", raw.head);
        raw.send(FIN | TEXT, auth(user).as_bytes());
        assert_eq!(raw.recv_type("welcome").1["status"], 200);
        raw
    }

    fn send(&mut self, first: u8, payload: &[u8]) {
        self.socket.get_mut().write_all(&frame(first, payload)).unwrap();
    }

    /// The next frame: its first byte and its payload.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 2];
        self.socket.read_exact(&mut header).unwrap();
        let length = match header[1] {
            127 => {
                let mut length = [0; 8];
                self.socket.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length)
            }
            126 => {
                let mut length = [0; 2];
                self.socket.read_exact(&mut length).unwrap();
                u16::from_be_bytes(length).into()
            }
            length => length.into(),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.socket.read_exact(&mut payload).unwrap();
        (header[0], payload)
    }

    /// The next text, and whether it was compressed.
    fn recv(&mut self) -> (bool, Value) {
        loop {
            match self.frame() {
                (0x81, text) => return (false, serde_json::from_slice(&text).unwrap()),
                (0xc1, message) => {
                    return (true, serde_json::from_slice(&inflate(&message)).unwrap());
                }
                (first, payload) => assert_ne!(first, 0x88, "{payload:?}"),
            }
        }
    }

    fn recv_type(&mut self, kind: &str) -> (bool, Value) {
        loop {
            let (deflated, value) = self.recv();
            if value["type"] == kind {
                return (deflated, value);
            }
        }
    }

    /// The code that the server closes with; what comes before is passed over.
    fn closed(&mut self) -> u16 {
        loop {
            if let (0x88, payload) = self.frame() {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}

fn auth(user: &str) -> String {
    json!({ "type": "auth", "user": user, "rooms": ["r"] }).to_string()
}

/// A message that has so many bytes as text.
fn message(size: usize) -> String {
    let frame = |data: &str| json!({ "type": "message", "to": "r", "data": data }).to_string();
    frame(&"x".repeat(size - frame("").len()))
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0xfe);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0xff);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What a client makes of a text.
fn deflate(text: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 1000);
    let mut state = Compress::new(flate2::Compression::best(), false);
    state.compress_vec(text, &mut out, flush).unwrap();
    out
}

fn compressed(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = deflate(text.as_ref(), FlushCompress::Sync);
    assert!(out.ends_with(b"\x00\x00\xff\xff"));
    out.truncate(out.len() - 4);
    out
}

fn inflate(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 * MIB);
    let message = [message, b"\x00\x00\xff\xff"].concat();
    Decompress::new(false).decompress_vec(&message, &mut out, FlushDecompress::None).unwrap();
    out
}

fn compressing(config: &mut Config) {
    config.compression = Some(Compression::default());
    config.engine.rate = None;
}

/// R-T10: it is off where nobody has asked for it, on either side.
#[test]
fn who_compresses() {
    let off = start(|_| {});
    let mut raw = Raw::connect(&off, Some(OFFER));
    assert!(!raw.head.to_lowercase().contains("extensions"), "{}", raw.head);
    raw.send(FIN | RSV1 | TEXT, &compressed(auth("alice")));
    assert_eq!(raw.closed(), 1002);

    let on = start(compressing);
    let mut raw = Raw::connect(&on, None);
    assert!(!raw.head.to_lowercase().contains("extensions"), "{}", raw.head);
    raw.send(FIN | RSV1 | TEXT, &compressed(auth("alice")));
    assert_eq!(raw.closed(), 1002);
    let broken = Raw::connect(&on, Some("permessage-deflate; ="));
    assert!(broken.head.starts_with("HTTP/1.1 400 "), "{}", broken.head);
}

/// R-T10: each may or may not, and they understand each other.
#[test]
fn with_and_without() {
    let server = start(compressing);
    let mut alice = Raw::join(&server, "alice");
    let mut plain = Raw::connect(&server, None);
    plain.send(FIN | TEXT, auth("bob").as_bytes());
    plain.recv_type("welcome");
    let mut carol = Raw::join(&server, "carol");
    for (size, deflated) in [(500, false), (2000, true), (200_000, true)] {
        let text = message(size);
        alice.send(FIN | RSV1 | TEXT, &compressed(&text));
        let (seen, frame) = carol.recv_type("message");
        assert_eq!(seen, deflated, "{size}");
        assert_eq!(frame["data"], serde_json::from_str::<Value>(&text).unwrap()["data"]);
        assert_eq!(plain.recv_type("message"), (false, frame.clone()));
        // A client that may compress need not.
        carol.send(FIN | TEXT, text.as_bytes());
        assert_eq!(alice.recv_type("message").1["data"], frame["data"]);
        assert_eq!(plain.recv_type("message").1["data"], frame["data"]);
    }
    let stats = block_on(server.handle().stats()).unwrap().transport;
    assert_eq!((stats.inflated, stats.deflated), (3, 4));
}

/// R-T10: what goes to 200 is compressed once, on however many threads they are.
#[test]
fn once_for_all_receivers() {
    let server = start(|config| {
        compressing(config);
        config.compression.as_mut().unwrap().threshold = 100_000;
    });
    let mut sender = Raw::join(&server, "sender");
    let mut receivers: Vec<_> =
        (0..200).map(|number| Raw::join(&server, &format!("user{number}"))).collect();
    let before = block_on(server.handle().stats()).unwrap().transport;
    assert_eq!(before.deflated, 0);
    sender.send(FIN | RSV1 | TEXT, &compressed(message(150_000)));
    for receiver in &mut receivers {
        let (deflated, frame) = receiver.recv_type("message");
        assert!(deflated);
        assert!(frame["data"].as_str().unwrap().len() > 149_000);
    }
    let after = block_on(server.handle().stats()).unwrap().transport;
    assert_eq!((after.deflated, after.inflated), (1, 1));
}

/// Compression, where a client has so many units and hardly gets more.
fn charging(config: &mut Config, burst: u32) {
    compressing(config);
    let mut rate = symple_engine::server::RateLimit::default();
    (rate.units_per_second, rate.burst) = (1, burst);
    config.engine.rate = Some(rate);
}

/// R-L3, R-T10: whoever has something compressed for others pays for it, also where a hook decides
/// about the frame, at once or later.
#[test]
fn compressing_is_charged() {
    let paused = |size: usize, hook: fn(ServerBuilder) -> ServerBuilder| {
        let server = start_with(|builder| hook(builder.configure(|config| charging(config, 20))));
        let (mut alice, mut bob) = (Raw::join(&server, "alice"), Raw::join(&server, "bob"));
        alice.send(FIN | RSV1 | TEXT, &compressed(message(size)));
        let (deflated, _) = bob.recv_type("message");
        (deflated, block_on(server.handle().stats()).unwrap().engine.paused)
    };
    let hooks: [fn(ServerBuilder) -> ServerBuilder; 3] = [
        |builder| builder,
        |builder| builder.on_frame(|_: &FrameRequest| FrameDecision::pass()),
        |builder| builder.on_frame_async(|_: FrameRequest| async { FrameDecision::pass() }),
    ];
    for hook in hooks {
        // 1 and 4 for its bytes, and 17 for what was done with them.
        assert_eq!(paused(34_000, hook), (true, 1));
        // What is too short for that costs a frame.
        assert_eq!(paused(900, hook), (false, 0));
    }
}

/// R-L3, R-T10: what was sent behind an authentication that is still to be decided (R-A11) is charged
/// when its turn comes.
#[test]
fn compressing_what_has_waited_is_charged() {
    let server = start_with(|builder| {
        let builder = builder.configure(|config| charging(config, 20));
        builder.authenticate(|_| async { AuthDecision::allow_claimed().rooms(["r"]) })
    });
    let mut bob = Raw::join(&server, "bob");
    let mut alice = Raw::connect(&server, Some(OFFER));
    let (auth, message) = (auth("alice"), message(34_000));
    let frames = [auth, message].map(|text| frame(FIN | TEXT, text.as_bytes()));
    alice.socket.get_mut().write_all(&frames.concat()).unwrap();
    assert!(bob.recv_type("message").0);
    assert_eq!(block_on(server.handle().stats()).unwrap().engine.paused, 1);
}

/// R-L3, R-T10: a text is paid for once, on however many threads its receivers are. It goes to those
/// who share a room with its sender, who are on other threads if there are any, and then to the rest.
#[test]
fn compressing_is_charged_once() {
    let server = start(|config| charging(config, 35));
    let mut alice = Raw::join(&server, "alice");
    let mut others: Vec<_> = (0..8)
        .map(|number| {
            let mut other = Raw::connect(&server, Some(OFFER));
            let (user, room) = (format!("user{number}"), ["r", "s"][usize::from(number >= 3)]);
            let auth = json!({ "type": "auth", "user": user, "rooms": [room] });
            other.send(FIN | TEXT, auth.to_string().as_bytes());
            other.recv_type("welcome");
            other
        })
        .collect();
    let data = "x".repeat(34_000);
    let text = json!({ "type": "message", "to": ["r", "s"], "data": data });
    // 1 and 4 for its bytes, and 17 for compressing them.
    alice.send(FIN | RSV1 | TEXT, &compressed(text.to_string()));
    for other in &mut others {
        assert!(other.recv_type("message").0);
    }
    let stats = block_on(server.handle().stats()).unwrap();
    assert_eq!((stats.transport.deflated, stats.engine.paused), (1, 0));
}

/// R-L3, R-T10: nobody pays for what is compressed for nobody, on whichever threads the receivers
/// are.
#[test]
fn compressing_for_nobody_costs_nothing() {
    let server = start(|config| charging(config, 20));
    let mut alice = Raw::join(&server, "alice");
    let mut others: Vec<_> = (0..4)
        .map(|n| {
            let mut other = Raw::connect(&server, None);
            other.send(FIN | TEXT, auth(&format!("plain{n}")).as_bytes());
            other.recv_type("welcome");
            other
        })
        .collect();
    // 1 and 4 for its bytes; to compress it would be 17 more.
    alice.send(FIN | RSV1 | TEXT, &compressed(message(34_000)));
    for other in &mut others {
        assert!(!other.recv_type("message").0);
    }
    let stats = block_on(server.handle().stats()).unwrap();
    assert_eq!((stats.transport.deflated, stats.engine.paused), (0, 0));
}

/// RFC 7692 §6.1: a compressed message in fragments, with a ping in between; the bit stands on the
/// first of them alone, and on no control frame.
#[test]
fn fragments() {
    let server = start(compressing);
    let mut bob = Raw::join(&server, "bob");
    let mut alice = Raw::join(&server, "alice");
    let text = message(5000);
    let whole = compressed(&text);
    let (first, rest) = whole.split_at(10);
    let (second, last) = rest.split_at(1);
    alice.send(RSV1 | TEXT, first);
    alice.send(0x89, b"?");
    alice.send(0x00, second);
    alice.send(0x00, b"");
    alice.send(FIN, last);
    assert!(bob.recv_type("message").1["data"].as_str().unwrap().len() > 4900);
    for frames in [
        vec![(FIN | RSV1 | 0x09, &b""[..])],
        vec![(FIN | RSV1 | 0x0a, b"")],
        vec![(FIN | RSV1 | 0x08, b"")],
        vec![(TEXT, b"{"), (FIN | RSV1, b"}")],
        vec![(RSV1 | TEXT, first), (FIN | RSV1, rest)],
        vec![(FIN | RSV1 | 0x20 | TEXT, &whole)],
    ] {
        let mut mallory = Raw::join(&server, "mallory");
        for (first, payload) in frames {
            mallory.send(first, payload);
        }
        assert_eq!(mallory.closed(), 1002);
    }
}

/// R-L1: the limit counts what is inflated, exactly, and holds while it runs: a gigabyte costs no
/// more than a megabyte.
#[test]
fn bombs() {
    let server = start(compressing);
    let mut bob = Raw::join(&server, "bob");
    let mut alice = Raw::join(&server, "alice");
    alice.send(FIN | RSV1 | TEXT, &compressed(message(MIB)));
    assert!(bob.recv_type("message").1["data"].as_str().unwrap().len() > MIB - 100);
    // What is flushed in full stands for itself, and may be repeated.
    let mebibyte = deflate(&vec![b'x'; MIB], FlushCompress::Full);
    let gibibyte = mebibyte.repeat(1024);
    assert!(gibibyte.len() < MIB + MIB / 8, "{}", gibibyte.len());
    let more = compressed(message(MIB + 1));
    let (head, tail) = more.split_at(more.len() / 2);
    for frames in [
        vec![(FIN | RSV1 | TEXT, &*more)],
        vec![(RSV1 | TEXT, head), (FIN, tail)],
        vec![(FIN | RSV1 | TEXT, &gibibyte)],
        vec![(RSV1 | TEXT, &gibibyte), (FIN, b"\0")],
    ] {
        let mut mallory = Raw::join(&server, "mallory");
        for (first, payload) in frames {
            mallory.send(first, payload);
        }
        assert_eq!(mallory.recv_type("error").1["status"], 413);
        assert_eq!(mallory.closed(), 1009);
    }
    // Before authentication less is allowed.
    let mut stranger = Raw::connect(&server, Some(OFFER));
    stranger.send(FIN | RSV1 | TEXT, &compressed(vec![b' '; 64 * 1024 + 1]));
    assert_eq!(stranger.recv_type("error").1["status"], 413);
    assert_eq!(stranger.closed(), 1009);
}

/// RFC 7692 §7.2.2: what cannot be inflated, and what is no text then.
#[test]
fn invalid_data() {
    let server = start(compressing);
    let whole = compressed(message(5000));
    for payload in
        [&b"\xff\xff\xff"[..], b"", b"{}", &whole[..whole.len() - 3], &compressed(b"\"\xff\"")]
    {
        let mut mallory = Raw::join(&server, "mallory");
        mallory.send(FIN | RSV1 | TEXT, payload);
        assert_eq!(mallory.closed(), 1007, "{payload:?}");
    }
}

/// R-A11: what follows the authentication at once, and is too big for a stranger, waits for it; in
/// one frame and in several.
#[test]
fn behind_the_authentication() {
    for hook in [false, true] {
        let server = start_with(|builder| {
            let builder = builder.configure(compressing);
            if hook {
                builder.authenticate(|_| async { AuthDecision::allow_claimed().rooms(["r"]) })
            } else {
                builder
            }
        });
        let mut bob = Raw::join(&server, "bob");
        let text = compressed(message(300_000));
        let (first, rest) = text.split_at(20);
        for frames in [
            vec![frame(FIN | RSV1 | TEXT, &text)],
            vec![frame(RSV1 | TEXT, first), frame(0x89, b""), frame(FIN, rest)],
        ] {
            let mut alice = Raw::connect(&server, Some(OFFER));
            let auth = frame(FIN | RSV1 | TEXT, &compressed(auth("alice")));
            let bytes = [&[auth], &*frames].concat().concat();
            alice.socket.get_mut().write_all(&bytes).unwrap();
            assert!(bob.recv_type("message").1["data"].as_str().unwrap().len() > 299_000);
        }
    }
}
