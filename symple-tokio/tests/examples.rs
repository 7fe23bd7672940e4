//! The examples, run: what they say that they do, they do.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the examples have a main, and the client more than is needed here")]

/// What the client of the suite needs of an adapter.
mod adapter {
    pub(crate) use symple_tokio::Server;
}

#[path = "../examples/bridge.rs"]
mod bridge;
#[path = "../examples/browser_call.rs"]
mod browser_call;
#[path = "../../symple-driver/tests/suite/client.rs"]
mod client;
#[cfg(target_os = "linux")]
#[path = "../examples/client_figures.rs"]
mod client_figures;
#[path = "../examples/echo_bot.rs"]
mod echo_bot;
#[path = "../examples/game_lobby.rs"]
mod game_lobby;
#[path = "../examples/moderated_chat.rs"]
mod moderated_chat;
#[path = "../examples/presence_board.rs"]
mod presence_board;
#[path = "../examples/room_actions.rs"]
mod room_actions;
#[path = "../examples/two_certificates.rs"]
mod two_certificates;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use client::{Client, socket_to};
use serde_json::{Value, json};
use symple_tokio::{
    ClientEvents, Server, ServerBuilder,
    client::{CallConfig, CallEnd, CallEvent, Callee, Event, Outgoing},
    proto::Fields,
    rustls,
};
use tokio::runtime::Runtime;

fn start(serve: fn(&str) -> Result<Server, symple_tokio::StartError>) -> (Runtime, Server) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(async { serve("127.0.0.1:0") }).unwrap();
    (runtime, server)
}

/// R-H2: what the moderator lets through, softens, answers and refuses.
#[test]
fn a_moderated_chat() {
    let (_runtime, server) = start(moderated_chat::serve);
    let mut alice = Client::join(&server, "alice", &["chat"]);
    let mut bob = Client::join(&server, "bob", &["chat"]);
    assert_eq!(alice.recv()["type"], "presence");
    assert_eq!(bob.recv()["type"], "presence");
    let mut say = |data: Value| {
        alice.send(&json!({ "type": "message", "to": "chat", "data": data }));
    };
    say(json!({ "text": "hello" }));
    say(json!({ "text": "that darn \"cat\"" }));
    say(json!({ "text": "/help" }));
    say(json!({ "text": "see http://evil.example" }));
    say(json!({ "text": "see http://example.org" }));
    say(json!(5));
    for text in ["hello", "that d*** \"cat\"", "see http://example.org"] {
        assert_eq!(bob.recv()["data"]["text"], text);
    }
    let help = alice.recv();
    assert_eq!((&help["from"], &help["data"]["text"]), (&json!("moderator"), &json!("Be kind.")));
    assert_eq!(alice.recv()["message"], "No such links here");
    assert_eq!(alice.recv()["message"], "A message needs a text");
}

/// R-H2: an action that is done, and others that are not; only who has asked hears of it.
#[test]
fn actions_of_a_room() {
    let (_runtime, server) = start(room_actions::serve);
    let mut alice = Client::join(&server, "alice", &["game"]);
    let mut bob = Client::join(&server, "bob", &["game"]);
    assert_eq!(alice.recv()["type"], "presence");
    assert_eq!(bob.recv()["type"], "presence");
    for (frame, id, data) in [
        (
            json!({ "type": "command", "id": "a1", "node": "test", "to": "game", "data": { "n": 1 } }),
            json!("a1"),
            json!({ "success": true, "data": { "n": 1 } }),
        ),
        (
            json!({ "type": "command", "id": "a2", "node": "test" }),
            json!("a2"),
            json!({ "success": false, "msg": "test needs data" }),
        ),
        (
            json!({ "type": "command", "id": "a3", "node": "nothing", "to": "game", "data": 1 }),
            json!("a3"),
            json!({ "success": false, "msg": "no such action" }),
        ),
    ] {
        alice.send(&frame);
        let answer = alice.recv();
        assert_eq!((&answer["type"], &answer["name"]), (&json!("event"), &json!("action")));
        assert_eq!((&answer["id"], &answer["data"]), (&id, &data));
    }
    alice.send(&json!({ "type": "message", "to": "game", "data": "over" }));
    assert_eq!(bob.recv()["data"], "over", "nothing before it");
}

