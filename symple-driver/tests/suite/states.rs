//! Rooms with a state, rosters in batches, and actions, with real clients: R-K1 to R-K7, R-X1, R-X2.

use serde_json::json;
use symple_engine::client::Event;

use super::{
    client::Client as Raw,
    clients::{builder, until, url},
    start, start_with,
};
use crate::adapter::{
    Client, ClientEvents, FrameDecision, FrameRequest, Server, StateRequest, block_on,
    proto::{ClientFrame, Fields, RawJson, Status, frame::Event as EventFrame},
};

async fn joined(server: &Server, user: &str) -> (Client, ClientEvents, Fields) {
    let builder = builder(url(server.local_address()), user).room("board");
    let builder =
        builder.configure(|config| config.extensions = vec!["state".into(), "roster".into()]);
    let (client, mut events) = builder.connect().await.unwrap();
    let of_board =
        |event: &Event| matches!(event, Event::RoomState { room, .. } if **room == *"board");
    let Event::RoomState { state, .. } = until(&mut events, of_board).await else { panic!() };
    until(&mut events, |event| matches!(event, Event::RosterComplete)).await;
    (client, events, state)
}

fn fields(text: &str) -> Fields {
    serde_json::from_str(text).unwrap()
}

/// R-K1, R-K2, R-K4, R-X2: two clients and the application share a state; the clients know each other.
#[test]
fn a_shared_board() {
    let server = start(|_| {});
    let handle = server.handle();
    block_on(async {
        let (alice, mut of_alice, state) = joined(&server, "alice").await;
        assert!(state.is_empty());
        alice.set_state("board", fields(r#"{"x":1.50,"y":[1]}"#)).await.unwrap();
        let (bob, mut of_bob, state) = joined(&server, "bob").await;
        assert_eq!(state.to_json(), r#"{"x":1.50,"y":[1]}"#);
        until(&mut of_alice, |event| matches!(event, Event::PeerOnline(_))).await;
        bob.set_state("board", fields(r#"{"x":null,"z":"b"}"#)).await.unwrap();
        for events in [&mut of_alice, &mut of_bob] {
            let change = |event: &Event| matches!(event, Event::StateChanged { set, .. } if set.get("z").is_some());
            let Event::StateChanged { room, set, from } = until(events, change).await else {
                panic!()
            };
            assert_eq!((&*room, set.to_json().as_str()), ("board", r#"{"x":null,"z":"b"}"#));
            assert_eq!(from.unwrap().user.as_str(), "bob");
        }
        let state = handle.room_state("board").await.unwrap().unwrap();
        assert_eq!(state.to_json(), r#"{"y":[1],"z":"b"}"#);
        handle.set_state("board", &fields(r#"{"y":2}"#)).await.unwrap();
        let change = |event: &Event| matches!(event, Event::StateChanged { from: None, .. });
        until(&mut of_alice, change).await;
        handle.pin_state("board", true).await.unwrap();
        handle.clear_state("board").await.unwrap();
        assert!(handle.room_state("board").await.unwrap().unwrap().is_empty());
        assert!(handle.room_state("other").await.unwrap().is_none());
        let error = bob.set_state("nobody's", fields(r#"{"x":1}"#)).await.unwrap_err();
        assert!(error.to_string().contains("Not permitted"), "{error}");
        alice.close().await.unwrap();
        until(&mut of_bob, |event| matches!(event, Event::PeerOffline(_))).await;
    });
}

/// R-X1: whoever has not asked sees nothing of it.
#[test]
fn others_see_nothing_of_it() {
    let server = start(|_| {});
    let mut old = Raw::join(&server, "old", &["board"]);
    block_on(async {
        let (alice, ..) = joined(&server, "alice").await;
        assert_eq!(old.recv_type("presence")["data"]["user"], "alice");
        alice.set_state("board", fields(r#"{"x":1}"#)).await.unwrap();
        old.send(&json!({"type": "state", "room": "board", "set": {"x": 2}}));
        let error = json!({"type": "error", "status": 400, "message": "Unknown type: state"});
        // The client tells of itself, as it does without extensions.
        assert_eq!(old.recv_type("error"), error);
        let without = builder(url(server.local_address()), "bob").room("board");
        let (bob, _events) = without.connect().await.unwrap();
        let error = bob.set_state("board", fields(r#"{"x":1}"#)).await.unwrap_err();
        assert!(error.to_string().contains("the extension state is not on"), "{error}");
    });
}

/// R-K6, R-H5: the application changes, refuses and passes what clients set, also where it takes a while.
#[test]
fn the_application_decides_about_states() {
    let decide = |request: &StateRequest| {
        assert_eq!(&*request.room, "board");
        let set = request.set();
        match set.get("score").map(RawJson::text) {
            None => FrameDecision::pass(),
            Some("panic") => unreachable!(),
            Some("true") => panic!("a hook panics"),
            Some(score) if score.parse::<u32>().is_ok() => {
                let set = set.with("by", request.sender.user.as_str());
                request.replace(&set)
            }
            Some(_) => FrameDecision::refuse_with(Status(422), "a score is a number"),
        }
    };
    for asynchronous in [false, true] {
        let server = start_with(|builder| {
            if asynchronous {
                builder.on_state_async(move |request: StateRequest| async move { decide(&request) })
            } else {
                builder.on_state(decide)
            }
        });
        block_on(async {
            let (alice, ..) = joined(&server, "alice").await;
            alice.set_state("board", fields(r#"{"score":7}"#)).await.unwrap();
            alice.set_state("board", fields(r#"{"x":1}"#)).await.unwrap();
            for (set, why) in
                [(r#"{"score":"much"}"#, "a score is"), (r#"{"score":true}"#, "refused")]
            {
                let error = alice.set_state("board", fields(set)).await.unwrap_err();
                assert!(error.to_string().contains(why), "{error}");
            }
            let state = server.handle().room_state("board").await.unwrap().unwrap();
            assert_eq!(state.to_json(), r#"{"by":"alice","score":7,"x":1}"#);
        });
    }
}

/// R-H2: an action, as other room servers have it, is a command that the application answers.
#[test]
fn actions() {
    let server = start_with(|builder| {
        builder.on_frame(|request: &FrameRequest| {
            let Ok(ClientFrame::Command(command)) = request.parse() else {
                return FrameDecision::pass();
            };
            if command.node.as_deref() != Some("test") {
                return FrameDecision::refuse_with(Status(404), "no such action");
            }
            FrameDecision::answer(EventFrame {
                name: Some("test:ok".into()),
                id: command.id.clone(),
                data: command.data.clone(),
                ..EventFrame::default()
            })
        })
    });
    let mut alice = Raw::join(&server, "alice", &["game"]);
    let mut bob = Raw::join(&server, "bob", &["game"]);
    alice.recv_type("presence");
    alice.send(&json!({"type": "command", "id": "a1", "node": "test", "data": {"n": 1}}));
    let answer = json!({"type": "event", "id": "a1", "name": "test:ok", "data": {"n": 1}});
    assert_eq!(alice.recv(), answer);
    alice.send(&json!({"type": "command", "to": "game", "node": "other"}));
    let refused = json!({"type": "error", "status": 404, "message": "no such action"});
    assert_eq!(alice.recv(), refused);
    bob.recv_type("presence");
    bob.hears_nothing();
}
