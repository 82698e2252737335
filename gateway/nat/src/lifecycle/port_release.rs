//! Outside ports on their way back to their pools.

use crate::ids::MappingId;
use crate::lifecycle::request::{AllocRequest, Allocation};
use crate::mapping::port_overlap::Towards;
use crate::shard::Shard;
use crate::table::time::Time;

impl Shard {
    /// Gives back what was drawn and not taken, before a pool changes at a turn in a way that was not foreseen.
    pub(crate) fn rollback(&mut self) {
        let mut first = None;
        for draw in self.reservations.drain() {
            self.pools[draw.pool].free(draw.index, draw.protocol, draw.port);
            first = first.or(Some(draw.mark));
        }
        if let Some(mark) = first {
            self.random.rewind(mark);
        }
    }

    /// Gives back what [`Shard::alloc_port`] took.
    pub(crate) fn free_port(&mut self, need: AllocRequest, (external, grant): Allocation) {
        let AllocRequest { subscriber, pool, protocol, remote, now, .. } = need;
        self.rollback();
        self.subscribers[subscriber].give_port(protocol);
        match remote {
            Some(remote) => {
                self.overlaps.free(Towards { outside: external.address, protocol, remote }, external.port);
            }
            None => self.pools[pool].give_mapped(grant.place, protocol, external.port, now),
        }
    }

    /// Gives the port of a pool mapping back, which no session uses.
    pub(crate) fn free_port_of(&mut self, id: MappingId, now: Time) {
        let line = self.mappings[id];
        let (protocol, pool) = (line.protocol(), &mut self.pools[line.grant.pool]);
        let remote = if line.is_overlapping() {
            let [before, after] = self.overlaps.leave(id, &self.mappings);
            pool.account(line.grant.place, protocol, before, after);
            Some(self.overlaps.remote(id))
        } else {
            if line.is_resting() {
                pool.unhold(protocol);
            }
            None
        };
        let inside = line.internal().port;
        let pool = line.grant.pool;
        let need = AllocRequest { subscriber: line.subscriber, pool, protocol, inside, remote, now };
        self.free_port(need, (line.external(), line.grant));
    }

    /// A pool mapping rests from now on, and its port is held with it.
    pub(crate) fn hold_port_of(&mut self, id: MappingId) {
        let line = self.mappings[id];
        let pool = &mut self.pools[line.grant.pool];
        if line.is_overlapping() {
            let [before, after] = self.overlaps.rest(id, &self.mappings);
            pool.account(line.grant.place, line.protocol(), before, after);
        } else {
            pool.hold(line.protocol());
        }
    }
}
