//! A server inside of an application's HTTP server: axum, and plain hyper (R-T8).

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the example has a main, and the client more than is needed here")]

/// What the client of the suite needs of an adapter.
mod adapter {
    pub(crate) use symple_tokio::Server;
}

#[path = "../../symple-driver/tests/suite/client.rs"]
mod client;
#[path = "../examples/inside_axum.rs"]
mod inside_axum;

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use client::{Client, socket_to, until};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use symple_tokio::{Handle, ServerBuilder, rustls};
use tokio::{net::TcpListener, runtime::Runtime};

/// What is answered to a request without a body.
fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut socket = socket_to(address);
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.into())
}

fn connect(address: SocketAddr, path: &str) -> Result<Client, u16> {
    let url = format!("ws://localhost{path}");
    Client::over(socket_to(address), &url, &[]).map(|(client, _)| client)
}

/// R-T8: an application with its own routes, and Symple on two paths of it.
#[test]
fn inside_axum() {
    let runtime = Runtime::new().unwrap();
    let inside_axum::Started { address, server, run } =
        runtime.block_on(inside_axum::serve("127.0.0.1:0")).unwrap();
    let run = runtime.spawn(run);
    let mut member = connect(address, "/rooms/members").unwrap();
    member.auth(&json!({ "type": "auth", "user": "member" }));
    assert_eq!(member.peer["host"], "127.0.0.1");
    let mut guest = connect(address, "/rooms/guests").unwrap();
    guest.auth(&json!({ "type": "auth", "user": "guest" }));
    assert_eq!(guest.peer["readonly"], true);
    assert_eq!(member.recv()["data"]["user"], "guest");
    guest.recv_type("presence");

    assert_eq!(ask(address, "GET", "/count"), (200, "2".into()));
    assert_eq!(ask(address, "POST", "/news/hello").0, 204);
    for client in [&mut member, &mut guest] {
        assert_eq!(client.recv()["data"], "hello");
    }
    guest.send(&json!({ "type": "message", "to": "news" }));
    assert_eq!(guest.recv()["message"], "Read-only");
    member.send(&json!({ "type": "message", "to": "news", "data": "x".repeat(500_000) }));
    assert_eq!(guest.recv()["type"], "message");

    let (status, body) = ask(address, "GET", "/rooms/members");
    assert_eq!((status, &*body), (426, "Connect with WebSocket\n"));
    assert_eq!(ask(address, "HEAD", "/rooms/members"), (426, String::new()));
    assert_eq!(ask(address, "GET", "/").0, 200);
    assert_eq!(connect(address, "/").map(drop), Err(200));

    // Sockets of axum's are sockets of the server's: they cost no task of the application's.
    // That of a request before may not be gone yet.
    let sockets = || runtime.block_on(server.handle().stats()).unwrap().transport.sockets;
    until("two sockets are left", || sockets() == 2);
    let ending = std::thread::spawn({
        let handle = server.handle();
        let runtime = runtime.handle().clone();
        move || runtime.block_on(handle.shutdown(Duration::from_secs(60)))
    });
    ending.join().unwrap().unwrap();
    assert_eq!(member.recv_type("event")["name"], "shutdown");
    assert_eq!(connect(address, "/rooms/members").map(drop), Err(503));
    let ending = runtime.spawn(async move { server.shutdown(Duration::ZERO).await });
    assert_eq!((member.closed(), guest.closed()), (1001, 1001));
    runtime.block_on(ending).unwrap().unwrap();
    runtime.block_on(run).unwrap().unwrap();
}

/// How the connections of plain hyper are served.
#[derive(Clone, Copy)]
enum With {
    Upgrades,
    /// An application that has forgotten them.
    NoUpgrades,
    Tls,
}

/// TLS for `localhost`, and what its clients trust.
fn tls() -> (tokio_rustls::TlsAcceptor, rustls::RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    (Arc::new(tls).into(), roots)
}

/// A client's end of TLS.
fn encrypt(
    socket: TcpStream,
    roots: rustls::RootCertStore,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    rustls::StreamOwned::new(session, socket)
}

