//! The headers that matter.

/// The subprotocols that are answered, the first that the client offers (R-T4).
const SUBPROTOCOLS: [&str; 2] = ["symple.v4", "symple"];

/// The headers that matter, as they were found.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub(super) upgrade: bool,
    pub(super) connection_upgrade: bool,
    pub(super) version: Option<&'a [u8]>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) subprotocol: Option<&'static str>,
    pub(super) origin: Option<&'a [u8]>,
    pub(super) real_ip: Option<&'a [u8]>,
}

/// The elements of a header that is a list.
pub(super) fn elements(value: &[u8]) -> impl DoubleEndedIterator<Item = &str> {
    value
        .split(|byte| *byte == b',')
        .filter_map(|part| std::str::from_utf8(part).ok())
        .map(str::trim)
}

/// Picks out the headers that matter.
pub(super) fn find<'a>(headers: &[httparse::Header<'a>]) -> Found<'a> {
    let mut found = Found::default();
    for header in headers {
        let value = header.value.trim_ascii();
        // The first letters tell most of them apart.
        match header.name.len() {
            7 if header.name.eq_ignore_ascii_case("upgrade") => {
                found.upgrade |=
                    elements(value).any(|element| element.eq_ignore_ascii_case("websocket"));
            }
            10 if header.name.eq_ignore_ascii_case("connection") => {
                found.connection_upgrade |=
                    elements(value).any(|element| element.eq_ignore_ascii_case("upgrade"));
            }
            21 if header.name.eq_ignore_ascii_case("sec-websocket-version") => {
                found.version = Some(value);
            }
            17 if header.name.eq_ignore_ascii_case("sec-websocket-key") => {
                found.key = Some(value);
            }
            22 if header.name.eq_ignore_ascii_case("sec-websocket-protocol") => {
                found.subprotocol = found.subprotocol.or_else(|| {
                    let known = |offered| SUBPROTOCOLS.into_iter().find(|known| *known == offered);
                    elements(value).find_map(known)
                });
            }
            6 if header.name.eq_ignore_ascii_case("origin") => found.origin = Some(value),
            9 if header.name.eq_ignore_ascii_case("x-real-ip") => found.real_ip = Some(value),
            _ => {}
        }
    }
    found
}
