//! Between the thread that has the engine and one that has sockets only.
//!
//! What goes either way goes in batches, in order, one hand-over per turn; the other thread is
//! woken where nothing waited for it. Both ways are bounded: a worker does not read from its
//! sockets while the engine has too much of it to do, and the engine is handed nothing while a
//! worker has too much to write.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use symple_engine::server::{ConnId, Text, TransportFault};
use symple_proto::CloseCode;

use crate::{
    core::request::Reply,
    http::Request,
    net::connection::Gone,
    net::ready::Ready,
    net::source::{Source, Stream},
    server::hooks::UpgradeDecision,
    server::stats::TransportStats,
    ws::deflate::SharedDeflated,
};

/// How many bytes of texts and what goes with them may wait for the engine's thread, before
/// nothing more is read.
const EVENTS: usize = 256 * 1024;
/// How many bytes may wait for a worker to queue them for its connections.
const COMMANDS: usize = 8 * 1024 * 1024;
/// What an event or a receiver counts beside its text.
const EXTRA: usize = 32;

/// What a worker is to do.
pub(crate) enum WorkerCommand<S> {
    /// To take a connection in.
    Open {
        id: ConnId,
        source: Source<S>,
        address: SocketAddr,
        /// How long it has waited to be taken in.
        waited: Duration,
    },
    /// To go on with a stream that was awaited.
    Attach {
        id: ConnId,
        stream: Stream,
        reply: Reply<()>,
    },
    /// To queue a text for some of the receivers of the batch. The input that caused it has a
    /// number (R-L4).
    Send {
        text: Text,
        to: Range<usize>,
        input: u64,
        /// Who has addressed it to them (R-L8).
        sender: Option<ConnId>,
        /// Where its compressed form is, or will be, for all threads.
        deflated: Option<SharedDeflated>,
    },
    Close {
        id: ConnId,
        code: CloseCode,
        reason: &'static str,
        discard: bool,
    },
    SetMessageLimit(ConnId, usize),
    Pause(ConnId),
    Resume(ConnId),
    /// To say when it has taken what it was sent.
    AwaitDrain(ConnId),
    End(ConnId),
    EndHandshakes,
    UpgradeDecided(ConnId, UpgradeDecision),
}

/// Commands, and the receivers of those that send.
pub(crate) struct WorkerCommands<S> {
    pub(crate) list: Vec<WorkerCommand<S>>,
    pub(crate) receivers: Vec<ConnId>,
    cost: usize,
}

impl<S> Default for WorkerCommands<S> {
    fn default() -> Self {
        Self { list: Vec::new(), receivers: Vec::new(), cost: 0 }
    }
}

/// What has happened to a worker's connections.
#[derive(Debug)]
pub(crate) enum WorkerEvent {
    /// A WebSocket connection has begun.
    Connected {
        id: ConnId,
        address: IpAddr,
        request: Option<Box<Request>>,
        /// Texts to it may be compressed (R-T10).
        deflates: bool,
    },
    /// Where in the batch its text stands.
    Text {
        id: ConnId,
        text: Range<usize>,
    },
    Fault {
        id: ConnId,
        fault: TransportFault,
    },
    /// So many frames without text.
    Frames {
        id: ConnId,
        count: u32,
    },
    /// The client has left; what it had sent before follows.
    Departed(ConnId),
    Behind(ConnId),
    Drained(ConnId),
    /// A text of this sender was refused (R-L8).
    Undelivered {
        id: ConnId,
        text: Text,
    },
    Disconnected(ConnId, Gone),
    Removed(ConnId),
}

impl WorkerEvent {
    /// Which connection it is about.
    pub(crate) fn id(&self) -> ConnId {
        match self {
            Self::Connected { id, .. }
            | Self::Text { id, .. }
            | Self::Fault { id, .. }
            | Self::Frames { id, .. }
            | Self::Undelivered { id, .. }
            | Self::Departed(id)
            | Self::Behind(id)
            | Self::Drained(id)
            | Self::Disconnected(id, _)
            | Self::Removed(id) => *id,
        }
    }
}

/// Events, and their texts.
#[derive(Debug, Default)]
pub(crate) struct WorkerEvents {
    list: Vec<WorkerEvent>,
    texts: String,
    pub(crate) stats: TransportStats,
}

impl WorkerEvents {
    pub(crate) fn push(&mut self, event: WorkerEvent) {
        self.list.push(event);
    }

    pub(crate) fn push_text(&mut self, id: ConnId, text: &str) {
        let start = self.texts.len();
        self.texts.push_str(text);
        self.list.push(WorkerEvent::Text { id, text: start..self.texts.len() });
    }

