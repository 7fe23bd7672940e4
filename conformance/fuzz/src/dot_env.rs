//! `.env` files (SPEC §11), against the regular expression that npm's dotenv 16 applies.

use std::sync::LazyLock;

use regex::Regex;

#[path = "../../../symple-cli/src/settings/dot_env.rs"]
mod parser;

/// What JavaScript takes for whitespace, for a class of characters.
const SPACE: &str = r"\t\n\x0b\x0c\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";

/// dotenv's `LINE`. Both expressions take the first of several ways to match that there are.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    let line = r#"(?m)^S*(?:exportS+)?([A-Za-z0-9_.-]+)(?:S*=S*?|:S+?)(S*'(?:\\'|[^'])*'|S*"(?:\\"|[^"])*"|S*`(?:\\`|[^`])*`|[^#\r\n]+)?S*(?:#[^\n]*)?$"#;
    compile(&line.replace('S', &format!("[{SPACE}]")))
});

/// What takes the quotes off a value in dotenv, with three groups in the place of a back reference.
static QUOTES: LazyLock<Regex> =
    LazyLock::new(|| compile(r#"(?ms)^(?:'(?<a>.*)'|"(?<b>.*)"|`(?<c>.*)`)$"#));

fn compile(pattern: &str) -> Regex {
    match Regex::new(pattern) {
        Ok(regex) => regex,
        Err(error) => panic!("{error}"),
    }
}

/// Reads the data as a `.env` file.
///
/// # Panics
/// If the variables are others than those that dotenv finds, if a name is none, or if the kind of
/// line breaks, what stands behind the text, or a round through quotes makes a difference.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let variables = parser::parse(&text);
    for (name, _) in &variables {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        assert!(!name.is_empty() && name.chars().all(is_part), "{name:?} is no name");
    }
    let length: usize = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(length <= text.len(), "{length} bytes of {}", text.len());

    let unix = text.replace("\r\n", "\n").replace('\r', "\n");
    for breaks in ["\n", "\r\n", "\r"] {
        assert_eq!(parser::parse(&unix.replace('\n', breaks)), variables, "{breaks:?}");
    }
    // There are line breaks that only JavaScript sees, and the expressions above do not.
    if !text.contains(['\u{2028}', '\u{2029}']) {
        assert_eq!(variables, dotenv(&unix));
    }
    written_again(&variables);
}

/// What dotenv 16 does, for texts whose lines all end with a line feed.
fn dotenv(text: &str) -> Vec<(String, String)> {
    let is_space = |c: char| c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}');
    let found = LINE.captures_iter(text).map(|found| {
        let value = found.get(2).map_or("", |value| value.as_str()).trim_matches(is_space);
        let mut unquoted = QUOTES.replace_all(value, "$a$b$c").into_owned();
        if value.starts_with('"') {
            unquoted = unquoted.replace("\\n", "\n").replace("\\r", "\r");
        }
        (found[1].to_owned(), unquoted)
    });
    found.collect()
}

/// Variables that are written as they are to be read.
fn written_again(variables: &[(String, String)]) {
    let mut text = String::new();
    let mut expected = Vec::new();
    for (name, value) in variables {
        if value.contains(['\'', '\r', '\\', '\u{2028}', '\u{2029}']) {
            continue;
        }
        text.push_str(&format!("export {name} = '{value}' # '\n"));
        expected.push((name.clone(), value.clone()));
    }
    assert_eq!(parser::parse(&text), expected, "{text}");
}
