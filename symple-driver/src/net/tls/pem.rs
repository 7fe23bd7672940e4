//! PEM blocks, all of them: whoever reads PEM elsewhere passes over what it cannot read.

use rustls::pki_types::pem::{PemObject as _, SectionKind};

use super::FileProblem;

/// A PEM block.
#[derive(Debug)]
pub(super) struct Block {
    /// What it says that it is.
    pub(super) label: String,
    /// The line that it begins in.
    pub(super) line: usize,
    /// Its lines, without their markers.
    body: Vec<String>,
}

/// A line that begins or ends a block.
enum Marker<'a> {
    Begin(&'a str),
    End(&'a str),
    /// It looks like one, and is none.
    Broken,
}

impl<'a> Marker<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let between = |prefix| line.strip_prefix(prefix)?.strip_suffix("-----");
        let is_label = |label: &&str| {
            !label.is_empty() && label.bytes().all(|b| b == b' ' || b.is_ascii_alphanumeric())
        };
        let dash = ['-', '‐', '‑', '‒', '–', '—', '−'];
        if let Some(label) = between("-----BEGIN ").filter(is_label) {
            Some(Self::Begin(label))
        } else if let Some(label) = between("-----END ").filter(is_label) {
            Some(Self::End(label))
        } else {
            let is_broken = (line.starts_with(dash) || line.ends_with(dash))
                && (line.contains("BEGIN ") || line.contains("END "));
            is_broken.then_some(Self::Broken)
        }
    }
}

/// The blocks of a text. What stands between them is for people, and so is what begins with `#`.
pub(super) fn blocks(text: &str) -> Result<Vec<Block>, FileProblem> {
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    let problem = |line, problem| Err(FileProblem::Block { line, problem });
    for (index, text) in text.trim_start_matches('\u{feff}').split(['\n', '\r']).enumerate() {
        let (text, line) = (text.trim(), index + 1);
        if text.starts_with('#') {
            continue;
        }
        match (Marker::of(text), open.take()) {
            (None, Some(mut block)) => {
                block.body.push(text.into());
                open = Some(block);
            }
            (None, None) => {}
            (Some(Marker::Begin(label)), None) => {
                open = Some(Block { label: label.into(), line, body: Vec::new() });
            }
            (Some(Marker::End(label)), Some(block)) if label == block.label => blocks.push(block),
            (Some(Marker::Begin(_)), Some(block)) => return problem(block.line, "it has no end"),
            (Some(Marker::End(_)), Some(block)) => {
                return problem(block.line, "it ends as something else");
            }
            (Some(Marker::End(_)), None) => return problem(line, "it has no beginning"),
            (Some(Marker::Broken), _) => {
                return problem(line, "a line must be -----BEGIN …----- or -----END …-----, alone");
            }
        }
    }
    match open {
        Some(block) => problem(block.line, "it has no end"),
        None => Ok(blocks),
    }
}

impl Block {
    pub(super) fn is_certificate(&self) -> bool {
        self.label == "CERTIFICATE"
    }

    pub(super) fn is_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.label == "ENCRYPTED PRIVATE KEY"
            || self.body.iter().any(|line| line.starts_with("Proc-Type:"))
    }

    /// What is in it.
    pub(super) fn der(&self) -> Result<Vec<u8>, FileProblem> {
        // Whatever it is, it is base64.
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            self.body.join("\n")
        );
        <(SectionKind, Vec<u8>)>::from_pem_slice(pem.as_bytes())
            .map(|(_, der)| der)
            .map_err(|_| FileProblem::Block { line: self.line, problem: "it is not in base64" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, usize)>, (usize, &'static str)> {
        match blocks(text) {
            Ok(blocks) => Ok(blocks.into_iter().map(|block| (block.label, block.line)).collect()),
            Err(FileProblem::Block { line, problem }) => Err((line, problem)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn blocks_are_found() {
        let block = "-----BEGIN A B-----\nMAA=\n-----END A B-----\n";
        for text in [
            block.to_owned(),
            format!("\u{feff}{block}"),
            block.trim_end().to_owned(),
            block.replace('\n', "\r"),
            format!("{}# -----BEGIN X-----\n", block.replace('\n', "  \n\t")),
            format!("{block}Bag Attributes\n  name: BEGIN and END - or not\n"),
        ] {
            assert_eq!(read(&text), Ok(vec![("A B".into(), 1)]), "{text}");
        }
        let two = format!("Subject: x\n{block}\n{block}");
        assert_eq!(read(&two), Ok(vec![("A B".into(), 2), ("A B".into(), 6)]));
        assert_eq!(blocks(&two).unwrap()[0].der().unwrap(), [0x30, 0]);
        assert_eq!(read("nonsense"), Ok(vec![]));
    }

    /// No block is passed over because it cannot be read.
    #[test]
    fn blocks_that_are_broken() {
        let broken = "a line must be -----BEGIN …----- or -----END …-----, alone";
        for (text, expected) in [
            ("-----BEGIN A-----\nMAA=\n", (1, "it has no end")),
            ("-----BEGIN A-----\n-----BEGIN A-----\n-----END A-----", (1, "it has no end")),
            ("x\n-----END A-----", (2, "it has no beginning")),
            ("-----BEGIN A-----\n-----END B-----", (1, "it ends as something else")),
            ("----BEGIN A-----\nMAA=\n-----END A-----", (1, broken)),
            ("-----BEGIN A----\nMAA=\n-----END A-----", (1, broken)),
            ("–––––BEGIN A–––––\nMAA=\n-----END A-----", (1, broken)),
            ("-----BEGIN A-----\n-----END A----------BEGIN A-----\n-----END A-----", (2, broken)),
            ("-----BEGIN A-----MAA=-----END A-----", (1, broken)),
        ] {
            assert_eq!(read(text), Err(expected), "{text}");
        }
        let block = "-----BEGIN A-----\nMA*A=\n-----END A-----\n";
        assert!(blocks(block).unwrap()[0].der().is_err());
    }
}
