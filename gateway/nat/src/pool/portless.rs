//! Protocols without ports that the engine knows: GRE, ESP, SCTP and whatever else a pool is told to translate.
//!
//! `(a -> r, n) becomes (X -> r, n)`, where `n` is the protocol. An inside host has one mapping for each protocol, and a
//! session for each remote. Hosts may share an outside address. What comes back is told apart by its remote, so it finds
//! its host by the session alone; and two hosts that talk to the same remote over the same protocol need an outside
//! address each.
//!
//! No port is freed when such a mapping ends, so it does not rest: it ends with its last session.

use arrayvec::ArrayVec;

use crate::packet::endpoint::{End, Endpoint, Flow, Tuple};
use crate::packet::ip_protocol::IpProtocol;
use crate::packet::verdict::{Direction, Protocol, SessionFailure};
use crate::pool::allocation::Allocation;
use crate::pool::grants::GrantId;
use crate::shard::Shard;
use crate::table::time::{Time, is_past};

/// How many addresses of a pool are looked at for one that nobody has towards the remote.
const ADDRESS_STEPS: usize = 16;

impl Shard {
    /// Whether a pool translates packets of this sender: of a protocol without ports its end names the number.
    #[inline(always)]
    pub(crate) fn is_translated(&self, pool: usize, sender: End, protocol: Protocol) -> bool {
        protocol.has_ports()
            || sender.port.is_some_and(|number| self.is_named(pool, IpProtocol(number as u8)))
    }

    #[cold]
    fn is_named(&self, pool: usize, number: IpProtocol) -> bool {
        self.pools[pool].translates(number)
    }

    /// An outside address for the subscriber, which stays with the one that it is paired with or has port blocks of
    /// (RFC 4787 REQ-2).
    #[cold]
    pub(crate) fn take_address(
        &mut self,
        subscriber: u32,
        pool: u16,
        internal: Endpoint,
        remote: Endpoint,
        now: Time,
    ) -> Result<Allocation, SessionFailure> {
        self.rollback();
        let line = &mut self.subscribers.lines[subscriber];
        if line.mappings == 0 {
            line.unpair(pool);
        }
        let only = self.only_place(subscriber, pool);
        let from = &self.pools[usize::from(pool)];
        let start = only.unwrap_or_else(|| from.any(&mut self.random));
        let steps = if only.is_some() { 1 } else { ADDRESS_STEPS };
        let places: ArrayVec<u16, ADDRESS_STEPS> = from.open_places_from(start).take(steps).collect();
        for index in places {
            let external = Endpoint { address: self.pools[usize::from(pool)].address(index), ..internal };
            if !self.is_taken(external, remote, now) {
                self.subscribers.lines[subscriber].pair(pool, index);
                return Ok((external, GrantId { pool, place: index }));
            }
        }
        self.pools[usize::from(pool)].failures[SessionFailure::AddressTaken] += 1;
        Err(SessionFailure::AddressTaken)
    }

    /// Whether [`Shard::take_address`] would find one for the subscriber, who may be new.
    pub(crate) fn room_for_address(
        &self,
        subscriber: Option<u32>,
        pool: u16,
        internal: Endpoint,
        remote: Endpoint,
        now: Time,
    ) -> Result<(), SessionFailure> {
        let bound = subscriber.filter(|&id| self.subscribers.lines[id].mappings > 0);
        let only = self.fixed_place(pool, internal.address);
        let only = only.or_else(|| bound.and_then(|id| self.only_place(id, pool)));
        let from = &self.pools[usize::from(pool)];
        let steps = if only.is_some() { 1 } else { ADDRESS_STEPS };
        let is_free = from.open_places_from(only.unwrap_or(0)).take(steps).any(|index| {
            self.holder(Endpoint { address: from.address(index), ..internal }, remote, now).is_none()
        });
        if is_free { Ok(()) } else { Err(SessionFailure::AddressTaken) }
    }

    /// The place in the pool of the address that an inside host has by the configuration.
    fn fixed_place(&self, pool: u16, inside: u32) -> Option<u16> {
        let ranges = self.pools[usize::from(pool)].ranges.as_ref()?;
        ranges.outside(inside.into()).map(|(place, _)| place as u16)
    }

    /// The place in the pool of the only address that the subscriber may get, where it may not get any.
    fn only_place(&self, subscriber: u32, pool: u16) -> Option<u16> {
        let (line, from) = (&self.subscribers.lines[subscriber], &self.pools[usize::from(pool)]);
        if let Some(place) = self.fixed_place(pool, line.address) {
            return Some(place);
        }
        let of_blocks = from.blocks.as_ref().and_then(|blocks| blocks.held_by(subscriber));
        let hashed = || (!line.may_pair(pool, 0)).then(|| from.index_of(self.secret.pair(line.address, 1)));
        of_blocks.map(|(index, _)| index).or_else(|| from.pair_of(line, pool)).or_else(hashed)
    }

    /// Whether a session has this outside address towards the remote. One whose time is over is cleared away.
    #[cold]
    pub(crate) fn is_taken(&mut self, external: Endpoint, remote: Endpoint, now: Time) -> bool {
        match self.entered(external, remote) {
            Some(id) if is_past(self.sessions[id].expires, now) => {
                self.expire(id, now);
                false
            }
            found => found.is_some(),
        }
    }

    /// The session that has this outside address towards the remote.
    pub(crate) fn holder(&self, external: Endpoint, remote: Endpoint, now: Time) -> Option<u32> {
        self.entered(external, remote).filter(|&id| !is_past(self.sessions[id].expires, now))
    }

    /// As [`Shard::holder`], or one whose time is over.
    fn entered(&self, external: Endpoint, remote: Endpoint) -> Option<u32> {
        let flow = Flow::from(&Tuple::new(remote, external));
        let hash = self.secret.flow(&flow, Protocol::Other, Direction::Inbound);
        let sessions = self.sessions.as_slice();
        self.index.find(hash, |id| sessions[id as usize].matches(&flow, Protocol::Other, Direction::Inbound))
    }
}
