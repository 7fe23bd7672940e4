//! Messages that can be accounted for: each tells its sender, its number and when it was sent.

/// How long the part is that is read: `{"n":"…","s":"…","t":"…"`.
const NUMBER: std::ops::Range<usize> = 6..16;
const SENDER: std::ops::Range<usize> = 23..28;
const TIME: std::ops::Range<usize> = 35..51;

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counted by its sender from 0.
    pub(crate) number: u32,
    /// Which sender.
    pub(crate) sender: usize,
    /// When, in nanoseconds since the start: in an open loop, when it should have been sent.
    pub(crate) sent: u64,
}

/// The text of a message; `to` is JSON, `data` the payload.
pub(crate) fn compose(stamp: Stamp, to: &str, data: &str) -> String {
    let Stamp { number, sender, sent } = stamp;
    format!(
        r#"{{"n":"{number:010}","s":"{sender:05}","t":"{sent:016}","type":"message","to":{to},"data":"{data}"}}"#
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read_as_they_were_written() {
        let stamp = Stamp { number: 12_345, sender: 7, sent: 1_234_567_890_123 };
        assert_eq!(read(compose(stamp, "\"room\"", "xyz").as_bytes()), Some(stamp));
        assert_eq!(read(br#"{"type":"presence"}"#), None);
        assert_eq!(read(b"{\"n\":\"12"), None);
    }
}
