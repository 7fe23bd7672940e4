//! What a request asks for.

use http::uri::PathAndQuery;

use crate::http::authority;

/// The target of a request (RFC 9112 §3.2): in origin form (`/path?query`), or in absolute form
/// (`http://host/path?query`), which servers must take, too.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// Path and query, byte for byte as they were written; `/` for no path.
    pub(super) path_and_query: PathAndQuery,
    /// Host and port of the absolute form, which count instead of the header `Host`.
    pub(super) authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads a target. `None` for those that mean something to proxies or other methods only, for
    /// other schemes, user information, fragments, and characters that no target has.
    pub(super) fn parse(target: &'a str) -> Option<Self> {
        if target.contains('#') {
            return None;
        }
        if target.starts_with('/') {
            return Some(Self { path_and_query: target.parse().ok()?, authority: None });
        }
        let (scheme, rest) = target.split_once("://")?;
        if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return None;
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        authority::split(authority).filter(|(host, _)| !host.is_empty())?;
        let path_and_query = match rest {
            "" => PathAndQuery::from_static("/"),
            query if query.starts_with('?') => format!("/{query}").parse().ok()?,
            path => path.parse().ok()?,
        };
        Some(Self { path_and_query, authority: Some(authority) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-T7
    #[test]
    fn targets() {
        for (text, expected) in [
            ("/", Some(("/", None))),
            ("/ws?x=1&y", Some(("/ws?x=1&y", None))),
            ("/%77s", Some(("/%77s", None))),
            ("//h/x", Some(("//h/x", None))),
            ("/é", Some(("/é", None))),
            ("/?a=[b]|{c}", Some(("/?a=[b]|{c}", None))),
            ("http://h", Some(("/", Some("h")))),
            ("HTTP://H:80", Some(("/", Some("H:80")))),
            ("http://h/healthz", Some(("/healthz", Some("h")))),
            ("ws://h/ws?x=1", Some(("/ws?x=1", Some("h")))),
            ("wss://[::1]:8443?x=http://y/", Some(("/?x=http://y/", Some("[::1]:8443")))),
            ("https://h//", Some(("//", Some("h")))),
            ("", None),
            ("*", None),
            ("h:443", None),
            ("ws", None),
            ("?x", None),
            ("http://", None),
            ("http:///x", None),
            ("http://:80/", None),
            ("http:/x", None),
            ("http://u@h/", None),
            ("http://h:x/", None),
            ("ftp://h/", None),
            ("/#", None),
            ("/x#y", None),
            ("http://h#x", None),
            ("/<x>", None),
            ("/?<x>", None),
        ] {
            let target = Target::parse(text);
            let seen = target.as_ref().map(|t| (t.path_and_query.as_str(), t.authority));
            assert_eq!(seen, expected, "{text}");
        }
    }
}
