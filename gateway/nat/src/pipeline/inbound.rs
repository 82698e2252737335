//! The slow path of inbound packets: no session, but perhaps a mapping whose filtering lets them in.

use crate::ids::MappingId;
use crate::mapping::filter::Pair;
use crate::mapping::redirect::Redirect;
use crate::mapping::{Kind, Mapping};
use crate::packet::arrival::Arrival;
use crate::packet::endpoint::{End, Ends, Tuple};
use crate::packet::parse::Parsed;
use crate::packet::rewrite::Rewrite;
use crate::packet::verdict::{DropReason, Protocol, Verdict};
use crate::settings::Filtering;
use crate::shard::Shard;
use crate::table::time::Time;

/// What becomes of a packet from outside that has no session.
pub(crate) enum InboundPlan {
    /// Its addresses are refused.
    Drop(DropReason),
    /// It is for the gateway itself.
    Local,
    /// It may begin a redirected session.
    Redirect(Redirect),
    /// A mapping or a 1:1 mapping leads it to this end.
    Mapping(End),
    /// Nothing lets it in.
    Refuse(DropReason),
}

impl Shard {
    /// `(r:q -> X:P)` without a session becomes `(r:q -> a:p)` where a mapping admits the remote. No session is made, but
    /// for a redirect.
    pub(crate) fn inbound_miss(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        at: Arrival,
        now: Time,
    ) -> Verdict {
        match self.inbound_plan(parsed, at) {
            InboundPlan::Drop(reason) => Verdict::Drop(reason),
            InboundPlan::Local => Verdict::Local,
            InboundPlan::Redirect(redirect) => self.redirect(packet, parsed, redirect, at, now),
            InboundPlan::Mapping(internal) => {
                let to = Ends { from: self.remote_inside(parsed.sender()), to: internal };
                let rewrite = Rewrite::new(parsed.protocol, &parsed.tuple(), &to.tuple());
                self.send_on(packet, parsed, &rewrite, at, false, None)
            }
            InboundPlan::Refuse(reason) => {
                if reason == DropReason::Filtered {
                    self.keep_unsolicited(packet, parsed, now);
                }
                self.refuse_inbound(parsed, reason, at)
            }
        }
    }

    /// What becomes of a packet without a session. Nothing is changed.
    #[inline(always)]
    pub(crate) fn inbound_plan(&self, parsed: &Parsed, at: Arrival) -> InboundPlan {
        let tuple = parsed.tuple();
        let own = match self.addresses.inbound_is_own(&tuple) {
            _ if !at.routed => self.addresses.is_own(tuple.destination),
            Ok(own) => own,
            Err(reason) => return InboundPlan::Drop(reason),
        };
        if self.is_ping_of_gateway(parsed, own, at) {
            return InboundPlan::Local;
        }
        if let Some(external) = parsed.receiver().endpoint()
            && let Some(redirect) = self.permanent.redirect(parsed.protocol, external)
        {
            return InboundPlan::Redirect(redirect);
        }
        match self.admitted_or_local(parsed, own) {
            Ok(Some(internal)) => InboundPlan::Mapping(internal),
            Ok(None) => InboundPlan::Local,
            Err(reason) => InboundPlan::Refuse(reason),
        }
    }

    /// No answer tells the outside what there is inside. A hairpinned packet that a mapping keeps out gets none either: the host
    /// behind the mapping may be about to send to the same remote (RFC 5382 REQ-4). An inside host that sent to an outside
    /// endpoint without a mapping gets one.
    #[inline(always)]
    pub(crate) fn refuse_inbound(&self, parsed: &Parsed, reason: DropReason, at: Arrival) -> Verdict {
        if at.routed { Verdict::Drop(reason) } else { self.refuse_hairpinned(parsed, reason) }
    }

    #[cold]
    fn refuse_hairpinned(&self, parsed: &Parsed, reason: DropReason) -> Verdict {
        let is_shared = || parsed.receiver().endpoint().is_some_and(|to| self.is_mapped(parsed.protocol, to));
        match reason {
            DropReason::Draining => self.refuse(reason),
            DropReason::NoMapping if !is_shared() => self.refuse(reason),
            _ => Verdict::Drop(reason),
        }
    }

    /// Whether it is an ICMP query that the gateway answers itself, at an `own` address or at a pool's. One that was
    /// translated here already is none of a pool's: it belongs to a session that began before the pool's addresses
    /// answered, and ends with the reload.
    fn is_ping_of_gateway(&self, parsed: &Parsed, own: bool, at: Arrival) -> bool {
        own && parsed.is_query() || at.routed && self.is_pool_ping(parsed)
    }

    /// The inside end that a packet without a session leads to; `None` where it is for the gateway itself, whose `own`
    /// address it may bear. A shard that drains lets nothing in that would have to begin a session with its answer.
    #[inline(always)]
    fn admitted_or_local(&self, parsed: &Parsed, own: bool) -> Result<Option<End>, DropReason> {
        let ends = parsed.ends();
        match self.admitted(parsed.protocol, ends)? {
            Some(_) if self.draining => Err(DropReason::Draining),
            Some(internal) if self.is_answered_elsewhere(parsed, internal) => Err(DropReason::RemoteTaken),
            Some(internal) => Ok(Some(internal)),
            None if own => Ok(None),
            None if self.addresses.is_inside(ends.to.address) => Err(DropReason::InsideFromOutside),
            None => Err(DropReason::NoMapping),
        }
    }

    /// Whether what the inside end answers leaves from another outside endpoint, by which the remote came before
    /// (`redirect`).
    fn is_answered_elsewhere(&self, parsed: &Parsed, internal: End) -> bool {
        let remote = self.remote_inside(parsed.sender());
        let Some((internal, remote)) = internal.endpoint().zip(remote.endpoint()) else { return false };
        self.permanent.has_redirects() && self.is_remote_taken(parsed.protocol, Tuple::new(internal, remote))
    }

    /// A remote's end as inside hosts know it.
    pub(crate) fn remote_inside(&self, remote: End) -> End {
        remote.at(self.addresses.remote_inside(remote.address))
    }

    /// The inside end that the outside one leads to, as far as the remote may use it without a session; `None` where
    /// nothing is mapped.
    pub(crate) fn admitted(&self, protocol: Protocol, ends: Ends) -> Result<Option<End>, DropReason> {
        let Ends { from: remote, to: external } = ends;
        let found = external.endpoint().and_then(|external| self.mapping_by_external(protocol, external));
        let mapping = found.map(|id| (id, &self.mappings[id]));
        match mapping.filter(|(_, mapping)| mapping.is_in_use()) {
            Some((id, mapping)) if self.admits(id, mapping, remote.address) => {
                Ok(Some(mapping.internal().into()))
            }
            Some(_) => Err(DropReason::Filtered),
            None => Ok(self.permanent.internal_end(protocol, external)),
        }
    }

    /// Whether a mapping in use admits a remote that it has no session with (RFC 4787 REQ-8).
    fn admits(&self, id: MappingId, mapping: &Mapping, remote: u32) -> bool {
        match mapping.kind() {
            Kind::Permanent => true,
            Kind::Exempt | Kind::Redirect => false,
            Kind::Pool => match self.pools[mapping.grant.pool].filtering(mapping.protocol()) {
                Filtering::EndpointIndependent => true,
                Filtering::AddressDependent => {
                    let pair = Pair { mapping: id, internal: mapping.internal(), remote };
                    self.permissions.allows(pair, &self.sessions)
                }
                Filtering::AddressAndPortDependent => false,
            },
        }
    }
}
