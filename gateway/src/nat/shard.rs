//! One worker's part of the NAT: its subscribers, their mappings and sessions, and the burst engine over them.
//!
//! [`Shard::translate`] works on a burst in stages, because a session lookup is two dependent cache misses: parse and
//! hash every packet and ask for its index bucket; probe every bucket and ask for the session line; then finish the
//! packets one by one in their order. A packet without a session takes the slow path (`outbound`, `inbound`, `icmp`) at
//! its turn, so that order within a flow is kept.
//!
//! Sessions are made by outbound packets only. An inbound packet that a mapping lets in without a session is
//! translated by the mapping alone; what the inside host then sends makes the session (for TCP not its SYN-ACK, which a
//! forged SYN would fetch, but what follows the handshake). So nothing that arrives from outside takes memory here.

use super::SessionId;
use super::counters::Counters;
use super::filter::Permissions;
use super::hash::{Random, Secret};
use super::ids::{Chains, Ids};
use super::mapping::Mappings;
use super::memory::Lines;
use super::outbound::is_query;
use super::parse::{Parsed, parse};
use super::pool::{PoolUsage, ShardPool};
use super::prefetch::prefetch;
use super::rewrite::Rewrite;
use super::rule::{Addresses, Permanent};
use super::session::{self, Session, TimeoutTable};
use super::settings::{Limits, Rule};
use super::subscriber::{Rate, Subscribers};
use super::table::{Hash, Index};
use super::tcp;
use super::time::{Time, is_past};
use super::timer::Wheel;
use super::verdict::{Direction, DropReason, Protocol, Refusal, SessionFailure, Verdict};
use crate::wire::checksum::Delta;

/// Packets that are worked on together.
pub const BURST: usize = 32;

/// A burst of IPv4 packets, each from its IPv4 header on; link-layer padding behind it does no harm.
pub trait Packets {
    /// How many packets there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The octets of packet `index`.
    fn packet(&mut self, index: usize) -> &mut [u8];
}

impl<B: AsMut<[u8]>> Packets for [B] {
    fn len(&self) -> usize {
        <[B]>::len(self)
    }

    fn packet(&mut self, index: usize) -> &mut [u8] {
        self[index].as_mut()
    }
}

/// See the module.
pub struct Shard {
    pub(super) counters: Counters,
    pub(super) sessions: Lines<Session>,
    pub(super) index: Index,
    pub(super) timeouts: TimeoutTable,
    pub(super) secret: Secret,
    pub(super) session_ids: Ids,
    pub(super) idle: Wheel,
    /// The sessions of each mapping.
    pub(super) siblings: Chains,
    pub(super) mappings: Mappings,
    pub(super) subscribers: Subscribers,
    pub(super) permissions: Permissions,
    pub(super) pools: Vec<ShardPool>,
    pub(super) rules: Vec<Rule>,
    pub(super) permanent: Permanent,
    pub(super) addresses: Addresses,
    pub(super) limits: Limits,
    pub(super) rate: Rate,
    pub(super) port_hold_ms: u32,
    pub(super) random: Random,
}

impl Shard {
    /// Decides about a burst that arrived in one direction, and translates in place what goes on. `verdicts` takes one
    /// verdict a packet and is as long as the burst.
    ///
    /// The packets are routed on the way: the TTL of each goes down by one.
    ///
    /// # Panics
    /// When `verdicts` is shorter than the burst.
    pub fn translate<P: Packets + ?Sized>(
        &mut self,
        packets: &mut P,
        direction: Direction,
        now: Time,
        verdicts: &mut [Verdict],
    ) {
        self.run(packets, Arrival { direction, routed: true }, now, verdicts);
    }

    /// As [`Shard::translate`], for packets that some shard's verdict called [`Verdict::Hairpin`]: they are inbound
    /// now, and were routed once already.
    ///
    /// # Panics
    /// When `verdicts` is shorter than the burst.
    pub fn translate_hairpinned<P: Packets + ?Sized>(
        &mut self,
        packets: &mut P,
        now: Time,
        verdicts: &mut [Verdict],
    ) {
        self.run(packets, Arrival { direction: Direction::Inbound, routed: false }, now, verdicts);
    }

