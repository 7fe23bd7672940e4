//! What waits to be written to a connection.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    io::IoSlice,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Buf, Bytes};

use crate::ws::{
    header::{Header, Opcode, encode},
    tail::Tail,
};

/// From this size on a frame is shared with other receivers instead of copied behind what waits
/// already: copying less is cheaper than keeping it apart.
const SHARE: usize = 16 * 1024;
/// Where so much waits, frames of this size are shared: the receiver is slow, and there may be many
/// like it.
const BEHIND: usize = 16 * 1024;
const SHARE_BEHIND: usize = 1024;

/// How many parts are written at once.
const PARTS: usize = 16;

/// A text frame, whose header is made once for all its receivers.
#[derive(Debug)]
pub(crate) struct TextFrame<'a> {
    header: [u8; 10],
    header_len: usize,
    payload: &'a Bytes,
    /// The frame in one piece, where it is small and many take it: what is copied once for all of
    /// them is half of the copying for each.
    whole: Vec<u8>,
    /// The frame as its receivers share it, once one does.
    shared: Option<Bytes>,
}

impl<'a> TextFrame<'a> {
    pub(crate) fn new(payload: &'a Bytes) -> Self {
        Self::with(payload, false)
    }

    /// A frame whose payload is compressed (RFC 7692 §6.1).
    pub(crate) fn deflated(payload: &'a Bytes) -> Self {
        Self::with(payload, true)
    }

    fn with(payload: &'a Bytes, rsv1: bool) -> Self {
        let (header, header_len) = encode(Opcode::Text, rsv1, payload.len());
        Self { header, header_len, payload, whole: Vec::new(), shared: None }
    }

    /// Makes one piece of it, if it is small: many receivers will take it.
    pub(crate) fn join(&mut self, buffers: &mut Buffers) {
        if self.len() < SHARE_BEHIND && self.whole.is_empty() {
            self.whole = buffers.take();
            self.whole.extend_from_slice(&self.header[..self.header_len]);
            self.whole.extend_from_slice(self.payload);
        }
    }

    /// Gives back what was taken for that.
    pub(crate) fn finish(self, buffers: &mut Buffers) {
        buffers.give(self.whole);
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.header_len + self.payload.len()
    }

    /// The frame, counted once for all its receivers and as long as one of them has it.
    fn share(&mut self, total: &Arc<AtomicUsize>) -> Bytes {
        let Self { header, header_len, payload, shared, .. } = self;
        let shared = shared.get_or_insert_with(|| {
            let bytes = [&header[..*header_len], payload].concat();
            total.fetch_add(bytes.len(), Ordering::Relaxed);
            Bytes::from_owner(Counted { bytes, total: Arc::clone(total) })
        });
        shared.clone()
    }
}

/// A frame that is counted as long as it is there.
struct Counted {
    bytes: Vec<u8>,
    total: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Memory that output is gathered in, and how much of it is in use.
///
/// A connection has a buffer only while something waits in it.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Those that no connection has use for.
    unused: Vec<Vec<u8>>,
    /// How many bytes wait in the queues of a thread, shared frames not counted.
    pub(crate) waiting: usize,
    /// How many bytes of shared frames wait there, counted in each queue.
    pub(crate) shares: usize,
    /// How many bytes of shared frames there are, for all threads.
    pub(crate) shared: Arc<AtomicUsize>,
}

impl Buffers {
    /// So many buffers are kept, of at most so many bytes.
    const KEPT: usize = 256;
    const LARGEST: usize = 16 * 1024;

    /// None yet; shared frames are counted there.
    pub(crate) fn new(shared: Arc<AtomicUsize>) -> Self {
        Self { shared, ..Self::default() }
    }

    fn take(&mut self) -> Vec<u8> {
        self.unused.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.unused.len() < Self::KEPT && (1..=Self::LARGEST).contains(&buffer.capacity()) {
            buffer.clear();
            self.unused.push(buffer);
        }
    }
}

/// A part of what waits.
#[derive(Debug)]
struct Part {
    bytes: Bytes,
    /// Others have it, too.
    shared: bool,
}

/// Parts of what waits, in order. Most connections never have any, and pay for a pointer.
#[derive(Debug, Default)]
struct Parts(Option<Box<PartList>>);

#[derive(Debug, Default)]
struct PartList {
    parts: VecDeque<Part>,
    /// How many bytes are in shared parts.
    shared: usize,
}

impl Parts {
    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn front(&self) -> Option<&Part> {
        self.0.as_ref()?.parts.front()
    }

