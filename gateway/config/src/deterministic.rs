//! `deterministic` of `[[nat.pools]]`: inside prefixes whose hosts have ports of their own (RFC 7422).

use ipnet::Ipv4Net;

use super::address::ClassE;
use super::diagnostic::At;
use super::port_block::{BLOCK_SIZES, Divided, Keys, refuse_shared};
use super::table_reader::Section;
use super::value::{self, ALL_PORTS, Ports};
use natgw_nat::{BlockGrid, Deterministic, Pool, Rule, RuleAction};

/// Reads the prefixes; `None` where they are wrong, empty where there are none.
pub(super) fn read(section: &mut Section<'_>, class_e: ClassE) -> Option<Vec<At<Ipv4Net>>> {
    let prefixes = if section.has("deterministic") {
        section.required_list("deterministic", value::hosts(class_e))?
    } else {
        section.list("deterministic", value::hosts(class_e))?
    };
    for (nth, prefix) in prefixes.iter().enumerate() {
        let overlaps =
            |other: &&At<Ipv4Net>| other.value.contains(&prefix.value) || prefix.value.contains(&other.value);
        if let Some(other) = prefixes[..nth].iter().find(overlaps) {
            let allowed = format!("hosts that {} does not have", other.value);
            section.wrong(prefix.line, "deterministic", prefix.value, allowed);
            return None;
        }
    }
    Some(prefixes)
}

/// The ranges of a pool whose prefixes these are; refuses what does not fit together.
pub(super) fn resolve(
    section: &Section<'_>,
    prefixes: &[At<Ipv4Net>],
    keys: &Keys,
    pool: &Divided<'_>,
) -> Option<Deterministic> {
    let first = prefixes.first()?;
    if let Some(most) = &keys.per_subscriber {
        let allowed = "it only without deterministic: every subscriber has one range";
        section.wrong(most.line, "port_blocks_per_subscriber", most.value, allowed);
    }
    refuse_shared(section, pool, "deterministic");
    let ports = &pool.ports.value;
    let inside: Vec<Ipv4Net> = prefixes.iter().map(|prefix| prefix.value).collect();
    let mut made = Deterministic { inside, size: *BLOCK_SIZES.start() };
    let subscribers = made.subscribers();
    let most = |size: u16| pool.addresses as u64 * u64::from(BlockGrid::new(ports, size).count());
    match &keys.size {
        Some(size) => made.size = size.value,
        None => {
            let each = ports.len() as u64 / subscribers.div_ceil(pool.addresses.max(1) as u64);
            let (least, greatest) = BLOCK_SIZES.into_inner();
            made.size = each.clamp(least.into(), greatest.into()) as u16;
        }
    }
    if subscribers > most(made.size).min(SUBSCRIBERS_MAX) {
        let found = format!("{subscribers} addresses");
        let allowed = format!(
            "at most {}: {} outside addresses with ports {}, {} for each",
            most(made.size).min(SUBSCRIBERS_MAX),
            pool.addresses,
            Ports(ports),
            made.size
        );
        section.wrong(first.line, "deterministic", found, allowed);
    }
    Some(made)
}

/// Warns of rules that send hosts to a pool without ports for them. What earlier rules take in any case is not asked.
pub(super) fn warn_of_hosts_without_ports(
    nat: &Section<'_>,
    pools: &[Pool],
    rules: &[At<Rule>],
    inside: &[Ipv4Net],
) {
    let mut taken: Vec<Ipv4Net> = Vec::new();
    for At { line, value: rule } in rules {
        let pool = match rule.action {
            RuleAction::Pool(pool) => Some(&pools[pool]),
            _ => None,
        };
        if let Some((pool, whose)) = pool.and_then(|pool| Some((pool, pool.deterministic.as_ref()?))) {
            let provided = [&taken[..], &whose.inside].concat();
            let mut hosts = inside.iter().filter_map(|net| common(net, &rule.source));
            if let Some(without) = hosts.find_map(|hosts| uncovered(hosts, &provided)) {
                let prefixes: Vec<String> = whose.inside.iter().map(Ipv4Net::to_string).collect();
                let found = format!("{without}, for which pool {} has no ports", value::quote(&pool.name));
                let advice = format!("hosts of its deterministic prefixes: {}", prefixes.join(", "));
                nat.report().warn(*line, &nat.path("rules.source"), found, advice);
            }
        }
        if takes_everything(rule) {
            taken.push(rule.source);
        }
    }
}

/// Whether no packet from its source passes this rule by.
fn takes_everything(rule: &Rule) -> bool {
    let any_ports = rule.ports == ALL_PORTS && rule.source_ports == ALL_PORTS;
    any_ports && rule.protocol.is_none() && rule.destination.prefix_len() == 0
}

fn common(one: &Ipv4Net, other: &Ipv4Net) -> Option<Ipv4Net> {
    let narrower = if one.prefix_len() < other.prefix_len() { other } else { one };
    (one.contains(narrower) && other.contains(narrower)).then_some(*narrower)
}

/// The first part of these hosts that is in none of the prefixes.
fn uncovered(hosts: Ipv4Net, prefixes: &[Ipv4Net]) -> Option<Ipv4Net> {
    let within: Vec<Ipv4Net> = prefixes.iter().filter_map(|prefix| common(&hosts, prefix)).collect();
    if within.is_empty() {
        return Some(hosts);
    }
    if within.contains(&hosts) {
        return None;
    }
    let mut halves =
        hosts.subnets(hosts.prefix_len() + 1).expect("something is within, so it can be divided");
    halves.find_map(|half| uncovered(half, &within))
}

/// Most subscribers with ports of their own in a pool.
const SUBSCRIBERS_MAX: u64 = 1 << 20;
