//! One worker's part of the NAT: its subscribers, their mappings and sessions, and the burst engine over them.
//!
//! [`Shard::translate`] works on a burst in stages (`fast_path`); a packet that does not just pass takes the slow path here and
//! in `outbound`, `inbound` and `icmp`.
//!
//! Sessions are made by outbound packets only. An inbound packet that a mapping lets in without a session is
//! translated by the mapping alone; what the inside host then sends makes the session (for TCP not its SYN-ACK, which a
//! forged SYN would fetch, but what follows the handshake). So nothing that arrives from outside takes memory here, but
//! for redirects, which have their own budget (`redirect`).

use std::collections::VecDeque;

use super::SessionId;
use crate::control::reload::Swept;
use crate::counters::Counters;
use crate::fragment::Fragments;
use crate::mapping::Mappings;
use crate::mapping::filter::Permissions;
use crate::mapping::redirect::Redirects;
use crate::mapping::static_mappings::StaticMappings;
use crate::mapping::unsolicited::UnsolicitedSyns;
use crate::packet::parse::{Kind, Parsed};
use crate::packet::rewrite::Hop;
use crate::packet::verdict::{Direction, DropReason, IcmpReply, Protocol, SessionFailure, Verdict};
use crate::pipeline::lookahead::Ahead;
use crate::pipeline::stage_timer::Unwatched;
use crate::policy::Policy;
use crate::policy::address_check::Addresses;
use crate::policy::subscriber::Subscribers;
use crate::pool::block_config::BlockRecord;
use crate::pool::port_overlap::Overlaps;
use crate::pool::{PoolUsage, ShardPool};
use crate::session::closed::ClosedSessions;
use crate::session::tcp_state;
use crate::session::{self, Session, Timeout};
use crate::settings::Refuse;
use crate::table::free_list::Ids;
use crate::table::hash::{Random, Secret};
use crate::table::index::{Hash, Index};
use crate::table::memory::Slab;
use crate::table::time::{Time, is_past};
use crate::table::timer_wheel::Wheel;

/// See the module.
pub struct Shard {
    pub(crate) counters: Counters,
    pub(crate) sessions: Slab<Session>,
    pub(crate) index: Index,
    pub(crate) policy: Policy,
    pub(crate) secret: Secret,
    pub(crate) session_ids: Ids,
    pub(crate) idle: Wheel,
    pub(crate) closed: ClosedSessions,
    /// Whether the burst at hand ended sessions whose names its verdicts may bear.
    pub(crate) gave_up: bool,
    pub(crate) mappings: Mappings,
    pub(crate) subscribers: Subscribers,
    pub(crate) permissions: Permissions,
    pub(crate) overlaps: Overlaps,
    pub(crate) pools: Vec<ShardPool>,
    pub(crate) permanent: StaticMappings,
    pub(crate) addresses: Addresses,
    pub(crate) random: Random,
    /// Whether some pool does.
    pub(crate) filters_by_address: bool,
    pub(crate) ahead: Ahead,
    pub(crate) fragments: Fragments,
    pub(crate) unsolicited: UnsolicitedSyns,
    pub(crate) redirects: Redirects,
    pub(crate) records: VecDeque<BlockRecord>,
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
    /// Decides about a burst that arrived in one direction, and translates in place what goes on. `verdicts` takes one
    /// verdict a packet and is as long as the burst.
    ///
    /// The packets are routed on the way: the TTL of each goes down by one. Fragments are left to
    /// [`Shard::translate_fragment`].
    ///
    /// # Panics
    /// When `verdicts` is shorter than the burst.
    pub fn translate<B: AsMut<[u8]>>(
        &mut self,
        packets: &mut [B],
        direction: Direction,
        now: Time,
        verdicts: &mut [Verdict],
    ) {
        self.run(packets, Arrival { direction, routed: true }, now, verdicts, &mut Unwatched);
    }

    /// As [`Shard::translate`], with a stopwatch that is told of every stage.
    ///
    /// # Panics
    /// When `verdicts` is shorter than the burst.
    #[cfg(feature = "stage-cycles")]
    pub fn translate_watched<B: AsMut<[u8]>>(
        &mut self,
        packets: &mut [B],
        direction: Direction,
        now: Time,
        verdicts: &mut [Verdict],
        watch: &mut impl super::Stopwatch,
    ) {
        self.run(packets, Arrival { direction, routed: true }, now, verdicts, watch);
    }

