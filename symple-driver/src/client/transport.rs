//! What a client needs of an async runtime beside what a server does.

use std::{future::Future, sync::Arc, time::Duration};

use futures_core::Stream;
use futures_sink::Sink;
use http::header::RETRY_AFTER;
use rustls::{ClientConfig, pki_types::ServerName};
use symple_engine::client::ConnectFailure;
use tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::WebSocketConfig};

use crate::runtime::{Runtime, Socket};

/// A runtime that can open a [`WebSocket`].
pub trait Connect: Runtime {
    /// An open WebSocket.
    type WebSocket: WebSocket;

    /// Opens a WebSocket: connects, encrypts where there is [TLS](Target::tls), and upgrades. The
    /// driver drops what takes too long.
    fn connect(
        &self,
        target: Target,
    ) -> impl Future<Output = Result<Self::WebSocket, ConnectFailure>> + Send + 'static;

    /// Opens a connection for HTTP: connects, and encrypts where there is TLS. The socket is used
    /// where the host's tasks run.
    fn dial(
        &self,
        target: DialTarget,
    ) -> impl Future<Output = Result<Box<dyn Socket>, ConnectFailure>> + Send + 'static;
}

/// A server that a connection is to be opened to.
#[derive(Clone, Debug)]
pub struct DialTarget {
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// As [`Target::tls`].
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// An open WebSocket.
pub trait WebSocket:
    Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Send + Unpin + 'static
{
}

impl<T> WebSocket for T where
    T: Stream<Item = Result<Message, Error>>
        + Sink<Message, Error = Error>
        + Send
        + Unpin
        + 'static
{
}

/// Where a WebSocket is to be opened, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Target {
    /// The request of the upgrade.
    pub request: http::Request<()>,
    /// The name or address of the server, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How to encrypt, and the name that the server's certificate must have; not at all without
    /// it.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// The limits of messages.
    pub config: WebSocketConfig,
}

/// Why a URL is none that a client can use, in one line.
pub(super) type UrlProblem = String;

impl Target {
    /// Reads a URL such as `wss://example.org/ws`, and says by which name the server must prove
    /// itself, if it must.
    pub(super) fn new(url: &str) -> Result<(Self, Option<ServerName<'static>>), UrlProblem> {
        let request = url.into_client_request().map_err(|error| error.to_string())?;
        let uri = request.uri();
        let encrypted = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err("it must begin with ws:// or wss://".into()),
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err("it names no server".into());
        }
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        if has_port && uri.port_u16().is_none_or(|port| port == 0) {
            return Err("its port is none".into());
        }
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let config = WebSocketConfig::default();
        let name = encrypted.then(|| ServerName::try_from(host.clone())).transpose();
        let name = name.map_err(|_| "its server has a name that no certificate can have")?;
        Ok((Self { request, host, port, tls: None, config }, name))
    }
}

/// Says of an error of the upgrade what it means for the client.
#[must_use]
pub fn failure(error: Error) -> ConnectFailure {
    match error {
        Error::Http(response) => {
            let retry_after = response.headers().get(RETRY_AFTER);
            let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let status = response.status().as_u16();
            ConnectFailure::Http { status, retry_after: seconds.map(Duration::from_secs) }
        }
        Error::Io(error) => io_failure(&error),
        other => ConnectFailure::Protocol(other.to_string().into()),
    }
}

/// As [`failure`], for what the system or TLS reports.
#[must_use]
pub fn io_failure(error: &std::io::Error) -> ConnectFailure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(tls) => ConnectFailure::Tls(tls.to_string().into()),
        None => ConnectFailure::Unreachable(error.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, host, port, encrypted) in [
            ("ws://localhost", "localhost", 80, false),
            ("ws://127.0.0.1:4500/", "127.0.0.1", 4500, false),
            ("ws://[::1]:4500/ws?a=b", "::1", 4500, false),
            ("wss://example.org/ws", "example.org", 443, true),
        ] {
            let (target, name) = Target::new(url).unwrap();
            let tls = name.is_some();
            assert_eq!((&*target.host, target.port, tls), (host, port, encrypted), "{url}");
        }
        for url in [
            "ws://a:",
            "ws://a:65536",
            "ws://a:0",
            "ws://[::1]:",
            "",
            "localhost:4500",
            "http://localhost",
            "ws://",
            "ws:///path",
            "/ws",
        ] {
            assert!(Target::new(url).is_err(), "{url}");
        }
    }

    /// R-L2: who asks to stay away is heard.
    #[test]
    fn what_failures_mean() {
        let response = http::Response::builder().status(503).header("retry-after", "7");
        let response = response.body(None::<Vec<u8>>).unwrap();
        let retry_after = Some(Duration::from_secs(7));
        let expected = ConnectFailure::Http { status: 503, retry_after };
        assert_eq!(failure(Error::Http(Box::new(response))), expected);
        let tls = std::io::Error::other(rustls::Error::DecryptError);
        assert!(matches!(io_failure(&tls), ConnectFailure::Tls(_)));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(matches!(io_failure(&refused), ConnectFailure::Unreachable(_)));
    }
}
