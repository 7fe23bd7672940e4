//! The negotiation of permessage-deflate (RFC 6455 §9.1, RFC 7692 §5 and §7.1).

use std::fmt::Write as _;

use super::head::is_token;

/// How many extensions are looked at. Those behind them are as if they were not known.
const MAX_OFFERS: usize = 16;
const NAME: &str = "permessage-deflate";

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
        let mut acceptable = self.token()?.eq_ignore_ascii_case(NAME);
        let mut seen = [false; 4];
        while self.take(';') {
            let name = self.token()?;
            let value = if self.take('=') { Some(self.value()?) } else { None };
            let value = value.as_deref();
            let (index, valid) = match name {
                "server_no_context_takeover" => (0, value.is_none()),
                "client_no_context_takeover" => (1, value.is_none()),
                "server_max_window_bits" => {
                    (2, value.and_then(bits).is_some_and(|most| most >= window_bits))
                }
                "client_max_window_bits" => (3, value.is_none_or(|value| bits(value).is_some())),
                _ => {
                    acceptable = false;
                    continue;
                }
            };
            acceptable &= valid && !std::mem::replace(&mut seen[index], true);
        }
        self.skip_space();
        Ok(acceptable.then_some(Deflate { window_bits, is_asked: seen[2] }))
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
