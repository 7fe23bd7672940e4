//! What an application takes of what a client is told.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use atomic_waker::AtomicWaker;
use futures_core::Stream;
use symple_engine::client::{CallEvent, Event};
use symple_proto::RawJson;

/// What an event counts beside its text.
const EXTRA: usize = 256;

/// How much may wait for the application to take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxLimits {
    /// How many events. 4096.
    pub events: usize,
    /// How many bytes of frames and of what peers tell, and 256 for each event. 16 MiB; one event
    /// may always wait, however large it is.
    pub bytes: usize,
}

impl Default for InboxLimits {
    fn default() -> Self {
        Self { events: 4096, bytes: 16 * 1024 * 1024 }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    bytes: usize,
    dropped: u64,
    ended: bool,
    /// Nobody takes events any more.
    unread: bool,
}

/// What waits between a client's task and the application.
#[derive(Debug)]
pub(super) struct Inbox {
    limits: InboxLimits,
    waiting: Mutex<Waiting>,
    waker: AtomicWaker,
}

fn cost(event: &Event) -> usize {
    let raw = |data: &RawJson| data.text().len();
    let text = match event {
        Event::Frame(frame) => frame.text().len(),
        Event::PeerOnline(peer) | Event::PeerUpdated(peer) | Event::PeerOffline(peer) => {
            raw(peer.data())
        }
        Event::Call(CallEvent::Incoming { data, .. } | CallEvent::Accepted { data, .. }) => {
            raw(data)
        }
        Event::Call(CallEvent::Signal { signal, .. }) => raw(signal.data()),
        Event::RoomState { room, state: fields }
        | Event::StateChanged { room, set: fields, .. } => {
            room.len() + fields.iter().map(|(name, value)| name.len() + raw(value)).sum::<usize>()
        }
        Event::Error { to, .. } => to.as_ref().map_or(0, raw),
        Event::Online { peer, rooms } => {
            let told: usize = peer.extra.iter().map(|(name, value)| name.len() + raw(value)).sum();
            told + rooms.iter().map(|room| room.len() + size_of::<Box<str>>()).sum::<usize>()
        }
        // What these have is short: a name, or a line.
        _ => 0,
    };
    text + EXTRA
}

impl Inbox {
    pub(super) fn new(limits: InboxLimits) -> Arc<Self> {
        Arc::new(Self { limits, waiting: Mutex::default(), waker: AtomicWaker::new() })
    }

    /// What is behind it is whole whatever has panicked.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. Where there is no room the oldest make it. True if the application is to be
    /// [woken](Self::wake).
    pub(super) fn push(&self, event: Event) -> bool {
        let mut waiting = self.waiting();
        if waiting.unread {
            return false;
        }
        waiting.bytes += cost(&event);
        waiting.events.push_back(event);
        while waiting.events.len() > self.limits.events.max(1)
            || waiting.bytes > self.limits.bytes && waiting.events.len() > 1
        {
            let Some(oldest) = waiting.events.pop_front() else { break };
            waiting.bytes -= cost(&oldest);
            waiting.dropped += 1;
        }
        true
    }

    /// Wakes the application: there is something new.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// There will be no more.
    pub(super) fn end(&self) {
        self.waiting().ended = true;
        self.waker.wake();
    }
}

/// What a client is told, in order: a [`Stream`] that ends when the client has ended.
///
/// What is not taken waits, within [`InboxLimits`]; past them the oldest events are dropped, and
/// [counted](Self::dropped). So an application that is slow, or takes no events at all, never
/// keeps its client from answering the server. What is known of others is in
/// [`Client::roster`](crate::Client::roster) in any case.
#[derive(Debug)]
pub struct ClientEvents(pub(super) Arc<Inbox>);

impl ClientEvents {
    /// The next event; none when the client has ended, and will not come back.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// How many events were dropped because too many waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.waiting().dropped
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Event>> {
        self.0.waker.register(cx.waker());
        let mut waiting = self.0.waiting();
        match waiting.events.pop_front() {
            Some(event) => {
                waiting.bytes -= cost(&event);
                Poll::Ready(Some(event))
            }
            None if waiting.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Stream for ClientEvents {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(cx)
    }
}

impl Drop for ClientEvents {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.unread = true;
        waiting.events = VecDeque::new();
        waiting.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let inbox = Inbox::new(InboxLimits { events: 2, ..InboxLimits::default() });
        for room in ["a", "b", "c"] {
            inbox.push(Event::Joined { room: room.into() });
        }
        let events = ClientEvents(Arc::clone(&inbox));
        assert_eq!(events.dropped(), 1);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let next = |cx: &mut Context<'_>| events.poll(cx);
        assert_eq!(next(&mut cx), Poll::Ready(Some(Event::Joined { room: "b".into() })));
        assert_eq!(next(&mut cx), Poll::Ready(Some(Event::Joined { room: "c".into() })));
        assert_eq!(next(&mut cx), Poll::Pending);
        inbox.end();
        assert_eq!(next(&mut cx), Poll::Ready(None));
        assert_eq!(inbox.waiting().bytes, 0);
    }

    #[test]
    fn bytes_are_bounded_and_nothing_is_kept_for_nobody() {
        let inbox = Inbox::new(InboxLimits { events: 100, bytes: 3 * EXTRA });
        for _ in 0..10 {
            inbox.push(Event::Shutdown);
        }
        let kept = inbox.waiting().events.len();
        assert_eq!((kept, inbox.waiting().dropped), (3, 7));
        // Whatever has text of a peer counts with it.
        let large = || RawJson::string(&"x".repeat(3 * EXTRA));
        inbox.push(Event::Error { status: None, message: "no".into(), to: Some(large()) });
        assert_eq!(inbox.waiting().events.len(), 1);
        inbox.push(Event::Shutdown);
        assert_eq!(inbox.waiting().events.len(), 1, "the large one has made room");
        drop(ClientEvents(Arc::clone(&inbox)));
        inbox.push(Event::Shutdown);
        assert_eq!(inbox.waiting().events.len(), 0);
    }
}
