//! The addresses that the gateway answers ARP for on one interface: its own, and those of pools, port forwards and 1:1
//! mappings that lie in the interface's prefixes (proxy ARP, RFC 1027).

use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

use super::InterfaceId;

/// One interface's own and proxy addresses, and its connected prefixes. Built once, then only read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAddresses {
    interface: InterfaceId,
    /// Own addresses, each with its prefix.
    connected: Box<[Ipv4Net]>,
    /// Proxy addresses: ascending and disjoint.
    proxies: Box<[RangeInclusive<u32>]>,
}

impl OwnAddresses {
    /// Keeps of `proxies`, which may overlap, what lies in the interface's prefixes. Network and broadcast addresses
    /// are never answered for.
    pub fn new(
        interface: InterfaceId,
        connected: &[Ipv4Net],
        proxies: impl IntoIterator<Item = RangeInclusive<u32>>,
    ) -> OwnAddresses {
        let hosts: Vec<RangeInclusive<u32>> = connected.iter().map(hosts).collect();
        let clip = |range: RangeInclusive<u32>| {
            let parts = hosts
                .iter()
                .map(move |hosts| *range.start().max(hosts.start())..=*range.end().min(hosts.end()));
            parts.filter(|part| !part.is_empty()).collect::<Vec<_>>()
        };
        let mut parts: Vec<RangeInclusive<u32>> = proxies.into_iter().flat_map(clip).collect();
        parts.sort_unstable_by_key(|part| *part.start());
        let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
        for part in parts {
            match merged.last_mut() {
                Some(last) if part.start() <= last.end() => {
                    *last = *last.start()..=*last.end().max(part.end())
                }
                _ => merged.push(part),
            }
        }
        OwnAddresses { interface, connected: connected.into(), proxies: merged.into() }
    }

    /// The interface.
    pub fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// Whether the gateway answers for this address here.
    pub fn answers_for(&self, ip: u32) -> bool {
        self.is_own(ip) || self.is_proxied(ip)
    }

    /// Whether a host of a connected prefix may have this address: it is no network or broadcast address, and none that
    /// the gateway answers for.
    pub fn may_be_neighbor(&self, ip: u32) -> bool {
        self.connected.iter().any(|net| hosts(net).contains(&ip)) && !self.answers_for(ip)
    }

    /// The own address to ask for `target` with: the one that shares its longest prefix.
    pub fn source_for(&self, target: u32) -> Option<u32> {
        let around = self.connected.iter().filter(|net| net.contains(&std::net::Ipv4Addr::from(target)));
        around.max_by_key(|net| net.prefix_len()).map(|net| net.addr().into())
    }

    /// Every address to announce: own ones, then proxies in ascending order, each once.
    pub fn announced(&self) -> impl Iterator<Item = u32> {
        let own = self.connected.iter().map(|net| u32::from(net.addr()));
        own.chain(self.proxies.iter().cloned().flatten().filter(|&ip| !self.is_own(ip)))
    }

    /// How many those are.
    pub fn announced_count(&self) -> usize {
        let proxies: usize =
            self.proxies.iter().map(|range| (range.end() - range.start()) as usize + 1).sum();
        let is_proxied = |net: &&Ipv4Net| self.is_proxied(net.addr().into());
        let both = self.connected.iter().filter(is_proxied).count();
        self.connected.len() + proxies - both
    }

    fn is_own(&self, ip: u32) -> bool {
        self.connected.iter().any(|net| u32::from(net.addr()) == ip)
    }

    fn is_proxied(&self, ip: u32) -> bool {
        let at = self.proxies.partition_point(|range| *range.end() < ip);
        self.proxies.get(at).is_some_and(|range| range.contains(&ip))
    }
}

/// The addresses of a prefix that hosts may have (RFC 1812 section 4.2.2.11, RFC 3021).
fn hosts(net: &Ipv4Net) -> RangeInclusive<u32> {
    let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
    if net.prefix_len() <= 30 { first + 1..=last - 1 } else { first..=last }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ip(text: &str) -> u32 {
        text.parse::<Ipv4Addr>().unwrap().into()
    }

    fn own(connected: &[&str], proxies: &[(&str, &str)]) -> OwnAddresses {
        let connected: Vec<Ipv4Net> = connected.iter().map(|net| net.parse().unwrap()).collect();
        let proxies = proxies.iter().map(|(first, last)| ip(first)..=ip(last));
        OwnAddresses::new(InterfaceId(1), &connected, proxies)
    }

    #[test]
    fn proxies_are_clipped_to_the_prefix() {
        let own =
            own(&["203.0.113.2/24"], &[("203.0.112.250", "203.0.113.1"), ("203.0.113.250", "203.0.114.9")]);
        for (address, answered) in [
            ("203.0.113.2", true),
            ("203.0.113.0", false),
            ("203.0.113.1", true),
            ("203.0.113.3", false),
            ("203.0.113.254", true),
            ("203.0.113.255", false),
            ("203.0.114.1", false),
            ("203.0.112.255", false),
        ] {
            assert_eq!(own.answers_for(ip(address)), answered, "{address}");
        }
    }

    #[test]
    fn overlapping_proxies_are_announced_once_and_own_addresses_first() {
        let ranges = [
            ("203.0.113.10", "203.0.113.12"),
            ("203.0.113.2", "203.0.113.2"),
            ("203.0.113.12", "203.0.113.13"),
        ];
        let own = own(&["203.0.113.2/24"], &ranges);
        let expected = ["203.0.113.2", "203.0.113.10", "203.0.113.11", "203.0.113.12", "203.0.113.13"];
        assert_eq!(own.announced().collect::<Vec<_>>(), expected.map(ip));
        assert_eq!(own.announced_count(), 5);
    }

    #[test]
    fn neighbors_are_other_hosts_of_the_prefix() {
        let own = own(&["203.0.113.2/29", "192.0.2.0/31"], &[("203.0.113.4", "203.0.113.4")]);
        for (address, may) in [
            ("203.0.113.1", true),
            ("203.0.113.2", false),
            ("203.0.113.4", false),
            ("203.0.113.7", false),
            ("203.0.113.8", false),
            ("192.0.2.1", true),
            ("0.0.0.0", false),
        ] {
            assert_eq!(own.may_be_neighbor(ip(address)), may, "{address}");
        }
    }

    #[test]
    fn asks_with_the_address_of_the_targets_prefix() {
        let own = own(&["10.0.0.1/8", "10.64.0.1/24"], &[]);
        assert_eq!(own.source_for(ip("10.64.0.9")), Some(ip("10.64.0.1")));
        assert_eq!(own.source_for(ip("10.65.0.9")), Some(ip("10.0.0.1")));
        assert_eq!(own.source_for(ip("192.0.2.1")), None);
    }
}
