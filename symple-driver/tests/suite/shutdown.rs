//! The end of a server: SPEC §12.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    client::{Client, get},
    start,
};
use crate::adapter::block_on;

/// SPEC §12: everyone is told and closed, who is not authenticated too; then it ends.
#[test]
fn shutdown() {
    let server = start(|_| {});
    let mut alice = Client::join(&server, "alice", &["r"]);
    let mut bob = Client::join(&server, "bob", &["r"]);
    let mut stranger = Client::connect(&server);
    let address = server.local_address();
    alice.recv();
    bob.recv();
    let ending = std::thread::spawn(move || block_on(server.shutdown(Duration::ZERO)));
    let expected = json!({
        "type": "event", "name": "shutdown", "subtype": "shutdown",
        "message": "Server shutting down",
    });
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.recv(), expected);
        assert_eq!(client.closed(), 1001);
    }
    assert_eq!(stranger.closed(), 1001);
    assert_eq!(ending.join().unwrap(), Ok(()));
    assert!(std::net::TcpStream::connect(address).is_err());
}

/// SPEC §12, R-T2: while it drains it is not ready, nobody comes in, those who are there talk.
#[test]
fn drain() {
    let server = start(|_| {});
    let handle = server.handle();
    let mut clients: Vec<_> = (0..4).map(|_| Client::join(&server, "alice", &[])).collect();
    block_on(handle.shutdown(Duration::from_secs(60))).unwrap();
    for client in &mut clients {
        assert_eq!(client.recv_type("event")["name"], "shutdown");
    }
    assert_eq!(get(&server, "/readyz").0, 503);
    assert_eq!(get(&server, "/healthz").0, 200);
    assert_eq!(Client::request(&server, &[]).map(drop), Err(503));
    clients[0].send(&json!({ "type": "message", "to": "alice" }));
    clients[1].recv_type("message");
    // Enough of that.
    let ending = std::thread::spawn(move || block_on(server.shutdown(Duration::ZERO)));
    for client in &mut clients {
        assert_eq!(client.closed(), 1001);
    }
    assert_eq!(ending.join().unwrap(), Ok(()));
}

/// SPEC §12, R-L5: a client that says no goodbye does not hold up the end.
#[test]
fn a_client_that_does_not_answer() {
    let server = start(|config| config.close_timeout = Duration::from_millis(100));
    let silent = Client::join(&server, "alice", &[]);
    let started = Instant::now();
    assert_eq!(block_on(server.shutdown(Duration::ZERO)), Ok(()));
    assert!(started.elapsed() >= Duration::from_millis(100));
    drop(silent);
    assert_eq!(block_on(server.wait()), Ok(()));
    assert_eq!(block_on(server.shutdown(Duration::ZERO)), Ok(()));
}
