//! Redis: settings, sessions and emission from the command line (R-S1, R-S2, R-S3, SPEC §11).

use std::{
    io::{BufRead as _, Write as _},
    net::TcpListener,
    process::Stdio,
};

use super::{Server, checked, folder, recv, run, symple};
use process::Redis;
use serde_json::json;
use tungstenite::Message;

#[path = "../../../symple-driver/tests/suite/redis/fake.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod fake;
#[path = "../../../symple-driver/tests/suite/redis/process.rs"]
#[allow(dead_code, reason = "others use more of it")]
pub(super) mod process;

/// SPEC §11: a URL, or host and port as with the Node server; secrets are never shown.
#[test]
fn settings() {
    let folder = folder("redis-settings");
    let variables = [("REDIS_URL", "redis://alice:secret@localhost:1/2")];
    let url = checked(&folder, &[], &variables, "redis-url");
    assert_eq!(url, "redis://localhost:1/2 REDIS_URL");
    let variables = [("SYMPLE_REDIS_PASSWORD", "secret"), ("REDIS_HOST", "example.com")];
    assert_eq!(checked(&folder, &[], &variables, "redis-host"), "example.com REDIS_HOST");
    let password = checked(&folder, &[], &variables, "redis-password");
    assert_eq!(password, "… SYMPLE_REDIS_PASSWORD");
    assert_eq!(checked(&folder, &["--session-ttl", "-1"], &[], "session-ttl"), "-1 flag");
    for (variable, value, expected) in [
        (
            "SYMPLE_REDIS_URL",
            "http://:secret@localhost",
            "invalid value '…' for redis-url (SYMPLE_REDIS_URL): the Redis URL must look like ",
        ),
        (
            "SYMPLE_REDIS_URL",
            "redis://:secret@localhost?db=1",
            "invalid value '…' for redis-url (SYMPLE_REDIS_URL): the Redis URL must look like \
             redis://user:password@host:port/database, \
             redis+sentinel://host:port,host:port/service or \
             redis-cluster://host:port,host:port (unknown parameter db; ",
        ),
        (
            "SYMPLE_REDIS_URL",
            "redis+sentinel://:secret@localhost/main?ssl=true",
            "invalid value '…' for redis-url (SYMPLE_REDIS_URL): the Redis URL must look like \
             redis://user:password@host:port/database, \
             redis+sentinel://host:port,host:port/service or \
             redis-cluster://host:port,host:port (unknown parameter ssl; ",
        ),
        (
            "SYMPLE_REDIS_PORT",
            "x",
            "invalid value 'x' for redis-port (SYMPLE_REDIS_PORT): must be ",
        ),
        ("SYMPLE_REDIS_PROTOCOL", "http", "invalid value 'http' for redis-protocol"),
        (
            "SYMPLE_SESSION_TTL",
            "0",
            "invalid value '0' for session-ttl (SYMPLE_SESSION_TTL): must ",
        ),
        ("SYMPLE_CLUSTER", "x", "invalid value 'x' for cluster (SYMPLE_CLUSTER): must be true"),
        (
            "SYMPLE_SESSION_USER",
            "no",
            "invalid value 'no' for session-user (SYMPLE_SESSION_USER): must ",
        ),
        ("SYMPLE_SESSION_PUBLIC", "private", "invalid value 'private' for session-public "),
        ("SYMPLE_SESSION_PUBLIC", "*,plan", "invalid value '*,plan' for session-public "),
    ] {
        for command in ["serve", "check-config"] {
            let (code, stdout, stderr) = run(&folder, &[command], &[(variable, value)]);
            assert_eq!((code, &*stdout), (2, ""), "{stderr}");
            assert!(stderr.starts_with(&format!("symple: {expected}")), "{stderr}");
            assert!(stderr.lines().count() == 1 && !stderr.contains("secret"), "{stderr}");
        }
    }
}

