//! Where small frames are gathered that wait to be written.

use bytes::{Buf as _, Bytes};
use memmap2::MmapMut;

/// How many bytes are gathered in memory of the allocator.
const SMALL: usize = 32 * 1024;
/// How many in memory of the system. Pages that are not written to take none.
const LARGE: usize = 256 * 1024;

/// Frames that wait, one behind the other.
///
/// A client that reads needs a small buffer for a moment. For one that does not, megabytes are
/// gathered, in pieces that come from the system and go back to it as they are written: what an
/// allocator has been given for a storm it may keep for ever.
#[derive(Debug)]
pub(crate) enum Tail {
    Small(Vec<u8>),
    Large(Box<Piece>),
}

/// A piece of memory of the system's.
#[derive(Debug)]
pub(crate) struct Piece {
    memory: MmapMut,
    len: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl Default for Tail {
    fn default() -> Self {
        Self::Small(Vec::new())
    }
}

impl Tail {
    /// An empty one for many frames; a small one where the system has no memory to give.
    pub(crate) fn large() -> Self {
        match MmapMut::map_anon(LARGE) {
            Ok(memory) => Self::Large(Box::new(Piece { memory, len: 0 })),
            Err(_) => Self::default(),
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Large(piece) => piece.as_ref().as_ref(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// A frame of so many bytes fits, so that there is no need for another piece.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        match self {
            Self::Small(bytes) => bytes.len() + len <= SMALL,
            Self::Large(piece) => piece.len + len <= LARGE,
        }
    }

    /// Whether a frame of so many bytes fits behind others that are few.
    #[inline]
    pub(crate) fn fits_small(&self, len: usize) -> bool {
        matches!(self, Self::Small(bytes) if bytes.len() + len <= SMALL)
    }

    /// Appends bytes for which there is room.
    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        match self {
            Self::Small(buffer) => buffer.extend_from_slice(bytes),
            Self::Large(piece) => {
                let end = piece.len + bytes.len();
                piece.memory[piece.len..end].copy_from_slice(bytes);
                piece.len = end;
            }
        }
    }

    /// All but the first so many bytes, for good.
    pub(crate) fn into_bytes(self, written: usize) -> Bytes {
        let mut bytes = match self {
            // A few bytes do not keep the buffer that was made for more.
            Self::Small(buffer) if buffer.capacity() / 2 > buffer.len() => {
                return Bytes::copy_from_slice(&buffer[written..]);
            }
            Self::Small(buffer) => Bytes::from(buffer),
            Self::Large(piece) => Bytes::from_owner(*piece),
        };
        bytes.advance(written);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_gathered() {
        for mut tail in [Tail::default(), Tail::large()] {
            let mut expected = Vec::new();
            while tail.has_room(1000) {
                let bytes = [expected.len() as u8; 1000];
                tail.extend(&bytes);
                expected.extend(bytes);
                assert_eq!(tail.as_slice(), expected);
            }
            assert!(expected.len() > SMALL - 2000);
            assert_eq!(tail.into_bytes(500), expected[500..]);
        }
    }
}