/// The server's ends of connections, once more: what is set on one is set on the other.
type Sockets = Arc<Mutex<Vec<TcpStream>>>;

/// An application on plain hyper, which does nothing about Nagle's algorithm.
fn on_hyper(
    runtime: &Runtime,
    handle: &Handle,
    with: With,
) -> (SocketAddr, rustls::RootCertStore, Sockets) {
    let (tls, roots) = tls();
    let sockets = Sockets::default();
    let accepted = Arc::clone(&sockets);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let handle = handle.clone();
    runtime.spawn(async move {
        loop {
            let (socket, address) = listener.accept().await.unwrap();
            accepted.lock().unwrap().push(clone_of(&socket));
            let (handle, tls) = (handle.clone(), tls.clone());
            let is_tls = matches!(with, With::Tls);
            let service = service_fn(move |request| {
                let handle = handle.clone();
                let client = symple_tokio::hyper::Client::at(address).tls(is_tls);
                async move {
                    Ok::<_, Infallible>(
                        symple_tokio::hyper::respond(&handle, request, client).await,
                    )
                }
            });
            tokio::spawn(async move {
                let http = http1::Builder::new();
                match with {
                    With::Upgrades => {
                        http.serve_connection(TokioIo::new(socket), service).with_upgrades().await
                    }
                    With::NoUpgrades => http.serve_connection(TokioIo::new(socket), service).await,
                    With::Tls => {
                        let Ok(stream) = tls.accept(socket).await else { return };
                        http.serve_connection(TokioIo::new(stream), service).with_upgrades().await
                    }
                }
                .ok();
            });
        }
    });
    (address, roots, sockets)
}

fn clone_of(socket: &tokio::net::TcpStream) -> TcpStream {
    socket2::SockRef::from(socket).try_clone().unwrap().into()
}

/// R-T8: plain hyper, also with TLS of the application's own.
#[test]
fn inside_hyper() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(async {
        ServerBuilder::new()
            .authenticate(|request| async move {
                let tls = if request.request.tls { "encrypted" } else { "plain" };
                symple_tokio::AuthDecision::allow_claimed().rooms([tls, "all"])
            })
            .start_unbound()
            .unwrap()
    });
    let handle = server.handle();
    let (plain, _, plain_sockets) = on_hyper(&runtime, &handle, With::Upgrades);
    let (encrypted, roots, encrypted_sockets) = on_hyper(&runtime, &handle, With::Tls);
    let mut alice = connect(plain, "/").unwrap();
    let welcome = alice.auth(&json!({ "type": "auth", "user": "alice" }));
    assert_eq!(welcome["rooms"], json!(["alice", "plain", "all"]));

    let stream = encrypt(socket_to(encrypted), roots);
    let (mut bob, _) = Client::over(stream, "wss://localhost/", &[]).unwrap();
    let welcome = bob.auth(&json!({ "type": "auth", "user": "bob" }));
    assert_eq!(welcome["rooms"], json!(["bob", "encrypted", "all"]));
    alice.recv_type("presence");
    bob.recv_type("presence");
    for sockets in [plain_sockets, encrypted_sockets] {
        // Whether it is encrypted or not, what is written does not wait for more.
        assert!(sockets.lock().unwrap()[0].nodelay().unwrap());
    }
    let pad = "x".repeat(900_000);
    alice.send(&json!({ "type": "message", "to": "all", "data": pad }));
    bob.send(&json!({ "type": "message", "to": "all", "data": pad }));
    assert_eq!(bob.recv()["data"], pad);
    assert_eq!(alice.recv()["data"], pad);
    bob.send(&json!({ "type": "close" }));
    assert_eq!(bob.closed(), 1000);
    assert_eq!(alice.recv()["data"]["online"], false);

    // Where the application has forgotten upgrades nothing comes of one, and nothing stays of it.
    let (without, ..) = on_hyper(&runtime, &handle, With::NoUpgrades);
    assert_eq!(ask(without, "GET", "/").0, 426);
    assert_eq!(connect(without, "/").unwrap().closed(), 1006);
    until("it is gone", || runtime.block_on(handle.stats()).unwrap().transport.sockets <= 1);
    alice.hears_nothing();
}

