//! The keys of `[nat]` itself: what hosts are told, and how large their TCP segments may be.

use toml::de::DeValue;

use super::interface::Draft;
use super::table_reader::Section;
use super::value::{self, Refusal};
use natgw_nat::{EmbeddedChecksum, Refuse, SourceRoute};

/// Reads `refuse`.
pub(super) fn read_refuse(nat: &mut Section<'_>) -> Refuse {
    nat.or("refuse", Refuse::default(), value::choice(&REFUSE)).value
}

/// Reads `tcp_pickup`.
pub(super) fn read_tcp_pickup(nat: &mut Section<'_>) -> bool {
    nat.or("tcp_pickup", false, value::boolean).value
}

/// Reads `unsolicited_syn`.
pub(super) fn read_unsolicited_syn(nat: &mut Section<'_>) -> Refuse {
    nat.or("unsolicited_syn", Refuse::default(), value::choice(&REFUSE)).value
}

/// Reads `class_e`. The readers of addresses know it already.
pub(super) fn read_class_e(nat: &mut Section<'_>) -> bool {
    nat.or("class_e", false, value::boolean).value
}

/// Reads `source_route`.
pub(super) fn read_source_route(nat: &mut Section<'_>) -> SourceRoute {
    let choices = [("drop", SourceRoute::Drop), ("pass", SourceRoute::Pass)];
    nat.or("source_route", SourceRoute::default(), value::choice(&choices)).value
}

/// Reads `icmp_embedded_checksum`.
pub(super) fn read_icmp_embedded_checksum(nat: &mut Section<'_>) -> EmbeddedChecksum {
    let choices = [("adjust", EmbeddedChecksum::Adjust), ("drop", EmbeddedChecksum::Drop)];
    nat.or("icmp_embedded_checksum", EmbeddedChecksum::default(), value::choice(&choices)).value
}

/// Reads `mss_clamp`: what a SYN may offer at most, for all interfaces to carry the segments.
pub(super) fn read_mss_clamp(nat: &mut Section<'_>, interfaces: Option<&[Draft]>) -> Option<u16> {
    let narrowest = interfaces.unwrap_or_default().iter().map(|draft| draft.interface.mtu).min();
    match nat.or("mss_clamp", MssClamp::Off, mss_clamp).value {
        MssClamp::Off => None,
        MssClamp::PathMtu => narrowest.map(|mtu| mtu - HEADERS_LEN),
        MssClamp::To(octets) => Some(octets),
    }
}

#[derive(Clone, Copy)]
enum MssClamp {
    Off,
    PathMtu,
    To(u16),
}

fn mss_clamp(value: &DeValue<'_>) -> Result<MssClamp, Refusal> {
    match value.as_str() {
        Some("off") => Ok(MssClamp::Off),
        Some("pmtu") => Ok(MssClamp::PathMtu),
        _ => value::integer(MSS)(value).map(MssClamp::To).map_err(|_| {
            Refusal::of(value, format_args!("\"off\", \"pmtu\" or {}-{}", MSS.start(), MSS.end()))
        }),
    }
}

/// Octets of the headers of IPv4 and TCP, without options (RFC 6691).
const HEADERS_LEN: u16 = 40;
/// What every host takes (RFC 9293 section 3.7.1), up to what the largest MTU carries.
const MSS: std::ops::RangeInclusive<u16> = 536..=9216 - HEADERS_LEN;
const REFUSE: [(&str, Refuse); 2] = [("reject", Refuse::Reject), ("drop", Refuse::Drop)];
