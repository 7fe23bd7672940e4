//! Where a server listens, and connections that ask more than once: SPEC §1.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, TcpListener},
    time::Duration,
};

use serde_json::json;

use super::{
    client::{Client, exchange, get, socket, socket_to},
    redis::process::missing::is_installed,
    start, start_with,
    tls::{Certificate, folder},
};
use crate::adapter::{Endpoint, ListenAddress, ServerBuilder, block_on, tls};

const ASK: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
const LAST: &str = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// The next answer: its status, whether the connection ends behind it, its body.
fn answer(from: &mut impl BufRead) -> Option<(u16, bool, String)> {
    let mut line = String::new();
    if from.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut ends) = (0, false);
    loop {
        line.clear();
        from.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some(("Content-Length", value)) => length = value.parse().ok()?,
            Some(("Connection", value)) => ends |= value == "close",
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    Some((status, ends, String::from_utf8(body).ok()?))
}

/// R-T9: plain and encrypted places, each with its own certificate, on one server.
#[test]
fn each_with_its_own_certificate() {
    let folder = folder("endpoints");
    let [one, two, three] = ["one", "two", "three"].map(|name| Certificate::new(&folder, name));
    let load = |certificate: &Certificate| tls::load(&certificate.chain, &certificate.key).unwrap();
    let shared = tls::SharedTls::from(load(&two));
    let server = start_with(|builder| {
        builder
            .tls(load(&one))
            .listen(Endpoint::tcp("127.0.0.1:0"))
            .listen(Endpoint::tcp("127.0.0.1:0").tls(shared.clone()).backlog(16))
            .listen(Endpoint::bound(TcpListener::bind("127.0.0.1:0").unwrap()).tls(load(&three)))
    });
    let encrypted: Vec<_> = server.listen_addresses().iter().map(|(_, tls)| *tls).collect();
    assert_eq!(encrypted, [true, false, true, true]);
    let [of_server, plain, second, third] = *server.local_addresses() else { panic!() };
    let url = "ws://localhost/";
    let (mut alice, _) = Client::over(socket_to(plain), url, &[]).unwrap();
    alice.auth(&json!({ "type": "auth", "user": "alice", "rooms": ["r"] }));
    let said = |certificate: &Certificate, address| {
        let stream = certificate.connect_to(address)?;
        let (mut client, _) = Client::over(stream, "wss://localhost/", &[]).unwrap();
        client.auth(&json!({ "type": "auth", "user": "bob", "rooms": ["r"] }));
        client.send(&json!({ "type": "message", "to": "r" }));
        // It closes, and the server has heard it.
        client.send(&json!({ "type": "close" }));
        assert_eq!(client.closed(), 1000);
        std::io::Result::Ok(())
    };
    for (certificate, address) in [(&one, of_server), (&two, second), (&three, third)] {
        said(certificate, address).unwrap();
        alice.recv_type("message");
    }
    for (certificate, address) in [(&two, of_server), (&one, second), (&one, plain), (&one, third)]
    {
        assert!(said(certificate, address).is_err());
    }
    // Each is replaced apart from the others.
    shared.replace(load(&one));
    block_on(server.handle().set_tls(load(&three))).unwrap();
    for (certificate, address) in [(&three, of_server), (&one, second), (&three, third)] {
        said(certificate, address).unwrap();
    }
    assert!(said(&two, second).is_err());
}

/// What cannot be listened on, in one line.
#[test]
fn no_two_servers_on_one_address() {
    let server = start(|_| {});
    let taken = server.local_address().to_string();
    let again = block_on(async {
        ServerBuilder::new().listen(Endpoint::tcp(taken.clone())).start().map(drop)
    });
    let error = again.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {taken}: ")), "{error}");
    let error = Endpoint::inherited(3).unwrap_err().to_string();
    assert_eq!(error, "there is no such socket: 0 have been handed over");
    assert_eq!(Endpoint::inherited_count(), 0);
    assert_eq!(server.listen_addresses()[0].0, ListenAddress::Tcp(server.local_address()));
}

