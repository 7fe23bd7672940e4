//! The negotiation of permessage-deflate (RFC 6455 §9.1, RFC 7692 §5 and §7.1).

use std::fmt::Write as _;

use thiserror::Error;

use super::head::is_token;

/// How many extensions are looked at. Those behind them are as if they were not known.
const MAX_OFFERS: usize = 16;
const NAME: &str = "permessage-deflate";
/// The parameters that it may have (RFC 7692 §7.1).
const PARAMETERS: [&str; 4] = [
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits",
    "client_max_window_bits",
];

/// What the server and a client have agreed on about compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deflate {
    /// The base-2 logarithm of the server's window.
    window_bits: u8,
    /// The client has asked for a window of at most some size, and is told the one that there is.
    is_asked: bool,
}

impl Deflate {
    /// The extension as it is answered. Both sides forget each message, whether or not the client
    /// has asked for that (RFC 7692 §7.1.1).
    pub(super) fn push_header(self, out: &mut String) {
        let _ = write!(
            out,
            "Sec-WebSocket-Extensions: {NAME}; server_no_context_takeover; \
             client_no_context_takeover"
        );
        // To an offer that names it the answer has it, too (RFC 7692 §7.1.2.1).
        if self.window_bits < 15 || self.is_asked {
            let _ = write!(out, "; server_max_window_bits={}", self.window_bits);
        }
        out.push_str("\r\n");
    }
}

/// The header is none: the handshake fails (RFC 6455 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The first offer that a server can accept whose window has so many bits. The values are those of
/// the header, which may be there several times.
pub(super) fn negotiate(values: &[&[u8]], window_bits: u8) -> Result<Option<Deflate>, Malformed> {
    let (mut found, mut seen, mut any) = (None, 0, false);
    for value in values {
        let mut parser = Parser { rest: std::str::from_utf8(value).map_err(|_| Malformed)? };
        loop {
            parser.skip_space();
            if parser.rest.is_empty() {
                break;
            }
            // Empty elements of a list do not count (RFC 9110 §5.6.1.2).
            if parser.take(',') {
                continue;
            }
            let offer = parser.offer(window_bits)?;
            any = true;
            seen += 1;
            if found.is_none() && seen <= MAX_OFFERS {
                found = offer;
            }
            if !parser.rest.is_empty() && !parser.take(',') {
                return Err(Malformed);
            }
        }
    }
    if any || values.is_empty() { Ok(found) } else { Err(Malformed) }
}

/// What a client offers: neither side refers to a message before, so that it needs no memory for
/// that (RFC 7692 §7.1.1).
pub(crate) const OFFER: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// True if a server has accepted [`OFFER`]; false if it wants no extension. The values are those of
/// the header in its answer.
///
/// A client has to fail the connection if the server says what it was not offered, or what makes no
/// sense (RFC 6455 §4.1, RFC 7692 §7.1).
pub(super) fn accepted(values: &[&[u8]], offered: bool) -> Result<bool, BadAnswer> {
    if values.is_empty() {
        return Ok(false);
    }
    if !offered {
        return Err(BadAnswer::NotOffered);
    }
    let [value] = values else { return Err(BadAnswer::Extensions) };
    let value = std::str::from_utf8(value).map_err(|_| BadAnswer::Extensions)?;
    let mut parser = Parser { rest: value };
    let parameters = parser.answer().map_err(|Malformed| BadAnswer::Extensions)?;
    let Some(seen) = parameters else { return Err(BadAnswer::Extensions) };
    // Without it the server's messages may refer to those before.
    if seen[0] { Ok(true) } else { Err(BadAnswer::ContextTakeover) }
}

