//! JSON Web Tokens and webhooks of the program: R-V1, R-V2, R-W1.

use std::io::Write as _;

use super::{
    receiver::{Reply, Service},
    *,
};

const SECRET: &str = "a secret that has more than 32 bytes";

/// A token that `symple token make` makes.
fn make(folder: &Path, arguments: &[&str]) -> String {
    let arguments = [&["token", "make", "--user", "alice"], arguments].concat();
    let (code, stdout, stderr) = run(folder, &arguments, &[("SYMPLE_JWT_SECRET", SECRET)]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    stdout.trim().to_owned()
}

fn check(folder: &Path, arguments: &[&str], token: &str) -> (i32, String) {
    let arguments = [&["token", "check", token], arguments].concat();
    let (code, stdout, stderr) = run(folder, &arguments, &[("SYMPLE_JWT_SECRET", SECRET)]);
    (code, stdout + &stderr)
}

/// R-V1: `symple token` makes tokens, and says what a server would say of them.
#[test]
fn tokens_for_trying_out() {
    let folder = folder("token");
    let token =
        make(&folder, &["--rooms", "a, b", "--name", "Alice", "--readonly", "--claim", "x=1"]);
    let (code, said) = check(&folder, &[], &token);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("allowed for 36"), "{said}");
    let expected = r#": {"name":"Alice","rooms":["a","b"],"readonly":true,"user":"alice"}"#;
    assert!(said.trim_end().ends_with(expected), "{said}");

    let other = make(&folder, &["--secret", "another secret that has 32 bytes or more"]);
    let old = make(&folder, &["--claim", "exp=5"]);
    let audience = make(&folder, &["--jwt-audience", "chat"]);
    for (arguments, token, expected) in [
        (&[][..], "x", "Invalid token: it is no JSON Web Token"),
        (&[], &other, "Invalid token: the signature of the token is wrong"),
        (&[], &old, "Token expired: the token has expired (exp)"),
        (
            &[],
            &audience,
            "Invalid token: the token has an audience (aud), and the server has none (jwt-audience)",
        ),
        (
            &["--jwt-audience", "mail"],
            &audience,
            "Invalid token: the token is for another audience (aud)",
        ),
    ] {
        let (code, said) = check(&folder, arguments, token);
        assert_eq!(code, 1, "{said}");
        assert_eq!(said.trim_end(), format!("symple: refused: Authentication failed: {expected}"));
    }
    assert_eq!(check(&folder, &["--jwt-audience", "chat,mail"], &audience).0, 0);

    // From standard input, where others do not see it.
    let mut child = symple(&folder)
        .args(["token", "check", "--jwt-secret", SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
    assert!(child.wait().unwrap().success());
    for arguments in [
        &["token", "make", "--user", "a"][..],
        &["token", "make", "--user", "a", "--secret", "short"],
        &["token", "make", "--user", "a|b", "--secret", SECRET],
        &["token", "make", "--user", "a", "--secret", SECRET, "--ttl", "soon"],
        &["token", "make", "--user", "a", "--secret", SECRET, "--claim", "x=y"],
        &["token", "check", "x"],
    ] {
        let (code, _, stderr) = run(&folder, arguments, &[]);
        assert_eq!((code, stderr.lines().count()), (2, 1), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("short"), "{stderr}");
    }
}

/// R-V1, SPEC §11: settings that make no sense, and secrets that nobody is shown.
#[test]
fn settings_of_tokens() {
    let folder = folder("jwt-settings");
    std::fs::write(folder.join("no.pem"), "no key").unwrap();
    let is_refused = |setting: &str, value: &str, expected: &str| {
        let (code, stdout, stderr) = run(&folder, &["check-config", setting, value], &[]);
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert!(!stderr.contains("hidden"), "{stderr}");
    };
    is_refused("--jwt-secret", "hidden", "fewer than 32 bytes");
    is_refused("--jwt-public-key", "no.pem", "it has no PEM block that can be read");
    is_refused("--jwt-public-key", "gone.pem", "it cannot be read");
    is_refused("--jwt-jwks", "no.pem", "it is no JSON Web Key Set");
    is_refused("--jwt-jwks", "https://user:hidden@a.example/", "must not have a user or password");
    is_refused("--auth-url", "ftp://a.example/", "must begin with https:// or http://");
    is_refused("--webhook-url", "a.example", "must begin with https:// or http://");
    is_refused("--jwt-expiry", "never", "must be one of required, optional");
    is_refused(
        "--jwt-issuer",
        "x",
        "needs a key for tokens: jwt-secret, jwt-public-key or jwt-jwks",
    );
    is_refused("--jwt-audience", "x", "needs a key for tokens");
    is_refused("--jwt-leeway", "-1", "must be a number of seconds, 0 or more");

    let slow = ["check-config", "--auth-url", "http://127.0.0.1/", "--auth-url-timeout", "10"];
    let (code, _, stderr) = run(&folder, &slow, &[]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("auth-url-timeout (flag): must be less than auth-timeout"), "{stderr}");

    let secret = format!("hidden {SECRET}");
    let arguments = [
        "--jwt-secret",
        &secret,
        "--webhook-secret",
        "hidden",
        "--jwt-jwks",
        "http://127.0.0.1/?k=hidden",
    ];
    assert_eq!(checked(&folder, &arguments, &[], "jwt-secret"), "… flag");
    assert_eq!(checked(&folder, &arguments, &[], "webhook-secret"), "… flag");
    assert_eq!(checked(&folder, &arguments, &[], "jwt-jwks"), "http://127.0.0.1/?… flag");
    for (arguments, expected) in [
        (&["--jwt-leeway", "1"][..], "jwt-leeway (flag) has no effect: there is no key for tokens"),
        (&["--webhook-secret", "x"], "webhook-secret (flag) has no effect"),
        (&["--auth-url-timeout", "1"], "auth-url-timeout (flag) has no effect"),
        (&["--jwt-secret", SECRET, "--authentication"], "authentication (flag) has no effect"),
    ] {
        let arguments = [&["check-config"], arguments].concat();
        let (code, _, stderr) = run(&folder, &arguments, &[]);
        assert_eq!(code, 0, "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

/// What a client is told, and its close code if it is closed.
fn authenticates(server: &Server, token: &str) -> Value {
    let mut client = server.connect();
    let auth = json!({ "type": "auth", "user": "claimed", "token": token });
    client.send(Message::text(auth.to_string())).unwrap();
    recv(&mut client)
}

/// R-V1: a server with a secret, without Redis, on each runtime. Nobody is called anonymous.
#[test]
fn a_server_with_tokens() {
    let folder = folder("jwt-server");
    let token = make(&folder, &["--rooms", "team"]);
    for runtime in RUNTIMES {
        let server = Server::start(&folder, &["--runtime", runtime, "--jwt-secret", SECRET]);
        assert!(server.greeting.contains("(JWT, dynamic rooms"), "{}", server.greeting);
        let welcome = authenticates(&server, &token);
        assert_eq!(
            (&welcome["peer"]["user"], &welcome["rooms"]),
            (&json!("alice"), &json!(["alice", "team"]))
        );
        let error = authenticates(&server, &format!("{token}x"));
        assert_eq!(error["message"], "Authentication failed: Invalid token");
        server.signal("TERM");
        let (code, log) = server.wait();
        assert_eq!(code, 0, "{log}");
        assert!(log.contains("a token was refused"), "{log}");
        assert!(!log.contains(token.split('.').next_back().unwrap()), "{log}");
    }
}

/// R-V1: keys at a URL, on each runtime, and for `symple token check`.
#[test]
fn a_server_with_keys_at_a_url() {
    let folder = folder("jwks-server");
    let vectors: Value =
        serde_json::from_str(include_str!("../../../symple-driver/src/jwt/vectors.json")).unwrap();
    let mut key = vectors["jwks"]["ec"].clone();
    key["kid"] = json!("first");
    let set = json!({ "keys": [key] }).to_string();
    let service = Service::start(move |_| Reply::Answer(200, set.clone()));
    let (first, second) = (&vectors["kid"]["first"], &vectors["kid"]["second"]);
    for runtime in RUNTIMES {
        let server = Server::start(&folder, &["--runtime", runtime, "--jwt-jwks", &service.url()]);
        assert_eq!(authenticates(&server, first.as_str().unwrap())["type"], "welcome");
        assert_eq!(authenticates(&server, second.as_str().unwrap())["status"], 401);
    }
    let url = service.url();
    let check = |token: &Value| {
        run(&folder, &["token", "check", token.as_str().unwrap(), "--jwt-jwks", &url], &[]).0
    };
    assert_eq!((check(first), check(second)), (0, 1));
}

/// The programs that check signatures, with what runs them and says that it is there.
/// R-W1: a receiver that fails every other time is no reason for a line or two each time.
#[test]
fn a_receiver_that_fails_every_other_time() {
    let folder = folder("webhook-failures");
    let failed = std::sync::atomic::AtomicUsize::new(0);
    let told = Service::start(move |_| {
        let n = failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Reply::Answer(if n.is_multiple_of(2) { 500 } else { 204 }, String::new())
    });
    let server = Server::start(&folder, &["--webhook-url", &told.url()]);
    let begun = std::time::Instant::now();
    for n in 0..10 {
        let _client = server.client(&format!("user{n}"));
        // Of each batch the second request is taken.
        assert_eq!(told.next().body, told.next().body);
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    server.signal("TERM");
    let (code, log) = server.wait();
    assert_eq!(code, 0, "{log}");
    for text in ["does not take events", "takes events again"] {
        let lines = log.lines().filter(|line| line.contains(text)).count();
        // It may have been told of the last ones only when it had ended.
        assert!((1..=seconds + 1).contains(&lines), "{lines} in {seconds} s: {log}");
    }
}

const VERIFIERS: [(&str, &str); 3] =
    [("python3", "verify.py"), ("node", "verify.mjs"), ("ruby", "verify.rb")];

/// R-V2, R-W1: a server with both webhooks, on each runtime. What it has signed is right for the
/// programs of the documents, and what has been changed is not; when it ends it tells that its peers
/// have gone.
#[test]
fn a_server_with_webhooks() {
    let folder = folder("webhooks");
    for runtime in RUNTIMES {
        let asked =
            Service::start(|_| Reply::Answer(200, r#"{"allow":true,"user":"alice"}"#.into()));
        let told = Service::start(|_| Reply::Answer(204, String::new()));
        let server = Server::start(
            &folder,
            &[
                "--runtime",
                runtime,
                "--auth-url",
                &asked.url(),
                "--webhook-url",
                &told.url(),
                "--webhook-secret",
                "the secret",
            ],
        );
        assert!(server.greeting.contains("(webhook authentication, "), "{}", server.greeting);
        let mut client = server.connect();
        client.send(Message::text(r#"{"type":"auth","user":"x","token":"t"}"#)).unwrap();
        assert_eq!(recv(&mut client)["peer"]["user"], "alice");
        let requests = [asked.next(), told.next()];
        assert_eq!(requests[0].json()["auth"]["token"], "t");
        assert_eq!(requests[1].json()["events"][0]["type"], "online");
        for request in &requests {
            let signature = request.header("symple-signature").unwrap();
            for (program, script) in VERIFIERS {
                if !redis::process::missing::is_installed(program, "--version") {
                    continue;
                }
                let is_signed = |secret: &str, body: &str| {
                    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/webhooks");
                    let mut child = Command::new(program)
                        .arg(docs.join(script))
                        .args([secret, signature])
                        .stdin(Stdio::piped())
                        .spawn()
                        .unwrap();
                    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
                    child.wait().unwrap().success()
                };
                assert!(is_signed("the secret", &request.body), "{program}");
                assert!(!is_signed("the secret", &format!("{} ", request.body)), "{program}");
                assert!(!is_signed("another secret", &request.body), "{program}");
            }
        }
        server.signal("TERM");
        let (code, log) = server.wait();
        assert_eq!(code, 0, "{log}");
        let last = told.next().json();
        assert_eq!(
            (&last["events"][0]["type"], &last["events"][0]["reason"]),
            (&json!("offline"), &json!("shutdown"))
        );
    }
}
