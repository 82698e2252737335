//! Who uses which outside address: no two may use the same in ways that exclude each other.
//!
//! A port forward may take ports of a pool's address (the pool then leaves them out); everything else excludes.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::address::{self, AddressRange};
use super::diagnostic::Report;
use super::interface::{Connected, Draft, Role};
use super::neighbor::StaticNeighbor;
use super::route::Route;
use super::value::Ports;
use natgw_nat::{Pool, PortForward, Protocol, Rule, RuleAction};

/// Outside addresses that one line of the file lays claim to.
pub(super) struct Claim {
    pub(super) range: AddressRange,
    pub(super) line: usize,
    /// The key that claims.
    pub(super) key: String,
    /// The claimant, for messages.
    pub(super) owner: String,
    pub(super) purpose: Use,
}

/// What the addresses are for.
#[derive(PartialEq, Eq)]
pub(super) enum Use {
    /// To be shared by subscribers.
    Pool,
    /// For inside hosts, one to one.
    Static,
    /// These ports, for an inside host's.
    Forward(Protocol, RangeInclusive<u16>),
}

/// Refuses claims to addresses that are someone else's: an inside network's, a router's, the network's own.
pub(super) fn refuse_foreign(
    report: &Report,
    claims: &[Claim],
    interfaces: &[Draft],
    routes: &[Route],
    neighbors: &[StaticNeighbor],
) {
    let connected = Connected(interfaces);
    for claim in claims {
        let range = claim.range;
        let refuse = |what: String| {
            report.wrong(claim.line, &claim.key, range, format_args!("addresses apart from {what}"))
        };
        let own = || interfaces.iter().flat_map(|draft| &draft.interface.addresses).map(|net| net.addr());
        let reserved = || connected.prefixes(Role::Outside).filter_map(address::reserved).flatten();
        if let Some(net) = connected.prefixes(Role::Inside).find(|net| range.overlaps((*net).into())) {
            refuse(format!("the inside prefix {}", net.trunc()));
        } else if let Some(via) = routes.iter().map(|route| route.via).find(|via| range.contains(*via)) {
            refuse(format!("the router {via}"));
        } else if let Some(neighbor) = neighbors.iter().find(|neighbor| range.contains(neighbor.address)) {
            refuse(format!("the neighbor {}", neighbor.address));
        } else if let Some(edge) = reserved().find(|edge| range.contains(*edge)) {
            refuse(format!("the network's own {edge}"));
        } else if let (Use::Static, Some(own)) = (&claim.purpose, own().find(|own| range.contains(*own))) {
            refuse(format!("the gateway's own {own}"));
        }
    }
}

/// Refuses addresses that are claimed twice. One pass over the claims in address order: each is held against the one
/// that reaches furthest so far.
pub(super) fn refuse_overlaps(report: &Report, claims: &[Claim]) {
    let is_forward = |claim: &&Claim| matches!(claim.purpose, Use::Forward(..));
    let (forwards, mut whole): (Vec<&Claim>, Vec<&Claim>) = claims.iter().partition(is_forward);
    whole.sort_by_key(|claim| (claim.range.first(), claim.line));
    let mut furthest: Option<&Claim> = None;
    for claim in &whole {
        if let Some(other) = furthest.filter(|other| other.range.overlaps(claim.range)) {
            refuse_pair(report, other, claim);
        }
        if furthest.is_none_or(|other| other.range.last() <= claim.range.last()) {
            furthest = Some(claim);
        }
    }

    whole.retain(|claim| claim.purpose == Use::Static);
    for forward in &forwards {
        let behind = whole.partition_point(|claim| claim.range.first() <= forward.range.first());
        let before = behind.checked_sub(1).map(|at| whole[at]);
        if let Some(other) = before.filter(|other| other.range.overlaps(forward.range)) {
            refuse_pair(report, other, forward);
        }
    }
    refuse_port_overlaps(report, forwards);
}

/// Refuses port forwards that take every port of a pool: then no other host has one left. A pool that its rules give to the
/// hosts of the forwards alone needs none.
pub(super) fn refuse_pools_without_ports(
    report: &Report,
    claims: &[Claim],
    pools: &[Pool],
    rules: &[Rule],
    forwards: Option<&[PortForward]>,
) {
    let mut taken: HashMap<_, Vec<(&RangeInclusive<u16>, &Claim)>> = HashMap::new();
    for claim in claims {
        if let Use::Forward(protocol, ports) = &claim.purpose {
            taken.entry((*protocol, claim.range.first())).or_default().push((ports, claim));
        }
    }
    taken.values_mut().for_each(|claims| claims.sort_by_key(|(ports, _)| *ports.start()));
    let is_forwarded_to = |host| forwards.into_iter().flatten().any(|forward| forward.internal == host);
    for (index, pool) in pools.iter().enumerate() {
        let mut users =
            rules.iter().filter(|rule| rule.action == RuleAction::Pool(index)).map(|rule| rule.source);
        if users.all(|source| source.prefix_len() == 32 && is_forwarded_to(source.addr())) {
            continue;
        }
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let last = pool.addresses.iter().map(|address| {
                all_ports_taken(&pool.ports, taken.get(&(protocol, *address)).map_or(&[][..], Vec::as_slice))
            });
            let Some(claim) = last.reduce(|one, other| one.zip(other).map(|(_, other)| other)).flatten()
            else {
                continue;
            };
            let allowed = format!(
                "one that leaves other hosts a port for {} in pool {} ({})",
                protocol.name(),
                pool.name,
                Ports(&pool.ports)
            );
            report.wrong(claim.line, &claim.key, &claim.owner, allowed);
        }
    }
}

/// The last of these claims, which stand in the order of their ports, if together they are all of `ports`.
fn all_ports_taken<'a>(
    ports: &RangeInclusive<u16>,
    claims: &[(&RangeInclusive<u16>, &'a Claim)],
) -> Option<&'a Claim> {
    let mut free = u32::from(*ports.start());
    for (taken, claim) in claims {
        if u32::from(*taken.start()) > free {
            return None;
        }
        free = free.max(u32::from(*taken.end()) + 1);
        if free > u32::from(*ports.end()) {
            return Some(*claim);
        }
    }
    None
}

fn refuse_port_overlaps(report: &Report, forwards: Vec<&Claim>) {
    let mut by_address: HashMap<_, Vec<(&RangeInclusive<u16>, &Claim)>> = HashMap::new();
    for forward in forwards {
        if let Use::Forward(protocol, ports) = &forward.purpose {
            by_address.entry((*protocol, forward.range.first())).or_default().push((ports, forward));
        }
    }
    for claims in by_address.values_mut() {
        claims.sort_by_key(|(ports, claim)| (*ports.start(), claim.line));
        let mut furthest = claims[0];
        for (ports, claim) in &claims[1..] {
            if ports.start() <= furthest.0.end() {
                refuse_pair(report, furthest.1, claim);
            }
            if furthest.0.end() <= ports.end() {
                furthest = (*ports, *claim);
            }
        }
    }
}

/// Blames the later line.
fn refuse_pair(report: &Report, one: &Claim, other: &Claim) {
    let (first, second) = if one.line <= other.line { (one, other) } else { (other, one) };
    let found = format!("{} of {}", second.range, second.owner);
    let place = report.place(first.line);
    let allowed = format!("what {} ({place}) does not use: {}", first.owner, first.range);
    report.wrong(second.line, &second.key, found, allowed);
}
