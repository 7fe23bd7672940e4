//! What waits to be written to a connection.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// From this size on a payload is shared with other receivers instead of copied behind what waits
/// already: copying less is cheaper than keeping it apart.
const SHARE: usize = 16 * 1024;

/// How many parts are written at once.
const PARTS: usize = 16;

/// A text frame, whose header is made once for all its receivers.
#[derive(Debug)]
pub(crate) struct TextFrame<'a> {
    header: [u8; 10],
    header_len: usize,
    payload: &'a Bytes,
}

impl<'a> TextFrame<'a> {
    pub(crate) fn new(payload: &'a Bytes) -> Self {
        let mut header = [0; 10];
        let mut rest = &mut header[..];
        let opcode = OpCode::Data(Data::Text);
        FrameHeader { opcode, ..FrameHeader::default() }
            .format(payload.len() as u64, &mut rest)
            .expect("a header without a mask has at most 10 bytes");
        let header_len = 10 - rest.len();
        Self { header, header_len, payload }
    }
}

/// Memory that output is gathered in, while no connection has use for it.
///
/// A connection has a buffer only while something waits in it.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Vec<Vec<u8>>);

impl Buffers {
    /// So many buffers are kept, of at most so many bytes.
    const KEPT: usize = 256;
    const LARGEST: usize = 16 * 1024;

    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < Self::KEPT && (1..=Self::LARGEST).contains(&buffer.capacity()) {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// Bytes on their way to a client, frame behind frame.
#[derive(Debug, Default)]
pub(crate) struct OutQueue {
    /// Parts in front of the buffer: large payloads, and what was gathered before them.
    parts: VecDeque<Bytes>,
    /// Small frames, gathered so that they can be written at once.
    buffer: Vec<u8>,
    /// How much of the buffer has been written.
    written: usize,
    /// How many bytes wait.
    len: usize,
    /// How many bytes of the frame in front are left, if a part of it has been written.
    frame_left: usize,
}

impl OutQueue {
    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Queues bytes that are no frame: they must be the first.
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) {
        debug_assert!(self.is_empty(), "what is no frame comes before all frames");
        self.frame_left = bytes.len();
        self.extend(bytes);
    }

    /// Queues a text frame.
    pub(crate) fn push_text(&mut self, frame: &TextFrame<'_>, buffers: &mut Buffers) {
        self.prepare(buffers);
        self.extend(&frame.header[..frame.header_len]);
        let payload = frame.payload;
        if payload.len() < SHARE {
            self.extend(payload);
        } else {
            let mut gathered = std::mem::take(&mut self.buffer);
            gathered.drain(..self.written);
            self.written = 0;
            self.parts.push_back(Bytes::from(gathered));
            self.parts.push_back(payload.clone());
            self.len += payload.len();
        }
    }

    /// Queues a control frame of at most 125 bytes.
    pub(crate) fn push_control(&mut self, code: Control, payload: &[u8], buffers: &mut Buffers) {
        debug_assert!(payload.len() <= 125, "control frames are short");
        self.prepare(buffers);
        let header = FrameHeader { opcode: OpCode::Control(code), ..FrameHeader::default() };
        let before = self.buffer.len();
        header
            .format(payload.len() as u64, &mut self.buffer)
            .expect("writing to memory cannot fail");
        self.len += self.buffer.len() - before;
        self.extend(payload);
    }

    fn prepare(&mut self, buffers: &mut Buffers) {
        if self.buffer.capacity() == 0 {
            self.buffer = buffers.take();
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// What is to be written next, in one piece: if there are no parts, all of it.
    pub(crate) fn front(&self) -> &[u8] {
        self.parts.front().map_or(&self.buffer[self.written..], |part| part)
    }

    /// True if what waits is not in one piece.
    pub(crate) fn is_scattered(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The pieces that are to be written next.
    pub(crate) fn pieces(&self) -> ([IoSlice<'_>; PARTS], usize) {
        let mut pieces = [IoSlice::new(&[]); PARTS];
        let buffer = &self.buffer[self.written..];
        let mut count = 0;
        let all = self.parts.iter().map(|part| &**part).chain([buffer]);
        for (slot, piece) in pieces.iter_mut().zip(all) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        (pieces, count)
    }

    /// So many bytes have been written.
    pub(crate) fn advance(&mut self, count: usize, buffers: &mut Buffers) {
        if count == self.len {
            return self.clear(buffers);
        }
        let mut rest = count;
        while rest > 0 {
            if self.frame_left == 0 {
                self.frame_left = self.front_frame_len();
            }
            let step = rest.min(self.frame_left);
            self.frame_left -= step;
            rest -= step;
            self.drop_front(step);
        }
        self.len -= count;
    }

    /// The length of the frame at whose start the front stands.
    fn front_frame_len(&self) -> usize {
        // A header is never divided: parts begin with a header or are a payload.
        let front = self.front();
        let mut cursor = std::io::Cursor::new(front);
        match FrameHeader::parse(&mut cursor) {
            Ok(Some((header, length))) => {
                header.len(length) + usize::try_from(length).unwrap_or(usize::MAX)
            }
            _ => front.len().max(1),
        }
    }

    fn drop_front(&mut self, mut count: usize) {
        while count > 0 {
            if let Some(part) = self.parts.front_mut() {
                let step = count.min(part.len());
                part.advance(step);
                if part.is_empty() {
                    self.parts.pop_front();
                }
                count -= step;
            } else {
                self.written += count;
                count = 0;
            }
        }
        // What has been written is let go of from time to time, and costs no more than it was.
        if self.written >= 64 * 1024 && self.written * 2 >= self.buffer.len() {
            self.buffer.drain(..self.written);
            self.written = 0;
        }
    }

    /// Drops everything but the rest of a frame that has been written in part.
    pub(crate) fn discard(&mut self, buffers: &mut Buffers) {
        if self.frame_left == 0 {
            return self.clear(buffers);
        }
        let mut rest = Vec::with_capacity(self.frame_left);
        for part in self.parts.iter().map(|part| &**part).chain([&self.buffer[self.written..]]) {
            let wanted = self.frame_left - rest.len();
            rest.extend_from_slice(&part[..wanted.min(part.len())]);
        }
        let frame_left = self.frame_left;
        self.clear(buffers);
        self.buffer = rest;
        self.len = self.buffer.len();
        self.frame_left = frame_left;
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self, buffers: &mut Buffers) {
        self.parts = VecDeque::new();
        buffers.give(std::mem::take(&mut self.buffer));
        self.written = 0;
        self.len = 0;
        self.frame_left = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(queue: &OutQueue) -> Vec<u8> {
        let (pieces, count) = queue.pieces();
        pieces[..count].iter().flat_map(|piece| piece.to_vec()).collect()
    }

    #[test]
    fn small_frames_are_one_piece() {
        let (mut queue, mut buffers) = (OutQueue::default(), Buffers::default());
        queue.push_text(&TextFrame::new(&Bytes::from_static(b"hello")), &mut buffers);
        queue.push_control(Control::Ping, b"", &mut buffers);
        assert_eq!(queue.front(), b"\x81\x05hello\x89\x00");
        assert!(!queue.is_scattered());
        queue.advance(queue.len(), &mut buffers);
        assert!(queue.is_empty());
        assert_eq!(queue.buffer.capacity(), 0, "an empty queue holds no memory");
        assert_eq!(buffers.0.len(), 1);
    }

    #[test]
    fn large_payloads_are_shared() {
        let (mut queue, mut buffers) = (OutQueue::default(), Buffers::default());
        let large = Bytes::from(vec![b'x'; 100_000]);
        queue.push_text(&TextFrame::new(&Bytes::from_static(b"a")), &mut buffers);
        queue.push_text(&TextFrame::new(&large), &mut buffers);
        queue.push_text(&TextFrame::new(&Bytes::from_static(b"b")), &mut buffers);
        assert!(queue.is_scattered());
        assert_eq!(queue.parts[1].as_ptr(), large.as_ptr());
        assert_eq!(queue.len(), 3 + 10 + 100_000 + 3);
        assert_eq!(all(&queue).len(), queue.len());
    }

    proptest! {
        /// However the bytes leave, they are the frames; and what is discarded leaves a whole one.
        #[test]
        fn frames_stay_whole(
            frames in prop::collection::vec((0..40_000_usize, any::<bool>()), 1..12),
            steps in prop::collection::vec(1..60_000_usize, 0..20),
        ) {
            let (mut queue, mut buffers) = (OutQueue::default(), Buffers::default());
            let mut expected = Vec::new();
            let mut ends = Vec::new();
            queue.push_raw(b"HTTP/1.1 101\r\n\r\n");
            expected.extend(b"HTTP/1.1 101\r\n\r\n");
            ends.push(expected.len());
            for (size, control) in frames {
                let payload = vec![b'p'; size];
                if control {
                    let payload = &payload[..size.min(125)];
                    queue.push_control(Control::Pong, payload, &mut buffers);
                    expected.extend([0x8a, payload.len() as u8]);
                    expected.extend(payload);
                } else {
                    queue.push_text(&TextFrame::new(&Bytes::from(payload.clone())), &mut buffers);
                    FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() }
                        .format(size as u64, &mut expected).unwrap();
                    expected.extend(payload);
                }
                ends.push(expected.len());
            }
            prop_assert_eq!(queue.len(), expected.len());
            let mut at = 0;
            for step in steps {
                let (pieces, count) = queue.pieces();
                let offered: usize = pieces[..count].iter().map(|piece| piece.len()).sum();
                let step = step.min(offered);
                let sent: Vec<u8> =
                    pieces[..count].iter().flat_map(|piece| piece.to_vec()).take(step).collect();
                prop_assert_eq!(&sent[..], &expected[at..at + step]);
                queue.advance(step, &mut buffers);
                at += step;
                prop_assert_eq!(queue.len(), expected.len() - at);
            }
            queue.discard(&mut buffers);
            let end = ends.into_iter().find(|end| *end >= at).unwrap();
            prop_assert_eq!(all(&queue), &expected[at..end]);
            prop_assert_eq!(queue.len(), end - at);
        }
    }
}
