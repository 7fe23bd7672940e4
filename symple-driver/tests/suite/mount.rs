//! Connections that the application brings: SPEC §1, R-T8.

mod waiting;

use std::{
    future::Future,
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use serde_json::json;
use symple_driver::runtime;

use super::client::{Client, PATIENCE, get, socket_to, until};
use crate::adapter::{
    AcceptedUpgrade, Config, Handle, HandleError, MountedRequest, Server, ServerBuilder, Stream,
    THREADS, UpgradeDecision, block_on, foreign,
};

/// A server without an address.
fn start(change: impl FnOnce(&mut Config)) -> Server {
    start_with(|builder| builder.configure(change))
}

fn start_with(build: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Server {
    let builder =
        ServerBuilder::new().configure(|config| config.threads = THREADS.try_into().unwrap());
    block_on(async { build(builder).start_unbound() }).unwrap()
}

/// A request for an upgrade, as an HTTP server has read it.
fn request(target: &str, headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::builder().uri(target).body(()).unwrap();
    for (name, value) in [
        ("host", "x"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    .iter()
    .chain(headers)
    {
        request
            .headers_mut()
            .append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    request
}

#[allow(clippy::result_large_err, reason = "it is what the server answers")]
fn upgrade(
    handle: &Handle,
    target: &str,
    headers: &[(&'static str, &str)],
) -> Result<AcceptedUpgrade, Response<String>> {
    block_on(handle.upgrade(&request(target, headers)))
}

fn refused(handle: &Handle, target: &str, headers: &[(&'static str, &str)]) -> (u16, String) {
    let response = upgrade(handle, target, headers).unwrap_err();
    (response.status().as_u16(), response.body().clone())
}

/// Two ends of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = socket_to(listener.local_addr().unwrap());
    (client, listener.accept().unwrap().0)
}

/// Reads a request, and what has come behind it.
fn read_request(socket: &mut TcpStream) -> Option<(Request<()>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut buffer = [0; 4096];
        match socket.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let behind = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.trim_end().lines();
    let mut first = lines.next().unwrap().split(' ');
    let mut request = Request::builder().method(first.next()?).uri(first.next()?);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    Some((request.body(()).unwrap(), behind))
}

fn write_response<T>(socket: &mut TcpStream, response: &Response<T>, body: &str) {
    let mut out = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        out.extend_from_slice(format!("{name}: ").as_bytes());
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("\r\n{body}").as_bytes());
    socket.write_all(&out).unwrap();
}

/// How an application hands its connections over.
type HandOver = fn(&Handle, TcpStream);

/// It reads the request, answers as it is told, and hands the socket over.
fn answers(handle: &Handle, mut socket: TcpStream) {
    answers_with(handle, &mut socket, |socket| socket.try_clone().unwrap().into());
}

/// As [`answers`], with a stream that is no socket.
fn answers_foreign(handle: &Handle, mut socket: TcpStream) {
    answers_with(handle, &mut socket, |socket| {
        let address = socket.peer_addr().unwrap();
        foreign(socket.try_clone().unwrap()).address(address)
    });
}

fn answers_with(handle: &Handle, socket: &mut TcpStream, stream: fn(&TcpStream) -> Stream) {
    let Some((request, behind)) = read_request(socket) else { return };
    let mounted = MountedRequest::from(&request).address(socket.peer_addr().unwrap());
    match block_on(handle.upgrade(mounted)) {
        Ok(accepted) => {
            write_response(socket, accepted.response(), "");
            let _ = block_on(accepted.accept(stream(socket).already_read(behind)));
        }
        Err(response) => write_response(socket, &response, response.body()),
    }
}

/// It reads the request, and leaves the answer to the server.
fn hands_request_over(handle: &Handle, mut socket: TcpStream) {
    let Some((request, behind)) = read_request(&mut socket) else { return };
    let stream = Stream::from(socket).already_read(behind);
    let _ = block_on(handle.accept_request(stream, &request));
}

/// It only accepts.
fn hands_over(handle: &Handle, socket: TcpStream) {
    let _ = block_on(handle.accept(socket));
}

/// As [`hands_over`], with a stream that is no socket, of which some has been read.
fn hands_over_foreign(handle: &Handle, mut socket: TcpStream) {
    let mut bytes = [0; 5];
    if socket.read_exact(&mut bytes).is_ok() {
        let address = socket.peer_addr().unwrap();
        let stream = foreign(socket).address(address).already_read(bytes.to_vec());
        let _ = block_on(handle.accept(stream));
    }
}

const WAYS: [HandOver; 5] =
    [answers, answers_foreign, hands_request_over, hands_over, hands_over_foreign];

/// Connects by way of an application that hands its connections over.
fn connect(
    handle: &Handle,
    way: HandOver,
    target: &str,
    headers: &[(&'static str, &str)],
) -> Result<Client, u16> {
    let (client, server) = pair();
    let handle = handle.clone();
    std::thread::spawn(move || way(&handle, server));
    Client::over(client, &format!("ws://localhost{target}"), headers).map(|(client, _)| client)
}

fn join(handle: &Handle, way: HandOver, user: &str) -> Client {
    let mut client = connect(handle, way, "/", &[]).unwrap();
    client.auth(&json!({ "type": "auth", "user": user, "rooms": ["r"] }));
    client
}

/// R-T8: however a connection is handed over, it is one as any other.
#[test]
fn every_way() {
    let server = start(|config| config.engine.rate = None);
    assert!(server.local_addresses().is_empty());
    let handle = server.handle();
    let mut watcher = join(&handle, answers, "watcher");
    for way in WAYS {
        let mut alice = join(&handle, way, "alice");
        assert_eq!(alice.peer["host"], "127.0.0.1");
        assert_eq!(watcher.recv()["data"]["online"], true);
        alice.recv_type("presence");
        // More than any buffer between holds at once.
        let pad = "x".repeat(900_000);
        for n in 0..4 {
            alice.send(&json!({ "type": "message", "to": "r", "n": n, "pad": pad }));
            watcher.send(&json!({ "type": "message", "to": "r", "n": n, "pad": pad }));
        }
        for n in 0..4 {
            assert_eq!(watcher.recv()["n"], n);
            assert_eq!(alice.recv()["n"], n);
        }
        alice.send(&json!({ "type": "close" }));
        assert_eq!(alice.closed(), 1000);
        assert_eq!(watcher.recv()["data"]["online"], false);
    }
}

/// R-T8: the same decisions as on a port of the server's own, by whichever way.
#[test]
fn the_same_policy() {
    let server = start_with(|builder| {
        let builder = builder.configure(|config| {
            config.path = Some("/ws".into());
            config.allowed_origins = vec!["https://a.test".parse().unwrap()];
        });
        builder.on_upgrade(|request| async move {
            match request.query("ask").as_deref() {
                Some("panic") => panic!("the hook panics"),
                Some("no") => UpgradeDecision::reject(StatusCode::PAYMENT_REQUIRED, "Pay\n")
                    .header(HeaderName::from_static("x-a"), HeaderValue::from_static("b")),
                _ => UpgradeDecision::accept()
                    .header(HeaderName::from_static("set-cookie"), HeaderValue::from_static("c")),
            }
        })
    });
    let handle = server.handle();
    let offered = [("sec-websocket-protocol", "chat, symple.v4")];
    let accepted = upgrade(&handle, "/ws?x=y", &offered).unwrap();
    let response = accepted.response();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(response.headers()["sec-websocket-protocol"], "symple.v4");
    assert_eq!(response.headers()["set-cookie"], "c");
    assert_eq!(response.headers()["connection"], "Upgrade");
    for (target, headers, expected) in [
        ("/other", &[][..], (404, "Not found\n")),
        ("/ws", &[("origin", "https://b.test")], (403, "Origin not allowed\n")),
        ("/ws?ask=no", &[], (402, "Pay\n")),
        ("/ws?ask=panic", &[], (500, "")),
        ("/ws", &[("content-length", "5")], (400, "Not a WebSocket handshake\n")),
        ("/ws", &[("host", "y")], (400, "Bad request\n")),
    ] {
        let (status, body) = refused(&handle, target, headers);
        assert_eq!((status, &*body), expected, "{target} {headers:?}");
        if headers.first().is_none_or(|(name, _)| *name == "origin") {
            for way in WAYS {
                let status = connect(&handle, way, target, headers).map(drop);
                assert_eq!(status, Err(expected.0), "{target} {headers:?}");
            }
        }
    }
    let response = upgrade(&handle, "/ws?ask=no", &[]).unwrap_err();
    assert_eq!(response.headers()["x-a"], "b");
    assert!(!response.headers().contains_key("connection"), "that is the application's");

    // What asks for no WebSocket, or in another version of it, or of HTTP.
    let mut plain = request("/ws", &[]);
    plain.headers_mut().remove("upgrade");
    let response = block_on(handle.upgrade(&plain)).unwrap_err();
    assert_eq!(response.status(), 426);
    assert_eq!(response.headers()["upgrade"], "websocket");
    let mut old = request("/ws", &[]);
    old.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("8"));
    assert_eq!(block_on(handle.upgrade(&old)).unwrap_err().status(), 426);
    let mut post = request("/ws", &[]);
    *post.method_mut() = http::Method::POST;
    let response = block_on(handle.upgrade(&post)).unwrap_err();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &HeaderValue::from_static("GET, HEAD"))
    );
    for version in [http::Version::HTTP_10, http::Version::HTTP_2] {
        let mut other = request("/ws", &[]);
        *other.version_mut() = version;
        assert_eq!(block_on(handle.upgrade(&other)).unwrap_err().status(), 400);
    }
    let large = "x".repeat(20_000);
    assert_eq!(refused(&handle, "/ws", &[("cookie", &large)]).0, 431);
    let many = [("x-y", "z"); 100];
    assert_eq!(refused(&handle, "/ws", &many).0, 431);
}

/// R-T6: the address is what the application says, and only proxies that are trusted say another.
#[test]
fn addresses() {
    let server = start(|config| {
        config.trusted_proxies = ["10.0.0.1", "unix"].map(|one| one.parse().unwrap()).into();
        config.engine.connections.per_address = 2;
    });
    let handle = server.handle();
    let host = |change: fn(MountedRequest) -> MountedRequest| {
        let request = request("/", &[("x-forwarded-for", "203.0.113.9")]);
        let accepted = block_on(handle.upgrade(change(MountedRequest::from(&request)))).unwrap();
        let (mut client, server) = pair();
        write_response(&mut server.try_clone().unwrap(), accepted.response(), "");
        block_on(accepted.accept(server)).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let role = tungstenite::protocol::Role::Client;
        let ws = tungstenite::WebSocket::from_raw_socket(client, role, None);
        let mut client = Client { ws, peer: serde_json::Value::Null };
        client.send(&json!({ "type": "auth", "user": "alice" }));
        let welcome = client.recv();
        (welcome["peer"]["host"].clone(), client)
    };
    let at = |request: MountedRequest| request.address("192.0.2.1:1".parse().unwrap());
    assert_eq!(host(at).0, "192.0.2.1");
    assert_eq!(host(|request| request.address("10.0.0.1:1".parse().unwrap())).0, "203.0.113.9");
    assert_eq!(host(MountedRequest::unix).0, "203.0.113.9");
    assert!(host(|request| request).0.is_null());
    // Clients without an address are counted for none; others are.
    let nobody: Vec<_> = (0..4).map(|_| host(|request| request)).collect();
    assert!(nobody.iter().all(|(_, client)| client.peer.is_null()));
    let mut some: Vec<_> = (0..2).map(|_| host(at).1).collect();
    let request = MountedRequest::from(&request("/", &[]));
    let accepted = block_on(handle.upgrade(at(request))).unwrap();
    let (client, server) = pair();
    block_on(accepted.accept(server)).unwrap();
    let ws =
        tungstenite::WebSocket::from_raw_socket(client, tungstenite::protocol::Role::Client, None);
    let mut third = Client { ws, peer: serde_json::Value::Null };
    assert_eq!(third.refused(), (503, "At capacity".into(), 1013));
    for client in &mut some {
        client.send(&json!({ "type": "event", "to": "alice", "name": "still here" }));
    }
}

/// R-L2: those whose streams do not come give way, and whoever brings them then is told.
#[test]
fn streams_that_do_not_come() {
    let server = start(|config| config.engine.connections.unauthenticated = 4);
    let handle = server.handle();
    let mut waiting: Vec<_> = (0..12).map(|_| upgrade(&handle, "/", &[]).unwrap()).collect();
    let last = waiting.pop().unwrap();
    let (_client, socket) = pair();
    assert_eq!(block_on(waiting.remove(0).accept(socket)), Err(HandleError::Ended));
    let (_client, socket) = pair();
    assert_eq!(block_on(last.accept(socket)), Ok(()));
    drop(waiting);
    // What is dropped is given up.
    loop {
        let stats = block_on(handle.stats()).unwrap();
        if stats.transport.sockets == 1 {
            assert!(stats.transport.upgrades_dropped >= 7, "{stats:?}");
            break;
        }
    }
}

/// R-L5: a stream that comes too late.
#[test]
fn a_stream_that_comes_too_late() {
    let server = start(|config| config.upgrade_timeout = Duration::from_millis(50));
    let handle = server.handle();
    let late = upgrade(&handle, "/", &[]).unwrap();
    until("it is dropped", || block_on(handle.stats()).unwrap().transport.upgrades_dropped > 0);
    let (mut client, socket) = pair();
    assert_eq!(block_on(late.accept(socket)), Err(HandleError::Ended));
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "it is dropped");
}

/// R-L4: a mounted stream that takes nothing is closed as any other, and hurts nobody.
#[test]
fn a_stream_that_stalls() {
    for way in [answers, answers_foreign] {
        let server = start(|config| {
            config.engine.rate = None;
            config.outbound_limit = 1024 * 1024;
        });
        let handle = server.handle();
        let mut sender = join(&handle, way, "sender");
        let mut reader = join(&handle, way, "reader");
        let mut sleeper = join(&handle, way, "sleeper");
        reader.recv_type("presence");
        let pad = "x".repeat(100_000);
        let mut gone = false;
        for sent in 0.. {
            assert!(sent < 2_000, "the sleeper is never closed");
            sender.send(&json!({ "type": "message", "to": "r", "n": sent, "pad": pad }));
            loop {
                let frame = reader.recv();
                if frame["n"] == sent {
                    break;
                }
                gone |= frame["data"]["online"] == false;
            }
            if gone {
                break;
            }
        }
        assert_eq!(sleeper.closed(), 4429);
    }
}

/// SPEC §12: what is asked of a server that ends, or has ended, has a clear answer.
#[test]
fn shutdown() {
    let server = start(|_| {});
    let handle = server.handle();
    let mut alice = join(&handle, answers, "alice");
    let early = upgrade(&handle, "/", &[]).unwrap();
    block_on(handle.shutdown(Duration::from_secs(60))).unwrap();
    assert_eq!(alice.recv_type("event")["name"], "shutdown");
    // It was let in, and comes when nobody is let in any more.
    let (_client, socket) = pair();
    assert_eq!(block_on(early.accept(socket)), Err(HandleError::Ended));
    let response = upgrade(&handle, "/", &[]).unwrap_err();
    assert_eq!((response.status().as_u16(), &**response.body()), (503, "Server shutting down\n"));
    assert!(response.headers().contains_key("retry-after"));
    for way in WAYS {
        assert_eq!(connect(&handle, way, "/", &[]).map(drop), Err(503));
    }
    let ending = std::thread::spawn(move || block_on(server.shutdown(Duration::ZERO)));
    assert_eq!(alice.closed(), 1001);
    assert_eq!(ending.join().unwrap(), Ok(()));

    let response = upgrade(&handle, "/", &[]).unwrap_err();
    assert_eq!((response.status().as_u16(), &**response.body()), (503, "Server shutting down\n"));
    assert!(response.headers().contains_key("retry-after"));
    for way in [answers, answers_foreign] {
        assert_eq!(connect(&handle, way, "/", &[]).map(drop), Err(503));
    }
    let (mut client, socket) = pair();
    assert_eq!(block_on(handle.accept(socket)), Err(HandleError::Ended));
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "it is dropped");
}

/// SPEC §12: who waits for an answer has one when the server is dropped, whatever it waits for.
#[test]
fn dropped_while_mounted() {
    let asked = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&asked);
    let server = start_with(|builder| {
        builder.on_upgrade(move |_| {
            told.store(true, Ordering::SeqCst);
            std::future::pending()
        })
    });
    let handle = server.handle();
    let waiting = std::thread::spawn({
        let handle = handle.clone();
        move || refused(&handle, "/", &[])
    });
    until("the hook is asked", || asked.load(Ordering::SeqCst));
    drop(server);
    assert_eq!(waiting.join().unwrap(), (503, "Server shutting down\n".into()));
    assert_eq!(refused(&handle, "/", &[]).0, 503);
}

/// R-L5: a request about which is not decided in time has an answer, and whoever does not wait for
/// one leaves nothing behind.
#[test]
fn hooks_that_take_long() {
    let (decide, decided) = async_channel::unbounded::<()>();
    let server = start_with(|builder| {
        builder.configure(|config| config.upgrade_timeout = Duration::from_millis(50)).on_upgrade(
            move |_| {
                let decided = decided.clone();
                async move {
                    let _ = decided.recv().await;
                    UpgradeDecision::accept()
                }
            },
        )
    });
    let handle = server.handle();
    let no_answer = (503, "No room, or no answer in time\n".into());
    assert_eq!(refused(&handle, "/", &[]), no_answer);
    drop(decide);

    let (decide, decided) = async_channel::bounded::<()>(1);
    let server = start_with(|builder| {
        builder.on_upgrade(move |_| {
            let decided = decided.clone();
            async move {
                let _ = decided.recv().await;
                UpgradeDecision::accept()
            }
        })
    });
    let handle = server.handle();
    let sockets = |count| waiting::sockets(&handle, count);
    let request = request("/", &[]);
    let mut asking = Box::pin(handle.upgrade(&request));
    let waits =
        block_on(std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx).is_pending())));
    assert!(waits);
    sockets(1);
    drop(asking);
    drop(decide);
    sockets(0);
}

