//! What sessions are held to: rules, timeouts, limits, and which sessions may go on when those are new ([`crate::Changes`]).

pub(crate) mod address_check;
pub(crate) mod rate;
pub(crate) mod rules;
pub(crate) mod subscriber;
pub(crate) mod twice;

use crate::packet::parse::Parsed;
use crate::packet::tcp_flags;
use crate::policy::rate::Rates;
use crate::policy::rules::Classifier;
use crate::policy::subscriber::Bounds;
use crate::session::TimeoutTable;
use crate::settings::{EmbeddedChecksum, Limits, Refuse, Settings, SourceRoute};

/// What a running shard can be given anew. Management makes one for every shard.
#[derive(Debug)]
pub struct Policy {
    pub(crate) classifier: Classifier,
    pub(crate) bounds: Bounds,
    pub(crate) rates: Rates,
    pub(crate) redirects: RedirectBudget,
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
            redirects: RedirectBudget::new(&settings.limits),
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
        if parsed.flags & tcp_flags::SYN != 0 && self.mss_max != u16::MAX {
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

/// How many of the sessions may be redirected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedirectBudget {
    redirected: u32,
    sessions: u32,
}

impl RedirectBudget {
    pub(crate) fn new(limits: &Limits) -> RedirectBudget {
        RedirectBudget { redirected: limits.redirected_sessions, sessions: limits.sessions.max(1) }
    }

    /// The part of a shard with room for `sessions`.
    pub(crate) fn of(self, sessions: u32) -> u32 {
        let part = u64::from(self.redirected) * u64::from(sessions);
        part.div_ceil(u64::from(self.sessions)).min(u64::from(sessions / 2)) as u32
    }
}
