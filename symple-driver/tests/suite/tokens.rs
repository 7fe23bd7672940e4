//! JSON Web Tokens: R-V1.

use std::{
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{
    client::Client,
    receiver::{Reply, Service},
    start_with,
};
use crate::adapter::{
    AuthDecision, AuthRequest, HttpEndpoint, Jwt, JwtKeys, JwtSettings, Server, proto,
};

const SECRET: &str = "a secret that has more than 32 bytes";

/// Keys, and tokens that Node's crypto has signed with them.
fn vectors() -> Value {
    serde_json::from_str(include_str!("../../src/jwt/vectors.json")).unwrap()
}

fn strict(settings: &mut JwtSettings) {
    settings.leeway = Duration::ZERO;
}

fn jwt() -> Jwt {
    Jwt::new(JwtKeys::from_secret(SECRET).unwrap()).configure(strict)
}

/// A token with these claims.
fn token(claims: &Value) -> String {
    let claims: proto::Fields = serde_json::from_str(&claims.to_string()).unwrap();
    Jwt::issue_claims(SECRET, &claims)
}

/// A time in seconds since 1970, so long after now.
fn after(time: Duration) -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() + time.as_secs_f64()
}

fn auth(token: &str) -> Value {
    json!({ "type": "auth", "user": "claimed", "token": token, "rooms": ["mine"], "x": 1 })
}

fn refused(server: &Server, token: &str) -> (u64, String, u16) {
    let mut client = Client::connect(server);
    client.send(&auth(token));
    client.refused()
}

fn failed(why: &str) -> (u64, String, u16) {
    (401, format!("Authentication failed: {why}"), 4401)
}

/// R-V1, R-A4, R-A6: who comes in, and as whom.
#[test]
fn tokens() {
    let server = start_with(|builder| builder.jwt(jwt()));
    let exp = after(Duration::from_secs(3600));
    let claims = json!({
        "sub": "alice", "exp": exp, "email": "a@example.com", "rooms": ["team"], "peer": { "name": "Alice" },
    });
    let mut alice = Client::connect(&server);
    let welcome = alice.auth(&auth(&token(&claims)));
    assert_eq!(welcome["rooms"], json!(["alice", "team"]));
    let peer = &welcome["peer"];
    assert_eq!(
        (&peer["user"], &peer["name"], &peer["x"]),
        (&json!("alice"), &json!("Alice"), &json!(1))
    );
    assert!(!welcome.to_string().contains("example.com"), "{welcome}");
    let mut reader = Client::connect(&server);
    let claims = json!({ "sub": "bob", "exp": exp, "rooms": ["team"], "readonly": true });
    reader.auth(&auth(&token(&claims)));
    reader.send(&json!({ "type": "message", "to": "team" }));
    assert_eq!(reader.recv_type("error")["message"], "Read-only");

    let without = json!({ "type": "auth", "user": "a" });
    let mut client = Client::connect(&server);
    client.send(&without);
    assert_eq!(client.refused(), failed("Missing token"));
    let vectors = vectors();
    for (name, bad) in vectors["bad"].as_object().unwrap() {
        assert_eq!(refused(&server, bad.as_str().unwrap()), failed("Invalid token"), "{name}");
    }
    let expired = json!({ "sub": "alice", "exp": after(Duration::ZERO) });
    assert_eq!(refused(&server, &token(&expired)), failed("Token expired"));
    let early = json!({ "sub": "alice", "exp": exp, "nbf": exp });
    assert_eq!(refused(&server, &token(&early)), failed("Token not valid yet"));
    let elsewhere = json!({ "sub": "alice", "exp": exp, "aud": "elsewhere" });
    assert_eq!(refused(&server, &token(&elsewhere)), failed("Invalid token"));
    assert_eq!(refused(&server, "a random token"), failed("Invalid token"));
    let huge = format!("{}.x", "x".repeat(20_000));
    assert_eq!(refused(&server, &huge), failed("Token too large"));
    alice.hears_presence_and_nothing_else();
}

