//! Requests that the server makes itself: for keys, about authentications, with events.
//!
//! One small client for all of them. It follows no redirects, speaks HTTP/1.1, keeps a few connections
//! for the next request, and bounds how long an answer takes and how large it is.

pub(crate) mod endpoint;
mod io;
pub(crate) mod jwks;
pub(crate) mod signature;

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use http::{
    Method, Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use symple_engine::client::ConnectFailure;

use crate::{client::transport::Connect, redis::one_line, runtime::within};
use endpoint::HttpEndpoint;
use io::Io;

/// How many connections are kept for the next request.
const IDLE: usize = 16;
/// How the server calls itself.
const AGENT: &str = concat!("symple/", env!("CARGO_PKG_VERSION"));
const JSON: &str = "application/json";

/// Why there is no answer, in one line. What others have written is short in it, and printable.
#[derive(Debug)]
pub(crate) enum FetchError {
    /// The other side cannot be reached.
    Unreachable(ConnectFailure),
    /// It took too long.
    Timeout,
    /// It is no HTTP, or was cut off.
    Broken(hyper::Error),
    /// It is larger than it may be.
    TooLarge(usize),
    /// It has a status that says that it is no answer; redirects are among them.
    Status(StatusCode),
    /// It says what makes no sense.
    Nonsense(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(failure) => {
                let (what, why) = match failure {
                    ConnectFailure::Tls(why) => ("TLS failed", why),
                    ConnectFailure::Unreachable(why) | ConnectFailure::Protocol(why) => {
                        ("it cannot be reached", why)
                    }
                    _ => return f.write_str("it cannot be reached"),
                };
                write!(f, "{what}: {}", one_line(why))
            }
            Self::Timeout => f.write_str("there was no answer in time"),
            Self::Broken(error) => {
                write!(f, "the answer is broken: {}", one_line(&error.to_string()))
            }
            Self::TooLarge(limit) => write!(f, "the answer is larger than {limit} bytes"),
            Self::Status(status) if status.is_redirection() => {
                write!(f, "the answer is a redirect ({}), which is not followed", status.as_u16())
            }
            Self::Status(status) => write!(f, "the answer has the status {}", status.as_u16()),
            Self::Nonsense(problem) => f.write_str(&one_line(problem)),
        }
    }
}

/// Makes requests to one endpoint.
pub(crate) struct Fetcher<R> {
    runtime: R,
    endpoint: HttpEndpoint,
    /// The most bytes that an answer may have.
    max_answer: usize,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl<R: Connect> Fetcher<R> {
    pub(crate) fn new(runtime: R, endpoint: HttpEndpoint, max_answer: usize) -> Self {
        Self { runtime, endpoint, max_answer, idle: Mutex::default() }
    }

    pub(crate) fn endpoint(&self) -> &HttpEndpoint {
        &self.endpoint
    }

    pub(crate) fn runtime(&self) -> &R {
        &self.runtime
    }

    /// Fetches what is there.
    pub(crate) async fn get(&self) -> Result<Bytes, FetchError> {
        self.fetch(Method::GET, Bytes::new()).await
    }

    /// Posts JSON, signed where the endpoint has a secret.
    pub(crate) async fn post(&self, body: String) -> Result<Bytes, FetchError> {
        self.fetch(Method::POST, body.into()).await
    }

    /// Makes a request; only an answer of the kind 2xx is one.
    async fn fetch(&self, method: Method, body: Bytes) -> Result<Bytes, FetchError> {
        let answer = self.exchange(&method, body);
        within(&self.runtime, self.endpoint.timeout, answer)
            .await
            .unwrap_or(Err(FetchError::Timeout))
    }

    async fn exchange(&self, method: &Method, body: Bytes) -> Result<Bytes, FetchError> {
        while let Some(mut sender) = self.take_idle() {
            // Whether it is still there is seen only when it is used.
            if sender.ready().await.is_err() {
                continue;
            }
            match self.ask(sender, method, body.clone()).await {
                Err(FetchError::Broken(_)) => {}
                answered => return answered,
            }
        }
        let target = self.endpoint.target();
        let socket = self.runtime.dial(target).await.map_err(FetchError::Unreachable)?;
        let (sender, connection) =
            http1::handshake(Io(socket)).await.map_err(FetchError::Broken)?;
        // It ends when nobody has its sender any more.
        self.runtime.spawn(async move { drop(connection.await) });
        self.ask(sender, method, body).await
    }

    async fn ask(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        method: &Method,
        body: Bytes,
    ) -> Result<Bytes, FetchError> {
        let request = self.request(method, body)?;
        let response = sender.send_request(request).await.map_err(FetchError::Broken)?;
        let (head, mut answer) = response.into_parts();
        let mut bytes = Vec::new();
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(FetchError::Broken)?;
            if let Some(data) = frame.data_ref() {
                if bytes.len() + data.len() > self.max_answer {
                    return Err(FetchError::TooLarge(self.max_answer));
                }
                bytes.extend_from_slice(data);
            }
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE && !sender.is_closed() {
            idle.push(sender);
        }
        drop(idle);
        if head.status.is_success() {
            Ok(bytes.into())
        } else {
            Err(FetchError::Status(head.status))
        }
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn request(&self, method: &Method, body: Bytes) -> Result<Request<Full<Bytes>>, FetchError> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.endpoint.path())
            .header(HOST, self.endpoint.authority())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, JSON);
        if *method == Method::POST {
            request = request.header(CONTENT_TYPE, JSON);
            if let Some(secret) = &self.endpoint.secret {
                let signed = signature::sign(secret, SystemTime::now(), &body);
                request = request.header(signature::HEADER, signed);
            }
        }
        request.body(Full::new(body)).map_err(|error| FetchError::Nonsense(error.to_string()))
    }
}
