//! A small client of HTTP/1.1, for an API on this machine or behind a tunnel.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{net::TcpStream, time::timeout};

pub(super) use hyper::Method;

use crate::{Failure, text::one_line};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take to begin, and then to end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How large an answer may be, in bytes.
const MAX_ANSWER: usize = 256 * 1024 * 1024;
/// How many characters are shown of what the server says.
const SHOWN: usize = 300;

/// Where the API is, and its key.
pub(super) struct Api {
    /// Host and port.
    authority: String,
    host: String,
    port: u16,
    /// What stands before the paths.
    base: String,
    key: Option<String>,
}

/// A refusal of the API.
#[derive(Deserialize)]
struct Refused {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
}

impl Api {
    /// An API at a URL.
    pub(super) fn new(url: &str, key: Option<String>) -> Result<Self, Failure> {
        let wrong = |problem: &str| {
            let url = one_line(url, 100);
            Failure::usage(format!("'{url}' (url) {problem}, such as http://127.0.0.1:4501"))
        };
        let uri: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong(
                    "must begin with http://: TLS needs a tunnel, of ssh for instance",
                ));
            }
            _ => return Err(wrong("must begin with http://")),
        }
        let authority = uri.authority().ok_or_else(|| wrong("must name a host"))?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong("must have a host, a port and a path at most"));
        }
        let host = authority.host();
        Ok(Self {
            authority: authority.to_string(),
            host: host.trim_start_matches('[').trim_end_matches(']').into(),
            port: authority.port_u16().unwrap_or(80),
            base: uri.path().trim_end_matches('/').into(),
            key,
        })
    }

    /// What is at a path.
    pub(super) async fn get(&self, path: &str) -> Result<Box<RawValue>, Failure> {
        self.call(Method::GET, path, "", None).await
    }

    /// Asks for something to be done.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: &str,
        key: Option<&str>,
    ) -> Result<Box<RawValue>, Failure> {
        let mut request = Request::builder().method(method);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = self.send(request, path, body).await?;
        serde_json::from_slice(&read(answer).await?)
            .map_err(|_| Failure::crash("the server does not answer with JSON"))
    }

    /// Sends a request. What is refused is a failure.
    pub(super) async fn send(
        &self,
        request: hyper::http::request::Builder,
        path: &str,
        body: &str,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = request
            .uri(format!("{}{path}", self.base))
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/json, text/event-stream");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(|error| Failure::usage(format!("the request cannot be made: {error}")))?;
        let answer = timeout(ANSWER_TIMEOUT, self.exchange(request)).await;
        let answer = answer.map_err(|_| self.away("it does not answer"))??;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let refused = read(answer).await.ok();
        let refused = refused.and_then(|text| serde_json::from_slice::<Refused>(&text).ok());
        Err(Failure::crash(match refused {
            Some(refused) => one_line(&refused.error.message, SHOWN),
            None => format!("the server answers with {}", status.as_u16()),
        }))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let stream = TcpStream::connect((self.host.as_str(), self.port));
        let stream =
            timeout(CONNECT_TIMEOUT, stream).await.map_err(|_| self.away("it does not answer"))?;
        let stream = stream.map_err(|error| self.away(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.away(error))?;
        // It ends with the answer, or with the program.
        tokio::spawn(async { drop(connection.await) });
        sender.send_request(request).await.map_err(|error| self.away(error))
    }

    fn away(&self, problem: impl std::fmt::Display) -> Failure {
        Failure::usage(format!("cannot connect to {}: {problem}", one_line(&self.authority, 100)))
    }
}

/// The whole of an answer.
async fn read(answer: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect();
    match timeout(ANSWER_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Failure::crash(format!("the answer breaks off: {error}"))),
        Err(_) => Err(Failure::crash("the answer breaks off: nothing comes any more")),
    }
}

/// A text as a part of a path or a query.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    // Paths of dots are shortened on the way.
    let dots = matches!(text, "." | "..");
    for byte in text.bytes() {
        match byte {
            b'.' if dots => escaped.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(byte.into());
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let api = Api::new("http://[::1]:4501/symple/", None).ok().unwrap();
        assert_eq!((api.host.as_str(), api.port, api.base.as_str()), ("::1", 4501, "/symple"));
        assert_eq!(api.authority, "[::1]:4501");
        for url in
            ["", "localhost:4501", "https://localhost", "http://a@b", "http://a/?b", "ws://a"]
        {
            let problem = Api::new(url, None).err().map(|failure| failure.message);
            assert!(problem.is_some_and(|problem| problem.contains("(url)")), "{url}");
        }
    }

    #[test]
    fn names_in_paths() {
        assert_eq!(escaped("a/b é|?#%"), "a%2Fb%20%C3%A9%7C%3F%23%25");
        assert_eq!(escaped(".."), "%2E%2E");
    }
}
