//! What a client needs of an async runtime beside what a server does, and how it opens a WebSocket
//! with that.

use std::{
    future::{Future, poll_fn},
    io,
    sync::Arc,
};

use http::{HeaderMap, Uri};
use rand::{Rng as _, rngs::StdRng};
use rustls::{ClientConfig, pki_types::ServerName};
use symple_engine::client::ConnectFailure;

use crate::{
    http::UpgradeRequest,
    runtime::{Runtime, Socket},
    ws::{client::ClientSocket, deflate::Compression},
};

/// How much of a response is read at once.
const READ: usize = 2 * 1024;

/// A runtime that can open connections.
pub trait Connect: Runtime {
    /// Opens a connection: connects, and encrypts where there is [TLS](DialTarget::tls). The socket
    /// is used where the host's tasks run. The driver drops what takes too long.
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
    /// How to encrypt, and the name that the server's certificate must have; not at all without
    /// it.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// Where a WebSocket is to be opened, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) server: DialTarget,
    /// Path and query of the request.
    path: String,
    /// The server as it is called in the request.
    authority: String,
    /// More headers of the request.
    pub(super) headers: HeaderMap,
    /// How many bytes a message may have.
    pub(super) max_message: usize,
    /// What is asked of the server, and how texts are compressed where it agrees.
    pub(super) compression: Option<Compression>,
}

/// Opens a WebSocket: connects, and asks for the upgrade.
pub(super) async fn open<R: Connect>(
    runtime: R,
    target: Target,
    mut random: StdRng,
) -> Result<ClientSocket, ConnectFailure> {
    let Target { server, path, authority, headers, max_message, compression } = target;
    let mut socket = runtime.dial(server).await?;
    let mut key = [0; 16];
    random.fill_bytes(&mut key);
    let request = UpgradeRequest::new(&path, &authority, &headers, key, compression.is_some());
    write(&mut *socket, &request.bytes).await.map_err(|error| io_failure(&error))?;
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; READ];
        let read = poll_fn(|cx| socket.poll_read(cx, &mut chunk)).await;
        let count = read.map_err(|error| io_failure(&error))?;
        if count == 0 {
            return Err(ConnectFailure::Protocol("the server ended the handshake".into()));
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if let Some(upgraded) = request.response(&bytes)? {
            let behind = bytes.get(upgraded.length..).unwrap_or_default();
            let compression = compression.filter(|_| upgraded.deflates);
            return Ok(ClientSocket::new(socket, behind, max_message, compression, random));
        }
    }
}

async fn write(socket: &mut dyn Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match poll_fn(|cx| socket.poll_write(cx, bytes)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = bytes.get(count..).unwrap_or_default(),
        }
    }
    poll_fn(|cx| socket.poll_flush(cx)).await
}

/// Why a URL is none that a client can use, in one line.
pub(super) type UrlProblem = String;

impl Target {
    /// Reads a URL such as `wss://example.org/ws`, and says by which name the server must prove
    /// itself, if it must.
    pub(super) fn new(url: &str) -> Result<(Self, Option<ServerName<'static>>), UrlProblem> {
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let encrypted = match uri.scheme() {
            Some(scheme) if scheme.as_str() == "ws" => false,
            Some(scheme) if scheme.as_str() == "wss" => true,
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
        let name = encrypted.then(|| ServerName::try_from(host.clone())).transpose();
        let name = name.map_err(|_| "its server has a name that no certificate can have")?;
        let target = Self {
            server: DialTarget { host, port, tls: None },
            path: uri.path_and_query().map_or_else(|| "/".into(), ToString::to_string),
            // Names and passwords are no part of it.
            authority: authority.rsplit('@').next().unwrap_or_default().to_owned(),
            headers: HeaderMap::new(),
            max_message: usize::MAX,
            compression: None,
        };
        Ok((target, name))
    }
}

/// Says what it means for a client that the system or TLS reports this.
#[must_use]
pub fn io_failure(error: &io::Error) -> ConnectFailure {
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
            let server = target.server;
            assert_eq!((&*server.host, server.port, tls), (host, port, encrypted), "{url}");
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

    /// What is asked for, and of whom.
    #[test]
    fn requests() {
        for (url, path, authority) in [
            ("ws://localhost", "/", "localhost"),
            ("ws://[::1]:4500/ws?a=b#c", "/ws?a=b", "[::1]:4500"),
            ("wss://name@example.org?a", "/?a", "example.org"),
        ] {
            let (target, _) = Target::new(url).unwrap();
            assert_eq!((&*target.path, &*target.authority), (path, authority), "{url}");
        }
    }

    #[test]
    fn what_failures_mean() {
        let tls = io::Error::other(rustls::Error::DecryptError);
        assert!(matches!(io_failure(&tls), ConnectFailure::Tls(_)));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(matches!(io_failure(&refused), ConnectFailure::Unreachable(_)));
    }
}
