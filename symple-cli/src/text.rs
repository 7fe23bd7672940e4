//! Texts of others as they may be shown: one line, short, printable.

/// A text without what would end the line or do something to a terminal, and not longer than so
/// many characters.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    escape(text.trim(), max, |_| false)
}

/// As [`one_line`], but some characters are let through.
pub(crate) fn escape(text: &str, max: usize, is_allowed: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len().min(max));
    let mut left = max;
    for c in text.chars() {
        let (before, mut needs) = (shown.len(), 1);
        if is_allowed(c) || !is_unprintable(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
            needs = shown.len() - before;
        }
        if needs > left {
            shown.truncate(before);
            shown.push('…');
            break;
        }
        left -= needs;
    }
    shown
}

/// A JSON text in one line that does nothing to a terminal: the same JSON, with line breaks between its
/// parts as spaces, and escapes for what would do something within its strings.
pub(crate) fn one_line_of_json(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Raw ones stand between parts only.
            '\n' | '\r' | '\t' => line.push(' '),
            c if is_unprintable(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    line.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => line.push(c),
        }
    }
    line
}

/// True for what is no text: control characters, other line breaks, what changes the direction in
/// which a text is read, and what cannot be seen.
fn is_unprintable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
        || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_json() {
        let text = "{\"a\":\n\t\"x\u{9b}2J\u{7f}\u{202e}\u{e0041} größe\"}";
        let line = one_line_of_json(text);
        assert_eq!(line, "{\"a\":  \"x\\u009b2J\\u007f\\u202e\\udb40\\udc41 größe\"}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&line), read(text));
    }

    #[test]
    fn texts_are_one_short_line() {
        for (text, expected) in [
            ("", ""),
            ("plain, größe", "plain, größe"),
            (" a\r\nb\t\0\n", "a\\r\\nb\\t\\u{0}"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("a\u{2028}b\u{202e}c\u{9b}", "a\\u{2028}b\\u{202e}c\\u{9b}"),
            ("a\u{61c}b\u{ad}c", "a\\u{61c}b\\u{ad}c"),
        ] {
            assert_eq!(one_line(text, 300), expected);
        }
        assert_eq!(one_line(&"ä".repeat(400), 300), "ä".repeat(300) + "…");
        assert_eq!(one_line(&"ä".repeat(300), 300), "ä".repeat(300));
        // Nothing is cut in the middle of an escape, and many escapes are not many characters.
        assert_eq!(one_line("ab\0c", 4), "ab…");
        assert!(one_line(&"\0".repeat(400), 300).chars().count() <= 301);
    }
}