    /// Nothing should be added that can wait.
    pub(crate) fn is_full(&self) -> bool {
        self.texts.len() + self.list.len() * EXTRA > EVENTS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn append(&mut self, mut other: Self) {
        self.stats = other.stats;
        if self.is_empty() {
            *self = other;
            return;
        }
        let offset = self.texts.len();
        self.texts.push_str(&other.texts);
        for event in &mut other.list {
            if let WorkerEvent::Text { text, .. } = event {
                *text = text.start + offset..text.end + offset;
            }
        }
        self.list.append(&mut other.list);
    }

    /// The events and their texts, apart.
    pub(crate) fn into_parts(self) -> (std::vec::IntoIter<WorkerEvent>, String) {
        (self.list.into_iter(), self.texts)
    }
}

struct Down<S> {
    batches: Vec<WorkerCommands<S>>,
    cost: usize,
    /// The engine's thread wants to know when they are taken.
    awaited: bool,
    /// There will be no more.
    stopped: bool,
}

#[derive(Default)]
struct Up {
    events: WorkerEvents,
    fresh: bool,
    /// The worker wants to know when they are taken.
    awaited: bool,
    /// There will be no more.
    dead: bool,
}

/// What two threads share.
pub(crate) struct Mailbox<S> {
    down: Mutex<Down<S>>,
    up: Mutex<Up>,
    core: Arc<Ready>,
    worker: Arc<Ready>,
}

/// What is behind it is whole whatever has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Mailbox<S> {
    pub(crate) fn new(core: Arc<Ready>, worker: Arc<Ready>) -> Arc<Self> {
        let down = Down { batches: Vec::new(), cost: 0, awaited: false, stopped: false };
        Arc::new(Self { down: Mutex::new(down), up: Mutex::default(), core, worker })
    }
}

/// The engine's end of a link.
pub(crate) struct WorkerMailbox<S> {
    shared: Arc<Mailbox<S>>,
    commands: WorkerCommands<S>,
    /// Where the receivers of the next text begin.
    start: usize,
    full: bool,
    /// Events that have been taken, and are not all handled.
    events: std::vec::IntoIter<WorkerEvent>,
    pub(crate) texts: String,
    /// How many sockets the worker has.
    pub(crate) sockets: usize,
    /// What the worker has counted.
    pub(crate) stats: TransportStats,
    pub(crate) dead: bool,
}

impl<S> WorkerMailbox<S> {
    pub(crate) fn new(link: Arc<Mailbox<S>>) -> Self {
        Self {
            shared: link,
            commands: WorkerCommands::default(),
            start: 0,
            full: false,
            events: Vec::new().into_iter(),
            texts: String::new(),
            sockets: 0,
            stats: TransportStats::default(),
            dead: false,
        }
    }

    pub(crate) fn push(&mut self, command: WorkerCommand<S>) {
        self.commands.cost += EXTRA;
        self.commands.list.push(command);
    }

    /// Adds to those who receive the next text.
    pub(crate) fn push_receiver(&mut self, id: ConnId) {
        self.commands.receivers.push(id);
    }

    /// Sends a text to those who have been added, if there are any.
    pub(crate) fn send(
        &mut self,
        text: &Text,
        input: u64,
        sender: Option<ConnId>,
        deflated: Option<&SharedDeflated>,
    ) {
        let to = self.start..self.commands.receivers.len();
        if !to.is_empty() {
            self.start = to.end;
            self.commands.cost += to.len() * (text.as_bytes().len() + EXTRA);
            let (text, deflated) = (text.clone(), deflated.cloned());
            self.commands.list.push(WorkerCommand::Send { text, to, input, sender, deflated });
        }
    }

    /// Hands over what there is to do.
    pub(crate) fn hand_over(&mut self) {
        if self.commands.list.is_empty() {
            return;
        }
        let commands = std::mem::take(&mut self.commands);
        self.start = 0;
        let mut down = lock(&self.shared.down);
        let first = down.batches.is_empty();
        down.cost += commands.cost;
        down.batches.push(commands);
        self.full = down.cost > COMMANDS;
        down.awaited = self.full;
        drop(down);
        if first {
            self.shared.worker.wake();
        }
    }

    /// Too much waits for the worker. Who asks will be woken when that has changed.
    pub(crate) fn is_full(&self) -> bool {
        self.full || self.commands.cost > COMMANDS
    }

    /// Looks what the worker has done, and whether it is still there.
    pub(crate) fn begin(&mut self) {
        if self.full {
            self.full = lock(&self.shared.down).awaited;
        }
        let mut up = lock(&self.shared.up);
        // One that is dead will never take what makes it full.
        self.dead = up.dead;
        if self.events.len() > 0 || !std::mem::take(&mut up.fresh) {
            return;
        }
        let events = std::mem::take(&mut up.events);
        let awaited = std::mem::take(&mut up.awaited);
        drop(up);
        self.stats = events.stats;
        (self.events, self.texts) = events.into_parts();
        if awaited {
            self.shared.worker.wake();
        }
    }

