//! Outside endpoints for new mappings, and back.
//!
//! A subscriber stays with one outside address of a pool (RFC 4787 REQ-2), within its limit of ports (RFC 6888 REQ-4).
//! Where it gets none, one of its own resting ports serves: that need not rest for its own sake, only for the others'
//! (RFC 6888 REQ-8). So it goes over as it is and is free for nobody in between. Likewise the port of a connection that is
//! over (`over`), which rests first. In pools with port blocks all that is so of the blocks (`block_alloc`), and single
//! ports need no rest.

use crate::ids::{GrantId, MappingId, SessionId, SubscriberId};
use crate::lifecycle::request::{AllocRequest, Allocation, Origin, Request};
use crate::mapping::port_overlap::Towards;
use crate::packet::endpoint::Endpoint;
use crate::packet::verdict::{Protocol, SessionFailure};
use crate::policy::subscriber::Subscriber;
use crate::pool::OwnPort;
use crate::pool::port_bitmap::PortRequest;
use crate::shard::Shard;
use crate::table::hash::Random;

/// Where a port comes from.
pub(crate) enum PortPlan {
    /// Any address of the pool, or the one that the subscriber is paired with.
    Any,
    /// The address at this place, which has a port that is free towards the remote.
    Towards(u16),
    /// Those that the subscriber has to itself.
    Own(OwnPort),
    /// A resting mapping of the subscriber's, whose port it takes over.
    Resting(MappingId),
    /// That of a session of the subscriber's that is over, once it is given up. Without that, the request fails like this.
    Closed(SessionId, SessionFailure),
}

/// How many of a subscriber's resting ports are looked at for a fitting one.
const TAKE_OVER_STEPS: usize = 16;
/// How many addresses of a pool whose ports are shared are looked at for one that has a port towards the remote.
const ADDRESS_STEPS: usize = 16;

/// Which address of a pool a subscriber gets.
#[derive(Clone, Copy)]
pub(crate) enum Pairing {
    /// This one: it is paired with it, or has too many pools to be paired with another.
    Bound(u16),
    /// Any, with which it is paired then.
    Open,
}

impl Shard {
    /// Which port of the pool a mapping of the subscriber would get, who has no line yet where `subscriber` is `None`.
    #[inline(always)]
    pub(crate) fn port_plan(
        &self,
        subscriber: Option<SubscriberId>,
        pool: u16,
        request: &Request,
        random: &mut Random,
    ) -> Result<PortPlan, SessionFailure> {
        let protocol = request.protocol;
        let from = &self.pools[pool];
        let remote = from.shares_ports().then_some(request.remote);
        let new;
        let line = match subscriber {
            Some(id) => &self.subscribers[id],
            None => {
                new = Subscriber::new(request.internal.address);
                &new
            }
        };
        let free = if self.policy.bounds.has_all_ports(line, protocol) {
            Err(SessionFailure::SubscriberPorts)
        } else if self.mappings.is_full() {
            // What is taken over makes room for itself.
            Err(SessionFailure::MappingsFull)
        } else if let Some(remote) = remote {
            self.port_towards(line, pool, protocol, remote, random).map(PortPlan::Towards)
        } else if from.is_in_blocks() {
            from.own_port_plan(subscriber, request.internal.address.into(), protocol).map(PortPlan::Own)
        } else if self.reservations.current().is_some() || self.has_port(line, pool, protocol) {
            Ok(PortPlan::Any)
        } else {
            Err(SessionFailure::PortsExhausted)
        };
        free.or_else(|failure| {
            let id = subscriber.ok_or(failure)?;
            let resting = self.to_take_over(line, pool, protocol, remote).map(PortPlan::Resting);
            let closed =
                || self.closed_with_port(id, pool, protocol, remote).map(|id| PortPlan::Closed(id, failure));
            resting.or_else(closed).ok_or(failure)
        })
    }