/// R-V1, R-A9: a peer goes with its token, unless it has a later one by then.
#[test]
fn tokens_expire() {
    let server = start_with(|builder| builder.jwt(jwt()));
    let of = |user: &str, exp: f64| auth(&token(&json!({ "sub": user, "exp": exp })));
    let comes_in = |user: &str, exp: f64| {
        let mut client = Client::connect(&server);
        client.send(&of(user, exp));
        let answer = client.recv();
        client.peer = answer["peer"].clone();
        (answer["type"] == "welcome").then_some(client)
    };
    // On a machine that is busy a short time may be over before both are there.
    let (exp, mut stays, mut goes) = (1..8)
        .find_map(|n| {
            let exp = after(Duration::from_secs(1 << n));
            let (mut stays, goes) = (comes_in("alice", exp)?, comes_in("bob", exp)?);
            stays.send(&of("alice", after(Duration::from_secs(3600))));
            let again = stays.recv();
            assert!(again["peer"]["id"] == stays.id() || after(Duration::ZERO) >= exp, "{again}");
            (again["type"] == "welcome").then_some((exp, stays, goes))
        })
        .unwrap();
    assert_eq!(goes.refused(), (401, "Session expired".into(), 4401));
    assert!(after(Duration::ZERO) >= exp);
    stays.hears_nothing();
}

/// R-V1, R-A5: a hook sees the claims, and has the last word.
#[test]
fn a_hook_behind_a_token() {
    let seen = Arc::new(Mutex::new(String::new()));
    let (told, exp) = (Arc::clone(&seen), after(Duration::from_secs(3600)));
    let server = start_with(move |builder| {
        builder.jwt(jwt()).authenticate(move |request: AuthRequest| {
            *told.lock().unwrap() = request.session.clone().unwrap().to_json();
            async move {
                match request.user().as_str() {
                    "alice" => AuthDecision::allow_claimed().rooms(["more"]),
                    "brief" => AuthDecision::allow_claimed().expires_in(Duration::from_millis(10)),
                    "away" => AuthDecision::unavailable(),
                    _ => AuthDecision::deny("Banned"),
                }
            }
        })
    });
    let of = |user: &str| token(&json!({ "sub": user, "exp": exp, "email": "a@example.com" }));
    let welcome = Client::connect(&server).auth(&auth(&of("alice")));
    assert_eq!(welcome["rooms"], json!(["alice", "more"]));
    let session: Value = serde_json::from_str(&seen.lock().unwrap()).unwrap();
    assert_eq!(
        (&session["user"], &session["private"]["email"]),
        (&json!("alice"), &json!("a@example.com"))
    );
    assert_eq!(refused(&server, &of("mallory")), (401, "Banned".into(), 4401));
    assert_eq!(refused(&server, &of("away")), (503, "Authentication unavailable".into(), 4503));
    let mut brief = Client::connect(&server);
    brief.auth(&auth(&of("brief")));
    assert_eq!(brief.refused(), (401, "Session expired".into(), 4401));
    // What proves nothing is not asked about.
    seen.lock().unwrap().clear();
    assert_eq!(refused(&server, "x"), failed("Invalid token"));
    assert_eq!(*seen.lock().unwrap(), "");
}

/// A key set with the one of two keys.
fn key_set(name: &str) -> String {
    let vectors = vectors();
    let mut key = vectors["jwks"][if name == "first" { "ec" } else { "other" }].clone();
    key["kid"] = json!(name);
    json!({ "keys": [key] }).to_string()
}

fn named(name: &str) -> Value {
    auth(vectors()["kid"][name].as_str().unwrap())
}

fn with_keys_at(url: &str, change: impl FnOnce(&mut JwtSettings)) -> Server {
    let (jwt, url) =
        (Jwt::new(JwtKeys::default()).configure(change), HttpEndpoint::new(url).unwrap());
    start_with(|builder| builder.jwt_with_jwks(jwt, url))
}

