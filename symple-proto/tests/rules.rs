//! Every rule of the specification has a test that names it.
//!
//! A test names its rules in its doc comment. The table in `docs/rules.md` is made from that:
//! `UPDATE_RULES=1 cargo test -p symple-proto --test rules` writes it anew.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Sections whose rules have no ids; tests name the section.
const SECTIONS: [&str; 3] = ["SPEC §7", "SPEC §11", "SPEC §12"];

/// What is not built yet, and so not tested: to be emptied.
const NOT_YET: &[&str] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The ids of the rules that the specification states, in its order.
fn stated() -> Vec<String> {
    let specification =
        fs::read_to_string(root().join("symple-proto/docs/specification.md")).unwrap();
    let mut rules: Vec<_> = specification
        .lines()
        .filter_map(|line| line.strip_prefix("- R-"))
        .filter_map(|line| line.split(' ').next())
        .map(|id| format!("R-{id}"))
        .collect();
    rules.extend(SECTIONS.map(Into::into));
    rules
}

/// The Rust files below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// The rules that a comment names; the id of a section only where its end is not more digits.
fn named<'a>(comment: &str, rules: &'a [String]) -> Vec<&'a str> {
    let names = |rule: &&String| {
        comment.match_indices(rule.as_str()).any(|(at, found)| {
            !comment[at + found.len()..].starts_with(|next: char| next.is_ascii_digit())
        })
    };
    let mut named: Vec<_> = rules.iter().filter(names).map(String::as_str).collect();
    // A list after the word, as in `SPEC §11 and §12`, names all of them.
    if comment.contains("SPEC §") {
        named.extend(
            SECTIONS.iter().filter(|section| comment.contains(section.trim_start_matches("SPEC "))),
        );
    }
    named
}

/// The tests that name each rule.
fn tested(rules: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        let (mut comment, mut is_test) = (String::new(), false);
        for line in text.lines().map(str::trim) {
            if let Some(doc) = line.strip_prefix("///") {
                comment += doc;
            } else if line == "#[test]" {
                is_test = true;
            } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test) {
                let name = rest.split('(').next().unwrap();
                for rule in named(&comment, rules) {
                    tests.entry(rule.into()).or_default().insert(format!("`{file}` `{name}`"));
                }
            }
            if !line.starts_with("///") && !line.starts_with("#[") {
                (comment, is_test) = (String::new(), false);
            }
        }
    }
    tests
}

#[test]
fn every_rule_has_a_test() {
    let rules = stated();
    assert!(rules.len() > 40, "the specification states more rules than {rules:?}");
    let tests = tested(&rules);
    let untested: Vec<_> = rules.iter().filter(|rule| !tests.contains_key(*rule)).collect();
    assert_eq!(untested, NOT_YET.iter().collect::<Vec<_>>(), "rules without a test");
}

#[test]
fn the_table_is_up_to_date() {
    let rules = stated();
    let tests = tested(&rules);
    let mut table = String::from(
        "# Rules and their tests\n\nMade from the doc comments of the tests by \
         `UPDATE_RULES=1 cargo test -p symple-proto --test rules`.\n\n| rule | tests |\n|---|---|\n",
    );
    for rule in &rules {
        let tests = tests.get(rule).into_iter().flatten().cloned().collect::<Vec<_>>();
        table += &format!("| {rule} | {} |\n", tests.join("<br>"));
    }
    let path = root().join("symple-proto/docs/rules.md");
    if std::env::var_os("UPDATE_RULES").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == table, "docs/rules.md is not what the tests say: set UPDATE_RULES=1");
}
