//! Webhooks: R-V2 and R-W1.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    client::{Client, until},
    receiver::{Asked, Reply, Service},
    start_with,
};
use crate::adapter::{HttpEndpoint, Server, WebhookSettings, block_on};

fn endpoint(service: &Service) -> HttpEndpoint {
    HttpEndpoint::new(&service.url()).unwrap().secret("a secret")
}

fn auth(token: &str) -> Value {
    json!({ "type": "auth", "user": "claimed", "token": token })
}

/// A server that asks a service about authentications.
fn asks(service: &Service, timeout: Duration) -> Server {
    let url = endpoint(service).timeout(timeout);
    start_with(|builder| builder.authenticate_by_webhook(url))
}

/// R-V2: what is asked, and what the answer does.
#[test]
fn a_webhook_decides_who_comes_in() {
    let service = Service::start(|asked| {
        let asked = asked.json();
        let answer = match asked["auth"]["token"].as_str().unwrap() {
            "good" => json!({
                "allow": true, "user": "alice", "rooms": ["team"], "peer": { "name": "Alice" }, "readonly": true,
            }),
            "past" => json!({ "allow": true, "user": "alice", "expires": 5 }),
            _ => json!({ "allow": false, "message": "Banned" }),
        };
        Reply::Answer(200, answer.to_string())
    });
    let server = asks(&service, Duration::from_secs(5));
    let headers = [("Origin", "http://a.example"), ("Cookie", "session=5"), ("X-Secret", "x")];
    let (mut alice, _) = Client::request_path(&server, "/ws?a=1", &headers).unwrap();
    let welcome = alice.auth(&auth("good"));
    assert_eq!(welcome["rooms"], json!(["alice", "team"]));
    assert_eq!(
        (&welcome["peer"]["name"], &welcome["peer"]["readonly"]),
        (&json!("Alice"), &json!(true))
    );
    let asked = service.next();
    assert!(asked.head.starts_with("POST /hook?key=hidden HTTP/1.1\n"), "{}", asked.head);
    assert!(is_signed(&asked), "{}", asked.head);
    let body = asked.json();
    assert_eq!(body["auth"], auth("good"));
    assert_eq!((&body["peer"]["user"], &body["session"]), (&json!("claimed"), &Value::Null));
    assert_eq!(
        body["request"],
        json!({
            "address": "127.0.0.1", "tls": false, "path": "/ws", "query": "a=1",
            "headers": { "origin": "http://a.example", "cookie": "session=5" },
        })
    );
    for (token, message) in [("bad", "Banned"), ("past", "Session expired")] {
        let mut client = Client::connect(&server);
        client.send(&auth(token));
        assert_eq!(client.refused(), (401, message.into(), 4401), "{token}");
    }
}

fn is_signed(asked: &Asked) -> bool {
    let signature = asked.header("symple-signature").unwrap_or_default();
    let Some((time, signature)) = signature.split_once(",v1=") else { return false };
    time.starts_with("t=1") && signature.len() == 64
}

/// R-V2, R-H5: whatever is no clear answer lets nobody in, and a service that is away is no reason to
/// let anybody in.
#[test]
fn a_webhook_that_does_not_answer() {
    let allow = || json!({ "allow": true, "user": "alice" }).to_string();
    let service =
        Service::start(move |asked| match asked.json()["auth"]["token"].as_str().unwrap() {
            "stall" => Reply::Stall,
            "redirect" => Reply::Answer(302, allow()),
            "error" => Reply::Answer(500, allow()),
            "denied" => Reply::Answer(403, allow()),
            "garbage" => Reply::Answer(200, "<html>".into()),
            "kind" => Reply::Answer(200, json!({ "allow": "true", "user": "alice" }).to_string()),
            "large" => Reply::Answer(200, " ".repeat(70_000) + &allow()),
            "closed" => Reply::Raw(""),
            "cut" => Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"allow\":true"),
            "no http" => Reply::Raw("{\"allow\":true,\"user\":\"alice\"}\n"),
            _ => Reply::Answer(200, allow()),
        });
    let server = asks(&service, Duration::from_millis(500));
    let unavailable = (503, "Authentication unavailable".to_owned(), 4503);
    for token in [
        "stall", "redirect", "error", "denied", "garbage", "kind", "large", "closed", "cut",
        "no http",
    ] {
        let mut client = Client::connect(&server);
        client.send(&auth(token));
        assert_eq!(client.refused(), unavailable, "{token}");
        // The next one is asked about as if nothing had been.
        Client::connect(&server).auth(&auth("good"));
    }
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = HttpEndpoint::new(&format!("http://{away}/")).unwrap();
    let server = start_with(|builder| builder.authenticate_by_webhook(url));
    let mut client = Client::connect(&server);
    client.send(&auth("good"));
    assert_eq!(client.refused(), unavailable);
}

