//! Whatever one client causes is charged to it and bounded: SPEC §8.

use std::{net::IpAddr, time::Duration};

use symple_engine::server::{
    Config, ConnId, HostCall, Input, RateLimit, RoomSend, TransportFault, Verdict, Whom,
};

use crate::common::{Node, config};

/// So many peers in a room, and nobody has seen anything of it.
fn crowd(node: &mut Node, room: &str, count: usize) -> Vec<ConnId> {
    let peers = (0..count).map(|n| node.peer(&format!("{room}{n}"), &[room])).collect();
    node.forget();
    peers
}

fn is_paused(node: &mut Node, conn: ConnId) -> bool {
    node.seen().iter().any(|line| *line == format!("Pause {{ conn: {conn:?} }}"))
}

/// R-L3: control frames and fragments are frames, also those of a stranger.
#[test]
fn frames_without_text_count() {
    let mut node = Node::new(Config::default());
    let stranger = node.connect();
    let peer = node.peer("alice", &[]);
    for conn in [stranger, peer] {
        node.input(Input::Frames { conn, count: 399 }).unwrap();
        node.nothing();
        node.input(Input::Frames { conn, count: 2 }).unwrap();
        assert!(is_paused(&mut node, conn));
    }
    assert_eq!(node.server.stats().frames, 1 + 2 * 401);
}