    /// As [`Shard::translate`], for packets that some shard's verdict called [`Verdict::Hairpin`]: they are inbound
    /// now, and were routed once already.
    ///
    /// # Panics
    /// When `verdicts` is shorter than the burst.
    pub fn translate_hairpinned<B: AsMut<[u8]>>(
        &mut self,
        packets: &mut [B],
        now: Time,
        verdicts: &mut [Verdict],
    ) {
        let at = Arrival { direction: Direction::Inbound, routed: false };
        self.run(packets, at, now, verdicts, &mut Unwatched);
    }

    /// Forwards a packet of session `id`; `None` where the session is over and nobody has cleared it away yet.
    pub(crate) fn forward(
        &mut self,
        id: u32,
        packet: &mut [u8],
        parsed: &Parsed,
        at: Arrival,
        now: Time,
    ) -> Option<Verdict> {
        let session = &self.sessions[id];
        if is_past(session.expires, now) {
            return None;
        }
        if session.flags & session::HALF_OPEN != 0 && !self.opens(id, parsed, at.direction, now) {
            self.sessions[id].count(at.direction);
        } else {
            self.refresh(id, parsed, at.direction, now);
        }
        let session = &self.sessions[id];
        let hairpin = session.flags & session::HAIRPIN != 0 && at.direction == Direction::Outbound;
        let rewrite = session.rewrite(at.direction);
        rewrite.apply(packet, usize::from(parsed.header_len), parsed.protocol, at.hop());
        self.policy.clamp_mss(packet, parsed);
        self.counters.translated[at.direction][parsed.protocol] += 1;
        Some(if hairpin {
            self.counters.hairpinned += 1;
            Verdict::Hairpin
        } else {
            Verdict::Forward(Some(SessionId(id)))
        })
    }

    #[inline(always)]
    fn refresh(&mut self, id: u32, parsed: &Parsed, direction: Direction, now: Time) {
        let session = &self.sessions[id];
        let state = tcp_state::step(session.tcp_state, parsed.flags, direction);
        if state as u8 != session.tcp_state {
            self.change_tcp_state(id, state, now);
        }
        self.sessions[id].touch_slowly(direction, &self.policy.timeouts, now);
    }

    /// A new state of a TCP session.
    #[cold]
    fn change_tcp_state(&mut self, id: u32, state: tcp_state::State, now: Time) {
        let was_over = self.is_over(id);
        if was_over && !state.is_over() {
            self.remove_closed(id);
        }
        self.sessions[id].tcp_state = state as u8;
        self.set_timeout(id, state.timeout(), now);
        if state == tcp_state::State::SynSent {
            self.begin_half_open(id);
        } else if state.was_open() {
            self.end_half_open(id);
        }
        if !was_over && self.is_over(id) {
            self.add_closed(id);
        }
    }

    /// What becomes of a SYN of the inside host's on the ports of a connection that is over, where it may not have another
    /// that is half open.
    #[cold]
    fn begin_anew(&mut self, id: u32, now: Time) -> Option<Verdict> {
        match self.room_to_begin_anew(id) {
            Ok(given_up) => {
                if let Some(id) = given_up {
                    self.give_up(id, now);
                }
                None
            }
            Err(failure) => {
                self.counters.session_failures[failure] += 1;
                Some(self.refuse(failure.into()))
            }
        }
    }

    /// Puts a session under a timeout. Where it is another, the timer is set anew: a closing session must not wait for the
    /// timer of an open one.
    pub(crate) fn set_timeout(&mut self, id: u32, timeout: Timeout, now: Time) {
        let session = &mut self.sessions[id];
        if session.timeout != timeout as u8 {
            session.timeout = timeout as u8;
            let ms = self.policy.timeouts.of(session.timeout);
            session.expires = now.low().wrapping_add(ms);
            self.idle.stop(id);
            self.idle.start(id, now.plus_ms(u64::from(ms)));
        }
    }

    /// The TTL ran out here; ICMP errors die silently, everything else earns its sender a message (RFC 1812 5.3.1).
    #[cold]
    pub(crate) fn ttl_expired(&self, parsed: &Parsed, direction: Direction) -> Verdict {
        let tuple = parsed.tuple();
        let (is_local, check) = match direction {
            Direction::Outbound => (self.is_for_gateway(parsed), self.addresses.check_outbound(&tuple)),
            Direction::Inbound => {
                let leads_to_host = |to| {
                    self.is_mapped(parsed.protocol, to)
                        || self.permanent.redirect(parsed.protocol, to).is_some()
                };
                let is_mapped = || {
                    self.find_session(&parsed.flow, parsed.protocol, direction).is_some()
                        || self.permanent.internal_end(parsed.protocol, parsed.receiver()).is_some()
                        || parsed.receiver().endpoint().is_some_and(leads_to_host)
                };
                let own = self.addresses.is_own(tuple.destination);
                let is_local = own && (parsed.is_query() || !is_mapped()) || self.is_pool_ping(parsed);
                (is_local, self.addresses.check_inbound(&tuple))
            }
        };
        match check {
            Err(reason) => Verdict::Drop(reason),
            // What is addressed to the gateway itself needs no further hop.
            Ok(()) if is_local => Verdict::Local,
            Ok(()) if parsed.kind == Kind::Error => Verdict::Drop(DropReason::TtlExceeded),
            Ok(()) => Verdict::Reply(IcmpReply::TimeExceeded),
        }
    }

