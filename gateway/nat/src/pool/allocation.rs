//! Outside endpoints for new mappings, and back.
//!
//! A subscriber stays with one outside address of a pool (RFC 4787 REQ-2), within its limit of ports (RFC 6888 REQ-4).
//! Where it gets none, one of its own resting ports serves: that need not rest for its own sake, only for the others'
//! (RFC 6888 REQ-8). So it goes over as it is and is free for nobody in between. Likewise the port of a connection that is
//! over (`closed`), which rests first. In pools with port blocks all that is so of
//! the blocks (`blocks`), and single ports need no rest.

use crate::packet::endpoint::Endpoint;
use crate::packet::verdict::{Protocol, SessionFailure};
use crate::pool::grants::GrantId;
use crate::pool::port_bitmap::PortRequest;
use crate::pool::port_overlap::Towards;
use crate::shard::Shard;
use crate::table::free_list::NIL;
use crate::table::time::Time;

/// What a mapping needs an outside endpoint for.
#[derive(Clone, Copy)]
pub(crate) struct AllocRequest {
    pub(crate) subscriber: u32,
    pub(crate) pool: u16,
    pub(crate) protocol: Protocol,
    /// The inside port.
    pub(crate) inside: u16,
    /// The only remote endpoint that it will serve, where the pool's ports are shared.
    pub(crate) remote: Option<Endpoint>,
    pub(crate) now: Time,
}

/// An outside endpoint, and the grant that it is of.
pub(crate) type Allocation = (Endpoint, GrantId);

/// How many of a subscriber's resting ports are looked at for a fitting one.
const TAKE_OVER_STEPS: usize = 16;
/// How many addresses of a pool whose ports are shared are looked at for one that has a port towards the remote.
const ADDRESS_STEPS: usize = 16;

impl Shard {
    /// An outside endpoint for the subscriber: on the address that it is paired with, the same port where it is free.
    pub(crate) fn take_port(&mut self, need: AllocRequest) -> Result<Allocation, SessionFailure> {
        let mut taken = self.find_port(need);
        if taken.is_err()
            && let Some(closed) =
                self.closed_with_port(need.subscriber, need.pool, need.protocol, need.remote)
        {
            self.give_up(closed, need.now);
            taken = self.find_port(need);
        }
        match taken {
            Ok(_) => self.subscribers.lines[need.subscriber].ports[need.protocol] += 1,
            Err(failure) => self.pools[usize::from(need.pool)].failures[failure] += 1,
        }
        taken
    }

    #[inline(always)]
    fn find_port(&mut self, need: AllocRequest) -> Result<Allocation, SessionFailure> {
        let over = self.policy.bounds.has_all_ports(&self.subscribers.lines[need.subscriber], need.protocol);
        let drawn = match need.remote {
            _ if over => Err(SessionFailure::SubscriberPorts),
            // What is taken over makes room for itself.
            _ if self.mappings.is_full() => Err(SessionFailure::MappingsFull),
            Some(remote) => self.draw_shared_port(need, remote),
            None if self.pools[usize::from(need.pool)].is_in_blocks() => self.draw_block_port(need),
            None => self.draw_port(need),
        };
        drawn.or_else(|failure| self.take_over(need).ok_or(failure))
    }