/// Why a client cannot take what a server says of extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum BadAnswer {
    #[error("an extension that was not offered")]
    NotOffered,
    #[error("an answer to permessage-deflate that cannot be accepted")]
    Extensions,
    #[error("permessage-deflate without server_no_context_takeover")]
    ContextTakeover,
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn token(&mut self) -> Result<&'a str, Malformed> {
        self.skip_space();
        let end = self.rest.bytes().position(|byte| !is_token(byte)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(Malformed);
        }
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(token)
    }

    /// The value of a parameter. In quotes it is a token all the same (RFC 6455 §9.1).
    fn value(&mut self) -> Result<String, Malformed> {
        if !self.take('"') {
            return self.token().map(str::to_owned);
        }
        let mut value = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, char)) = chars.next() {
            let char = match char {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    let valid = !value.is_empty() && value.bytes().all(is_token);
                    return if valid { Ok(value) } else { Err(Malformed) };
                }
                '\\' => chars.next().ok_or(Malformed)?.1,
                char => char,
            };
            value.push(char);
        }
        Err(Malformed)
    }

    /// Reads an offer. What is agreed on if it is one of permessage-deflate that can be accepted: a
    /// parameter that is unknown, repeated, or has a value that it may not have, makes it one that
    /// must not be (RFC 7692 §7.1).
    fn offer(&mut self, window_bits: u8) -> Result<Option<Deflate>, Malformed> {
        let seen = self.parameters(|name, value| {
            match name {
                "server_max_window_bits" => {
                    value.and_then(bits).is_some_and(|most| most >= window_bits)
                }
                "client_max_window_bits" => value.is_none_or(|value| bits(value).is_some()),
                // The others have no value.
                _ => value.is_none(),
            }
        })?;
        Ok(seen.map(|seen| Deflate { window_bits, is_asked: seen[2] }))
    }

    /// Reads the answer to [`OFFER`], which is all that there is, and says which parameters it has. A
    /// server may say how large its window is without having been asked, but only who offers
    /// `client_max_window_bits` may be told one (RFC 7692 §7.1.2).
    fn answer(&mut self) -> Result<Option<[bool; 4]>, Malformed> {
        let seen = self.parameters(|name, value| match name {
            "server_max_window_bits" => value.and_then(bits).is_some(),
            "client_max_window_bits" => false,
            _ => value.is_none(),
        })?;
        if self.rest.is_empty() { Ok(seen) } else { Err(Malformed) }
    }

    /// Reads an extension. Which of [`PARAMETERS`] it has, if it is permessage-deflate and has no
    /// others, and none twice or with a value that is not valid.
    fn parameters(
        &mut self,
        is_valid: impl Fn(&str, Option<&str>) -> bool,
    ) -> Result<Option<[bool; 4]>, Malformed> {
        let mut acceptable = self.token()?.eq_ignore_ascii_case(NAME);
        let mut seen = [false; 4];
        while self.take(';') {
            let name = self.token()?;
            let value = if self.take('=') { Some(self.value()?) } else { None };
            match PARAMETERS.iter().position(|known| *known == name) {
                Some(at) => {
                    let repeated = std::mem::replace(&mut seen[at], true);
                    acceptable &= !repeated && is_valid(name, value.as_deref());
                }
                None => acceptable = false,
            }
        }
        self.skip_space();
        Ok(acceptable.then_some(seen))
    }
}

