//! ICMP errors: translated by the packet that they embed (RFC 5508 section 4).
//!
//! An inbound error complains about a packet that left here, an outbound one about a packet that came through here:
//!
//! ```text
//! inbound:  (R -> X) about (X:P -> r:q) becomes (R -> a) about (a:p -> r:q)
//! outbound: (H -> r) about (r:q -> a:p) becomes (X -> r) about (r:q -> X:P)
//! ```
//!
//! `R` may be a router on the way. Errors neither refresh a session nor end one (RFC 5508 REQ-6).

use crate::ids::SessionId;
use crate::mapping::Mapping;
use crate::packet::arrival::Arrival;
use crate::packet::embedded::embedded;
use crate::packet::endpoint::{End, Ends, Flow, Tuple};
use crate::packet::parse::Parsed;
use crate::packet::rewrite::{Hop, Rewrite};
use crate::packet::verdict::{DeleteReason, Direction, DropReason, Protocol, Verdict};
use crate::settings::EmbeddedChecksum;
use crate::shard::Shard;
use crate::table::time::Time;
use natgw_wire::{icmpv4, ipv4};

impl Shard {
    /// Translates an ICMP error, outer and embedded packet alike.
    pub(crate) fn error_message(&mut self, packet: &mut [u8], parsed: &Parsed, at: Arrival) -> Verdict {
        match self.translate_error(packet, parsed, at) {
            Ok(verdict) => verdict,
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn translate_error(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        at: Arrival,
    ) -> Result<Verdict, DropReason> {
        let header_len = usize::from(parsed.header_len);
        let total = usize::from(ipv4::Packet::new_checked(&*packet)?.total_len());
        let message = icmpv4::Packet::new_verified(&packet[header_len..total])?;
        let embedded = embedded(message.embedded())?;
        if !embedded.is_checksum_right && self.policy.embedded_checksum == EmbeddedChecksum::Drop {
            return Err(DropReason::IcmpEmbedded);
        }
        self.check_error_addresses(&parsed.tuple(), at)?;
        // An error goes to the sender of the packet that it embeds. To another host it would be a way around the rules.
        if parsed.tuple().destination != embedded.ends.from.address {
            return Err(DropReason::IcmpEmbedded);
        }
        // The ends of a packet going the way that the error goes.
        let ends = embedded.ends.reversed();
        let answered = self.rewrite_of(ends, embedded.protocol, at.direction).ok_or_else(|| {
            let own = self.addresses.is_own(parsed.tuple().destination);
            if own { DropReason::LocalNoService } else { DropReason::IcmpNoSession }
        })?;

        let inner = Rewrite { to: answered.to.reversed(), ..answered };
        let mut message = icmpv4::Packet::new_unchecked(&mut packet[header_len..total]);
        inner.apply(message.embedded_mut(), embedded.header_len, embedded.protocol, Hop::NONE);
        message.fill_checksum();

        let to = match at.direction {
            // An inside host that takes the gateway for the remote learns of no other router either.
            Direction::Inbound if self.addresses.is_own(answered.to.tuple().source) => answered.to.tuple(),
            Direction::Inbound => Tuple {
                source: self.addresses.remote_inside(parsed.tuple().source),
                destination: answered.to.tuple().destination,
                ..parsed.tuple()
            },
            // Outside, the error comes from the host that the packet was for, whichever inside host sent it (RFC 5508 REQ-5).
            Direction::Outbound => answered.to.tuple(),
        };
        let outer = Rewrite::new(Protocol::Icmp, &parsed.tuple(), &to);
        outer.apply_header(&mut packet[..header_len], at.hop());
        self.counters.icmp_errors_translated[at.direction] += 1;
        let hairpins = at.direction == Direction::Outbound && self.addresses.is_external(to.destination);
        Ok(self.onward(hairpins, None))
    }

    /// Makes a packet that was translated in `direction` what it was before, TTL included: an error of the gateway's own
    /// is to quote it so. False, and nothing is changed, where nothing that is known translates its answer.
    ///
    /// `(X:P -> r:q) becomes (a:p -> r:q)`, inbound `(r:q -> a:p) becomes (r:q -> X:P)`.
    #[must_use]
    pub fn restore(&self, direction: Direction, packet: &mut [u8]) -> bool {
        let Ok(sent) = embedded(packet) else { return false };
        let (answer, back) = (sent.ends.reversed(), direction.flip());
        let of_session = self.session_rewrite(answer, sent.protocol, back);
        // Filtering is about answers, and this is what they would be to.
        let answered = of_session.or_else(|| self.unfiltered_rewrite(answer, sent.protocol, back));
        let Some(answered) = answered else { return false };
        let back = Rewrite { to: answered.to.reversed(), ..answered };
        back.apply(packet, sent.header_len, sent.protocol, Hop::BACK);
        true
    }

    /// Takes a packet back that [`Verdict::Hairpin`] sent round and that was found to be for the gateway itself: it is what it
    /// was before, TTL included, and the session that it alone made is gone. False, and nothing is changed, where nothing that
    /// is known translated it.
    ///
    /// `(X:P -> g:q) becomes (a:p -> g:q)`.
    #[must_use]
    pub fn take_back(&mut self, packet: &mut [u8], now: Time) -> bool {
        let Ok(sent) = embedded(packet) else { return false };
        if !self.restore(Direction::Outbound, packet) {
            return false;
        }
        let answer = Flow::from(&sent.ends.reversed().tuple());
        if let Some(id) = self.sessions.find_in_time(&answer, sent.protocol, Direction::Inbound, now)
            && self.sessions[id].packets == [1, 0]
        {
            self.end_now(id, DeleteReason::Withdrawn, now);
        }
        true
    }

    fn check_error_addresses(&self, tuple: &Tuple, at: Arrival) -> Result<(), DropReason> {
        let addresses = &self.addresses;
        addresses.check_source(tuple.source)?;
        match at.direction {
            _ if at.routed && (addresses.is_own(tuple.source) || addresses.is_external(tuple.source)) => {
                Err(DropReason::SpoofedGateway)
            }
            Direction::Outbound if !addresses.is_inside(tuple.source) => Err(DropReason::SpoofedInside),
            Direction::Inbound if at.routed && addresses.is_spoofed_outside(tuple.source) => {
                Err(DropReason::SpoofedOutside)
            }
            _ => addresses.check_destination(tuple.destination),
        }
    }

    /// What a packet with these ends would become, without making or refreshing anything: by its session, or by the
    /// mapping that let the packet through without one.
    pub(crate) fn rewrite_of(&self, ends: Ends, protocol: Protocol, direction: Direction) -> Option<Rewrite> {
        self.session_rewrite(ends, protocol, direction)
            .or_else(|| self.mapping_rewrite(ends, protocol, direction))
    }

    /// As [`Shard::rewrite_of`], by the session alone.
    pub(crate) fn session_rewrite(
        &self,
        ends: Ends,
        protocol: Protocol,
        direction: Direction,
    ) -> Option<Rewrite> {
        self.session_between(ends, protocol, direction).map(|id| self.sessions[id].rewrite(direction))
    }

    /// The session of a packet with these ends.
    pub(crate) fn session_between(
        &self,
        ends: Ends,
        protocol: Protocol,
        direction: Direction,
    ) -> Option<SessionId> {
        let session = self.sessions.find(&Flow::from(&ends.tuple()), protocol, direction);
        session.filter(|_| ends.host(direction).port.is_some())
    }

    /// As [`Shard::rewrite_of`], by the mapping alone, where that lets the remote in.
    pub(crate) fn mapping_rewrite(
        &self,
        ends: Ends,
        protocol: Protocol,
        direction: Direction,
    ) -> Option<Rewrite> {
        let is_let = match direction {
            Direction::Outbound => true,
            Direction::Inbound => matches!(self.admitted(protocol, ends), Ok(Some(_))),
        };
        is_let.then(|| self.unfiltered_rewrite(ends, protocol, direction)).flatten()
    }

    /// As [`Shard::rewrite_of`], by the mapping alone, for any remote.
    fn unfiltered_rewrite(&self, ends: Ends, protocol: Protocol, direction: Direction) -> Option<Rewrite> {
        let to = match direction {
            Direction::Outbound => {
                Ends { from: self.external_of(protocol, ends.from)?, to: self.remote_outside(ends.to) }
            }
            Direction::Inbound => {
                Ends { from: self.remote_inside(ends.from), to: self.internal_of(protocol, ends.to)? }
            }
        };
        Some(Rewrite::new(protocol, &ends.tuple(), &to.tuple()))
    }

    fn internal_of(&self, protocol: Protocol, external: End) -> Option<End> {
        let found = external.endpoint().and_then(|external| self.mapping_by_external(protocol, external));
        let mapping = found.map(|id| &self.mappings[id]).filter(|mapping| mapping.is_in_use());
        let internal = mapping.map(|mapping| mapping.internal().into());
        let permanent = || self.permanent.internal_end(protocol, external);
        // Who is exempt has its own address outside.
        let exempt = || self.addresses.is_inside(external.address).then_some(external);
        internal.or_else(permanent).or_else(exempt)
    }

    fn external_of(&self, protocol: Protocol, internal: End) -> Option<End> {
        let in_use = |mapping: &Mapping| mapping.is_in_use() && protocol.has_ports();
        let found = internal.endpoint().and_then(|from| self.mapping_by_internal(protocol, from, in_use));
        let external = found.map(|id| self.mappings[id].external().into());
        external.or_else(|| self.permanent.external_end(protocol, internal))
    }
}
