//! The dialect of `.env` files that npm's dotenv 16 reads, and so the Node server: to the letter.
//!
//! dotenv applies one regular expression again and again. It says less than it seems to: where it
//! could choose between several matches, all but one lead nowhere. This does the same by hand, in
//! a time that grows with the length of the text alone. It never fails: what makes no sense is
//! skipped, as there.
//!
//! This file needs nothing but the standard library, so that a fuzz target can include it.

/// The variables that a `.env` file sets, in order; of those that have the same name the last one
/// counts.
///
/// A line is `NAME=value` or `NAME: value`, with `export` before it or not. The name is made of
/// ASCII letters, digits, `_`, `.` and `-`. Whitespace around the value does not count. A value in
/// `'…'`, `"…"` or `` `…` `` may have several lines, and `#` in it; otherwise `#` begins a comment.
/// In `"…"`, and only there, `\n` and `\r` are line breaks. Nothing else is special: neither other
/// escapes nor `$`.
pub(crate) fn parse(text: &str) -> Vec<(String, String)> {
    // Carriage returns are line breaks, alone or before a line feed.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut variables = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let start = at + space(&text[at..]);
        at = match assignment(&text, start) {
            Some((name, value, end)) => {
                variables.push((name.to_owned(), unquote(value.trim_matches(is_space))));
                end
            }
            None => start,
        };
        // The next one begins a line.
        at = text[at..].find(is_break).map_or(text.len(), |line| at + line);
        at += text[at..].chars().next().map_or(0, char::len_utf8);
    }
    variables
}

/// What may be around a value.
const QUOTES: [char; 3] = ['\'', '"', '`'];

/// What JavaScript takes for the end of a line.
fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

/// What JavaScript takes for whitespace: a byte order mark too, but not U+0085.
fn is_space(c: char) -> bool {
    c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}')
}

/// How much whitespace a text begins with, in bytes.
fn space(text: &str) -> usize {
    text.find(|c| !is_space(c)).unwrap_or(text.len())
}

/// How long the name is that a text begins with, in bytes.
fn name(text: &str) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

/// The assignment that begins here: its name, its value as it is written, and where it ends.
fn assignment(text: &str, start: usize) -> Option<(&str, &str, usize)> {
    // `export` may be the name.
    let export = text[start..].strip_prefix("export").map_or(0, space);
    let exported = (export > 0).then_some(start + "export".len() + export);
    let (name, at) = exported.into_iter().chain([start]).find_map(|start| named(text, start))?;
    let (value, end) = value(text, at);
    Some((name, value, end))
}

/// The name that stands here, and where its value begins.
fn named(text: &str, start: usize) -> Option<(&str, usize)> {
    let end = start + name(&text[start..]);
    let name = text.get(start..end).filter(|name| !name.is_empty())?;
    // Between them there may be whitespace, also line breaks.
    let equals = end + space(&text[end..]);
    if text[equals..].starts_with('=') {
        return Some((name, equals + 1));
    }
    let first = text[end..].strip_prefix(':')?.chars().next().filter(|c| is_space(*c))?;
    Some((name, end + 1 + first.len_utf8()))
}

/// The value that begins here, as it is written, and where the assignment ends.
fn value(text: &str, at: usize) -> (&str, usize) {
    if let Some((close, end)) = quoted(text, at) {
        return (&text[at..close], end);
    }
    let end = text[at..].find(['#', '\n']).map_or(text.len(), |end| at + end);
    (&text[at..end], tail(text, end).unwrap_or(end))
}

/// A value in quotes, which may stand on a later line: where it ends, and where the assignment
/// does.
fn quoted(text: &str, at: usize) -> Option<(usize, usize)> {
    let open = at + space(&text[at..]);
    let quote = text[open..].chars().next().filter(|c| QUOTES.contains(c))?;
    let (mut escaped, mut after_backslash) = (Vec::new(), false);
    let mut close = None;
    for (index, c) in text[open + 1..].char_indices() {
        if c == quote {
            let end = open + 1 + index + 1;
            if !after_backslash {
                close = Some(end);
                break;
            }
            escaped.push(end);
        }
        after_backslash = c == '\\';
    }
    // Where nothing may follow the first quote without a backslash, one with a backslash is the
    // end: the last that can be.
    let mut candidates = close.into_iter().chain(escaped.into_iter().rev());
    candidates.find_map(|close| Some((close, tail(text, close)?)))
}

/// Where an assignment ends whose value ends here: nothing but whitespace and a comment may follow
/// on the line. Lines that are empty, and a comment on a line of its own, belong to it.
fn tail(text: &str, at: usize) -> Option<usize> {
    let rest = at + space(&text[at..]);
    if text[rest..].starts_with('#') {
        return Some(text[rest..].find(is_break).map_or(text.len(), |end| rest + end));
    }
    if rest == text.len() { Some(rest) } else { text[at..rest].rfind(is_break).map(|end| at + end) }
}

/// A value without the quotes around it. There can be several lines in it where only JavaScript
/// sees them; each may have quotes around it, or some together.
fn unquote(value: &str) -> String {
    let last = QUOTES.map(|quote| last_at_end_of_line(value, quote));
    let close = |at: usize| {
        let quote = value[at..].chars().next()?;
        let last = last[QUOTES.iter().position(|c| *c == quote)?]?;
        (last > at).then_some(last)
    };
    let mut text = String::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        if let Some(close) = close(at) {
            text.push_str(&value[at + 1..close]);
            at = close + 1;
        }
        let next = value[at..].find(is_break).map_or(value.len(), |end| at + end);
        let next = next + value[next..].chars().next().map_or(0, char::len_utf8);
        text.push_str(&value[at..next]);
        at = next;
    }
    if value.starts_with('"') { text.replace("\\n", "\n").replace("\\r", "\r") } else { text }
}

/// Where the last quote of a kind is that ends a line.
fn last_at_end_of_line(text: &str, quote: char) -> Option<usize> {
    let mut quotes = text.rmatch_indices(quote).map(|(index, _)| index);
    quotes.find(|index| text[index + 1..].chars().next().is_none_or(is_break))
}

#[cfg(test)]
#[path = "dot_env/tests.rs"]
mod tests;
