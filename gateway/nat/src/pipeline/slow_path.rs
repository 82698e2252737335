//! A packet that does not just pass: of no session, of one that changes or has ended, or not plain.

use crate::ids::SessionId;
use crate::packet::arrival::Arrival;
use crate::packet::parse::{Kind, Parsed};
use crate::packet::verdict::{Direction, DropReason, IcmpReply, Verdict};
use crate::session::{self};
use crate::settings::SourceRoute;
use crate::shard::Shard;
use crate::table::index::Hash;
use crate::table::time::Time;
use natgw_wire::ipv4;

impl Shard {
    /// Refuses a packet whose options name routers that it is to pass: by them a sender gets round what routes and filters
    /// say.
    pub(crate) fn check_source_route(&self, ip: &ipv4::Packet<&[u8]>) -> Result<(), DropReason> {
        let refused = self.policy.source_route == SourceRoute::Drop && ip.has_source_route();
        if refused { Err(DropReason::SourceRoute) } else { Ok(()) }
    }
}

impl Shard {
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
                    self.sessions.find(&parsed.flow, parsed.protocol, direction).is_some()
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
        let found = self.sessions.find_hashed(hash, &parsed.flow, parsed.protocol, at.direction);
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
        id: SessionId,
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
}