    fn iter(&self) -> impl Iterator<Item = &Part> {
        self.0.iter().flat_map(|list| &list.parts)
    }

    /// How many bytes are in shared parts.
    fn shared(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.shared)
    }

    fn push_back(&mut self, part: Part) {
        let list = self.0.get_or_insert_default();
        list.shared += if part.shared { part.bytes.len() } else { 0 };
        list.parts.push_back(part);
    }

    /// Takes the first part, if others have it, too.
    fn take_shared_front(&mut self) -> Option<Part> {
        let list = self.0.as_mut()?;
        if !list.parts.front()?.shared {
            return None;
        }
        let part = list.parts.pop_front()?;
        list.shared -= part.bytes.len();
        if list.parts.is_empty() {
            self.0 = None;
        }
        Some(part)
    }

    /// Drops at most so many bytes of the first part. How many that were, and whether the part is
    /// shared; none if there is no part.
    fn drop_front(&mut self, count: usize) -> Option<(usize, bool)> {
        let list = self.0.as_mut()?;
        let part = list.parts.front_mut()?;
        let (step, shared) = (count.min(part.bytes.len()), part.shared);
        part.bytes.advance(step);
        list.shared -= if shared { step } else { 0 };
        if part.bytes.is_empty() {
            list.parts.pop_front();
            if list.parts.is_empty() {
                self.0 = None;
            }
        }
        Some((step, shared))
    }
}

/// Bytes on their way to a client, frame behind frame.
#[derive(Debug, Default)]
pub(crate) struct OutQueue {
    /// Parts in front of the tail: shared frames, and what was gathered before them.
    parts: Parts,
    /// Small frames, gathered so that they can be written at once.
    tail: Tail,
    /// How much of the tail has been written.
    written: usize,
    /// How many bytes wait.
    len: usize,
    /// How many bytes of the frame in front are left, if a part of it has been written.
    frame_left: usize,
    /// What is remembered of some of the frames, while they wait.
    notes: Option<Box<Notes>>,
}

/// What is remembered of frames that wait.
#[derive(Debug, Default)]
struct Notes {
    /// How many bytes have been written since there are notes.
    written: u64,
    /// Where the pong ends that waits.
    pong: Option<u64>,
    /// The payload of the pong that is to follow it: that of the latest ping.
    next_pong: Option<Vec<u8>>,
    /// What others have addressed to the receiver, in order (R-L8).
    addressed: VecDeque<Addressed>,
    /// How many bytes of it each of them has, and all together. These are kept as frames come and
    /// go: to add them up for each frame would cost more the more waits.
    sums: BTreeMap<SenderId, usize>,
    sum: usize,
}

impl Notes {
    /// How many bytes wait that this sender has addressed to the receiver.
    fn sum_of(&self, sender: SenderId) -> usize {
        self.sums.get(&sender).copied().unwrap_or_default()
    }

    /// Remembers a frame of so many bytes, that ends there.
    fn add(&mut self, sender: SenderId, end: u64, len: usize) {
        self.sum += len;
        *self.sums.entry(sender).or_default() += len;
        match self.addressed.back_mut() {
            Some(last) if last.sender == sender && last.len < Addressed::TOGETHER => {
                last.len += len;
                last.end = end;
            }
            _ => self.addressed.push_back(Addressed { sender, end, len }),
        }
    }

    /// Forgets what has been written.
    fn forget_written(&mut self) {
        let written = self.written;
        while self.addressed.front().is_some_and(|addressed| addressed.end <= written)
            && let Some(Addressed { sender, len, .. }) = self.addressed.pop_front()
        {
            self.sum -= len;
            if let Entry::Occupied(mut sum) = self.sums.entry(sender) {
                *sum.get_mut() -= len;
                if *sum.get() == 0 {
                    sum.remove();
                }
            }
        }
    }
}

/// A number that names a sender.
pub(crate) type SenderId = u64;

/// Frames in a row that one sender has addressed to the receiver.
#[derive(Debug)]
struct Addressed {
    sender: SenderId,
    /// Where they end.
    end: u64,
    /// How many bytes they have.
    len: usize,
}

impl Addressed {
    /// Frames in a row are remembered together up to so many bytes.
    const TOGETHER: usize = 16 * 1024;
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
    pub(crate) fn push_raw(&mut self, bytes: &[u8], buffers: &mut Buffers) {
        debug_assert!(self.is_empty(), "what is no frame comes before all frames");
        self.frame_left = bytes.len();
        self.extend(bytes, buffers);
    }

