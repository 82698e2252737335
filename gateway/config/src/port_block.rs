//! `port_block_size` and `port_blocks_per_subscriber` of `[[nat.pools]]`.

use std::ops::RangeInclusive;

use super::diagnostic::At;
use super::table_reader::Section;
use super::value::{self, Ports};
use natgw_nat::{BlockGrid, MappingMode, PortBlocks};

/// What of a pool decides whether its ports can be had in blocks.
pub(super) struct Divided<'a> {
    pub(super) addresses: usize,
    pub(super) ports: &'a At<RangeInclusive<u16>>,
    pub(super) mapping: &'a At<MappingMode>,
    /// `None` if their number is not known.
    pub(super) workers: Option<usize>,
}

/// The keys as they stand.
pub(super) struct Keys {
    pub(super) size: Option<At<u16>>,
    pub(super) per_subscriber: Option<At<u8>>,
}

impl Keys {
    pub(super) fn read(section: &mut Section<'_>) -> Keys {
        Keys {
            size: section.optional("port_block_size", value::integer(BLOCK_SIZES)),
            per_subscriber: section
                .optional("port_blocks_per_subscriber", value::integer(1..=PortBlocks::PER_SUBSCRIBER_MAX)),
        }
    }

    /// The blocks of a pool, if it has any; refuses what does not fit together.
    pub(super) fn resolve(self, section: &Section<'_>, pool: &Divided<'_>) -> Option<PortBlocks> {
        let Some(size) = self.size else {
            if let Some(most) = self.per_subscriber
                && !section.has("port_block_size")
            {
                let key = "port_blocks_per_subscriber";
                section.wrong(most.line, key, most.value, "it only beside port_block_size");
            }
            return None;
        };
        refuse_shared(section, pool, "port_block_size");
        let count = usize::from(BlockGrid::new(&pool.ports.value, size.value).count());
        // Fewer addresses than workers: each worker needs blocks of each.
        let least = pool.workers.filter(|workers| pool.addresses < *workers).unwrap_or(1);
        if count < least {
            let (ports, all) = (Ports(&pool.ports.value), pool.ports.value.len());
            let allowed = match least {
                1 => format!("at most {all}: a block is of the ports of one address, {ports}"),
                _ => format!(
                    "at most {}: {least} workers share the ports of each address, {ports}",
                    all / least
                ),
            };
            section.wrong(size.line, "port_block_size", size.value, allowed);
        } else {
            warn_of_rest(section, &size, &pool.ports.value);
        }
        let per_subscriber = self.per_subscriber.map_or(PER_SUBSCRIBER, |most| most.value);
        Some(PortBlocks { size: size.value, per_subscriber })
    }
}

/// Refuses that subscribers share ports that `key` gives each of them.
pub(super) fn refuse_shared(section: &Section<'_>, pool: &Divided<'_>, key: &str) {
    if pool.mapping.value != MappingMode::EndpointIndependent {
        let found = format!("address-and-port-dependent beside {key}");
        section.wrong(pool.mapping.line, "mapping", found, "endpoint-independent");
    }
}

/// RFC 6888 REQ-14 wants nearly all of a pool's ports in use.
fn warn_of_rest(section: &Section<'_>, size: &At<u16>, ports: &RangeInclusive<u16>) {
    let rest = ports.len() % usize::from(size.value);
    if rest * 50 > ports.len() {
        let allowed =
            format!("a size that leaves less than 2 % of the ports in no block; this leaves {rest}");
        section.report().warn(size.line, &section.path("port_block_size"), size.value, allowed);
    }
}

/// Smaller ones are easy to guess a port in; larger ones hardly are blocks.
pub(super) const BLOCK_SIZES: RangeInclusive<u16> = 16..=32_768;

const PER_SUBSCRIBER: u8 = 4;
