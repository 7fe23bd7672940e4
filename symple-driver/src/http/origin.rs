//! The origins that browsers may connect from (R-T5).

use std::{fmt, net::Ipv4Addr, str::FromStr};

use idna::AsciiDenyList;
use thiserror::Error;

use crate::http::authority;

/// The most bytes that the name of a host has (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

/// An origin as browsers write it: scheme, host, and port where it is not the usual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// In small letters.
    scheme: String,
    /// In small letters, without a dot at its end; an IPv6 address in brackets, in its usual form.
    host: String,
    /// None for the scheme's default.
    port: Option<u16>,
}

impl Origin {
    /// Reads an `Origin` header, or what is compared with one. `None` if the text is anything else
    /// than scheme, host and port: then it is nobody's origin.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut origin = Self::parse_as_written(text)?;
        origin.port = origin.port.filter(|port| Some(*port) != default_port(&origin.scheme));
        Some(origin)
    }

    /// The same with the port that is written, even where it is the scheme's default.
    fn parse_as_written(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        let valid = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let (host, port) = authority::split(authority).filter(|_| valid)?;
        let scheme = scheme.to_ascii_lowercase();
        let host = canonical_host(host, default_port(&scheme).is_some())?;
        let port = match port {
            None => None,
            Some(port) => Some(port.parse().ok()?),
        };
        Some(Self { scheme, host, port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The port that an origin of this scheme is written without.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// A host in the form in which hosts are compared. `None` if no origin has it.
///
/// In a scheme of the web a host whose last label is a number is an IPv4 address, and browsers
/// write all four parts of it (WHATWG URL §3.5).
fn canonical_host(host: &str, web: bool) -> Option<String> {
    if let Some(address) = authority::bracketed(host) {
        return Some(format!("[{address}]"));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        let part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !label.is_empty() && label.bytes().all(part)
    };
    if host.len() > MAX_HOST || !host.split('.').all(is_label) {
        return None;
    }
    if web && ends_in_number(host) && host.parse::<Ipv4Addr>().is_err() {
        return None;
    }
    Some(host.to_ascii_lowercase())
}

fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// An origin that is allowed, or the hosts of many (R-T5).
///
/// It is made from text: `https://example.com` is one origin, with a port where browsers write one,
/// and `*.example.com` stands for the hosts below `example.com`, with any scheme and port. Schemes
/// of applications are origins, too, such as `capacitor://localhost`. Letters count the same in
/// both cases, and a dot at the end of a host does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern(Pattern);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// This origin.
    Exact(Origin),
    /// The hosts below this one.
    Below(String),
}

/// Why a text is no [`OriginPattern`]: nobody's origin could ever match it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OriginError {
    /// It is nothing of the kind.
    #[error("an origin is written https://example.com or *.example.com")]
    Syntax,
    /// It is not as browsers write it; this would be.
    #[error("browsers send no such origin: write {0}")]
    Instead(String),
    /// `*`, which other servers take for any origin.
    #[error("any origin is allowed where none is given: leave it out")]
    Any,
    /// `null`, which pages of every author send: from files, and from sandboxes.
    #[error("null is no origin: pages of any author can send it")]
    Null,
}

impl OriginPattern {
    /// True if it allows this origin, written as in an `Origin` header.
    #[must_use]
    pub fn matches(&self, origin: &str) -> bool {
        Origin::parse(origin).is_some_and(|origin| self.allows(&origin))
    }

    pub(crate) fn allows(&self, origin: &Origin) -> bool {
        match &self.0 {
            Pattern::Exact(exact) => exact == origin,
            Pattern::Below(domain) => origin
                .host
                .strip_suffix(domain.as_str())
                .is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
        }
    }

    /// Reads what can match.
    fn parse(text: &str) -> Option<Self> {
        if let Some(domain) = text.strip_prefix("*.") {
            let domain = canonical_host(domain, true)?;
            // Nothing is below an address.
            let is_name = !domain.starts_with('[') && !ends_in_number(&domain);
            return is_name.then_some(Self(Pattern::Below(domain)));
        }
        let origin = Origin::parse_as_written(text)?;
        let usual = origin.port.is_some() && origin.port == default_port(&origin.scheme);
        (!usual).then_some(Self(Pattern::Exact(origin)))
    }

    /// What was meant by a text that cannot match.
    fn instead(text: &str) -> Option<String> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("*", rest)) => ("https", rest),
            Some(found) => found,
            None if text.starts_with("*.") => ("https", text),
            None => return None,
        };
        let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
        let authority = &rest[..end];
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        if let Some(domain) = host.strip_prefix("*.") {
            return Some(format!("*.{}", ascii_host(domain)?));
        }
        let (scheme, host) = (scheme.to_ascii_lowercase(), ascii_host(host)?);
        let port = port.filter(|port| !port.is_empty());
        let port = port.filter(|port| port.parse().ok() != default_port(&scheme));
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{scheme}://{host}{port}"))
    }
}

