//! What the application is asked about peers, and told of them: R-H1 to R-H5.

use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use serde_json::json;

use super::{
    client::{Client, PATIENCE},
    start_with,
};
use crate::adapter::{
    AuthDecision, AuthRequest, FrameDecision, FrameRequest, JoinDecision, JoinRequest,
    OfflineReason, PeerLeft, PeerOffline, PeerOnline, Server, block_on,
    proto::{ClientFrame, Status},
};

/// R-H1, R-H5: who has the right credential joins; who has not, or asks a hook that fails, learns
/// so, and nobody else does.
#[test]
fn joins_with_credentials() {
    let server = start_with(|builder| {
        builder.on_join(|request: JoinRequest| async move {
            match request.credential().as_deref() {
                Some("good") => {
                    assert_eq!(request.room, "game");
                    assert_eq!(request.record.get_str("user").unwrap(), "bob");
                    assert_eq!(request.data().unwrap().text(), "1.0");
                    Ok(JoinDecision::allow())
                }
                Some("error") => Err("database is down"),
                Some("panic") => panic!("a hook panics"),
                _ => Ok(JoinDecision::deny("Wrong credential")),
            }
        })
    });
    let mut alice = Client::join(&server, "alice", &["game"]);
    assert_eq!(block_on(server.handle().members("game")).unwrap().len(), 0, "R-H1: no way around");
    block_on(server.handle().join(alice.address(), "game")).unwrap();
    assert_eq!(alice.recv_type("join:ok")["room"], "game");
    let mut bob = Client::join(&server, "bob", &[]);
    for (credential, message) in [
        (json!("bad"), "Wrong credential"),
        (json!(""), "Wrong credential"),
        (json!(5), "Wrong credential"),
        (json!("error"), "Join denied"),
        (json!("panic"), "Join denied"),
    ] {
        bob.send(&json!({ "type": "join", "room": "game", "credential": credential }));
        let error = json!({ "type": "error", "status": 403, "message": message, "room": "game" });
        assert_eq!(bob.recv(), error);
    }
    alice.hears_nothing();
    bob.send_text(r#"{"type":"join","room":"game","credential":"good","data":1.0}"#);
    assert_eq!(bob.recv(), json!({ "type": "join:ok", "room": "game" }));
    assert_eq!(alice.recv()["from"], bob.address());
}

/// R-H2: what a plain function decides, in the order in which the frames were sent.
#[test]
fn frames_and_a_plain_function() {
    let server = start_with(|builder| builder.on_frame(decide));
    decisions(&server);
}

/// R-H2: what a function decides that takes its time, in the order in which the frames were sent.
#[test]
fn frames_and_a_function_that_waits() {
    let server = start_with(|builder| {
        builder.on_frame_async(|request: FrameRequest| async move {
            let (go, gate) = async_channel::bounded::<()>(1);
            std::thread::spawn(move || drop(go));
            let _ = gate.recv().await;
            decide(&request)
        })
    });
    decisions(&server);
}

fn decide(request: &FrameRequest) -> Result<FrameDecision, String> {
    let Ok(ClientFrame::Message(mut message)) = request.parse() else {
        return Ok(FrameDecision::pass());
    };
    Ok(match message.subtype.as_deref() {
        Some("rude") => {
            message.extra.set("note", "softened");
            message.subtype = None;
            FrameDecision::replace(message)
        }
        Some("join") => FrameDecision::replace(r#"{"type":"join","room":"x"}"#),
        Some("spam") => FrameDecision::discard(),
        Some("help") => FrameDecision::answer(r#"{"type":"event","name":"help"}"#),
        Some("no") => FrameDecision::refuse("Not here"),
        Some("gone") => FrameDecision::refuse_with(Status(410), ""),
        Some("error") => return Err("the list of words is gone".into()),
        Some("panic") => panic!("a hook panics"),
        _ => FrameDecision::pass(),
    })
}

fn decisions(server: &Server) {
    let mut alice = Client::join(server, "alice", &["r"]);
    let mut bob = Client::join(server, "bob", &["r"]);
    assert_eq!(alice.recv()["type"], "presence");
    assert_eq!(bob.recv()["type"], "presence");
    let kinds = ["", "rude", "spam", "join", "help", "no", "gone", "error", "panic", "last"];
    for kind in kinds {
        alice.send(&json!({ "type": "message", "subtype": kind, "to": "r", "from": "x" }));
    }
    let from = alice.address();
    let first = bob.recv();
    assert_eq!(first, json!({ "type": "message", "subtype": "", "to": "r", "from": from }));
    let second = bob.recv();
    assert_eq!(second, json!({ "type": "message", "to": "r", "note": "softened", "from": from }));
    assert_eq!(bob.recv()["subtype"], "last");
    let error =
        |status: u16, message| json!({ "type": "error", "status": status, "message": message });
    for answer in [
        error(403, "Frame refused"),
        json!({ "type": "event", "name": "help" }),
        error(403, "Not here"),
        error(410, "Frame refused"),
        error(403, "Frame refused"),
        error(403, "Frame refused"),
    ] {
        assert_eq!(alice.recv(), answer);
    }
    alice.hears_nothing();
}

/// R-H2, R-H5: a hook that never answers holds up the one client it is asked about, whatever that
/// one sends, and nobody else; when its time is over the frame is refused and what waited follows
/// in order.
#[test]
fn a_hook_that_never_answers_and_a_flood() {
    let server = start_with(|builder| {
        builder
            .configure(|config| {
                config.engine.hooks.timeout = Duration::from_millis(200);
                config.engine.rate = None;
            })
            .on_frame_async(|request: FrameRequest| async move {
                if let Ok(ClientFrame::Message(message)) = request.parse()
                    && message.subtype.as_deref() == Some("stuck")
                {
                    std::future::pending::<()>().await;
                }
                FrameDecision::pass()
            })
    });
    let mut alice = Client::join(&server, "alice", &["r"]);
    let mut bob = Client::join(&server, "bob", &["r"]);
    assert_eq!(alice.recv()["type"], "presence");
    assert_eq!(bob.recv()["type"], "presence");
    let mut carol = Client::join(&server, "carol", &[]);
    alice.send(&json!({ "type": "message", "subtype": "stuck" }));
    for n in 0..1000 {
        alice.send(&json!({ "type": "message", "to": "bob", "n": n, "data": "x".repeat(200) }));
    }
    // Nobody else waits.
    carol.hears_nothing();
    assert_eq!(alice.recv()["message"], "Frame refused");
    for n in 0..1000 {
        assert_eq!(bob.recv()["n"], n);
    }
}

/// What hooks are told, in order.
fn told() -> (Sender<String>, Receiver<String>) {
    mpsc::channel()
}

/// R-H3: who comes, leaves rooms and goes is told in order, also if one of the functions panics.
#[test]
fn changes_are_told() {
    let (tell, told) = told();
    let tell = Mutex::new(tell);
    let say = move |text: String| {
        tell.lock().unwrap_or_else(PoisonError::into_inner).send(text).unwrap();
    };
    let say = std::sync::Arc::new(say);
    let (online, left, offline) = (say.clone(), say.clone(), say);
    let server = start_with(|builder| {
        builder
            .on_online(move |change: PeerOnline| {
                online(format!("{} {} on {:?}", change.peer.user, change.number, change.rooms));
            })
            .on_leave(move |change: PeerLeft| {
                left(format!("{} {} left {}", change.peer.user, change.number, change.room));
                panic!("a hook panics");
            })
            .on_offline(move |change: PeerOffline| {
                let PeerOffline { peer, number, rooms, reason, .. } = change;
                assert_eq!(reason, OfflineReason::Closed);
                offline(format!("{} {number} off {rooms:?}", peer.user));
            })
    });
    let mut alice = Client::join(&server, "alice", &["r"]);
    alice.send(&json!({ "type": "join", "room": "s" }));
    alice.send(&json!({ "type": "leave", "room": "r" }));
    alice.send(&json!({ "type": "close" }));
    for expected in
        [r#"alice 1 on ["alice", "r"]"#, "alice 2 left r", r#"alice 3 off ["alice", "s"]"#]
    {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), expected);
    }
}

/// R-H4: a hook says who may only read, and whom nobody sees.
#[test]
fn read_only_and_hidden_peers() {
    let server = start_with(|builder| {
        builder.authenticate(|request: AuthRequest| async move {
            let decision = AuthDecision::allow_claimed().rooms(["r"]);
            match &*request.user() {
                "reader" => decision.read_only(),
                "ghost" => decision.hidden(),
                _ => decision,
            }
        })
    });
    let mut alice = Client::join(&server, "alice", &[]);
    let mut ghost = Client::join(&server, "ghost", &[]);
    assert_eq!(ghost.recv()["from"], alice.address());
    let mut reader = Client::join(&server, "reader", &[]);
    assert_eq!(reader.recv()["from"], alice.address());
    assert_eq!(ghost.recv()["from"], reader.address());
    assert_eq!(alice.recv()["from"], reader.address());
    let refused = json!({ "type": "error", "status": 403, "message": "Read-only" });
    reader.send(&json!({ "type": "message", "to": "r" }));
    assert_eq!(reader.recv(), refused);
    reader.send(&json!({ "type": "join", "room": "s" }));
    assert_eq!(reader.recv(), refused);
    alice.send(&json!({ "type": "message", "to": ghost.id() }));
    alice.send(&json!({ "type": "message", "to": "r", "n": 1 }));
    assert_eq!(ghost.recv()["n"], 1);
    assert_eq!(reader.recv()["n"], 1);
    let peers = block_on(server.handle().peers()).unwrap();
    let found = |user| peers.iter().find(|peer| peer.address.user.as_str() == user).unwrap();
    assert!(found("ghost").hidden && found("reader").read_only);
    drop(ghost);
    alice.hears_nothing();
}
