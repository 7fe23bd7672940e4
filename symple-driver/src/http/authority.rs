//! Host and port, as `Host`, `Origin` and request targets write them.

use std::net::Ipv6Addr;

/// Splits `host` or `host:port` (RFC 3986 §3.2.2, §3.2.3). `None` if the text is neither: user
/// information, an address in brackets that is none, or a port that is none.
///
/// The host may be empty, and so may the port behind a colon: who cannot take that, checks it.
pub(crate) fn split(text: &str) -> Option<(&str, Option<&str>)> {
    let end = if text.starts_with('[') {
        text.find(']')? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at(end);
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port),
        None if rest.is_empty() => None,
        None => return None,
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && (port.is_empty() || port.parse::<u16>().is_ok())
    };
    (is_host(host) && port.is_none_or(is_port)).then_some((host, port))
}

/// The address in brackets, if that is what it is.
pub(crate) fn bracketed(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

fn is_host(host: &str) -> bool {
    if host.starts_with('[') {
        return bracketed(host).is_some();
    }
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, expected) in [
            ("a.example", Some(("a.example", None))),
            ("my_service:4500", Some(("my_service", Some("4500")))),
            ("a:", Some(("a", Some("")))),
            ("", Some(("", None))),
            ("[::1]:80", Some(("[::1]", Some("80")))),
            ("[::1]", Some(("[::1]", None))),
            ("::1", None),
            ("[::1", None),
            ("[::1]80", None),
            ("[x]", None),
            ("a:b", None),
            ("a:65536", None),
            ("a:+1", None),
            ("a:1:2", None),
            ("u@a", None),
            ("a b", None),
            ("a/b", None),
            ("bücher", None),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }
}