/// The size of a window: 8 to 15, without leading zeros (RFC 7692 §7.1.2).
fn bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(values: &[&str], window_bits: u8) -> Result<bool, Malformed> {
        let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
        negotiate(&values, window_bits).map(|found| found.is_some())
    }

    /// RFC 7692 §7.1: the first offer is accepted that can be.
    #[test]
    fn offers() {
        for (value, accepted) in [
            ("permessage-deflate", true),
            ("Permessage-Deflate", true),
            ("permessage-deflate; client_max_window_bits", true),
            ("permessage-deflate;client_max_window_bits=8", true),
            ("permessage-deflate; client_max_window_bits=\"1\\0\"", true),
            ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", true),
            ("permessage-deflate; server_max_window_bits=15", true),
            ("permessage-deflate; server_max_window_bits=12", true),
            ("permessage-deflate; server_max_window_bits=11", false),
            ("permessage-deflate; server_max_window_bits=11, permessage-deflate", true),
            ("x-other; a=b; c=\"d\", ,permessage-deflate", true),
            ("x-other", false),
            // What must be declined.
            ("permessage-deflate; server_max_window_bits", false),
            ("permessage-deflate; server_max_window_bits=16", false),
            ("permessage-deflate; server_max_window_bits=015", false),
            ("permessage-deflate; client_max_window_bits=7", false),
            ("permessage-deflate; client_max_window_bits=+9", false),
            ("permessage-deflate; server_no_context_takeover=1", false),
            ("permessage-deflate; client_no_context_takeover=true", false),
            ("permessage-deflate; client_max_window_bits; client_max_window_bits", false),
            ("permessage-deflate; unknown", false),
            ("permessage-deflate; unknown=1", false),
        ] {
            assert_eq!(ask(&[value], 12), Ok(accepted), "{value}");
        }
        assert_eq!(ask(&[], 15), Ok(false));
        assert_eq!(ask(&["x", "permessage-deflate"], 15), Ok(true));
        let many = "x, ".repeat(MAX_OFFERS) + "permessage-deflate";
        assert_eq!(ask(&[&many], 15), Ok(false));
    }

    /// RFC 6455 §9.1: what is no list of extensions fails the handshake.
    #[test]
    fn what_is_no_header() {
        for value in [
            "",
            ",",
            ";",
            "a b",
            "a;",
            "a; =1",
            "a; b=",
            "a; b=\"",
            "a; b=\"\"",
            "a; b=\"c d\"",
            "a; b=\"c\\",
            "a; b c",
            "permessage-deflate; ä",
            "permessage-deflate, \"x\"",
        ] {
            assert_eq!(ask(&[value], 15), Err(Malformed), "{value}");
        }
        assert_eq!(negotiate(&[b"\xff"], 15), Err(Malformed));
    }

    /// RFC 7692 §7.1, RFC 6455 §4.1: a client takes what it has offered, and nothing else.
    #[test]
    fn what_a_client_accepts() {
        let ask = |values: &[&str], offered| {
            let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
            accepted(&values, offered)
        };
        assert_eq!(ask(&[], true), Ok(false));
        assert_eq!(ask(&[], false), Ok(false));
        for value in [
            OFFER,
            "permessage-deflate; server_no_context_takeover",
            "Permessage-Deflate;server_no_context_takeover ;server_max_window_bits=\"8\"",
        ] {
            assert_eq!(ask(&[value], true), Ok(true), "{value}");
            assert_eq!(ask(&[value], false), Err(BadAnswer::NotOffered), "{value}");
        }
        for value in [
            "permessage-deflate",
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=15",
        ] {
            assert_eq!(ask(&[value], true), Err(BadAnswer::ContextTakeover), "{value}");
        }
        for parameter in [
            "unknown",
            "client_max_window_bits=15",
            "client_max_window_bits",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_no_context_takeover",
            "client_no_context_takeover=1",
        ] {
            let value = format!("permessage-deflate; server_no_context_takeover; {parameter}");
            assert_eq!(ask(&[&value], true), Err(BadAnswer::Extensions), "{value}");
        }
        let twice = [OFFER, OFFER].join(", ");
        for value in ["", ",", "x-other", "x-other; server_no_context_takeover", &twice, "a b"] {
            assert_eq!(ask(&[value], true), Err(BadAnswer::Extensions), "{value}");
        }
        assert_eq!(ask(&[OFFER, OFFER], true), Err(BadAnswer::Extensions));
        assert_eq!(accepted(&[b"\xff"], true), Err(BadAnswer::Extensions));
    }

    #[test]
    fn answers() {
        for (window_bits, is_asked, end) in [
            (15, false, ""),
            (15, true, "; server_max_window_bits=15"),
            (9, false, "; server_max_window_bits=9"),
            (9, true, "; server_max_window_bits=9"),
        ] {
            let mut out = String::new();
            Deflate { window_bits, is_asked }.push_header(&mut out);
            let expected = format!(
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                 client_no_context_takeover{end}\r\n"
            );
            assert_eq!(out, expected);
        }
    }
}
