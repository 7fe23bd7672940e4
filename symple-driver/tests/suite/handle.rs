//! What the host can do to a server that runs.

use std::{net::TcpStream, time::Duration};

use serde_json::{Value, json};

use http::StatusCode;
use tungstenite::protocol::CloseFrame;

use super::{
    client::{Client, socket},
    start, start_with,
};
use crate::adapter::{
    Close, ClosedBy, ClusterPeer, EngineError, Event, HandleError, OfflineReason, UpgradeDecision,
    VirtualPeer, block_on,
    proto::{Address, CloseCode, Fields, UserName, frame::Message},
};

/// R-S3
#[test]
fn emit_and_send() {
    let server = start(|_| {});
    let handle = server.handle();
    let mut alice = Client::join(&server, "alice", &["r"]);
    let text = r#"{"type":"message","from":"backend","to":"r","data":1.0}"#;
    assert_eq!(block_on(handle.emit(text)), Ok(1));
    assert_eq!(alice.recv_text(), text);
    let text = r#"{"type":"event","name":"hello"}"#;
    block_on(handle.send(alice.address(), text)).unwrap();
    assert_eq!(alice.recv_text(), text);
    let error = block_on(handle.send("nobody|x", text));
    assert_eq!(error, Err(HandleError::Engine(EngineError::UnknownPeer)));
    assert!(block_on(handle.emit("nonsense")).is_err());
}

/// SPEC §7: 4409
#[test]
fn kick_and_move() {
    let server = start(|config| config.engine.dynamic_rooms = false);
    let handle = server.handle();
    let mut alice = Client::join(&server, "alice", &[]);
    let mut bob = Client::join(&server, "bob", &["r"]);
    block_on(handle.join(alice.address(), "r")).unwrap();
    assert_eq!(alice.recv(), json!({ "type": "join:ok", "room": "r" }));
    assert_eq!(alice.recv()["from"], bob.address());
    assert_eq!(bob.recv()["from"], alice.address());
    assert_eq!(block_on(handle.members("r")).unwrap().len(), 2);
    assert_eq!(block_on(handle.close_room("r")), Ok(2));
    assert_eq!(bob.recv_type("leave:ok"), json!({ "type": "leave:ok", "room": "r" }));
    block_on(handle.kick_peer(alice.address(), "Enough")).unwrap();
    assert_eq!(alice.refused(), (403, "Enough".into(), 4409));
    assert_eq!(block_on(handle.kick_user("bob", "You too")), Ok(1));
    assert_eq!(bob.refused(), (403, "You too".into(), 4409));
    assert!(block_on(handle.peers()).unwrap().is_empty());
    assert!(block_on(handle.rooms()).unwrap().is_empty());
}

#[test]
fn events() {
    let server = start(|_| {});
    let mut events = server.events();
    let mut alice = Client::join(&server, "alice", &["r"]);
    let peer: Address = alice.address().parse().unwrap();
    alice.send(&json!({ "type": "join", "room": "s" }));
    alice.send(&json!({ "type": "leave", "room": "s" }));
    alice.send(&json!({ "type": "close" }));
    assert_eq!(alice.closed(), 1000);
    let mut bad = Client::connect(&server);
    bad.send(&json!({ "type": "auth" }));
    let online = block_on(events.next()).unwrap();
    let Event::Online { conn, peer: seen, rooms } = online else { panic!("{online:?}") };
    assert_eq!((seen, rooms), (peer.clone(), vec!["alice".into(), "r".into()]));
    for expected in [
        Event::Joined { peer: peer.clone(), room: "s".into() },
        Event::Left { peer: peer.clone(), room: "s".into() },
        Event::Offline {
            conn,
            peer,
            reason: OfflineReason::Closed,
            close: Some(Close {
                by: ClosedBy::Server,
                code: Some(CloseCode::NORMAL),
                reason: "Closed".into(),
            }),
        },
    ] {
        assert_eq!(block_on(events.next()).unwrap(), expected);
    }
    let refused = block_on(events.next()).unwrap();
    let Event::Refused { address, status, message, .. } = refused else { panic!("{refused:?}") };
    assert_eq!((status.0, &*message), (401, "Missing user field"));
    assert!(address.unwrap().is_loopback());
    block_on(server.shutdown(Duration::ZERO)).unwrap();
    assert_eq!(block_on(events.next()), None);
}

