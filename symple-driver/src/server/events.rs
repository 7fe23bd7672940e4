//! What the host is told of what happens.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_broadcast::{Receiver, RecvError, Sender};
use futures_core::Stream;
use symple_engine::server::Event;

use crate::{http::UNKNOWN_PEER, server::status::Status};

/// Why an upgrade came to nothing that was not answered.
pub(crate) const TOO_LATE: &str = "The upgrade took too long";
pub(crate) const GAVE_WAY: &str = "Gave way to another connection";
pub(crate) const NO_ROOM: &str = "Too many connections wait";

/// Where events go: those of this node, and those of the cluster. The threads of a server have this, and
/// nobody else, so the streams end with the server.
#[derive(Clone, Debug)]
pub(crate) struct EventSenders {
    pub(crate) own: Sender<Event>,
    pub(crate) cluster: Sender<Event>,
    failures: Arc<Mutex<FailureLimit>>,
}

impl EventSenders {
    pub(crate) fn new(own: Sender<Event>, cluster: Sender<Event>) -> Self {
        Self { own, cluster, failures: Arc::default() }
    }

    /// Tells the application. A full backlog loses its oldest event. It is no fault if nobody listens.
    pub(crate) fn tell(&self, event: Event) {
        if self.cluster.receiver_count() > 0 {
            let _ = self.cluster.try_broadcast(event.clone());
        }
        if !matches!(event, Event::Elsewhere { .. }) {
            let _ = self.own.try_broadcast(event);
        }
    }

    /// Tells that an upgrade has failed, if somebody listens and it is not one of too many.
    pub(crate) fn tell_failed_upgrade(
        &self,
        status: &Status,
        address: IpAddr,
        answered: Option<u16>,
        reason: &str,
    ) {
        let Status { watched, cluster_watched, .. } = status;
        if !watched.load(Ordering::Relaxed) && !cluster_watched.load(Ordering::Relaxed) {
            return;
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(missed) = failures.take(Instant::now()) else { return };
        drop(failures);
        let address = Some(address).filter(|address| *address != UNKNOWN_PEER.ip());
        let reason = reason.trim_end().into();
        self.tell(Event::UpgradeFailed { address, status: answered, reason, missed });
    }
}

/// How many failed upgrades are told in a second: strangers decide how many there are, and must not push
/// other events out of the backlog.
#[derive(Debug, Default)]
struct FailureLimit {
    since: Option<Instant>,
    told: u32,
    missed: u64,
}

impl FailureLimit {
    const INTERVAL: Duration = Duration::from_secs(1);
    const MOST: u32 = 100;

    /// The number of those that were not told since the last one, if another one may be told.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Self::INTERVAL) {
            (self.since, self.told) = (Some(now), 0);
        }
        if self.told == Self::MOST {
            self.missed += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.missed))
    }
}

/// What happens on a server, from the moment the stream was made; it ends with the server.
///
/// A stream that is not read costs the server nothing but the backlog
/// ([`Config::event_backlog`](crate::Config::event_backlog)): the oldest events are lost, and
/// [`Event::Lost`] says how many.
#[derive(Clone, Debug)]
pub struct Events(pub(crate) Receiver<Event>);

impl Events {
    /// The next event; none when the server has ended.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv_direct().await {
            Ok(event) => Some(event),
            Err(RecvError::Overflowed(count)) => Some(Event::Lost(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let received = ready!(Pin::new(&mut self.0).poll_recv(cx));
        Poll::Ready(match received {
            None | Some(Err(RecvError::Closed)) => None,
            Some(Ok(event)) => Some(event),
            Some(Err(RecvError::Overflowed(count))) => Some(Event::Lost(count)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_upgrades_are_told_within_bounds() {
        let (mut limit, begun) = (FailureLimit::default(), Instant::now());
        for _ in 0..FailureLimit::MOST {
            assert_eq!(limit.take(begun), Some(0));
        }
        for millis in [0, 500, 999] {
            assert_eq!(limit.take(begun + Duration::from_millis(millis)), None);
        }
        assert_eq!(limit.take(begun + Duration::from_secs(1)), Some(3));
        assert_eq!(limit.take(begun + Duration::from_secs(1)), Some(0));
    }
}