/// R-T2: several requests on one connection, and an upgrade behind them.
#[test]
fn kept_alive() {
    let server = start(|_| {});
    let mut stream = BufReader::new(socket(&server));
    for _ in 0..3 {
        stream.get_mut().write_all(ASK.as_bytes()).unwrap();
        assert_eq!(answer(&mut stream).unwrap(), (200, false, "ok\n".into()));
    }
    // Two at once, cut anywhere.
    let both = format!("{ASK}{ASK}");
    for cut in [1, 20, ASK.len(), ASK.len() + 3, both.len() - 1] {
        let (first, rest) = both.split_at(cut);
        stream.get_mut().write_all(first.as_bytes()).unwrap();
        stream.get_mut().write_all(rest.as_bytes()).unwrap();
        for _ in 0..2 {
            assert_eq!(answer(&mut stream).unwrap(), (200, false, "ok\n".into()), "{cut}");
        }
    }
    let socket = stream.into_inner();
    let (mut alice, _) = Client::over(socket, "ws://localhost/", &[]).unwrap();
    alice.auth(&json!({ "type": "auth", "user": "alice" }));
    alice.hears_nothing();

    for (request, status) in [
        (LAST.to_owned(), 200),
        (ASK.replace("1.1", "1.0"), 200),
        (ASK.replace("Host: x", "Host: x\r\nContent-Length: 5") + "12345", 200),
        (ASK.replace("/healthz", "/other"), 404),
        (ASK.replace("GET", "POST"), 405),
        ("garbage\r\n".into(), 400),
    ] {
        // What comes behind it is not answered.
        let all = exchange(&server, format!("{ASK}{request}{ASK}{ASK}").as_bytes());
        let mut all = BufReader::new(all.as_bytes());
        assert_eq!(answer(&mut all).unwrap().0, 200, "{request}");
        let (answered, ends, _) = answer(&mut all).unwrap();
        assert_eq!((answered, ends), (status, true), "{request}");
        assert_eq!(answer(&mut all), None, "{request}");
    }
    let head = exchange(&server, format!("{}{LAST}", ASK.replace("GET", "HEAD")).as_bytes());
    assert_eq!(head.matches("HTTP/1.1 200 OK\r\n").count(), 2);
    assert!(!head.contains("ok\n"), "{head}");
}

/// R-T2: nobody is kept for ever: between requests, or within one.
#[test]
fn kept_alive_for_a_while() {
    let server = start(|config| {
        config.keep_alive_timeout = Duration::from_millis(50);
        config.upgrade_timeout = Duration::from_millis(150);
    });
    for behind in ["", "GET /healthz HT", "\r\n"] {
        let all = exchange(&server, format!("{ASK}{behind}").as_bytes());
        let mut all = BufReader::new(all.as_bytes());
        assert_eq!(answer(&mut all).unwrap(), (200, false, "ok\n".into()));
        assert_eq!(answer(&mut all), None);
    }
    // Who was idle has had its answer; who was in the middle of a request was dropped.
    assert_eq!(block_on(server.handle().stats()).unwrap().transport.upgrades_dropped, 2);
    // One that sends a request slowly does not have more time for it.
    let mut slow = BufReader::new(socket(&server));
    slow.get_mut().write_all(ASK.as_bytes()).unwrap();
    assert_eq!(answer(&mut slow).unwrap().0, 200);
    // A byte whenever nothing has come for a moment, until the end comes.
    slow.get_ref().set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut sent = 0;
    while let Err(error) = slow.fill_buf()
        && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    {
        if slow.get_mut().write_all(b"x").is_err() {
            break;
        }
        sent += 1;
        assert!(sent < 2_000, "it is never dropped");
    }
    let off = start(|config| config.keep_alive_timeout = Duration::ZERO);
    let all = exchange(&off, format!("{ASK}{ASK}").as_bytes());
    assert!(all.contains("Connection: close") && all.matches("ok\n").count() == 1, "{all}");
}

/// R-T2: ten thousand requests at once get a thousand answers, one after the other; and who does not
/// read them is not read from.
#[test]
fn pipelined() {
    let server = start(|config| {
        config.keep_alive_timeout = Duration::from_millis(500);
        config.upgrade_timeout = Duration::from_millis(500);
    });
    let mut alice = Client::join(&server, "alice", &[]);
    let mut stream = socket(&server);
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(ASK.repeat(10_000).as_bytes()));
    let mut all = BufReader::new(&mut stream);
    let mut answers = 0;
    while let Some((status, ends, _)) = answer(&mut all) {
        answers += 1;
        assert_eq!((status, ends), (200, answers == 1001), "{answers}");
    }
    assert_eq!(answers, 1001);
    let _ = writing.join().unwrap();
    alice.hears_nothing();

    // More than the sockets hold, without reading an answer.
    let mut deaf = socket(&server);
    let mut sent = 0_usize;
    let lot = ASK.repeat(1000);
    deaf.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    while deaf.write_all(lot.as_bytes()).is_ok() {
        sent += lot.len();
        assert!(sent < 200_000_000, "it is read from without end");
    }
    drop(deaf);
    alice.hears_nothing();
    // Garbage behind a request.
    for garbage in [&b"\0\0\0\0"[..], b"\r\n\r\n\r\nx", b"GET", &[0x88, 0x80, 0, 0, 0, 0]] {
        let all = exchange(&server, &[ASK.as_bytes(), garbage].concat());
        assert!(all.starts_with("HTTP/1.1 200 OK\r\n"), "{all}");
        assert!(all.matches("HTTP/1.1").count() <= 2, "{all}");
    }
    alice.hears_nothing();
}

