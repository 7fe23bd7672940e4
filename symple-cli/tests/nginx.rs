//! A server on a Unix socket behind nginx, as `docs/nginx-unix.conf` has it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use missing::is_installed;
use nginx_process::Nginx;
use running::Running;
use serde_json::{Value, json};
use started::says;
use tungstenite::{Message, WebSocket};

#[path = "../../symple-driver/tests/suite/redis/missing.rs"]
mod missing;
#[path = "support/nginx.rs"]
mod nginx_process;
#[path = "support/running.rs"]
mod running;
#[path = "../../symple-driver/tests/suite/redis/started.rs"]
#[allow(dead_code, reason = "there is no Redis here")]
mod started;

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
    let _server = Running(server);

    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/nginx-unix.conf");
    let socket = folder.join("symple.sock");
    let changes = vec![
        ("/tmp/symple-nginx-unix.pid".into(), folder.join("pid").display().to_string()),
        ("unix:/run/symple/symple.sock".into(), format!("unix:{}", socket.display())),
    ];
    let nginx = Nginx::start(&folder, page, changes);
    let connect = || {
        let socket = TcpStream::connect(nginx.address).unwrap();
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