    fn run<P: Packets + ?Sized>(
        &mut self,
        packets: &mut P,
        arrival: Arrival,
        now: Time,
        verdicts: &mut [Verdict],
    ) {
        let total = packets.len();
        let mut stage = [Stage::EMPTY; BURST];
        for start in (0..total).step_by(BURST) {
            let count = BURST.min(total - start);
            let stage = &mut stage[..count];
            for (offset, slot) in stage.iter_mut().enumerate() {
                *slot = self.look(packets.packet(start + offset), arrival.direction);
            }
            for slot in stage.iter_mut().filter(|slot| slot.lookup) {
                slot.candidate = self.index.candidate(slot.hash);
                if let Some(id) = slot.candidate {
                    prefetch(&self.sessions.as_slice()[id as usize]);
                }
            }
            for (offset, slot) in stage.iter().enumerate() {
                let packet = packets.packet(start + offset);
                let verdict = match slot.parsed {
                    Err(reason) => Verdict::Drop(reason),
                    Ok(ref parsed) => self.finish(packet, parsed, slot, arrival, now),
                };
                if let Verdict::Drop(reason) = verdict {
                    self.count_drop(reason, arrival.direction);
                }
                verdicts[start + offset] = verdict;
            }
        }
    }

    /// First stage: everything that can be known from the packet alone.
    #[inline(always)]
    fn look(&self, packet: &[u8], direction: Direction) -> Stage {
        let parsed = parse(packet);
        let Ok(ref known) = parsed else { return Stage { parsed, ..Stage::EMPTY } };
        let hash = self.secret.flow(&known.tuple, known.protocol, direction);
        let lookup = !known.is_error;
        if lookup {
            self.index.prefetch(hash);
        }
        Stage { parsed, hash, lookup, candidate: None }
    }

    /// Last stage: the established path, or else the way out of it.
    #[inline(always)]
    fn finish(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        slot: &Stage,
        at: Arrival,
        now: Time,
    ) -> Verdict {
        if parsed.ttl <= 1 && at.routed {
            return self.out_of_life(parsed, packet, at.direction);
        }
        if let Some(id) = slot.candidate
            && self.sessions[id].matches(&parsed.tuple, parsed.protocol, at.direction)
            && let Some(verdict) = self.forward(id, packet, parsed, at, now)
        {
            return verdict;
        }
        self.slow(packet, parsed, slot.hash, at, now)
    }

    /// Forwards a packet of session `id`; `None` where the session is over and nobody has cleared it away yet.
    #[inline(always)]
    pub(super) fn forward(
        &mut self,
        id: u32,
        packet: &mut [u8],
        parsed: &Parsed,
        at: Arrival,
        now: Time,
    ) -> Option<Verdict> {
        let session = &mut self.sessions[id];
        if is_past(session.expires, now) {
            return None;
        }
        let protocol = parsed.protocol;
        let mut refresh = at.direction == Direction::Outbound;
        if protocol == Protocol::Tcp {
            // RFC 4787 REQ-6 is about UDP; a TCP connection is idle when neither side speaks.
            refresh = true;
            let state = tcp::step(session.tcp_state, parsed.flags, at.direction);
            if state as u8 != session.tcp_state {
                self.change_tcp_state(id, state, now);
            }
        }
        let session = &mut self.sessions[id];
        if refresh {
            session.expires = now.low().wrapping_add(self.timeouts.of(session.timeout));
        }
        let direction = at.direction as usize;
        session.packets[direction] = session.packets[direction].wrapping_add(1);
        let rewrite = session.rewrite(at.direction);
        let hairpin = session.flags & session::HAIRPIN != 0 && at.direction == Direction::Outbound;
        self.counters.translated[direction][protocol as usize] += 1;
        if at.routed {
            rewrite.route(packet, usize::from(parsed.header_len), protocol);
        } else {
            rewrite.apply(packet, usize::from(parsed.header_len), protocol);
        }
        Some(if hairpin {
            self.counters.hairpinned += 1;
            Verdict::Hairpin
        } else {
            Verdict::Forward(Some(SessionId(id)))
        })
    }

    /// A new state of a TCP session. Where the timeout is another, the timer is set anew: a closing session must not
    /// wait for the timer of an open one.
    #[cold]
    fn change_tcp_state(&mut self, id: u32, state: tcp::State, now: Time) {
        let timeout = state.timeout() as u8;
        let session = &mut self.sessions[id];
        session.tcp_state = state as u8;
        if session.timeout != timeout {
            session.timeout = timeout;
            let ms = self.timeouts.of(timeout);
            session.expires = now.low().wrapping_add(ms);
            self.idle.stop(id);
            self.idle.start(id, now.plus_ms(u64::from(ms)));
        }
    }

