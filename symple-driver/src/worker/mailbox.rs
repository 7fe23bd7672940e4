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
};

use rustls::ServerConfig;
use symple_engine::server::{ConnId, Text, TransportFault};
use symple_proto::CloseCode;

use crate::{
    http::Request, net::ready::Ready, server::hooks::UpgradeDecision, server::stats::TransportStats,
};

/// How many bytes of texts and what goes with them may wait for the engine's thread, before
/// nothing more is read.
const FACTS: usize = 256 * 1024;
/// How many bytes may wait for a worker to queue them for its connections.
const ORDERS: usize = 8 * 1024 * 1024;
/// What a fact or a receiver counts beside its text.
const EXTRA: usize = 32;

/// What a worker is to do.
pub(crate) enum Order<S> {
    /// To take a socket in.
    Open {
        id: ConnId,
        socket: S,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
    },
    /// To queue a text for some of the receivers of the batch. The input that caused it has a
    /// number (R-L4).
    Send {
        text: Text,
        to: Range<usize>,
        input: u64,
        /// Who has addressed it to them (R-L8).
        sender: Option<ConnId>,
    },
    Close {
        id: ConnId,
        code: CloseCode,
        reason: &'static str,
        discard: bool,
    },
    Admit(ConnId),
    Pause(ConnId),
    Resume(ConnId),
    /// To say when it has taken what it was sent.
    AwaitDrain(ConnId),
    /// The limit that a message was refused for has been raised.
    Retry(ConnId),
    End(ConnId),
    EndHandshakes,
    UpgradeDecided(ConnId, UpgradeDecision),
}

/// Orders, and the receivers of those that send.
pub(crate) struct Orders<S> {
    pub(crate) list: Vec<Order<S>>,
    pub(crate) receivers: Vec<ConnId>,
    cost: usize,
}

impl<S> Default for Orders<S> {
    fn default() -> Self {
        Self { list: Vec::new(), receivers: Vec::new(), cost: 0 }
    }
}

/// What has happened to a worker's connections.
#[derive(Debug)]
pub(crate) enum Fact {
    /// A WebSocket connection has begun.
    Connected {
        id: ConnId,
        address: IpAddr,
        request: Option<Box<Request>>,
    },
    /// Where in the batch its text stands.
    Text {
        id: ConnId,
        text: Range<usize>,
    },
    /// And whether the connection had been admitted when it was found.
    Fault {
        id: ConnId,
        fault: TransportFault,
        admitted: bool,
    },
    /// So many frames without text.
    Frames {
        id: ConnId,
        count: u32,
    },
    /// The client has left; what it had sent before follows.
    Departed(ConnId),
    Drained(ConnId),
    /// A text of this sender was refused (R-L8).
    Undelivered {
        id: ConnId,
        text: Text,
    },
    Disconnected(ConnId),
    Removed(ConnId),
}

impl Fact {
    /// Which connection it is about.
    pub(crate) fn id(&self) -> ConnId {
        match self {
            Self::Connected { id, .. }
            | Self::Text { id, .. }
            | Self::Fault { id, .. }
            | Self::Frames { id, .. }
            | Self::Undelivered { id, .. }
            | Self::Departed(id)
            | Self::Drained(id)
            | Self::Disconnected(id)
            | Self::Removed(id) => *id,
        }
    }
}

/// Facts, and their texts.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    list: Vec<Fact>,
    texts: String,
    pub(crate) stats: TransportStats,
}

impl Facts {
    pub(crate) fn push(&mut self, fact: Fact) {
        self.list.push(fact);
    }

    pub(crate) fn push_text(&mut self, id: ConnId, text: &str) {
        let start = self.texts.len();
        self.texts.push_str(text);
        self.list.push(Fact::Text { id, text: start..self.texts.len() });
    }

    /// Nothing should be added that can wait.
    pub(crate) fn is_full(&self) -> bool {
        self.texts.len() + self.list.len() * EXTRA > FACTS
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
        for fact in &mut other.list {
            if let Fact::Text { text, .. } = fact {
                *text = text.start + offset..text.end + offset;
            }
        }
        self.list.append(&mut other.list);
    }

