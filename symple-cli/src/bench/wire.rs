//! WebSocket frames, made and read by hand: a mask of zeros is a mask, and a server's frames have
//! none.

/// Appends a frame of a client: its first byte, then the payload.
pub(crate) fn push_frame(bytes: &mut Vec<u8>, first: u8, payload: &[u8]) {
    bytes.push(first);
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | u8::try_from(length).unwrap_or_default()),
        length @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).unwrap_or_default().to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
}

/// A frame at the start of the bytes: first byte, where its payload begins and ends.
pub(crate) fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, length): (usize, usize) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, usize::from(length)),
    };
    let end = start.checked_add(length)?;
    (end <= bytes.len()).then_some((first, start, end))
}

/// The code in the payload of a close frame.
pub(crate) fn close_code(payload: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(payload.get(..2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_when_they_are_whole() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let mut bytes = Vec::new();
            push_frame(&mut bytes, 0x81, &vec![b'x'; length]);
            // A server's frame is a client's without the mask.
            let header = bytes.len() - length - 4;
            bytes.drain(header..header + 4);
            bytes[1] &= 0x7f;
            assert_eq!(frame(&bytes[..bytes.len() - 1]), None, "{length}");
            bytes.push(0x8a);
            assert_eq!(frame(&bytes), Some((0x81, header, header + length)), "{length}");
        }
    }

    #[test]
    fn close_codes() {
        assert_eq!(close_code(&4429_u16.to_be_bytes()), Some(4429));
        assert_eq!(close_code(b""), None);
    }
}
