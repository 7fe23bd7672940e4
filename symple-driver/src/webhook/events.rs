//! Telling an HTTP service of peers that come and go (R-W1), in batches.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_channel::{Receiver, Sender};
use futures_core::Stream as _;
use rand::{
    Rng as _, SeedableRng as _,
    rngs::{StdRng, SysRng},
};
use symple_engine::server::{Changed, OfflineReason, PeerChange};
use symple_proto::json::push_string;

use super::queue::{Batch, Queue, QueueLimits};
use crate::{
    client::transport::Connect,
    fetch::{FetchError, Fetcher},
    runtime::{Runtime, wait},
    server::log::OncePerSecond,
};

/// The most bytes of an answer that are read; what it says does not count.
pub(crate) const MAX_ANSWER: usize = 64 * 1024;
/// How long an event waits for others, to be told together with them.
const GATHER: Duration = Duration::from_millis(100);
/// The longest time before a batch is tried again.
const LAST_RETRY: Duration = Duration::from_secs(60);
/// The most bytes of the rooms that an event lists.
const MAX_ROOMS: usize = 16 * 1024;

/// How events are told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebhookSettings {
    /// How many events may wait; past it the oldest are dropped, and counted. 10 000.
    pub max_events: usize,
    /// How many bytes they may have. 8 MiB.
    pub max_bytes: usize,
    /// When a batch is tried again after its first failure; each further one doubles that, up to a
    /// minute. 500 ms, up to a half less by chance.
    pub first_retry: Duration,
    /// After so long a batch that nobody takes is given up, and its events count as dropped. 10
    /// minutes.
    pub give_up_after: Duration,
    /// How long a server that has shut down still tries to tell what is left. 5 s.
    pub flush: Duration,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            max_events: 10_000,
            max_bytes: 8 * 1024 * 1024,
            first_retry: Duration::from_millis(500),
            give_up_after: Duration::from_secs(600),
            flush: Duration::from_secs(5),
        }
    }
}

/// Where changes go in. When the last of them is dropped, what is left is told, and that is all.
#[derive(Clone, Debug)]
pub(crate) struct EventSink {
    queue: Arc<Queue>,
    wake: Sender<()>,
    node: Arc<OnceLock<Box<str>>>,
    /// The warnings that some are dropped: there may be one for each batch.
    drops: Arc<OncePerSecond>,
}

impl EventSink {
    /// Takes a change in. It never waits.
    pub(crate) fn push(&self, change: &PeerChange) {
        let node = self.node.get().map(|node| &**node);
        let event = event(change, node, SystemTime::now());
        if self.queue.push(event.into())
            && let Some(more) = self.drops.is_due()
        {
            tracing::warn!(
                more,
                "the webhook does not take events as fast as they come: some are dropped"
            );
        }
        // Where it is full, it has been woken already.
        let _ = self.wake.try_send(());
    }
}

impl EventSink {
    /// How many events have not been told, and how many were dropped since the start.
    pub(crate) fn counts(&self) -> (usize, u64) {
        self.queue.counts()
    }
}

