//! Requests that the application has read.

use std::net::SocketAddr;

use http::{HeaderMap, Method, StatusCode, Uri, Version};

use super::{
    Policy, RefusedUpgrade, Upgrade,
    policy::{Head, Instead},
};

/// The head of a request that the application's own HTTP server has read, and that is to become a
/// connection of a Symple server: [`Handle::upgrade`](crate::Handle::upgrade).
#[derive(Clone, Debug)]
pub struct MountedRequest {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) tls: bool,
    /// Its head was larger than heads may be, and is not kept.
    too_large: bool,
}

impl<B> From<&http::Request<B>> for MountedRequest {
    fn from(request: &http::Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            address: None,
            tls: false,
            too_large: false,
        }
    }
}

impl From<http::request::Parts> for MountedRequest {
    fn from(parts: http::request::Parts) -> Self {
        let http::request::Parts { method, uri, version, headers, .. } = parts;
        Self { method, uri, version, headers, address: None, tls: false, too_large: false }
    }
}

impl MountedRequest {
    /// The address of the other end of the connection: the client's, or that of a proxy. Only a
    /// proxy that is trusted may tell the client's (R-T6). A client without an address is counted
    /// for none, and no proxy is believed.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The connection came in on a Unix socket: its other end is a proxy that is trusted where
    /// `unix` is among the trusted proxies (R-T6).
    #[must_use]
    pub fn unix(self) -> Self {
        self.address(super::UNIX_PEER)
    }

    /// Whether the connection is encrypted: hooks are told.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// What was asked for, where the application has shortened the path: a router that is nested in
    /// another one does.
    #[must_use]
    pub fn uri(mut self, uri: Uri) -> Self {
        self.uri = uri;
        self
    }

    /// Lets go of a head that is larger than so many bytes (R-T7). It may have to wait before
    /// anybody looks at it, and others read heads that are much larger.
    pub(crate) fn within(mut self, max_head_size: usize) -> Self {
        if self.size() > max_head_size {
            self.too_large = true;
            self.uri = Uri::default();
            self.headers = HeaderMap::new();
        }
        self
    }

    /// How long the head was, about.
    fn size(&self) -> usize {
        let target = self.uri.to_string();
        let fields = self.headers.iter();
        let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        self.method.as_str().len() + target.len() + "  HTTP/1.1\r\n\r\n".len() + fields
    }
}

/// The bytes of an answer that is no upgrade, and what the log tells of it.
type Refusal = (Vec<u8>, Option<Box<RefusedUpgrade>>);

impl Policy<'_> {
    /// Decides about a request that the application has read: as about one on a port of the
    /// server's own, but that pages are the application's. If it is no upgrade, the bytes of the
    /// answer, and what the log tells of that.
    pub(crate) fn answer_mounted(
        &self,
        request: &MountedRequest,
        peer: SocketAddr,
        tls: bool,
    ) -> Result<Box<Upgrade>, Refusal> {
        let target = request.uri.to_string();
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| httparse::Header { name: name.as_str(), value: value.as_bytes() })
            .collect();
        let head = Head {
            method: request.method.as_str(),
            target: &target,
            minor: if request.version == Version::HTTP_11 { 1 } else { 0 },
            headers: &headers,
            length: 0,
            mounted: true,
        };
        let result = if request.too_large { Err(super::policy::TOO_LARGE) } else { Ok(()) };
        result
            .and_then(|()| self.judge_head(&head, peer, tls || request.tls))
            .map(Box::new)
            .map_err(|instead: Instead| {
                let response = instead.response(request.method != Method::HEAD);
                (response, self.refused(instead, &headers, peer))
            })
    }
}

/// What is answered where connections of the application's find no room.
pub(crate) const NO_ROOM: (StatusCode, &str) =
    (StatusCode::SERVICE_UNAVAILABLE, "Too many connections wait\n");
/// What is answered to a request that had to make room for another one (R-L2), or about which was not
/// decided in time (R-L5).
pub(crate) const GAVE_WAY: (StatusCode, &str) =
    (StatusCode::SERVICE_UNAVAILABLE, "No room, or no answer in time\n");
/// What is answered by a server that has ended.
pub(crate) const ENDED: (StatusCode, &str) =
    (StatusCode::SERVICE_UNAVAILABLE, "Server shutting down\n");