/// R-H1, R-H3, R-H4: codes, spectators, and who is gone.
#[test]
fn a_game_lobby() {
    let (_runtime, server) = start(game_lobby::serve);
    let mut spectator = Client::join(&server, "spectator-1", &[]);
    let mut alice = Client::join(&server, "alice", &[]);
    let mut join = |room: &str, code: &str| {
        alice.send(&json!({ "type": "join", "room": room, "credential": code }));
        alice.recv()
    };
    assert_eq!(join("poker", "e2e4")["message"], "No such game");
    assert_eq!(join("chess", "e7e5")["message"], "Wrong code");
    assert_eq!(join("chess", "e2e4")["type"], "join:ok");
    assert_eq!(spectator.recv()["from"], alice.address());
    spectator.send(&json!({ "type": "message", "to": "chess" }));
    assert_eq!(spectator.recv()["message"], "Read-only");
    drop(alice);
    let gone = spectator.recv_type("event");
    assert_eq!((&gone["name"], &gone["data"]), (&json!("gone"), &json!({ "user": "alice" })));
}

/// A certificate in files, and who trusts it.
fn certificate(name: &str) -> (two_certificates::Files, rustls::RootCertStore) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |end: &str| folder.join(format!("two-{name}.{end}"));
    let files = two_certificates::Files { certificate: file("crt"), key: file("key") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    (files, roots)
}

/// R-T9: each place has its own certificate, and one is renewed while the server runs.
#[test]
fn two_certificates() {
    let (inside, trust_inside) = certificate("inside");
    let (outside, trust_outside) = certificate("outside");
    let runtime = Runtime::new().unwrap();
    let (server, tls) = runtime.block_on(async {
        two_certificates::serve(["127.0.0.1:0"; 3], &inside, &outside).unwrap()
    });
    let [_, encrypted, public] = *server.local_addresses() else { panic!() };
    let connect = |address, trust: &rustls::RootCertStore| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(trust.clone())
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let mut session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = socket_to(address);
        session.complete_io(&mut socket).ok()?;
        let stream = rustls::StreamOwned::new(session, socket);
        Some(Client::over(stream, "wss://localhost/", &[]).unwrap().0)
    };
    let mut alice = Client::join(&server, "alice", &["r"]);
    let auth = json!({ "type": "auth", "user": "bob", "rooms": ["r"] });
    connect(encrypted, &trust_inside).unwrap().auth(&auth);
    assert_eq!(alice.recv()["type"], "presence");
    connect(public, &trust_outside).unwrap().auth(&auth);
    assert!(connect(encrypted, &trust_outside).is_none());
    assert!(connect(public, &trust_inside).is_none());
    let (renewed, trust_renewed) = certificate("renewed");
    two_certificates::renew(&tls, &renewed);
    assert!(connect(public, &trust_outside).is_none());
    connect(public, &trust_renewed).unwrap().auth(&auth);
    let missing = two_certificates::Files { certificate: "missing".into(), ..renewed };
    two_certificates::renew(&tls, &missing);
    connect(public, &trust_renewed).unwrap().auth(&auth);
}

/// A server, and its URL.
fn plain() -> (Server, String) {
    let server = ServerBuilder::new().bind("127.0.0.1:0").start().unwrap();
    let url = format!("ws://{}", server.local_address());
    (server, url)
}

/// What a client is told until this is the case.
async fn until(events: &mut ClientEvents, mut done: impl FnMut(&Event) -> bool) -> Event {
    loop {
        let event = events.next().await.expect("the client has not ended");
        if done(&event) {
            return event;
        }
    }
}