/// SPEC §12: those who are kept do not hold up the end, and while it drains nobody is kept.
#[test]
fn shutdown_while_kept_alive() {
    let server = start(|_| {});
    let mut alice = Client::join(&server, "alice", &[]);
    let mut kept = BufReader::new(socket(&server));
    kept.get_mut().write_all(ASK.as_bytes()).unwrap();
    assert_eq!(answer(&mut kept).unwrap(), (200, false, "ok\n".into()));
    block_on(server.handle().shutdown(Duration::from_secs(60))).unwrap();
    assert_eq!(answer(&mut kept), None, "it is closed");
    assert_eq!(get(&server, "/readyz").0, 503);
    let mut late = BufReader::new(socket(&server));
    late.get_mut().write_all(ASK.as_bytes()).unwrap();
    assert_eq!(answer(&mut late).unwrap(), (200, true, "ok\n".into()));
    assert_eq!(alice.recv()["name"], "shutdown");
    let ending = std::thread::spawn(move || block_on(server.shutdown(Duration::ZERO)));
    assert_eq!(alice.closed(), 1001);
    assert_eq!(ending.join().unwrap(), Ok(()));
}

/// A client that has no more to say still hears all answers.
#[test]
fn half_closed_behind_requests() {
    let server = start(|_| {});
    let mut stream = socket(&server);
    stream.write_all(ASK.repeat(5).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("ok\n").count(), 5, "{all}");
}

/// R-L2: connections that are kept are the first to give way.
#[test]
fn kept_alive_gives_way() {
    let server = start(|config| config.engine.connections.unauthenticated = 4);
    let kept: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = BufReader::new(socket(&server));
            stream.get_mut().write_all(ASK.as_bytes()).unwrap();
            assert_eq!(answer(&mut stream).unwrap().0, 200);
            stream
        })
        .collect();
    let alice = Client::join(&server, "alice", &[]);
    drop((kept, alice));
}

