//! What clients keep through a restart of the server, rosters that are large, and calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use symple_engine::client::{
    CallConfig, CallEnd, CallEvent, CallState, Callee, Event, OfflinePolicy, Outgoing, QueueLimits,
};
use symple_proto::{Fields, UserName};

use super::{
    clients::{builder, listen, online, until, url},
    start, start_with,
};
use crate::adapter::{
    Client, ClientEvents, Config, FrameDecision, FrameRequest, Server, ServerBuilder, THREADS,
    block_on,
};

/// A server in the place of one that has ended.
fn again(address: std::net::SocketAddr) -> Server {
    let builder = ServerBuilder::new().listener(listen(address));
    let threads = |config: &mut Config| config.threads = THREADS.try_into().unwrap();
    builder.configure(threads).start().unwrap()
}

/// What is said while the server is away waits, and is said once, in order, when it is back.
#[test]
fn a_queue_through_a_restart() {
    let server = start(|_| {});
    let address = server.local_address();
    block_on(async {
        let (bob, mut bob_events) = online(&server, "bob", "lobby").await;
        // Alice comes back when she is let, so that somebody is there who hears her.
        let (open, gate) = async_channel::bounded::<()>(1);
        open.send(()).await.unwrap();
        let queue = |config: &mut symple_engine::client::Config| {
            config.offline = OfflinePolicy::Queue(QueueLimits::default());
        };
        let alice = builder(url(address), "alice").room("lobby").configure(queue);
        let alice = alice.token_with(move |_| {
            let gate = gate.clone();
            async move { gate.recv().await.map(|()| None) }
        });
        let (alice, mut alice_events) = alice.connect().await.unwrap();
        server.shutdown(Duration::ZERO).await.unwrap();
        drop(server);
        until(&mut alice_events, |event| matches!(event, Event::Disconnected { .. })).await;
        let _server = again(address);
        until(&mut bob_events, |event| matches!(event, Event::Online { .. })).await;
        until(&mut bob_events, |event| matches!(event, Event::RosterComplete)).await;
        assert_eq!(bob.roster().await.unwrap().len(), 0);

        let mut sends: Vec<_> = (0..100)
            .map(|n| Box::pin(alice.send(Outgoing::message(format!("{n}").as_str()).to("lobby"))))
            .collect();
        // All of them wait, in this order, before alice may come back.
        std::future::poll_fn(|cx| {
            assert!(sends.iter_mut().all(|send| send.as_mut().poll(cx).is_pending()));
            std::task::Poll::Ready(())
        })
        .await;
        open.send(()).await.unwrap();
        for n in 0..100 {
            let heard = until(&mut bob_events, is_text).await;
            let Event::Frame(frame) = heard else { unreachable!() };
            assert_eq!(frame.data().unwrap().as_str().unwrap(), n.to_string());
        }
        for send in &mut sends {
            send.await.unwrap();
        }
        alice.flush().await.unwrap();
        assert_eq!(alice.stats().await.unwrap().expired, 0);
    });
}

fn is_text(event: &Event) -> bool {
    matches!(event, Event::Frame(frame) if frame.data().is_some_and(|data| data.as_str().is_some()))
}