/// R-S1: a Redis that is not there, or wants another password, is one line and exit code 2.
#[test]
fn a_redis_that_cannot_be_used() {
    let Some(mut redis) = Redis::start_with(&["--requirepass", "secret"]) else { return };
    let folder = folder("redis-refused");
    let url = redis.url();
    let wrong = url.replace("redis://", "redis://:wrong@");
    let serve = ["serve", "--host", "127.0.0.1", "--port", "0"];
    let fails = |arguments: &[&str], url: &str, expected: &str| {
        let (code, _, stderr) = run(&folder, arguments, &[("SYMPLE_REDIS_URL", url)]);
        assert_eq!((code, &*stderr), (2, &*format!("symple: {expected}\n")), "{arguments:?}");
    };
    let refused = format!("Redis at {url} refuses the user name or password: ");
    for arguments in [&serve[..], &["session", "list"], &["emit", "--to", "a"]] {
        let says = "WRONGPASS invalid username-password pair or user is disabled.";
        fails(arguments, &wrong, &format!("{refused}{says}"));
        let (code, _, stderr) = run(&folder, arguments, &[("REDIS_URL", &url)]);
        assert!(code == 2 && stderr.lines().count() == 1, "{stderr}");
        assert!(stderr.starts_with(&format!("symple: {refused}NOAUTH ")), "{stderr}");
    }
    redis.stop();
    for arguments in [&serve[..], &["session", "list"]] {
        let (code, _, stderr) = run(&folder, arguments, &[("REDIS_URL", &url)]);
        assert!(code == 2 && stderr.lines().count() == 1, "{stderr}");
        assert!(stderr.starts_with(&format!("symple: cannot reach Redis at {url}: ")), "{stderr}");
    }
    let mut command = symple(&folder);
    command.args(serve).args(["--redis-required=false"]).env("REDIS_URL", &url);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let server = Server::of(child, |line| line.contains("listens on"));
    assert!(server.greeting.contains(&format!("cluster on {url}")), "{}", server.greeting);
}

/// R-S1: whatever answers where Redis should be, the reason is one line and exit code 2.
#[test]
fn others_than_redis() {
    let folder = folder("redis-others");
    let page = "HTTP/1.0 400 Bad request\r\nServer: x\r\n\r\n<html>\n<p>no</p>\n</html>\n";
    for (url, expected) in [
        (fake::answering_all(page), "what answers there is no Redis"),
        (fake::saying("-DENIED Redis is running in protected mode\r\n"), "DENIED Redis is running"),
        (fake::saying("-ERR max number of clients reached\r\n"), "ERR max number of clients"),
    ] {
        let arguments = ["serve", "--host", "127.0.0.1", "--port", "0", "--redis-url", &url];
        let (code, _, stderr) = run(&folder, &arguments, &[]);
        assert!(code == 2 && stderr.lines().count() == 1, "{stderr}");
        assert!(stderr.starts_with("symple: ") && stderr.contains(expected), "{stderr}");
    }
}

/// R-S4: that Redis is away is said, and that it is back; not at each of many attempts between.
#[test]
fn what_the_log_says() {
    let Some(mut redis) = Redis::start() else { return };
    let door = fake::Door::to(&redis.url());
    let mut server = Server::start(&folder("redis-log"), &["--redis-url", &door.url]);
    let mut lines_until = |text: &str| {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(server.log.read_line(&mut line).unwrap(), 0, "{lines:?}");
            lines.push(line);
            if lines.last().is_some_and(|line| line.contains(text)) {
                return lines;
            }
        }
    };
    redis.stop();
    lines_until("Redis is away; local traffic goes on");
    let knocks = door.knocks();
    while door.knocks() < knocks + 8 {
        std::thread::yield_now();
    }
    assert!(redis.restart());
    let lines = lines_until("Redis is back");
    // Each reason is said once: closed by the door, cut by it, or by Redis.
    let away = lines.iter().filter(|line| line.contains("Redis is away")).count();
    assert!(away <= 3, "{lines:?}");
    assert!(lines.last().unwrap().contains("suppressed="), "{lines:?}");

    // A server that has become a replica is left, and that is said, too.
    let Some(other) = Redis::start() else { return };
    let _: () = redis.ask(&format!("REPLICAOF 127.0.0.1 {}", fake::port(&other.url())));
    lines_until("it is a replica, and not the master");
    door.lead(&other.url());
    lines_until("Redis is back");
}

