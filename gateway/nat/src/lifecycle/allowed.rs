//! Which sessions may go on: all until a reload; then those that could begin now.

use crate::ids::SessionId;
use crate::mapping::Kind;
use crate::packet::endpoint::Tuple;
use crate::packet::parse::Parsed;
use crate::packet::verdict::{Direction, Protocol};
use crate::policy::rules::RuleKey;
use crate::session::{HAIRPIN, Session};
use crate::settings::RuleAction;
use crate::shard::Shard;

impl Shard {
    /// Whether the session could begin now (`Shard::origin` decides the same for a packet). One of ICMP does not tell by
    /// which type of message: where rules ask for that, each message is asked about.
    pub(crate) fn is_allowed(&self, id: SessionId) -> bool {
        let session = &self.sessions[id];
        if !self.is_mapped_so(session) {
            return false;
        }
        if self.mappings[session.mapping].kind() == Kind::Redirect {
            let [internal, _, remote] = session.endpoints();
            return self.lets_begin(id, &RuleKey::flow(&Tuple::new(internal, remote)));
        }
        let flow = session.flows[Direction::Outbound].tuple();
        let is_icmp = session.protocol() == Protocol::Icmp;
        if is_icmp && self.addresses.answers_ping(flow.destination) {
            // The gateway answers itself.
            return false;
        }
        let by_type = is_icmp && self.policy.classifier.names_icmp_types();
        by_type || self.lets_begin(id, &RuleKey::flow(&flow))
    }

    /// Whether the session's outside endpoint is still its own, and its remote known inside by the same address.
    fn is_mapped_so(&self, session: &Session) -> bool {
        let mapping = &self.mappings[session.mapping];
        let [_, external, remote] = session.endpoints();
        let seen_inside = session.flows[Direction::Outbound].tuple().destination;
        if mapping.kind() != Kind::Redirect
            && session.flags & HAIRPIN == 0
            && self.addresses.remote_inside(remote.address) != seen_inside
        {
            return false;
        }
        let is_seen_so = || {
            let redirect = self.permanent.redirect(session.protocol(), external);
            redirect.is_some_and(|redirect| match redirect.gateway {
                Some(gateway) => session.stand_in != 0 && gateway == seen_inside,
                None => session.stand_in == 0 && self.addresses.remote_inside(remote.address) == seen_inside,
            })
        };
        self.is_granted(mapping) && (mapping.kind() != Kind::Redirect || is_seen_so())
    }

    /// Whether rules that ask for types of ICMP messages forbid this one, whose session another type may have begun.
    pub(crate) fn is_refused_message(
        &self,
        id: SessionId,
        packet: &[u8],
        parsed: &Parsed,
        direction: Direction,
    ) -> bool {
        direction == Direction::Outbound
            && parsed.protocol == Protocol::Icmp
            && self.policy.classifier.names_icmp_types()
            && !self.lets_begin(id, &RuleKey::of(parsed, packet))
    }

    /// Whether rules that are asked about `key` would let the session begin.
    fn lets_begin(&self, id: SessionId, key: &RuleKey) -> bool {
        let session = &self.sessions[id];
        let action = self.policy.classifier.first_match(key, session.protocol());
        let mapping = &self.mappings[session.mapping];
        match mapping.kind() {
            Kind::Pool => action == Some(RuleAction::Pool(usize::from(mapping.grant.pool))),
            Kind::Exempt => action == Some(RuleAction::Exempt),
            Kind::Permanent => {
                !matches!(action, Some(RuleAction::Reject | RuleAction::Drop | RuleAction::Exempt))
            }
            Kind::Redirect => !matches!(action, Some(RuleAction::Reject | RuleAction::Drop)),
        }
    }
}
