//! The routing table: which interface a destination leaves by, and which host takes it there.
//!
//! Read at a session's first packet only, so it is a map for each prefix length, walked from the longest (at most 33
//! probes). Built once from the configuration and never changed: a reload builds another. Addresses are `u32` in host
//! order.
//!
//! A connected prefix of up to 30 bits has two addresses that no host has: its network address and its directed
//! broadcast (RFC 1812 section 4.2.2.11); of 31 bits, none (RFC 3021).

use std::net::Ipv4Addr;

use hashbrown::{HashMap, HashSet};
use ipnet::Ipv4Net;
use thiserror::Error;

use super::InterfaceId;

/// How many routes there may be, connected ones included.
pub const ROUTES_MAX: usize = 1024;

/// An interface's own address and the prefix that it is connected to, such as 10.64.0.1/24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The interface.
    pub interface: InterfaceId,
    /// Own address, with the length of the prefix around it.
    pub address: Ipv4Net,
}

/// A route by way of a gateway. 0.0.0.0/0 is the default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// The destinations.
    pub prefix: Ipv4Net,
    /// The gateway, a host of a connected prefix.
    pub via: Ipv4Addr,
}

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The interface that it leaves by.
    pub interface: InterfaceId,
    /// The host that takes it: the gateway, or the destination itself on a connected prefix.
    pub next_hop: u32,
}

/// A row of the table, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// The destinations.
    pub prefix: Ipv4Net,
    /// The interface.
    pub interface: InterfaceId,
    /// The gateway; `None` on a connected prefix.
    pub via: Option<Ipv4Addr>,
}

/// Why a table cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RouteError {
    /// The gateway is in no connected prefix.
    #[error("route {prefix}: the gateway {via} is off-link: no interface has a prefix that contains it")]
    OffLink {
        /// The route's prefix.
        prefix: Ipv4Net,
        /// Its gateway.
        via: Ipv4Addr,
    },
    /// The gateway is an address of this machine, or a network or broadcast address.
    #[error("route {prefix}: the gateway {via} is not another host's address")]
    NotAHost {
        /// The route's prefix.
        prefix: Ipv4Net,
        /// Its gateway.
        via: Ipv4Addr,
    },
    /// Two routes have the same prefix.
    #[error("route {0}: there is another route of this prefix")]
    Duplicate(Ipv4Net),
    /// More than [`ROUTES_MAX`].
    #[error("more than {ROUTES_MAX} routes")]
    TooMany,
}

/// Longest-prefix match over connected and static routes.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// Longest prefixes first; lengths without routes are left out.
    lengths: Vec<Length>,
    own: HashMap<u32, InterfaceId>,
    /// Network and broadcast addresses of the connected prefixes.
    nobodys: HashMap<u32, InterfaceId>,
    gateways: HashSet<(InterfaceId, u32)>,
}

/// The routes of one prefix length.
#[derive(Clone, Debug)]
struct Length {
    mask: u32,
    routes: HashMap<u32, Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Connected(InterfaceId),
    Via(InterfaceId, u32),
}

impl RouteTable {
    /// Builds the table. Several addresses of one interface may share a prefix.
    ///
    /// # Errors
    /// The first contradiction, in the order of the arguments.
    pub fn new(connected: &[Connected], statics: &[StaticRoute]) -> Result<RouteTable, RouteError> {
        if connected.len() + statics.len() > ROUTES_MAX {
            return Err(RouteError::TooMany);
        }
        let mut table = RouteTable::default();
        for &Connected { interface, address } in connected {
            table.own.insert(address.addr().into(), interface);
            if address.prefix_len() <= 30 {
                table.nobodys.insert(address.network().into(), interface);
                table.nobodys.insert(address.broadcast().into(), interface);
            }
            table.insert(address, Target::Connected(interface))?;
        }
        for &StaticRoute { prefix, via } in statics {
            let target = table.by_way_of(prefix, via)?;
            if let Target::Via(interface, via) = target {
                table.gateways.insert((interface, via));
            }
            table.insert(prefix, target)?;
        }
        table.lengths.sort_unstable_by_key(|length| std::cmp::Reverse(length.mask));
        Ok(table)
    }

    /// The route of the longest prefix that contains `destination`.
    pub fn lookup(&self, destination: u32) -> Option<Route> {
        self.lookup_by(destination, |_| true)
    }

    /// As [`RouteTable::lookup`], among the routes through interfaces that `accept` takes.
    pub fn lookup_by(&self, destination: u32, accept: impl Fn(InterfaceId) -> bool) -> Option<Route> {
        let routes = self.lengths.iter().filter_map(|length| {
            length.routes.get(&(destination & length.mask)).map(|&target| match target {
                Target::Connected(interface) => Route { interface, next_hop: destination },
                Target::Via(interface, via) => Route { interface, next_hop: via },
            })
        });
        routes.into_iter().find(|route| accept(route.interface))
    }

    /// The interface whose own address this is.
    pub fn own(&self, address: u32) -> Option<InterfaceId> {
        self.own.get(&address).copied()
    }

