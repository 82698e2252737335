//! What the configuration fixes for good: permanent mappings.

use std::net::Ipv4Addr;

use hashbrown::HashMap;

use crate::mapping::redirect::Redirect;
use crate::packet::endpoint::{End, Endpoint};
use crate::packet::verdict::Protocol;
use crate::pool::ShardPool;
use crate::settings::{ForwardSource, Settings, Static};

/// Permanent mappings, in both directions: port forwards by endpoint, 1:1 mappings by address.
#[derive(Default)]
pub(crate) struct StaticMappings {
    forward_in: HashMap<(Protocol, Endpoint), Endpoint>,
    forward_out: HashMap<(Protocol, Endpoint), Endpoint>,
    redirects: HashMap<(Protocol, Endpoint), Redirect>,
    static_in: HashMap<u32, u32>,
    static_out: HashMap<u32, u32>,
}

impl StaticMappings {
    pub(crate) fn new(settings: &Settings) -> StaticMappings {
        let mut permanent = StaticMappings::default();
        let is_own = |address| settings.inside.iter().any(|net| net.addr() == address);
        // A prefix may reach over the gateway's own address, which is nobody else's.
        let pairs =
            settings.statics.iter().flat_map(Static::pairs).filter(|(_, internal)| !is_own(*internal));
        for (external, internal) in pairs {
            permanent.static_in.insert(external.to_bits(), internal.to_bits());
            permanent.static_out.insert(internal.to_bits(), external.to_bits());
        }
        for forward in &settings.port_forwards {
            let ports = forward.external_ports.clone().zip(forward.internal_port..=u16::MAX);
            for (external, internal) in ports {
                let external = Endpoint::new(forward.external, external);
                let internal = Endpoint::new(forward.internal, internal);
                let redirect = match forward.source {
                    ForwardSource::Gateway => Some(Some(gateway_for(settings, forward.internal))),
                    // Its own packets take the 1:1 mapping, or else the first forward; a further one is a redirect.
                    ForwardSource::Remote => {
                        permanent.external(forward.protocol, internal).is_some().then_some(None)
                    }
                };
                if let Some(gateway) = redirect {
                    permanent.redirects.insert((forward.protocol, external), Redirect { internal, gateway });
                } else {
                    permanent.forward_in.insert((forward.protocol, external), internal);
                    permanent.forward_out.insert((forward.protocol, internal), external);
                }
            }
        }
        permanent
    }

    /// Tells `tell` of each forwarded outside endpoint that leads elsewhere in `new`, or is in one of both alone.
    pub(crate) fn differing(&self, new: &StaticMappings, mut tell: impl FnMut(Protocol, Endpoint)) {
        for (these, those) in [(self, new), (new, self)] {
            let forwards = these.forward_in.iter().filter(|(at, to)| those.forward_in.get(*at) != Some(*to));
            let redirects = these.redirects.iter().filter(|(at, to)| those.redirects.get(*at) != Some(*to));
            forwards.map(|(at, _)| at).chain(redirects.map(|(at, _)| at)).for_each(|&(of, at)| tell(of, at));
        }
    }

    /// Whether a 1:1 mapping is not in `new`.
    pub(crate) fn loses_statics(&self, new: &StaticMappings) -> bool {
        self.static_in.iter().any(|(external, internal)| new.static_in.get(external) != Some(internal))
    }

    /// What of it is in `old` too, or has an outside address that is not `known`.
    pub(crate) fn without_others(&self, old: &StaticMappings, known: impl Fn(u32) -> bool) -> StaticMappings {
        let forwards = |at: &(Protocol, Endpoint), to: &Endpoint| {
            old.forward_in.get(at) == Some(to) || !known(at.1.address)
        };
        let statics = |external: &u32, internal: &u32| {
            old.static_in.get(external) == Some(internal) || !known(*external)
        };
        let mut kept = StaticMappings::default();
        kept.forward_in.extend(self.forward_in.iter().filter(|(at, to)| forwards(at, to)));
        kept.forward_out
            .extend(self.forward_out.iter().filter(|(from, at)| forwards(&(from.0, **at), &from.1)));
        kept.redirects.extend(
            self.redirects
                .iter()
                .filter(|(at, to)| old.redirects.get(*at) == Some(*to) || !known(at.1.address)),
        );
        kept.static_in
            .extend(self.static_in.iter().filter(|(external, internal)| statics(external, internal)));
        kept.static_out
            .extend(self.static_out.iter().filter(|(internal, external)| statics(external, internal)));
        kept
    }

    /// Whether any outside endpoint is redirected.
    pub(crate) fn has_redirects(&self) -> bool {
        !self.redirects.is_empty()
    }

    /// Where an outside endpoint is redirected to.
    pub(crate) fn redirect(&self, protocol: Protocol, external: Endpoint) -> Option<Redirect> {
        self.redirects.get(&(protocol, external)).copied()
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

    /// As [`StaticMappings::internal`]; 1:1 mappings are by address, and need nothing else named.
    pub(crate) fn internal_end(&self, protocol: Protocol, external: End) -> Option<End> {
        match external.endpoint() {
            Some(external) => self.internal(protocol, external).map(End::from),
            None => self.static_in.get(&external.address).map(|&address| external.at(address)),
        }
    }

    /// As [`StaticMappings::external`], likewise.
    pub(crate) fn external_end(&self, protocol: Protocol, internal: End) -> Option<End> {
        match internal.endpoint() {
            Some(internal) => self.external(protocol, internal).map(End::from),
            None => self.static_out.get(&internal.address).map(|&address| internal.at(address)),
        }
    }

    /// Keeps a pool from handing out what port forwards take.
    pub(crate) fn reserve_in(&self, pool: &mut ShardPool) {
        pool.reserve(self.forwarded());
    }

    /// The outside endpoints that port forwards take.
    fn forwarded(&self) -> impl Iterator<Item = (Protocol, Endpoint)> + '_ {
        self.forward_in.keys().chain(self.redirects.keys()).copied()
    }
}

/// The gateway's address on an inside host's link, or the first one for a host behind a router.
fn gateway_for(settings: &Settings, host: Ipv4Addr) -> u32 {
    let on_link = settings.inside.iter().find(|net| net.contains(&host));
    on_link.or(settings.inside.first()).map_or(0, |net| net.addr().to_bits())
}
