//! One worker's part of the NAT: its subscribers, their mappings and sessions, and the burst engine over them.
//!
//! [`Shard::translate`] works on a burst in stages (`pipeline::fast_path`); a packet that does not just pass takes the slow path
//! there. This file has the composition alone: what works on the tables is in `lifecycle`, `pipeline` and `control`.
//!
//! Sessions are made by outbound packets only. An inbound packet that a mapping lets in without a session is
//! translated by the mapping alone; what the inside host then sends makes the session (for TCP not its SYN-ACK, which a
//! forged SYN would fetch, but what follows the handshake). So nothing that arrives from outside takes memory here, but
//! for redirects, which have their own budget (`redirect`).

use crate::counters::Counters;
use crate::fragment::Fragments;
use crate::ids::SessionId;
use crate::mapping::Mappings;
use crate::mapping::filter::Permissions;
use crate::mapping::port_overlap::Overlaps;
use crate::mapping::redirect::Redirects;
use crate::mapping::static_mappings::StaticMappings;
use crate::mapping::unsolicited::UnsolicitedSyns;
use crate::packet::verdict::{Direction, DropReason, Protocol, SessionFailure};
use crate::policy::Policy;
use crate::policy::address_check::Addresses;
use crate::policy::subscriber::Subscribers;
use crate::pool::Pools;
use crate::pool::block_records::BlockRecords;
use crate::pool::reservation::Reservations;
use crate::pool::usage::PoolUsage;
use crate::session::closed::ClosedSessions;
use crate::session::flow_table::FlowTable;
use crate::settings::Refuse;
use crate::table::hash::{Random, Secret};

/// See the module.
pub struct Shard {
    pub(crate) counters: Counters,
    pub(crate) sessions: FlowTable,
    pub(crate) policy: Policy,
    pub(crate) secret: Secret,
    pub(crate) closed: ClosedSessions,
    /// Whether the burst at hand ended sessions whose names its verdicts may bear.
    pub(crate) gave_up: bool,
    pub(crate) mappings: Mappings,
    pub(crate) subscribers: Subscribers,
    pub(crate) permissions: Permissions,
    pub(crate) overlaps: Overlaps,
    pub(crate) pools: Pools,
    pub(crate) permanent: StaticMappings,
    pub(crate) addresses: Addresses,
    pub(crate) random: Random,
    /// Whether some pool does.
    pub(crate) filters_by_address: bool,
    pub(crate) reservations: Reservations,
    pub(crate) fragments: Fragments,
    pub(crate) unsolicited: UnsolicitedSyns,
    pub(crate) redirects: Redirects,
    pub(crate) records: BlockRecords,
    /// The gateway has no other shard.
    pub(crate) is_alone: bool,
    /// Sessions go on, and none begins.
    pub(crate) draining: bool,
    /// From the first step of a reload until its sweep is through: mappings may stand on what is retired (`grants`).
    pub(crate) reloading: bool,
    /// What the sweep of a reload looks at.
    pub(crate) swept: Swept,
}

impl Shard {
    /// Whether no session may begin from now on, while those that there are go on.
    pub fn drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// What the senders of packets hear that are refused.
    pub fn refuses(&self) -> Refuse {
        self.policy.refuse
    }

    /// Counts a drop of the worker's own, so that one table holds them all.
    #[inline]
    pub fn count_drop(&mut self, reason: DropReason, direction: Direction) {
        self.counters.dropped[reason][direction] += 1;
    }

    /// Everything counted so far, gauges as of now.
    pub fn counters(&mut self) -> &mut Counters {
        self.counters.subscribers = u64::from(self.subscribers.count());
        self.counters.fragmented_datagrams = self.fragments.count();
        self.counters.redirected_sessions = u64::from(self.redirects.live());
        &mut self.counters
    }

    /// How full this shard's part of a pool is.
    ///
    /// # Panics
    /// When there is no such pool.
    pub fn pool_usage(&self, pool: usize, protocol: Protocol) -> PoolUsage {
        self.pools[pool].usage(protocol)
    }

    /// How often this shard's part of a pool gave no port for this reason.
    ///
    /// # Panics
    /// When there is no such pool.
    pub fn pool_failures(&self, pool: usize, reason: SessionFailure) -> u64 {
        self.pools[pool].failures(reason)
    }

    /// Whether an outbound packet, translated by this session or by none, is for a remote whose address may be an inside
    /// one as well: it leaves on the outside.
    pub fn is_for_outside(&self, id: Option<SessionId>, destination: u32) -> bool {
        let sessions = self.sessions.lines();
        match id.and_then(|id| sessions.get(id.0 as usize)) {
            Some(session) => session.flows[0].destination != session.flows[1].source,
            None => self.addresses.is_twice_translated(destination),
        }
    }

    /// What [`Shard::keep_next_hop`] left with the session.
    #[inline]
    pub fn next_hop(&self, id: SessionId, direction: Direction) -> Option<u32> {
        let hop = self.sessions[id].next_hops[direction];
        (hop != NO_HOP).then_some(hop)
    }

    /// Keeps the caller's name for a next hop with the session, for the packets after this one. Whether the name is
    /// still good is for the caller to find out.
    pub fn keep_next_hop(&mut self, id: SessionId, direction: Direction, hop: u32) {
        self.sessions[id].next_hops[direction] = hop;
    }
}

/// No next hop is known.
pub(crate) const NO_HOP: u32 = u32::MAX;

/// How many lines of its tables a shard's sweep looks at. Lines behind them begin under the new settings, so
/// that no rate of new sessions keeps a sweep from its end.
#[derive(Clone, Copy)]
pub(crate) struct Swept {
    pub(crate) sessions: u32,
    pub(crate) mappings: u32,
    pub(crate) subscribers: u32,
}

impl Swept {
    pub(crate) const ALL: Swept = Swept { sessions: u32::MAX, mappings: u32::MAX, subscribers: u32::MAX };
}