/// R-V1: keys at a URL that change while the server runs, and one that is away.
#[test]
fn keys_at_a_url_are_rotated() {
    let rotated = Arc::new(AtomicUsize::new(0));
    let state = Arc::clone(&rotated);
    let service = Service::start(move |_| match state.load(Ordering::SeqCst) {
        0 => Reply::Answer(200, key_set("first")),
        1 => Reply::Answer(200, key_set("second")),
        2 => Reply::Answer(503, String::new()),
        3 => Reply::Answer(302, key_set("first")),
        4 => Reply::Answer(200, "<html>".into()),
        5 => Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        6 => Reply::Answer(200, " ".repeat(300 * 1024)),
        _ => Reply::Raw("SSH-2.0-x\r\n"),
    });
    let server = with_keys_at(&service.url(), |settings| settings.jwks_refetch = Duration::ZERO);
    let is_let_in = |name: &str| {
        let mut client = Client::connect(&server);
        client.send(&named(name));
        match client.recv() {
            welcome if welcome["type"] == "welcome" => true,
            error => {
                assert_eq!(error["message"], "Authentication failed: Invalid token");
                false
            }
        }
    };
    assert!(is_let_in("first"));
    assert!(!is_let_in("second"));
    rotated.store(1, Ordering::SeqCst);
    assert!(is_let_in("second"));
    // Whatever is answered instead of keys, those that are there count.
    for state in 2..=7 {
        rotated.store(state, Ordering::SeqCst);
        assert!(!is_let_in("first"), "{state}");
        assert!(is_let_in("second"), "{state}");
    }
    assert!(service.next().head.starts_with("GET /hook?key=hidden HTTP/1.1\n"));
}

/// R-V1: for keys that nobody has the URL is not asked again and again.
#[test]
fn unknown_keys_cost_few_requests() {
    let service = Service::start(|_| Reply::Answer(200, key_set("first")));
    let server = with_keys_at(&service.url(), |_| {});
    for _ in 0..20 {
        let mut client = Client::connect(&server);
        client.send(&named("second"));
        assert_eq!(client.refused(), failed("Invalid token"));
    }
    Client::connect(&server).auth(&named("first"));
    assert_eq!(service.count(), 1);
}

/// R-V1, R-A4: without any keys nobody comes in, and clients may try again; when keys come, they do.
#[test]
fn keys_at_a_url_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}/");
    let server = with_keys_at(&url, |settings| settings.jwks_refetch = Duration::ZERO);
    let mut client = Client::connect(&server);
    client.send(&named("first"));
    assert_eq!(client.refused(), (503, "Authentication unavailable".into(), 4503));
    let _service = Service::start_on(TcpListener::bind(address).unwrap(), |_| {
        Reply::Answer(200, key_set("first"))
    });
    Client::connect(&server).auth(&named("first"));
}

/// R-V1: a host of keys that says nothing holds nobody for longer than its time limit.
#[test]
fn keys_at_a_url_that_stalls() {
    let stalls = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&stalls);
    let service = Service::start(move |_| {
        if state.load(Ordering::SeqCst) {
            Reply::Stall
        } else {
            Reply::Answer(200, key_set("first"))
        }
    });
    let jwt =
        Jwt::new(JwtKeys::default()).configure(|settings| settings.jwks_refetch = Duration::ZERO);
    let url = HttpEndpoint::new(&service.url()).unwrap().timeout(Duration::from_millis(100));
    let server = start_with(|builder| builder.jwt_with_jwks(jwt, url));
    let mut client = Client::connect(&server);
    client.send(&named("first"));
    assert_eq!(client.refused(), (503, "Authentication unavailable".into(), 4503));
    stalls.store(false, Ordering::SeqCst);
    Client::connect(&server).auth(&named("first"));
}
