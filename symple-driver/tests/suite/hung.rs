//! Hooks that never answer: what they leave behind (R-H5).

use std::{
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::json;

use super::{
    client::{Client, socket, until},
    start_with,
};
use crate::adapter::{
    AuthDecision, AuthRequest, FrameDecision, FrameRequest, JoinDecision, Server, ServerBuilder,
    UpgradeDecision,
};

/// How long the server waits in these tests.
const LIMIT: Duration = Duration::from_millis(50);
/// How often a hook is asked.
const TIMES: usize = 20;

/// How many futures of a hook there are, and how many there have been.
#[derive(Clone, Default)]
struct Futures {
    alive: Arc<AtomicUsize>,
    started: Arc<AtomicUsize>,
}

/// Counts a future as long as it is not dropped.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Futures {
    /// A future that never answers.
    fn hang<T>(&self) -> impl Future<Output = T> + Send + use<T> {
        self.started.fetch_add(1, SeqCst);
        self.alive.fetch_add(1, SeqCst);
        let alive = Alive(Arc::clone(&self.alive));
        async move {
            let _alive = alive;
            pending::<()>().await;
            unreachable!("it never answers")
        }
    }

    /// Waits until the hook has been asked so often, and nothing is left of it.
    fn end(&self, times: usize) {
        until("the hook is asked each time", || self.started.load(SeqCst) >= times);
        until("all futures are dropped", || self.alive.load(SeqCst) == 0);
    }
}

/// A server of which one hook never answers.
fn hanging(build: impl FnOnce(ServerBuilder, Futures) -> ServerBuilder) -> (Server, Futures) {
    let futures = Futures::default();
    let server = start_with(|builder| {
        let builder = builder.configure(|config| {
            config.engine.hooks.timeout = LIMIT;
            config.engine.auth_timeout = LIMIT;
            config.upgrade_timeout = LIMIT;
            config.engine.rate = None;
        });
        build(builder, futures.clone())
    });
    (server, futures)
}

/// R-H5: a hook about joins that never answers leaves nothing, however often one client asks.
#[test]
fn joins() {
    let (server, futures) = hanging(|builder, futures| {
        builder
            .configure(|config| config.engine.auth_timeout = Duration::ZERO)
            .on_join(move |_| futures.hang::<JoinDecision>())
    });
    let mut alice = Client::join(&server, "alice", &[]);
    for n in 0..TIMES {
        alice.send(&json!({ "type": "join", "room": format!("r{n}") }));
    }
    for _ in 0..TIMES {
        assert_eq!(alice.recv()["message"], "Join denied");
    }
    futures.end(TIMES);
}

/// R-H5: a hook about frames that never answers leaves nothing, of a client that floods and of one
/// that is gone.
#[test]
fn frames() {
    let (server, futures) = hanging(|builder, futures| {
        builder
            .configure(|config| config.engine.auth_timeout = Duration::ZERO)
            .on_frame_async(move |_: FrameRequest| futures.hang::<FrameDecision>())
    });
    let mut alice = Client::join(&server, "alice", &[]);
    for n in 0..TIMES {
        alice.send(&json!({ "type": "message", "to": "alice", "n": n }));
    }
    for _ in 0..TIMES {
        assert_eq!(alice.recv()["message"], "Frame refused");
    }
    for n in 0..TIMES {
        let mut bob = Client::join(&server, &format!("bob{n}"), &[]);
        bob.send(&json!({ "type": "message", "to": "alice" }));
        until("it is asked", || futures.started.load(SeqCst) > TIMES + n);
    }
    futures.end(2 * TIMES);
}

/// R-A5, R-H5: a hook about authentications that never answers leaves nothing of clients that come
/// again and again.
#[test]
fn authentications() {
    let (server, futures) = hanging(|builder, futures| {
        builder.authenticate(move |_: AuthRequest| futures.hang::<AuthDecision>())
    });
    for n in 0..TIMES {
        let mut client = Client::connect(&server);
        client.send(&json!({ "type": "auth", "user": "alice" }));
        until("it is asked", || futures.started.load(SeqCst) > n);
    }
    futures.end(TIMES);
}

/// R-T4, R-L5: a hook about upgrades that never answers leaves nothing of clients that come again
/// and again.
#[test]
fn upgrades() {
    use std::io::Write as _;

    let (server, futures) =
        hanging(|builder, futures| builder.on_upgrade(move |_| futures.hang::<UpgradeDecision>()));
    for n in 0..TIMES {
        let request = concat!(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket(&server).write_all(request.as_bytes()).unwrap();
        until("it is asked", || futures.started.load(SeqCst) > n);
    }
    futures.end(TIMES);
}
