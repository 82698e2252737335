//! What follows from the configuration alone: the purpose of each address, and the shard that owns it.

use std::net::Ipv4Addr;

use natgw_nat::{Endpoint, Protocol, Settings, Share};
use natgw_steer::{Steering, WorkerId};

use crate::random_ops::Shape;
use crate::sim::steering;

pub(crate) struct Plan {
    pub(crate) shape: Shape,
    pub(crate) settings: Settings,
    steering: Steering,
}

impl Plan {
    pub(crate) fn new(shape: Shape) -> Plan {
        let settings = shape.settings();
        Plan { shape, steering: steering(&settings, shape.shards), settings }
    }

    pub(crate) fn permanent_internal(&self, protocol: Protocol, external: Endpoint) -> Option<Endpoint> {
        let address = Ipv4Addr::from_bits(external.address);
        let forward = self.settings.port_forwards.iter().find(|forward| {
            (forward.protocol, forward.external) == (protocol, address)
                && forward.external_ports.contains(&external.port)
        });
        let one = self.settings.statics.iter().find(|one| one.external.addr() == address);
        forward
            .map(|forward| {
                let offset = external.port - forward.external_ports.start();
                Endpoint::new(forward.internal, forward.internal_port + offset)
            })
            .or_else(|| one.map(|one| Endpoint::new(one.internal.addr(), external.port)))
    }

    pub(crate) fn permanent_external(&self, protocol: Protocol, internal: Endpoint) -> Option<Endpoint> {
        let candidates = self.settings.port_forwards.iter().flat_map(|forward| {
            forward.external_ports.clone().map(|port| Endpoint::new(forward.external, port))
        });
        let statics =
            self.settings.statics.iter().map(|one| Endpoint::new(one.external.addr(), internal.port));
        candidates
            .chain(statics)
            .find(|&external| self.permanent_internal(protocol, external) == Some(internal))
    }

    pub(crate) fn is_own(&self, address: u32) -> bool {
        let mut nets = self.settings.inside.iter().chain(&self.settings.outside);
        nets.any(|net| net.addr().to_bits() == address)
    }

    pub(crate) fn is_exempt(&self, address: u32) -> bool {
        self.settings.rules[0].destination.contains(&Ipv4Addr::from_bits(address))
    }

    pub(crate) fn is_external(&self, address: u32) -> bool {
        let address = Ipv4Addr::from_bits(address);
        self.settings.pools[0].addresses.contains(&address)
            || self.settings.statics[0].external.addr() == address
    }

    /// The shard that has an inside host's traffic.
    pub(crate) fn shard(&self, protocol: Protocol, inside: u32) -> usize {
        self.steering.inside_owner(inside, protocol).index()
    }

    /// The pool's addresses that a shard hands out.
    pub(crate) fn addresses(&self, shard: usize) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.shares(shard).iter().map(|share| share.address)
    }

    /// The pool's endpoints that a shard hands out.
    pub(crate) fn endpoints(&self, shard: usize) -> impl Iterator<Item = Endpoint> + '_ {
        self.shares(shard)
            .iter()
            .flat_map(|share| share.ports.clone().map(|port| Endpoint::new(share.address, port)))
    }

    fn shares(&self, shard: usize) -> &[Share] {
        &self.steering.shares(WorkerId(shard as u16))[0]
    }
}
