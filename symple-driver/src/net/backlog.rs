//! Bytes that have been read from a connection and not handled yet.

use crate::ws::decode::find_close;

/// How much of what has been handled is kept at most before the rest is moved to the front.
const SLACK: usize = 64 * 1024;

/// Bytes that have been read from a connection and not handled yet: a part of a frame or of a
/// request, or what came while nothing was to be handled.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: Vec<u8>,
    /// How many of them have been handled.
    start: usize,
    /// Up to where a close frame has been looked for.
    scanned: usize,
}

impl Backlog {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), start: 0, scanned: 0 }
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        // It grows by a quarter, not by as much again: there may be many that are large.
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.bytes.reserve_exact(bytes.len().max(self.bytes.len() / 4));
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// What has not been handled.
    pub(crate) fn unread(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// How many bytes of memory it takes, about.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// So many bytes have been handled. What that costs does not grow with what is left.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start > SLACK && self.start * 2 > self.bytes.len() {
            self.bytes.drain(..self.start);
            self.scanned = self.scanned.saturating_sub(self.start);
            self.start = 0;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// True if a close frame has arrived, behind what has not been handled. The unread bytes must
    /// begin with a frame.
    pub(crate) fn has_close(&mut self) -> bool {
        let (at, found) = find_close(&self.bytes, self.scanned.max(self.start));
        self.scanned = at;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_handled_in_order() {
        let mut backlog = Backlog::new(&[0; 10]);
        let mut expected = vec![0; 10];
        for round in 1..200_u8 {
            let bytes = vec![round; 5000];
            backlog.extend(&bytes);
            expected.extend(bytes);
            backlog.consume(4000);
            expected.drain(..4000);
            assert_eq!(backlog.unread(), expected);
            assert!(backlog.len() <= 2 * expected.len() + SLACK);
        }
        backlog.consume(expected.len());
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_close_frame_is_noticed_when_it_is_whole() {
        // Masked, and a mask of zeros.
        let close = [0x88, 0x80, 0, 0, 0, 0];
        let message = [0x81, 0x81, 0, 0, 0, 0, b'x'];
        let mut backlog = Backlog::new(&message);
        assert!(!backlog.has_close());
        for byte in message.iter().chain(&close) {
            assert!(!backlog.has_close());
            backlog.extend(&[*byte]);
        }
        backlog.consume(message.len());
        assert!(backlog.has_close() && backlog.has_close());
    }
}
