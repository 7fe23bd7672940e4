//! The program from outside: what it says, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use futures_util::StreamExt as _;
use tempfile::{TempDir, tempdir};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_tungstenite::accept_async;

const HEADER: &str = r#"{"transcript":1,"name":"NAME","group":"g","title":"t","protocol":"symple/4","recorded_from":{"server":"s","client":"raw"},"config":{"authentication":false,"dynamicRooms":true,"sessionTTL":-1,"redis":false,"authHook":null}}"#;

/// Runs the program, and gives back its exit code and what it said.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_symple-conformance")).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn last_line(said: &str) -> &str {
    said.lines().last().unwrap_or_default()
}

fn write(folder: &Path, name: &str, lines: &[&str]) -> PathBuf {
    let path = folder.join(format!("{name}.jsonl"));
    let text = [&[&*HEADER.replace("NAME", name)], lines].concat().join("\n");
    fs::write(&path, text).unwrap();
    path
}

/// A client that authenticates as this user, and is welcome.
fn arrival(folder: &Path, user: &str) -> PathBuf {
    let lines = [
        r#"{"seq":1,"conn":"c","event":"connect"}"#,
        r#"{"seq":2,"conn":"c","event":"send","text":"{\"type\":\"auth\",\"user\":\"USER\"}"}"#,
        r#"{"seq":3,"conn":"c","event":"recv","text":"{\"type\":\"welcome\",\"protocol\":\"symple/4\",\"status\":200,\"peer\":{\"user\":\"USER\",\"id\":\"idid\",\"online\":true,\"name\":\"USER\",\"host\":\"127.0.0.1\"},\"rooms\":[\"USER\"]}"}"#,
        r#"{"seq":4,"event":"quiet","ms":20}"#,
    ]
    .map(|line| line.replace("USER", user));
    write(folder, user, &lines.each_ref().map(|line| &**line))
}

fn folder_of(users: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    for user in users {
        arrival(folder.path(), user);
    }
    folder
}