/// SPEC §7: how a connection was closed: by its client, with what the client says, or without a word;
/// and by the server.
#[test]
fn events_of_closes() {
    let server = start(|_| {});
    let mut events = server.events();
    let mut closed = || loop {
        if let Event::Offline { close, .. } = block_on(events.next()).unwrap() {
            let Close { by, code, reason } = close.unwrap();
            return (by, code.map(|code| code.0), reason);
        }
    };
    let frame =
        |code: u16, reason: &'static str| CloseFrame { code: code.into(), reason: reason.into() };
    for (sent, code, reason) in [
        (Some(frame(1000, "bye")), Some(1000), "bye"),
        (Some(frame(4000, "\u{e9}\n")), Some(4000), "\u{e9}\n"),
        (Some(frame(1001, "")), Some(1001), ""),
        (None, None, ""),
    ] {
        let mut alice = Client::join(&server, "alice", &[]);
        alice.ws.close(sent).unwrap();
        assert_eq!(closed(), (ClosedBy::Client, code, reason.into()));
    }
    drop(Client::join(&server, "alice", &[]));
    assert_eq!(closed(), (ClosedBy::Network, None, "".into()));
    let mut alice = Client::join(&server, "alice", &[]);
    block_on(server.handle().kick_peer(alice.address(), "Enough")).unwrap();
    assert_eq!(closed(), (ClosedBy::Server, Some(4409), "Kicked".into()));
    assert_eq!(alice.closed(), 4409);
}

/// R-T5, R-L5: each upgrade that is refused or comes to nothing is told, on whichever thread it is: with
/// the status and the body of the answer, or why there was none.
#[test]
fn events_of_failed_upgrades() {
    let server = start_with(|builder| {
        let builder = builder.configure(|config| {
            config.allowed_origins = vec!["https://good.example".parse().unwrap()];
            config.upgrade_timeout = Duration::from_millis(200);
        });
        builder.on_upgrade(|request| async move {
            match request.uri.path() {
                "/no" => UpgradeDecision::reject(StatusCode::IM_A_TEAPOT, "Not here"),
                _ => UpgradeDecision::accept(),
            }
        })
    });
    let mut events = server.events();
    let mut failed = || match block_on(events.next()).unwrap() {
        Event::UpgradeFailed { address, status, reason, missed: 0 } => {
            assert!(address.unwrap().is_loopback());
            (status, reason)
        }
        other => panic!("{other:?}"),
    };
    for _ in 0..4 {
        let evil = [("origin", "https://evil.example")];
        assert_eq!(Client::request(&server, &evil).map(drop), Err(403));
        let (status, reason) = failed();
        assert_eq!((status, &*reason), (Some(403), "Origin not allowed"));
        assert_eq!(Client::request_path(&server, "/no", &[]).map(drop), Err(418));
        assert_eq!(failed(), (Some(418), "Not here".into()));
        let silent = socket(&server);
        assert_eq!(failed(), (None, "The upgrade took too long".into()));
        drop(silent);
    }
}

/// Whoever does not read events loses the oldest, and is told so.
#[test]
fn events_that_are_not_read() {
    let server = start(|config| config.event_backlog = 2);
    let mut events = server.events();
    let mut alice = Client::join(&server, "alice", &[]);
    for n in 0..5 {
        alice.send(&json!({ "type": "join", "room": format!("r{n}") }));
        assert_eq!(alice.recv()["type"], "join:ok");
    }
    assert_eq!(block_on(events.next()), Some(Event::Lost(4)));
    let Some(Event::Joined { room, .. }) = block_on(events.next()) else { panic!() };
    assert_eq!(&*room, "r3");
}

