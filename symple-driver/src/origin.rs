//! The origins that browsers may connect from (R-T5).

use std::{fmt, str::FromStr};

use thiserror::Error;

/// An origin that is allowed, or the hosts of many (R-T5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// This origin, as browsers write it: scheme, host, and port where it is not the usual one.
    Exact(String),
    /// The hosts below this one, written `*.example.com`, with any scheme and port.
    Below(String),
}

/// Why a text is no [`OriginPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an origin is written https://example.com or *.example.com")]
pub struct OriginError;

impl OriginPattern {
    /// True if it allows this origin.
    #[must_use]
    pub fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(origin),
            Self::Below(domain) => {
                let Some((_, authority)) = origin.split_once("://") else { return false };
                let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
                    // The colons of an IPv6 address are no ports.
                    if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority }
                });
                host.len()
                    .checked_sub(domain.len())
                    .and_then(|at| host.split_at_checked(at))
                    .is_some_and(|(sub, rest)| {
                        rest.eq_ignore_ascii_case(domain) && sub.len() > 1 && sub.ends_with('.')
                    })
            }
        }
    }
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if let Some(domain) = text.strip_prefix("*.") {
            let valid = !domain.is_empty() && !domain.contains(['/', ':', '*']);
            return if valid { Ok(Self::Below(domain.into())) } else { Err(OriginError) };
        }
        let valid = text.split_once("://").is_some_and(|(scheme, host)| {
            !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '*'])
        });
        if valid { Ok(Self::Exact(text.into())) } else { Err(OriginError) }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(origin) => f.write_str(origin),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_and_written() {
        for text in ["https://example.com", "http://localhost:3000", "*.example.com"] {
            assert_eq!(text.parse::<OriginPattern>().unwrap().to_string(), text);
        }
        for text in ["", "example.com", "*", "*.", "https://", "https://a/b", "*.a:80", "null"] {
            assert_eq!(text.parse::<OriginPattern>(), Err(OriginError), "{text}");
        }
    }
}
