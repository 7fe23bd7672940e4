//! How much Redis keeps for a subscriber that is behind, before it drops it.

use ::redis::{Cmd, Value, cmd};

/// The setting, and what it is where nobody has changed it: a subscriber is dropped at 32 MiB, or
/// after a minute at 8 MiB.
const SETTING: &str = "client-output-buffer-limit";
const HARD: u64 = 32 * 1024 * 1024;
const SOFT: u64 = 8 * 1024 * 1024;

/// Asks for it. Users with few rights may not.
pub(super) fn ask() -> Cmd {
    let mut ask = cmd("CONFIG");
    ask.arg("GET").arg(SETTING);
    ask
}

/// What is to be said of the answer: that it is less than what Redis is shipped with. None for
/// what is no answer.
pub(super) fn problem(answer: &Value) -> Option<String> {
    let Value::Map(settings) = answer else { return None };
    let (_, Value::BulkString(limits)) = settings.first()? else { return None };
    let limits = std::str::from_utf8(limits).ok()?;
    // Groups of four: a class of clients, a hard limit, a soft one, and for how many seconds.
    let words: Vec<&str> = limits.split_ascii_whitespace().collect();
    let group = words.chunks_exact(4).find(|group| group[0] == "pubsub")?;
    let (hard, soft): (u64, u64) = (group[1].parse().ok()?, group[2].parse().ok()?);
    let is_small = |limit: u64, usual: u64| limit != 0 && limit < usual;
    (is_small(hard, HARD) || is_small(soft, SOFT)).then(|| {
        format!(
            "Redis drops subscribers that are behind by {hard} bytes, or by {soft} for a while: \
             less than usual, so a slow moment may cut this server off; {SETTING} pubsub {HARD} \
             {SOFT} 60 is the least that is recommended"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(limits: &str) -> Option<String> {
        let value = |text: &str| Value::BulkString(text.into());
        problem(&Value::Map(vec![(value(SETTING), value(limits))]))
    }

    /// R-S4: a Redis that drops subscribers sooner than others do is said out loud, once.
    #[test]
    fn limits_that_are_small() {
        let usual = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(of(usual), None);
        for fine in ["", "pubsub", "pubsub a b c", "normal 1 1 1", "pubsub 0 0 0"] {
            assert_eq!(of(fine), None, "{fine}");
        }
        for small in ["pubsub 33554431 0 0", "pubsub 0 1024 60", "normal 0 0 0 pubsub 1 1 1"] {
            assert!(of(small).unwrap().contains("pubsub 33554432 8388608 60"), "{small}");
        }
        assert_eq!(problem(&Value::Nil), None);
        assert_eq!(problem(&Value::Map(vec![])), None);
    }
}
