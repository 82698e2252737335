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

use crate::packet::endpoint::{Endpoint, Flow, Tuple};
use crate::packet::verdict::{Direction, Protocol};
use crate::pipeline::fast_path::BURST;
use crate::policy::rules::RuleKey;
use crate::session::tcp_state;
use crate::settings::RuleAction;
use crate::shard::Shard;
use crate::table::cpu::prefetch;
use crate::table::free_list::NIL;
use crate::table::hash::Mark;
use crate::table::index::Hash;

/// A port taken out of its pool for a packet whose turn has not come.
#[derive(Clone, Copy)]
pub(crate) struct PortReservation {
    pub(crate) pool: u16,
    /// The address in the pool, and whether the subscriber was paired with it before.
    pub(crate) index: u16,
    pub(crate) paired: bool,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) internal: Endpoint,
    /// Where the generator stood before.
    mark: Mark,
}

/// What was drawn for the packets of the burst at hand: one place for each that has no session, in their order.
#[derive(Default)]
pub(crate) struct Ahead {
    draws: ArrayVec<Option<PortReservation>, BURST>,
    /// Whose turn it is.
    turn: usize,
}

impl Ahead {
    /// What was drawn for the packet whose turn it is.
    pub(crate) fn draw(&self) -> Option<&PortReservation> {
        self.draws.get(self.turn)?.as_ref()
    }

    /// As [`Ahead::draw`]; whoever takes it uses the port.
    pub(crate) fn take(&mut self) -> Option<PortReservation> {
        self.draws.get_mut(self.turn)?.take()
    }
}

/// A packet without a session, and what is known of it.
struct Miss {
    tuple: Tuple,
    protocol: Protocol,
    flags: u8,
    subscriber: u32,
    mapping: u32,
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
            self.subscribers.index.view().prefetch(who);
            self.mappings.index.view().prefetch(inside);
            if self.filters_by_address {
                self.permissions.prefetch(tuple.from(), tuple.destination);
            }
            self.prefetch_free(misses.len() as u32);
            misses.push(Miss { tuple, protocol, flags, subscriber: NIL, mapping: NIL, who, inside });
        }
        for miss in &mut misses {
            if let Some(id) = self.subscribers.index.view().candidate(miss.who) {
                miss.subscriber = id;
                prefetch(&self.subscribers.lines[id]);
            }
            if let Some(id) = self.mappings.index.view().candidate(miss.inside) {
                miss.mapping = id;
                prefetch(&self.mappings.lines[id]);
            }
        }
        self.ahead = Ahead::default();
        for miss in &misses {
            let draw = if miss.mapping == NIL { self.draw_ahead(miss) } else { None };
            let external = match (draw, miss.mapping) {
                (Some(draw), _) => {
                    let address = self.pools[usize::from(draw.pool)].address(draw.index);
                    let external = Endpoint { address, port: draw.port };
                    let outside = self.mappings.outside_hash(miss.protocol, external);
                    self.mappings.index.view().prefetch(outside);
                    Some(external)
                }
                (None, NIL) => None,
                (None, id) => Some(self.mappings.lines[id].external()),
            };
            if let Some(external) = external {
                let inbound = Flow::from(&Tuple::new(miss.tuple.to(), external));
                self.index.view().prefetch(self.secret.flow(&inbound, miss.protocol, Direction::Inbound));
            }
            self.ahead.draws.push(draw);
        }
    }

    /// The records that the next but `ahead` new session will take.
    fn prefetch_free(&self, ahead: u32) {
        if let Some(id) = self.session_ids.peek(ahead) {
            prefetch(&self.sessions[id]);
            self.idle.prefetch(id);
            if self.filters_by_address {
                self.permissions.prefetch_run(id);
            }
        }
        if let Some(id) = self.mappings.ids.peek(ahead) {
            prefetch(&self.mappings.lines[id]);
        }
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
        if !from.is_foreseeable {
            return None;
        }
        let known = self.subscribers.lines.as_slice().get(miss.subscriber as usize);
        let paired = known.and_then(|line| from.pair_of(line, pool as u16));
        let index = paired.or_else(|| from.choose(miss.protocol, &mut self.random));
        let internal = miss.tuple.from();
        let wish = from.wish(miss.protocol, internal.port);
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
            internal,
            mark,
        })
    }

    /// Gives back what was drawn and not taken, before a pool changes at a turn in a way that was not foreseen.
    pub(crate) fn rollback(&mut self) {
        let drawn = self.ahead.draws.iter_mut().skip(self.ahead.turn).filter_map(Option::take);
        let mut first = None;
        for draw in drawn {
            self.pools[usize::from(draw.pool)].free(draw.index, draw.protocol, draw.port);
            first = first.or(Some(draw.mark));
        }
        if let Some(mark) = first {
            self.random.rewind(mark);
        }
    }

    /// The turn of a packet that [`Shard::prefetch_new`] has seen is over.
    pub(crate) fn end_turn(&mut self) {
        if self.ahead.draw().is_some() {
            self.rollback();
        }
        self.ahead.turn += 1;
    }
}
