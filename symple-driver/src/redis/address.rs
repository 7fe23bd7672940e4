//! Addresses of servers, as they stand in URLs.

use ::redis::ConnectionAddr;

/// A server, as a URL.
pub(super) fn url_of(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Unix(path) => format!("unix://{}", path.display()),
        ConnectionAddr::TcpTls { .. } => format!("rediss://{}", host_and_port(address)),
        _ => format!("redis://{}", host_and_port(address)),
    }
}

/// An address of TCP, without its scheme.
pub(super) fn host_and_port(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }
            if host.contains(':') =>
        {
            format!("[{host}]:{port}")
        }
        _ => address.to_string(),
    }
}
