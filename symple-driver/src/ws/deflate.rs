//! permessage-deflate (RFC 7692), without context takeover in either direction.
//!
//! No message refers to one before it. So a text is compressed once for all its receivers, and a
//! thread needs one inflater for all its connections: a connection has no memory of its own for it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use symple_engine::server::Text;

/// How texts are compressed (permessage-deflate, RFC 7692): those of a server to its clients, or of a
/// client to its server.
///
/// A text that goes to many clients is compressed once for all of them. The other side compresses as it
/// likes, but each message by itself: nothing is remembered of the one before.
///
/// Where a text has something secret in it and something that an attacker chooses, its compressed
/// length tells about the secret (as with CRIME and BREACH); messages do not tell about each other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compression {
    /// The fewest bytes that a text must have to be compressed. 1024: below, little is saved. What
    /// does not become shorter is sent as it is, and so is what has more than 256 KiB: others would
    /// have to wait for it.
    pub threshold: usize,
    /// The base-2 logarithm of the window, 9 to 15. 15, which is 32 KiB. A client that asks a
    /// server for a smaller one (`server_max_window_bits`) is not compressed for, since what it is sent must be
    /// the same as for all others.
    pub window_bits: u8,
    /// How much work is done for a shorter result, 1 to 9. 2: about half the work of 6, for texts
    /// that are hardly longer.
    pub level: u8,
}

impl Default for Compression {
    fn default() -> Self {
        Self { threshold: 1024, window_bits: 15, level: 2 }
    }
}

impl Compression {
    /// A configuration from which a compressor can be made.
    pub(crate) fn is_valid(&self) -> bool {
        (9..=15).contains(&self.window_bits) && (1..=9).contains(&self.level)
    }

    /// A text of so many bytes is compressed.
    pub(crate) fn applies_to(&self, length: usize) -> bool {
        is_compressed(self.threshold, length)
    }
}

/// What a message must end with that was compressed with a sync flush, and what is left out of it
/// (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// And an empty last block behind it. Where it is not read as one, the message had ended in the
/// middle of a block.
const END: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x03, 0x00];
/// How many last blocks a message may have within (§7.2.3.4): nobody needs more than one, and each
/// begins anew.
const MAX_LAST_BLOCKS: u32 = 64;
/// The most bytes of a text that are compressed in one piece, which takes some milliseconds.
const MOST: usize = 256 * 1024;
/// So many bytes are inflated before it is seen whether anything comes of them, and a message may be
/// so much longer than its text would be.
const PIECE: usize = 8 * 1024;
const SLACK: usize = 512;
/// So much memory for what is inflated is kept, and so much is added at a time.
const KEPT: usize = 64 * 1024;
const STEP: usize = 16 * 1024;

/// The most bytes of a compressed message whose text may have `limit` bytes. What cannot be
/// compressed becomes a little longer.
pub(crate) fn compressed_limit(limit: usize) -> usize {
    limit.saturating_add(limit / 8).saturating_add(64)
}

/// A text of so many bytes is compressed where that is the fewest.
fn is_compressed(threshold: usize, length: usize) -> bool {
    (threshold.max(1)..=MOST).contains(&length)
}

/// Why a message cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// It is no deflate data, or not all of it.
    Invalid,
    /// Its text has more bytes than it may have.
    TooBig,
}

/// What inflates the messages of all connections of a thread.
#[derive(Debug)]
pub(crate) struct Inflater {
    state: Decompress,
    text: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { state: Decompress::new(false), text: Vec::new() }
    }
}

impl Inflater {
    /// How much of a text there was when it was done with the last message.
    pub(crate) fn inflated(&self) -> usize {
        self.text.len()
    }

    /// How many bytes of memory it has for a text.
    pub(crate) fn capacity(&self) -> usize {
        self.text.capacity()
    }

