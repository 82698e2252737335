//! The subscribers with the most sessions, counted from the mappings.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::state::State;
use natgw_api::LISTING_TIMEOUT;
use natgw_api::types::{Query, Subscriber};
use natgw_management::Unavailable;
use natgw_nat::BlockGrid;

impl State {
    /// As [`natgw_management::Gateway::subscribers`].
    pub(super) fn subscribers(&self, top: usize) -> Result<Vec<Subscriber>, Unavailable> {
        let mut found: HashMap<(Ipv4Addr, u16), Subscriber> = HashMap::new();
        let mut query = Query { filter: Default::default(), limit: Query::LIMIT_MAX, cursor: None };
        let config = self.config();
        let pools = config.settings.pools.iter();
        let grids: HashMap<&String, BlockGrid> =
            pools.filter_map(|pool| Some((&pool.name, pool.block_grid()?))).collect();
        let deadline = Instant::now() + LISTING_TIMEOUT;
        loop {
            if Instant::now() >= deadline {
                return Err(Unavailable::TooManyMappings);
            }
            let page = self.mappings(&query)?;
            for mapping in page.items.iter().filter(|mapping| mapping.sessions > 0) {
                let address = mapping.inside.address;
                let row = found.entry((address, mapping.worker)).or_insert_with(|| Subscriber {
                    address,
                    outside: None,
                    pool: None,
                    sessions: 0,
                    ports: 0,
                    blocks: Vec::new(),
                    worker: mapping.worker,
                });
                row.sessions += mapping.sessions;
                if mapping.pool.is_some() {
                    row.ports += u32::from(mapping.inside.port.is_some());
                    row.outside = Some(mapping.outside.address);
                    row.pool.clone_from(&mapping.pool);
                    let grid = mapping.pool.as_ref().and_then(|pool| grids.get(pool));
                    if let Some(ports) = grid.and_then(|grid| grid.ports_around(mapping.outside.port?)) {
                        row.add_block(&ports);
                    }
                }
            }
            query.cursor = page.next_cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        let mut rows: Vec<Subscriber> = found.into_values().collect();
        rows.sort_unstable_by_key(|row| (Reverse(row.sessions), row.address));
        rows.truncate(top);
        Ok(rows)
    }
}