/// TLS of the application's own that is handed over as a stream.
#[test]
fn a_stream_of_tls() {
    let runtime = Runtime::new().unwrap();
    let (tls, roots) = tls();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let server = runtime.block_on(async { ServerBuilder::new().start_unbound() }).unwrap();
    let handle = server.handle();
    let accepted = runtime.spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let clone = clone_of(&socket);
        let stream = tls.accept(socket).await.unwrap();
        assert!(!clone.nodelay().unwrap(), "the system's default is another one");
        handle.accept(symple_tokio::stream(stream)).await.unwrap();
        clone
    });
    let stream = encrypt(socket_to(address), roots);
    let (mut alice, _) = Client::over(stream, "wss://localhost/", &[]).unwrap();
    alice.auth(&json!({ "type": "auth", "user": "alice" }));
    assert!(runtime.block_on(accepted).unwrap().nodelay().unwrap());
    alice.hears_nothing();
}

/// The variable that makes a server of this program, and says how its connections come.
#[cfg(target_os = "linux")]
const SERVES: &str = "SYMPLE_TEST_SERVES";

/// A server in a process of its own, for the test below; without the variable it is nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_server_for_another_process() {
    let Ok(way) = std::env::var(SERVES) else { return };
    let runtime = Runtime::new().unwrap();
    let (address, _server) = runtime.block_on(async {
        if way == "mounted" {
            let server = ServerBuilder::new().start_unbound().unwrap();
            let route = axum::routing::get(symple_tokio::axum::symple(server.handle()));
            let app = axum::Router::<()>::new().route("/", route);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let app = app.into_make_service_with_connect_info::<SocketAddr>();
            tokio::spawn(async move { axum::serve(listener, app).await });
            (address, server)
        } else {
            let server = ServerBuilder::new().bind("127.0.0.1:0").start().unwrap();
            (server.local_address(), server)
        }
    });
    writeln!(std::io::stdout(), "\nLISTENS {address}").unwrap();
    // It ends with whoever has started it.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The bytes of memory that a connection takes which is idle (PSS), of a process that serves so.
#[cfg(target_os = "linux")]
fn idle_bytes(way: &str, count: usize) -> f64 {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
    };

    let arguments = ["--exact", "a_server_for_another_process", "--nocapture"];
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .env(SERVES, way)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with("LISTENS ")).unwrap();
    let address: SocketAddr = line["LISTENS ".len()..].parse().unwrap();
    let pss = || {
        let file = format!("/proc/{}/smaps_rollup", child.id());
        let text = std::fs::read_to_string(file).unwrap();
        let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
    };
    let join = |n: usize| {
        let mut client = connect(address, "/").unwrap();
        client.auth(&json!({ "type": "auth", "user": format!("user-{n}") }));
        client
    };
    // What is there once, however many come.
    let mut clients: Vec<_> = (0..50).map(join).collect();
    let before = pss();
    clients.extend((0..count).map(|n| join(50 + n)));
    clients.iter_mut().for_each(Client::hears_nothing);
    let each = (pss() - before) / count as f64;
    drop(clients);
    drop(child.stdin.take());
    child.wait().unwrap();
    each
}

/// An idle connection that axum has handed over takes as much memory as one that the server has
/// accepted itself: nothing of the HTTP server stays with it.
#[cfg(target_os = "linux")]
#[test]
fn idle_mounted_connections_are_as_small_as_others() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    const COUNT: usize = 1000;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(8192, |maximum| maximum.min(8192));
    if current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
    }
    let (own, mounted) = (idle_bytes("own", COUNT), idle_bytes("mounted", COUNT));
    let _ = writeln!(std::io::stderr(), "idle bytes: {own:.0} own, {mounted:.0} mounted");
    // The aim is a tenth. Pages are counted, and an allocator keeps some.
    assert!(mounted <= own * 1.25, "{mounted:.0} bytes mounted, {own:.0} own");
}
