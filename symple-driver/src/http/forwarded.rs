//! The header `Forwarded` (RFC 7239).

use std::{borrow::Cow, net::IpAddr};

use super::{address::parse_address, head::is_token};

/// Whom each element of the header was forwarded for, the one next to the client first; `None` for
/// one that tells no address: it is hidden, missing, told twice or malformed.
///
/// What follows a malformed element cannot be told apart from it: it is one `None`, and the last one.
pub(super) fn addresses(value: &[u8]) -> Vec<Option<IpAddr>> {
    let mut found = Vec::new();
    let Ok(mut rest) = std::str::from_utf8(value) else { return vec![None] };
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return found;
        }
        match element(rest) {
            Some((address, after)) => {
                found.push(address);
                rest = after;
            }
            None => {
                found.push(None);
                return found;
            }
        }
    }
}

/// Reads an element, a list of pairs, and returns what follows: nothing, or a comma. `None` if it is
/// malformed.
fn element(text: &str) -> Option<(Option<IpAddr>, &str)> {
    let mut told: Option<(Cow<'_, str>, bool)> = None;
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() || rest.starts_with(',') {
            let address = match told {
                Some((value, false)) => parse_address(&value),
                Some((_, true)) | None => None,
            };
            return Some((address, rest));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted_or_token(after)?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") {
            told = Some((value, told.is_some()));
        }
        rest = after.trim_start_matches([' ', '\t']);
        if !(rest.is_empty() || rest.starts_with([',', ';'])) {
            return None;
        }
    }
}

/// Reads a token or a quoted string (RFC 9110 §5.6.4), and returns what follows.
fn quoted_or_token(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Many write addresses with ports without the quotation marks that a colon needs.
        let end = text.find([',', ';', ' ', '\t', '"']).unwrap_or(text.len());
        return (end > 0).then(|| (Cow::Borrowed(&text[..end]), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-T6: the examples of RFC 7239 §4 and §6, and what is none.
    #[test]
    fn elements() {
        for (value, expected) in [
            ("", ""),
            ("for=192.0.2.43", "192.0.2.43"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("for=192.0.2.43, for=198.51.100.17", "192.0.2.43 198.51.100.17"),
            ("for=192.0.2.43,for=\"[2001:db8::1]\"", "192.0.2.43 2001:db8::1"),
            ("for=\"_gazonk\"", "-"),
            ("for=unknown, for=192.0.2.1", "- 192.0.2.1"),
            ("for=\"192.0.2.43:47011\"", "192.0.2.43"),
            ("for=192.0.2.43:47011", "192.0.2.43"),
            ("for=\"192.0.2.43:_hidden\"", "192.0.2.43"),
            ("proto=https;by=10.0.0.1", "-"),
            (" , for=192.0.2.1 ; proto=http ,, ", "192.0.2.1"),
            ("for=\"192.0.2.\\1\"", "192.0.2.1"),
            ("proto=\"a,for=1.1.1.1\";for=192.0.2.1", "192.0.2.1"),
            ("for=\"[fe80::1%eth0]:80\"", "fe80::1"),
            ("for=1.1.1.1;for=192.0.2.1", "-"),
            ("for=1.1.1.1, for=\"192.0.2.1", "1.1.1.1 -"),
            ("for=1.1.1.1, for = 192.0.2.1", "1.1.1.1 -"),
            ("for=1.1.1.1, for=, for=192.0.2.1", "1.1.1.1 -"),
            ("192.0.2.1", "-"),
            ("for=\"\\", "-"),
            ("for=\"1.1.1.1\"x", "-"),
        ] {
            let found = addresses(value.as_bytes()).into_iter();
            let found: Vec<_> =
                found.map(|one| one.map_or("-".into(), |address| address.to_string())).collect();
            assert_eq!(found.join(" "), expected, "{value}");
        }
        assert_eq!(addresses(b"for=1.1.1.1, for=\xff"), [None]);
    }
}
