//! Text that others have written, as it may be repeated.

/// How many characters of it are repeated.
const MAX: usize = 200;

/// One line of what may be many: short, and nothing in it that a terminal or a log would not show
/// as it is.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut chars = text.trim().chars();
    for c in chars.by_ref().take(MAX) {
        match c {
            ' '..='~' => line.push(c),
            // It leaves alone what can be printed, but for marks that would join what precedes.
            _ => line.extend(c.escape_debug()),
        }
    }
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-S4: what Redis says is repeated as one line that can be read.
    #[test]
    fn lines() {
        for (text, line) in [
            ("", ""),
            (" it's \"fine\" \\ \r\n", "it's \"fine\" \\"),
            ("one\r\ntwo\tthree", "one\\r\\ntwo\\tthree"),
            ("\u{1b}[31mred\u{7}\0", "\\u{1b}[31mred\\u{7}\\0"),
            ("Zürich 東京", "Zürich 東京"),
            ("a\u{202e}b\u{2028}c\u{200b}d\u{85}e", "a\\u{202e}b\\u{2028}c\\u{200b}d\\u{85}e"),
        ] {
            assert_eq!(one_line(text), line);
        }
        assert_eq!(one_line(&"é".repeat(1_000_000)), format!("{}…", "é".repeat(MAX)));
        assert_eq!(one_line(&"x".repeat(MAX)), "x".repeat(MAX));
    }
}