    /// A port that is planned, for the subscriber: on the address that it is paired with, the same port where it is free.
    #[inline(always)]
    pub(crate) fn alloc_port(
        &mut self,
        need: AllocRequest,
        plan: PortPlan,
    ) -> Result<Allocation, SessionFailure> {
        let taken = match plan {
            PortPlan::Any => self.alloc_any(need),
            PortPlan::Towards(place) => self.alloc_towards(need, place),
            PortPlan::Own(own) => self.alloc_own(need, own),
            PortPlan::Resting(id) => self.take_over(need, id).ok_or(SessionFailure::PortsExhausted),
            // It is given up, and planned for again, before a port is taken.
            PortPlan::Closed(_, failure) => Err(failure),
        };
        match taken {
            Ok(_) => self.subscribers[need.subscriber].take_port(need.protocol),
            Err(failure) => self.pools[need.pool].count_failure(failure),
        }
        taken
    }

    /// Counts a session that gets no outside endpoint of a pool.
    #[cold]
    pub(crate) fn count_pool_failure(&mut self, pool: u16, failure: SessionFailure) {
        self.pools[pool].count_failure(failure);
    }

    /// Which address of a pool a subscriber gets, whose line this is.
    pub(crate) fn pairing(&self, line: &Subscriber, pool: u16) -> Pairing {
        let from = &self.pools[pool];
        // Where it has nothing, nothing binds it to an address yet, or any more.
        match from.pair_of(line, pool).filter(|_| line.holds_any()) {
            Some(place) => Pairing::Bound(place),
            None if line.has_room_for_pair(pool) => Pairing::Open,
            // One with more pools than it can keep pairs in mind has its hash's address in the others.
            None => from.index_of(self.secret.pair(line.address, 1)).map_or(Pairing::Open, Pairing::Bound),
        }
    }

    #[inline(always)]
    fn has_port(&self, line: &Subscriber, pool: u16, protocol: Protocol) -> bool {
        let from = &self.pools[pool];
        match self.pairing(line, pool) {
            Pairing::Bound(place) => from.ports(place, protocol).free_count() > 0,
            Pairing::Open => from.has_free(protocol),
        }
    }

    /// Whether what was drawn ahead for the packet whose turn it is, is what the request gets. What was drawn otherwise goes
    /// back, so that a plan sees the pool as it is.
    #[inline(always)]
    pub(crate) fn settle_reservation(&mut self, subscriber: SubscriberId, request: &Request) {
        let is_foreseen = self.reservations.current().is_some_and(|draw| {
            let line = &self.subscribers[subscriber];
            let is_bound = line.holds_any() && self.pools[draw.pool].pair_of(line, draw.pool).is_some();
            draw.is_for(request.protocol, &request.flow)
                && request.origin == Origin::Pool(draw.pool)
                && line.may_pair(draw.pool, draw.index)
                && draw.paired == is_bound
        });
        if !is_foreseen {
            self.rollback();
        }
    }

    /// Pairs the subscriber with the address at a place of a pool, as far as it can keep so many pairs.
    pub(crate) fn bind(&mut self, subscriber: SubscriberId, pool: u16, place: u16) {
        let line = &mut self.subscribers[subscriber];
        if !line.holds_any() {
            line.unpair(pool);
        }
        line.pair(pool, place);
    }

    #[inline(always)]
    fn alloc_any(&mut self, need: AllocRequest) -> Result<Allocation, SessionFailure> {
        let AllocRequest { subscriber, pool, protocol, inside, .. } = need;
        let (place, port) = match self.reservations.take() {
            Some(draw) if draw.paired => {
                let external = Endpoint { address: self.pools[pool].address(draw.index), port: draw.port };
                return Ok((external, GrantId { pool, place: draw.index }));
            }
            Some(draw) => (Some(draw.index), Some(draw.port)),
            None => {
                let pairing = self.pairing(&self.subscribers[subscriber], pool);
                let from = &mut self.pools[pool];
                let place = match pairing {
                    Pairing::Bound(place) => Some(place),
                    Pairing::Open => from.choose(protocol, &mut self.random),
                };
                let wish = from.wish(protocol, inside);
                (place, place.and_then(|place| from.alloc(place, protocol, wish, &mut self.random)))
            }
        };
        let (Some(place), Some(port)) = (place, port) else { return Err(SessionFailure::PortsExhausted) };
        self.bind(subscriber, pool, place);
        Ok((Endpoint { address: self.pools[pool].address(place), port }, GrantId { pool, place }))
    }

