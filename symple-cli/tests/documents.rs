//! The pages of the repository name files and items that exist.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    fs,
    path::{Path, PathBuf},
};

#[path = "support/sources.rs"]
mod support;

use support::sources_below;

/// The pages, from the root of the repository.
const PAGES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "conformance/README.md",
    "conformance/attack/README.md",
    "conformance/cluster/README.md",
    "conformance/fuzz/README.md",
    "symple-async-std/README.md",
    "symple-engine/README.md",
    "symple-proto/README.md",
    "symple-tokio/README.md",
    "symple-tokio/docs/admin.md",
    "symple-tokio/docs/console.md",
    "symple-tokio/docs/from-other-servers.md",
    "symple-tokio/docs/javascript-client.md",
    "symple-tokio/docs/metrics.md",
    "symple-cli/docs/authentication.md",
    "symple-cli/docs/backends/node.md",
    "symple-cli/docs/backends/python.md",
    "symple-cli/docs/backends/rails.md",
    "symple-cli/docs/cluster.md",
    "symple-cli/docs/logs.md",
    "symple-cli/docs/performance.md",
    "symple-cli/docs/security.md",
    "symple-cli/docs/webhooks.md",
];
/// Where a path begins that a page gives from the root.
const FOLDERS: &[&str] = &[
    ".ci",
    "conformance",
    "symple-async-std",
    "symple-cli",
    "symple-driver",
    "symple-engine",
    "symple-proto",
    "symple-tokio",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// What stands in single backquotes outside blocks of code, as far as it is a path from the root.
fn paths(page: &str) -> impl Iterator<Item = &str> {
    let prose = page.split("```").step_by(2);
    let spans = prose.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    spans.filter(|span| {
        let folder = span.split_once('/').map(|(folder, _)| folder);
        folder.is_some_and(|folder| FOLDERS.contains(&folder)) && !span.contains([' ', '*'])
    })
}

/// The targets of links to files of the repository.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    targets.filter_map(|target| target.split('#').next())
}

/// True if the text declares the item: a function, a type, a field, a constant or a module.
fn declares(text: &str, item: &str) -> bool {
    text.match_indices(item).any(|(at, _)| {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let (before, after) = (&text[..at], &text[at + item.len()..]);
        let keyword = before.trim_end().rsplit(|c| !is_name(c)).next().unwrap_or_default();
        let is_declared = match keyword {
            "fn" | "struct" | "enum" | "trait" | "const" | "static" | "type" | "mod" => true,
            "pub" => after.starts_with(':'),
            _ => false,
        };
        is_declared && before.ends_with(' ') && !after.starts_with(is_name)
    })
}

/// What stands in single backquotes outside blocks of code, as far as it is a type of the project or
/// something of one: `Core`, `Input::Text`.
fn types(page: &str) -> impl Iterator<Item = &str> {
    let prose = page.split("```").step_by(2);
    let spans = prose.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    spans.filter(|span| {
        let name = span.split("::").next().unwrap_or_default();
        let is_camel = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.contains(|c: char| c.is_ascii_lowercase());
        is_camel && span.chars().all(|c| c.is_alphanumeric() || c == ':')
    })
}

/// Every source file of the crates.
fn sources() -> Vec<String> {
    let folders = FOLDERS.iter().map(|folder| root().join(folder).join("src"));
    folders.filter(|folder| folder.exists()).flat_map(|folder| sources_below(&folder)).collect()
}

/// True if one of the texts declares the type, and in it, if the name has two parts, the second.
fn declares_type(texts: &[String], name: &str) -> bool {
    let (name, part) =
        name.split_once("::").map_or((name, None), |(name, part)| (name, Some(part)));
    texts.iter().any(|text| {
        if !declares(text, name) {
            return false;
        }
        let Some(part) = part else { return true };
        let head = format!("enum {name}");
        let mut bodies = text.split(&head).skip(1).filter_map(|rest| rest.split("\n}").next());
        bodies.any(|body| {
            body.lines().any(|line| {
                let rest = line.trim_start().strip_prefix(part);
                rest.is_some_and(|rest| rest.starts_with([',', '(', ' ']))
            })
        })
    })
}

