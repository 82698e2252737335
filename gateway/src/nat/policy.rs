//! New settings for a running shard.
//!
//! [`Shard::adopt`] changes the rules between two bursts, in one step and without allocating or freeing: what new sessions
//! are held to is new from the next packet on. [`Shard::sweep`] then looks through the sessions, a bounded number at a time,
//! and ends those that could not begin any more; the others never notice. Pools, forwards, 1:1 mappings and addresses
//! are fixed when a shard is made.

use super::classifier::Classifier;
use super::endpoint::Tuple;
use super::mapping::Kind;
use super::outbound::as_rules_see;
use super::parse::Parsed;
use super::rate::Rates;
use super::redirect;
use super::session::{LIVE, TimeoutTable};
use super::settings::{Refuse, RuleAction, Settings};
use super::shard::Shard;
use super::subscriber::Bounds;
use super::tcp;
use super::time::Time;
use super::verdict::{DeleteReason, Direction, Protocol};
use crate::wire;

/// What a running shard can be told anew. Made by whoever has time to, for every shard its own.
#[derive(Debug)]
pub struct Policy {
    pub(super) classifier: Classifier,
    pub(super) bounds: Bounds,
    pub(super) rates: Rates,
    pub(super) redirects: redirect::Budget,
    pub(super) fragments_per_subscriber: u32,
    pub(super) timeouts: TimeoutTable,
    pub(super) port_hold_ms: u32,
    pub(super) fragment_ms: u64,
    pub(super) refuse: Refuse,
    pub(super) unsolicited_syn: Refuse,
    pub(super) unsolicited_syn_ms: u32,
    /// The largest TCP segment that a SYN may offer.
    pub(super) mss_max: u16,
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
            unsolicited_syn: settings.unsolicited_syn,
            unsolicited_syn_ms: settings.timeouts.tcp_unsolicited_syn_s.saturating_mul(1000),
            mss_max: settings.mss_clamp.unwrap_or(u16::MAX),
        }
    }

    /// Lowers what a SYN offers, where segments of that size would not get through.
    #[inline(always)]
    pub(super) fn clamp_mss(&self, packet: &mut [u8], parsed: &Parsed) {
        if parsed.flags & tcp::SYN != 0 && self.mss_max != u16::MAX {
            self.clamp_mss_of_syn(packet, parsed);
        }
    }

    #[cold]
    fn clamp_mss_of_syn(&self, packet: &mut [u8], parsed: &Parsed) {
        if let Ok(mut segment) = wire::tcp::Packet::new_checked(&mut packet[usize::from(parsed.header_len)..])
        {
            segment.clamp_mss(self.mss_max);
        }
    }
}

impl Shard {
    /// Puts `policy` in force; what was in force before is in it afterwards.
    pub fn adopt(&mut self, policy: &mut Policy) {
        std::mem::swap(&mut self.policy, policy);
    }

    /// Looks at `lines` lines of the session table from `from` on: ends the sessions that the policy forbids, and brings
    /// forward the end of those that it lets idle for less than is left to them. Where to go on, `None` at the end.
    pub fn sweep(&mut self, from: u32, lines: u32, now: Time) -> Option<u32> {
        let capacity = self.sessions.as_slice().len() as u32;
        let to = from.saturating_add(lines).min(capacity);
        for id in from..to {
            if self.sessions[id].flags & LIVE == 0 {
                continue;
            }
            if self.is_allowed(id) {
                self.shorten(id, now);
            } else {
                self.idle.stop(id);
                self.end_session(id, Some(DeleteReason::Reload), now);
            }
        }
        (to < capacity).then_some(to)
    }

    /// Whether the session could begin now (`Shard::origin` decides the same for a packet). One of ICMP does not tell by
    /// which type of message: where rules ask for that, each message is asked about.
    fn is_allowed(&self, id: u32) -> bool {
        let session = &self.sessions[id];
        if self.mappings.lines[session.mapping].kind() == Kind::Redirect {
            let [internal, _, remote] = session.endpoints();
            return self.lets_begin(id, &Tuple::new(internal, remote));
        }
        let by_type = session.protocol() == Protocol::Icmp && self.policy.classifier.names_icmp_types();
        by_type || self.lets_begin(id, &session.flows[Direction::Outbound as usize].tuple())
    }

    /// Whether rules that ask for types of ICMP messages forbid this one, whose session another type may have begun.
    pub(super) fn is_refused_message(
        &self,
        id: u32,
        packet: &[u8],
        parsed: &Parsed,
        direction: Direction,
    ) -> bool {
        direction == Direction::Outbound
            && parsed.protocol == Protocol::Icmp
            && self.policy.classifier.names_icmp_types()
            && !self.lets_begin(id, &as_rules_see(parsed, packet))
    }

    /// Whether rules that are asked about `tuple` would let the session begin.
    fn lets_begin(&self, id: u32, tuple: &Tuple) -> bool {
        let session = &self.sessions[id];
        let action = self.policy.classifier.first_match(tuple, session.protocol());
        let mapping = &self.mappings.lines[session.mapping];
        match mapping.kind() {
            Kind::Pool => action == Some(RuleAction::Pool(usize::from(mapping.pool))),
            Kind::Exempt => action == Some(RuleAction::Exempt),
            Kind::Permanent => {
                !matches!(action, Some(RuleAction::Reject | RuleAction::Drop | RuleAction::Exempt))
            }
            Kind::Redirect => !matches!(action, Some(RuleAction::Reject | RuleAction::Drop)),
        }
    }

    fn shorten(&mut self, id: u32, now: Time) {
        let session = &mut self.sessions[id];
        let latest = now.plus_ms(u64::from(self.policy.timeouts.of(session.timeout)));
        if latest < now.near(session.expires) {
            session.expires = latest.low();
            self.idle.stop(id);
            self.idle.start(id, latest);
        }
    }
}
