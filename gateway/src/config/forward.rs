//! `[[nat.port_forwards]]` and `[[nat.static]]`: permanent mappings towards inside hosts.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::claim::{Claim, Use};
use super::interface::{Connected, Draft};
use super::mistake::At;
use super::section::Section;
use super::unique::Unique;
use super::value::{self, Ports};
use crate::nat::{PortForward, Protocol, Static};

/// Where inside hosts are, as far as it is known.
pub(super) struct Inside<'a> {
    pub(super) interfaces: &'a [Draft],
    pub(super) prefixes: &'a [Ipv4Net],
}

/// Reads every `[[nat.port_forwards]]`; `None` unless all of them are whole.
pub(super) fn read_forwards(
    nat: &mut Section<'_>,
    inside: Option<&Inside<'_>>,
    claims: &mut Vec<Claim>,
) -> Option<Vec<PortForward>> {
    let mut room = FORWARDED_PORTS_MAX;
    nat.tables("port_forwards", PORT_FORWARDS_MAX, |section| {
        let protocols = [Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol.name(), protocol));
        let protocol = section.required("protocol", value::choice(&protocols));
        let external = section.required("external", value::endpoint);
        let internal = section.required("internal", value::endpoint);
        if let Some(internal) = &internal {
            refuse_unreachable(section, internal.line, internal.value.0, inside);
        }
        let (protocol, external, internal) = (protocol?.value, external?, internal?);
        let (external_line, (external, external_ports)) = (external.line, external.value);
        let (internal_line, (internal, internal_ports)) = (internal.line, internal.value);
        let Some(left) = room.checked_sub(external_ports.len()) else {
            let allowed = format!("at most {FORWARDED_PORTS_MAX} in all port forwards together");
            section.wrong(external_line, "external", format_args!("{} ports", external_ports.len()), allowed);
            return None;
        };
        room = left;
        if internal_ports.len() != external_ports.len() {
            let found = format!("{} for {} outside ports", Ports(&internal_ports), external_ports.len());
            let allowed = "as many as external has";
            section.wrong(internal_line, "internal", found, allowed);
        }
        claims.push(Claim {
            range: external.into(),
            line: external_line,
            key: section.path("external"),
            owner: format!("port forward {} {external}:{}", protocol.name(), Ports(&external_ports)),
            purpose: Use::Forward(protocol, external_ports.clone()),
        });
        Some(PortForward {
            protocol,
            external,
            external_ports,
            internal,
            internal_port: *internal_ports.start(),
        })
    })
}

/// Reads every `[[nat.static]]`; `None` unless all of them are whole.
pub(super) fn read_statics(
    nat: &mut Section<'_>,
    inside: Option<&Inside<'_>>,
    claims: &mut Vec<Claim>,
) -> Option<Vec<Static>> {
    let mut internals = Unique::default();
    nat.tables("static", STATICS_MAX, |section| {
        let external = section.required("external", value::host);
        let internal = section.required("internal", value::host);
        if let Some(At { line, value }) = &internal {
            internals.claim(section, "internal", *line, value.to_string());
            refuse_unreachable(section, *line, *value, inside);
        }
        let external = external?;
        claims.push(Claim {
            range: external.value.into(),
            line: external.line,
            key: section.path("external"),
            owner: format!("static {}", external.value),
            purpose: Use::Static,
        });
        Some(Static { external: external.value, internal: internal?.value })
    })
}

/// An inside host is behind an inside interface, and is not the gateway.
fn refuse_unreachable(section: &Section<'_>, line: usize, host: Ipv4Addr, inside: Option<&Inside<'_>>) {
    let Some(inside) = inside else { return };
    let is_inside = inside.prefixes.iter().any(|net| net.contains(&host));
    if !is_inside || Connected(inside.interfaces).owner(host).is_some() {
        let nets: Vec<String> = inside.prefixes.iter().map(Ipv4Net::to_string).collect();
        let allowed = format!("a host that is reached through an inside interface: {}", nets.join(", "));
        section.wrong(line, "internal", host, allowed);
    }
}

/// Most port forwards.
pub const PORT_FORWARDS_MAX: usize = 65_536;

/// Most ports of all port forwards together: the engine looks each up by itself.
pub const FORWARDED_PORTS_MAX: usize = 1 << 20;

/// Most 1:1 mappings.
pub const STATICS_MAX: usize = 65_536;
