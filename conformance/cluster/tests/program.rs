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

/// R-C2, R-C6, R-S4, R-T2: what one client or one slow link does costs nobody else anything, and who comes in sees who
/// is there. Here, too, only what can be counted.
#[test]
fn the_other_cases_in_small() {
    let cases = [
        "greedy",
        "record",
        "ready",
        "slow-teller",
        "slow-newcomer",
        "restart-peers",
        "churn",
        "storm",
    ];
    let Some(outcomes) = measure(&cases.join(",")) else { return };
    let links = ["Redis cuts no subscriber", "no node loses its connection"];
    let alive = "nobody who lives is taken for dead";
    for outcome in &outcomes {
        let bounds = match outcome["name"].as_str().unwrap() {
            "greedy" => vec![links[0], links[1], "all who log in meanwhile", "others lose nothing"],
            "record" => vec![
                "Redis reads at most 0.1 MB a second",
                "the member gets each",
                "Redis reads at most 1.1 times",
            ],
            "ready" => vec!["who comes in sees who is there", "what it says arrives"],
            "churn" => vec![links[0], links[1]],
            "storm" => vec![
                "each is told of each that is gone",
                "nobody is told twice, or anything else",
                "no client loses its connection",
            ],
            "slow-teller" | "slow-newcomer" => vec![links[0], links[1], alive],
            "restart-peers" => {
                vec![links[0], links[1], alive, "Redis writes at most 1.5 times what there is"]
            }
            other => panic!("{other} was not asked for"),
        };
        for bound in bounds {
            assert!(held(outcome, bound), "{bound}: {outcome}");
        }
    }
    assert_eq!(outcomes.len(), cases.len());
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
    assert_eq!((code, said.lines().count()), (Some(0), 12), "{said}");
}
