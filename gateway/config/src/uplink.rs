//! Whether the routes lead to the outside interface that a pool's addresses stand on.
//!
//! A packet leaves by the route of its destination, whatever pool it was translated from. With the address of another
//! uplink most providers drop it (RFC 2827), and its answer comes in elsewhere.

use hashbrown::HashSet;
use ipnet::Ipv4Net;

use super::interface::{Connected, Draft, Role};
use super::pool::Pools;
use super::route::Route;
use super::table_reader::Section;
use natgw_nat::{Rule, RuleAction};

/// Warns of pools with addresses on the link of an outside interface by which nothing leaves that is translated from them.
pub(super) fn warn_of_other_uplinks(
    nat: &Section<'_>,
    pools: &Pools,
    rules: &[Rule],
    interfaces: &[Draft],
    routes: &[Route],
) {
    let all = pools.whole.as_deref().unwrap_or_default();
    for (index, (pool, line)) in all.iter().zip(&pools.lines).enumerate() {
        let of_pool = rules.iter().filter(|rule| rule.action == RuleAction::Pool(index));
        let destinations: HashSet<Ipv4Net> = of_pool.map(|rule| rule.destination).collect();
        let used: HashSet<usize> =
            destinations.iter().flat_map(|to| uplinks(*to, interfaces, routes)).collect();
        if used.is_empty() {
            continue;
        }
        let elsewhere = pool.addresses.iter().find_map(|&address| {
            let (interface, _) = Connected(interfaces).find(address)?;
            (!used.contains(&interface)).then_some((address, &interfaces[interface].interface.name))
        });
        if let Some((address, interface)) = elsewhere {
            let mut names: Vec<&str> =
                used.iter().map(|&used| interfaces[used].interface.name.as_str()).collect();
            names.sort_unstable();
            let found = format!("{address} of {}, an address of {interface}", pool.name);
            let advice = format!(
                "addresses of {}, by which the routes let it leave, or a route through {interface}",
                names.join(", ")
            );
            nat.report().warn(*line, &nat.path("pools"), found, advice);
        }
    }
}

/// The outside interfaces by which packets to these destinations leave: by the routes to all of them or to some; where
/// there are none, by the links themselves.
fn uplinks(to: Ipv4Net, interfaces: &[Draft], routes: &[Route]) -> Vec<usize> {
    let is_outside = |interface: &usize| interfaces[*interface].interface.role == Role::Outside;
    let linked = interfaces
        .iter()
        .enumerate()
        .flat_map(|(index, draft)| draft.interface.addresses.iter().map(move |net| (net.trunc(), index)));
    let linked: Vec<(Ipv4Net, usize)> = linked.filter(|(_, index)| is_outside(index)).collect();
    let routed: Vec<(Ipv4Net, usize)> = routes
        .iter()
        .map(|route| (route.prefix, route.interface))
        .filter(|(_, index)| is_outside(index))
        .collect();
    let whole = linked.iter().chain(&routed).filter(|(prefix, _)| prefix.contains(&to));
    let whole = whole.max_by_key(|(prefix, _)| prefix.prefix_len());
    let mut found: Vec<usize> = whole.into_iter().map(|(_, index)| *index).collect();
    found.extend(routed.iter().filter(|(prefix, _)| to.contains(prefix)).map(|(_, index)| *index));
    if found.is_empty() {
        found.extend(linked.iter().filter(|(prefix, _)| to.contains(prefix)).map(|(_, index)| *index));
    }
    found
}
