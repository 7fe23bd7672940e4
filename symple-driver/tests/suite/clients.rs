//! Our client against our server, and against servers that are none.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use symple_engine::client::{End, Event, OperationError, Outgoing, Status};
use symple_proto::RoutedType;

use super::{start, start_with};
use crate::adapter::{
    AuthDecision, AuthRequest, Client, ClientBuilder, ClientError, ClientEvents, ClientStartError,
    Compression, Config, Server, ServerBuilder, THREADS, block_on, tls, trust,
};

pub(super) fn url(address: SocketAddr) -> String {
    format!("ws://{address}/")
}

/// A client that comes back soon.
pub(super) fn builder(url: impl Into<String>, user: &str) -> ClientBuilder {
    let builder = Client::builder(url).user(user);
    builder.configure(|config| {
        config.reconnect.start = Duration::from_millis(20);
        config.reconnect.after_shutdown = Duration::from_millis(20);
    })
}

/// Whichever says so first, the machine or that it is no more.
fn has_ended(error: &ClientError) -> bool {
    matches!(error, ClientError::Ended | ClientError::Operation(OperationError::Closed(_)))
}

/// What a client is told until this is the case.
pub(super) async fn until(
    events: &mut ClientEvents,
    mut done: impl FnMut(&Event) -> bool,
) -> Event {
    loop {
        let event = events.next().await.expect("the client has not ended");
        if done(&event) {
            return event;
        }
    }
}

pub(super) async fn online(server: &Server, user: &str, room: &str) -> (Client, ClientEvents) {
    let builder = builder(url(server.local_address()), user).room(room);
    let (client, mut events) = builder.connect().await.unwrap();
    until(&mut events, |event| matches!(event, Event::RosterComplete)).await;
    (client, events)
}

pub(super) async fn users(client: &Client) -> Vec<String> {
    let roster = client.roster().await.unwrap();
    let mut users: Vec<_> = roster.iter().map(|peer| peer.user().to_string()).collect();
    users.sort();
    users
}

/// Whoever asks by `request` gets what the other side responds.
#[test]
fn two_talk() {
    let server = start(|_| {});
    block_on(async {
        let (alice, mut alice_events) = online(&server, "alice", "lobby").await;
        let (bob, mut bob_events) = online(&server, "bob", "lobby").await;
        until(&mut alice_events, |event| matches!(event, Event::PeerOnline(_))).await;
        assert_eq!(users(&bob).await, ["alice"]);
        assert_eq!(users(&alice).await, ["bob"]);

        let echo = async {
            let asked = until(
                &mut bob_events,
                |event| matches!(event, Event::Frame(frame) if frame.id().is_some()),
            )
            .await;
            let Event::Frame(frame) = asked else { unreachable!() };
            bob.respond(&frame, frame.data().unwrap()).await.unwrap();
        };
        let to = alice.roster().await.unwrap()[0].address().clone();
        let ask = async {
            let answer = alice.request(Outgoing::message("ping").to(&to)).await.unwrap();
            assert_eq!(answer.data().unwrap().as_str().as_deref(), Some("ping"));
        };
        futures_join(echo, ask).await;

        alice.send(Outgoing::message("to all of us").to("lobby")).await.unwrap();
        let heard = until(&mut bob_events, |event| matches!(event, Event::Frame(_))).await;
        let Event::Frame(frame) = heard else { unreachable!() };
        assert_eq!(&*frame.from().unwrap().user, "alice");

        // The last one to let go says goodbye.
        drop(bob);
        until(&mut alice_events, |event| matches!(event, Event::PeerOffline(_))).await;
        assert!(users(&alice).await.is_empty());
        alice.close().await.unwrap();
        assert!(has_ended(&alice.flush().await.unwrap_err()));
        while alice_events.next().await.is_some() {}
    });
}