/// A roster of 5 000 is whole when the client says so, shrinks with those who go, and after a
/// restart holds nobody who has not come back.
#[test]
fn a_large_roster() {
    const ROOMS: usize = 50;
    const EACH: usize = 100;
    let server = start(|_| {});
    let address = server.local_address();
    block_on(async {
        let mut peers = Vec::new();
        for room in 0..ROOMS {
            for peer in 0..EACH {
                let user = UserName::new(format!("peer-{room}-{peer}")).unwrap();
                let room = [format!("room-{room}")];
                peers.push(server.handle().add_peer(user, Fields::new(), room).await.unwrap());
            }
        }
        let rooms = (0..ROOMS).map(|room| format!("room-{room}"));
        let alice = rooms.fold(builder(url(address), "alice"), crate::adapter::ClientBuilder::room);
        let many = |limits: &mut crate::adapter::InboxLimits| limits.events = 20_000;
        let (alice, mut events) = alice.inbox(many).connect().await.unwrap();
        until(&mut events, |event| matches!(event, Event::RosterComplete)).await;
        assert_eq!(alice.roster().await.unwrap().len(), ROOMS * EACH);
        // Every second one leaves.
        for peer in peers.iter().step_by(2) {
            peer.send(r#"{"type":"close"}"#).await.unwrap();
        }
        for _ in 0..ROOMS * EACH / 2 {
            until(&mut events, |event| matches!(event, Event::PeerOffline(_))).await;
        }
        assert_eq!(alice.roster().await.unwrap().len(), ROOMS * EACH / 2);
        drop(peers);
        server.shutdown(Duration::ZERO).await.unwrap();
        drop(server);
        let _server = again(address);
        until(&mut events, |event| matches!(event, Event::Online { .. })).await;
        until(&mut events, |event| matches!(event, Event::RosterComplete)).await;
        assert_eq!(alice.roster().await.unwrap().len(), 0);
        assert_eq!(events.dropped(), 0);
    });
}

/// A client that calls, and knows of this many others.
async fn caller(server: &Server, user: &str, others: usize) -> (Client, ClientEvents) {
    let calls = |config: &mut symple_engine::client::Config| {
        config.calls = Some(CallConfig::default());
    };
    let builder = builder(url(server.local_address()), user).room("calls").configure(calls);
    let (client, mut events) = builder.connect().await.unwrap();
    while client.roster().await.unwrap().len() < others {
        events.next().await.unwrap();
    }
    (client, events)
}

async fn next_call(events: &mut ClientEvents) -> CallEvent {
    match until(events, |event| matches!(event, Event::Call(_))).await {
        Event::Call(event) => event,
        _ => unreachable!(),
    }
}

/// Two who call each other at once have one call, and one of them makes the offer.
#[test]
fn glare() {
    // The server holds each ring until there are both.
    let (ring, rings) = async_channel::bounded::<()>(1);
    let count = Arc::new(AtomicUsize::new(0));
    let hold = move |request: FrameRequest| {
        let (ring, rings, count) = (ring.clone(), rings.clone(), Arc::clone(&count));
        async move {
            if request.text.contains("call:init") {
                if count.fetch_add(1, Ordering::Relaxed) == 1 {
                    ring.close();
                }
                let _ = rings.recv().await;
            }
            FrameDecision::pass()
        }
    };
    let server = start_with(|builder| builder.on_frame_async(hold));
    block_on(async {
        let (alice, mut alice_events) = caller(&server, "alice", 0).await;
        let (bob, mut bob_events) = caller(&server, "bob", 1).await;
        while alice.roster().await.unwrap().is_empty() {
            alice_events.next().await.unwrap();
        }
        let peer = bob.peer().await.unwrap().unwrap();
        let user = UserName::new("alice").unwrap();
        // One calls a session, the other one a user: it is the same call.
        let alice_calls = alice.call(Callee::Peer(peer.address()), None).await.unwrap();
        let bob_calls = bob.call(Callee::User(user), None).await.unwrap();
        let mut offers = 0;
        for (events, mine) in [(&mut alice_events, alice_calls), (&mut bob_events, bob_calls)] {
            let CallEvent::Accepted { call, offers: first, .. } = next_call(events).await else {
                panic!("it is taken")
            };
            assert_eq!(call, mine);
            offers += usize::from(first);
        }
        assert_eq!(offers, 1);
        for client in [&alice, &bob] {
            let calls = client.calls().await.unwrap();
            assert_eq!((calls.len(), calls[0].state), (1, CallState::Connecting));
        }
        alice.hang_up(alice_calls, None).await.unwrap();
        for events in [&mut alice_events, &mut bob_events] {
            assert!(matches!(next_call(events).await, CallEvent::Ended { .. }));
        }
    });
}

/// All sessions of a user ring; when one takes the call the others stop, and when the caller is
/// gone so is the call.
#[test]
fn other_sessions_stop_ringing() {
    let server = start(|_| {});
    block_on(async {
        let mut sessions = Vec::new();
        for n in 0..3 {
            sessions.push(caller(&server, "bob", n).await);
        }
        let (alice, mut events) = caller(&server, "alice", 3).await;
        let call = alice.call(Callee::User(UserName::new("bob").unwrap()), None).await.unwrap();
        let mut rung = Vec::new();
        for (_, events) in &mut sessions {
            let CallEvent::Incoming { call, from, .. } = next_call(events).await else {
                panic!("it rings")
            };
            assert_eq!(&*from.user, "alice");
            rung.push(call);
        }
        sessions[1].0.accept(rung[1], None).await.unwrap();
        let accepted = next_call(&mut events).await;
        let with = sessions[1].0.peer().await.unwrap().unwrap().address();
        assert!(
            matches!(&accepted, CallEvent::Accepted { call: of, with: by, offers: true, .. }
                if *of == call && *by == with),
            "{accepted:?}"
        );
        for n in [0, 2] {
            let CallEvent::Ended { end, .. } = next_call(&mut sessions[n].1).await else {
                panic!("it stops")
            };
            assert_eq!(end, CallEnd::HungUpByPeer("answered elsewhere".into()));
            assert!(sessions[n].0.calls().await.unwrap().is_empty());
        }
        assert!(matches!(next_call(&mut sessions[1].1).await, CallEvent::Accepted { .. }));
        drop((alice, events));
        let CallEvent::Ended { end, .. } = next_call(&mut sessions[1].1).await else {
            panic!("it ends")
        };
        assert_eq!(end, CallEnd::PeerOffline);
    });
}