/// R-L3: who causes more pays more, for bytes as for deliveries.
#[test]
fn frames_cost_what_they_cause() {
    for (size, bytes, frames) in [(2, 0, 400), (2, 8192 * 3, 100), (501, 0, 133)] {
        let mut node = Node::new(Config::default());
        let sender = crowd(&mut node, "room", size)[0];
        // What its own arrival cost is forgotten.
        node.pass(Duration::from_secs(60));
        node.forget();
        let text = format!(r#"{{"type":"message","to":"room","data":"{}"}}"#, "x".repeat(bytes));
        let mut sent = 0;
        while !is_paused(&mut node, sender) {
            node.text(sender, &text);
            sent += 1;
        }
        assert_eq!(sent, frames + 1, "{size} members, {bytes} bytes");
    }
}

/// R-L3: to authenticate again is as much work as two other frames, and its bytes as four times as many.
#[test]
fn authenticating_again_costs_more() {
    for (bytes, frames) in [(0, 200), (8192 * 3, 28)] {
        let mut node = Node::new(Config::default());
        let alice = node.peer("alice", &[]);
        node.pass(Duration::from_secs(60));
        node.forget();
        let text = format!(r#"{{"type":"auth","user":"alice","x":"{}"}}"#, "x".repeat(bytes));
        let mut sent = 0;
        while !is_paused(&mut node, alice) {
            node.text(alice, &text);
            sent += 1;
        }
        assert_eq!(sent, frames + 1, "{bytes} bytes");
    }
}

/// R-L3: a record is read member by member.
#[test]
fn large_records_cost_more() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &[]);
    node.pass(Duration::from_secs(60));
    node.forget();
    let text = format!(r#"{{"type":"presence","data":{{"x":"{}"}}}}"#, "x".repeat(8192));
    for _ in 0..133 {
        node.text(alice, &text);
    }
    assert!(!is_paused(&mut node, alice));
    node.text(alice, &text);
    assert!(is_paused(&mut node, alice));
}

/// R-L3: the frame that a peer came with is free, but not how large it was.
#[test]
fn large_arrivals_cost() {
    let mut node = Node::new(Config::default());
    let alice = node.connect();
    node.text(alice, &format!(r#"{{"type":"auth","user":"alice","x":"{}"}}"#, "x".repeat(8192)));
    node.forget();
    for _ in 0..396 {
        node.text(alice, r#"{"type":"message"}"#);
    }
    assert!(!is_paused(&mut node, alice));
    node.text(alice, r#"{"type":"message"}"#);
    assert!(is_paused(&mut node, alice));
}

/// R-L3: what the driver does for a client is charged to it, by its bytes alone.
#[test]
fn work_of_the_driver_counts() {
    for (bytes, times) in [(0, 1000), (8192, 400), (8192 * 8, 50)] {
        let mut node = Node::new(Config::default());
        let alice = node.peer("alice", &[]);
        node.pass(Duration::from_secs(60));
        node.forget();
        for _ in 0..times {
            node.input(Input::Work { conn: alice, bytes }).unwrap();
        }
        node.nothing();
        node.input(Input::Work { conn: alice, bytes }).unwrap();
        assert_eq!(is_paused(&mut node, alice), bytes > 0, "{bytes}");
    }
}

/// R-L3: to come and go in a large room costs presence, and that is counted.
#[test]
fn coming_and_going_costs_presence() {
    let rate = RateLimit { deliveries_per_unit: 25, ..RateLimit::default() };
    let mut node = Node::new(config(|config| config.rate = Some(rate)));
    crowd(&mut node, "room", 100);
    let flapper = node.peer("flapper", &[]);
    let mut rounds = 0;
    while !is_paused(&mut node, flapper) {
        node.text(flapper, r#"{"type":"join","room":"room"}"#);
        node.text(flapper, r#"{"type":"leave","room":"room"}"#);
        rounds += 1;
    }
    assert!((20..30).contains(&rounds), "{rounds}");
}

/// R-L3: to look through rooms for those who are not there costs time, too, and is counted. However
/// many rooms the members of a room share, each of them is looked at once.
#[test]
fn looking_in_vain_costs() {
    let rooms: Vec<_> = (0..60).map(|n| format!("room{n}")).collect();
    let names: Vec<_> = rooms.iter().map(|room| &**room).collect();
    let closed = |config: &mut Config| config.dynamic_rooms = false;
    for (change, text, frames) in [
        (None, r#"{"type":"presence","to":"nobody"}"#, 80..120),
        (None, r#"{"type":"presence","to":["nobody","none"]}"#, 80..120),
        (Some(closed), r#"{"type":"message","to":"nobody"}"#, 80..120),
        // All are found in the first of the rooms, and no more in the others.
        (None, r#"{"type":"message"}"#, 150..250),
    ] {
        let mut node = Node::new(config(|config| {
            if let Some(change) = change {
                change(config);
            }
        }));
        let peers: Vec<_> = (0..100).map(|n| node.peer(&format!("user{n}"), &names)).collect();
        node.pass(Duration::from_secs(60));
        node.forget();
        let mut sent = 0;
        while !is_paused(&mut node, peers[0]) {
            node.text(peers[0], text);
            sent += 1;
        }
        assert!(frames.contains(&sent), "{text}: {sent}");
    }
}

/// R-L3: to join where everyone is known already reaches nobody, and is paid for all the same.
#[test]
fn coming_and_going_among_acquaintances_costs() {
    let rate = RateLimit { deliveries_per_unit: 10, ..RateLimit::default() };
    let mut node = Node::new(config(|config| config.rate = Some(rate)));
    let peers: Vec<_> =
        (0..300).map(|n| node.peer(&format!("user{n}"), &["lobby", "room"])).collect();
    node.pass(Duration::from_secs(60));
    node.forget();
    let mut sent = 0;
    while !is_paused(&mut node, peers[0]) {
        node.text(peers[0], r#"{"type":"leave","room":"room"}"#);
        node.text(peers[0], r#"{"type":"join","room":"room"}"#);
        sent += 2;
    }
    // Two looks at each of 299, of which 16 are a delivery: 3 units and 1 for the frame.
    assert!((95..110).contains(&sent), "{sent}");
}

/// R-L3: what a bus carries to other nodes, or a hook lets in later, is charged like anything.
#[test]
fn an_arrival_is_charged() {
    let rate = RateLimit { burst: 4, deliveries_per_unit: 25, ..RateLimit::default() };
    let mut node = Node::new(config(|config| config.rate = Some(rate)));
    crowd(&mut node, "room", 120);
    let late = node.auth(r#"{"type":"auth","user":"late","rooms":["room"]}"#);
    assert!(is_paused(&mut node, late));
}

/// R-L3: gone is gone. What a client had sent before it left is handled at once, whatever its
/// rate, and within bounds.
#[test]
fn a_departed_client_does_not_linger() {
    let mut node = Node::new(Config::default());
    let bob = node.peer("bob", &["r"]);
    let alice = node.peer("alice", &["r"]);
    node.forget();
    let text = r#"{"type":"message","to":"r"}"#;
    for _ in 0..401 {
        node.text(alice, text);
    }
    assert!(is_paused(&mut node, alice));
    node.input(Input::Departed { conn: alice }).unwrap();
    assert_eq!(node.one(), format!("Resume {{ conn: {alice:?} }}"));
    for _ in 0..10_000 {
        node.text(alice, text);
    }
    assert_eq!(node.received(bob).len(), 10_000);
    node.forget();
    node.disconnect(alice);
    assert!(node.one().contains(r#""online":false"#));
    assert_eq!(node.server.stats().departed_cut_short, 0);
}

/// R-L3: within bounds.
#[test]
fn a_departed_client_is_cut_short() {
    let mut node = Node::new(Config::default());
    let peers = crowd(&mut node, "r", 101);
    node.input(Input::Departed { conn: peers[0] }).unwrap();
    let text = r#"{"type":"message","to":"r"}"#;
    let mut delivered = 0;
    for _ in 0..2_000 {
        node.text(peers[0], text);
        delivered += node.received(peers[1]).len();
        node.forget();
    }
    // A full bucket's worth of deliveries: 400 times 250, and it is offline.
    assert_eq!(delivered, 400 * 250 / 101 + 2);
    assert_eq!(node.server.stats().departed_cut_short, 1);
    assert_eq!(node.server.stats().peers, 100);
    // Nothing is counted, and nothing closed, a second time.
    node.input(Input::Frames { conn: peers[0], count: u32::MAX }).unwrap();
    node.nothing();
    assert_eq!(node.server.stats().departed_cut_short, 1);
    node.disconnect(peers[0]);
    node.nothing();
}

/// R-L3: that it has left can be said twice; what it had sent is not allowed twice for that.
#[test]
fn a_departed_client_leaves_once() {
    let mut node = Node::new(Config::default());
    let peers = crowd(&mut node, "r", 101);
    let mut delivered = 0;
    for _ in 0..2 {
        node.input(Input::Departed { conn: peers[0] }).unwrap();
        for _ in 0..900 {
            node.text(peers[0], r#"{"type":"message","to":"r"}"#);
            delivered += node.received(peers[1]).len();
            node.forget();
        }
    }
    assert_eq!(delivered, 400 * 250 / 101 + 2);
}

/// R-A10, R-L3: what a departed client may still cause is used up by the frame with which it would authenticate
/// again: it is gone, and is no stranger who comes in.
#[test]
fn a_departed_client_does_not_come_back() {
    for auth in [r#"{"type":"auth","user":"alice"}"#, r#"{"type":"auth","user":"bob"}"#] {
        for spare in 0..4 {
            let mut node = Node::new(Config::default());
            let alice = node.peer("alice", &[]);
            node.input(Input::Departed { conn: alice }).unwrap();
            // An error each: a frame, and a delivery.
            for _ in 0..50_000 - spare {
                node.text(alice, "x");
            }
            for _ in 0..3 {
                node.text(alice, auth);
            }
            node.disconnect(alice);
            let stats = node.server.stats();
            assert_eq!((stats.peers, stats.connections), (0, 0), "{auth} {spare}");
            // Whoever comes next finds room.
            node.forget();
            let next = node.auth(r#"{"type":"auth","user":"next"}"#);
            assert!(node.received(next)[0].contains("welcome"), "{auth} {spare}");
        }
    }
}

/// R-L3: records cost what they are large, and those of the application cost nothing.
#[test]
fn bytes_are_added_before_they_are_counted() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &[]);
    node.pass(Duration::from_secs(60));
    node.forget();
    // Twice 5000 bytes are more than 8 KiB.
    let text = format!(r#"{{"type":"presence","data":{{"x":"{}"}}}}"#, "x".repeat(5000));
    for _ in 0..200 {
        node.text(alice, &text);
    }
    assert!(!is_paused(&mut node, alice));
    node.text(alice, &text);
    assert!(is_paused(&mut node, alice));
}

/// R-A10: a client that leaves before it is let in never comes online.
#[test]
fn a_departed_stranger_stays_out() {
    for hook in [false, true] {
        let mut node = Node::new(config(|config| config.hook = hook));
        let conn = node.connect();
        if hook {
            node.text(conn, r#"{"type":"auth","user":"alice"}"#);
        }
        node.forget();
        node.input(Input::Departed { conn }).unwrap();
        node.text(conn, r#"{"type":"auth","user":"alice"}"#);
        node.disconnect(conn);
        node.nothing();
    }
}

/// R-L3, R-L9: faults that the transport notices.
#[test]
fn messages_that_do_not_end() {
    let mut node = Node::new(Config::default());
    let (alice, bob) = (node.peer("alice", &[]), node.peer("bob", &[]));
    node.input(Input::Fault { conn: alice, fault: TransportFault::TooManyFragments }).unwrap();
    assert_eq!(
        node.seen(),
        [
            r#"send [#0.7] {"type":"error","status":413,"message":"Too many fragments"}"#,
            "close #0.7 1009 Too many fragments"
        ]
    );
    node.input(Input::Fault { conn: bob, fault: TransportFault::Unfinished }).unwrap();
    assert_eq!(node.one(), "close #1.7 1008 Message timeout");
    assert_eq!(node.server.stats().unfinished, 1);
}

/// R-L2: the oldest that have said nothing give way, those of an address with many before others;
/// who has said something stays.
#[test]
fn newcomers_give_way() {
    let mut node = Node::new(config(|config| {
        config.connections.unauthenticated = 4;
        config.hook = true;
    }));
    let address = |last: u8| IpAddr::from([192, 0, 2, last]);
    let deciding = node.connect_from(address(1));
    node.text(deciding, r#"{"type":"auth","user":"alice"}"#);
    let oldest = node.connect_from(address(2));
    let greedy = [0; 2].map(|_| node.connect_from(address(3)));
    node.forget();
    assert!(node.server.accepts_at(node.now).is_some(), "they have just come");
    let next = node.connect_from(address(4));
    assert!(node.seen()[0].starts_with(&format!("send [{:?}]", greedy[0])));
    node.disconnect(greedy[0]);
    let last = node.connect_from(address(5));
    assert!(node.seen()[0].starts_with(&format!("send [{oldest:?}]")));
    node.disconnect(oldest);
    node.pass(Duration::from_secs(3));
    assert_eq!(node.server.accepts_at(node.now), None, "the oldest has had its time");
    // Nobody gives way who has something to say, and has not waited for long.
    for conn in [greedy[1], next, last] {
        node.text(conn, r#"{"type":"auth","user":"alice"}"#);
    }
    node.forget();
    assert!(node.server.accepts_at(node.now).is_some());
    let refused = node.connect_from(address(6));
    assert!(node.seen()[0].starts_with(&format!("send [{refused:?}]")));
}

/// R-L8: what is addressed to a receiver says by whom; what goes to a room of the sender's does
/// not.
#[test]
fn what_is_addressed_says_by_whom() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &["shared", "own"]);
    let bob = node.peer("bob", &["shared"]);
    let carol = node.peer("carol", &["other"]);
    let bobs = node.server.local_peers().find(|peer| peer.conn == bob).unwrap().address.to_string();
    for (to, members, addressed) in [
        (format!("{bobs:?}"), vec![], vec![bob]),
        (r#""bob""#.into(), vec![], vec![bob]),
        (r#""other""#.into(), vec![], vec![carol]),
        (r#""shared""#.into(), vec![bob], vec![]),
        (r#"["other","shared","bob"]"#.into(), vec![bob], vec![carol]),
    ] {
        let text = format!(r#"{{"type":"message","to":{to}}}"#);
        node.server.handle(node.now, Input::Text { conn: alice, text: &text }).unwrap();
        let (mut seen_members, mut seen_addressed) = (Vec::new(), Vec::new());
        while let Some(action) = node.server.poll_action() {
            let symple_engine::server::Action::Send { to, sender, .. } = action else { panic!() };
            match sender {
                None => seen_members.extend_from_slice(to),
                Some(sender) => {
                    assert_eq!(sender, alice);
                    seen_addressed.extend_from_slice(to);
                }
            }
        }
        assert_eq!((seen_members, seen_addressed), (members, addressed), "{to}");
    }
}

/// R-L8: the sender is told what was not delivered, at most once a second.
#[test]
fn what_is_not_delivered_is_told() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &[]);
    let text = r#"{"type":"message","to":"bob","from":"alice|x"}"#;
    let told =
        r#"send [#0.7] {"type":"error","status":429,"message":"Receiver too slow","to":"bob"}"#;
    for _ in 0..3 {
        for _ in 0..5 {
            node.input(Input::Undelivered { sender: alice, text }).unwrap();
        }
        assert_eq!(node.one(), told);
        node.pass(Duration::from_secs(1));
    }
    assert_eq!(node.server.stats().undelivered, 15);
    node.disconnect(alice);
    node.input(Input::Undelivered { sender: alice, text }).unwrap();
    node.nothing();
}

/// R-P3, R-L4: a large roster is told in step with what the newcomer reads, and is right whatever
/// happens meanwhile.
#[test]
fn a_roster_bit_by_bit() {
    let mut node = Node::new(config(|config| config.roster_burst = 1));
    let peers = crowd(&mut node, "room", 4);
    let late = node.auth(r#"{"type":"auth","user":"late","rooms":["room"]}"#);
    let seen = node.received(late);
    assert_eq!(seen.len(), 2, "the welcome, and one presence: {seen:?}");
    assert!(node.seen().iter().any(|line| line.starts_with("AwaitDrain")));
    // One that it has not been told of goes, and it is not told.
    node.disconnect(peers[3]);
    assert_eq!(node.received(late).len(), 0);
    node.forget();
    // What it sends to itself comes back behind all that it is told.
    node.text(late, &format!(r#"{{"type":"event","to":"late|6{}"}}"#, "0".repeat(19)));
    node.text(late, &format!(r#"{{"type":"event","to":"6{}","x":1}}"#, "0".repeat(19)));
    assert_eq!(node.received(late).len(), 0);
    // One that it has not been told of speaks, and it is told first.
    node.text(peers[2], r#"{"type":"message","to":"room"}"#);
    let seen = node.received(late);
    assert_eq!(seen.len(), 2);
    assert!(seen[0].contains(r#""user":"room2""#) && seen[0].contains("presence"), "{seen:?}");
    assert!(seen[1].contains("message"));
    node.forget();
    let mut told = Vec::new();
    while node.server.handle(node.now, Input::Drained { conn: late }).is_ok() {
        node.drain();
        let seen = node.received(late);
        if seen.is_empty() {
            break;
        }
        told.extend(seen);
        node.forget();
    }
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains(r#""user":"room1""#));
    assert!(told[1].contains(r#""to":"late|6…""#) && told[2].contains(r#""x":1"#), "{told:?}");
}

/// R-P3, R-L8: what waits behind a roster has a limit, and goes with its peer.
#[test]
fn what_comes_back_behind_a_roster_is_bounded() {
    let mut node = Node::new(config(|config| {
        config.roster_burst = 1;
        config.rate = None;
    }));
    crowd(&mut node, "room", 4);
    let late = node.auth(r#"{"type":"auth","user":"late","rooms":["room"]}"#);
    node.forget();
    let id = format!("6{}", "0".repeat(19));
    let message = |len| {
        let data = "x".repeat(len);
        format!(r#"{{"type":"message","to":"{id}","data":"{data}"}}"#)
    };
    for len in [20_000, 20_000, 20_000, 20_000, 100_000] {
        node.text(late, &message(len));
    }
    let refused = r#"{"type":"error","status":429,"message":"Receiver too slow","to":"6…"}"#;
    assert_eq!(node.received(late), [refused], "and once a second");
    assert_eq!(node.server.stats().undelivered, 2);
    node.forget();
    node.disconnect(late);
    node.input_without_drain(Input::Timeout);
    node.drain();
    assert_eq!(node.received(late).len(), 0);
    let late = node.auth(r#"{"type":"auth","user":"late","rooms":["room"]}"#);
    node.forget();
    let id = "70".to_owned() + &"0".repeat(18);
    let own = format!(r#"{{"type":"message","to":"{id}","data":"{}"}}"#, "x".repeat(100_000));
    node.text(late, &own);
    assert_eq!(node.server.stats().undelivered, 3, "the first one is no exception");
}

/// SPEC §8: what concerns many is done in slices, and others are heard in between.
#[test]
fn large_calls_are_cut_into_slices() {
    let kick = HostCall::Kick { whom: Whom::User("many"), reason: "bye" };
    for (one_user, call) in [(false, HostCall::CloseRoom { room: "room" }), (true, kick)] {
        let mut node = Node::new(config(|config| config.work_burst = 100));
        for n in 0..40 {
            let user = if one_user { "many".into() } else { format!("user{n}") };
            node.peer(&user, &["room"]);
        }
        node.forget();
        let concerned = node.server.handle(node.now, Input::Host(call)).unwrap();
        assert_eq!(concerned, 40);
        let mut slices = 0;
        loop {
            let mut deliveries = 0;
            while let Some(action) = node.server.poll_action() {
                if let symple_engine::server::Action::Send { to, .. } = action {
                    deliveries += to.len();
                }
            }
            assert!(deliveries <= 200, "{deliveries}");
            if node.server.poll_timeout().is_none_or(|at| at > node.now) {
                break;
            }
            node.input_without_drain(Input::Timeout);
            slices += 1;
        }
        assert!(slices >= 2, "{slices}");
    }
}

/// Many small calls behind one that is under way are cut into slices like a large one.
#[test]
fn many_small_calls_are_cut_into_slices() {
    let mut node = Node::new(config(|config| config.work_burst = 100));
    let peers = crowd(&mut node, "room", 40);
    let call = HostCall::CloseRoom { room: "room" };
    node.server.handle(node.now, Input::Host(call)).unwrap();
    for n in 0..peers.len() {
        let user = format!("room{n}");
        let call = HostCall::Kick { whom: Whom::User(&user), reason: "bye" };
        node.server.handle(node.now, Input::Host(call)).unwrap();
    }
    loop {
        let mut closed = 0;
        while let Some(action) = node.server.poll_action() {
            closed += usize::from(matches!(action, symple_engine::server::Action::Close { .. }));
        }
        assert!(closed < 40, "all at once");
        if node.server.stats().peers == 0 {
            break;
        }
        node.input_without_drain(Input::Timeout);
    }
    assert_eq!(node.server.stats().kicked, 40);
}

/// R-L6, R-M2: however often a room is named, it is one room.
#[test]
fn rooms_are_named_once() {
    for room_send in [RoomSend::Anyone, RoomSend::Members] {
        let mut node = Node::new(config(|config| config.room_send = room_send));
        let alice = node.peer("alice", &["shared"]);
        let bob = node.peer("bob", &["shared", "other"]);
        let carol = node.peer("carol", &["other"]);
        let names = vec![r#""other""#; 256].join(",");
        node.forget();
        node.text(alice, &format!(r#"{{"type":"message","to":[{names}]}}"#));
        assert_eq!(node.received(bob).len(), 1);
        let anyone = room_send == RoomSend::Anyone;
        assert_eq!(node.received(carol).len(), usize::from(anyone));
        assert_eq!(node.server.stats().not_permitted, u64::from(!anyone));
    }
}

/// R-F3: what comes behind a `close` is ignored.
#[test]
fn frames_behind_a_close() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &[]);
    node.text(alice, r#"{"type":"close"}"#);
    node.forget();
    node.text(alice, r#"{"type":"message","to":"alice"}"#);
    node.text(alice, "garbage");
    node.input(Input::Frames { conn: alice, count: 1000 }).unwrap();
    node.nothing();
}

/// R-M1: a frame to the own address comes back, also to a peer that is in no room.
#[test]
fn to_itself_from_no_room() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &[]);
    node.text(alice, r#"{"type":"leave","room":"alice"}"#);
    let address = node.server.local_peers().next().unwrap().address.to_string();
    node.forget();
    node.text(alice, &format!(r#"{{"type":"message","to":"{address}"}}"#));
    assert_eq!(node.received(alice).len(), 1);
}

/// R-L2: who waits for a decision that takes too long gives way, too, but behind those that have
/// said nothing, and not before it has had its time: until then newcomers wait to be accepted.
#[test]
fn slow_decisions_give_way() {
    let mut node = Node::new(config(|config| {
        config.hook = true;
        config.connections.unauthenticated = 8;
    }));
    let mut address = (1..=255_u8).map(|n| IpAddr::from([192, 0, 2, n]));
    let mut connect = |node: &mut Node| node.connect_from(address.next().unwrap());
    let deciding: Vec<_> = (0..8)
        .map(|n| {
            let conn = connect(&mut node);
            node.text(conn, &format!(r#"{{"type":"auth","user":"user{n}"}}"#));
            node.pass(Duration::from_millis(10));
            conn
        })
        .collect();
    node.forget();
    // None of them has had its time.
    let free_at = node.server.accepts_at(node.now).unwrap();
    assert_eq!(free_at.since(node.now), Duration::from_millis(5000 - 80));
    let early = connect(&mut node);
    assert!(node.received(early)[0].contains("At capacity"));
    node.disconnect(early);
    node.pass(free_at.since(node.now));
    node.forget();
    assert_eq!(node.server.accepts_at(node.now), None);
    let silent = connect(&mut node);
    assert!(node.received(deciding[0])[0].contains("At capacity"));
    node.forget();
    // Whoever is silent gives way first.
    let next = connect(&mut node);
    assert!(node.received(silent)[0].contains("At capacity"));
    node.text(next, r#"{"type":"auth","user":"next"}"#);
    // Those that are decided are no longer in the way, and an answer that comes too late is none.
    let requests = std::mem::take(&mut node.requests);
    node.forget();
    for request in requests {
        let verdict = Verdict::Deny { message: None };
        node.input(Input::AuthDecided { request, verdict }).unwrap();
    }
    assert!(node.received(deciding[0]).is_empty());
    assert_eq!(node.received(deciding[1]).len(), 1);
    assert_eq!(node.server.accepts_at(node.now), None);
}

/// R-L2: an address with more than its share gives way before others do.
#[test]
fn slow_decisions_of_one_address() {
    let mut node = Node::new(config(|config| {
        config.hook = true;
        config.connections.unauthenticated = 8;
    }));
    let ours = IpAddr::from([192, 0, 2, 1]);
    for last in [2, 3, 4, 5, 6, 1, 1, 1] {
        let conn = node.connect_from(IpAddr::from([192, 0, 2, last]));
        node.text(conn, r#"{"type":"auth","user":"user"}"#);
    }
    node.pass(Duration::from_secs(2));
    node.forget();
    assert_eq!(node.server.accepts_at(node.now), None);
    let conn = node.connect_from(ours);
    let closed: Vec<_> = node.seen().into_iter().filter(|line| line.starts_with("close")).collect();
    assert_eq!(closed, ["close #5.7 1013 At capacity"]);
    assert!(node.received(conn).is_empty());
}

/// R-L8: what is repeated of a frame that was not delivered is short.
#[test]
fn what_is_repeated_is_short() {
    let mut node = Node::new(Config::default());
    let alice = node.peer("alice", &[]);
    let name = "x".repeat(255);
    let list = |count| vec![format!("\"{name}\""); count].join(",");
    for (to, repeated) in [(list(1), true), (format!("[{}]", list(7)), true)]
        .into_iter()
        .chain([(format!("[{}]", list(8)), false), (format!("[{}]", list(200)), false)])
    {
        let text = format!(r#"{{"type":"message","to":{to}}}"#);
        node.input(Input::Undelivered { sender: alice, text: &text }).unwrap();
        let told = node.received(alice).pop().unwrap();
        let more = if repeated { format!(",\"to\":{to}") } else { String::new() };
        let expected =
            format!(r#"{{"type":"error","status":429,"message":"Receiver too slow"{more}}}"#);
        assert_eq!(told, expected);
        node.forget();
        node.pass(Duration::from_secs(1));
    }
}