    /// The TTL ran out here; ICMP errors die silently, everything else earns its sender a message (RFC 1812 5.3.1).
    #[cold]
    fn out_of_life(&self, parsed: &Parsed, packet: &[u8], direction: Direction) -> Verdict {
        let to = parsed.tuple.to();
        let (is_local, check) = match direction {
            Direction::Outbound => {
                (self.is_for_gateway(&parsed.tuple, parsed, packet), self.check_outbound(&parsed.tuple))
            }
            Direction::Inbound => {
                let is_mapped = || self.admitted(parsed.protocol, to, parsed.tuple.source) != Ok(None);
                let own = self.addresses.is_own(to.address);
                (own && (is_query(parsed, packet) || !is_mapped()), self.check_inbound(&parsed.tuple))
            }
        };
        match check {
            Err(reason) => Verdict::Drop(reason),
            // What is addressed to the gateway itself needs no further hop.
            Ok(()) if is_local => Verdict::Local,
            Ok(()) if parsed.is_error => Verdict::Drop(DropReason::TtlExceeded),
            Ok(()) => Verdict::Reply(Refusal::TimeExceeded),
        }
    }

    #[cold]
    fn slow(&mut self, packet: &mut [u8], parsed: &Parsed, hash: Hash, at: Arrival, now: Time) -> Verdict {
        if parsed.is_error {
            return self.error_message(packet, parsed, at);
        }
        // A displaced entry, or one that an earlier packet of this burst made.
        let sessions = self.sessions.as_slice();
        let found = self
            .index
            .find(hash, |id| sessions[id as usize].matches(&parsed.tuple, parsed.protocol, at.direction));
        if let Some(id) = found {
            if let Some(verdict) = self.forward(id, packet, parsed, at, now) {
                return verdict;
            }
            self.expire(id, now);
        }
        match at.direction {
            Direction::Outbound => self.begin(packet, parsed, at, now),
            Direction::Inbound => self.admit(packet, parsed, at),
        }
    }

    /// Counts a drop of the worker's own, so that one table holds them all.
    #[inline]
    pub fn count_drop(&mut self, reason: DropReason, direction: Direction) {
        self.counters.dropped[reason as usize][direction as usize] += 1;
        if reason == DropReason::Fragment {
            self.counters.fragments[direction as usize] += 1;
        }
    }

    /// Everything counted so far, gauges as of now.
    pub fn counters(&mut self) -> &mut Counters {
        self.counters.subscribers = u64::from(self.subscribers.count());
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
        self.pools[pool].failures[reason as usize]
    }

    /// What [`Shard::keep_next_hop`] left with the session.
    #[inline]
    pub fn next_hop(&self, id: SessionId, direction: Direction) -> Option<u32> {
        let hop = self.sessions[id.0].next_hops[direction as usize];
        (hop != NO_HOP).then_some(hop)
    }

    /// Keeps the caller's name for a next hop with the session, for the packets after this one. Whether the name is
    /// still good is for the caller to find out.
    pub fn keep_next_hop(&mut self, id: SessionId, direction: Direction, hop: u32) {
        self.sessions[id.0].next_hops[direction as usize] = hop;
    }
}

/// No next hop is known.
pub(super) const NO_HOP: u32 = u32::MAX;

/// How a burst came to this shard.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) direction: Direction,
    /// It came over a link, and so passes a router here; hairpinned packets did that before.
    pub(super) routed: bool,
}

/// What the stages of a burst know of a packet.
#[derive(Clone, Copy)]
struct Stage {
    parsed: Result<Parsed, DropReason>,
    hash: Hash,
    lookup: bool,
    candidate: Option<u32>,
}

impl Stage {
    const EMPTY: Stage =
        Stage { parsed: Err(DropReason::Truncated), hash: Hash(0), lookup: false, candidate: None };
}

impl Session {
    /// What a packet of this session that arrives in `direction` becomes.
    #[inline(always)]
    pub(super) fn rewrite(&self, direction: Direction) -> Rewrite {
        // The way back changes every checksum by the complement.
        let inverse = (direction as u16).wrapping_neg();
        Rewrite {
            to: self.tuples[direction.flip() as usize].reversed(),
            ip_delta: Delta::from_bits(self.ip_delta ^ inverse),
            l4_delta: Delta::from_bits(self.l4_delta ^ inverse),
        }
    }
}
