//! Whether what a mapping stands on is in force ([`crate::pool::grants`]), and look-ups among the mappings of which that is so.

use crate::ids::{GrantId, MappingId};
use crate::mapping::{Kind, Mapping};
use crate::packet::endpoint::Endpoint;
use crate::packet::ip_protocol::IpProtocol;
use crate::packet::verdict::Protocol;
use crate::shard::Shard;

impl Shard {
    /// Whether what the mapping stands on is in force still.
    #[inline(always)]
    pub(crate) fn is_live(&self, mapping: &Mapping) -> bool {
        !self.reloading || self.is_granted(mapping)
    }

    /// As [`Shard::is_live`], whether or not a reload is under way.
    #[cold]
    #[inline(never)]
    pub(crate) fn is_granted(&self, mapping: &Mapping) -> bool {
        let (protocol, internal, external) = (mapping.protocol(), mapping.internal(), mapping.external());
        match mapping.kind() {
            Kind::Pool => self.is_in_pool(mapping),
            Kind::Permanent => self.permanent.internal(protocol, external) == Some(internal),
            Kind::Exempt => true,
            Kind::Redirect => self
                .permanent
                .redirect(protocol, external)
                .is_some_and(|redirect| redirect.internal == internal),
        }
    }

    /// Whether the pool may still hand out a pool mapping's outside endpoint.
    fn is_in_pool(&self, mapping: &Mapping) -> bool {
        let GrantId { pool, place } = mapping.grant;
        let (pool, protocol) = (&self.pools[pool], mapping.protocol());
        if protocol.has_ports() {
            pool.allows(place, protocol, mapping.external().port)
        } else {
            let number = IpProtocol(mapping.internal().port as u8);
            pool.is_in_force(place) && pool.translates(number)
        }
    }

    /// [`crate::mapping::Mappings::by_internal`] among those that are live.
    #[inline(always)]
    pub(crate) fn mapping_by_internal(
        &self,
        protocol: Protocol,
        internal: Endpoint,
        accept: impl Fn(&Mapping) -> bool,
    ) -> Option<MappingId> {
        self.mappings.by_internal(protocol, internal, |mapping| accept(mapping) && self.is_live(mapping))
    }

    /// [`crate::mapping::Mappings::by_external`] among those that are live.
    #[inline(always)]
    pub(crate) fn mapping_by_external(&self, protocol: Protocol, external: Endpoint) -> Option<MappingId> {
        self.mappings.by_external(protocol, external, |mapping| self.is_live(mapping))
    }
}
