//! What an application can do with a client.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use symple_engine::client::{
    CallId, CallInfo, Callee, Client as Machine, Frame, Operation, OperationError, OperationId,
    Outgoing, PeerRecord, Reply, Signal, Stats, Status,
};
use symple_proto::{Fields, NameError, RawJson, RoomName, Token, frame::Peer};
use thiserror::Error;

use super::{
    builder::ClientBuilder,
    shared::{Begun, Shared},
    transport::Connect,
};

/// Why a client has not done what it was asked for.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The client has ended, and will not come back; why, is not known.
    #[error("the client has ended")]
    Ended,
    /// The client, or the server, says no.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// This is no name of a room.
    #[error("the name {0}")]
    Name(#[from] NameError),
}

/// What all clones of a client hold.
#[derive(Debug)]
pub(super) struct Held(pub(super) Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// A client: access to it from anywhere, cheap to clone. When the last clone is dropped, it says
/// goodbye and ends.
///
/// What is asked for is done in the order in which it is asked, and waits while much is to be
/// written that the server does not read; what is only looked at ([`roster`](Self::roster),
/// [`status`](Self::status)) does not wait, nor does what is refused: a loop around those gives the client no turn on
/// a runtime of one thread, so wait for its events instead. A future that is dropped takes back what has not been
/// sent yet, so a time limit around it ends the waiting for a server that does not read.
pub struct Client<R> {
    pub(super) held: Arc<Held>,
    pub(super) runtime: PhantomData<fn() -> R>,
}

impl<R> Clone for Client<R> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held), runtime: PhantomData }
    }
}

impl<R> std::fmt::Debug for Client<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// An operation that waits; it is taken back when nobody waits for it any more.
struct Waits<'a> {
    shared: &'a Shared,
    id: OperationId,
    /// The answer is there, or there will be none.
    over: bool,
}

impl Future for Waits<'_> {
    type Output = Result<Reply, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.shared.poll(self.id, cx));
        self.over = true;
        Poll::Ready(outcome.and_then(|outcome| Ok(outcome?)))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.shared.cancel(self.id);
        }
    }
}

impl<R: Connect> Client<R> {
    /// Sets up a client of a server at a URL, such as `wss://example.org/ws`.
    pub fn builder(url: impl Into<String>) -> ClientBuilder<R> {
        ClientBuilder::new(url.into())
    }
}

impl<R> Client<R> {
    async fn operate(&self, operation: Operation) -> Result<Reply, ClientError> {
        let shared = &*self.held.0;
        match shared.begin(operation)? {
            Begun::Finished(outcome) => Ok(outcome?),
            Begun::Waits(id) => Waits { shared, id, over: false }.await,
        }
    }

    pub(super) async fn connect(&self) -> Result<(), ClientError> {
        self.operate(Operation::Connect).await.map(drop)
    }

    /// Sends a frame; ready when it has been handed to the connection. That it arrives is not
    /// promised: see [`flush`](Self::flush) and [`request`](Self::request).
    ///
    /// # Errors
    /// [`ClientError`]: also while the client is not online, unless frames may
    /// [wait](symple_engine::client::OfflinePolicy).
    pub async fn send(&self, frame: Outgoing) -> Result<(), ClientError> {
        self.operate(Operation::Send(frame)).await.map(drop)
    }

    /// Sends a frame and waits for a frame with the same `id` from whom it is for: 30 s, or as
    /// [set up](symple_engine::client::ClientLimits::request_timeout), from when there is room for it among what is
    /// to be written.
    ///
    /// # Errors
    /// [`ClientError`]: as soon as the answer cannot come any more.
    pub async fn request(&self, frame: Outgoing) -> Result<Box<Frame>, ClientError> {
        self.request_within(frame, None).await
    }

    /// As [`request`](Self::request), with a time of its own for the answer.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn request_within(
        &self,
        frame: Outgoing,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Box<Frame>, ClientError> {
        match self.operate(Operation::Request { frame, timeout: timeout.into() }).await? {
            Reply::Answer(frame) => Ok(frame),
            _ => Err(ClientError::Operation(OperationError::Unanswered)),
        }
    }

    /// Answers a frame that has an `id`: its sender's [`request`](Self::request) is ready with it.
    ///
    /// # Errors
    /// [`ClientError`]: also for a frame that nobody has sent, or that has no `id`.
    pub async fn respond(
        &self,
        frame: &Frame,
        data: impl Into<RawJson>,
    ) -> Result<(), ClientError> {
        let unanswerable = ClientError::Operation(OperationError::Unanswered);
        let answer = Outgoing::answer(frame).ok_or(unanswerable)?;
        self.send(answer.data(data)).await
    }

