//! Who has which port blocks now, by the records of the workers. Each record is a line of the log (RFC 6888 REQ-12): who has an
//! outside endpoint from now on, or no more, and not to whom it speaks.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use natgw_api::types::Whose;
use natgw_config::{Config, Holding};
use natgw_nat::{BlockEvent, BlockRecord};

/// See the module.
#[derive(Default)]
pub(super) struct BlockLeases {
    /// By outside address and first port.
    held: HashMap<(Ipv4Addr, u16), BlockRecord>,
}

impl BlockLeases {
    /// Takes a record, and logs it. The configuration names the pool.
    pub(super) fn record(&mut self, record: &BlockRecord, config: &Config) {
        self.update(record);
        let BlockRecord { event, pool, inside, outside, first, last } = *record;
        let pool = pool_name(config, pool);
        let ports = format_args!("{first}-{last}");
        match event {
            BlockEvent::Taken => tracing::info!(%inside, %outside, %ports, pool, "port block taken"),
            BlockEvent::GivenBack => tracing::info!(%inside, %outside, %ports, pool, "port block given back"),
        }
    }

    fn update(&mut self, record: &BlockRecord) {
        let block = (record.outside, record.first);
        match record.event {
            BlockEvent::Taken => _ = self.held.insert(block, *record),
            BlockEvent::GivenBack => _ = self.held.remove(&block),
        }
    }

    /// The blocks of a subscriber, or the one that an outside endpoint is of, lowest first.
    pub(super) fn holdings(&self, whose: Whose, config: &Config) -> Vec<Holding> {
        let holding = |record: BlockRecord| Holding {
            inside: record.inside,
            outside: record.outside,
            ports: record.first..=record.last,
            pool: pool_name(config, record.pool).to_owned(),
        };
        self.find(whose).into_iter().map(holding).collect()
    }

    fn find(&self, whose: Whose) -> Vec<BlockRecord> {
        let is_meant = |record: &&BlockRecord| match whose {
            Whose::Subscriber(inside) => record.inside == inside,
            Whose::Endpoint(outside) => {
                record.outside == *outside.ip() && (record.first..=record.last).contains(&outside.port())
            }
        };
        let mut found: Vec<BlockRecord> = self.held.values().filter(is_meant).copied().collect();
        found.sort_unstable_by_key(|record| (record.outside, record.first));
        found
    }
}

fn pool_name(config: &Config, place: u16) -> &str {
    config.settings.pools.get(usize::from(place)).map_or("", |pool| &pool.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_found_while_it_is_held() {
        let taken = |first, last| BlockRecord {
            event: BlockEvent::Taken,
            pool: 0,
            inside: Ipv4Addr::new(10, 64, 0, 5),
            outside: Ipv4Addr::new(203, 0, 113, 10),
            first,
            last,
        };
        let (one, two) = (taken(2048, 2559), taken(1024, 1535));
        let mut leases = BlockLeases::default();
        leases.update(&one);
        leases.update(&two);
        let whose = |text: &str| text.parse::<Whose>().unwrap();
        assert_eq!(leases.find(whose("10.64.0.5")), [two, one]);
        assert_eq!(leases.find(whose("203.0.113.10:2559")), [one]);
        assert_eq!(
            [leases.find(whose("203.0.113.10:2560")), leases.find(whose("203.0.113.11:2559"))],
            [[]; 2]
        );
        leases.update(&BlockRecord { event: BlockEvent::GivenBack, ..one });
        assert_eq!(leases.find(whose("10.64.0.5")), [two]);
    }
}
