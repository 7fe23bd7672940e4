//! What the host is told of what happens.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_broadcast::{Receiver, RecvError};
use futures_core::Stream;
use symple_engine::server::Event;

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