/// What is told of a change, as JSON.
fn event(change: &PeerChange, node: Option<&str>, now: SystemTime) -> String {
    let kind = match &change.what {
        Changed::Online { .. } => "online",
        Changed::Left { .. } => "leave",
        Changed::Offline { .. } => "offline",
        _ => "other",
    };
    let mut event = format!(r#"{{"type":"{kind}","peer":"#);
    push_string(&mut event, &change.peer.to_string());
    event.push_str(r#","user":"#);
    push_string(&mut event, change.peer.user.as_str());
    event.push_str(&format!(r#","number":{}"#, change.number));
    match &change.what {
        Changed::Online { rooms } => push_rooms(&mut event, rooms),
        Changed::Left { room } => {
            event.push_str(r#","room":"#);
            push_string(&mut event, room);
        }
        Changed::Offline { rooms, reason } => {
            push_rooms(&mut event, rooms);
            event.push_str(&format!(r#","reason":"{}""#, name(*reason)));
        }
        _ => {}
    }
    event.push_str(r#","node":"#);
    match node {
        Some(node) => push_string(&mut event, node),
        None => event.push_str("null"),
    }
    let time = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    event.push_str(&format!(r#","time":{}.{:03}}}"#, time / 1000, time % 1000));
    event
}

/// The rooms of a peer; of very many the first ones, and how many more there are.
fn push_rooms(event: &mut String, rooms: &[Box<str>]) {
    event.push_str(r#","rooms":["#);
    let (start, mut listed) = (event.len(), 0);
    for room in rooms {
        if event.len() - start > MAX_ROOMS {
            break;
        }
        if listed > 0 {
            event.push(',');
        }
        push_string(event, room);
        listed += 1;
    }
    event.push(']');
    if listed < rooms.len() {
        event.push_str(&format!(r#","more_rooms":{}"#, rooms.len() - listed));
    }
}

fn name(reason: OfflineReason) -> &'static str {
    match reason {
        OfflineReason::Disconnected => "disconnected",
        OfflineReason::Closed => "closed",
        OfflineReason::Kicked => "kicked",
        OfflineReason::TooSlow => "too slow",
        OfflineReason::ProtocolError => "protocol error",
        OfflineReason::SessionExpired => "session expired",
        OfflineReason::Shutdown => "shutdown",
        OfflineReason::NodeLost => "node lost",
        _ => "other",
    }
}

impl Batch {
    /// What is posted. A batch that is tried again is the same text, with the same id: so whoever has
    /// taken it already can tell.
    fn body(&self, id: &str) -> String {
        let mut body = format!(r#"{{"id":"{id}","events":["#);
        body.push_str(&self.events.join(","));
        body.push_str(&format!(r#"],"dropped":{}}}"#, self.dropped));
        body
    }
}

/// Starts to tell an endpoint of what goes into the sink. The receiver ends when all has been told,
/// or given up.
pub(crate) fn start<R: Connect>(
    fetcher: Fetcher<R>,
    settings: WebhookSettings,
    node: Arc<OnceLock<Box<str>>>,
) -> (EventSink, Receiver<()>) {
    let (wake, woken) = async_channel::bounded(1);
    let (done, ended) = async_channel::bounded(1);
    let limits = QueueLimits { events: settings.max_events, bytes: settings.max_bytes };
    let queue = Arc::new(Queue::new(limits));
    let runtime = fetcher.runtime().clone();
    let end =
        End { woken: Box::pin(woken), at: None, flush: settings.flush, timer: runtime.timer() };
    let complaints = OncePerSecond::new();
    let teller =
        Teller { fetcher, settings, queue: Arc::clone(&queue), end, complaints, is_away: false };
    runtime.spawn(async move {
        teller.run().await;
        drop(done);
    });
    (EventSink { queue, wake, node, drops: Arc::default() }, ended)
}

/// When to stop: some time after the server.
struct End<T> {
    woken: Pin<Box<Receiver<()>>>,
    /// Set once the server has ended.
    at: Option<Instant>,
    flush: Duration,
    timer: T,
}

impl<T: crate::runtime::Timer> End<T> {
    /// Ready when no more may be told. The task is woken for new events, too.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.at.is_none() {
            match self.woken.as_mut().poll_next(cx) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => self.at = Some(Instant::now() + self.flush),
                Poll::Pending => return Poll::Pending,
            }
        }
        match self.at {
            Some(at) => self.timer.poll_until(cx, at),
            None => Poll::Pending,
        }
    }

    /// Waits for something, but not after the end: then there is nothing.
    async fn before<U>(&mut self, future: impl Future<Output = U>) -> Option<U> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(ready) => Poll::Ready(Some(ready)),
            Poll::Pending => self.poll(cx).map(|()| None),
        })
        .await
    }
}

struct Teller<R: Runtime> {
    fetcher: Fetcher<R>,
    settings: WebhookSettings,
    queue: Arc<Queue>,
    end: End<R::Timer>,
    /// The warnings about a receiver that fails again and again, each time for a moment.
    complaints: OncePerSecond,
    /// The log has said that it does not take events, and not yet that it does again.
    is_away: bool,
}

impl<R: Connect> Teller<R> {
    async fn run(mut self) {
        let Ok(mut random) = StdRng::try_from_rng(&mut SysRng) else {
            return tracing::error!("the webhook is told nothing: there is no randomness");
        };
        while self.has_events().await {
            self.gather().await;
            let Some(batch) = self.queue.take() else { continue };
            if self.tell(&batch, &mut random).await {
                self.queue.told();
            } else {
                self.queue.lost(&batch);
            }
        }
        let (left, dropped) = self.queue.left();
        if left > 0 || dropped > 0 {
            let lost = left as u64 + dropped;
            tracing::warn!(lost, "events were not told to the webhook before the server ended");
        }
    }

    /// Waits for an event. False if there will be none, or no time to tell it.
    async fn has_events(&mut self) -> bool {
        let Self { queue, end, .. } = self;
        poll_fn(|cx| {
            let ended = end.poll(cx).is_ready();
            if ended || !queue.is_empty() {
                return Poll::Ready(!ended);
            }
            // The server has ended, and nothing is left.
            if end.at.is_some() { Poll::Ready(false) } else { Poll::Pending }
        })
        .await
    }

    /// Waits a little for events that come soon.
    async fn gather(&mut self) {
        let Self { queue, end, fetcher, .. } = self;
        let mut time = pin!(wait(fetcher.runtime(), GATHER));
        poll_fn(|cx| {
            let ended = end.poll(cx).is_ready() || end.at.is_some();
            if ended || queue.fills_a_batch() {
                return Poll::Ready(());
            }
            time.as_mut().poll(cx)
        })
        .await;
    }

    /// Tells a batch, again and again until somebody takes it. False if it was given up.
    async fn tell(&mut self, batch: &Batch, random: &mut StdRng) -> bool {
        let mut id = [0; 16];
        random.fill_bytes(&mut id);
        let body = batch.body(&format!("{:032x}", u128::from_le_bytes(id)));
        let begun = Instant::now();
        let mut retry = self.settings.first_retry;
        for failures in 1_u32.. {
            match self.end.before(self.fetcher.post(body.clone())).await {
                None => return false,
                Some(Ok(_)) => {
                    if std::mem::take(&mut self.is_away) {
                        tracing::info!("the webhook takes events again");
                    }
                    return true;
                }
                Some(Err(error)) => self.complain(&error, failures),
            }
            // Those who wait for the same receiver come back at different times.
            let share = f64::from(random.next_u32()) / f64::from(u32::MAX);
            let pause = retry.mul_f64(0.5 + share / 2.0);
            if begun.elapsed() + pause > self.settings.give_up_after
                || self.end.before(wait(self.fetcher.runtime(), pause)).await.is_none()
            {
                break;
            }
            retry = (retry * 2).min(LAST_RETRY);
        }
        false
    }

    /// Less and less often while it lasts.
    fn complain(&mut self, error: &FetchError, failures: u32) {
        if failures.is_power_of_two()
            && let Some(more) = self.complaints.is_due()
        {
            self.is_away = true;
            let (url, (waiting, dropped)) = (self.fetcher.endpoint(), self.queue.left());
            tracing::warn!(%error, failures, waiting, dropped, more, "{url} does not take events");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use symple_proto::{Address, Json, PeerId, UserName};

    fn change(what: Changed) -> PeerChange {
        let user = UserName::new("al\"ice").unwrap();
        let peer = Address::new(user, PeerId::new("0a").unwrap());
        PeerChange { peer, number: 7, what }
    }

    /// R-W1: what is told.
    #[test]
    fn events() {
        let now = UNIX_EPOCH + Duration::from_millis(1_800_000_000_042);
        let text = |what, node| event(&change(what), node, now);
        let rooms = || vec!["al\"ice".into(), "team".into()];
        assert_eq!(
            text(Changed::Online { rooms: rooms() }, Some("n1")),
            r#"{"type":"online","peer":"al\"ice|0a","user":"al\"ice","number":7,"rooms":["al\"ice","team"],"node":"n1","time":1800000000.042}"#
        );
        assert_eq!(
            text(Changed::Left { room: "team".into() }, None),
            r#"{"type":"leave","peer":"al\"ice|0a","user":"al\"ice","number":7,"room":"team","node":null,"time":1800000000.042}"#
        );
        let reason = OfflineReason::NodeLost;
        assert_eq!(
            text(Changed::Offline { rooms: rooms(), reason }, None),
            r#"{"type":"offline","peer":"al\"ice|0a","user":"al\"ice","number":7,"rooms":["al\"ice","team"],"reason":"node lost","node":null,"time":1800000000.042}"#
        );
    }

    /// R-W1: a peer in very many rooms makes no event that takes all of a batch.
    #[test]
    fn many_rooms() {
        let rooms: Vec<Box<str>> = (0..10_000).map(|n| format!("room-{n}").into()).collect();
        let event = event(&change(Changed::Online { rooms }), None, UNIX_EPOCH);
        assert!(event.len() < 2 * MAX_ROOMS);
        let object = Json::parse(&event, 128).unwrap().as_object().unwrap();
        let mut listed = 0;
        object.get("rooms").unwrap().as_array().unwrap().for_each(|_| listed += 1);
        let more: usize = object.get("more_rooms").unwrap().text().parse().unwrap();
        assert_eq!(listed + more, 10_000);
    }
}