/// R-S2, R-S3: sessions and emission from the command line, with a server that uses them.
#[test]
fn sessions_and_emission() {
    let Some(redis) = Redis::start_with(&["--requirepass", "secret"]) else { return };
    let folder = folder("redis-commands");
    let url = redis.url().replace("redis://", "redis://:secret@");
    let variables = [("SYMPLE_REDIS_URL", &*url)];
    let ask = |arguments: &[&str]| {
        let (code, stdout, stderr) = run(&folder, arguments, &variables);
        assert_eq!((code, &*stderr), (0, ""), "{arguments:?}");
        stdout
    };
    let with_input = |arguments: &[&str], input: &str| {
        let mut command = symple(&folder);
        command.args(arguments).env("SYMPLE_REDIS_URL", &url);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ask(&["session", "set", "t", r#"{"user":"alice","n":1.0}"#]), "");
    with_input(&["session", "set", "u", "--session-ttl", "60"], r#"{"user":"bob"}"#);
    assert_eq!(ask(&["session", "get", "t"]), "{\"user\":\"alice\",\"n\":1.0}\n");
    let list = ask(&["session", "list"]);
    assert!(list == "t\t-\nu\t3600\n" || list == "t\t-\nu\t3599\n", "{list}");
    ask(&["session", "touch", "u"]);
    assert_eq!(ask(&["session", "list"]), "t\t-\nu\t-\n");
    ask(&["session", "delete", "u"]);
    for (arguments, code, message) in [
        (["session", "get", "u"], 1, "there is no such session"),
        (["session", "delete", "u"], 1, "there is no such session"),
        (["session", "touch", "u"], 1, "there is no such session"),
        (["session", "set", "[]"], 2, "a session must be a JSON object"),
        (["emit", "--to", "a"], 0, ""),
        (["emit", "--frame", "{}"], 2, "cannot emit: the emission has no to field"),
    ] {
        let (seen, _, stderr) = run(&folder, &arguments, &variables);
        assert_eq!(seen, code, "{stderr}");
        assert!(stderr.contains(message), "{stderr}");
    }

    // R-A4: what a server would refuse or ignore is refused where somebody sees it.
    for (session, message) in [
        (r#"{"user":5}"#, "Session user must be a string"),
        (r#"{"user":"a|b"}"#, "Session user must not contain '|'"),
        (r#"{"user":"a","rooms":"team-a"}"#, "Session rooms must be an array of strings"),
        (r#"{"user":"a","rooms":[5]}"#, "Session rooms must be an array of strings"),
        (r#"{"user":"a","name":{}}"#, "Session name must be a string"),
        (r#"{"user":"a","x":"\ud800"}"#, "Session has half a surrogate pair"),
        (r#"{"rooms":["a"]}"#, "Session names no user: a server lets nobody in with it"),
    ] {
        let (code, stdout, stderr) = run(&folder, &["session", "set", "bad", session], &variables);
        assert_eq!((code, &*stdout), (2, ""), "{session}");
        assert!(stderr.starts_with(&format!("symple: {message}")), "{session}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{session}: {stderr}");
    }
    let nobody = r#"{"rooms":["a"],"private":{"csrf":"x"}}"#;
    ask(&["session", "set", "nobody", nobody, "--session-user", "optional"]);
    assert_eq!(ask(&["session", "get", "nobody"]), format!("{nobody}\n"));

    let mut command = symple(&folder);
    command.args(["serve", "--host", "127.0.0.1", "--port", "0", "--authentication"]);
    let child = command.env("REDIS_URL", &url).stderr(Stdio::piped()).spawn().unwrap();
    let server = Server::of(child, |line| line.contains("listens on"));
    let address = redis.url();
    assert!(
        server.greeting.contains(&format!(
            "sessions, dynamic rooms, 200 units/s per peer, cluster on {address}"
        )),
        "{}",
        server.greeting
    );
    assert!(!server.greeting.contains("secret"));
    let mut alice = server.connect();
    let auth = json!({ "type": "auth", "user": "x", "token": "t" });
    alice.send(Message::text(auth.to_string())).unwrap();
    assert_eq!(recv(&mut alice)["peer"]["user"], "alice");
    let heard = "heard by 1 server\n";
    assert_eq!(ask(&["emit", "--to", "alice", "--text", "hello", "--from", "me"]), heard);
    let hello = json!({ "type": "message", "to": "alice", "from": "me", "data": "hello" });
    assert_eq!(recv(&mut alice), hello);
    let arguments = ["emit", "--type", "event", "--name", "n", "--to", "a", "--to", "alice"];
    assert_eq!(with_input(&[&arguments[..], &["--data", "-"]].concat(), "{\"x\":1}\n"), heard);
    let event = json!({ "type": "event", "to": ["a", "alice"], "name": "n", "data": { "x": 1 } });
    assert_eq!(recv(&mut alice), event);
    let frame = r#"{"to":"alice","type":"command","x":1.0}"#;
    assert_eq!(with_input(&["emit", "--frame", "-"], frame), heard);
    assert_eq!(recv(&mut alice), serde_json::from_str::<serde_json::Value>(frame).unwrap());
}

/// R-A4, R-R1: what authentication does not protect from is said at the start; what a session has
/// that is no good is said when it is used, once a second.
#[test]
fn what_is_warned_of() {
    let Some(redis) = Redis::start() else { return };
    let folder = folder("redis-warnings");
    let start = |arguments: &[&str]| {
        let mut command = symple(&folder);
        command.args(["serve", "--host", "127.0.0.1", "--port", "0", "--authentication"]);
        command.args(arguments).env("REDIS_URL", redis.url());
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        Server::of(child, |line| line.contains("listens on"))
    };
    let mut server = start(&[]);
    assert!(
        server.next_line().contains("WARN clients may join any room, also the room of another")
    );
    redis.run::<()>(&["SET", "symple:session:t", r#"{"user":"alice","rooms":"team-a"}"#]);
    let mut alice = server.connect();
    let auth = json!({ "type": "auth", "user": "x", "token": "t" });
    alice.send(Message::text(auth.to_string())).unwrap();
    assert_eq!(recv(&mut alice)["peer"]["user"], "alice");
    let line = server.next_line();
    let problem = "Session rooms must be an array of strings (user 'alice')";
    assert!(line.contains("WARN") && line.contains(problem), "{line}");

    let mut server = start(&["--dynamic-rooms", "false", "--session-user", "optional"]);
    let warning = "WARN whoever has the token of a session without a user can be any user";
    assert!(server.next_line().contains(warning));
}

/// R-S1: TLS towards Redis; only with a certificate that is trusted.
#[test]
fn tls() {
    let folder = folder("redis-tls");
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let (cert_file, key_file) = (folder.join("redis.crt"), folder.join("redis.key"));
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, signing_key.serialize_pem()).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let [cert_file, key_file] = [&cert_file, &key_file].map(|path| path.to_str().unwrap());
    let redis = Redis::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        cert_file,
        "--tls-key-file",
        key_file,
        "--tls-ca-cert-file",
        cert_file,
        "--tls-auth-clients",
        "no",
    ]);
    let Some(redis) = redis else { return };
    let url = format!("rediss://localhost:{port}");
    let set = ["session", "set", "t", r#"{"user":"a"}"#];
    let (code, _, stderr) = run(&folder, &set, &[("REDIS_URL", &url)]);
    assert!(code == 2 && stderr.starts_with("symple: cannot reach Redis"), "{stderr}");
    let variables = [
        ("REDIS_HOST", "localhost"),
        ("REDIS_PORT", &port),
        ("SYMPLE_REDIS_PROTOCOL", "rediss"),
        ("SSL_CERT_FILE", cert_file),
    ];
    let (code, _, stderr) = run(&folder, &set, &variables);
    assert_eq!((code, &*stderr), (0, ""));
    assert_eq!(redis.ask::<String>("GET symple:session:t"), r#"{"user":"a"}"#);
    let mut command = symple(&folder);
    command.args(["serve", "--host", "127.0.0.1", "--port", "0"]);
    let child = command.envs(variables).stderr(Stdio::piped()).spawn().unwrap();
    let server = Server::of(child, |line| line.contains("listens on"));
    let mut alice = server.client("alice");
    redis.publish(r#"{"type":"message","to":"alice"}"#);
    assert_eq!(recv(&mut alice)["type"], "message");
}
