//! Grants: what the configuration gave out, and whether it still counts.
//!
//! A grant is an address of a pool with the shard's ports of it, a port forward, a 1:1 mapping, a redirect or an
//! exemption. A mapping stands on one. A grant that a reload takes back is *retired*: it gives nothing out, wakes nothing
//! and is found by no packet that has no session, while the sessions on it go on until the sweep ends them. What the reload
//! gives out over an endpoint that was somebody's is *pending* until the sweeps of all shards are through. So no outside
//! endpoint is ever two hosts', whatever the order of packets, steps of a reload and sweeps.
//!
//! ```text
//! vacant ──► in force ──► retired ──► vacant       an address of a pool
//!    └──► pending ──► in force
//! ```
//!
//! Invariants:
//! - Outside a reload every mapping stands on a live grant. So the question costs a packet one flag.
//! - The place of an address in its pool is its id, and is not used again before no mapping, no port block and no subscriber
//!   names it: the sweep makes sure of that before it is through, and the next reload waits for it.
//! - Forwards, 1:1 mappings and redirects are told apart by what they say. One that goes and comes back is the same again;
//!   there is no mapping on it in between.

use bytemuck::{Pod, Zeroable};

use crate::mapping::{Kind, Mapping};
use crate::packet::endpoint::Endpoint;
use crate::packet::ip_protocol::IpProtocol;
use crate::packet::verdict::Protocol;
use crate::shard::Shard;

/// An address of a pool, by the places of both.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct GrantId {
    pub(crate) pool: u16,
    pub(crate) place: u16,
}

impl GrantId {
    /// Of mappings that no pool gave.
    pub(crate) const NONE: GrantId = GrantId { pool: u16::MAX, place: 0 };
}

/// How an address of a pool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantState {
    /// Its place is empty.
    Vacant,
    /// It waits until nobody has its endpoints any more.
    Pending,
    /// It gives out ports.
    InForce,
    /// It gives nothing out any more, and mappings may stand on it still.
    Retired,
}

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
        let (pool, protocol) = (&self.pools[usize::from(pool)], mapping.protocol());
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
    ) -> Option<u32> {
        self.mappings.by_internal(protocol, internal, |mapping| accept(mapping) && self.is_live(mapping))
    }

    /// [`crate::mapping::Mappings::by_external`] among those that are live.
    #[inline(always)]
    pub(crate) fn mapping_by_external(&self, protocol: Protocol, external: Endpoint) -> Option<u32> {
        self.mappings.by_external(protocol, external, |mapping| self.is_live(mapping))
    }
}