/// A server that stops accepting takes nothing more of the application's either; who is there stays.
#[test]
fn stop_accepting() {
    let server = start(|_| {});
    let handle = server.handle();
    let mut alice = join(&handle, answers, "alice");
    let early = upgrade(&handle, "/", &[]).unwrap();
    block_on(handle.stop_accepting()).unwrap();
    let response = upgrade(&handle, "/", &[]).unwrap_err();
    assert_eq!((response.status().as_u16(), &**response.body()), (503, "No more connections\n"));
    assert_eq!(connect(&handle, hands_request_over, "/", &[]).map(drop), Err(503));
    let (_client, socket) = pair();
    assert_eq!(block_on(handle.accept(socket)), Err(HandleError::Ended));
    // Who had been let in comes in.
    let (_client, socket) = pair();
    assert_eq!(block_on(early.accept(socket)), Ok(()));
    alice.hears_nothing();
}

/// A server that starts to accept again takes what the application brings, in every way; one that
/// shuts down does not start again.
#[test]
fn start_accepting() {
    let server = start(|_| {});
    let handle = server.handle();
    block_on(handle.stop_accepting()).unwrap();
    assert!(upgrade(&handle, "/", &[]).is_err());
    block_on(handle.start_accepting()).unwrap();
    for way in [answers, hands_request_over, hands_over] {
        join(&handle, way, "alice").hears_nothing();
    }
    block_on(handle.shutdown(Duration::from_secs(60))).unwrap();
    assert_eq!(block_on(handle.start_accepting()), Err(HandleError::Ended));
    assert!(upgrade(&handle, "/", &[]).is_err());
}