    /// Queues a text frame.
    #[inline]
    pub(crate) fn push_text(&mut self, frame: &mut TextFrame<'_>, buffers: &mut Buffers) {
        if !frame.whole.is_empty() && self.tail.fits_small(frame.whole.len()) {
            // As nearly always where many take it.
            self.prepare_small(buffers);
            return self.extend(&frame.whole, buffers);
        }
        self.push_pieces(frame, buffers);
    }

    /// Queues a text frame of any size.
    fn push_pieces(&mut self, frame: &mut TextFrame<'_>, buffers: &mut Buffers) {
        let size = frame.len();
        if size >= SHARE || size >= SHARE_BEHIND && self.len >= BEHIND {
            self.gather();
            let bytes = frame.share(&buffers.shared);
            self.parts.push_back(Part { bytes, shared: true });
            self.len += size;
            buffers.shares += size;
        } else {
            self.prepare(size, buffers);
            self.extend(&frame.header[..frame.header_len], buffers);
            self.extend(frame.payload, buffers);
        }
    }

    /// Queues a text frame that a sender has addressed to the receiver, unless too much waits of
    /// that (R-L8): of one sender a quarter of what may wait in all, and of all senders half. What
    /// is refused leaves the queue as it was.
    pub(crate) fn push_addressed(
        &mut self,
        sender: SenderId,
        frame: &mut TextFrame<'_>,
        limit: usize,
        buffers: &mut Buffers,
    ) -> Result<(), TooMuch> {
        let len = frame.len();
        // As long as little waits there is no need to know whose it is.
        if self.len + len > limit / 16 {
            let notes = self.notes.get_or_insert_default();
            let beyond = |waits: usize, part: usize| waits > 0 && waits + len > limit / part;
            if beyond(notes.sum_of(sender), 4) || beyond(notes.sum, 2) || beyond(self.len, 1) {
                return Err(TooMuch);
            }
            notes.add(sender, notes.written + (self.len + len) as u64, len);
        }
        self.push_text(frame, buffers);
        Ok(())
    }

    /// Queues a pong. One waits at a time: if there is one already, it is followed by that for the
    /// latest ping and no other (RFC 6455 §5.5.3).
    pub(crate) fn push_pong(&mut self, payload: &[u8], buffers: &mut Buffers) {
        if let Some(notes) = &mut self.notes
            && notes.pong.is_some()
        {
            notes.next_pong = Some(payload.into());
            return;
        }
        self.push_control(Opcode::Pong, payload, buffers);
        let len = self.len;
        let notes = self.notes.get_or_insert_default();
        notes.pong = Some(notes.written + len as u64);
    }

    /// Queues a control frame of at most 125 bytes.
    pub(crate) fn push_control(&mut self, code: Opcode, payload: &[u8], buffers: &mut Buffers) {
        debug_assert!(code.is_control() && payload.len() <= 125, "control frames are short");
        let (header, len) = encode(code, false, payload.len());
        self.prepare(len + payload.len(), buffers);
        self.extend(&header[..len], buffers);
        self.extend(payload, buffers);
    }

    /// Makes room for a frame of so many bytes.
    #[inline]
    fn prepare(&mut self, len: usize, buffers: &mut Buffers) {
        if !self.tail.has_room(len) {
            self.gather();
            self.tail = Tail::large();
        }
        self.prepare_small(buffers);
    }

    /// A tail that has no memory yet is given some that others have had.
    #[inline]
    fn prepare_small(&mut self, buffers: &mut Buffers) {
        if let Tail::Small(buffer) = &mut self.tail
            && buffer.capacity() == 0
        {
            *buffer = buffers.take();
        }
    }

    /// Makes a part of what is in the tail.
    fn gather(&mut self) {
        if self.written < self.tail.len() {
            let bytes = std::mem::take(&mut self.tail).into_bytes(self.written);
            self.parts.push_back(Part { bytes, shared: false });
            self.written = 0;
        }
    }

    #[inline]
    fn extend(&mut self, bytes: &[u8], buffers: &mut Buffers) {
        self.tail.extend(bytes);
        self.len += bytes.len();
        buffers.waiting += bytes.len();
    }

    /// What is to be written next, in one piece: if there are no parts, all of it.
    #[inline]
    pub(crate) fn front(&self) -> &[u8] {
        self.parts.front().map_or(&self.tail.as_slice()[self.written..], |part| &part.bytes)
    }

