//! The changes that this node has told last, for those who have missed some of them.

use alloc::collections::VecDeque;

use bytes::Bytes;

use symple_proto::cluster::next_sum;

/// How many changes are kept.
pub(super) const MAX_CHANGES: usize = 4096;

/// How many bytes of them.
const MAX_BYTES: usize = 1024 * 1024;

/// The last changes of a node, numbered without a gap.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// The number before the first change that is kept, and the sum up to there.
    base: (u64, u64),
    /// The texts, and the sum up to each.
    changes: VecDeque<(Bytes, u64)>,
    bytes: usize,
}

impl Ring {
    /// The number of the last change, and the sum of all.
    pub(super) fn last(&self) -> (u64, u64) {
        let sum = self.changes.back().map_or(self.base.1, |(_, sum)| *sum);
        (self.base.0 + self.changes.len() as u64, sum)
    }

    /// Adds a change; those that have been here for the longest time make room for it.
    pub(super) fn push(&mut self, text: Bytes) {
        let sum = next_sum(self.last().1, text_of(&text));
        self.bytes += text.len();
        self.changes.push_back((text, sum));
        while self.changes.len() > MAX_CHANGES || self.bytes > MAX_BYTES {
            let Some((text, sum)) = self.changes.pop_front() else { break };
            self.bytes -= text.len();
            self.base = (self.base.0 + 1, sum);
        }
    }

    /// Leaves a change out that nobody will ever be told of: whoever knows what was before must
    /// ask for everything.
    pub(super) fn skip(&mut self) {
        let (seq, sum) = self.last();
        *self = Self { base: (seq + 1, next_sum(sum, "")), ..Self::default() };
    }

    /// The texts of the changes behind so many, of which this is the sum; none if they are not
    /// here any more, or if the sum is another one.
    pub(super) fn since(&self, seq: u64, sum: u64) -> Option<impl Iterator<Item = &str>> {
        let at = usize::try_from(seq.checked_sub(self.base.0)?).ok()?;
        let known = match at.checked_sub(1) {
            None => self.base.1,
            Some(before) => self.changes.get(before)?.1,
        };
        (known == sum).then(|| self.changes.iter().skip(at).map(|(text, _)| text_of(text)))
    }
}

fn text_of(text: &Bytes) -> &str {
    core::str::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec::Vec};

    use super::*;

    #[test]
    fn what_was_missed_is_found_by_its_number_and_sum() {
        let mut ring = Ring::default();
        let mut points = Vec::from([ring.last()]);
        for text in ["a", "b", "c"] {
            ring.push(Bytes::from_static(text.as_bytes()));
            points.push(ring.last());
        }
        let since = |(seq, sum)| ring.since(seq, sum).map(Iterator::collect::<Vec<_>>);
        assert_eq!(points.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(since(points[0]), Some(["a", "b", "c"].into()));
        assert_eq!(since(points[2]), Some(["c"].into()));
        assert_eq!(since(points[3]), Some([].into()));
        assert_eq!(since((4, points[3].1)), None, "from the future");
        assert_eq!(since((2, points[3].1)), None, "not what was told");
        assert_eq!(since((u64::MAX, 0)), None);
    }

    #[test]
    fn it_is_bounded_by_count_and_by_bytes() {
        for (size, count, kept) in [(1, 5000, 4096), (16 * 1024, 100, 64)] {
            let mut ring = Ring::default();
            let mut points = Vec::from([ring.last()]);
            for at in 0..count {
                ring.push(Bytes::from(format!("{at:0>size$}")));
                points.push(ring.last());
            }
            let len = ring.changes.len();
            assert!(len <= kept && len + 1 >= kept, "{len} of {kept}");
            let (seq, sum) = points[count - len];
            assert_eq!(ring.since(seq, sum).map(Iterator::count), Some(len));
            let (seq, sum) = points[count - len - 1];
            assert!(ring.since(seq, sum).is_none());
            assert_eq!(ring.last().0, count as u64);
        }
    }

    #[test]
    fn what_is_skipped_cannot_be_asked_for() {
        let mut ring = Ring::default();
        ring.push(Bytes::from_static(b"a"));
        let (seq, sum) = ring.last();
        ring.skip();
        assert!(ring.since(seq, sum).is_none());
        assert_eq!(ring.last().0, 2);
        let (seq, sum) = ring.last();
        assert_eq!(ring.since(seq, sum).map(Iterator::count), Some(0));
    }
}
