//! What waits, in which order, and how much of it counts.

use proptest::prelude::*;
use tungstenite::protocol::frame::{FrameHeader, coding::OpCode};

use super::*;

fn all(queue: &OutQueue) -> Vec<u8> {
    let (pieces, count) = queue.pieces(usize::MAX);
    pieces[..count].iter().flat_map(|piece| piece.to_vec()).collect()
}

#[test]
fn small_frames_are_one_piece() {
    let (mut queue, mut buffers) = (OutQueue::default(), Buffers::default());
    queue.push_text(&mut TextFrame::new(&Bytes::from_static(b"hello")), &mut buffers);
    queue.push_control(Opcode::Ping, b"", &mut buffers);
    assert_eq!(queue.front(), b"\x81\x05hello\x89\x00");
    assert!(!queue.is_scattered());
    queue.advance(queue.len(), &mut buffers);
    assert!(queue.is_empty());
    let Tail::Small(buffer) = &queue.tail else { panic!() };
    assert_eq!(buffer.capacity(), 0, "an empty queue holds no memory");
    assert_eq!((buffers.unused.len(), buffers.waiting), (1, 0));
}

#[test]
fn large_payloads_are_shared() {
    let (mut queue, mut buffers) = (OutQueue::default(), Buffers::default());
    let large = Bytes::from(vec![b'x'; 100_000]);
    queue.push_text(&mut TextFrame::new(&Bytes::from_static(b"a")), &mut buffers);
    queue.push_text(&mut TextFrame::new(&large), &mut buffers);
    queue.push_text(&mut TextFrame::new(&Bytes::from_static(b"b")), &mut buffers);
    assert!(queue.is_scattered());
    assert_eq!(queue.len(), 3 + 10 + 100_000 + 3);
    assert_eq!(all(&queue).len(), queue.len());
    // They are counted once, however many have them, and as long as one has.
    let mut other = OutQueue::default();
    let mut frame = TextFrame::new(&large);
    other.push_text(&mut frame, &mut buffers);
    queue.push_text(&mut frame, &mut buffers);
    drop(frame);
    let last = queue.parts.iter().last().unwrap();
    assert_eq!(last.bytes, other.parts.front().unwrap().bytes);
    assert_eq!(buffers.shared.load(Ordering::Relaxed), 200_020);
    queue.clear(&mut buffers);
    assert_eq!(buffers.shared.load(Ordering::Relaxed), 100_010);
    other.clear(&mut buffers);
    assert_eq!((buffers.shared.load(Ordering::Relaxed), buffers.waiting), (0, 0));
}

/// R-L4: at most one pong waits, and behind it that for the latest ping.
#[test]
fn one_pong_waits() {
    let (mut queue, mut buffers) = (OutQueue::default(), Buffers::default());
    for n in 0..100_u8 {
        queue.push_pong(&[n; 3], &mut buffers);
    }
    assert_eq!(queue.front(), [0x8a, 3, 0, 0, 0]);
    queue.advance(4, &mut buffers);
    queue.push_text(&mut TextFrame::new(&Bytes::from_static(b"hello")), &mut buffers);
    queue.advance(1, &mut buffers);
    assert_eq!(queue.front(), b"\x81\x05hello\x8a\x03ccc");
    queue.push_pong(b"x", &mut buffers);
    queue.advance(queue.len(), &mut buffers);
    assert_eq!(queue.front(), b"\x8a\x01x");
    queue.advance(queue.len(), &mut buffers);
    assert!(queue.is_empty() && queue.notes.is_none());
    assert_eq!(buffers.waiting, 0);
}

/// R-L8: of what one sender addresses a quarter of the limit may wait, of all together half.
#[test]
fn what_is_addressed_may_wait_up_to_a_share() {
    let (mut queue, mut buffers) = (OutQueue::default(), Buffers::default());
    let payload = Bytes::from(vec![b'x'; 996]);
    let mut frame = TextFrame::new(&payload);
    let limit = 100_000;
    let mut push = |queue: &mut OutQueue, from: u64| {
        queue.push_addressed(from, &mut frame, limit, &mut buffers).is_ok()
    };
    let count = |queue: &mut OutQueue, push: &mut dyn FnMut(&mut OutQueue, u64) -> bool, from| {
        (0..100).filter(|_| push(queue, from)).count()
    };
    // The first few are not counted.
    assert_eq!(count(&mut queue, &mut push, 1), 6 + 25);
    assert_eq!(count(&mut queue, &mut push, 2), 25);
    assert_eq!(count(&mut queue, &mut push, 3), 0, "half of the limit waits");
    assert_eq!(queue.len(), 56_000);
    // What has been written makes room again.
    queue.advance(queue.len() - 25_000, &mut Buffers { waiting: 31_000, ..Buffers::default() });
    assert_eq!(count(&mut queue, &mut push, 1), 25);
}

