//! The slow path of outbound packets: the first packet of a session, and what may not become one.

use crate::lifecycle::request::{Origin, Request};
use crate::mapping::Mapping;
use crate::packet::arrival::Arrival;
use crate::packet::endpoint::{End, Endpoint, Ends};
use crate::packet::parse::Parsed;
use crate::packet::rewrite::Rewrite;
use crate::packet::tcp_flags;
use crate::packet::verdict::{DropReason, Protocol, SessionFailure, Verdict};
use crate::policy::rules::RuleKey;
use crate::session::tcp_state;
use crate::settings::RuleAction;
use crate::shard::Shard;
use crate::table::time::Time;

/// What becomes of a packet from inside that has no session.
pub(crate) enum OutboundPlan {
    /// Its addresses are refused.
    Drop(DropReason),
    /// It is for the gateway itself.
    Local,
    /// The rules refuse it.
    Refuse(DropReason),
    /// It begins a session.
    Begin(Request),
    /// It begins none. A mapping may carry it.
    Answer(Origin),
}

impl Shard {
    /// `(a:p -> r:q)` without a session becomes `(X:P -> r:q)`, and a session.
    pub(crate) fn outbound_miss(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        at: Arrival,
        now: Time,
    ) -> Verdict {
        let request = match self.outbound_plan(packet, parsed, now) {
            OutboundPlan::Drop(reason) => return Verdict::Drop(reason),
            OutboundPlan::Local => return Verdict::Local,
            OutboundPlan::Refuse(reason) => return self.refuse(reason),
            OutboundPlan::Answer(origin) => return self.answer_by_mapping(packet, parsed, origin, at),
            OutboundPlan::Begin(request) => request,
        };
        match self.new_session(&request) {
            // The session cannot be over at the moment of its making.
            Ok(id) => {
                self.forward(id, packet, parsed, at, now).unwrap_or(Verdict::Drop(DropReason::TcpNoSession))
            }
            Err(failure) => {
                if failure == SessionFailure::SubscriberHalfOpen
                    && parsed.flags & tcp_flags::SYN == 0
                    && self.external_by_mapping(parsed, request.origin).is_some()
                {
                    // What the remote began, a mapping carries without a session.
                    return self.answer_by_mapping(packet, parsed, request.origin, at);
                }
                self.counters.session_failures[failure] += 1;
                self.refuse(failure.into())
            }
        }
    }

    /// What becomes of a packet without a session. Nothing is changed.
    #[inline(always)]
    pub(crate) fn outbound_plan(&self, packet: &[u8], parsed: &Parsed, now: Time) -> OutboundPlan {
        if let Err(reason) = self.addresses.check_outbound(&parsed.tuple()) {
            return OutboundPlan::Drop(reason);
        }
        if self.is_for_gateway(parsed) {
            return OutboundPlan::Local;
        }
        let origin = match self.origin(&RuleKey::of(parsed, packet), parsed) {
            Ok(origin) => origin,
            Err(reason) => return OutboundPlan::Refuse(reason),
        };
        match parsed.sender().endpoint().filter(|&from| self.begins_session(parsed, from, origin)) {
            None => OutboundPlan::Answer(origin),
            Some(internal) => OutboundPlan::Begin(Request {
                protocol: parsed.protocol,
                flow: parsed.flow,
                internal,
                remote: self.session_remote(parsed),
                origin,
                opening: tcp_state::opening(parsed.flags).filter(|_| parsed.protocol == Protocol::Tcp),
                now,
            }),
        }
    }

    /// A packet from inside to an own address that no mapping leads further, as far as this shard can tell: of an own address
    /// that is a pool's too (masquerade), others may own a part of the ports. What they find no mapping for comes back
    /// ([`Shard::take_back`]).
    pub(crate) fn is_for_gateway(&self, parsed: &Parsed) -> bool {
        let destination = parsed.tuple().destination;
        self.addresses.is_own(destination)
            && (parsed.is_query()
                || !self.addresses.is_external(destination)
                || !self.may_be_mapped(parsed.protocol, parsed.receiver()))
            || self.is_pool_ping(parsed)
    }

    /// Whether there may be a mapping of an outside end, here or with another shard.
    #[cold]
    fn may_be_mapped(&self, protocol: Protocol, external: End) -> bool {
        if self.permanent.internal_end(protocol, external).is_some() {
            return true;
        }
        let is_pooled = self.addresses.is_pooled(external.address);
        match external.endpoint() {
            Some(endpoint) if self.permanent.redirect(protocol, endpoint).is_some() => true,
            // Without ports, a host is known by its remote alone, which here is the gateway itself.
            _ if !protocol.has_ports() => false,
            Some(endpoint) if self.is_alone => is_pooled && self.is_mapped(protocol, endpoint),
            _ => is_pooled,
        }
    }

    /// Whether a mapping in use has this outside endpoint, alone or towards some remote.
    pub(crate) fn is_mapped(&self, protocol: Protocol, external: Endpoint) -> bool {
        let found = self.mapping_by_external(protocol, external);
        found.is_some_and(|id| self.mappings[id].is_in_use())
            || self.overlaps.is_in_use(protocol, external, &self.mappings)
    }

    /// Whether it is a ping of a pool's address that the gateway answers. A 1:1 mapping takes its address's pings; others
    /// take none, as a query names no endpoint of its destination.
    pub(crate) fn is_pool_ping(&self, parsed: &Parsed) -> bool {
        parsed.is_query()
            && self.addresses.answers_ping(parsed.tuple().destination)
            && self.permanent.internal_end(parsed.protocol, parsed.receiver()).is_none()
    }

