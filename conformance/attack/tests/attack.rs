//! The attacks from outside: the program that carries them out must itself be able to fail, and
//! to end.

#![allow(clippy::print_stderr, reason = "what is not run is to be seen")]
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Attacks that take a moment, and that the server of this workspace must hold off. What depends
/// on how busy the machine is has no place here: all of them are carried out in CI, one by one.
const HELD: [&str; 4] = ["garbage", "resets", "deflate-limits", "deflate-garbage"];

/// Bounds that a busy machine can break.
const OF_TIME: &str = "bystander p99";

fn attack(arguments: &[&str]) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_symple-attack");
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// The server of this workspace, where it has been built: in CI it has been.
fn server() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_symple-attack")).with_file_name("symple");
    if program.is_file() {
        return Some(program);
    }
    assert!(std::env::var_os("CI").is_none(), "{} has not been built", program.display());
    eprintln!("not run: {} has not been built", program.display());
    None
}

/// R-F5, R-L1, R-L2, R-T10: garbage, compressed or not, and resets cost nobody else anything.
#[test]
fn attacks_that_take_a_moment() {
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("outcomes.json");
    let (code, said) = attack(&[
        "--quick",
        "--server",
        server.to_str().unwrap(),
        "--only",
        &HELD.join(","),
        "--json",
        json.to_str().unwrap(),
    ]);
    assert!(matches!(code, Some(0 | 1)), "{said}");
    let outcomes: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let outcomes = outcomes.as_array().unwrap();
    assert_eq!(outcomes.len(), HELD.len(), "{said}");
    for outcome in outcomes {
        for check in outcome["checks"].as_array().unwrap() {
            let bound = check["bound"].as_str().unwrap();
            assert!(bound.starts_with(OF_TIME) || check["held"] == true, "{said}");
        }
    }
}

/// Something that is no server holds nothing off: the program says so, and ends with 1.
#[test]
fn what_is_no_server() {
    let (code, said) = attack(&["--server", "/bin/false", "--only", "garbage"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("NOT HELD  garbage"), "{said}");
    assert!(said.contains("the server does not start (exit status: 1)"), "{said}");
}

/// What makes no sense ends with 2, in a line.
#[test]
fn what_makes_no_sense() {
    for (arguments, expected) in [
        (&["--server", "/no/such/program"][..], "there is no program /no/such/program"),
        (&["--only", "no such attack"], "there are no such attacks"),
    ] {
        let (code, said) = attack(arguments);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    let (code, said) = attack(&["--list"]);
    assert_eq!(code, Some(0));
    assert!(said.lines().count() >= 30, "{said}");
}
