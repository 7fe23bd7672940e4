//! Connections that the application brings: a server that is a part of another one.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
};

use async_channel::Sender;
use http::{HeaderMap, Response};
use symple_engine::server::ConnId;

use crate::{
    core::request::{CoreRequest, Reply},
    http::{MountedRequest, UNKNOWN_PEER, mounted, parse_response, refusal},
    net::source::{Awaited, MountAnswer, Source, Stream},
    server::handle::{Handle, HandleError},
    server::status::Status,
};

/// A connection that the application brings.
pub(crate) enum Opening {
    /// A stream, perhaps with the request that has been read from it.
    Stream { stream: Stream, request: Option<Box<MountedRequest>>, reply: Reply<()> },
    /// A request, which the application answers.
    Request { request: Box<MountedRequest>, awaited: Box<Awaited> },
}

impl Opening {
    /// Nobody waits for the answer any more.
    pub(crate) fn is_given_up(&self) -> bool {
        matches!(self, Self::Request { awaited, .. } if awaited.is_given_up())
    }

    /// The address of its other end.
    pub(crate) fn address(&self) -> IpAddr {
        let address = match self {
            Self::Request { request, .. } => request.address,
            Self::Stream { stream, request, .. } => {
                request.as_ref().and_then(|request| request.address).or(stream.address)
            }
        };
        address.unwrap_or(UNKNOWN_PEER).ip()
    }

    /// There is no room for it.
    pub(crate) fn refuse(self) {
        if let Self::Request { mut awaited, .. } = self {
            awaited.answer(MountAnswer::Respond(refused(mounted::NO_ROOM)));
        }
    }

    /// Where its bytes come from, and the address of its other end.
    pub(crate) fn into_source<S>(self) -> (Option<SocketAddr>, Source<S>) {
        match self {
            Self::Request { request, awaited } => {
                (request.address, Source::Awaited(request, awaited))
            }
            Self::Stream { stream, request, reply } => {
                let _ = reply.try_send(());
                let told = request.as_ref().and_then(|request| request.address);
                (told.or(stream.address), Source::Given(stream, request))
            }
        }
    }
}

/// A refusal as a value.
fn refused((status, body): (http::StatusCode, &str)) -> Response<String> {
    parse_response(&refusal(status, None, &HeaderMap::new(), body, true))
}

/// A request that may become a WebSocket connection: the application answers it, and hands the
/// stream over. One that is dropped is given up.
#[derive(Debug)]
#[must_use = "the client waits for the answer, and the server for the stream"]
pub struct AcceptedUpgrade {
    id: ConnId,
    response: Response<()>,
    requests: Sender<CoreRequest>,
    status: Arc<Status>,
    handed_over: bool,
}

impl AcceptedUpgrade {
    pub(crate) fn new(
        id: ConnId,
        response: Response<()>,
        requests: Sender<CoreRequest>,
        status: Arc<Status>,
    ) -> Self {
        Self { id, response, requests, status, handed_over: false }
    }

    /// The answer that the client is to have, before anything else: 101, and its headers.
    #[must_use]
    pub fn response(&self) -> &Response<()> {
        &self.response
    }

    /// Hands the stream over, behind the answer. From now on it is the server's.
    ///
    /// # Errors
    /// [`HandleError::Ended`]: the server has ended, or the stream came later than
    /// [`Config::upgrade_timeout`](crate::Config::upgrade_timeout) allows, or gave way to another
    /// one (R-L2). The stream is dropped then.
    pub async fn accept(mut self, stream: impl Into<Stream>) -> Result<(), HandleError> {
        let (reply, taken) = async_channel::bounded(1);
        let request = CoreRequest::Attach(self.id, stream.into(), reply);
        // Whoever stops waiting before that has given up.
        self.requests.send(request).await.map_err(|_| HandleError::Ended)?;
        self.handed_over = true;
        taken.recv().await.map_err(|_| HandleError::Ended)
    }
}