/// A peer of the host's own: seen, addressed, heard, and gone when it is dropped.
#[test]
fn virtual_peers() {
    let server = start(|_| {});
    let handle = server.handle();
    let mut alice = Client::join(&server, "alice", &["r"]);
    let user = UserName::new("bot").unwrap();
    let fields = Fields::new().with("name", "Bot");
    let mut bot = block_on(handle.add_peer(user, fields, ["r"])).unwrap();
    let presence = alice.recv();
    assert_eq!(presence["data"]["name"], "Bot");
    assert_eq!(presence["from"], bot.peer().address().to_string());
    let next = |bot: &mut VirtualPeer| -> Value {
        serde_json::from_str(&block_on(bot.recv()).unwrap()).unwrap()
    };
    assert_eq!(next(&mut bot)["from"], alice.address());

    alice.send(&json!({ "type": "message", "to": "bot", "data": "ping" }));
    assert_eq!(next(&mut bot)["data"], "ping");
    block_on(bot.send(r#"{"type":"message","to":"alice","data":"pong"}"#)).unwrap();
    let answer = alice.recv();
    assert_eq!((&answer["data"], &answer["from"]), (&json!("pong"), &presence["from"]));
    block_on(bot.send("nonsense")).unwrap();
    assert_eq!(next(&mut bot)["status"], 400);
    drop(bot);
    assert_eq!(alice.recv()["data"]["online"], false);

    let user = UserName::new("bot").unwrap();
    let mut bot = block_on(handle.add_peer(user, Fields::new(), ["r"])).unwrap();
    alice.recv_type("presence");
    block_on(handle.kick_user("bot", "Enough")).unwrap();
    next(&mut bot);
    assert_eq!(next(&mut bot)["message"], "Enough");
    assert!(block_on(bot.recv()).is_none());
    assert_eq!(alice.recv()["data"]["online"], false);
}

/// R-L4: a peer of the host's own that does not read is closed like any other.
#[test]
fn a_virtual_peer_that_does_not_read() {
    let server = start(|config| config.engine.rate = None);
    let mut alice = Client::join(&server, "alice", &["r"]);
    let user = UserName::new("bot").unwrap();
    let bot = block_on(server.handle().add_peer(user, Fields::new(), ["r"])).unwrap();
    alice.recv_type("presence");
    for n in 0..5_000 {
        alice.send(&json!({ "type": "message", "to": "r", "n": n }));
    }
    assert_eq!(alice.recv()["data"]["online"], false);
    drop(bot);
    alice.hears_nothing();
}

#[test]
fn a_server_that_has_ended() {
    let server = start(|_| {});
    let handle = server.handle();
    drop(server);
    while block_on(handle.stats()).is_ok() {}
    assert_eq!(block_on(handle.emit("{}")), Err(HandleError::Ended));
}

/// Everyone is reached, closed, and seen; who is there stays when nobody else is accepted.
#[test]
fn everyone() {
    let server = start(|_| {});
    let handle = server.handle();
    let mut alice = Client::join(&server, "alice", &["r"]);
    let mut bob = Client::join(&server, "bob", &["s"]);
    let frame = Message::to("nobody").data("a \"b\"").unwrap().sender("host");
    assert_eq!(block_on(handle.broadcast(frame.clone())), Ok(2));
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.recv_text(), frame.to_text());
    }
    assert!(block_on(handle.broadcast("[]")).is_err());
    let rooms = |rooms: &[&str]| rooms.iter().copied().map(Box::<str>::from).collect::<Vec<_>>();
    assert_eq!(block_on(handle.peer_rooms(alice.address())), Ok(rooms(&["alice", "r"])));
    assert!(block_on(handle.peer_rooms("nobody")).is_err());
    let mut other = Client::join(&server, "alice", &["t"]);
    assert_eq!(block_on(handle.user_rooms("alice")), Ok(rooms(&["alice", "r", "t"])));
    assert_eq!(block_on(handle.user_rooms("nobody")), Ok(Vec::new()));
    let peers = block_on(handle.peers()).unwrap();
    assert_eq!(peers.len(), 3);
    for fields in peers.iter().map(ClusterPeer::fields) {
        // Records are types: nobody has to read JSON.
        assert!(matches!(&*fields.get_str("user").unwrap(), "alice" | "bob"), "{fields:?}");
    }
    let local = block_on(handle.local_peers()).unwrap();
    assert!(local.iter().all(|peer| peer.fields().to_json() == *peer.record));
    block_on(handle.stop_accepting()).unwrap();
    assert!(TcpStream::connect(server.local_address()).is_err());
    // What it listened on is closed for good.
    block_on(handle.start_accepting()).unwrap();
    assert!(TcpStream::connect(server.local_address()).is_err());
    bob.hears_nothing();
    assert_eq!(block_on(handle.close_all("Enough")), Ok(3));
    for client in [&mut alice, &mut bob, &mut other] {
        assert_eq!(client.refused(), (403, "Enough".into(), 4409));
    }
}