    /// Whether [`Shard::take_port`] would find a port for the subscriber, who may be new.
    pub(crate) fn room_for_port(
        &self,
        subscriber: Option<u32>,
        pool: u16,
        protocol: Protocol,
        inside: u32,
        remote: Option<Endpoint>,
    ) -> Result<(), SessionFailure> {
        let line = subscriber.map(|id| &self.subscribers.lines[id]);
        let rests = line
            .is_some_and(|line| self.to_take_over(line.resting[protocol], pool, remote).is_some());
        if rests || subscriber.is_some_and(|id| self.closed_with_port(id, pool, protocol, remote).is_some()) {
            return Ok(());
        }
        if line.is_some_and(|line| self.policy.bounds.has_all_ports(line, protocol)) {
            return Err(SessionFailure::SubscriberPorts);
        }
        if self.mappings.is_full() {
            return Err(SessionFailure::MappingsFull);
        }
        let from = &self.pools[usize::from(pool)];
        if remote.is_none() && from.is_in_blocks() {
            return self.room_in_blocks(subscriber, pool, protocol, inside);
        }
        let paired = line.filter(|line| line.mappings > 0).and_then(|line| from.pair_of(line, pool));
        let has_port = match (remote, paired) {
            (None, Some(index)) => from.ports(index, protocol).free_count() > 0,
            (None, None) => from.has_free(protocol),
            (Some(remote), paired) => {
                let steps = if paired.is_some() { 1 } else { ADDRESS_STEPS };
                from.open_places_from(paired.unwrap_or(0)).take(steps).any(|index| {
                    let towards = Towards { outside: from.address(index), protocol, remote };
                    self.overlaps.has_port(towards, from.ports(index, protocol))
                })
            }
        };
        if has_port { Ok(()) } else { Err(SessionFailure::PortsExhausted) }
    }

    fn draw_port(&mut self, need: AllocRequest) -> Result<Allocation, SessionFailure> {
        let AllocRequest { subscriber, pool, protocol, inside, .. } = need;
        let line = &mut self.subscribers.lines[subscriber];
        if line.mappings == 0 {
            // Nothing binds it to an address yet, or any more.
            line.unpair(pool);
        }
        let foreseen = self.ahead.draw().is_some_and(|draw| {
            (draw.pool, draw.protocol, draw.internal.address, draw.internal.port)
                == (pool, protocol, line.address, inside)
                && line.may_pair(pool, draw.index)
                && draw.paired == self.pools[usize::from(pool)].pair_of(line, pool).is_some()
        });
        if !foreseen {
            self.rollback();
        }
        let ahead = self.ahead.take();
        let line = &mut self.subscribers.lines[subscriber];
        let from = &mut self.pools[usize::from(pool)];
        let index = match from.pair_of(line, pool) {
            Some(index) => index,
            None => {
                let index = ahead.map(|draw| draw.index).or_else(|| from.choose(protocol, &mut self.random));
                let index = index.ok_or(SessionFailure::PortsExhausted)?;
                // One with more pools than it can keep pairs in mind has its hash's address in the others.
                if line.pair(pool, index) { index } else { from.index_of(self.secret.pair(line.address, 1)) }
            }
        };
        let port = ahead
            .map(|draw| draw.port)
            .or_else(|| from.alloc(index, protocol, from.wish(protocol, inside), &mut self.random))
            .ok_or(SessionFailure::PortsExhausted)?;
        Ok((Endpoint { address: from.address(index), port }, GrantId { pool, place: index }))
    }

    /// A port that is free towards the remote.
    #[inline(never)]
    fn draw_shared_port(
        &mut self,
        need: AllocRequest,
        remote: Endpoint,
    ) -> Result<Allocation, SessionFailure> {
        let AllocRequest { subscriber, pool, protocol, inside, .. } = need;
        self.rollback();
        let line = &mut self.subscribers.lines[subscriber];
        if line.mappings == 0 {
            line.unpair(pool);
        }
        let from = &self.pools[usize::from(pool)];
        let (start, steps) = match from.pair_of(line, pool) {
            Some(index) => (index, 1),
            None if line.may_pair(pool, 0) => {
                let any = from.choose(protocol, &mut self.random).ok_or(SessionFailure::PortsExhausted)?;
                (any, ADDRESS_STEPS)
            }
            None => (from.index_of(self.secret.pair(line.address, 1)), 1),
        };
        let wish = from.wish(protocol, inside);
        for index in from.open_places_from(start).take(steps) {
            let towards = Towards { outside: from.address(index), protocol, remote };
            let taken = self.overlaps.alloc(towards, from.ports(index, protocol), wish, &mut self.random);
            if let Some(port) = taken.map_err(|_| SessionFailure::MappingsFull)? {
                line.pair(pool, index);
                return Ok((Endpoint { address: towards.outside, port }, GrantId { pool, place: index }));
            }
        }
        Err(SessionFailure::PortsExhausted)
    }

