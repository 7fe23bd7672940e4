//! The program that measures: it must itself be able to measure, and to end.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::print_stderr, reason = "what is not run is to be seen")]

use std::process::{Command, Stdio};

use serde_json::Value;

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_symple-cluster");
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// What cases have seen, in small; none where there is no Redis to be had.
fn measure(cases: &str) -> Option<Vec<Value>> {
    let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "there is no redis-server");
        eprintln!("NOT TESTED: there is no redis-server");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("outcomes.json");
    let (code, said) = run(&["--quick", "--only", cases, "--json", json.to_str().unwrap()]);
    assert!(matches!(code, Some(0 | 1)), "{said}");
    let outcomes: Vec<Value> = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(outcomes.len(), cases.split(',').count(), "{said}");
    Some(outcomes)
}

/// Whether a bound held; it must have been looked at.
fn held(outcome: &Value, bound: &str) -> bool {
    let checks = outcome["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["bound"].as_str().unwrap().starts_with(bound));
    check.unwrap_or_else(|| panic!("{bound} is not in {outcome}"))["held"] == true
}

/// R-C4, R-S4: a node that is restarted costs nobody a connection, and is not told everything by
/// everyone. Bounds on times have no place here.
#[test]
fn a_restart_in_small() {
    let Some(outcomes) = measure("restart") else { return };
    for bound in [
        "Redis cuts no subscriber",
        "no node loses its connection",
        "nobody who lives is taken for dead",
    ] {
        assert!(held(&outcomes[0], bound), "{bound}: {outcomes:?}");
    }
}

/// What makes no sense ends with 2, in a line; what cannot be carried through is a bound that did
/// not hold.
#[test]
fn what_cannot_be_done() {
    let (code, said) = run(&["--only", "no such case"]);
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("there is no case no such case"), "{said}");
    let (code, said) = run(&["--redis-server", "/no/such/program", "--only", "record"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/no/such/program cannot be started"), "{said}");
    let (code, said) = run(&["--list"]);
    assert_eq!((code, said.lines().count()), (Some(0), 8), "{said}");
}
