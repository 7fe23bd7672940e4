//! Messages that can be accounted for: each tells its sender, its number and when it was sent.

/// How long the part is that is read: `{"n":"…","s":"…","t":"…"`.
const NUMBER: std::ops::Range<usize> = 6..16;
const SENDER: std::ops::Range<usize> = 23..28;
const TIME: std::ops::Range<usize> = 35..51;

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counted by its sender from 0, for each receiver or room.
    pub(crate) number: u32,
    /// Which sender.
    pub(crate) sender: usize,
    /// When, in nanoseconds since the start.
    pub(crate) sent: u64,
}

/// The text of a message; `data` is the payload.
pub(crate) fn compose(stamp: Stamp, to: &str, data: &str) -> String {
    let Stamp { number, sender, sent } = stamp;
    format!(
        r#"{{"n":"{number:010}","s":"{sender:05}","t":"{sent:016}","type":"message","to":"{to}","data":"{data}"}}"#
    )
}

/// Reads the stamp of a message; `None` for every other frame.
pub(crate) fn read(text: &[u8]) -> Option<Stamp> {
    if !text.starts_with(b"{\"n\":\"") {
        return None;
    }
    let digits = |range: std::ops::Range<usize>| {
        text.get(range)?.iter().try_fold(0_u64, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
        })
    };
    Some(Stamp {
        number: u32::try_from(digits(NUMBER)?).ok()?,
        sender: usize::try_from(digits(SENDER)?).ok()?,
        sent: digits(TIME)?,
    })
}

/// Counts what each receiver got from each sender, and what it should not have got.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By receiver and sender: the number that comes next.
    next: Vec<Vec<u32>>,
    /// Messages that arrived.
    pub(crate) delivered: u64,
    /// Numbers that were passed over. Those that come later are reordered, not lost.
    pub(crate) skipped: u64,
    /// Messages with a number that was passed over, or has been.
    pub(crate) repeated: u64,
}

impl Ledger {
    /// For so many receivers and senders.
    pub(crate) fn new(receivers: usize, senders: usize) -> Self {
        Self { next: vec![vec![0; senders]; receivers], ..Self::default() }
    }

    /// A receiver got a message.
    pub(crate) fn enter(&mut self, receiver: usize, stamp: Stamp) {
        self.delivered += 1;
        let Some(next) = self.next.get_mut(receiver).and_then(|next| next.get_mut(stamp.sender))
        else {
            self.repeated += 1;
            return;
        };
        if stamp.number >= *next {
            self.skipped += u64::from(stamp.number - *next);
            *next = stamp.number + 1;
        } else {
            self.repeated += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read_as_they_were_written() {
        let stamp = Stamp { number: 12_345, sender: 7, sent: 1_234_567_890_123 };
        assert_eq!(read(compose(stamp, "room", "xyz").as_bytes()), Some(stamp));
        assert_eq!(read(br#"{"type":"presence"}"#), None);
        assert_eq!(read(b"{\"n\":\"12"), None);
    }

    #[test]
    fn a_ledger_notices() {
        let mut ledger = Ledger::new(1, 1);
        for number in [0, 1, 3, 2, 4] {
            ledger.enter(0, Stamp { number, sender: 0, sent: 0 });
        }
        assert_eq!((ledger.delivered, ledger.skipped, ledger.repeated), (5, 1, 1));
    }
}
