//! Peers talk and see each other.

use serde_json::json;

use super::{client::Client, start};

/// R-A8, R-P2, R-P3, R-F1: the main thing.
#[test]
fn two_clients_talk() {
    let server = start(|_| {});
    let mut alice = Client::join(&server, "alice", &["lobby"]);
    let mut bob = Client::join(&server, "bob", &["lobby"]);

    let presence = bob.recv();
    assert_eq!(presence["from"], alice.address());
    assert_eq!(presence["data"]["online"], true);
    let presence = alice.recv();
    assert_eq!(presence["from"], bob.address());

    bob.send_text(r#"{"type":"message","to":"lobby","data":{"price":1.50}}"#);
    assert_eq!(
        alice.recv_text(),
        format!(
            r#"{{"type":"message","to":"lobby","data":{{"price":1.50}},"from":"{}"}}"#,
            bob.address()
        )
    );
    bob.hears_nothing();
    alice.send(&json!({ "type": "message", "to": bob.address(), "data": 1 }));
    assert_eq!(bob.recv()["from"], alice.address());

    drop(bob);
    let presence = alice.recv();
    assert_eq!(presence["data"]["online"], false);
}

/// R-M6, and the coalescing of writes: many frames at once arrive in order, each once.
#[test]
fn many_frames_arrive_in_order() {
    let server = start(|config| config.engine.rate = None);
    let mut alice = Client::join(&server, "alice", &["r"]);
    let mut bob = Client::join(&server, "bob", &["r"]);
    for n in 0..5_000 {
        let frame = json!({ "type": "message", "to": "r", "n": n, "pad": "x".repeat(n % 700) });
        alice.ws.write(tungstenite::Message::text(frame.to_string())).unwrap();
    }
    alice.ws.flush().unwrap();
    bob.recv_type("presence");
    for n in 0..5_000 {
        assert_eq!(bob.recv()["n"], n);
    }
}

/// Large messages are shared between receivers instead of copied; they arrive all the same.
#[test]
fn large_messages() {
    let server = start(|_| {});
    let mut sender = Client::join(&server, "sender", &["r"]);
    let mut receivers: Vec<_> = (0..5).map(|_| Client::join(&server, "r", &[])).collect();
    let pad = "é".repeat(250_000);
    for n in 0..4 {
        sender.send(&json!({ "type": "message", "to": "r", "n": n, "pad": pad }));
        sender.send(&json!({ "type": "message", "to": "r", "n": n }));
    }
    for receiver in &mut receivers {
        for n in 0..4 {
            let large = receiver.recv_type("message");
            assert_eq!((&large["n"], &large["pad"]), (&json!(n), &json!(pad)));
            assert_eq!(receiver.recv_type("message")["n"], n);
        }
    }
}

/// R-T1: binary frames with JSON are read; what comes back is text.
#[test]
fn binary_frames() {
    let server = start(|_| {});
    let mut alice = Client::connect(&server);
    let frame = br#"{"type":"auth","user":"alice"}"#;
    alice.ws.send(tungstenite::Message::binary(frame.to_vec())).unwrap();
    assert_eq!(alice.recv()["type"], "welcome");
}

/// R-A11: what is sent behind `auth` without waiting is handled behind the welcome.
#[test]
fn pipelined() {
    let server = start(|_| {});
    let mut alice = Client::connect(&server);
    alice.send(&json!({ "type": "auth", "user": "alice" }));
    alice.send(&json!({ "type": "join", "room": "r" }));
    alice.send(&json!({ "type": "leave", "room": "r" }));
    for kind in ["welcome", "join:ok", "leave:ok"] {
        assert_eq!(alice.recv()["type"], kind);
    }
}

/// SPEC §7: 1000 after a client's `close`.
#[test]
fn close() {
    let server = start(|_| {});
    let mut alice = Client::join(&server, "alice", &[]);
    alice.send(&json!({ "type": "close" }));
    assert_eq!(alice.closed(), 1000);
}

/// R-M6, however much is under way: more than the server reads before it has written some of it.
#[test]
fn many_talk_to_many() {
    const SENDERS: usize = 4;
    const FRAMES: u64 = 40;
    let server = start(|config| config.engine.rate = None);
    let mut receivers: Vec<_> =
        (0..30).map(|n| Client::join(&server, &format!("r{n}"), &["r"])).collect();
    let senders: Vec<_> = (0..SENDERS)
        .map(|n| {
            let mut sender = Client::join(&server, &format!("s{n}"), &[]);
            std::thread::spawn(move || {
                let padding = "x".repeat(10_000);
                for number in 0..FRAMES {
                    let frame = json!({ "type": "message", "to": "r", "sender": n,
                        "number": number, "padding": padding });
                    sender.send(&frame);
                }
                sender
            })
        })
        .collect();
    // They do not read before everything has been sent.
    let _senders: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    for receiver in &mut receivers {
        let mut next = [0; SENDERS];
        for _ in 0..SENDERS as u64 * FRAMES {
            let frame = receiver.recv_type("message");
            let sender = frame["sender"].as_u64().unwrap() as usize;
            assert_eq!(frame["number"], next[sender], "{sender}");
            next[sender] += 1;
        }
        receiver.hears_nothing();
    }
}
