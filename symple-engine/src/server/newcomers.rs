//! Selection of the connection that is closed when too many are not authenticated (R-L2).

use alloc::collections::{BTreeMap, BTreeSet};
use core::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use crate::Timestamp;

use super::ConnId;

/// How long a connection is safe from being closed for others that wait for its place.
const GRACE: Grace = Grace(Duration::from_secs(2), Duration::from_millis(250));
/// The same for one that has sent `auth` and waits for a decision.
const GRACE_DECIDING: Grace = Grace(Duration::from_secs(5), Duration::from_secs(2));
/// The share of an address is one in this many places. Beyond it, its own connections are closed first.
const SHARE: usize = 4;

/// The party that an address stands for: itself, or the network of an IPv6 address, whose prefix has
/// so many bits (R-L2): one customer has all of that.
#[must_use]
pub fn party(address: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let host = u32::from(128_u8.saturating_sub(ipv6_prefix));
            let mask = u128::MAX.checked_shl(host).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// The party that is counted for an address; none for the unspecified address (`0.0.0.0`, `::`),
/// which no socket has: it stands for a client without one, such as that of a Unix socket.
pub(super) fn counted_party(address: IpAddr, ipv6_prefix: u8) -> Option<IpAddr> {
    (!address.to_canonical().is_unspecified()).then(|| party(address, ipv6_prefix))
}

/// How long a connection is left in peace, and how long one is whose address has more places than
/// its share.
#[derive(Clone, Copy, Debug)]
struct Grace(Duration, Duration);

/// The place of a connection among the newcomers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

#[derive(Clone, Copy, Debug)]
struct Newcomer {
    conn: ConnId,
    since: Timestamp,
    party: Option<IpAddr>,
}

/// Connections that have said nothing yet, in the order in which they came (R-L2).
///
/// When there is no place for another one, the oldest is closed; the oldest of a party with more
/// than its share of the places goes before all others. So silent connections cannot keep others
/// out, however many there are and however fast they come.
#[derive(Debug)]
pub struct Newcomers {
    grace: Grace,
    ipv6_prefix: u8,
    last: u64,
    by_age: BTreeMap<Place, Newcomer>,
    by_party: BTreeMap<IpAddr, BTreeSet<Place>>,
}

impl Newcomers {
    /// No newcomers yet. The IPv6 addresses with the same prefix of so many bits are one party
    /// ([`ConnectionLimits::ipv6_prefix`](super::ConnectionLimits::ipv6_prefix)).
    #[must_use]
    pub fn new(ipv6_prefix: u8) -> Self {
        let (by_age, by_party) = (BTreeMap::new(), BTreeMap::new());
        Self { grace: GRACE, ipv6_prefix, last: 0, by_age, by_party }
    }

    /// The connections that have sent `auth` and wait for a decision. They are safe for longer, because the
    /// delay is not their fault.
    pub(super) fn deciding(ipv6_prefix: u8) -> Self {
        Self { grace: GRACE_DECIDING, ..Self::new(ipv6_prefix) }
    }

    /// The number of newcomers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_age.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    /// Adds a connection. Without an address, or from a proxy that speaks for many, it has no
    /// party and no share.
    pub fn add(&mut self, conn: ConnId, address: Option<IpAddr>, now: Timestamp) -> Place {
        self.last += 1;
        let place = Place(self.last);
        let party = address.and_then(|address| counted_party(address, self.ipv6_prefix));
        self.by_age.insert(place, Newcomer { conn, since: now, party });
        if let Some(party) = party {
            self.by_party.entry(party).or_default().insert(place);
        }
        place
    }

    /// Takes a connection out, if it is there.
    pub fn remove(&mut self, place: Place) {
        let Some(Newcomer { party: Some(party), .. }) = self.by_age.remove(&place) else { return };
        if let Some(places) = self.by_party.get_mut(&party) {
            places.remove(&place);
            if places.is_empty() {
                self.by_party.remove(&party);
            }
        }
    }

    /// The connection to close next, if there may be `limit` newcomers in all.
    #[must_use]
    pub fn first_to_go(&self, limit: usize) -> Option<(Place, ConnId)> {
        self.first(limit).map(|(place, newcomer, _)| (place, newcomer.conn))
    }

    /// The earliest time at which a connection may be closed for another one, if there may be `limit`
    /// newcomers in all. `None` if there is no such connection.
    #[must_use]
    pub fn gives_way_at(&self, limit: usize) -> Option<Timestamp> {
        let (_, newcomer, beyond) = self.first(limit)?;
        Some(newcomer.since + if beyond { self.grace.1 } else { self.grace.0 })
    }

    /// The first to go, and whether it is beyond its party's share.
    fn first(&self, limit: usize) -> Option<(Place, &Newcomer, bool)> {
        let share = (limit / SHARE).max(1);
        let beyond = self
            .by_party
            .values()
            .filter(|places| places.len() > share)
            .filter_map(|places| places.first())
            .min();
        let (place, beyond) = match beyond {
            Some(place) => (place, true),
            None => (self.by_age.keys().next()?, false),
        };
        self.by_age.get(place).map(|newcomer| (*place, newcomer, beyond))
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    fn conn(number: u32) -> ConnId {
        ConnId::new(number, 1)
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(192, 0, 2, last).into())
    }

    /// R-L2: an IPv6 /64 is one party, and an IPv4 address is itself, however it is written.
    #[test]
    fn parties() {
        let party = |text: &str| party(text.parse().unwrap(), 64).to_string();
        use alloc::string::ToString as _;
        assert_eq!(party("192.0.2.1"), "192.0.2.1");
        assert_eq!(party("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(party("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(party("2001:db8:1:2::"), party("2001:db8:1:2:ffff::"));
        let address = "2001:db8:1:2:3:4:5:6";
        for (prefix, expected) in
            [(56, "2001:db8:1::"), (48, "2001:db8:1::"), (128, address), (0, "::"), (255, address)]
        {
            let found = super::party(address.parse().unwrap(), prefix);
            assert_eq!(found.to_string(), expected, "{prefix}");
        }
    }

    /// R-L2
    #[test]
    fn the_oldest_goes_first() {
        let mut newcomers = Newcomers::new(64);
        assert_eq!(newcomers.first_to_go(8), None);
        assert_eq!(newcomers.gives_way_at(8), None);
        let at = Timestamp::from_millis;
        let places: [Place; 3] =
            core::array::from_fn(|n| newcomers.add(conn(n as u32), address(n as u8), at(n as u64)));
        assert_eq!(newcomers.first_to_go(8), Some((places[0], conn(0))));
        assert_eq!(newcomers.gives_way_at(8), Some(at(2000)));
        newcomers.remove(places[0]);
        newcomers.remove(places[0]);
        assert_eq!(newcomers.first_to_go(8), Some((places[1], conn(1))));
    }

    /// R-L2: whoever has more than a quarter of the places gives way before everyone else.
    #[test]
    fn a_share_for_each_party() {
        let mut newcomers = Newcomers::new(64);
        let at = Timestamp::from_millis;
        newcomers.add(conn(0), address(1), at(0));
        newcomers.add(conn(1), None, at(1));
        for number in 2..5 {
            newcomers.add(conn(number), address(2), at(u64::from(number)));
        }
        assert_eq!(newcomers.first_to_go(8).map(|(_, conn)| conn), Some(conn(2)));
        assert_eq!(newcomers.gives_way_at(8), Some(at(252)));
        assert_eq!(newcomers.first_to_go(12).map(|(_, conn)| conn), Some(conn(0)));
        assert_eq!(newcomers.len(), 5);
        for place in 1..=5 {
            newcomers.remove(Place(place));
        }
        assert!(newcomers.is_empty() && newcomers.by_party.is_empty());
    }

    /// R-L2, R-T8: clients without an address are counted for nobody, and not for those whose /64 is
    /// the first of all.
    #[test]
    fn clients_without_an_address() {
        for (text, expected) in [
            ("0.0.0.0", None),
            ("::", None),
            ("::ffff:0.0.0.0", None),
            ("::1", Some("::")),
            ("127.0.0.1", Some("127.0.0.1")),
        ] {
            let expected = expected.map(|party| party.parse::<IpAddr>().unwrap());
            assert_eq!(counted_party(text.parse().unwrap(), 64), expected, "{text}");
        }
    }
}