    /// The facts and their texts, apart.
    pub(crate) fn into_parts(self) -> (std::vec::IntoIter<Fact>, String) {
        (self.list.into_iter(), self.texts)
    }
}

struct Down<S> {
    batches: Vec<Orders<S>>,
    cost: usize,
    /// The engine's thread wants to know when they are taken.
    awaited: bool,
    /// There will be no more.
    stopped: bool,
}

#[derive(Default)]
struct Up {
    facts: Facts,
    fresh: bool,
    /// The worker wants to know when they are taken.
    awaited: bool,
    /// There will be no more.
    dead: bool,
}

/// What two threads share.
pub(crate) struct Link<S> {
    down: Mutex<Down<S>>,
    up: Mutex<Up>,
    hub: Arc<Ready>,
    worker: Arc<Ready>,
}

/// What is behind it is whole whatever has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Link<S> {
    pub(crate) fn new(hub: Arc<Ready>, worker: Arc<Ready>) -> Arc<Self> {
        let down = Down { batches: Vec::new(), cost: 0, awaited: false, stopped: false };
        Arc::new(Self { down: Mutex::new(down), up: Mutex::default(), hub, worker })
    }
}

/// The engine's end of a link.
pub(crate) struct Downlink<S> {
    link: Arc<Link<S>>,
    orders: Orders<S>,
    /// Where the receivers of the next text begin.
    start: usize,
    full: bool,
    /// Facts that have been taken, and are not all handled.
    facts: std::vec::IntoIter<Fact>,
    pub(crate) texts: String,
    /// How many sockets the worker has.
    pub(crate) sockets: usize,
    /// What the worker has counted.
    pub(crate) stats: TransportStats,
    pub(crate) dead: bool,
}

impl<S> Downlink<S> {
    pub(crate) fn new(link: Arc<Link<S>>) -> Self {
        Self {
            link,
            orders: Orders::default(),
            start: 0,
            full: false,
            facts: Vec::new().into_iter(),
            texts: String::new(),
            sockets: 0,
            stats: TransportStats::default(),
            dead: false,
        }
    }

    pub(crate) fn push(&mut self, order: Order<S>) {
        self.orders.cost += EXTRA;
        self.orders.list.push(order);
    }

    /// Adds to those who receive the next text.
    pub(crate) fn push_receiver(&mut self, id: ConnId) {
        self.orders.receivers.push(id);
    }

    /// Sends a text to those who have been added, if there are any.
    pub(crate) fn send(&mut self, text: &Text, input: u64, sender: Option<ConnId>) {
        let to = self.start..self.orders.receivers.len();
        if !to.is_empty() {
            self.start = to.end;
            self.orders.cost += to.len() * (text.as_bytes().len() + EXTRA);
            self.orders.list.push(Order::Send { text: text.clone(), to, input, sender });
        }
    }

    /// Hands over what there is to do.
    pub(crate) fn hand_over(&mut self) {
        if self.orders.list.is_empty() {
            return;
        }
        let orders = std::mem::take(&mut self.orders);
        self.start = 0;
        let mut down = lock(&self.link.down);
        let first = down.batches.is_empty();
        down.cost += orders.cost;
        down.batches.push(orders);
        self.full = down.cost > ORDERS;
        down.awaited = self.full;
        drop(down);
        if first {
            self.link.worker.wake();
        }
    }

    /// Too much waits for the worker. Who asks will be woken when that has changed.
    pub(crate) fn is_full(&self) -> bool {
        self.full || self.orders.cost > ORDERS
    }

    /// Looks what the worker has done, and whether it is still there.
    pub(crate) fn begin(&mut self) {
        if self.full {
            self.full = lock(&self.link.down).awaited;
        }
        let mut up = lock(&self.link.up);
        // One that is dead will never take what makes it full.
        self.dead = up.dead;
        if self.facts.len() > 0 || !std::mem::take(&mut up.fresh) {
            return;
        }
        let facts = std::mem::take(&mut up.facts);
        let awaited = std::mem::take(&mut up.awaited);
        drop(up);
        self.stats = facts.stats;
        (self.facts, self.texts) = facts.into_parts();
        if awaited {
            self.link.worker.wake();
        }
    }