    /// Whether this is the limited broadcast address, or the network or broadcast address of a connected prefix: no
    /// packet may come from it, and none is forwarded to it.
    pub fn is_broadcast(&self, address: u32) -> bool {
        address == u32::MAX || self.nobodys.contains_key(&address)
    }

    /// The gateways of all routes, each once, in ascending order: what must be resolved before the gateway is ready.
    pub fn gateways(&self) -> Vec<Route> {
        let routes = self.gateways.iter().map(|&(interface, next_hop)| Route { interface, next_hop });
        let mut gateways: Vec<Route> = routes.collect();
        gateways.sort_unstable_by_key(|route| (route.interface, route.next_hop));
        gateways
    }

    /// Whether this host is the gateway of a route.
    pub fn is_gateway(&self, interface: InterfaceId, host: u32) -> bool {
        self.gateways.contains(&(interface, host))
    }

    /// Every route, longest prefix first and then in ascending order.
    pub fn entries(&self) -> Vec<RouteEntry> {
        let mut entries: Vec<RouteEntry> = self.lengths.iter().flat_map(Length::entries).collect();
        entries.sort_unstable_by_key(|entry| {
            (std::cmp::Reverse(entry.prefix.prefix_len()), entry.prefix.network())
        });
        entries
    }

    fn by_way_of(&self, prefix: Ipv4Net, via: Ipv4Addr) -> Result<Target, RouteError> {
        let address = u32::from(via);
        let on_link =
            self.lengths.iter().filter_map(|length| match length.routes.get(&(address & length.mask)) {
                Some(&Target::Connected(interface)) => Some((length.mask, interface)),
                _ => None,
            });
        let (_, interface) =
            on_link.max_by_key(|&(mask, _)| mask).ok_or(RouteError::OffLink { prefix, via })?;
        if self.own.contains_key(&address) || self.is_broadcast(address) {
            return Err(RouteError::NotAHost { prefix, via });
        }
        Ok(Target::Via(interface, address))
    }

    fn insert(&mut self, prefix: Ipv4Net, target: Target) -> Result<(), RouteError> {
        let (mask, network) = (u32::from(prefix.netmask()), u32::from(prefix.network()));
        let at = self.lengths.iter().position(|length| length.mask == mask).unwrap_or_else(|| {
            self.lengths.push(Length { mask, routes: HashMap::new() });
            self.lengths.len() - 1
        });
        match self.lengths[at].routes.insert(network, target) {
            Some(other) if other != target || matches!(target, Target::Via(..)) => {
                Err(RouteError::Duplicate(prefix.trunc()))
            }
            _ => Ok(()),
        }
    }
}

