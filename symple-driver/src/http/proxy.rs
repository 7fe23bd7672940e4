//! The proxies that may tell a client's address (R-T6).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

use super::{UNIX_PEER, UNKNOWN_PEER};

/// The address of a proxy that may tell a client's address, or a network of them (R-T6).
///
/// It is made from text (`10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`), an address or an [`IpNet`].
/// `unix` is whoever is at the other end of a Unix socket.
/// Bits of an address beyond the prefix do not count. A network of IPv4 addresses that are written
/// as IPv6, such as `::ffff:10.0.0.0/104`, is the one of IPv4: so addresses are compared.
///
/// A network has neither Unix sockets in it nor those whose address nobody knows, however large it
/// is: `::/0` and `0.0.0.0/0` are every address that a proxy can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Network(IpNet),
    /// The other end of any Unix socket.
    Unix,
}

/// The header in which trusted proxies tell a client's address (R-T6).
///
/// Only one is read: a proxy passes on what it does not write itself, so that clients could tell any
/// address in the other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, and `X-Real-IP` where that is empty.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// How the other end of a Unix socket is written.
const UNIX: &str = "unix";

/// Why a text is no [`TrustedProxy`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It is nothing of the kind.
    #[error("a proxy is written 10.0.0.1, and a network of them 10.0.0.0/8")]
    Syntax,
    /// It has more than an address; this would be the address.
    #[error("a proxy is an address alone: write {0}")]
    Instead(TrustedProxy),
    /// Connections come from no such address: it is that of a group, or of nobody.
    #[error("no proxy has such an address")]
    Never,
}

impl TrustedProxy {
    /// True for the address of such a proxy. An IPv4 address that is written as IPv6 is meant.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self.0 {
            // No socket has it; it stands for those without one.
            Kind::Network(network) => !address.is_unspecified() && network.contains(&address),
            Kind::Unix => false,
        }
    }

    /// True if this is the other end of a connection: an address, or what stands for one.
    pub(crate) fn is_at(&self, peer: SocketAddr) -> bool {
        match self.0 {
            Kind::Unix => peer == UNIX_PEER,
            Kind::Network(_) => peer != UNKNOWN_PEER && self.contains(peer.ip()),
        }
    }

    /// No socket's address is in it.
    fn is_empty(self) -> bool {
        let Kind::Network(network) = self.0 else { return false };
        let (address, prefix) = (network.network(), network.prefix_len());
        let all = if address.is_ipv4() { 4 } else { 8 };
        address.is_unspecified() && prefix == network.max_prefix_len()
            || address.is_multicast() && prefix >= all
    }

    /// What was meant by a text with more than an address.
    fn instead(text: &str) -> Option<Self> {
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Some(socket.ip().into());
        }
        let bare = text.strip_prefix('[').map_or(text, |rest| rest.trim_end_matches(']'));
        // A zone means something on one machine only.
        let bare = bare.split_once('%').map_or(bare, |(address, _)| address);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(address.into());
        }
        let (address, mask) = text.split_once('/')?;
        let network = IpNet::with_netmask(address.parse().ok()?, mask.parse().ok()?).ok()?;
        Some(network.trunc().into())
    }
}

impl From<IpNet> for TrustedProxy {
    fn from(network: IpNet) -> Self {
        if let IpNet::V6(v6) = network
            && let (Some(v4), Some(prefix)) =
                (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96))
            && let Ok(v4) = Ipv4Net::new(v4, prefix)
        {
            return Self(Kind::Network(IpNet::V4(v4).trunc()));
        }
        Self(Kind::Network(network.trunc()))
    }
}

impl From<IpAddr> for TrustedProxy {
    fn from(address: IpAddr) -> Self {
        Self(Kind::Network(address.to_canonical().into()))
    }
}

impl FromStr for TrustedProxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        if text == UNIX {
            return Ok(Self(Kind::Unix));
        }
        let network = text.parse::<IpNet>().map(Self::from);
        let found = network.or_else(|_| text.parse::<IpAddr>().map(Self::from));
        match found {
            Ok(found) if found.is_empty() => Err(ProxyError::Never),
            Ok(found) => Ok(found),
            Err(_) => Err(Self::instead(text).map_or(ProxyError::Syntax, ProxyError::Instead)),
        }
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Unix => f.write_str(UNIX),
            Kind::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().fmt(f)
            }
            Kind::Network(network) => network.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-T6: addresses and networks, in the form in which addresses are compared.
    #[test]
    fn proxies_are_read_and_written() {
        for (text, written, address) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
            ("127.0.0.1/32", "127.0.0.1", "127.0.0.1"),
            ("::1", "::1", "::1"),
            ("10.0.0.0/8", "10.0.0.0/8", "10.1.2.3"),
            ("10.0.0.1/8", "10.0.0.0/8", "10.1.2.3"),
            ("10.0.0.0/8", "10.0.0.0/8", "::ffff:10.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8", "10.1.2.3"),
            ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1"),
            ("::ffff:0:0/96", "0.0.0.0/0", "203.0.113.9"),
            ("0.0.0.0/0", "0.0.0.0/0", "203.0.113.9"),
            ("2001:db8::/32", "2001:db8::/32", "2001:db8::7"),
            ("::/0", "::/0", "2001:db8::7"),
        ] {
            let proxy: TrustedProxy = text.parse().unwrap();
            assert_eq!(proxy.to_string(), written, "{text}");
            assert!(proxy.contains(address.parse().unwrap()), "{text}");
        }
        let one: TrustedProxy = "10.0.0.1".parse().unwrap();
        assert!(!one.contains("10.0.0.2".parse().unwrap()));
    }

    /// R-T6: whoever is at the other end of a Unix socket, or is not known, is in no network.
    #[test]
    fn those_without_an_address() {
        let unix: TrustedProxy = "unix".parse().unwrap();
        assert_eq!(unix.to_string(), "unix");
        assert!(unix.is_at(UNIX_PEER) && !unix.is_at(UNKNOWN_PEER));
        // An address that others have written is no socket.
        assert!(!unix.contains(UNIX_PEER.ip()));
        for address in ["[::1]:0", "127.0.0.1:1", "[::]:1"] {
            assert!(!unix.is_at(address.parse().unwrap()), "{address}");
        }
        for text in ["::/0", "0.0.0.0/0", "::/1", "::ffff:0:0/96"] {
            let all: TrustedProxy = text.parse().unwrap();
            for peer in [UNIX_PEER, UNKNOWN_PEER] {
                assert!(!all.is_at(peer) && !all.contains(peer.ip()), "{text}");
            }
        }
        // An application may have made it of an address.
        assert!(!TrustedProxy::from(UNIX_PEER.ip()).is_at(UNIX_PEER));
    }

    /// R-T6: an entry that no address can match is refused, with what to write where that is clear.
    #[test]
    fn entries_that_match_nothing() {
        for (text, instead) in [
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]", "::1"),
            ("[::1]:80", "::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ] {
            let error = text.parse::<TrustedProxy>().unwrap_err();
            assert_eq!(error.to_string(), format!("a proxy is an address alone: write {instead}"));
        }
        for text in ["", "localhost", "10.0.0.0/99", "10.0.0", "10.0.0.0/", "*", "::1/129"] {
            assert_eq!(text.parse::<TrustedProxy>(), Err(ProxyError::Syntax), "{text}");
        }
        for text in ["0.0.0.0", "::", "224.0.0.1", "224.0.0.0/4", "ff02::1"] {
            assert_eq!(text.parse::<TrustedProxy>(), Err(ProxyError::Never), "{text}");
        }
    }
}