    /// The text of a compressed message, which may have `limit` bytes. No more than that, and one
    /// byte, is ever inflated. A message that is longer than its text would be without compression
    /// is invalid: blocks with nothing in them take time, too.
    pub(crate) fn inflate(&mut self, message: &[u8], limit: usize) -> Result<&[u8], InflateError> {
        self.text.clear();
        if self.text.capacity() > KEPT {
            self.text.shrink_to(KEPT);
        }
        self.state.reset(false);
        let (mut restarts, mut ended, mut looked) = (0, false, 0);
        for mut input in message.chunks(PIECE).chain([&END[..]]) {
            looked += input.len();
            while !input.is_empty() {
                // Behind a last block the data goes on with a new one (§7.2.3.4).
                if std::mem::take(&mut ended) {
                    restarts += 1;
                    self.state.reset(false);
                }
                if restarts > MAX_LAST_BLOCKS {
                    return Err(InflateError::Invalid);
                }
                ended = self.feed(&mut input, limit)? == Status::StreamEnd;
            }
            if looked > compressed_limit(self.text.len()) + PIECE {
                return Err(InflateError::Invalid);
            }
        }
        let is_sound = ended && message.len() <= compressed_limit(self.text.len()) + SLACK;
        if is_sound { Ok(&self.text) } else { Err(InflateError::Invalid) }
    }

    /// Inflates what can be of the input; what is left of it is behind a last block.
    fn feed(&mut self, input: &mut &[u8], limit: usize) -> Result<Status, InflateError> {
        loop {
            if self.text.len() == self.text.capacity() {
                let room = (limit + 1).saturating_sub(self.text.len());
                self.text.reserve_exact(self.text.len().max(STEP).min(room));
            }
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress_vec(input, &mut self.text, FlushDecompress::None)
                .map_err(|_| InflateError::Invalid)?;
            let read = usize::try_from(self.state.total_in() - read).unwrap_or(usize::MAX);
            let moved = read > 0 || self.state.total_out() > written;
            *input = input.get(read..).unwrap_or_default();
            if self.text.len() > limit {
                return Err(InflateError::TooBig);
            }
            let has_room = self.text.len() < self.text.capacity();
            match status {
                Status::StreamEnd => return Ok(status),
                // Where there was no room for more, there may be more.
                _ if input.is_empty() && has_room => return Ok(status),
                _ if !moved && has_room => return Err(InflateError::Invalid),
                _ => {}
            }
        }
    }
}

/// A compressed text that several threads send; the first that needs it makes it. None, if it is
/// not shorter.
pub(crate) type SharedDeflated = Arc<OnceLock<Option<Bytes>>>;

/// What compresses the texts of a thread.
#[derive(Debug)]
pub(crate) struct Deflater {
    threshold: usize,
    state: Compress,
    last: Option<Last>,
}

/// The text that was sent last, and what became of it: the same may go to more receivers.
#[derive(Debug)]
struct Last {
    text: Text,
    place: SharedDeflated,
    /// Whoever has caused it has been told what it costs.
    charged: bool,
}

impl Deflater {
    pub(crate) fn new(settings: &Compression) -> Self {
        let level = flate2::Compression::new(settings.level.into());
        Self {
            threshold: settings.threshold,
            state: Compress::new_with_window_bits(level, false, settings.window_bits),
            last: None,
        }
    }

    /// Forgets the last text.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Where a text has its compressed form, if it is to be compressed at all; `known`, if another
    /// thread has it already.
    pub(crate) fn place(
        &mut self,
        text: &Text,
        known: Option<&SharedDeflated>,
    ) -> Option<SharedDeflated> {
        if let Some(known) = known {
            return Some(Arc::clone(known));
        }
        let bytes = text.as_bytes();
        if !is_compressed(self.threshold, bytes.len()) {
            return None;
        }
        // As long as it is kept here, no other text stands at its place.
        if let Some(Last { text: last, place, .. }) = &self.last
            && std::ptr::eq(last.as_bytes().as_ref(), bytes.as_ref())
        {
            return Some(Arc::clone(place));
        }
        let place = SharedDeflated::default();
        self.last = Some(Last { text: text.clone(), place: Arc::clone(&place), charged: false });
        Some(place)
    }

