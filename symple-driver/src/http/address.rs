//! Whose request it is (R-T6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    Policy,
    head::{Field, elements},
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
        if !trusted(&address) {
            return address;
        }
        let mut forwarded = headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("x-forwarded-for"))
            .flat_map(|header| elements(header.value))
            .rev()
            .peekable();
        if forwarded.peek().is_none() {
            // Of several, or a list, it cannot be told which one the proxy wrote.
            return real_ip.text().and_then(parse_address).unwrap_or(address);
        }
        for entry in forwarded {
            // Beyond an entry that is no address, nothing can be believed.
            let Some(entry) = parse_address(entry) else { break };
            address = entry;
            if !trusted(&address) {
                break;
            }
        }
        address
    }
}

/// An address as proxies write it: alone, or with a port.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = text.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    let address = address.ok().or_else(|| bare?.parse().ok())?;
    Some(address.to_canonical())
}