    /// A packet that does not just pass: of no session, of one that changes or has ended, or not plain.
    pub(crate) fn slow(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        hash: Hash,
        at: Arrival,
        now: Time,
    ) -> Verdict {
        let sessions = self.sessions.as_slice();
        let found = self
            .index
            .find(hash, |id| sessions[id as usize].matches(&parsed.flow, parsed.protocol, at.direction));
        if let Some(id) = found.filter(|_| parsed.ends().host(at.direction).port.is_some())
            && let Some(verdict) = self.slow_with(id, packet, parsed, at, now)
        {
            return verdict;
        }
        match at.direction {
            Direction::Outbound => self.outbound_miss(packet, parsed, at, now),
            Direction::Inbound => self.inbound_miss(packet, parsed, at, now),
        }
    }

    /// As [`Shard::slow`], of session `id`; `None` where that has ended.
    #[inline(never)]
    fn slow_with(
        &mut self,
        id: u32,
        packet: &mut [u8],
        parsed: &Parsed,
        at: Arrival,
        now: Time,
    ) -> Option<Verdict> {
        if self.is_refused_message(id, packet, parsed, at.direction) {
            return Some(Verdict::Drop(DropReason::RuleDrop));
        }
        // Its remote is an outside endpoint of ours, which speaks through hairpinning alone.
        let hairpins = self.sessions[id].flags & session::HAIRPIN != 0;
        if hairpins && at.routed && at.direction == Direction::Inbound {
            return Some(Verdict::Drop(DropReason::SpoofedGateway));
        }
        if self.begins_anew(id, parsed, at.direction, now)
            && let Some(refused) = self.begin_anew(id, now)
        {
            return Some(refused);
        }
        let forwarded = self.forward(id, packet, parsed, at, now);
        if forwarded.is_none() {
            self.expire(id, now);
        }
        forwarded
    }

    /// Whether a packet of session `id` begins a connection on the ports of one that is over.
    pub(crate) fn begins_anew(&self, id: u32, parsed: &Parsed, direction: Direction, now: Time) -> bool {
        let session = &self.sessions[id];
        parsed.flags & tcp_state::SYN != 0
            && direction == Direction::Outbound
            && tcp_state::begins_anew(session.tcp_state, parsed.flags)
            && !is_past(session.expires, now)
    }

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
        self.pools[pool].failures[reason]
    }

    /// Whether an outbound packet, translated by this session or by none, is for a remote whose address may be an inside
    /// one as well: it leaves on the outside.
    pub fn is_for_outside(&self, id: Option<SessionId>, destination: u32) -> bool {
        let sessions = self.sessions.as_slice();
        match id.and_then(|id| sessions.get(id.0 as usize)) {
            Some(session) => session.flows[0].destination != session.flows[1].source,
            None => self.addresses.is_twice_translated(destination),
        }
    }

    /// What [`Shard::keep_next_hop`] left with the session.
    #[inline]
    pub fn next_hop(&self, id: SessionId, direction: Direction) -> Option<u32> {
        let hop = self.sessions[id.0].next_hops[direction];
        (hop != NO_HOP).then_some(hop)
    }

    /// Keeps the caller's name for a next hop with the session, for the packets after this one. Whether the name is
    /// still good is for the caller to find out.
    pub fn keep_next_hop(&mut self, id: SessionId, direction: Direction, hop: u32) {
        self.sessions[id.0].next_hops[direction] = hop;
    }
}

/// No next hop is known.
pub(crate) const NO_HOP: u32 = u32::MAX;

/// How a burst came to this shard.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) direction: Direction,
    /// It came over a link, and so passes a router here; hairpinned packets did that before.
    pub(crate) routed: bool,
}

impl Arrival {
    /// What it does to a header besides the rewrite.
    #[inline(always)]
    pub(crate) fn hop(self) -> Hop {
        if self.routed { Hop::ROUTER } else { Hop::NONE }
    }
}
