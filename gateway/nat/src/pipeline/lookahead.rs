//! New sessions of a burst, looked at ahead of their turn.
//!
//! The first packet of a session needs some ten cache lines, and which ones depends on what stands in the ones before:
//!
//! ```text
//! packet ──► subscriber's bucket ──► subscriber ──► port ──► outside endpoint's bucket
//!       ├──► inside endpoint's bucket ──► mapping ────┴────► inbound flow's bucket
//!       ├──► filter's bucket
//!       └──► the next free records
//! ```
//!
//! So the packets of a burst that have no session go through these steps together before each is worked on at its turn.
//! Nothing is decided here: the slow path does all of it again and finds its lines in the cache. One thing is taken, the
//! port, because the lines behind it depend on it: the packet at its turn gets that very port.
//!
//! Invariant: a burst's outcome is that of its packets one by one. Where a pool is about to change at a turn in another
//! way than was foreseen, all that was drawn for this packet and those behind it goes back first, and the generator with
//! it ([`Shard::rollback`]).

use arrayvec::ArrayVec;

use crate::ids::{MappingId, SubscriberId};
use crate::packet::BURST;
use crate::packet::endpoint::{Endpoint, Flow, Tuple};
use crate::packet::verdict::{Direction, Protocol};
use crate::policy::rules::RuleKey;
use crate::pool::reservation::PortReservation;
use crate::session::tcp_state;
use crate::settings::RuleAction;
use crate::shard::Shard;
use crate::table::index::Hash;

/// A packet without a session, and what is known of it.
struct Miss {
    flow: Flow,
    tuple: Tuple,
    protocol: Protocol,
    flags: u8,
    subscriber: Option<SubscriberId>,
    mapping: Option<MappingId>,
    who: Hash,
    inside: Hash,
}

impl Shard {
    /// Looks ahead for outbound packets without a session: flow, protocol and TCP flags of each.
    #[inline(never)]
    pub(crate) fn prefetch_new(&mut self, packets: impl Iterator<Item = (Flow, Protocol, u8)>) {
        let mut misses: ArrayVec<Miss, BURST> = ArrayVec::new();
        for (flow, protocol, flags) in packets {
            let tuple = flow.tuple();
            let who = self.subscribers.hash(tuple.source);
            let inside = self.mappings.inside_hash(protocol, tuple.from());
            self.subscribers.prefetch_bucket(who);
            self.mappings.prefetch_bucket(inside);
            if self.filters_by_address {
                self.permissions.prefetch(tuple.from(), tuple.destination);
            }
            self.prefetch_next(misses.len() as u32);
            misses.push(Miss { flow, tuple, protocol, flags, subscriber: None, mapping: None, who, inside });
        }
        for miss in &mut misses {
            miss.subscriber = self.subscribers.prefetch_candidate(miss.who);
            miss.mapping = self.mappings.prefetch_candidate(miss.inside);
        }
        self.reservations.clear();
        for miss in &misses {
            let draw = if miss.mapping.is_none() { self.draw_ahead(miss) } else { None };
            let external = match (draw, miss.mapping) {
                (Some(draw), _) => {
                    let address = self.pools[draw.pool].address(draw.index);
                    let external = Endpoint { address, port: draw.port };
                    self.mappings.prefetch_bucket(self.mappings.outside_hash(miss.protocol, external));
                    Some(external)
                }
                (None, mapping) => mapping.map(|id| self.mappings[id].external()),
            };
            if let Some(external) = external {
                let inbound = Flow::from(&Tuple::new(miss.tuple.to(), external));
                self.sessions.prefetch_bucket(&inbound, miss.protocol, Direction::Inbound);
            }
            self.reservations.push(draw);
        }
    }

    /// Asks for the lines that the next but `ahead` new session will take.
    fn prefetch_next(&self, ahead: u32) {
        if let Some(id) = self.sessions.prefetch_next(ahead)
            && self.filters_by_address
        {
            self.permissions.prefetch_run(id);
        }
        self.mappings.prefetch_next(ahead);
    }

    /// Takes the port that the packet is likely to get.
    fn draw_ahead(&mut self, miss: &Miss) -> Option<PortReservation> {
        let begins = match miss.protocol {
            Protocol::Udp => true,
            Protocol::Tcp => tcp_state::opening(miss.flags) == Some(tcp_state::State::SynSent),
            Protocol::Icmp | Protocol::Other => false,
        };
        let rule =
            self.policy.classifier.first_match(&RuleKey::flow(&miss.tuple), miss.protocol).filter(|_| begins);
        let Some(RuleAction::Pool(pool)) = rule else { return None };
        let mark = self.random.mark();
        let from = &mut self.pools[pool];
        if !from.is_foreseeable() {
            return None;
        }
        let known = miss.subscriber.map(|id| &self.subscribers[id]);
        let paired = known.and_then(|line| from.pair_of(line, pool as u16));
        let index = paired.or_else(|| from.choose(miss.protocol, &mut self.random));
        let wish = from.wish(miss.protocol, miss.tuple.source_port);
        let port = index.and_then(|index| from.alloc(index, miss.protocol, wish, &mut self.random));
        let (Some(index), Some(port)) = (index, port) else {
            self.random.rewind(mark);
            return None;
        };
        let paired = paired.is_some();
        Some(PortReservation {
            pool: pool as u16,
            index,
            paired,
            protocol: miss.protocol,
            port,
            flow: miss.flow,
            mark,
        })
    }

    /// The turn of a packet that [`Shard::prefetch_new`] has seen is over.
    pub(crate) fn end_turn(&mut self) {
        if self.reservations.current().is_some() {
            self.rollback();
        }
        self.reservations.end_turn();
    }
}