/// The bot answers messages and requests, and takes no calls.
#[tokio::test(flavor = "multi_thread")]
async fn an_echo_bot() {
    let (_server, url) = plain();
    let bot = url.clone();
    tokio::spawn(async move { drop(echo_bot::run(&bot, |_| ()).await) });
    let calls = |config: &mut symple_tokio::client::Config| {
        config.calls = Some(CallConfig::default());
    };
    let builder = symple_tokio::Client::builder(url).user("alice").room("lobby").configure(calls);
    let (alice, mut events) = builder.connect().await.unwrap();
    let online = until(&mut events, |event| matches!(event, Event::PeerOnline(_))).await;
    let Event::PeerOnline(bot) = online else { unreachable!() };
    let answer = alice.request(Outgoing::message("ping").to(bot.address())).await.unwrap();
    assert_eq!(answer.data().unwrap().as_str().as_deref(), Some("ping"));
    alice.call(Callee::Peer(bot.address().clone()), None).await.unwrap();
    let ended = until(&mut events, |event| matches!(event, Event::Call(_))).await;
    let Event::Call(CallEvent::Ended { end, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!(end, CallEnd::Rejected("this is a bot".into()));
    alice.send(Outgoing::message("and back").to(bot.address())).await.unwrap();
    let heard = until(&mut events, |event| matches!(event, Event::Frame(frame) if frame.data().is_some_and(|data| data.as_str().as_deref() == Some("and back")))).await;
    let Event::Frame(frame) = heard else { unreachable!() };
    assert_eq!(frame.from(), Some(bot.address()));
}

/// Whoever writes lines by TCP is a peer, and reads what others say.
#[tokio::test(flavor = "multi_thread")]
async fn a_bridge() {
    let (server, lines) = bridge::serve("127.0.0.1:0", "127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", server.local_address());
    let builder = symple_tokio::Client::builder(url).user("alice").room("lobby");
    let (alice, mut events) = builder.connect().await.unwrap();
    until(&mut events, |event| matches!(event, Event::RosterComplete)).await;
    let telnet = TcpStream::connect(lines).unwrap();
    let mut writes = telnet.try_clone().unwrap();
    let (said, mut hears) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(telnet).lines() {
            let Ok(line) = line else { return };
            if said.send(line).is_err() {
                return;
            }
        }
    });
    writes.write_all(b"old-timer\r\nhel").unwrap();
    let online = until(&mut events, |event| matches!(event, Event::PeerOnline(_))).await;
    let Event::PeerOnline(peer) = online else { unreachable!() };
    assert_eq!(&**peer.user(), "old-timer");
    // A line that comes in does not break the one that is being written.
    alice.send(Outgoing::message("hi\u{7}").to("lobby")).await.unwrap();
    let heard = hears.recv().await.unwrap();
    assert!(heard.starts_with("alice|") && heard.ends_with(": hi\u{fffd}"), "{heard:?}");
    writes.write_all(b"lo\r\n").unwrap();
    let said = until(
        &mut events,
        |event| matches!(event, Event::Frame(frame) if frame.data().is_some_and(|d| d.as_str().is_some())),
    )
    .await;
    let Event::Frame(frame) = said else { unreachable!() };
    assert_eq!(frame.data().unwrap().as_str().as_deref(), Some("hello"));
    // A line without an end is too much.
    writes.write_all(&[b'x'; 5000]).unwrap();
    until(&mut events, |event| matches!(event, Event::PeerOffline(_))).await;
}