/// Garbage, and half a request, on a stream that is handed over as it is.
#[test]
fn hostile_streams() {
    let server = start(|config| config.upgrade_timeout = Duration::from_millis(100));
    let handle = server.handle();
    for (bytes, expected) in [
        (&b"\x16\x03\x01"[..], "HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgr", ""),
        (b"", ""),
    ] {
        for way in [hands_over, |handle: &Handle, socket: TcpStream| {
            let _ = block_on(handle.accept(foreign(socket)));
        }] {
            let (mut client, socket) = pair();
            way(&handle, socket);
            client.write_all(bytes).unwrap();
            let mut answer = Vec::new();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = client.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            assert_eq!(answer.get(..expected.len()), Some(expected), "{answer}");
            assert_eq!(answer.is_empty(), expected.is_empty(), "{answer}");
        }
    }
    // One that ends before it is handed over.
    let (client, socket) = pair();
    client.shutdown(Shutdown::Both).unwrap();
    drop(client);
    block_on(handle.accept(socket)).unwrap();
    join(&handle, answers, "alice").hears_nothing();
}

/// A stream whose code is wrong.
struct Wrong {
    socket: TcpStream,
    panics: bool,
}

impl runtime::Socket for Wrong {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.socket.set_nonblocking(true)?;
        match self.socket.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            // More than there is room for.
            Ok(count) => Poll::Ready(Ok(if count > 0 { buf.len() + 1 } else { 0 })),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_write(&mut self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        assert!(!self.panics, "as it should");
        self.socket.set_nonblocking(false)?;
        Poll::Ready(self.socket.write(buf).map(|count| count + 1))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(cx, &bufs.iter().flat_map(|buf| buf.to_vec()).collect::<Vec<_>>())
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown(Shutdown::Write))
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        assert!(!self.panics, "as it should, once more");
    }
}

/// A stream that panics, or says that there was more than there can have been, harms nobody else.
#[test]
fn streams_that_are_wrong() {
    let server = start(|_| {});
    let handle = server.handle();
    let mut alice = join(&handle, answers, "alice");
    for panics in [true, false] {
        let (mut client, socket) = pair();
        let stream = Stream::new(Wrong { socket, panics });
        block_on(handle.accept(stream)).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert_eq!(answer.is_empty(), panics, "{}", answer.escape_ascii());
        alice.hears_nothing();
    }
}

/// A server may have addresses and be mounted, too.
#[test]
fn on_a_port_and_mounted() {
    let server = super::start(|_| {});
    let mut alice = join(&server.handle(), answers, "alice");
    let mut bob = Client::join(&server, "bob", &["r"]);
    assert_eq!(alice.recv_type("presence")["data"]["user"], "bob");
    bob.recv_type("presence");
    assert_eq!(get(&server, "/healthz").0, 200);
    alice.send(&json!({ "type": "message", "to": "r", "data": 1 }));
    assert_eq!(bob.recv()["data"], 1);
}
