//! The public interface is that of symple-tokio: only the runtime has another name.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;

/// The adapter that the other one is compared with, and its runtime.
const OTHER: (&str, &str) = ("symple-tokio", "Tokio");
const THIS: (&str, &str) = ("symple-async-std", "AsyncStd");

/// The code of a file of an adapter, without comments, for a runtime called R.
fn code((adapter, runtime): (&str, &str), file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(adapter).join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .map(|line| line.replace(runtime, "R"))
        .collect()
}

/// The names in `use` declarations and everything else, in order: another name of the runtime
/// may be sorted and wrapped in another way.
fn words(code: &[String]) -> Vec<String> {
    let text = code.join(" ");
    let name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut words: Vec<_> =
        text.split(|c| !name(c)).filter(|word| !word.is_empty()).map(Into::into).collect();
    words.sort();
    words
}

/// What the crate exports: its root has nothing but exports.
#[test]
fn the_same_names_are_exported() {
    let this = code(THIS, "src/lib.rs");
    assert!(this.iter().any(|line| line.starts_with("pub type ServerBuilder")), "{this:?}");
    // Each compiles the examples of other pages, one has a page of its own, and there are no
    // frameworks for async-std.
    let apart = ["javascript", "feature = ", "pub mod admin", "pub mod axum", "pub mod hyper"];
    let common = |code: Vec<String>| -> Vec<String> {
        let mut is_doctest = false;
        let is_common = |line: &String| {
            is_doctest |= line == "#[cfg(doctest)]";
            let skipped = is_doctest || apart.iter().any(|apart| line.contains(apart));
            // The module of the pages ends here, with what is in it or without.
            is_doctest &= line != "}" && line != "mod readme {}";
            !skipped
        };
        code.into_iter().filter(is_common).collect()
    };
    let (this, other) = (common(this), common(code(OTHER, "src/lib.rs")));
    assert_eq!(words(&this), words(&other));
}

/// What the runtime's own types have beyond what the driver's traits ask for: nothing, and the
/// same derived traits.
#[test]
fn the_types_of_the_runtime_are_alike() {
    let items = |adapter| {
        let code = code(adapter, "src/runtime.rs");
        let mut items: Vec<_> = code
            .windows(2)
            .filter(|lines| lines[1].starts_with("pub "))
            .map(|lines| {
                let name = lines[1].trim_start_matches("pub struct ");
                let end = name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len());
                format!("{} struct {}", lines[0], &name[..end])
            })
            .collect();
        items.sort();
        items
    };
    let expected = [
        "#[derive(Clone, Debug)] struct R",
        "#[derive(Debug)] struct Listener",
        "#[derive(Debug)] struct Socket",
        "#[derive(Debug)] struct Timer",
    ];
    assert_eq!(items(THIS), expected);
    assert_eq!(items(OTHER), expected);
}