    /// True the first time that the last text is needed compressed, here or on another thread: that
    /// is when it is paid for.
    pub(crate) fn charge(&mut self) -> bool {
        self.last.as_mut().is_some_and(|last| !std::mem::replace(&mut last.charged, true))
    }

    /// Compresses a text into the payload of a message; `None` if that is not shorter.
    pub(crate) fn deflate(&mut self, text: &[u8]) -> Option<Bytes> {
        // What would be no shorter than the text is of no use.
        let mut out = self.compress(text, false)?;
        (out.len() < text.len()).then(|| {
            out.shrink_to_fit();
            Bytes::from(out)
        })
    }

    /// As [`deflate`](Self::deflate), also into what is longer than the text: for peers that expect
    /// every message compressed once that was agreed on.
    pub(crate) fn deflate_always(&mut self, text: &[u8]) -> Option<Bytes> {
        self.compress(text, true).map(Bytes::from)
    }

    /// The payload of a message; `None` if it `grows` beyond the text and may not.
    fn compress(&mut self, text: &[u8], grows: bool) -> Option<Vec<u8>> {
        self.state.reset();
        let mut out = Vec::with_capacity(text.len() + TAIL.len());
        let mut rest = text;
        loop {
            let before = self.state.total_in();
            self.state.compress_vec(rest, &mut out, FlushCompress::Sync).ok()?;
            let read = usize::try_from(self.state.total_in() - before).ok()?;
            rest = rest.get(read..)?;
            if out.len() < out.capacity() {
                if rest.is_empty() {
                    break;
                }
            } else if grows {
                out.reserve(64);
            } else {
                return None;
            }
        }
        let length = out.strip_suffix(&TAIL)?.len();
        out.truncate(length);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn deflater() -> Deflater {
        Deflater::new(&Compression::default())
    }

    fn deflate(text: &[u8]) -> Vec<u8> {
        deflater().deflate(text).unwrap().to_vec()
    }

    /// RFC 7692 §7.2.3: the examples.
    #[test]
    fn examples_of_the_rfc() {
        let mut inflater = Inflater::default();
        for (message, text) in [
            (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], "Hello"),
            (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello"),
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello"),
            (
                &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
                "Hello",
            ),
            (&[0x00], ""),
        ] {
            assert_eq!(inflater.inflate(message, 100), Ok(text.as_bytes()), "{message:02x?}");
        }
    }

    /// What does not get shorter, compressed nevertheless.
    #[test]
    fn always() {
        let mut deflater = deflater();
        let mut inflater = Inflater::default();
        let noise: Vec<u8> =
            (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for length in [0, 1, 2, 10, 60, 64, 100, 1000, 65_535, 65_536, 100_000] {
            let text = &noise[..length];
            let message = deflater.deflate_always(text).unwrap().to_vec();
            assert_eq!(inflater.inflate(&message, 100_000), Ok(text), "{length}");
        }
        assert_eq!(deflater.deflate(&noise[..10]), None);
    }

    /// RFC 7692 §7.2.2: what is no deflate data, or refers to a message before, or is cut.
    #[test]
    fn what_cannot_be_inflated() {
        let mut inflater = Inflater::default();
        let whole = deflate(&b"hello hello hello hello ".repeat(10));
        assert!(inflater.inflate(&whole, 1000).is_ok());
        for message in [
            &b""[..],
            &[0xff; 20],
            b"hello",
            // A second `Hello` that is the first one again.
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            &whole[..whole.len() - 2],
            &whole[1..],
            &[whole.as_slice(), b"\xff"].concat(),
        ] {
            let result = inflater.inflate(message, 1000);
            assert_eq!(result, Err(InflateError::Invalid), "{message:02x?}");
        }
        // Blocks with nothing in them: a few, and more than anyone needs.
        let empty = [0x00, 0x00, 0x00, 0xff, 0xff];
        assert_eq!(inflater.inflate(&[&empty.repeat(50)[..], &[0x00]].concat(), 1000), Ok(&[][..]));
        for count in [200, 200_000] {
            let blocks = [&empty.repeat(count)[..], &[0x00]].concat();
            assert_eq!(inflater.inflate(&blocks, 1_000_000), Err(InflateError::Invalid));
        }
        // Last blocks without end.
        let blocks = [0x03, 0x00].repeat(100_000);
        assert_eq!(inflater.inflate(&blocks, 1000), Err(InflateError::Invalid));
    }

    /// R-L1: the limit is exact, and no more than it is ever inflated.
    #[test]
    fn the_limit_holds_while_it_runs() {
        let mut inflater = Inflater::default();
        for limit in [1, 100, STEP - 1, STEP, STEP + 1, 1_000_000] {
            let (exact, more) = (vec![b'x'; limit], vec![b'x'; limit + 1]);
            let deflate = |text: &[u8]| {
                let mut out = Vec::with_capacity(text.len() + 100);
                let mut state = Compress::new(flate2::Compression::new(9), false);
                state.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
                out.truncate(out.len() - TAIL.len());
                out
            };
            assert_eq!(inflater.inflate(&deflate(&exact), limit), Ok(&exact[..]), "{limit}");
            assert_eq!(inflater.inflate(&deflate(&more), limit), Err(InflateError::TooBig));
        }
        let bomb = deflate(&vec![b'x'; 100_000_000]);
        assert!(bomb.len() < 200_000);
        assert_eq!(inflater.inflate(&bomb, 10_000), Err(InflateError::TooBig));
        assert!(inflater.text.capacity() <= 4 * KEPT, "{}", inflater.text.capacity());
        assert_eq!(
            inflater.inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 5),
            Ok(&b"Hello"[..])
        );
        assert!(inflater.text.capacity() <= KEPT, "memory is given back");
    }

    /// A text has one place as long as it is the last.
    #[test]
    fn a_text_is_compressed_once() {
        let mut deflater = deflater();
        let [one, other] = ["x", "y"].map(|letter| Text::from(letter.repeat(2000)));
        let place = deflater.place(&one, None).unwrap();
        assert!(deflater.charge() && !deflater.charge());
        assert!(Arc::ptr_eq(&place, &deflater.place(&one.clone(), None).unwrap()));
        let next = deflater.place(&other, None).unwrap();
        assert!(!Arc::ptr_eq(&place, &next));
        assert!(deflater.charge(), "it is another text");
        assert!(Arc::ptr_eq(&place, &deflater.place(&other, Some(&place)).unwrap()));
        assert_eq!(deflater.place(&Text::from("short".to_owned()), None), None);
        assert!(deflater.place(&Text::from("x".repeat(MOST)), None).is_some());
        assert_eq!(deflater.place(&Text::from("x".repeat(MOST + 1)), None), None);
    }

    proptest! {
        /// What is compressed is inflated to what it was, whatever the window.
        #[test]
        fn there_and_back(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..3000),
                "[ab]{0,3000}".prop_map(String::into_bytes),
                ("[a-z]{1,40}", 1..20_000_usize).prop_map(|(word, n)| word.repeat(n / word.len() + 1).into_bytes()),
            ],
            window_bits in 9..=15_u8,
            level in 1..=9_u8,
        ) {
            let mut deflater = Deflater::new(&Compression { threshold: 0, window_bits, level });
            // A compressor that was used before makes the same of it.
            deflater.deflate(b"something that came before, before, before, before");
            if let Some(message) = deflater.deflate(&text) {
                prop_assert!(message.len() < text.len());
                let mut inflater = Inflater { state: Decompress::new_with_window_bits(false, window_bits), text: Vec::new() };
                prop_assert_eq!(inflater.inflate(&message, text.len()), Ok(&text[..]));
            }
        }

        /// Whatever arrives, no more than the limit is inflated.
        #[test]
        fn anything_is_bounded(message in prop::collection::vec(any::<u8>(), 0..400), limit in 0..2000_usize) {
            if let Ok(text) = Inflater::default().inflate(&message, limit) {
                prop_assert!(text.len() <= limit);
            }
        }
    }
}
