//! `[[nat.pools]]`: outside addresses and ports that subscribers share.

use std::ops::RangeInclusive;

use super::address::{AddressRange, ClassE};
use super::address_conflicts::{Claim, Use};
use super::deterministic;
use super::diagnostic::At;
use super::interface::{Draft, Role};
use super::port_block::{self, Divided};
use super::protocol;
use super::table_reader::Section;
use super::unique::Unique;
use super::value::{self, Ports};
use natgw_nat::{Filtering, MappingMode, OtherProtocols, Pool};

/// What rules need to know of the pools, and the pools themselves if all of them are whole.
pub(super) struct Pools {
    /// The name of each, in order; `None` if it cannot be told.
    pub(super) names: Vec<Option<String>>,
    /// The line of each.
    pub(super) lines: Vec<usize>,
    pub(super) whole: Option<Vec<Pool>>,
}

/// Reads every `[[nat.pools]]`. The workers are `None` if their number is not known.
pub(super) fn read_all(
    nat: &mut Section<'_>,
    interfaces: Option<&[Draft]>,
    workers: Option<usize>,
    class_e: ClassE,
    claims: &mut Vec<Claim>,
) -> Pools {
    let (mut names, mut lines, mut unique) = (Vec::new(), Vec::new(), Unique::default());
    let mut room = POOL_ADDRESSES_MAX;
    let whole = nat.tables("pools", POOLS_MAX, |section| {
        let name = section.required("name", value::name);
        if let Some(name) = &name {
            unique.claim(section, "name", name.line, name.value.clone());
        }
        lines.push(section.line());
        names.push(name.as_ref().map(|name| name.value.clone()));

        let ranges = read_addresses(section, interfaces);
        let ports = section.or("ports", DEFAULT_PORTS, value::ports);
        let mapping = section.or("mapping", MappingMode::EndpointIndependent, value::choice(&MAPPINGS));
        let filtering = section.or("filtering", Filtering::AddressDependent, value::choice(&FILTERINGS));
        let filtering_tcp = section.optional("filtering_tcp", value::choice(&FILTERINGS));
        let filtering_udp = section.optional("filtering_udp", value::choice(&FILTERINGS));
        let port_parity = section.or("port_parity", true, value::boolean);
        let port_preservation = section.or("port_preservation", true, value::boolean);
        let blocks = port_block::Keys::read(section);
        let own_ports = deterministic::read(section, class_e);
        let other_protocols = section.or("other_protocols", OtherProtocols::NONE, protocol::other_protocols);
        let ping = section.or("ping", false, value::boolean);
        if mapping.value == MappingMode::AddressAndPortDependent {
            warn_of_filtering(section, &filtering, [&filtering_tcp, &filtering_udp]);
        }
        let (name, ranges) = (name?.value, ranges?);
        claims.extend(ranges.iter().map(|range| Claim {
            range: range.value,
            line: range.line,
            key: section.path("addresses"),
            owner: format!("pool {name}"),
            purpose: Use::Pool,
        }));
        let addresses = expand(section, &ranges, &mut room)?;
        refuse_scarce(section, addresses.len(), &ports, workers);
        let divided = Divided { addresses: addresses.len(), ports: &ports, mapping: &mapping, workers };
        let deterministic = deterministic::resolve(section, &own_ports?, &blocks, &divided);
        if deterministic.is_some() && other_protocols.value != OtherProtocols::NONE {
            let found = protocol::list(other_protocols.value);
            section.wrong(
                other_protocols.line,
                "other_protocols",
                found,
                "none with deterministic mapping, which is of ports",
            );
        }
        let port_blocks = if deterministic.is_none() { blocks.resolve(section, &divided) } else { None };
        Some(Pool {
            name,
            addresses,
            ports: ports.value,
            mapping: mapping.value,
            filtering: filtering.value,
            filtering_tcp: filtering_tcp.map(|filtering| filtering.value),
            filtering_udp: filtering_udp.map(|filtering| filtering.value),
            port_parity: port_parity.value,
            port_preservation: port_preservation.value,
            port_blocks,
            deterministic,
            other_protocols: other_protocols.value,
            ping: ping.value,
        })
    });
    Pools { names, lines, whole }
}

