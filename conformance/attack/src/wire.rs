//! Frames and heads, made and read by hand: what attacks send, no client library would.

/// The bits of a frame's first byte.
pub(crate) const FIN: u8 = 0x80;
/// Compressed, where that was agreed on.
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// A frame of a client: its first byte and its payload. A mask of zeros is a mask.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 14);
    push_header(&mut bytes, first, payload.len() as u64);
    bytes.extend(payload);
    bytes
}

/// The header of a frame of a client, whose payload may never come.
pub(crate) fn push_header(bytes: &mut Vec<u8>, first: u8, length: u64) {
    bytes.push(first);
    match length {
        0..126 => bytes.push(0x80 | length as u8),
        126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
}

/// A text frame.
pub(crate) fn text(payload: &str) -> Vec<u8> {
    frame(FIN | TEXT, payload.as_bytes())
}

/// A server's frame at the start of the bytes: first byte, where its payload begins and ends.
pub(crate) fn parse(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, length): (usize, usize) = match second & 0x7f {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, length.into()),
    };
    let end = start.checked_add(length)?;
    (end <= bytes.len()).then_some((first, start, end))
}

/// The key of every upgrade here; it is that of RFC 6455 §1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request to speak WebSocket, with further header lines, each with its end of line.
pub(crate) fn upgrade(more: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    )
}

/// An `auth` frame's text.
pub(crate) fn auth(user: &str, rooms: &[String]) -> String {
    let rooms: Vec<_> = rooms.iter().map(|room| format!("\"{room}\"")).collect();
    format!("{{\"type\":\"auth\",\"user\":\"{user}\",\"rooms\":[{}]}}", rooms.join(","))
}

/// Numbers that look random and are the same each time, so that an attack can be repeated.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 32) as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_when_they_are_whole() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let mut bytes = frame(FIN | TEXT, &vec![b'x'; length]);
            // A server's frame is a client's without the mask.
            let header = bytes.len() - length - 4;
            bytes.drain(header..header + 4);
            bytes[1] &= 0x7f;
            assert_eq!(parse(&bytes[..bytes.len() - 1]), None, "{length}");
            bytes.push(0x8a);
            assert_eq!(parse(&bytes), Some((0x81, header, header + length)), "{length}");
        }
    }
}
