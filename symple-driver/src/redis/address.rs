//! Addresses of servers, as they stand in URLs.

use ::redis::{ConnectionAddr, ConnectionInfo};

/// A server, as a URL.
pub(super) fn url_of(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Unix(path) => format!("unix://{}", path.display()),
        ConnectionAddr::TcpTls { .. } => format!("rediss://{}", host_and_port(address)),
        _ => format!("redis://{}", host_and_port(address)),
    }
}

/// Another server, to be connected to in the same way.
pub(super) fn beside(address: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match address.clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

/// Several servers, without the scheme.
pub(super) fn hosts(each: &[ConnectionInfo]) -> String {
    let each: Vec<_> = each.iter().map(|info| host_and_port(info.addr())).collect();
    each.join(",")
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
