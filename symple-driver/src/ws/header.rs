//! The header of a WebSocket frame (RFC 6455 §5.2).
//!
//! A server reads one for each frame and writes one for each text. Done with the bytes at hand, that is
//! a few instructions; through a reader and a writer of streams, as libraries do it, it was 6 % of what
//! a direct message costs outside of the kernel.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continue = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    /// Frames that stand between those of a message, and are short.
    pub(crate) fn is_control(self) -> bool {
        self as u8 >= 8
    }

    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continue,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// What stands in front of a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// It is the last frame of its message.
    pub(crate) is_final: bool,
    /// The reserved bit that says what is compressed (RFC 7692 §6).
    pub(crate) rsv1: bool,
    pub(crate) opcode: Opcode,
    /// What the payload is masked with, as a client's must be.
    pub(crate) mask: Option<[u8; 4]>,
    /// How many bytes the payload has.
    pub(crate) payload: u64,
    /// How many bytes the header has.
    pub(crate) len: usize,
}

/// The bytes are no header that may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Header {
    /// Reads the header at the start of the bytes; none if it is not all there yet.
    ///
    /// # Errors
    /// [`Malformed`]: reserved bits or opcodes.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        let opcode = Opcode::of(first & 0x0f).ok_or(Malformed)?;
        if first & 0x30 != 0 {
            return Err(Malformed);
        }
        let (payload, len) = match second & 0x7f {
            126 => match bytes.get(2..).and_then(<[u8]>::first_chunk) {
                None => return Ok(None),
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            },
            127 => match bytes.get(2..).and_then(<[u8]>::first_chunk) {
                None => return Ok(None),
                Some(length) => (u64::from_be_bytes(*length), 10),
            },
            length => (u64::from(length), 2),
        };
        let (mask, len) = if second & 0x80 == 0 {
            (None, len)
        } else {
            match bytes.get(len..).and_then(<[u8]>::first_chunk) {
                None => return Ok(None),
                Some(mask) => (Some(*mask), len + 4),
            }
        };
        let (is_final, rsv1) = (first & 0x80 != 0, first & 0x40 != 0);
        Ok(Some(Self { is_final, rsv1, opcode, mask, payload, len }))
    }

    /// The length is written in as few bytes as it can be, as it must.
    #[inline]
    pub(crate) fn is_minimal(&self) -> bool {
        let mask = if self.mask.is_some() { 4 } else { 0 };
        self.len - mask == length_bytes(self.payload)
    }
}

/// How many bytes a header without a mask has.
#[inline]
fn length_bytes(payload: u64) -> usize {
    match payload {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    }
}

/// The header of a whole message, without a mask, as a server sends it: its bytes, and how many of them
/// it has.
#[inline]
pub(crate) fn encode(opcode: Opcode, rsv1: bool, payload: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = 0x80 | u8::from(rsv1) << 6 | opcode as u8;
    let len = length_bytes(payload as u64);
    match len {
        2 => header[1] = payload as u8,
        4 => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(payload as u64).to_be_bytes());
        }
    }
    (header, len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tungstenite::protocol::frame::{FrameHeader, coding::OpCode};

    use super::*;

    proptest! {
        /// Another library reads the same in all that may be sent, and what it refuses is refused.
        #[test]
        fn headers_are_read_as_others_read_them(mut bytes in prop::collection::vec(any::<u8>(), 0..16)) {
            // Most lengths are short.
            if let Some(second) = bytes.get_mut(1) && *second & 0x40 == 0 {
                *second |= 0x3e;
            }
            let mut cursor = std::io::Cursor::new(&bytes);
            let theirs = FrameHeader::parse(&mut cursor);
            match Header::parse(&bytes) {
                Ok(Some(header)) => {
                    let (other, length) = theirs.unwrap().unwrap();
                    prop_assert_eq!(header.payload, length);
                    prop_assert_eq!(header.len as u64, cursor.position());
                    prop_assert_eq!(header.is_minimal(), header.len == other.len(length));
                    prop_assert_eq!(header.mask, other.mask);
                    prop_assert_eq!(header.opcode as u8, u8::from(other.opcode));
                    prop_assert_eq!((header.is_final, header.rsv1), (other.is_final, other.rsv1));
                }
                Ok(None) => prop_assert!(!matches!(theirs, Ok(Some(_)))),
                Err(Malformed) => {
                    if let Ok(Some((other, _))) = theirs {
                        prop_assert!(other.rsv2 || other.rsv3);
                    }
                }
            }
        }

        #[test]
        fn headers_are_written_as_others_write_them(
            length in prop_oneof![0..200_usize, 65_500..65_600_usize, any::<u32>().prop_map(|n| n as usize)],
            opcode in prop::sample::select(vec![
                Opcode::Continue, Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Ping, Opcode::Pong,
            ]),
            rsv1 in any::<bool>(),
        ) {
            let mut theirs = Vec::new();
            let other = OpCode::from(opcode as u8);
            FrameHeader { opcode: other, rsv1, ..FrameHeader::default() }
                .format(length as u64, &mut theirs)
                .unwrap();
            let (header, len) = encode(opcode, rsv1, length);
            prop_assert_eq!(&header[..len], theirs);
        }
    }
}