impl Drop for AcceptedUpgrade {
    fn drop(&mut self) {
        if !self.handed_over {
            self.status.abandon(self.id);
            // A server that has no room for it is awake.
            let _ = self.requests.try_send(CoreRequest::Wake);
        }
    }
}

/// Connections that the application has accepted itself. All limits and rules are those of
/// connections on a port of the server's own: origins, path, capacity, hooks, subprotocols, trusted
/// proxies.
impl Handle {
    /// Decides about a request that the application's own HTTP server has read (R-T8). Either it may
    /// become a connection: then the application answers as it is told, and hands the stream over
    /// ([`AcceptedUpgrade::accept`]). Or the answer is another one: a refusal, 426 for what asks for
    /// no WebSocket, 503 while the server shuts down, accepts no more or has ended.
    ///
    /// # Errors
    /// The answer that is no upgrade.
    pub async fn upgrade(
        &self,
        request: impl Into<MountedRequest>,
    ) -> Result<AcceptedUpgrade, Response<String>> {
        let (reply, answer) = async_channel::bounded(1);
        let (requests, status) = (self.requests.clone(), Arc::clone(&self.status));
        let awaited = Box::new(Awaited::new(reply, requests, status));
        let request = Box::new(request.into().within(self.status.max_head_size));
        let opening = Opening::Request { request, awaited };
        let sent = self.requests.send(CoreRequest::Open(opening)).await;
        sent.map_err(|_| refused(mounted::ENDED))?;
        match answer.recv().await {
            Ok(MountAnswer::Upgrade(accepted)) => Ok(accepted),
            Ok(MountAnswer::Respond(response)) => Err(response),
            Err(_) if self.is_ending() => Err(refused(mounted::ENDED)),
            Err(_) => Err(refused(mounted::GAVE_WAY)),
        }
    }

    /// Takes a stream whose request the application has read: the server answers it, whatever it
    /// answers. What has been read behind the request belongs to the stream
    /// ([`Stream::already_read`]).
    ///
    /// # Errors
    /// [`HandleError::Ended`]: also where too many wait to be taken in, or it has waited for that
    /// longer than [`Config::upgrade_timeout`](crate::Config::upgrade_timeout). The stream is dropped
    /// then.
    pub async fn accept_request(
        &self,
        stream: impl Into<Stream>,
        request: impl Into<MountedRequest>,
    ) -> Result<(), HandleError> {
        let request = request.into().within(self.status.max_head_size);
        self.open(stream.into(), Some(Box::new(request))).await
    }

    /// Takes a stream of which no request has been handled: the server does everything, as if it had
    /// accepted the connection itself.
    ///
    /// # Errors
    /// [`HandleError::Ended`]: also where too many wait to be taken in, or it has waited for that
    /// longer than [`Config::upgrade_timeout`](crate::Config::upgrade_timeout), or after
    /// [`stop_accepting`](Self::stop_accepting). The stream is dropped then.
    pub async fn accept(&self, stream: impl Into<Stream>) -> Result<(), HandleError> {
        if self.status.closed.load(Ordering::Relaxed) {
            return Err(HandleError::Ended);
        }
        self.open(stream.into(), None).await
    }

    /// The server takes nobody in any more, for good.
    fn is_ending(&self) -> bool {
        let Status { draining, stopped, .. } = &*self.status;
        let told = draining.load(Ordering::Relaxed) || stopped.load(Ordering::Relaxed);
        told || self.requests.is_closed()
    }

    async fn open(
        &self,
        stream: Stream,
        request: Option<Box<MountedRequest>>,
    ) -> Result<(), HandleError> {
        let (reply, taken) = async_channel::bounded(1);
        let opening = Opening::Stream { stream, request, reply };
        let sent = self.requests.send(CoreRequest::Open(opening)).await;
        sent.map_err(|_| HandleError::Ended)?;
        taken.recv().await.map_err(|_| HandleError::Ended)
    }
}
