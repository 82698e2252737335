//! `deterministic` of `[[nat.pools]]`: inside prefixes whose hosts have ports of their own (RFC 7422).

use ipnet::Ipv4Net;

use super::mistake::At;
use super::port_block::{BLOCK_SIZES, Divided, Keys, refuse_shared};
use super::section::Section;
use super::value::{self, Ports};
use crate::nat::{BlockGrid, Deterministic};

/// Reads the prefixes; `None` where they are wrong, empty where there are none.
pub(super) fn read(section: &mut Section<'_>) -> Option<Vec<At<Ipv4Net>>> {
    let prefixes = if section.has("deterministic") {
        section.required_list("deterministic", value::hosts)?
    } else {
        section.list("deterministic", value::hosts)?
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

/// Most subscribers with ports of their own in a pool.
const SUBSCRIBERS_MAX: u64 = 1 << 20;
