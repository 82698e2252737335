//! What sessions are held to: rules, timeouts, limits, and which sessions may go on when those are new ([`crate::Changes`]).

pub(crate) mod address_check;
pub(crate) mod rate;
pub(crate) mod rules;
pub(crate) mod subscriber;
pub(crate) mod twice;

use crate::mapping::Kind;
use crate::mapping::redirect;
use crate::packet::endpoint::Tuple;
use crate::packet::parse::Parsed;
use crate::packet::verdict::{Direction, DropReason, Protocol};
use crate::pipeline::outbound::rule_key;
use crate::policy::rate::Rates;
use crate::policy::rules::{Classifier, RuleKey};
use crate::policy::subscriber::Bounds;
use crate::session::tcp_state;
use crate::session::{HAIRPIN, Session, TimeoutTable};
use crate::settings::{EmbeddedChecksum, Refuse, RuleAction, Settings, SourceRoute};
use crate::shard::Shard;
use natgw_wire::ipv4;

/// What a running shard can be told anew. Made by whoever has time to, for every shard its own.
#[derive(Debug)]
pub struct Policy {
    pub(crate) classifier: Classifier,
    pub(crate) bounds: Bounds,
    pub(crate) rates: Rates,
    pub(crate) redirects: redirect::Budget,
    pub(crate) fragments_per_subscriber: u32,
    pub(crate) timeouts: TimeoutTable,
    pub(crate) port_hold_ms: u32,
    pub(crate) fragment_ms: u64,
    pub(crate) refuse: Refuse,
    pub(crate) tcp_pickup: bool,
    pub(crate) unsolicited_syn: Refuse,
    pub(crate) unsolicited_syn_ms: u32,
    /// The largest TCP segment that a SYN may offer.
    pub(crate) mss_max: u16,
    pub(crate) source_route: SourceRoute,
    pub(crate) embedded_checksum: EmbeddedChecksum,
}

impl Policy {
    /// The rules, timeouts and subscriber limits of `settings`, whose pools are those that the shard was made from.
    pub fn new(settings: &Settings) -> Policy {
        Policy {
            classifier: Classifier::new(&settings.rules),
            bounds: Bounds::new(&settings.limits),
            fragments_per_subscriber: settings.limits.fragments_per_subscriber,
            rates: Rates::new(&settings.limits),
            redirects: redirect::Budget::new(&settings.limits),
            timeouts: TimeoutTable::new(&settings.timeouts),
            port_hold_ms: settings.timeouts.port_hold_s.saturating_mul(1000),
            fragment_ms: u64::from(settings.timeouts.fragment_s) * 1000,
            refuse: settings.refuse,
            tcp_pickup: settings.tcp_pickup,
            unsolicited_syn: settings.unsolicited_syn,
            unsolicited_syn_ms: settings.timeouts.tcp_unsolicited_syn_s.saturating_mul(1000),
            mss_max: settings.mss_clamp.unwrap_or(u16::MAX),
            source_route: settings.source_route,
            embedded_checksum: settings.icmp_embedded_checksum,
        }
    }

    /// Lowers what a SYN offers, where segments of that size would not get through.
    #[inline(always)]
    pub(crate) fn clamp_mss(&self, packet: &mut [u8], parsed: &Parsed) {
        if parsed.flags & tcp_state::SYN != 0 && self.mss_max != u16::MAX {
            self.clamp_mss_of_syn(packet, parsed);
        }
    }

    #[cold]
    fn clamp_mss_of_syn(&self, packet: &mut [u8], parsed: &Parsed) {
        if let Ok(mut segment) =
            natgw_wire::tcp::Packet::new_checked(&mut packet[usize::from(parsed.header_len)..])
        {
            segment.clamp_mss(self.mss_max);
        }
    }
}

impl Shard {
    /// Refuses a packet whose options name routers that it is to pass: by them a sender gets round what routes and filters
    /// say.
    pub(crate) fn check_source_route(&self, ip: &ipv4::Packet<&[u8]>) -> Result<(), DropReason> {
        let refused = self.policy.source_route == SourceRoute::Drop && ip.has_source_route();
        if refused { Err(DropReason::SourceRoute) } else { Ok(()) }
    }

    /// Whether the session could begin now (`Shard::origin` decides the same for a packet). One of ICMP does not tell by
    /// which type of message: where rules ask for that, each message is asked about.
    pub(crate) fn is_allowed(&self, id: u32) -> bool {
        let session = &self.sessions[id];
        if !self.is_mapped_so(session) {
            return false;
        }
        if self.mappings.lines[session.mapping].kind() == Kind::Redirect {
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
        let mapping = &self.mappings.lines[session.mapping];
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
        id: u32,
        packet: &[u8],
        parsed: &Parsed,
        direction: Direction,
    ) -> bool {
        direction == Direction::Outbound
            && parsed.protocol == Protocol::Icmp
            && self.policy.classifier.names_icmp_types()
            && !self.lets_begin(id, &rule_key(parsed, packet))
    }

    /// Whether rules that are asked about `key` would let the session begin.
    fn lets_begin(&self, id: u32, key: &RuleKey) -> bool {
        let session = &self.sessions[id];
        let action = self.policy.classifier.first_match(key, session.protocol());
        let mapping = &self.mappings.lines[session.mapping];
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
