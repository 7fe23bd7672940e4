//! The command blocks of the repository's pages.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// How the page says, above a block, that it is not run, and why.
const MARK: &str = "<!-- not run by tests: ";

/// A block of commands for a shell.
#[derive(Debug)]
pub(crate) struct Block {
    /// The page, from the root of the repository.
    pub(crate) page: String,
    pub(crate) text: String,
    /// Why it is not run, if it is not.
    pub(crate) not_run: Option<String>,
    /// The block of plain text that follows it, in which the page shows what it prints.
    pub(crate) shown: Option<String>,
}

impl Block {
    pub(crate) fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every page below a folder, but for what is built and what Git keeps.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            pages(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// The blocks of every page, in the order in which they stand there.
pub(crate) fn all_blocks() -> Vec<Block> {
    let mut found = Vec::new();
    pages(&root(), &mut found);
    found.sort();
    let blocks = found.iter().flat_map(|path| {
        let page = path.strip_prefix(root()).unwrap().to_string_lossy();
        blocks(&page, &fs::read_to_string(path).unwrap())
    });
    blocks.collect()
}

pub(crate) fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines();
    let (mut mark, mut may_show) = (None, false);
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if let Some(reason) = trimmed.strip_prefix(MARK) {
            mark = Some(reason.trim_end_matches("-->").trim().to_owned());
        } else if let Some(language) = trimmed.strip_prefix("```") {
            let indent = line.len() - trimmed.len();
            let inside: Vec<_> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            let inside: Vec<_> =
                inside.into_iter().map(|line| line.get(indent..).unwrap_or_default()).collect();
            let text = inside.join("\n");
            let is_commands = matches!(language, "sh" | "bash" | "console" | "shell");
            if is_commands {
                let (page, not_run) = (page.to_owned(), mark.take());
                blocks.push(Block { page, text, not_run, shown: None });
            } else if language == "text" && may_show {
                blocks.last_mut().unwrap().shown = Some(text);
            }
            may_show = is_commands;
        } else if !trimmed.is_empty() {
            mark = None;
            may_show = false;
        }
    }
    blocks
}

#[test]
fn blocks_are_found() {
    let page = "a\n```sh\none\n  two\n```\n\n```text\nshown\n```\n- b\n\n  ```bash\n  three\n  ```\n\
        <!-- not run by tests: it flies -->\n```sh\nfour\n```\ntext\n```text\nnot shown\n```\n\
        <!-- not run by tests: not of this one -->\ntext\n```sh\nfive\n```\n```rust\nsix\n```\n";
    let seen: Vec<_> = blocks("p", page)
        .into_iter()
        .map(|block| (block.text, block.not_run, block.shown))
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        seen,
        [
            ("one\n  two".into(), None, some("shown")),
            ("three".into(), None, None),
            ("four".into(), some("it flies"), None),
            ("five".into(), None, None),
        ]
    );
}