#[cfg(unix)]
mod unix {
    use std::os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    };

    use super::*;
    use crate::adapter::{Server, StartError};

    fn listen(endpoint: Endpoint) -> Result<Server, StartError> {
        block_on(async { ServerBuilder::new().listen(endpoint).start() })
    }

    fn join(path: &std::path::Path, headers: &[(&'static str, &str)]) -> Client<UnixStream> {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(super::super::client::PATIENCE)).unwrap();
        let (mut client, _) = Client::over(stream, "ws://localhost/", headers).unwrap();
        client.auth(&json!({ "type": "auth", "user": "alice", "rooms": ["r"] }));
        client
    }

    /// R-T9, R-T6: a Unix socket beside an address, and one behind a proxy.
    #[test]
    fn unix_sockets() {
        let folder = folder("unix");
        let (open, trusted) = (folder.join("open.sock"), folder.join("trusted.sock"));
        let server = start_with(|builder| {
            // A Unix socket is in no network, however large.
            let all = ["::/0", "0.0.0.0/0"].map(|one| one.parse().unwrap());
            let builder = builder.configure(|config| config.trusted_proxies = all.into());
            builder.listen(Endpoint::unix(&open).mode(0o600))
        });
        let mode = std::fs::metadata(&open).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(server.listen_addresses()[1].0, ListenAddress::Unix(open.clone()));
        assert_eq!(server.local_addresses().len(), 1);
        let forwarded = [("x-forwarded-for", "203.0.113.9")];
        let mut alice = join(&open, &forwarded);
        assert!(alice.peer["host"].is_null(), "{}", alice.peer);
        let mut bob = Client::join(&server, "bob", &["r"]);
        assert_eq!(alice.recv_type("presence")["data"]["user"], "bob");
        bob.recv_type("presence");
        let pad = "x".repeat(900_000);
        bob.send(&json!({ "type": "message", "to": "r", "data": pad }));
        assert_eq!(alice.recv()["data"], pad);
        alice.send(&json!({ "type": "message", "to": "r", "data": pad }));
        assert_eq!(bob.recv()["data"], pad);

        let behind = start_with(|builder| {
            let builder = builder.configure(|config| {
                config.trusted_proxies = vec!["unix".parse().unwrap()];
                config.engine.connections.per_address = 1;
            });
            builder.listen(Endpoint::unix(&trusted))
        });
        let one = join(&trusted, &forwarded);
        assert_eq!(one.peer["host"], "203.0.113.9");
        // Who has no address is counted for none.
        let (_two, _three) = (join(&trusted, &[]), join(&trusted, &[]));
        drop(behind);
    }

    /// The file is there as long as the server listens, and is nobody else's.
    #[test]
    fn the_file_of_a_socket() {
        let folder = folder("socket_file");
        let path = folder.join("a.sock");
        let _ = std::fs::remove_file(&path);
        let server = listen(Endpoint::unix(&path)).unwrap();
        // Another one that answers stays.
        let refused = listen(Endpoint::unix(&path)).map(drop).unwrap_err().to_string();
        let expected = format!("cannot listen on unix:{}: another server answers", path.display());
        assert!(refused.starts_with(&expected), "{refused}");
        join(&path, &[]).hears_nothing();
        block_on(server.shutdown(Duration::ZERO)).unwrap();
        assert!(!path.exists());

        // What a server has left that was killed is replaced.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let server = listen(Endpoint::unix(&path)).unwrap();
        join(&path, &[]).hears_nothing();
        block_on(server.handle().stop_accepting()).unwrap();
        assert!(!path.exists());
        // What others have put there since is theirs.
        let server = listen(Endpoint::unix(&path)).unwrap();
        std::fs::remove_file(&path).unwrap();
        let others = UnixListener::bind(&path).unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        block_on(server.shutdown(Duration::ZERO)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        drop(others);
        std::fs::remove_file(&path).unwrap();

        // Whatever is no socket stays.
        let file = folder.join("file");
        std::fs::write(&file, "precious").unwrap();
        let link = folder.join("link");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for there in [&file, &folder, &link] {
            let refused = listen(Endpoint::unix(there)).map(drop).unwrap_err().to_string();
            assert!(refused.ends_with("there is something that is no socket"), "{refused}");
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
        assert!(link.symlink_metadata().is_ok());
        for nowhere in [folder.join("no/such/folder.sock"), folder.join("x".repeat(200))] {
            let refused = listen(Endpoint::unix(nowhere)).map(drop).unwrap_err().to_string();
            assert!(refused.starts_with("cannot listen on unix:"), "{refused}");
        }
        // A backlog that is full is no reason to take the place.
        let busy =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        busy.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        busy.listen(0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        let refused = listen(Endpoint::unix(&path)).map(drop).unwrap_err().to_string();
        assert!(refused.ends_with("another server answers there"), "{refused}");
        drop(busy);
        std::fs::remove_file(&path).unwrap();
    }

    /// A socket that others have bound stays where it is.
    #[test]
    fn bound_by_others() {
        let path = folder("bound").join("a.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let server = listen(Endpoint::bound(listener).backlog(8)).unwrap();
        assert_eq!(server.listen_addresses()[0].0, ListenAddress::Unix(path.clone()));
        join(&path, &[]).hears_nothing();
        block_on(server.shutdown(Duration::ZERO)).unwrap();
        assert!(path.exists());
    }
}

/// The system lets as many connections wait as was asked for, on TCP and on Unix sockets, and 4096
/// where nothing was; or as many as it allows at all.
#[cfg(target_os = "linux")]
#[test]
fn the_backlog_of_the_system() {
    use std::process::Command;

    if !is_installed("ss", "--version") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let server = start_with(|builder| {
        builder
            .listen(Endpoint::tcp("127.0.0.1:0").backlog(17))
            .listen(Endpoint::unix(&path).backlog(18))
    });
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let most: u32 = most.trim().parse().unwrap();
    // For a socket that listens, Send-Q is the backlog.
    let backlog = |of: &str, kind: &str, column: usize| -> u32 {
        let output = Command::new("ss").args(["-H", "-l", "-n", kind]).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let line = output.lines().find(|line| line.split_whitespace().any(|word| word == of));
        let line = line.unwrap_or_else(|| panic!("{of} does not listen: {output}"));
        line.split_whitespace().nth(column).unwrap().parse().unwrap()
    };
    let addresses = server.local_addresses();
    assert_eq!(backlog(&addresses[0].to_string(), "-t", 2), 4096.min(most));
    assert_eq!(backlog(&addresses[1].to_string(), "-t", 2), 17);
    assert_eq!(backlog(path.to_str().unwrap(), "-x", 3), 18);
}
