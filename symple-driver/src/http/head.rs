//! The headers that matter.

use std::collections::BTreeSet;

use crate::http::authority;

/// The subprotocols that are answered, the first that the client offers (R-T4).
const SUBPROTOCOLS: [&str; 2] = ["symple.v4", "symple"];

/// A header that a request has once, if it has it at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// It has none.
    #[default]
    Absent,
    /// Its value.
    Once(&'a [u8]),
    /// It has more than one: which one counts, others on the way may see in another way.
    Repeated,
}

impl<'a> Field<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = if *self == Field::Absent { Field::Once(value) } else { Field::Repeated };
    }

    /// The value of a header that is there once, as text.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Once(value) => std::str::from_utf8(value).ok(),
            Self::Absent | Self::Repeated => None,
        }
    }
}

/// The headers that matter, as they were found.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub(super) upgrade: bool,
    pub(super) connection_upgrade: bool,
    pub(super) connection_close: bool,
    pub(super) host: Field<'a>,
    pub(super) version: Field<'a>,
    pub(super) key: Field<'a>,
    pub(super) origin: Field<'a>,
    pub(super) real_ip: Field<'a>,
    content_length: Field<'a>,
    transfer_encoding: bool,
    protocols: Vec<&'a [u8]>,
    pub(super) extensions: Vec<&'a [u8]>,
}

/// The elements of a header that is a list; empty ones do not count (RFC 9110 §5.6.1.2). What is
/// no text is an element that means nothing.
pub(super) fn elements(value: &[u8]) -> impl DoubleEndedIterator<Item = &str> {
    value
        .split(|byte| *byte == b',')
        .map(|part| std::str::from_utf8(part).unwrap_or("\u{fffd}").trim_matches([' ', '\t']))
        .filter(|element| !element.is_empty())
}

/// Picks out the headers that matter.
pub(super) fn find<'a>(headers: &[httparse::Header<'a>]) -> Found<'a> {
    let mut found = Found::default();
    for header in headers {
        let (name, value) = (header.name, header.value.trim_ascii());
        let has = |wanted| elements(value).any(|element| element.eq_ignore_ascii_case(wanted));
        // The length tells most of them apart.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => found.host.add(value),
            6 if name.eq_ignore_ascii_case("origin") => found.origin.add(value),
            7 if name.eq_ignore_ascii_case("upgrade") => found.upgrade |= has("websocket"),
            9 if name.eq_ignore_ascii_case("x-real-ip") => found.real_ip.add(value),
            10 if name.eq_ignore_ascii_case("connection") => {
                found.connection_upgrade |= has("upgrade");
                found.connection_close |= has("close");
            }
            14 if name.eq_ignore_ascii_case("content-length") => found.content_length.add(value),
            17 if name.eq_ignore_ascii_case("sec-websocket-key") => found.key.add(value),
            17 if name.eq_ignore_ascii_case("transfer-encoding") => found.transfer_encoding = true,
            21 if name.eq_ignore_ascii_case("sec-websocket-version") => found.version.add(value),
            22 if name.eq_ignore_ascii_case("sec-websocket-protocol") => {
                found.protocols.push(value);
            }
            24 if name.eq_ignore_ascii_case("sec-websocket-extensions") => {
                found.extensions.push(value);
            }
            _ => {}
        }
    }
    found
}

impl Found<'_> {
    /// There is one valid `Host`; before HTTP/1.1 there may be none (RFC 9112 §3.2).
    pub(super) fn has_valid_host(&self, minor_version: u8) -> bool {
        match self.host {
            Field::Absent => minor_version == 0,
            host => host.text().and_then(authority::split).is_some(),
        }
    }

    /// True if a body follows, `None` if it cannot be told where it ends (RFC 9112 §6.3).
    pub(super) fn body(&self, minor_version: u8) -> Option<bool> {
        match self.content_length {
            // Who does not know chunks would not see where they end.
            Field::Absent if self.transfer_encoding => (minor_version > 0).then_some(true),
            Field::Absent => Some(false),
            Field::Once(digits) if !self.transfer_encoding && !digits.is_empty() => digits
                .iter()
                .all(u8::is_ascii_digit)
                .then(|| digits.iter().any(|digit| *digit != b'0')),
            Field::Once(_) | Field::Repeated => None,
        }
    }

    /// The key, if it is one: 16 bytes in base64 (RFC 6455 §4.1). As with the Node server nobody
    /// minds the four bits that the last letter has too many.
    pub(super) fn websocket_key(&self) -> Option<&[u8]> {
        let Field::Once(key) = self.key else { return None };
        let letters = key.strip_suffix(b"==")?;
        let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
        (letters.len() == 22 && letters.iter().all(base64)).then_some(key)
    }

    /// The subprotocol to answer with, if one is known. `None` if what is offered is no list of
    /// different tokens (RFC 6455 §4.1).
    pub(super) fn subprotocol(&self) -> Option<Option<&'static str>> {
        let mut offered = BTreeSet::new();
        let mut answer = None;
        for name in self.protocols.iter().flat_map(|value| elements(value)) {
            if !name.bytes().all(is_token) || !offered.insert(name) {
                return None;
            }
            answer = answer.or_else(|| SUBPROTOCOLS.into_iter().find(|known| *known == name));
        }
        (!offered.is_empty() || self.protocols.is_empty()).then_some(answer)
    }
}

/// A character of a token (RFC 9110 §5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