/// R-L8: one frame may wait whatever its size: it could never be sent otherwise.
#[test]
fn a_large_frame_is_addressed() {
    let (mut queue, mut buffers) = (OutQueue::default(), Buffers::default());
    let payload = Bytes::from(vec![b'x'; 60_000]);
    let sender = 1;
    let mut frame = TextFrame::new(&payload);
    assert_eq!(queue.push_addressed(sender, &mut frame, 100_000, &mut buffers), Ok(()));
    assert_eq!(queue.push_addressed(sender, &mut frame, 100_000, &mut buffers), Err(TooMuch));
    let other = 2;
    assert_eq!(queue.push_addressed(other, &mut frame, 100_000, &mut buffers), Err(TooMuch));
}

proptest! {
    /// R-L8: the sums of what is addressed are those of what is remembered, whatever comes and
    /// goes.
    #[test]
    fn sums_are_kept(steps in prop::collection::vec((0..4_u64, 0..30_000_usize), 1..200)) {
        let (mut queue, mut buffers) = (OutQueue::default(), Buffers::default());
        for (sender, size) in steps {
            let payload = Bytes::from(vec![b'x'; size]);
            if sender == 0 && !queue.is_empty() {
                queue.advance(size.clamp(1, queue.len()), &mut buffers);
            } else {
                let mut frame = TextFrame::new(&payload);
                let _ = queue.push_addressed(sender, &mut frame, 200_000, &mut buffers);
            }
            let Some(notes) = &queue.notes else { continue };
            let mut sums = BTreeMap::new();
            for addressed in &notes.addressed {
                *sums.entry(addressed.sender).or_insert(0) += addressed.len;
            }
            prop_assert_eq!(notes.sum, sums.values().sum::<usize>());
            prop_assert_eq!(&notes.sums, &sums);
        }
    }

    /// However the bytes leave, they are the frames; and what is discarded leaves a whole one.
    #[test]
    fn frames_stay_whole(
        frames in prop::collection::vec((0..40_000_usize, any::<bool>()), 1..12),
        steps in prop::collection::vec(1..60_000_usize, 0..20),
    ) {
        let (mut queue, mut buffers) = (OutQueue::default(), Buffers::default());
        let mut expected = Vec::new();
        let mut ends = Vec::new();
        queue.push_raw(b"HTTP/1.1 101\r\n\r\n", &mut buffers);
        expected.extend(b"HTTP/1.1 101\r\n\r\n");
        ends.push(expected.len());
        for (size, control) in frames {
            let payload = vec![b'p'; size];
            if control {
                let payload = &payload[..size.min(125)];
                queue.push_control(Opcode::Pong, payload, &mut buffers);
                expected.extend([0x8a, payload.len() as u8]);
                expected.extend(payload);
            } else {
                queue.push_text(&mut TextFrame::new(&Bytes::from(payload.clone())), &mut buffers);
                FrameHeader { opcode: OpCode::from(1), ..FrameHeader::default() }
                    .format(size as u64, &mut expected).unwrap();
                expected.extend(payload);
            }
            ends.push(expected.len());
        }
        prop_assert_eq!(queue.len(), expected.len());
        let mut at = 0;
        for step in steps {
            let (pieces, count) = queue.pieces(usize::MAX);
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
        prop_assert_eq!(buffers.waiting, queue.len() - queue.parts.shared());
        prop_assert_eq!(buffers.shares, queue.parts.shared());
        queue.clear(&mut buffers);
        prop_assert_eq!((buffers.waiting, buffers.shares), (0, 0));
        prop_assert_eq!(buffers.shared.load(Ordering::Relaxed), 0);
    }
}
