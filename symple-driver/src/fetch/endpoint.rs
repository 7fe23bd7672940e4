//! Where the server makes requests to.

use std::{fmt, sync::Arc, time::Duration};

use http::{Uri, uri::Scheme};
use rustls::{ClientConfig, pki_types::ServerName};
use thiserror::Error;

use crate::client::{builder::trust_the_system, transport::DialTarget};

/// An address of the operator's that the server asks or tells something over HTTP (R-V1, R-V2, R-W1).
///
/// Certificates are checked as the system does; [`tls`](Self::tls) changes that. No redirect is
/// followed. `Display` and `Debug` leave out what might be secret: the query and the secret.
#[derive(Clone)]
pub struct HttpEndpoint {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(crate) secret: Option<Arc<[u8]>>,
    pub(crate) timeout: Duration,
}

/// Why a URL is none that requests can be made to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is no URL.
    #[error("it is no URL")]
    NoUrl,
    /// It begins with something else.
    #[error("it must begin with https:// or http://")]
    Scheme,
    /// It has no host, or a port that is none.
    #[error("it names no server")]
    NoServer,
    /// It has a name and a password, which would be seen in too many places.
    #[error("it must not have a user or password")]
    Credentials,
    /// There is nobody to be trusted.
    #[error("no certificate can be checked: {0}")]
    Certificates(String),
}

impl HttpEndpoint {
    /// An endpoint at a URL, with a time limit of 5 s for each request.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn new(url: &str) -> Result<Self, EndpointError> {
        let uri: Uri = url.trim().parse().map_err(|_| EndpointError::NoUrl)?;
        let encrypted = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(EndpointError::Scheme),
        };
        let authority = uri.authority().ok_or(EndpointError::NoServer)?.as_str();
        if authority.contains('@') {
            return Err(EndpointError::Credentials);
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        if host.is_empty() || has_port && uri.port_u16().is_none_or(|port| port == 0) {
            return Err(EndpointError::NoServer);
        }
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let tls = if encrypted {
            let name = ServerName::try_from(host.clone()).map_err(|_| EndpointError::NoServer)?;
            let config = trust_the_system();
            Some((config.map_err(|error| EndpointError::Certificates(error.to_string()))?, name))
        } else {
            None
        };
        Ok(Self { uri, host, port, tls, secret: None, timeout: Duration::from_secs(5) })
    }

    /// Trusts others than the system does; for `https://` only. [`trust`](crate::trust) makes such a
    /// configuration.
    #[must_use]
    pub fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        if let Some((trusted, _)) = &mut self.tls {
            *trusted = config;
        }
        self
    }

    /// How long a request may take, from the connection to the end of the answer; zero is for ever.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Signs what is posted with this secret (R-W1).
    #[must_use]
    pub fn secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secret = Some(secret.as_ref().into());
        self
    }

    /// Whether others on the way can read and change what is said.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// The name or address of the server, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn target(&self) -> DialTarget {
        DialTarget { host: self.host.clone(), port: self.port, tls: self.tls.clone() }
    }

    pub(crate) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }
}

impl fmt::Display for HttpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let query = if self.uri.query().is_some() { "?…" } else { "" };
        write!(f, "{scheme}://{}{}{query}", self.authority(), self.uri.path())
    }
}

impl fmt::Debug for HttpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpEndpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, shown, host, port, path) in [
            ("http://localhost", "http://localhost/", "localhost", 80, "/"),
            ("http://[::1]:81/a?token=x#y", "http://[::1]:81/a?…", "::1", 81, "/a?token=x"),
            (" http://a.example:8080/b/ ", "http://a.example:8080/b/", "a.example", 8080, "/b/"),
        ] {
            let endpoint = HttpEndpoint::new(url).unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!((endpoint.host(), endpoint.port, endpoint.path()), (host, port, path));
        }
        for (url, error) in [
            ("", EndpointError::NoUrl),
            ("example.com", EndpointError::Scheme),
            ("/keys.json", EndpointError::Scheme),
            ("ftp://a.example/", EndpointError::Scheme),
            ("http://user:password@a.example/", EndpointError::Credentials),
            ("http://a.example:0/", EndpointError::NoServer),
            ("http://a.example:99999/", EndpointError::NoServer),
            ("http:///a", EndpointError::NoUrl),
        ] {
            assert_eq!(HttpEndpoint::new(url).unwrap_err(), error, "{url}");
        }
        let secret = HttpEndpoint::new("http://a.example/?key=hidden").unwrap().secret("hidden");
        assert!(!format!("{secret:?} {secret}").contains("hidden"));
    }
}
