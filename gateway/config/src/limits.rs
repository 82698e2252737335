//! `[nat.limits]` and `[nat.timeouts]`.

use super::table_reader::Section;
use super::value;
use natgw_nat::{Limits, Protocol, Timeouts};

pub(super) fn read_limits(section: &mut Section<'_>, workers: Option<usize>) -> Limits {
    let default = Limits::default();
    let sessions = section.or("sessions", default.sessions, value::integer(1..=SESSIONS_MAX));
    let subscribers = section.or("subscribers", sessions.value, value::integer(1..=SESSIONS_MAX));
    let ports = section.or("ports_per_subscriber", default.ports_per_subscriber, value::integer(1..=65_535));
    let protocol_ports = PROTOCOL_PORTS.map(|key| section.optional(key, value::integer(1..=65_535)));
    let sessions_per_subscriber = section.or(
        "sessions_per_subscriber",
        default.sessions_per_subscriber,
        value::integer(0..=SESSIONS_MAX),
    );
    let protocol_sessions = PROTOCOL_SESSIONS.map(|key| section.or(key, 0, value::integer(0..=SESSIONS_MAX)));
    let half_open =
        section.or("half_open_per_subscriber", default.half_open_per_subscriber, value::integer(0..=65_535));
    let or_none = |limit: u32| if limit == 0 { u32::MAX } else { limit };
    let rate = section.or(
        "new_sessions_per_subscriber_per_s",
        default.new_sessions_per_subscriber_per_s,
        value::integer(1..=RATE_MAX),
    );
    let protocol_rates = PROTOCOL_RATES.map(|key| section.or(key, 0, value::integer(0..=RATE_MAX)));
    let redirected =
        section.or("redirected_sessions", default.redirected_sessions, value::integer(0..=SESSIONS_MAX));
    if let Some(workers) = workers.filter(|workers| (sessions.value as usize) < *workers) {
        let allowed = format!("{workers} or more, so that each worker has one");
        section.wrong(sessions.line, "sessions", sessions.value, allowed);
    }
    let fragments = section.or("fragments", default.fragments, value::integer(1..=FRAGMENTS_MAX));
    let fragments_per_subscriber = section.or(
        "fragments_per_subscriber",
        default.fragments_per_subscriber,
        value::integer(1..=FRAGMENTS_MAX),
    );
    Limits {
        sessions: sessions.value,
        subscribers: subscribers.value,
        ports_per_subscriber: ports.value,
        protocol_ports_per_subscriber: protocol_ports.map(|ports| ports.map(|ports| ports.value)),
        sessions_per_subscriber: or_none(sessions_per_subscriber.value),
        protocol_sessions_per_subscriber: protocol_sessions.map(|sessions| or_none(sessions.value)),
        half_open_per_subscriber: or_none(half_open.value),
        new_sessions_per_subscriber_per_s: rate.value,
        protocol_new_sessions_per_subscriber_per_s: protocol_rates.map(|rate| or_none(rate.value)),
        fragments: fragments.value,
        fragments_per_subscriber: fragments_per_subscriber.value,
        redirected_sessions: redirected.value,
    }
}

pub(super) fn read_timeouts(section: &mut Section<'_>) -> Timeouts {
    let default = Timeouts::default();
    let mut read = |key, default, least: u32, source: &str| {
        let timeout = section.or(key, default, value::integer(1..=TIMEOUT_MAX_S));
        if timeout.value < least {
            section.report().warn(
                timeout.line,
                &section.path(key),
                timeout.value,
                format_args!("{least} or more by {source}"),
            );
        }
        timeout.value
    };
    let transitory_s = read("tcp_transitory", default.tcp_opening_s, 240, "RFC 5382 REQ-5");
    Timeouts {
        udp_s: read("udp", default.udp_s, 120, "RFC 4787 REQ-5"),
        udp_dns_s: read("udp_dns", default.udp_dns_s, 1, ""),
        tcp_established_s: read("tcp_established", default.tcp_established_s, 7440, "RFC 5382 REQ-5"),
        // A short one is nothing to warn of: RFC 7857 section 2.1.
        tcp_opening_s: read("tcp_opening", transitory_s, 1, ""),
        tcp_closing_s: read("tcp_closing", transitory_s, transitory_s.min(240), "RFC 5382 REQ-5"),
        tcp_unsolicited_syn_s: read(
            "tcp_unsolicited_syn",
            default.tcp_unsolicited_syn_s,
            6,
            "RFC 5382 REQ-4",
        ),
        icmp_s: read("icmp", default.icmp_s, 60, "RFC 5508 REQ-2"),
        other_s: read("other", default.other_s, 1, ""),
        fragment_s: read("fragment", default.fragment_s, 1, ""),
        redirect_half_open_s: read("redirect_half_open", default.redirect_half_open_s, 1, ""),
        port_hold_s: read_port_hold(section),
    }
}

/// By protocol.
const PROTOCOL_PORTS: [&str; Protocol::WITH_PORTS.len()] =
    ["udp_ports_per_subscriber", "tcp_ports_per_subscriber", "icmp_ports_per_subscriber"];
/// By protocol.
const PROTOCOL_SESSIONS: [&str; Protocol::COUNT] = [
    "udp_sessions_per_subscriber",
    "tcp_sessions_per_subscriber",
    "icmp_sessions_per_subscriber",
    "other_sessions_per_subscriber",
];
/// By protocol.
const PROTOCOL_RATES: [&str; Protocol::COUNT] = [
    "udp_new_sessions_per_subscriber_per_s",
    "tcp_new_sessions_per_subscriber_per_s",
    "icmp_new_sessions_per_subscriber_per_s",
    "other_new_sessions_per_subscriber_per_s",
];

/// A port need not rest at all.
fn read_port_hold(section: &mut Section<'_>) -> u32 {
    let hold = section.or("port_hold", Timeouts::default().port_hold_s, value::integer(0..=TIMEOUT_MAX_S));
    if hold.value < 120 {
        let key = section.path("port_hold");
        section.report().warn(hold.line, &key, hold.value, "120 or more by RFC 6888 REQ-8");
    }
    hold.value
}

/// Most sessions over all workers.
pub const SESSIONS_MAX: u32 = 1 << 27;

/// Most new sessions a second for one subscriber.
const RATE_MAX: u32 = 10_000_000;

/// Most datagrams in fragments over all workers.
const FRAGMENTS_MAX: u32 = 1 << 20;

/// A week; the engine's clock compares over 24 days.
pub const TIMEOUT_MAX_S: u32 = 7 * 24 * 3600;