/// Both, to their ends.
pub(super) async fn futures_join(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut a_done, mut b_done) = (false, false);
    std::future::poll_fn(|cx| {
        a_done = a_done || a.as_mut().poll(cx).is_ready();
        b_done = b_done || b.as_mut().poll(cx).is_ready();
        if a_done && b_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// After a restart of the server everyone is back, in their rooms, and sees who is there.
#[test]
fn a_server_that_is_started_again() {
    let server = start(|_| {});
    let address = server.local_address();
    block_on(async {
        let (alice, mut alice_events) = online(&server, "alice", "lobby").await;
        let (bob, mut bob_events) = online(&server, "bob", "lobby").await;
        let (_gone, mut gone_events) = {
            let one_try = |config: &mut symple_engine::client::Config| {
                config.reconnect.enabled = false;
            };
            let builder = builder(url(address), "carol").room("lobby").configure(one_try);
            builder.connect().await.unwrap()
        };
        alice.join("extra").await.unwrap();
        until(
            &mut alice_events,
            |event| matches!(event, Event::PeerOnline(peer) if &**peer.user() == "carol"),
        )
        .await;
        server.shutdown(Duration::ZERO).await.unwrap();
        drop(server);
        while gone_events.next().await.is_some() {}

        // The address of the server that has ended.
        let builder = ServerBuilder::new().listener(listen(address));
        let threads = |config: &mut Config| config.threads = THREADS.try_into().unwrap();
        let server = builder.configure(threads).start().unwrap();
        for events in [&mut alice_events, &mut bob_events] {
            until(events, |event| matches!(event, Event::Online { .. })).await;
        }
        until(&mut alice_events, |event| matches!(event, Event::RosterComplete)).await;
        bob.flush().await.unwrap();
        alice.flush().await.unwrap();
        let mut rooms = Vec::new();
        while rooms.len() < 4 {
            rooms = server.handle().rooms().await.unwrap();
        }
        let mut rooms: Vec<_> =
            rooms.iter().map(|room| (room.name.to_string(), room.members)).collect();
        rooms.sort();
        let expected = [("alice", 1), ("bob", 1), ("extra", 1), ("lobby", 2)];
        assert_eq!(rooms, expected.map(|(name, members)| (name.to_owned(), members)));
        while users(&alice).await != ["bob"] {
            alice_events.next().await.unwrap();
        }
    });
}

/// Listens on an address that was in use until now.
pub(super) fn listen(address: SocketAddr) -> TcpListener {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(128).unwrap();
    socket.into()
}

/// Who is kicked does not come back, and is told why.
#[test]
fn kicked() {
    let server = start(|_| {});
    block_on(async {
        let (alice, mut events) = online(&server, "alice", "lobby").await;
        assert_eq!(server.handle().kick_user("alice", "Enough").await, Ok(1));
        let closed = until(&mut events, |event| matches!(event, Event::Closed { .. })).await;
        let Event::Closed { end: End::Code { code, .. } } = closed else { panic!("{closed:?}") };
        assert_eq!(code.0, 4409);
        assert_eq!(events.next().await, None);
        assert!(has_ended(&alice.flush().await.unwrap_err()));
    });
}

/// R-A4: the application is asked for a token, and once more when the server refuses it.
#[test]
fn tokens() {
    let server = start_with(|builder| {
        builder.authenticate(|request: AuthRequest| async move {
            Ok::<_, std::io::Error>(match request.token().as_deref() {
                Some("fresh") => AuthDecision::allow("alice"),
                _ => AuthDecision::deny("Old token"),
            })
        })
    });
    let url = url(server.local_address());
    block_on(async {
        let asked = AtomicUsize::new(0);
        let (client, _events) = builder(url.as_str(), "alice")
            .token_with(move |refused| {
                asked.fetch_add(1, Ordering::Relaxed);
                let token = if refused { "fresh" } else { "old" };
                async move { Ok::<_, ()>(Some(token.to_owned())) }
            })
            .connect()
            .await
            .unwrap();
        assert_eq!(client.status().await, Ok(Status::Online));
        let refused = builder(url.as_str(), "alice").token("old").connect().await;
        let Err(ClientStartError::Connect(ClientError::Operation(OperationError::Closed(end)))) =
            refused
        else {
            panic!("{refused:?}")
        };
        assert!(matches!(&end, End::Refused { message, .. } if &**message == "Old token"), "{end}");
    });
}

/// A certificate is believed if its authority was given, and otherwise is not.
#[test]
fn encrypted() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("client");
    std::fs::create_dir_all(&folder).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.join("one.crt"), folder.join("one.key"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = tls::load(&chain, &key).unwrap();
    let server = start_with(|builder| builder.tls(config));
    let url = format!("wss://localhost:{}/", server.local_address().port());
    block_on(async {
        let trusted = trust([made.cert.der().clone()]).unwrap();
        let (client, _events) =
            builder(url.as_str(), "alice").tls(trusted).connect().await.unwrap();
        client.flush().await.unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = trust([other.cert.der().clone()]).unwrap();
        let once = |config: &mut symple_engine::client::Config| {
            config.reconnect.max_attempts = Some(1);
        };
        let distrusted = builder(url.as_str(), "alice").tls(other).configure(once).connect().await;
        let error = distrusted.unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
    });
}

/// What is wrong with how a client is set up is said at once.
#[test]
fn set_up_wrongly() {
    block_on(async {
        let start = |builder: ClientBuilder| builder.start().unwrap_err().to_string();
        let good = "ws://127.0.0.1:1";
        let mut no_compressor = Compression::default();
        no_compressor.level = 0;
        for (builder, expected) in [
            (Client::builder("127.0.0.1:4500").user("a"), "127.0.0.1:4500 is no URL of a server"),
            (Client::builder("http://localhost").user("a"), "it must begin with ws:// or wss://"),
            (Client::builder(good), "the name"),
            (Client::builder(good).user("a|b"), "the name"),
            (Client::builder(good).user("a").room(""), "the name"),
            (Client::builder(good).user("a").token(""), "the token"),
            (Client::builder(good).user("a").header("a b", "c"), "a b is no header"),
            (Client::builder(good).user("a").header("X-A", "b\nc"), "X-A is no header"),
            (Client::builder(good).user("a").header("Host", "b"), "Host is no header"),
            (Client::builder(good).user("a").compression(no_compressor), "a level from 1 to 9"),
        ] {
            let error = start(builder);
            assert!(error.contains(expected) && !error.contains('\n'), "{error:?}");
        }
        assert!(trust([]).unwrap_err().to_string().contains("no certificates"));
    });
}

/// A server that answers each connection with these bytes and closes it, so often.
fn impostor(answer: &'static [u8], times: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for _ in 0..times {
            let Ok((mut socket, _)) = listener.accept() else { return };
            let mut head = Vec::new();
            let mut byte = [0; 1024];
            while !head.ends_with(b"\r\n\r\n") {
                match socket.read(&mut byte) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => head.extend_from_slice(&byte[..count]),
                }
            }
            let _ = socket.write_all(answer);
        }
    });
    address
}