#[test]
fn everything_passes_against_the_engine() {
    let json = tempdir().unwrap();
    let json = json.path().join("results.json");
    let (code, said) = run(&["replay", "--json", json.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(last_line(&said).ends_with(" passed, 0 failed"), "{said}");
    let results: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(results["failed"], 0);
    assert!(results["results"].as_array().unwrap().len() >= 190);
}

/// File, line and what is wrong; exit code 2.
#[test]
fn a_broken_transcript() {
    let folder = tempdir().unwrap();
    let path = write(folder.path(), "broken", &[r#"{"seq":1,"event":"fly"}"#]);
    let (code, said) = run(&["replay", path.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(said.contains(&format!("{}:2: there is no event 'fly'", path.display())), "{said}");
    let (code, said) = run(&["replay", "/no/such/folder"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("/no/such/folder"), "{said}");
}

#[test]
fn what_makes_no_sense() {
    for (arguments, expected) in [
        (&["replay", "--target", "nowhere"][..], "there is no target 'nowhere'"),
        (&["replay", "--only", "no such transcript"], "there are no such transcripts"),
        (&["deviations", "D-NONE"], "there is no deviation 'D-NONE'"),
        (&["js-client", "/no/such/folder", "--target", "engine"], "the engine has no sockets"),
        (
            &["record", "--listen", "127.0.0.1:0", "--upstream", "http://x", "--out", "x"],
            "'http://x' is not of the form ws://HOST:PORT",
        ),
        (&["fly"], "fly"),
    ] {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

/// A server that does not run is one line at once, not a failure of every transcript.
#[test]
fn nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    drop(listener);
    let folder = TempDir::new().unwrap();
    let out = folder.path().to_str().unwrap();
    for arguments in [
        &["replay", "--target", &url][..],
        &["draft", "--target", &url, "--only", "auth-name", "--out", out],
        &["js-client", "/no/such/folder", "--target", &url],
        &["client", "--target", &url],
    ] {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        let expected = format!("symple-conformance: cannot connect to {url}: ");
        assert!(said.starts_with(&expected) && said.lines().count() == 1, "{said}");
    }
}

/// The first difference, with what was expected and what was seen, and exit code 1.
#[test]
fn a_difference() {
    let folder = folder_of(&["alice"]);
    let path = folder.path().join("alice.jsonl");
    let text = fs::read_to_string(&path).unwrap().replace("\\\"rooms\\\":[", "\\\"rooms\\\":[1,");
    fs::write(&path, text).unwrap();
    let (code, said) = run(&["replay", path.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("FAILED   alice  at event 3\n    expected  c receives {"), "{said}");
    assert!(said.contains("\n    seen      c receives {"), "{said}");
    assert_eq!(last_line(&said), "0 passed, 1 failed");
}

/// Differences that are not declared fail, and so do declared ones that do not occur.
#[test]
fn declarations_are_held_to() {
    let replay = |name: &str, line: &str| {
        let folder = tempdir().unwrap();
        fs::write(folder.path().join(format!("{name}.jsonl")), line).unwrap();
        let folder = folder.path().to_str().unwrap();
        run(&["replay", "--only", name, "--deviations", folder])
    };
    let (code, said) = replay("shutdown-no-peers", "");
    assert_eq!(code, Some(0), "{said}");
    let more = r#"{"after":1,"because":["D-400"],"conn":"alice","recv":"{}"}"#;
    let (code, said) = replay("shutdown-no-peers", more);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("expected  alice receives {}"), "{said}");
    let absent = r#"{"seq":4,"because":["D-400"],"absent":true}"#;
    let (code, said) = replay("auth-minimal", absent);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("expected  nothing more"), "{said}");
    let (code, said) = replay("auth-minimal", "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(r#""peer":{"type":"auth","#), "{said}");
}

/// A server that hangs: what was waited for is named.
#[test]
fn a_server_that_hangs() {
    let folder = folder_of(&["alice"]);
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    runtime.spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = accept_async(socket).await else { return };
                while let Some(Ok(_)) = socket.next().await {}
            });
        }
    });
    let path = folder.path().to_str().unwrap();
    let (code, said) = run(&["replay", "--target", &url, "--timeout", "1", path]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("at event 3\n    expected  c receives {\"type\":\"welcome\""), "{said}");
    assert!(said.contains("seen      nothing within 1 s"), "{said}");
}

/// A server that dies: that transcript fails, the others are replayed all the same.
#[test]
fn a_server_that_dies() {
    let folder = folder_of(&["alice", "mallory", "zoe"]);
    let program = Path::new(env!("CARGO_BIN_EXE_symple-conformance"));
    let mortal = program.with_file_name("examples").join("mortal");
    let target = format!("cmd:'{}'", mortal.display());
    let path = folder.path().to_str().unwrap();
    let (code, said) = run(&["replay", "--target", &target, "--timeout", "5", path]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("passed   alice") && said.contains("passed   zoe"), "{said}");
    assert!(said.contains("FAILED   mallory  at event 3"), "{said}");
    assert_eq!(last_line(&said), "2 passed, 1 failed");
}

/// All differences of a transcript are told, not the first one only.
#[test]
fn all_differences() {
    let folder = folder_of(&["alice"]);
    let path = folder.path().join("alice.jsonl");
    let text = fs::read_to_string(&path).unwrap().replace("\\\"rooms\\\":[", "\\\"rooms\\\":[1,");
    let more = [
        r#"{"seq":5,"conn":"c","event":"send","text":"{\"type\":\"join\",\"room\":\"r\"}"}"#,
        r#"{"seq":6,"conn":"c","event":"recv","text":"{\"type\":\"join:ok\",\"room\":\"s\"}"}"#,
        r#"{"seq":7,"conn":"c","event":"close","code":1000,"by":"server"}"#,
        r#"{"seq":8,"event":"quiet","ms":20}"#,
    ];
    fs::write(&path, format!("{}\n{}\n", text.trim_end(), more.join("\n"))).unwrap();
    let (code, said) = run(&["replay", path.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    for expected in ["at event 3\n", "at event 6\n", "at event 7\n"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// Rules are reasons, too; a send that is declared absent must not be possible; the end of the
/// server can be declared; ids may be given that the original server never gave.
#[test]
fn what_declarations_can_say() {
    let replay = |lines: &[&str]| {
        let folder = folder_of(&["alice"]);
        let declared = tempdir().unwrap();
        fs::write(declared.path().join("alice.jsonl"), lines.join("\n")).unwrap();
        let transcript = folder.path().join("alice.jsonl");
        let declared = declared.path().to_str().unwrap();
        run(&["replay", "--deviations", declared, transcript.to_str().unwrap()])
    };
    let (code, said) = replay(&[r#"{"seq":2,"because":["R-A1"],"absent":true}"#]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("seen      the connection of c is open"), "{said}");
    let (code, said) = replay(&[r#"{"after":3,"because":["R-F5"],"exit":1}"#]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("expected  the server ends with 1"), "{said}");
    let (code, said) = replay(&[r#"{"seq":2,"because":["R-Z99"],"absent":true}"#]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("alice.jsonl:1: there is no rule R-Z99"), "{said}");
    let welcome = r#"{"seq":3,"because":["R-A8"],"recv":"{\"type\":\"welcome\",\"protocol\":\"symple/4\",\"status\":200,\"peer\":{\"user\":\"alice\",\"id\":\"anotherid\",\"online\":true,\"name\":\"alice\",\"host\":\"127.0.0.1\"},\"rooms\":[\"alice\"]}"}"#;
    let (code, said) = replay(&[welcome]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("passed   alice  (R-A8)"), "{said}");
}

/// What is drafted is accepted: of another server's transcript, with `--only` and `--target`.
#[test]
fn drafts_are_replayed() {
    for (target, name) in [
        ("engine", "auth-pipelined"),
        ("tokio", "auth-pipelined"),
        // A peer is announced to others that was never welcome.
        ("engine", "hook-slow-pipelined"),
    ] {
        let out = tempdir().unwrap();
        let out = out.path().to_str().unwrap();
        let arguments = ["--target", target, "--only", name];
        let (code, said) = run(&[&["draft", "--out", out][..], &arguments].concat());
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(fs::read_dir(out).unwrap().count(), 1);
        let (code, said) = run(&[&["replay", "--deviations", out][..], &arguments].concat());
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("passed   {name}  (?)")), "{said}");
        assert!(said.contains("1 passed with differences that nobody has explained"), "{said}");
    }
}

/// Socket targets say what they shorten, and need not.
#[test]
fn silences() {
    let run = |more: &[&str]| {
        run(&[&["replay", "--target", "tokio", "--only", "auth-minimal"][..], more].concat())
    };
    let (_, said) = run(&[]);
    assert!(said.contains(" silences were watched for 20 ms instead"), "{said}");
    let (code, said) = run(&["--whole-silences"]);
    assert!(code == Some(0) && !said.contains("silences"), "{said}");
}

/// The README carries the table: `UPDATE_README=1 cargo test -p symple-conformance` writes it.
#[test]
fn the_table_in_the_readme() {
    let (code, table) = run(&["deviations"]);
    assert_eq!(code, Some(0));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once("<!-- deviations -->\n").unwrap();
    let (written, after) = rest.split_once("<!-- end of deviations -->").unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        let parts = [before, "<!-- deviations -->\n", &table, "<!-- end of deviations -->", after];
        fs::write(&path, parts.concat()).unwrap();
    } else {
        assert!(written == table, "the deviations in the README are old: set UPDATE_README=1");
    }
}

/// Those who come from the original server find every deviation in the README of the project.
#[test]
fn deviations_are_documented() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    for deviation in symple_conformance::deviation::DEVIATIONS {
        assert!(readme.contains(&format!("| {} |", deviation.id)), "{}", deviation.id);
    }
}

/// Hooks about joins and frames: our server has them, on a runtime or bare; a command and the Node
/// server have not.
#[test]
fn hooks_of_our_own() {
    let (code, said) = run(&["replay", "--target", "engine", "--only", "frame-hook-"]);
    assert_eq!((code, last_line(&said)), (Some(0), "3 passed, 0 failed"), "{said}");
    let (_, said) = run(&["replay", "--target", "cmd:false PORT", "--only", "join-hook-"]);
    assert!(said.contains("skipped  join-hook-denied: needs a hook"), "{said}");
    let folder = tempdir().unwrap();
    let path = arrival(folder.path(), "alice");
    let hooked = fs::read_to_string(&path).unwrap().replacen(
        r#""authHook":null"#,
        r#""authHook":null,"frameHook":{"*":{"decision":"maybe"}}"#,
        1,
    );
    fs::write(&path, hooked).unwrap();
    let (code, said) = run(&["replay", "--target", "engine", path.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("unknown variant `maybe`"), "{said}");
}