/// A host as browsers write it: names that are not ASCII in Punycode.
fn ascii_host(host: &str) -> Option<String> {
    if authority::bracketed(host).is_some() {
        return Some(host.into());
    }
    // What is so long is no name, whatever it would become.
    let host = (host.len() <= 4 * MAX_HOST).then_some(host)?;
    let host = idna::domain_to_ascii_cow(host.as_bytes(), AsciiDenyList::URL).ok()?;
    Some(host.into_owned())
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let refuse = || match text {
            "*" => OriginError::Any,
            text if text.eq_ignore_ascii_case("null") => OriginError::Null,
            text => Self::instead(text)
                .filter(|instead| Self::parse(instead).is_some())
                .map_or(OriginError::Syntax, OriginError::Instead),
        };
        Self::parse(text).ok_or_else(refuse)
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pattern::Exact(origin) => origin.fmt(f),
            Pattern::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-T5
    #[test]
    fn origins_are_read_and_written() {
        for text in [
            "https://example.com",
            "http://localhost:3000",
            "*.example.com",
            "https://xn--bcher-kva.example",
            "http://127.0.0.1:8080",
            "http://[::1]:3000",
            "http://a.example:443",
            "https://a_b.example",
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb",
            "moz-extension://5f1b4a0e-2f5f-4e2a-8b0e-1c7cf3a3ad5e",
            "app://1",
            "*.localhost",
        ] {
            assert_eq!(text.parse::<OriginPattern>().unwrap().to_string(), text);
        }
    }

    /// R-T5: an entry that no origin can match is refused, with what to write instead.
    #[test]
    fn entries_that_match_nothing() {
        for (text, instead) in [
            ("https://a.example:443", "https://a.example"),
            ("http://a.example:80", "http://a.example"),
            ("wss://a.example:443", "wss://a.example"),
            ("HTTPS://A.example:443", "https://a.example"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("https://bücher.example:8443/", "https://xn--bcher-kva.example:8443"),
            ("*.bücher.example", "*.xn--bcher-kva.example"),
            ("*.a.example:80", "*.a.example"),
            ("*.a.example/", "*.a.example"),
            ("https://*.a.example", "*.a.example"),
            ("*://*.a.example", "*.a.example"),
            ("*://a.example", "https://a.example"),
            ("https://a.example/", "https://a.example"),
            ("https://a.example:8080/x?y#z", "https://a.example:8080"),
            ("https://a.example?x", "https://a.example"),
            ("https://a.example#", "https://a.example"),
            ("https://user@a.example", "https://a.example"),
            ("https://user:password@a.example", "https://a.example"),
            ("https://a.example:", "https://a.example"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            let error = text.parse::<OriginPattern>().unwrap_err();
            assert_eq!(error, OriginError::Instead(instead.into()), "{text}");
            assert!(instead.parse::<OriginPattern>().is_ok(), "{instead}");
        }
        for text in [
            "",
            "example.com",
            "localhost:3000",
            "*.",
            "*.*",
            "a*b",
            "https://",
            "https://*",
            "https://a.*",
            "https:a.example",
            "https://a..example",
            "https://.",
            "://a.example",
            "1://a.example",
            "https://a.example:x",
            "https://a.example:65536",
            "http://127.1",
            "http://0x7f000001",
            "*.1.2.3",
            "*.[::1]",
            "http://[::1",
            "http://[x]",
            "file://",
            "https://a b",
            "https://a.example,https://b.example",
            "https://a%2eexample",
        ] {
            assert_eq!(text.parse::<OriginPattern>(), Err(OriginError::Syntax), "{text}");
        }
        assert_eq!("*".parse::<OriginPattern>(), Err(OriginError::Any));
        assert_eq!("null".parse::<OriginPattern>(), Err(OriginError::Null));
        let long = format!("https://{}/", "ü".repeat(100_000));
        assert_eq!(long.parse::<OriginPattern>(), Err(OriginError::Syntax));
    }

    /// R-T5: what is compared is the origin, and nothing else is one.
    #[test]
    fn origins_are_compared() {
        for (pattern, origin, expected) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "HTTPS://A.Example", true),
            ("https://A.Example", "https://a.example", true),
            ("https://a.example", "https://a.example.", true),
            ("https://a.example.", "https://a.example", true),
            ("https://a.example", "https://a.example..", false),
            ("https://a.example", "https://a.example:443", true),
            ("https://a.example", "https://a.example:80", false),
            ("http://a.example", "http://a.example:80", true),
            ("ws://a.example", "ws://a.example:80", true),
            ("wss://a.example", "wss://a.example:443", true),
            ("tauri://localhost", "tauri://localhost:80", false),
            ("https://a.example", "http://a.example", false),
            ("https://a.example:8080", "https://a.example:8080", true),
            ("https://a.example:8080", "https://a.example", false),
            ("https://a.example", "https://a.example:", false),
            ("https://a.example", "https://a.example/", false),
            ("https://a.example", "https://a.example?", false),
            ("https://a.example", "https://a.example#", false),
            ("https://a.example", "https://u@a.example", false),
            ("https://a.example", " https://a.example", false),
            ("https://a.example", "https://a.example https://a.example", false),
            ("https://a.example", "https://a.example, https://a.example", false),
            ("https://a.example", "https://a.example,", false),
            ("https://a.example", "null", false),
            ("https://a.example", "", false),
            ("http://[::1]", "http://[0:0:0:0:0:0:0:1]:80", true),
            ("*.a.example", "https://b.a.example", true),
            ("*.a.example", "https://B.A.EXAMPLE.:444", true),
            ("*.a.example", "capacitor://c.b.a.example", true),
            ("*.a.example", "https://a.example", false),
            ("*.a.example", "https://.a.example", false),
            ("*.a.example", "https://ba.example", false),
            ("*.a.example", "https://evil.test#.a.example", false),
            ("*.a.example", "https://evil.test?.a.example", false),
            ("*.a.example", "https://evil.test/.a.example", false),
            ("*.a.example", "https://evil.test\\.a.example", false),
            ("*.a.example", "https://evil.test:80.a.example", false),
            ("*.a.example", "https://evil.test@b.a.example", false),
            ("*.a.example", "https://evil.test,b.a.example", false),
            ("*.a.example", "https://evil.test https://b.a.example", false),
            ("*.a.example", "https://b.a.example.evil.test", false),
            ("*.a.example", "b.a.example", false),
        ] {
            let parsed: OriginPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(origin), expected, "{pattern} {origin}");
        }
    }
}