/// What does not speak the protocol is no reason to panic, to try without a pause, or to wait for
/// ever.
#[test]
fn servers_that_are_none() {
    for answer in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: wrong\r\n\r\n",
        &[0xff; 70_000],
    ] {
        let address = impostor(answer, 2);
        block_on(async {
            let tries = |config: &mut symple_engine::client::Config| {
                config.reconnect.max_attempts = Some(2);
            };
            let start = builder(url(address), "alice").configure(tries).connect().await;
            assert!(matches!(start, Err(ClientStartError::Connect(_))), "{start:?}");
        });
    }
    // And one that says nothing at all.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    block_on(async {
        let impatient = |config: &mut symple_engine::client::Config| {
            config.reconnect.max_attempts = Some(1);
            config.limits.connect_timeout = Duration::from_millis(50);
        };
        let address = silent.local_addr().unwrap();
        let start = builder(url(address), "alice").configure(impatient).connect().await;
        assert!(matches!(start, Err(ClientStartError::Connect(_))), "{start:?}");
    });
}

/// A message over the limit ends the connection, not the process; the client is told, and comes
/// back.
#[test]
fn a_message_that_is_too_large() {
    let server = start(|_| {});
    block_on(async {
        let (alice, _alice_events) = online(&server, "alice", "lobby").await;
        let small = builder(url(server.local_address()), "bob").room("lobby").max_message(4096);
        let (_bob, mut events) = small.connect().await.unwrap();
        until(&mut events, |event| matches!(event, Event::RosterComplete)).await;
        let large = "x".repeat(10_000);
        alice.send(Outgoing::message(large.as_str()).to("lobby")).await.unwrap();
        until(&mut events, |event| matches!(event, Event::Disconnected { .. })).await;
        until(&mut events, |event| matches!(event, Event::Online { .. })).await;
    });
}