impl Length {
    fn entries(&self) -> impl Iterator<Item = RouteEntry> {
        let bits = self.mask.leading_ones() as u8;
        self.routes.iter().map(move |(&network, &target)| {
            let prefix = Ipv4Net::new_assert(network.into(), bits);
            match target {
                Target::Connected(interface) => RouteEntry { prefix, interface, via: None },
                Target::Via(interface, via) => RouteEntry { prefix, interface, via: Some(via.into()) },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INSIDE: InterfaceId = InterfaceId(0);
    const OUTSIDE: InterfaceId = InterfaceId(1);

    fn ip(text: &str) -> u32 {
        text.parse::<Ipv4Addr>().unwrap().into()
    }

    fn connected(interface: InterfaceId, address: &str) -> Connected {
        Connected { interface, address: address.parse().unwrap() }
    }

    fn via(prefix: &str, gateway: &str) -> StaticRoute {
        StaticRoute { prefix: prefix.parse().unwrap(), via: gateway.parse().unwrap() }
    }

    #[test]
    fn routes_through_some_interfaces_alone() {
        let table = table(&[via("0.0.0.0/0", "203.0.113.1"), via("10.64.0.0/16", "203.0.113.9")]).unwrap();
        let outside = |address| table.lookup_by(ip(address), |interface| interface == OUTSIDE);
        assert_eq!(table.lookup(ip("10.64.0.5")).unwrap().interface, INSIDE);
        assert_eq!(outside("10.64.0.5").unwrap(), Route { interface: OUTSIDE, next_hop: ip("203.0.113.9") });
        assert_eq!(outside("10.65.0.5").unwrap().next_hop, ip("203.0.113.1"));
    }

    fn table(statics: &[StaticRoute]) -> Result<RouteTable, RouteError> {
        RouteTable::new(&[connected(INSIDE, "10.64.0.1/24"), connected(OUTSIDE, "203.0.113.2/24")], statics)
    }

    #[test]
    fn a_connected_destination_is_its_own_next_hop() {
        let table = table(&[via("0.0.0.0/0", "203.0.113.1")]).unwrap();
        let route = table.lookup(ip("10.64.0.77")).unwrap();
        assert_eq!(route, Route { interface: INSIDE, next_hop: ip("10.64.0.77") });
    }

    #[test]
    fn the_default_route_takes_the_rest() {
        let table = table(&[via("0.0.0.0/0", "203.0.113.1"), via("10.0.0.0/8", "10.64.0.254")]).unwrap();
        let gateway = Route { interface: OUTSIDE, next_hop: ip("203.0.113.1") };
        assert_eq!(table.lookup(ip("198.51.100.9")), Some(gateway));
        let inner = Route { interface: INSIDE, next_hop: ip("10.64.0.254") };
        assert_eq!(table.lookup(ip("10.1.1.1")), Some(inner));
        assert_eq!(table.gateways(), [inner, gateway]);
    }

    #[test]
    fn without_a_default_route_there_may_be_none() {
        assert_eq!(table(&[]).unwrap().lookup(ip("198.51.100.9")), None);
    }

    #[test]
    fn network_and_broadcast_addresses_are_no_hosts() {
        let table = RouteTable::new(
            &[
                connected(INSIDE, "10.64.0.1/24"),
                connected(OUTSIDE, "192.0.2.0/31"),
                connected(OUTSIDE, "192.0.2.9/32"),
            ],
            &[],
        )
        .unwrap();
        for address in ["10.64.0.0", "10.64.0.255", "255.255.255.255"] {
            assert!(table.is_broadcast(ip(address)), "{address}");
        }
        for address in ["10.64.0.1", "192.0.2.0", "192.0.2.1", "192.0.2.9"] {
            assert!(!table.is_broadcast(ip(address)), "{address}");
        }
        assert_eq!(table.own(ip("192.0.2.9")), Some(OUTSIDE));
        assert_eq!(table.own(ip("192.0.2.1")), None);
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |prefix, gateway| table(&[via(prefix, gateway)]).unwrap_err();
        assert!(matches!(refused("0.0.0.0/0", "198.51.100.1"), RouteError::OffLink { .. }));
        assert!(matches!(refused("0.0.0.0/0", "203.0.113.2"), RouteError::NotAHost { .. }));
        assert!(matches!(refused("0.0.0.0/0", "203.0.113.255"), RouteError::NotAHost { .. }));
        assert_eq!(
            refused("10.64.0.0/24", "203.0.113.1"),
            RouteError::Duplicate("10.64.0.0/24".parse().unwrap())
        );
        let twice = via("0.0.0.0/0", "203.0.113.1");
        assert!(matches!(table(&[twice, twice]), Err(RouteError::Duplicate(_))));
        let split = [connected(INSIDE, "10.64.0.1/24"), connected(OUTSIDE, "10.64.0.2/24")];
        assert!(matches!(RouteTable::new(&split, &[]), Err(RouteError::Duplicate(_))));
        assert!(matches!(table(&[twice; ROUTES_MAX]), Err(RouteError::TooMany)));
    }

    #[test]
    fn one_interface_may_have_two_addresses_of_a_prefix() {
        let both = [connected(INSIDE, "10.64.0.1/24"), connected(INSIDE, "10.64.0.2/24")];
        let table = RouteTable::new(&both, &[]).unwrap();
        assert_eq!((table.own(ip("10.64.0.2")), table.entries().len()), (Some(INSIDE), 1));
    }

    /// A gateway inside one static prefix is still found on the connected one.
    #[test]
    fn a_static_route_does_not_hide_its_own_gateway() {
        let table =
            table(&[via("203.0.113.0/28", "203.0.113.200"), via("0.0.0.0/0", "203.0.113.1")]).unwrap();
        assert_eq!(table.lookup(ip("8.8.8.8")).unwrap().interface, OUTSIDE);
    }

    proptest! {
        #[test]
        fn lookup_equals_a_linear_scan(
            prefixes in prop::collection::vec((0u32..16, 0u8..=32), 0..200),
            destinations in prop::collection::vec((0u32..16, any::<u32>()), 50),
        ) {
            // Few distinct leading bits, so that prefixes nest.
            let mut statics: Vec<StaticRoute> = Vec::new();
            for (at, (bits, length)) in prefixes.into_iter().enumerate() {
                let prefix = Ipv4Net::new_assert((bits << 28 | bits << 8).into(), length).trunc();
                if !statics.iter().any(|route| route.prefix == prefix) {
                    statics.push(StaticRoute { prefix, via: (ip("10.64.0.2") + at as u32).into() });
                }
            }
            let table = RouteTable::new(&[connected(INSIDE, "10.64.0.1/24")], &statics).unwrap();
            for (bits, low) in destinations {
                let destination = bits << 28 | bits << 8 | low & 0xff;
                let best = statics
                    .iter()
                    .map(|route| (route.prefix, u32::from(route.via)))
                    .chain([("10.64.0.0/24".parse().unwrap(), destination)])
                    .filter(|(prefix, _)| prefix.contains(&Ipv4Addr::from(destination)))
                    .max_by_key(|(prefix, _)| prefix.prefix_len());
                prop_assert_eq!(table.lookup(destination).map(|route| route.next_hop), best.map(|(_, hop)| hop));
            }
        }
    }
}