    /// The next fact.
    pub(crate) fn next_fact(&mut self) -> Option<Fact> {
        self.facts.next()
    }

    /// There are facts that have been taken and not been handled.
    pub(crate) fn has_facts(&self) -> bool {
        self.facts.len() > 0
    }
}

impl<S> Drop for Downlink<S> {
    fn drop(&mut self) {
        lock(&self.link.down).stopped = true;
        self.link.worker.wake();
    }
}

/// The worker's end of a link.
pub(crate) struct Uplink<S> {
    link: Arc<Link<S>>,
    pub(crate) facts: Facts,
    /// What has been handed over before is still there.
    blocked: bool,
    /// There will be no more orders.
    pub(crate) stopped: bool,
}

impl<S> Uplink<S> {
    pub(crate) fn new(link: Arc<Link<S>>) -> Self {
        Self { link, facts: Facts::default(), blocked: false, stopped: false }
    }

    /// Takes what there is to do.
    pub(crate) fn take(&mut self, batches: &mut Vec<Orders<S>>) {
        let mut down = lock(&self.link.down);
        self.stopped = down.stopped;
        std::mem::swap(batches, &mut down.batches);
        down.cost = 0;
        let awaited = std::mem::take(&mut down.awaited);
        drop(down);
        if awaited {
            self.link.hub.wake();
        }
    }

    /// Hands over what has happened, unless much waits already: then the worker will be woken.
    pub(crate) fn hand_over(&mut self, stats: TransportStats) {
        let counted = self.facts.stats != stats;
        if self.facts.is_empty() && !counted {
            return;
        }
        let mut up = lock(&self.link.up);
        self.blocked = up.facts.is_full();
        if self.blocked {
            up.awaited = true;
            return;
        }
        self.facts.stats = stats;
        let facts = std::mem::take(&mut self.facts);
        self.facts.stats = stats;
        up.facts.append(facts);
        let first = !std::mem::replace(&mut up.fresh, true);
        drop(up);
        if first {
            self.link.hub.wake();
        }
    }

    /// So much waits for the engine that nothing more should be read.
    pub(crate) fn is_full(&self) -> bool {
        self.blocked || self.facts.is_full()
    }
}

impl<S> Drop for Uplink<S> {
    fn drop(&mut self) {
        lock(&self.link.up).dead = true;
        self.link.hub.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Downlink<()>, Uplink<()>) {
        let link = Link::new(Arc::default(), Arc::default());
        (Downlink::new(Arc::clone(&link)), Uplink::new(link))
    }

    #[test]
    fn facts_are_appended_until_too_many_wait() {
        let (mut down, mut up) = pair();
        let id = ConnId::new(1, 1);
        let text = "x".repeat(FACTS / 2);
        for expected in [false, false, true] {
            up.facts.push_text(id, &text);
            up.facts.push(Fact::Disconnected(id));
            up.hand_over(TransportStats::default());
            assert_eq!(up.is_full(), expected);
        }
        down.begin();
        for _ in 0..2 {
            let Some(Fact::Text { text: range, .. }) = down.next_fact() else { panic!() };
            assert_eq!(down.texts[range], text);
            assert!(matches!(down.next_fact(), Some(Fact::Disconnected(_))));
        }
        assert!(!down.has_facts());
        up.hand_over(TransportStats::default());
        assert!(!up.is_full(), "what waited has been taken");
        down.begin();
        assert!(down.has_facts());
    }

    #[test]
    fn a_dead_worker_is_noticed_while_its_facts_are_in_hand() {
        let (mut down, mut up) = pair();
        up.facts.push_text(ConnId::new(1, 1), "hello");
        up.hand_over(TransportStats::default());
        down.begin();
        assert!(down.has_facts() && !down.dead);
        drop(up);
        down.begin();
        assert!(down.has_facts() && down.dead);
    }

    #[test]
    fn nothing_more_while_a_worker_has_too_much() {
        let (mut down, mut up) = pair();
        let text = Text::from("x".repeat(1000));
        while !down.is_full() {
            for slot in 0..100 {
                down.push_receiver(ConnId::new(slot, 1));
            }
            down.send(&text, 1, None);
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
