//! Whose request it is (R-T6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    Policy,
    forwarded::addresses,
    head::{Field, elements},
    proxy::ProxyHeader,
};

/// What stands for the address of a client of which the application tells none. No socket has this
/// address, so it counts as nobody's: for limits (R-L2) and in records.
pub(crate) const UNKNOWN_PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What stands for the address of whoever is at the other end of a Unix socket. The entry `unix` of
/// the trusted proxies means it.
pub(crate) const UNIX_PEER: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

impl Policy<'_> {
    /// R-T6: the socket's address, or what trusted proxies tell of the one behind them.
    pub(super) fn client_address(
        &self,
        peer: SocketAddr,
        headers: &[httparse::Header<'_>],
        real_ip: Field<'_>,
    ) -> IpAddr {
        let trusted =
            |address: &IpAddr| self.trusted_proxies.iter().any(|proxy| proxy.contains(*address));
        let mut address = peer.ip().to_canonical();
        if !self.trusted_proxies.iter().any(|proxy| proxy.is_at(peer)) {
            return address;
        }
        let values = |name| {
            let headers = headers.iter();
            let named = headers.filter(move |header| header.name.eq_ignore_ascii_case(name));
            named.map(|header| header.value)
        };
        let told: Vec<Option<IpAddr>> = match self.proxy_header {
            ProxyHeader::XForwardedFor => {
                values("x-forwarded-for").flat_map(elements).map(parse_address).collect()
            }
            ProxyHeader::Forwarded => values("forwarded").flat_map(addresses).collect(),
        };
        if told.is_empty() && self.proxy_header == ProxyHeader::XForwardedFor {
            // Of several, or a list, it cannot be told which one the proxy wrote.
            return real_ip.text().and_then(parse_address).unwrap_or(address);
        }
        for entry in told.into_iter().rev() {
            // Beyond an entry that is no address, nothing can be believed.
            let Some(entry) = entry else { break };
            address = entry;
            if !trusted(&address) {
                break;
            }
        }
        address
    }
}

/// An address as proxies write it: alone, or with a port, IPv6 also in brackets and with a zone, which
/// means something to that proxy only, all of it in quotation marks or not.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let text = quoted.unwrap_or(text);
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let has_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return parse_v6(address).filter(|_| has_port);
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.into());
    }
    parse_v6(text).or_else(|| {
        let (address, port) = text.split_once(':')?;
        address.parse::<Ipv4Addr>().ok().filter(|_| is_port(port)).map(Into::into)
    })
}

fn parse_v6(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    Some(address.parse::<Ipv6Addr>().ok()?.to_canonical())
}

/// A port, or what hides one (RFC 7239 §6).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(hidden) => {
            hidden.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}
