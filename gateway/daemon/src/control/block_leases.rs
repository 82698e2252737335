//! Who has which port blocks now, by the records of the workers.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::control_plane::{ControlPlane, lock};
use natgw_api::types::{Holder, Whose};
use natgw_management::convert;
use natgw_nat::{BlockEvent, BlockRecord};

/// See the module.
#[derive(Default)]
pub(super) struct BlockLeases {
    /// By outside address and first port.
    held: HashMap<(Ipv4Addr, u16), BlockRecord>,
}

impl BlockLeases {
    /// Takes a record.
    pub(super) fn note(&mut self, record: &BlockRecord) {
        let block = (record.outside, record.first);
        match record.event {
            BlockEvent::Taken => _ = self.held.insert(block, *record),
            BlockEvent::GivenBack => _ = self.held.remove(&block),
        }
    }

    /// The blocks of a subscriber, or the one that an outside endpoint is of, lowest first.
    pub(super) fn find(&self, whose: Whose) -> Vec<BlockRecord> {
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

impl ControlPlane {
    /// Who has outside ports to itself: what the configuration says, and what workers have told.
    pub(super) fn holders(&self, whose: Whose) -> Vec<Holder> {
        let fixed = convert::holdings(&self.config(), whose);
        let blocks = lock(&self.control).blocks(whose);
        let fixed = fixed.iter().map(|holding| convert::holder(holding, "deterministic"));
        fixed.chain(blocks.iter().map(|holding| convert::holder(holding, "block"))).collect()
    }
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
        let mut ledger = BlockLeases::default();
        ledger.note(&one);
        ledger.note(&two);
        let whose = |text: &str| text.parse::<Whose>().unwrap();
        assert_eq!(ledger.find(whose("10.64.0.5")), [two, one]);
        assert_eq!(ledger.find(whose("203.0.113.10:2559")), [one]);
        assert_eq!(
            [ledger.find(whose("203.0.113.10:2560")), ledger.find(whose("203.0.113.11:2559"))],
            [[]; 2]
        );
        ledger.note(&BlockRecord { event: BlockEvent::GivenBack, ..one });
        assert_eq!(ledger.find(whose("10.64.0.5")), [two]);
    }
}