    /// True if what waits is not in one piece.
    pub(crate) fn is_scattered(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The pieces that are to be written next, of at most so many bytes together.
    pub(crate) fn pieces(&self, most: usize) -> ([IoSlice<'_>; PARTS], usize) {
        let mut pieces = [IoSlice::new(&[]); PARTS];
        let buffer = &self.tail.as_slice()[self.written..];
        let (mut count, mut left) = (0, most);
        let all = self.parts.iter().map(|part| &*part.bytes).chain([buffer]);
        for (slot, piece) in pieces.iter_mut().zip(all) {
            *slot = IoSlice::new(&piece[..piece.len().min(left)]);
            count += 1;
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
        (pieces, count)
    }

    /// So many bytes have been written.
    pub(crate) fn advance(&mut self, count: usize, buffers: &mut Buffers) {
        if count == self.len {
            let next_pong = self.notes.take().and_then(|notes| notes.next_pong);
            self.clear(buffers);
            if let Some(payload) = next_pong {
                self.push_pong(&payload, buffers);
            }
            return;
        }
        let mut rest = count;
        while rest > 0 {
            if self.frame_left == 0 {
                self.frame_left = self.front_frame_len();
            }
            let step = rest.min(self.frame_left);
            self.frame_left -= step;
            rest -= step;
            self.drop_front(step, buffers);
        }
        self.len -= count;
        self.note_written(count, buffers);
    }

    /// What need not be remembered of what has been written is forgotten.
    fn note_written(&mut self, count: usize, buffers: &mut Buffers) {
        let Some(notes) = &mut self.notes else { return };
        notes.written += count as u64;
        notes.forget_written();
        let written = notes.written;
        if notes.pong.is_some_and(|end| end <= written) {
            notes.pong = None;
            if let Some(payload) = notes.next_pong.take() {
                return self.push_pong(&payload, buffers);
            }
        }
        if notes.pong.is_none() && notes.addressed.is_empty() {
            self.notes = None;
        }
    }

    /// The length of the frame at whose start the front stands.
    fn front_frame_len(&self) -> usize {
        // A frame is never divided: every part begins with a header.
        let front = self.front();
        match Header::parse(front) {
            Ok(Some(Header { payload, len, .. })) => {
                usize::try_from(payload).map_or(usize::MAX, |payload| len.saturating_add(payload))
            }
            _ => front.len().max(1),
        }
    }

    fn drop_front(&mut self, mut count: usize, buffers: &mut Buffers) {
        while count > 0 {
            let Some((step, shared)) = self.parts.drop_front(count) else {
                self.written += count;
                buffers.waiting -= count;
                return;
            };
            *if shared { &mut buffers.shares } else { &mut buffers.waiting } -= step;
            count -= step;
        }
    }

    /// Drops everything but the rest of a frame that has been written in part. Where others have
    /// that frame, too, it stays shared with them: to drop what waits must not take memory.
    pub(crate) fn discard(&mut self, buffers: &mut Buffers) {
        if self.frame_left == 0 {
            return self.clear(buffers);
        }
        let (frame_left, shared) = (self.frame_left, self.parts.take_shared_front());
        if let Some(part) = shared {
            // A shared part is one frame.
            self.len -= part.bytes.len();
            self.clear(buffers);
            self.len = part.bytes.len();
            self.parts.push_back(part);
        } else {
            let mut rest = Vec::with_capacity(frame_left);
            let parts = self.parts.iter().map(|part| &*part.bytes);
            for part in parts.chain([&self.tail.as_slice()[self.written..]]) {
                let wanted = frame_left - rest.len();
                rest.extend_from_slice(&part[..wanted.min(part.len())]);
            }
            self.clear(buffers);
            self.len = rest.len();
            self.tail = Tail::Small(rest);
            buffers.waiting += self.len;
        }
        self.frame_left = frame_left;
    }

    /// Drops everything.
    #[inline]
    pub(crate) fn clear(&mut self, buffers: &mut Buffers) {
        buffers.waiting -= self.len - self.parts.shared();
        // Nearly always there is nothing but what was gathered.
        if !self.parts.is_empty() {
            buffers.shares -= self.parts.shared();
            self.parts = Parts::default();
        }
        if self.notes.is_some() {
            self.notes = None;
        }
        if let Tail::Small(buffer) = std::mem::take(&mut self.tail) {
            buffers.give(buffer);
        }
        self.written = 0;
        self.len = 0;
        self.frame_left = 0;
    }
}

/// Too much waits for the receiver of what is addressed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

#[cfg(test)]
mod tests;
