//! Telling of changes (R-H3).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::complaints::Complaint;
use crate::server::log::OncePerSecond;
use async_channel::{Receiver, Sender, TrySendError};
use symple_engine::server::{Changed, OfflineReason, PeerChange};
use symple_proto::Address;

use crate::webhook::events::EventSink;

/// How many changes may wait for the application's functions.
pub(super) const BACKLOG: usize = 65_536;

/// A peer is online (R-H3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerOnline {
    /// The address of the peer.
    pub peer: Address,
    /// A number that grows with each change of a peer, below 2^53. Of two changes of the same peer, the
    /// one with the smaller number is older.
    pub number: u64,
    /// The rooms that it is in, its user's own included.
    pub rooms: Vec<Box<str>>,
}

/// A peer has left a room, and is still online (R-H3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerLeft {
    /// The address of the peer.
    pub peer: Address,
    /// As [`PeerOnline::number`].
    pub number: u64,
    /// The name of the room.
    pub room: Box<str>,
}

/// A peer is offline (R-H3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerOffline {
    /// The address of the peer.
    pub peer: Address,
    /// As [`PeerOnline::number`].
    pub number: u64,
    /// The rooms that it was in: it has left them all.
    pub rooms: Vec<Box<str>>,
    /// The reason, as far as the node knows it.
    pub reason: OfflineReason,
}

type Told<T> = Arc<dyn Fn(T) + Send + Sync>;

/// The functions that are told.
#[derive(Clone, Default)]
pub(crate) struct ChangeHooks {
    pub(crate) online: Option<Told<PeerOnline>>,
    pub(crate) left: Option<Told<PeerLeft>>,
    pub(crate) offline: Option<Told<PeerOffline>>,
    /// Webhooks, which are told, too (R-W1).
    pub(crate) sinks: Vec<EventSink>,
}

impl ChangeHooks {
    pub(crate) fn is_some(&self) -> bool {
        self.online.is_some()
            || self.left.is_some()
            || self.offline.is_some()
            || !self.sinks.is_empty()
    }

    fn tell(&self, change: PeerChange) {
        for sink in &self.sinks {
            sink.push(&change);
        }
        let PeerChange { peer, number, what } = change;
        // A hook that panics counts as told: it is not called again.
        let told = catch_unwind(AssertUnwindSafe(|| match what {
            Changed::Online { rooms } => {
                if let Some(hook) = &self.online {
                    hook(PeerOnline { peer, number, rooms });
                }
            }
            Changed::Left { room } => {
                if let Some(hook) = &self.left {
                    hook(PeerLeft { peer, number, room });
                }
            }
            Changed::Offline { rooms, reason } => {
                if let Some(hook) = &self.offline {
                    hook(PeerOffline { peer, number, rooms, reason });
                }
            }
            _ => {}
        }));
        if told.is_err() {
            static PANICKED: Complaint = Complaint::new("a hook that is told of changes failed");
            PANICKED.log(&"it has panicked");
        }
    }

    /// Tells of changes, one after the other in their order, until the server has ended.
    pub(crate) async fn tell_all(self, changes: Receiver<PeerChange>) {
        while let Ok(change) = changes.recv().await {
            self.tell(change);
        }
    }
}

/// Changes on their way to the application.
pub(crate) struct Changes {
    sender: Sender<PeerChange>,
    /// The number of changes that found no room, and have not been told of.
    lost: u64,
}

impl Changes {
    pub(crate) fn new() -> (Self, Receiver<PeerChange>) {
        // It takes memory only as far as something waits.
        let (sender, receiver) = async_channel::unbounded();
        (Self { sender, lost: 0 }, receiver)
    }

    /// Logs how many changes were lost since that was last said, at most once a second: functions that are
    /// always a little too slow lose one, take one, and lose the next.
    fn tell_lost(&mut self, what: &str) {
        static LINES: OncePerSecond = OncePerSecond::new();
        if self.lost > 0 && LINES.is_due().is_some() {
            tracing::warn!(lost = self.lost, "{what}");
            self.lost = 0;
        }
    }

    /// Hands a change over. Functions that take too long lose changes, and the log says so.
    pub(crate) fn push(&mut self, change: PeerChange) {
        if self.sender.len() >= BACKLOG {
            self.lost += 1;
            self.tell_lost("the hooks take too long: changes of peers are lost");
        } else {
            self.tell_lost("changes of peers were lost");
            match self.sender.try_send(change) {
                // The application's runtime has ended: nobody is left to be told.
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {}
            }
        }
    }
}
