//! What arrived, against what was sent: to the message.

use std::collections::BTreeSet;

use serde::Serialize;

/// A gap of more messages than this is nonsense, not a loss.
const LARGEST_GAP: u32 = 1_000_000;

/// Counts what arrives in numbered streams, each from one sender to one receiver.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    streams: Vec<Stream>,
    /// Numbers that were passed over and have not come yet, by stream: few, if any.
    missing: BTreeSet<(usize, u32)>,
    /// Messages that arrived.
    pub(crate) delivered: u64,
    duplicated: u64,
    reordered: u64,
    misdelivered: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// The number that comes next.
    next: u32,
    /// True if nothing has arrived and what comes first is the first.
    joins_late: bool,
}

/// What became of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Account {
    /// How many should have arrived.
    pub(crate) expected: u64,
    /// How many arrived, duplicates too.
    pub(crate) delivered: u64,
    /// Never arrived.
    pub(crate) lost: u64,
    /// Arrived again.
    pub(crate) duplicated: u64,
    /// Arrived behind one that was sent later.
    pub(crate) reordered: u64,
    /// Arrived where they do not belong.
    pub(crate) misdelivered: u64,
}

impl Account {
    /// True if each message arrived once, in its place.
    pub(crate) fn is_exact(&self) -> bool {
        let Self { lost, duplicated, reordered, misdelivered, .. } = self;
        lost + duplicated + reordered + misdelivered == 0
    }
}

impl Ledger {
    /// For so many streams.
    pub(crate) fn new(streams: usize) -> Self {
        Self { streams: vec![Stream::default(); streams], ..Self::default() }
    }

    /// A further stream, of which only what comes after the first arrival is known; its number.
    pub(crate) fn join(&mut self) -> usize {
        self.streams.push(Stream { next: 0, joins_late: true });
        self.streams.len() - 1
    }

    /// A message arrived.
    pub(crate) fn enter(&mut self, stream: usize, number: u32) {
        let Some(Stream { next, joins_late }) = self.streams.get_mut(stream) else {
            return self.misdeliver();
        };
        self.delivered += 1;
        if std::mem::take(joins_late) {
            *next = number;
        }
        if number == *next {
            *next += 1;
        } else if number > *next && number - *next <= LARGEST_GAP {
            self.missing.extend((*next..number).map(|number| (stream, number)));
            *next = number + 1;
        } else if number > *next {
            self.misdelivered += 1;
        } else if self.missing.remove(&(stream, number)) {
            self.reordered += 1;
        } else {
            self.duplicated += 1;
        }
    }

    /// A message arrived where it does not belong.
    pub(crate) fn misdeliver(&mut self) {
        self.delivered += 1;
        self.misdelivered += 1;
    }

    /// How many different messages have arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.delivered - self.duplicated - self.misdelivered
    }

    /// How many different messages have arrived in the first streams.
    pub(crate) fn arrived_in(&self, streams: usize) -> u64 {
        let numbers: u64 =
            self.streams[..streams].iter().map(|stream| u64::from(stream.next)).sum();
        numbers - self.missing.range(..(streams, 0)).count() as u64
    }

    /// What became of the messages, if so many were sent in each stream. Of streams behind these
    /// only the gaps are known.
    pub(crate) fn account(&self, sent: impl IntoIterator<Item = u32>) -> Account {
        let (mut expected, mut tail, mut counted) = (0, 0, 0);
        for (sent, stream) in sent.into_iter().zip(&self.streams) {
            expected += u64::from(sent);
            tail += u64::from(sent.saturating_sub(stream.next));
            counted += 1;
        }
        let others = self.streams[counted..].iter().any(|stream| stream.next > 0);
        let lost = tail + self.missing.len() as u64;
        Account {
            // With streams that joined late, what should have arrived is what did, and the rest.
            expected: if others { self.arrived() + lost } else { expected },
            delivered: self.delivered,
            lost,
            duplicated: self.duplicated,
            reordered: self.reordered,
            misdelivered: self.misdelivered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(numbers: &[u32], sent: u32) -> Account {
        let mut ledger = Ledger::new(1);
        for number in numbers {
            ledger.enter(0, *number);
        }
        ledger.account([sent])
    }

    #[test]
    fn all_is_well() {
        let account = account(&[0, 1, 2], 3);
        assert!(account.is_exact());
        assert_eq!((account.expected, account.delivered), (3, 3));
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let faults = |numbers: &[u32], sent| {
            let account = account(numbers, sent);
            (account.lost, account.duplicated, account.reordered, account.misdelivered)
        };
        assert_eq!(faults(&[0, 2], 3), (1, 0, 0, 0));
        assert_eq!(faults(&[0, 1], 3), (1, 0, 0, 0));
        assert_eq!(faults(&[], 3), (3, 0, 0, 0));
        assert_eq!(faults(&[0, 1, 1, 2], 3), (0, 1, 0, 0));
        assert_eq!(faults(&[0, 2, 1], 3), (0, 0, 1, 0));
        assert_eq!(faults(&[2, 1, 0, 0], 3), (0, 1, 2, 0));
        assert_eq!(faults(&[0, 4_000_000_000], 1), (0, 0, 0, 1));
        let mut ledger = Ledger::new(1);
        ledger.enter(7, 0);
        assert_eq!(ledger.account([0]).misdelivered, 1);
    }

    #[test]
    fn streams_that_join_late() {
        let mut ledger = Ledger::new(1);
        ledger.enter(0, 0);
        let late = ledger.join();
        for number in [70, 71, 73] {
            ledger.enter(late, number);
        }
        let account = ledger.account([2]);
        assert_eq!((account.lost, account.expected, account.delivered), (2, 6, 4));
    }
}