/// What of a page is not there.
fn missing(folder: &Path, page: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for path in paths(page) {
        let (file, item) = path.split_once("::").map_or((path, None), |(f, i)| (f, Some(i)));
        if !root().join(file).exists() {
            missing.push(path.to_owned());
        } else if let Some(item) = item
            && !fs::read_to_string(root().join(file)).is_ok_and(|text| declares(&text, item))
        {
            missing.push(path.to_owned());
        }
    }
    let links = links(page).filter(|link| !folder.join(link).exists());
    missing.extend(links.map(str::to_owned));
    missing
}

#[test]
fn pages_name_what_is_there() {
    for name in PAGES {
        let path = root().join(name);
        let page = fs::read_to_string(&path).unwrap();
        let missing = missing(path.parent().unwrap(), &page);
        assert!(missing.is_empty(), "{name} names what is not there: {missing:#?}");
    }
}

/// The code on the pages for backends is that of the programs beside them, which are run: but for what is said not
/// to be.
#[test]
fn pages_for_backends_have_the_code_that_is_run() {
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    let folder = root().join("symple-cli/docs/backends");
    for (page, language, end) in
        [("node", "js", "mjs"), ("python", "python", "py"), ("rails", "ruby", "rb")]
    {
        let page = fs::read_to_string(folder.join(format!("{page}.md"))).unwrap();
        let programs = ["backend", "receiver"]
            .map(|name| lines(&fs::read_to_string(folder.join(format!("{name}.{end}"))).unwrap()));
        let begin = format!("```{language}\n");
        let mut found = 0;
        for (at, _) in page.match_indices(&begin) {
            if page[..at].trim_end().ends_with("-->") {
                continue;
            }
            let block = lines(page[at + begin.len()..].split("```").next().unwrap());
            let is_part = |program: &Vec<String>| program.windows(block.len()).any(|w| w == block);
            assert!(programs.iter().any(is_part), "{block:#?}");
            found += 1;
        }
        assert_eq!(found, 4, "{language}");
    }
}

/// The pages for contributors also name types by themselves.
#[test]
fn pages_for_contributors_name_types_that_are_there() {
    let sources = sources();
    for name in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let page = fs::read_to_string(root().join(name)).unwrap();
        let gone: Vec<_> = types(&page).filter(|name| !declares_type(&sources, name)).collect();
        assert!(gone.is_empty(), "{name} names what is not there: {gone:#?}");
    }
    let page = "`Input::Text` `Input::Gone` `Core` `Gone` `CI` `NOT RUN` `Cargo.toml`";
    let gone: Vec<_> = types(page).filter(|name| *name != "Cargo.toml").collect();
    assert_eq!(gone, ["Input::Text", "Input::Gone", "Core", "Gone"]);
    let gone = gone.into_iter().filter(|name| !declares_type(&sources, name));
    assert_eq!(gone.collect::<Vec<_>>(), ["Input::Gone"]);
}

/// The pages for contributors name enough that the tests above have something to find.
#[test]
fn pages_for_contributors_name_files_and_items() {
    for (name, least) in [("ARCHITECTURE.md", 60), ("CONTRIBUTING.md", 20)] {
        let page = fs::read_to_string(root().join(name)).unwrap();
        assert!(paths(&page).count() >= least, "{name}");
    }
}

#[test]
fn what_is_gone_is_noticed() {
    let page = "`symple-cli/src/main.rs` `symple-cli/src/gone.rs` \
        `symple-cli/src/main.rs::Failure` `symple-cli/src/main.rs::gone` `symple-cli/src/main.rs::Fail` \
        [a](README.md) [b](gone.md#there) [c](https://example.com) [d](#here)\n\
        ```\n`symple-cli/in/code`\n```\n";
    let gone = [
        "symple-cli/src/gone.rs",
        "symple-cli/src/main.rs::gone",
        "symple-cli/src/main.rs::Fail",
        "gone.md",
    ];
    assert_eq!(missing(&root(), page), gone);
}