/// The board is right when someone comes, says something else of itself, and goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_presence_board() {
    let (_server, url) = plain();
    let (tell, mut boards) = tokio::sync::mpsc::unbounded_channel();
    let board = url.clone();
    tokio::spawn(async move {
        let show = move |board: &[String]| drop(tell.send(board.to_vec()));
        drop(presence_board::run(&board, "lobby", show).await);
    });
    assert!(boards.recv().await.unwrap().is_empty());
    let builder = symple_tokio::Client::builder(url).user("alice").name("Alice").room("lobby");
    let (alice, _events) = builder.connect().await.unwrap();
    let row = |status: &str| format!("{:24} {status:24} 1", "Alice");
    assert_eq!(boards.recv().await.unwrap(), [row("-")]);
    alice.set_record(Fields::new().with("status", "at lunch")).await.unwrap();
    assert_eq!(boards.recv().await.unwrap(), [row("at lunch")]);
    alice.close().await.unwrap();
    assert!(boards.recv().await.unwrap().is_empty());
}

/// A browser without a window, with a page.
struct Browser(Child, tempfile::TempDir);

impl Browser {
    /// None, where there is no Chromium.
    fn open(page: &str) -> Option<Self> {
        let programs = ["chromium", "chromium-browser", "google-chrome"].map(PathBuf::from);
        let named = std::env::var_os("SYMPLE_CHROMIUM").map(PathBuf::from);
        let folder = tempfile::tempdir().unwrap();
        named
            .into_iter()
            .chain(programs)
            .find_map(|program| {
                Command::new(program)
                    .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"])
                    // Names of candidates would have to be asked for by multicast.
                    .arg("--disable-features=WebRtcHideLocalIpsWithMdns")
                    .args([
                        "--disable-background-networking",
                        "--allow-loopback-in-peer-connection",
                    ])
                    .arg(format!("--user-data-dir={}", folder.path().display()))
                    .arg(page)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .ok()
            })
            .map(|child| Self(child, folder))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The page calls: two browsers come to a channel between them, and one hangs up on a client of
/// ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_between_browsers() {
    let (server, page) = browser_call::serve("127.0.0.1:0", "127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", server.local_address());
    let calls = |config: &mut symple_tokio::client::Config| {
        config.calls = Some(CallConfig::default());
    };
    let builder = symple_tokio::Client::builder(url).user("watch").room("calls").configure(calls);
    let (watch, mut events) = builder.connect().await.unwrap();
    let Some(_alice) = Browser::open(&format!("http://{page}/?user=alice&accept")) else {
        let _ = writeln!(std::io::stderr(), "\nNOT RUN: calls in a browser; there is no Chromium");
        return;
    };
    // Our client calls the page, which takes the call, and waits for an offer.
    until(
        &mut events,
        |event| matches!(event, Event::PeerOnline(peer) if &**peer.user() == "alice"),
    )
    .await;
    let call = watch.call(Callee::User("alice".parse().unwrap()), None).await.unwrap();
    let accepted =
        |event: &Event| matches!(event, Event::Call(CallEvent::Accepted { offers: true, .. }));
    until(&mut events, accepted).await;
    watch.hang_up(call, None).await.unwrap();
    // Both pages have talked to each other without the server.
    let _bob = Browser::open(&format!("http://{page}/?user=bob&call=alice")).unwrap();
    let mut connected = Vec::new();
    while connected.len() < 2 {
        let event = until(&mut events, |event| {
            matches!(event, Event::Frame(frame)
            if frame.get_str("name").as_deref() == Some("connected"))
        })
        .await;
        let Event::Frame(frame) = event else { unreachable!() };
        connected.push(frame.from().unwrap().user.to_string());
    }
    connected.sort();
    assert_eq!(connected, ["alice", "bob"]);
}

/// Both sides of the comparison read and write everything that there is.
#[cfg(target_os = "linux")]
#[test]
fn figures_of_the_client() {
    use client_figures::{Flush, bare, ours};
    assert!(!ours(300, 32).unwrap().is_zero());
    for flush in [Flush::Each, Flush::Together] {
        assert!(!bare(300, 32, flush).unwrap().is_zero());
    }
}