    /// Reject, drop and exempt rules bind everybody; else a permanent mapping needs no rule, and everything else needs one.
    #[inline(always)]
    fn origin(&self, key: &RuleKey, parsed: &Parsed) -> Result<Origin, DropReason> {
        let (protocol, sender) = (parsed.protocol, parsed.sender());
        let permanent = self.permanent.external_end(protocol, sender).map(Origin::Permanent);
        // What a port was drawn for has been through the rules.
        let action = match self.reservations.current() {
            Some(draw) if draw.is_for(protocol, &parsed.flow) => Some(RuleAction::Pool(draw.pool.into())),
            _ => self.policy.classifier.first_match(key, protocol),
        };
        match (action, permanent) {
            (Some(RuleAction::Reject), _) => Err(DropReason::RuleReject),
            (Some(RuleAction::Drop), _) => Err(DropReason::RuleDrop),
            // Whose address stands for another inside cannot be told from that one outside.
            (Some(RuleAction::Exempt), _) if self.is_known_by_another(parsed.tuple().destination) => {
                Err(DropReason::NoRule)
            }
            (Some(RuleAction::Exempt), _) => Ok(Origin::Exempt),
            (_, Some(permanent)) => Ok(permanent),
            (Some(RuleAction::Pool(pool)), None) if self.is_translated(pool, sender, protocol) => {
                Ok(Origin::Pool(pool as u16))
            }
            (Some(RuleAction::Pool(_)), None) => Err(DropReason::Protocol),
            (None, None) => Err(DropReason::NoRule),
        }
    }

    /// UDP sessions and those of protocols without ports begin with anything, ICMP sessions with a question, TCP sessions
    /// with a SYN. The answer to a SYN that a mapping let in begins none: anybody could make it come. The handshake's end
    /// shows that the remote is there, and what the inside host sends then begins the session. So does any segment with ACK
    /// alone where streams are taken up in the middle.
    fn begins_session(&self, parsed: &Parsed, internal: Endpoint, origin: Origin) -> bool {
        match parsed.protocol {
            Protocol::Udp | Protocol::Other => true,
            Protocol::Icmp => parsed.is_query(),
            Protocol::Tcp => match (tcp_state::opening(parsed.flags), origin) {
                (None, _) => false,
                (Some(tcp_state::State::SynSent), _) | (Some(_), Origin::Permanent(_) | Origin::Exempt) => {
                    true
                }
                (Some(_), Origin::Pool(_)) if self.policy.tcp_pickup => true,
                (Some(_), Origin::Pool(pool)) => {
                    let in_use = |mapping: &Mapping| mapping.is_in_use() && mapping.is_of_pool(pool);
                    self.mapping_by_internal(parsed.protocol, internal, in_use).is_some()
                }
            },
        }
    }

    /// A packet that begins no session may still answer what a mapping let in: a RST, or the reply to a ping of a 1:1
    /// address. `(a:p -> r:q) becomes (X:P -> r:q)`.
    fn answer_by_mapping(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        origin: Origin,
        at: Arrival,
    ) -> Verdict {
        let refused = match parsed.protocol {
            Protocol::Tcp => DropReason::TcpNoSession,
            Protocol::Udp | Protocol::Icmp | Protocol::Other => DropReason::NoMapping,
        };
        let Some(external) = self.external_by_mapping(parsed, origin) else {
            // Of an own address that is a pool's too, another shard may have mappings; this packet has none to go to it by.
            let own = self.addresses.is_own(parsed.tuple().destination);
            return if own { Verdict::Local } else { self.refuse_stray(parsed, refused) };
        };
        let to = Ends { from: external, to: self.remote_outside(parsed.receiver()) }.tuple();
        let rewrite = Rewrite::new(parsed.protocol, &parsed.tuple(), &to);
        let hairpin = self.addresses.is_external(to.destination);
        self.send_on(packet, parsed, &rewrite, at, hairpin, None)
    }

    /// The outside end of a sender that has a mapping.
    fn external_by_mapping(&self, parsed: &Parsed, origin: Origin) -> Option<End> {
        match origin {
            Origin::Permanent(external) => Some(external),
            Origin::Exempt => Some(parsed.sender()),
            Origin::Pool(pool) => {
                let in_use = |mapping: &Mapping| mapping.is_in_use() && mapping.is_of_pool(pool);
                let internal = parsed.sender().endpoint()?;
                let found = self.mapping_by_internal(parsed.protocol, internal, in_use)?;
                Some(self.mappings[found].external().into())
            }
        }
    }

    /// A remote's end that an inside host names, as it is outside.
    pub(crate) fn remote_outside(&self, remote: End) -> End {
        remote.at(self.addresses.remote_outside(remote.address))
    }

    /// The endpoint outside that a packet's session is with: of an ICMP query it has no identifier of its own, and 0 stands
    /// for that.
    fn session_remote(&self, parsed: &Parsed) -> Endpoint {
        let to = parsed.tuple().to();
        Endpoint { address: self.addresses.remote_outside(to.address), ..to }
    }

    /// Whether inside hosts know the remote by another address than it has.
    fn is_known_by_another(&self, remote: u32) -> bool {
        self.addresses.remote_outside(remote) != remote
    }
}