    /// A place of the pool whose address has a port that is free towards the remote.
    #[inline(never)]
    fn port_towards(
        &self,
        line: &Subscriber,
        pool: u16,
        protocol: Protocol,
        remote: Endpoint,
        random: &mut Random,
    ) -> Result<u16, SessionFailure> {
        let from = &self.pools[pool];
        let (start, steps) = match self.pairing(line, pool) {
            Pairing::Bound(place) => (place, 1),
            Pairing::Open => {
                (from.choose(protocol, random).ok_or(SessionFailure::PortsExhausted)?, ADDRESS_STEPS)
            }
        };
        let has_port = |&place: &u16| {
            let towards = Towards { outside: from.address(place), protocol, remote };
            self.overlaps.has_port(towards, from.ports(place, protocol))
        };
        from.open_places_from(start).take(steps).find(has_port).ok_or(SessionFailure::PortsExhausted)
    }

    #[inline(never)]
    fn alloc_towards(&mut self, need: AllocRequest, place: u16) -> Result<Allocation, SessionFailure> {
        let AllocRequest { subscriber, pool, protocol, inside, remote, .. } = need;
        let remote = remote.ok_or(SessionFailure::PortsExhausted)?;
        let from = &self.pools[pool];
        let towards = Towards { outside: from.address(place), protocol, remote };
        let wish = from.wish(protocol, inside);
        let taken = self.overlaps.alloc(towards, from.ports(place, protocol), wish, &mut self.random);
        let port = taken.map_err(|_| SessionFailure::MappingsFull)?.ok_or(SessionFailure::PortsExhausted)?;
        self.bind(subscriber, pool, place);
        Ok((Endpoint { address: towards.outside, port }, GrantId { pool, place }))
    }

    #[inline(never)]
    fn alloc_own(&mut self, need: AllocRequest, own: OwnPort) -> Result<Allocation, SessionFailure> {
        let AllocRequest { subscriber, pool, protocol, inside, .. } = need;
        if let OwnPort::NewBlock = own {
            self.take_block(need)?;
        }
        let from = &mut self.pools[pool];
        let wish = from.wish(protocol, inside);
        let taken = match own {
            OwnPort::Range(place, ports) => {
                let port = from.take_within(place, protocol, &[ports], wish, &mut self.random);
                port.map(|port| (place, port)).ok_or(SessionFailure::SubscriberPortBlocks)
            }
            OwnPort::Held | OwnPort::NewBlock => {
                let taken = from.take_in_blocks(subscriber, protocol, wish, &mut self.random);
                taken.ok_or(SessionFailure::PortBlocksExhausted)
            }
        };
        let (place, port) = taken?;
        Ok((Endpoint { address: from.address(place), port }, GrantId { pool, place }))
    }

    /// The port of one of the subscriber's own resting mappings, for another of its endpoints.
    #[cold]
    fn take_over(&mut self, need: AllocRequest, id: MappingId) -> Option<Allocation> {
        let AllocRequest { pool, protocol, remote, .. } = need;
        let line = self.mappings[id];
        self.rollback();
        self.mappings.stop_rest(id);
        self.end_rest(id, need.now);
        let (place, external) = (line.grant.place, line.external());
        let wish = PortRequest::exactly(external.port);
        let from = &mut self.pools[pool];
        let port = match remote {
            Some(remote) => {
                let towards = Towards { outside: external.address, protocol, remote };
                let all = from.ports(place, protocol);
                self.overlaps.alloc(towards, all, wish, &mut self.random).ok()?
            }
            None => from.alloc(place, protocol, wish, &mut self.random),
        };
        port.map(|port| (Endpoint { port, ..external }, line.grant))
    }

    /// The first fitting one of the resting mappings of a subscriber.
    fn to_take_over(
        &self,
        line: &Subscriber,
        pool: u16,
        protocol: Protocol,
        remote: Option<Endpoint>,
    ) -> Option<MappingId> {
        let next = |&id: &MappingId| Some(self.mappings.next_resting(id)).filter(|&id| id != MappingId::NONE);
        std::iter::successors(line.resting(protocol), next).take(TAKE_OVER_STEPS).find(|&id| {
            let fits = remote.is_none_or(|remote| self.overlaps.remote(id) == remote);
            let line = &self.mappings[id];
            line.grant.pool == pool && fits && self.is_live(line)
        })
    }
}
