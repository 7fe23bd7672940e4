//! Connections that the application brings and does not go on with, or that have to wait.

use std::sync::{Mutex, mpsc};

use super::*;
use crate::adapter::{FrameDecision, FrameRequest};

/// Waits until so many connections are there.
pub(super) fn sockets(handle: &Handle, count: usize) {
    let there = || block_on(handle.stats()).unwrap().transport.sockets == count;
    until(&format!("{count} sockets"), there);
}

/// Begins with something, and keeps what came of it if it was done at once.
fn begin<F: Future>(future: F) -> (std::pin::Pin<Box<F>>, Option<F::Output>) {
    let mut future = Box::pin(future);
    let done = block_on(std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    }));
    (future, done)
}

/// R-T8, R-L5: where there is no time limit, whoever gives up is let go all the same: with the answer
/// in hand, with one that is not taken, and while the stream is handed over; also when so much is
/// asked of the server that there is no room to tell it.
#[test]
fn given_up_without_a_time_limit() {
    let (entered, enters) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = start_with(|builder| {
        builder.configure(|config| config.upgrade_timeout = Duration::ZERO).on_frame(
            move |_: &FrameRequest| {
                entered.send(()).unwrap();
                // Its end is as good.
                let _ = gate.lock().unwrap().recv();
                FrameDecision::pass()
            },
        )
    });
    let handle = server.handle();
    drop(upgrade(&handle, "/", &[]).unwrap());
    sockets(&handle, 0);
    let request = request("/", &[]);
    let asking = begin(handle.upgrade(&request));
    sockets(&handle, 1);
    drop(asking);
    sockets(&handle, 0);

    let [one, two] = [(); 2].map(|()| upgrade(&handle, "/", &[]).unwrap());
    let (_client, stream) = pair();
    let mut alice = join(&handle, answers, "alice");
    sockets(&handle, 3);
    alice.send(&json!({ "type": "message", "to": "r" }));
    // The server's thread waits for the hook, so all that is asked now waits.
    enters.recv().unwrap();
    let asked: Vec<_> = (0..3000)
        .map(|_| {
            let mut asked = Box::pin(handle.stats());
            block_on(std::future::poll_fn(|cx| {
                let _ = asked.as_mut().poll(cx);
                Poll::Ready(())
            }));
            asked
        })
        .collect();
    drop(one);
    drop(begin(two.accept(stream)));
    drop(asked);
    drop(go);
    sockets(&handle, 1);
    alice.hears_nothing();
}

/// A server with one place for those who have not authenticated, which holds whoever does that until
/// the sender is dropped.
fn one_place(upgrade_timeout: Duration) -> (Server, async_channel::Sender<()>) {
    let (decide, decided) = async_channel::bounded::<()>(1);
    let server = start_with(|builder| {
        let builder = builder.configure(|config| {
            config.upgrade_timeout = upgrade_timeout;
            config.engine.connections.unauthenticated = 1;
        });
        builder.authenticate(move |_| {
            let decided = decided.clone();
            async move {
                let _ = decided.recv().await;
                crate::adapter::AuthDecision::allow_claimed()
            }
        })
    });
    (server, decide)
}

/// R-L5, R-L2: when too many wait to be taken in, the next one is refused at once, and counted.
#[test]
fn too_many_wait_for_a_place() {
    let (server, decide) = one_place(Duration::from_secs(10));
    let handle = server.handle();
    let dropped = || block_on(handle.stats()).unwrap().transport.upgrades_dropped;
    let request = request("/", &[]);
    let mut holders = Vec::new();
    for _ in 0..10 {
        let Ok(mut holder) = connect(&handle, answers, "/", &[]) else { continue };
        holder.send(&json!({ "type": "auth", "user": "holder" }));
        holders.push(holder);
        let before = dropped();
        let mut waiting = Vec::new();
        for _ in 0..64 {
            waiting.extend((0..64).map(|_| begin(handle.upgrade(&request))));
            // Those have reached the server.
            dropped();
        }
        let answer = upgrade(&handle, "/", &[]).map(drop);
        if let Err(response) = answer
            && response.body() == "Too many connections wait\n"
        {
            assert_eq!((response.status().as_u16(), dropped()), (503, before + 1));
            drop(decide);
            return;
        }
    }
    panic!("nobody is too many");
}

/// R-L5: what has to wait for a place waits no longer than an upgrade may take. Whoever gives up
/// meanwhile is not counted among those who waited too long.
#[test]
fn no_place_in_time() {
    let (server, decide) = one_place(Duration::from_millis(50));
    let handle = server.handle();
    let mut holders = Vec::new();
    // Whoever has the only place gives way after some seconds: then it is tried once more.
    for _ in 0..10 {
        let Ok(mut holder) = connect(&handle, answers, "/", &[]) else { continue };
        holder.send(&json!({ "type": "auth", "user": "holder" }));
        holders.push(holder);
        let dropped = || block_on(handle.stats()).unwrap().transport.upgrades_dropped;
        let before = dropped();
        drop(begin(handle.upgrade(&request("/", &[]))));
        let refused = upgrade(&handle, "/", &[]).map(drop);
        let (_client, stream) = pair();
        let accepted = block_on(handle.accept(stream));
        if let (Err(response), Err(error)) = (refused, accepted) {
            assert_eq!((response.status().as_u16(), error), (503, HandleError::Ended));
            assert_eq!(response.body(), "No room, or no answer in time\n");
            assert_eq!(dropped(), before + 2);
            drop(decide);
            return;
        }
    }
    panic!("nobody has to wait");
}

/// R-T7: a head that is too large does not wait in memory; that it was is known all the same.
#[test]
fn large_heads() {
    let server = start(|config| config.max_head_size = 4096);
    let handle = server.handle();
    for size in [3000, 5000, 400_000] {
        let cookie = "x".repeat(size);
        let expected = if size == 3000 { Ok(()) } else { Err(431) };
        let status = |target: &str, headers: &[(&'static str, &str)]| {
            upgrade(&handle, target, headers).map(drop).map_err(|answer| answer.status().as_u16())
        };
        assert_eq!(status("/", &[("cookie", &cookie)]), expected, "{size}");
        // No target is as long as the largest.
        if size < 60_000 {
            assert_eq!(status(&format!("/?{cookie}"), &[("x-a", "b")]), expected, "{size}");
        }
        let way = connect(&handle, hands_request_over, "/", &[("cookie", &cookie)]).map(drop);
        assert_eq!(way, expected, "{size}");
    }
}
