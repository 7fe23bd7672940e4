//! Where to connect to, and from where.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
};

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections come from one address, before the next one is used. There are ports for
/// three times as many, but free ones are found ever more slowly.
const PER_ADDRESS: usize = 10_000;

/// Where to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The URL as given.
    pub(crate) url: String,
    address: SocketAddr,
    /// The value of the `Host` header.
    host: String,
    /// Path and query.
    path: String,
    /// Over how many loopback addresses connections are spread; 0 is as many as are needed.
    pub(crate) source_addresses: usize,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// A line that says why it is none.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        if url.starts_with("wss://") {
            return Err("TLS is not measured: the URL must begin with ws://".into());
        }
        let rest = url.strip_prefix("ws://").ok_or("the URL must begin with ws://")?;
        let (host, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            ""
        } else {
            ":80"
        };
        let address = format!("{host}{port}")
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| format!("there is no address for {host}"))?;
        let path = if path.starts_with('/') { path.into() } else { format!("/{path}") };
        Ok(Self { url: url.into(), address, host: host.into(), path, source_addresses: 0 })
    }

    /// The request that opens a connection.
    pub(crate) fn request(&self) -> String {
        let Self { host, path, .. } = self;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    }

    /// The address that a connection comes from; any, if there is no need to say.
    fn source(&self, number: usize) -> Option<Ipv4Addr> {
        let IpAddr::V4(address) = self.address.ip() else { return None };
        let nth = match self.source_addresses {
            0 => number / PER_ADDRESS,
            count => number % count,
        };
        if !address.is_loopback() || nth == 0 {
            return None;
        }
        let last = u8::try_from(1 + nth % 254).unwrap_or(1);
        Some(Ipv4Addr::new(127, 0, 0, last))
    }

    /// A socket that is on its way.
    pub(crate) fn socket(&self, number: usize) -> io::Result<mio::net::TcpStream> {
        let domain = Domain::for_address(self.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = self.source(number) {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&self.address.into()) {
            Err(error) if !is_in_progress(&error) => Err(error),
            _ => Ok(mio::net::TcpStream::from_std(socket.into())),
        }
    }
}

/// True if a connection is on its way.
fn is_in_progress(error: &io::Error) -> bool {
    #[cfg(unix)]
    if rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::INPROGRESS) {
        return true;
    }
    error.kind() == ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let target = Target::parse("ws://127.0.0.1:4500/chat?x=1").unwrap();
        assert_eq!((target.address.port(), &*target.path), (4500, "/chat?x=1"));
        assert_eq!(Target::parse("ws://127.0.0.1").unwrap().path, "/");
        assert_eq!(Target::parse("ws://127.0.0.1").unwrap().address.port(), 80);
        assert_eq!(Target::parse("ws://[::1]:9/").unwrap().address.port(), 9);
        for wrong in ["http://127.0.0.1/", "wss://127.0.0.1/", "ws://", "127.0.0.1:4500"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sources() {
        let mut target = Target::parse("ws://127.0.0.1:4500/").unwrap();
        assert_eq!(target.source(9_999), None);
        assert_eq!(target.source(10_000), Some(Ipv4Addr::new(127, 0, 0, 2)));
        target.source_addresses = 4;
        assert_eq!(target.source(3), Some(Ipv4Addr::new(127, 0, 0, 4)));
        assert_eq!(target.source(4), None);
    }
}