/// A server that says this after the upgrade, and then does nothing until the test is over.
fn open_impostor(says: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((socket, _)) = listener.accept() {
            let mut socket = tungstenite::accept(socket).unwrap();
            let _auth = socket.read();
            let _ = socket.get_mut().write_all(&says);
            open.push(socket);
        }
    });
    address
}

/// R-T10: what a client and a server both can is compressed, in both directions; where one of them
/// cannot, everything goes as it is.
#[test]
fn with_and_without_compression() {
    for (server_does, client_does) in [(true, true), (true, false), (false, true)] {
        let server = start(|config| config.compression = server_does.then(Compression::default));
        block_on(async {
            let connect = async |user: &str| {
                let mut builder = builder(url(server.local_address()), user).room("lobby");
                if client_does {
                    builder = builder.compression(Compression::default());
                }
                builder.connect().await.unwrap()
            };
            let (alice, _alice_events) = connect("alice").await;
            let (_bob, mut events) = connect("bob").await;
            for text in ["short".to_owned(), "long ".repeat(1000)] {
                alice.send(Outgoing::message(text.as_str()).to("bob")).await.unwrap();
                let heard = until(
                    &mut events,
                    |event| matches!(event, Event::Frame(frame) if frame.kind() == RoutedType::Message),
                )
                .await;
                let Event::Frame(frame) = heard else { unreachable!() };
                assert_eq!(frame.data().unwrap().as_str().as_deref(), Some(&*text));
            }
            let stats = server.handle().stats().await.unwrap().transport;
            let once = u64::from(server_does && client_does);
            assert_eq!((stats.inflated, stats.deflated), (once, once));
        });
    }
}

/// A server that answers an upgrade with this header of extensions, says something, and then does
/// nothing until the test is over.
fn deflating_impostor(extensions: &'static str, says: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((mut socket, _)) = listener.accept() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() > 0 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let (_, rest) = head.split_once("Sec-WebSocket-Key: ").unwrap();
            let key = rest.split_once("\r\n").unwrap().0;
            let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n{extensions}\r\n"
            );
            // What comes with the response is read with it, and is not lost.
            let _ = socket.write_all(&[answer.as_bytes(), &says].concat());
            open.push(socket);
        }
    });
    address
}

const AGREED: &str = "Sec-WebSocket-Extensions: permessage-deflate; \
    server_no_context_takeover; client_no_context_takeover\r\n";

/// R-T10: a client does not connect to a server that agrees to what it was not asked, or to less than
/// the client needs.
#[test]
fn bad_answers_about_compression() {
    for (offers, extensions, problem) in [
        (false, AGREED, "not offered"),
        (true, "Sec-WebSocket-Extensions: x-other\r\n", "cannot be accepted"),
        (true, "Sec-WebSocket-Extensions: permessage-deflate\r\n", "server_no_context_takeover"),
        (
            true,
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; x\r\n",
            "cannot be accepted",
        ),
    ] {
        let address = deflating_impostor(extensions, welcome());
        block_on(async {
            let once = |config: &mut symple_engine::client::Config| {
                config.reconnect.max_attempts = Some(1);
            };
            let mut builder = builder(url(address), "alice").configure(once);
            if offers {
                builder = builder.compression(Compression::default());
            }
            let error = builder.connect().await.unwrap_err().to_string();
            assert!(error.contains(problem), "{extensions}: {error}");
        });
    }
}

/// A frame of the server.
fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 127];
    bytes.extend((payload.len() as u64).to_be_bytes());
    if let Ok(short @ 0..126) = u8::try_from(payload.len()) {
        bytes = vec![first, short];
    } else if let Ok(length) = u16::try_from(payload.len()) {
        bytes = vec![first, 126];
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}

