//! What the configuration fixes for good: permanent mappings, and which addresses the gateway must tell apart.

use hashbrown::{HashMap, HashSet};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

use super::endpoint::Endpoint;
use super::settings::Settings;
use super::verdict::Protocol;

/// Permanent mappings, in both directions: port forwards by endpoint, 1:1 mappings by address.
#[derive(Default)]
pub(crate) struct Permanent {
    forward_in: HashMap<(Protocol, Endpoint), Endpoint>,
    forward_out: HashMap<(Protocol, Endpoint), Endpoint>,
    static_in: HashMap<u32, u32>,
    static_out: HashMap<u32, u32>,
}

impl Permanent {
    pub(crate) fn new(settings: &Settings) -> Permanent {
        let mut permanent = Permanent::default();
        for forward in &settings.port_forwards {
            let ports = forward.external_ports.clone().zip(forward.internal_port..=u16::MAX);
            for (external, internal) in ports {
                let external = Endpoint::new(forward.external, external);
                let internal = Endpoint::new(forward.internal, internal);
                permanent.forward_in.insert((forward.protocol, external), internal);
                // Several outside endpoints may lead to one inside endpoint; its own packets take the first.
                permanent.forward_out.entry((forward.protocol, internal)).or_insert(external);
            }
        }
        for one in &settings.statics {
            permanent.static_in.insert(one.external.to_bits(), one.internal.to_bits());
            permanent.static_out.insert(one.internal.to_bits(), one.external.to_bits());
        }
        permanent
    }

    /// The inside endpoint behind an outside one.
    pub(crate) fn internal(&self, protocol: Protocol, external: Endpoint) -> Option<Endpoint> {
        self.forward_in.get(&(protocol, external)).copied().or_else(|| {
            let address = *self.static_in.get(&external.address)?;
            Some(Endpoint { address, port: external.port })
        })
    }

    /// The outside endpoint of an inside one.
    pub(crate) fn external(&self, protocol: Protocol, internal: Endpoint) -> Option<Endpoint> {
        self.forward_out.get(&(protocol, internal)).copied().or_else(|| {
            let address = *self.static_out.get(&internal.address)?;
            Some(Endpoint { address, port: internal.port })
        })
    }

    /// The outside endpoints that port forwards take.
    pub(crate) fn forwarded(&self) -> impl Iterator<Item = (Protocol, Endpoint)> + '_ {
        self.forward_in.keys().copied()
    }
}

/// The addresses that need telling apart before anything is translated.
pub(crate) struct Addresses {
    own: HashSet<u32>,
    external: HashSet<u32>,
    broadcast: HashSet<u32>,
    inside: Vec<Ipv4Net>,
}

impl Addresses {
    pub(crate) fn new(settings: &Settings) -> Addresses {
        let connected = || settings.inside.iter().chain(&settings.outside);
        let external = settings
            .pools
            .iter()
            .flat_map(|pool| pool.addresses.iter())
            .chain(settings.port_forwards.iter().map(|forward| &forward.external))
            .chain(settings.statics.iter().map(|one| &one.external));
        Addresses {
            own: connected().map(|net| net.addr().to_bits()).collect(),
            external: external.map(|address| address.to_bits()).collect(),
            broadcast: connected()
                .filter(|net| net.prefix_len() < 31)
                .flat_map(|net| [net.network().to_bits(), net.broadcast().to_bits()])
                .collect(),
            inside: settings.inside.iter().chain(&settings.inside_routed).map(Ipv4Net::trunc).collect(),
        }
    }

    /// An address of one of the gateway's interfaces.
    pub(crate) fn is_own(&self, address: u32) -> bool {
        self.own.contains(&address)
    }

    /// An address that mappings use on the outside.
    pub(crate) fn is_external(&self, address: u32) -> bool {
        self.external.contains(&address)
    }

    /// An address that is reached through an inside interface.
    pub(crate) fn is_inside(&self, address: u32) -> bool {
        let address = Ipv4Addr::from_bits(address);
        self.inside.iter().any(|net| net.contains(&address))
    }

    /// An address that no single host on a routed network has (RFC 1812 sections 4.2.2.11 and 5.3.7).
    pub(crate) fn is_martian(&self, address: u32) -> bool {
        let ip = Ipv4Addr::from_bits(address);
        ip.is_multicast()
            || ip.is_loopback()
            || ip.is_link_local()
            || ip.octets()[0] == 0
            || ip.octets()[0] >= 240
            || self.broadcast.contains(&address)
    }
}