    /// One of the subscriber's own resting ports, for another of its endpoints.
    #[cold]
    fn take_over(&mut self, need: AllocRequest) -> Option<Allocation> {
        let AllocRequest { subscriber, pool, protocol, remote, .. } = need;
        let resting = self.subscribers.lines[subscriber].resting[protocol];
        let id = self.to_take_over(resting, pool, remote)?;
        let line = self.mappings.lines[id];
        self.rollback();
        self.mappings.rest.stop(id);
        self.end_rest(id, need.now);
        let (index, external) = (line.grant.place, line.external());
        let wish = PortRequest::exactly(external.port);
        let from = &mut self.pools[usize::from(pool)];
        let port = match remote {
            Some(remote) => {
                let towards = Towards { outside: external.address, protocol, remote };
                let all = from.ports(index, protocol);
                self.overlaps.alloc(towards, all, wish, &mut self.random).ok()?
            }
            None => from.alloc(index, protocol, wish, &mut self.random),
        };
        port.map(|port| (Endpoint { port, ..external }, line.grant))
    }

    /// The first fitting one of a chain of resting mappings.
    fn to_take_over(&self, mut id: u32, pool: u16, remote: Option<Endpoint>) -> Option<u32> {
        for _ in 0..TAKE_OVER_STEPS {
            if id == NIL {
                break;
            }
            let fits = remote.is_none_or(|remote| self.overlaps.remote(id) == remote);
            let line = &self.mappings.lines[id];
            if line.grant.pool == pool && fits && self.is_live(line) {
                return Some(id);
            }
            id = self.mappings.chains.next(id);
        }
        None
    }

    /// Gives back what [`Shard::take_port`] took.
    pub(crate) fn give_port(&mut self, need: AllocRequest, (external, grant): Allocation) {
        let AllocRequest { subscriber, pool, protocol, remote, now, .. } = need;
        self.rollback();
        self.subscribers.lines[subscriber].ports[protocol] -= 1;
        match remote {
            Some(remote) => {
                self.overlaps.free(Towards { outside: external.address, protocol, remote }, external.port);
            }
            None => self.pools[usize::from(pool)].give_mapped(grant.place, protocol, external.port, now),
        }
    }

    /// Gives the port of a pool mapping back, which no session uses.
    pub(crate) fn give_port_of(&mut self, id: u32, now: Time) {
        let line = self.mappings.lines[id];
        let (protocol, pool) = (line.protocol(), &mut self.pools[usize::from(line.grant.pool)]);
        let remote = if line.is_overlapping() {
            let [before, after] = self.overlaps.leave(id, self.mappings.lines.as_slice());
            pool.account(line.grant.place, protocol, before, after);
            Some(self.overlaps.remote(id))
        } else {
            pool.held[protocol] -= u32::from(line.is_resting());
            None
        };
        let inside = line.internal().port;
        let pool = line.grant.pool;
        let need = AllocRequest { subscriber: line.subscriber, pool, protocol, inside, remote, now };
        self.give_port(need, (line.external(), line.grant));
    }

    /// A pool mapping rests from now on, and its port is held with it.
    pub(crate) fn hold_port_of(&mut self, id: u32) {
        let line = self.mappings.lines[id];
        let pool = &mut self.pools[usize::from(line.grant.pool)];
        if line.is_overlapping() {
            let [before, after] = self.overlaps.rest(id, self.mappings.lines.as_slice());
            pool.account(line.grant.place, line.protocol(), before, after);
        } else {
            pool.hold(line.protocol());
        }
    }
}