/// R-T10: the limit of a client holds for what is inflated, while it runs; what is compressed although
/// that was not agreed on ends the connection.
#[test]
fn compressed_messages_that_are_too_large() {
    const LIMIT: usize = 64 * 1024;
    let deflate = |size: usize| {
        let text =
            format!(r#"{{"type":"message","from":"bob|8gf","data":"{}"}}"#, "x".repeat(size));
        let mut out = Vec::with_capacity(text.len() + 1000);
        let mut state = flate2::Compress::new(flate2::Compression::best(), false);
        state.compress_vec(text.as_bytes(), &mut out, flate2::FlushCompress::Sync).unwrap();
        out.truncate(out.len() - 4);
        (out, text.len())
    };
    let exact = LIMIT - deflate(0).1;
    for (size, fits) in [(exact, true), (exact + 1, false), (100_000_000, false)] {
        let message = deflate(size).0;
        let (one, other) = message.split_at(message.len() / 2);
        let in_fragments =
            [server_frame(0x41, one), server_frame(0x89, b""), server_frame(0x80, other)].concat();
        for frames in [server_frame(0xc1, &message), in_fragments] {
            let says = [welcome(), frames].concat();
            let agreed = deflating_impostor(AGREED, says.clone());
            let not_agreed = deflating_impostor("", says);
            for (address, fits) in [(agreed, fits), (not_agreed, false)] {
                block_on(async {
                    let builder = builder(url(address), "alice").max_message(LIMIT);
                    let builder = builder.compression(Compression::default());
                    let (_client, mut events) = builder.connect().await.unwrap();
                    let seen = until(&mut events, |event| {
                        matches!(event, Event::Frame(_) | Event::Disconnected { .. })
                    });
                    let seen = seen.await;
                    assert_eq!(matches!(seen, Event::Frame(_)), fits, "{size}: {seen:?}");
                });
            }
        }
    }
}

/// R-A12: what a close frame says counts at once, also where the server leaves the rest open.
#[test]
fn a_close_frame_without_an_end() {
    let mut says = vec![0x88, 6];
    says.extend(4409_u16.to_be_bytes());
    says.extend(b"Gone");
    let address = open_impostor(says);
    block_on(async {
        let started = builder(url(address), "alice").connect().await;
        let Err(ClientStartError::Connect(ClientError::Operation(OperationError::Closed(end)))) =
            started
        else {
            panic!("{started:?}")
        };
        assert!(matches!(end, End::Code { code, .. } if code.0 == 4409), "{end}");
    });
}

/// Whatever waits to be written, and whoever does not read it: a client that is told to close does.
#[test]
fn a_server_that_does_not_read() {
    let address = open_impostor(welcome());
    block_on(async {
        let soon = |config: &mut symple_engine::client::Config| {
            config.limits.close_timeout = Duration::from_millis(50);
        };
        let (client, mut events) =
            builder(url(address), "alice").configure(soon).connect().await.unwrap();
        let text = "x".repeat(1_000_000);
        let floods: Vec<_> = (0..100)
            .map(|_| Box::pin(client.send(Outgoing::message(text.as_str()).to("bob"))))
            .collect();
        let closing = async { client.close().await.unwrap() };
        let flooding = async {
            for flood in floods {
                let _ = flood.await;
            }
        };
        futures_join(closing, flooding).await;
        while events.next().await.is_some() {}
    });
}

/// A welcome, as a frame of the server.
fn welcome() -> Vec<u8> {
    let welcome = br#"{"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"alice","id":"7gf","name":"alice","online":true},"rooms":["alice"]}"#;
    let mut says = vec![0x81, 126];
    says.extend(u16::try_from(welcome.len()).unwrap().to_be_bytes());
    says.extend(welcome);
    says
}

/// What waits to be written is bounded by its bytes, too, and keeps nobody from looking.
#[test]
fn large_frames_for_a_server_that_does_not_read() {
    let address = open_impostor(welcome());
    block_on(async {
        let soon = |config: &mut symple_engine::client::Config| {
            config.limits.close_timeout = Duration::from_millis(50);
        };
        let (client, mut events) =
            builder(url(address), "alice").configure(soon).connect().await.unwrap();
        let text = "x".repeat(1_000_000);
        let mut floods: Vec<_> = (0..100)
            .map(|_| Some(Box::pin(client.send(Outgoing::message(text.as_str()).to("bob")))))
            .collect();
        let mut went = 0;
        let mut poll_all = async || {
            std::future::poll_fn(|cx| {
                for flood in &mut floods {
                    if flood.as_mut().is_some_and(|flood| flood.as_mut().poll(cx).is_ready()) {
                        *flood = None;
                        went += 1;
                    }
                }
                std::task::Poll::Ready(())
            })
            .await;
        };
        // What there is room for goes at once; the system's own buffers have room for some more.
        for _ in 0..20 {
            poll_all().await;
            assert_eq!(client.status().await, Ok(Status::Online));
        }
        drop(floods);
        assert!((1..60).contains(&went), "{went} frames of 1 MB went");
        client.close().await.unwrap();
        while events.next().await.is_some() {}
    });
}

/// What there is room for is sent on the thread that sends it; what waits for room is sent in the
/// order in which it was asked for, and not at all where it was taken back.
#[test]
fn frames_go_at_once_and_in_order() {
    let server = start(|config| config.engine.rate = None);
    block_on(async {
        let (alice, _alice_events) = online(&server, "alice", "lobby").await;
        let (_bob, mut events) = online(&server, "bob", "lobby").await;
        let frame = |n: usize| Outgoing::message(n.to_string().as_str()).to("bob");
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut first = Box::pin(alice.send(frame(0)));
        assert_eq!(first.as_mut().poll(&mut cx), std::task::Poll::Ready(Ok(())));
        // More than there is room for, all begun before any is waited for.
        let mut begun: Vec<_> = (1..=1000).map(|n| Box::pin(alice.send(frame(n)))).collect();
        let waits: Vec<_> =
            begun.iter_mut().map(|send| send.as_mut().poll(&mut cx).is_pending()).collect();
        for (send, waits) in begun.into_iter().zip(waits) {
            if waits {
                send.await.unwrap();
            }
        }
        for n in 0..=1000 {
            // Presence comes as frames, too.
            let said = |event: &Event| match event {
                Event::Frame(frame) if frame.kind() == RoutedType::Message => frame.data(),
                _ => None,
            };
            let event = until(&mut events, |event| said(event).is_some()).await;
            assert_eq!(said(&event).unwrap().as_str().as_deref(), Some(&*n.to_string()));
        }
    });
}

/// What has not been sent when nobody waits for it any more is taken back, whatever stands around
/// it; what has been sent stays.
#[test]
fn frames_that_are_taken_back() {
    let address = open_impostor(welcome());
    block_on(async {
        let soon = |config: &mut symple_engine::client::Config| {
            config.limits.close_timeout = Duration::from_millis(50);
        };
        let (client, _events) =
            builder(url(address), "alice").configure(soon).connect().await.unwrap();
        let text = "x".repeat(1_000_000);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut begun: Vec<_> = (0..100)
            .map(|_| Box::pin(client.send(Outgoing::message(text.as_str()).to("bob"))))
            .collect();
        begun.retain_mut(|send| send.as_mut().poll(&mut cx).is_pending());
        // The system takes some of them meanwhile, and nobody reads.
        assert!(begun.len() > 50, "{} of 100 frames of 1 MB wait", begun.len());
        // From the middle, from the front, from the end.
        drop(begun.remove(begun.len() / 2));
        drop(begun.remove(0));
        drop(begun);
        let sent = client.stats().await.unwrap().sent;
        assert!(sent < 60, "{sent} frames were sent");
        client.close().await.unwrap();
    });
}

/// Whoever says goodbye while the client ends of itself is told so, and does not wait for ever.
#[test]
fn a_goodbye_that_comes_too_late() {
    let mut says = vec![0x88, 2];
    says.extend(4409_u16.to_be_bytes());
    let address = open_impostor(says);
    for _ in 0..100 {
        block_on(async {
            let (client, mut events) = builder(url(address), "alice").start().unwrap();
            // This is told while the client's task may still be at it, on another thread.
            until(&mut events, |event| matches!(event, Event::Closed { .. })).await;
            if let Err(error) = client.close().await {
                assert!(has_ended(&error), "{error}");
            }
            assert!(has_ended(&client.flush().await.unwrap_err()));
            assert!(has_ended(&client.status().await.unwrap_err()));
        });
    }
}

/// A function that panics when it is asked for a token has none to give.
#[test]
fn a_token_function_that_panics() {
    let server = start(|_| {});
    block_on(async {
        let asked = AtomicUsize::new(0);
        let started = builder(url(server.local_address()), "alice").token_with(move |_| {
            let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                assert!(!first, "the first time it panics");
                Ok::<_, ()>(None)
            }
        });
        assert_eq!(started.connect().await.unwrap().0.status().await, Ok(Status::Online));
    });
}