    /// Waits until the server has handled everything that was sent before.
    ///
    /// # Errors
    /// [`ClientError`]: the connection was lost, and it cannot be known.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.operate(Operation::Flush).await.map(drop)
    }

    /// Is in a room from now on, also after a reconnect.
    ///
    /// # Errors
    /// [`ClientError`]: also if the server refuses it.
    pub async fn join(&self, room: &str) -> Result<(), ClientError> {
        self.operate(Operation::Join(RoomName::new(room)?)).await.map(drop)
    }

    /// Is in a room no more.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn leave(&self, room: &str) -> Result<(), ClientError> {
        self.operate(Operation::Leave(RoomName::new(room)?)).await.map(drop)
    }

    /// Sets keys of a room's state; `null` deletes one (R-K1). Ready when the server has taken it. The client
    /// must have asked for the extension `state` in
    /// [`Config::extensions`](symple_engine::client::Config::extensions). States and their changes, the
    /// client's own too, come as [events](symple_engine::client::Event::StateChanged).
    ///
    /// # Errors
    /// [`ClientError`]: also if the server refuses it, or the extension is not on.
    pub async fn set_state(&self, room: &str, set: Fields) -> Result<(), ClientError> {
        self.operate(Operation::SetState { room: RoomName::new(room)?, set }).await.map(drop)
    }

    /// Tells this of the client, and nothing of what was told before (R-P4).
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn set_record(&self, record: Fields) -> Result<(), ClientError> {
        self.operate(Operation::SetRecord(record)).await.map(drop)
    }

    /// Lays these members over what is told of the client; `null` takes one away.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn update_record(&self, record: Fields) -> Result<(), ClientError> {
        self.operate(Operation::UpdateRecord(record)).await.map(drop)
    }

    /// Refreshes the session with a new token, on the connection that there is (R-A9).
    ///
    /// # Errors
    /// [`ClientError`]: also if the server refuses it.
    pub async fn refresh(&self, token: Token) -> Result<(), ClientError> {
        self.operate(Operation::Refresh(token)).await.map(drop)
    }

    /// Calls a peer, or all sessions of a user; what comes of it is told as
    /// [`Event::Call`](symple_engine::client::Event::Call).
    ///
    /// # Errors
    /// [`ClientError`]: also where calls are not
    /// [set up](symple_engine::client::Config::calls).
    pub async fn call(&self, callee: Callee, data: Option<RawJson>) -> Result<CallId, ClientError> {
        match self.operate(Operation::Call { callee, data }).await? {
            Reply::Call(call) => Ok(call),
            _ => Err(ClientError::Operation(OperationError::Unanswered)),
        }
    }

    /// Takes a call that has come in.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn accept(&self, call: CallId, data: Option<RawJson>) -> Result<(), ClientError> {
        self.operate(Operation::Accept { call, data }).await.map(drop)
    }

    /// Does not take a call that has come in; `declined` without a reason.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn reject(&self, call: CallId, reason: Option<&str>) -> Result<(), ClientError> {
        let reason = reason.map(Into::into);
        self.operate(Operation::Reject { call, reason }).await.map(drop)
    }

    /// Sends what WebRTC has to say to the other side of a call.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn signal(&self, call: CallId, signal: Signal) -> Result<(), ClientError> {
        self.operate(Operation::Signal { call, signal }).await.map(drop)
    }

    /// Says that the media of a call flow.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn mark_active(&self, call: CallId) -> Result<(), ClientError> {
        self.operate(Operation::MarkActive { call }).await.map(drop)
    }

    /// Ends a call; `hangup` without a reason.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn hang_up(&self, call: CallId, reason: Option<&str>) -> Result<(), ClientError> {
        let reason = reason.map(Into::into);
        self.operate(Operation::HangUp { call, reason }).await.map(drop)
    }

    /// Says goodbye, and is ready when the connection is gone. The client cannot be used again.
    /// What others wait for that has not been handed to the connection is given up.
    ///
    /// # Errors
    /// [`ClientError`]: it has ended before.
    pub async fn close(&self) -> Result<(), ClientError> {
        self.operate(Operation::Close).await.map(drop)
    }

    /// Who else is there, as far as it is known now.
    ///
    /// # Errors
    /// [`ClientError`]: the client has ended.
    pub async fn roster(&self) -> Result<Vec<Arc<PeerRecord>>, ClientError> {
        self.held.0.look(|machine| machine.roster().iter().cloned().collect())
    }

    /// Who the client is, while it is online.
    ///
    /// # Errors
    /// [`ClientError`]: the client has ended.
    pub async fn peer(&self) -> Result<Option<Peer>, ClientError> {
        self.held.0.look(|machine| machine.peer().cloned())
    }

    /// What the client is at.
    ///
    /// # Errors
    /// [`ClientError`]: the client has ended.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.held.0.look(Machine::status)
    }

    /// The calls that there are.
    ///
    /// # Errors
    /// [`ClientError`]: the client has ended.
    pub async fn calls(&self) -> Result<Vec<CallInfo>, ClientError> {
        self.held.0.look(|machine| machine.calls().collect())
    }

    /// What was counted.
    ///
    /// # Errors
    /// [`ClientError`]: the client has ended.
    pub async fn stats(&self) -> Result<Stats, ClientError> {
        self.held.0.look(Machine::stats)
    }
}
