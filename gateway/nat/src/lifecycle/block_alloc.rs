//! Ports of pools in which subscribers have some to themselves: blocks, their way back and what is to be told of both; and
//! deterministic mapping, where there is nothing to tell.

use crate::lifecycle::request::AllocRequest;
use crate::packet::verdict::SessionFailure;
use crate::pool::block_records::{BlockEvent, BlockRecord};
use crate::shard::Shard;
use crate::table::time::Time;

impl Shard {
    /// A further block for the subscriber.
    pub(crate) fn take_block(&mut self, need: AllocRequest) -> Result<(), SessionFailure> {
        let blocks = self.pools[need.pool].blocks_mut().ok_or(SessionFailure::PortsExhausted)?;
        let block = blocks.alloc(need.subscriber, need.now, &mut self.random);
        let block = block.ok_or(SessionFailure::PortBlocksExhausted)?;
        // It is the subscriber's as a mapping is.
        self.subscribers[need.subscriber].hold();
        self.record(BlockEvent::Taken, need.pool, block);
        Ok(())
    }

    /// Gives blocks back that have rested for as long as they must. Each takes one from `budget`.
    #[inline(never)]
    pub(crate) fn give_blocks_back(&mut self, now: Time, budget: &mut u32) {
        for pool in 0..self.pools.len() {
            let hold_ms = self.policy.port_hold_ms;
            while *budget > 0
                && let Some(blocks) = self.pools[pool].blocks_mut()
                && let Some(block) = blocks.rested(now, hold_ms)
            {
                *budget -= 1;
                self.give_block_back(pool, block);
            }
        }
    }

    /// Takes a block that rests from its subscriber.
    pub(crate) fn give_block_back(&mut self, pool: usize, block: u32) {
        self.record(BlockEvent::GivenBack, pool as u16, block);
        if let Some(blocks) = self.pools[pool].blocks_mut() {
            let subscriber = blocks.subscriber(block);
            blocks.give_back(block);
            self.subscribers[subscriber].let_go();
            self.subscribers.remove_if_idle(subscriber);
        }
    }

    /// Notes what happens to a block that a subscriber has.
    fn record(&mut self, event: BlockEvent, pool: u16, block: u32) {
        let from = &self.pools[pool];
        let Some(blocks) = from.blocks() else { return };
        if self.records.is_full() {
            self.count_lost_record();
            return;
        }
        let (index, ports) = blocks.place(block);
        let inside = self.subscribers[blocks.subscriber(block)].address;
        self.records.push(BlockRecord {
            event,
            pool,
            inside: inside.into(),
            outside: from.address(index).into(),
            first: *ports.start(),
            last: *ports.end(),
        });
    }

    /// Whether there are records of blocks that changed hands.
    pub fn has_block_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// The next record of a block that changed hands, oldest first. The caller fetches them before there are too
    /// many.
    pub fn next_block_record(&mut self) -> Option<BlockRecord> {
        self.records.pop()
    }

    /// Counts a record that nobody will see.
    pub fn count_lost_record(&mut self) {
        self.counters.block_records_lost += 1;
    }

    /// How many blocks of a pool's part are in use, resting and there; all 0 where it has none.
    ///
    /// # Panics
    /// When there is no such pool.
    pub fn block_usage(&self, pool: usize) -> crate::PoolUsage {
        self.pools[pool].blocks().map(|blocks| blocks.usage()).unwrap_or_default()
    }
}
