//! What Redis delivers, on its way to the server's thread.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use ::redis::{PushInfo, PushKind, Value};
use atomic_waker::AtomicWaker;

/// Says that something has happened to a link, and wakes the task that looks after it.
///
/// The task has much else to do: it looks at a link only when it was signalled.
#[derive(Debug, Default)]
pub(super) struct Signal {
    given: AtomicBool,
    task: AtomicWaker,
}

impl Signal {
    /// Which task to wake.
    pub(super) fn register(&self, task: &Waker) {
        self.task.register(task);
    }

    /// True if it was given since the last look.
    pub(super) fn take(&self) -> bool {
        self.given.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.given.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }
}

/// A message that was published.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) channel: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

impl Message {
    fn size(&self) -> usize {
        size_of::<Self>() + self.channel.len() + self.payload.len()
    }
}

/// What a connection has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    #[default]
    Fine,
    /// Redis has closed it, or the network has.
    Closed,
    /// More was published than the server can take.
    Full,
}

#[derive(Debug, Default)]
struct Contents {
    messages: VecDeque<Message>,
    bytes: usize,
    condition: Condition,
    /// How many messages have come.
    heard: u64,
    /// The last number that has come back.
    echoed: Option<u64>,
}

/// The messages of a connection that wait for the server, up to a limit.
#[derive(Debug)]
pub(super) struct Inbox {
    contents: Mutex<Contents>,
    limit: usize,
    /// The channel on which numbers come back. They wait behind nothing.
    echo: String,
    signal: Arc<Signal>,
}

impl Inbox {
    pub(super) fn new(limit: usize, echo: String, signal: Arc<Signal>) -> Self {
        Self { contents: Mutex::default(), limit, echo, signal }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Whoever panics here leaves a list of messages, and no half of one.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what Redis says of its own accord.
    pub(super) fn push(&self, info: PushInfo) {
        let mut contents = self.contents();
        match info.kind {
            PushKind::Message => {
                let Some(message) = message(info.data) else { return };
                contents.heard = contents.heard.wrapping_add(1);
                if message.channel == self.echo.as_bytes() {
                    let number = std::str::from_utf8(&message.payload).ok();
                    contents.echoed = number.and_then(|number| number.parse().ok());
                    drop(contents);
                    return self.signal.wake_by_ref();
                }
                // A single message is taken whatever its size: it is here already.
                let bytes = contents.bytes + message.size();
                if contents.condition != Condition::Fine {
                    return;
                } else if bytes > self.limit && !contents.messages.is_empty() {
                    contents.condition = Condition::Full;
                    (contents.messages, contents.bytes) = (VecDeque::new(), 0);
                } else {
                    contents.bytes = bytes;
                    contents.messages.push_back(message);
                }
            }
            PushKind::Disconnection => contents.condition = Condition::Closed,
            _ => return,
        }
        drop(contents);
        self.signal.wake_by_ref();
    }

    /// The oldest message.
    pub(super) fn pop(&self) -> Option<Message> {
        let mut contents = self.contents();
        let message = contents.messages.pop_front()?;
        contents.bytes -= message.size();
        Some(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.contents().messages.is_empty()
    }

    /// The last number that has come back.
    pub(super) fn echoed(&self) -> Option<u64> {
        self.contents().echoed
    }

    /// How many messages have come, as a sign of life.
    pub(super) fn heard(&self) -> u64 {
        self.contents().heard
    }

    pub(super) fn condition(&self) -> Condition {
        self.contents().condition
    }
}

/// The message of `[channel, payload]`.
fn message(data: Vec<Value>) -> Option<Message> {
    let mut data = data.into_iter();
    match (data.next(), data.next()) {
        (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) => {
            Some(Message { channel, payload })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(size: usize) -> PushInfo {
        let data = vec![Value::BulkString(b"symple:x".into()), Value::BulkString(vec![b'x'; size])];
        PushInfo { kind: PushKind::Message, data }
    }

    /// R-S4: memory is bounded when more is published than a server can take.
    #[test]
    fn an_inbox_is_bounded() {
        let signal = Arc::new(Signal::default());
        let inbox = Inbox::new(1000, "symple:echo".into(), Arc::clone(&signal));
        inbox.push(published(5000));
        assert_eq!(inbox.pop().unwrap().payload.len(), 5000);
        assert!(signal.take() && !signal.take());
        for _ in 0..5 {
            inbox.push(published(100));
        }
        assert_eq!(inbox.condition(), Condition::Fine);
        inbox.push(published(900));
        assert_eq!(inbox.condition(), Condition::Full);
        inbox.push(published(1));
        assert_eq!(inbox.pop(), None);
        assert!(signal.take());
    }

    /// R-S4: what was published to see whether it comes back is seen at once, and is no message.
    #[test]
    fn echoes() {
        let signal = Arc::new(Signal::default());
        let inbox = Inbox::new(1000, "symple:echo".into(), Arc::clone(&signal));
        let echo = |payload: &[u8]| {
            let channel = Value::BulkString(b"symple:echo".into());
            let data = vec![channel, Value::BulkString(payload.into())];
            inbox.push(PushInfo { kind: PushKind::Message, data });
        };
        inbox.push(published(900));
        assert_eq!((inbox.echoed(), inbox.heard()), (None, 1));
        for (payload, number) in
            [(&b"7"[..], Some(7)), (b"x", None), (b"\xff", None), (b"", None), (b"8", Some(8))]
        {
            signal.take();
            echo(payload);
            assert_eq!(inbox.echoed(), number);
            assert!(signal.take());
        }
        inbox.push(published(900));
        assert_eq!((inbox.condition(), inbox.heard()), (Condition::Full, 7));
        assert_eq!(inbox.pop(), None);
    }

    #[test]
    fn what_is_no_message() {
        let inbox = Inbox::new(1000, "symple:echo".into(), Arc::default());
        for data in [vec![], vec![Value::Nil, Value::Int(1)]] {
            inbox.push(PushInfo { kind: PushKind::Message, data });
        }
        inbox.push(PushInfo { kind: PushKind::Subscribe, data: vec![] });
        assert_eq!((inbox.pop(), inbox.condition()), (None, Condition::Fine));
        inbox.push(PushInfo { kind: PushKind::Disconnection, data: vec![] });
        assert_eq!(inbox.condition(), Condition::Closed);
    }
}