/// R-V2: no more than so many requests are made at a time; the others wait for their turn.
#[test]
fn a_webhook_is_not_flooded() {
    const CLIENTS: usize = 200;
    let (open, gate) = async_channel::bounded::<()>(1);
    let most = Arc::new(AtomicUsize::new(0));
    let (state, now) = (Arc::clone(&most), AtomicUsize::new(0));
    let service = Service::start(move |_| {
        let count = now.fetch_add(1, Ordering::SeqCst) + 1;
        state.fetch_max(count, Ordering::SeqCst);
        // All that come before it is opened are there at once.
        let _ = gate.recv_blocking();
        now.fetch_sub(1, Ordering::SeqCst);
        Reply::Answer(200, json!({ "allow": true, "user": "alice" }).to_string())
    });
    let server = asks(&service, Duration::from_secs(20));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(&server)).collect();
    for client in &mut clients {
        client.send(&auth("x"));
    }
    until("64 requests at once", || most.load(Ordering::SeqCst) >= 64);
    drop(open);
    for client in &mut clients {
        client.recv_type("welcome");
    }
    assert_eq!(service.count(), CLIENTS);
    assert_eq!(most.load(Ordering::SeqCst), 64);
}

/// R-V2: who waits too long for a turn is told so.
#[test]
fn a_turn_that_does_not_come() {
    let service = Service::start(|_| Reply::Stall);
    let server = asks(&service, Duration::from_millis(100));
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(&server)).collect();
    for client in &mut clients {
        client.send(&auth("x"));
    }
    for client in &mut clients {
        assert_eq!(client.refused().0, 503);
    }
}

/// A server that tells a service of its peers.
fn tells(url: HttpEndpoint, change: impl FnOnce(&mut WebhookSettings)) -> Server {
    let mut settings = WebhookSettings::default();
    settings.first_retry = Duration::from_millis(10);
    change(&mut settings);
    start_with(|builder| builder.webhook(url, settings))
}

/// The events that a service has been told, until there are so many; how many were dropped.
fn told(service: &Service, count: usize) -> (Vec<Value>, u64) {
    let (mut events, mut dropped, mut ids) = (Vec::new(), 0, BTreeSet::new());
    while events.len() + (dropped as usize) < count {
        let asked = service.next();
        assert!(is_signed(&asked), "{}", asked.head);
        let batch = asked.json();
        let all = batch["events"].as_array().unwrap();
        assert!((1..=100).contains(&all.len()));
        assert!(asked.body.len() < 80 * 1024);
        // A batch that is told again has the same id, and counts once.
        if ids.insert(batch["id"].as_str().unwrap().to_owned()) {
            events.extend(all.iter().cloned());
            dropped += batch["dropped"].as_u64().unwrap();
        }
    }
    (events, dropped)
}