    /// The next event.
    pub(crate) fn next_event(&mut self) -> Option<WorkerEvent> {
        self.events.next()
    }

    /// There are events that have been taken and not been handled.
    pub(crate) fn has_events(&self) -> bool {
        self.events.len() > 0
    }
}

impl<S> Drop for WorkerMailbox<S> {
    fn drop(&mut self) {
        lock(&self.shared.down).stopped = true;
        self.shared.worker.wake();
    }
}

/// The worker's end of a link.
pub(crate) struct EngineMailbox<S> {
    shared: Arc<Mailbox<S>>,
    pub(crate) events: WorkerEvents,
    /// What has been handed over before is still there.
    blocked: bool,
    /// There will be no more commands.
    pub(crate) stopped: bool,
}

impl<S> EngineMailbox<S> {
    pub(crate) fn new(link: Arc<Mailbox<S>>) -> Self {
        Self { shared: link, events: WorkerEvents::default(), blocked: false, stopped: false }
    }

    /// Takes what there is to do.
    pub(crate) fn take(&mut self, batches: &mut Vec<WorkerCommands<S>>) {
        let mut down = lock(&self.shared.down);
        self.stopped = down.stopped;
        std::mem::swap(batches, &mut down.batches);
        down.cost = 0;
        let awaited = std::mem::take(&mut down.awaited);
        drop(down);
        if awaited {
            self.shared.core.wake();
        }
    }

    /// Hands over what has happened, unless much waits already: then the worker will be woken.
    pub(crate) fn hand_over(&mut self, stats: TransportStats) {
        let counted = self.events.stats != stats;
        if self.events.is_empty() && !counted {
            return;
        }
        let mut up = lock(&self.shared.up);
        self.blocked = up.events.is_full();
        if self.blocked {
            up.awaited = true;
            return;
        }
        self.events.stats = stats;
        let events = std::mem::take(&mut self.events);
        self.events.stats = stats;
        up.events.append(events);
        let first = !std::mem::replace(&mut up.fresh, true);
        drop(up);
        if first {
            self.shared.core.wake();
        }
    }

    /// So much waits for the engine that nothing more should be read.
    pub(crate) fn is_full(&self) -> bool {
        self.blocked || self.events.is_full()
    }
}

impl<S> Drop for EngineMailbox<S> {
    fn drop(&mut self) {
        lock(&self.shared.up).dead = true;
        self.shared.core.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (WorkerMailbox<()>, EngineMailbox<()>) {
        let link = Mailbox::new(Arc::default(), Arc::default());
        (WorkerMailbox::new(Arc::clone(&link)), EngineMailbox::new(link))
    }

    #[test]
    fn events_are_appended_until_too_many_wait() {
        let (mut down, mut up) = pair();
        let id = ConnId::new(1, 1);
        let text = "x".repeat(EVENTS / 2);
        for expected in [false, false, true] {
            up.events.push_text(id, &text);
            up.events.push(WorkerEvent::Disconnected(id, Gone::Lost));
            up.hand_over(TransportStats::default());
            assert_eq!(up.is_full(), expected);
        }
        down.begin();
        for _ in 0..2 {
            let Some(WorkerEvent::Text { text: range, .. }) = down.next_event() else { panic!() };
            assert_eq!(down.texts[range], text);
            assert!(matches!(down.next_event(), Some(WorkerEvent::Disconnected(..))));
        }
        assert!(!down.has_events());
        up.hand_over(TransportStats::default());
        assert!(!up.is_full(), "what waited has been taken");
        down.begin();
        assert!(down.has_events());
    }

    #[test]
    fn a_dead_worker_is_noticed_while_its_events_are_in_hand() {
        let (mut down, mut up) = pair();
        up.events.push_text(ConnId::new(1, 1), "hello");
        up.hand_over(TransportStats::default());
        down.begin();
        assert!(down.has_events() && !down.dead);
        drop(up);
        down.begin();
        assert!(down.has_events() && down.dead);
    }

    #[test]
    fn nothing_more_while_a_worker_has_too_much() {
        let (mut down, mut up) = pair();
        let text = Text::from("x".repeat(1000));
        while !down.is_full() {
            for slot in 0..100 {
                down.push_receiver(ConnId::new(slot, 1));
            }
            down.send(&text, 1, None, None);
        }
        down.hand_over();
        down.begin();
        assert!(down.is_full());
        let mut batches = Vec::new();
        up.take(&mut batches);
        assert_eq!(batches.len(), 1);
        down.begin();
        assert!(!down.is_full());
        drop(down);
        up.take(&mut batches);
        assert!(up.stopped);
    }
}
