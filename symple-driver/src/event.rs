//! What the host is told of what happens.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_broadcast::{Receiver, RecvError};
use futures_core::Stream;
use symple_engine::server::{Notice, OfflineReason};
use symple_proto::Address;

/// Something has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer is online.
    Online {
        /// Who.
        peer: Address,
        /// Its rooms.
        rooms: Vec<Box<str>>,
    },
    /// A peer is offline.
    Offline {
        /// Who.
        peer: Address,
        /// Why.
        reason: OfflineReason,
    },
    /// A peer has joined a room.
    Joined {
        /// Who.
        peer: Address,
        /// Which room.
        room: Box<str>,
    },
    /// A peer has left a room.
    Left {
        /// Who.
        peer: Address,
        /// Which room.
        room: Box<str>,
    },
    /// An authentication has failed.
    Refused {
        /// What the client was told.
        message: Box<str>,
    },
    /// So many events were not read in time and are lost
    /// ([`Config::event_backlog`](crate::Config::event_backlog)).
    Lost(u64),
}

impl Event {
    pub(crate) fn new(notice: Notice) -> Option<Self> {
        Some(match notice {
            Notice::Online { peer, rooms } => Self::Online { peer, rooms },
            Notice::Offline { peer, reason } => Self::Offline { peer, reason },
            Notice::Joined { peer, room } => Self::Joined { peer, room },
            Notice::Left { peer, room } => Self::Left { peer, room },
            Notice::Refused { message, .. } => Self::Refused { message },
            _ => return None,
        })
    }
}

/// What happens on a server, from the moment the stream was made; it ends with the server.
///
/// A stream that is not read costs the server nothing but the backlog: the oldest events are lost.
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
