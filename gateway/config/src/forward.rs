//! `[[nat.port_forwards]]` and `[[nat.static]]`: permanent mappings towards inside hosts.

use std::net::Ipv4Addr;

use hashbrown::HashMap;
use ipnet::Ipv4Net;

use super::address::{self, AddressRange, ClassE};
use super::address_conflicts::{Claim, Use};
use super::diagnostic::At;
use super::interface::{Connected, Draft, Role};
use super::table_reader::Section;
use super::value::{self, Ports};
use natgw_nat::{ForwardSource, PortForward, Protocol, Static};

/// Where inside hosts are, as far as it is known.
pub(super) struct Inside<'a> {
    pub(super) interfaces: &'a [Draft],
    pub(super) prefixes: &'a [Ipv4Net],
    pub(super) class_e: ClassE,
}

/// Reads every `[[nat.port_forwards]]`; `None` unless all of them are whole.
pub(super) fn read_forwards(
    nat: &mut Section<'_>,
    inside: Option<&Inside<'_>>,
    claims: &mut Vec<Claim>,
) -> Option<Vec<PortForward>> {
    let mut room = FORWARDED_PORTS_MAX;
    let class_e = inside.map_or(ClassE::Inside, |inside| inside.class_e);
    nat.tables_and_added("port_forwards", PORT_FORWARDS_MAX, |section| {
        let protocols = [Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol.name(), protocol));
        let protocol = section.required("protocol", value::choice(&protocols));
        let external = section.required("external", value::endpoint(ClassE::Reserved));
        let internal = section.required("internal", value::endpoint(class_e));
        let source = section.or("source", ForwardSource::Remote, value::choice(&SOURCES)).value;
        if let Some(internal) = &internal {
            refuse_unreachable(section, internal.line, internal.value.0.into(), inside);
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
            source,
        })
    })
}

/// Reads every `[[nat.static]]`; `None` unless all of them are whole.
pub(super) fn read_statics(
    nat: &mut Section<'_>,
    inside: Option<&Inside<'_>>,
    claims: &mut Vec<Claim>,
) -> Option<Vec<Static>> {
    let mut room = STATICS_MAX;
    let class_e = inside.map_or(ClassE::Inside, |inside| inside.class_e);
    let mut internals = HashMap::new();
    nat.tables("static", STATICS_MAX, |section| {
        let external = section.required("external", value::hosts(ClassE::Reserved));
        let internal = section.required("internal", value::hosts(class_e));
        if let Some(internal) = &internal {
            refuse_unreachable(section, internal.line, internal.value, inside);
        }
        let (external, internal) = (external?, internal?);
        if external.value.prefix_len() != internal.value.prefix_len() {
            let found = format!("{} for {}", value::Hosts(internal.value), value::Hosts(external.value));
            section.wrong(internal.line, "internal", found, "a prefix as long as external's");
            return None;
        }
        let mapping = Static { external: external.value, internal: internal.value };
        let range = AddressRange::from(mapping.external);
        let Some(left) = room.checked_sub(range.count() as usize) else {
            let allowed = format!("at most {STATICS_MAX} in all static mappings together");
            section.wrong(external.line, "external", format_args!("{} addresses", range.count()), allowed);
            return None;
        };
        room = left;
        refuse_taken(section, &internal, &mut internals);
        claims.push(Claim {
            range,
            line: external.line,
            key: section.path("external"),
            owner: format!("static {}", value::Hosts(mapping.external)),
            purpose: Use::Static,
        });
        Some(mapping)
    })
}

/// An inside host has one outside address.
fn refuse_taken(section: &Section<'_>, internal: &At<Ipv4Net>, internals: &mut HashMap<Ipv4Addr, usize>) {
    let line = internal.line;
    let twice = AddressRange::from(internal.value)
        .iter()
        .filter_map(|host| internals.insert(host, line).map(|earlier| (host, earlier)))
        .next();
    if let Some((host, earlier)) = twice {
        let allowed = format!("each host once; it stands on line {earlier} already");
        section.wrong(line, "internal", host, allowed);
    }
}

/// Inside hosts are behind an inside interface. One by itself is neither the gateway nor a network or broadcast address,
/// whose packets are dropped; a prefix may reach over these.
fn refuse_unreachable(section: &Section<'_>, line: usize, hosts: Ipv4Net, inside: Option<&Inside<'_>>) {
    let Some(inside) = inside else { return };
    let is_inside = inside.prefixes.iter().any(|net| net.contains(&hosts));
    let is_own = hosts.prefix_len() == 32 && Connected(inside.interfaces).owner(hosts.addr()).is_some();
    if !is_inside || is_own {
        let nets: Vec<String> = inside.prefixes.iter().map(Ipv4Net::to_string).collect();
        let allowed = format!("hosts that are reached through an inside interface: {}", nets.join(", "));
        section.wrong(line, "internal", value::Hosts(hosts), allowed);
        return;
    }
    let mut nets = Connected(inside.interfaces).prefixes(Role::Inside);
    let is_edge = |net: &Ipv4Net| address::reserved(*net).is_some_and(|edges| edges.contains(&hosts.addr()));
    if let Some(net) = nets.find(is_edge).filter(|_| hosts.prefix_len() == 32) {
        let allowed = format!("a host's address, neither network nor broadcast of {}", net.trunc());
        section.wrong(line, "internal", value::Hosts(hosts), allowed);
    }
}

/// Words of the configuration file.
const SOURCES: [(&str, ForwardSource); 2] =
    [("remote", ForwardSource::Remote), ("gateway", ForwardSource::Gateway)];

/// Most port forwards.
pub const PORT_FORWARDS_MAX: usize = 65_536;

/// Most ports of all port forwards together: the engine looks each up by itself.
pub const FORWARDED_PORTS_MAX: usize = 1 << 20;

/// Most outside addresses of all 1:1 mappings together.
pub const STATICS_MAX: usize = 65_536;