/// R-W1: what is told of peers, in order, and the last of it when the server ends.
#[test]
fn a_webhook_is_told_of_peers() {
    let service = Service::start(|_| Reply::Answer(204, String::new()));
    let server = tells(endpoint(&service), |_| {});
    let mut alice = Client::connect(&server);
    alice.auth(&json!({ "type": "auth", "user": "alice", "rooms": ["team"] }));
    let address = alice.address();
    alice.send(&json!({ "type": "leave", "room": "team" }));
    alice.recv_type("leave:ok");
    let (events, _) = told(&service, 2);
    block_on(server.shutdown(Duration::ZERO)).unwrap();
    let (last, dropped) = told(&service, 1);
    let events: Vec<_> = events.iter().chain(&last).collect();
    assert_eq!(dropped, 0);
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["online", "leave", "offline"]);
    assert!(
        events.iter().all(|event| event["peer"] == address.as_str() && event["user"] == "alice")
    );
    assert_eq!(events[0]["rooms"], json!(["alice", "team"]));
    assert_eq!(events[1]["room"], "team");
    assert_eq!(
        (&events[2]["rooms"], &events[2]["reason"]),
        (&json!(["alice"]), &json!("shutdown"))
    );
    let numbers: Vec<_> = events.iter().map(|event| event["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

fn comes_and_goes(server: &Server, user: &str) {
    let mut client = Client::connect(server);
    client.auth(&json!({ "type": "auth", "user": user }));
    client.send(&json!({ "type": "close" }));
    client.closed();
}

/// R-W1: a receiver that is away, and answers all kinds of nonsense when it is back: each event is
/// told once, in order, and what did not fit is counted.
#[test]
fn a_webhook_that_is_away() {
    const PEERS: usize = 150;
    const WAIT: usize = 120;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = HttpEndpoint::new(&format!("http://{address}/")).unwrap().secret("a secret");
    let url = url.timeout(Duration::from_millis(500));
    let server = tells(url, |settings| settings.max_events = WAIT);
    for number in 0..PEERS {
        comes_and_goes(&server, &format!("peer-{number}"));
    }
    let tries = AtomicUsize::new(0);
    let service = Service::start_on(TcpListener::bind(address).unwrap(), move |_| {
        match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::Answer(500, String::new()),
            1 => Reply::Answer(301, String::new()),
            2 => Reply::Raw("nonsense\r\n\r\n"),
            3 => Reply::Stall,
            4 => Reply::Raw(""),
            _ => Reply::Answer(200, "thanks".into()),
        }
    });
    let (events, dropped) = told(&service, 2 * PEERS);
    assert_eq!(events.len() as u64 + dropped, 2 * PEERS as u64);
    assert!(events.len() <= WAIT + 100);
    let numbers: Vec<_> = events.iter().map(|event| event["number"].as_u64().unwrap()).collect();
    let once: BTreeSet<_> =
        events.iter().map(|event| (event["peer"].to_string(), event["number"].as_u64())).collect();
    assert_eq!(once.len(), events.len(), "{numbers:?}");
    assert_eq!(events.last().unwrap()["user"], format!("peer-{}", PEERS - 1));
}

/// R-W1: what nobody takes is given up at last, and does not keep a server from ending.
#[test]
fn a_webhook_that_never_takes_anything() {
    let bad = Arc::new(AtomicUsize::new(0));
    let state = Arc::clone(&bad);
    let service = Service::start(move |asked| {
        if asked.body.contains("poison") {
            state.fetch_add(1, Ordering::SeqCst);
            return Reply::Answer(400, String::new());
        }
        if asked.body.contains("stall") { Reply::Stall } else { Reply::Answer(200, String::new()) }
    });
    let server = tells(endpoint(&service), |settings| {
        settings.give_up_after = Duration::from_millis(50);
        settings.flush = Duration::from_millis(50);
    });
    comes_and_goes(&server, "poison");
    let first = service.next();
    assert!(first.body.contains("poison"));
    let dropped = loop {
        // The receiver takes what comes behind, and hears how much is missing.
        comes_and_goes(&server, "alice");
        let batch = service.next();
        if !batch.body.contains("poison") {
            break batch.json()["dropped"].as_u64().unwrap();
        }
    };
    assert!(dropped >= 2, "{dropped}");
    assert!(bad.load(Ordering::SeqCst) >= 1);
    let mut stalls = Client::connect(&server);
    stalls.auth(&json!({ "type": "auth", "user": "stall" }));
    block_on(server.shutdown(Duration::ZERO)).unwrap();
}
