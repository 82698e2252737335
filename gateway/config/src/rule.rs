//! `[[nat.rules]]`: what becomes of new outbound sessions; the first match decides.

use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

use super::address::ClassE;
use super::deterministic;
use super::diagnostic::At;
use super::pool::Pools;
use super::protocol;
use super::table_reader::Section;
use super::value::{self, ALL_PORTS, Ports};
use natgw_nat::{Protocol, Rule, RuleAction};

/// Reads every `[[nat.rules]]`; `None` unless all of them are whole. `inside` is where subscribers live, if known.
pub(super) fn read_all(
    nat: &mut Section<'_>,
    pools: &Pools,
    inside: Option<&[Ipv4Net]>,
    class_e: ClassE,
) -> Option<Vec<Rule>> {
    let rules = nat.tables("rules", RULES_MAX, |section| {
        let line = section.line();
        read(section, pools, inside, class_e).map(|value| At { line, value })
    })?;
    warn_of_shadows(nat, &rules);
    if !nat.report().is_damaged() {
        warn_of_unused(nat, pools, &rules);
    }
    if let Some((pools, inside)) = pools.whole.as_deref().zip(inside) {
        let compared = &rules[..rules.len().min(COMPARED_MAX)];
        deterministic::warn_of_hosts_without_ports(nat, pools, compared, inside);
    }
    Some(rules.into_iter().map(|rule| rule.value).collect())
}

fn read(
    section: &mut Section<'_>,
    pools: &Pools,
    inside: Option<&[Ipv4Net]>,
    class_e: ClassE,
) -> Option<Rule> {
    let source = section.required("source", value::prefix_of_hosts(class_e));
    let action = read_action(section, pools);
    let destination = section.or("destination", Ipv4Net::default(), value::prefix_of_hosts(class_e));
    let protocol = section.optional("protocol", protocol::named).map(|named| named.value);
    let is_icmp = protocol.as_ref().is_some_and(|named| named.protocol == Protocol::Icmp);
    let is_other = protocol.as_ref().is_some_and(|named| named.protocol == Protocol::Other);
    let [source_ports, ports] = ["source_ports", "ports"].map(|key| {
        let ports = section.optional(key, value::ports);
        if let Some(ports) = ports.as_ref().filter(|_| is_icmp || is_other) {
            section.wrong(ports.line, key, Ports(&ports.value), "ports with protocol tcp, udp or none");
        }
        ports.map(|ports| ports.value).filter(|ports| *ports != (1..=65535)).unwrap_or(ALL_PORTS)
    });
    let icmp_types = section.list("icmp_types", value::icmp_query)?;
    if let Some(ty) = icmp_types.first().filter(|_| !is_icmp) {
        section.wrong(ty.line, "icmp_types", ty.value, "types with protocol icmp");
    }
    let source = source?;
    if let Some(inside) = inside {
        let is_reached = inside.iter().any(|net| net.contains(&source.value) || source.value.contains(net));
        if !is_reached {
            let nets: Vec<String> = inside.iter().map(Ipv4Net::to_string).collect();
            let allowed = format!("hosts that are reached through an inside interface: {}", nets.join(", "));
            section.wrong(source.line, "source", source.value, allowed);
        }
    }
    Some(Rule {
        source: source.value,
        destination: destination.value,
        source_ports,
        ports: protocol.as_ref().filter(|_| is_other).map_or(ports, |named| named.ports.clone()),
        protocol: protocol.map(|named| named.protocol),
        icmp_types: icmp_types.into_iter().map(|ty| ty.value).collect(),
        action: action?,
    })
}

/// `pool` or `action`: exactly one of the two.
fn read_action(section: &mut Section<'_>, pools: &Pools) -> Option<RuleAction> {
    let pool = section.optional("pool", value::name);
    let action = section.optional("action", value::choice(&ACTIONS));
    match (section.has("pool"), section.has("action")) {
        (true, false) => find_pool(section, &pool?, pools).map(RuleAction::Pool),
        (false, true) => action.map(|action| action.value),
        (true, true) => {
            section.wrong(section.line(), "pool", "pool and action together", "either pool or action");
            None
        }
        (false, false) => {
            section.report().missing(section.line(), &format!("{} (or action)", section.path("pool")));
            None
        }
    }
}

fn find_pool(section: &Section<'_>, name: &At<String>, pools: &Pools) -> Option<usize> {
    let index = pools.names.iter().position(|pool| pool.as_ref() == Some(&name.value));
    // A pool whose own name could not be read may be the one that is meant.
    let known: Option<Vec<&str>> = pools.names.iter().map(Option::as_deref).collect();
    if let (None, Some(known), false) = (index, known, section.report().is_damaged()) {
        let allowed = format!("a pool of [[nat.pools]]: {}", value::nearest_of(&name.value, &known));
        section.wrong(name.line, "pool", value::quote(&name.value), allowed);
    }
    index
}

fn warn_of_shadows(nat: &Section<'_>, rules: &[At<Rule>]) {
    for (nth, rule) in rules.iter().enumerate().take(COMPARED_MAX) {
        if let Some(earlier) = rules[..nth].iter().find(|earlier| covers(&earlier.value, &rule.value)) {
            let advice = format!("it above the rule on line {}, which matches all of it first", earlier.line);
            nat.report().warn(rule.line, &nat.path("rules"), "a rule that never matches", advice);
        }
    }
}

fn warn_of_unused(nat: &Section<'_>, pools: &Pools, rules: &[At<Rule>]) {
    for (index, (name, line)) in pools.names.iter().zip(&pools.lines).enumerate() {
        if !rules.iter().any(|rule| rule.value.action == RuleAction::Pool(index)) {
            let found = value::quote(name.as_deref().unwrap_or_default());
            nat.report().warn(*line, &nat.path("pools"), found, "pools that a rule of [[nat.rules]] names");
        }
    }
}

/// Whether every session that matches `inner` matches `outer` too.
fn covers(outer: &Rule, inner: &Rule) -> bool {
    let within = |inner: &RangeInclusive<u16>, outer: &RangeInclusive<u16>| {
        outer.start() <= inner.start() && inner.end() <= outer.end()
    };
    let types =
        !inner.icmp_types.is_empty() && inner.icmp_types.iter().all(|ty| outer.icmp_types.contains(ty));
    // A range of ports is one of UDP and TCP, unless the rule names another protocol.
    let by_number = inner.protocol == Some(Protocol::Other) && outer.protocol.is_none();
    outer.source.contains(&inner.source)
        && outer.destination.contains(&inner.destination)
        && outer.protocol.is_none_or(|protocol| inner.protocol == Some(protocol))
        && within(&inner.source_ports, &outer.source_ports)
        && within(&inner.ports, &outer.ports)
        && (!by_number || outer.ports == ALL_PORTS)
        && (outer.icmp_types.is_empty() || types)
}

const ACTIONS: [(&str, RuleAction); 3] =
    [("exempt", RuleAction::Exempt), ("reject", RuleAction::Reject), ("drop", RuleAction::Drop)];

/// Most rules.
pub const RULES_MAX: usize = 1 << 17;

/// Rules that are compared with each other for shadows; more than a person writes come from a program.
const COMPARED_MAX: usize = 4096;
