//! The page for those who come from other servers: what it links to exists.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{fs, path::Path};

/// Every link leads to a file; where a test is named, or a flag, it is there.
#[test]
fn links_and_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = root.join("symple-tokio/docs");
    let page = fs::read_to_string(folder.join("from-other-servers.md")).unwrap();
    let settings = fs::read_to_string(root.join("symple-cli/src/settings/table.rs")).unwrap();
    let mut wrong = Vec::new();
    let mut links = 0;
    for line in page.lines() {
        for part in line.split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            let Ok(text) = fs::read_to_string(folder.join(target)) else {
                wrong.push(format!("no file: {target}"));
                continue;
            };
            links += 1;
            // The text of the link stands before it.
            let before = line.split(&format!("]({target}")).next().unwrap();
            let name = before.rsplit('[').next().unwrap().trim_matches('`');
            if target.contains("tests/suite")
                && !name.contains('.')
                && !text.contains(&format!("fn {name}()"))
            {
                wrong.push(format!("no test {name} in {target}"));
            }
        }
        for flag in line.split("`--").skip(1).map(|rest| rest.split('`').next().unwrap()) {
            if !settings.contains(&format!("\"{flag}\"")) {
                wrong.push(format!("no setting --{flag}"));
            }
        }
        if line.starts_with("| `") && line.trim_end_matches([' ', '|']).ends_with('|') {
            wrong.push(format!("an empty cell: {line}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(links > 40, "{links} links");
}
