//! A server on a Unix socket behind nginx, as `docs/nginx-unix.conf` has it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use missing::is_installed;
use serde_json::{Value, json};
use started::says;
use tungstenite::{Message, WebSocket};

#[path = "../../symple-driver/tests/suite/redis/missing.rs"]
mod missing;
#[path = "../../symple-driver/tests/suite/redis/started.rs"]
#[allow(dead_code, reason = "there is no Redis here")]
mod started;

/// A process that is ended with the test, politely: the workers of nginx end with it only then.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let kill = format!("kill {}", self.0.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
        let _ = self.0.wait();
    }
}

fn recv(client: &mut WebSocket<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = client.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// R-T9, R-T6: the server has no port, and knows its clients' addresses by what nginx tells.
#[test]
fn a_unix_socket_behind_nginx() {
    if !is_installed("nginx", "-v") {
        return;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("nginx-unix");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    // The worker of an nginx that root starts is nobody's: it needs no permission of ours here.
    let mut server = Command::new(env!("CARGO_BIN_EXE_symple"))
        .current_dir(&folder)
        .env_clear()
        .args(["serve", "--listen", "unix:symple.sock?mode=666", "--trusted-proxies", "unix"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(says(server.stderr.take().unwrap(), &["listens on unix:symple.sock"]));
    let _server = Process(server);

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/nginx-unix.conf");
    let mut configuration = std::fs::read_to_string(page).unwrap();
    for (written, instead) in [
        ("/tmp/symple-nginx-unix.pid", folder.join("pid").display().to_string()),
        ("unix:/run/symple/symple.sock", format!("unix:{}", folder.join("symple.sock").display())),
        ("listen 127.0.0.1:4500;", format!("listen 127.0.0.1:{port};")),
        // It says then that it has begun.
        ("error_log stderr warn;", "error_log stderr notice;".into()),
    ] {
        let before = configuration.clone();
        configuration = configuration.replace(written, &instead);
        assert_ne!(configuration, before, "{written}");
    }
    let file = folder.join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut nginx = Command::new("nginx")
        .args(["-g", "daemon off;", "-p"])
        .arg(&folder)
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(says(nginx.stderr.take().unwrap(), &["start worker process"]), "nginx has ended");
    let _nginx = Process(nginx);

    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let connect = || {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    };
    let mut client = tungstenite::client("ws://localhost/", connect()).unwrap().0;
    let auth = json!({ "type": "auth", "user": "alice", "rooms": ["r"] });
    client.send(Message::text(auth.to_string())).unwrap();
    let welcome = recv(&mut client);
    assert_eq!(
        (&welcome["type"], &welcome["peer"]["host"]),
        (&json!("welcome"), &json!("127.0.0.1"))
    );
    let echo =
        json!({ "type": "message", "to": welcome["peer"]["id"], "data": "x".repeat(200_000) });
    client.send(Message::text(echo.to_string())).unwrap();
    assert_eq!(recv(&mut client)["data"], echo["data"]);
    // Health checks, several on one connection of nginx's.
    for _ in 0..20 {
        let mut socket = connect();
        socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        BufReader::new(&mut socket).read_line(&mut answer).unwrap();
        assert_eq!(answer, "HTTP/1.1 200 OK\r\n");
        let _ = socket.read_to_string(&mut answer);
    }
}
