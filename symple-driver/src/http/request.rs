//! What hooks see of a request.

use std::net::IpAddr;

use http::{HeaderMap, Uri};

use super::head::elements;

/// The request that a connection began with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// Path and query, as they were written; also of a target in absolute form.
    pub uri: Uri,
    /// The headers. `Host` is that of a target in absolute form (RFC 9112 §3.2.2).
    pub headers: HeaderMap,
    /// The client's address: behind trusted proxies, the one that they tell (R-T6).
    pub address: IpAddr,
    /// The connection is encrypted as far as this server.
    pub tls: bool,
}

impl Request {
    /// The value of a parameter of the query, decoded; the first of several.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        self.uri.query()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_query(key) == name).then(|| decode_query(value))
        })
    }
}

impl Request {
    /// The value of a cookie, as it is written; the first of several. Quotation marks around it do not
    /// belong to it. What a browser sends of a cookie is only this: nothing says where it came from.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The cookies, names and values (RFC 6265 §4.2.1), in the order in which they are written. What is
    /// not written as `name=value`, or not in ASCII, is left out.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.headers.get_all(http::header::COOKIE).into_iter();
        let pairs =
            headers.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
        pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let value = value.trim_ascii();
            let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            Some((name.trim_ascii(), quoted.unwrap_or(value)))
        })
    }

    /// The subprotocols that the client offers, the one that it likes best first (RFC 6455 §4.1).
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let headers = self.headers.get_all(http::header::SEC_WEBSOCKET_PROTOCOL).into_iter();
        headers.flat_map(|value| elements(value.as_bytes()))
    }
}

/// Decodes `%XX` and `+`; what is no UTF-8 then becomes U+FFFD.
fn decode_query(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        let escaped = (byte == b'%')
            .then(|| std::str::from_utf8(bytes.get(at..at + 2)?).ok())
            .flatten()
            // Digits alone: numbers may have signs.
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(match (byte, escaped) {
            (_, Some(escaped)) => {
                at += 2;
                escaped
            }
            (b'+', None) => b' ',
            (byte, None) => byte,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}