/// Where mappings share ports, a packet finds its mapping by its session alone.
fn warn_of_filtering(section: &Section<'_>, default: &At<Filtering>, own: [&Option<At<Filtering>>; 2]) {
    let default = section.has("filtering").then_some(default);
    let given =
        [("filtering", default), ("filtering_tcp", own[0].as_ref()), ("filtering_udp", own[1].as_ref())];
    for (key, filtering) in given {
        let Some(filtering) = filtering else { continue };
        if filtering.value != Filtering::AddressAndPortDependent {
            let word =
                FILTERINGS.iter().find(|(_, known)| *known == filtering.value).map_or("", |(word, _)| word);
            let allowed =
                "address-and-port-dependent, as of every pool whose mapping is, whatever stands here";
            section.report().warn(filtering.line, &section.path(key), value::quote(word), allowed);
        }
    }
}

/// `addresses`, or the first address of `interface` (masquerade): exactly one of the two.
fn read_addresses(section: &mut Section<'_>, interfaces: Option<&[Draft]>) -> Option<Vec<At<AddressRange>>> {
    let interface = section.optional("interface", value::name);
    if !section.has("interface") {
        return section.required_list("addresses", value::addresses);
    }
    let addresses = section.list("addresses", value::addresses);
    let interface = interface?;
    if section.has("addresses") {
        section.wrong(
            interface.line,
            "interface",
            value::quote(&interface.value),
            "either addresses or interface",
        );
        return addresses;
    }
    let outside: Vec<&Draft> =
        interfaces?.iter().filter(|draft| draft.interface.role == Role::Outside).collect();
    match outside.iter().find(|draft| draft.interface.name == interface.value) {
        Some(draft) => {
            let own = draft.interface.addresses.first()?.addr();
            Some(vec![At { line: interface.line, value: own.into() }])
        }
        None => {
            let names: Vec<&str> = outside.iter().map(|draft| draft.interface.name.as_str()).collect();
            let allowed = format!("an outside interface: {}", value::nearest_of(&interface.value, &names));
            section.wrong(interface.line, "interface", value::quote(&interface.value), allowed);
            None
        }
    }
}

fn expand(
    section: &Section<'_>,
    ranges: &[At<AddressRange>],
    room: &mut u64,
) -> Option<Vec<std::net::Ipv4Addr>> {
    for range in ranges {
        let Some(left) = room.checked_sub(range.value.count()) else {
            let found = format!("{} addresses ({})", range.value.count(), range.value);
            let allowed = format!("at most {POOL_ADDRESSES_MAX} in all pools together");
            section.wrong(range.line, "addresses", found, allowed);
            return None;
        };
        *room = left;
    }
    Some(ranges.iter().flat_map(|range| range.value.iter()).collect())
}

/// Whole addresses belong to workers; where there are fewer addresses than workers, all workers share the ports of each.
/// No worker may be left without any.
fn refuse_scarce(
    section: &Section<'_>,
    addresses: usize,
    ports: &At<RangeInclusive<u16>>,
    workers: Option<usize>,
) {
    let Some(workers) = workers.filter(|workers| addresses < *workers) else { return };
    if ports.value.len() < workers {
        let found = format!("{} ({} ports)", Ports(&ports.value), ports.value.len());
        let allowed = format!("{workers} ports or more: {workers} workers share {addresses} addresses");
        section.wrong(ports.line, "ports", found, allowed);
    }
}

/// Words of the configuration file.
pub(super) const MAPPINGS: [(&str, MappingMode); 2] = [
    ("endpoint-independent", MappingMode::EndpointIndependent),
    ("address-and-port-dependent", MappingMode::AddressAndPortDependent),
];

/// Words of the configuration file.
pub(super) const FILTERINGS: [(&str, Filtering); 3] = [
    (Filtering::EndpointIndependent.name(), Filtering::EndpointIndependent),
    (Filtering::AddressDependent.name(), Filtering::AddressDependent),
    (Filtering::AddressAndPortDependent.name(), Filtering::AddressAndPortDependent),
];

const DEFAULT_PORTS: RangeInclusive<u16> = 1024..=65535;

/// Most pools.
pub const POOLS_MAX: usize = 256;

/// Most addresses in all pools together.
pub const POOL_ADDRESSES_MAX: u64 = 65_536;
